//! What the trainer thread does: pure work on bytes, no network and no clock but the stopwatch. The only part that calls the training engine.

mod classify;
mod figures;
mod generate;
mod prepare;
mod record;
mod round;
mod score;
mod tool;

pub(crate) use classify::{ClassifyJob, classify, load_classifier};
pub(crate) use figures::{ExportJob, evaluate_state, export};
pub(crate) use generate::{Gate, GenerateJob, Piece, generate, load_writer};
pub(crate) use prepare::{Base, PrepareJob, PreparedFiles, prepare};
pub(crate) use record::{RecordJob, check_and_apply};
pub(crate) use round::{RoundJob, RoundWork, StepMade, checkpoint_named, checkpoint_path, train_ahead, train_round, update_path};
pub(crate) use score::{Judged, ScoreJob, score_updates};
pub(crate) use tool::{ToolJob, check_tool, run_tool};

use crate::artifact::hash_of;
use starling_primitives::{Hash32, RunId};
use starling_rounds::{FragmentError, Layout, LayoutError, OuterState, Plan, PlanError, TensorShape};
use starling_training::{
    Activations, Data, Device, Items, Model, Parameters, Recipe, Split, Text, TrainingError, check_meaning, import_model, own_tokenizer,
    unflatten,
};
use std::{collections::BTreeMap, sync::Arc};

/// The vocabulary of a model whose tokens are bytes.
const BYTES: u32 = 256;
/// Stand for the two files of a run in errors.
const TRAINING_DATA: &str = "The training data";
const HELD_OUT_DATA: &str = "The held-out data";

