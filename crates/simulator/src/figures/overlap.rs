//! Blocking against fragments that overlap with training: time in a large model, loss in a small one.

use std::time::Instant;

use starling_rounds::{
    Codec, Plan,
    recipe::{GptShape, ModelRecipe, OverlapRecipe},
};
use starling_training::TrainingError;

use super::{Figure, Report, communication::gpt, percent, run, small_recipe};
use crate::{Idle, Learning, Micros, Participant, Reading, Scenario, SimulationError, Work, simulate, text::synthetic};

const FRAGMENTS: u32 = 4;
const INNER_STEPS: u32 = 30;
/// Of each step: sixteen windows of 128.
const WINDOWS: u32 = 16;

/// Median of a step of 2,048 tokens of the model of [`time`], on the cores of this machine.
///
/// # Errors
/// The training engine's.
pub fn measured_step(steps: usize) -> Result<Micros, SimulationError> {
    let mut recipe = small_recipe(1, 10)?;
    recipe.batch = WINDOWS;
    recipe.model = ModelRecipe::Gpt(GptShape { layers: 6, heads: 8, width: 368, context: 128, vocab: 256 });
    let mut work = Learning::new(recipe.validated().map_err(TrainingError::from)?, &synthetic(1, 1 << 16), &[Reading::Assigned])?;
    work.start(0, None)?;
    let mut times = Vec::new();
    for step in 0..steps as u64 {
        let began = Instant::now();
        work.train(0, step..step + 1)?;
        times.push(began.elapsed().as_micros());
    }
    times.sort_unstable();
    Ok(times.get(steps / 2).and_then(|median| Micros::try_from(*median).ok()).unwrap_or(0))
}

/// Eight nodes of a GPT of ten million parameters on lines of 100 Mbit/s with a delay of 100 ms, the coordinator's too.
///
/// `step_us` is a lone node's median of a step of 2,048 tokens.
///
/// # Errors
/// As [`simulate`].
pub fn time(step_us: Micros, rounds: u32) -> Result<Report, SimulationError> {
    let layout = gpt(6, 8, 368);
    let mut report = Report::default();
    let scenario = Scenario { hub_bits_per_second: 100_000_000, codec: Codec::Int4, ..Scenario::new("blocking", rounds, 8) };
    let plan = Plan::new(INNER_STEPS, WINDOWS, 128).expect("within bounds");
    let overlap = OverlapRecipe { fragments: FRAGMENTS, merge_after_steps: INNER_STEPS - 3, own_share: 0.5 };
    // Judging costs whom it falls upon: enough rounds that each node has its turns. Blocking rounds are all alike.
    for (name, overlap, rounds, bound) in [("blocking", None, 3, 0.0), ("four fragments, overlapped", Some(overlap), rounds, 0.95)] {
        let participants = vec![Participant::honest(step_us); 8];
        let scenario = Scenario { name: name.to_owned(), rounds, participants, overlap, ..scenario.clone() };
        let outcome = simulate(&scenario, &mut Idle::new(layout.clone(), plan, 8, 1))?;
        let share = outcome.computing.iter().sum::<f64>() / outcome.computing.len() as f64;
        let least = outcome.computing.iter().copied().fold(f64::INFINITY, f64::min);
        let round = (outcome.elapsed_us / u64::from(rounds)) as f64 / 1e6;
        let sent = outcome.hub_bytes.0 / u64::from(rounds);
        report.figures.push(Figure::bound(
            format!("{name}: share of time computing, eight nodes, {rounds} rounds"),
            format!(
                "{:.1} %, the least of them {:.1} %; {} parameters, a step {:.2} s, H = {INNER_STEPS}, {round:.1} s a round, the coordinator sends {sent} bytes a round: all accepted updates to all, who each check, average and sign",
                100.0 * share,
                100.0 * least,
                outcome.parameters,
                step_us as f64 / 1e6,
            ),
            share >= bound,
        ));
    }
    Ok(report)
}

/// What overlapping costs in loss: four nodes of a small model, as many rounds of each.
///
/// # Errors
/// As [`simulate`].
pub fn loss(rounds: u32, text: &[u8]) -> Result<Vec<Figure>, SimulationError> {
    let recipe = small_recipe(rounds, 12)?;
    let blocking = Scenario { evaluate_every: rounds, ..Scenario::new("blocking", rounds, 4) };
    let reference = run(&blocking, &recipe, text)?.held_out_loss;
    let half_way = OverlapRecipe::usual(12);
    let cases = [("merged half-way", half_way), ("merged a step before the end", OverlapRecipe { merge_after_steps: 11, ..half_way })];
    let figure = |(name, overlap): (&str, OverlapRecipe)| {
        let scenario = Scenario { name: name.to_owned(), overlap: Some(overlap), ..blocking.clone() };
        let loss = run(&scenario, &recipe, text)?.held_out_loss;
        Ok(Figure::new(
            format!("four fragments, {name}: loss of a small model against blocking, equal tokens"),
            format!("{:+.2} % ({loss:.4} against {reference:.4}), {rounds} rounds of 12 steps", percent(loss, reference)),
        ))
    };
    cases.into_iter().map(figure).collect()
}
