//! The chain as this service reads it: a port with exactly the questions it asks, and the one that asks them over NEAR's JSON-RPC.

mod facts;
#[cfg(test)]
pub(crate) mod fake;
mod history;
pub mod observe;

pub use facts::{Facts, FactsReader, Head};
pub use history::Historian;
pub use observe::Observer;

use futures_util::future::BoxFuture;
use serde::de::DeserializeOwned;
use starling_contract_api::{
    Call, Deployment, View,
    billing::{Billing, EscrowView},
    compute::{Compute, Counts, MAX_PAGE, Offer},
    hub::{Licence, Listings, MAX_LISTINGS_PAGE, MeteredUse},
    rpc::{BlockInfo, BlockRef, KeyInfo, Outcome, RpcClient, RpcError, SignedTx, Signer},
};
use starling_primitives::{AccountId, AssetName, BasisPoints, EscrowId, LeaseId, NodeId, PublicKey, RunId};
use starling_protocol::{lease::Lease, listing::Listing, node::Node, run::Run};
use std::sync::Arc;

/// The answer to one question.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, RpcError>>;

/// All that this service asks of the chain.
pub trait Chain: Send + Sync {
    /// The chain's own name.
    fn chain_id(&self) -> Answer<'_, String>;
    /// A block.
    fn block(&self, which: BlockRef) -> Answer<'_, BlockInfo>;
    /// What a transaction did; nothing while it is unknown.
    fn outcome<'a>(&'a self, tx: &'a str, signer: &'a AccountId) -> Answer<'a, Option<Outcome>>;
    /// An access key; nothing when the account has no such key.
    fn access_key<'a>(&'a self, account: &'a AccountId, key: &'a PublicKey) -> Answer<'a, Option<KeyInfo>>;
    /// The fee on payments from now on.
    fn fee(&self) -> Answer<'_, BasisPoints>;
    /// The tokens that billing takes or once took.
    fn tokens(&self) -> Answer<'_, Vec<AccountId>>;
    /// An escrow that is not spent.
    fn escrow(&self, escrow_id: EscrowId) -> Answer<'_, Option<EscrowView>>;
    /// A node.
    fn node(&self, node_id: NodeId) -> Answer<'_, Option<Node>>;
    /// How many numbers were given to nodes, offers, runs and leases.
    fn counts(&self) -> Answer<'_, Counts>;
    /// A page of nodes by number.
    fn nodes(&self, from: u64) -> Answer<'_, Vec<Node>>;
    /// A page of offers by number.
    fn offers(&self, from: u64) -> Answer<'_, Vec<Offer>>;
    /// A run.
    fn run(&self, run_id: RunId) -> Answer<'_, Option<Run>>;
    /// A page of runs by number.
    fn runs(&self, from: u64) -> Answer<'_, Vec<Run>>;
    /// A lease.
    fn lease(&self, lease_id: LeaseId) -> Answer<'_, Option<Lease>>;
    /// A page of leases by number.
    fn leases(&self, from: u64) -> Answer<'_, Vec<Lease>>;
    /// A page of listings of `hub` or `market` from a place on; behind the last one there is none.
    fn listings<'a>(&'a self, contract: &'a AccountId, from: u64) -> Answer<'a, Vec<Listing>>;
    /// A listing.
    fn listing<'a>(&'a self, contract: &'a AccountId, name: &'a AssetName) -> Answer<'a, Option<Listing>>;
    /// A holder's licence.
    fn licence<'a>(&'a self, contract: &'a AccountId, holder: &'a AccountId, name: &'a AssetName) -> Answer<'a, Option<Licence>>;
    /// Whether an account may use an asset now, by licence or by an open metered use.
    fn may_use<'a>(&'a self, contract: &'a AccountId, account: &'a AccountId, name: &'a AssetName) -> Answer<'a, bool>;
    /// An account's last metered use of an asset, open or over.
    fn metered_use<'a>(&'a self, contract: &'a AccountId, holder: &'a AccountId, name: &'a AssetName) -> Answer<'a, Option<MeteredUse>>;
    /// Signs a call with this service's key.
    fn sign<'a>(&'a self, call: &'a Call) -> Answer<'a, SignedTx>;
    /// Sends a signed transaction and waits for its outcome.
    fn submit<'a>(&'a self, transaction: &'a SignedTx) -> Answer<'a, Outcome>;
}

/// The chain over NEAR's JSON-RPC.
#[derive(Clone, Debug)]
pub struct RpcChain {
    rpc: RpcClient,
    signer: Arc<Signer>,
    deployment: Deployment,
}

