//! A chain of values, for tests of what this service does with the chain's answers. The real one is tried by the system tests.

use super::{Answer, Chain};
use starling_contract_api::{
    Call,
    billing::EscrowView,
    compute::{Counts, Offer},
    hub::{Licence, MeteredUse},
    rpc::{BlockInfo, BlockRef, KeyInfo, Outcome, RpcError, SignedTx},
};
use starling_primitives::{AccountId, AssetName, BasisPoints, EscrowId, LeaseId, NodeId, PublicKey, RunId};
use starling_protocol::{lease::Lease, listing::Listing, node::Node, run::Run};
use std::{
    collections::BTreeSet,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

/// Listings of a page: few, so that whoever reads all asks on.
const PAGE: usize = 2;

/// What the chain answers.
#[derive(Default)]
pub(crate) struct Answers {
    pub(crate) keys: Vec<(AccountId, PublicKey, bool)>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) runs: Vec<Run>,
    pub(crate) listings: Vec<Listing>,
    pub(crate) licences: Vec<Licence>,
    pub(crate) uses: Vec<MeteredUse>,
    pub(crate) escrows: Vec<EscrowView>,
    pub(crate) height: u64,
    /// Heights without a block.
    pub(crate) skipped: BTreeSet<u64>,
    /// How often a block was asked for.
    pub(crate) asked: AtomicUsize,
}

#[derive(Default)]
pub(crate) struct FakeChain(pub(crate) Mutex<Answers>);

impl FakeChain {
    fn answer<'a, T: Send + 'a>(&self, read: impl FnOnce(&Answers) -> T) -> Answer<'a, T> {
        let answer = read(&self.0.lock().unwrap_or_else(PoisonError::into_inner));
        Box::pin(async move { Ok(answer) })
    }
}

fn page<T: Clone>(all: &[T], from: u64) -> Vec<T> {
    all.iter().skip(usize::try_from(from).unwrap_or(usize::MAX)).take(PAGE).cloned().collect()
}

impl Chain for FakeChain {
    fn chain_id(&self) -> Answer<'_, String> {
        self.answer(|_| "starling-test".to_owned())
    }

    fn block(&self, which: BlockRef) -> Answer<'_, BlockInfo> {
        let answer = self.answer(|answers| {
            answers.asked.fetch_add(1, Relaxed);
            let height = if let BlockRef::Height(height) = which { height } else { answers.height };
            (!answers.skipped.contains(&height)).then(|| BlockInfo {
                height,
                previous_height: (0..height).rev().find(|height| !answers.skipped.contains(height)),
                hash: format!("block{height}"),
                timestamp_ms: crate::clock::now().0,
                transactions: Vec::new(),
            })
        });
        let missing = || RpcError::Refused { name: "UNKNOWN_BLOCK".to_owned(), message: String::new() };
        Box::pin(async move { answer.await?.ok_or_else(missing) })
    }

    fn outcome<'a>(&'a self, _: &'a str, _: &'a AccountId) -> Answer<'a, Option<Outcome>> {
        self.answer(|_| None)
    }

    fn access_key<'a>(&'a self, account: &'a AccountId, key: &'a PublicKey) -> Answer<'a, Option<KeyInfo>> {
        self.answer(|answers| {
            let (_, _, full_access) = answers.keys.iter().find(|(owner, known, _)| owner == account && known == key)?;
            Some(KeyInfo { full_access: *full_access, allowance: None, receiver: None, methods: Vec::new(), nonce: 1 })
        })
    }

    fn fee(&self) -> Answer<'_, BasisPoints> {
        self.answer(|_| BasisPoints::ZERO)
    }

    fn tokens(&self) -> Answer<'_, Vec<AccountId>> {
        self.answer(|_| Vec::new())
    }

    fn escrow(&self, escrow_id: EscrowId) -> Answer<'_, Option<EscrowView>> {
        self.answer(|answers| answers.escrows.iter().find(|view| view.id == escrow_id).cloned())
    }

    fn node(&self, node_id: NodeId) -> Answer<'_, Option<Node>> {
        self.answer(|answers| answers.nodes.iter().find(|node| node.id == node_id).cloned())
    }

    fn counts(&self) -> Answer<'_, Counts> {
        self.answer(|answers| Counts {
            nodes: answers.nodes.iter().map(|node| node.id.0).max().unwrap_or_default(),
            runs: answers.runs.iter().map(|run| run.id.0).max().unwrap_or_default(),
            ..Counts::default()
        })
    }

    fn nodes(&self, from: u64) -> Answer<'_, Vec<Node>> {
        self.answer(|answers| answers.nodes.iter().filter(|node| node.id.0 >= from).cloned().collect())
    }

    fn offers(&self, _: u64) -> Answer<'_, Vec<Offer>> {
        self.answer(|_| Vec::new())
    }

    fn run(&self, run_id: RunId) -> Answer<'_, Option<Run>> {
        self.answer(|answers| answers.runs.iter().find(|run| run.id == run_id).cloned())
    }

    fn runs(&self, from: u64) -> Answer<'_, Vec<Run>> {
        self.answer(|answers| answers.runs.iter().filter(|run| run.id.0 >= from).cloned().collect())
    }

    fn lease(&self, _: LeaseId) -> Answer<'_, Option<Lease>> {
        self.answer(|_| None)
    }

    fn leases(&self, _: u64) -> Answer<'_, Vec<Lease>> {
        self.answer(|_| Vec::new())
    }

    fn listings<'a>(&'a self, contract: &'a AccountId, from: u64) -> Answer<'a, Vec<Listing>> {
        let hub = contract.as_str() == "hub.starling";
        self.answer(|answers| if hub { page(&answers.listings, from) } else { Vec::new() })
    }

    fn listing<'a>(&'a self, _: &'a AccountId, name: &'a AssetName) -> Answer<'a, Option<Listing>> {
        self.answer(|answers| answers.listings.iter().find(|listing| listing.name == *name).cloned())
    }

    fn licence<'a>(&'a self, _: &'a AccountId, holder: &'a AccountId, name: &'a AssetName) -> Answer<'a, Option<Licence>> {
        self.answer(|answers| answers.licences.iter().find(|licence| licence.holder == *holder && licence.name == *name).cloned())
    }

    fn may_use<'a>(&'a self, _: &'a AccountId, account: &'a AccountId, name: &'a AssetName) -> Answer<'a, bool> {
        let now = crate::clock::now();
        self.answer(|answers| {
            let licensed = answers.licences.iter().any(|licence| licence.holder == *account && licence.name == *name);
            licensed || answers.uses.iter().any(|metered| metered.holder == *account && metered.name == *name && now <= metered.until)
        })
    }

    fn metered_use<'a>(&'a self, _: &'a AccountId, holder: &'a AccountId, name: &'a AssetName) -> Answer<'a, Option<MeteredUse>> {
        self.answer(|answers| answers.uses.iter().find(|metered| metered.holder == *holder && metered.name == *name).cloned())
    }

    fn sign<'a>(&'a self, _: &'a Call) -> Answer<'a, SignedTx> {
        Box::pin(async { Err(RpcError::NoAccount("nobody".to_owned())) })
    }

    fn submit<'a>(&'a self, _: &'a SignedTx) -> Answer<'a, Outcome> {
        Box::pin(async { Err(RpcError::NoAccount("nobody".to_owned())) })
    }
}
