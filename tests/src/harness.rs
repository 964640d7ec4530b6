//! An embedded chain with our contracts, for one test.

use crate::{Actor, Answer};
use anyhow::Context as _;
use near_workspaces::{
    AccessKey, Worker,
    network::{Sandbox, ValidatorKey},
    operations::{CallTransaction, TransactionStatus},
    types::{Gas, NearToken},
};
use serde::de::DeserializeOwned;
use starling_contract_api::{Call, Deployment, InitArgs, View, rpc::Signer};
use starling_localnet::{BlockMode, Clock, Localnet, RpcOptions, RpcServer, serve};
use starling_primitives::{AccountId, Amount, BasisPoints, DurationMs, PublicKey, TimestampMs};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// The test chain's name.
pub const CHAIN_ID: &str = "starling-test";
/// The contracts' instance number.
pub const INSTANCE: u64 = 7;
/// The fee of `billing`, in basis points.
pub const FEE: u16 = 200;
/// The least stake of `compute`.
pub const MIN_STAKE: Amount = Amount::from_millinear(500);

const ROOT: &str = "starling";
const ROOT_NEAR: u128 = 10_000_000;
const CONTRACT_NEAR: u64 = 50;
const MS_PER_BLOCK: u64 = 1_000;

/// A chain with our contracts. Each test has its own; it ends with the test.
pub struct Harness {
    /// The chain itself.
    pub chain: Localnet,
    /// The chain's RPC as near-workspaces sees it.
    pub worker: Worker<Sandbox>,
    /// Where the contracts are.
    pub deployment: Deployment,
    /// Who deployed, pauses and receives fees.
    pub owner: Actor,
    root: Signer,
    server: RpcServer,
    blocks: Blocks,
}

/// The wasm of a contract, as `cargo xtask wasm` built it.
pub fn contract_wasm(name: &str) -> anyhow::Result<Vec<u8>> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "target", "contracts", &format!("{name}.wasm")].iter().collect();
    std::fs::read(&path).with_context(|| format!("{} is missing: run cargo xtask wasm", path.display()))
}

impl Harness {
    /// A chain with all four contracts.
    pub async fn start() -> anyhow::Result<Self> {
        Self::start_with(&["billing", "compute", "hub", "market"]).await
    }

    /// A chain with these contracts only.
    pub async fn start_with(contracts: &[&str]) -> anyhow::Result<Self> {
        Self::start_in(BlockMode::OnDemand, contracts).await
    }

    /// The same with blocks made in another way. With [`BlockMode::Manual`] they are made all the time until [`Harness::hold_blocks`].
    pub async fn start_in(mode: BlockMode, contracts: &[&str]) -> anyhow::Result<Self> {
        let account = |name: &str| AccountId::new(name);
        let deployment = Deployment {
            chain_id: CHAIN_ID.to_owned(),
            instance: INSTANCE,
            billing: account("billing.starling")?,
            compute: account("compute.starling")?,
            hub: account("hub.starling")?,
            market: account("market.starling")?,
        };
        let root = signer(account(ROOT)?);
        let owner = signer(account("owner.starling")?);
        let mut builder = Localnet::builder().chain_id(CHAIN_ID).clock(Clock::Steps).block_mode(mode);
        builder = genesis(builder, &root, NearToken::from_near(ROOT_NEAR))?;
        builder = genesis(builder, &owner, NearToken::from_near(100))?;
        for name in contracts {
            builder = genesis(builder, &signer(account(&format!("{name}.starling"))?), NearToken::from_near(u128::from(CONTRACT_NEAR)))?;
        }
        let chain = builder.build()?;
        let blocks = Blocks::start(&chain, mode);
        let server =
            serve(chain.clone(), "127.0.0.1:0".parse()?, RpcOptions { wait_timeout: Duration::from_secs(60), ..RpcOptions::default() })
                .await?;
        let worker = near_workspaces::sandbox()
            .rpc_addr(&server.url())
            .validator_key(ValidatorKey::Known(ROOT.parse()?, root.secret_text().parse()?))
            .await?;
        let owner_actor = Actor {
            account: owner.account().clone(),
            near: near_workspaces::Account::from_secret_key(owner.account().as_str().parse()?, owner.secret_text().parse()?, &worker),
            signer: owner,
        };
        let harness = Self { chain, worker, deployment, owner: owner_actor, root, server, blocks };
        for name in contracts {
            harness.deploy(name).await?;
        }
        Ok(harness)
    }

    /// The chain's RPC address.
    pub fn rpc_url(&self) -> String {
        self.server.url()
    }

    /// A new account with so many NEAR.
    pub async fn actor(&self, name: &str, near: u64) -> anyhow::Result<Actor> {
        let signer = signer(AccountId::new(name)?);
        let root = Actor::new(self, self.root.clone())?;
        let actions = root
            .near
            .batch(&name.parse()?)
            .create_account()
            .transfer(yocto(Amount::from_near(near)))
            .add_key(near_key(&signer.public_key())?, AccessKey::full_access());
        Answer::read(actions.transact().await?).ok()?;
        Actor::new(self, signer)
    }

    /// Adds a function-call key to an account, and gives the account as this key has it.
    pub async fn add_function_key(
        &self,
        actor: &Actor,
        receiver: &AccountId,
        methods: &[&str],
        allowance: Amount,
    ) -> anyhow::Result<Actor> {
        let label = format!("{}/{receiver}/{}", actor.account, methods.join(","));
        let signer = Signer::from_seed(actor.account.clone(), seed(&label));
        let key = AccessKey::function_call_access(&receiver.as_str().parse()?, methods, Some(yocto(allowance)));
        let actions = actor.near.batch(&actor.account.as_str().parse()?).add_key(near_key(&signer.public_key())?, key);
        Answer::read(actions.transact().await?).ok()?;
        Actor::new(self, signer)
    }

