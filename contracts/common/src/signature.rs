//! Signatures of nodes, meters and vouchers.

use crate::require;
use near_sdk::env;
use starling_primitives::{PublicKey, Signature};

/// Whether `key` signed the bytes. The key must have passed [`require_strong_key`] when it was registered: NEAR's own check is not strict.
pub fn is_signed(bytes: &[u8], signature: &Signature, key: &PublicKey) -> bool {
    env::ed25519_verify(&signature.0, bytes, &key.0)
}

/// Panics if anyone could forge signatures of this key (a point of small order).
pub fn require_strong_key(key: &PublicKey) {
    require(!key.is_small_order(), "the public key is of small order: anyone could forge its signatures");
}
