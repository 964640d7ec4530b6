//! Texts with a greatest length, and the names of published assets.

use crate::AccountId;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::{fmt, io, str::FromStr};

/// A text of at most `MAX` bytes without control characters (line breaks are kept).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, BorshSerialize)]
#[serde(transparent)]
pub struct Text<const MAX: usize>(String);

/// Why a text was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Longer than its limit.
    #[error("the text has {len} bytes, {max} are allowed")]
    TooLong {
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// Holds a control character.
    #[error("the text holds a control character")]
    Control,
}

impl<const MAX: usize> Text<MAX> {
    /// Checks and takes a text.
    pub fn new(text: impl Into<String>) -> Result<Self, TextError> {
        let text = text.into();
        if text.len() > MAX {
            return Err(TextError::TooLong { len: text.len(), max: MAX });
        }
        if text.chars().any(|character| character.is_control() && character != '\n') {
            return Err(TextError::Control);
        }
        Ok(Self(text))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> fmt::Display for Text<MAX> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<const MAX: usize> FromStr for Text<MAX> {
    type Err = TextError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for Text<MAX> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(<String as Deserialize>::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl<const MAX: usize> BorshDeserialize for Text<MAX> {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        Self::new(String::deserialize_reader(reader)?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
    }
}

/// The name of a published asset: `PUBLISHER/SLUG`, the slug 2 to 48 of `a-z 0-9 -`, no dash at an end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize)]
pub struct AssetName {
    publisher: AccountId,
    slug: String,
}

/// Why a text names no asset.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no asset name: write PUBLISHER/NAME, the name 2 to 48 of a-z 0-9 -")]
pub struct AssetNameError {
    /// What was given, cut at 130 characters.
    pub text: String,
}

impl AssetName {
    /// Checks and joins publisher and slug.
    pub fn new(publisher: AccountId, slug: &str) -> Result<Self, AssetNameError> {
        let shape = slug.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if !shape || !(2..=48).contains(&slug.len()) || slug.starts_with('-') || slug.ends_with('-') {
            return Err(AssetNameError { text: format!("{publisher}/{slug}").chars().take(130).collect() });
        }
        Ok(Self { publisher, slug: slug.to_owned() })
    }

    /// Who published it.
    pub fn publisher(&self) -> &AccountId {
        &self.publisher
    }

    /// Its name under the publisher.
    pub fn slug(&self) -> &str {
        &self.slug
    }
}

impl fmt::Display for AssetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.publisher, self.slug)
    }
}

impl FromStr for AssetName {
    type Err = AssetNameError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || AssetNameError { text: text.chars().take(130).collect() };
        let (publisher, slug) = text.split_once('/').ok_or_else(refused)?;
        Self::new(AccountId::new(publisher).map_err(|_| refused())?, slug)
    }
}

impl Serialize for AssetName {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AssetName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <String as Deserialize>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl BorshDeserialize for AssetName {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        let (publisher, slug) = <(AccountId, String)>::deserialize_reader(reader)?;
        Self::new(publisher, &slug).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
    }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn text__should_keep_its_limit() {
        assert!(Text::<4>::new("four").is_ok());
        assert_eq!(Text::<4>::new("fives"), Err(TextError::TooLong { len: 5, max: 4 }));
        assert_eq!(Text::<4>::new("a\u{7}"), Err(TextError::Control));
        assert!(Text::<4>::new("a\nb").is_ok());
    }

    #[test]
    fn asset_name__should_need_publisher_and_slug() {
        assert!("alice.starling/rust-small".parse::<AssetName>().is_ok());
        for bad in ["alice", "alice/", "alice/-x", "alice/X", "Al/ice", "alice/a", "alice/a/b"] {
            assert!(bad.parse::<AssetName>().is_err(), "{bad}");
        }
    }
}
