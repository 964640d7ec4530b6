//! A round, as one node lives it: train and commit, reveal, score, check and sign; and the figures and files for people.

use super::{Context, Report, TaskError, state_of};
use crate::{
    artifact::hash_of,
    engine::{self, EngineError, ExportJob, Judged, RecordJob, RoundJob, RoundWork, ScoreJob, StepMade},
    files,
    session::desk::Finish,
    trainer::{Cancel, Urgency},
};
use starling_http_api::{
    node::{FromNode, PlacedUpdate},
    run::{Adapters, RunResult},
};
use starling_primitives::{Hash32, RunId};
use starling_protocol::{
    run::{MAX_ROSTER, RunTerms},
    signing::{Commitment, Role, RoundStatement},
};
use starling_rounds::{RoundRecord, recipe::Recipe};
use std::sync::Arc;
use tokio::sync::mpsc;

/// A round record of the largest roster is a few kilobytes.
const MAX_RECORD_BYTES: usize = 256 * 1024;

/// A share of a round, as it was asked for.
pub(super) struct Share {
    pub(super) run_id: RunId,
    pub(super) terms: RunTerms,
    pub(super) round: u32,
    pub(super) place: u16,
    /// Inner steps to make; none are all that the recipe plans.
    pub(super) steps: Option<u32>,
    pub(super) state: Hash32,
    pub(super) state_root: Hash32,
}

/// Trains a share and commits to its update. A round that was committed to already is only said again.
pub(super) async fn train(context: &Arc<Context>, share: Share, cancel: Cancel) -> Result<Finish, TaskError> {
    let Share { run_id, terms, round, place, steps, state, state_root } = share;
    let folder = context.receipts.open_run_folder(run_id)?;
    if let Some((commitment, signature)) = context.receipts.run(run_id)?.committed
        && commitment.round == round
        && engine_update_is_there(&folder, &commitment)?
    {
        return Ok(Finish::Answer(FromNode::Committed { commitment, signature }));
    }
    let run = context.chain.run_at_round(run_id, &terms, round, place).await?;
    if run.state_root != state_root {
        return Err(TaskError::Asked(format!("the chain's state root before round {round} is {}, not {state_root}", run.state_root)));
    }
    let inputs = context.inputs(&run).await?;
    let activations =
        engine::activations_within(&inputs.recipe, Some(inputs.trained_on()), context.memory_bytes).map_err(TaskError::Asked)?;
    let state = state_of(context, &inputs, state, state_root).await?;
    if state.round() != round {
        return Err(TaskError::Asked(format!("the state is that of round {}, not of {round}", state.round())));
    }
    let steps = assigned_steps(&inputs.recipe, steps)?;
    tracing::info!(%run_id, round, place, steps, "training");
    let accepted: Vec<u64> = run.roster.iter().map(|member| member.tokens).collect();
    let accepted_tokens = inputs.recipe.place_in_schedule(&accepted, round);
    let job = Arc::new(RoundJob { run_id, round, place, steps, inputs, activations, state, accepted_tokens, folder });
    let work = within_limits(context, &job, &cancel).await?;
    let RoundWork { update, steps, began_with, checkpoint } = work;
    let commitment = Commitment { run_id, round, node_id: context.config.node_id, update, steps, began_with, checkpoint };
    let signature = context.sign(&commitment.signing_bytes(&context.config.deployment.compute_domain()));
    context.receipts.change_run(run_id, |receipt| receipt.committed = Some((commitment.clone(), signature)))?;
    context.count(|tally| tally.rounds_trained += 1);
    tracing::info!(%run_id, round, update = update.short(), "committed");
    go_on(context, job);
    Ok(Finish::Answer(FromNode::Committed { commitment, signature }))
}

