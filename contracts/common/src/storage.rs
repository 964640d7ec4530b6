//! Storage is paid by who causes it.

use crate::{OrPanic, attached, refund};
use near_sdk::env;
use starling_primitives::Amount;

/// What so many bytes cost to store.
pub fn bytes_cost(bytes: u64) -> Amount {
    Amount(env::storage_byte_cost().as_yoctonear()).checked_mul(bytes).or_panic()
}

/// Charges the attached deposit for what storage grew since `usage_before` (of `env::storage_usage()`) and sends the rest back. Panics if too little is attached.
/// Call it after everything is stored, and store through collections that write at once.
pub fn charge_growth(usage_before: u64) {
    let cost = bytes_cost(env::storage_usage().saturating_sub(usage_before));
    match attached().checked_sub(cost) {
        Ok(rest) => refund(rest),
        Err(_) => env::panic_str(&format!("attach at least {cost} yoctoNEAR for storage; what is left comes back")),
    }
}

/// As [`charge_growth`], and what storage shrank comes back too: for records that the caller has paid for.
pub fn charge_change(usage_before: u64) {
    match left_of(attached(), usage_before) {
        Ok(rest) => refund(rest),
        Err(cost) => env::panic_str(&format!("attach at least {cost} yoctoNEAR for storage; what is left comes back")),
    }
}

/// What is left of `paid` after what storage grew since `usage_before`, or more than that where it shrank; else what it costs.
pub fn left_of(paid: Amount, usage_before: u64) -> Result<Amount, Amount> {
    let usage = env::storage_usage();
    let cost = bytes_cost(usage.saturating_sub(usage_before));
    let freed = bytes_cost(usage_before.saturating_sub(usage));
    paid.checked_add(freed).or_panic().checked_sub(cost).map_err(|_| cost)
}

/// The next number of a counter that starts at 0: numbers count from 1.
pub fn next(counter: &mut u64) -> u64 {
    *counter = counter.checked_add(1).or_panic_with("the counter is full");
    *counter
}
