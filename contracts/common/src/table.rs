//! A table of records in the contract's storage: writes at once, and puts a version in front of each record.

use crate::forms::{self, FirstForm, Forms};
use borsh::{BorshDeserialize, BorshSerialize};
use near_sdk::env;
use std::{io, marker::PhantomData};

/// Records by key under a prefix of their own. Part of a contract's state; it takes one byte there.
///
/// A record is stored behind its version, so that an upgrade can read the old form and write the new one record by record: `F` names the forms.
pub struct Table<K, V, F = FirstForm> {
    prefix: u8,
    types: PhantomData<fn(K, F) -> V>,
}

impl<K: BorshSerialize, V: BorshSerialize + BorshDeserialize, F: Forms<V>> Table<K, V, F> {
    /// A table under a prefix, which no other table of the contract may have.
    pub const fn new(prefix: u8) -> Self {
        Self { prefix, types: PhantomData }
    }

    /// The record, if there is one, whatever form it is stored in.
    pub fn get(&self, key: &K) -> Option<V> {
        let stored = env::storage_read(&self.key(key))?;
        match forms::read::<V, F>(&stored) {
            Some(record) => Some(record),
            None => env::panic_str("a stored record cannot be read"),
        }
    }

    /// Whether there is a record.
    pub fn contains(&self, key: &K) -> bool {
        env::storage_has_key(&self.key(key))
    }

    /// Writes the record, in its last form.
    pub fn insert(&mut self, key: &K, record: &V) {
        env::storage_write(&self.key(key), &forms::write::<V, F>(record));
    }

    /// Removes the record.
    pub fn remove(&mut self, key: &K) {
        env::storage_remove(&self.key(key));
    }

    fn key(&self, key: &K) -> Vec<u8> {
        match borsh::to_vec(&(self.prefix, key)) {
            Ok(bytes) => bytes,
            Err(_) => env::panic_str("a key cannot be written"),
        }
    }
}

impl<K, V, F> BorshSerialize for Table<K, V, F> {
    fn serialize<W: io::Write>(&self, writer: &mut W) -> io::Result<()> {
        self.prefix.serialize(writer)
    }
}

impl<K, V, F> BorshDeserialize for Table<K, V, F> {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        Ok(Self { prefix: u8::deserialize_reader(reader)?, types: PhantomData })
    }
}
