//! Running a contract: as an action, and as a view.

use std::rc::Rc;
use std::sync::Arc;

use near_primitives::account::Account;
use near_primitives::config::ViewConfig;
use near_primitives::errors::ActionErrorKind;
use near_primitives::hash::CryptoHash;
use near_primitives::receipt::PromiseYieldIndices;
use near_primitives::transaction::FunctionCallAction;
use near_primitives::trie_key::TrieKey;
use near_primitives::types::{AccountId, Balance, Gas};
use near_primitives::utils::{create_action_hash_from_receipt_id, create_random_seed};
use near_vm_runner::logic::errors::{FunctionCallError, VMRunnerError};
use near_vm_runner::logic::types::PromiseResult;
use near_vm_runner::logic::{GasCounter, ReturnData, VMContext, VMOutcome};
use near_vm_runner::{Contract, ContractCode};

use super::actions::ActionCall;
use super::external::ChainExternal;
use super::promises::Promises;
use super::receipts::ActionResult;
use super::{BlockContext, BlockRun, add, convert};
use crate::error::StateError;
use crate::state::{State, StateUpdate, Value};

/// The code of an account, loaded only when no compiled form is at hand.
struct AccountCode {
    hash: CryptoHash,
    bytes: Option<Value>,
}

impl AccountCode {
    fn load(update: &StateUpdate<'_>, account_id: &AccountId, account: &Account) -> Self {
        let hash = account.local_contract_hash().unwrap_or_default();
        let key = TrieKey::ContractCode { account_id: account_id.clone() }.to_vec();
        let bytes = update.get_raw(&key).filter(|_| hash != CryptoHash::default());
        Self { hash, bytes }
    }
}

impl Contract for AccountCode {
    fn hash(&self) -> CryptoHash {
        self.hash
    }

    fn get_code(&self) -> Option<Arc<ContractCode>> {
        let bytes = self.bytes.as_ref()?;
        Some(Arc::new(ContractCode::new(bytes.to_vec(), Some(self.hash))))
    }
}

enum Run {
    /// The machine ran, to an end or to an error.
    Ended(Box<VMOutcome>),
    /// It never started; no gas is burnt for it.
    NotStarted(FunctionCallError),
}

fn run_machine(
    context: &BlockContext,
    code: &AccountCode,
    method_name: &str,
    vm_context: &VMContext,
    external: &mut ChainExternal<'_, '_>,
) -> Run {
    let vm = &context.config.wasm_config;
    let limit = vm_context.view_config.as_ref().map_or(vm.limit_config.max_gas_burnt, |view| view.max_gas_burnt);
    let gas_counter = GasCounter::new(vm.ext_costs.clone(), limit, vm.regular_op_cost, vm_context.prepaid_gas, vm_context.is_view());
    let cache = context.cache.as_ref();
    let prepared = near_vm_runner::prepare(code, Arc::clone(vm), Some(cache), gas_counter, method_name);
    match near_vm_runner::run(prepared, external, vm_context, Arc::clone(&context.config.fees)) {
        Ok(outcome) => Run::Ended(Box::new(outcome)),
        Err(VMRunnerError::ContractCodeNotPresent) => {
            let account_id = vm_context.current_account_id.as_str().into();
            let error = near_vm_runner::logic::errors::CompilationError::CodeDoesNotExist { account_id };
            Run::NotStarted(FunctionCallError::CompilationError(error))
        }
        Err(error) => {
            // A fault of the machine or of the host, never the contract's alone: said loudly, charged nothing.
            tracing::error!(account_id = %vm_context.current_account_id, method_name, %error, "the virtual machine failed");
            Run::NotStarted(FunctionCallError::LoadingError { msg: error.to_string() })
        }
    }
}