/// Where rounds overlap, trains on while the update is on its way: a step at a time, so that whatever is asked for comes first.
fn go_on(context: &Arc<Context>, job: Arc<RoundJob>) {
    if job.inputs.recipe.outer.overlap.is_none() {
        return;
    }
    let context = context.clone();
    tokio::spawn(async move {
        let mut made = 0;
        loop {
            let (share, cancel) = (job.clone(), Cancel::new(context.pace.clone()));
            let ahead = context.trainer.run(Urgency::Ahead, move |bench| engine::train_ahead(bench, &share, &cancel)).await;
            match ahead {
                Ok(Ok(true)) => made += 1,
                Ok(Ok(false)) => break,
                Ok(Err(error)) => {
                    tracing::debug!(run_id = %job.run_id, round = job.round, %error, "stopped to train ahead");
                    break;
                }
                Err(_) => break,
            }
        }
        if made > 0 {
            context.count(|tally| tally.steps_ahead += made);
        }
    });
}

/// Steps of a share as they were asked for: one at least, and no more than the recipe plans.
fn assigned_steps(recipe: &Recipe, asked: Option<u32>) -> Result<u32, TaskError> {
    let all = recipe.inner_steps_per_round;
    let steps = asked.unwrap_or(all);
    if (1..=all).contains(&steps) {
        Ok(steps)
    } else {
        Err(TaskError::Asked(format!("{steps} inner steps of a round that has 1 to {all}")))
    }
}

/// Trains, and where the owner's limits stop it goes on from its checkpoint after a short rest, or leaves the run so that nobody waits for this node.
async fn within_limits(context: &Context, job: &Arc<RoundJob>, cancel: &Cancel) -> Result<RoundWork, TaskError> {
    let RoundJob { run_id, round, .. } = **job;
    loop {
        let progress = Progress { run_id, round, reports: context.reports.clone() };
        let (share, stop) = (job.clone(), cancel.clone());
        let work = move |bench: &mut engine::Bench| engine::train_round(bench, &share, &stop, |made| progress.tell(made));
        let reason = match context.trainer.run(Urgency::Work, work).await? {
            Err(EngineError::HandedOver(reason)) => reason,
            made => return Ok(made?),
        };
        tracing::warn!(%run_id, round, %reason, "stopped a share of a round; it lies on disk");
        context.count(|tally| tally.handed_over += 1);
        if !reason.is_short() {
            context.chain.leave_run(run_id).await?;
            return Err(EngineError::HandedOver(reason).into());
        }
        let refused = FromNode::RoundRefused { run_id, round, reason: format!("rests: {reason}") };
        drop(context.reports.send(Report::Say(refused)).await);
        context.pace.until_free().await;
    }
}

fn engine_update_is_there(folder: &std::path::Path, commitment: &Commitment) -> Result<bool, TaskError> {
    let update = files::read_if_there(&engine::update_path(folder, commitment.round))?;
    Ok(update.is_some_and(|bytes| hash_of(&bytes) == commitment.update))
}

struct Progress {
    run_id: RunId,
    round: u32,
    reports: mpsc::Sender<Report>,
}

impl Progress {
    /// A step that cannot be told in time is not told: the next one is.
    fn tell(&self, made: StepMade) {
        let StepMade { step, loss, learning_rate, tokens_per_second } = made;
        let message = FromNode::Progress { run_id: self.run_id, round: self.round, step, loss, learning_rate, tokens_per_second };
        drop(self.reports.try_send(Report::Say(message)));
    }
}

/// Uploads the update that was committed to.
pub(super) async fn reveal(context: &Context, run_id: RunId, round: u32) -> Result<Finish, TaskError> {
    let committed = context.receipts.run(run_id)?.committed.filter(|(commitment, _)| commitment.round == round);
    let (commitment, _) = committed.ok_or_else(|| TaskError::Asked(format!("this node committed to nothing in round {round}")))?;
    let path = engine::update_path(&context.receipts.run_folder(run_id), round);
    let update: Arc<[u8]> = tokio::fs::read(path).await?.into();
    let bytes = u64::try_from(update.len()).unwrap_or(u64::MAX);
    let stored = context.store.put(update).await?;
    if stored != commitment.update {
        return Err(TaskError::Asked("the update on disk is not the one that was committed to".to_owned()));
    }
    Ok(Finish::Answer(FromNode::Revealed { run_id, round, bytes }))
}

