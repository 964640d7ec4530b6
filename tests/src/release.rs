//! Contracts of a release, and upgrades from it.

use crate::{Actor, Answer, FEE, Harness, MIN_STAKE, Sent, harness::signer};
use anyhow::Context as _;
use near_workspaces::types::{Gas, NearToken};
use serde_json::{Value, json};
use starling_contract_api::{
    TGAS,
    upgrade::{UPGRADE_METHOD, UPGRADE_TGAS, Upgrades},
};
use starling_localnet::BlockMode;
use starling_primitives::{AccountId, Amount, Hash32};
use std::path::PathBuf;

/// The contracts of a deployment.
pub const CONTRACTS: [&str; 4] = ["billing", "compute", "hub", "market"];

/// The wasm of a contract in a release, as `contracts/releases` keeps it.
pub fn release_wasm(release: u32, name: &str) -> anyhow::Result<Vec<u8>> {
    let path: PathBuf =
        [env!("CARGO_MANIFEST_DIR"), "..", "contracts", "releases", &release.to_string(), &format!("{name}.wasm")].iter().collect();
    std::fs::read(&path).with_context(|| format!("{} is missing", path.display()))
}

/// The same code under another hash: with a section of that name behind it, which no machine runs.
pub fn marked(mut code: Vec<u8>, mark: &str) -> anyhow::Result<Vec<u8>> {
    let len = u8::try_from(mark.len())?;
    anyhow::ensure!(len < 0x7f, "the mark is too long");
    code.extend([0, len + 1, len]);
    code.extend(mark.as_bytes());
    Ok(code)
}

impl Harness {
    /// A chain with a release's four contracts, each with so many NEAR.
    pub async fn start_release(mode: BlockMode, release: u32, near: u64) -> anyhow::Result<Self> {
        let harness = Self::start_in(mode, &[]).await?;
        for name in CONTRACTS {
            let contract = harness.actor(&format!("{name}.starling"), near).await?;
            contract.near.deploy(&release_wasm(release, name)?).await?.into_result()?;
            let args = json!({"owner": harness.owner.account, "deployment": harness.deployment, "fee": FEE, "min_stake": MIN_STAKE});
            let init = contract.near.call(&contract.account.as_str().parse()?, "new").args_json(args).gas(Gas::from_tgas(30));
            Answer::read(init.transact().await?).ok()?;
        }
        Ok(harness)
    }

    /// Puts code in the place of a contract's.
    pub async fn upgrade(&self, actor: &Actor, contract: &AccountId, code: &[u8]) -> anyhow::Result<Answer> {
        self.send_upgrade(actor, contract, code).await?.outcome().await
    }

    /// The same without waiting for it.
    pub async fn send_upgrade(&self, actor: &Actor, contract: &AccountId, code: &[u8]) -> anyhow::Result<Sent> {
        let call = actor.near.call(&contract.as_str().parse()?, UPGRADE_METHOD);
        Ok(Sent(call.args(code.to_vec()).gas(Gas::from_gas(UPGRADE_TGAS * TGAS)).transact_async().await?))
    }

    /// The owner approves that code takes the place of what runs.
    pub async fn approve_upgrade(&self, contract: &AccountId, code: &[u8]) -> anyhow::Result<Answer> {
        let approve = Upgrades(contract.clone()).approve(self.code_hash(contract)?, Hash32::sha256(code));
        self.call(&self.owner, &approve).await?.ok()
    }

    /// Hash of the code that runs at an account.
    pub fn code_hash(&self, contract: &AccountId) -> anyhow::Result<Hash32> {
        Ok(Hash32::sha256(&self.chain.code(&contract.as_str().parse()?).context("there is no contract")?))
    }

    /// Deploys code by the account's own key, as nobody can on a public network.
    pub async fn deploy_by_key(&self, contract: &AccountId, code: &[u8]) -> anyhow::Result<()> {
        Actor::new(self, signer(contract.clone()))?.near.deploy(code).await?.into_result()?;
        Ok(())
    }

    /// The same without waiting for it.
    pub async fn send_deploy_by_key(&self, contract: &AccountId, code: Vec<u8>) -> anyhow::Result<Sent> {
        let deploy = Actor::new(self, signer(contract.clone()))?.near.batch(&contract.as_str().parse()?).deploy(&code);
        Ok(Sent(deploy.transact_async().await?))
    }

    /// What a contract answers to a read, as it stands: an older contract's answers may have another form than ours.
    pub async fn view_json(&self, contract: &AccountId, method: &str, args: &Value) -> anyhow::Result<Value> {
        let details = self.worker.view(&contract.as_str().parse()?, method).args(args.to_string().into_bytes()).await?;
        Ok(serde_json::from_slice(&details.result)?)
    }

    /// Sends NEAR to an account, without a word.
    pub async fn give(&self, actor: &Actor, to: &AccountId, amount: Amount) -> anyhow::Result<()> {
        actor.near.transfer_near(&to.as_str().parse()?, NearToken::from_yoctonear(amount.0)).await?.into_result()?;
        Ok(())
    }
}
