//! Offers of machines: which fit, in which order.

use crate::{Address, Choice, Page, choice, number};
use starling_http_api::node::OfferView;
use starling_primitives::{Amount, Asset};
use starling_protocol::node::DeviceKind;
use std::cmp::Reverse;

/// Offers on a page.
pub const PAGE: usize = 20;
/// The most offers that are compared beside each other.
pub const MAX_COMPARED: usize = 4;

/// What kind of device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Device {
    /// Any.
    #[default]
    All,
    /// An NVIDIA card.
    Nvidia,
    /// An AMD card.
    Amd,
    /// The processor.
    Cpu,
}

impl Choice for Device {
    const ALL: &'static [(Self, &'static str, &'static str)] =
        &[(Self::All, "", "All"), (Self::Nvidia, "nvidia", "NVIDIA"), (Self::Amd, "amd", "AMD"), (Self::Cpu, "cpu", "CPU")];
}

impl Device {
    fn fits(self, kind: DeviceKind) -> bool {
        match self {
            Self::All => true,
            Self::Nvidia => kind == DeviceKind::Nvidia,
            Self::Amd => kind == DeviceKind::Amd,
            Self::Cpu => kind == DeviceKind::Cpu,
        }
    }
}

/// A part of all offers, by what they are beside the others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Class {
    /// All of them.
    #[default]
    All,
    /// The third with the highest declared matrix rate, and all that reach it.
    HighPerformance,
    /// The third with the lowest price an hour in each asset, and all that ask as little.
    Budget,
}

impl Choice for Class {
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (Self::All, "", "All"),
        (Self::HighPerformance, "fast", "High performance: the fastest third"),
        (Self::Budget, "budget", "Budget: the cheapest third"),
    ];
}

/// What comes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The lowest price an hour.
    #[default]
    Hour,
    /// The lowest price of a million tokens.
    Tokens,
    /// The highest rate that was measured in a round; what was never measured last.
    Measured,
    /// The highest declared matrix rate.
    Declared,
    /// The most rounds that counted.
    Rounds,
    /// The most memory.
    Memory,
}

impl Choice for Order {
    const ALL: &'static [(Self, &'static str, &'static str)] = &[
        (Self::Hour, "", "Price an hour"),
        (Self::Tokens, "tokens", "Price of a million tokens"),
        (Self::Measured, "measured", "Tokens/s, measured"),
        (Self::Declared, "speed", "Matrix rate, declared"),
        (Self::Rounds, "rounds", "Rounds that counted"),
        (Self::Memory, "memory", "Memory"),
    ];
}

/// What is looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// What kind of device.
    pub device: Device,
    /// Which part of all.
    pub class: Class,
    /// Only what is idle now.
    pub idle: bool,
    /// At least so many GiB of memory.
    pub memory_gib: u64,
    /// What comes first.
    pub order: Order,
    /// Which page, from 1 on.
    pub page: usize,
}

impl Wanted {
    /// What an address asks for; what it does not say, or says in words that are not known, is as if it were not there.
    pub fn read(address: Address<'_>) -> Self {
        Self {
            device: choice(address, "device"),
            class: choice(address, "class"),
            idle: address("idle").as_deref() == Some("1"),
            memory_gib: number(address, "memory").unwrap_or(0),
            order: choice(address, "sort"),
            page: number(address, "page").and_then(|page| usize::try_from(page).ok()).unwrap_or(1).max(1),
        }
    }