/// Uploads a checkpoint that a round began with, for who makes that round again; answers in any case.
pub(super) async fn show_checkpoint(context: &Context, request_id: u64, run_id: RunId, checkpoint: Hash32) -> Finish {
    let outcome = show(context, run_id, checkpoint).await;
    match &outcome {
        Ok(()) => tracing::info!(%run_id, checkpoint = checkpoint.short(), "showed a checkpoint"),
        Err(reason) => tracing::warn!(%run_id, checkpoint = checkpoint.short(), reason, "could not show a checkpoint"),
    }
    Finish::Answer(FromNode::CheckpointShown { request_id, outcome })
}

async fn show(context: &Context, run_id: RunId, checkpoint: Hash32) -> Result<(), String> {
    if !engine::repeats() {
        return Err("this node computes on a graphics card, whose sums are not the same twice: its rounds cannot be made again".to_owned());
    }
    let unread = |error: std::io::Error| format!("the node's disk failed: {error}");
    let folder = context.receipts.run_folder(run_id);
    let file = tokio::task::spawn_blocking(move || engine::checkpoint_named(&folder, checkpoint)).await;
    let file = file.map_err(|error| error.to_string())?.map_err(unread)?;
    let file = file.ok_or("no such checkpoint lies on this node: those of the last rounds do, until the run ends")?;
    context.store.put(file.into()).await.map(drop).map_err(|error| error.to_string())
}

/// What is to be scored, against which state, on windows drawn by which seed.
pub(super) struct Judging {
    pub(super) state: Hash32,
    pub(super) seed: Hash32,
    pub(super) updates: Vec<PlacedUpdate>,
}

/// Scores the updates of a round.
pub(super) async fn score(context: &Context, run_id: RunId, round: u32, judging: Judging, cancel: Cancel) -> Result<Finish, TaskError> {
    let run = context.chain.run_in_round(run_id, round).await?;
    let inputs = context.inputs(&run).await?;
    let state = state_of(context, &inputs, judging.state, run.state_root).await?;
    let bytes = fetch(context, &judging.updates).await?;
    let judged = judging.updates.iter().zip(bytes).map(|(placed, (place, update))| {
        let steps = assigned_steps(&inputs.recipe, placed.steps)?;
        Ok(Judged { place, steps, update })
    });
    let updates = judged.collect::<Result<_, TaskError>>()?;
    let job = ScoreJob { inputs, state, seed: judging.seed, updates };
    let scores = context.trainer.run(Urgency::Round, move |_| engine::score_updates(&job, &cancel)).await??;
    Ok(Finish::Answer(FromNode::Scored { run_id, round, scores }))
}

/// The updates' bytes; each must fit its hash.
async fn fetch(context: &Context, updates: &[PlacedUpdate]) -> Result<Vec<(u16, Arc<[u8]>)>, TaskError> {
    if updates.len() > usize::from(MAX_ROSTER) {
        return Err(TaskError::Asked(format!("{} updates are more than a roster holds", updates.len())));
    }
    let mut fetched = Vec::with_capacity(updates.len());
    for PlacedUpdate { place, update, .. } in updates {
        fetched.push((*place, context.store.get(*update).await?));
    }
    Ok(fetched)
}

/// A round record with what is to be signed.
pub(super) struct Proposal {
    pub(super) run_id: RunId,
    pub(super) round: u32,
    pub(super) record: Hash32,
    pub(super) state: Hash32,
    pub(super) earlier: Option<Hash32>,
    pub(super) updates: Vec<PlacedUpdate>,
    pub(super) statement: RoundStatement,
}

