//! What low communication costs in loss: four nodes that exchange int4 updates every thirty steps against synchronous data parallel, against one node
//! alone, and against four that send half as many bits and train with Muon. From fresh weights, and from a model that was trained before, as DiLoCo
//! was measured first (arXiv:2311.08105).

use starling_rounds::{
    Codec,
    recipe::{GptShape, ModelRecipe, OptimizerKind, Recipe},
};
use starling_training::{Parameters, TrainingError, flatten};

use super::{
    Figure, Report,
    absence::{list, mean},
    each, percent, small_recipe,
};
use crate::{Learning, Reading, Scenario, SimulationError, Work, plot, simulate};

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
    /// What all sides start from: so many rounds' steps of data parallel at this rate; none are fresh weights.
    pub trained: Option<(u32, f64)>,
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
        Self { model, inner_steps: 30, batch: 4, marks: vec![8, 20, 40], rates: vec![5e-4, 1e-3, 2e-3], trained: None, seeds }
    }

    /// The same from a model that data parallel has trained for 2,400 steps.
    pub fn of_a_trained_million(seeds: u64) -> Self {
        Self { rates: vec![1.25e-4, 2.5e-4, 5e-4], trained: Some((80, 1e-3)), ..Self::of_a_million(seeds) }
    }

    /// What all sides start from, if it is not fresh weights. Its seed is not among the pairs.
    fn base(&self, text: &[u8]) -> Result<Option<Parameters>, SimulationError> {
        let Some((rounds, rate)) = self.trained else { return Ok(None) };
        let recipe = self.recipe(Side::DataParallel, u64::from(u32::MAX), rate, rounds)?;
        let end = u64::from(rounds) * u64::from(recipe.inner_steps_per_round);
        let mut work = Learning::new(recipe, text, &[Reading::Assigned])?;
        work.start(0, None)?;
        let weights = work.train(0, 0..end)?;
        Ok(Some(work.parameters(&weights)?))
    }

    fn recipe(&self, side: Side, seed: u64, rate: f64, rounds: u32) -> Result<Recipe, SimulationError> {
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

    /// One side from these weights.
    fn run(&self, start: &Start<'_>, side: Side, seed: u64, rate: f64, marks: &[u32]) -> Result<Run, SimulationError> {
        let recipe = |side: Side| self.recipe(side, seed, rate, self.marks.last().copied().unwrap_or(1));
        match side {
            Side::FourNodes => over_network(Codec::Int4, start, recipe(side)?, marks),
            Side::TwoBits => over_network(Codec::TwoBit, start, recipe(side)?, marks),
            // Measured on the windows on which four nodes are.
            Side::DataParallel | Side::Alone => {
                let [judge, work] = [Side::FourNodes, side].map(|side| start.learning(recipe(side)?, 1));
                in_one_trainer(judge?, work?, self.inner_steps, marks)
            }
        }
    }
}

/// What a run is of besides its recipe.
struct Start<'a> {
    /// What is trained on.
    text: &'a [u8],
    /// What it starts from, if not fresh weights.
    base: Option<Parameters>,
}

impl Start<'_> {
    fn learning(&self, recipe: Recipe, participants: usize) -> Result<Learning, SimulationError> {
        let readings = vec![Reading::Assigned; participants];
        match &self.base {
            Some(base) => Ok(Learning::from(recipe, base.clone(), self.text, &readings)?),
            None => Ok(Learning::new(recipe, self.text, &readings)?),
        }
    }
}

fn over_network(codec: Codec, start: &Start<'_>, recipe: Recipe, marks: &[u32]) -> Result<Run, SimulationError> {
    let rounds = marks.last().copied().unwrap_or(1);
    let scenario = Scenario { seed: recipe.seed, codec, ..Scenario::new("", rounds, NODES as usize) };
    let made = u64::from(NODES * rounds) * recipe.tokens_per_round();
    let outcome = simulate(&scenario, &mut start.learning(recipe, NODES as usize)?)?;
    let at = |mark: &u32| outcome.rows.get(*mark as usize - 1).and_then(|row| row.held_out_loss).unwrap_or(f64::NAN);
    Ok(Run { losses: marks.iter().map(at).collect(), accepted: outcome.tokens() as f64 / made as f64 })
}

