//! What coordinator and nodes say to each other over the WebSocket, and nodes as the dashboard sees them.
//!
//! A round: `StartRound` -> training, `Progress` -> `Committed` (hash only) -> `Reveal` -> upload, `Revealed` -> `Score` to a node drawn after the commitments,
//! and to the next in the order for the drawn one's own update -> `Scored` -> `Record` to all -> `RoundSigned`. A node that reconnects is sent where its runs and leases stand.

use crate::{
    job::{JobSpec, Metric},
    run::Base,
};
use serde::{Deserialize, Serialize};
use starling_contract_api::compute::Offer;
use starling_primitives::{Hash32, LeaseId, RunId, Signature, TimestampMs};
use starling_protocol::{
    node::Node,
    run::RunTerms,
    signing::{Commitment, LeaseStatement, NodeHello, RoundStatement},
};

/// The largest message in bytes; bytes of work travel as artifacts.
pub const MAX_MESSAGE_BYTES: usize = 256 * 1024;
/// A node that was silent for so long is taken for lost.
pub const SILENCE_MS: u64 = 15_000;
/// A node sends a sign of life at least this often.
pub const HEARTBEAT_MS: u64 = 4_000;

/// From coordinator to node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "say")]
pub enum ToNode {
    /// Sign this to prove your key. First message of a connection.
    Challenge {
        /// Used once.
        nonce: Hash32,
        /// The origin that must be in the signed hello.
        origin: String,
        /// Dead after this.
        expires_at: TimestampMs,
    },
    /// The key was checked on chain.
    Welcome {
        /// For `Authorization: Bearer` when moving artifacts. A secret.
        token: String,
    },
    /// The connection is refused; the node says why and does not dial again at once.
    Refused {
        /// Stable code, such as `node_unregistered`.
        code: String,
        /// In words.
        detail: String,
    },
    /// Check a recipe and data, and make the base state.
    Prepare {
        /// Names the answer.
        request_id: u64,
        /// In TOML.
        recipe: String,
        /// Whether columns, channels and classes of its model follow the data.
        #[serde(default)]
        fit: bool,
        /// Training data.
        data: Hash32,
        /// Held-out data, or the last tenth of the data.
        held_out: Option<Hash32>,
        /// What to start from.
        base: Base,
    },
    /// A paid run is open for enrolling at these terms; the node enrolls on chain if they suit it.
    RunOpen {
        /// The run.
        run_id: RunId,
        /// Its terms.
        terms: Box<RunTerms>,
    },
    /// Train a round.
    StartRound {
        /// The run.
        run_id: RunId,
        /// Its terms.
        terms: Box<RunTerms>,
        /// The round.
        round: u32,
        /// The node's place in the roster, which is its slot of the data.
        place: u16,
        /// Inner steps that it is to make, from the round's first on; none are all that the recipe plans.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        steps: Option<u32>,
        /// Artifact of the outer state to start from.
        state: Hash32,
        /// Its root.
        state_root: Hash32,
        /// Milliseconds left until the coordinator closes the round's commitments.
        time_left_ms: u64,
    },
    /// All commitments are in: upload your update now.
    Reveal {
        /// The run.
        run_id: RunId,
        /// The round.
        round: u32,
    },
    /// Score these updates against the state before the round.
    Score {
        /// The run.
        run_id: RunId,
        /// The round.
        round: u32,
        /// Artifact of the outer state before the round.
        state: Hash32,
        /// What draws the windows that are measured, and the judges: known only after the commitments.
        seed: Hash32,
        /// Places and updates.
        updates: Vec<PlacedUpdate>,
    },
    /// Check, apply and sign this round.
    Record {
        /// The run.
        run_id: RunId,
        /// The round.
        round: u32,
        /// Artifact of the round record.
        record: Hash32,
        /// Artifact of the outer state before the round.
        state: Hash32,
        /// Artifact of the state one round earlier, to which the run goes back where its loss has risen out of line.
        earlier: Option<Hash32>,
        /// The accepted updates.
        updates: Vec<PlacedUpdate>,
        /// What to sign if all is right; `state_root` is what the coordinator computed, for comparing.
        statement: Box<RoundStatement>,
    },
    /// Upload the checkpoint of this hash, which a commitment of yours says that a round was begun with: that round is to be made again.
    ShowCheckpoint {
        /// Names the answer.
        request_id: u64,
        /// The run.
        run_id: RunId,
        /// Artifact hash of the checkpoint.
        checkpoint: Hash32,
    },
    /// Evaluate the held-out data at this state (after each round, to one node).
    Evaluate {
        /// The run.
        run_id: RunId,
        /// After which round; `None` is before the first.
        round: Option<u32>,
        /// Artifact of the outer state.
        state: Hash32,
        /// How many windows of the held-out data; 0 for all.
        windows: u32,
    },
    /// The run ended: make model file and figures from the final state.
    Export {
        /// The run.
        run_id: RunId,
        /// Its terms.
        terms: Box<RunTerms>,
        /// Artifact of the final outer state.
        state: Hash32,
        /// Its root.
        state_root: Hash32,
    },
    /// The run is over for this node; drop its files.
    RunEnded {
        /// The run.
        run_id: RunId,
    },
    /// A paid lease waits for this node; it accepts on chain within a minute, then works.
    LeaseOpen {
        /// The lease.
        lease_id: LeaseId,
        /// What to do.
        job: JobSpec,
        /// The last statement that both signed, to go on from after a restart.
        last: Option<LeaseStatement>,
    },
    /// The meter signed a statement.
    MeterSigned {
        /// The lease.
        lease_id: LeaseId,
        /// The statement's number.
        seq: u64,
        /// By the meter's key.
        signature: Signature,
    },
    /// Stop work on a lease.
    LeaseEnded {
        /// The lease.
        lease_id: LeaseId,
    },
}

