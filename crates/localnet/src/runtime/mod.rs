//! One block's work: transactions become receipts, receipts change the state.
//!
//! Order within a block, as nearcore has it: transactions, their receipts to the signer itself, delayed receipts,
//! receipts that the block before sent, then yields that timed out. What a receipt sends to another account runs in a
//! later block.

mod actions;
mod call;
mod convert;
mod delegate;
mod external;
mod promises;
mod receipts;
mod refunds;
pub(crate) mod verify;

use std::collections::VecDeque;
use std::sync::Arc;

use near_parameters::RuntimeConfig;
use near_primitives::hash::CryptoHash;
use near_primitives::receipt::{PromiseYieldIndices, Receipt};
use near_primitives::transaction::{ExecutionOutcome, ExecutionOutcomeWithId, ExecutionStatus, SignedTransaction};
use near_primitives::trie_key::TrieKey;
use near_primitives::types::{Balance, BlockHeight, Gas, ProtocolVersion};
use near_primitives::utils::create_receipt_id_from_transaction;
use near_vm_runner::ContractRuntimeCache;

pub(crate) use actions::key_bytes;
pub(crate) use call::{ViewCall, ViewOutcome, view_call};
pub(crate) use verify::Refusal;

use crate::error::StateError;
use crate::state::{Changes, State, StateUpdate};

/// What a block knows about itself before it runs.
pub(crate) struct BlockContext {
    pub(crate) height: BlockHeight,
    pub(crate) timestamp_ns: u64,
    pub(crate) epoch_height: u64,
    pub(crate) random_value: CryptoHash,
    pub(crate) gas_price: Balance,
    pub(crate) gas_limit: Gas,
    pub(crate) protocol_version: ProtocolVersion,
    pub(crate) chain_id: Arc<str>,
    pub(crate) config: Arc<RuntimeConfig>,
    pub(crate) cache: Box<dyn ContractRuntimeCache>,
}

/// Work that a block finds waiting.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) transactions: Vec<SignedTransaction>,
    pub(crate) delayed: VecDeque<Receipt>,
    pub(crate) incoming: Vec<Receipt>,
}

/// What a block did.
pub(crate) struct BlockResult {
    pub(crate) changes: Changes,
    /// The transactions that became part of the block; the others were no longer valid.
    pub(crate) included: Vec<SignedTransaction>,
    pub(crate) outcomes: Vec<ExecutionOutcomeWithId>,
    /// Receipts for the next block.
    pub(crate) outgoing: Vec<Receipt>,
    /// Receipts that the gas limit put off.
    pub(crate) delayed: VecDeque<Receipt>,
    /// Every receipt that came into being, run or not.
    pub(crate) created: Vec<Receipt>,
    pub(crate) gas_used: Gas,
    pub(crate) burnt: Balance,
    /// Yoctos that the protocol adds for contracts without balance; see `one_yocto_on_promise`.
    pub(crate) minted: Balance,
}

pub(crate) struct BlockRun<'a> {
    context: &'a BlockContext,
    update: StateUpdate<'a>,
    included: Vec<SignedTransaction>,
    outcomes: Vec<ExecutionOutcomeWithId>,
    outgoing: Vec<Receipt>,
    delayed: VecDeque<Receipt>,
    instant: VecDeque<Receipt>,
    created: Vec<Receipt>,
    gas_used: Gas,
    compute_used: u64,
    burnt: Balance,
    minted: Balance,
}

/// Runs a block over `state`, which stays as it was: the changes are in the result.
///
/// # Errors
/// Only damaged state or an amount that leaves its type; then the block did not happen.
pub(crate) fn run_block(context: &BlockContext, state: &State, work: Work) -> Result<BlockResult, StateError> {
    let mut run = BlockRun {
        context,
        update: StateUpdate::new(state),
        included: Vec::new(),
        outcomes: Vec::new(),
        outgoing: Vec::new(),
        delayed: VecDeque::new(),
        instant: VecDeque::new(),
        created: Vec::new(),
        gas_used: Gas::ZERO,
        compute_used: 0,
        burnt: Balance::ZERO,
        minted: Balance::ZERO,
    };
    let local = run.run_transactions(work.transactions)?;
    let mut waiting = work.delayed;
    for receipt in local {
        run.run_or_delay(receipt)?;
    }
    while !run.is_full() {
        let Some(receipt) = waiting.pop_front() else {
            break;
        };
        run.run_receipt(&receipt)?;
    }
    // What was delayed before stays ahead of what this block delays.
    waiting.append(&mut run.delayed);
    run.delayed = waiting;
    for receipt in work.incoming {
        run.run_or_delay(receipt)?;
    }
    run.time_out_yields()?;
    Ok(BlockResult {
        changes: run.update.finish(),
        included: run.included,
        outcomes: run.outcomes,
        outgoing: run.outgoing,
        delayed: run.delayed,
        created: run.created,
        gas_used: run.gas_used,
        burnt: run.burnt,
        minted: run.minted,
    })
}