/// Why work gave no result. Nothing of it counts then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EngineError {
    /// The training engine refused.
    #[error(transparent)]
    Training(#[from] TrainingError),
    /// The recipe gives no plan that rounds can carry.
    #[error("the recipe's rounds are out of bounds: {0}")]
    Plan(#[from] PlanError),
    /// The model's tensors are out of bounds.
    #[error("the model's tensors are out of bounds: {0}")]
    Layout(#[from] LayoutError),
    /// The recipe cuts the model into more parts than it has.
    #[error("the recipe's overlap does not fit the model: {0}")]
    Fragments(#[from] FragmentError),
    /// A state's bytes are not one, or of another model than the recipe's.
    #[error("the outer state is not usable: {0}")]
    State(String),
    /// The file to adapt is none, or no model of the recipe's.
    #[error("the model to adapt is not usable: {0}")]
    Frozen(String),
    /// The update could not be encoded or decoded.
    #[error("the update is not usable: {0}")]
    Update(#[from] starling_rounds::CodecError),
    /// The record deviates from what this node computes.
    #[error("the round record deviates: {0}")]
    Record(String),
    /// A file could not be written or read.
    #[error("the node's disk failed: {0}")]
    Disk(#[from] std::io::Error),
    /// The owner's limits or orders end it; what is under way lies on disk.
    #[error("handed over: {0}")]
    HandedOver(starling_limits::Reason),
    /// The job was told to stop.
    #[error("the job was stopped")]
    Cancelled,
}

/// What stays on the trainer thread between jobs.
#[derive(Default)]
pub(crate) struct Bench {
    live: Option<round::Live>,
}

impl Bench {
    /// Forgets what belongs to a run that is over.
    pub(crate) fn forget(&mut self, run_id: RunId) {
        if self.live.as_ref().is_some_and(|live| live.run_id() == run_id) {
            self.live = None;
        }
    }
}

/// What a model's file says of itself.
type Metadata = BTreeMap<String, String>;

/// What all jobs of one run share: read once, cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct RunInputs {
    /// The recipe.
    pub(crate) recipe: Arc<Recipe>,
    /// The run's data.
    pub(crate) train: Data,
    /// What this node keeps and trains on in place of it, where the run is federated.
    pub(crate) own: Option<Data>,
    /// What is measured on.
    pub(crate) held_out: Data,
    /// The bytes of both, where they are running text.
    pub(crate) texts: Option<[Arc<[u8]>; 2]>,
    /// What the model's numbers stand for ([`starling_training::Training::meaning`]).
    pub(crate) meaning: Arc<Metadata>,
    /// Hash of the training data's file.
    pub(crate) data: Hash32,
    /// The weights that the recipe's adapters leave as they are.
    pub(crate) frozen: Option<Arc<Parameters>>,
}

impl RunInputs {
    /// Reads recipe and data of a run, and the `model.safetensors` that its adapters are for, where it has some.
    ///
    /// Tokens are that model's own; else a tokenizer is learnt from the training text, the same on every node.
    pub(crate) fn of(recipe: Recipe, data: Arc<[u8]>, held_out: Arc<[u8]>, frozen: Option<&[u8]>) -> Result<Self, EngineError> {
        Self::with_own(recipe, data, held_out, frozen, None)
    }

    /// The same, and what this node keeps under a name: it gets the tokens, classes and scaling of the run's data.
    pub(crate) fn with_own(
        recipe: Recipe,
        data: Arc<[u8]>,
        held_out: Arc<[u8]>,
        frozen: Option<&[u8]>,
        own: Option<(&str, Arc<[u8]>)>,
    ) -> Result<Self, EngineError> {
        let hash = hash_of(&data);
        let (train, measured) = (Items::read(&recipe, data, TRAINING_DATA)?, Items::read(&recipe, held_out, HELD_OUT_DATA)?);
        let (frozen, of_model) = frozen_model(&recipe, frozen)?.unzip();
        let tokenizer = of_model.as_ref().map_or(Ok(None), own_tokenizer)?;
        if of_model.is_some() && tokenizer.is_none() && recipe.model.vocab().is_some_and(|vocab| vocab > BYTES) {
            let why = "its file has no tokenizer; adapt one that was trained here, or a model of bytes";
            return Err(EngineError::Frozen(why.to_owned()));
        }
        let training = train.training(&recipe, tokenizer)?;
        let meaning = training.meaning(&recipe);
        if let Some(of_model) = of_model {
            check_meaning(&meaning, &of_model).map_err(|error| EngineError::Frozen(error.to_string()))?;
        }
        let held_out = measured.held_out(&recipe, &training)?;
        let texts = train.text().zip(measured.text()).map(|(train, measured)| [train.clone(), measured.clone()]);
        let own = own.map(|(name, bytes)| Items::read(&recipe, bytes, name)?.in_place_of(&recipe, &training)).transpose()?;
        let (recipe, meaning, frozen) = (Arc::new(recipe), Arc::new(meaning), frozen.map(Arc::new));
        Ok(Self { recipe, train: training.data, own, held_out, texts, meaning, data: hash, frozen })
    }

    /// What this node trains on.
    pub(crate) fn trained_on(&self) -> &Data {
        self.own.as_ref().unwrap_or(&self.train)
    }
}

/// Weights and metadata of the model that the recipe's adapters are for; nothing where it has none.
fn frozen_model(recipe: &Recipe, file: Option<&[u8]>) -> Result<Option<(Parameters, Metadata)>, EngineError> {
    let Some(adapter) = &recipe.adapter else { return Ok(None) };
    let file = file.ok_or_else(|| EngineError::Frozen("none is named to start from".to_owned()))?;
    if adapter.base.is_some_and(|base| base != hash_of(file)) {
        return Err(EngineError::Frozen("it is not the one that the recipe's adapters are for".to_owned()));
    }
    let unusable = |error: TrainingError| EngineError::Frozen(error.to_string());
    let (weights, metadata) = import_model(file).map_err(unusable)?;
    let plain = Recipe { adapter: None, ..recipe.clone() };
    starling_training::check_parameters(&Model::layout(&plain)?, &weights).map_err(unusable)?;
    Ok(Some((weights, metadata)))
}

/// Whether what a node keeps can be trained on in a federated run with this data: its rows, classes and columns, and of a text its length.
pub(crate) fn check_own(recipe: &Recipe, data: Arc<[u8]>, name: &str, own: Arc<[u8]>) -> Result<(), TrainingError> {
    let own = Items::read(recipe, own, name)?;
    match (own.text(), recipe.model.context()) {
        (Some(text), Some(context)) => Text::new(text.clone(), usize::try_from(context).unwrap_or(usize::MAX), Split::Train).map(drop),
        _ => {
            let training = Items::read(recipe, data, TRAINING_DATA)?.training(recipe, None)?;
            own.in_place_of(recipe, &training).map(drop)
        }
    }
}

/// Reads a canonical recipe.
pub(crate) fn recipe_from_json(bytes: &[u8]) -> Result<Recipe, EngineError> {
    Ok(Recipe::from_json(&String::from_utf8_lossy(bytes)).map_err(TrainingError::from)?)
}

/// Rounds, windows and tokens by the recipe.
pub(crate) fn plan(recipe: &Recipe) -> Result<Plan, EngineError> {
    Ok(recipe.plan()?)
}

/// Bytes that rounds need besides those of the training engine.
fn memory_of_rounds(recipe: &Recipe) -> u64 {
    // Feedback, pseudo-gradient, global weights and momentum, sums of the mean (8 bytes).
    const BYTES_PER_PARAMETER: u64 = 4 * 4 + 8;
    let trained = Model::layout(recipe).map(|layout| layout.iter().map(|(_, shape)| shape.iter().product::<usize>() as u64).sum());
    // What adapters are for, as it was read and in the model that scores, beside the trainer's own.
    let frozen = recipe.adapter.as_ref().map_or(0, |_| 2 * 4 * recipe.model.parameter_count());
    trained.unwrap_or_else(|_| recipe.model.parameter_count()) * BYTES_PER_PARAMETER + frozen
}

/// Bytes that a share of a run by this recipe on such data holds at its peak, at least.
pub(crate) fn memory_needed(recipe: &Recipe, data: Option<&Data>) -> u64 {
    starling_training::memory_needed(recipe, data, Activations::Recomputed) + memory_of_rounds(recipe)
}

/// What a share of a run by this recipe on such data may keep of its forward passes within so much memory.
///
/// # Errors
/// In words, where it does not fit.
pub(crate) fn activations_within(recipe: &Recipe, data: Option<&Data>, memory_bytes: u64) -> Result<Activations, String> {
    let refusal = || format!("it needs {} MiB of memory, this node has {}", memory_needed(recipe, data) >> 20, memory_bytes >> 20);
    let left = memory_bytes.checked_sub(memory_of_rounds(recipe)).ok_or_else(refusal)?;
    starling_training::check_memory(recipe, data, left).map_err(|_| refusal())
}

/// Whether this machine's work is the same bytes each time that it is done: on a processor it is, whatever its threads and instructions.
pub(crate) fn repeats() -> bool {
    device().is_ok_and(|device| device.is_cpu())
}

fn device() -> Result<Device, EngineError> {
    Ok(starling_training::open_device(Some(0))?)
}

/// The layout of a recipe's model, as rounds know it.
fn layout(recipe: &Recipe) -> Result<Layout, EngineError> {
    let dimension = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
    let tensors =
        Model::layout(recipe)?.into_iter().map(|(name, shape)| TensorShape { name, shape: shape.into_iter().map(dimension).collect() });
    Ok(Layout::new(tensors.collect())?)
}

/// Reads a state and refuses one of another model.
pub(crate) fn read_state(recipe: &Recipe, bytes: &[u8]) -> Result<OuterState, EngineError> {
    let state = OuterState::from_bytes(bytes).map_err(|error| EngineError::State(error.to_string()))?;
    if *state.layout() != layout(recipe)? {
        return Err(EngineError::State("its tensors are not those of the recipe's model".to_owned()));
    }
    recipe.fragments(state.layout())?;
    Ok(state)
}

fn weights_of(recipe: &Recipe, flat: &[f32]) -> Result<Parameters, EngineError> {
    Ok(unflatten(&Model::layout(recipe)?, flat)?)
}

fn model_of(inputs: &RunInputs, flat: &[f32]) -> Result<Model, EngineError> {
    let (recipe, device) = (&inputs.recipe, device()?);
    Ok(Model::on(recipe, inputs.frozen.as_deref(), &weights_of(recipe, flat)?, &device)?)
}
