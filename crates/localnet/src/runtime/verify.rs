//! What makes a transaction or a list of actions acceptable, and how a signer is charged.

use near_parameters::RuntimeConfig;
use near_parameters::vm::LimitConfig;
use near_primitives::account::{AccessKey, AccessKeyPermission, Account, FunctionCallPermission};
use near_primitives::errors::{ActionsValidationError, InvalidAccessKeyError, InvalidTxError, ReceiptValidationError};
use near_primitives::receipt::{Receipt, VersionedReceiptEnum};
use near_primitives::transaction::{Action, AddKeyAction, NonceMode, SignedTransaction, Transaction, ValidatedTransaction};
use near_primitives::types::{AccountId, Balance, BlockHeight, Gas, ProtocolVersion};

use crate::error::StateError;
use crate::fees::{Fees, TransactionCost, method_names_bytes, total_prepaid_gas};
use crate::state::StateUpdate;

/// An account with no more storage than this needs no balance (NEP-448).
const ZERO_BALANCE_ACCOUNT_STORAGE_BYTES: u64 = 770;

/// Why a transaction cannot become a receipt.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    Invalid(InvalidTxError),
    #[error(transparent)]
    State(#[from] StateError),
}

impl From<InvalidTxError> for Refusal {
    fn from(error: InvalidTxError) -> Self {
        Self::Invalid(error)
    }
}

/// Checks everything that needs no state: limits, versions, signature.
pub(crate) fn check_well_formed(
    config: &RuntimeConfig,
    version: ProtocolVersion,
    transaction: &SignedTransaction,
) -> Result<(), InvalidTxError> {
    let body = &transaction.transaction;
    validate_actions(&config.wasm_config.limit_config, version, body.actions(), false).map_err(InvalidTxError::ActionsValidation)?;
    if body.nonce().nonce_index().is_some() {
        let error = unsupported("gas keys", version);
        return Err(InvalidTxError::ActionsValidation(error));
    }
    ValidatedTransaction::check_valid_for_config(config, transaction, version)?;
    if !transaction.signature.verify(transaction.get_hash().as_ref(), body.public_key()) {
        return Err(InvalidTxError::InvalidSignature);
    }
    Ok(())
}

/// Charges the signer for `transaction` in a block at `height`, as the update sees the state; writes account and key only when it is accepted.
pub(crate) fn verify_and_charge(
    config: &RuntimeConfig,
    update: &mut StateUpdate<'_>,
    transaction: &Transaction,
    height: BlockHeight,
    gas_price: Balance,
) -> Result<TransactionCost, Refusal> {
    let cost = Fees::new(config).transaction(transaction, gas_price).map_err(InvalidTxError::from)?;
    let signer_id = transaction.signer_id();
    let public_key = transaction.public_key();
    let Some(mut signer) = update.account(signer_id)? else {
        return Err(InvalidTxError::SignerDoesNotExist { signer_id: signer_id.clone() }.into());
    };
    let Some(mut key) = update.access_key(signer_id, public_key)? else {
        let error = InvalidAccessKeyError::AccessKeyNotFound { account_id: signer_id.clone(), public_key: Box::new(public_key.clone()) };
        return Err(InvalidTxError::from(error).into());
    };
    check_nonce(transaction, &key, height)?;
    let balance = signer.amount();
    let Some(rest) = balance.checked_sub(cost.total_cost) else {
        let signer_id = signer_id.clone();
        return Err(InvalidTxError::NotEnoughBalance { signer_id, balance, cost: cost.total_cost }.into());
    };
    charge_allowance(transaction, &mut key, cost.total_cost)?;
    if let Some(amount) = lacking_for_storage(&signer, rest, config)? {
        return Err(InvalidTxError::LackBalanceForState { signer_id: signer_id.clone(), amount }.into());
    }
    if let AccessKeyPermission::FunctionCall(permission) = &key.permission {
        check_function_call_key(permission, transaction.actions(), transaction.receiver_id()).map_err(InvalidTxError::from)?;
    }
    key.nonce = transaction.nonce().nonce();
    signer.set_amount(rest);
    update.set_account(signer_id, &signer)?;
    update.set_access_key(signer_id, public_key, &key)?;
    Ok(cost)
}

fn check_nonce(transaction: &Transaction, key: &AccessKey, height: BlockHeight) -> Result<(), InvalidTxError> {
    let tx_nonce = transaction.nonce().nonce();
    let follows = match transaction.nonce_mode() {
        NonceMode::Monotonic => tx_nonce > key.nonce,
        NonceMode::Strict => key.nonce.checked_add(1) == Some(tx_nonce),
    };
    if !follows {
        return Err(InvalidTxError::InvalidNonce { tx_nonce, ak_nonce: key.nonce });
    }
    let upper_bound = nonce_upper_bound(height);
    if tx_nonce >= upper_bound {
        return Err(InvalidTxError::NonceTooLarge { tx_nonce, upper_bound });
    }
    Ok(())
}

