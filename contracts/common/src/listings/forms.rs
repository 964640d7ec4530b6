//! The forms that listings, licences and purchases were stored in by release 1: for NEAR alone, without ratings.

use super::{LicenceRecord, LicenceState, ListingRecord, Purchase, Shelf, Sold};
use crate::{Forms, Setup};
use borsh::{BorshDeserialize, BorshSerialize};
use starling_contract_api::payment::storage_cost;
use starling_primitives::{AccountId, Amount, Asset, AssetName, BasisPoints, EscrowId, Text, TimestampMs};
use starling_protocol::listing::{Category, Kind, Listing, Ratings, Share, Version};

/// The tables that the first form had.
const FIRST_TABLES: usize = 9;
/// What NEAR counts for an entry besides key and value, a purchase's key, and the version in front of its value.
const PURCHASE_ENTRY_BYTES: u64 = 40 + 1 + 8 + 1;

/// The version of a contract's state that [`earlier_state`] does not read.
pub const STATE_VERSION: u8 = 2;

/// A contract's state in the form before: the count of listings and each table's prefix.
pub fn earlier_state(version: u8, bytes: &[u8]) -> Option<(Setup, Shelf)> {
    if version != 1 {
        return None;
    }
    let (setup, count, _) = borsh::from_slice::<(Setup, u64, [u8; FIRST_TABLES])>(bytes).ok()?;
    Some((setup, Shelf { count, ..Shelf::new() }))
}

/// The forms of a listing.
pub(super) struct ListingForms;

#[derive(BorshSerialize, BorshDeserialize)]
struct FirstListing {
    name: AssetName,
    kind: Kind,
    category: Category,
    title: Text<80>,
    summary: Text<600>,
    licence: Text<40>,
    price: Amount,
    parents: Vec<AssetName>,
    shares: Vec<Share>,
    royalty: BasisPoints,
    versions: Vec<Version>,
    sold: u64,
    delisted: bool,
    published_at: TimestampMs,
}

impl Forms<ListingRecord> for ListingForms {
    const VERSION: u8 = 2;

    fn from_version(version: u8, bytes: &[u8]) -> Option<ListingRecord> {
        if version != 1 {
            return None;
        }
        let (first, versions) = borsh::from_slice::<(FirstListing, u32)>(bytes).ok()?;
        let FirstListing { name, kind, category, title, summary, licence, price, parents, shares, royalty, .. } = first;
        let listing = Listing {
            name,
            kind,
            category,
            title,
            summary,
            licence,
            asset: Asset::Near,
            price,
            price_per_use: None,
            parents,
            shares,
            royalty,
            versions: first.versions,
            sold: first.sold,
            ratings: Ratings::default(),
            delisted: first.delisted,
            published_at: first.published_at,
        };
        Some(ListingRecord { listing, versions })
    }
}

/// The forms of a licence.
pub(super) struct LicenceForms;

impl Forms<LicenceRecord> for LicenceForms {
    const VERSION: u8 = 2;

    fn from_version(version: u8, bytes: &[u8]) -> Option<LicenceRecord> {
        if version != 1 {
            return None;
        }
        let (price, escrow_id, bought_at, place, state) =
            borsh::from_slice::<(Amount, EscrowId, TimestampMs, u64, LicenceState)>(bytes).ok()?;
        Some(LicenceRecord { asset: Asset::Near, price, escrow_id: Some(escrow_id), bought_at, place, state })
    }
}

/// The forms of a purchase.
pub(super) struct PurchaseForms;

impl Forms<Purchase> for PurchaseForms {
    const VERSION: u8 = 2;

    /// What was not needed had come back already: what is left is what this entry costs, which goes with it.
    fn from_version(version: u8, bytes: &[u8]) -> Option<Purchase> {
        if version != 1 {
            return None;
        }
        let (name, holder) = borsh::from_slice::<(AssetName, AccountId)>(bytes).ok()?;
        let entry_bytes = PURCHASE_ENTRY_BYTES.checked_add(u64::try_from(bytes.len()).ok()?)?;
        Some(Purchase { name, holder, rest: storage_cost(entry_bytes), sold: Sold::Licence })
    }
}
