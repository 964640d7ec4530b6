//! The forms that records were ever stored in: behind each record's version an upgrade can read the old form and write the new one, record by record.

use crate::env;
use borsh::{BorshDeserialize, BorshSerialize};

/// The forms of a record, or of a contract's state.
///
/// Whoever changes the form of what is stored raises [`Forms::VERSION`] and reads the form before in [`Forms::from_version`]. A table names its records' forms as its
/// third type; a contract's state is its own.
pub trait Forms<V> {
    /// The version that is written.
    const VERSION: u8 = 1;

    /// Reads a record of an older version; nothing if there was no such version, or the bytes are not of its form.
    fn from_version(version: u8, bytes: &[u8]) -> Option<V> {
        let _ = (version, bytes);
        None
    }

    /// Reads a record of any version: today's as it is derived, an older one by [`Forms::from_version`]. One reader for all of them may take the place of both.
    fn read(version: u8, bytes: &[u8]) -> Option<V>
    where
        V: BorshDeserialize,
    {
        if version == Self::VERSION { borsh::from_slice(bytes).ok() } else { Self::from_version(version, bytes) }
    }
}

/// The forms of records that have had one so far.
#[derive(Debug)]
pub struct FirstForm;

impl<V> Forms<V> for FirstForm {}

/// Reads a record with its version in front.
pub(crate) fn read<V: BorshDeserialize, F: Forms<V>>(stored: &[u8]) -> Option<V> {
    let (version, bytes) = stored.split_first()?;
    F::read(*version, bytes)
}

/// A record as it is stored: with today's version in front.
pub(crate) fn write<V: BorshSerialize, F: Forms<V>>(record: &V) -> Vec<u8> {
    match borsh::to_vec(&(F::VERSION, record)) {
        Ok(bytes) => bytes,
        Err(_) => env::panic_str("a record cannot be written"),
    }
}