/// Checks a record, applies it, and signs its statement if nothing deviates.
pub(super) async fn record(context: &Context, proposal: Proposal) -> Result<Finish, TaskError> {
    let Proposal { run_id, round, record, state, earlier, updates, statement } = proposal;
    let run = context.chain.run_in_round(run_id, round).await?;
    let place = run.roster.iter().position(|member| member.node_id == context.config.node_id && !member.left);
    let place =
        place.and_then(|place| u16::try_from(place).ok()).ok_or_else(|| TaskError::Asked(format!("this node is not in run {run_id}")))?;
    let inputs = context.inputs(&run).await?;
    let record = read_record(&context.store.get(record).await?)?;
    let state = state_of(context, &inputs, state, run.state_root).await?;
    let earlier = match earlier.filter(|_| state.is_astray(record.probe)) {
        Some(earlier) => Some(state_of(context, &inputs, earlier, state.before()).await?),
        None => None,
    };
    let updates = fetch(context, &updates).await?;
    let receipt = context.receipts.run(run_id)?;
    let previous_digest = receipt.signed.and_then(|(signed, digest)| (signed.checked_add(1) == Some(round)).then_some(digest));
    let own = receipt.committed.filter(|(commitment, _)| commitment.round == round).map(|(commitment, _)| (place, commitment));
    let signed = statement.clone();
    let job = RecordJob { inputs, run, state, earlier, record, updates, statement, previous_digest, own };
    let confirmed = context.trainer.run(Urgency::Round, move |_| engine::check_and_apply(job)).await??;
    // What the next round starts from is here already.
    context.store.keep(hash_of(&confirmed.state), &confirmed.state)?;
    let signature = context.sign(&signed.signing_bytes(&context.config.deployment.compute_domain(), Role::Node));
    context.receipts.change_run(run_id, |receipt| receipt.signed = Some((round, confirmed.digest)))?;
    context.count(|tally| tally.rounds_signed += 1);
    tracing::info!(%run_id, round, state_root = confirmed.state_root.short(), "signed");
    Ok(Finish::Answer(FromNode::RoundSigned { run_id, round, place, state_root: confirmed.state_root, signature }))
}

/// A record in borsh, or in JSON where it begins like that.
fn read_record(bytes: &[u8]) -> Result<RoundRecord, TaskError> {
    if bytes.len() > MAX_RECORD_BYTES {
        return Err(TaskError::Asked("the round record is larger than any record".to_owned()));
    }
    let read = if bytes.first() == Some(&b'{') {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    } else {
        borsh::from_slice(bytes).map_err(|error| error.to_string())
    };
    read.map_err(|error| TaskError::Asked(format!("the round record is not understood: {error}")))
}

/// A held-out figure of a state.
pub(super) async fn evaluate(
    context: &Context,
    run_id: RunId,
    round: Option<u32>,
    state: Hash32,
    windows: u32,
) -> Result<Finish, TaskError> {
    let run = context.chain.run(run_id).await?;
    let inputs = context.inputs(&run).await?;
    let state = engine::read_state(&inputs.recipe, &context.store.get(state).await?)?;
    let loss = context.trainer.run(Urgency::Figures, move |_| engine::evaluate_state(&inputs, &state, windows)).await??;
    Ok(Finish::Answer(FromNode::Evaluated { run_id, round, loss }))
}

/// Model file, configuration and figures of the final state.
pub(super) async fn export(context: &Context, run_id: RunId, state: Hash32, state_root: Hash32) -> Result<Finish, TaskError> {
    let run = context.chain.run(run_id).await?;
    let inputs = context.inputs(&run).await?;
    let base = state_of(context, &inputs, run.terms.base, run.terms.base_root).await?;
    let state = state_of(context, &inputs, state, state_root).await?;
    let job = ExportJob { run_id, inputs, base, state, state_root };
    let made = context.trainer.run(Urgency::Figures, move |_| engine::export(&job)).await??;
    let model_bytes = u64::try_from(made.model.len()).unwrap_or(u64::MAX);
    let model = context.store.put(made.model).await?;
    let config = context.store.put(made.config).await?;
    let adapters = match made.adapters {
        Some((base, [weights, config])) => {
            Some(Adapters { weights: context.store.put(weights).await?, config: context.store.put(config).await?, base })
        }
        None => None,
    };
    let node_id = context.config.node_id;
    let result = RunResult { model, model_bytes, config, adapters, state_root, held_out: made.held_out, findings: made.findings, node_id };
    tracing::info!(%run_id, model = model.short(), "exported");
    Ok(Finish::Answer(FromNode::Exported { run_id, result: Box::new(result) }))
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    #[test]
    fn steps__should_be_those_asked_for_and_within_the_plan() {
        let recipe = Recipe::preset("tiny").unwrap();
        for (asked, steps) in [(None, Some(5)), (Some(5), Some(5)), (Some(1), Some(1)), (Some(0), None), (Some(6), None)] {
            assert_eq!(assigned_steps(&recipe, asked).ok(), steps, "{asked:?}");
        }
    }
}