fn in_one_trainer(mut judge: Learning, mut work: Learning, steps: u32, marks: &[u32]) -> Result<Run, SimulationError> {
    work.start(0, None)?;
    let (mut losses, mut made) = (Vec::new(), 0);
    for mark in marks {
        let end = u64::from(*mark) * u64::from(steps);
        let weights = work.train(0, made..end)?;
        losses.push(judge.held_out_loss(&weights)?);
        made = end;
    }
    Ok(Run { losses, accepted: 1.0 })
}

/// Sides at their best learning rates over paired seeds.
struct Compared<'a> {
    what: &'a Comparison,
    /// The learning rates that were tried.
    tried: Figure,
    jobs: Vec<(u64, Side)>,
    runs: Vec<Run>,
}

impl<'a> Compared<'a> {
    fn of(what: &'a Comparison, start: &Start<'_>, sides: &[Side]) -> Result<Self, SimulationError> {
        let (rates, tried) = tuned(what, start, sides)?;
        let rate_of = |side: Side| rates.iter().find(|(of, _)| *of == side.tuned_as()).map_or(f64::NAN, |(_, rate)| *rate);
        let jobs: Vec<(u64, Side)> = (1..=what.seeds).flat_map(|seed| sides.iter().map(move |side| (seed, *side))).collect();
        let runs = each(&jobs, |(seed, side)| what.run(start, *side, *seed, rate_of(*side), &what.marks))?;
        Ok(Self { what, tried, jobs, runs })
    }

    fn runs(&self, side: Side) -> impl Iterator<Item = &Run> {
        self.jobs.iter().zip(&self.runs).filter(move |((_, of), _)| *of == side).map(|(_, run)| run)
    }

    /// Of each pair at a mark, in percent of the other's loss.
    fn gaps(&self, side: Side, to: Side, mark: usize) -> Vec<f64> {
        self.runs(side).zip(self.runs(to)).map(|(run, other)| percent(run.losses[mark], other.losses[mark])).collect()
    }

    fn steps(&self) -> impl Iterator<Item = u32> {
        self.what.marks.iter().map(|mark| mark * self.what.inner_steps)
    }

    /// Four nodes against data parallel at each mark, and whether the gap grows.
    fn to_data_parallel(&self) -> Vec<Figure> {
        let gaps = |mark| self.gaps(Side::FourNodes, Side::DataParallel, mark);
        let mut figures = Vec::new();
        for (mark, steps) in self.steps().enumerate() {
            let gaps = gaps(mark);
            let bound = upper_bound(&gaps);
            figures.push(Figure::bound(
                format!("four nodes against synchronous data parallel after {steps} steps, {} paired seeds", self.what.seeds),
                format!("loss {:+.2} % on the mean ({}), upper 95 % bound {bound:+.2} %", mean(&gaps), list(&gaps)),
                bound <= BOUND,
            ));
        }
        let (early, late) = (mean(&gaps(0)), mean(&gaps(self.what.marks.len() - 1)));
        let value = format!("{early:+.2} % to {late:+.2} %");
        figures.push(Figure::bound("the gap from the first to the last of them", value, late <= early.max(0.0)));
        figures
    }

    fn plot(&self) -> String {
        let line = |((seed, side), run): (&(u64, Side), &Run)| {
            let points = self.steps().map(f64::from).zip(run.losses.iter().copied()).collect();
            plot::Line { name: format!("{}, seed {seed}", side.name()), points }
        };
        let lines: Vec<plot::Line> = self.jobs.iter().zip(&self.runs).map(line).collect();
        plot::svg("Held-out loss by steps", "steps", "nats per byte", &lines)
    }
}

