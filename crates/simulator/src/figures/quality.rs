//! What low communication costs in loss: four nodes that exchange int4 updates every thirty steps against synchronous data parallel, and against one node alone.

use std::thread;

use starling_rounds::recipe::{GptShape, ModelRecipe, Recipe};
use starling_training::TrainingError;

use super::{
    Figure, Report,
    absence::{list, mean},
    percent, run, small_recipe,
};
use crate::{Learning, Reading, Scenario, SimulationError, Work, plot};

const NODES: u32 = 4;
/// Of its mean gap to data parallel in percent, at each mark.
const BOUND: f64 = 3.0;
/// Student's t of a one-sided bound of 95 %, for 1 to 9 degrees of freedom.
const STUDENT: [f64; 9] = [6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833];

/// What is compared.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// The model.
    pub model: GptShape,
    /// DiLoCo's H.
    pub inner_steps: u32,
    /// Windows in a step of one node; data parallel has four times as many.
    pub batch: u32,
    /// Rounds after which the losses are compared.
    pub marks: Vec<u32>,
    /// Learning rates of which each side takes its best after the first mark.
    pub rates: Vec<f64>,
    /// Pairs of runs.
    pub seeds: u64,
}

impl Comparison {
    /// A million parameters, H = 30, after 240, 600 and 1,200 steps.
    pub fn of_a_million(seeds: u64) -> Self {
        let model = GptShape { layers: 4, heads: 4, width: 144, context: 64, vocab: 256 };
        Self { model, inner_steps: 30, batch: 4, marks: vec![8, 20, 40], rates: vec![1e-3, 2e-3, 4e-3], seeds }
    }

    fn recipe(&self, seed: u64, rate: f64, nodes_in_one: u32) -> Result<Recipe, SimulationError> {
        let rounds = self.marks.last().copied().unwrap_or(1);
        let mut recipe = small_recipe(rounds, self.inner_steps)?;
        recipe.seed = seed;
        recipe.batch = self.batch * nodes_in_one;
        recipe.model = ModelRecipe::Gpt(self.model.clone());
        recipe.schedule.peak_learning_rate = rate;
        recipe.schedule.floor_learning_rate = rate;
        recipe.schedule.warmup_tokens = recipe.total_inner_steps().div_ceil(4).min(20) * recipe.tokens_per_inner_step();
        Ok(recipe.validated().map_err(TrainingError::from)?)
    }

    /// Losses at the marks of four nodes, and the tokens that were accepted of those that they made.
    fn four_nodes(&self, text: &[u8], seed: u64, rate: f64, marks: &[u32]) -> Result<(Vec<f64>, f64), SimulationError> {
        let recipe = self.recipe(seed, rate, 1)?;
        let rounds = marks.last().copied().unwrap_or(1);
        let scenario = Scenario { seed, ..Scenario::new("four nodes", rounds, NODES as usize) };
        let outcome = run(&scenario, &recipe, text)?;
        let at = |mark: &u32| outcome.rows.get(*mark as usize - 1).and_then(|row| row.held_out_loss).unwrap_or(f64::NAN);
        let made = u64::from(NODES * rounds) * recipe.tokens_per_round();
        Ok((marks.iter().map(at).collect(), outcome.tokens() as f64 / made as f64))
    }

    /// Losses at the marks of one trainer whose step has the windows of so many nodes: with those of four it is synchronous data parallel. Measured on the windows on which
    /// four nodes are.
    fn in_step(&self, text: &[u8], seed: u64, rate: f64, marks: &[u32], nodes_in_one: u32) -> Result<Vec<f64>, SimulationError> {
        let mut judge = Learning::new(self.recipe(seed, rate, 1)?, text, &[Reading::Assigned])?;
        let mut work = Learning::new(self.recipe(seed, rate, nodes_in_one)?, text, &[Reading::Assigned])?;
        work.start(0, None)?;
        let (mut losses, mut made) = (Vec::new(), 0);
        for mark in marks {
            let end = u64::from(mark * self.inner_steps);
            let weights = work.train(0, made..end)?;
            losses.push(judge.held_out_loss(&weights)?);
            made = end;
        }
        Ok(losses)
    }
}