    /// Signs and sends a call, and waits until all its receipts have run. A call that the chain itself refuses (a key that may not make it) is an error.
    pub async fn call(&self, actor: &Actor, call: &Call) -> anyhow::Result<Answer> {
        Ok(Answer::read(transaction(actor, call)?.transact().await?))
    }

    /// Stops or goes on making blocks, so that a test can look in between two of them.
    pub fn hold_blocks(&self, hold: bool) {
        *self.blocks.held.lock().unwrap_or_else(PoisonError::into_inner) = hold;
    }

    /// Sends a call without waiting for it.
    pub async fn send(&self, actor: &Actor, call: &Call) -> anyhow::Result<Sent> {
        Ok(Sent(transaction(actor, call)?.transact_async().await?))
    }

    /// Sends a call and, for the same block, a transaction that deletes the caller's account: what the call sends it finds nobody. Wants [`BlockMode::Manual`].
    pub async fn call_then_delete(&self, actor: &Actor, call: &Call, heir: &AccountId) -> anyhow::Result<Answer> {
        self.hold_blocks(true);
        let sent = self.send(actor, call).await?;
        let deletion = actor.near.batch(&actor.account.as_str().parse()?).delete_account(&heir.as_str().parse()?);
        let deleted = deletion.transact_async().await?;
        self.hold_blocks(false);
        deleted.await?.into_result()?;
        sent.outcome().await
    }

    /// Reads a contract.
    pub async fn view<T: DeserializeOwned>(&self, view: &View<T>) -> anyhow::Result<T> {
        let details = self.worker.view(&view.contract.as_str().parse()?, view.method).args(view.args_bytes()).await?;
        Ok(view.decode(&details.result)?)
    }

    /// An account's NEAR on the chain.
    pub async fn balance(&self, account: &AccountId) -> anyhow::Result<Amount> {
        Ok(Amount(self.worker.view_account(&account.as_str().parse()?).await?.balance.as_yoctonear()))
    }

    /// Lets time pass.
    pub async fn pass(&self, duration: DurationMs) -> anyhow::Result<()> {
        Ok(self.worker.fast_forward(duration.0.div_ceil(MS_PER_BLOCK)).await?)
    }

    /// The last block's time.
    pub async fn now(&self) -> anyhow::Result<TimestampMs> {
        Ok(TimestampMs(self.worker.view_block().await?.timestamp() / 1_000_000))
    }

    async fn deploy(&self, name: &str) -> anyhow::Result<()> {
        let account = AccountId::new(format!("{name}.starling"))?;
        let contract = Actor::new(self, signer(account.clone()))?;
        contract.near.deploy(&contract_wasm(name)?).await?.into_result()?;
        let args = InitArgs {
            owner: self.owner.account.clone(),
            deployment: self.deployment.clone(),
            fee: BasisPoints::new(FEE)?,
            min_stake: MIN_STAKE,
        };
        let init = contract.near.call(&account.as_str().parse()?, "new").args_json(args).gas(Gas::from_tgas(30));
        Answer::read(init.transact().await?).ok()?;
        Ok(())
    }
}

/// A call that is on its way.
pub struct Sent(pub(crate) TransactionStatus);

impl Sent {
    /// Waits until all its receipts have run.
    pub async fn outcome(self) -> anyhow::Result<Answer> {
        Ok(Answer::read(self.0.await?))
    }
}

/// Makes the blocks of a chain that makes none by itself, for as long as the harness lives.
struct Blocks {
    held: Arc<Mutex<bool>>,
}

impl Blocks {
    fn start(chain: &Localnet, mode: BlockMode) -> Self {
        let held = Arc::new(Mutex::new(false));
        if mode == BlockMode::Manual {
            let (chain, alive) = (chain.clone(), Arc::downgrade(&held));
            std::thread::spawn(move || {
                while let Some(held) = alive.upgrade() {
                    let held = held.lock().unwrap_or_else(PoisonError::into_inner);
                    if !*held && chain.produce_block().is_err() {
                        return;
                    }
                    drop(held);
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
        }
        Self { held }
    }
}

fn transaction(actor: &Actor, call: &Call) -> anyhow::Result<CallTransaction> {
    let transaction = actor.near.call(&call.contract.as_str().parse()?, &call.method);
    Ok(transaction.args(call.args_bytes()).gas(Gas::from_gas(call.gas)).deposit(yocto(call.deposit)))
}

fn genesis(
    builder: starling_localnet::LocalnetBuilder,
    signer: &Signer,
    balance: NearToken,
) -> anyhow::Result<starling_localnet::LocalnetBuilder> {
    let key = near_crypto::PublicKey::ED25519(near_crypto::ED25519PublicKey(signer.public_key().0));
    Ok(builder.account(signer.account().as_str().parse()?, key, balance))
}

/// A key that follows from the account's name: for tests only.
pub(crate) fn signer(account: AccountId) -> Signer {
    let seed = seed(account.as_str());
    Signer::from_seed(account, seed)
}

fn seed(label: &str) -> [u8; 32] {
    *blake3::hash(label.as_bytes()).as_bytes()
}

fn near_key(key: &PublicKey) -> anyhow::Result<near_workspaces::types::PublicKey> {
    Ok(key.to_string().parse()?)
}

fn yocto(amount: Amount) -> NearToken {
    NearToken::from_yoctonear(amount.0)
}
