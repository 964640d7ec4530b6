//! What all parties of a training run recompute: codec, aggregation, outer step, state root, round record.
//!
//! Pure functions over integers and `f32` loops: no clock, no I/O, no randomness, no tensor library. Two machines that
//! are given the same bytes reach the same bytes, so a third can check both.
//!
//! The road of one round, in the order of the modules:
//!
//! 1. [`Plan`] says which inner steps and which data a participant trains on, and how many tokens that is;
//!    [`paced_steps`] gives slow ones fewer.
//! 2. [`pseudo_gradient`] takes `global - local`, [`Codec::encode`] makes the bytes that are sent, and
//!    [`Codec::decode`] reads them strictly into an [`Update`]; [`Segments`] commits to how they were reached.
//! 3. [`scorer_order`] draws who scores after the commitments are frozen, [`judges`] whose work; [`own_probe_windows`] and
//!    [`unseen_probe_steps`] draw the windows and [`probe_point`] gives the weights at which losses are measured; [`gate`]
//!    turns [`Score`]s into verdicts.
//! 4. [`propose`] makes the [`RoundRecord`], the list of what was accepted; [`RoundRecord::check`] recomputes all of it
//!    that is deterministic.
//! 5. [`apply_round`] takes the token-weighted mean ([`Aggregator`]) and makes the outer step on the [`OuterState`]; its
//!    result is the state root that every node signs. Where rounds overlap they move one of the [`Fragments`] each.
//!    A step that turns out to be harm ([`OuterState::is_astray`]) is taken back in the round after it.

mod aggregate;
mod apply;
mod assignment;
mod check;
mod codec;
mod draw;
mod drift;
mod fragments;
mod gate;
mod hash;
mod layout;
mod merkle;
mod outer;
mod pace;
mod probe;
mod propose;
pub mod recipe;
mod record;
mod segments;
mod state;

pub use aggregate::{
    AggregateError, Aggregator, CLIP_ONE, MAX_PARTICIPANTS, MAX_TOKENS_PER_ROUND, UNITS_PER_ONE, clip_factors, median, norm, too_long,
};
pub use apply::{ApplyError, Updates, apply_round};
pub use assignment::{Plan, PlanError, Share, UNSEEN_SLOT};
pub use check::{Previous, RecordError};
pub use codec::{BLOCK, Codec, CodecError, MAX_SCALE, Update, copies, overlap, probe_point};
pub use draw::{Committed, Judge, judge_pair, judges, scorer_order};
pub use fragments::{FragmentError, Fragments};
pub use gate::{Cohort, Nats, PROBE_STEP, Score, Verdict, gate};
pub use hash::{Hash32, artifact_hash};
pub use layout::{Layout, LayoutError, MAX_PARAMETERS, MAX_RANK, MAX_TENSORS, TensorShape};
pub use merkle::{CHUNK_BYTES, MerkleHasher, merkle_root};
pub use outer::{OuterConfig, OuterConfigError, pseudo_gradient};
pub use pace::{Pace, late_after_ms, paced_steps};
pub use probe::{own_probe_windows, unseen_probe_steps};
pub use propose::{Candidate, Work, inspect, propose};
pub use record::{Entry, Outcome, Refusal, RoundRecord, ScorerDraw, genesis_digest};
pub use segments::{MAX_SEGMENTS, SegmentError, Segments};
pub use state::{OuterState, StateError};
