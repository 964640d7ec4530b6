//! A table of records in the contract's storage: writes at once, and puts a version in front of each record.

use crate::forms::{self, FirstForm, Forms};
use borsh::{BorshDeserialize, BorshSerialize};
use near_sdk::env;
use std::{io, marker::PhantomData};

/// What a page may come to, in bytes of records: reading and writing so many costs a view less than 2 Tgas.
const PAGE_BYTES: usize = 9_000;
/// What looking a record up costs, as if it were so many bytes more.
const LOOK_UP_BYTES: usize = 450;

/// How much a view has read for its page.
#[derive(Default)]
pub struct Room {
    bytes: usize,
    started: bool,
}

/// A page has no room for one more record.
pub struct PageFull;

impl Room {
    fn take(&mut self, stored: Option<&[u8]>) -> Result<(), PageFull> {
        self.bytes = self.bytes.saturating_add(LOOK_UP_BYTES + stored.map_or(0, <[u8]>::len));
        if self.started && self.bytes > PAGE_BYTES { Err(PageFull) } else { Ok(()) }
    }
}

/// What `read` finds for these keys, as much as fits a page; the first in any case. Whoever wants more asks on behind the last.
pub fn page<K, T>(keys: impl Iterator<Item = K>, read: impl Fn(K, &mut Room) -> Result<Option<T>, PageFull>) -> Vec<T> {
    let (mut page, mut room) = (Vec::new(), Room::default());
    for key in keys {
        match read(key, &mut room) {
            Ok(found) => page.extend(found),
            Err(PageFull) => break,
        }
        room.started = !page.is_empty();
    }
    page
}

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
        env::storage_read(&self.key(key)).map(|stored| Self::read(&stored))
    }

    /// The records of these keys that are there, as many as fit a page; the first in any case. Whoever wants more asks on behind the last.
    pub fn page(&self, keys: impl Iterator<Item = K>) -> Vec<(K, V)> {
        page(keys, |key, room| Ok(self.get_within(&key, room)?.map(|record| (key, record))))
    }

    /// As [`Table::get`], for a page: it takes of its room.
    pub fn get_within(&self, key: &K, room: &mut Room) -> Result<Option<V>, PageFull> {
        let stored = env::storage_read(&self.key(key));
        room.take(stored.as_deref())?;
        Ok(stored.map(|stored| Self::read(&stored)))
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

    fn read(stored: &[u8]) -> V {
        match forms::read::<V, F>(stored) {
            Some(record) => record,
            None => env::panic_str("a stored record cannot be read"),
        }
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
