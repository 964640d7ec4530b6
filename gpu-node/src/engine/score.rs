//! Scores updates of a round: how much the loss falls at a fifth of each, on windows it was made from and on windows that nobody was assigned,
//! both drawn when all had committed. What a node of a federated run trained on stays there: its update is scored on unseen windows of the run's data alone.

use super::{EngineError, RunInputs, weights_of};
use crate::trainer::Cancel;
use starling_http_api::node::Score;
use starling_primitives::Hash32;
use starling_rounds::{OuterState, UNSEEN_SLOT, own_probe_windows, unseen_probe_steps};
use starling_training::{Batch, Model, TrainingError, mean_loss};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};

/// Stands for a loss that is no number: JSON has none, and the gate refuses what is beyond a million nats.
const NO_LOSS: f64 = 1e12;

/// Updates to score.
pub(crate) struct ScoreJob {
    /// Recipe and texts.
    pub(crate) inputs: RunInputs,
    /// The outer state before the round.
    pub(crate) state: OuterState,
    /// What draws the windows.
    pub(crate) seed: Hash32,
    /// Each of them.
    pub(crate) updates: Vec<Judged>,
}

/// An update to score.
pub(crate) struct Judged {
    /// Of which place.
    pub(crate) place: u16,
    /// Inner steps that the place was assigned, from the round's first on: its data.
    pub(crate) steps: u32,
    /// Its bytes.
    pub(crate) update: Arc<[u8]>,
}

/// One score for each update that is one; what cannot be decoded has losses that no gate lets pass.
pub(crate) fn score_updates(job: &ScoreJob, cancel: &Cancel) -> Result<Vec<Score>, EngineError> {
    let recipe = &job.inputs.recipe;
    let windows = recipe.probe_windows()?;
    let mut model = super::model_of(&job.inputs, job.state.weights())?;
    let unseen = unseen_batch(job, windows)?;
    let unseen_before = mean_loss(&model, &unseen)?;
    // Nothing where it is not known what an update was made from.
    let own_of = |judged: &Judged| recipe.data.federated.is_none().then(|| own_batch(job, judged, windows)).transpose();
    let own: Vec<Option<Batch>> = job.updates.iter().map(own_of).collect::<Result<_, _>>()?;
    let loss_before = |own: &Option<Batch>| own.as_ref().map_or(Ok(unseen_before), |batch| mean_loss(&model, batch));
    let own_before = own.iter().map(loss_before).collect::<Result<Vec<_>, _>>()?;
    let mut scores = Vec::with_capacity(job.updates.len());
    let mut worked = Duration::ZERO;
    for ((judged, own), own_before) in job.updates.iter().zip(&own).zip(own_before) {
        cancel.between_steps(worked)?;
        let began = Instant::now();
        let after = losses_after(&mut model, job, &judged.update, own.as_ref(), &unseen)?;
        let (own_after, unseen_after) = after.unwrap_or((NO_LOSS, NO_LOSS));
        scores.push(Score {
            place: judged.place,
            own: (number(own_before), number(own_after)),
            unseen: (number(unseen_before), number(unseen_after)),
        });
        worked = began.elapsed();
    }
    Ok(scores)
}

/// Losses at a fifth of the update, on its own data, or where that is not known on the unseen one, and on the unseen one; nothing where it is no update or leads to weights that are no numbers.
fn losses_after(
    model: &mut Model,
    job: &ScoreJob,
    update: &[u8],
    own: Option<&Batch>,
    unseen: &Batch,
) -> Result<Option<(f64, f64)>, EngineError> {
    let fragments = job.inputs.recipe.fragments(job.state.layout())?;
    let fragment = fragments.of_round(job.state.round());
    let Ok(update) = job.inputs.recipe.outer.codec.decode(fragments.layout(fragment), update) else { return Ok(None) };
    let point = fragments.probe_point(fragment, job.state.weights(), &update)?;
    if !point.iter().all(|weight| weight.is_finite()) {
        return Ok(None);
    }
    model.load_parameters(&weights_of(&job.inputs.recipe, &point)?)?;
    let unseen = mean_loss(model, unseen)?;
    Ok(Some((own.map_or(Ok(unseen), |own| mean_loss(model, own))?, unseen)))
}

