//! Checks a proposed round record against all that this node can recompute, applies it, and gives the state root that it may sign.

use super::{EngineError, RunInputs, plan};
use crate::artifact::hash_of;
use starling_primitives::Hash32;
use starling_protocol::{
    run::Run,
    signing::{Commitment, RoundStatement},
};
use starling_rounds::{Codec, Layout, Outcome, OuterState, Plan, Previous, RoundRecord, Updates, apply_round, genesis_digest};
use std::sync::Arc;

/// A record to check.
pub(crate) struct RecordJob {
    /// Recipe and texts.
    pub(crate) inputs: RunInputs,
    /// The run as it stands on chain.
    pub(crate) run: Run,
    /// The outer state before the round.
    pub(crate) state: OuterState,
    /// The one before it, if the run goes back to it.
    pub(crate) earlier: Option<OuterState>,
    /// The proposed record.
    pub(crate) record: RoundRecord,
    /// Place and bytes of each accepted update.
    pub(crate) updates: Vec<(u16, Arc<[u8]>)>,
    /// What is to be signed.
    pub(crate) statement: RoundStatement,
    /// Digest of the record before, where this node has seen it.
    pub(crate) previous_digest: Option<Hash32>,
    /// This node's place and what it committed to, if it did.
    pub(crate) own: Option<(u16, Commitment)>,
}

/// What the node may sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Confirmed {
    /// The outer state's bytes after the step.
    pub(crate) state: Vec<u8>,
    /// Its root.
    pub(crate) state_root: Hash32,
    /// Digest of the record.
    pub(crate) digest: Hash32,
}

/// Recomputes the round. Any deviation is an error that names it.
pub(crate) fn check_and_apply(job: RecordJob) -> Result<Confirmed, EngineError> {
    let RecordJob { inputs, run, mut state, earlier, record, updates, statement, previous_digest, own } = job;
    check_statement(&run, &record, &statement)?;
    let plan = plan(&inputs.recipe)?;
    check_own(&record, plan, own)?;
    let fragments = inputs.recipe.fragments(state.layout())?;
    let decoded = decode_all(inputs.recipe.outer.codec, fragments.layout_of_round(record.round), updates)?;
    // A node that was away has not seen the digest before; the chain's hash chain binds it, and the state's root is checked either way.
    let digest =
        previous_digest.unwrap_or(if record.round == 0 { genesis_digest(run.id, run.terms.base_root) } else { record.previous_digest });
    let previous = Previous {
        run: run.id,
        round: run.rounds_done,
        digest,
        state_root: run.state_root,
        roster_size: u16::try_from(run.roster.len()).unwrap_or(u16::MAX),
    };
    record.check(&previous, plan, &decoded).map_err(|error| EngineError::Record(error.to_string()))?;
    let state_root =
        apply_round(&mut state, earlier.as_ref(), &fragments, &record, &decoded).map_err(|error| EngineError::Record(error.to_string()))?;
    if state_root != statement.state_root {
        return deviates(format!("state root {} where this node reaches {state_root}", statement.state_root));
    }
    Ok(Confirmed { state: state.to_bytes(), state_root, digest: record.digest() })
}

fn check_statement(run: &Run, record: &RoundRecord, statement: &RoundStatement) -> Result<(), EngineError> {
    let claims = [
        ("escrow", statement.escrow_id == run.escrow_id),
        ("run", statement.run_id == run.id),
        ("round", statement.round == record.round && record.round == run.rounds_done),
        ("history", statement.previous == run.chain),
        ("record digest", statement.record == record.digest()),
        ("tokens", statement.tokens == record.tokens_by_place()),
    ];
    match claims.into_iter().find(|(_, holds)| !holds) {
        Some((what, _)) => deviates(format!("the statement names another {what}")),
        None => Ok(()),
    }
}

/// A record that gives this node another update than it committed to, or credits it with other steps than it made, is forged.
fn check_own(record: &RoundRecord, plan: Plan, own: Option<(u16, Commitment)>) -> Result<(), EngineError> {
    let Some((place, committed)) = own else { return Ok(()) };
    let Some(entry) = record.entries.iter().find(|entry| entry.participant == place) else {
        tracing::warn!(round = record.round, "this node's update came too late for the record");
        return Ok(());
    };
    if let Outcome::Refused { reason, .. } = &entry.outcome {
        tracing::warn!(round = record.round, ?reason, "this node's update was refused");
    }
    let made = u64::from(committed.steps) * u64::from(plan.tokens_per_step());
    match entry.commitment() {
        Some(named) if named.update != committed.update => {
            deviates(format!("it names update {} of this node, which committed to {}", named.update.short(), committed.update.short()))
        }
        _ if matches!(entry.outcome, Outcome::Accepted { .. }) && u64::from(entry.assigned_tokens) != made => {
            deviates(format!("it credits this node with {} tokens, which made {made}", entry.assigned_tokens))
        }
        _ => Ok(()),
    }
}

fn decode_all(codec: Codec, layout: &Layout, updates: Vec<(u16, Arc<[u8]>)>) -> Result<Updates, EngineError> {
    let mut decoded = Updates::new();
    for (place, bytes) in updates {
        let update = codec.decode(layout, &bytes)?;
        debug_assert_eq!(update.hash(), hash_of(&bytes));
        if decoded.insert(place, update).is_some() {
            return deviates(format!("place {place} appears twice"));
        }
    }
    Ok(decoded)
}

fn deviates<T>(what: String) -> Result<T, EngineError> {
    Err(EngineError::Record(what))
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
