//! Shares: how what is posted for one payee is divided among those who have a part of it.

use super::{EscrowError, Opened, Posting};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use starling_primitives::{AccountId, Amount, BasisPoints};

/// The most parts of one escrow.
pub const MAX_PARTS: usize = 15;

/// A part of what is paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// Who gets it.
    pub account: AccountId,
    /// Which part.
    pub part: BasisPoints,
}

/// Divides a total: a figure for each part, in order, and the rest, which has all dust. They sum to the total, and none of them falls when the total grows: each part is
/// cut off what the parts before it left, rounded down, and of what is cut in two neither side falls.
///
/// A figure is less than one unit for each part before it away from its exact share; the rest is never below its own.
pub fn divide(total: Amount, parts: impl IntoIterator<Item = BasisPoints>) -> (Vec<Amount>, Amount) {
    cut(total, BasisPoints::ONE, parts)
}

/// As [`divide`], where the parts are parts of `whole`: where they sum to it, nothing is left.
pub(crate) fn cut(total: Amount, whole: BasisPoints, parts: impl IntoIterator<Item = BasisPoints>) -> (Vec<Amount>, Amount) {
    let (mut left, mut left_bps) = (total.0, u128::from(whole.get()));
    let cut = |part: BasisPoints| {
        let bps = u128::from(part.get()).min(left_bps);
        let amount = match left_bps {
            0 => 0,
            // One division of 128 bits, which a chain pays for; the rest fits 64.
            whole => {
                let times = left / whole;
                let rest = left - times * whole;
                times * bps + u128::from(small(rest * bps) / small(whole))
            }
        };
        left -= amount;
        left_bps -= bps;
        Amount(amount)
    };
    let figures = parts.into_iter().map(cut).collect();
    (figures, Amount(left))
}

/// A figure below 10^8, in 64 bits.
fn small(figure: u128) -> u64 {
    u64::try_from(figure).unwrap_or(u64::MAX)
}

/// Whether the parts are at most the whole, and one posting names who gets the rest.
pub(super) fn are_parts(parts: &[Share], postings: &[Posting]) -> bool {
    let sum: u32 = parts.iter().map(|share| u32::from(share.part.get())).sum();
    let twice = |(place, share): (usize, &Share)| parts[..place].iter().any(|other| other.account == share.account);
    let [posting] = postings else { return false };
    let rest_is_named = parts.iter().all(|share| share.account != posting.payee);
    sum <= u32::from(BasisPoints::ONE.get()) && parts.len() <= MAX_PARTS && rest_is_named && !parts.iter().enumerate().any(twice)
}

/// Where parts are fixed: the one posting for who gets the rest, divided among all. The payees with parts come first, then the one with the rest.
pub(super) fn divided(opened: &Opened, postings: Vec<Posting>) -> Result<Vec<Posting>, EscrowError> {
    if opened.parts.is_empty() || postings.is_empty() {
        return Ok(postings);
    }
    let (ancestors, rest) = opened.payees.split_at_checked(opened.parts.len()).ok_or(EscrowError::Payees)?;
    let [posting] = &*postings else { return Err(EscrowError::Payees) };
    if let Some(rest) = rest.first()
        && rest.account != posting.payee
    {
        return Err(EscrowError::Divided(rest.account.clone()));
    }
    let (figures, left) = divide(posting.total, opened.parts.iter().copied());
    let parts = ancestors.iter().zip(figures).map(|(payee, total)| Posting { payee: payee.account.clone(), total });
    Ok(parts.chain([Posting { payee: posting.payee.clone(), total: left }]).collect())
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parts(parts: &[u16]) -> Vec<BasisPoints> {
        parts.iter().map(|part| BasisPoints::new(*part).expect("a fraction")).collect()
    }

    fn figures(total: u128, bps: &[u16]) -> Vec<u128> {
        let (figures, rest) = divide(Amount(total), parts(bps));
        figures.into_iter().chain([rest]).map(|amount| amount.0).collect()
    }

    #[test]
    fn divide__should_leave_dust_to_the_rest() {
        assert_eq!(figures(10_000, &[900, 4_000, 100]), [900, 4_000, 100, 5_000]);
        assert_eq!(figures(9, &[1_000]), [0, 9]);
        assert_eq!(figures(1_000_003, &[1]), [100, 999_903]);
        assert_eq!(figures(7, &[]), [7]);
        assert_eq!(figures(7, &[10_000]), [7, 0]);
        assert_eq!(figures(7, &[5_000, 5_000, 0]), [3, 4, 0, 0]);
        // Beyond the whole nothing is left to cut.
        assert_eq!(figures(7, &[10_000, 10_000]), [7, 0, 0]);
        assert_eq!(figures(u128::MAX, &[3_333]).iter().sum::<u128>(), u128::MAX);
    }

    /// Each rounded down by itself, the rest would fall from 1 to 0 here.
    #[test]
    fn divide__should_let_no_figure_fall_where_plain_rounding_would() {
        assert_eq!(figures(1, &[5_000, 5_000]), [0, 1, 0]);
        assert_eq!(figures(2, &[5_000, 5_000]), [1, 1, 0]);
        assert_eq!((figures(3, &[2_500, 2_500, 2_500]), figures(4, &[2_500, 2_500, 2_500])), (vec![0, 1, 1, 1], vec![1, 1, 1, 1]));
    }

    proptest! {
        #[test]
        fn divide__should_sum_exactly_and_never_fall(
            bps in prop::collection::vec(0..=625_u16, 0..=15),
            total in any::<u128>(),
            more in 0..50_000_u128,
        ) {
            let (before, after) = (figures(total, &bps), figures(total.saturating_add(more), &bps));
            prop_assert_eq!(before.iter().sum::<u128>(), total);
            for (before, after) in before.iter().zip(&after) {
                prop_assert!(before <= after);
            }
            let rest_bps = BasisPoints::new(10_000 - bps.iter().sum::<u16>()).expect("a fraction");
            prop_assert!(before[bps.len()] >= Amount(total).fraction_ceil(rest_bps).0, "the rest has its own share, rounded up");
            for (place, part) in bps.iter().enumerate() {
                let exact = Amount(total).fraction_floor(BasisPoints::new(*part).expect("a fraction")).0;
                prop_assert!(before[place].abs_diff(exact) <= place as u128 + 1);
            }
        }

        /// From nothing on, unit by unit.
        #[test]
        fn divide__should_never_fall_in_small_steps(bps in prop::collection::vec(0..=3_333_u16, 0..=3), from in 0..100_000_u128) {
            let mut before = figures(from, &bps);
            for total in from..from + 40 {
                let after = figures(total, &bps);
                prop_assert!(before.iter().zip(&after).all(|(before, after)| before <= after), "{total}: {before:?} {after:?}");
                before = after;
            }
        }
    }
}
