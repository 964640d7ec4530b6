//! Runs: what the coordinator does for each. Pure: a state, events that change it, and a plan of what is due.
//!
//! `apply(work, event, view)` changes the state, `plan(work, view)` says everything that should have happened by now; the engine does what has not.
//! So a restart repeats nothing and loses nothing: the plan is made again from the stored state.

mod advance;
mod apply;
mod judge;
mod plan;
mod record;
mod state;

pub use apply::apply;
pub(crate) use plan::round_key;
pub use plan::{Intent, plan};
pub use record::{InspectOutcome, MadeBytes, RecordError, RecordInput, inspect, make_record};

pub use state::{Assigned, Committed, Event, Frozen, Made, Presence, RunWork, Scored, Stage, View};

#[cfg(test)]
#[path = "runs_tests.rs"]
pub(crate) mod tests;
