//! A share of a round as it was claimed, in a file beside the artifacts that it names: what anyone needs to make it again.

use serde::{Deserialize, Serialize};
use starling_primitives::Hash32;
use starling_protocol::signing::SignedCommitment;

/// Name of the file. Each artifact that it names lies beside it in a file named by its hash.
pub const FILE: &str = "share.json";

/// A share as its node claims to have made it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimedShare {
    /// What the node signed, before anyone saw its update.
    pub claim: SignedCommitment,
    /// The node's place in the roster, which is its slot of the data.
    pub place: u16,
    /// The run's recipe; one with adapters names the model that they are for.
    pub recipe: Hash32,
    /// The run's training data.
    pub data: Hash32,
    /// What the run is measured on.
    pub held_out: Hash32,
    /// The outer state before the round.
    pub state: Hash32,
    /// Tokens of each place that had been accepted before the round.
    pub accepted_tokens: Vec<u64>,
}

/// What making a share again gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What of the claim does not hold; nothing where all of it was reproduced, bit for bit.
    pub deviation: Option<String>,
}
