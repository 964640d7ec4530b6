//! What `hub` and `market` share: a shelf of listings and the licences that were sold of them.
//!
//! Storage is paid by who causes it: a publisher attaches what a listing or a version needs, a rater what a rating needs; a buyer forwards what a licence needs with the
//! payment, and gets back what was not needed when it opens. So no stranger can use up what the contract holds. A listing without a price needs no licence: none is sold,
//! and who wants to rate it takes one.

mod contract;
mod error;
mod forms;
mod licences;
mod metered;
mod payments;
mod publish;
mod ratings;
mod views;

pub use contract::prelude;
pub use error::ShelfError;

use crate::Table;
use borsh::{BorshDeserialize, BorshSerialize};
use starling_contract_api::hub::{Licence, MeteredUse};
use starling_primitives::{AccountId, Amount, Asset, AssetName, EscrowId, PublicKey, TimestampMs};
use starling_protocol::listing::{Category, Kind, Listing, Rating, Version};

use forms::{LicenceForms, ListingForms, PurchaseForms};
pub use forms::{STATE_VERSION, earlier_state};

/// Prefixes of the tables. Append only: a prefix is never given anew.
#[repr(u8)]
enum StorageKey {
    Listings = 1,
    Versions = 2,
    Order = 3,
    ByCategory = 4,
    CategoryCounts = 5,
    Licences = 6,
    LicencesOf = 7,
    LicenceCounts = 8,
    Purchases = 9,
    Ratings = 10,
    RatingPlaces = 11,
    Uses = 12,
}

/// Listings, their versions and licences. Part of a contract's state.
#[derive(BorshSerialize, BorshDeserialize)]
pub struct Shelf {
    count: u64,
    listings: Table<AssetName, ListingRecord, ListingForms>,
    versions: Table<(AssetName, u32), Version>,
    order: Table<u64, AssetName>,
    by_category: Table<(Category, u64), AssetName>,
    category_counts: Table<Category, u64>,
    licences: Table<(AssetName, AccountId), LicenceRecord, LicenceForms>,
    licences_of: Table<(AccountId, u64), AssetName>,
    licence_counts: Table<AccountId, u64>,
    purchases: Table<EscrowId, Purchase, PurchaseForms>,
    ratings: Table<(AssetName, u64), Rating>,
    rating_places: Table<(AssetName, AccountId), u64>,
    uses: Table<(AssetName, AccountId), UseRecord>,
}

/// A listing as it is kept: its versions lie beside it, so that its cost of reading does not grow with them.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
struct ListingRecord {
    /// Without versions.
    listing: Listing,
    versions: u32,
}

/// A licence as it is kept.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
struct LicenceRecord {
    asset: Asset,
    price: Amount,
    /// What paid it; nothing where it cost nothing.
    escrow_id: Option<EscrowId>,
    bought_at: TimestampMs,
    /// Place in the holder's list.
    place: u64,
    state: LicenceState,
}

/// Whether a licence holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
enum LicenceState {
    /// The payment is held; `billing` has not said that the escrow is open.
    Pending {
        /// The escrow's expiry, as it was answered.
        expires_at: TimestampMs,
    },
    /// It holds.
    Granted,
}

/// A metered use as it is kept, once its escrow is open.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
struct UseRecord {
    escrow_id: EscrowId,
    asset: Asset,
    price_per_use: Amount,
    paid_at: TimestampMs,
    until: TimestampMs,
}

/// A payment that `billing` has not said to be open.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
struct Purchase {
    name: AssetName,
    holder: AccountId,
    /// What was forwarded for storage and is not taken by what is stored besides this.
    rest: Amount,
    sold: Sold,
}

/// What a payment is for.
#[derive(Clone, Debug, BorshSerialize, BorshDeserialize)]
enum Sold {
    /// A licence, which lies beside it as pending.
    Licence,
    /// A metered use, which takes its place when it opens: it needs less room than this.
    Use {
        /// What is kept then.
        record: UseRecord,
        /// Whose vouchers pay.
        voucher: PublicKey,
    },
}

impl Shelf {
    /// An empty shelf.
    #[expect(clippy::new_without_default, reason = "a contract's state is made once, by `new`")]
    pub const fn new() -> Self {
        Self {
            count: 0,
            listings: Table::new(StorageKey::Listings as u8),
            versions: Table::new(StorageKey::Versions as u8),
            order: Table::new(StorageKey::Order as u8),
            by_category: Table::new(StorageKey::ByCategory as u8),
            category_counts: Table::new(StorageKey::CategoryCounts as u8),
            licences: Table::new(StorageKey::Licences as u8),
            licences_of: Table::new(StorageKey::LicencesOf as u8),
            licence_counts: Table::new(StorageKey::LicenceCounts as u8),
            purchases: Table::new(StorageKey::Purchases as u8),
            ratings: Table::new(StorageKey::Ratings as u8),
            rating_places: Table::new(StorageKey::RatingPlaces as u8),
            uses: Table::new(StorageKey::Uses as u8),
        }
    }

    fn record(&self, name: &AssetName) -> Result<ListingRecord, ShelfError> {
        self.listings.get(name).ok_or_else(|| ShelfError::NoSuchListing(name.clone()))
    }

    /// The listing of the publisher who calls.
    fn own_record(&self, name: &AssetName, caller: &AccountId) -> Result<ListingRecord, ShelfError> {
        if name.publisher() != caller {
            return Err(ShelfError::NotThePublisher(name.publisher().clone()));
        }
        self.record(name)
    }

    /// An account's licence of a listing, if it holds.
    fn granted(&self, name: &AssetName, holder: &AccountId) -> Option<LicenceRecord> {
        self.licences.get(&(name.clone(), holder.clone())).filter(|record| record.state == LicenceState::Granted)
    }

    /// Whether an account may publish from a listing: it costs nothing, is its own, or is licensed.
    fn is_open_to(&self, account: &AccountId, listing: &Listing) -> bool {
        listing.price.is_zero() || listing.name.publisher() == account || self.granted(&listing.name, account).is_some()
    }
}

impl UseRecord {
    fn metered_use(&self, name: AssetName, holder: AccountId) -> MeteredUse {
        let Self { escrow_id, asset, price_per_use, paid_at, until } = self.clone();
        MeteredUse { holder, name, asset, price_per_use, escrow_id, paid_at, until }
    }
}

impl LicenceRecord {
    fn licence(&self, name: AssetName, holder: AccountId) -> Licence {
        let Self { asset, price, escrow_id, bought_at, .. } = self.clone();
        Licence { holder, name, asset, price, escrow_id, bought_at }
    }
}

/// Whether a contract takes this kind of listing.
fn takes(kinds: &[Kind], kind: Kind) -> Result<(), ShelfError> {
    if kinds.contains(&kind) { Ok(()) } else { Err(ShelfError::WrongKind(kind)) }
}
