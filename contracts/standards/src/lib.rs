//! NEAR's own tokens (NEP-141, NEP-171) and a status board, as near-contract-standards and near-sdk give them: tests deploy it to see whether the embedded chain
//! treats other people's contracts as NEAR does.

mod fungible;
mod non_fungible;
mod receiver;
mod status;

use near_contract_standards::{fungible_token::FungibleToken, non_fungible_token::NonFungibleToken};
use near_sdk::{AccountId, BorshStorageKey, PanicOnDefault, env, json_types::U128, near, store::LookupMap};

/// Prefixes of the tables.
#[derive(BorshStorageKey)]
#[near]
enum StorageKey {
    Fungible,
    NonFungible,
    Metadata,
    Enumeration,
    Approval,
    Statuses,
}

/// The state.
#[derive(PanicOnDefault)]
#[near(contract_state)]
pub struct Contract {
    coins: FungibleToken,
    deeds: NonFungibleToken,
    statuses: LookupMap<AccountId, String>,
}

#[near]
impl Contract {
    /// All coins belong to `owner`, who alone mints deeds.
    #[init]
    pub fn new(owner: AccountId, supply: U128) -> Self {
        let mut coins = FungibleToken::new(StorageKey::Fungible);
        coins.internal_register_account(&owner);
        coins.internal_deposit(&owner, supply.0);
        let (metadata, enumeration, approval) = (StorageKey::Metadata, StorageKey::Enumeration, StorageKey::Approval);
        let deeds = NonFungibleToken::new(StorageKey::NonFungible, owner, Some(metadata), Some(enumeration), Some(approval));
        Self { coins, deeds, statuses: LookupMap::new(StorageKey::Statuses) }
    }
}

fn current() -> AccountId {
    env::current_account_id()
}
