//! Actions on one account.

use near_primitives::account::id::AccountType;
use near_primitives::account::{AccessKey, AccessKeyPermission, Account, AccountContract};
use near_primitives::action::AddKeyAction;
use near_primitives::errors::ActionErrorKind;
use near_primitives::receipt::{Receipt, VersionedActionReceipt};
use near_primitives::transaction::{Action, DeleteAccountAction, DeleteKeyAction, DeployContractAction, TransferAction};
use near_primitives::trie_key::TrieKey;
use near_primitives::types::{AccountId, Balance};
use near_vm_runner::ContractCode;

use super::receipts::{ActionResult, Inputs};
use super::verify::nonce_upper_bound;
use super::{BlockRun, add};
use crate::error::StateError;
use crate::fees::Fees;
use crate::state::{access_key_prefix, contract_data_prefix, encode};

/// One action in its receipt.
pub(super) struct ActionCall<'a> {
    pub(super) receipt: &'a Receipt,
    pub(super) action_receipt: &'a VersionedActionReceipt<'a>,
    pub(super) inputs: &'a Inputs,
    pub(super) index: usize,
}

impl BlockRun<'_> {
    pub(super) fn apply_action(
        &mut self,
        call: &ActionCall<'_>,
        account: &mut Option<Account>,
        actor_id: &mut AccountId,
    ) -> Result<ActionResult, StateError> {
        let action = &call.action_receipt.actions()[call.index];
        let account_id = call.receipt.receiver_id();
        let mut result = ActionResult::new(Fees::new(&self.context.config).action_exec(action, account_id)?);
        if let Err(kind) = check_existence(call, action, account.as_ref()) {
            result.fail(kind);
            return Ok(result);
        }
        if let Err(kind) = check_permission(action, account.as_ref(), actor_id, account_id) {
            result.fail(kind);
            return Ok(result);
        }
        match (action, account.as_mut()) {
            (Action::CreateAccount(_), _) => self.create_account(call, account, actor_id, &mut result),
            (Action::Transfer(transfer), Some(account)) => self.transfer(call, transfer, account)?,
            (Action::Transfer(transfer), None) => {
                *account = Some(self.create_implicit(account_id, transfer.deposit)?);
                *actor_id = account_id.clone();
            }
            (Action::DeployContract(deploy), Some(account)) => self.deploy(account_id, deploy, account)?,
            (Action::FunctionCall(function), Some(account)) => {
                self.call_contract(call, function, account, &mut result)?;
            }
            (Action::AddKey(add), Some(account)) => self.add_key(account_id, add, account, &mut result)?,
            (Action::DeleteKey(delete), Some(account)) => {
                self.delete_key(account_id, delete, account, &mut result)?;
            }
            (Action::DeleteAccount(delete), Some(_)) => {
                self.delete_account(account_id, delete, account, &mut result)?;
                *actor_id = call.receipt.predecessor_id().clone();
            }
            (Action::Delegate(signed), Some(_)) => self.delegate(call, signed, &mut result)?,
            // Validation lets no other action in, and existence was checked above.
            (_, _) => {
                return Err(StateError::Inconsistent("an action that validation refuses"));
            }
        }
        Ok(result)
    }

    fn create_account(&self, call: &ActionCall<'_>, account: &mut Option<Account>, actor_id: &mut AccountId, result: &mut ActionResult) {
        let account_id = call.receipt.receiver_id();
        let predecessor_id = call.receipt.predecessor_id();
        let rules = &self.context.config.account_creation_config;
        if account_id.is_top_level() {
            let short = account_id.len() < usize::from(rules.min_allowed_top_level_account_length);
            if short && *predecessor_id != rules.registrar_account_id {
                result.fail(ActionErrorKind::CreateAccountOnlyByRegistrar {
                    account_id: account_id.clone(),
                    registrar_account_id: rules.registrar_account_id.clone(),
                    predecessor_id: predecessor_id.clone(),
                });
                return;
            }
        } else if !account_id.is_sub_account_of(predecessor_id) {
            result
                .fail(ActionErrorKind::CreateAccountNotAllowed { account_id: account_id.clone(), predecessor_id: predecessor_id.clone() });
            return;
        }
        *actor_id = account_id.clone();
        let bytes = self.context.config.fees.storage_usage_config.num_bytes_account;
        *account = Some(Account::new(Balance::ZERO, Balance::ZERO, AccountContract::None, bytes));
    }

    /// Credits the account; a gas refund also restores the allowance of the key that paid.
    fn transfer(&mut self, call: &ActionCall<'_>, transfer: &TransferAction, account: &mut Account) -> Result<(), StateError> {
        account.set_amount(add(account.amount(), transfer.deposit)?);
        let account_id = call.receipt.receiver_id();
        let is_gas_refund = call.receipt.predecessor_id().is_system() && call.action_receipt.signer_id() == account_id;
        if !is_gas_refund {
            return Ok(());
        }
        let public_key = call.action_receipt.signer_public_key();
        let Some(mut key) = self.update.access_key(account_id, public_key)? else {
            return Ok(());
        };
        if let AccessKeyPermission::FunctionCall(permission) = &mut key.permission
            && let Some(allowance) = permission.allowance
        {
            permission.allowance = Some(allowance.saturating_add(transfer.deposit));
            self.update.set_access_key(account_id, public_key, &key)?;
        }
        Ok(())
    }

    /// An account named by its public key, which becomes its full-access key.
    fn create_implicit(&mut self, account_id: &AccountId, amount: Balance) -> Result<Account, StateError> {
        let storage = self.context.config.fees.storage_usage_config.clone();
        let public_key = near_crypto::PublicKey::from_near_implicit_account(account_id)
            .map_err(|_| StateError::Inconsistent("an implicit account without a key in its name"))?;
        let key = AccessKey { nonce: self.first_nonce(), permission: AccessKeyPermission::FullAccess };
        let bytes = storage.num_bytes_account + key_bytes(&public_key, &key, storage.num_extra_bytes_record)?;
        self.update.set_access_key(account_id, &public_key, &key)?;
        Ok(Account::new(amount, Balance::ZERO, AccountContract::None, bytes))
    }

    /// Nonce of a key made in this block: no transaction of an earlier key of the same name can come again.
    fn first_nonce(&self) -> u64 {
        nonce_upper_bound(self.context.height.saturating_sub(1))
    }

    fn deploy(&mut self, account_id: &AccountId, deploy: &DeployContractAction, account: &mut Account) -> Result<(), StateError> {
        let key = TrieKey::ContractCode { account_id: account_id.clone() }.to_vec();
        let old = self.update.get_raw(&key).map_or(0, |code| byte_count(code.len()));
        let code = ContractCode::new(deploy.code.clone(), None);
        let usage = account.storage_usage().saturating_sub(old).checked_add(byte_count(deploy.code.len()));
        account.set_storage_usage(usage.ok_or(StateError::Overflow)?);
        account
            .set_contract(AccountContract::Local(*code.hash()))
            .map_err(|_| StateError::Inconsistent("a contract on an account that is not initialised"))?;
        self.update.set_raw(key, deploy.code.as_slice().into());
        let vm = std::sync::Arc::clone(&self.context.config.wasm_config);
        if let Err(error) = near_vm_runner::precompile_contract(&code, vm, Some(self.context.cache.as_ref())) {
            tracing::warn!(%account_id, %error, "the compiled contract could not be kept");
        }
        Ok(())
    }

    fn add_key(
        &mut self,
        account_id: &AccountId,
        action: &AddKeyAction,
        account: &mut Account,
        result: &mut ActionResult,
    ) -> Result<(), StateError> {
        if self.update.access_key(account_id, &action.public_key)?.is_some() {
            result.fail(ActionErrorKind::AddKeyAlreadyExists {
                account_id: account_id.clone(),
                public_key: Box::new(action.public_key.clone()),
            });
            return Ok(());
        }
        let mut key = action.access_key.clone();
        key.nonce = self.first_nonce();
        let record = self.context.config.fees.storage_usage_config.num_extra_bytes_record;
        let usage = account.storage_usage().checked_add(key_bytes(&action.public_key, &key, record)?);
        account.set_storage_usage(usage.ok_or(StateError::Overflow)?);
        self.update.set_access_key(account_id, &action.public_key, &key)
    }

    fn delete_key(
        &mut self,
        account_id: &AccountId,
        action: &DeleteKeyAction,
        account: &mut Account,
        result: &mut ActionResult,
    ) -> Result<(), StateError> {
        let Some(key) = self.update.access_key(account_id, &action.public_key)? else {
            result.fail(ActionErrorKind::DeleteKeyDoesNotExist {
                account_id: account_id.clone(),
                public_key: Box::new(action.public_key.clone()),
            });
            return Ok(());
        };
        let record = self.context.config.fees.storage_usage_config.num_extra_bytes_record;
        let bytes = key_bytes(&action.public_key, &key, record)?;
        account.set_storage_usage(account.storage_usage().saturating_sub(bytes));
        self.update.remove(&TrieKey::access_key(account_id.clone(), &action.public_key));
        Ok(())
    }

    /// Removes account, code, keys and data; what it held goes to the beneficiary.
    fn delete_account(
        &mut self,
        account_id: &AccountId,
        action: &DeleteAccountAction,
        slot: &mut Option<Account>,
        result: &mut ActionResult,
    ) -> Result<(), StateError> {
        let Some(account) = slot.take() else {
            return Ok(());
        };
        let code_key = TrieKey::ContractCode { account_id: account_id.clone() }.to_vec();
        let code_bytes = self.update.get_raw(&code_key).map_or(0, |code| byte_count(code.len()));
        if account.storage_usage().saturating_sub(code_bytes) > Account::MAX_ACCOUNT_DELETION_STORAGE_USAGE {
            result.fail(ActionErrorKind::DeleteAccountWithLargeState { account_id: account_id.clone() });
            *slot = Some(account);
            return Ok(());
        }
        if !account.amount().is_zero() {
            result.new_receipts.push(Receipt::new_balance_refund(&action.beneficiary_id, account.amount()));
        }
        self.update.remove(&TrieKey::Account { account_id: account_id.clone() });
        self.update.remove_raw(code_key);
        for prefix in [access_key_prefix(account_id), contract_data_prefix(account_id)] {
            for key in self.update.keys_with_prefix(&prefix) {
                self.update.remove_raw(key);
            }
        }
        Ok(())
    }
}

