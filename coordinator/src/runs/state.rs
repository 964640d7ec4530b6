//! The state of a run's work, stored as JSON at each transition.

use serde::{Deserialize, Serialize};
use starling_http_api::run::{HeldOut, RunResult};
use starling_primitives::{Hash32, NodeId, RunId, Signature, TimestampMs};
use starling_protocol::{
    run::{Member, Run},
    signing::{RoundStatement, SignedCommitment},
};
use starling_rounds::{Nats, Pace, Refusal, Score, genesis_digest, recipe::InnerSteps};
use std::collections::BTreeMap;

/// What the coordinator keeps of a run beyond the chain's record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunWork {
    /// The run.
    pub run_id: RunId,
    /// Artifact of the outer state after the last round that counted.
    pub state: Hash32,
    /// Its root.
    pub state_root: Hash32,
    /// Artifact of the outer state one round earlier.
    #[serde(default)]
    pub earlier: Option<Hash32>,
    /// Digest of the last round record, or where the chain of records begins.
    pub previous_digest: Hash32,
    /// Rounds that counted, as far as this work has followed the chain.
    pub rounds_done: u32,
    /// Where it stands.
    pub stage: Stage,
    /// On held-out data before the first round, and the last figure.
    pub held_out: Option<(HeldOut, HeldOut)>,
    /// Rounds that had counted at the last evaluation.
    pub evaluated: Option<u32>,
    /// Who scored last.
    pub last_scorer: Option<u16>,
    /// Accepted tokens a second over the last round.
    pub tokens_per_second: Option<f64>,
    /// Bytes of updates so far.
    pub bytes_exchanged: u64,
    /// What came out.
    pub result: Option<RunResult>,
    /// Inner steps of a round by the recipe, once it was checked that the tenant may use what the terms name.
    pub admitted: Option<u32>,
    /// How many of them each node makes, by the recipe.
    #[serde(default)]
    pub inner_steps: InnerSteps,
    /// Name of the data that its nodes keep and train on, where it is federated.
    #[serde(default)]
    pub federated: Option<String>,
    /// What was seen of each place in the last paced round that it committed in, unless its work was refused.
    #[serde(default)]
    pub paces: BTreeMap<u16, Pace>,
    /// Why this coordinator does not serve the run, if so.
    pub not_served: Option<String>,
}

/// Where a run's work stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Training has not begun.
    Waiting,
    /// Nodes train; commitments come in.
    Collecting {
        /// Since when.
        since: TimestampMs,
        /// What each node was assigned.
        #[serde(default)]
        assigned: Assigned,
        /// When each place was first told to begin, where steps are paced.
        #[serde(default)]
        told: BTreeMap<u16, TimestampMs>,
        /// By place in the roster.
        commitments: BTreeMap<u16, Committed>,
    },
    /// Commitments are frozen; updates are uploaded and a block that came later gives the seed.
    Revealing {
        /// What was frozen.
        frozen: Frozen,
        /// Sizes of uploaded updates by place.
        revealed: BTreeMap<u16, u64>,
        /// The seed, once its block is final.
        seed: Option<Hash32>,
    },
    /// Updates are decoded and compared.
    Inspecting {
        /// What was frozen.
        frozen: Frozen,
        /// Sizes of uploaded updates by place.
        revealed: BTreeMap<u16, u64>,
        /// What draws the scorer.
        seed: Hash32,
    },
    /// A node scores what is not its own, another scores that one's.
    Scoring {
        /// The updates and who is drawn.
        scoring: Scored,
        /// Since when these two are asked.
        asked_at: TimestampMs,
    },
    /// The round record is made.
    Recording {
        /// The updates with their scores.
        scored: Scored,
    },
    /// Nodes check, apply and sign; then the meter; then the chain.
    Signing {
        /// What is signed.
        made: Box<Made>,
        /// By place.
        signatures: BTreeMap<u16, Signature>,
        /// When the quorum was reached.
        quorum_at: Option<TimestampMs>,
        /// The meter's.
        meter: Option<Signature>,
    },
    /// The run ended: a node makes the result.
    Exporting {
        /// Who is asked.
        asked: Option<NodeId>,
        /// Since when.
        asked_at: TimestampMs,
        /// How many were asked before.
        tries: u32,
    },
    /// Nothing is left to do.
    Done,
}

