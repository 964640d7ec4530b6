//! One command makes a machine a node: key, registration, stake, bond, offer, configuration. Repeated, it completes what is missing and changes nothing else.

mod promise;

use crate::{
    config::{ConfigError, NodeConfig, checked_coordinator, open_roots},
    files,
    probe::{ProbeError, memory_bytes, probe},
    script::ScriptSettings,
};
use near_primitives::account::{AccessKey, AccessKeyPermission, FunctionCallPermission};
pub(crate) use promise::Promise;
use starling_contract_api::{
    billing::Billing,
    compute::{Compute, Counts, MAX_PAGE, NODE_METHODS},
    payment::{PayArgs, PayResult, PaymentMsg},
    rpc::{Action, AddKeyAction, BlockRef, KeyError, RpcClient, RpcError, Signer},
};
use starling_http_api::{network::NetworkInfo, path};
use starling_primitives::{AccountId, Amount, Asset, BasisPoints, DurationMs, EscrowId, NodeId, TimestampMs};
use starling_protocol::{
    escrow::{Bounds, MAX_OBJECTION_WINDOW},
    node::{Node, OfferTerms},
};
use starling_tls::Roots;
use std::path::{Path, PathBuf};

/// What a node's key may spend on gas before its provider renews it: 2 NEAR.
const KEY_ALLOWANCE: Amount = Amount::from_millinear(2_000);
/// How long a stake lies before it must be renewed; released earlier by asking for closing.
const STAKE_TIME: DurationMs = DurationMs::from_days(365);
/// The shortest and longest lease that is offered.
const LEASE_TIMES: (DurationMs, DurationMs) = (DurationMs::from_secs(60), DurationMs::from_hours(24));

/// The longest objection window, in hours.
pub(crate) const MAX_OBJECTION_HOURS: u64 = MAX_OBJECTION_WINDOW.0 / 3_600_000;

/// What a provider chooses.
pub(crate) struct Setup {
    /// Origin of the coordinator.
    pub(crate) coordinator: String,
    /// The chain's JSON-RPC.
    pub(crate) rpc_url: String,
    /// A PEM file of an authority that is trusted besides the public ones.
    pub(crate) ca_file: Option<PathBuf>,
    /// The provider's full-access key, used by this command only.
    pub(crate) provider_key: PathBuf,
    /// Who is paid; the provider itself when left out.
    pub(crate) payout: Option<AccountId>,
    /// The node's folder.
    pub(crate) home: PathBuf,
    /// Threads that work may use.
    pub(crate) threads: u16,
    /// Memory that work may use.
    pub(crate) memory_limit_bytes: Option<u64>,
    /// What a million accepted tokens cost.
    pub(crate) price_per_million_tokens: Amount,
    /// What an hour costs.
    pub(crate) price_per_hour: Amount,
    /// How long a tenant may object to what its delegate signed; nothing takes no delegates.
    pub(crate) objection_window: DurationMs,
    /// The stake; the least that is asked for when left out.
    pub(crate) stake: Option<Amount>,
    /// What the offer promises; nothing when left out.
    pub(crate) promise: Option<Promise>,
    /// Whether tenants' scripts may run here.
    pub(crate) scripts: bool,
}

impl Setup {
    /// What is offered, with the bond that stands behind it.
    fn offer_terms(&self, bond: Option<EscrowId>) -> OfferTerms {
        OfferTerms {
            price_per_million_tokens: self.price_per_million_tokens,
            price_per_hour: self.price_per_hour,
            min_lease: LEASE_TIMES.0,
            max_lease: LEASE_TIMES.1,
            objection_window: self.objection_window,
            asset: Asset::Near,
            sla: self.promise.as_ref().zip(bond).map(|(promise, bond)| promise.sla(bond)),
        }
    }
}

