//! `starling deploy --network FILE`: all four contracts to any NEAR network: plan with its cost, ask, deploy, verify.

use crate::output::Output;
use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;
use starling_contract_api::{
    Deployment, InitArgs,
    billing::Billing,
    compute::Compute,
    hub::Listings,
    payment::storage_cost,
    rpc::{Action, AddKeyAction, CreateAccountAction, DeleteKeyAction, DeployContractAction, RpcClient, Signer, TransferAction},
};
use starling_primitives::{AccountId, Amount, BasisPoints, Hash32};
use starling_protocol::upgrade::UPGRADE_DELAY;
use std::{
    fs,
    io::{IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

/// What a contract's account keeps beyond its code: its own records and gas for callbacks.
const RESERVE: Amount = Amount::from_millinear(500);
const NEW_TGAS: u64 = 20;

/// A network to deploy to.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NetworkFile {
    /// The chain's own name; compared with what its RPC says.
    pub(crate) chain_id: String,
    /// The chain's JSON-RPC.
    pub(crate) rpc_url: String,
    /// The account that pays, owns the contracts and is the parent of their accounts.
    pub(crate) owner: AccountId,
    /// Its NEAR credential file.
    pub(crate) owner_key_file: PathBuf,
    /// The fee in basis points.
    pub(crate) fee: BasisPoints,
    /// The least stake of a node, in yoctoNEAR.
    pub(crate) min_stake: Amount,
}

/// A network that answers, and the key of the owner.
pub(crate) struct Network {
    pub(crate) file: NetworkFile,
    pub(crate) rpc: RpcClient,
    pub(crate) owner: Signer,
    height: u64,
}

impl Network {
    /// Reads the file, and asks the chain whether it is the one that the file names. Sends nothing.
    pub(crate) async fn open(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("the network file {} cannot be read", path.display()))?;
        let file: NetworkFile = toml::from_str(&text).with_context(|| format!("the network file {} is wrong", path.display()))?;
        let rpc = RpcClient::new(&file.rpc_url);
        let status = rpc.status().await?;
        ensure!(
            status.chain_id == file.chain_id,
            "wrong network: {} serves {}, the file names {}. Nothing was sent",
            file.rpc_url,
            status.chain_id,
            file.chain_id
        );
        let owner = Signer::from_file(&path.parent().unwrap_or(Path::new(".")).join(&file.owner_key_file))?;
        ensure!(*owner.account() == file.owner, "the key file is of {}, the network file names {}", owner.account(), file.owner);
        Ok(Self { file, rpc, owner, height: status.height })
    }
}

/// The four contracts' code.
pub(crate) struct Code {
    pub(crate) parts: [(&'static str, Vec<u8>); 4],
}

impl Code {
    /// Reads `billing.wasm`, `compute.wasm`, `hub.wasm` and `market.wasm`.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let read = |name: &'static str| {
            let path = folder.join(format!("{name}.wasm"));
            let code = fs::read(&path).with_context(|| {
                format!("there is no contract at {}: run `cargo xtask wasm`, or name the folder with --contracts", path.display())
            })?;
            Ok::<_, anyhow::Error>((name, code))
        };
        Ok(Self { parts: [read("billing")?, read("compute")?, read("hub")?, read("market")?] })
    }

    /// One hash over all four.
    pub(crate) fn hash(&self) -> Hash32 {
        let all: Vec<u8> = self.parts.iter().flat_map(|(_, code)| Hash32::sha256(code).0).collect();
        Hash32::sha256(&all)
    }
}

/// The accounts `billing.PARENT` and so on.
pub(crate) fn deployment(chain_id: &str, parent: &AccountId, instance: u64) -> Result<Deployment> {
    let account = |name: &str| parent.sub_account(name);
    Ok(Deployment {
        chain_id: chain_id.to_owned(),
        instance,
        billing: account("billing")?,
        compute: account("compute")?,
        hub: account("hub")?,
        market: account("market")?,
    })
}

/// Deploys to a network described in a file, after showing the plan and asking.
pub(crate) async fn deploy_to_network(file: &Path, contracts: &Path, yes: bool, out: Output) -> Result<Deployment> {
    let code = Code::read(contracts)?;
    let Network { file: network, rpc, owner, height } = Network::open(file).await?;
    let deployment = deployment(&network.chain_id, &network.owner, height)?;
    let plan = plan(&rpc, &deployment, &code).await?;
    let total = Amount::sum(plan.iter().map(|part| part.cost))?;
    for part in &plan {
        out.say(
            "plan",
            &json!({"account": part.account, "bytes": part.code.len(), "cost": part.cost, "sha256": Hash32::sha256(part.code)}),
            &format!("  {:<40} {:>7} bytes   {}", part.account.as_str(), part.code.len(), part.cost.display_near()),
        );
    }
    out.note(&format!(
        "On {}: in all {} from {}, staked for storage, plus gas. Once all is verified the contracts' accounts lose their keys, for good: their code changes by upgrades alone, \
         which {} approves and anyone makes, {UPGRADE_DELAY} later at the earliest.",
        network.chain_id,
        total.display_near(),
        network.owner,
        network.owner
    ));
    let balance =
        rpc.account(&network.owner).await?.with_context(|| format!("{} does not exist on {}", network.owner, network.chain_id))?.balance;
    ensure!(balance > total, "{} has {}, {} are needed. Nothing was sent", network.owner, balance.display_near(), total.display_near());
    if !yes && !ask("Deploy?")? {
        bail!("nothing was deployed");
    }
    for part in &plan {
        let init =
            InitArgs { owner: network.owner.clone(), deployment: deployment.clone(), fee: network.fee, min_stake: network.min_stake };
        create_and_deploy(&rpc, &owner, part, &init).await.with_context(|| {
            format!("{} was not deployed; what was deployed before stays: remove it or choose another owner account", part.account)
        })?;
        out.say("deployed", &json!({"account": part.account}), &format!("  {} deployed", part.account));
    }
    verify(&rpc, &deployment, &plan, &network.owner).await?;
    for part in &plan {
        give_key_up(&rpc, &owner, &part.account)
            .await
            .with_context(|| format!("{} still has a key: whoever holds it can replace the code", part.account))?;
    }
    out.say(
        "done",
        &json!(deployment),
        "Deployed and verified: code hashes and settings on chain are those of the plan, and no contract's account has a key.",
    );
    Ok(deployment)
}