/// Inner steps that each place was assigned in a round; of a place that is not here, all that the recipe plans.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Assigned(pub Vec<u32>);

/// A commitment as it came in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// Hash of the update.
    pub update: Hash32,
    /// Inner steps made.
    pub steps: u32,
    /// When.
    pub at: TimestampMs,
    /// The whole of it, for who has the work made again.
    #[serde(default)]
    pub signed: Option<SignedCommitment>,
}

/// Commitments that nobody can change any more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frozen {
    /// When the round began.
    pub since: TimestampMs,
    /// When they were frozen.
    pub at: TimestampMs,
    /// The chain's height then: the seed comes from a later block.
    pub height: u64,
    /// What each node was assigned.
    #[serde(default)]
    pub assigned: Assigned,
    /// By place.
    pub commitments: BTreeMap<u16, Committed>,
}

/// Updates that are decoded, and their scores once there are any.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scored {
    /// What was frozen.
    pub frozen: Frozen,
    /// Sizes of uploaded updates by place.
    pub revealed: BTreeMap<u16, u64>,
    /// What draws the scorer.
    pub seed: Hash32,
    /// How many of the drawn order did not answer.
    pub skipped: u16,
    /// Places whose updates are to be scored.
    pub valid: Vec<u16>,
    /// What was refused before scoring.
    pub refused: BTreeMap<u16, Refusal>,
    /// By place; nothing where a loss was not finite.
    pub scores: BTreeMap<u16, Option<Score>>,
    /// Loss of the state before the round on its unseen windows; the lower of two.
    #[serde(default)]
    pub probe: Option<Nats>,
}

/// A round that is ready to be signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Made {
    /// When the round began.
    pub since: TimestampMs,
    /// Artifact of the round record.
    pub record: Hash32,
    /// What is signed.
    pub statement: RoundStatement,
    /// Artifact of the outer state after it.
    pub state: Hash32,
    /// Accepted updates by place.
    pub updates: Vec<Option<Hash32>>,
    /// Why updates were refused, by place.
    pub refused: Vec<Option<Refusal>>,
    /// What was measured of updates, by place.
    #[serde(default)]
    pub scores: Vec<Option<Score>>,
    /// Commitments by place.
    #[serde(default)]
    pub commitments: Vec<Option<SignedCommitment>>,
    /// Bytes of updates.
    pub bytes: u64,
    /// Who scored.
    pub scorer: Option<u16>,
    /// Whether it took back the step before it.
    #[serde(default)]
    pub rolled_back: bool,
}

/// Whether a node is connected, and since when that is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// Whether it is.
    pub connected: bool,
    /// Since when.
    pub since: TimestampMs,
}

/// What the state machine may look at.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The chain's record.
    pub run: &'a Run,
    /// This machine's time.
    pub now: TimestampMs,
    /// The chain's time.
    pub chain_now: TimestampMs,
    /// The chain's height.
    pub height: u64,
    /// When this process began: nobody could answer before.
    pub booted_at: TimestampMs,
    /// Nodes that are or were connected.
    pub presence: &'a BTreeMap<NodeId, Presence>,
}

