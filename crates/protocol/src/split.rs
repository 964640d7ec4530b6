//! Splits: what comes to one account of `billing`, which nobody has a key of, belongs to its recipients in fixed shares.
//!
//! A payment names the split in their place: so it costs the same however many they are, and each takes its share when it likes.

use crate::escrow::{MAX_PARTS, Share, cut};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use starling_primitives::{AccountId, Amount, AmountError, Asset, BasisPoints, Hash32};

/// The most recipients.
pub const MAX_RECIPIENTS: usize = MAX_PARTS;
/// Before the shares where the account's name is made.
const DOMAIN: &[u8] = b"starling split 1\0";

/// Who shares what comes in, and what each has taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
pub struct Split {
    shares: Vec<Share>,
    /// By asset, what each recipient has taken, in the order of the shares.
    taken: Vec<(Asset, Vec<Amount>)>,
}

/// Why a split does nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// Not the shares of a split.
    #[error("a split has 2 to {MAX_RECIPIENTS} recipients, each once and with a share, and together at most the whole")]
    Shares,
    /// A stranger.
    #[error("{0} has no share in this split")]
    Stranger(AccountId),
    /// All that is due was taken.
    #[error("nothing is due to {0}")]
    NothingDue(AccountId),
    /// Arithmetic left its range.
    #[error(transparent)]
    Amount(#[from] AmountError),
}

impl Split {
    /// A split of which nobody has taken anything. What counts is how large the shares are beside each other.
    pub fn new(shares: Vec<Share>) -> Result<Self, SplitError> {
        let twice = |(place, share): (usize, &Share)| shares[..place].iter().any(|other| other.account == share.account);
        let is_empty = shares.iter().any(|share| share.part == BasisPoints::ZERO);
        if !(2..=MAX_RECIPIENTS).contains(&shares.len()) || is_empty || whole(&shares).is_none() || shares.iter().enumerate().any(twice) {
            return Err(SplitError::Shares);
        }
        Ok(Self { shares, taken: Vec::new() })
    }

    /// Its account: 64 hexadecimal digits of the SHA-256 of [`Split::name_bytes`]. Where NEAR sees a public key in such a name, nobody has the key.
    pub fn account(&self) -> AccountId {
        AccountId::of_hash(&Hash32::sha256(&self.name_bytes()))
    }

    /// What its account is named after: the shares in their order. A contract has a cheaper way to hash them.
    pub fn name_bytes(&self) -> Vec<u8> {
        let mut bytes = DOMAIN.to_vec();
        for Share { account, part } in &self.shares {
            bytes.extend_from_slice(account.as_str().as_bytes());
            bytes.push(0);
            bytes.extend_from_slice(&part.get().to_le_bytes());
        }
        bytes
    }

    /// What the shares sum to: a payment's part for all recipients together, where the shares are parts of payments.
    pub fn whole(&self) -> BasisPoints {
        whole(&self.shares).unwrap_or_default()
    }

    /// Who has which share.
    pub fn shares(&self) -> &[Share] {
        &self.shares
    }

    /// Whether anyone has taken of an asset: then its figures are stored.
    pub fn knows(&self, asset: &Asset) -> bool {
        self.taken.iter().any(|(other, _)| other == asset)
    }

    /// What is due to each, in the order of the shares, while the split's account holds `balance` of an asset. It is all of the balance.
    pub fn due(&self, asset: &Asset, balance: Amount) -> Result<Vec<Amount>, AmountError> {
        let taken = self.taken.iter().find(|(other, _)| other == asset).map_or(&[][..], |(_, taken)| taken);
        let received = Amount::sum(taken.iter().copied().chain([balance]))?;
        let (figures, _) = cut(received, self.whole(), self.shares.iter().map(|share| share.part));
        let before = taken.iter().copied().chain(std::iter::repeat(Amount::ZERO));
        figures.into_iter().zip(before).map(|(figure, taken)| figure.checked_sub(taken)).collect()
    }

    /// Takes what is due to a recipient: it leaves the balance.
    pub fn take(&self, asset: &Asset, balance: Amount, account: &AccountId) -> Result<(Self, Amount), SplitError> {
        let stranger = || SplitError::Stranger(account.clone());
        let place = self.shares.iter().position(|share| share.account == *account).ok_or_else(stranger)?;
        let due = self.due(asset, balance)?.get(place).copied().unwrap_or_default();
        if due.is_zero() {
            return Err(SplitError::NothingDue(account.clone()));
        }
        let mut next = self.clone();
        if !next.knows(asset) {
            next.taken.push((asset.clone(), vec![Amount::ZERO; self.shares.len()]));
        }
        for (_, taken) in next.taken.iter_mut().filter(|(other, _)| other == asset) {
            let taken = taken.get_mut(place).ok_or_else(stranger)?;
            *taken = taken.checked_add(due)?;
        }
        Ok((next, due))
    }
}

