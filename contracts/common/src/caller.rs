//! Who calls, when, and with how much attached.

use crate::{OrPanic, json, require};
use near_sdk::env;
use serde::de::DeserializeOwned;
use starling_primitives::{AccountId, Amount, TimestampMs};

/// The account that calls: the signer of a transaction, or the contract that made a promise.
pub fn predecessor() -> AccountId {
    AccountId::new(env::predecessor_account_id()).or_panic()
}

/// This contract's own account.
pub fn current() -> AccountId {
    AccountId::new(env::current_account_id()).or_panic()
}

/// The block's time.
pub fn now() -> TimestampMs {
    TimestampMs(env::block_timestamp_ms())
}

/// The attached yoctoNEAR.
pub fn attached() -> Amount {
    Amount(env::attached_deposit().as_yoctonear())
}

/// The call's JSON arguments as one record, for a method that takes none by name.
pub fn input<T: DeserializeOwned>() -> T {
    let bytes = env::input().or_panic_with("the method wants arguments");
    let Ok(arguments) = json::from_slice(&bytes);
    arguments
}

/// Panics unless something is attached, for a call that takes a deposit and needs a full-access key: a function-call key cannot attach any.
pub fn require_deposit() {
    require(!attached().is_zero(), "attach at least 1 yoctoNEAR: this needs a full-access key");
}

/// Panics unless exactly one yocto is attached: a function-call key cannot attach any, so a full-access key signed.
pub fn require_one_yocto() {
    require(attached() == Amount(1), "attach exactly 1 yoctoNEAR: this needs a full-access key");
}
