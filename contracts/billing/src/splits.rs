//! Splits: one account for many recipients, each of whom takes its share when it likes.

use crate::{BillingError, Contract, ContractExt, StorageKey, log};
use near_sdk::near;
use starling_contract_api::{
    billing::{SPLIT_TOKEN_BYTES, SplitView, TAKEN_BYTES, split_storage},
    events::BillingEvent,
};
use starling_contract_common::{OrPanic, Table, attached, refund, split_account};
use starling_primitives::{AccountId, Amount, Asset};
use starling_protocol::{escrow::Share, split::Split};

#[near]
impl Contract {
    /// Opens the split of these shares and registers its account, so that it can be credited. What was earned for it before waits in escrows, as for anyone who is not registered.
    ///
    /// Access: anyone; a split is the same whoever opens it. Deposit: storage, for good. Gas: 20 T. State change: the split's record and account. Events: `account_registered`,
    /// `split_opened`. Refund: what is above the storage; all of it if it is open already. Answers the split's account.
    #[payable]
    pub fn open_split(&mut self, shares: Vec<Share>) -> AccountId {
        let split = Split::new(shares).map_err(BillingError::from).or_panic();
        let account = split_account(&split);
        let rest = if splits().contains(&account) { attached() } else { self.keep_split(&account, split).or_panic() };
        refund(rest);
        account
    }

    /// Credits a recipient with its share of what has come to a split.
    ///
    /// Access: anyone. Deposit: none. Gas: 20 T. State change: the recipient's balance rises by what the split's falls. Events: `share_taken`. Refund: none. Answers the amount.
    pub fn take_share(&mut self, split: AccountId, account_id: AccountId, asset: Asset) -> Amount {
        let amount = self.pay_share(&split, &account_id, &asset).or_panic();
        log(&BillingEvent::ShareTaken { split, account: account_id, asset, amount });
        amount
    }

    /// A split that was opened, and what is due to each recipient.
    pub fn split(&self, split: AccountId) -> Option<SplitView> {
        let record = splits().get(&split)?;
        let balances = self.account_record(&split).or_panic().balances;
        let due = balances.into_iter().map(|(asset, balance)| {
            let due = record.due(&asset, balance).map_err(BillingError::from).or_panic();
            (asset, due)
        });
        Some(SplitView { due: due.collect(), shares: record.shares().to_vec(), account: split })
    }
}

impl Contract {
    /// Stores a split and registers its account; gives what is left of the attached deposit.
    fn keep_split(&mut self, account: &AccountId, split: Split) -> Result<Amount, BillingError> {
        let attached = attached();
        let rest = self.register_if_new(account, attached)?;
        let storage = split_storage(split.shares().len());
        let needed = storage.checked_add(attached)?.checked_sub(rest)?;
        let rest = rest.checked_sub(storage).map_err(|_| BillingError::DepositTooSmall { needed, attached })?;
        self.storage = self.storage.checked_add(storage)?;
        splits().insert(account, &split);
        log(&BillingEvent::SplitOpened { split: account.clone(), shares: split.shares().to_vec(), storage });
        Ok(rest)
    }

    fn pay_share(&mut self, account: &AccountId, recipient: &AccountId, asset: &Asset) -> Result<Amount, BillingError> {
        let split = splits().get(account).ok_or_else(|| BillingError::NoSuchSplit(account.clone()))?;
        let mut record = self.account_record(account)?;
        let (next, amount) = split.take(asset, record.balance(asset), recipient)?;
        if *asset != Asset::Near && !split.knows(asset) {
            let recipients = u64::try_from(split.shares().len()).unwrap_or(u64::MAX);
            record.use_storage(SPLIT_TOKEN_BYTES + TAKEN_BYTES * recipients)?;
        }
        let balance = record.balance_mut(asset)?;
        *balance = balance.checked_sub(amount)?;
        self.accounts.insert(account, &record);
        self.add(recipient, asset, amount)?;
        splits().insert(account, &next);
        Ok(amount)
    }
}

/// All splits, by their accounts.
fn splits() -> Table<AccountId, Split> {
    Table::new(StorageKey::Splits as u8)
}
