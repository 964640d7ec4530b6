//! What this contract does with other people's tokens: keeps them, hands them back, or fails, as the message says.

use crate::{Contract, ContractExt, current};
use near_contract_standards::{
    fungible_token::receiver::FungibleTokenReceiver,
    non_fungible_token::{TokenId, approval::NonFungibleTokenApprovalReceiver, core::NonFungibleTokenReceiver},
};
use near_sdk::{AccountId, Gas, PromiseOrValue, env, json_types::U128, near};

/// Gas of handing back by a call to itself.
const HAND_BACK_GAS: Gas = Gas::from_tgas(5);

#[near]
impl FungibleTokenReceiver for Contract {
    /// Keeps everything (`keep`), or asks itself in the next block how much to hand back: the number in `msg`.
    fn ft_on_transfer(&mut self, sender_id: AccountId, amount: U128, msg: String) -> PromiseOrValue<U128> {
        near_sdk::log!("{} coins of {sender_id}", amount.0);
        match msg.as_str() {
            "keep" => PromiseOrValue::Value(U128(0)),
            _ => Self::ext(current()).with_static_gas(HAND_BACK_GAS).hand_back(msg).into(),
        }
    }
}

#[near]
impl NonFungibleTokenReceiver for Contract {
    /// Hands the deed back where `msg` is `return`.
    fn nft_on_transfer(
        &mut self,
        sender_id: AccountId,
        previous_owner_id: AccountId,
        token_id: TokenId,
        msg: String,
    ) -> PromiseOrValue<bool> {
        near_sdk::log!("deed {token_id} of {previous_owner_id} by {sender_id}");
        match msg.as_str() {
            "return" => PromiseOrValue::Value(true),
            "keep" => PromiseOrValue::Value(false),
            _ => env::panic_str("keep or return?"),
        }
    }
}

#[near]
impl NonFungibleTokenApprovalReceiver for Contract {
    /// Repeats what it was told.
    fn nft_on_approve(&mut self, token_id: TokenId, owner_id: AccountId, approval_id: u64, msg: String) -> PromiseOrValue<String> {
        PromiseOrValue::Value(format!("{token_id} of {owner_id}, {approval_id}: {msg}"))
    }
}

#[near]
impl Contract {
    /// The number in a text.
    #[private]
    pub fn hand_back(&self, amount: String) -> U128 {
        let Ok(amount) = amount.parse() else { env::panic_str("not a number") };
        U128(amount)
    }
}
