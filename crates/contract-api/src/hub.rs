//! `hub`: models with versions, lineage and licences. [`crate::market`] has the same methods for research tools and data sets.

use crate::{Call, ONE_YOCTO, View, payment::PaymentOffered};
use serde::{Deserialize, Serialize};
use serde_json::json;
use starling_primitives::{AccountId, Amount, Asset, AssetName, BasisPoints, EscrowId, RunId, Text, TimestampMs};
use starling_protocol::listing::{Category, File, Kind, Listing, Rating, Ratings, Stars, Version, near};

/// The standard's name in `hub`'s events.
pub const HUB_STANDARD: &str = "starling-hub";
/// The standard's name in `market`'s events.
pub const MARKET_STANDARD: &str = "starling-market";
/// Bytes of a listing with one version at their largest, indexes included.
pub const LISTING_BYTES: u64 = 6_000;
/// The most listings of one answer, if so many fit.
pub const MAX_LISTINGS_PAGE: u32 = 50;
/// The most places of licences of one answer.
pub const MAX_LICENCES_PAGE: u32 = 8;
/// The most ratings of one answer.
pub const MAX_RATINGS_PAGE: u32 = 8;
/// Bytes of a rating at its largest, its index included.
pub const RATING_BYTES: u64 = 800;

/// Events of `hub` and `market` by NEP-297.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", content = "data", rename_all = "snake_case")]
#[expect(missing_docs, reason = "the fields repeat the words of the records they come from")]
pub enum ListingEvent {
    /// Something was published.
    ListingPublished { listing: Listing },
    /// A listing got another version, the `number`th counted from 1.
    VersionAdded { name: AssetName, number: u32, version: Version },
    /// Licences cost something else from now on.
    PriceSet {
        name: AssetName,
        #[serde(default = "near")]
        asset: Asset,
        price: Amount,
        #[serde(default)]
        price_per_use: Option<Amount>,
    },
    /// A listing was taken off the list.
    ListingDelisted { name: AssetName },
    /// A licence's payment is held; it counts once granted.
    LicencePaid { licence: Licence },
    /// A licence that was paid holds.
    LicenceGranted { escrow_id: EscrowId },
    /// A licence of what costs nothing was taken.
    LicenceTaken { licence: Licence },
    /// A holder rated a listing, or changed its rating; `ratings` is the sum after it.
    Rated { name: AssetName, rating: Rating, ratings: Ratings },
    /// A metered use's deposit is held; it counts once open.
    UsePaid {
        #[serde(rename = "use")]
        metered: MeteredUse,
    },
    /// A metered use that was paid is open: vouchers pay it.
    UseOpened { escrow_id: EscrowId },
    /// A metered use that was over was removed.
    UseForgotten { escrow_id: EscrowId },
    /// A payment that never opened was removed.
    PaymentForgotten { escrow_id: EscrowId },
    /// New payments and listings are refused, or taken again.
    PausedSet { paused: bool },
}

/// What a publisher says of a new listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PublishArgs {
    /// Name under the caller's account.
    pub slug: String,
    /// What it is; `hub` takes models, `market` tools and data sets.
    pub kind: Kind,
    /// What it is for.
    pub category: Category,
    /// Title for people.
    pub title: Text<80>,
    /// What it does.
    pub summary: Text<600>,
    /// SPDX licence expression.
    pub licence: Text<40>,
    /// What its price is counted in; nobody can pay in a token that `billing` does not have on its list.
    #[serde(default = "near")]
    pub asset: Asset,
    /// Price of a licence; 0 for everyone.
    pub price: Amount,
    /// Price of a use for who needs no licence; nothing where no use is sold.
    #[serde(default)]
    pub price_per_use: Option<Amount>,
    /// What it was made from, in the same contract; the publisher needs a licence of each that has a price.
    pub parents: Vec<AssetName>,
    /// What works made from this one owe.
    pub royalty: BasisPoints,
    /// The first version's files.
    pub files: Vec<File>,
    /// The run that made it, as its publisher says ([`Version::run_id`]).
    pub run_id: Option<RunId>,
}

/// A licence: a tenant's right to use an asset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Licence {
    /// Who may use it.
    pub holder: AccountId,
    /// What.
    pub name: AssetName,
    /// What the price is counted in.
    #[serde(default = "near")]
    pub asset: Asset,
    /// What was paid.
    pub price: Amount,
    /// The escrow that paid; nothing where it cost nothing.
    pub escrow_id: Option<EscrowId>,
    /// When.
    pub bought_at: TimestampMs,
}

