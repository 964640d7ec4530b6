//! Prices and quotes. The figure a person approves is computed here, by the code that the contracts run.

use crate::{meter::Delegate, run::RunTerms};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use starling_primitives::{Amount, AmountError, Asset, BasisPoints, DurationMs};

/// The part of each figure that waits for the result's acknowledgement: a tenth.
pub const HOLDBACK: BasisPoints = match BasisPoints::new(1_000) {
    Ok(part) => part,
    Err(_) => BasisPoints::ZERO,
};

/// What is priced in, if terms name nothing else.
pub(crate) fn near() -> Asset {
    Asset::Near
}

/// Whether an asset goes without saying.
pub(crate) fn is_near(asset: &Asset) -> bool {
    *asset == Asset::Near
}

const TOKENS_PER_PRICE: u64 = 1_000_000;
const MS_PER_HOUR: u64 = 3_600_000;

/// What a payment can cost at most, and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Quote {
    /// Never more than this leaves the payer, fee included. It is the deposit.
    pub at_most: Amount,
    /// At most this of it is the fee.
    pub fee_at_most: Amount,
    /// At most this of it waits for the acknowledgement of the result.
    pub held_back_at_most: Amount,
    /// At most this of it goes to the delegate that is the meter, before the fee.
    pub delegate_at_most: Amount,
}

/// What `tokens` accepted tokens have earned, rounded down.
pub fn tokens_earned(price_per_million_tokens: Amount, tokens: u64) -> Result<Amount, AmountError> {
    price_per_million_tokens.mul_div_floor(tokens, TOKENS_PER_PRICE)
}

/// What metered time has earned, rounded down.
pub fn time_earned(price_per_hour: Amount, metered: DurationMs) -> Result<Amount, AmountError> {
    price_per_hour.mul_div_floor(metered.0, MS_PER_HOUR)
}

/// The quote of a run: every round full, every node in it, and the delegate's part besides if the meter is one.
pub fn quote_run(terms: &RunTerms, fee: BasisPoints) -> Result<Quote, AmountError> {
    let tokens = u64::from(terms.rounds)
        .checked_mul(u64::from(terms.max_nodes))
        .and_then(|slots| slots.checked_mul(u64::from(terms.tokens_per_round)))
        .ok_or(AmountError::Overflow)?;
    quote_work(cost_of_tokens(terms.price_per_million_tokens, tokens)?, terms.delegate.as_deref(), fee)
}

/// What so many accepted tokens cost at most, the fee included and a delegate's part not.
pub fn cost_of_tokens(price_per_million_tokens: Amount, tokens: u64) -> Result<Amount, AmountError> {
    price_per_million_tokens.mul_div_ceil(tokens, TOKENS_PER_PRICE)
}

/// The quote of a lease: its whole time, and the delegate's part besides if the meter is one.
pub fn quote_lease(
    price_per_hour: Amount,
    duration: DurationMs,
    delegate: Option<&Delegate>,
    fee: BasisPoints,
) -> Result<Quote, AmountError> {
    quote_work(price_per_hour.mul_div_ceil(duration.0, MS_PER_HOUR)?, delegate, fee)
}

/// The quote of a purchase. Nothing is held back: purchases are final.
pub fn quote_purchase(price: Amount, fee: BasisPoints) -> Quote {
    Quote { held_back_at_most: Amount::ZERO, ..quote(price, fee) }
}

fn quote_work(earned_at_most: Amount, delegate: Option<&Delegate>, fee: BasisPoints) -> Result<Quote, AmountError> {
    let delegate_at_most = delegate.map_or(Amount::ZERO, |delegate| earned_at_most.fraction_ceil(delegate.share));
    Ok(Quote { delegate_at_most, ..quote(earned_at_most.checked_add(delegate_at_most)?, fee) })
}

fn quote(at_most: Amount, fee: BasisPoints) -> Quote {
    let (fee_at_most, held_back_at_most) = (at_most.fraction_ceil(fee), at_most.fraction_floor(HOLDBACK));
    Quote { at_most, fee_at_most, held_back_at_most, delegate_at_most: Amount::ZERO }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;
    use starling_primitives::AccountId;

    #[test]
    fn asset__should_go_without_saying_where_it_is_near() {
        let token = Asset::Nep141(AccountId::new("usd.starling".to_owned()).expect("a name"));
        assert!(is_near(&near()) && !is_near(&token));
    }

    #[test]
    fn purchase__should_hold_nothing_back() {
        let fee = BasisPoints::new(250).expect("a part");
        let quote = quote_purchase(Amount(1_001), fee);
        assert_eq!((quote.at_most, quote.fee_at_most, quote.held_back_at_most), (Amount(1_001), Amount(26), Amount::ZERO));
        let lease = quote_lease(Amount(1_001), DurationMs::from_hours(1), None, fee).expect("small");
        assert_eq!((lease.at_most, lease.fee_at_most, lease.held_back_at_most), (Amount(1_001), Amount(26), Amount(100)));
    }
}
