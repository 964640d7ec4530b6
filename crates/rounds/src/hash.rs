//! The two hashes of this crate: BLAKE3 names artifacts, SHA-256 binds what a contract may have to recompute.

use sha2::{Digest as _, Sha256};

pub use starling_primitives::Hash32;

/// Name of an artifact: BLAKE3 of its bytes.
pub fn artifact_hash(bytes: &[u8]) -> Hash32 {
    Hash32(*blake3::hash(bytes).as_bytes())
}

/// SHA-256 of `domain`, a zero byte and the parts. Domains hold no zero byte, so no domain is the prefix of another.
///
/// Parts are not delimited: callers pass parts of fixed length, or one last part of variable length.
pub(crate) fn tagged(domain: &str, parts: &[&[u8]]) -> Hash32 {
    let mut hasher = Sha256::new();
    hasher.update(domain.as_bytes());
    hasher.update([0]);
    for part in parts {
        hasher.update(part);
    }
    Hash32(hasher.finalize().into())
}
