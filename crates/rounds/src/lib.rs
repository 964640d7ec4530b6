//! What all parties of a training run recompute: codec, aggregation, outer step, state root, round record.
//!
//! Pure functions over integers and `f32` loops: no clock, no I/O, no randomness, no tensor library. Two machines that
//! are given the same bytes reach the same bytes, so a third can check both.
//!
//! The road of one round, in the order of the modules:
//!
//! 1. [`Plan`] says which inner steps and which data a participant trains on, and how many tokens that is.
//! 2. [`pseudo_gradient`] takes `global - local`, [`encode`] makes the int4 bytes that are sent, [`decode`] reads them
//!    strictly into an [`Update`].
//! 3. [`scorer_order`] draws who scores after the commitments are frozen; [`probe_point`] gives the weights at which
//!    losses are measured; [`gate`] turns [`Score`]s into verdicts.
//! 4. [`propose`] makes the [`RoundRecord`], the list of what was accepted; [`RoundRecord::check`] recomputes all of it
//!    that is deterministic.
//! 5. [`apply_round`] takes the token-weighted mean ([`Aggregator`]) and makes the outer step on the [`OuterState`]; its
//!    result is the state root that every node signs.

mod aggregate;
mod apply;
mod assignment;
mod check;
mod codec;
mod draw;
mod gate;
mod hash;
mod layout;
mod merkle;
mod outer;
mod propose;
pub mod recipe;
mod record;
mod state;

pub use aggregate::{
    AggregateError, Aggregator, CLIP_MULTIPLE, CLIP_ONE, MAX_PARTICIPANTS, MAX_TOKENS_PER_ROUND, UNITS_PER_ONE, clip_factors, median, norm,
};
pub use apply::{ApplyError, Updates, apply_round};
pub use assignment::{Plan, PlanError, UNSEEN_SLOT};
pub use check::{COPY_OVERLAP, Previous, RecordError};
pub use codec::{BLOCK, CodecError, MAX_SCALE, Update, decode, encode, encoded_len, overlap, probe_point};
pub use draw::{draw_scorer, scorer_order};
pub use gate::{Cohort, Nats, PROBE_STEP, Score, Verdict, gate};
pub use hash::{Hash32, artifact_hash};
pub use layout::{Layout, LayoutError, MAX_PARAMETERS, MAX_RANK, MAX_TENSORS, TensorShape};
pub use merkle::{CHUNK_BYTES, MerkleHasher, merkle_root};
pub use outer::{OuterConfig, OuterConfigError, pseudo_gradient};
pub use propose::{Candidate, Work, propose};
pub use record::{Entry, Outcome, Refusal, RoundRecord, ScorerDraw, genesis_digest};
pub use state::{OuterState, StateError};