/// Both sides at their best of the learning rates, over paired seeds.
///
/// # Errors
/// As [`crate::simulate`].
pub fn figures(what: &Comparison, text: &[u8]) -> Result<Report, SimulationError> {
    let mut report = Report::default();
    let first = &what.marks[..1];
    // A seed that is not among the pairs.
    let tried = what.rates.iter().map(|rate| {
        let (nodes, parallel) =
            both(|| Ok(what.four_nodes(text, 0, *rate, first)?.0[0]), || Ok(what.in_step(text, 0, *rate, first, NODES)?[0]))?;
        Ok((*rate, nodes, parallel))
    });
    let tried = tried.collect::<Result<Vec<_>, SimulationError>>()?;
    let best = |loss: fn(&(f64, f64, f64)) -> f64| tried.iter().min_by(|a, b| loss(a).total_cmp(&loss(b))).map_or(f64::NAN, |best| best.0);
    let (rate, parallel_rate) = (best(|tried| tried.1), best(|tried| tried.2));
    let grid = tried.iter().map(|(rate, nodes, parallel)| format!("{rate:e}: {nodes:.4} and {parallel:.4}"));
    report.figures.push(Figure::new(
        format!("learning rates tried, loss of four nodes and of data parallel after {} steps", first[0] * what.inner_steps),
        format!("{}; taken {rate:e} and {parallel_rate:e}", grid.collect::<Vec<_>>().join(", ")),
    ));

    let (mut gaps, mut against_one, mut accepted, mut lines) = (vec![Vec::new(); what.marks.len()], Vec::new(), f64::INFINITY, Vec::new());
    for seed in 1..=what.seeds {
        let ((nodes, share), (parallel, alone)) = both(
            || what.four_nodes(text, seed, rate, &what.marks),
            || Ok((what.in_step(text, seed, parallel_rate, &what.marks, NODES)?, what.in_step(text, seed, rate, &what.marks, 1)?)),
        )?;
        accepted = accepted.min(share);
        for (gaps, (nodes, parallel)) in gaps.iter_mut().zip(nodes.iter().zip(&parallel)) {
            gaps.push(percent(*nodes, *parallel));
        }
        against_one.extend(nodes.last().zip(alone.last()).map(|(nodes, alone)| percent(*nodes, *alone)));
        for (name, losses) in [("four nodes", &nodes), ("data parallel", &parallel), ("one node alone", &alone)] {
            let points = what.marks.iter().map(|mark| f64::from(mark * what.inner_steps)).zip(losses.iter().copied());
            lines.push(plot::Line { name: format!("{name}, seed {seed}"), points: points.collect() });
        }
    }
    for (mark, gaps) in what.marks.iter().zip(&gaps) {
        let bound = upper_bound(gaps);
        report.figures.push(Figure::bound(
            format!("four nodes against synchronous data parallel after {} steps, {} paired seeds", mark * what.inner_steps, what.seeds),
            format!("loss {:+.2} % on the mean ({}), upper 95 % bound {bound:+.2} %", mean(gaps), list(gaps)),
            bound <= BOUND,
        ));
    }
    if let (Some(first), Some(last)) = (gaps.first(), gaps.last()) {
        report.figures.push(Figure::bound(
            "the gap from the first to the last of them",
            format!("{:+.2} % to {:+.2} %", mean(first), mean(last)),
            mean(last) <= mean(first).max(0.0),
        ));
    }
    report.figures.extend([
        Figure::bound(
            "four nodes against one alone, as many steps of each",
            format!("loss {:+.2} % on the mean ({})", mean(&against_one), list(&against_one)),
            mean(&against_one) < 0.0,
        ),
        Figure::new("accepted of the tokens that four nodes made, at least", format!("{:.1} %", 100.0 * accepted)),
    ]);
    report.files.push(("quality.svg".to_owned(), plot::svg("Held-out loss by steps", "steps", "nats per byte", &lines)));
    Ok(report)
}

/// Of the mean, one-sided, 95 %.
fn upper_bound(values: &[f64]) -> f64 {
    let (count, mean) = (values.len(), mean(values));
    let Some(student) = count.checked_sub(2).and_then(|place| STUDENT.get(place)) else { return f64::INFINITY };
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1) as f64;
    mean + student * (variance / count as f64).sqrt()
}

/// Both at one time, one of them on a thread of its own.
fn both<A: Send, B>(
    one: impl FnOnce() -> Result<A, SimulationError> + Send,
    other: impl FnOnce() -> Result<B, SimulationError>,
) -> Result<(A, B), SimulationError> {
    thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        let one = one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok((one?, other?))
    })
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;
    use crate::text::synthetic;

    #[test]
    fn four_nodes__should_come_near_data_parallel_and_pass_one_alone() {
        let model = GptShape { layers: 2, heads: 2, width: 32, context: 32, vocab: 256 };
        let what = Comparison { model, inner_steps: 15, batch: 2, marks: vec![2, 4], rates: vec![2e-3, 4e-3], seeds: 2 };
        let report = figures(&what, &synthetic(1, 1 << 16)).unwrap();
        for figure in &report.figures {
            println!("{}: {}", figure.what, figure.value);
        }
        assert_eq!(report.figures.len(), 6);
        let passes = report.figures.iter().find(|figure| figure.what.contains("one alone")).unwrap();
        assert!(passes.holds, "{passes:?}");
    }

    #[test]
    fn upper_bound__should_be_students() {
        assert!((upper_bound(&[1.0, 2.0, 3.0, 4.0, 5.0]) - (3.0 + 2.132 * (2.5_f64 / 5.0).sqrt())).abs() < 1e-12);
        assert!((upper_bound(&[2.0, 2.0]) - 2.0).abs() < 1e-12);
        assert!(upper_bound(&[1.0]).is_infinite());
    }
}
