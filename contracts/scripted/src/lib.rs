//! A NEP-141 token, and a target of payments, that do what a test tells them: behave, lie or fail. Tests deploy it, nobody else.
//!
//! Whoever calls may do anything here; nothing of it is worth anything.

use near_sdk::{Gas, NearToken, PanicOnDefault, Promise, env, near, serde_json::json};
use starling_contract_api::{Call, billing::StorageBalance};
use starling_contract_common::{OrPanic, Table, answer, attached, predecessor, refund, require, require_one_yocto, to_near};
use starling_primitives::{AccountId, Amount};

/// Gas of `ft_resolve_transfer`, and what stays here for making the promises.
const RESOLVE_GAS: Gas = Gas::from_tgas(10);
const MARGIN_GAS: Gas = Gas::from_tgas(5);
/// The answer of a token that talks too much, within 15 Tgas.
const FLOOD_BYTES: usize = 140_000;

/// The state.
#[derive(PanicOnDefault)]
#[near(contract_state)]
pub struct Contract {
    /// How `ft_transfer` goes: `honest`, `fails`, `lies` (moves nothing and says it did), `floods` (answers more than anyone wants to read), or until the gas is gone.
    manner: String,
    /// What `on_payment` and `payment_answer` answer, in JSON; a refusal without one.
    terms: Option<String>,
    balances: Table<AccountId, Amount>,
}

#[near]
impl Contract {
    /// An honest token without holders, and a target that refuses.
    #[init]
    pub fn new() -> Self {
        Self { manner: "honest".to_owned(), terms: None, balances: Table::new(1) }
    }

    /// Tells the token how to transfer from now on.
    pub fn set_manner(&mut self, manner: String) {
        self.manner = manner;
    }

    /// Tells the target what to answer from now on.
    pub fn set_terms(&mut self, terms: Option<String>) {
        self.terms = terms;
    }

    /// Registers an account and makes tokens for it out of nothing.
    pub fn mint(&mut self, account_id: AccountId, amount: Amount) {
        let balance = self.balances.get(&account_id).unwrap_or_default();
        self.balances.insert(&account_id, &balance.checked_add(amount).or_panic());
    }

    /// Forgets an account and its tokens.
    pub fn forget(&mut self, account_id: AccountId) {
        self.balances.remove(&account_id);
    }

    /// Calls what it is told, as this account: a token that tells of tokens that never were, an arbiter that posts.
    pub fn relay(&self, told: Call) -> Promise {
        call(&told)
    }

    /// Registers an account (NEP-145), for nothing.
    #[payable]
    pub fn storage_deposit(&mut self, account_id: Option<AccountId>) -> StorageBalance {
        self.mint(account_id.unwrap_or_else(predecessor), Amount::ZERO);
        refund(attached());
        StorageBalance { total: Amount::ZERO, available: Amount::ZERO }
    }

    /// An account's tokens (NEP-141).
    pub fn ft_balance_of(&self, account_id: AccountId) -> Amount {
        self.balances.get(&account_id).unwrap_or_default()
    }

    /// Sends tokens (NEP-141), in the manner of the day.
    #[payable]
    pub fn ft_transfer(&mut self, receiver_id: AccountId, amount: Amount) {
        require_one_yocto();
        match self.manner.as_str() {
            "honest" => self.shift(&predecessor(), &receiver_id, amount),
            "fails" => env::panic_str("the token fails, as told"),
            "lies" => {}
            "floods" => {
                self.shift(&predecessor(), &receiver_id, amount);
                env::value_return(vec![0; FLOOD_BYTES]);
            }
            _ => while !env::random_seed().is_empty() {},
        }
    }

    /// Sends tokens and tells the receiver (NEP-141); what it did not use comes back.
    #[payable]
    pub fn ft_transfer_call(&mut self, receiver_id: AccountId, amount: Amount, msg: String) -> Promise {
        require_one_yocto();
        let sender = predecessor();
        self.shift(&sender, &receiver_id, amount);
        let kept = env::used_gas().saturating_add(RESOLVE_GAS).saturating_add(MARGIN_GAS);
        let told = Call {
            contract: receiver_id.clone(),
            method: "ft_on_transfer".to_owned(),
            args: json!({"sender_id": sender, "amount": amount, "msg": msg}),
            gas: env::prepaid_gas().saturating_sub(kept).as_gas(),
            deposit: Amount::ZERO,
        };
        let resolve = Self::ext(env::current_account_id()).with_static_gas(RESOLVE_GAS);
        call(&told).then(resolve.ft_resolve_transfer(sender, receiver_id, amount))
    }

    /// After the receiver was told (NEP-141): a receiver that failed used nothing. Answers what was used.
    #[private]
    pub fn ft_resolve_transfer(&mut self, sender: AccountId, receiver: AccountId, amount: Amount) -> Amount {
        let unused = answer::<Amount>().unwrap_or(amount).min(amount).min(self.ft_balance_of(receiver.clone()));
        if !unused.is_zero() {
            self.shift(&receiver, &sender, unused);
        }
        amount.checked_sub(unused).or_panic()
    }

    /// The target's answer to `billing`.
    #[payable]
    pub fn on_payment(&mut self) {
        self.payment_answer();
    }

    /// The same answer again.
    pub fn payment_answer(&self) {
        match &self.terms {
            Some(terms) => env::value_return(terms.as_bytes()),
            None => env::panic_str("the target refuses, as told"),
        }
    }

    /// The target hears that an escrow is open.
    pub fn on_opened(&self) {}

    /// The target hears that a holdback was refused.
    pub fn on_holdback_refused(&self) {}
}

impl Contract {
    fn shift(&mut self, from: &AccountId, to: &AccountId, amount: Amount) {
        require(!amount.is_zero(), "the amount must be positive");
        let rest = self.balances.get(from).or_panic_with("the sender is not registered").checked_sub(amount).or_panic();
        require(self.balances.contains(to), "the receiver is not registered");
        self.balances.insert(from, &rest);
        self.mint(to.clone(), amount);
    }
}

fn call(told: &Call) -> Promise {
    let Call { contract, method, args, gas, deposit } = told;
    let deposit = NearToken::from_yoctonear(deposit.0);
    Promise::new(to_near(contract)).function_call(method.as_str(), args.to_string().into_bytes(), deposit, Gas::from_gas(*gas))
}
