//! Hashes by the chain's own function, which is cheaper than computing them.

use near_sdk::env;
use starling_primitives::{AccountId, Hash32};
use starling_protocol::split::Split;

/// [`Split::account`].
pub fn split_account(split: &Split) -> AccountId {
    AccountId::of_hash(&Hash32(env::sha256_array(split.name_bytes())))
}
