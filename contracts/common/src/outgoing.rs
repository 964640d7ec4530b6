//! Calls to other contracts, and their answers.

use crate::{json, predecessor};
use near_sdk::{Gas, NearToken, Promise, env};
use serde::{Serialize, de::DeserializeOwned};
use starling_contract_api::{Ask, Call};
use starling_primitives::{AccountId, Amount};

/// The longest answer of another contract that is read.
const MAX_ANSWER_BYTES: usize = 16_384;

/// NEAR's own form of an account name.
pub fn to_near(account: &AccountId) -> near_sdk::AccountId {
    match account.as_str().parse() {
        Ok(account) => account,
        // Our rule for names is NEAR's, so this is never reached.
        Err(_) => env::panic_str("not an account name"),
    }
}

/// The promise of a call with its own gas and deposit. Detach it, or chain a callback.
pub fn call(call: &Call) -> Promise {
    Promise::new(to_near(&call.contract)).function_call(
        call.method.as_str(),
        json::text(&call.args).into_bytes(),
        NearToken::from_yoctonear(call.deposit.0),
        Gas::from_gas(call.gas),
    )
}

/// The promise of what another contract is asked. Detach it, or chain a callback.
pub fn ask<A: Serialize>(ask: &Ask<A>) -> Promise {
    Promise::new(to_near(&ask.contract)).function_call(
        ask.method,
        json::text(&ask.args).into_bytes(),
        NearToken::from_yoctonear(ask.deposit.0),
        Gas::from_tgas(ask.tgas),
    )
}

/// Sends what was attached too much back to the caller; detached.
pub fn refund(amount: Amount) {
    send(&predecessor(), amount);
}

/// Sends an amount to an account, or nothing at all if it is 0; detached. If the account is gone the amount stays here.
pub fn send(account: &AccountId, amount: Amount) {
    if !amount.is_zero() {
        Promise::new(to_near(account)).transfer(NearToken::from_yoctonear(amount.0)).detach();
    }
}

/// In a callback: whether the one promise before it succeeded.
pub fn succeeded() -> bool {
    near_sdk::is_promise_success()
}

/// In a callback: the answer of the one promise before it; nothing if that failed, or answered too long or something else.
pub fn answer<T: DeserializeOwned>() -> Option<T> {
    let bytes = env::promise_result_checked(0, MAX_ANSWER_BYTES).ok()?;
    json::answer(&bytes)
}