/// Windows that a place was assigned in this round, drawn after it had committed.
fn own_batch(job: &ScoreJob, judged: &Judged, windows: u32) -> Result<Batch, EngineError> {
    let (recipe, first, place) = (&job.inputs.recipe, job.state.next_inner_step(), judged.place);
    let steps = first..first + u64::from(judged.steps);
    let drawn = own_probe_windows(&job.seed, place, steps, recipe.batch, count(windows));
    let window = |(step, window): (u64, u32)| {
        let batch = job.inputs.train.batch(&recipe.model, recipe.seed, u32::from(place), step, count(window) + 1)?;
        Ok(batch.pieces(1).pop())
    };
    let windows: Vec<Option<Batch>> = drawn.into_iter().map(window).collect::<Result<_, TrainingError>>()?;
    Ok(Batch::joined(&windows.into_iter().flatten().collect::<Vec<_>>())?)
}

/// As many windows that nobody was assigned.
fn unseen_batch(job: &ScoreJob, windows: u32) -> Result<Batch, EngineError> {
    let recipe = &job.inputs.recipe;
    let window = |step| job.inputs.train.batch(&recipe.model, recipe.seed, UNSEEN_SLOT, step, 1);
    let windows: Vec<Batch> = unseen_probe_steps(&job.seed, count(windows)).into_iter().map(window).collect::<Result<_, _>>()?;
    Ok(Batch::joined(&windows)?)
}

fn count(windows: u32) -> usize {
    usize::try_from(windows).unwrap_or(1)
}

