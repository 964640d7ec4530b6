//! `billing`: the one way for money, in NEAR and in NEP-141 tokens. Balances, escrow, fees, session keys and vouchers.
//!
//! Every entry method parses, authorises, asks the rule in `starling_protocol::escrow`, stores, logs, and only then makes promises. What is owed is summed in
//! `Books`, so that anyone can compare it with what the account holds.

// What `#[near]` writes finds our JSON and state by this name.
extern crate starling_contract_common as near_sdk;

mod accounts;
mod books;
mod error;
mod escrows;
mod forms;
mod keys;
mod pay;
mod splits;
mod tokens;
mod views;
mod vouchers;
mod withdraw;

use borsh::{BorshDeserialize, BorshSerialize};
use near_sdk::{PanicOnDefault, near};
use starling_contract_api::{
    Deployment, InitArgs,
    events::{BILLING_STANDARD, BillingEvent},
};
use starling_contract_common::{Forms, OrPanic, Setup, Table, emit, require, upgrade_methods};
use starling_primitives::{AccountId, Amount, Asset, BasisPoints, EscrowId, PublicKey};
use starling_protocol::{
    escrow::{Escrow, MAX_FEE},
    session_key::SessionKey,
};

pub use error::BillingError;

/// Prefixes of the tables. Append only: a prefix is never given anew.
#[repr(u8)]
enum StorageKey {
    Accounts = 1,
    Keys = 2,
    Escrows = 3,
    EscrowsOf = 4,
    Tokens = 5,
    Splits = 6,
}

/// The state.
#[derive(PanicOnDefault)]
#[near(
    contract_state,
    contract_metadata(standard(standard = "nep145", version = "1.0.0"), standard(standard = "nep297", version = "1.0.0"))
)]
pub struct Contract {
    setup: Setup,
    fee: BasisPoints,
    /// What is owed in NEAR, without storage deposits.
    books: books::Books,
    /// All storage deposits.
    storage: Amount,
    last_escrow: u64,
    accounts: Table<AccountId, AccountRecord>,
    keys: Table<AccountId, Vec<(PublicKey, SessionKey)>>,
    escrows: Table<EscrowId, EscrowRecord, forms::EscrowForms>,
    escrows_of: Table<AccountId, Vec<EscrowId>>,
    tokens: Table<AccountId, books::TokenRecord>,
    /// The keys of `tokens`.
    token_names: Vec<AccountId>,
}

impl Forms<Self> for Contract {}

/// An account as it is kept.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) struct AccountRecord {
    balances: Vec<(Asset, Amount)>,
    storage_total: Amount,
    storage_used: Amount,
    /// Transfers to the account whose outcome is not known yet: until then the record must stay.
    sending: u32,
}

/// An escrow as it is kept.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
pub(crate) struct EscrowRecord {
    escrow: Escrow,
    /// The payer's storage deposit for this record.
    storage: Amount,
    /// The session key that paid, if one did.
    opened_by: Option<PublicKey>,
    /// Forwarded to the target with the question, while nobody knows what became of it.
    forwarded: Option<Amount>,
}

#[near]
impl Contract {
    /// Sets the contract up, once.
    ///
    /// Access: whoever deploys, in the same transaction. Deposit: none. State change: owner, deployment and fee. Events: none.
    #[init]
    pub fn new(owner: AccountId, deployment: Deployment, fee: BasisPoints, min_stake: Amount) -> Self {
        require(fee <= MAX_FEE, "the fee is above the protocol's ceiling");
        let setup = Setup::new(&InitArgs { owner, deployment, fee, min_stake }, |deployment| &deployment.billing);
        Self {
            setup,
            fee,
            books: books::Books::default(),
            storage: Amount::ZERO,
            last_escrow: 0,
            accounts: Table::new(StorageKey::Accounts as u8),
            keys: Table::new(StorageKey::Keys as u8),
            escrows: Table::new(StorageKey::Escrows as u8),
            escrows_of: Table::new(StorageKey::EscrowsOf as u8),
            tokens: Table::new(StorageKey::Tokens as u8),
            token_names: Vec::new(),
        }
    }

    /// Refuses or takes new payments. What is open goes on, and money leaves as before.
    ///
    /// Access: owner. Deposit: 1 yocto. Gas: 10 T. State change: the pause. Events: `paused_set`. Refund: none.
    #[payable]
    pub fn set_paused(&mut self, paused: bool) {
        self.setup.set_paused(paused);
        log(&BillingEvent::PausedSet { paused });
    }
}

upgrade_methods!(BILLING_STANDARD, |contract| contract.books.held().or_panic());

fn log(event: &BillingEvent) {
    emit(BILLING_STANDARD, event);
}
