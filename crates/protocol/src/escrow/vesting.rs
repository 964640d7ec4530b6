//! Vesting: in an escrow with an objection window a post is earned once the payer had that long to object to it.

use super::Opened;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use starling_primitives::{Amount, AmountError, DurationMs, TimestampMs};

/// The longest objection window.
pub const MAX_OBJECTION_WINDOW: DurationMs = DurationMs::from_days(7);
/// The most payees of an escrow with an objection window.
pub const MAX_VESTING_PAYEES: u16 = 32;
/// The most batches that wait at one time: the window's steps, and one that is not full.
pub const MAX_BATCHES: usize = 8;

/// Posts vest together in steps of this part of the window, so that no more than [`MAX_BATCHES`] wait however many are posted.
const STEPS: u64 = 7;

/// Posts that vest together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Batch {
    /// When they are earned: the objection window after the last of them or a little later, never earlier.
    pub vests_at: TimestampMs,
    /// What they added to each payee's total, in the order of payees; payees behind the last have nothing in it.
    pub added: Vec<Amount>,
}

impl Opened {
    /// What of a payee's total has vested, by the payee's place.
    pub fn vested(&self, place: usize) -> Amount {
        let waiting: u128 = self.batches.iter().filter_map(|batch| batch.added.get(place)).map(|added| added.0).sum();
        Amount(self.payees.get(place).map_or(0, |payee| payee.total.0 - waiting))
    }

    /// All that has not vested.
    pub fn waiting(&self) -> Amount {
        Amount(self.batches.iter().flat_map(|batch| &batch.added).map(|added| added.0).sum())
    }

    /// When a post at `now` vests: the window's end, rounded up to a whole step, against the payee.
    pub fn vests_at(&self, now: TimestampMs) -> TimestampMs {
        let step = self.objection_window.0.div_ceil(STEPS).max(1);
        TimestampMs(now.after(self.objection_window).0.div_ceil(step).saturating_mul(step))
    }

    /// Drops the batches whose moment has come: their posts are vested.
    pub(super) fn vest(&mut self, now: TimestampMs) {
        self.batches.retain(|batch| now < batch.vests_at);
    }

    /// Lets what a post added wait, by payees' places.
    pub(super) fn wait(&mut self, added: &[Amount], now: TimestampMs) -> Result<(), AmountError> {
        if self.objection_window == DurationMs(0) || added.iter().all(|added| added.is_zero()) {
            return Ok(());
        }
        let vests_at = self.vests_at(now);
        if self.batches.last().is_none_or(|last| last.vests_at < vests_at) {
            self.batches.push(Batch { vests_at, added: Vec::new() });
        }
        if let Some(batch) = self.batches.last_mut() {
            batch.added.resize(batch.added.len().max(added.len()), Amount::ZERO);
            for (sum, added) in batch.added.iter_mut().zip(added) {
                *sum = sum.checked_add(*added)?;
            }
        }
        Ok(())
    }

    /// Takes all that has not vested out of the payees' totals. Gives the sum.
    pub(super) fn object(&mut self, now: TimestampMs) -> Amount {
        let waiting = self.waiting();
        for place in 0..self.payees.len() {
            self.payees[place].total = self.vested(place);
        }
        self.batches.clear();
        self.objected_at = Some(now);
        waiting
    }
}
