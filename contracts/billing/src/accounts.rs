//! Registration and storage credit (NEP-145), and money that comes in without a purpose.

use crate::{AccountRecord, BillingError, Contract, ContractExt, log};
use near_sdk::near;
use starling_contract_api::{
    billing::{ACCOUNT_BYTES, StorageBalance, StorageBalanceBounds},
    events::BillingEvent,
    payment::storage_cost,
};
use starling_contract_common::{OrPanic, attached, predecessor, refund, require_one_yocto};
use starling_primitives::{AccountId, Amount, Asset};

#[near]
impl Contract {
    /// Registers an account, or adds to its storage credit (NEP-145).
    ///
    /// Access: anyone, for anyone. Deposit: what registering costs, and more if credit is wanted. Gas: 10 T. State change: the account's record.
    /// Events: `account_registered`, `storage_deposited`. Refund: what is above the minimum with `registration_only`; all of it if the account is registered already then.
    #[payable]
    pub fn storage_deposit(&mut self, account_id: Option<AccountId>, registration_only: Option<bool>) -> StorageBalance {
        let account = account_id.unwrap_or_else(predecessor);
        let mut rest = attached();
        if !self.accounts.contains(&account) {
            rest = self.register(&account, rest).or_panic();
        }
        if registration_only.unwrap_or(false) {
            refund(rest);
        } else if !rest.is_zero() {
            self.add_storage(&account, rest).or_panic();
        }
        storage_balance(&self.account_record(&account).or_panic()).or_panic()
    }

    /// Sends unused storage credit to its owner (NEP-145); all of it when no amount is named.
    ///
    /// Access: the account's full-access key. Deposit: 1 yocto. Gas: 20 T. State change: less credit. Events: `storage_withdrawn`; `transfer_failed` if the transfer fails, which puts
    /// the amount on the balance. Refund: none.
    #[payable]
    pub fn storage_withdraw(&mut self, amount: Option<Amount>) -> StorageBalance {
        require_one_yocto();
        let account = predecessor();
        let amount = self.take_storage(&account, amount).or_panic();
        if !amount.is_zero() {
            log(&BillingEvent::StorageWithdrawn { account: account.clone(), amount });
            self.send(&account, Asset::Near, amount).or_panic().detach();
        }
        storage_balance(&self.account_record(&account).or_panic()).or_panic()
    }

    /// Ends the caller's registration and returns its storage deposit (NEP-145). Refused while a balance, an escrow, a session key or a transfer under way is left, whatever `force` says.
    ///
    /// Access: the account's full-access key. Deposit: 1 yocto. Gas: 20 T. State change: the record goes. Events: `account_unregistered`. Refund: the storage deposit.
    /// Returns whether the account was registered.
    #[payable]
    pub fn storage_unregister(&mut self, force: Option<bool>) -> bool {
        require_one_yocto();
        let _ = force;
        let account = predecessor();
        if !self.accounts.contains(&account) {
            return false;
        }
        let storage = self.unregister(&account).or_panic();
        log(&BillingEvent::AccountUnregistered { account, storage });
        refund(storage);
        true
    }

    /// Credits the attached NEAR to the caller's balance; a new caller is registered out of it.
    ///
    /// Access: anyone. Deposit: the amount. Gas: 10 T. State change: the balance. Events: `account_registered`, `deposited`. Refund: none. Returns the balance.
    #[payable]
    pub fn deposit(&mut self) -> Amount {
        let account = predecessor();
        let amount = self.register_if_new(&account, attached()).or_panic();
        self.credit(&account, &Asset::Near, amount).or_panic();
        log(&BillingEvent::Deposited { account: account.clone(), asset: Asset::Near, amount });
        self.account_record(&account).or_panic().balance(&Asset::Near)
    }

    /// An account's storage credit (NEP-145).
    pub fn storage_balance_of(&self, account_id: AccountId) -> Option<StorageBalance> {
        self.accounts.get(&account_id).map(|record| storage_balance(&record).or_panic())
    }

    /// What registering costs (NEP-145).
    pub fn storage_balance_bounds(&self) -> StorageBalanceBounds {
        StorageBalanceBounds { min: storage_cost(ACCOUNT_BYTES), max: None }
    }
}

impl Contract {
    /// Registers a new account out of `amount` and gives what is left.
    pub(crate) fn register_if_new(&mut self, account: &AccountId, amount: Amount) -> Result<Amount, BillingError> {
        if self.accounts.contains(account) { Ok(amount) } else { self.register(account, amount) }
    }

    fn register(&mut self, account: &AccountId, amount: Amount) -> Result<Amount, BillingError> {
        let storage = storage_cost(ACCOUNT_BYTES);
        let rest = amount.checked_sub(storage).map_err(|_| BillingError::DepositTooSmall { needed: storage, attached: amount })?;
        self.storage = self.storage.checked_add(storage)?;
        self.accounts.insert(account, &AccountRecord { balances: Vec::new(), storage_total: storage, storage_used: storage, sending: 0 });
        log(&BillingEvent::AccountRegistered { account: account.clone(), storage });
        Ok(rest)
    }

    fn unregister(&mut self, account: &AccountId) -> Result<Amount, BillingError> {
        let record = self.account_record(account)?;
        if record.balances.iter().any(|(_, amount)| !amount.is_zero()) {
            return Err(BillingError::StillInUse("withdraw the balance first"));
        }
        if record.sending > 0 {
            return Err(BillingError::StillInUse("a transfer to it is under way"));
        }
        if self.escrows_of.contains(account) {
            return Err(BillingError::StillInUse("it pays escrows that are not spent"));
        }
        if self.keys.contains(account) {
            return Err(BillingError::StillInUse("remove its session keys first"));
        }
        self.storage = self.storage.checked_sub(record.storage_total)?;
        self.accounts.remove(account);
        Ok(record.storage_total)
    }

    fn add_storage(&mut self, account: &AccountId, amount: Amount) -> Result<(), BillingError> {
        let mut record = self.account_record(account)?;
        record.storage_total = record.storage_total.checked_add(amount)?;
        self.storage = self.storage.checked_add(amount)?;
        self.accounts.insert(account, &record);
        log(&BillingEvent::StorageDeposited { account: account.clone(), amount });
        Ok(())
    }

    pub(crate) fn take_storage(&mut self, account: &AccountId, amount: Option<Amount>) -> Result<Amount, BillingError> {
        let mut record = self.account_record(account)?;
        let available = record.storage_free()?;
        let amount = amount.unwrap_or(available);
        if amount > available {
            return Err(BillingError::StorageTooSmall { needed: amount, available });
        }
        record.storage_total = record.storage_total.checked_sub(amount)?;
        self.storage = self.storage.checked_sub(amount)?;
        self.accounts.insert(account, &record);
        Ok(amount)
    }
}

pub(crate) fn storage_balance(record: &AccountRecord) -> Result<StorageBalance, BillingError> {
    Ok(StorageBalance { total: record.storage_total, available: record.storage_free()? })
}
