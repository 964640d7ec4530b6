//! Setting state records by hand.

use std::sync::Arc;

use near_primitives::account::{Account, AccountContract};
use near_primitives::hash::CryptoHash;
use near_primitives::state_record::StateRecord;
use near_primitives::trie_key::TrieKey;
use near_primitives::types::Balance;

use crate::error::{LocalnetError, StateError};
use crate::runtime::add;
use crate::state::{Changes, State, StateUpdate};

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
