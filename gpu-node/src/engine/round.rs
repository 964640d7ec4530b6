//! A share of a round: inner steps from the outer state, then the pseudo-gradient in the recipe's code.
//!
//! Moments of the inner optimizer and the error feedback stay with the node from round to round. All of it is in one checkpoint file, and the same
//! round gives the same bytes however often the process dies in it. A round begins with the checkpoint that an earlier one ended with, or with nothing of
//! the node's own: what it commits to says which, so that whoever has that checkpoint can make the round again ([`crate::audit`]).
//!
//! Where the recipe's rounds overlap, a node goes on from what it reached itself while its update is on the way ([`train_ahead`]). When the round after
//! begins, it makes what is left up to the merge, takes its share of what all reached, and goes on: the same bytes, however much was made ahead.

use super::{Bench, EngineError, RunInputs, device, weights_of};
use crate::{artifact::hash_of, files, trainer::Cancel};
use starling_primitives::{Hash32, RunId};
use starling_rounds::OuterState;
use starling_training::{Activations, Array, Parameters, Trainer, flatten};
use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// Time between two checkpoints within a round: what a kill costs at most.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(10);
/// Steps over which the rate is measured.
const RATE_STEPS: usize = 8;
/// Rounds whose checkpoint is kept: a round that was just committed to can be made again while the next one is under way, and while that is signed.
const KEPT_CHECKPOINTS: usize = 3;
const FEEDBACK: &str = "feedback";
const MAGIC: &[u8; 4] = b"SNC2";

/// A share of a round.
pub(crate) struct RoundJob {
    /// The run.
    pub(crate) run_id: RunId,
    /// The round.
    pub(crate) round: u32,
    /// The node's place, which is its slot of the data.
    pub(crate) place: u16,
    /// Inner steps to make, from the round's first on: all that the recipe plans or fewer.
    pub(crate) steps: u32,
    /// Recipe and texts.
    pub(crate) inputs: RunInputs,
    /// What is kept of a forward pass.
    pub(crate) activations: Activations,
    /// The outer state to start from.
    pub(crate) state: OuterState,
    /// The schedule's place before this round.
    pub(crate) accepted_tokens: u64,
    /// The run's folder.
    pub(crate) folder: PathBuf,
}

/// An inner step that was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct StepMade {
    /// Within the round, from 1.
    pub(crate) step: u32,
    /// Nats a token.
    pub(crate) loss: f64,
    /// Of the step.
    pub(crate) learning_rate: f64,
    /// Over the last steps.
    pub(crate) tokens_per_second: f64,
}

/// What a share of a round made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoundWork {
    /// Artifact hash of the encoded update, whose bytes lie at [`update_path`].
    pub(crate) update: Hash32,
    /// Inner steps made.
    pub(crate) steps: u32,
    /// Hash of the checkpoint file that it began with; nothing where it began with nothing of the node's own.
    pub(crate) began_with: Option<Hash32>,
    /// Hash of the checkpoint file that it ended with.
    pub(crate) checkpoint: Hash32,
}

/// A trainer with what belongs to it.
pub(super) struct Live {
    run_id: RunId,
    trainer: Trainer,
    feedback: Vec<f32>,
    /// Root of the state that the round under way started from.
    root: Hash32,
    /// Hash of the checkpoint file that the round under way, or the next one, begins with.
    began_with: Option<Hash32>,
    /// The trainer's position at that checkpoint; nothing where it was taken up within a round.
    began_at: Option<u64>,
}

impl Live {
    pub(super) fn run_id(&self) -> RunId {
        self.run_id
    }
}

/// Where the encoded update of a round lies.
pub(crate) fn update_path(folder: &Path, round: u32) -> PathBuf {
    folder.join(format!("update-{round}.bin"))
}

/// Where a round's checkpoint lies, made at its end.
pub(crate) fn checkpoint_path(folder: &Path, round: u32) -> PathBuf {
    folder.join(format!("checkpoint-{round}.bin"))
}

/// Where what is under way lies, so that a kill costs seconds.
fn under_way_path(folder: &Path) -> PathBuf {
    folder.join("under-way.bin")
}

