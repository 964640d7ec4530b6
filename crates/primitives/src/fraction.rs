//! Fractions in basis points.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::{fmt, io};

/// A fraction in ten-thousandths, 0 to 10,000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, BorshSerialize)]
#[serde(transparent)]
pub struct BasisPoints(u16);

/// The number is above 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} basis points are more than the whole: use 0 to 10000")]
pub struct BasisPointsError(pub u16);

impl BasisPoints {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The whole.
    pub const ONE: Self = Self(10_000);

    /// Checks and takes a number of ten-thousandths.
    pub const fn new(value: u16) -> Result<Self, BasisPointsError> {
        if value > 10_000 { Err(BasisPointsError(value)) } else { Ok(Self(value)) }
    }

    /// The number of ten-thousandths.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for BasisPoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02} %", self.0 / 100, self.0 % 100)
    }
}

impl<'de> Deserialize<'de> for BasisPoints {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(<u16 as Deserialize>::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl BorshDeserialize for BasisPoints {
    fn deserialize_reader<R: io::Read>(reader: &mut R) -> io::Result<Self> {
        Self::new(u16::deserialize_reader(reader)?).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
    }
}
