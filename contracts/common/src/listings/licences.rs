//! Licences: a payment that `billing` offers is accepted here, opened there, and from then on a licence.

use super::{LicenceRecord, LicenceState, Shelf, ShelfError};
use starling_contract_api::{
    hub::ListingEvent,
    payment::{PaymentMsg, PaymentOffered},
};
use starling_primitives::{AccountId, Amount, Asset, AssetName, BasisPoints, DurationMs, EscrowId, TimestampMs};
use starling_protocol::{
    escrow::{Authority, HOLD_PERIOD, OpenTerms, Posting},
    listing::{self, Listing},
};

/// A purchase closes when it opens; its escrow has no use for a longer life.
const LIFE: DurationMs = DurationMs::from_hours(24);
/// After the hold deadline, how long a notice of `billing` may be under way.
const NOTICE_MARGIN: DurationMs = DurationMs::from_hours(1);

impl Shelf {
    /// Accepts a payment for a licence: it is stored as pending, at its full size. Answers the escrow's terms: all is posted at once, and the escrow closes.
    pub fn accept(&mut self, offered: PaymentOffered, now: TimestampMs) -> Result<(ListingEvent, OpenTerms), ShelfError> {
        let PaymentOffered { escrow_id, payer, asset, amount, bounds, msg } = offered;
        let (Asset::Near, PaymentMsg::Licence { name }) = (asset, msg) else {
            return Err(ShelfError::NotTaken);
        };
        let listing = self.record(&name)?.listing;
        listing::buy(&listing, amount)?;
        if listing.price.is_zero() {
            return Err(ShelfError::Free(name));
        }
        if name.publisher() == &payer {
            return Err(ShelfError::OwnListing(name));
        }
        let place = self.free_place(&name, &payer, now)?;
        let state = LicenceState::Pending { expires_at: bounds.expires_by.min(now.after(LIFE)) };
        let record = LicenceRecord { price: amount, escrow_id, bought_at: now, place, state };
        self.licences.insert(&(name.clone(), payer.clone()), &record);
        self.licences_of.insert(&(payer.clone(), place), &name);
        self.purchases.insert(&escrow_id, &(name.clone(), payer.clone()));
        let terms = open_terms(&listing, &record).ok_or(ShelfError::NoSuchPayment(escrow_id))?;
        Ok((ListingEvent::LicencePaid { licence: record.licence(name, payer) }, terms))
    }

    /// Grants the licence that an escrow has paid. Nothing where nothing is pending: a repeated notice changes nothing.
    pub fn grant(&mut self, escrow_id: EscrowId) -> Result<Option<ListingEvent>, ShelfError> {
        let Some((name, holder)) = self.purchases.get(&escrow_id) else {
            return Ok(None);
        };
        let key = (name.clone(), holder.clone());
        let mut licence = self.licences.get(&key).ok_or(ShelfError::NoSuchPayment(escrow_id))?;
        licence.state = LicenceState::Granted;
        self.licences.insert(&key, &licence);
        self.purchases.remove(&escrow_id);
        let mut record = self.record(&name)?;
        record.listing.sold = record.listing.sold.saturating_add(1);
        self.listings.insert(&name, &record);
        Ok(Some(ListingEvent::LicenceGranted { licence: licence.licence(name, holder) }))
    }

    /// Removes a purchase that was accepted and never opened. Gives whose it was.
    pub fn forget(&mut self, escrow_id: EscrowId, now: TimestampMs) -> Result<(ListingEvent, AccountId), ShelfError> {
        let (name, holder) = self.purchases.get(&escrow_id).ok_or(ShelfError::NoSuchPayment(escrow_id))?;
        let licence = self.licences.get(&(name.clone(), holder.clone())).ok_or(ShelfError::NoSuchPayment(escrow_id))?;
        if now <= may_open_until(&licence) {
            return Err(ShelfError::MayStillOpen(may_open_until(&licence)));
        }
        self.purchases.remove(&escrow_id);
        self.licences.remove(&(name, holder.clone()));
        self.leave_place(&holder, licence.place)?;
        Ok((ListingEvent::PaymentForgotten { escrow_id }, holder))
    }

    /// What was answered to a payment that is still pending.
    pub fn answer(&self, escrow_id: EscrowId) -> Option<OpenTerms> {
        let (name, holder) = self.purchases.get(&escrow_id)?;
        let licence = self.licences.get(&(name.clone(), holder))?;
        open_terms(&self.listings.get(&name)?.listing, &licence)
    }

    /// The place in the holder's list for a new licence: a new one, or that of a payment that never opened and cannot open any more.
    fn free_place(&mut self, name: &AssetName, holder: &AccountId, now: TimestampMs) -> Result<u64, ShelfError> {
        match self.licences.get(&(name.clone(), holder.clone())) {
            None => {
                let place = self.licence_counts.get(holder).unwrap_or_default();
                self.licence_counts.insert(holder, &(place + 1));
                Ok(place)
            }
            Some(licence) if licence.state == LicenceState::Granted => Err(ShelfError::LicensedAlready(name.clone())),
            Some(licence) if now <= may_open_until(&licence) => {
                Err(ShelfError::UnderWay { name: name.clone(), until: may_open_until(&licence).after(DurationMs(1)) })
            }
            Some(stale) => {
                self.purchases.remove(&stale.escrow_id);
                Ok(stale.place)
            }
        }
    }

    /// Takes a place out of the holder's list; the last one moves there.
    fn leave_place(&mut self, holder: &AccountId, place: u64) -> Result<(), ShelfError> {
        let last = self.licence_counts.get(holder).unwrap_or_default().saturating_sub(1);
        if let Some(moved) = self.licences_of.get(&(holder.clone(), last)).filter(|_| place != last) {
            let key = (moved.clone(), holder.clone());
            let licence = self.licences.get(&key).ok_or_else(|| ShelfError::NoSuchListing(moved.clone()))?;
            self.licences.insert(&key, &LicenceRecord { place, ..licence });
            self.licences_of.insert(&(holder.clone(), place), &moved);
        }
        self.licences_of.remove(&(holder.clone(), last));
        if last == 0 {
            self.licence_counts.remove(holder);
        } else {
            self.licence_counts.insert(holder, &last);
        }
        Ok(())
    }
}

fn may_open_until(licence: &LicenceRecord) -> TimestampMs {
    licence.bought_at.after(HOLD_PERIOD).after(NOTICE_MARGIN)
}

/// The escrow's terms, the same whenever they are asked for: a listing's shares never change. Nothing once the licence is granted.
fn open_terms(listing: &Listing, licence: &LicenceRecord) -> Option<OpenTerms> {
    let LicenceState::Pending { expires_at } = licence.state else {
        return None;
    };
    let parts = listing::split(listing, licence.price).into_iter().filter(|(_, amount)| *amount > Amount::ZERO);
    let postings: Vec<Posting> = parts.map(|(payee, total)| Posting { payee, total }).collect();
    Some(OpenTerms {
        authority: Authority::Arbiter,
        expires_at,
        grace: DurationMs(0),
        holdback: BasisPoints::ZERO,
        availability: DurationMs(0),
        max_payees: u16::try_from(postings.len()).ok()?,
        postings,
        close: true,
    })
}
