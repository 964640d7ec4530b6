//! The sums of all that the contract owes in NEAR.

use crate::{AccountRecord, BillingError, Contract};
use borsh::{BorshDeserialize, BorshSerialize};
use starling_primitives::{AccountId, Amount, Asset};

/// What is owed, by kind. What the account holds above their sum is reserve (its own storage) and surplus (what strangers sent).
#[derive(Clone, Debug, Default, BorshSerialize, BorshDeserialize)]
pub(crate) struct Books {
    pub(crate) balances: Amount,
    pub(crate) escrows: Amount,
    pub(crate) fees: Amount,
    pub(crate) storage: Amount,
    /// Left the account and may come back: transfers, and storage forwarded with a question.
    pub(crate) in_flight: Amount,
}

impl AccountRecord {
    pub(crate) fn balance(&self, asset: &Asset) -> Amount {
        self.balances.iter().find(|(other, _)| other == asset).map_or(Amount::ZERO, |(_, amount)| *amount)
    }

    fn set_balance(&mut self, asset: &Asset, amount: Amount) {
        match self.balances.iter_mut().find(|(other, _)| other == asset) {
            Some((_, balance)) => *balance = amount,
            None => self.balances.push((asset.clone(), amount)),
        }
    }
}

impl Contract {
    pub(crate) fn account_record(&self, account: &AccountId) -> Result<AccountRecord, BillingError> {
        self.accounts.get(account).ok_or_else(|| BillingError::NotRegistered(account.clone()))
    }

    /// Adds to a registered account's balance.
    pub(crate) fn credit(&mut self, account: &AccountId, amount: Amount) -> Result<(), BillingError> {
        if amount.is_zero() {
            return Ok(());
        }
        let mut record = self.account_record(account)?;
        record.set_balance(&Asset::Near, record.balance(&Asset::Near).checked_add(amount)?);
        self.books.balances = self.books.balances.checked_add(amount)?;
        self.accounts.insert(account, &record);
        Ok(())
    }

    /// Takes from a registered account's balance.
    pub(crate) fn debit(&mut self, account: &AccountId, amount: Amount) -> Result<(), BillingError> {
        let mut record = self.account_record(account)?;
        let balance = record.balance(&Asset::Near);
        let rest = balance.checked_sub(amount).map_err(|_| BillingError::BalanceTooSmall { needed: amount, balance })?;
        record.set_balance(&Asset::Near, rest);
        self.books.balances = self.books.balances.checked_sub(amount)?;
        self.accounts.insert(account, &record);
        Ok(())
    }
}
