//! Money that leaves: to its owner only, and back on the balance if the transfer fails.

use crate::{BillingError, Contract, ContractExt, log};
use near_sdk::{Gas, NearToken, Promise, env, near};
use starling_contract_api::events::BillingEvent;
use starling_contract_common::{OrPanic, predecessor, require_one_yocto, succeeded, to_near};
use starling_primitives::{AccountId, Amount, Asset};

const CALLBACK_GAS: Gas = Gas::from_tgas(5);

#[near]
impl Contract {
    /// Sends NEAR from the caller's balance to the caller; all of it when no amount is named.
    ///
    /// Access: the account's full-access key; a session key cannot. Deposit: 1 yocto. Gas: 20 T. State change: the balance falls before the transfer leaves.
    /// Events: `withdrawn`; `transfer_failed` if the transfer fails, which restores the balance. Refund: none. Answers whether the transfer arrived.
    #[payable]
    pub fn withdraw(&mut self, amount: Option<Amount>) -> Promise {
        require_one_yocto();
        let account = predecessor();
        let amount = match amount {
            Some(amount) => amount,
            None => self.account_record(&account).or_panic().balance(&Asset::Near),
        };
        if amount.is_zero() {
            env::panic_str(&BillingError::NothingToWithdraw.to_string());
        }
        self.debit(&account, amount).or_panic();
        log(&BillingEvent::Withdrawn { account: account.clone(), amount });
        self.send(&account, amount).or_panic()
    }

    /// Sends all fees to the owner.
    ///
    /// Access: owner. Deposit: 1 yocto. Gas: 20 T. State change: the fee account is empty before the transfer leaves. Events: `fees_withdrawn`; `fees_returned` if the transfer
    /// fails. Refund: none. Answers whether the transfer arrived.
    #[payable]
    pub fn withdraw_fees(&mut self) -> Promise {
        self.setup.require_owner();
        let amount = std::mem::take(&mut self.books.fees);
        if amount.is_zero() {
            env::panic_str(&BillingError::NothingToWithdraw.to_string());
        }
        self.books.in_flight = self.books.in_flight.checked_add(amount).or_panic();
        log(&BillingEvent::FeesWithdrawn { owner: self.setup.owner.clone(), amount });
        let callback = Self::ext(env::current_account_id()).with_static_gas(CALLBACK_GAS).on_fees_sent(amount);
        transfer(&self.setup.owner, amount).then(callback)
    }

    /// After a transfer to an account.
    ///
    /// Access: this contract. State change: a failed transfer's amount is on the balance again. Events: `transfer_failed`.
    #[private]
    pub fn on_sent(&mut self, account: AccountId, amount: Amount) -> bool {
        self.books.in_flight = self.books.in_flight.checked_sub(amount).or_panic();
        if succeeded() {
            return true;
        }
        // Unregistered in between: the amount stays in the contract, and pays for the record that takes it.
        let credited = self.register_if_new(&account, amount).and_then(|rest| self.credit(&account, rest).map(|()| rest));
        if let Ok(amount) = credited {
            log(&BillingEvent::TransferFailed { account, amount });
        }
        false
    }

    /// After a transfer of fees.
    ///
    /// Access: this contract. State change: a failed transfer's amount is in the fee account again. Events: `fees_returned`.
    #[private]
    pub fn on_fees_sent(&mut self, amount: Amount) -> bool {
        self.books.in_flight = self.books.in_flight.checked_sub(amount).or_panic();
        let arrived = succeeded();
        if !arrived {
            self.books.fees = self.books.fees.checked_add(amount).or_panic();
            log(&BillingEvent::FeesReturned { amount });
        }
        arrived
    }
}

impl Contract {
    /// Sends what was taken from the books to an account, with the callback that takes it back.
    pub(crate) fn send(&mut self, account: &AccountId, amount: Amount) -> Result<Promise, BillingError> {
        self.books.in_flight = self.books.in_flight.checked_add(amount)?;
        let callback = Self::ext(env::current_account_id()).with_static_gas(CALLBACK_GAS).on_sent(account.clone(), amount);
        Ok(transfer(account, amount).then(callback))
    }
}

fn transfer(account: &AccountId, amount: Amount) -> Promise {
    Promise::new(to_near(account)).transfer(NearToken::from_yoctonear(amount.0))
}
