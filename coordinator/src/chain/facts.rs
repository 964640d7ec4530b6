//! Facts: what the chain said last. A snapshot that all readers share.

use starling_contract_api::compute::Offer;
use starling_primitives::{Asset, BasisPoints, LeaseId, NodeId, OfferId, RunId, TimestampMs};
use starling_protocol::{lease::Lease, node::Node, run::Run};
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::watch;

/// The last final block as it was seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// Its height.
    pub height: u64,
    /// Its hash in base58.
    pub hash: String,
    /// Its own time.
    pub at: TimestampMs,
    /// When this service saw it.
    pub seen_at: TimestampMs,
}

/// What the chain said last.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Whether everything was read at least once since the start.
    pub complete: bool,
    /// The last final block.
    pub head: Head,
    /// The fee on payments from now on.
    pub fee: BasisPoints,
    /// Nodes.
    pub nodes: BTreeMap<NodeId, Arc<Node>>,
    /// Offers.
    pub offers: BTreeMap<OfferId, Arc<Offer>>,
    /// Runs.
    pub runs: BTreeMap<RunId, Arc<Run>>,
    /// Leases.
    pub leases: BTreeMap<LeaseId, Arc<Lease>>,
}

/// Where readers see the newest facts.
pub type FactsReader = watch::Receiver<Arc<Facts>>;

impl Facts {
    /// The chain's time: that of the last block, and what has passed since it was seen.
    pub fn chain_time(&self, now: TimestampMs) -> TimestampMs {
        self.head.at.after(now.since(self.head.seen_at))
    }

    /// Offers that are open and priced in NEAR, which this coordinator's people pay in.
    pub fn open_offers(&self) -> impl Iterator<Item = &Arc<Offer>> {
        self.offers.values().filter(|offer| {
            !offer.closed && offer.terms.asset == Asset::Near && self.nodes.get(&offer.node_id).is_some_and(|node| !node.retired)
        })
    }
}
