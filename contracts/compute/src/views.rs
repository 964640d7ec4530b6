//! What anyone may read.

use crate::{Contract, ContractExt};
use borsh::{BorshDeserialize, BorshSerialize};
use near_sdk::near;
use starling_contract_api::{
    compute::{Config, Counts, MAX_PAGE, Offer, RECORD_BYTES},
    payment::storage_cost,
};
use starling_contract_common::{Forms, Table};
use starling_primitives::{Amount, LeaseId, NodeId, OfferId, RunId};
use starling_protocol::{lease::Lease, node::Node, run::Run};

#[near]
impl Contract {
    /// How the contract is set up.
    pub fn config(&self) -> Config {
        Config {
            owner: self.setup.owner.clone(),
            deployment: self.setup.deployment.clone(),
            min_stake: self.min_stake,
            paused: self.setup.paused,
        }
    }

    /// How many numbers were given.
    pub fn counts(&self) -> Counts {
        Counts { nodes: self.last_node, offers: self.last_offer, runs: self.last_run, leases: self.last_lease_id }
    }

    /// What a node's or an offer's record costs at its largest.
    pub fn storage_price(&self) -> Amount {
        storage_cost(RECORD_BYTES)
    }

    /// A node.
    pub fn node(&self, node_id: NodeId) -> Option<Node> {
        self.nodes.get(&node_id)
    }

    /// Those of the nodes with the `limit` numbers from `from` on that fit a page.
    pub fn nodes(&self, from: u64, limit: u32) -> Vec<Node> {
        page(&self.nodes, NodeId, self.last_node, from, limit)
    }

    /// An offer.
    pub fn offer(&self, offer_id: OfferId) -> Option<Offer> {
        self.offers.get(&offer_id)
    }

    /// Those of the offers with the `limit` numbers from `from` on, closed ones too, that fit a page.
    pub fn offers(&self, from: u64, limit: u32) -> Vec<Offer> {
        page(&self.offers, OfferId, self.last_offer, from, limit)
    }

    /// A run.
    pub fn run(&self, run_id: RunId) -> Option<Run> {
        self.runs.get(&run_id)
    }

    /// Those of the runs with the `limit` numbers from `from` on that fit a page. A payment that never opened leaves a number without a run.
    pub fn runs(&self, from: u64, limit: u32) -> Vec<Run> {
        page(&self.runs, RunId, self.last_run, from, limit)
    }

    /// A lease.
    pub fn lease(&self, lease_id: LeaseId) -> Option<Lease> {
        self.leases.get(&lease_id)
    }

    /// Those of the leases with the `limit` numbers from `from` on that fit a page. A payment that never opened leaves a number without a lease.
    pub fn leases(&self, from: u64, limit: u32) -> Vec<Lease> {
        page(&self.leases, LeaseId, self.last_lease_id, from, limit)
    }
}

/// The records of `limit` numbers from `from` on.
fn page<K: BorshSerialize, V: BorshSerialize + BorshDeserialize, F: Forms<V>>(
    table: &Table<K, V, F>,
    key: impl Fn(u64) -> K,
    last: u64,
    from: u64,
    limit: u32,
) -> Vec<V> {
    let from = from.max(1);
    let end = from.saturating_add(u64::from(limit.min(MAX_PAGE))).min(last.saturating_add(1));
    table.page((from..end).map(key)).into_iter().map(|(_, record)| record).collect()
}
