//! Metered use: paid by vouchers from an escrow, by whoever does not want a licence.

use super::{Listing, ListingError};
use starling_primitives::{Amount, Asset};

/// Whether a listing may have these prices.
pub fn check_prices(price: Amount, price_per_use: Option<Amount>) -> Result<(), ListingError> {
    let fits = price_per_use.is_none_or(|per_use| !per_use.is_zero() && !price.is_zero());
    if fits { Ok(()) } else { Err(ListingError::PricePerUse) }
}

/// Checks a deposit for metered use, and gives the price per use that holds for it from now on.
pub fn open_use(listing: &Listing, asset: &Asset, deposit: Amount) -> Result<Amount, ListingError> {
    if listing.delisted {
        return Err(ListingError::Delisted);
    }
    let price_per_use = listing.price_per_use.ok_or(ListingError::NoUse)?;
    if *asset != listing.asset || deposit < price_per_use {
        return Err(ListingError::UseDeposit { price_per_use, asset: listing.asset.clone() });
    }
    Ok(price_per_use)
}
