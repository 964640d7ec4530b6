//! Money that leaves: to its owner only, and back on the balance if the transfer fails.

use crate::{BillingError, Contract, ContractExt, log};
use near_sdk::{Gas, NearToken, Promise, env, near};
use starling_contract_api::{events::BillingEvent, token::Token};
use starling_contract_common::{OrPanic, ask, predecessor, require_one_yocto, succeeded, to_near};
use starling_primitives::{AccountId, Amount, Asset};

/// Enough for the callback and the longest answer that a token can pay for with the gas of its transfer.
const CALLBACK_GAS: Gas = Gas::from_tgas(8);

#[near]
impl Contract {
    /// Sends NEAR, or the token that is named, from the caller's balance to the caller; all of it when no amount is named.
    ///
    /// Access: the account's full-access key; a session key cannot. Deposit: 1 yocto, which a token gets. Gas: 20 T, for a token 40 T. State change: the balance falls before the transfer leaves.
    /// Events: `withdrawn`; `transfer_failed` if the transfer fails, which restores the balance. Refund: none. Answers whether the transfer arrived.
    #[payable]
    pub fn withdraw(&mut self, amount: Option<Amount>, asset: Option<Asset>) {
        require_one_yocto();
        let (account, asset) = (predecessor(), asset.unwrap_or(Asset::Near));
        let amount = match amount {
            Some(amount) => amount,
            None => self.account_record(&account).or_panic().balance(&asset),
        };
        if amount.is_zero() {
            env::panic_str(&BillingError::NothingToWithdraw.to_string());
        }
        self.debit(&account, &asset, amount).or_panic();
        log(&BillingEvent::Withdrawn { account: account.clone(), asset: asset.clone(), amount });
        self.send(&account, asset, amount).or_panic().answers();
    }

    /// Sends all fees in NEAR, or in the token that is named, to the owner.
    ///
    /// Access: owner. Deposit: 1 yocto, which a token gets. Gas: 20 T, for a token 40 T. State change: the fee account is empty before the transfer leaves. Events: `fees_withdrawn`; `fees_returned` if the transfer
    /// fails. Refund: none. Answers whether the transfer arrived.
    #[payable]
    pub fn withdraw_fees(&mut self, asset: Option<Asset>) {
        self.setup.require_owner();
        let asset = asset.unwrap_or(Asset::Near);
        let amount = self.books(&asset).or_panic().fees;
        if amount.is_zero() {
            env::panic_str(&BillingError::NothingToWithdraw.to_string());
        }
        let emptied = self.change_books(&asset, &|books| {
            books.fees = Amount::ZERO;
            books.in_flight = books.in_flight.checked_add(amount)?;
            Ok(())
        });
        emptied.or_panic();
        let owner = self.setup.owner.clone();
        log(&BillingEvent::FeesWithdrawn { owner: owner.clone(), asset: asset.clone(), amount });
        let callback = Self::ext(env::current_account_id()).with_static_gas(CALLBACK_GAS);
        transfer(&owner, &asset, amount).then(callback.on_fees_sent(asset, amount)).answers();
    }

    /// After a transfer to an account.
    ///
    /// Access: this contract. State change: a failed transfer's amount is on the balance again. Events: `transfer_failed`.
    #[private]
    pub fn on_sent(&mut self, account: AccountId, asset: Asset, amount: Amount) -> bool {
        self.land(&asset, amount).or_panic();
        // The record stays while a transfer is under way.
        let mut record = self.account_record(&account).or_panic();
        record.sending = record.sending.saturating_sub(1);
        self.accounts.insert(&account, &record);
        let arrived = succeeded();
        if !arrived {
            self.credit(&account, &asset, amount).or_panic();
            log(&BillingEvent::TransferFailed { account, asset, amount });
        }
        arrived
    }

    /// After a transfer of fees.
    ///
    /// Access: this contract. State change: a failed transfer's amount is in the fee account again. Events: `fees_returned`.
    #[private]
    pub fn on_fees_sent(&mut self, asset: Asset, amount: Amount) -> bool {
        self.land(&asset, amount).or_panic();
        let arrived = succeeded();
        if !arrived {
            let restored = self.change_books(&asset, &|books| {
                books.fees = books.fees.checked_add(amount)?;
                Ok(())
            });
            restored.or_panic();
            log(&BillingEvent::FeesReturned { asset, amount });
        }
        arrived
    }
}

impl Contract {
    /// Sends what was taken from the books to an account, with the callback that takes it back.
    pub(crate) fn send(&mut self, account: &AccountId, asset: Asset, amount: Amount) -> Result<Promise, BillingError> {
        self.change_books(&asset, &|books| {
            books.in_flight = books.in_flight.checked_add(amount)?;
            Ok(())
        })?;
        let mut record = self.account_record(account)?;
        record.sending = record.sending.saturating_add(1);
        self.accounts.insert(account, &record);
        let callback = Self::ext(env::current_account_id()).with_static_gas(CALLBACK_GAS);
        Ok(transfer(account, &asset, amount).then(callback.on_sent(account.clone(), asset, amount)))
    }

    /// What was under way is not any more.
    fn land(&mut self, asset: &Asset, amount: Amount) -> Result<(), BillingError> {
        self.change_books(asset, &|books| {
            books.in_flight = books.in_flight.checked_sub(amount)?;
            Ok(())
        })
    }
}

fn transfer(account: &AccountId, asset: &Asset, amount: Amount) -> Promise {
    match asset {
        Asset::Near => Promise::new(to_near(account)).transfer(NearToken::from_yoctonear(amount.0)),
        Asset::Nep141(token) => ask(&Token(token.clone()).ask_transfer(account, amount)),
    }
}
