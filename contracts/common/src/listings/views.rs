//! What anyone may read of a shelf, in bounded pages.

use super::Shelf;
use starling_contract_api::hub::{Licence, MAX_LICENCES_PAGE, MAX_LISTINGS_PAGE, MAX_RATINGS_PAGE};
use starling_primitives::{AccountId, AssetName};
use starling_protocol::listing::{Category, Listing, Rating};

impl Shelf {
    /// A listing with all its versions.
    pub fn listing(&self, name: &AssetName) -> Option<Listing> {
        self.listing_since(name, 0)
    }

    /// How many listings there are, delisted ones included, in a category if one is named.
    pub fn listings_count(&self, category: Option<Category>) -> u64 {
        category.map_or(self.count, |category| self.category_counts.get(&category).unwrap_or_default())
    }

    /// The listings at places `from..from + limit` that are not delisted, each with its last version only.
    pub fn listings(&self, category: Option<Category>, from: u64, limit: u32) -> Vec<Listing> {
        let end = from.saturating_add(u64::from(limit.min(MAX_LISTINGS_PAGE))).min(self.listings_count(category));
        let name_at = |place: u64| match category {
            Some(category) => self.by_category.get(&(category, place)),
            None => self.order.get(&place),
        };
        (from..end).filter_map(name_at).filter_map(|name| self.listing_since(&name, u32::MAX)).filter(|listing| !listing.delisted).collect()
    }

    /// A holder's licence, once it holds.
    pub fn licence(&self, holder: AccountId, name: AssetName) -> Option<Licence> {
        self.granted(&name, &holder).map(|record| record.licence(name, holder))
    }

    /// The licences at places `from..from + limit` of a holder that hold.
    pub fn licences_of(&self, holder: &AccountId, from: u64, limit: u32) -> Vec<Licence> {
        let count = self.licence_counts.get(holder).unwrap_or_default();
        let end = from.saturating_add(u64::from(limit.min(MAX_LICENCES_PAGE))).min(count);
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

    /// A listing with its versions from number `since` on (counted from 0), the last one in any case.
    fn listing_since(&self, name: &AssetName, since: u32) -> Option<Listing> {
        let record = self.listings.get(name)?;
        let first = since.min(record.versions.saturating_sub(1));
        let versions = (first..record.versions).filter_map(|number| self.versions.get(&(name.clone(), number))).collect();
        Some(Listing { versions, ..record.listing })
    }
}
