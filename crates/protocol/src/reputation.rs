//! First reputation: what a node has done of late, counted in the open.
//!
//! Every figure loses half of itself in 30 days: each day that begins, counted in UTC, it is multiplied by `DAILY / 2^32` and rounded down. Deeds are counted in
//! millionths, so that a single one fades and does not vanish. Anyone recomputes all of it from the events.
//!
//! The score is Laplace's rule over deeds: `(kept + 1) / (kept + broken + 2)`, rounded down to basis points. Kept are rounds and leases; broken are missed rounds and leases
//! that the node did not accept, and, at [`BREACH`] each, leases that its provider ended, objections and refused holdbacks. A node without a past has 5,000.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use starling_primitives::{BasisPoints, TimestampMs};

/// What a deed counts when it is fresh.
pub const DEED: u64 = 1_000_000;
/// How many missed rounds a breach weighs.
pub const BREACH: u64 = 5;

/// `2^32 * 2^(-1/30)`, rounded down.
const DAILY: u64 = 4_196_870_107;
const DAY_MS: u64 = 86_400_000;
/// After so many days nothing is left of any figure: 64 bits have 64 halves.
const FORGOTTEN_DAYS: u64 = 64 * 30;

/// A node's figures, as of `day`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Reputation {
    /// The day up to which the figures have faded, counted from 1970.
    pub day: u64,
    /// Tokens that were accepted.
    pub accepted_tokens: u64,
    /// Time that was metered, in milliseconds.
    pub metered_ms: u64,
    /// Rounds in which the node contributed or signed, in millionths.
    pub rounds: u64,
    /// Rounds in which it did neither, in millionths.
    pub missed_rounds: u64,
    /// Leases that came to their end, or to the tenant's, in millionths.
    pub leases_kept: u64,
    /// Leases that the node did not accept, in millionths.
    pub leases_missed: u64,
    /// Leases that the provider ended, in millionths.
    pub leases_left: u64,
    /// Leases and runs in which the tenant objected to what the meter had signed, in millionths.
    pub objections: u64,
    /// Leases and runs whose holdback the tenant refused, in millionths.
    pub refusals: u64,
}

/// What a node did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// A round counted, of which so many tokens were the node's.
    Round {
        /// Its accepted tokens.
        tokens: u64,
    },
    /// A round counted without it.
    MissedRound,
    /// A lease was settled with so much metered time.
    LeaseKept {
        /// Metered time in milliseconds.
        metered_ms: u64,
    },
    /// A lease was not accepted.
    LeaseMissed,
    /// The provider ended a lease after so much metered time.
    LeaseLeft {
        /// Metered time in milliseconds.
        metered_ms: u64,
    },
    /// The tenant objected.
    Objection,
    /// The tenant refused the holdback.
    Refusal,
}

impl Reputation {
    /// The figures as they have faded until `now`.
    pub fn at(&self, now: TimestampMs) -> Self {
        let mut faded = self.clone();
        let today = now.0 / DAY_MS;
        let days = today.saturating_sub(self.day);
        for figure in faded.figures() {
            if days >= FORGOTTEN_DAYS {
                *figure = 0;
            }
            for _ in 0..days.min(FORGOTTEN_DAYS) {
                if *figure == 0 {
                    break;
                }
                *figure = fade(*figure);
            }
        }
        faded.day = self.day.max(today);
        faded
    }

    /// Counts a deed.
    pub fn after(&self, deed: Deed, now: TimestampMs) -> Self {
        let mut next = self.at(now);
        let (count, tokens, metered_ms) = match deed {
            Deed::Round { tokens } => (&mut next.rounds, tokens, 0),
            Deed::MissedRound => (&mut next.missed_rounds, 0, 0),
            Deed::LeaseKept { metered_ms } => (&mut next.leases_kept, 0, metered_ms),
            Deed::LeaseMissed => (&mut next.leases_missed, 0, 0),
            Deed::LeaseLeft { metered_ms } => (&mut next.leases_left, 0, metered_ms),
            Deed::Objection => (&mut next.objections, 0, 0),
            Deed::Refusal => (&mut next.refusals, 0, 0),
        };
        *count = count.saturating_add(DEED);
        next.accepted_tokens = next.accepted_tokens.saturating_add(tokens);
        next.metered_ms = next.metered_ms.saturating_add(metered_ms);
        next
    }

    /// The score, of the figures as they stand.
    pub fn score(&self) -> BasisPoints {
        let sum = |figures: &[u64]| figures.iter().map(|figure| u128::from(*figure)).sum::<u128>();
        let kept = sum(&[self.rounds, self.leases_kept]);
        let broken =
            sum(&[self.missed_rounds, self.leases_missed]) + u128::from(BREACH) * sum(&[self.leases_left, self.objections, self.refusals]);
        let one = u128::from(DEED);
        let share = 10_000 * (kept + one) / (kept + broken + 2 * one);
        u16::try_from(share).ok().and_then(|share| BasisPoints::new(share).ok()).unwrap_or(BasisPoints::ONE)
    }

    fn figures(&mut self) -> [&mut u64; 9] {
        [
            &mut self.accepted_tokens,
            &mut self.metered_ms,
            &mut self.rounds,
            &mut self.missed_rounds,
            &mut self.leases_kept,
            &mut self.leases_missed,
            &mut self.leases_left,
            &mut self.objections,
            &mut self.refusals,
        ]
    }
}

/// A figure a day later.
fn fade(figure: u64) -> u64 {
    u64::try_from((u128::from(figure) * u128::from(DAILY)) >> 32).unwrap_or(figure)
}

#[cfg(test)]
#[path = "reputation_tests.rs"]
mod tests;
