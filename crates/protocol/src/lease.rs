//! Lease: a paid match of tenant and offer. `Pending -> Active -> Closing{cause} -> Closed{cause}`.
//!
//! Paid by metered time: what node and meter both signed, never more than the price times the block time since acceptance.

use crate::{
    bond::{BondError, Cover},
    escrow::Posting,
    meter::{Delegate, Meter, MeterError, Metering},
    price::{is_near, near, time_earned},
    signing::LeaseStatement,
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use starling_primitives::{
    AccountId, Amount, AmountError, Asset, DurationMs, EscrowId, Hash32, LeaseId, NodeId, OfferId, PublicKey, TimestampMs,
};

/// How long a node has to accept.
pub const ACCEPT_PERIOD: DurationMs = DurationMs::from_secs(60);
/// How long after the end the last co-signed statement may be posted.
pub const POST_PERIOD: DurationMs = DurationMs::from_secs(120);
/// The longest time between two statements.
pub const STATEMENT_INTERVAL: DurationMs = DurationMs::from_secs(60);

/// What the tenant pays for: fixed in the payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseTerms {
    /// The offer that is taken.
    pub offer_id: OfferId,
    /// The most time that is paid.
    pub duration: DurationMs,
    /// Hash of the job's description, an artifact.
    pub job: Hash32,
    /// The key that co-signs statements: the tenant's own, or a delegate's.
    pub meter: PublicKey,
    /// How long the output must be served before the holdback vests.
    pub availability: DurationMs,
    /// Whose service the meter is; nothing if it is the tenant's own. Posts vest after the offer's objection window then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegate: Option<Delegate>,
}

/// Why a lease ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The work is complete.
    Completed,
    /// The tenant closed it.
    TenantClosed,
    /// The provider closed it.
    ProviderClosed,
    /// The node did not accept: it said so, or its time ran out.
    NotAccepted,
    /// Its time ran out.
    TimeOver,
    /// The tenant objected in `billing` to what the meter had signed.
    Objected,
    /// Its escrow was closed in `billing` by the tenant's request or by time.
    EscrowClosed,
}

/// Where a lease stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum LeaseState {
    /// Paid, and `billing` has not said that the escrow is open.
    Unpaid,
    /// Waits for the node.
    Pending {
        /// Until then.
        accept_by: TimestampMs,
    },
    /// The node works.
    Active {
        /// Since then.
        since: TimestampMs,
        /// Until then at most.
        deadline: TimestampMs,
    },
    /// It ended; the last co-signed statement may still be posted.
    Closing {
        /// Why.
        cause: Cause,
        /// When the work began, if it did.
        since: Option<TimestampMs>,
        /// When it ended.
        ended_at: TimestampMs,
        /// Statements are taken until then.
        post_until: TimestampMs,
    },
    /// Settled.
    Closed {
        /// Why.
        cause: Cause,
        /// When it ended.
        ended_at: TimestampMs,
    },
}

/// A lease as `compute` keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Lease {
    /// Its number.
    pub id: LeaseId,
    /// Who pays.
    pub tenant: AccountId,
    /// The node that works.
    pub node_id: NodeId,
    /// Who is paid, frozen at payment.
    pub payout: AccountId,
    /// The node's key, frozen at payment.
    pub node_key: PublicKey,
    /// The escrow that pays.
    pub escrow_id: EscrowId,
    /// What was paid in.
    pub deposit: Amount,
    /// The offer's price, frozen at payment.
    pub price_per_hour: Amount,
    /// What is paid for, with the meter as it is now.
    pub terms: LeaseTerms,
    /// The last statement's number.
    pub seq: u64,
    /// Metered time that counts.
    pub metered: DurationMs,
    /// Work units of the last statement.
    pub units: u64,
    /// Output hash of the last statement.
    pub output: Option<Hash32>,
    /// When the payment came in.
    pub created_at: TimestampMs,
    /// Where it stands.
    pub state: LeaseState,
    /// What its meters have done.
    pub metering: Metering,
    /// What it is paid in, frozen at payment.
    #[serde(default = "near", skip_serializing_if = "is_near")]
    pub asset: Asset,
    /// The offer's promise, frozen at payment; nothing where it makes none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cover: Option<Cover>,
}

