//! Random walks through the contracts: numbers that a seed gives, and a tally of the calls.

use starling_contract_api::events::BillingEvent;
use starling_primitives::Asset;
use std::collections::BTreeMap;

/// Fewer calls than this, of a hundred, must not be taken: a walk of refusals shows little.
const LEAST_PERCENT: u32 = 30;

/// Numbers that a seed gives (SplitMix64).
pub struct Draw(pub u64);

impl Draw {
    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

/// How many calls a walk makes: `usual`, or what `STARLING_WALK_STEPS` says, as `cargo xtask prove walks` does.
pub fn steps(usual: u32) -> u32 {
    std::env::var("STARLING_WALK_STEPS").ok().map_or(usual, |text| text.parse().expect("STARLING_WALK_STEPS is a number"))
}

/// What an event of `billing` says to have left in tokens.
pub fn left_in_tokens(event: &BillingEvent) -> u128 {
    match event {
        BillingEvent::Withdrawn { asset, amount, .. } | BillingEvent::FeesWithdrawn { asset, amount, .. } if *asset != Asset::Near => {
            amount.0
        }
        _ => 0,
    }
}

/// What became of a walk's calls.
#[derive(Debug, Default)]
pub struct Tally {
    made: u32,
    taken: BTreeMap<String, u32>,
}

impl Tally {
    /// Notes a call.
    pub fn note(&mut self, method: &str, taken: bool) {
        self.made += 1;
        if taken {
            *self.taken.entry(method.to_owned()).or_default() += 1;
        }
    }

    /// Prints what was done. An error if one of `methods` was never taken, or too few calls were.
    pub fn finish(&self, walk: &str, methods: &[&str]) -> anyhow::Result<()> {
        let taken: u32 = self.taken.values().sum();
        let percent = 100 * taken / self.made.max(1);
        println!("walk {walk}: {} calls, {percent} % taken: {:?}", self.made, self.taken);
        for method in methods {
            anyhow::ensure!(self.taken.contains_key(*method), "no {method} was taken: {:?}", self.taken);
        }
        anyhow::ensure!(percent >= LEAST_PERCENT, "{percent} % of the calls were taken");
        Ok(())
    }
}