/// Nonces of a block at `height` are below this.
pub(crate) fn nonce_upper_bound(height: BlockHeight) -> u64 {
    height.saturating_mul(AccessKey::ACCESS_KEY_NONCE_RANGE_MULTIPLIER)
}

fn charge_allowance(transaction: &Transaction, key: &mut AccessKey, cost: Balance) -> Result<(), InvalidTxError> {
    let AccessKeyPermission::FunctionCall(permission) = &mut key.permission else {
        return Ok(());
    };
    let Some(allowance) = permission.allowance else {
        return Ok(());
    };
    let Some(rest) = allowance.checked_sub(cost) else {
        let error = InvalidAccessKeyError::NotEnoughAllowance {
            account_id: transaction.signer_id().clone(),
            public_key: Box::new(transaction.public_key().clone()),
            allowance,
            cost,
        };
        return Err(error.into());
    };
    permission.allowance = Some(rest);
    Ok(())
}

/// A function-call key signs one call, without deposit, of its receiver and one of its methods.
pub(crate) fn check_function_call_key(
    permission: &FunctionCallPermission,
    actions: &[Action],
    receiver: &AccountId,
) -> Result<(), InvalidAccessKeyError> {
    let [Action::FunctionCall(call)] = actions else {
        return Err(InvalidAccessKeyError::RequiresFullAccess);
    };
    if !call.deposit.is_zero() {
        return Err(InvalidAccessKeyError::DepositWithFunctionCall);
    }
    if receiver.as_str() != permission.receiver_id {
        return Err(InvalidAccessKeyError::ReceiverMismatch { tx_receiver: receiver.clone(), ak_receiver: permission.receiver_id.clone() });
    }
    if !permission.method_names.is_empty() && !permission.method_names.contains(&call.method_name) {
        return Err(InvalidAccessKeyError::MethodNameMismatch { method_name: call.method_name.clone() });
    }
    Ok(())
}

/// What `account` lacks to pay for its storage when it holds `amount`; `None` when nothing.
pub(crate) fn lacking_for_storage(account: &Account, amount: Balance, config: &RuntimeConfig) -> Result<Option<Balance>, StateError> {
    let usage = account.storage_usage();
    let required = config.storage_amount_per_byte().checked_mul(u128::from(usage)).ok_or(StateError::Overflow)?;
    let available = amount.checked_add(account.locked()).ok_or(StateError::Overflow)?;
    if available >= required || usage <= ZERO_BALANCE_ACCOUNT_STORAGE_BYTES {
        return Ok(None);
    }
    Ok(Some(required.saturating_sub(available)))
}

/// Checks a receipt that a contract made.
pub(crate) fn validate_new_receipt(
    limits: &LimitConfig,
    version: ProtocolVersion,
    receipt: &Receipt,
) -> Result<(), ReceiptValidationError> {
    let size = borsh::object_length(receipt).map_or(u64::MAX, |size| u64::try_from(size).unwrap_or(u64::MAX));
    if size > limits.max_receipt_size {
        return Err(ReceiptValidationError::ReceiptSizeExceeded { size, limit: limits.max_receipt_size });
    }
    match receipt.versioned_receipt() {
        VersionedReceiptEnum::Action(action) | VersionedReceiptEnum::PromiseYield(action) => {
            let inputs = count(action.input_data_ids().len());
            let limit = limits.max_number_input_data_dependencies;
            if inputs > limit {
                return Err(ReceiptValidationError::NumberInputDataDependenciesExceeded {
                    number_of_input_data_dependencies: inputs,
                    limit,
                });
            }
            validate_actions(limits, version, action.actions(), false).map_err(ReceiptValidationError::ActionsValidation)
        }
        VersionedReceiptEnum::Data(data) | VersionedReceiptEnum::PromiseResume(data) => {
            let length = data.data.as_ref().map_or(0, |data| count(data.len()));
            let limit = limits.max_length_returned_data;
            if length > limit {
                return Err(ReceiptValidationError::ReturnedValueLengthExceeded { length, limit });
            }
            Ok(())
        }
        VersionedReceiptEnum::GlobalContractDistribution(_) => Ok(()),
    }
}

