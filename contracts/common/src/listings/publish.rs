//! Publishing: listings, versions, prices.

use super::{ListingRecord, Shelf, ShelfError, takes};
use starling_contract_api::hub::{ListingEvent, PublishArgs};
use starling_primitives::{AccountId, Amount, Asset, AssetName, RunId, Text, TimestampMs};
use starling_protocol::listing::{self, File, Kind, Listing, ListingError, MAX_PARENTS, MAX_VERSIONS, Ratings, Version};

impl Shelf {
    /// Publishes under the caller's name, with the shares of its ancestors fixed for good.
    pub fn publish(
        &mut self,
        args: PublishArgs,
        publisher: AccountId,
        kinds: &[Kind],
        now: TimestampMs,
    ) -> Result<ListingEvent, ShelfError> {
        let PublishArgs { slug, kind, category, title, summary, licence, asset, price, price_per_use, parents, royalty, files, run_id } =
            args;
        let name = AssetName::new(publisher, &slug)?;
        takes(kinds, kind)?;
        if title.as_str().trim().is_empty() {
            return Err(ShelfError::NoTitle);
        }
        if self.listings.contains(&name) {
            return Err(ShelfError::Taken(name));
        }
        listing::check_licence(licence.as_str())?;
        listing::check_prices(price, price_per_use)?;
        listing::check_files(&files)?;
        let ancestors = self.parents(&parents, name.publisher())?;
        let shares = listing::flatten(&ancestors.iter().collect::<Vec<_>>())?;
        let version = Version { files, run_id, note: Text::default(), published_at: now };
        let listing = Listing {
            name,
            kind,
            category,
            title,
            summary,
            licence,
            asset,
            price,
            price_per_use,
            parents,
            shares,
            royalty,
            versions: Vec::new(),
            sold: 0,
            ratings: Ratings::default(),
            delisted: false,
            published_at: now,
        };
        self.store(&listing, &version);
        Ok(ListingEvent::ListingPublished { listing: Listing { versions: vec![version], ..listing } })
    }

    /// Adds a version to the caller's listing. Earlier ones stay as they are.
    pub fn add_version(
        &mut self,
        name: AssetName,
        files: Vec<File>,
        run_id: Option<RunId>,
        note: Text<280>,
        caller: &AccountId,
        now: TimestampMs,
    ) -> Result<ListingEvent, ShelfError> {
        let mut record = self.own_record(&name, caller)?;
        if record.listing.delisted {
            return Err(ListingError::Delisted.into());
        }
        if usize::try_from(record.versions).map_or(true, |versions| versions >= MAX_VERSIONS) {
            return Err(ListingError::TooManyVersions.into());
        }
        listing::check_files(&files)?;
        let version = Version { files, run_id, note, published_at: now };
        self.versions.insert(&(name.clone(), record.versions), &version);
        record.versions += 1;
        self.listings.insert(&name, &record);
        Ok(ListingEvent::VersionAdded { name, number: record.versions, version })
    }

    /// Changes the prices of licences and uses to come. Those under way keep theirs.
    pub fn set_price(
        &mut self,
        name: AssetName,
        asset: Asset,
        price: Amount,
        price_per_use: Option<Amount>,
        caller: &AccountId,
    ) -> Result<ListingEvent, ShelfError> {
        let mut record = self.own_record(&name, caller)?;
        listing::check_prices(price, price_per_use)?;
        record.listing.asset = asset.clone();
        record.listing.price = price;
        record.listing.price_per_use = price_per_use;
        self.listings.insert(&name, &record);
        Ok(ListingEvent::PriceSet { name, asset, price, price_per_use })
    }

    /// Takes the caller's listing off the list for good. Licences stay valid.
    pub fn delist(&mut self, name: AssetName, caller: &AccountId) -> Result<ListingEvent, ShelfError> {
        let mut record = self.own_record(&name, caller)?;
        if record.listing.delisted {
            return Err(ListingError::Delisted.into());
        }
        record.listing.delisted = true;
        self.listings.insert(&name, &record);
        Ok(ListingEvent::ListingDelisted { name })
    }

    /// The parents, each on the list and open to the publisher.
    fn parents(&self, names: &[AssetName], publisher: &AccountId) -> Result<Vec<Listing>, ShelfError> {
        if names.len() > MAX_PARENTS {
            return Err(ListingError::Parents.into());
        }
        let mut parents = Vec::with_capacity(names.len());
        for name in names {
            let parent = self.record(name)?.listing;
            if parent.delisted {
                return Err(ShelfError::ParentDelisted(name.clone()));
            }
            if !self.is_open_to(publisher, &parent) {
                return Err(ShelfError::ParentNotLicensed(name.clone()));
            }
            parents.push(parent);
        }
        Ok(parents)
    }

    fn store(&mut self, listing: &Listing, version: &Version) {
        let (name, category) = (&listing.name, listing.category);
        self.versions.insert(&(name.clone(), 0), version);
        self.listings.insert(name, &ListingRecord { listing: listing.clone(), versions: 1 });
        self.order.insert(&self.count, name);
        self.count += 1;
        let place = self.category_counts.get(&category).unwrap_or_default();
        self.by_category.insert(&(category, place), name);
        self.category_counts.insert(&category, &(place + 1));
    }
}
