//! What low communication costs in loss: four nodes that exchange int4 updates every thirty steps against synchronous data parallel, against one node
//! alone, and against four that send half as many bits and train with Muon.

use starling_rounds::{
    Codec,
    recipe::{GptShape, ModelRecipe, OptimizerKind, Recipe},
};
use starling_training::TrainingError;

use super::{
    Figure, Report,
    absence::{list, mean},
    each, percent, run, small_recipe,
};
use crate::{Learning, Reading, Scenario, SimulationError, Work, plot};

const NODES: u32 = 4;
/// Of its mean gap to data parallel in percent, at each mark.
const BOUND: f64 = 3.0;
/// Decay of Muon's momentum.
const MUON: OptimizerKind = OptimizerKind::Muon { momentum: 0.95 };
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
    /// Paired runs.
    pub seeds: u64,
}

/// One side of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// AdamW, int4 updates.
    FourNodes,
    /// Muon, updates of two bits.
    TwoBits,
    /// One trainer whose step has the windows of all four.
    DataParallel,
    /// One of the four by itself.
    Alone,
}

impl Side {
    const ALL: [Self; 4] = [Self::FourNodes, Self::DataParallel, Self::TwoBits, Self::Alone];

    fn name(self) -> &'static str {
        match self {
            Self::FourNodes => "four nodes",
            Self::TwoBits => "four nodes with Muon and two bits",
            Self::DataParallel => "data parallel",
            Self::Alone => "one node alone",
        }
    }

    /// Whose learning rate it takes: one node alone trains as each of the four.
    fn tuned_as(self) -> Self {
        if self == Self::Alone { Self::FourNodes } else { self }
    }
}

/// What a run of one side gave.
struct Run {
    /// At the marks.
    losses: Vec<f64>,
    /// The part of the tokens made that was accepted.
    accepted: f64,
}

impl Run {
    fn last(&self) -> f64 {
        self.losses.last().copied().unwrap_or(f64::NAN)
    }
}

impl Comparison {
    /// A million parameters, H = 30, after 240, 600 and 1,200 steps.
    pub fn of_a_million(seeds: u64) -> Self {
        let model = GptShape { layers: 4, heads: 4, width: 144, context: 64, vocab: 256 };
        Self { model, inner_steps: 30, batch: 4, marks: vec![8, 20, 40], rates: vec![5e-4, 1e-3, 2e-3], seeds }
    }

    fn recipe(&self, side: Side, seed: u64, rate: f64) -> Result<Recipe, SimulationError> {
        let rounds = self.marks.last().copied().unwrap_or(1);
        let mut recipe = small_recipe(rounds, self.inner_steps)?;
        recipe.seed = seed;
        recipe.batch = if side == Side::DataParallel { self.batch * NODES } else { self.batch };
        if side == Side::TwoBits {
            recipe.optimizer.method = MUON;
        }
        recipe.model = ModelRecipe::Gpt(self.model.clone());
        recipe.schedule.peak_learning_rate = rate;
        recipe.schedule.floor_learning_rate = rate;
        recipe.schedule.warmup_tokens = recipe.total_inner_steps().div_ceil(4).min(20) * recipe.tokens_per_inner_step();
        Ok(recipe.validated().map_err(TrainingError::from)?)
    }

    fn run(&self, side: Side, text: &[u8], seed: u64, rate: f64, marks: &[u32]) -> Result<Run, SimulationError> {
        let recipe = self.recipe(side, seed, rate)?;
        match side {
            Side::FourNodes => over_network(Codec::Int4, &recipe, text, marks),
            Side::TwoBits => over_network(Codec::TwoBit, &recipe, text, marks),
            Side::DataParallel | Side::Alone => {
                // Measured on the windows on which four nodes are.
                let judge = Learning::new(self.recipe(Side::FourNodes, seed, rate)?, text, &[Reading::Assigned])?;
                in_one_trainer(judge, recipe, text, marks)
            }
        }
    }
}

fn over_network(codec: Codec, recipe: &Recipe, text: &[u8], marks: &[u32]) -> Result<Run, SimulationError> {
    let rounds = marks.last().copied().unwrap_or(1);
    let scenario = Scenario { seed: recipe.seed, codec, ..Scenario::new("", rounds, NODES as usize) };
    let outcome = run(&scenario, recipe, text)?;
    let at = |mark: &u32| outcome.rows.get(*mark as usize - 1).and_then(|row| row.held_out_loss).unwrap_or(f64::NAN);
    let made = u64::from(NODES * rounds) * recipe.tokens_per_round();
    Ok(Run { losses: marks.iter().map(at).collect(), accepted: outcome.tokens() as f64 / made as f64 })
}

fn in_one_trainer(mut judge: Learning, recipe: Recipe, text: &[u8], marks: &[u32]) -> Result<Run, SimulationError> {
    let steps = u64::from(recipe.inner_steps_per_round);
    let mut work = Learning::new(recipe, text, &[Reading::Assigned])?;
    work.start(0, None)?;
    let (mut losses, mut made) = (Vec::new(), 0);
    for mark in marks {
        let end = u64::from(*mark) * steps;
        let weights = work.train(0, made..end)?;
        losses.push(judge.held_out_loss(&weights)?);
        made = end;
    }
    Ok(Run { losses, accepted: 1.0 })
}