    /// The names and values that say it in an address; those that say nothing are left out.
    pub fn say(&self) -> Vec<(&'static str, String)> {
        let memory = if self.memory_gib == 0 { String::new() } else { self.memory_gib.to_string() };
        let page = if self.page <= 1 { String::new() } else { self.page.to_string() };
        let idle = if self.idle { "1" } else { "" };
        [
            ("device", self.device.name().to_owned()),
            ("class", self.class.name().to_owned()),
            ("idle", idle.to_owned()),
            ("memory", memory),
            ("sort", self.order.name().to_owned()),
            ("page", page),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect()
    }

    /// The page of offers that is wanted, as places in `offers`. Equal ones stand in the order of their numbers.
    pub fn choose(&self, offers: &[OfferView]) -> Page<usize> {
        let bar = Bar::of(self.class, offers);
        let fits = |offer: &OfferView| {
            let capability = &offer.node.node.capability;
            self.device.fits(capability.kind)
                && bar.fits(offer)
                && (!self.idle || offer.node.busy == "idle")
                && capability.memory_bytes >= self.memory_gib.saturating_mul(1 << 30)
        };
        let mut found: Vec<usize> = (0..offers.len()).filter(|place| fits(&offers[*place])).collect();
        found.sort_by(|left, right| {
            let (left, right) = (&offers[*left], &offers[*right]);
            self.compare(left, right).then(left.offer.id.cmp(&right.offer.id))
        });
        Page::cut(found, self.page, PAGE)
    }

    fn compare(&self, left: &OfferView, right: &OfferView) -> std::cmp::Ordering {
        // Prices in different assets cannot be compared: NEAR comes first.
        let price = |price: fn(&OfferView) -> Amount| {
            let key = |offer: &OfferView| (offer.offer.terms.asset.clone(), price(offer));
            key(left).cmp(&key(right))
        };
        let most = |figure: fn(&OfferView) -> u64| Reverse(figure(left)).cmp(&Reverse(figure(right)));
        match self.order {
            Order::Hour => price(|offer| offer.offer.terms.price_per_hour),
            Order::Tokens => price(|offer| offer.offer.terms.price_per_million_tokens),
            Order::Measured => {
                let rate = |offer: &OfferView| offer.node.measured_tokens_per_second.unwrap_or(-1.0);
                rate(right).total_cmp(&rate(left))
            }
            Order::Declared => most(|offer| u64::from(offer.node.node.capability.matrix_gflops)),
            Order::Rounds => most(|offer| offer.node.rounds),
            Order::Memory => most(|offer| offer.node.node.capability.memory_bytes),
        }
    }
}

/// Where a third of all offers begins.
enum Bar {
    None,
    AtLeast(u32),
    AtMost(Vec<(Asset, Amount)>),
}

impl Bar {
    fn of(class: Class, offers: &[OfferView]) -> Self {
        match class {
            Class::All => Self::None,
            Class::HighPerformance => {
                let mut rates: Vec<u32> = offers.iter().map(|offer| offer.node.node.capability.matrix_gflops).collect();
                rates.sort_unstable_by_key(|rate| Reverse(*rate));
                Self::AtLeast(third(&rates).copied().unwrap_or(0))
            }
            Class::Budget => {
                let mut assets: Vec<Asset> = offers.iter().map(|offer| offer.offer.terms.asset.clone()).collect();
                assets.sort_unstable();
                assets.dedup();
                let bar = |asset: Asset| {
                    let same = offers.iter().filter(|offer| offer.offer.terms.asset == asset);
                    let mut prices: Vec<Amount> = same.map(|offer| offer.offer.terms.price_per_hour).collect();
                    prices.sort_unstable();
                    third(&prices).copied().map(|price| (asset, price))
                };
                Self::AtMost(assets.into_iter().filter_map(bar).collect())
            }
        }
    }

    fn fits(&self, offer: &OfferView) -> bool {
        match self {
            Self::None => true,
            Self::AtLeast(rate) => offer.node.node.capability.matrix_gflops >= *rate,
            Self::AtMost(bars) => {
                let terms = &offer.offer.terms;
                bars.iter().any(|(asset, price)| *asset == terms.asset && terms.price_per_hour <= *price)
            }
        }
    }
}

/// The last of the first third of a sorted list.
fn third<T>(sorted: &[T]) -> Option<&T> {
    sorted.get(sorted.len().div_ceil(3).saturating_sub(1))
}

#[cfg(test)]
#[path = "offers_tests.rs"]
pub(crate) mod tests;
