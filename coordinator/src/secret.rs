//! Randomness and session tokens. Tokens are shown once; only their hashes are kept.

use starling_primitives::Hash32;

/// Fresh random bytes from the system.
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    // Without randomness no secret can be made, and going on would be worse than stopping.
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    bytes
}

/// Fresh random bytes in hexadecimal.
pub fn random_hex<const N: usize>() -> String {
    hex::encode(random_bytes::<N>())
}

/// What is kept of a token.
pub fn token_hash(token: &str) -> Hash32 {
    Hash32::sha256(token.as_bytes())
}
