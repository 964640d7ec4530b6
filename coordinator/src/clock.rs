//! The wall clock, read at the rim only.

use starling_primitives::TimestampMs;
use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970.
pub fn now() -> TimestampMs {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs(u64::try_from(passed.as_millis()).unwrap_or(u64::MAX))
}