fn number(loss: f64) -> f64 {
    if loss.is_finite() { loss } else { NO_LOSS }
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;
    use crate::engine::{Base, Bench, PrepareJob, RoundJob, prepare, read_state, train_round};
    use starling_primitives::RunId;
    use starling_rounds::{Codec, Cohort, Share, Verdict, gate};
    use starling_training::{AdapterRecipe, Recipe};
    use std::collections::BTreeMap;

    const SOURCE: &str = include_str!("../session/desk.rs");

    fn passed(job: &ScoreJob) -> Vec<bool> {
        let scores = score_updates(job, &Cancel::default()).unwrap();
        let scores: Vec<_> = scores
            .iter()
            .map(|score| starling_rounds::Score::from_losses(score.own.0, score.own.1, score.unseen.0, score.unseen.1))
            .collect();
        let shares = job.updates.iter().map(|judged| Share { tokens: judged.steps, of: job.inputs.recipe.inner_steps_per_round });
        let shared: Vec<_> = scores.into_iter().zip(shares).collect();
        let known: Vec<_> = shared.iter().filter_map(|(score, share)| Some(((*score)?, *share))).collect();
        let passes = |score, share| gate(score, share, Cohort::of(&known)) == Verdict::Pass;
        shared.iter().map(|(score, share)| score.is_some_and(|score| passes(score, *share))).collect()
    }

    #[test]
    fn score__should_let_honest_work_pass_and_nothing_else() {
        assert_eq!(verdicts(Recipe::preset("tiny").unwrap(), Base::Fresh, [5, 5, 5]), RIGHT);
    }

    #[test]
    fn score__should_let_honest_work_on_adapters_pass() {
        let plain = Recipe::preset("tiny").unwrap();
        let weights = Model::initial(&plain, None).unwrap();
        let file = starling_training::export_model(&plain, &weights, &BTreeMap::new()).unwrap().safetensors;
        let found = verdicts(Recipe { adapter: AdapterRecipe::usual(&plain.model, 8), ..plain }, Base::Model(file.into()), [5, 5, 5]);
        // What is far too long may lower the loss where norms follow; its length refuses it (`starling_rounds::too_long`).
        assert_eq!((&found[..5], found[6]), (&RIGHT[..5], RIGHT[6]));
    }

    #[test]
    fn score__should_let_honest_work_on_a_fragment_pass() {
        let mut recipe = Recipe::preset("tiny").unwrap();
        recipe.overlap();
        assert_eq!(verdicts(recipe, Base::Fresh, [5, 5, 5]), RIGHT);
    }

    #[test]
    fn score__should_let_honest_work_of_fewer_steps_pass() {
        let mut recipe = Recipe::preset("tiny").unwrap();
        recipe.outer.codec = Codec::TwoBit;
        assert_eq!(verdicts(recipe, Base::Fresh, [5, 3, 2]), RIGHT);
    }

    #[test]
    fn score__should_let_honest_work_on_every_kind_of_data_pass() {
        for name in ["triage", "fraud", "cells"] {
            let recipe = Recipe::preset(name).unwrap();
            let data = starling_training::generated(&recipe).unwrap().unwrap().bytes;
            let steps = [recipe.inner_steps_per_round; 3];
            let found = verdicts_on(recipe, &data, Base::Fresh, steps);
            assert_eq!((&found[..5], found[6]), (&RIGHT[..5], RIGHT[6]), "{name}");
        }
    }

    /// Honest work of three passes; zeros, its opposite, what is far too long and what is no update do not.
    const RIGHT: [bool; 7] = [true, true, true, false, false, false, false];

    /// Of honest work of so many steps, and then of those that should not pass.
    fn verdicts(recipe: Recipe, base: Base, steps: [u32; 3]) -> Vec<bool> {
        verdicts_on(recipe, SOURCE.as_bytes(), base, steps)
    }

    #[test]
    fn score__should_measure_federated_work_on_unseen_windows_alone() {
        let mut recipe = Recipe::preset("tiny").unwrap();
        let own_and_unseen = |recipe: &Recipe| {
            let scores = score_updates(&job_of(recipe.clone(), SOURCE.as_bytes(), Base::Fresh, [5, 5, 5]), &Cancel::default()).unwrap();
            scores.into_iter().map(|score| (score.own, score.unseen)).collect::<Vec<_>>()
        };
        assert!(own_and_unseen(&recipe)[..3].iter().all(|(own, unseen)| own != unseen), "of its own data where it is known");
        recipe.federate("notes");
        assert!(own_and_unseen(&recipe).iter().all(|(own, unseen)| own == unseen));
        assert_eq!(verdicts(recipe, Base::Fresh, [5, 5, 5]), RIGHT);
    }

    fn verdicts_on(recipe: Recipe, data: &[u8], base: Base, steps: [u32; 3]) -> Vec<bool> {
        passed(&job_of(recipe, data, base, steps))
    }

    fn job_of(recipe: Recipe, data: &[u8], base: Base, steps: [u32; 3]) -> ScoreJob {
        let codec = recipe.outer.codec;
        let frozen = if let Base::Model(file) = &base { Some(file.clone()) } else { None };
        let job = PrepareJob { recipe: recipe.to_toml().unwrap(), fit: false, data: data.into(), held_out: None, base };
        let files = prepare(job).unwrap().files;
        let state = read_state(&recipe, &files[3]).unwrap();
        let inputs = RunInputs::of(recipe, files[0].clone(), files[1].clone(), frozen.as_deref()).unwrap();
        let mut updates: Vec<Judged> = Vec::new();
        for (place, steps) in (0..).zip(steps) {
            let folder = tempfile::tempdir().unwrap();
            let job = RoundJob {
                run_id: RunId(1),
                round: 0,
                place,
                steps,
                inputs: inputs.clone(),
                activations: starling_training::Activations::Kept,
                state: state.clone(),
                accepted_tokens: 0,
                folder: folder.path().to_owned(),
            };
            train_round(&mut Bench::default(), &job, &Cancel::default(), |_| ()).unwrap();
            let update = std::fs::read(crate::engine::round::update_path(folder.path(), 0)).unwrap().into();
            updates.push(Judged { place, steps, update });
        }
        let fragments = inputs.recipe.fragments(state.layout()).unwrap();
        let layout = fragments.layout(0);
        let zeros = vec![0.0; layout.parameters()];
        let honest = codec.decode(layout, &updates[0].update).unwrap().values();
        let flipped: Vec<f32> = honest.iter().map(|value| -value).collect();
        let huge: Vec<f32> = honest.iter().map(|value| value * 1e4).collect();
        for bad in [zeros.clone(), flipped, huge] {
            let mut feedback = zeros.clone();
            let update = codec.encode(layout, &bad, &mut feedback).unwrap().into();
            updates.push(Judged { place: u16::try_from(updates.len()).unwrap(), steps: 5, update });
        }
        updates.push(Judged { place: 6, steps: 5, update: Arc::from(*b"no update") });
        ScoreJob { inputs, state, seed: Hash32([7; 32]), updates }
    }
}