/// The best learning rate of each side that is tuned, and a figure that shows what was tried.
fn tuned(what: &Comparison, text: &[u8]) -> Result<(Vec<(Side, f64)>, Figure), SimulationError> {
    let first = &what.marks[..1];
    let sides = Side::ALL.into_iter().filter(|side| side.tuned_as() == *side);
    let jobs: Vec<(Side, f64)> = sides.clone().flat_map(|side| what.rates.iter().map(move |rate| (side, *rate))).collect();
    // A seed that is not among the pairs.
    let tried = each(&jobs, |(side, rate)| Ok(what.run(*side, text, 0, *rate, first)?.last()))?;
    let (mut best, mut said) = (Vec::new(), Vec::new());
    for (side, losses) in sides.zip(tried.chunks(what.rates.len())) {
        let rates = what.rates.iter().zip(losses);
        let rate = rates.clone().min_by(|a, b| a.1.total_cmp(b.1)).map_or(f64::NAN, |(rate, _)| *rate);
        let grid: Vec<String> = rates.map(|(rate, loss)| format!("{rate:e}: {loss:.4}")).collect();
        said.push(format!("{} {}, taken {rate:e}", side.name(), grid.join(", ")));
        best.push((side, rate));
    }
    let figure = Figure::new(format!("learning rates tried, loss after {} steps", first[0] * what.inner_steps), said.join("; "));
    Ok((best, figure))
}

/// Each side at its best of the learning rates, over paired seeds.
///
/// # Errors
/// As [`crate::simulate`].
pub fn figures(what: &Comparison, text: &[u8]) -> Result<Report, SimulationError> {
    let (rates, tried) = tuned(what, text)?;
    let mut report = Report { figures: vec![tried], files: Vec::new() };
    let rate_of = |side: Side| rates.iter().find(|(of, _)| *of == side.tuned_as()).map_or(f64::NAN, |(_, rate)| *rate);
    let jobs: Vec<(u64, Side)> = (1..=what.seeds).flat_map(|seed| Side::ALL.map(|side| (seed, side))).collect();
    let runs = each(&jobs, |(seed, side)| what.run(*side, text, *seed, rate_of(*side), &what.marks))?;
    let of = |side: Side| jobs.iter().zip(&runs).filter(move |((_, of), _)| *of == side).map(|(_, run)| run);
    let gaps = |side: Side, to: Side, mark: usize| -> Vec<f64> {
        of(side).zip(of(to)).map(|(run, other)| percent(run.losses[mark], other.losses[mark])).collect()
    };

    let steps: Vec<u32> = what.marks.iter().map(|mark| mark * what.inner_steps).collect();
    let last = steps.len() - 1;
    for (mark, steps) in steps.iter().enumerate() {
        let gaps = gaps(Side::FourNodes, Side::DataParallel, mark);
        let bound = upper_bound(&gaps);
        report.figures.push(Figure::bound(
            format!("four nodes against synchronous data parallel after {steps} steps, {} paired seeds", what.seeds),
            format!("loss {:+.2} % on the mean ({}), upper 95 % bound {bound:+.2} %", mean(&gaps), list(&gaps)),
            bound <= BOUND,
        ));
    }
    let (early, late) = (mean(&gaps(Side::FourNodes, Side::DataParallel, 0)), mean(&gaps(Side::FourNodes, Side::DataParallel, last)));
    report.figures.push(Figure::bound(
        "the gap from the first to the last of them",
        format!("{early:+.2} % to {late:+.2} %"),
        late <= early.max(0.0),
    ));
    for (side, to, what) in [
        (Side::FourNodes, Side::Alone, "four nodes against one alone, as many steps of each"),
        (Side::TwoBits, Side::FourNodes, "four nodes with Muon and two bits against AdamW and int4"),
    ] {
        let gaps = gaps(side, to, last);
        report.figures.push(Figure::bound(what, format!("loss {:+.2} % on the mean ({})", mean(&gaps), list(&gaps)), mean(&gaps) <= 0.0));
    }
    let accepted = runs.iter().map(|run| run.accepted).fold(1.0, f64::min);
    report.figures.push(Figure::new("accepted of the tokens that four nodes made, at least", format!("{:.1} %", 100.0 * accepted)));
    let line = |((seed, side), run): (&(u64, Side), &Run)| {
        let points = steps.iter().map(|steps| f64::from(*steps)).zip(run.losses.iter().copied()).collect();
        plot::Line { name: format!("{}, seed {seed}", side.name()), points }
    };
    let lines: Vec<plot::Line> = jobs.iter().zip(&runs).map(line).collect();
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

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;
    use crate::text::synthetic;

    #[test]
    fn four_nodes__should_come_near_data_parallel_and_pass_one_alone() {
        let model = GptShape { layers: 2, heads: 2, width: 32, context: 32, vocab: 256 };
        let what = Comparison { model, inner_steps: 15, batch: 2, marks: vec![2, 4], rates: vec![1e-3, 2e-3], seeds: 2 };
        let report = figures(&what, &synthetic(1, 1 << 16)).unwrap();
        for figure in &report.figures {
            println!("{}: {}", figure.what, figure.value);
        }
        assert_eq!(report.figures.len(), 7);
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
