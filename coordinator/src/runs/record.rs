//! Decodes updates and makes the round record from them. Pure: bytes in, bytes out; runs on a thread of its own.

use super::state::{Made, Scored};
use serde::{Deserialize, Serialize};
use starling_primitives::{EscrowId, Hash32, RunId};
use starling_protocol::signing::RoundStatement;
use starling_rounds::{
    ApplyError, Candidate, CodecError, FragmentError, Outcome, OuterState, Plan, PlanError, Previous, Refusal, StateError, Updates, Work,
    apply_round, artifact_hash, propose,
    recipe::{Recipe, RecipeError},
};
use std::collections::BTreeMap;

/// What a record is made from, artifacts aside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordInput {
    /// The run.
    pub run_id: RunId,
    /// Its escrow.
    pub escrow_id: EscrowId,
    /// The round.
    pub round: u32,
    /// Artifact of the outer state before it.
    pub state: Hash32,
    /// Its root.
    pub state_root: Hash32,
    /// Artifact of the state one round earlier.
    pub earlier: Option<Hash32>,
    /// Digest of the record before.
    pub previous_digest: Hash32,
    /// The run's hash chain on chain.
    pub previous_chain: Hash32,
    /// Artifact of the recipe.
    pub recipe: Hash32,
    /// Places in the roster.
    pub roster: u16,
    /// Places that left.
    pub left: Vec<u16>,
    /// Assigned to each node at most, by the terms.
    pub tokens_per_round: u32,
    /// Commitments and scores.
    pub scored: Scored,
}

