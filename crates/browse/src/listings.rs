//! Published models and tools: which fit, in which order.

use crate::{Address, Choice, Page, choice, number};
use starling_protocol::listing::{Category, Kind, Listing};
use std::cmp::Reverse;

/// Listings on a page.
pub const PAGE: usize = 24;
/// The longest text that is searched for.
const MAX_TEXT: usize = 100;

/// What a licence costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Price {
    /// Anything.
    #[default]
    Any,
    /// Nothing.
    Free,
    /// Something.
    Paid,
}

impl Choice for Price {
    const ALL: &'static [(Self, &'static str, &'static str)] =
        &[(Self::Any, "", "Any"), (Self::Free, "free", "Free"), (Self::Paid, "paid", "With a price")];
}

/// How large the files of the newest version are together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Size {
    /// Any.
    #[default]
    Any,
    /// Up to 10 MB.
    Small,
    /// Up to 1 GB.
    Medium,
    /// Above 1 GB.
    Large,
}

impl Choice for Size {
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Any, "", "Any"),
        (Self::Small, "10mb", "Up to 10 MB"),
        (Self::Medium, "1gb", "Up to 1 GB"),
        (Self::Large, "more", "Above 1 GB"),
    ];
}

/// What of the marketplace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Goods {
    /// Both.
    #[default]
    Any,
    /// Research tools.
    Tools,
    /// Data sets.
    DataSets,
}

impl Goods {
    fn fits(self, kind: Kind) -> bool {
        match self {
            Self::Any => true,
            Self::Tools => kind == Kind::Tool,
            Self::DataSets => kind == Kind::Dataset,
        }
    }
}

impl Choice for Goods {
    const ALL: &'static [(Self, &'static str, &'static str)] =
        &[(Self::Any, "", "All"), (Self::Tools, "tools", "Research tools"), (Self::DataSets, "data", "Data sets")];
}

/// What comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The newest.
    #[default]
    Newest,
    /// The most licences.
    Sold,
    /// The best mean of what holders said; what nobody rated last.
    Rated,
    /// The lowest price.
    Price,
    /// The smallest.
    Size,
}

impl Choice for Order {
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Newest, "", "Newest"),
        (Self::Sold, "sold", "Most licences"),
        (Self::Rated, "rated", "Best rated"),
        (Self::Price, "price", "Lowest price"),
        (Self::Size, "size", "Smallest"),
    ];
}

/// What is looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Words that stand in name, title or summary, all of them.
    pub text: String,
    /// The category by its name in the address; nothing for all.
    pub category: String,
    /// The licence, exactly; nothing for all.
    pub licence: String,
    /// Tools, data sets or both; a shelf of models has neither.
    pub goods: Goods,
    /// What a licence costs.
    pub price: Price,
    /// How large it is.
    pub size: Size,
    /// Only what a run of this network made: its nodes can train it on and generate from it.
    pub made_here: bool,
    /// What comes first.
    pub order: Order,
    /// Which page, from 1 on.
    pub page: usize,
}

impl Wanted {
    /// What an address asks for.
    pub fn read(address: Address<'_>) -> Self {
        let text = |name: &str| address(name).unwrap_or_default().chars().take(MAX_TEXT).collect::<String>();
        Self {
            text: text("q"),
            category: text("category"),
            licence: text("licence"),
            goods: choice(address, "kind"),
            price: choice(address, "price"),
            size: choice(address, "size"),
            made_here: address("here").as_deref() == Some("1"),
            order: choice(address, "sort"),
            page: number(address, "page").and_then(|page| usize::try_from(page).ok()).unwrap_or(1).max(1),
        }
    }

    /// The names and values that say it in an address; those that say nothing are left out.
    pub fn say(&self) -> Vec<(&'static str, String)> {
        let page = if self.page <= 1 { String::new() } else { self.page.to_string() };
        [
            ("q", self.text.clone()),
            ("category", self.category.clone()),
            ("licence", self.licence.clone()),
            ("kind", self.goods.name().to_owned()),
            ("price", self.price.name().to_owned()),
            ("size", self.size.name().to_owned()),
            ("here", if self.made_here { "1".to_owned() } else { String::new() }),
            ("sort", self.order.name().to_owned()),
            ("page", page),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect()
    }

    /// The page of listings that is wanted, as places in `all`; `category` names one. Equal ones stand in the order of `all`.
    pub fn choose(&self, all: &[Listing], category: impl Fn(&str) -> Option<Category>) -> Page<usize> {
        let (words, category) = (self.text.to_lowercase(), category(&self.category));
        let words: Vec<&str> = words.split_whitespace().collect();
        let fits = |listing: &Listing| {
            let spoken = || format!("{} {} {}", listing.name, listing.title, listing.summary).to_lowercase();
            category.is_none_or(|category| listing.category == category)
                && (self.licence.is_empty() || listing.licence.as_str() == self.licence)
                && match self.price {
                    Price::Any => true,
                    Price::Free => listing.price.is_zero(),
                    Price::Paid => !listing.price.is_zero(),
                }
                && self.goods.fits(listing.kind)
                && self.size.fits(bytes(listing))
                && (!self.made_here || is_made_here(listing))
                && (words.is_empty() || {
                    let spoken = spoken();
                    words.iter().all(|word| spoken.contains(word))
                })
        };
        let mut found: Vec<usize> = (0..all.len()).filter(|place| fits(&all[*place])).collect();
        let rated = |listing: &Listing| listing.ratings.mean_tenths().unwrap_or(0);
        match self.order {
            Order::Newest => found.sort_by_key(|place| Reverse(all[*place].published_at)),
            Order::Sold => found.sort_by_key(|place| Reverse(all[*place].sold)),
            Order::Rated => found.sort_by_key(|place| Reverse(rated(&all[*place]))),
            Order::Price => found.sort_by_key(|place| (all[*place].asset.clone(), all[*place].price)),
            Order::Size => found.sort_by_key(|place| bytes(&all[*place])),
        }
        Page::cut(found, self.page, PAGE)
    }
}

impl Size {
    fn fits(self, bytes: u64) -> bool {
        match self {
            Self::Any => true,
            Self::Small => bytes <= 10_000_000,
            Self::Medium => bytes <= 1_000_000_000,
            Self::Large => bytes > 1_000_000_000,
        }
    }
}

/// Bytes of the newest version's files together.
pub fn bytes(listing: &Listing) -> u64 {
    listing.versions.last().map_or(0, |version| version.files.iter().map(|file| file.bytes).fold(0, u64::saturating_add))
}

/// Whether its publisher says that a run of this network made the newest version.
pub fn is_made_here(listing: &Listing) -> bool {
    listing.versions.last().is_some_and(|version| version.run_id.is_some())
}

/// The licences that occur, each once, in alphabetical order.
pub fn licences(all: &[Listing]) -> Vec<String> {
    let mut found: Vec<String> = all.iter().map(|listing| listing.licence.to_string()).collect();
    found.sort_unstable();
    found.dedup();
    found
}

#[cfg(test)]
#[path = "listings_tests.rs"]
mod tests;