/// One contract of a plan.
pub(crate) struct Part<'a> {
    account: AccountId,
    code: &'a [u8],
    cost: Amount,
}

async fn plan<'a>(rpc: &RpcClient, deployment: &Deployment, code: &'a Code) -> Result<Vec<Part<'a>>> {
    let mut plan = Vec::new();
    for ((_, code), account) in code.parts.iter().zip([&deployment.billing, &deployment.compute, &deployment.hub, &deployment.market]) {
        ensure!(
            rpc.account(account).await?.is_none(),
            "{account} exists already: nothing was sent. Choose another owner account, or remove it"
        );
        let cost = storage_cost(u64::try_from(code.len())?).checked_add(RESERVE)?;
        plan.push(Part { account: account.clone(), code, cost });
    }
    Ok(plan)
}

async fn create_and_deploy(rpc: &RpcClient, owner: &Signer, part: &Part<'_>, init: &InitArgs) -> Result<()> {
    let key = near_crypto::PublicKey::ED25519(near_crypto::ED25519PublicKey(owner.public_key().0));
    let actions = vec![
        Action::CreateAccount(CreateAccountAction {}),
        Action::Transfer(TransferAction { deposit: near_primitives::types::Balance::from_yoctonear(part.cost.0) }),
        Action::AddKey(Box::new(AddKeyAction { public_key: key, access_key: near_primitives::account::AccessKey::full_access() })),
        Action::DeployContract(DeployContractAction { code: part.code.to_vec() }),
        init_action(init)?,
    ];
    rpc.transact(owner, &part.account, actions).await?;
    Ok(())
}

/// Takes the owner's key from a contract's account, which then has none.
async fn give_key_up(rpc: &RpcClient, owner: &Signer, account: &AccountId) -> Result<()> {
    let public_key = near_crypto::PublicKey::ED25519(near_crypto::ED25519PublicKey(owner.public_key().0));
    rpc.transact(&owner.on(account.clone()), account, vec![Action::DeleteKey(Box::new(DeleteKeyAction { public_key }))]).await?;
    let keys = rpc.keys(account).await?;
    ensure!(keys.is_empty(), "it has {} keys that nobody should have", keys.len());
    Ok(())
}

/// Deploys to an account that exists, by its own key: the embedded chain's way.
pub(crate) async fn deploy_in_place(rpc: &RpcClient, signers: &[Signer; 4], code: &Code, init: &InitArgs) -> Result<()> {
    for (signer, (name, code)) in signers.iter().zip(&code.parts) {
        let actions = vec![Action::DeployContract(DeployContractAction { code: code.clone() }), init_action(init)?];
        rpc.transact(signer, signer.account(), actions).await.with_context(|| format!("{name} was not deployed"))?;
    }
    Ok(())
}

fn init_action(init: &InitArgs) -> Result<Action> {
    Ok(Action::FunctionCall(Box::new(starling_contract_api::rpc::FunctionCallAction {
        method_name: "new".to_owned(),
        args: serde_json::to_vec(init)?,
        gas: near_primitives::types::Gas::from_teragas(NEW_TGAS),
        deposit: near_primitives::types::Balance::from_yoctonear(0),
    })))
}

async fn verify(rpc: &RpcClient, deployment: &Deployment, plan: &[Part<'_>], owner: &AccountId) -> Result<()> {
    for part in plan {
        let account = rpc.account(&part.account).await?.with_context(|| format!("{} is not there", part.account))?;
        let expected = near_primitives::hash::CryptoHash::hash_bytes(part.code).to_string();
        ensure!(account.code_hash == expected, "{} runs other code than was deployed", part.account);
    }
    let wrong = |name: &str| format!("{name} has other settings than were given");
    let billing = rpc.view(&Billing(deployment.billing.clone()).config()).await?;
    ensure!(billing.deployment == *deployment && billing.owner == *owner, wrong("billing"));
    let compute = rpc.view(&Compute(deployment.compute.clone()).config()).await?;
    ensure!(compute.deployment == *deployment && compute.owner == *owner, wrong("compute"));
    for account in [&deployment.hub, &deployment.market] {
        let config = rpc.view(&Listings(account.clone()).config()).await?;
        ensure!(config.deployment == *deployment && config.owner == *owner, wrong(account.as_str()));
    }
    Ok(())
}

/// Asks a yes or no on the terminal.
pub(crate) fn ask(question: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        bail!("there is no terminal to ask on: say --yes");
    }
    print!("{question} [y/N] ");
    std::io::stdout().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
