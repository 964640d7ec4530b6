//! What anyone may read.

use crate::{Contract, ContractExt};
use borsh::{BorshDeserialize, BorshSerialize};
use near_sdk::near;
use starling_contract_api::{
    compute::{Config, Offer, RECORD_BYTES},
    payment::storage_cost,
};
use starling_contract_common::{Forms, Table};
use starling_primitives::{Amount, LeaseId, NodeId, OfferId, RunId};
use starling_protocol::{lease::Lease, node::Node, run::Run};

/// The most records of one answer, and of runs, which are larger.
const PAGE: usize = 100;
const RUN_PAGE: usize = 20;
/// The most numbers that are looked at for one answer: payments that never opened leave gaps.
const MAX_LOOKED_AT: u64 = 500;

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

    /// What a node's or an offer's record costs at its largest.
    pub fn storage_price(&self) -> Amount {
        storage_cost(RECORD_BYTES)
    }

    /// A node.
    pub fn node(&self, node_id: NodeId) -> Option<Node> {
        self.nodes.get(&node_id)
    }

    /// Nodes by number, from `from` on; 100 at most.
    pub fn nodes(&self, from: u64, limit: u32) -> Vec<Node> {
        page(&self.nodes, NodeId, self.last_node, from, limit, PAGE)
    }

    /// An offer.
    pub fn offer(&self, offer_id: OfferId) -> Option<Offer> {
        self.offers.get(&offer_id)
    }

    /// Offers by number, closed ones too, from `from` on; 100 at most.
    pub fn offers(&self, from: u64, limit: u32) -> Vec<Offer> {
        page(&self.offers, OfferId, self.last_offer, from, limit, PAGE)
    }

    /// A run.
    pub fn run(&self, run_id: RunId) -> Option<Run> {
        self.runs.get(&run_id)
    }

    /// Runs by number, from `from` on; 20 at most.
    pub fn runs(&self, from: u64, limit: u32) -> Vec<Run> {
        page(&self.runs, RunId, self.last_run, from, limit, RUN_PAGE)
    }

    /// A lease.
    pub fn lease(&self, lease_id: LeaseId) -> Option<Lease> {
        self.leases.get(&lease_id)
    }

    /// Leases by number, from `from` on; 100 at most.
    pub fn leases(&self, from: u64, limit: u32) -> Vec<Lease> {
        page(&self.leases, LeaseId, self.last_lease_id, from, limit, PAGE)
    }
}

fn page<K: BorshSerialize, V: BorshSerialize + BorshDeserialize, F: Forms<V>>(
    table: &Table<K, V, F>,
    key: impl Fn(u64) -> K,
    last: u64,
    from: u64,
    limit: u32,
    most: usize,
) -> Vec<V> {
    let limit = usize::try_from(limit).unwrap_or(most).min(most);
    let from = from.max(1);
    let until = last.min(from.saturating_add(MAX_LOOKED_AT - 1));
    (from..=until).filter_map(|number| table.get(&key(number))).take(limit).collect()
}