impl BlockRun<'_> {
    pub(super) fn call_contract(
        &mut self,
        action: &ActionCall<'_>,
        call: &FunctionCallAction,
        account: &mut Account,
        result: &mut ActionResult,
    ) -> Result<(), StateError> {
        let context = self.context;
        let account_id = action.receipt.receiver_id();
        add(account.amount(), call.deposit)?;
        let action_hash = create_action_hash_from_receipt_id(action.receipt.receipt_id(), context.height, action.index);
        let code = AccountCode::load(&self.update, account_id, account);
        let vm_context = self.vm_context(action, call, account, action_hash)?;
        let mut external = ChainExternal {
            update: &mut self.update,
            promises: Promises::default(),
            account_id,
            action_hash,
            height: context.height,
            protocol_version: context.protocol_version,
            chain_id: &context.chain_id,
            data_count: 0,
        };
        let run = run_machine(context, &code, &call.method_name, &vm_context, &mut external);
        let mut promises = external.promises;
        let outcome = match run {
            Run::Ended(outcome) => *outcome,
            Run::NotStarted(error) => {
                let error = convert::call_error(&error, account_id);
                result.fail(ActionErrorKind::FunctionCallError(error));
                return Ok(());
            }
        };
        let unused = call.gas.saturating_sub(outcome.used_gas);
        let distributed = promises.distribute(unused)?;
        result.gas_burnt = result.gas_burnt.checked_add_result(outcome.burnt_gas)?;
        result.gas_burnt_in_calls = outcome.burnt_gas;
        result.gas_used = result.gas_used.checked_add_result(outcome.used_gas)?.checked_add_result(distributed)?;
        result.compute = result.compute.saturating_add(outcome.compute_usage);
        result.logs.extend(outcome.logs);
        result.profile.merge(&outcome.profile);
        if let Some(error) = &outcome.aborted {
            result.fail(ActionErrorKind::FunctionCallError(convert::call_error(error, account_id)));
            return Ok(());
        }
        self.enqueue_timeouts(account_id, &promises)?;
        account.set_amount(outcome.balance);
        account.set_storage_usage(outcome.storage_usage);
        result.subsidized = outcome.subsidized_amount;
        result.new_receipts = promises.into_receipts(account_id, action.action_receipt);
        result.result = Ok(outcome.return_data);
        Ok(())
    }

    fn vm_context(
        &self,
        action: &ActionCall<'_>,
        call: &FunctionCallAction,
        account: &Account,
        action_hash: CryptoHash,
    ) -> Result<VMContext, StateError> {
        let receipt = action.action_receipt;
        let predecessor_id = action.receipt.predecessor_id();
        let is_last = action.index + 1 == receipt.actions().len();
        let output_data_receivers = if is_last {
            receipt.output_data_receivers().iter().map(|receiver| receiver.receiver_id.clone()).collect()
        } else {
            Vec::new()
        };
        let promise_results: Vec<PromiseResult> = action
            .inputs
            .iter()
            .map(|data| match data {
                Some(data) => PromiseResult::Successful(Rc::from(data.as_ref())),
                None => PromiseResult::Failed,
            })
            .collect();
        Ok(VMContext {
            current_account_id: action.receipt.receiver_id().clone(),
            signer_account_id: receipt.signer_id().clone(),
            signer_account_pk: borsh::to_vec(receipt.signer_public_key()).map_err(StateError::Encode)?,
            predecessor_account_id: predecessor_id.clone(),
            refund_to_account_id: receipt.refund_to().as_ref().unwrap_or(predecessor_id).clone(),
            input: Rc::from(call.args.as_slice()),
            promise_results: Arc::from(promise_results),
            block_height: self.context.height,
            block_timestamp: self.context.timestamp_ns,
            epoch_height: self.context.epoch_height,
            account_balance: account.amount(),
            account_locked_balance: account.locked(),
            storage_usage: account.storage_usage(),
            account_contract: account.contract().into_owned(),
            attached_deposit: call.deposit,
            prepaid_gas: call.gas,
            random_seed: create_random_seed(action_hash, self.context.random_value),
            view_config: None,
            output_data_receivers,
        })
    }

    fn enqueue_timeouts(&mut self, account_id: &AccountId, promises: &Promises) -> Result<(), StateError> {
        let yields: Vec<CryptoHash> = promises
            .receipts
            .iter()
            .filter(|receipt| receipt.is_yield)
            .filter_map(|receipt| receipt.input_data_ids.first().copied())
            .collect();
        if yields.is_empty() {
            return Ok(());
        }
        let wait = self.context.config.wasm_config.limit_config.yield_timeout_length_in_blocks;
        let expires_at = self.context.height.saturating_add(wait);
        let mut indices: PromiseYieldIndices = self.update.get(&TrieKey::PromiseYieldIndices)?.unwrap_or_default();
        for data_id in yields {
            let timeout = near_primitives::receipt::PromiseYieldTimeout { account_id: account_id.clone(), data_id, expires_at };
            self.update.set(&TrieKey::PromiseYieldTimeout { index: indices.next_available_index }, &timeout)?;
            indices.next_available_index += 1;
        }
        self.update.set(&TrieKey::PromiseYieldIndices, &indices)
    }
}