/// What happens to a run's work.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Time passed, the chain moved, or a node came or went.
    Tick,
    /// A node's signed commitment; its signature was checked.
    Committed {
        /// Whose.
        place: u16,
        /// For which round, and what.
        signed: SignedCommitment,
    },
    /// The artifact that was committed to is stored.
    Revealed {
        /// Whose.
        place: u16,
        /// For which round.
        round: u32,
        /// Its size.
        bytes: u64,
    },
    /// The block after the freeze is final.
    SeedDrawn {
        /// For which round.
        round: u32,
        /// Its hash.
        seed: Hash32,
    },
    /// Updates were decoded and compared.
    Inspected {
        /// For which round.
        round: u32,
        /// Those to be scored.
        valid: Vec<u16>,
        /// Those refused at once.
        refused: BTreeMap<u16, Refusal>,
    },
    /// A scorer's answer.
    Scored {
        /// Who answers.
        place: u16,
        /// For which round.
        round: u32,
        /// By place; nothing where a loss was not finite.
        scores: BTreeMap<u16, Option<Score>>,
        /// Loss of the state before the round on its unseen windows.
        probe: Option<Nats>,
    },
    /// The round record is made and stored.
    RecordMade(Box<Made>),
    /// A node's signature; it was checked.
    Signed {
        /// Whose.
        place: u16,
        /// For which round.
        round: u32,
        /// In the role of node.
        signature: Signature,
    },
    /// The meter's signature; it was checked.
    Meter {
        /// For which round.
        round: u32,
        /// In the role of meter.
        signature: Signature,
    },
    /// A held-out figure.
    Evaluated {
        /// Rounds that had counted.
        rounds_done: u32,
        /// Of the whole model.
        loss: HeldOut,
    },
    /// What a node made of the final state; its artifacts are stored.
    Exported(Box<RunResult>),
    /// The tenant may use what the terms name, and the recipe fits them.
    Admitted {
        /// By the recipe.
        inner_steps_per_round: u32,
        /// How many of them each node makes, by the recipe.
        inner_steps: InnerSteps,
        /// Name of the data that its nodes keep and train on, by the recipe.
        federated: Option<String>,
    },
    /// This coordinator will not serve the run.
    Refuse(String),
}

impl RunWork {
    /// The work of a run that was just seen.
    pub fn new(run: &Run) -> Self {
        Self {
            run_id: run.id,
            state: run.terms.base,
            state_root: run.terms.base_root,
            earlier: None,
            previous_digest: genesis_digest(run.id, run.terms.base_root),
            rounds_done: 0,
            stage: Stage::Waiting,
            held_out: None,
            evaluated: None,
            last_scorer: None,
            tokens_per_second: None,
            bytes_exchanged: 0,
            result: None,
            admitted: None,
            inner_steps: InnerSteps::Equal,
            federated: None,
            paces: BTreeMap::new(),
            not_served: None,
        }
    }

    /// What waits for the meter: at least a quorum signed it.
    pub fn pending(&self) -> Option<&Made> {
        match &self.stage {
            Stage::Signing { made, quorum_at: Some(_), meter: None, .. } => Some(made),
            _ => None,
        }
    }
}

impl Assigned {
    /// Steps of a place; nothing where they are all that the recipe plans.
    pub fn steps(&self, place: u16) -> Option<u32> {
        self.0.get(usize::from(place)).copied()
    }
}

impl View<'_> {
    /// Members that have not left, with their places.
    pub fn present(&self) -> impl Iterator<Item = (u16, &Member)> {
        let placed = self.run.roster.iter().enumerate().filter_map(|(place, member)| Some((u16::try_from(place).ok()?, member)));
        placed.filter(|(_, member)| !member.left)
    }

    /// The member at a place.
    pub fn member(&self, place: u16) -> Option<&Member> {
        self.run.roster.get(usize::from(place))
    }

    /// Whether a node is connected.
    pub fn is_connected(&self, node: NodeId) -> bool {
        self.presence.get(&node).is_some_and(|presence| presence.connected)
    }

    /// Whether a node has been away for so long, counted from the start of this process at the earliest.
    pub fn is_away(&self, node: NodeId, for_ms: u64) -> bool {
        match self.presence.get(&node) {
            Some(presence) => !presence.connected && self.now.since(presence.since).0 >= for_ms,
            None => self.now.since(self.booted_at).0 >= for_ms,
        }
    }
}
