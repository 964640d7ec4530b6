//! A contract's own state: read once, and written only if the call changed it, which saves every other call a tenth of a Tgas.

use crate::env;
use borsh::{BorshDeserialize, BorshSerialize};
use std::sync::OnceLock;

/// Where near-sdk keeps a contract's state.
const KEY: &[u8] = b"STATE";

/// The state as this call found it.
static FOUND: OnceLock<Vec<u8>> = OnceLock::new();

/// What the code that `#[near]` writes calls before and after each method. It takes the place of near-sdk's own, which always writes.
pub trait ContractState: BorshSerialize + BorshDeserialize {
    /// Whether the contract was set up.
    fn state_exists() -> bool {
        env::storage_has_key(KEY)
    }

    /// The state; nothing before the contract was set up.
    fn state_read() -> Option<Self> {
        let bytes = env::storage_read(KEY)?;
        let Ok(state) = borsh::from_slice(&bytes) else { env::panic_str("the contract's state cannot be read") };
        FOUND.get_or_init(|| bytes);
        Some(state)
    }

    /// Stores the state if it is another than was read.
    fn state_write(&self) {
        let Ok(bytes) = borsh::to_vec(self) else { env::panic_str("the contract's state cannot be written") };
        if FOUND.get() != Some(&bytes) {
            env::storage_write(KEY, &bytes);
        }
    }
}
