//! What each node has done of late.

use crate::{Contract, ContractExt, StorageKey};
use near_sdk::near;
use starling_contract_api::compute::Standing;
use starling_contract_common::{Table, now};
use starling_primitives::NodeId;
use starling_protocol::{
    lease::{Cause, Lease, LeaseState},
    reputation::{Deed, Reputation},
    run::Run,
    signing::RoundStatement,
};

#[near]
impl Contract {
    /// A node's figures as they have faded until now, and its score.
    pub fn reputation(&self, node_id: NodeId) -> Standing {
        let figures = read(node_id).at(now());
        Standing { score: figures.score(), figures }
    }
}

/// Makes a node's record, which its provider pays for.
pub(crate) fn begin(node_id: NodeId) {
    table().insert(&node_id, &Reputation::default().at(now()));
}

/// Counts a deed of a node.
pub(crate) fn count(node_id: NodeId, deed: Deed) {
    table().insert(&node_id, &read(node_id).after(deed, now()));
}

/// Counts a round for everyone who had not left the run before it.
pub(crate) fn count_round(before: &Run, statement: &RoundStatement, signers: u64) {
    for (place, (member, &tokens)) in before.roster.iter().zip(&statement.tokens).enumerate().filter(|(_, (member, _))| !member.left) {
        let took_part = tokens > 0 || signers >> place & 1 == 1;
        count(member.node_id, if took_part { Deed::Round { tokens: u64::from(tokens) } } else { Deed::MissedRound });
    }
}

/// Counts how a lease ended. One in which nothing was metered shows nothing of the node, unless the node is why.
pub(crate) fn count_lease(lease: &Lease) {
    let LeaseState::Closed { cause, .. } = lease.state else { return };
    let metered_ms = lease.metered.0;
    match cause {
        Cause::NotAccepted => count(lease.node_id, Deed::LeaseMissed),
        Cause::ProviderClosed => count(lease.node_id, Deed::LeaseLeft { metered_ms }),
        Cause::Objected => count(lease.node_id, Deed::Objection),
        Cause::Completed | Cause::TenantClosed | Cause::TimeOver if metered_ms > 0 => count(lease.node_id, Deed::LeaseKept { metered_ms }),
        Cause::Completed | Cause::TenantClosed | Cause::TimeOver | Cause::EscrowClosed => {}
    }
}

fn read(node_id: NodeId) -> Reputation {
    table().get(&node_id).unwrap_or_default()
}

/// A table is no more than its prefix, so it needs no place in the contract's state.
fn table() -> Table<NodeId, Reputation> {
    Table::new(StorageKey::Reputation as u8)
}