/// Trains the share, or goes on with it where the process died. `report` is called after each step.
pub(crate) fn train_round(
    bench: &mut Bench,
    job: &RoundJob,
    cancel: &Cancel,
    mut report: impl FnMut(StepMade),
) -> Result<RoundWork, EngineError> {
    if let Some(done) = finished_before(job)? {
        return Ok(done);
    }
    let mut live = find(bench, job)?;
    live.trainer.keep(job.activations);
    let result = train_with(&mut live, job, cancel, &mut report);
    bench.live = Some(live);
    result
}

fn train_with(live: &mut Live, job: &RoundJob, cancel: &Cancel, report: &mut impl FnMut(StepMade)) -> Result<RoundWork, EngineError> {
    let (root, first) = (job.state.root(), job.state.next_inner_step());
    let end = first + u64::from(job.steps);
    match merges_at(live, job) {
        _ if is_under_way(live, job) => {}
        Some(merge_at) => {
            steps_until(live, merge_at, first, job, cancel, report)?;
            merge(live, job, merge_at)?;
        }
        None => {
            live.trainer.load_parameters(&weights_of(&job.inputs.recipe, job.state.weights())?)?;
            live.trainer.seek_to(first, job.accepted_tokens);
            live.root = root;
        }
    }
    steps_until(live, end, first, job, cancel, report)?;
    finish(live, job)
}

fn is_under_way(live: &Live, job: &RoundJob) -> bool {
    let first = job.state.next_inner_step();
    live.root == job.state.root() && (first + 1..first + u64::from(job.steps)).contains(&live.trainer.position())
}

/// The step at which the last round is merged into what the trainer goes on with: nothing where it has to begin with the state, because it did not
/// finish the last round, or because the run went back.
fn merges_at(live: &Live, job: &RoundJob) -> Option<u64> {
    let overlap = job.inputs.recipe.outer.overlap?;
    let first = job.state.next_inner_step();
    let merge_at = first + u64::from(overlap.merge_after_steps.min(job.steps));
    let goes_on = live.root == job.state.before() && (first..=merge_at).contains(&live.trainer.position());
    (goes_on && !job.state.begins_anew()).then_some(merge_at)
}

/// Takes a share of what all reached in the last round's fragment, and the round's place in the schedule.
fn merge(live: &mut Live, job: &RoundJob, merge_at: u64) -> Result<(), EngineError> {
    let (Some(overlap), Some(last)) = (job.inputs.recipe.outer.overlap, job.round.checked_sub(1)) else { return Ok(()) };
    let fragments = job.inputs.recipe.fragments(job.state.layout())?;
    let mut own = flatten(&live.trainer.parameters()?);
    fragments.merge(fragments.of_round(last), overlap.own_share, job.state.weights(), &mut own);
    live.trainer.load_parameters(&weights_of(&job.inputs.recipe, &own)?)?;
    let made = (merge_at - job.state.next_inner_step()) * job.inputs.recipe.tokens_per_inner_step();
    live.trainer.seek_to(merge_at, job.accepted_tokens + made);
    live.root = job.state.root();
    Ok(())
}

/// Makes a step of the round after this one, which was finished; says whether there was one left to make before the merge.
pub(crate) fn train_ahead(bench: &mut Bench, job: &RoundJob, cancel: &Cancel) -> Result<bool, EngineError> {
    let (recipe, end) = (&job.inputs.recipe, job.state.next_inner_step() + u64::from(job.steps));
    let (Some(overlap), Some(live)) = (recipe.outer.overlap, &mut bench.live) else { return Ok(false) };
    let merge_at = end + u64::from(overlap.merge_after_steps);
    let finished = live.run_id == job.run_id && live.root == job.state.root() && live.trainer.position() >= end;
    if !finished || live.trainer.position() >= merge_at || job.round + 1 >= recipe.rounds {
        return Ok(false);
    }
    let began = Instant::now();
    live.trainer.step()?;
    cancel.between_steps(began.elapsed())?;
    Ok(true)
}

