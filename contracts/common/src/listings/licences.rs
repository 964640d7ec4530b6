//! Licences: bought once, or taken where they cost nothing.

use super::{LicenceRecord, LicenceState, Purchase, Shelf, ShelfError, Sold, payments::may_open_until};
use crate::{env, left_of, split_account};
use starling_contract_api::{hub::ListingEvent, payment::PaymentOffered};
use starling_primitives::{AccountId, Amount, AssetName, BasisPoints, DurationMs, EscrowId, TimestampMs};
use starling_protocol::{
    escrow::{Authority, OpenTerms},
    listing::{self, Listing, ListingError},
};

/// A purchase closes when it opens; its escrow has no use for a longer life.
const LIFE: DurationMs = DurationMs::from_hours(24);

impl Shelf {
    /// Accepts a payment for a licence, which is stored as pending, at its full size. Answers the escrow's terms: all is posted at once, and the escrow closes.
    pub(super) fn accept_licence(
        &mut self,
        name: AssetName,
        offered: PaymentOffered,
        forwarded: Amount,
        now: TimestampMs,
    ) -> Result<(ListingEvent, OpenTerms), ShelfError> {
        let PaymentOffered { escrow_id, payer, asset, amount, bounds, .. } = offered;
        let listing = self.record(&name)?.listing;
        listing::buy(&listing, &asset, amount)?;
        if listing.price.is_zero() {
            return Err(ShelfError::Free(name));
        }
        let (place, earlier) = self.free_place(&name, &payer, now)?;
        let state = LicenceState::Pending { expires_at: bounds.expires_by.min(now.after(LIFE)) };
        let record = LicenceRecord { asset, price: amount, escrow_id: Some(escrow_id), bought_at: now, place, state };
        let usage = env::storage_usage();
        self.keep(&name, &payer, &record, earlier.is_none());
        let paid = forwarded.checked_add(earlier.unwrap_or_default())?;
        let rest = left_of(paid, usage).map_err(ShelfError::StorageTooSmall)?;
        self.purchases.insert(&escrow_id, &Purchase { name: name.clone(), holder: payer.clone(), rest, sold: Sold::Licence });
        left_of(paid, usage).map_err(ShelfError::StorageTooSmall)?;
        let terms = record.open_terms(&listing).ok_or(ShelfError::NoSuchPayment(escrow_id))?;
        Ok((ListingEvent::LicencePaid { licence: record.licence(name, payer) }, terms))
    }

    /// Grants a licence of what costs nothing. Gives what comes back of the attached deposit.
    pub fn take(
        &mut self,
        name: AssetName,
        holder: AccountId,
        attached: Amount,
        now: TimestampMs,
    ) -> Result<(ListingEvent, Amount), ShelfError> {
        let listing = self.record(&name)?.listing;
        if listing.delisted {
            return Err(ListingError::Delisted.into());
        }
        if !listing.price.is_zero() {
            return Err(ShelfError::NotFree(name));
        }
        let (place, earlier) = self.free_place(&name, &holder, now)?;
        let (asset, price) = (listing.asset, listing.price);
        let record = LicenceRecord { asset, price, escrow_id: None, bought_at: now, place, state: LicenceState::Granted };
        let usage = env::storage_usage();
        self.keep(&name, &holder, &record, earlier.is_none());
        let paid = attached.checked_add(earlier.unwrap_or_default())?;
        let rest = left_of(paid, usage).map_err(ShelfError::StorageTooSmall)?;
        Ok((ListingEvent::LicenceTaken { licence: record.licence(name, holder) }, rest))
    }

    /// Grants a pending licence. Gives the stored bytes before the licence was written.
    pub(super) fn grant_licence(
        &mut self,
        name: AssetName,
        holder: &AccountId,
        escrow_id: EscrowId,
    ) -> Result<(ListingEvent, u64), ShelfError> {
        let mut record = self.record(&name)?;
        record.listing.sold = record.listing.sold.saturating_add(1);
        self.listings.insert(&name, &record);
        let usage = env::storage_usage();
        let key = (name, holder.clone());
        let mut licence = self.licences.get(&key).ok_or_else(|| ShelfError::NoSuchListing(key.0.clone()))?;
        licence.state = LicenceState::Granted;
        self.licences.insert(&key, &licence);
        Ok((ListingEvent::LicenceGranted { escrow_id }, usage))
    }

    /// Stores a licence at its place in the holder's list; a new place is counted.
    fn keep(&mut self, name: &AssetName, holder: &AccountId, record: &LicenceRecord, is_new: bool) {
        self.licences.insert(&(name.clone(), holder.clone()), record);
        self.licences_of.insert(&(holder.clone(), record.place), name);
        if is_new {
            self.licence_counts.insert(holder, &(record.place + 1));
        }
    }

    /// The place in the holder's list for a new licence: a new one, or that of a payment that never opened and cannot open any more, which goes, and whose rest is given too.
    fn free_place(&mut self, name: &AssetName, holder: &AccountId, now: TimestampMs) -> Result<(u64, Option<Amount>), ShelfError> {
        if name.publisher() == holder {
            return Err(ShelfError::OwnListing(name.clone()));
        }
        let Some(licence) = self.licences.get(&(name.clone(), holder.clone())) else {
            return Ok((self.licence_counts.get(holder).unwrap_or_default(), None));
        };
        match licence.escrow_id {
            Some(escrow_id) if licence.state != LicenceState::Granted => {
                let until = may_open_until(licence.bought_at);
                if now <= until {
                    return Err(ShelfError::UnderWay { name: name.clone(), until: until.after(DurationMs(1)) });
                }
                let rest = self.purchases.get(&escrow_id).map(|stale| stale.rest).unwrap_or_default();
                self.purchases.remove(&escrow_id);
                Ok((licence.place, Some(rest)))
            }
            _ => Err(ShelfError::LicensedAlready(name.clone())),
        }
    }

    /// Takes a place out of the holder's list; the last one moves there.
    pub(super) fn leave_place(&mut self, holder: &AccountId, place: u64) -> Result<(), ShelfError> {
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

impl LicenceRecord {
    /// The escrow's terms, the same whenever they are asked for: a listing's shares never change. Nothing once the licence is granted.
    pub(super) fn open_terms(&self, listing: &Listing) -> Option<OpenTerms> {
        let LicenceState::Pending { expires_at } = self.state else {
            return None;
        };
        let mut postings = listing::postings(listing, self.price, split_account);
        postings.retain(|posting| posting.total > Amount::ZERO);
        Some(OpenTerms {
            authority: Authority::Arbiter,
            expires_at,
            grace: DurationMs(0),
            holdback: BasisPoints::ZERO,
            availability: DurationMs(0),
            max_payees: u16::try_from(postings.len()).ok()?,
            parts: Vec::new(),
            postings,
            close: true,
            objection_window: DurationMs(0),
        })
    }
}
