//! Who pays gas for accounts that hold no NEAR, and makes accounts for people who have none. Never what a job costs.

use serde::{Deserialize, Serialize};
use starling_primitives::{AccountId, PublicKey};

/// The most bytes of arguments of a sponsored call.
pub const MAX_ARGS_BYTES: usize = 16 * 1_024;

/// What the sponsor does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SponsorInfo {
    /// Its account: it signs the transactions, and new accounts are named below it.
    pub account: AccountId,
    /// The calls that it sends for others.
    pub calls: Vec<SponsoredCall>,
}

/// A call that the sponsor sends for others, with one yocto attached at most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SponsoredCall {
    /// The contract, one of ours.
    pub contract: AccountId,
    /// The method.
    pub method: String,
    /// The most gas.
    pub gas: u64,
}

/// Asks for an account that holds nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewAccount {
    /// Its name below the sponsor's: 2 to 40 small letters, digits, `-` and `_`.
    pub name: String,
    /// Its full-access key.
    pub public_key: PublicKey,
}

/// The account that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeAccount {
    /// Its whole name.
    pub account_id: AccountId,
}

/// A call that the caller's account signed (NEP-366).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelayCall {
    /// Borsh of the signed delegate action, in standard base64.
    pub signed_delegate_action: String,
}

/// The transaction that the sponsor sent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relayed {
    /// Its hash in base58.
    pub hash: String,
    /// Who signed it: the chain's RPC asks for it beside the hash.
    pub signer: AccountId,
}