/// What happens to a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// `billing` opened the escrow.
    Opened,
    /// The node accepts.
    Accept,
    /// A statement whose two signatures were checked.
    Statement(LeaseStatement),
    /// The same, where the meter's signature is that of [`Metering::former`].
    FormerStatement(LeaseStatement),
    /// The tenant replaces the meter.
    ReplaceMeter(Meter),
    /// The tenant ends it.
    CloseByTenant,
    /// The provider ends it.
    CloseByProvider,
    /// The tenant asks on chain whether the node answers.
    Ping,
    /// The node answers.
    Pong,
    /// Anyone: what the time demands.
    Tick,
    /// The last figures are posted and the escrow is closed.
    Settled,
    /// The tenant objected in `billing`: nothing is posted any more.
    Objected,
    /// The escrow is closed in `billing`, and not by the last post.
    EscrowClosed,
}

/// Why an event was refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// The event is not taken in this state.
    #[error("the lease is {0}, which does not take this")]
    WrongState(&'static str),
    /// The duration is outside the offer's.
    #[error("the offer takes leases of {min} to {max}")]
    Duration {
        /// The shortest.
        min: DurationMs,
        /// The longest.
        max: DurationMs,
    },
    /// The deposit is less than the quote.
    #[error("the deposit is less than the quote of {0} yocto")]
    DepositTooSmall(Amount),
    /// The node did not accept in time.
    #[error("the node had to accept by {0}")]
    AcceptedTooLate(TimestampMs),
    /// The statement is for another lease or falls behind the last.
    #[error("the statement does not follow the last one: {0}")]
    DoesNotFollow(&'static str),
    /// More time is claimed than has passed.
    #[error("{claimed} claimed, {passed} passed since acceptance")]
    MoreThanPassed {
        /// What the statement says.
        claimed: DurationMs,
        /// What the chain's clock says.
        passed: DurationMs,
    },
    /// It is too early for a tick to change anything.
    #[error("nothing is due before {0}")]
    NothingDue(TimestampMs),
    /// The rule of meters refused.
    #[error(transparent)]
    Meter(#[from] MeterError),
    /// The rule of bonds refused.
    #[error(transparent)]
    Bond(#[from] BondError),
    /// Arithmetic left its range.
    #[error(transparent)]
    Amount(#[from] AmountError),
}

impl Lease {
    /// Applies an event to the lease as [`Lease::at`] has it.
    pub fn apply(&self, event: Event, now: TimestampMs) -> Result<Self, LeaseError> {
        let mut next = self.at(now);
        match (event, next.state) {
            (Event::Opened, LeaseState::Unpaid) => next.state = LeaseState::Pending { accept_by: now.after(ACCEPT_PERIOD) },
            (Event::Accept, LeaseState::Pending { .. }) => {
                next.state = LeaseState::Active { since: now, deadline: now.after(self.terms.duration) }
            }
            (Event::Accept, LeaseState::Closing { cause: Cause::NotAccepted, ended_at, .. }) => {
                return Err(LeaseError::AcceptedTooLate(ended_at));
            }
            (Event::Statement(statement), LeaseState::Active { .. } | LeaseState::Closing { .. }) => {
                next.take(&statement, now, now)?;
                // Figures are cumulative: the meter before has nothing to add any more.
                next.metering.former = None;
            }
            (Event::FormerStatement(statement), LeaseState::Active { .. } | LeaseState::Closing { .. }) => {
                let former = self.metering.former(now).ok_or(LeaseError::DoesNotFollow("another meter"))?;
                next.take(&statement, now, former.replaced_at)?;
                next.metering.credit_former(next.earned()?)?;
            }
            (Event::ReplaceMeter(meter), LeaseState::Pending { .. } | LeaseState::Active { .. }) => {
                next.metering = self.metering.replace(&self.meter(), &meter, self.earned()?, now)?;
                (next.terms.meter, next.terms.delegate) = (meter.key, meter.delegate);
            }
            (Event::CloseByTenant, LeaseState::Pending { .. }) => next.end(Cause::TenantClosed, None, now),
            (Event::CloseByProvider, LeaseState::Pending { .. }) => next.end(Cause::NotAccepted, None, now),
            (Event::CloseByTenant, LeaseState::Active { since, .. }) => next.end(Cause::TenantClosed, Some(since), now),
            (Event::CloseByProvider, LeaseState::Active { since, .. }) => next.end(Cause::ProviderClosed, Some(since), now),
            (Event::Ping, LeaseState::Active { deadline, .. }) => next.cover = Some(next.promise()?.ping(deadline, now)?),
            (Event::Pong, LeaseState::Active { .. }) => next.cover = Some(next.promise()?.pong(now)?),
            // What was due is done by now.
            (Event::Tick, _) if next.state != self.state || next.cover != self.cover => {}
            (Event::Tick, LeaseState::Pending { accept_by: due } | LeaseState::Active { deadline: due, .. }) => {
                return Err(LeaseError::NothingDue(due));
            }
            (Event::Settled, LeaseState::Closing { cause, ended_at, post_until, .. }) => {
                if now <= post_until {
                    return Err(LeaseError::NothingDue(post_until));
                }
                next.state = LeaseState::Closed { cause, ended_at };
            }
            (Event::Objected, state) if !matches!(state, LeaseState::Closed { cause: Cause::Objected, .. }) => {
                let ended_at = match state {
                    LeaseState::Closing { ended_at, .. } | LeaseState::Closed { ended_at, .. } => ended_at,
                    LeaseState::Unpaid | LeaseState::Pending { .. } | LeaseState::Active { .. } => now,
                };
                next.state = LeaseState::Closed { cause: Cause::Objected, ended_at };
            }
            (Event::EscrowClosed, LeaseState::Pending { .. } | LeaseState::Active { .. }) => {
                next.state = LeaseState::Closed { cause: Cause::EscrowClosed, ended_at: now };
            }
            (_, state) => return Err(LeaseError::WrongState(state.name())),
        }
        next.pass(now);
        Ok(next)
    }

    /// The lease as it stands at `now`, whether or not anyone has called since a deadline passed.
    pub fn at(&self, now: TimestampMs) -> Self {
        let mut next = self.clone();
        next.pass(now);
        next
    }

    /// What the node has earned so far, before the fee and without a delegate's part: never more than the deposit.
    pub fn earned(&self) -> Result<Amount, LeaseError> {
        Ok(time_earned(self.price_per_hour, self.metered)?.min(self.deposit))
    }

    /// Who co-signs now.
    pub fn meter(&self) -> Meter {
        Meter { key: self.terms.meter, delegate: self.terms.delegate.clone() }
    }

    /// What is posted now, cumulative, before the fee: the node's figure and each delegate's. One entry a payee, none without a figure.
    pub fn postings(&self) -> Result<Vec<Posting>, LeaseError> {
        let earned = self.earned()?;
        let mut postings = vec![Posting { payee: self.payout.clone(), total: earned }];
        for part in self.metering.postings(&self.meter(), earned)? {
            match postings.iter_mut().find(|posting| posting.payee == part.payee) {
                Some(posting) => posting.total = posting.total.checked_add(part.total)?,
                None => postings.push(part),
            }
        }
        postings.retain(|posting| !posting.total.is_zero());
        Ok(postings)
    }

    fn promise(&self) -> Result<&Cover, BondError> {
        self.cover.as_ref().ok_or(BondError::NoCover)
    }

    fn change_cover(&mut self, change: impl Fn(&Cover) -> Cover) {
        self.cover = self.cover.as_ref().map(change);
    }

    /// What time does.
    fn pass(&mut self, now: TimestampMs) {
        match self.state {
            LeaseState::Pending { accept_by } if now > accept_by => self.end(Cause::NotAccepted, None, accept_by),
            LeaseState::Active { since, deadline } if now > deadline => self.end(Cause::TimeOver, Some(since), deadline),
            LeaseState::Active { .. } => self.change_cover(|cover| cover.at(now)),
            LeaseState::Unpaid | LeaseState::Pending { .. } | LeaseState::Closing { .. } | LeaseState::Closed { .. } => {}
        }
        let is_over = match self.state {
            LeaseState::Closing { post_until, .. } => now > post_until,
            LeaseState::Closed { .. } => true,
            LeaseState::Unpaid | LeaseState::Pending { .. } | LeaseState::Active { .. } => false,
        };
        if is_over {
            self.change_cover(Cover::keep);
        }
    }

    fn end(&mut self, cause: Cause, since: Option<TimestampMs>, ended_at: TimestampMs) {
        self.change_cover(|cover| cover.end(ended_at));
        self.state = ended(cause, since, ended_at);
    }

    /// Takes a statement for time up to `until`, and ends the lease with a final one.
    fn take(&mut self, statement: &LeaseStatement, now: TimestampMs, until: TimestampMs) -> Result<(), LeaseError> {
        match self.state {
            LeaseState::Active { since, .. } => {
                self.take_figures(statement, since, until, now)?;
                if statement.is_final {
                    self.end(Cause::Completed, Some(since), now);
                }
            }
            LeaseState::Closing { cause, since: Some(since), ended_at, post_until } if now <= post_until => {
                self.take_figures(statement, since, until.min(ended_at), now)?;
                if statement.is_final {
                    self.state = LeaseState::Closing { cause, since: Some(since), ended_at, post_until: before(now) };
                }
            }
            state => return Err(LeaseError::WrongState(state.name())),
        }
        Ok(())
    }

    fn take_figures(
        &mut self,
        statement: &LeaseStatement,
        since: TimestampMs,
        until: TimestampMs,
        now: TimestampMs,
    ) -> Result<(), LeaseError> {
        let refused = |what| Err(LeaseError::DoesNotFollow(what));
        match statement {
            statement if statement.lease_id != self.id || statement.escrow_id != self.escrow_id => return refused("another lease"),
            statement if statement.seq <= self.seq => return refused("an older statement"),
            statement if statement.metered_ms < self.metered.0 || statement.units < self.units => return refused("figures fell"),
            _ => {}
        }
        let (claimed, passed) = (DurationMs(statement.metered_ms), until.since(since));
        if claimed > passed {
            return Err(LeaseError::MoreThanPassed { claimed, passed });
        }
        (self.seq, self.metered, self.units, self.output) = (statement.seq, claimed, statement.units, Some(statement.output));
        self.change_cover(|cover| cover.worked(claimed, statement.units, now));
        Ok(())
    }
}

impl LeaseState {
    /// The state's name in lower case.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Unpaid => "unpaid",
            Self::Pending { .. } => "pending",
            Self::Active { .. } => "active",
            Self::Closing { .. } => "closing",
            Self::Closed { .. } => "closed",
        }
    }
}

/// What ended before work began, or with a final statement, is settled at once; else the last statement has its time.
fn ended(cause: Cause, since: Option<TimestampMs>, ended_at: TimestampMs) -> LeaseState {
    let wait = since.is_some() && cause != Cause::Completed;
    let post_until = if wait { ended_at.after(POST_PERIOD) } else { before(ended_at) };
    LeaseState::Closing { cause, since, ended_at, post_until }
}

fn before(moment: TimestampMs) -> TimestampMs {
    TimestampMs(moment.0.saturating_sub(1))
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
