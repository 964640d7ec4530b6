//! Login with a wallet by NEP-413: a message with a server nonce that is used once, bound to this site, this chain and an expiry.

use serde::{Deserialize, Serialize};
use starling_primitives::{AccountId, PublicKey, Signature, TimestampMs};

/// Asks for something to sign.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChallengeRequest {
    /// Who will sign, if known already: the message then names the account.
    pub account_id: Option<AccountId>,
}

/// What the wallet signs (NEP-413: message, recipient, nonce).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// The text a person sees: site, chain and expiry in words.
    pub message: String,
    /// The recipient: this site's origin.
    pub recipient: String,
    /// 32 bytes in standard base64; used once.
    pub nonce: String,
    /// Dead after this.
    pub expires_at: TimestampMs,
}

/// The wallet's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// Who signed.
    pub account_id: AccountId,
    /// By which key; must be a full-access key of the account on chain.
    pub public_key: PublicKey,
    /// Over the NEP-413 payload.
    pub signature: Signature,
    /// The challenge's nonce in standard base64.
    pub nonce: String,
}

/// An open session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// For `Authorization: Bearer`; a browser uses the cookie instead. A secret.
    pub token: String,
    /// Whose it is.
    pub account_id: AccountId,
    /// Dead after this.
    pub expires_at: TimestampMs,
}

/// Who is logged in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionInfo {
    /// Whose session it is.
    pub account_id: AccountId,
    /// Dead after this.
    pub expires_at: TimestampMs,
}

/// The bytes of a NEP-413 payload: tag 2^31 + 413, message, nonce, recipient, no callback, in borsh. What is signed is their SHA-256.
pub fn nep413_bytes(message: &str, nonce: [u8; 32], recipient: &str) -> Vec<u8> {
    let text = |out: &mut Vec<u8>, text: &str| {
        out.extend(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
        out.extend(text.as_bytes());
    };
    let mut out = 2_147_484_061_u32.to_le_bytes().to_vec();
    text(&mut out, message);
    out.extend(nonce);
    text(&mut out, recipient);
    out.push(0);
    out
}
