//! Time as rules see it: milliseconds, always given by the caller.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Milliseconds since 1970 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(transparent)]
pub struct TimestampMs(pub u64);

/// A length of time in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(transparent)]
pub struct DurationMs(pub u64);

impl DurationMs {
    /// Whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds * 1_000)
    }

    /// Whole hours.
    pub const fn from_hours(hours: u64) -> Self {
        Self(hours * 3_600_000)
    }

    /// Whole days.
    pub const fn from_days(days: u64) -> Self {
        Self::from_hours(days * 24)
    }
}

impl TimestampMs {
    /// This moment and a length of time later; stays at the end of time when it would pass it.
    pub const fn after(self, duration: DurationMs) -> Self {
        Self(self.0.saturating_add(duration.0))
    }

    /// How long ago `earlier` was; nothing when it lies ahead.
    pub const fn since(self, earlier: Self) -> DurationMs {
        DurationMs(self.0.saturating_sub(earlier.0))
    }
}

impl fmt::Display for TimestampMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms since 1970", self.0)
    }
}

/// The two largest units that are not zero side by side, such as `2 h 1 min`, `3 min` or `0 s`.
impl fmt::Display for DurationMs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 / 1_000;
        match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60) {
            (0, 0, 0, s) => write!(f, "{s} s"),
            (0, 0, m, 0) => write!(f, "{m} min"),
            (0, 0, m, s) => write!(f, "{m} min {s} s"),
            (0, h, 0, _) => write!(f, "{h} h"),
            (0, h, m, _) => write!(f, "{h} h {m} min"),
            (d, 0, _, _) => write!(f, "{d} d"),
            (d, h, _, _) => write!(f, "{d} d {h} h"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    #[test]
    fn duration__should_be_told_without_parts_that_are_zero() {
        let told = [0, 59, 60, 185, 3_600, 7_260, 86_400, 90_000].map(|seconds| DurationMs::from_secs(seconds).to_string());
        assert_eq!(told, ["0 s", "59 s", "1 min", "3 min 5 s", "1 h", "2 h 1 min", "1 d", "1 d 1 h"]);
    }
}