/// Storage that an access key is charged for: its name, its content, and the overhead of a record.
pub(crate) fn key_bytes(public_key: &near_crypto::PublicKey, key: &AccessKey, num_extra_bytes_record: u64) -> Result<u64, StateError> {
    let bytes = byte_count(public_key.trie_id_len()) + byte_count(encode(key)?.len());
    Ok(bytes + num_extra_bytes_record)
}

fn byte_count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn check_existence(call: &ActionCall<'_>, action: &Action, account: Option<&Account>) -> Result<(), ActionErrorKind> {
    let account_id = call.receipt.receiver_id().clone();
    let is_near_implicit = account_id.get_account_type() == AccountType::NearImplicitAccount;
    match (action, account) {
        (Action::CreateAccount(_), Some(_)) => Err(ActionErrorKind::AccountAlreadyExists { account_id }),
        (Action::CreateAccount(_), None) if account_id.get_account_type().is_implicit() => {
            Err(ActionErrorKind::OnlyImplicitAccountCreationAllowed { account_id })
        }
        (Action::CreateAccount(_), None) | (_, Some(_)) => Ok(()),
        (Action::Transfer(_), None) => {
            let alone = call.action_receipt.actions().len() == 1;
            if is_near_implicit && alone && !call.receipt.predecessor_id().is_system() {
                Ok(())
            } else {
                Err(ActionErrorKind::AccountDoesNotExist { account_id })
            }
        }
        (_, None) => Err(ActionErrorKind::AccountDoesNotExist { account_id }),
    }
}

fn check_permission(
    action: &Action,
    account: Option<&Account>,
    actor_id: &AccountId,
    account_id: &AccountId,
) -> Result<(), ActionErrorKind> {
    let owner_only = matches!(action, Action::DeployContract(_) | Action::AddKey(_) | Action::DeleteKey(_) | Action::DeleteAccount(_));
    if owner_only && actor_id != account_id {
        return Err(ActionErrorKind::ActorNoPermission { account_id: account_id.clone(), actor_id: actor_id.clone() });
    }
    let staking = account.is_some_and(|account| !account.locked().is_zero());
    if matches!(action, Action::DeleteAccount(_)) && staking {
        return Err(ActionErrorKind::DeleteAccountStaking { account_id: account_id.clone() });
    }
    Ok(())
}
