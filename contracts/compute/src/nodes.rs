//! Nodes: a provider's machines.

use crate::{ComputeError, Contract, ContractExt, log, reputation};
use near_sdk::{env, near};
use starling_contract_api::events::ComputeEvent;
use starling_contract_common::{OrPanic, charge_growth, next, now, predecessor, require_one_yocto, require_strong_key};
use starling_primitives::{AccountId, NodeId, PublicKey};
use starling_protocol::node::{Capability, Node};

#[near]
impl Contract {
    /// Registers a node of the caller. `key` should be a function-call key on the caller's account, limited to `NODE_METHODS`; `payout` should be registered in `billing`.
    ///
    /// Access: anyone with a full-access key. Deposit: storage, see `storage_price`. Gas: 20 T. State change: the node's record and its reputation. Events: `node_registered`. Refund: what storage
    /// does not need. Answers the node's number.
    #[payable]
    pub fn register_node(&mut self, key: PublicKey, payout: AccountId, capability: Capability) -> NodeId {
        self.setup.require_running();
        require_strong_key(&key);
        capability.check().or_panic();
        let before = env::storage_usage();
        let id = NodeId(next(&mut self.last_node));
        let node = Node { id, provider: predecessor(), payout, key, capability, stake: None, registered_at: now(), retired: false };
        self.nodes.insert(&id, &node);
        reputation::begin(id);
        charge_growth(before);
        log(&ComputeEvent::NodeRegistered { node });
        id
    }

    /// Changes where a node's pay goes, for leases and runs taken from now on.
    ///
    /// Access: the provider's full-access key. Deposit: 1 yocto. Gas: 10 T. State change: the payout account. Events: `payout_set`. Refund: none.
    #[payable]
    pub fn set_payout(&mut self, node_id: NodeId, payout: AccountId) {
        require_one_yocto();
        let mut node = self.own_node(node_id).or_panic();
        node.payout = payout.clone();
        self.nodes.insert(&node_id, &node);
        log(&ComputeEvent::PayoutSet { node_id, payout });
    }

    /// Takes a node out of service: its offers close, it takes no new work; work under way goes on.
    ///
    /// Access: the provider's full-access key. Deposit: 1 yocto. Gas: 20 T. State change: the node and its offers. Events: `offer_closed` for each, `node_retired`. Refund: none.
    #[payable]
    pub fn retire_node(&mut self, node_id: NodeId) {
        require_one_yocto();
        let mut node = self.own_node(node_id).or_panic();
        for offer_id in self.open_offers.get(&node_id).unwrap_or_default() {
            self.end_offer(offer_id).or_panic();
        }
        node.retired = true;
        self.nodes.insert(&node_id, &node);
        log(&ComputeEvent::NodeRetired { node_id });
    }
}

impl Contract {
    pub(crate) fn node_record(&self, node_id: NodeId) -> Result<Node, ComputeError> {
        self.nodes.get(&node_id).ok_or(ComputeError::NoSuchNode(node_id))
    }

    /// A node whose provider calls: by the node's function-call key or a full-access key, both of which only the provider's account has.
    pub(crate) fn own_node(&self, node_id: NodeId) -> Result<Node, ComputeError> {
        let node = self.node_record(node_id)?;
        if node.provider == predecessor() { Ok(node) } else { Err(ComputeError::NotYours("node's provider")) }
    }

    /// A node that may take new work: in service, and with a stake that counts.
    pub(crate) fn require_ready(&self, node: &Node) -> Result<(), ComputeError> {
        if node.retired {
            return Err(ComputeError::Retired(node.id));
        }
        let staked = node.stake.as_ref().is_some_and(|stake| stake.confirmed && stake.amount >= self.min_stake);
        if staked || self.min_stake.is_zero() {
            Ok(())
        } else {
            Err(ComputeError::NotStaked { node_id: node.id, min_stake: self.min_stake })
        }
    }
}
