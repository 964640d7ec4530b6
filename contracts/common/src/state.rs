//! A contract's own state: read once, whatever form it is stored in, and written only if the call changed it, which saves every other call a tenth of a Tgas.

use crate::{
    env,
    forms::{self, Forms},
};
use borsh::{BorshDeserialize, BorshSerialize};
use std::sync::OnceLock;

/// Where near-sdk keeps a contract's state.
const KEY: &[u8] = b"STATE";

/// The state as this call found it.
static FOUND: OnceLock<Vec<u8>> = OnceLock::new();

/// What the code that `#[near]` writes calls before and after each method. It takes the place of near-sdk's own, which always writes.
pub trait ContractState: BorshSerialize + BorshDeserialize + Forms<Self> {
    /// Whether the contract was set up.
    fn state_exists() -> bool {
        env::storage_has_key(KEY)
    }

    /// The state; nothing before the contract was set up.
    fn state_read() -> Option<Self> {
        let stored = env::storage_read(KEY)?;
        let Some(state) = forms::read::<Self, Self>(&stored) else { env::panic_str("the contract's state cannot be read") };
        FOUND.get_or_init(|| stored);
        Some(state)
    }

    /// Stores the state in its last form, if that is other than was read.
    fn state_write(&self) {
        let stored = forms::write::<Self, Self>(self);
        if FOUND.get() != Some(&stored) {
            env::storage_write(KEY, &stored);
        }
    }
}
