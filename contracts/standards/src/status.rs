//! A status per account, and questions to other contracts.

use crate::{Contract, ContractExt, current};
use near_sdk::{AccountId, Gas, NearToken, Promise, PromiseError, env, near};

/// Gas of each step of a question.
const STEP_GAS: Gas = Gas::from_tgas(10);
/// What a child's account holds: its code and state.
const CHILD_BALANCE: NearToken = NearToken::from_near(6);

#[near]
impl Contract {
    /// Sets the caller's status.
    pub fn set_status(&mut self, message: String) {
        near_sdk::log!("{} set the status {message}", env::predecessor_account_id());
        self.statuses.insert(env::predecessor_account_id(), message);
    }

    /// An account's status.
    pub fn get_status(&self, account_id: AccountId) -> Option<String> {
        self.statuses.get(&account_id).cloned()
    }

    /// What `board` says of an account, by two calls and a callback: `CURRENT: STATUS`, or why it failed.
    pub fn ask_status(&self, board: AccountId, account_id: AccountId) -> Promise {
        let ask = Self::ext(board).with_static_gas(STEP_GAS).get_status(account_id);
        ask.then(Self::ext(current()).with_static_gas(STEP_GAS).told_status())
    }

    /// After the board was asked.
    #[private]
    pub fn told_status(&self, #[callback_result] status: Result<Option<String>, PromiseError>) -> String {
        match status {
            Ok(status) => format!("{}: {}", current(), status.as_deref().unwrap_or("nothing")),
            Err(_) => "the board failed".to_owned(),
        }
    }

    /// `n!`, each factor by a call of its own.
    pub fn factorial(&self, n: u32) -> near_sdk::PromiseOrValue<String> {
        if n <= 1 {
            return near_sdk::PromiseOrValue::Value("1".to_owned());
        }
        let gas = env::prepaid_gas().saturating_sub(env::used_gas()).saturating_sub(STEP_GAS.saturating_mul(2));
        let rest = Self::ext(current()).with_static_gas(gas).factorial(n - 1);
        rest.then(Self::ext(current()).with_static_gas(Gas::from_tgas(3)).multiply(n)).into()
    }

    /// The answer of the call before, times `n`.
    #[private]
    pub fn multiply(&self, n: u32, #[callback_unwrap] rest: String) -> String {
        let product = rest.parse::<u64>().ok().and_then(|rest| rest.checked_mul(u64::from(n)));
        product.unwrap_or_else(|| env::panic_str("the product is too large")).to_string()
    }

    /// Makes the account `child.CURRENT` with the code that is the call's whole input, sets it up and sets a status there. All in one receipt.
    #[payable]
    pub fn make_child(&mut self) -> Promise {
        let code = env::input().unwrap_or_default();
        let child: AccountId = match format!("child.{}", current()).parse() {
            Ok(child) => child,
            Err(_) => env::panic_str("not an account name"),
        };
        let arguments = near_sdk::serde_json::json!({"owner": current(), "supply": "1"}).to_string().into_bytes();
        Promise::new(child)
            .create_account()
            .transfer(CHILD_BALANCE)
            .deploy_contract(code)
            .function_call("new", arguments, NearToken::ZERO, STEP_GAS)
            .function_call("set_status", br#"{"message":"born"}"#.to_vec(), NearToken::ZERO, STEP_GAS)
    }
}
