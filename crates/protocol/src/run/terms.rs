//! What the tenant of a run pays for, and its limits.

use super::{MAX_ENROLL_TIME, MAX_ROSTER, MAX_ROUND_TIME, MAX_ROUNDS, RUN_MARGIN, RunError};
use crate::{
    escrow::{MAX_OBJECTION_WINDOW, MAX_VESTING_PAYEES},
    meter::{Delegate, MAX_SHARE},
    price::{is_near, near},
};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use starling_primitives::{Amount, Asset, DurationMs, Hash32, NodeId, PublicKey, TimestampMs};

/// What the tenant pays for: fixed in the payment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(deny_unknown_fields)]
pub struct RunTerms {
    /// Hash of the canonical recipe, an artifact.
    pub recipe: Hash32,
    /// Hash of the training data, an artifact.
    pub data: Hash32,
    /// Hash of the held-out data, an artifact.
    pub held_out: Hash32,
    /// Hash of the outer state that training starts from, an artifact; its root is `base_root`.
    pub base: Hash32,
    /// State root before the first round.
    pub base_root: Hash32,
    /// How many rounds.
    pub rounds: u32,
    /// Fewer nodes than this do not start.
    pub min_nodes: u16,
    /// At most so many nodes.
    pub max_nodes: u16,
    /// Tokens assigned to each node in each round.
    pub tokens_per_round: u32,
    /// One price per accepted token, by the million.
    pub price_per_million_tokens: Amount,
    /// How long enrolling takes at most.
    pub enroll_time: DurationMs,
    /// How long a round takes at most.
    pub round_time: DurationMs,
    /// The key that co-signs each round: the tenant's own, or a delegate's.
    pub meter: PublicKey,
    /// How long the result must be served before the holdback vests.
    pub availability: DurationMs,
    /// Only these nodes may enroll; anyone when empty. 64 at most.
    pub invited: Vec<NodeId>,
    /// What the price is in, and what the run is paid in: NEAR, or a token that `billing` takes, in its smallest units.
    #[serde(default = "near", skip_serializing_if = "is_near")]
    pub asset: Asset,
    /// Whose service the meter is; nothing if it is the tenant's own. It stays the meter to the end, and at most [`MAX_VESTING_PAYEES`] - 1 nodes may enroll then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delegate: Option<Box<Delegate>>,
    /// How long the tenant may object to each post: 0 if the meter is its own key, else up to [`MAX_OBJECTION_WINDOW`]. Whoever enrolls accepts it.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub objection_window: DurationMs,
}

impl RunTerms {
    /// Whether the terms are within their limits.
    pub fn check(&self) -> Result<(), RunError> {
        let refused = |what| Err(RunError::Terms(what));
        match self {
            terms if terms.rounds == 0 || terms.rounds > MAX_ROUNDS => refused("rounds must be 1 to 100000"),
            terms if terms.min_nodes == 0 || terms.min_nodes > terms.max_nodes || terms.max_nodes > MAX_ROSTER => {
                refused("nodes must satisfy 1 <= min_nodes <= max_nodes <= 64")
            }
            terms if terms.tokens_per_round == 0 => refused("tokens_per_round must not be 0"),
            terms if terms.round_time < DurationMs::from_secs(1) || terms.round_time > MAX_ROUND_TIME => {
                refused("round_time must be 1 s to 24 h")
            }
            terms if terms.enroll_time < DurationMs::from_secs(1) || terms.enroll_time > MAX_ENROLL_TIME => {
                refused("enroll_time must be 1 s to 24 h")
            }
            terms if terms.invited.len() > usize::from(MAX_ROSTER) => refused("at most 64 nodes may be invited"),
            terms => terms.check_delegate(),
        }
    }

    /// Posts that a delegate co-signed vest, others are final.
    fn check_delegate(&self) -> Result<(), RunError> {
        let refused = |what| Err(RunError::Terms(what));
        match &self.delegate {
            None if self.objection_window > DurationMs(0) => refused("an objection window wants a delegate"),
            None => Ok(()),
            Some(_) if self.objection_window == DurationMs(0) || self.objection_window > MAX_OBJECTION_WINDOW => {
                refused("with a delegate, objection_window must be up to 7 days")
            }
            Some(delegate) if delegate.share > MAX_SHARE => refused("a delegate's share may be a quarter at most"),
            Some(_) if self.max_payees() > MAX_VESTING_PAYEES => refused("with a delegate, at most 31 nodes may enroll"),
            Some(_) => Ok(()),
        }
    }

    /// The most payees of the run's escrow.
    pub fn max_payees(&self) -> u16 {
        self.max_nodes + u16::from(self.delegate.is_some())
    }

    /// When the escrow of a run created at `now` expires: every phase at its longest, and a margin.
    pub fn expires_at(&self, now: TimestampMs) -> TimestampMs {
        let rounds = DurationMs(self.round_time.0.saturating_mul(u64::from(self.rounds)));
        now.after(self.enroll_time).after(rounds).after(RUN_MARGIN)
    }
}

fn is_nothing(window: &DurationMs) -> bool {
    *window == DurationMs(0)
}