impl BlockRun<'_> {
    fn is_full(&self) -> bool {
        self.compute_used >= self.context.gas_limit.as_gas()
    }

    /// Charges the signers; gives the receipts that run in this very block. A transaction that has become invalid since it was taken
    /// in, by one before it, is left out as a chunk producer leaves it out: it costs nothing and has no outcome.
    fn run_transactions(&mut self, transactions: Vec<SignedTransaction>) -> Result<Vec<Receipt>, StateError> {
        let mut local = Vec::new();
        for transaction in transactions {
            let body = &transaction.transaction;
            let charged =
                verify::verify_and_charge(&self.context.config, &mut self.update, body, self.context.height, self.context.gas_price);
            let cost = match charged {
                Ok(cost) => cost,
                Err(Refusal::Invalid(error)) => {
                    self.update.rollback();
                    tracing::debug!(hash = %transaction.get_hash(), %error, "a waiting transaction was left out");
                    continue;
                }
                Err(Refusal::State(error)) => return Err(error),
            };
            self.update.commit();
            let receipt_id = create_receipt_id_from_transaction(&transaction.get_hash(), self.context.height);
            let receipt = Receipt::from_tx(
                receipt_id,
                body.signer_id().clone(),
                body.receiver_id().clone(),
                body.public_key().clone(),
                cost.receipt_gas_price,
                body.actions().to_vec(),
            );
            self.burnt = add(self.burnt, cost.burnt_amount)?;
            self.use_gas(cost.gas_burnt, cost.gas_burnt.as_gas())?;
            self.outcomes.push(ExecutionOutcomeWithId {
                id: transaction.get_hash(),
                outcome: ExecutionOutcome {
                    logs: Vec::new(),
                    receipt_ids: vec![receipt_id],
                    gas_burnt: cost.gas_burnt,
                    compute_usage: Some(cost.gas_burnt.as_gas()),
                    tokens_burnt: cost.burnt_amount,
                    executor_id: body.signer_id().clone(),
                    status: ExecutionStatus::SuccessReceiptId(receipt_id),
                    metadata: near_primitives::transaction::ExecutionMetadata::V1,
                },
            });
            self.created.push(receipt.clone());
            if body.signer_id() == body.receiver_id() {
                local.push(receipt);
            } else {
                self.outgoing.push(receipt);
            }
            self.included.push(transaction);
        }
        Ok(local)
    }

    fn use_gas(&mut self, gas: Gas, compute: u64) -> Result<(), StateError> {
        self.gas_used = self.gas_used.checked_add_result(gas)?;
        self.compute_used = self.compute_used.saturating_add(compute);
        Ok(())
    }

    fn run_or_delay(&mut self, receipt: Receipt) -> Result<(), StateError> {
        if self.is_full() {
            self.delayed.push_back(receipt);
            return Ok(());
        }
        self.run_receipt(&receipt)
    }

    /// Runs a receipt, then the instant ones it made.
    fn run_receipt(&mut self, receipt: &Receipt) -> Result<(), StateError> {
        self.process_receipt(receipt)?;
        while let Some(instant) = self.instant.pop_front() {
            self.process_receipt(&instant)?;
        }
        Ok(())
    }

    /// Answers yields whose time is over with an empty resume.
    fn time_out_yields(&mut self) -> Result<(), StateError> {
        let mut indices: PromiseYieldIndices = self.update.get(&TrieKey::PromiseYieldIndices)?.unwrap_or_default();
        let before = indices.clone();
        let mut resumed = 0;
        while indices.first_index < indices.next_available_index {
            let key = TrieKey::PromiseYieldTimeout { index: indices.first_index };
            let timeout: near_primitives::receipt::PromiseYieldTimeout =
                self.update.get(&key)?.ok_or(StateError::Inconsistent("a yield timeout is missing"))?;
            if timeout.expires_at > self.context.height {
                break;
            }
            self.update.remove(&key);
            indices.first_index += 1;
            if self.resume_with_nothing(&timeout, resumed) {
                resumed += 1;
            }
        }
        if indices != before {
            self.update.set(&TrieKey::PromiseYieldIndices, &indices)?;
        }
        self.update.commit();
        Ok(())
    }
}

pub(crate) fn add(left: Balance, right: Balance) -> Result<Balance, StateError> {
    left.checked_add(right).ok_or(StateError::Overflow)
}
