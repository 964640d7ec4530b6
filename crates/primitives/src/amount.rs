//! Money: amounts in the smallest unit of an asset, with checked arithmetic and rounding in the name.

use crate::{AccountId, AccountIdError, BasisPoints};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// yoctoNEAR in one NEAR.
pub const YOCTO_PER_NEAR: u128 = 1_000_000_000_000_000_000_000_000;

/// An amount in the smallest unit of its asset (yoctoNEAR for NEAR). Written in JSON as a decimal string, since it passes 2^53.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Amount(pub u128);

/// Why an amount could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// A sum or product passes 128 bits.
    #[error("the amount passes 128 bits")]
    Overflow,
    /// A difference is below zero.
    #[error("the amount would be below zero")]
    Underflow,
    /// The text is not a decimal number of units.
    #[error("not an amount: write a whole number of the smallest unit")]
    NotANumber,
    /// The text is not a number of NEAR with at most 24 decimals.
    #[error("not an amount in NEAR: write a number such as 1.5, with at most 24 decimals")]
    NotNear,
}

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Whole NEAR.
    pub fn from_near(near: u64) -> Self {
        Self(u128::from(near).saturating_mul(YOCTO_PER_NEAR))
    }

    /// Thousandths of a NEAR.
    pub const fn from_millinear(millinear: u64) -> Self {
        Self(millinear as u128 * (YOCTO_PER_NEAR / 1_000))
    }

    /// Reads a number of NEAR such as `1.5`.
    pub fn parse_near(text: &str) -> Result<Self, AmountError> {
        let text = text.trim();
        let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && decimals.is_empty()) || decimals.len() > 24 || !digits(whole) || !digits(decimals) {
            return Err(AmountError::NotNear);
        }
        let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| AmountError::Overflow)? };
        let decimals: u128 = format!("{decimals:0<24}").parse().map_err(|_| AmountError::NotNear)?;
        whole.checked_mul(YOCTO_PER_NEAR).and_then(|yocto| yocto.checked_add(decimals)).map(Self).ok_or(AmountError::Overflow)
    }

    /// The sum, or [`AmountError::Overflow`].
    pub fn checked_add(self, other: Self) -> Result<Self, AmountError> {
        self.0.checked_add(other.0).map(Self).ok_or(AmountError::Overflow)
    }

    /// The difference, or [`AmountError::Underflow`].
    pub fn checked_sub(self, other: Self) -> Result<Self, AmountError> {
        self.0.checked_sub(other.0).map(Self).ok_or(AmountError::Underflow)
    }

    /// The product with a count, or [`AmountError::Overflow`].
    pub fn checked_mul(self, count: u64) -> Result<Self, AmountError> {
        self.0.checked_mul(u128::from(count)).map(Self).ok_or(AmountError::Overflow)
    }

    /// `self * numerator / denominator`, rounded down. A zero denominator counts as overflow.
    pub fn mul_div_floor(self, numerator: u64, denominator: u64) -> Result<Self, AmountError> {
        self.checked_mul(numerator)?.0.checked_div(u128::from(denominator)).map(Self).ok_or(AmountError::Overflow)
    }

    /// `self * numerator / denominator`, rounded up. A zero denominator counts as overflow.
    pub fn mul_div_ceil(self, numerator: u64, denominator: u64) -> Result<Self, AmountError> {
        if denominator == 0 {
            return Err(AmountError::Overflow);
        }
        Ok(Self(self.checked_mul(numerator)?.0.div_ceil(u128::from(denominator))))
    }

    /// The fraction of this amount, rounded down. Never overflows.
    pub fn fraction_floor(self, fraction: BasisPoints) -> Self {
        let (whole, rest) = self.cut(fraction);
        Self(whole + u128::from(rest / 10_000))
    }

    /// The fraction of this amount, rounded up. Never overflows.
    pub fn fraction_ceil(self, fraction: BasisPoints) -> Self {
        let (whole, rest) = self.cut(fraction);
        Self(whole + u128::from(rest.div_ceil(10_000)))
    }

    /// The fraction in whole units, and what is left of it in ten thousandths. A chain pays for each division of 128 bits: there is one.
    fn cut(self, fraction: BasisPoints) -> (u128, u64) {
        let bps = fraction.get();
        if bps == 0 {
            return (0, 0);
        }
        let whole = self.0 / 10_000;
        let rest = u64::try_from(self.0 - whole * 10_000).unwrap_or_default();
        (whole * u128::from(bps), rest * u64::from(bps))
    }

    /// Whether this is nothing.
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum of many, or [`AmountError::Overflow`].
    pub fn sum(amounts: impl IntoIterator<Item = Self>) -> Result<Self, AmountError> {
        amounts.into_iter().try_fold(Self::ZERO, Self::checked_add)
    }

    /// NEAR for people: four decimals cut off, never scientific, "less than 0.0001" for what is smaller but not nothing.
    pub fn display_near(self) -> String {
        let ten_thousandths = self.0 / (YOCTO_PER_NEAR / 10_000);
        if ten_thousandths == 0 && self.0 > 0 {
            return "less than 0.0001 NEAR".to_owned();
        }
        format!("{}.{:04} NEAR", grouped(ten_thousandths / 10_000), ten_thousandths % 10_000)
    }

    /// NEAR with every decimal that is not zero.
    pub fn exact_near(self) -> String {
        let decimals = format!("{:024}", self.0 % YOCTO_PER_NEAR);
        let decimals = decimals.trim_end_matches('0');
        let whole = grouped(self.0 / YOCTO_PER_NEAR);
        if decimals.is_empty() { format!("{whole} NEAR") } else { format!("{whole}.{decimals} NEAR") }
    }
}