/// A read-only call.
pub(crate) struct ViewCall<'a> {
    pub(crate) account_id: &'a AccountId,
    pub(crate) account: &'a Account,
    pub(crate) method_name: &'a str,
    pub(crate) args: &'a [u8],
}

pub(crate) struct ViewOutcome {
    /// The returned bytes, or why there are none.
    pub(crate) result: Result<Vec<u8>, ViewError>,
    pub(crate) logs: Vec<String>,
}

/// An error of a view, as the protocol types it and as nodes have always worded it.
pub(crate) struct ViewError {
    pub(crate) error: near_primitives::errors::FunctionCallError,
    pub(crate) message: String,
}

impl ViewError {
    fn new(error: &FunctionCallError, account_id: &AccountId) -> Self {
        Self { error: convert::call_error(error, account_id), message: format!("wasm execution failed with error: {error:?}") }
    }
}

/// Runs a view over `state` in the context of the last block.
pub(crate) fn view_call(context: &BlockContext, state: &State, call: &ViewCall<'_>) -> ViewOutcome {
    let mut update = StateUpdate::new(state);
    let code = AccountCode::load(&update, call.account_id, call.account);
    let limits = &context.config.wasm_config.limit_config;
    let action_hash = CryptoHash::default();
    let public_key = near_crypto::PublicKey::empty(near_crypto::KeyType::ED25519);
    let vm_context = VMContext {
        current_account_id: call.account_id.clone(),
        signer_account_id: call.account_id.clone(),
        signer_account_pk: borsh::to_vec(&public_key).unwrap_or_default(),
        predecessor_account_id: call.account_id.clone(),
        refund_to_account_id: call.account_id.clone(),
        input: Rc::from(call.args),
        promise_results: Arc::from(Vec::new()),
        block_height: context.height,
        block_timestamp: context.timestamp_ns,
        epoch_height: context.epoch_height,
        account_balance: call.account.amount(),
        account_locked_balance: call.account.locked(),
        storage_usage: call.account.storage_usage(),
        account_contract: call.account.contract().into_owned(),
        attached_deposit: Balance::ZERO,
        prepaid_gas: limits.max_gas_burnt,
        random_seed: create_random_seed(action_hash, context.random_value),
        view_config: Some(ViewConfig { max_gas_burnt: VIEW_GAS_LIMIT.min(limits.max_gas_burnt) }),
        output_data_receivers: Vec::new(),
    };
    let mut external = ChainExternal {
        update: &mut update,
        promises: Promises::default(),
        account_id: call.account_id,
        action_hash,
        height: context.height,
        protocol_version: context.protocol_version,
        chain_id: &context.chain_id,
        data_count: 0,
    };
    match run_machine(context, &code, call.method_name, &vm_context, &mut external) {
        Run::NotStarted(error) => ViewOutcome { result: Err(ViewError::new(&error, call.account_id)), logs: Vec::new() },
        Run::Ended(outcome) => ViewOutcome {
            result: match outcome.aborted {
                Some(error) => Err(ViewError::new(&error, call.account_id)),
                None => Ok(match outcome.return_data {
                    ReturnData::Value(value) => value,
                    ReturnData::ReceiptIndex(_) | ReturnData::None => Vec::new(),
                }),
            },
            logs: outcome.logs,
        },
    }
}

/// Gas that a view may burn: what public nodes allow.
const VIEW_GAS_LIMIT: Gas = Gas::from_teragas(300);