/// Why a machine could not be set up. What was done so far stays, and the next try goes on from there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetupError {
    /// A setting is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A key file cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The chain did not do it.
    #[error("{what}: {source}")]
    Chain {
        /// Which step.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<RpcError>,
    },
    /// The coordinator does not answer.
    #[error("the coordinator {origin} does not answer: {reason}; is the address right, and is it running?")]
    Coordinator {
        /// Which.
        origin: String,
        /// Why.
        reason: String,
    },
    /// The coordinator and the RPC are of different chains.
    #[error("the coordinator serves the chain {coordinator}, the RPC is of {rpc}: give the RPC of the same network")]
    WrongNetwork {
        /// By the coordinator.
        coordinator: String,
        /// By the RPC.
        rpc: String,
    },
    /// The machine could not be measured.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The stake or the bond was refused.
    #[error("{what}: {reason}; the money is on your balance in billing")]
    Refused {
        /// Which.
        what: &'static str,
        /// Why.
        reason: String,
    },
    /// The promise is outside what an offer may promise.
    #[error("the promise cannot be made: {0}")]
    Promise(starling_protocol::node::NodeError),
    /// The key file is another account's.
    #[error("the node's key in {0} is another account's than the provider's: choose another --home")]
    KeyOfAnother(String),
    /// The disk failed.
    #[error("the folder cannot be written: {0}")]
    Disk(#[from] std::io::Error),
    /// An amount passed its range.
    #[error(transparent)]
    Amount(#[from] starling_primitives::AmountError),
}

/// The chain while setting up, with the provider's key.
struct Provider {
    rpc: RpcClient,
    signer: Signer,
    billing: Billing,
    compute: Compute,
}

/// Does all of it; gives the configuration file's path.
pub(crate) async fn set_up(setup: &Setup) -> Result<PathBuf, SetupError> {
    let coordinator = checked_coordinator(&setup.coordinator)?;
    let path = setup.home.join("node.toml");
    let before = NodeConfig::read(&path, |_| None).ok();
    let ca_file = match &setup.ca_file {
        Some(file) => Some(std::path::absolute(file)?),
        None => before.as_ref().and_then(|before| before.ca_file.clone()),
    };
    let roots = open_roots(ca_file.as_deref())?;
    // What the contract would refuse is refused before anything is paid.
    setup.offer_terms(Some(EscrowId(0))).check().map_err(SetupError::Promise)?;
    std::fs::create_dir_all(&setup.home)?;
    let signer = Signer::from_file(&setup.provider_key)?;
    let rpc = RpcClient::with_http(&setup.rpc_url, roots.http());
    let network = network(&coordinator, &roots).await?;
    let chain_id = rpc.status().await.map_err(|source| failed("the chain does not answer", source))?.chain_id;
    let deployment = network.deployment;
    if chain_id != deployment.chain_id {
        return Err(SetupError::WrongNetwork { coordinator: deployment.chain_id, rpc: chain_id });
    }
    let provider = Provider { rpc, signer, billing: Billing(deployment.billing.clone()), compute: Compute(deployment.compute.clone()) };
    let account = provider.signer.account().clone();
    let key_file = setup.home.join("key.json");
    let key = node_key(&key_file, &account)?;
    provider.add_key(&key).await?;
    let payout = setup.payout.clone().unwrap_or_else(|| account.clone());
    provider.register_payout(&payout).await?;
    let node = provider.register_node(&key, &payout, setup).await?;
    provider.stake(&node, setup.stake).await?;
    let bond = match &setup.promise {
        Some(promise) => Some(provider.bond(promise).await?),
        None => None,
    };
    provider.offer(node.id, &setup.offer_terms(bond)).await?;
    let config = NodeConfig {
        coordinator,
        rpc_url: setup.rpc_url.clone(),
        ca_file,
        node_id: node.id,
        provider: account,
        key_file: "key.json".into(),
        data_dir: "data".into(),
        threads: setup.threads,
        min_price_per_million_tokens: setup.price_per_million_tokens,
        min_price_per_hour: setup.price_per_hour,
        memory_limit_bytes: setup.memory_limit_bytes,
        // What its owner has set since stays.
        cache_limit_bytes: before.as_ref().map_or(20 << 30, |before| before.cache_limit_bytes),
        metrics_address: before.as_ref().and_then(|before| before.metrics_address),
        limits: before.as_ref().map_or_else(Default::default, |before| before.limits.clone()),
        sensors: before.as_ref().map_or_else(Default::default, |before| before.sensors.clone()),
        data: before.as_ref().map_or_else(Vec::new, |before| before.data.clone()),
        scripts: ScriptSettings {
            allowed: setup.scripts || before.as_ref().is_some_and(|before| before.scripts.allowed),
            ..before.map(|before| before.scripts).unwrap_or_default()
        },
        deployment,
    };
    files::write_atomic(&path, config.to_toml()?.as_bytes())?;
    Ok(path)
}

async fn network(coordinator: &str, roots: &Roots) -> Result<NetworkInfo, SetupError> {
    let failed = |error: reqwest::Error| SetupError::Coordinator { origin: coordinator.to_owned(), reason: error.to_string() };
    let http = roots.http().timeout(std::time::Duration::from_secs(30)).build().map_err(failed)?;
    let response = http.get(format!("{coordinator}{}", path::NETWORK)).send().await.map_err(failed)?;
    response.error_for_status().map_err(failed)?.json().await.map_err(failed)
}

/// The node's own key: read, or made once and kept where only its owner reads it.
fn node_key(path: &Path, account: &AccountId) -> Result<Signer, SetupError> {
    if path.exists() {
        let key = Signer::from_file(path)?;
        return if key.account() == account { Ok(key) } else { Err(SetupError::KeyOfAnother(path.display().to_string())) };
    }
    let key = Signer::generate(account.clone())?;
    key.write_file(path)?;
    Ok(key)
}

impl Provider {
    async fn add_key(&self, key: &Signer) -> Result<(), SetupError> {
        let there = self
            .rpc
            .access_key(self.signer.account(), &key.public_key())
            .await
            .map_err(|source| failed("the account's keys could not be read", source))?;
        if there.is_some() {
            return Ok(());
        }
        let permission = FunctionCallPermission {
            allowance: Some(near_primitives::types::Balance::from_yoctonear(KEY_ALLOWANCE.0)),
            receiver_id: self.compute.0.to_string(),
            method_names: NODE_METHODS.iter().map(|method| (*method).to_owned()).collect(),
        };
        let action = Action::AddKey(Box::new(AddKeyAction {
            public_key: near_crypto::PublicKey::ED25519(near_crypto::ED25519PublicKey(key.public_key().0)),
            access_key: AccessKey { nonce: 0, permission: AccessKeyPermission::FunctionCall(permission) },
        }));
        self.rpc
            .transact(&self.signer, self.signer.account(), vec![action])
            .await
            .map_err(|source| failed("the node's key could not be added to the account", source))?;
        tracing::info!(key = %key.public_key(), "added the node's key, limited to compute's node methods");
        Ok(())
    }

    async fn register_payout(&self, payout: &AccountId) -> Result<(), SetupError> {
        let what = "the payout account could not be registered in billing";
        let registered = self.rpc.view(&self.billing.storage_balance_of(payout)).await.map_err(|source| failed(what, source))?;
        if registered.is_some() {
            return Ok(());
        }
        let least = self.rpc.view(&self.billing.storage_balance_bounds()).await.map_err(|source| failed(what, source))?.min;
        self.rpc
            .call(&self.signer, &self.billing.storage_deposit(Some(payout), true, least))
            .await
            .map_err(|source| failed(what, source))?;
        tracing::info!(%payout, "registered the payout account");
        Ok(())
    }

    /// The node that has this key, or a new one with the measured capability.
    async fn register_node(&self, key: &Signer, payout: &AccountId, setup: &Setup) -> Result<Node, SetupError> {
        if let Some(node) = self.registered(key).await? {
            return Ok(node);
        }
        let what = "the node could not be registered";
        let (threads, limit) = (setup.threads, setup.memory_limit_bytes.or_else(memory_bytes));
        let capability = tokio::task::spawn_blocking(move || probe(threads, limit)).await.map_err(std::io::Error::other)??;
        let price = self.rpc.view(&self.compute.storage_price()).await.map_err(|source| failed(what, source))?;
        let call = self.compute.register_node(&key.public_key(), payout, &capability, price);
        let outcome = self.rpc.call(&self.signer, &call).await.map_err(|source| failed(what, source))?;
        let node_id: NodeId = outcome.json().map_err(|source| failed(what, source))?;
        tracing::info!(%node_id, gflops = capability.matrix_gflops, "registered the node");
        let node = self.rpc.view(&self.compute.node(node_id)).await.map_err(|source| failed(what, source))?;
        node.ok_or_else(|| failed(what, RpcError::Malformed("the node is not on chain yet; run the command again".to_owned())))
    }

    async fn registered(&self, key: &Signer) -> Result<Option<Node>, SetupError> {
        let mine = |node: &Node| node.key == key.public_key() && node.provider == *self.signer.account() && !node.retired;
        let what = "the nodes could not be read";
        let (count, mut from) = (self.rpc.view(&self.compute.counts()).await.map_err(|source| failed(what, source))?.nodes, 1);
        while from <= count {
            let nodes = self.rpc.view(&self.compute.nodes(from, MAX_PAGE)).await.map_err(|source| failed(what, source))?;
            from = Counts::next(from, nodes.last().map(|node| node.id.0));
            if let Some(node) = nodes.into_iter().find(mine) {
                return Ok(Some(node));
            }
        }
        Ok(None)
    }

    async fn stake(&self, node: &Node, amount: Option<Amount>) -> Result<(), SetupError> {
        let what = "the stake could not be paid";
        if node.stake.as_ref().is_some_and(|stake| stake.confirmed) {
            return Ok(());
        }
        let least = self.rpc.view(&self.compute.config()).await.map_err(|source| failed(what, source))?.min_stake;
        let amount = amount.unwrap_or(least).max(least);
        if amount.is_zero() {
            return Ok(());
        }
        let escrow_id = self.pay(amount, PaymentMsg::Stake { node_id: node.id }, what).await?;
        tracing::info!(amount = amount.display_near(), %escrow_id, "paid the stake");
        Ok(())
    }

    /// Pays out of the provider's account into an escrow that lies for a year, or until the provider asks for closing.
    async fn pay(&self, amount: Amount, msg: PaymentMsg, what: &'static str) -> Result<EscrowId, SetupError> {
        let fee = self.rpc.view(&self.billing.config()).await.map_err(|source| failed(what, source))?.fee;
        let now = self.rpc.block(BlockRef::Final).await.map_err(|source| failed(what, source))?.timestamp_ms;
        let bounds = Bounds {
            expires_by: TimestampMs(now).after(STAKE_TIME),
            post_at_once: Amount::ZERO,
            fee,
            holdback: BasisPoints::ZERO,
            voucher: None,
            objection_window: DurationMs(0),
        };
        let storage = msg.storage();
        let mut deposit = Amount::sum([amount, storage, Billing::pay_storage()])?;
        if self.rpc.view(&self.billing.storage_balance_of(self.signer.account())).await.map_err(|source| failed(what, source))?.is_none() {
            deposit = deposit
                .checked_add(self.rpc.view(&self.billing.storage_balance_bounds()).await.map_err(|source| failed(what, source))?.min)?;
        }
        let args = PayArgs { target: self.compute.0.clone(), amount, storage, bounds, msg };
        let outcome = self.rpc.call(&self.signer, &self.billing.pay(&args, deposit)).await.map_err(|source| failed(what, source))?;
        let paid: PayResult = outcome.json().map_err(|source| failed(what, source))?;
        if !paid.opened {
            let reason = outcome.receipt_failures.first().cloned().or(paid.reason).unwrap_or_else(|| "no reason was given".to_owned());
            return Err(SetupError::Refused { what, reason });
        }
        Ok(paid.escrow_id)
    }

    /// One open offer at these terms; others of the node are taken back.
    async fn offer(&self, node_id: NodeId, terms: &OfferTerms) -> Result<(), SetupError> {
        let what = "the offer could not be made";
        let mut there = false;
        let (count, mut from) = (self.rpc.view(&self.compute.counts()).await.map_err(|source| failed(what, source))?.offers, 1);
        while from <= count {
            let offers = self.rpc.view(&self.compute.offers(from, MAX_PAGE)).await.map_err(|source| failed(what, source))?;
            from = Counts::next(from, offers.last().map(|offer| offer.id.0));
            for offer in offers.into_iter().filter(|offer| offer.node_id == node_id && !offer.closed) {
                if offer.terms == *terms && !there {
                    there = true;
                } else {
                    self.rpc.call(&self.signer, &self.compute.close_offer(offer.id)).await.map_err(|source| failed(what, source))?;
                }
            }
        }
        if there {
            return Ok(());
        }
        let price = self.rpc.view(&self.compute.storage_price()).await.map_err(|source| failed(what, source))?;
        // The stake may be confirmed a block later than its payment.
        let mut tries = 0;
        loop {
            match self.rpc.call(&self.signer, &self.compute.create_offer(node_id, terms, price)).await {
                Ok(_) => break,
                Err(_) if tries < 5 && !self.staked(node_id).await? => tokio::time::sleep(std::time::Duration::from_secs(1)).await,
                Err(source) => return Err(failed(what, source)),
            }
            tries += 1;
        }
        tracing::info!(%node_id, per_million_tokens = terms.price_per_million_tokens.display_near(), per_hour = terms.price_per_hour.display_near(), "made an offer");
        Ok(())
    }

    async fn staked(&self, node_id: NodeId) -> Result<bool, SetupError> {
        let node = self.rpc.view(&self.compute.node(node_id)).await.map_err(|source| failed("the node could not be read", source))?;
        Ok(node.is_some_and(|node| node.stake.is_some_and(|stake| stake.confirmed)))
    }
}

fn failed(what: &'static str, source: RpcError) -> SetupError {
    SetupError::Chain { what, source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    #[test]
    fn node_key__should_be_made_once_and_be_readable_by_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.json");
        let account = AccountId::new("provider-1.starling").unwrap();
        let key = node_key(&path, &account).unwrap().public_key();
        assert_eq!(node_key(&path, &account).unwrap().public_key(), key);
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
        let other = AccountId::new("provider-2.starling").unwrap();
        assert!(matches!(node_key(&path, &other), Err(SetupError::KeyOfAnother(_))));
    }

    fn choices(folder: &Path) -> Setup {
        Setup {
            coordinator: "http://127.0.0.1:9".to_owned(),
            rpc_url: "http://127.0.0.1:9".to_owned(),
            ca_file: None,
            provider_key: folder.join("provider.json"),
            payout: None,
            home: folder.join("home"),
            threads: 1,
            memory_limit_bytes: None,
            price_per_million_tokens: Amount(1),
            price_per_hour: Amount(1),
            objection_window: DurationMs(0),
            stake: None,
            promise: None,
            scripts: false,
        }
    }

    #[test]
    fn offer__should_take_delegates_only_with_a_window_and_never_a_longer_one_than_the_contract() {
        let folder = tempfile::tempdir().unwrap();
        let setup = choices(folder.path());
        assert_eq!(setup.offer_terms(None).objection_window, DurationMs(0));
        let longest = Setup { objection_window: DurationMs::from_hours(MAX_OBJECTION_HOURS), ..choices(folder.path()) };
        assert_eq!(longest.offer_terms(None).check(), Ok(()));
        let longer = Setup { objection_window: DurationMs::from_hours(MAX_OBJECTION_HOURS + 1), ..setup };
        assert!(longer.offer_terms(None).check().is_err());
    }

    #[tokio::test]
    async fn set_up__should_say_when_nobody_answers() {
        let folder = tempfile::tempdir().unwrap();
        let setup = choices(folder.path());
        Signer::generate(AccountId::new("provider-1.starling").unwrap()).unwrap().write_file(&setup.provider_key).unwrap();
        let error = set_up(&setup).await.unwrap_err().to_string();
        assert!(error.contains("does not answer") && error.contains("is it running"), "{error}");
        assert!(!folder.path().join("home/key.json").exists(), "no key is made for nobody");
    }
}