/// The best learning rate of each side that is tuned, and a figure that shows what was tried.
fn tuned(what: &Comparison, start: &Start<'_>, sides: &[Side]) -> Result<(Vec<(Side, f64)>, Figure), SimulationError> {
    let first = &what.marks[..1];
    let sides = sides.iter().copied().filter(|side| side.tuned_as() == *side);
    let jobs: Vec<(Side, f64)> = sides.clone().flat_map(|side| what.rates.iter().map(move |rate| (side, *rate))).collect();
    // A seed that is not among the pairs.
    let tried = each(&jobs, |(side, rate)| Ok(what.run(start, *side, 0, *rate, first)?.last()))?;
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

/// Each side from fresh weights at its best of the learning rates, over paired seeds.
///
/// # Errors
/// As [`crate::simulate`].
pub fn figures(what: &Comparison, text: &[u8]) -> Result<Report, SimulationError> {
    let compared = Compared::of(what, &Start { text, base: None }, &Side::ALL)?;
    let mut figures = vec![compared.tried.clone()];
    figures.extend(compared.to_data_parallel());
    for (side, to, words) in [
        (Side::FourNodes, Side::Alone, "four nodes against one alone, as many steps of each"),
        (Side::TwoBits, Side::FourNodes, "four nodes with Muon and two bits against AdamW and int4"),
    ] {
        let gaps = compared.gaps(side, to, what.marks.len() - 1);
        figures.push(Figure::bound(words, format!("loss {:+.2} % on the mean ({})", mean(&gaps), list(&gaps)), mean(&gaps) <= 0.0));
    }
    let accepted = compared.runs.iter().map(|run| run.accepted).fold(1.0, f64::min);
    figures.push(Figure::new("accepted of the tokens that four nodes made, at least", format!("{:.1} %", 100.0 * accepted)));
    Ok(Report { figures, files: vec![("quality.svg".to_owned(), compared.plot())] })
}

/// Four nodes against data parallel where training goes on from a trained model.
///
/// # Errors
/// As [`crate::simulate`].
pub fn continued(what: &Comparison, text: &[u8]) -> Result<Report, SimulationError> {
    let start = Start { text, base: what.base(text)? };
    let compared = Compared::of(what, &start, &[Side::FourNodes, Side::DataParallel])?;
    let rounds = what.trained.map_or(0, |(rounds, _)| rounds);
    let mut judge = start.learning(what.recipe(Side::FourNodes, 0, 1e-3, 1)?, 1)?;
    let before = start.base.as_ref().map_or(Ok(f64::NAN), |base| judge.held_out_loss(&flatten(base)))?;
    let base = Figure::new("what all start from", format!("{} steps of data parallel, loss {before:.4}", rounds * what.inner_steps));
    let mut figures = vec![base, compared.tried.clone()];
    figures.extend(compared.to_data_parallel());
    Ok(Report { figures, files: vec![("continued.svg".to_owned(), compared.plot())] })
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
        let what = Comparison { model, inner_steps: 15, batch: 2, marks: vec![2, 4], rates: vec![1e-3, 2e-3], trained: None, seeds: 2 };
        let report = figures(&what, &synthetic(1, 1 << 16)).unwrap();
        for figure in &report.figures {
            println!("{}: {}", figure.what, figure.value);
        }
        assert_eq!(report.figures.len(), 7);
        let passes = report.figures.iter().find(|figure| figure.what.contains("one alone")).unwrap();
        assert!(passes.holds, "{passes:?}");
    }

    #[test]
    fn continued__should_start_where_the_model_is() {
        let model = GptShape { layers: 2, heads: 2, width: 32, context: 32, vocab: 256 };
        let rates = vec![2.5e-4, 5e-4];
        let what = Comparison { model, inner_steps: 15, batch: 2, marks: vec![2, 4], rates, trained: Some((20, 2e-3)), seeds: 2 };
        let text = synthetic(1, 1 << 16);
        let report = continued(&what, &text).unwrap();
        for figure in &report.figures {
            println!("{}: {}", figure.what, figure.value);
        }
        assert!(report.figures.len() == 5 && report.figures[4].holds, "the gap does not grow: {:?}", report.figures);
        let start = Start { text: &text, base: what.base(&text).unwrap() };
        let compared = Compared::of(&what, &start, &[Side::FourNodes, Side::DataParallel]).unwrap();
        // Fresh weights are above three after as many steps.
        assert!(compared.runs.iter().all(|run| run.losses[0] < 1.1), "it goes on where the model was");
    }

    #[test]
    fn upper_bound__should_be_students() {
        assert!((upper_bound(&[1.0, 2.0, 3.0, 4.0, 5.0]) - (3.0 + 2.132 * (2.5_f64 / 5.0).sqrt())).abs() < 1e-12);
        assert!((upper_bound(&[2.0, 2.0]) - 2.0).abs() < 1e-12);
        assert!(upper_bound(&[1.0]).is_infinite());
    }
}