/// A metered use: while it is open its holder may use the asset, and pays by vouchers, cumulative, signed by the key that it named. A voucher names the publisher and the
/// whole total; `billing` divides it among publisher and ancestors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeteredUse {
    /// Who may use it.
    pub holder: AccountId,
    /// What.
    pub name: AssetName,
    /// What the price is counted in.
    pub asset: Asset,
    /// What a use costs, whatever the listing asks later. The chain does not count uses: the publisher serves no more than it has vouchers for.
    pub price_per_use: Amount,
    /// The escrow that holds the deposit.
    pub escrow_id: EscrowId,
    /// When it was paid in.
    pub paid_at: TimestampMs,
    /// The escrow is open at least until then, whatever its payer does; a day longer it takes vouchers.
    pub until: TimestampMs,
}

/// How a listing contract is set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Config {
    /// Approves upgrades and pauses.
    pub owner: AccountId,
    /// The deployment it belongs to.
    pub deployment: crate::Deployment,
    /// Whether new payments and listings are refused.
    pub paused: bool,
}

/// `hub` or `market` at an account.
#[derive(Clone, Debug)]
pub struct Listings(pub AccountId);

impl Listings {
    /// Publishes; the deposit pays storage, the rest comes back. Gives the name.
    pub fn publish(&self, args: &PublishArgs, deposit: Amount) -> Call {
        Call::new(&self.0, "publish", json!(args), 30, deposit)
    }

    /// Adds a version; its publisher. The deposit pays storage, the rest comes back.
    pub fn add_version(&self, name: &AssetName, files: &[File], run_id: Option<RunId>, note: &str, deposit: Amount) -> Call {
        Call::new(&self.0, "add_version", json!({"name": name, "files": files, "run_id": run_id, "note": note}), 30, deposit)
    }

    /// Changes the prices of licences and uses to come, and what they are counted in; its publisher, with storage for what the prices need more, one yocto at least. The rest
    /// comes back.
    pub fn set_price(&self, name: &AssetName, asset: &Asset, price: Amount, price_per_use: Option<Amount>, deposit: Amount) -> Call {
        let args = json!({"name": name, "asset": asset, "price": price, "price_per_use": price_per_use});
        Call::new(&self.0, "set_price", args, 10, deposit)
    }

    /// Takes it off the list; its publisher, one yocto. Licences stay valid.
    pub fn delist(&self, name: &AssetName) -> Call {
        Call::new(&self.0, "delist", json!({"name": name}), 10, ONE_YOCTO)
    }

    /// Takes a licence of what costs nothing, for good. The deposit pays storage, [`crate::payment::LICENCE_BYTES`] at most; the rest comes back.
    pub fn take_licence(&self, name: &AssetName, deposit: Amount) -> Call {
        Call::new(&self.0, "take_licence", json!({"name": name}), 20, deposit)
    }

    /// Rates a listing, or changes the rating; who holds a licence. The deposit pays storage, [`RATING_BYTES`] at most; the rest comes back.
    pub fn rate(&self, name: &AssetName, stars: Stars, text: &Text<280>, deposit: Amount) -> Call {
        Call::new(&self.0, "rate", json!({"name": name, "stars": stars, "text": text}), 20, deposit)
    }

    /// `billing` only: asks to sell a licence, with the storage deposit that the buyer forwards.
    pub fn on_payment(&self, offered: &PaymentOffered, storage: Amount) -> Call {
        Call::new(&self.0, "on_payment", json!(offered), 30, storage)
    }

    /// `billing` only: the escrow is open (and, for a purchase, closed): the licence holds.
    pub fn on_opened(&self, escrow_id: EscrowId) -> Call {
        Call::new(&self.0, "on_opened", json!({"escrow_id": escrow_id}), 10, Amount::ZERO)
    }

    /// Removes a purchase that was accepted here and never opened in `billing`, and sends its storage deposit to who paid; anyone, ten minutes and a margin later.
    pub fn forget_payment(&self, escrow_id: EscrowId) -> Call {
        Call::new(&self.0, "forget_payment", json!({"escrow_id": escrow_id}), 20, Amount::ZERO)
    }

