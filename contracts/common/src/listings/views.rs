//! What anyone may read of a shelf, in bounded pages.

use super::Shelf;
use crate::{PageFull, Room, page};
use starling_contract_api::hub::{Licence, MAX_LICENCES_PAGE, MAX_LISTINGS_PAGE, MAX_RATINGS_PAGE};
use starling_primitives::{AccountId, AssetName};
use starling_protocol::listing::{Category, Listing, MAX_VERSIONS, Rating, Version};

impl Shelf {
    /// A listing with its last version only.
    pub fn listing(&self, name: &AssetName) -> Option<Listing> {
        self.listing_within(name, &mut Room::default()).ok().flatten()
    }

    /// The versions of a listing from number `from` on (counted from 0), as many as fit a page.
    pub fn versions(&self, name: &AssetName, from: u32, limit: u32) -> Vec<Version> {
        let most = u32::try_from(MAX_VERSIONS).unwrap_or(u32::MAX);
        let count = self.listings.get(name).map_or(0, |record| record.versions);
        let end = from.saturating_add(limit.min(most)).min(count);
        page(from..end, |number, room| self.versions.get_within(&(name.clone(), number), room))
    }

    /// How many listings there are, delisted ones included, in a category if one is named.
    pub fn listings_count(&self, category: Option<Category>) -> u64 {
        category.map_or(self.count, |category| self.category_counts.get(&category).unwrap_or_default())
    }

    /// The listings from place `from` on, delisted ones included, each with its last version only: as many as fit a page.
    pub fn listings(&self, category: Option<Category>, from: u64, limit: u32) -> Vec<Listing> {
        let end = from.saturating_add(u64::from(limit.min(MAX_LISTINGS_PAGE))).min(self.listings_count(category));
        page(from..end, |place, room| {
            let name = match category {
                Some(category) => self.by_category.get_within(&(category, place), room)?,
                None => self.order.get_within(&place, room)?,
            };
            name.map_or(Ok(None), |name| self.listing_within(&name, room))
        })
    }

    /// A holder's licence, once it holds.
    pub fn licence(&self, holder: AccountId, name: AssetName) -> Option<Licence> {
        self.granted(&name, &holder).map(|record| record.licence(name, holder))
    }

    /// How many places [`Shelf::licences_of`] goes through, pending ones included.
    pub fn licences_count(&self, holder: &AccountId) -> u64 {
        self.licence_counts.get(holder).unwrap_or_default()
    }

    /// The licences at places `from..from + limit` of a holder that hold.
    pub fn licences_of(&self, holder: &AccountId, from: u64, limit: u32) -> Vec<Licence> {
        let end = from.saturating_add(u64::from(limit.min(MAX_LICENCES_PAGE))).min(self.licences_count(holder));
        let names = (from..end).filter_map(|place| self.licences_of.get(&(holder.clone(), place)));
        names.filter_map(|name| self.licence(holder.clone(), name)).collect()
    }

    /// What a holder says of a listing.
    pub fn rating(&self, rater: AccountId, name: AssetName) -> Option<Rating> {
        let place = self.rating_places.get(&(name.clone(), rater))?;
        self.ratings.get(&(name, place))
    }

    /// The ratings of a listing at places `from..from + limit`, in the order in which their raters first spoke.
    pub fn ratings(&self, name: &AssetName, from: u64, limit: u32) -> Vec<Rating> {
        let count = self.listings.get(name).map_or(0, |record| record.listing.ratings.count);
        let end = from.saturating_add(u64::from(limit.min(MAX_RATINGS_PAGE))).min(count);
        (from..end).filter_map(|place| self.ratings.get(&(name.clone(), place))).collect()
    }

    /// A listing with its last version.
    fn listing_within(&self, name: &AssetName, room: &mut Room) -> Result<Option<Listing>, PageFull> {
        let Some(record) = self.listings.get_within(name, room)? else { return Ok(None) };
        let last = self.versions.get_within(&(name.clone(), record.versions.saturating_sub(1)), room)?;
        Ok(Some(Listing { versions: last.into_iter().collect(), ..record.listing }))
    }
}
