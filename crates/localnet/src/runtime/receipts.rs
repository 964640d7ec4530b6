//! Receipts: waiting for data, running actions, answering those who wait.

use std::sync::Arc;

use near_parameters::ActionCosts;
use near_primitives::errors::{ActionError, ActionErrorKind, TxExecutionError};
use near_primitives::hash::CryptoHash;
use near_primitives::receipt::{
    DataReceipt, PromiseYieldTimeout, Receipt, ReceiptEnum, ReceivedData, VersionedActionReceipt, VersionedReceiptEnum,
};
use near_primitives::transaction::{ExecutionMetadata, ExecutionOutcome, ExecutionOutcomeWithId, ExecutionStatus};
use near_primitives::trie_key::TrieKey;
use near_primitives::types::{AccountId, Balance, Gas};
use near_primitives::utils::create_receipt_id_from_receipt_id;
use near_vm_runner::ProfileDataV3;
use near_vm_runner::logic::ReturnData;

use super::external::RESUME_INITIATED;
use super::promises::new_receipt;
use super::verify::{lacking_for_storage, validate_new_receipt};
use super::{BlockRun, add, convert};
use crate::error::StateError;
use crate::fees::{Fees, gas_to_balance};

/// What actions did, one or several.
pub(super) struct ActionResult {
    pub(super) gas_burnt: Gas,
    pub(super) gas_burnt_in_calls: Gas,
    pub(super) gas_used: Gas,
    pub(super) compute: u64,
    pub(super) result: Result<ReturnData, ActionError>,
    pub(super) logs: Vec<String>,
    pub(super) new_receipts: Vec<Receipt>,
    pub(super) tokens_burnt: Balance,
    pub(super) subsidized: Balance,
    pub(super) profile: ProfileDataV3,
}

impl ActionResult {
    pub(super) fn new(cost: near_parameters::ParameterCost) -> Self {
        Self {
            gas_burnt: cost.gas,
            gas_burnt_in_calls: Gas::ZERO,
            gas_used: cost.gas,
            compute: cost.compute,
            result: Ok(ReturnData::None),
            logs: Vec::new(),
            new_receipts: Vec::new(),
            tokens_burnt: Balance::ZERO,
            subsidized: Balance::ZERO,
            profile: ProfileDataV3::default(),
        }
    }

    pub(super) fn fail(&mut self, kind: ActionErrorKind) {
        self.set_error(ActionError { index: None, kind });
    }

    fn set_error(&mut self, error: ActionError) {
        self.result = Err(error);
        self.new_receipts.clear();
        self.tokens_burnt = Balance::ZERO;
        self.subsidized = Balance::ZERO;
    }

    /// Takes in the next action's result.
    fn merge(&mut self, next: Self) -> Result<(), StateError> {
        self.gas_burnt = self.gas_burnt.checked_add_result(next.gas_burnt)?;
        self.gas_burnt_in_calls = self.gas_burnt_in_calls.checked_add_result(next.gas_burnt_in_calls)?;
        self.gas_used = self.gas_used.checked_add_result(next.gas_used)?;
        self.compute = self.compute.saturating_add(next.compute);
        self.profile.merge(&next.profile);
        self.logs.extend(next.logs);
        match next.result {
            Ok(ReturnData::ReceiptIndex(index)) => {
                let before = u64::try_from(self.new_receipts.len()).map_err(|_| StateError::Overflow)?;
                self.result = Ok(ReturnData::ReceiptIndex(index + before));
            }
            Ok(value) => self.result = Ok(value),
            Err(error) => {
                self.set_error(error);
                return Ok(());
            }
        }
        self.new_receipts.extend(next.new_receipts);
        self.tokens_burnt = add(self.tokens_burnt, next.tokens_burnt)?;
        self.subsidized = add(self.subsidized, next.subsidized)?;
        Ok(())
    }
}

/// Data that a receipt waited for, in order; `None` where the promise failed.
pub(super) type Inputs = Vec<Option<Arc<[u8]>>>;