/// An update with its place in the roster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedUpdate {
    /// Place in the roster.
    pub place: u16,
    /// Artifact of the encoded update.
    pub update: Hash32,
    /// Inner steps that its node was assigned, where they are asked for; none are all that the recipe plans.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u32>,
}

/// From node to coordinator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "say")]
pub enum FromNode {
    /// The answer to the challenge.
    Hello {
        /// What was signed.
        hello: NodeHello,
        /// By the node's registered key.
        signature: Signature,
        /// Program version.
        version: String,
        /// Whether it takes scripts: its owner allows them, and its sandbox opens.
        #[serde(default)]
        scripts: bool,
        /// What its machine cannot give, by name, where its owner allows scripts and it takes none.
        #[serde(default)]
        lacks: Vec<String>,
        /// Names of the data that its owner lets federated runs train on; it never leaves the node.
        #[serde(default)]
        data: Vec<String>,
    },
    /// Still here.
    Alive,
    /// How its machine stands, where that has changed.
    Machine {
        /// At most [`crate::machine::MAX_MACHINE_BYTES`] of text.
        state: Box<crate::machine::MachineState>,
    },
    /// The answer to `Prepare`.
    Prepared {
        /// Of which request.
        request_id: u64,
        /// What was made, or why not.
        outcome: Result<Prepared, PrepareRefused>,
    },
    /// The node will not take this run.
    RunDeclined {
        /// The run.
        run_id: RunId,
        /// Why.
        reason: String,
    },
    /// An inner step was made.
    Progress {
        /// The run.
        run_id: RunId,
        /// The round.
        round: u32,
        /// Inner step within the round, counted from 1.
        step: u32,
        /// Nats a token.
        loss: f64,
        /// Learning rate.
        learning_rate: f64,
        /// Tokens a second over the last steps.
        tokens_per_second: f64,
    },
    /// The update is ready; only its hash is told.
    Committed {
        /// What was signed.
        commitment: Commitment,
        /// By the node's key.
        signature: Signature,
    },
    /// The update is uploaded.
    Revealed {
        /// The run.
        run_id: RunId,
        /// The round.
        round: u32,
        /// Its size.
        bytes: u64,
    },
    /// Scores of a round's updates.
    Scored {
        /// The run.
        run_id: RunId,
        /// The round.
        round: u32,
        /// One for each update that was asked for.
        scores: Vec<Score>,
    },
    /// The round was checked and applied.
    RoundSigned {
        /// The run.
        run_id: RunId,
        /// The round.
        round: u32,
        /// The node's place.
        place: u16,
        /// The root that this node reached.
        state_root: Hash32,
        /// Over the statement, in the role of node.
        signature: Signature,
    },
    /// Something in a round is wrong: the node does not sign it.
    RoundRefused {
        /// The run.
        run_id: RunId,
        /// The round.
        round: u32,
        /// What is wrong.
        reason: String,
    },
    /// The answer to `ShowCheckpoint`: it is uploaded, or why it is not.
    CheckpointShown {
        /// Of which request.
        request_id: u64,
        /// In words where there is none to show.
        outcome: Result<(), String>,
    },
    /// Held-out figure.
    Evaluated {
        /// The run.
        run_id: RunId,
        /// After which round.
        round: Option<u32>,
        /// Of the whole model.
        loss: crate::run::HeldOut,
    },
    /// What `Export` gave; uploaded before this is said.
    Exported {
        /// The run.
        run_id: RunId,
        /// Model and figures.
        result: Box<crate::run::RunResult>,
    },
    /// The node accepted a lease on chain and works.
    LeaseStarted {
        /// The lease.
        lease_id: LeaseId,
    },
    /// More output of a lease.
    Output {
        /// The lease.
        lease_id: LeaseId,
        /// The text that follows.
        text: String,
    },
    /// Figures of a script.
    Metrics {
        /// The lease.
        lease_id: LeaseId,
        /// In order; 1,000 at most.
        points: Vec<Metric>,
    },
    /// What is done before a script runs.
    Setup {
        /// The lease.
        lease_id: LeaseId,
        /// One line.
        line: String,
    },
    /// A statement to be co-signed; its output is uploaded.
    Statement {
        /// What was signed.
        statement: LeaseStatement,
        /// By the node's key.
        signature: Signature,
    },
    /// A job could not be done.
    LeaseFailed {
        /// The lease.
        lease_id: LeaseId,
        /// Why.
        reason: String,
    },
}

