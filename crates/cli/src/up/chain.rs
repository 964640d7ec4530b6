//! The embedded chain of `up`: its accounts and keys, the contracts, the faucet.

use super::{UpArgs, port_error};
use crate::{
    deploy::{Code, deploy_in_place, deployment},
    home::{Home, write_atomically},
};
use anyhow::{Context as _, Result, bail};
use starling_contract_api::{
    Deployment, InitArgs,
    rpc::{RpcClient, Signer},
};
use starling_localnet::{Faucet, Localnet, RpcOptions, RpcServer, serve};
use starling_primitives::{AccountId, Amount, BasisPoints};
use std::{fs, net::SocketAddr, path::PathBuf, time::Duration};

const ROOT: &str = "starling";
const CONTRACTS: [&str; 4] = ["billing.starling", "compute.starling", "hub.starling", "market.starling"];
const CONTRACT_BALANCE_NEAR: u64 = 50;
const ACCOUNT_BALANCE_NEAR: u64 = 1_000;
const FAUCET_BALANCE_NEAR: u64 = 1_000_000;
const FAUCET_GIFT_NEAR: u64 = 100;
const FAUCET_LIMIT: u64 = 1_000;
/// Who pays gas for accounts that hold nothing; new ones are named below it.
pub(super) const SPONSOR: &str = "start.starling";
const SPONSOR_BALANCE_NEAR: u64 = 100;
/// 2 %.
const FEE_BASIS_POINTS: u16 = 200;
const MIN_STAKE_NEAR: u64 = 1;
/// NEAR's own blocks come about as often.
const BLOCK_TIME: Duration = Duration::from_millis(600);
/// Accounts of providers that exist from the first block.
const PROVIDERS: u16 = super::MAX_NODES;

pub(super) struct EmbeddedChain {
    _server: RpcServer,
    rpc_url: String,
    deployment: Deployment,
    home: Home,
}

impl EmbeddedChain {
    pub(super) async fn start(home: &Home, args: &UpArgs, address: SocketAddr) -> Result<Self> {
        if args.fresh {
            set_aside(home)?;
        }
        let chain_id = chain_id(home)?;
        let faucet = signer(home, "faucet.starling")?;
        let localnet = open(home, &chain_id)?;
        keep_time(&localnet);
        let secret = faucet.secret_text().parse().context("the faucet's key is damaged")?;
        let gift = near_balance(FAUCET_GIFT_NEAR);
        let options =
            RpcOptions { faucet: Some(Faucet::new(near_account(faucet.account())?, secret, gift, FAUCET_LIMIT)), ..RpcOptions::default() };
        let server = serve(localnet, address, options).await.map_err(|error| port_error("chain", address, error))?;
        let rpc_url = server.url();
        let deployment = deployment(&chain_id, &AccountId::new(ROOT)?, 1)?;
        let chain = Self { _server: server, rpc_url, deployment, home: home.clone() };
        chain.deploy(args).await?;
        chain.found_sponsor().await?;
        Ok(chain)
    }

    pub(super) fn rpc_url(&self) -> String {
        self.rpc_url.clone()
    }

    pub(super) fn deployment(&self) -> &Deployment {
        &self.deployment
    }

    pub(super) fn key_file(&self, account: &str) -> PathBuf {
        self.home.key(account)
    }

    /// Makes the sponsor's account, on an older chain too.
    async fn found_sponsor(&self) -> Result<()> {
        let (rpc, sponsor) = (RpcClient::new(&self.rpc_url), signer(&self.home, SPONSOR)?);
        if rpc.account(sponsor.account()).await?.is_none() {
            let balance = Amount::from_near(SPONSOR_BALANCE_NEAR);
            rpc.create_account(&signer(&self.home, ROOT)?, sponsor.account(), &sponsor.public_key(), balance)
                .await
                .context("the sponsor's account was not made")?;
        }
        Ok(())
    }