impl RpcChain {
    /// A chain at this RPC, with the key that pays this service's gas.
    pub fn new(url: &str, signer: Signer, deployment: Deployment) -> Self {
        Self { rpc: RpcClient::new(url), signer: Arc::new(signer), deployment }
    }

    fn compute(&self) -> Compute {
        Compute(self.deployment.compute.clone())
    }

    fn ask<T: DeserializeOwned + Send + 'static>(&self, view: View<T>) -> Answer<'_, T> {
        Box::pin(async move { self.rpc.view(&view).await })
    }
}

impl Chain for RpcChain {
    fn chain_id(&self) -> Answer<'_, String> {
        Box::pin(async { Ok(self.rpc.status().await?.chain_id) })
    }

    fn block(&self, which: BlockRef) -> Answer<'_, BlockInfo> {
        Box::pin(self.rpc.block(which))
    }

    fn outcome<'a>(&'a self, tx: &'a str, signer: &'a AccountId) -> Answer<'a, Option<Outcome>> {
        Box::pin(self.rpc.outcome(tx, signer))
    }

    fn access_key<'a>(&'a self, account: &'a AccountId, key: &'a PublicKey) -> Answer<'a, Option<KeyInfo>> {
        Box::pin(self.rpc.access_key(account, key))
    }

    fn fee(&self) -> Answer<'_, BasisPoints> {
        let view = Billing(self.deployment.billing.clone()).config();
        Box::pin(async move { Ok(self.rpc.view(&view).await?.fee) })
    }

    fn tokens(&self) -> Answer<'_, Vec<AccountId>> {
        let view = Billing(self.deployment.billing.clone()).tokens();
        Box::pin(async move { Ok(self.rpc.view(&view).await?.into_iter().map(|totals| totals.token).collect()) })
    }

    fn escrow(&self, escrow_id: EscrowId) -> Answer<'_, Option<EscrowView>> {
        self.ask(Billing(self.deployment.billing.clone()).escrow(escrow_id))
    }

    fn node(&self, node_id: NodeId) -> Answer<'_, Option<Node>> {
        self.ask(self.compute().node(node_id))
    }

    fn counts(&self) -> Answer<'_, Counts> {
        self.ask(self.compute().counts())
    }

    fn nodes(&self, from: u64) -> Answer<'_, Vec<Node>> {
        self.ask(self.compute().nodes(from, MAX_PAGE))
    }

    fn offers(&self, from: u64) -> Answer<'_, Vec<Offer>> {
        self.ask(self.compute().offers(from, MAX_PAGE))
    }

    fn run(&self, run_id: RunId) -> Answer<'_, Option<Run>> {
        self.ask(self.compute().run(run_id))
    }

    fn runs(&self, from: u64) -> Answer<'_, Vec<Run>> {
        self.ask(self.compute().runs(from, MAX_PAGE))
    }

    fn lease(&self, lease_id: LeaseId) -> Answer<'_, Option<Lease>> {
        self.ask(self.compute().lease(lease_id))
    }

    fn leases(&self, from: u64) -> Answer<'_, Vec<Lease>> {
        self.ask(self.compute().leases(from, MAX_PAGE))
    }

    fn listings<'a>(&'a self, contract: &'a AccountId, from: u64) -> Answer<'a, Vec<Listing>> {
        self.ask(Listings(contract.clone()).listings(None, from, MAX_LISTINGS_PAGE))
    }

    fn listing<'a>(&'a self, contract: &'a AccountId, name: &'a AssetName) -> Answer<'a, Option<Listing>> {
        self.ask(Listings(contract.clone()).listing(name))
    }

    fn licence<'a>(&'a self, contract: &'a AccountId, holder: &'a AccountId, name: &'a AssetName) -> Answer<'a, Option<Licence>> {
        self.ask(Listings(contract.clone()).licence(holder, name))
    }

    fn may_use<'a>(&'a self, contract: &'a AccountId, account: &'a AccountId, name: &'a AssetName) -> Answer<'a, bool> {
        self.ask(Listings(contract.clone()).may_use(account, name))
    }

    fn metered_use<'a>(&'a self, contract: &'a AccountId, holder: &'a AccountId, name: &'a AssetName) -> Answer<'a, Option<MeteredUse>> {
        self.ask(Listings(contract.clone()).metered_use(holder, name))
    }

    fn sign<'a>(&'a self, call: &'a Call) -> Answer<'a, SignedTx> {
        Box::pin(self.rpc.sign(&self.signer, call))
    }

    fn submit<'a>(&'a self, transaction: &'a SignedTx) -> Answer<'a, Outcome> {
        Box::pin(self.rpc.submit(transaction, self.signer.account()))
    }
}
