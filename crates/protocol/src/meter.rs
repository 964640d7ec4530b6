//! Meters: who co-signs statements, and what a delegate gets for it.
//!
//! A payment fixes the meter: the tenant's own key, whose posts are final, or a delegate's, whose posts vest after the objection window. The tenant may replace it:
//!
//! - by a key of its own always. The window stays as the payment fixed it: the offer's terms were taken with it;
//! - by a delegate only if the payment named one, at no larger share: the deposit covers the share, and the escrow has the window;
//! - not again within [`POST_PERIOD`], and at most [`MAX_DELEGATES`] delegates are ever paid of one escrow;
//! - what the meter before has signed counts for [`POST_PERIOD`] more, up to the moment of replacement: nobody loses co-signed work by it.

use crate::{escrow::Posting, lease::POST_PERIOD};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use starling_primitives::{AccountId, Amount, AmountError, BasisPoints, DurationMs, PublicKey, TimestampMs};

/// The most delegates that are paid of one escrow.
pub const MAX_DELEGATES: u16 = 4;
/// The largest share of a delegate.
pub const MAX_SHARE: BasisPoints = match BasisPoints::new(2_500) {
    Ok(share) => share,
    Err(_) => BasisPoints::ZERO,
};

/// A service that co-signs for the tenant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(deny_unknown_fields)]
pub struct Delegate {
    /// Who is paid for it.
    pub account: AccountId,
    /// Its part of what the node earns, on top of that and paid by the tenant; [`MAX_SHARE`] at most.
    pub share: BasisPoints,
}

/// Who co-signs now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(deny_unknown_fields)]
pub struct Meter {
    /// The key that co-signs.
    pub key: PublicKey,
    /// Whose service it is; nothing if the key is the tenant's own.
    pub delegate: Option<Delegate>,
}

/// What the meters of one escrow have done so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Metering {
    /// How long the tenant may object to each post, fixed at payment; 0 if it named the tenant's own key.
    pub objection_window: DurationMs,
    /// The largest share of a delegate: that of the payment.
    pub share: BasisPoints,
    /// What the node had earned when the present meter began.
    pub earned_before: Amount,
    /// What delegates before the present meter have earned.
    pub delegates: Vec<Posting>,
    /// The meter before the present one.
    pub former: Option<Former>,
}

/// A meter that was replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Former {
    /// Who co-signed.
    pub meter: Meter,
    /// Until when.
    pub replaced_at: TimestampMs,
}

/// Why a meter was refused. Nothing has changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MeterError {
    /// The offer has no objection window, or the payment named no delegate.
    #[error("no delegate here: {0}")]
    NoDelegate(&'static str),
    /// The share is larger than it may be.
    #[error("a delegate's share may be {0} at most here")]
    Share(BasisPoints),
    /// Too many delegates.
    #[error("at most {MAX_DELEGATES} delegates are paid of one escrow")]
    TooMany,
    /// The meter was replaced a moment ago.
    #[error("the meter was replaced a moment ago: possible from {0}")]
    TooEarly(TimestampMs),
    /// Arithmetic left its range.
    #[error(transparent)]
    Amount(#[from] AmountError),
}

impl Delegate {
    /// What it gets of what the node earned under it, rounded down.
    pub fn part(&self, earned: Amount) -> Amount {
        earned.fraction_floor(self.share)
    }
}

impl Metering {
    /// At payment: `objection_window` is the offer's.
    pub fn new(delegate: Option<&Delegate>, objection_window: DurationMs) -> Result<Self, MeterError> {
        match delegate {
            None => Ok(Self::default()),
            Some(_) if objection_window == DurationMs(0) => Err(MeterError::NoDelegate("the offer has no objection window")),
            Some(delegate) if delegate.share > MAX_SHARE => Err(MeterError::Share(MAX_SHARE)),
            Some(delegate) => Ok(Self { objection_window, share: delegate.share, ..Self::default() }),
        }
    }

    /// The most payees that the meters add to an escrow.
    pub fn max_payees(&self) -> u16 {
        if self.objection_window == DurationMs(0) { 0 } else { MAX_DELEGATES }
    }

    /// Replaces `present`, under which the node has earned up to `earned`, by `next`.
    pub fn replace(&self, present: &Meter, next: &Meter, earned: Amount, now: TimestampMs) -> Result<Self, MeterError> {
        if let Some(former) = &self.former
            && now <= former.replaced_at.after(POST_PERIOD)
        {
            return Err(MeterError::TooEarly(former.replaced_at.after(POST_PERIOD).after(DurationMs(1))));
        }
        if let Some(delegate) = &next.delegate {
            if self.objection_window == DurationMs(0) {
                return Err(MeterError::NoDelegate("the payment named the tenant's own key, so posts are final at once"));
            }
            if delegate.share > self.share {
                return Err(MeterError::Share(self.share));
            }
        }
        let mut metering = self.clone();
        metering.credit(present, earned)?;
        metering.former = Some(Former { meter: present.clone(), replaced_at: now });
        let paid = metering.delegates.iter().map(|posting| &posting.payee);
        let new = next.delegate.as_ref().is_some_and(|delegate| paid.clone().all(|payee| *payee != delegate.account));
        if paid.count() + usize::from(new) > usize::from(MAX_DELEGATES) {
            return Err(MeterError::TooMany);
        }
        Ok(metering)
    }

    /// The meter before the present one, while what it has signed still counts.
    pub fn former(&self, now: TimestampMs) -> Option<&Former> {
        self.former.as_ref().filter(|former| now <= former.replaced_at.after(POST_PERIOD))
    }

    /// Brings what the former meter's delegate gets up to a statement of its own.
    pub(crate) fn credit_former(&mut self, earned: Amount) -> Result<(), MeterError> {
        let former = self.former.clone();
        former.map_or(Ok(()), |former| self.credit(&former.meter, earned))
    }

    /// What each delegate gets in all, when the node has earned `earned` and `present` is the meter.
    pub fn postings(&self, present: &Meter, earned: Amount) -> Result<Vec<Posting>, MeterError> {
        let mut metering = self.clone();
        metering.credit(present, earned)?;
        Ok(metering.delegates)
    }

    /// Adds a meter's part of what was earned since the one before.
    fn credit(&mut self, meter: &Meter, earned: Amount) -> Result<(), MeterError> {
        let since = earned.checked_sub(self.earned_before)?;
        self.earned_before = earned;
        if let Some(delegate) = &meter.delegate {
            let place = self.delegates.iter().position(|posting| posting.payee == delegate.account).unwrap_or_else(|| {
                self.delegates.push(Posting { payee: delegate.account.clone(), total: Amount::ZERO });
                self.delegates.len() - 1
            });
            let total = &mut self.delegates[place].total;
            *total = total.checked_add(delegate.part(since))?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "meter_tests.rs"]
mod tests;
