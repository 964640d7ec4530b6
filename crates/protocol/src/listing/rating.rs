//! Ratings: one to five stars by whoever holds a licence, one for each holder and listing, and never by the publisher.

use super::{Listing, ListingError};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use starling_primitives::{AccountId, Text, TimestampMs};
use std::io;

/// The most stars.
pub const MAX_STARS: u8 = 5;

/// One to five stars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, BorshSerialize)]
#[serde(try_from = "u8", into = "u8")]
pub struct Stars(u8);

/// What a holder says of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Rating {
    /// Who says it.
    pub rater: AccountId,
    /// How good it is.
    pub stars: Stars,
    /// Why; may be empty.
    pub text: Text<280>,
    /// Of how many versions there were, so the number of the last one, counted from 1.
    pub version: u32,
    /// Whether the rater's licence was bought. One that cost nothing shows no more than that somebody wanted to rate.
    pub bought: bool,
    /// When it was said, or last changed.
    pub rated_at: TimestampMs,
}

/// The sum of a listing's ratings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Ratings {
    /// How many holders rated it.
    pub count: u64,
    /// All their stars.
    pub stars: u64,
}

impl Stars {
    /// Takes 1 to 5.
    pub fn new(stars: u8) -> Result<Self, ListingError> {
        if (1..=MAX_STARS).contains(&stars) { Ok(Self(stars)) } else { Err(ListingError::Stars) }
    }

    /// How many.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<u8> for Stars {
    type Error = ListingError;
    fn try_from(stars: u8) -> Result<Self, ListingError> {
        Self::new(stars)
    }
}

impl From<Stars> for u8 {
    fn from(stars: Stars) -> Self {
        stars.0
    }
}

impl BorshDeserialize for Stars {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        Self::new(u8::deserialize_reader(reader)?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
    }
}

impl Ratings {
    /// The sum after a holder who had said `before` says `stars`.
    pub fn rated(self, before: Option<Stars>, stars: Stars) -> Result<Self, ListingError> {
        let rest = match before {
            Some(before) => self.stars.checked_sub(u64::from(before.0)),
            None => Some(self.stars),
        };
        let sum = rest.and_then(|rest| rest.checked_add(u64::from(stars.0)));
        let count = if before.is_some() { Some(self.count) } else { self.count.checked_add(1) };
        match (count, sum) {
            (Some(count), Some(stars)) => Ok(Self { count, stars }),
            _ => Err(ListingError::Unbalanced),
        }
    }

    /// The mean in tenths of a star, 10 to 50; nothing without a rating.
    pub fn mean_tenths(self) -> Option<u64> {
        let tenths = u128::from(self.stars) * 10 + u128::from(self.count) / 2;
        u64::try_from(tenths.checked_div(u128::from(self.count))?).ok()
    }

    /// Mean and count in words; nothing without a rating.
    pub fn words(self) -> Option<String> {
        let tenths = self.mean_tenths()?;
        let what = if self.count == 1 { "rating" } else { "ratings" };
        Some(format!("{}.{} of {MAX_STARS} stars, {} {what}", tenths / 10, tenths % 10, self.count))
    }

    /// The places of a page of `size` raters, as first place and number; page 0 has those who came last.
    pub fn newest(self, page: u64, size: u32) -> (u64, u32) {
        let end = self.count.saturating_sub(page.saturating_mul(u64::from(size)));
        let from = end.saturating_sub(u64::from(size));
        (from, u32::try_from(end - from).unwrap_or(size))
    }
}

/// The sum of a listing's ratings after `rater` says `stars`, who said `before`.
pub fn rate(listing: &Listing, rater: &AccountId, licensed: bool, before: Option<Stars>, stars: Stars) -> Result<Ratings, ListingError> {
    if rater == listing.name.publisher() {
        return Err(ListingError::OwnRating);
    }
    if !licensed {
        return Err(ListingError::RatedUnlicensed);
    }
    listing.ratings.rated(before, stars)
}
