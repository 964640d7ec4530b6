//! SLA bonds: what a provider puts behind the promises of its offers.
//!
//! A bond is an escrow in `billing` whose payer is the provider and whose arbiter is `compute`. A lease of an offer with an [`Sla`] sets a part of it aside when it is paid. If the promise
//! is broken, that part is owed to the tenant, once; however else the lease ends, it is free again. Its provider takes what is free by asking `billing` for closing, as with every
//! escrow, which takes seven days: so no lease is covered for longer than that, less [`CLAIM_PERIOD`].

mod cover;

pub use cover::{Breach, Cover, CoverState, MAX_ANSWER_TIME, MIN_ANSWER_TIME, Sla};

use crate::escrow::{CLOSING_PERIOD, Posting};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use starling_primitives::{AccountId, Amount, AmountError, DurationMs, TimestampMs};

/// How long after the last moment that it covers a bond is there at least, for the tenant to claim it.
pub const CLAIM_PERIOD: DurationMs = DurationMs::from_hours(12);
/// The most tenants that one bond can owe something.
pub const MAX_OWED: u16 = 16;

/// Where a bond stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(rename_all = "snake_case")]
pub enum BondState {
    /// Paid, and `billing` has not said that the escrow is open.
    Unpaid,
    /// Leases may be covered by it.
    Open,
    /// Its provider asked for closing: it covers the leases that it covers, and no more.
    Closing,
}

/// A bond as `compute` keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Bond {
    /// Who paid it.
    pub provider: AccountId,
    /// What was paid in.
    pub deposit: Amount,
    /// When its escrow expires.
    pub expires_at: TimestampMs,
    /// What is set aside for leases.
    pub set_aside: Amount,
    /// For how many leases.
    pub leases: u16,
    /// What tenants are owed after breaches: cumulative, and final.
    pub owed: Vec<Posting>,
    /// Number of the last post sent to `billing`.
    pub seq: u64,
    /// Where it stands.
    pub state: BondState,
}

/// What happens to a bond.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// `billing` opened the escrow.
    Opened,
    /// The provider asked `billing` for closing, or the escrow is closed there.
    ClosingAsked,
    /// A lease is paid that it covers.
    SetAside {
        /// How much a breach pays.
        pays: Amount,
        /// Until when the lease is covered.
        until: TimestampMs,
    },
    /// A lease ended without a breach.
    Free {
        /// What was set aside for it.
        pays: Amount,
    },
    /// A promise was broken.
    Break {
        /// To whom.
        tenant: AccountId,
        /// What was set aside for the lease.
        pays: Amount,
    },
    /// Anyone has what is owed posted to `billing`.
    Post,
}

/// Why a bond, or a lease's cover, refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BondError {
    /// The event is not taken in this state.
    #[error("the bond is {0}, which does not take this")]
    WrongState(&'static str),
    /// Less is free than is wanted.
    #[error("the bond does not cover this: {free} yoctoNEAR of it are free")]
    NotCovered {
        /// What is neither owed nor set aside.
        free: Amount,
    },
    /// The lease may last longer than the bond.
    #[error("the lease is too long: the bond covers no longer than until {0}")]
    TooLong(TimestampMs),
    /// It owes too many tenants.
    #[error("one bond can owe {MAX_OWED} tenants at most: pay another")]
    Full,
    /// There was no breach.
    #[error("nothing is owed")]
    NothingOwed,
    /// The lease is not covered.
    #[error("the lease has no bond behind it")]
    NoCover,
    /// The next ping must wait.
    #[error("too early: the next ping is possible from {0}")]
    PingTooEarly(TimestampMs),
    /// The answer would come after the end.
    #[error("too late: an answer must be due before {0}")]
    PingTooLate(TimestampMs),
    /// Arithmetic left its range.
    #[error(transparent)]
    Amount(#[from] AmountError),
}

impl Bond {
    /// A bond whose payment is held.
    pub fn new(provider: AccountId, deposit: Amount, expires_at: TimestampMs) -> Self {
        Self { provider, deposit, expires_at, set_aside: Amount::ZERO, leases: 0, owed: Vec::new(), seq: 0, state: BondState::Unpaid }
    }

    /// Applies an event.
    pub fn apply(&self, event: Event, now: TimestampMs) -> Result<Self, BondError> {
        let mut next = self.clone();
        match (event, self.state) {
            (Event::Opened, BondState::Unpaid) => next.state = BondState::Open,
            (Event::ClosingAsked, BondState::Open) => next.state = BondState::Closing,
            (Event::SetAside { pays, until }, BondState::Open) => next.set_aside(pays, until, now)?,
            (Event::Free { pays }, BondState::Open | BondState::Closing) => next.let_go(pays)?,
            (Event::Break { tenant, pays }, BondState::Open | BondState::Closing) => {
                next.let_go(pays)?;
                next.owe(tenant, pays)?;
            }
            (Event::Post, BondState::Open | BondState::Closing) => {
                if self.owed.is_empty() {
                    return Err(BondError::NothingOwed);
                }
                next.seq += 1;
            }
            (_, state) => return Err(BondError::WrongState(state.name())),
        }
        Ok(next)
    }

    /// What is neither owed nor set aside.
    pub fn free(&self) -> Result<Amount, AmountError> {
        let owed = Amount::sum(self.owed.iter().map(|posting| posting.total))?;
        self.deposit.checked_sub(owed)?.checked_sub(self.set_aside)
    }

    fn set_aside(&mut self, pays: Amount, until: TimestampMs, now: TimestampMs) -> Result<(), BondError> {
        // Whatever its provider does from now on, the escrow is there until then.
        let there_until = self.expires_at.min(now.after(CLOSING_PERIOD));
        if until.after(CLAIM_PERIOD) > there_until {
            return Err(BondError::TooLong(TimestampMs(there_until.0.saturating_sub(CLAIM_PERIOD.0))));
        }
        let free = self.free()?;
        if pays > free {
            return Err(BondError::NotCovered { free });
        }
        if self.owed.len() + usize::from(self.leases) >= usize::from(MAX_OWED) {
            return Err(BondError::Full);
        }
        self.set_aside = self.set_aside.checked_add(pays)?;
        self.leases += 1;
        Ok(())
    }

    fn let_go(&mut self, pays: Amount) -> Result<(), AmountError> {
        self.set_aside = self.set_aside.checked_sub(pays)?;
        self.leases = self.leases.checked_sub(1).ok_or(AmountError::Overflow)?;
        Ok(())
    }

    fn owe(&mut self, tenant: AccountId, pays: Amount) -> Result<(), AmountError> {
        match self.owed.iter_mut().find(|posting| posting.payee == tenant) {
            Some(posting) => posting.total = posting.total.checked_add(pays)?,
            None => self.owed.push(Posting { payee: tenant, total: pays }),
        }
        Ok(())
    }
}

impl BondState {
    /// The state's name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unpaid => "unpaid",
            Self::Open => "open",
            Self::Closing => "closing",
        }
    }
}

#[cfg(test)]
#[path = "bond_tests.rs"]
mod tests;