/// Checks limits of an action list, by itself.
pub(crate) fn validate_actions(
    limits: &LimitConfig,
    version: ProtocolVersion,
    actions: &[Action],
    in_delegate: bool,
) -> Result<(), ActionsValidationError> {
    let total = count(actions.len());
    if total > limits.max_actions_per_receipt {
        return Err(ActionsValidationError::TotalNumberOfActionsExceeded {
            total_number_of_actions: total,
            limit: limits.max_actions_per_receipt,
        });
    }
    let deploys = count(actions.iter().filter(|action| matches!(action, Action::DeployContract(_))).count());
    if deploys > limits.max_deploy_actions_per_receipt {
        return Err(ActionsValidationError::TotalNumberOfDeployActionsExceeded {
            number_of_deploy_actions: deploys,
            limit: limits.max_deploy_actions_per_receipt,
        });
    }
    let delegates = actions.iter().filter(|action| action.is_delegate()).count();
    if delegates > 1 || (delegates > 0 && in_delegate) {
        return Err(ActionsValidationError::DelegateActionMustBeOnlyOne);
    }
    for (index, action) in actions.iter().enumerate() {
        if matches!(action, Action::DeleteAccount(_)) && index + 1 != actions.len() {
            return Err(ActionsValidationError::DeleteActionMustBeFinal);
        }
        validate_action(limits, version, action)?;
    }
    let total_gas = total_prepaid_gas(actions).map_err(|_| ActionsValidationError::IntegerOverflow)?;
    check_limit_gas(total_gas, limits.max_total_prepaid_gas)
}

fn check_limit_gas(total_prepaid_gas: Gas, limit: Gas) -> Result<(), ActionsValidationError> {
    if total_prepaid_gas > limit {
        return Err(ActionsValidationError::TotalPrepaidGasExceeded { total_prepaid_gas, limit });
    }
    Ok(())
}

fn validate_action(limits: &LimitConfig, version: ProtocolVersion, action: &Action) -> Result<(), ActionsValidationError> {
    match action {
        Action::CreateAccount(_) | Action::Transfer(_) | Action::DeleteKey(_) | Action::DeleteAccount(_) => Ok(()),
        Action::DeployContract(deploy) => {
            let (size, limit) = (count(deploy.code.len()), limits.max_contract_size);
            if size > limit {
                return Err(ActionsValidationError::ContractSizeExceeded { size, limit });
            }
            Ok(())
        }
        Action::FunctionCall(call) => {
            if call.gas == Gas::ZERO {
                return Err(ActionsValidationError::FunctionCallZeroAttachedGas);
            }
            if call.method_name.is_empty() {
                return Err(ActionsValidationError::FunctionCallEmptyMethodName);
            }
            let (length, limit) = (count(call.method_name.len()), limits.max_length_method_name);
            if length > limit {
                return Err(ActionsValidationError::FunctionCallMethodNameLengthExceeded { length, limit });
            }
            let (length, limit) = (count(call.args.len()), limits.max_arguments_length);
            if length > limit {
                return Err(ActionsValidationError::FunctionCallArgumentsLengthExceeded { length, limit });
            }
            Ok(())
        }
        Action::AddKey(add) => validate_add_key(limits, version, add),
        Action::Delegate(signed) => validate_actions(limits, version, &signed.delegate_action.get_actions(), true),
        Action::DelegateV2(_) => Err(ActionsValidationError::RemovedProtocolFeature { protocol_feature: "DelegateV2".to_owned(), version }),
        Action::Stake(_) => Err(unsupported("staking", version)),
        Action::DeployGlobalContract(_) | Action::UseGlobalContract(_) => Err(unsupported("global contracts", version)),
        Action::DeterministicStateInit(_) => Err(unsupported("deterministic accounts", version)),
        Action::UniversalStateInit(_) => Err(unsupported("universal accounts", version)),
        Action::TransferToGasKey(_) | Action::WithdrawFromGasKey(_) => Err(unsupported("gas keys", version)),
    }
}

fn validate_add_key(limits: &LimitConfig, version: ProtocolVersion, add: &AddKeyAction) -> Result<(), ActionsValidationError> {
    let permission = match &add.access_key.permission {
        AccessKeyPermission::FullAccess => return Ok(()),
        AccessKeyPermission::FunctionCall(permission) => permission,
        AccessKeyPermission::GasKeyFullAccess(_) | AccessKeyPermission::GasKeyFunctionCall(..) => {
            return Err(unsupported("gas keys", version));
        }
    };
    if permission.receiver_id.parse::<AccountId>().is_err() {
        return Err(ActionsValidationError::InvalidAccountId { account_id: permission.receiver_id.clone() });
    }
    for name in &permission.method_names {
        let (length, limit) = (count(name.len()), limits.max_length_method_name);
        if length > limit {
            return Err(ActionsValidationError::AddKeyMethodNameLengthExceeded { length, limit });
        }
    }
    let total = method_names_bytes(permission).map_err(|_| ActionsValidationError::IntegerOverflow)?;
    if total > limits.max_number_bytes_method_names {
        return Err(ActionsValidationError::AddKeyMethodNamesNumberOfBytesExceeded {
            total_number_of_bytes: total,
            limit: limits.max_number_bytes_method_names,
        });
    }
    Ok(())
}

/// The named error for what this chain does not do.
fn unsupported(what: &str, version: ProtocolVersion) -> ActionsValidationError {
    ActionsValidationError::UnsupportedProtocolFeature {
        protocol_feature: format!("{what} (not implemented in starling-localnet)"),
        version,
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
