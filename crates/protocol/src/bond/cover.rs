//! Cover: what stands behind one lease's promise, from its payment to its end.
//!
//! Only two things break a promise: a statement that the node itself signed, with less work in its time than was promised, and a ping on chain that was not answered in time.
//! To be alive earns nothing, and a signature that the meter withheld is no breach. A ping that is open when the lease ends counts for nothing: who ends a lease has answered.

use super::{BondError, Event};
use crate::lease::STATEMENT_INTERVAL;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use starling_primitives::{AccountId, Amount, DurationMs, EscrowId, TimestampMs};

/// The shortest time for an answer.
pub const MIN_ANSWER_TIME: DurationMs = DurationMs::from_secs(60);
/// The longest time for an answer.
pub const MAX_ANSWER_TIME: DurationMs = DurationMs::from_hours(24);

const MS_PER_HOUR: u128 = 3_600_000;

/// What an offer promises, and what a breach pays. Frozen into each lease at payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(deny_unknown_fields)]
pub struct Sla {
    /// The provider's bond, by its escrow in `billing`.
    pub bond: EscrowId,
    /// What a breach pays the tenant, in NEAR, before the fee: once for a lease.
    pub pays: Amount,
    /// Work units for each hour of metered time, from the second interval on; 0 promises none.
    pub units_per_hour: u64,
    /// How long the node may take to answer a ping; [`MIN_ANSWER_TIME`] to [`MAX_ANSWER_TIME`].
    pub answer_time: DurationMs,
}

/// How a promise was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(rename_all = "snake_case")]
pub enum Breach {
    /// A ping was not answered in time.
    Unanswered,
    /// The node signed less work than was promised.
    TooSlow,
}

/// Where a promise stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum CoverState {
    /// It holds.
    Standing {
        /// The tenant may ping from then on.
        ping_from: TimestampMs,
    },
    /// The tenant has pinged.
    Pinged {
        /// The node must answer until then.
        answer_by: TimestampMs,
    },
    /// It was broken: the bond owes the tenant.
    Broken {
        /// How.
        breach: Breach,
        /// When.
        at: TimestampMs,
    },
    /// The lease is over, and it held: what was set aside is free.
    Kept,
}

/// A lease's promise, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Cover {
    /// What is promised.
    pub sla: Sla,
    /// Nothing later breaks it.
    pub until: TimestampMs,
    /// Where it stands.
    pub state: CoverState,
}

impl Sla {
    /// Whether the terms are within their limits.
    pub fn check(&self) -> bool {
        !self.pays.is_zero() && MIN_ANSWER_TIME <= self.answer_time && self.answer_time <= MAX_ANSWER_TIME
    }

    /// Whether so much work in so much time is less than was promised. The first interval, in which work is set up, is not judged.
    fn is_broken_by(&self, metered: DurationMs, units: u64) -> bool {
        let promised = u128::from(self.units_per_hour) * u128::from(metered.0);
        metered > STATEMENT_INTERVAL && u128::from(units) * MS_PER_HOUR < promised
    }
}

impl Cover {
    /// The promise of a lease that is over by `until`.
    pub fn new(sla: Sla, until: TimestampMs) -> Self {
        Self { sla, until, state: CoverState::Standing { ping_from: TimestampMs(0) } }
    }

    /// The promise as it stands at `now`, whether or not anyone has called since an answer was due.
    pub fn at(&self, now: TimestampMs) -> Self {
        match self.state {
            CoverState::Pinged { answer_by } if now > answer_by => {
                self.with(CoverState::Broken { breach: Breach::Unanswered, at: answer_by })
            }
            _ => self.clone(),
        }
    }

    /// The tenant of a lease that ends by `deadline` pings: the answer is due before.
    pub fn ping(&self, deadline: TimestampMs, now: TimestampMs) -> Result<Self, BondError> {
        let CoverState::Standing { ping_from } = self.at(now).state else { return Err(self.at(now).refuses()) };
        let (answer_by, last) = (now.after(self.sla.answer_time), deadline.min(self.until));
        if now < ping_from {
            return Err(BondError::PingTooEarly(ping_from));
        }
        if answer_by >= last {
            return Err(BondError::PingTooLate(last));
        }
        Ok(self.with(CoverState::Pinged { answer_by }))
    }

    /// The node answers. The next ping must wait until this answer was due, so there are no more of them than times to answer.
    pub fn pong(&self, now: TimestampMs) -> Result<Self, BondError> {
        match self.at(now).state {
            CoverState::Pinged { answer_by } => Ok(self.with(CoverState::Standing { ping_from: answer_by })),
            _ => Err(self.at(now).refuses()),
        }
    }

    /// The node has signed so much work for so much time, both since the lease began.
    pub fn worked(&self, metered: DurationMs, units: u64, now: TimestampMs) -> Self {
        let next = self.at(now);
        if next.holds() && now <= self.until && self.sla.is_broken_by(metered, units) {
            return next.with(CoverState::Broken { breach: Breach::TooSlow, at: now });
        }
        next
    }

    /// The lease ends; a last statement may come.
    pub fn end(&self, now: TimestampMs) -> Self {
        let next = self.at(now);
        match next.state {
            CoverState::Pinged { answer_by } => next.with(CoverState::Standing { ping_from: answer_by }),
            _ => next,
        }
    }

    /// Nothing more can come.
    pub fn keep(&self) -> Self {
        if self.holds() { self.with(CoverState::Kept) } else { self.clone() }
    }

    /// Whether a part of the bond is set aside for it.
    pub fn holds(&self) -> bool {
        matches!(self.state, CoverState::Standing { .. } | CoverState::Pinged { .. })
    }

    /// What follows for the bond from a promise that stood as `before`: once in its life something does.
    pub fn follows(&self, before: &Self, tenant: &AccountId) -> Option<Event> {
        let pays = self.sla.pays;
        match self.state {
            CoverState::Broken { .. } if before.holds() => Some(Event::Break { tenant: tenant.clone(), pays }),
            CoverState::Kept if before.holds() => Some(Event::Free { pays }),
            _ => None,
        }
    }

    fn with(&self, state: CoverState) -> Self {
        Self { state, ..self.clone() }
    }

    fn refuses(&self) -> BondError {
        BondError::WrongState(self.state.name())
    }
}

impl CoverState {
    /// The state's name in lower case.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Standing { .. } => "standing",
            Self::Pinged { .. } => "pinged",
            Self::Broken { .. } => "broken",
            Self::Kept => "kept",
        }
    }
}

#[cfg(test)]
#[path = "../cover_tests.rs"]
mod tests;
