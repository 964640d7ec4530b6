//! Applies a round record to the outer state: mean, outer step, new root.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::aggregate::{AggregateError, Aggregator};
use crate::codec::Update;
use crate::fragments::Fragments;
use crate::hash::Hash32;
use crate::layout::Layout;
use crate::record::{Outcome, RoundRecord};
use crate::state::{OuterState, StateError};

/// The decoded updates of a round by participant.
pub type Updates = BTreeMap<u16, Update>;

/// Why a record cannot be applied to a state.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ApplyError {
    /// The state is not the one that the record was made for.
    #[error("the state's {0} is not the one that the record continues")]
    WrongState(&'static str),
    /// An accepted update is missing or has another hash.
    #[error("participant {0}'s accepted update is not at hand")]
    UpdateMissing(u16),
    /// An update cannot be part of the mean.
    #[error("the mean refuses an update: {0}")]
    Aggregate(#[from] AggregateError),
    /// The run goes back to a state that was not given.
    #[error("the run goes back to the state {0}, which is not at hand")]
    EarlierMissing(Hash32),
    /// The outer step failed.
    #[error("the outer step failed: {0}")]
    State(#[from] StateError),
}

/// Applies a record to the state before it and returns the new state root. On an error the state is as it was.
///
/// It does what the record says and judges nothing: [`RoundRecord::check`] comes first. Updates that are not accepted
/// are ignored, and only the round's fragment of the state moves ([`crate::recipe::Recipe::fragments`]). Where the record's probe says that the step before was harm ([`OuterState::is_astray`]) the run goes back to
/// `earlier`, the state of the root [`OuterState::before`], which is asked for only then: the round's work began at harmful
/// weights and moves nothing. Same states, record and bytes give the same root everywhere.
pub fn apply_round(
    state: &mut OuterState,
    earlier: Option<&OuterState>,
    fragments: &Fragments,
    record: &RoundRecord,
    updates: &Updates,
) -> Result<Hash32, ApplyError> {
    for (what, holds) in [
        ("round", state.round() == record.round),
        ("inner step", state.next_inner_step() == record.first_inner_step),
        ("root", state.root() == record.previous_state_root),
    ] {
        if !holds {
            return Err(ApplyError::WrongState(what));
        }
    }
    if state.is_astray(record.probe) {
        let at_hand = earlier.filter(|earlier| earlier.root() == state.before());
        state.roll_back(at_hand.ok_or(ApplyError::EarlierMissing(state.before()))?, record.inner_steps)?;
        state.remember(record.previous_state_root, None);
    } else {
        let fragment = fragments.of_round(record.round);
        let mean = mean_of(fragments.layout(fragment), record, updates)?;
        state.step_within(fragments.ranges(fragment), mean.as_deref(), record.inner_steps)?;
        state.remember(record.previous_state_root, record.probe);
    }
    Ok(state.root())
}

fn mean_of(layout: &Layout, record: &RoundRecord, updates: &Updates) -> Result<Option<Vec<f32>>, ApplyError> {
    let mut mean = Aggregator::new(layout);
    for entry in &record.entries {
        let Outcome::Accepted { update_hash, clip_factor_256, .. } = &entry.outcome else {
            continue;
        };
        let update = updates
            .get(&entry.participant)
            .filter(|update| update.hash() == *update_hash)
            .ok_or(ApplyError::UpdateMissing(entry.participant))?;
        mean.add(entry.participant, update, entry.assigned_tokens, *clip_factor_256)?;
    }
    Ok(mean.finish())
}
