//! Artifacts: bytes named by their BLAKE3 hash. Only those may read who own them, bought them, or work on them.

use serde::{Deserialize, Serialize};
use starling_primitives::Hash32;

/// The largest artifact that is taken in one request, in bytes.
pub const MAX_BYTES: u64 = 512 * 1024 * 1024;

/// The answer to an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Its hash, computed by the store.
    pub hash: Hash32,
    /// Its size.
    pub bytes: u64,
}