impl FromNode {
    /// The request that it answers, where it answers one by its number.
    pub fn answers(&self) -> Option<u64> {
        match self {
            Self::Prepared { request_id, .. } | Self::CheckpointShown { request_id, .. } => Some(*request_id),
            _ => None,
        }
    }
}

/// What `Prepare` made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Prepared {
    /// Hash of the canonical recipe, uploaded as an artifact.
    pub recipe: Hash32,
    /// Training data: the given artifact, or what was left after the split.
    pub data: Hash32,
    /// Held-out data.
    pub held_out: Hash32,
    /// Base state, uploaded as an artifact.
    pub base: Hash32,
    /// Its root.
    pub base_root: Hash32,
    /// Rounds by the recipe.
    pub rounds: u32,
    /// Tokens that a node is assigned in a round.
    pub tokens_per_round: u32,
    /// Trainable parameters.
    pub parameters: u64,
    /// Memory that training needs.
    pub memory_bytes: u64,
}

/// Why a run cannot be prepared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrepareRefused {
    /// Stable code: `recipe_invalid`, `data_empty`, `data_too_short`, `base_mismatch`, ...
    pub code: String,
    /// What is wrong and what to do.
    pub detail: String,
}

/// A score of one update: how much the loss falls at a fifth of the update.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Place in the roster.
    pub place: u16,
    /// Loss on the data that the node was assigned, before and after, in nats a token; not a number where the update leads to none (`null` in JSON).
    #[serde(deserialize_with = "losses")]
    pub own: (f64, f64),
    /// Loss on data that nobody was assigned in this round, before and after.
    #[serde(deserialize_with = "losses")]
    pub unseen: (f64, f64),
}

/// JSON has no word for what is not a number: it is written as `null`, and one bad update must not make the whole answer unreadable.
fn losses<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<(f64, f64), D::Error> {
    let (before, after) = <(Option<f64>, Option<f64>)>::deserialize(deserializer)?;
    Ok((before.unwrap_or(f64::NAN), after.unwrap_or(f64::NAN)))
}

/// A node as the dashboard shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    /// The chain's record.
    pub node: Node,
    /// Whether it is connected now.
    pub connected: bool,
    /// The last sign of life.
    pub heard_at: Option<TimestampMs>,
    /// Tokens a second in its last round, as accepted.
    pub measured_tokens_per_second: Option<f64>,
    /// Rounds that it contributed to, by the chain: as many whole ones as its tokens make.
    pub rounds: u64,
    /// What it works on now: `idle`, `run 3`, `lease 5`.
    pub busy: String,
    /// Whether it takes scripts now.
    #[serde(default)]
    pub scripts: bool,
    /// What its machine cannot give, by name, where its owner allows scripts and it takes none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacks: Vec<String>,
    /// Names of the data that its owner lets federated runs train on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<String>,
}

/// An offer of a connected node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OfferView {
    /// The chain's record.
    pub offer: Offer,
    /// Its node.
    pub node: NodeView,
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn steps__should_be_all_of_the_plan_in_a_message_that_does_not_say_them() {
        let update = PlacedUpdate { place: 1, update: Hash32([2; 32]), steps: None };
        let text = serde_json::to_string(&update).expect("writable");
        assert!(!text.contains("steps"), "as it was before there were any: {text}");
        assert_eq!(serde_json::from_str::<PlacedUpdate>(&text).expect("readable"), update);
        let paced = PlacedUpdate { steps: Some(3), ..update };
        assert_eq!(serde_json::from_str::<PlacedUpdate>(&serde_json::to_string(&paced).expect("writable")).expect("readable"), paced);
    }

    #[test]
    fn score__should_survive_losses_that_are_no_numbers() {
        let score = Score { place: 1, own: (2.0, f64::NAN), unseen: (f64::INFINITY, 2.0) };
        let text = serde_json::to_string(&score).expect("writable");
        let read: Score = serde_json::from_str(&text).expect("readable");
        assert_eq!((read.own.0, read.unseen.1), (2.0, 2.0));
        assert!(read.own.1.is_nan() && read.unseen.0.is_nan());
    }
}
