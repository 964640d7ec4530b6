//! `starling upgrade STEP --network FILE`: the code of deployed contracts is approved, shown, taken back, and put in place.

use crate::{
    deploy::{self, Code, Network},
    output::Output,
};
use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;
use serde_json::json;
use starling_contract_api::{rpc::BlockRef, upgrade::Upgrades};
use starling_primitives::{AccountId, Hash32, TimestampMs};
use starling_protocol::upgrade::Approval;
use std::path::PathBuf;

#[derive(clap::Args, Debug)]
pub(crate) struct UpgradeArgs {
    /// What to do.
    step: Step,
    /// TOML file that describes the network.
    #[arg(long)]
    network: PathBuf,
    /// Folder with the built contracts.
    #[arg(long, default_value = "target/contracts")]
    contracts: PathBuf,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Step {
    /// Show what runs and what is approved.
    Show,
    /// Approve the built code for each contract that runs other code; the owner.
    Approve,
    /// Take the approvals back; the owner.
    Cancel,
    /// Put the built code in place where it is approved and its time has come; anyone.
    Run,
}

/// A deployed contract, and the built code that may take its code's place.
struct Contract<'a> {
    upgrades: Upgrades,
    running: Hash32,
    code: &'a [u8],
    built: Hash32,
    approval: Option<Approval>,
}

impl Contract<'_> {
    fn account(&self) -> &AccountId {
        &self.upgrades.0
    }

    /// Whether the step has anything to do here.
    fn concerns(&self, step: Step) -> bool {
        let approved = self.approval.is_some_and(|approval| approval.new_hash == self.built && approval.old_hash == self.running);
        match step {
            Step::Show => false,
            Step::Approve => self.running != self.built && !approved,
            Step::Cancel => self.approval.is_some(),
            Step::Run => approved,
        }
    }

    fn show(&self, now: TimestampMs, out: Output) {
        let same = if self.running == self.built { "the built code" } else { "other code than was built" };
        let approved = match &self.approval {
            Some(Approval { new_hash, possible_at, .. }) if *possible_at <= now => format!("{} may come now", new_hash.short()),
            Some(Approval { new_hash, possible_at, .. }) => format!("{} may come in {}", new_hash.short(), possible_at.since(now)),
            None => "no upgrade is approved".to_owned(),
        };
        out.say(
            "contract",
            &json!({"account": self.account(), "running": self.running, "built": self.built, "approval": self.approval}),
            &format!("  {:<40} runs {} ({same}); {approved}", self.account().as_str(), self.running.short()),
        );
    }
}

/// Does one step of an upgrade for all four contracts of a deployment.
pub(crate) async fn upgrade(args: &UpgradeArgs, out: Output) -> Result<()> {
    let code = Code::read(&args.contracts)?;
    let network = Network::open(&args.network).await?;
    let contracts = read(&network, &code).await?;
    let now = TimestampMs(network.rpc.block(BlockRef::Final).await?.timestamp_ms);
    for contract in &contracts {
        contract.show(now, out);
    }
    if args.step == Step::Show {
        return Ok(());
    }
    let concerned: Vec<_> = contracts.iter().filter(|contract| contract.concerns(args.step)).collect();
    ensure!(!concerned.is_empty(), "there is nothing to do: no contract is in a state for this step");
    if !args.yes && !deploy::ask(&format!("{} for {} contracts on {}?", args.step.verb(), concerned.len(), network.file.chain_id))? {
        bail!("nothing was sent");
    }
    for contract in concerned {
        take(args.step, &network, contract).await.with_context(|| format!("{} is as it was", contract.account()))?;
        out.say("done", &json!({"account": contract.account()}), &format!("  {} done", contract.account()));
    }
    Ok(())
}

impl Step {
    fn verb(self) -> &'static str {
        match self {
            Self::Show => "Show",
            Self::Approve => "Approve the built code",
            Self::Cancel => "Take the approval back",
            Self::Run => "Put the built code in place",
        }
    }
}

async fn read<'a>(network: &Network, code: &'a Code) -> Result<Vec<Contract<'a>>> {
    let mut contracts = Vec::new();
    for (name, code) in &code.parts {
        let account = network.file.owner.sub_account(name)?;
        let deployed =
            network.rpc.account(&account).await?.with_context(|| format!("there is no {account} on {}", network.file.chain_id))?;
        let running: near_primitives::hash::CryptoHash =
            deployed.code_hash.parse().map_err(|error| anyhow::anyhow!("{account} has no code hash: {error}"))?;
        let upgrades = Upgrades(account);
        let approval = network.rpc.view(&upgrades.approved()).await?;
        contracts.push(Contract { upgrades, running: Hash32(running.0), code, built: Hash32::sha256(code), approval });
    }
    Ok(contracts)
}

async fn take(step: Step, network: &Network, contract: &Contract<'_>) -> Result<()> {
    let Network { rpc, owner, .. } = network;
    match step {
        Step::Show => {}
        Step::Approve => {
            rpc.call(owner, &contract.upgrades.approve(contract.running, contract.built)).await?;
        }
        Step::Cancel => {
            rpc.call(owner, &contract.upgrades.cancel()).await?;
        }
        Step::Run => {
            rpc.transact(owner, contract.account(), vec![Upgrades::run(contract.code.to_vec())]).await?;
            let account = rpc.account(contract.account()).await?.context("the account is gone")?;
            let expected = near_primitives::hash::CryptoHash(contract.built.0).to_string();
            ensure!(account.code_hash == expected, "it does not run the code that was brought");
        }
    }
    Ok(())
}
