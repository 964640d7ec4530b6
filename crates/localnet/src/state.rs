//! The chain's state: one sorted key-value map with NEAR's own key layout, and the overlay a block writes through.
//!
//! There is no trie. What the protocol takes from it (the number of nodes a write touches) is computed in [`crate::trie_cost`].

use std::collections::BTreeMap;
use std::collections::btree_map::Range;
use std::ops::Bound;
use std::sync::Arc;

use borsh::{BorshDeserialize, BorshSerialize};
use near_crypto::PublicKey;
use near_primitives::account::{AccessKey, Account};
use near_primitives::hash::CryptoHash;
use near_primitives::trie_key::TrieKey;
use near_primitives::types::AccountId;

use crate::error::StateError;

/// Raw key of a state record.
pub(crate) type Key = Vec<u8>;
/// Raw value of a state record.
pub(crate) type Value = Arc<[u8]>;
/// What one block changed: a new value, or `None` for a removed record.
pub(crate) type Changes = BTreeMap<Key, Option<Value>>;

/// The state after the last block.
#[derive(Debug, Default, Clone)]
pub(crate) struct State {
    records: BTreeMap<Key, Value>,
}

impl State {
    pub(crate) fn get(&self, key: &[u8]) -> Option<&Value> {
        self.records.get(key)
    }

    pub(crate) fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Range<'_, Key, Value> {
        self.records.range::<[u8], _>((from, to))
    }

    pub(crate) fn insert(&mut self, key: Key, value: Value) {
        self.records.insert(key, value);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key, &Value)> {
        self.records.iter()
    }

    pub(crate) fn apply(&mut self, changes: &Changes) {
        for (key, value) in changes {
            match value {
                Some(value) => self.records.insert(key.clone(), Arc::clone(value)),
                None => self.records.remove(key),
            };
        }
    }

    /// All records whose key starts with `prefix`, in order.
    pub(crate) fn with_prefix<'a>(&'a self, prefix: &'a [u8]) -> impl Iterator<Item = (&'a Key, &'a Value)> + 'a {
        self.range(Bound::Included(prefix), Bound::Unbounded).take_while(move |(key, _)| key.starts_with(prefix))
    }
}

/// A block in the making: the state before it, what finished receipts changed, and what the current receipt changed.
///
/// `commit` makes the current receipt's changes part of the block, `rollback` forgets them.
#[derive(Debug)]
pub(crate) struct StateUpdate<'a> {
    base: &'a State,
    committed: Changes,
    prospective: Changes,
}

/// Where a record was found; records that the block itself wrote cost no trie nodes.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    InBlock(Value),
    InState(Value),
    RemovedInBlock,
    Missing,
}

impl<'a> StateUpdate<'a> {
    pub(crate) fn new(base: &'a State) -> Self {
        Self { base, committed: Changes::new(), prospective: Changes::new() }
    }

    pub(crate) fn base(&self) -> &'a State {
        self.base
    }

    pub(crate) fn find(&self, key: &[u8]) -> Found {
        let written = self.prospective.get(key).or_else(|| self.committed.get(key));
        match (written, self.base.get(key)) {
            (Some(Some(value)), _) => Found::InBlock(Arc::clone(value)),
            (Some(None), _) => Found::RemovedInBlock,
            (None, Some(value)) => Found::InState(Arc::clone(value)),
            (None, None) => Found::Missing,
        }
    }

    pub(crate) fn get_raw(&self, key: &[u8]) -> Option<Value> {
        match self.find(key) {
            Found::InBlock(value) | Found::InState(value) => Some(value),
            Found::RemovedInBlock | Found::Missing => None,
        }
    }

    pub(crate) fn contains(&self, key: &TrieKey) -> bool {
        self.get_raw(&key.to_vec()).is_some()
    }

    pub(crate) fn get<T: BorshDeserialize>(&self, key: &TrieKey) -> Result<Option<T>, StateError> {
        decode(self.get_raw(&key.to_vec()).as_ref())
    }

    pub(crate) fn set_raw(&mut self, key: Key, value: Value) {
        self.prospective.insert(key, Some(value));
    }

    pub(crate) fn set<T: BorshSerialize>(&mut self, key: &TrieKey, value: &T) -> Result<(), StateError> {
        self.set_raw(key.to_vec(), encode(value)?);
        Ok(())
    }

    pub(crate) fn remove_raw(&mut self, key: Key) {
        self.prospective.insert(key, None);
    }

    pub(crate) fn remove(&mut self, key: &TrieKey) {
        self.remove_raw(key.to_vec());
    }

    pub(crate) fn commit(&mut self) {
        self.committed.append(&mut self.prospective);
    }

    pub(crate) fn rollback(&mut self) {
        self.prospective.clear();
    }

    /// Ends the block and gives what it changed.
    pub(crate) fn finish(mut self) -> Changes {
        self.commit();
        self.committed
    }

    /// Keys under `prefix` as the current receipt sees them.
    pub(crate) fn keys_with_prefix(&self, prefix: &[u8]) -> Vec<Key> {
        let mut live: BTreeMap<&[u8], bool> = self.base.with_prefix(prefix).map(|(key, _)| (key.as_slice(), true)).collect();
        for layer in [&self.committed, &self.prospective] {
            let from = (Bound::Included(prefix), Bound::Unbounded);
            let keys = layer.range::<[u8], _>(from).take_while(|(key, _)| key.starts_with(prefix));
            live.extend(keys.map(|(key, value)| (key.as_slice(), value.is_some())));
        }
        live.into_iter().filter(|(_, lives)| *lives).map(|(key, _)| key.to_vec()).collect()
    }

    pub(crate) fn account(&self, account_id: &AccountId) -> Result<Option<Account>, StateError> {
        self.get(&TrieKey::Account { account_id: account_id.clone() })
    }

    pub(crate) fn set_account(&mut self, account_id: &AccountId, account: &Account) -> Result<(), StateError> {
        self.set(&TrieKey::Account { account_id: account_id.clone() }, account)
    }

    pub(crate) fn access_key(&self, account_id: &AccountId, public_key: &PublicKey) -> Result<Option<AccessKey>, StateError> {
        self.get(&TrieKey::access_key(account_id.clone(), public_key))
    }

    pub(crate) fn set_access_key(
        &mut self,
        account_id: &AccountId,
        public_key: &PublicKey,
        access_key: &AccessKey,
    ) -> Result<(), StateError> {
        self.set(&TrieKey::access_key(account_id.clone(), public_key), access_key)
    }
}