fn steps_until(
    live: &mut Live,
    end: u64,
    first: u64,
    job: &RoundJob,
    cancel: &Cancel,
    report: &mut impl FnMut(StepMade),
) -> Result<(), EngineError> {
    let mut saved = Instant::now();
    let mut recent = VecDeque::from([(Instant::now(), 0_u64)]);
    let mut tokens = 0_u64;
    let mut worked = Duration::ZERO;
    while live.trainer.position() < end {
        let asked = cancel.between_steps(worked);
        if matches!(asked, Err(EngineError::HandedOver(_))) && live.trainer.position() > first {
            save(live, &under_way_path(&job.folder))?;
        }
        asked?;
        let began = Instant::now();
        let made = live.trainer.step()?;
        worked = began.elapsed();
        if let Some(why) = made.withdrawn {
            tracing::warn!(step = made.step, loss = made.loss, ?why, "withdrew an inner step of its own");
            continue;
        }
        tokens += made.tokens;
        recent.push_back((Instant::now(), tokens));
        if recent.len() > RATE_STEPS + 1 {
            recent.pop_front();
        }
        let step = u32::try_from(made.step + 1 - first).unwrap_or(u32::MAX);
        report(StepMade { step, loss: made.loss, learning_rate: made.learning_rate, tokens_per_second: rate(&recent) });
        if saved.elapsed() >= CHECKPOINT_EVERY && live.trainer.position() < end {
            save(live, &under_way_path(&job.folder))?;
            saved = Instant::now();
        }
    }
    Ok(())
}

fn rate(recent: &VecDeque<(Instant, u64)>) -> f64 {
    let (Some((since, before)), Some((until, after))) = (recent.front(), recent.back()) else { return 0.0 };
    let seconds = until.duration_since(*since).as_secs_f64();
    if seconds > 0.0 { (after - before) as f64 / seconds } else { 0.0 }
}

/// Encodes what the steps reached. First the update, then the checkpoint that has spent its feedback: a kill in between repeats the last steps and the encoding.
fn finish(live: &mut Live, job: &RoundJob) -> Result<RoundWork, EngineError> {
    let local = flatten(&live.trainer.parameters()?);
    let fragments = job.inputs.recipe.fragments(job.state.layout())?;
    let fragment = fragments.of_round(job.round);
    let delta = fragments.pseudo_gradient(fragment, job.state.weights(), &local)?;
    let update = fragments.encode(fragment, job.inputs.recipe.outer.codec, &delta, &mut live.feedback)?;
    files::write_atomic(&update_path(&job.folder, job.round), &update)?;
    let checkpoint = save(live, &checkpoint_path(&job.folder, job.round))?;
    files::remove_if_there(&under_way_path(&job.folder))?;
    if let Some(older) = job.round.checked_sub(2) {
        files::remove_if_there(&update_path(&job.folder, older))?;
    }
    for (_, path) in checkpoints(&job.folder)?.into_iter().rev().skip(KEPT_CHECKPOINTS) {
        files::remove_if_there(&path)?;
    }
    live.began_at = Some(live.trainer.position());
    let began_with = live.began_with.replace(checkpoint);
    Ok(RoundWork { update: hash_of(&update), steps: job.steps, began_with, checkpoint })
}

/// The checkpoints of rounds that lie in a folder, the oldest first.
fn checkpoints(folder: &Path) -> std::io::Result<Vec<(u32, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let round = name.strip_prefix("checkpoint-").and_then(|rest| rest.strip_suffix(".bin")).and_then(|round| round.parse().ok());
        found.extend(round.map(|round| (round, path)));
    }
    found.sort_unstable();
    Ok(found)
}