/// The sum of all shares; nothing if it passes the whole.
fn whole(shares: &[Share]) -> Option<BasisPoints> {
    let sum: u32 = shares.iter().map(|share| u32::from(share.part.get())).sum();
    BasisPoints::new(u16::try_from(sum).ok()?).ok()
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(place: usize) -> AccountId {
        AccountId::new(format!("recipient-{place}.near")).expect("a name")
    }

    fn shares(parts: &[u16]) -> Vec<Share> {
        let share = |(place, part): (usize, &u16)| Share { account: name(place), part: BasisPoints::new(*part).expect("a fraction") };
        parts.iter().enumerate().map(share).collect()
    }

    fn split(parts: &[u16]) -> Split {
        Split::new(shares(parts)).expect("shares")
    }

    #[test]
    fn split__should_have_two_to_fifteen_recipients_with_shares() {
        for good in [&[1, 1][..], &[5_000, 5_000], &[600; 15]] {
            assert!(Split::new(shares(good)).is_ok(), "{good:?}");
        }
        for bad in [&[][..], &[1], &[1, 0], &[5_000, 5_001], &[1; 16], &[9_000, 9_000, 9_000, 9_000, 9_000, 9_000, 9_000, 9_000]] {
            assert_eq!(Split::new(shares(bad)), Err(SplitError::Shares), "{bad:?}");
        }
        let twice = [shares(&[1, 2]), shares(&[3])].concat();
        assert_eq!(Split::new(twice), Err(SplitError::Shares));
    }

    /// The name is what a third party computes too: the domain, then of each share the account, a zero byte and the part in two bytes, the low one first.
    #[test]
    fn account__should_be_another_for_other_shares() {
        let account = |parts: &[u16]| split(parts).account();
        assert_eq!(account(&[900, 100]).as_str(), "1b6d31de8d5da737a78e8ce91efc6f2d796ccb1e99d27c180e330753ee61de64");
        assert_ne!(account(&[900, 100]), account(&[9_000, 1_000]));
        assert_ne!(account(&[900, 100]), account(&[900, 100, 1]));
        let turned: Vec<Share> = shares(&[900, 100]).into_iter().rev().collect();
        assert_ne!(Split::new(turned).expect("shares").account(), account(&[900, 100]));
    }

    #[test]
    fn take__should_give_each_its_share_once_and_by_asset() {
        let token = Asset::Nep141(name(9));
        let fresh = split(&[900, 100]);
        assert_eq!(fresh.due(&Asset::Near, Amount(1_000)), Ok(vec![Amount(900), Amount(100)]));
        let (once, taken) = fresh.take(&Asset::Near, Amount(1_000), &name(0)).expect("due");
        assert_eq!((taken, once.knows(&Asset::Near), once.knows(&token)), (Amount(900), true, false));
        assert_eq!(once.take(&Asset::Near, Amount(100), &name(0)), Err(SplitError::NothingDue(name(0))));
        assert_eq!(once.take(&Asset::Near, Amount(100), &name(2)), Err(SplitError::Stranger(name(2))));
        // A thousand more: what the other has waiting stays his.
        assert_eq!(once.due(&Asset::Near, Amount(1_100)), Ok(vec![Amount(900), Amount(200)]));
        let (twice, taken) = once.take(&token, Amount(10), &name(1)).expect("due");
        assert_eq!((taken, twice.knows(&token)), (Amount(1), true));
        assert_eq!(twice.due(&Asset::Near, Amount(1_100)), Ok(vec![Amount(900), Amount(200)]));
        assert_eq!(twice.due(&token, Amount(9)), Ok(vec![Amount(9), Amount(0)]));
        assert_eq!(twice.shares(), shares(&[900, 100]));
    }

    #[test]
    fn due__should_fail_beyond_every_range() {
        let (once, _) = split(&[1, 1]).take(&Asset::Near, Amount(u128::MAX), &name(0)).expect("due");
        assert!(once.due(&Asset::Near, Amount(u128::MAX)).is_err());
    }

    proptest! {
        /// Whoever takes when: nobody gets more than a share of all that came, the last takes the last unit, and what is due is always there.
        #[test]
        fn take__should_pay_all_that_came_whatever_the_order(
            parts in prop::collection::vec(1..=600_u16, 2..=15),
            steps in prop::collection::vec((any::<u64>(), 0..15_usize), 1..40),
        ) {
            let (mut split, mut balance, mut received) = (split(&parts), 0_u128, 0_u128);
            let mut got = vec![0_u128; parts.len()];
            for (income, place) in steps {
                balance += u128::from(income);
                received += u128::from(income);
                let due = split.due(&Asset::Near, Amount(balance)).expect("small");
                prop_assert_eq!(Amount::sum(due.iter().copied()), Ok(Amount(balance)), "all of it is due to someone");
                if let Ok((next, taken)) = split.take(&Asset::Near, Amount(balance), &name(place)) {
                    prop_assert_eq!(taken, due[place]);
                    split = next;
                    balance -= taken.0;
                    got[place] += taken.0;
                }
                prop_assert_eq!(got.iter().sum::<u128>() + balance, received);
            }
            for (place, got) in got.iter_mut().enumerate() {
                if let Ok((next, taken)) = split.take(&Asset::Near, Amount(balance), &name(place)) {
                    split = next;
                    balance -= taken.0;
                    *got += taken.0;
                }
            }
            prop_assert_eq!(balance, 0);
            let whole: u128 = parts.iter().map(|part| u128::from(*part)).sum();
            for (got, part) in got.iter().zip(&parts) {
                let exact = received * u128::from(*part) / whole;
                prop_assert!(got.abs_diff(exact) <= parts.len() as u128, "{got} of {exact}");
            }
        }
    }
}
