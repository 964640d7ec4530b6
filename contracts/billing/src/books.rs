//! The sums of all that the contract owes, asset by asset.

use crate::{AccountRecord, BillingError, Contract};
use borsh::{BorshDeserialize, BorshSerialize};
use starling_contract_api::{billing::TOKEN_BALANCE_BYTES, payment::storage_cost};
use starling_primitives::{AccountId, Amount, AmountError, Asset};
use std::cell::RefCell;

/// What is owed in one asset, by kind. What the account holds above their sum is surplus (what strangers sent), and in NEAR its reserve and the storage deposits.
#[derive(Clone, Debug, Default, BorshSerialize, BorshDeserialize)]
pub(crate) struct Books {
    pub(crate) balances: Amount,
    pub(crate) escrows: Amount,
    pub(crate) fees: Amount,
    /// Left the account and may come back: transfers, and storage forwarded with a question.
    pub(crate) in_flight: Amount,
}

/// A token that was ever on the list.
#[derive(Clone, Debug, Default, BorshSerialize, BorshDeserialize)]
pub(crate) struct TokenRecord {
    pub(crate) listed: bool,
    pub(crate) books: Books,
}

/// Records of accounts as they are stored, each read once in a call.
#[derive(Default)]
pub(crate) struct Places(Vec<(AccountId, AccountRecord)>);

impl Places {
    /// Gives a record away: whoever takes it will store another.
    pub(crate) fn take(&mut self, account: &AccountId) -> Option<AccountRecord> {
        let place = self.0.iter().position(|(known, _)| known == account)?;
        Some(self.0.swap_remove(place).1)
    }
}

impl Books {
    /// What is owed and here.
    pub(crate) fn held(&self) -> Result<Amount, AmountError> {
        Amount::sum([self.balances, self.escrows, self.fees])
    }

    /// All that is owed, with what may come back.
    pub(crate) fn sum(&self) -> Result<Amount, AmountError> {
        self.held()?.checked_add(self.in_flight)
    }
}

impl AccountRecord {
    pub(crate) fn balance(&self, asset: &Asset) -> Amount {
        self.balances.iter().find(|(other, _)| other == asset).map_or(Amount::ZERO, |(_, amount)| *amount)
    }

    pub(crate) fn storage_free(&self) -> Result<Amount, BillingError> {
        Ok(self.storage_total.checked_sub(self.storage_used)?)
    }

    /// Takes storage credit for so many bytes.
    pub(crate) fn use_storage(&mut self, bytes: u64) -> Result<(), BillingError> {
        let (needed, available) = (storage_cost(bytes), self.storage_free()?);
        if available < needed {
            return Err(BillingError::StorageTooSmall { needed, available });
        }
        self.storage_used = self.storage_used.checked_add(needed)?;
        Ok(())
    }

    /// The balance of an asset; the first of a token takes storage credit, and its place stays for the next.
    pub(crate) fn balance_mut(&mut self, asset: &Asset) -> Result<&mut Amount, BillingError> {
        if !self.balances.iter().any(|(other, _)| other == asset) {
            if *asset != Asset::Near {
                self.use_storage(TOKEN_BALANCE_BYTES)?;
            }
            self.balances.push((asset.clone(), Amount::ZERO));
        }
        self.balances.iter_mut().find(|(other, _)| other == asset).map(|(_, amount)| amount).ok_or(BillingError::Unbalanced)
    }
}

impl Contract {
    pub(crate) fn account_record(&self, account: &AccountId) -> Result<AccountRecord, BillingError> {
        self.accounts.get(account).ok_or_else(|| BillingError::NotRegistered(account.clone()))
    }

    pub(crate) fn token_record(&self, token: &AccountId) -> Result<TokenRecord, BillingError> {
        self.tokens.get(token).ok_or_else(|| BillingError::TokenNotListed(token.clone()))
    }

    pub(crate) fn books(&self, asset: &Asset) -> Result<Books, BillingError> {
        match asset {
            Asset::Near => Ok(self.books.clone()),
            Asset::Nep141(token) => Ok(self.token_record(token)?.books),
        }
    }

    pub(crate) fn change_books(
        &mut self,
        asset: &Asset,
        change: &dyn Fn(&mut Books) -> Result<(), AmountError>,
    ) -> Result<(), BillingError> {
        match asset {
            Asset::Near => change(&mut self.books)?,
            Asset::Nep141(token) => {
                let mut record = self.token_record(token)?;
                change(&mut record.books)?;
                self.tokens.insert(token, &record);
            }
        }
        Ok(())
    }

    /// Whether an account can be credited: it is registered, and has a place for the asset or storage credit for one. Its record is kept in `places`.
    pub(crate) fn has_place(&self, account: &AccountId, asset: &Asset, places: &RefCell<Places>) -> bool {
        let mut places = places.borrow_mut();
        if places.0.iter().any(|(known, _)| known == account) {
            return true;
        }
        let Ok(record) = self.make_place(account, asset) else { return false };
        places.0.push((account.clone(), record));
        true
    }

    /// An account's record with a place for the asset; not stored.
    pub(crate) fn make_place(&self, account: &AccountId, asset: &Asset) -> Result<AccountRecord, BillingError> {
        let mut record = self.account_record(account)?;
        record.balance_mut(asset)?;
        Ok(record)
    }

    /// Adds to a registered account's balance what the books have there already.
    pub(crate) fn add(&mut self, account: &AccountId, asset: &Asset, amount: Amount) -> Result<(), BillingError> {
        self.add_to(self.account_record(account)?, account, asset, amount)
    }

    /// As [`Contract::add`], to a record that was read already.
    pub(crate) fn add_to(
        &mut self,
        mut record: AccountRecord,
        account: &AccountId,
        asset: &Asset,
        amount: Amount,
    ) -> Result<(), BillingError> {
        let balance = record.balance_mut(asset)?;
        *balance = balance.checked_add(amount)?;
        self.accounts.insert(account, &record);
        Ok(())
    }

    /// Adds to a registered account's balance.
    pub(crate) fn credit(&mut self, account: &AccountId, asset: &Asset, amount: Amount) -> Result<(), BillingError> {
        if amount.is_zero() {
            return Ok(());
        }
        self.add(account, asset, amount)?;
        self.change_books(asset, &|books| {
            books.balances = books.balances.checked_add(amount)?;
            Ok(())
        })
    }

    /// Takes from a registered account's balance.
    pub(crate) fn debit(&mut self, account: &AccountId, asset: &Asset, amount: Amount) -> Result<(), BillingError> {
        let mut record = self.account_record(account)?;
        let balance = record.balance_mut(asset)?;
        let needs = |balance| BillingError::BalanceTooSmall { needed: amount, balance, asset: asset.clone() };
        *balance = balance.checked_sub(amount).map_err(|_| needs(*balance))?;
        self.accounts.insert(account, &record);
        self.change_books(asset, &|books| {
            books.balances = books.balances.checked_sub(amount)?;
            Ok(())
        })
    }
}
