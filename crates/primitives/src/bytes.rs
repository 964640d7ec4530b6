//! Hashes, keys and signatures: fixed-length bytes with one way of writing each.

use crate::base58;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{fmt, str::FromStr};

/// Why a text is no hash, key or signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BytesError {
    /// Not 64 hexadecimal digits.
    #[error("not a hash: write 64 hexadecimal digits")]
    Hash,
    /// Not `ed25519:` and 32 bytes in base58.
    #[error("not an ed25519 public key: write ed25519: and the key in base58")]
    PublicKey,
    /// Not `ed25519:` and 64 bytes in base58.
    #[error("not an ed25519 signature: write ed25519: and the signature in base58")]
    Signature,
}

/// 32 bytes of a hash (BLAKE3 for artifacts, SHA-256 for digests and state roots, which contracts can compute). Written in hexadecimal.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Hash32(pub [u8; 32]);

impl Hash32 {
    /// SHA-256, the hash that contracts compute cheaply.
    pub fn sha256(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The first eight digits, for logs and screens.
    pub fn short(&self) -> String {
        hex::encode(&self.0[..4])
    }
}

/// An ed25519 public key as NEAR writes it: `ed25519:` and base58.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct PublicKey(pub [u8; 32]);

/// The points of small order, as they are written with the sign bit clear: anyone can make signatures that a lax check takes for theirs.
/// The last three are not canonical. Source: the list of libsodium's `ge25519_has_small_order`.
const SMALL_ORDER: [[u8; 32]; 7] = [
    le(0, 0, 0),
    le(1, 0, 0),
    [
        0x26, 0xe8, 0x95, 0x8f, 0xc2, 0xb2, 0x27, 0xb0, 0x45, 0xc3, 0xf4, 0x89, 0xf2, 0xef, 0x98, 0xf0, 0xd5, 0xdf, 0xac, 0x05, 0xd3, 0xc6,
        0x33, 0x39, 0xb1, 0x38, 0x02, 0x88, 0x6d, 0x53, 0xfc, 0x05,
    ],
    [
        0xc7, 0x17, 0x6a, 0x70, 0x3d, 0x4d, 0xd8, 0x4f, 0xba, 0x3c, 0x0b, 0x76, 0x0d, 0x10, 0x67, 0x0f, 0x2a, 0x20, 0x53, 0xfa, 0x2c, 0x39,
        0xcc, 0xc6, 0x4e, 0xc7, 0xfd, 0x77, 0x92, 0xac, 0x03, 0x7a,
    ],
    le(0xec, 0xff, 0x7f),
    le(0xed, 0xff, 0x7f),
    le(0xee, 0xff, 0x7f),
];

const fn le(first: u8, middle: u8, last: u8) -> [u8; 32] {
    let mut bytes = [middle; 32];
    bytes[0] = first;
    bytes[31] = last;
    bytes
}

impl PublicKey {
    /// Whether the key is a point of small order, for which anyone can make signatures that a check without the strict rule takes (NEAR's `ed25519_verify` is one).
    pub fn is_small_order(&self) -> bool {
        let mut bytes = self.0;
        bytes[31] &= 0x7f;
        SMALL_ORDER.contains(&bytes)
    }
}

/// An ed25519 signature as NEAR writes it: `ed25519:` and base58.
#[derive(Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Signature(pub [u8; 64]);

fn base58<const N: usize>(text: &str) -> Option<[u8; N]> {
    let encoded = text.strip_prefix("ed25519:")?;
    if encoded.len() > 90 {
        return None;
    }
    base58::decode(encoded)
}

impl Hash32 {
    fn text(&self) -> String {
        hex::encode(self.0)
    }
}

impl FromStr for Hash32 {
    type Err = BytesError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| BytesError::Hash)?;
        Ok(Self(bytes))
    }
}

impl PublicKey {
    fn text(&self) -> String {
        base58::encode("ed25519:", &self.0)
    }
}

impl FromStr for PublicKey {
    type Err = BytesError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        base58(text).map(Self).ok_or(BytesError::PublicKey)
    }
}

impl Signature {
    fn text(&self) -> String {
        base58::encode("ed25519:", &self.0)
    }
}

impl FromStr for Signature {
    type Err = BytesError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        base58(text).map(Self).ok_or(BytesError::Signature)
    }
}

macro_rules! written_as_text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.text())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.text())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <String as Deserialize>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

written_as_text!(Hash32, PublicKey, Signature);

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn bytes__should_survive_their_text() {
        let hash = Hash32::sha256(b"starling");
        assert_eq!(hash.to_string().parse(), Ok(hash));
        let key = PublicKey([7; 32]);
        assert_eq!(key.to_string().parse(), Ok(key));
        let signature = Signature([9; 64]);
        assert_eq!(signature.to_string().parse(), Ok(signature));
    }

    #[test]
    fn bytes__should_refuse_wrong_lengths_and_kinds() {
        assert_eq!("ab".parse::<Hash32>(), Err(BytesError::Hash));
        assert_eq!("secp256k1:abc".parse::<PublicKey>(), Err(BytesError::PublicKey));
        assert_eq!(PublicKey([1; 32]).to_string().parse::<Signature>(), Err(BytesError::Signature));
    }
}
