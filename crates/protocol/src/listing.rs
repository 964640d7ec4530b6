//! Listings: what `hub` and `market` sell. One rule set for models, research tools and datasets.

mod metered;
mod rating;

pub use crate::escrow::Share;
pub use metered::{check_prices, open_use};
pub use rating::{MAX_STARS, Rating, Ratings, Stars, rate};

use crate::{
    escrow::{MAX_PARTS, Posting, divide},
    split::Split,
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use starling_primitives::{AccountId, Amount, Asset, AssetName, BasisPoints, Hash32, RunId, Text, TimestampMs};

/// The most shares of one listing, ancestors' and publisher's together.
pub const MAX_SHARES: usize = MAX_PARTS + 1;
/// The most ancestors that a payment names themselves; more of them share a [`Split`].
pub const MAX_NAMED: usize = 2;
/// The most versions of one listing.
pub const MAX_VERSIONS: usize = 64;
/// The most files of one version.
pub const MAX_FILES: usize = 16;
/// The most direct parents of one listing.
pub const MAX_PARENTS: usize = 4;

/// What is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A model, in `hub`.
    Model,
    /// A declarative research tool (prompts and an evaluation, never code), in `market`.
    Tool,
    /// A data set, in `market`.
    Dataset,
}

/// What it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// Text generation.
    TextGeneration,
    /// Text classification.
    TextClassification,
    /// Tables.
    Tabular,
    /// Images.
    Vision,
    /// Evaluation of models.
    Evaluation,
    /// Anything else.
    Other,
}

/// One file of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Its name, such as `model.safetensors`.
    pub name: Text<80>,
    /// Artifact hash.
    pub hash: Hash32,
    /// Size in bytes.
    pub bytes: u64,
}

/// One version. Never changed after it is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Version {
    /// Its files.
    pub files: Vec<File>,
    /// The run that the publisher says made it. No contract checks it: `compute` keeps a run's tenant and its last state root, not the files that were made of it.
    pub run_id: Option<RunId>,
    /// What changed.
    pub note: Text<280>,
    /// When it was published.
    pub published_at: TimestampMs,
}

/// A listing as `hub` or `market` keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Listing {
    /// Its name.
    pub name: AssetName,
    /// What it is.
    pub kind: Kind,
    /// What it is for.
    pub category: Category,
    /// Title for people.
    pub title: Text<80>,
    /// What it does, in a few sentences.
    pub summary: Text<600>,
    /// SPDX licence expression.
    pub licence: Text<40>,
    /// What its price is counted in: NEAR, or a token that `billing` has on its list. Shares of it are paid in the same.
    #[serde(default = "near")]
    pub asset: Asset,
    /// Price of a licence; 0 for everyone.
    pub price: Amount,
    /// Price of a use, paid by vouchers from an escrow, for whoever needs no licence; nothing where none is sold. What a use is stands in the summary.
    #[serde(default)]
    pub price_per_use: Option<Amount>,
    /// What it was made from.
    pub parents: Vec<AssetName>,
    /// Ancestors' parts, flattened when it was published and never changed; the rest and all dust is the publisher's.
    pub shares: Vec<Share>,
    /// What a work made from this one owes to it and to its ancestors.
    pub royalty: BasisPoints,
    /// Its versions, the first published first.
    pub versions: Vec<Version>,
    /// Licences sold.
    pub sold: u64,
    /// The sum of what holders said of it.
    #[serde(default)]
    pub ratings: Ratings,
    /// Whether it was taken off the list; licences stay valid.
    pub delisted: bool,
    /// When it was first published.
    pub published_at: TimestampMs,
}

/// Why a listing was refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListingError {
    /// The ancestors' parts together pass the whole.
    #[error("the ancestors' shares together pass 100 %")]
    SharesPassWhole,
    /// The lineage has more accounts than a payment can name.
    #[error("the lineage names more than {MAX_SHARES} accounts")]
    LineageTooLarge,
    /// Too many parents, or one twice.
    #[error("at most {MAX_PARENTS} parents, each once")]
    Parents,
    /// No file, too many, or a name twice.
    #[error("a version has 1 to {MAX_FILES} files, each with a name of its own")]
    Files,
    /// Too many versions.
    #[error("at most {MAX_VERSIONS} versions")]
    TooManyVersions,
    /// The licence is not an SPDX expression.
    #[error("the licence must be an SPDX expression such as MIT or Apache-2.0")]
    Licence,
    /// It was taken off the list.
    #[error("it was taken off the list")]
    Delisted,
    /// A price per use of 0, or of what is free.
    #[error("a price per use is above 0, and stands beside a price of a licence: what is free for everyone is free to use")]
    PricePerUse,
    /// No metered use is sold.
    #[error("no use of it is sold")]
    NoUse,
    /// The deposit does not reach for a use.
    #[error("a use costs {price_per_use} units of {asset}: pay in at least that")]
    UseDeposit {
        /// How much a use costs.
        price_per_use: Amount,
        /// In what.
        asset: Asset,
    },
    /// More stars than there are, or none.
    #[error("a rating has 1 to {MAX_STARS} stars")]
    Stars,
    /// Nobody rates what is his own.
    #[error("nobody rates what he published")]
    OwnRating,
    /// Only holders rate.
    #[error("only who holds a licence may rate: buy one, or take one where the price is 0")]
    RatedUnlicensed,
    /// Sum and ratings disagree; never reached.
    #[error("the ratings do not add up")]
    Unbalanced,
    /// What was paid is not the price.
    #[error("the price is {price} units of {asset}")]
    WrongPrice {
        /// How much it costs.
        price: Amount,
        /// In what.
        asset: Asset,
    },
}

