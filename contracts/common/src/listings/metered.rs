//! Metered use: a deposit that vouchers of the payer's key draw on, divided among publisher and ancestors by `billing`.

use super::{Purchase, Shelf, ShelfError, Sold, UseRecord};
use crate::{env, left_of, split_account};
use starling_contract_api::{
    hub::{ListingEvent, MeteredUse},
    payment::PaymentOffered,
};
use starling_primitives::{AccountId, Amount, AssetName, BasisPoints, DurationMs, PublicKey, TimestampMs};
use starling_protocol::{
    escrow::{Authority, CLOSING_PERIOD, MAX_GRACE, OpenTerms, Posting},
    listing::{self, Listing},
};

/// How long a use is open at most. Its payer may ask for closing at once: the escrow is still open for all of this time, and takes vouchers for the grace after it.
const LIFE: DurationMs = DurationMs(CLOSING_PERIOD.0 - MAX_GRACE.0);

impl Shelf {
    /// Accepts a deposit for metered use. All that is stored of it until it opens is in one place, and more than is stored then.
    pub(super) fn accept_use(
        &mut self,
        name: AssetName,
        offered: PaymentOffered,
        forwarded: Amount,
        now: TimestampMs,
    ) -> Result<(ListingEvent, OpenTerms), ShelfError> {
        let PaymentOffered { escrow_id, payer, asset, amount, bounds, .. } = offered;
        let listing = self.record(&name)?.listing;
        let price_per_use = listing::open_use(&listing, &asset, amount)?;
        if name.publisher() == &payer {
            return Err(ShelfError::OwnListing(name));
        }
        let voucher = bounds.voucher.ok_or(ShelfError::NoVoucherKey)?;
        let record = UseRecord { escrow_id, asset, price_per_use, paid_at: now, until: bounds.expires_by.min(now.after(LIFE)) };
        let terms = record.open_terms(&listing, voucher).ok_or(ShelfError::NoSuchPayment(escrow_id))?;
        let usage = env::storage_usage();
        let sold = Sold::Use { record: record.clone(), voucher };
        self.purchases.insert(&escrow_id, &Purchase { name: name.clone(), holder: payer.clone(), rest: forwarded, sold });
        left_of(forwarded, usage).map_err(ShelfError::StorageTooSmall)?;
        Ok((ListingEvent::UsePaid { metered: record.metered_use(name, payer) }, terms))
    }

    /// Opens a use, in the place of the holder's last one. Gives the stored bytes before.
    pub(super) fn open_use(&mut self, name: AssetName, holder: &AccountId, record: UseRecord) -> (ListingEvent, u64) {
        let usage = env::storage_usage();
        self.uses.insert(&(name, holder.clone()), &record);
        (ListingEvent::UseOpened { escrow_id: record.escrow_id }, usage)
    }

    /// Removes a use that is over. Gives its storage deposit.
    pub fn forget_use(&mut self, holder: &AccountId, name: AssetName, now: TimestampMs) -> Result<(ListingEvent, Amount), ShelfError> {
        let key = (name, holder.clone());
        let record = self.uses.get(&key).ok_or_else(|| ShelfError::NoSuchUse(key.0.clone()))?;
        if now <= record.until {
            return Err(ShelfError::UseOpen(record.until));
        }
        let usage = env::storage_usage();
        self.uses.remove(&key);
        let back = left_of(Amount::ZERO, usage).map_err(ShelfError::StorageTooSmall)?;
        Ok((ListingEvent::UseForgotten { escrow_id: record.escrow_id }, back))
    }

    /// Whether an account may use an asset now.
    pub fn may_use(&self, account: &AccountId, name: &AssetName, now: TimestampMs) -> bool {
        let Some(record) = self.listings.get(name) else { return false };
        let is_open = || self.uses.get(&(name.clone(), account.clone())).is_some_and(|record| now <= record.until);
        self.is_open_to(account, &record.listing) || is_open()
    }

    /// An account's last metered use of an asset.
    pub fn metered_use(&self, holder: AccountId, name: AssetName) -> Option<MeteredUse> {
        self.uses.get(&(name.clone(), holder.clone())).map(|record| record.metered_use(name, holder))
    }
}

impl UseRecord {
    /// The escrow's terms, the same whenever they are asked for: a listing's shares never change.
    pub(super) fn open_terms(&self, listing: &Listing, voucher: PublicKey) -> Option<OpenTerms> {
        let parts = listing::named(listing, split_account);
        Some(OpenTerms {
            authority: Authority::Voucher(voucher),
            expires_at: self.until,
            grace: MAX_GRACE,
            holdback: BasisPoints::ZERO,
            availability: DurationMs(0),
            max_payees: u16::try_from(parts.len()).ok()?.checked_add(1)?,
            parts,
            postings: vec![Posting { payee: listing.name.publisher().clone(), total: Amount::ZERO }],
            close: false,
            objection_window: DurationMs(0),
        })
    }
}