impl BlockRun<'_> {
    pub(super) fn process_receipt(&mut self, receipt: &Receipt) -> Result<(), StateError> {
        match receipt.versioned_receipt() {
            VersionedReceiptEnum::Data(data) => self.receive_data(receipt.receiver_id(), &data),
            VersionedReceiptEnum::Action(action) => self.run_or_postpone(receipt, &action),
            VersionedReceiptEnum::PromiseYield(action) => {
                let data_id = first_input(&action)?;
                let receiver_id = receipt.receiver_id().clone();
                self.update.set(&TrieKey::PromiseYieldReceipt { receiver_id, data_id }, receipt)?;
                self.update.commit();
                Ok(())
            }
            VersionedReceiptEnum::PromiseResume(data) => self.resume(receipt.receiver_id(), &data),
            VersionedReceiptEnum::GlobalContractDistribution(_) => {
                Err(StateError::Inconsistent("a receipt of a kind that is never made here"))
            }
        }
    }

    fn receive_data(&mut self, account_id: &AccountId, data: &DataReceipt) -> Result<(), StateError> {
        let receiver_id = account_id.clone();
        let data_id = data.data_id;
        let received = ReceivedData { data: data.data.clone() };
        self.update.set(&TrieKey::ReceivedData { receiver_id: receiver_id.clone(), data_id }, &received)?;
        let waiting_key = TrieKey::PostponedReceiptId { receiver_id: receiver_id.clone(), data_id };
        let Some(receipt_id) = self.update.get::<CryptoHash>(&waiting_key)? else {
            self.update.commit();
            return Ok(());
        };
        self.update.remove(&waiting_key);
        let count_key = TrieKey::PendingDataCount { receiver_id: receiver_id.clone(), receipt_id };
        let count: u32 = self.update.get(&count_key)?.ok_or(StateError::Inconsistent("a postponed receipt has no count"))?;
        if count > 1 {
            self.update.set(&count_key, &(count - 1))?;
            self.update.commit();
            return Ok(());
        }
        self.update.remove(&count_key);
        let postponed_key = TrieKey::PostponedReceipt { receiver_id, receipt_id };
        let receipt: Receipt = self.update.get(&postponed_key)?.ok_or(StateError::Inconsistent("a postponed receipt is missing"))?;
        self.update.remove(&postponed_key);
        self.apply_actions(&receipt)
    }

    fn run_or_postpone(&mut self, receipt: &Receipt, action: &VersionedActionReceipt<'_>) -> Result<(), StateError> {
        let receiver_id = receipt.receiver_id();
        let receipt_id = *receipt.receipt_id();
        let mut missing = 0_u32;
        for data_id in action.input_data_ids() {
            let (receiver_id, data_id) = (receiver_id.clone(), *data_id);
            if !self.update.contains(&TrieKey::ReceivedData { receiver_id: receiver_id.clone(), data_id }) {
                missing += 1;
                self.update.set(&TrieKey::PostponedReceiptId { receiver_id, data_id }, &receipt_id)?;
            }
        }
        if missing == 0 {
            return self.apply_actions(receipt);
        }
        let receiver_id = receiver_id.clone();
        self.update.set(&TrieKey::PendingDataCount { receiver_id: receiver_id.clone(), receipt_id }, &missing)?;
        self.update.set(&TrieKey::PostponedReceipt { receiver_id, receipt_id }, receipt)?;
        self.update.commit();
        Ok(())
    }

    fn resume(&mut self, account_id: &AccountId, data: &DataReceipt) -> Result<(), StateError> {
        let receiver_id = account_id.clone();
        let data_id = data.data_id;
        let status_key = TrieKey::PromiseYieldStatus { receiver_id: receiver_id.clone(), data_id };
        let answered = self.update.get::<u8>(&status_key)? == Some(RESUME_INITIATED);
        if data.data.is_none() && answered {
            return Ok(()); // timed out while the answer is under way: the answer counts
        }
        let yield_key = TrieKey::PromiseYieldReceipt { receiver_id: receiver_id.clone(), data_id };
        let Some(receipt) = self.update.get::<Receipt>(&yield_key)? else {
            return Ok(());
        };
        self.update.remove(&yield_key);
        self.update.remove(&status_key);
        let by_data = TrieKey::DataIdToYieldId { receiver_id: receiver_id.clone(), data_id };
        if let Some(yield_id) = self.update.get(&by_data)? {
            self.update.remove(&by_data);
            self.update.remove(&TrieKey::YieldIdToDataId { receiver_id: receiver_id.clone(), yield_id });
        }
        let received = ReceivedData { data: data.data.clone() };
        self.update.set(&TrieKey::ReceivedData { receiver_id, data_id }, &received)?;
        self.apply_actions(&receipt)
    }

    /// Sends the empty answer to a yield whose time is over; false when nothing waits for it.
    pub(super) fn resume_with_nothing(&mut self, timeout: &PromiseYieldTimeout, index: u64) -> bool {
        let receiver_id = timeout.account_id.clone();
        let data_id = timeout.data_id;
        if !self.update.contains(&TrieKey::PromiseYieldReceipt { receiver_id: receiver_id.clone(), data_id }) {
            return false;
        }
        let answer = ReceiptEnum::PromiseResume(DataReceipt { data_id, data: None });
        let mut receipt = new_receipt(receiver_id.clone(), receiver_id, answer);
        let position = usize::try_from(index).unwrap_or(usize::MAX);
        receipt.set_receipt_id(create_receipt_id_from_receipt_id(&data_id, self.context.height, position));
        self.created.push(receipt.clone());
        self.outgoing.push(receipt);
        true
    }

    fn take_inputs(&mut self, receiver_id: &AccountId, action: &VersionedActionReceipt<'_>) -> Result<Inputs, StateError> {
        let mut inputs = Vec::with_capacity(action.input_data_ids().len());
        for data_id in action.input_data_ids() {
            let key = TrieKey::ReceivedData { receiver_id: receiver_id.clone(), data_id: *data_id };
            let received: ReceivedData = self.update.get(&key)?.ok_or(StateError::Inconsistent("data of a promise is missing"))?;
            self.update.remove(&key);
            inputs.push(received.data.map(Arc::from));
        }
        self.update.commit();
        Ok(inputs)
    }

    /// Runs the actions of a receipt whose data is all there, and records the outcome.
    fn apply_actions(&mut self, receipt: &Receipt) -> Result<(), StateError> {
        let action_receipt = match receipt.versioned_receipt() {
            VersionedReceiptEnum::Action(action) | VersionedReceiptEnum::PromiseYield(action) => action,
            _ => {
                return Err(StateError::Inconsistent("a postponed receipt has no actions"));
            }
        };
        let account_id = receipt.receiver_id();
        let inputs = self.take_inputs(account_id, &action_receipt)?;
        let mut account = self.update.account(account_id)?;
        let existed = account.is_some();
        let mut actor_id = receipt.predecessor_id().clone();
        let mut result = ActionResult::new(Fees::new(&self.context.config).receipt_exec());
        for index in 0..action_receipt.actions().len() {
            let call = super::actions::ActionCall { receipt, action_receipt: &action_receipt, inputs: &inputs, index };
            let mut next = self.apply_action(&call, &mut account, &mut actor_id)?;
            if next.result.is_ok() {
                let limits = &self.context.config.wasm_config.limit_config;
                let version = self.context.protocol_version;
                let checked = next.new_receipts.iter().try_for_each(|new| validate_new_receipt(limits, version, new));
                if let Err(error) = checked {
                    next.fail(ActionErrorKind::NewReceiptValidationError(error));
                }
            }
            if let Err(error) = &mut next.result {
                error.index = u64::try_from(index).ok();
            }
            result.merge(next)?;
            if result.result.is_err() {
                break;
            }
        }
        self.check_storage(account_id, account.as_ref(), &mut result)?;
        let created_account = !existed && account.is_some() && result.result.is_ok();
        let refund = self.refund(receipt, &action_receipt, &mut result, created_account)?;
        if result.result.is_ok() {
            self.update.commit();
        } else {
            self.update.rollback();
        }
        let tokens_burnt = self.burn(receipt, &result, &refund)?;
        answer_waiting(receipt, &action_receipt, &mut result)?;
        self.record(receipt, result, tokens_burnt)
    }

    fn check_storage(
        &mut self,
        account_id: &AccountId,
        account: Option<&near_primitives::account::Account>,
        result: &mut ActionResult,
    ) -> Result<(), StateError> {
        if result.result.is_err() {
            return Ok(());
        }
        let Some(account) = account else {
            return Ok(());
        };
        match lacking_for_storage(account, account.amount(), &self.context.config)? {
            None => self.update.set_account(account_id, account),
            Some(amount) => {
                let account_id = account_id.clone();
                result.fail(ActionErrorKind::LackBalanceForState { account_id, amount });
                Ok(())
            }
        }
    }

    /// Books what the receipt burnt; gives the figure for its outcome.
    fn burn(&mut self, receipt: &Receipt, result: &ActionResult, refund: &super::refunds::RefundResult) -> Result<Balance, StateError> {
        let gas = if receipt.predecessor_id().is_system() { Gas::ZERO } else { result.gas_burnt };
        let mut burnt = gas_to_balance(gas, refund.burn_price)?;
        for part in [refund.penalty, refund.creation_charge, result.tokens_burnt] {
            burnt = add(burnt, part)?;
        }
        let tokens_burnt = burnt;
        let reward = self.reward_contract(receipt.receiver_id(), result, refund.burn_price)?;
        let kept = burnt.checked_sub(reward).ok_or(StateError::Overflow)?;
        self.burnt = add(self.burnt, kept)?;
        self.minted = add(self.minted, result.subsidized)?;
        self.use_gas(result.gas_burnt, result.compute)?;
        Ok(tokens_burnt)
    }

    /// Pays the contract its share of the gas, which protocol 87 abolished.
    fn reward_contract(&mut self, account_id: &AccountId, result: &ActionResult, price: Balance) -> Result<Balance, StateError> {
        let share = self.context.config.fees.burnt_gas_reward;
        let (part, whole) = (u128::from(share.numer().unsigned_abs()), u128::from(share.denom().unsigned_abs()));
        let gas = u128::from(result.gas_burnt_in_calls.as_gas()) * part / whole;
        let reward = price.checked_mul(gas).ok_or(StateError::Overflow)?;
        if reward.is_zero() {
            return Ok(reward);
        }
        let Some(mut account) = self.update.account(account_id)? else {
            return Ok(Balance::ZERO);
        };
        account.set_amount(add(account.amount(), reward)?);
        self.update.set_account(account_id, &account)?;
        self.update.commit();
        Ok(reward)
    }

    fn record(&mut self, receipt: &Receipt, result: ActionResult, tokens_burnt: Balance) -> Result<(), StateError> {
        let parent = receipt.receipt_id();
        let height = self.context.height;
        let mut receipt_ids = Vec::new();
        for (position, mut new) in result.new_receipts.into_iter().enumerate() {
            let id = create_receipt_id_from_receipt_id(parent, height, position);
            new.set_receipt_id(id);
            if matches!(new.versioned_receipt(), VersionedReceiptEnum::Action(_) | VersionedReceiptEnum::PromiseYield(_)) {
                receipt_ids.push(id);
            }
            self.created.push(new.clone());
            if new.is_instant_receipt() {
                self.instant.push_back(new);
            } else {
                self.outgoing.push(new);
            }
        }
        let status = match result.result {
            Ok(ReturnData::ReceiptIndex(index)) => {
                let position = usize::try_from(index).map_err(|_| StateError::Overflow)?;
                ExecutionStatus::SuccessReceiptId(create_receipt_id_from_receipt_id(parent, height, position))
            }
            Ok(ReturnData::Value(value)) => ExecutionStatus::SuccessValue(value),
            Ok(ReturnData::None) => ExecutionStatus::SuccessValue(Vec::new()),
            Err(error) => ExecutionStatus::Failure(TxExecutionError::ActionError(error)),
        };
        self.outcomes.push(ExecutionOutcomeWithId {
            id: *parent,
            outcome: ExecutionOutcome {
                logs: result.logs,
                receipt_ids,
                gas_burnt: result.gas_burnt,
                compute_usage: Some(result.compute),
                tokens_burnt,
                executor_id: receipt.receiver_id().clone(),
                status,
                metadata: ExecutionMetadata::V3(Box::new(convert::profile(&result.profile))),
            },
        });
        Ok(())
    }

    /// Cost of making a receipt, for those who price what a contract sent.
    pub(super) fn creation_gas(&self) -> Gas {
        self.context.config.fees.fee(ActionCosts::create_account).exec_fee().gas
    }
}

