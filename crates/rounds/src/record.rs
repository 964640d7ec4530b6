//! The round record: what a round accepted and refused, and the digest that goes into the chain of records.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use starling_primitives::RunId;

use crate::draw::Committed;
use crate::gate::{Nats, Score};
use crate::hash::{Hash32, tagged};

const RECORD_DOMAIN: &str = "starling/round-record/3";
const GENESIS_DOMAIN: &str = "starling/run-genesis/1";

/// What the coordinator proposes for a round and its nodes check, apply and sign by digest.
///
/// Public fields: it is a message, and [`Self::check`] is what makes it trusted.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoundRecord {
    /// The run's number on chain.
    pub run: RunId,
    /// Rounds count from 0; round n makes outer step n.
    pub round: u32,
    /// Digest of the record of the round before; of round 0, [`genesis_digest`].
    pub previous_digest: Hash32,
    /// State root before this round.
    pub previous_state_root: Hash32,
    /// Place in the schedule: inner steps that each participant was assigned before this round.
    pub first_inner_step: u64,
    /// Inner steps assigned in this round.
    pub inner_steps: u32,
    /// Nodes in this round's roster; participants are indices below it.
    pub roster_size: u16,
    /// Who scored; `None` if nobody committed.
    pub scorer: Option<ScorerDraw>,
    /// Loss of the state before the round on the round's unseen windows, the lower where two judges measured it: one of them alone cannot send the
    /// run back. `None` if nobody scored.
    pub probe: Option<Nats>,
    /// In rising order of participant, at most one each. Who is missing neither committed nor delivered.
    pub entries: Vec<Entry>,
}

/// How the scorer was drawn, by [`crate::scorer_order`] over the participants that committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScorerDraw {
    /// What became known after the commitments were frozen.
    pub seed: Hash32,
    /// How many before it in the order did not answer.
    pub skipped: u16,
    /// The one who scored all but its own update, which the next in the order scored; the last is followed by the first.
    pub scorer: u16,
}

/// What became of one participant's work.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Index in the roster.
    pub participant: u16,
    /// Tokens of the steps that the coordinator assigned to it when the round began; what it says of itself counts nowhere.
    pub assigned_tokens: u32,
    /// Accepted or refused.
    pub outcome: Outcome,
}

/// Accepted with its numbers, or refused with the reason.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Outcome {
    /// It is part of the mean and paid, both by its assigned tokens.
    Accepted {
        /// Hash of the update's bytes, as committed.
        update_hash: Hash32,
        /// From [`crate::clip_factors`] over all accepted updates, in 256ths.
        clip_factor_256: u16,
        /// What the scorer measured.
        score: Score,
    },
    /// It earns nothing.
    Refused {
        /// What was committed before the freeze, if anything was.
        update_hash: Option<Hash32>,
        /// What the scorer measured, if it came to that.
        score: Option<Score>,
        /// Why.
        reason: Refusal,
    },
}

/// Why work was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The commitment, or the bytes committed to, came after the round had closed.
    Late,
    /// A value, or the loss it leads to, is not finite.
    NotFinite,
    /// Not a canonical update of this run's layout.
    WrongShape,
    /// The loss on own data does not fall as work makes it fall: zeros, noise, flipped signs.
    GateRefused,
    /// The same as another's update, or not made from the assigned data.
    Copied,
    /// The loss on unseen data rises by much.
    LossSpike,
    /// It is longer than work of so many tokens can make it ([`crate::too_long`]).
    TooLong,
}

impl Entry {
    /// What the participant committed to before the freeze.
    pub fn commitment(&self) -> Option<Committed> {
        let update = match self.outcome {
            Outcome::Accepted { update_hash, .. } => Some(update_hash),
            Outcome::Refused { update_hash, .. } => update_hash,
        };
        Some(Committed { participant: self.participant, update: update?, assigned_tokens: self.assigned_tokens })
    }

    /// The score, if there is one.
    pub fn score(&self) -> Option<Score> {
        match self.outcome {
            Outcome::Accepted { score, .. } => Some(score),
            Outcome::Refused { score, .. } => score,
        }
    }
}

impl RoundRecord {
    /// SHA-256 of the record's borsh bytes in a domain of its own: what goes on chain.
    pub fn digest(&self) -> Hash32 {
        // Borsh fails only where a writer does, or beyond 2^32 entries; a `Vec` does not, and u16 indices are fewer.
        let bytes = borsh::to_vec(self).unwrap_or_default();
        tagged(RECORD_DOMAIN, &[&bytes])
    }

    /// All commitments made before the freeze, in order.
    pub fn commitments(&self) -> Vec<Committed> {
        self.entries.iter().filter_map(Entry::commitment).collect()
    }

    /// Whose work was accepted, in order.
    pub fn accepted(&self) -> impl Iterator<Item = u16> {
        let accepted = |entry: &&Entry| matches!(entry.outcome, Outcome::Accepted { .. });
        self.entries.iter().filter(accepted).map(|entry| entry.participant)
    }

    /// Accepted tokens for each place in the roster, 0 where nothing was accepted: what the round's statement says.
    pub fn tokens_by_place(&self) -> Vec<u32> {
        let mut tokens_by_place = vec![0; usize::from(self.roster_size)];
        for entry in &self.entries {
            if matches!(entry.outcome, Outcome::Accepted { .. })
                && let Some(place) = tokens_by_place.get_mut(usize::from(entry.participant))
            {
                *place = entry.assigned_tokens;
            }
        }
        tokens_by_place
    }
}

/// Where the chain of a run's records begins: binds the run and the state it starts from.
pub fn genesis_digest(run: RunId, initial_state_root: Hash32) -> Hash32 {
    tagged(GENESIS_DOMAIN, &[&run.0.to_le_bytes(), &initial_state_root.0])
}
