//! Setting state records by hand: in a running chain, and in its first block.

use std::collections::BTreeSet;
use std::sync::Arc;

use near_parameters::StorageUsageConfig;
use near_primitives::account::{Account, AccountContract};
use near_primitives::hash::CryptoHash;
use near_primitives::state_record::StateRecord;
use near_primitives::trie_key::TrieKey;
use near_primitives::types::{AccountId, Balance};

use crate::error::{LocalnetError, StateError};
use crate::runtime::add;
use crate::state::{Changes, State, StateUpdate, access_key_prefix, contract_data_prefix};

/// What `records` change, and the total supply afterwards.
///
/// An account's storage usage is set with its account record alone; code moves the contract hash of its account along.
pub(crate) fn changes_of(state: &State, supply: Balance, records: Vec<StateRecord>) -> Result<(Changes, Balance), LocalnetError> {
    let mut update = StateUpdate::new(state);
    let mut supply = supply;
    for record in records {
        match record {
            StateRecord::Account { account_id, account } => {
                let before = update.account(&account_id)?.map_or(Balance::ZERO, |old| total(&old));
                supply = supply.checked_sub(before).ok_or(StateError::Overflow)?;
                supply = add(supply, total(&account))?;
                update.set_account(&account_id, &account)?;
            }
            StateRecord::Data { account_id, data_key, value } => {
                let key = TrieKey::ContractData { account_id, key: data_key.to_vec() };
                update.set_raw(key.to_vec(), Arc::from(value.to_vec()));
            }
            StateRecord::Contract { account_id, code } => {
                let Some(mut account) = update.account(&account_id)? else {
                    return Err(LocalnetError::PatchRefused(format!("code for {account_id}, which does not exist")));
                };
                account
                    .set_contract(AccountContract::Local(CryptoHash::hash_bytes(&code)))
                    .map_err(|error| LocalnetError::PatchRefused(error.to_string()))?;
                update.set_account(&account_id, &account)?;
                update.set_raw(TrieKey::ContractCode { account_id }.to_vec(), Arc::from(code));
            }
            StateRecord::AccessKey { account_id, public_key, access_key } => {
                let key = TrieKey::AccessKey { account_id, key_handle: public_key };
                update.set(&key, &access_key)?;
            }
            other => return Err(LocalnetError::PatchRefused(other.get_type_string())),
        }
    }
    Ok((update.finish(), supply))
}

fn total(account: &Account) -> Balance {
    account.amount().saturating_add(account.locked())
}

/// The first block's state with `records` in it, in whatever order they come; and the total supply with their accounts.
///
/// As in nearcore, an account's storage usage is counted from what it has.
pub(crate) fn with_records(
    mut state: State,
    supply: Balance,
    records: Vec<StateRecord>,
    storage: &StorageUsageConfig,
) -> Result<(State, Balance), LocalnetError> {
    let owners: BTreeSet<AccountId> = records.iter().filter_map(owner).cloned().collect();
    let (accounts, others) = records.into_iter().partition(|record| matches!(record, StateRecord::Account { .. }));
    let (changes, supply) = changes_of(&state, supply, accounts)?;
    state.apply(&changes);
    let (changes, supply) = changes_of(&state, supply, others)?;
    state.apply(&changes);
    let mut update = StateUpdate::new(&state);
    for account_id in owners {
        let Some(mut account) = update.account(&account_id)? else {
            return Err(LocalnetError::Genesis(format!("there are records for {account_id}, but no account")));
        };
        account.set_storage_usage(storage_usage(&state, &account_id, storage)?);
        update.set_account(&account_id, &account)?;
    }
    let changes = update.finish();
    state.apply(&changes);
    Ok((state, supply))
}

/// Whose record it is, for the kinds that can be set.
fn owner(record: &StateRecord) -> Option<&AccountId> {
    match record {
        StateRecord::Account { account_id, .. }
        | StateRecord::Data { account_id, .. }
        | StateRecord::Contract { account_id, .. }
        | StateRecord::AccessKey { account_id, .. } => Some(account_id),
        _ => None,
    }
}

/// Bytes that an account is charged for: its own record, its code, and each key and each piece of data with the overhead of a record.
fn storage_usage(state: &State, account_id: &AccountId, storage: &StorageUsageConfig) -> Result<u64, StateError> {
    let code = state.get(&TrieKey::ContractCode { account_id: account_id.clone() }.to_vec()).map_or(0, |code| code.len());
    let mut bytes = storage.num_bytes_account.checked_add(byte_count(code)?);
    for prefix in [access_key_prefix(account_id), contract_data_prefix(account_id)] {
        for (key, value) in state.with_prefix(&prefix) {
            let record = byte_count(key.len() - prefix.len() + value.len())?;
            bytes = bytes.and_then(|bytes| bytes.checked_add(record)?.checked_add(storage.num_extra_bytes_record));
        }
    }
    bytes.ok_or(StateError::Overflow)
}

fn byte_count(length: usize) -> Result<u64, StateError> {
    u64::try_from(length).map_err(|_| StateError::Overflow)
}