/// The bytes of the checkpoint of this hash, if a round in this folder ended with it.
pub(crate) fn checkpoint_named(folder: &Path, hash: Hash32) -> std::io::Result<Option<Vec<u8>>> {
    if !folder.exists() {
        return Ok(None);
    }
    for (_, path) in checkpoints(folder)?.into_iter().rev() {
        if let Some(file) = files::read_if_there(&path)?
            && hash_of(&file) == hash
        {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

/// What was made of this round before, if its files are still there.
fn finished_before(job: &RoundJob) -> Result<Option<RoundWork>, EngineError> {
    let Some(update) = files::read_if_there(&update_path(&job.folder, job.round))? else { return Ok(None) };
    let Some(file) = files::read_if_there(&checkpoint_path(&job.folder, job.round))? else { return Ok(None) };
    let Ok(Header { root, began_with, .. }) = Header::read(&file) else { return Ok(None) };
    let fragments = job.inputs.recipe.fragments(job.state.layout())?;
    let usable = job.inputs.recipe.outer.codec.decode(fragments.layout_of_round(job.round), &update).is_ok();
    let done = RoundWork { update: hash_of(&update), steps: job.steps, began_with, checkpoint: hash_of(&file) };
    Ok((usable && root == job.state.root()).then_some(done))
}

/// The trainer from the bench or from the file of what is under way, if the round can go on from there; else from the last round's checkpoint, else a fresh
/// one. A trainer that made steps of a round which it did not finish begins anew: what it has become stands in no checkpoint.
fn find(bench: &mut Bench, job: &RoundJob) -> Result<Live, EngineError> {
    let usable = |live: &Live| {
        let at_its_beginning = live.began_at == Some(live.trainer.position()) && live.root != job.state.root();
        let same = live.run_id == job.run_id && live.trainer.slot() == u32::from(job.place);
        same && (at_its_beginning || is_under_way(live, job) || merges_at(live, job).is_some())
    };
    if let Some(live) = bench.live.take().filter(usable) {
        return Ok(live);
    }
    if let Some(file) = files::read_if_there(&under_way_path(&job.folder))? {
        match resume(job, &file) {
            Ok(live) if usable(&live) => return Ok(live),
            Ok(_) => tracing::info!("what was under way belongs to another round or place"),
            Err(error) => tracing::warn!(%error, "what was under way cannot be gone on with"),
        }
    }
    for (_, path) in checkpoints(&job.folder)?.into_iter().rev().filter(|(round, _)| *round < job.round) {
        let Some(file) = files::read_if_there(&path)? else { continue };
        match resume(job, &file) {
            Ok(live) if live.trainer.slot() == u32::from(job.place) => {
                let (began_with, began_at) = (Some(hash_of(&file)), Some(live.trainer.position()));
                return Ok(Live { began_with, began_at, ..live });
            }
            Ok(_) => tracing::warn!("the checkpoint is of another place in the roster; starting with a fresh optimizer"),
            Err(error) => tracing::warn!(%error, "the checkpoint cannot be used; starting with a fresh optimizer"),
        }
    }
    let (recipe, data) = (&job.inputs.recipe, job.inputs.trained_on().clone());
    let weights = weights_of(recipe, job.state.weights())?;
    let trainer = Trainer::on(recipe, job.inputs.frozen.as_deref(), &weights, data, u32::from(job.place), &device()?)?;
    let (feedback, began_at) = (vec![0.0; job.state.weights().len()], Some(trainer.position()));
    Ok(Live { run_id: job.run_id, trainer, feedback, root: Hash32::default(), began_with: None, began_at })
}

/// What stands before the trainer's own checkpoint in a file.
struct Header<'a> {
    root: Hash32,
    began_with: Option<Hash32>,
    rest: &'a [u8],
}

impl<'a> Header<'a> {
    fn read(file: &'a [u8]) -> Result<Self, EngineError> {
        let parts = file.strip_prefix(MAGIC).and_then(|rest| {
            let (root, rest) = rest.split_first_chunk::<32>()?;
            let (began_with, rest) = rest.split_first_chunk::<32>()?;
            Some((Hash32(*root), Hash32(*began_with), rest))
        });
        let (root, began_with, rest) = parts.ok_or_else(damaged)?;
        Ok(Self { root, began_with: (began_with != Hash32::default()).then_some(began_with), rest })
    }
}

fn damaged() -> EngineError {
    EngineError::State("the checkpoint file is damaged".to_owned())
}

fn resume(job: &RoundJob, file: &[u8]) -> Result<Live, EngineError> {
    let Header { root, began_with, rest } = Header::read(file)?;
    let (recipe, data) = (&job.inputs.recipe, job.inputs.trained_on().clone());
    let (trainer, mut extra) = Trainer::resume_on(recipe, job.inputs.frozen.as_deref(), rest, data, &device()?)?;
    let feedback = extra.remove(FEEDBACK).filter(|array| array.values.len() == job.state.weights().len()).ok_or_else(damaged)?;
    Ok(Live { run_id: job.run_id, trainer, feedback: feedback.values, root, began_with, began_at: None })
}

fn save(live: &Live, path: &Path) -> Result<Hash32, EngineError> {
    let feedback = Array { shape: vec![live.feedback.len()], values: live.feedback.clone() };
    let extra: Parameters = [(FEEDBACK.to_owned(), feedback)].into();
    let mut file = MAGIC.to_vec();
    file.extend_from_slice(&live.root.0);
    file.extend_from_slice(&live.began_with.unwrap_or_default().0);
    file.extend_from_slice(&live.trainer.checkpoint(&extra)?);
    files::write_atomic(path, &file)?;
    Ok(hash_of(&file))
}

#[cfg(test)]
#[path = "round_tests.rs"]
mod tests;
