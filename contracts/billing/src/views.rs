//! What anyone may read.

use crate::{
    Contract, ContractExt, EscrowRecord,
    accounts::storage_balance,
    books::{Books, TokenRecord},
};
use near_sdk::{env, near};
use starling_contract_api::billing::{Account, Billing, Config, EscrowView, MAX_ESCROWS, TokenTotals, Totals};
use starling_contract_common::OrPanic;
use starling_primitives::{AccountId, Amount, EscrowId};

#[near]
impl Contract {
    /// How the contract is set up.
    pub fn config(&self) -> Config {
        Config { owner: self.setup.owner.clone(), deployment: self.setup.deployment.clone(), fee: self.fee, paused: self.setup.paused }
    }

    /// What the contract owes in NEAR, by kind, and what it holds.
    pub fn totals(&self) -> Totals {
        let holdings = Amount(env::account_balance().as_yoctonear().saturating_add(env::account_locked_balance().as_yoctonear()));
        let books = &self.books;
        Totals {
            balances: books.balances,
            escrows: books.escrows,
            fees: books.fees,
            storage: self.storage,
            in_flight: books.in_flight,
            holdings,
        }
    }

    /// An account with its session keys.
    pub fn account(&self, account_id: AccountId) -> Option<Account> {
        let record = self.accounts.get(&account_id)?;
        let storage = storage_balance(&record).or_panic();
        Some(Account { balances: record.balances, storage, keys: self.keys.get(&account_id).unwrap_or_default() })
    }

    /// What the contract owes in each token that was ever on the list.
    pub fn tokens(&self) -> Vec<TokenTotals> {
        let totals = |token: &AccountId| {
            let TokenRecord { listed, books } = self.tokens.get(token)?;
            let Books { balances, escrows, fees, in_flight } = books;
            Some(TokenTotals { token: token.clone(), listed, balances, escrows, fees, in_flight })
        };
        self.token_names.iter().filter_map(totals).collect()
    }

    /// What a payment must add for the storage of its escrow.
    pub fn storage_price(&self) -> Amount {
        Billing::pay_storage()
    }

    /// An escrow that is not spent.
    pub fn escrow(&self, escrow_id: EscrowId) -> Option<EscrowView> {
        self.escrows.get(&escrow_id).map(|record| view(escrow_id, record))
    }

    /// Escrows of a payer that are not spent, by number, from number `from` on: `limit` at most, and no more than fit a page.
    pub fn escrows_of(&self, payer: AccountId, from: u64, limit: u32) -> Vec<EscrowView> {
        let limit = usize::try_from(limit).unwrap_or(MAX_ESCROWS);
        let ids = self.escrows_of.get(&payer).unwrap_or_default();
        let page = self.escrows.page(ids.into_iter().filter(|id| id.0 >= from).take(limit));
        page.into_iter().map(|(id, record)| view(id, record)).collect()
    }
}

fn view(id: EscrowId, record: EscrowRecord) -> EscrowView {
    let EscrowRecord { escrow, storage, .. } = record;
    EscrowView { id, available: escrow.available(), pending: escrow.pending(), posted: escrow.posted(), storage, escrow }
}
