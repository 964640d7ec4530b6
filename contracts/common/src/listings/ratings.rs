//! Ratings by holders of licences.

use super::{Shelf, ShelfError};
use starling_contract_api::hub::ListingEvent;
use starling_primitives::{AccountId, AssetName, Text, TimestampMs};
use starling_protocol::listing::{self, Rating, Stars};

impl Shelf {
    /// Says what a holder thinks of a listing, on the list or not, in the place of what it said before.
    pub fn rate(
        &mut self,
        name: AssetName,
        stars: Stars,
        text: Text<280>,
        rater: AccountId,
        now: TimestampMs,
    ) -> Result<ListingEvent, ShelfError> {
        let mut record = self.record(&name)?;
        let licence = self.granted(&name, &rater);
        let known = self.rating_places.get(&(name.clone(), rater.clone()));
        let before = known.and_then(|place| self.ratings.get(&(name.clone(), place)));
        let count = record.listing.ratings.count;
        record.listing.ratings = listing::rate(&record.listing, &rater, licence.is_some(), before.map(|rating| rating.stars), stars)?;
        let bought = licence.is_some_and(|licence| !licence.price.is_zero());
        let rating = Rating { rater, stars, text, version: record.versions, bought, rated_at: now };
        let place = known.unwrap_or(count);
        self.ratings.insert(&(name.clone(), place), &rating);
        if known.is_none() {
            self.rating_places.insert(&(name.clone(), rating.rater.clone()), &place);
        }
        let ratings = record.listing.ratings;
        self.listings.insert(&name, &record);
        Ok(ListingEvent::Rated { name, rating, ratings })
    }
}
