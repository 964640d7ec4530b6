//! NEAR account names.

use crate::Hash32;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::{fmt, io, str::FromStr};

/// A NEAR account name: 2 to 64 characters of `a-z 0-9 - _ .`, separators neither doubled nor at an end (NEP-448's rule).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, BorshSerialize)]
#[serde(transparent)]
pub struct AccountId(String);

/// Why a text is no account name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a NEAR account name: use 2 to 64 of a-z 0-9 - _ . with no separator doubled or at an end")]
pub struct AccountIdError {
    /// What was given, cut at 80 characters.
    pub text: String,
}

impl AccountId {
    /// Checks and takes a name.
    pub fn new(text: impl Into<String>) -> Result<Self, AccountIdError> {
        let text = text.into();
        if is_valid(&text) {
            return Ok(Self(text));
        }
        Err(AccountIdError { text: text.chars().take(80).collect() })
    }

    /// The name of 64 hexadecimal digits, which NEAR gives to whoever has the key of these bytes.
    pub fn of_hash(hash: &Hash32) -> Self {
        Self(hash.to_string())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The account `name.self`.
    pub fn sub_account(&self, name: &str) -> Result<Self, AccountIdError> {
        Self::new(format!("{name}.{}", self.0))
    }
}

fn is_valid(text: &str) -> bool {
    if !(2..=64).contains(&text.len()) {
        return false;
    }
    let mut after_separator = true;
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' => after_separator = false,
            b'-' | b'_' | b'.' if !after_separator => after_separator = true,
            _ => return false,
        }
    }
    !after_separator
}

impl FromStr for AccountId {
    type Err = AccountIdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for AccountId {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for AccountId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(<String as Deserialize>::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl BorshDeserialize for AccountId {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        Self::new(String::deserialize_reader(reader)?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
    }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn account_id__should_follow_nears_rule() {
        for good in ["ok", "bob", "a-b_c.d", "provider-1.starling", &"a".repeat(64), "0123"] {
            assert!(AccountId::new(good).is_ok(), "{good}");
        }
        for bad in ["", "a", "A.b", ".a", "a.", "a..b", "a-_b", "-ab", "ab_", "ä.near", &"a".repeat(65), "a b"] {
            assert!(AccountId::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn account_id__should_be_checked_when_read() {
        assert!(serde_json::from_str::<AccountId>("\"Bad\"").is_err());
        let bytes = borsh::to_vec("a..b").expect("borsh writes text");
        assert!(borsh::from_slice::<AccountId>(&bytes).is_err());
    }
}
