//! How long the messages of a round are: the real ones, encoded, each in a WebSocket frame; bytes of work travel over HTTP.

use serde_json::json;
use starling_http_api::node::{FromNode, PlacedUpdate, Score, ToNode};
use starling_primitives::{Hash32, NodeId, RunId, Signature};
use starling_protocol::signing::Commitment;
use starling_rounds::RoundRecord;

/// A frame's head in either direction, the longer of the two (with a mask, for more than 125 bytes).
const FRAME_BYTES: u64 = 8;
/// Heads of a request for an artifact (method, path with its hash, host, token, length) and of its answer, rounded up.
const REQUEST_BYTES: u64 = 256;
const ANSWER_BYTES: u64 = 384;
const HASH: Hash32 = Hash32([0xAB; 32]);
const RUN: RunId = RunId(1_000);
const ROUND: u32 = 1_000;

/// Lengths in bytes, with their frames.
#[derive(Clone, Copy, Debug)]
pub struct Framing {
    /// `StartRound` to a node.
    pub start: u64,
    /// `Reveal` to a node.
    pub reveal: u64,
    /// `Committed` to the coordinator.
    pub committed: u64,
    /// `Progress` to the coordinator, at each step.
    pub progress: u64,
    /// `Revealed` to the coordinator.
    pub revealed: u64,
    /// `RoundSigned` to the coordinator.
    pub signed: u64,
    /// What a node sends for each artifact that it moves, beside the artifact.
    pub request: u64,
    /// What the coordinator sends for it.
    pub answer: u64,
}

fn framed(message: &impl serde::Serialize) -> u64 {
    FRAME_BYTES + serde_json::to_vec(message).map_or(0, |text| text.len() as u64)
}

fn placed(count: usize) -> Vec<PlacedUpdate> {
    (0..count).map(|place| PlacedUpdate { place: u16::try_from(place).unwrap_or(u16::MAX), update: HASH, steps: None }).collect()
}

impl Framing {
    /// The messages whose length does not depend on the round's participants.
    pub fn new() -> Self {
        let hash = HASH.to_string();
        let terms = json!({
            "recipe": hash, "data": hash, "held_out": hash, "base": hash, "base_root": hash, "rounds": 1_000, "min_nodes": 8,
            "max_nodes": 8, "tokens_per_round": 40_960, "price_per_million_tokens": "500000000000000000000000",
            "enroll_time": 60_000, "round_time": 600_000, "meter": format!("ed25519:{}", "9".repeat(44)),
            "availability": 86_400_000, "invited": [],
        });
        let start = json!({
            "say": "start_round", "run_id": RUN, "terms": terms, "round": ROUND, "place": 7, "state": hash, "state_root": hash,
            "time_left_ms": 600_000,
        });
        let signature = Signature([0xCD; 64]);
        let (node_id, began_with) = (NodeId(1_000), Some(HASH));
        let commitment = Commitment { run_id: RUN, round: ROUND, node_id, update: HASH, steps: 1_000, began_with, checkpoint: HASH };
        let progress = FromNode::Progress {
            run_id: RUN,
            round: ROUND,
            step: 1_000,
            loss: 2.345_678_901_234_567,
            learning_rate: 0.001_234_567_890_123,
            tokens_per_second: 12_345.678_901_234_567,
        };
        Self {
            start: framed(&start),
            reveal: framed(&ToNode::Reveal { run_id: RUN, round: ROUND }),
            committed: framed(&FromNode::Committed { commitment, signature }),
            progress: framed(&progress),
            revealed: framed(&FromNode::Revealed { run_id: RUN, round: ROUND, bytes: 1_000_000 }),
            signed: framed(&FromNode::RoundSigned { run_id: RUN, round: ROUND, place: 7, state_root: HASH, signature }),
            request: REQUEST_BYTES,
            answer: ANSWER_BYTES,
        }
    }

    /// `Score` to a judge of so many updates.
    pub fn score(&self, updates: usize) -> u64 {
        framed(&ToNode::Score { run_id: RUN, round: ROUND, state: HASH, seed: HASH, updates: placed(updates) })
    }

    /// `Scored` to the coordinator.
    pub fn scored(&self, updates: usize) -> u64 {
        let loss = 2.345_678_901_234_567;
        let score = |update: PlacedUpdate| Score { place: update.place, own: (loss, loss), unseen: (loss, loss) };
        framed(&FromNode::Scored { run_id: RUN, round: ROUND, scores: placed(updates).into_iter().map(score).collect() })
    }

    /// `Record` to a node, and the record itself.
    pub fn record(&self, record: &RoundRecord) -> u64 {
        let statement = json!({
            "escrow_id": RUN, "run_id": RUN, "round": ROUND, "previous": HASH, "record": HASH, "state_root": HASH,
            "tokens": record.tokens_by_place(),
        });
        let message = json!({
            "say": "record", "run_id": RUN, "round": ROUND, "record": HASH, "state": HASH, "earlier": HASH,
            "updates": placed(record.accepted().count()), "statement": statement,
        });
        framed(&message) + self.answer + borsh::to_vec(record).map_or(0, |bytes| bytes.len() as u64)
    }
}

impl Default for Framing {
    fn default() -> Self {
        Self::new()
    }
}