/// A whole number with a comma before every three digits.
pub fn grouped(number: impl Into<u128>) -> String {
    let digits = number.into().to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Amount {
    type Err = AmountError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > 39 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(AmountError::NotANumber);
        }
        text.parse().map(Self).map_err(|_| AmountError::Overflow)
    }
}

impl Serialize for Amount {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <String as Deserialize>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What an amount is counted in: NEAR itself, or a NEP-141 token. Written as `near` or `nep141:ACCOUNT`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum Asset {
    /// NEAR, in yoctoNEAR.
    Near,
    /// A NEP-141 token, by its contract.
    Nep141(AccountId),
}

/// Why a text names no asset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssetError {
    /// Neither `near` nor `nep141:ACCOUNT`.
    #[error("not an asset: write near or nep141:ACCOUNT")]
    Unknown,
    /// The token's contract is no account.
    #[error(transparent)]
    Account(#[from] AccountIdError),
}

impl fmt::Display for Asset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Near => f.write_str("near"),
            Self::Nep141(token) => write!(f, "nep141:{token}"),
        }
    }
}

impl FromStr for Asset {
    type Err = AssetError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            None if text == "near" => Ok(Self::Near),
            Some(("nep141", token)) => Ok(Self::Nep141(AccountId::new(token)?)),
            _ => Err(AssetError::Unknown),
        }
    }
}

impl Serialize for Asset {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Asset {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <String as Deserialize>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn amount__should_read_and_write_near() {
        for (text, yocto) in [
            ("1", YOCTO_PER_NEAR),
            ("0.5", YOCTO_PER_NEAR / 2),
            (".25", YOCTO_PER_NEAR / 4),
            ("2.", 2 * YOCTO_PER_NEAR),
            ("0.000000000000000000000001", 1),
        ] {
            assert_eq!(Amount::parse_near(text), Ok(Amount(yocto)), "{text}");
        }
        for bad in ["", ".", "1e3", "-1", "1,5", "0.0000000000000000000000001", "a"] {
            assert!(Amount::parse_near(bad).is_err(), "{bad}");
        }
        assert_eq!(Amount(1).display_near(), "less than 0.0001 NEAR");
        assert_eq!(Amount::ZERO.display_near(), "0.0000 NEAR");
        assert_eq!(Amount::from_near(1_234_567).display_near(), "1,234,567.0000 NEAR");
        assert_eq!(Amount(YOCTO_PER_NEAR + 1).exact_near(), "1.000000000000000000000001 NEAR");
    }

    #[test]
    fn fraction__should_round_as_its_name_says_up_to_the_largest_amount() {
        let fee = BasisPoints::new(250).expect("in range");
        assert_eq!(Amount(1).fraction_ceil(fee), Amount(1));
        assert_eq!(Amount(1).fraction_floor(fee), Amount(0));
        assert_eq!(Amount(u128::MAX).fraction_ceil(BasisPoints::ONE), Amount(u128::MAX));
        assert_eq!(Amount(40).fraction_ceil(fee), Amount(1));
        assert_eq!(Amount(41).fraction_ceil(fee), Amount(2));
    }

    #[test]
    fn amount__should_refuse_what_does_not_fit() {
        assert_eq!(Amount(u128::MAX).checked_add(Amount(1)), Err(AmountError::Overflow));
        assert_eq!(Amount(0).checked_sub(Amount(1)), Err(AmountError::Underflow));
        assert_eq!(Amount(1).mul_div_ceil(1, 0), Err(AmountError::Overflow));
        assert_eq!(Amount(7).mul_div_floor(1, 2), Ok(Amount(3)));
        assert_eq!(Amount(7).mul_div_ceil(1, 2), Ok(Amount(4)));
        assert!(serde_json::from_str::<Amount>("12").is_err(), "numbers lose digits in JavaScript");
        assert_eq!(serde_json::from_str::<Amount>("\"12\"").expect("a string"), Amount(12));
    }
}