    async fn deploy(&self, args: &UpArgs) -> Result<()> {
        let rpc = RpcClient::new(&self.rpc_url);
        let code = Code::read(&args.target.join("contracts"))?;
        let stamp = self.home.join("contracts.hash");
        let hash = code.hash().to_string();
        if let Ok(deployed) = fs::read_to_string(&stamp) {
            if deployed == hash {
                return Ok(());
            }
            bail!(
                "the chain in {} runs other contracts than those in {}: start a new one with --fresh (the old is set aside, not deleted), or choose another --home",
                self.home.path().display(),
                args.target.display()
            );
        }
        let signers = [
            signer(&self.home, CONTRACTS[0])?,
            signer(&self.home, CONTRACTS[1])?,
            signer(&self.home, CONTRACTS[2])?,
            signer(&self.home, CONTRACTS[3])?,
        ];
        let init = InitArgs {
            owner: AccountId::new(ROOT)?,
            deployment: self.deployment.clone(),
            fee: BasisPoints::new(FEE_BASIS_POINTS)?,
            min_stake: Amount::from_near(MIN_STAKE_NEAR),
        };
        deploy_in_place(&rpc, &signers, &code, &init).await?;
        write_atomically(&stamp, hash.as_bytes())
    }
}

fn open(home: &Home, chain_id: &str) -> Result<Localnet> {
    let mut builder = Localnet::builder().chain_id(chain_id).data_dir(home.join("chain"));
    let mut accounts = vec![
        (ROOT.to_owned(), ACCOUNT_BALANCE_NEAR),
        ("coordinator.starling".to_owned(), ACCOUNT_BALANCE_NEAR),
        ("tenant.starling".to_owned(), ACCOUNT_BALANCE_NEAR),
        ("faucet.starling".to_owned(), FAUCET_BALANCE_NEAR),
    ];
    accounts.extend(CONTRACTS.map(|name| (name.to_owned(), CONTRACT_BALANCE_NEAR)));
    accounts.extend((1..=PROVIDERS).map(|number| (format!("provider-{number}.starling"), ACCOUNT_BALANCE_NEAR)));
    for (name, near) in accounts {
        let signer = signer(home, &name)?;
        let key = near_crypto::PublicKey::ED25519(near_crypto::ED25519PublicKey(signer.public_key().0));
        builder = builder.account(near_account(signer.account())?, key, near_balance(near));
    }
    builder
        .build()
        .with_context(|| format!("the chain in {} cannot be opened: is another `starling up` using this home?", home.path().display()))
}

/// A transaction makes its blocks at once; besides, blocks come steadily, as on any network, so that whoever waits for one does not wait for a stranger.
pub(crate) fn keep_time(localnet: &Localnet) {
    let localnet = localnet.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(BLOCK_TIME);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            if let Err(error) = localnet.produce_block() {
                tracing::error!(%error, "the embedded chain cannot make a block");
            }
        }
    });
}

/// The key of an account of this home, made on first use.
fn signer(home: &Home, account: &str) -> Result<Signer> {
    let path = home.key(account);
    if !path.exists() {
        fs::create_dir_all(path.parent().context("a key file needs a folder")?)?;
        Signer::generate(AccountId::new(account)?)?.write_file(&path)?;
    }
    Ok(Signer::from_file(&path)?)
}

/// A name that no other chain has, so that a signature made here is worth nothing elsewhere.
fn chain_id(home: &Home) -> Result<String> {
    let path = home.join("chain-id");
    if let Ok(id) = fs::read_to_string(&path) {
        return Ok(id.trim().to_owned());
    }
    let mut random = [0; 4];
    getrandom::fill(&mut random).map_err(|_| anyhow::anyhow!("the system gave no random numbers"))?;
    let id = format!("starling-embedded-{}", hex::encode(random));
    write_atomically(&path, id.as_bytes())?;
    Ok(id)
}

fn set_aside(home: &Home) -> Result<()> {
    let seconds = crate::train::now().0 / 1_000;
    let aside = home.join(format!("old-{seconds}"));
    for part in ["chain", "chain-id", "contracts.hash", "keys", "meter", "coordinator", "logs", "profile.json"]
        .map(str::to_owned)
        .into_iter()
        .chain((1..=PROVIDERS).map(|number| format!("node-{number}")))
    {
        let from = home.join(&part);
        if from.exists() {
            fs::create_dir_all(&aside)?;
            fs::rename(&from, aside.join(&part)).with_context(|| format!("{} cannot be set aside", from.display()))?;
        }
    }
    Ok(())
}

fn near_account(account: &AccountId) -> Result<near_primitives::types::AccountId> {
    Ok(account.as_str().parse()?)
}

fn near_balance(near: u64) -> near_primitives::types::Balance {
    near_primitives::types::Balance::from_yoctonear(Amount::from_near(near).0)
}