impl Listing {
    /// The price of a licence in words.
    pub fn price_words(&self) -> String {
        if self.price.is_zero() { "free".to_owned() } else { self.words(self.price) }
    }

    /// The price of a use in words; nothing where none is sold.
    pub fn use_words(&self) -> Option<String> {
        self.price_per_use.map(|price| self.words(price))
    }

    /// NEAR with four decimals, a token in its smallest units, since its contract alone knows its decimals.
    fn words(&self, amount: Amount) -> String {
        match &self.asset {
            Asset::Near => amount.display_near(),
            Asset::Nep141(token) => format!("{amount} units of {token}"),
        }
    }
}

/// What a price is counted in where nothing else is said.
pub const fn near() -> Asset {
    Asset::Near
}

/// The parts that a work made from `parents` owes: each parent's royalty, split along that parent's own shares, equal accounts added up.
pub fn flatten(parents: &[&Listing]) -> Result<Vec<Share>, ListingError> {
    if parents.len() > MAX_PARENTS
        || parents.iter().enumerate().any(|(index, parent)| parents[..index].iter().any(|other| other.name == parent.name))
    {
        return Err(ListingError::Parents);
    }
    let mut parts = std::collections::BTreeMap::<&AccountId, u32>::new();
    for parent in parents {
        let royalty = u32::from(parent.royalty.get());
        let mut rest = royalty;
        for share in &parent.shares {
            let part = royalty * u32::from(share.part.get()) / 10_000;
            rest -= part;
            *parts.entry(&share.account).or_default() += part;
        }
        *parts.entry(parent.name.publisher()).or_default() += rest;
    }
    parts.retain(|_, part| *part > 0);
    if parts.values().sum::<u32>() > 10_000 {
        return Err(ListingError::SharesPassWhole);
    }
    if parts.len() >= MAX_SHARES {
        return Err(ListingError::LineageTooLarge);
    }
    let share = |(account, part): (&AccountId, u32)| {
        let part = u16::try_from(part).ok().and_then(|part| BasisPoints::new(part).ok()).ok_or(ListingError::SharesPassWhole)?;
        Ok(Share { account: account.clone(), part })
    };
    parts.into_iter().map(share).collect()
}

/// The ancestors' parts without the publisher's own, which are in the rest.
fn parts(listing: &Listing) -> Vec<Share> {
    listing.shares.iter().filter(|share| share.account != *listing.name.publisher()).cloned().collect()
}

/// The split of a listing's ancestors, where they are more than a payment names.
pub fn lineage_split(listing: &Listing) -> Option<Split> {
    let parts = parts(listing);
    if parts.len() > MAX_NAMED { Split::new(parts).ok() } else { None }
}

/// Whom a payment names besides the publisher, with its part of what is paid: up to [`MAX_NAMED`] ancestors themselves, more of them by their split, so that a
/// payment costs the same however long a lineage is. `account` is [`Split::account`], or a contract's cheaper way to it.
pub fn named(listing: &Listing, account: fn(&Split) -> AccountId) -> Vec<Share> {
    match lineage_split(listing) {
        Some(split) => vec![Share { account: account(&split), part: split.whole() }],
        None => parts(listing),
    }
}

/// What a payment of `price` posts: to each that [`named`] gives its part ([`divide`]), and last the rest to the publisher. Sums to `price` exactly.
pub fn postings(listing: &Listing, price: Amount, account: fn(&Split) -> AccountId) -> Vec<Posting> {
    let named = named(listing, account);
    let (figures, rest) = divide(price, named.iter().map(|share| share.part));
    let postings = named.into_iter().zip(figures).map(|(share, total)| Posting { payee: share.account, total });
    postings.chain([Posting { payee: listing.name.publisher().clone(), total: rest }]).collect()
}

/// What each account has of a price in the end, where it is the first that is paid: ancestors, and last the publisher. Sums to `price` exactly.
pub fn split(listing: &Listing, price: Amount) -> Vec<(AccountId, Amount)> {
    let (mut paid, shared) = (postings(listing, price, Split::account), lineage_split(listing));
    let publisher = paid.pop().map(|posting| (posting.payee, posting.total));
    let ancestors: Vec<_> = match (shared, &*paid) {
        (Some(split), [posting]) => {
            let due = split.due(&listing.asset, posting.total).unwrap_or_default();
            split.shares().iter().map(|share| share.account.clone()).zip(due).collect()
        }
        _ => paid.into_iter().map(|posting| (posting.payee, posting.total)).collect(),
    };
    ancestors.into_iter().chain(publisher).collect()
}

/// Checks a purchase.
pub fn buy(listing: &Listing, asset: &Asset, amount: Amount) -> Result<(), ListingError> {
    if listing.delisted {
        return Err(ListingError::Delisted);
    }
    if (asset, amount) != (&listing.asset, listing.price) {
        return Err(ListingError::WrongPrice { price: listing.price, asset: listing.asset.clone() });
    }
    Ok(())
}

/// Whether a version's files are within their limits.
pub fn check_files(files: &[File]) -> Result<(), ListingError> {
    let twice = files.iter().enumerate().any(|(index, file)| files[..index].iter().any(|other| other.name == file.name));
    let nameless = files.iter().any(|file| file.name.as_str().is_empty());
    if files.is_empty() || files.len() > MAX_FILES || twice || nameless { Err(ListingError::Files) } else { Ok(()) }
}

/// Whether a text has the shape of an SPDX licence expression.
pub fn check_licence(licence: &str) -> Result<(), ListingError> {
    let shape = |byte: u8| byte.is_ascii_alphanumeric() || b".-+() ".contains(&byte);
    let fits = licence.bytes().all(shape) && licence.bytes().any(|byte| byte.is_ascii_alphanumeric());
    if fits { Ok(()) } else { Err(ListingError::Licence) }
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
