//! Stake: a provider's collateral, an escrow in `billing`. It is released by asking for closing there, and stops counting here.

use crate::{ComputeError, Contract, ContractExt, escrow_read::EscrowRead, log, payments::PurposeRecord};
use near_sdk::{Gas, env, near};
use starling_contract_api::{billing::Billing, events::ComputeEvent};
use starling_contract_common::{OrPanic, answer, ask};
use starling_primitives::{AccountId, Amount, EscrowId, NodeId};
use starling_protocol::node::{Node, Stake};

const READ_TGAS: u64 = 10;
const CALLBACK_GAS: Gas = Gas::from_tgas(10);

#[near]
impl Contract {
    /// Reads a node's stake from `billing` again, and drops it here when it is closed or closing there.
    ///
    /// Access: anyone. Deposit: none. Gas: 40 T. State change: the stake may stop counting. Events: `stake_dropped`. Refund: none. Answers whether the stake counts.
    pub fn check_stake(&mut self, node_id: NodeId) {
        let node = self.node_record(node_id).or_panic();
        let stake = node.stake.filter(|stake| stake.confirmed).ok_or(ComputeError::Stake(node_id, "has no confirmed stake")).or_panic();
        let question = Billing(self.setup.deployment.billing.clone()).ask_escrow(stake.escrow_id, READ_TGAS);
        let callback = Self::ext(env::current_account_id()).with_static_gas(CALLBACK_GAS).on_stake_read(node_id, stake.escrow_id);
        ask(&question).then(callback).answers();
    }

    /// After `billing` told of a stake. An answer that cannot be read changes nothing.
    ///
    /// Access: this contract. State change: the stake may stop counting. Events: `stake_dropped`.
    #[private]
    pub fn on_stake_read(&mut self, node_id: NodeId, escrow_id: EscrowId) -> bool {
        let Some(read) = answer::<Option<EscrowRead>>() else {
            return true;
        };
        let counts = read.is_some_and(|read| read.is_open() && !read.is_closing());
        if !counts {
            self.remove_stake(node_id, escrow_id).or_panic();
            log(&ComputeEvent::StakeDropped { node_id, escrow_id });
        }
        counts
    }
}

impl Contract {
    /// Takes a stake for a node of the payer that has none which counts.
    pub(crate) fn accept_stake(
        &mut self,
        escrow_id: EscrowId,
        payer: &AccountId,
        amount: Amount,
        node_id: NodeId,
    ) -> Result<PurposeRecord, ComputeError> {
        let mut node = self.node_record(node_id)?;
        if node.provider != *payer {
            return Err(ComputeError::NotYours("node's provider"));
        }
        if node.retired {
            return Err(ComputeError::Retired(node_id));
        }
        if node.stake.as_ref().is_some_and(|stake| stake.confirmed) {
            return Err(ComputeError::Stake(node_id, "has a stake already"));
        }
        node.stake = Some(Stake { escrow_id, amount, confirmed: false });
        self.nodes.insert(&node_id, &node);
        log(&ComputeEvent::StakePaid { node_id, escrow_id, amount });
        Ok(PurposeRecord::Stake(node_id))
    }

    /// A stake whose place another took in between does not count; its payer gets it back by asking for closing.
    pub(crate) fn confirm_stake(&mut self, node_id: NodeId, escrow_id: EscrowId) -> Result<(), ComputeError> {
        let mut node = self.node_record(node_id)?;
        if let Node { stake: Some(stake), .. } = &mut node
            && stake.escrow_id == escrow_id
        {
            stake.confirmed = true;
            self.nodes.insert(&node_id, &node);
            log(&ComputeEvent::StakeConfirmed { node_id, escrow_id });
        }
        Ok(())
    }

    pub(crate) fn remove_stake(&mut self, node_id: NodeId, escrow_id: EscrowId) -> Result<(), ComputeError> {
        let mut node = self.node_record(node_id)?;
        if node.stake.as_ref().is_some_and(|stake| stake.escrow_id == escrow_id) {
            node.stake = None;
            self.nodes.insert(&node_id, &node);
        }
        Ok(())
    }
}