/// Why no record can be made of what is stored.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The state's bytes are no state.
    #[error("the outer state before the round is damaged: {0}")]
    State(#[from] StateError),
    /// An update that was valid before no longer is.
    #[error("an update is damaged: {0}")]
    Update(#[from] CodecError),
    /// The recipe's artifact is no recipe.
    #[error("the recipe is not understood: {0}")]
    Recipe(#[from] RecipeError),
    /// The recipe's numbers are impossible.
    #[error("the recipe gives no plan: {0}")]
    Plan(#[from] PlanError),
    /// The state cannot be cut as the recipe says.
    #[error("the recipe does not fit the state: {0}")]
    Fragments(#[from] FragmentError),
    /// Terms and recipe disagree.
    #[error("the terms assign {terms} tokens a round and the recipe {recipe}")]
    Tokens {
        /// By the terms.
        terms: u32,
        /// By the recipe.
        recipe: u32,
    },
    /// What was made does not pass the check that every node makes.
    #[error("the record does not pass its own check: {0}")]
    Check(#[from] starling_rounds::RecordError),
    /// The outer step failed.
    #[error("the outer step failed: {0}")]
    Apply(#[from] ApplyError),
    /// The record cannot be written.
    #[error("the record cannot be written: {0}")]
    Write(#[from] std::io::Error),
}

/// Which updates are to be scored, and which are refused before.
pub type InspectOutcome = (Vec<u16>, BTreeMap<u16, Refusal>);

/// Decodes updates in order of commitment; of two that are one the later is the copy.
pub fn inspect(recipe: &[u8], state: &[u8], updates: &[(u16, Option<Vec<u8>>)]) -> Result<InspectOutcome, RecordError> {
    let recipe = read_recipe(recipe)?;
    let state = OuterState::from_bytes(state)?;
    let revealed: Vec<(u16, Option<&[u8]>)> = updates.iter().map(|(place, bytes)| (*place, bytes.as_deref())).collect();
    let fragments = recipe.fragments(state.layout())?;
    let layout = fragments.layout_of_round(state.round());
    let (usable, refused) = starling_rounds::inspect(recipe.outer.codec, layout, &revealed);
    Ok((usable.into_keys().collect(), refused))
}

/// Bytes of a round that is ready: the record's and the next state's.
pub struct MadeBytes {
    /// What is kept of it.
    pub made: Made,
    /// Borsh of the round record.
    pub record: Vec<u8>,
    /// The outer state after the round.
    pub state: Vec<u8>,
}

/// Judges, makes the record, checks it as every node will, applies it and writes the statement.
///
/// `earlier` is asked for by [`ApplyError::EarlierMissing`] where the run goes back to it.
pub fn make_record(
    input: &RecordInput,
    state: &[u8],
    earlier: Option<&[u8]>,
    recipe: &[u8],
    updates: &BTreeMap<u16, Vec<u8>>,
) -> Result<MadeBytes, RecordError> {
    let recipe = read_recipe(recipe)?;
    let plan = recipe.plan()?;
    if plan.assigned_tokens() != input.tokens_per_round {
        return Err(RecordError::Tokens { terms: input.tokens_per_round, recipe: plan.assigned_tokens() });
    }
    let mut state = OuterState::from_bytes(state)?;
    let fragments = recipe.fragments(state.layout())?;
    let layout = fragments.layout_of_round(input.round);
    let mut decoded = Updates::new();
    for (place, bytes) in updates.iter().filter(|(place, _)| input.scored.valid.contains(place)) {
        decoded.insert(*place, recipe.outer.codec.decode(layout, bytes)?);
    }
    let previous = Previous {
        run: input.run_id,
        round: input.round,
        digest: input.previous_digest,
        state_root: input.state_root,
        roster_size: input.roster,
    };
    let scored = &input.scored;
    let record = propose(&previous, plan, (scored.seed, scored.skipped), scored.probe, &candidates(input, plan, &decoded));
    let accepted: Vec<u16> = record.accepted().collect();
    decoded.retain(|place, _| accepted.contains(place));
    record.check(&previous, plan, &decoded)?;
    let (rolled_back, earlier) = (state.is_astray(record.probe), earlier.map(OuterState::from_bytes).transpose()?);
    let root = apply_round(&mut state, earlier.as_ref(), &fragments, &record, &decoded)?;
    let (record_bytes, state_bytes) = (borsh::to_vec(&record)?, state.to_bytes());
    let statement = RoundStatement {
        escrow_id: input.escrow_id,
        run_id: input.run_id,
        round: input.round,
        previous: input.previous_chain,
        record: record.digest(),
        state_root: root,
        tokens: record.tokens_by_place(),
    };
    let mut made = Made {
        since: input.scored.frozen.since,
        record: artifact_hash(&record_bytes),
        statement,
        state: artifact_hash(&state_bytes),
        updates: vec![None; usize::from(input.roster)],
        refused: vec![None; usize::from(input.roster)],
        scores: vec![None; usize::from(input.roster)],
        commitments: (0..input.roster).map(|place| input.scored.frozen.commitments.get(&place)?.signed.clone()).collect(),
        bytes: input.scored.revealed.values().sum(),
        scorer: record.scorer.map(|draw| draw.scorer),
        rolled_back,
    };
    for entry in &record.entries {
        let place = usize::from(entry.participant);
        let score = match &entry.outcome {
            Outcome::Accepted { update_hash, score, .. } => {
                made.updates.get_mut(place).into_iter().for_each(|slot| *slot = Some(*update_hash));
                Some(*score)
            }
            Outcome::Refused { reason, score, .. } => {
                made.refused.get_mut(place).into_iter().for_each(|slot| *slot = Some(*reason));
                *score
            }
        };
        made.scores.get_mut(place).into_iter().for_each(|slot| *slot = score);
    }
    Ok(MadeBytes { made, record: record_bytes, state: state_bytes })
}

/// All who committed, in order of commitment.
fn candidates<'a>(input: &RecordInput, plan: Plan, decoded: &'a Updates) -> Vec<Candidate<'a>> {
    let scored = &input.scored;
    let mut committed: Vec<_> = scored.frozen.commitments.iter().collect();
    committed.sort_by_key(|(place, committed)| (committed.at, **place));
    let candidate = |(place, committed): (&u16, &super::Committed)| {
        // Other steps than those assigned are not the round's work.
        let steps = scored.frozen.assigned.steps(*place).unwrap_or(plan.inner_steps_per_round());
        let in_time = !input.left.contains(place) && scored.revealed.contains_key(place) && committed.steps == steps;
        let work = match (scored.refused.get(place), decoded.get(place)) {
            _ if !in_time => Work::Unusable(Refusal::Late),
            (Some(reason), _) => Work::Unusable(*reason),
            (None, None) => Work::Unusable(Refusal::Late),
            (None, Some(update)) => Work::Scored { update, score: scored.scores.get(place).copied().flatten() },
        };
        let assigned_tokens = steps.saturating_mul(plan.tokens_per_step());
        Candidate { participant: *place, assigned_tokens, commitment: Some(committed.update), work }
    };
    committed.into_iter().map(candidate).collect()
}

fn read_recipe(recipe: &[u8]) -> Result<Recipe, RecipeError> {
    Recipe::from_json(&String::from_utf8_lossy(recipe))
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
