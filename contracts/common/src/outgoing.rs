//! Calls to other contracts, and their answers.
//!
//! [`Promise`] takes the place of near-sdk's, which can do all that an account can and is 5 kB of code in each contract.

use crate::{json, predecessor};
use near_sdk::{AccountId as NearAccount, Gas, GasWeight, NearToken, PromiseIndex, env};
use serde::{Serialize, de::DeserializeOwned};
use starling_contract_api::Ask;
use starling_primitives::{AccountId, Amount};

/// The longest answer of another contract that is read.
const MAX_ANSWER_BYTES: usize = 16_384;

/// A call or a transfer that leaves once it is detached, followed by a callback, or answered with.
#[must_use = "detach it, follow it by a callback, or answer with it"]
#[derive(Debug)]
pub struct Promise {
    account: NearAccount,
    action: Action,
    /// What it waits for.
    after: Option<PromiseIndex>,
}

#[derive(Debug)]
enum Action {
    Nothing,
    Transfer(NearToken),
    Call { method: String, args: Vec<u8>, deposit: NearToken, gas: Gas, weight: GasWeight },
}

/// What a call of this contract by itself is made on; what `#[near]` writes names it.
#[derive(Debug)]
pub enum PromiseOrValue<T> {
    /// A promise.
    Promise(Promise),
    /// A value.
    Value(T),
}

impl Promise {
    /// A promise that does nothing yet.
    pub fn new(account: NearAccount) -> Self {
        Self { account, action: Action::Nothing, after: None }
    }

    /// It sends NEAR.
    pub fn transfer(self, amount: NearToken) -> Self {
        Self { action: Action::Transfer(amount), ..self }
    }

    /// It calls a method with so much gas, and with its part of what is left over.
    pub fn function_call_weight(self, method: String, args: Vec<u8>, deposit: NearToken, gas: Gas, weight: GasWeight) -> Self {
        Self { action: Action::Call { method, args, deposit, gas, weight }, ..self }
    }

    /// Whatever becomes of this one, the callback runs next.
    pub fn then(self, callback: Self) -> Self {
        Self { after: Some(self.leave()), ..callback }
    }

    /// It leaves, and nobody here waits for it.
    pub fn detach(self) {
        self.leave();
    }

    /// It leaves, and what it answers this call answers.
    pub fn answers(self) {
        env::promise_return(self.leave());
    }

    fn leave(self) -> PromiseIndex {
        let promise = match self.after {
            Some(before) => env::promise_batch_then(before, &self.account),
            None => env::promise_batch_create(&self.account),
        };
        match self.action {
            Action::Nothing => {}
            Action::Transfer(amount) => env::promise_batch_action_transfer(promise, amount),
            Action::Call { method, args, deposit, gas, weight } => {
                env::promise_batch_action_function_call_weight(promise, &method, &args, deposit, gas, weight);
            }
        }
        promise
    }
}

/// NEAR's own form of an account name.
pub fn to_near(account: &AccountId) -> NearAccount {
    match account.as_str().parse() {
        Ok(account) => account,
        // Our rule for names is NEAR's, so this is never reached.
        Err(_) => env::panic_str("not an account name"),
    }
}

/// The promise of a call with its own gas and deposit.
pub fn ask<A: Serialize>(ask: &Ask<A>) -> Promise {
    Promise::new(to_near(&ask.contract)).function_call_weight(
        ask.method.to_owned(),
        json::text(&ask.args).into_bytes(),
        NearToken::from_yoctonear(ask.deposit.0),
        Gas::from_tgas(ask.tgas),
        GasWeight(0),
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

/// Answers a call with a value, where another branch of it answers with a promise.
pub fn answer_with(value: &impl Serialize) {
    env::value_return(json::text(value));
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