    /// Removes a metered use that is over, and sends its storage deposit to its holder; anyone.
    pub fn forget_use(&self, holder: &AccountId, name: &AssetName) -> Call {
        Call::new(&self.0, "forget_use", json!({"holder": holder, "name": name}), 20, Amount::ZERO)
    }

    /// Refuses or takes new payments and listings; owner only.
    pub fn set_paused(&self, paused: bool) -> Call {
        Call::new(&self.0, "set_paused", json!({"paused": paused}), 10, ONE_YOCTO)
    }

    /// How it is set up.
    pub fn config(&self) -> View<Config> {
        View::new(&self.0, "config", json!({}))
    }

    /// What a listing of one version costs to store at its largest: attach this, the rest comes back.
    pub fn storage_price(&self) -> View<Amount> {
        View::new(&self.0, "storage_price", json!({}))
    }

    /// A listing with its last version only.
    pub fn listing(&self, name: &AssetName) -> View<Option<Listing>> {
        View::new(&self.0, "listing", json!({"name": name}))
    }

    /// The versions of a listing from number `from` (counted from 0) on: `limit` at most, and no more than fit a page. Ask on behind the last until none comes.
    pub fn versions(&self, name: &AssetName, from: u32, limit: u32) -> View<Vec<Version>> {
        View::new(&self.0, "versions", json!({"name": name, "from": from, "limit": limit}))
    }

    /// Listings in order of publication, of a category if one is named, delisted ones included, each with its last version only: from place `from` (counted from 0) on, `limit`
    /// at most, no more than [`MAX_LISTINGS_PAGE`] and than fit a page. Ask on behind the last until none comes.
    pub fn listings(&self, category: Option<Category>, from: u64, limit: u32) -> View<Vec<Listing>> {
        View::new(&self.0, "listings", json!({"category": category, "from": from, "limit": limit}))
    }

    /// How many listings there are, delisted ones included.
    pub fn listings_count(&self, category: Option<Category>) -> View<u64> {
        View::new(&self.0, "listings_count", json!({"category": category}))
    }

    /// What was answered to a payment that is still pending; nothing else.
    pub fn payment_answer(&self, escrow_id: EscrowId) -> View<Option<crate::payment::PaymentAnswer>> {
        View::new(&self.0, "payment_answer", json!({"escrow_id": escrow_id}))
    }

    /// A holder's licence of an asset. The publisher, and everyone for a price of 0, needs none.
    pub fn licence(&self, holder: &AccountId, name: &AssetName) -> View<Option<Licence>> {
        View::new(&self.0, "licence", json!({"holder": holder, "name": name}))
    }

    /// How many places [`Listings::licences_of`] goes through, pending ones included.
    pub fn licences_count(&self, holder: &AccountId) -> View<u64> {
        View::new(&self.0, "licences_count", json!({"holder": holder}))
    }

    /// A holder's licences: those of the `limit` places from place `from` (counted from 0) on that hold. [`MAX_LICENCES_PAGE`] places at most; the answer is shorter where a
    /// payment is pending. Ask on by places until [`Listings::licences_count`].
    pub fn licences_of(&self, holder: &AccountId, from: u64, limit: u32) -> View<Vec<Licence>> {
        View::new(&self.0, "licences_of", json!({"holder": holder, "from": from, "limit": limit}))
    }

    /// Whether an account may use an asset now: it costs nothing, is its own, is licensed, or a metered use of it is open.
    pub fn may_use(&self, account: &AccountId, name: &AssetName) -> View<bool> {
        View::new(&self.0, "may_use", json!({"account": account, "name": name}))
    }

    /// An account's last metered use of an asset, open or over.
    pub fn metered_use(&self, holder: &AccountId, name: &AssetName) -> View<Option<MeteredUse>> {
        View::new(&self.0, "metered_use", json!({"holder": holder, "name": name}))
    }

    /// What a holder says of a listing.
    pub fn rating(&self, rater: &AccountId, name: &AssetName) -> View<Option<Rating>> {
        View::new(&self.0, "rating", json!({"rater": rater, "name": name}))
    }

    /// Ratings of a listing at the `limit` places from place `from` (counted from 0) on, in the order in which their raters first spoke. [`MAX_RATINGS_PAGE`] places at most; the
    /// listing says how many there are.
    pub fn ratings(&self, name: &AssetName, from: u64, limit: u32) -> View<Vec<Rating>> {
        View::new(&self.0, "ratings", json!({"name": name, "from": from, "limit": limit}))
    }
}
