//! NEP-141 tokens: which are taken, and how they come in.
//!
//! A token is believed about itself alone: what it says moves its own books, and of a payer's NEAR no more than the storage credit that was put down for it.

use crate::{BillingError, Contract, ContractExt, books::TokenRecord, log, pay::Payment};
use near_sdk::{env, near, serde_json};
use starling_contract_api::{
    billing::MAX_TOKENS,
    events::{BillingEvent, Source},
};
use starling_contract_common::{OrPanic, current, predecessor};
use starling_primitives::{AccountId, Amount, Asset};
use starling_protocol::escrow::Escrow;

#[near]
impl Contract {
    /// Takes a token from now on, or takes no more of it. What is here of it leaves in any case.
    ///
    /// Access: owner. Deposit: 1 yocto. Gas: 10 T. State change: the list. Events: `token_set`. Refund: none.
    #[payable]
    pub fn set_token(&mut self, token: AccountId, listed: bool) {
        self.setup.require_owner();
        let mut record = self.tokens.get(&token).unwrap_or_else(|| {
            if self.token_names.len() >= MAX_TOKENS || token == current() {
                env::panic_str(&BillingError::TokenNotListed(token.clone()).to_string());
            }
            self.token_names.push(token.clone());
            TokenRecord::default()
        });
        record.listed = listed;
        self.tokens.insert(&token, &record);
        log(&BillingEvent::TokenSet { token, listed });
    }

    /// Takes tokens that were sent with `ft_transfer_call` (NEP-141): to the sender's balance with an empty `msg`, else as a payment, whose `msg` is the JSON of
    /// [`starling_contract_api::payment::PayArgs`].
    ///
    /// Access: a token on the list. Deposit: none. Gas: 20 T, for a payment 100 T. State change: the sender's balance, or a held escrow, with storage from the
    /// sender's storage credit. Events: `deposited`, `payment_held`, then as `pay`. Refund: answers the whole amount when anything is wrong, and nothing has changed then: the
    /// log says what; a `msg` that cannot be read fails the call, which to a token is the same. Else it answers 0 and never the payment's promise: what an escrow holds must not be paid back by the token. A target's refusal credits the sender's balance.
    pub fn ft_on_transfer(&mut self, sender_id: AccountId, amount: Amount, msg: String) -> Amount {
        let asset = Asset::Nep141(predecessor());
        match self.check_tokens(&sender_id, &asset, amount, &msg) {
            Ok(payment) => self.take_tokens(&sender_id, &asset, amount, payment).or_panic(),
            Err(error) => {
                env::log_str(&error.to_string());
                return amount;
            }
        }
        Amount::ZERO
    }
}

impl Contract {
    /// Whether a token is on the list.
    pub(crate) fn require_listed(&self, asset: &Asset) -> Result<(), BillingError> {
        match asset {
            Asset::Nep141(token) if !self.token_record(token)?.listed => Err(BillingError::TokenNotListed(token.clone())),
            _ => Ok(()),
        }
    }

    /// All that can be wrong with tokens that came in. Stores nothing.
    fn check_tokens(
        &self,
        sender: &AccountId,
        asset: &Asset,
        amount: Amount,
        msg: &str,
    ) -> Result<Option<(Payment, Escrow)>, BillingError> {
        self.require_listed(asset)?;
        // No sum of this token can pass 128 bits later, whatever moves between its books.
        self.books(asset)?.sum()?.checked_add(amount)?;
        let free = self.make_place(sender, asset)?.storage_free()?;
        if msg.is_empty() {
            return Ok(None);
        }
        // Whoever cannot be read ends the call, and the token takes that for all unused.
        let payment = Payment::new(sender.clone(), asset.clone(), serde_json::from_str(msg).or_panic());
        if payment.amount > amount {
            return Err(BillingError::BalanceTooSmall { needed: payment.amount, balance: amount, asset: asset.clone() });
        }
        let storage = payment.near_besides()?;
        if storage > free {
            return Err(BillingError::StorageTooSmall { needed: storage, available: free });
        }
        let escrow = self.check_payment(&payment)?;
        Ok(Some((payment, escrow)))
    }

    /// Books tokens that were checked.
    fn take_tokens(
        &mut self,
        sender: &AccountId,
        asset: &Asset,
        amount: Amount,
        payment: Option<(Payment, Escrow)>,
    ) -> Result<(), BillingError> {
        let held = payment.as_ref().map_or(Amount::ZERO, |(payment, _)| payment.amount);
        let rest = amount.checked_sub(held)?;
        // The place is made even for nothing, so that a refund finds it.
        self.add(sender, asset, Amount::ZERO)?;
        self.credit(sender, asset, rest)?;
        if !rest.is_zero() {
            log(&BillingEvent::Deposited { account: sender.clone(), asset: asset.clone(), amount: rest });
        }
        if let Some((payment, escrow)) = payment {
            self.take_storage(sender, Some(payment.near_besides()?))?;
            self.hold(payment, escrow, Source::Transferred)?.detach();
        }
        Ok(())
    }
}
