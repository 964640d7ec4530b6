//! The figures that stand in `docs/PROOF.md`, each with the bound that it must keep.

pub mod absence;
pub mod attackers;
pub mod communication;
pub mod detection;
pub mod overlap;
pub mod quality;

use std::{
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use starling_rounds::recipe::{DecayRecipe, GptShape, ModelRecipe, Recipe, ScheduleRecipe};
use starling_training::TrainingError;

use crate::{Behaviour, Learning, Outcome, Reading, Scenario, SimulationError, simulate};

/// One measured thing, and whether it is as it must be.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// What was measured.
    pub what: String,
    /// With its unit.
    pub value: String,
    /// Whether it keeps its bound; true where it has none.
    pub holds: bool,
}

impl Figure {
    /// A figure without a bound.
    pub fn new(what: impl Into<String>, value: impl Into<String>) -> Self {
        Self { what: what.into(), value: value.into(), holds: true }
    }

    /// A figure with a bound.
    pub fn bound(what: impl Into<String>, value: impl Into<String>, holds: bool) -> Self {
        Self { what: what.into(), value: value.into(), holds }
    }
}

/// What figures give: lines for people, and files to look at by name.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In order.
    pub figures: Vec<Figure>,
    /// Name and text of each.
    pub files: Vec<(String, String)>,
}

/// A small byte model with a constant learning rate, so that its loss can be compared after any number of tokens.
pub fn small_recipe(rounds: u32, inner_steps_per_round: u32) -> Result<Recipe, TrainingError> {
    let mut recipe = Recipe::preset("tiny")?;
    recipe.name = "simulated".to_owned();
    recipe.rounds = rounds;
    recipe.inner_steps_per_round = inner_steps_per_round;
    recipe.batch = 8;
    recipe.model = ModelRecipe::Gpt(GptShape { layers: 2, heads: 2, width: 48, context: 48, vocab: 256 });
    let warmup_tokens = recipe.total_inner_steps().div_ceil(4).min(20) * recipe.tokens_per_inner_step();
    recipe.schedule = ScheduleRecipe { peak_learning_rate: 1.5e-3, floor_learning_rate: 1.5e-3, warmup_tokens, decay: DecayRecipe::Cosine };
    Ok(recipe.validated()?)
}

/// The same for a federated run.
pub fn federated_recipe(rounds: u32, inner_steps_per_round: u32) -> Result<Recipe, TrainingError> {
    let mut recipe = small_recipe(rounds, inner_steps_per_round)?;
    recipe.outer = recipe.outer.averaging();
    Ok(recipe.validated()?)
}

/// What each participant reads in a scenario.
pub fn readings(scenario: &Scenario) -> Vec<Reading> {
    let reading = |behaviour| match behaviour {
        Behaviour::WrongData => Reading::Other,
        Behaviour::Backdoor => Reading::Poisoned,
        _ if scenario.own_data => Reading::OwnPart,
        _ => Reading::Assigned,
    };
    scenario.participants.iter().map(|participant| reading(participant.behaviour)).collect()
}

/// Runs a scenario with real training.
pub fn run(scenario: &Scenario, recipe: &Recipe, text: &[u8]) -> Result<Outcome, SimulationError> {
    let mut work = Learning::new(recipe.clone(), text, &readings(scenario))?;
    simulate(scenario, &mut work)
}

/// What comes of each of `jobs`, in their order; as many are done at a time as there are processors.
///
/// On threads of their own: on rayon's, a job that waits for the parts of a step would begin another meanwhile.
fn each<J: Sync, R: Send>(jobs: &[J], done: impl Fn(&J) -> Result<R, SimulationError> + Sync) -> Result<Vec<R>, SimulationError> {
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::with_capacity(jobs.len())));
    let work = || {
        let take = || {
            let place = next.fetch_add(1, Ordering::Relaxed);
            jobs.get(place).map(|job| (place, job))
        };
        while let Some((place, job)) = take() {
            let result = done(job);
            results.lock().unwrap_or_else(PoisonError::into_inner).push((place, result));
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, NonZero::get).min(jobs.len()) {
            scope.spawn(work);
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_unstable_by_key(|(place, _)| *place);
    results.into_iter().map(|(_, result)| result).collect()
}

/// How much greater, in percent, with its sign.
fn percent(value: f64, reference: f64) -> f64 {
    100.0 * (value / reference - 1.0)
}
