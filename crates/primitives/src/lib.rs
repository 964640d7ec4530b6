//! The words of Starling as types: ids, money, time, hashes and fractions that cannot hold a wrong value.
//!
//! Every type validates in its constructor and again when it is read from JSON or borsh. Nothing here does I/O.

mod account;
mod amount;
mod base58;
mod bytes;
mod fraction;
mod ids;
mod text;
mod time;

pub use account::{AccountId, AccountIdError};
pub use amount::{Amount, AmountError, Asset, AssetError, YOCTO_PER_NEAR, grouped};
pub use bytes::{BytesError, Hash32, PublicKey, Signature};
pub use fraction::{BasisPoints, BasisPointsError};
pub use ids::{EscrowId, LeaseId, NodeId, OfferId, RunId};
pub use text::{AssetName, AssetNameError, Text, TextError};
pub use time::{DurationMs, TimestampMs};