/// Prefix of the keys of all contract data of an account; the rest of such a key is the contract's own.
pub(crate) fn contract_data_prefix(account_id: &AccountId) -> Key {
    TrieKey::ContractData { account_id: account_id.clone(), key: Vec::new() }.to_vec()
}

/// Prefix of the keys of all access keys of an account; the rest is the public key in borsh.
pub(crate) fn access_key_prefix(account_id: &AccountId) -> Key {
    let separator = near_primitives::trie_key::col::ACCESS_KEY;
    let mut prefix = vec![separator];
    prefix.extend_from_slice(account_id.as_bytes());
    prefix.push(separator);
    prefix
}

pub(crate) fn encode<T: BorshSerialize>(value: &T) -> Result<Value, StateError> {
    borsh::to_vec(value).map(Value::from).map_err(StateError::Encode)
}

pub(crate) fn decode<T: BorshDeserialize>(value: Option<&Value>) -> Result<Option<T>, StateError> {
    value.map(|bytes| T::try_from_slice(bytes)).transpose().map_err(StateError::Decode)
}

/// Root of the state after a block: a hash over the root before and the block's changes, in key order.
pub(crate) fn next_state_root(before: &CryptoHash, changes: &Changes) -> CryptoHash {
    if changes.is_empty() {
        return *before;
    }
    let entries: Vec<(&[u8], Option<&[u8]>)> = changes.iter().map(|(key, value)| (key.as_slice(), value.as_deref())).collect();
    CryptoHash::hash_borsh((before, entries))
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    fn value(byte: u8) -> Value {
        Value::from(vec![byte])
    }

    #[test]
    fn update__should_forget_only_the_current_receipt_on_rollback() {
        let mut state = State::default();
        state.insert(b"a".to_vec(), value(1));
        let mut update = StateUpdate::new(&state);
        update.set_raw(b"b".to_vec(), value(2));
        update.commit();
        update.remove_raw(b"a".to_vec());
        update.set_raw(b"b".to_vec(), value(3));
        update.rollback();
        assert_eq!(update.get_raw(b"a"), Some(value(1)));
        assert_eq!(update.get_raw(b"b"), Some(value(2)));
        let changes = update.finish();
        state.apply(&changes);
        assert_eq!(state.iter().count(), 2);
    }

    #[test]
    fn keys_with_prefix__should_merge_the_layers() {
        let mut state = State::default();
        for key in ["p1", "p2", "q"] {
            state.insert(key.as_bytes().to_vec(), value(0));
        }
        let mut update = StateUpdate::new(&state);
        update.remove_raw(b"p1".to_vec());
        update.set_raw(b"p3".to_vec(), value(0));
        update.commit();
        update.set_raw(b"p1".to_vec(), value(9));
        update.remove_raw(b"p3".to_vec());
        update.set_raw(b"p4".to_vec(), value(9));
        assert_eq!(update.keys_with_prefix(b"p"), vec![b"p1".to_vec(), b"p2".to_vec(), b"p4".to_vec()]);
    }

    #[test]
    fn state_root__should_depend_on_order_free_content_and_history() {
        let mut changes = Changes::new();
        let root = CryptoHash::hash_bytes(b"root");
        assert_eq!(next_state_root(&root, &changes), root);
        changes.insert(b"k".to_vec(), Some(value(1)));
        let one = next_state_root(&root, &changes);
        changes.insert(b"k".to_vec(), None);
        assert_ne!(one, next_state_root(&root, &changes));
        assert_ne!(one, next_state_root(&one, &changes));
    }
}