fn first_input(action: &VersionedActionReceipt<'_>) -> Result<CryptoHash, StateError> {
    action.input_data_ids().first().copied().ok_or(StateError::Inconsistent("a yield waits for nothing"))
}

/// Sends the result to those who wait for it, or hands them on to the promise that was returned.
fn answer_waiting(receipt: &Receipt, action_receipt: &VersionedActionReceipt<'_>, result: &mut ActionResult) -> Result<(), StateError> {
    let receivers = action_receipt.output_data_receivers();
    if receivers.is_empty() {
        return Ok(());
    }
    if let Ok(ReturnData::ReceiptIndex(index)) = result.result {
        let position = usize::try_from(index).map_err(|_| StateError::Overflow)?;
        let returned = result.new_receipts.get_mut(position).ok_or(StateError::Inconsistent("the returned promise does not exist"))?;
        return match returned.receipt_mut() {
            ReceiptEnum::ActionV2(action) | ReceiptEnum::PromiseYieldV2(action) => {
                action.output_data_receivers.extend_from_slice(receivers);
                Ok(())
            }
            ReceiptEnum::Action(action) | ReceiptEnum::PromiseYield(action) => {
                action.output_data_receivers.extend_from_slice(receivers);
                Ok(())
            }
            _ => Err(StateError::Inconsistent("the returned promise has no actions")),
        };
    }
    let data = match &result.result {
        Ok(ReturnData::Value(value)) => Some(value.clone()),
        Ok(_) => Some(Vec::new()),
        Err(_) => None,
    };
    for receiver in receivers {
        let answer = ReceiptEnum::Data(DataReceipt { data_id: receiver.data_id, data: data.clone() });
        let answer = new_receipt(receipt.receiver_id().clone(), receiver.receiver_id.clone(), answer);
        result.new_receipts.push(answer);
    }
    Ok(())
}
