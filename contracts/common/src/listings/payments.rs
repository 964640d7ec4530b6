//! What `billing` offers: a payment is accepted here, opened there, and from then on a licence or a metered use.

use super::{Purchase, Shelf, ShelfError, Sold};
use crate::{env, left_of};
use starling_contract_api::{
    hub::ListingEvent,
    payment::{PaymentMsg, PaymentOffered},
};
use starling_primitives::{AccountId, Amount, DurationMs, EscrowId, TimestampMs};
use starling_protocol::escrow::{HOLD_PERIOD, OpenTerms};

/// After the hold deadline, how long a notice of `billing` may be under way.
const NOTICE_MARGIN: DurationMs = DurationMs::from_hours(1);

/// Until when a payment that was accepted at this time may still open.
pub(super) fn may_open_until(accepted_at: TimestampMs) -> TimestampMs {
    accepted_at.after(HOLD_PERIOD).after(NOTICE_MARGIN)
}

impl Shelf {
    /// Accepts a payment, with what was forwarded for storage: it is stored as pending. Answers the escrow's terms.
    pub fn accept(
        &mut self,
        offered: PaymentOffered,
        forwarded: Amount,
        now: TimestampMs,
    ) -> Result<(ListingEvent, OpenTerms), ShelfError> {
        match offered.msg.clone() {
            PaymentMsg::Licence { name } => self.accept_licence(name, offered, forwarded, now),
            PaymentMsg::Use { name } => self.accept_use(name, offered, forwarded, now),
            PaymentMsg::Run(_) | PaymentMsg::Lease(_) | PaymentMsg::Stake { .. } | PaymentMsg::Bond => Err(ShelfError::NotTaken),
        }
    }

    /// Gives what an escrow has paid, and what its holder gets back of the storage. Nothing where nothing is pending: a repeated notice changes nothing.
    pub fn grant(&mut self, escrow_id: EscrowId) -> Result<Option<(ListingEvent, AccountId, Amount)>, ShelfError> {
        let Some(Purchase { name, holder, rest, sold }) = self.purchases.get(&escrow_id) else {
            return Ok(None);
        };
        self.purchases.remove(&escrow_id);
        let (event, usage) = match sold {
            Sold::Licence => self.grant_licence(name, &holder, escrow_id)?,
            Sold::Use { record, .. } => self.open_use(name, &holder, record),
        };
        // A licence of an older form may take more than it did: less comes back then.
        let back = left_of(rest, usage).unwrap_or_default();
        Ok(Some((event, holder, back)))
    }

    /// Removes a payment that was accepted and never opened. Gives whose it was, and its storage deposit.
    pub fn forget(&mut self, escrow_id: EscrowId, now: TimestampMs) -> Result<(ListingEvent, AccountId, Amount), ShelfError> {
        let Purchase { name, holder, rest, sold } = self.purchases.get(&escrow_id).ok_or(ShelfError::NoSuchPayment(escrow_id))?;
        let key = (name, holder);
        let licence = match &sold {
            Sold::Licence => Some(self.licences.get(&key).ok_or(ShelfError::NoSuchPayment(escrow_id))?),
            Sold::Use { .. } => None,
        };
        let accepted_at = match &sold {
            Sold::Use { record, .. } => record.paid_at,
            Sold::Licence => licence.as_ref().map_or(now, |licence| licence.bought_at),
        };
        if now <= may_open_until(accepted_at) {
            return Err(ShelfError::MayStillOpen(may_open_until(accepted_at)));
        }
        self.purchases.remove(&escrow_id);
        let usage = env::storage_usage();
        if let Some(licence) = licence {
            self.licences.remove(&key);
            self.leave_place(&key.1, licence.place)?;
        }
        let back = left_of(rest, usage).map_err(ShelfError::StorageTooSmall)?;
        Ok((ListingEvent::PaymentForgotten { escrow_id }, key.1, back))
    }

    /// What was answered to a payment that is still pending.
    pub fn answer(&self, escrow_id: EscrowId) -> Option<OpenTerms> {
        let Purchase { name, holder, sold, .. } = self.purchases.get(&escrow_id)?;
        let listing = self.listings.get(&name)?.listing;
        match sold {
            Sold::Licence => self.licences.get(&(name, holder))?.open_terms(&listing),
            Sold::Use { record, voucher } => record.open_terms(&listing, voucher),
        }
    }
}
