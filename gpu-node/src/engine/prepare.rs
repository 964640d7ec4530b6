//! Makes a run ready: checks the recipe, splits the data, makes the outer state that training starts from.

use super::{EngineError, RunInputs, TRAINING_DATA, layout, memory_needed, plan};
use crate::artifact::hash_of;
use starling_http_api::node::{PrepareRefused, Prepared};
use starling_rounds::{OuterConfig, OuterState};
use starling_training::{Items, Model, Parameters, Recipe, TOKENIZER, TrainingError, check_meaning, flatten, import_model};
use std::sync::Arc;

/// Held-out data is one part in so many when none is given.
const HELD_OUT_PART: usize = 10;

/// What training starts from.
pub(crate) enum Base {
    /// Fresh weights by the recipe's seed.
    Fresh,
    /// The weights of a `model.safetensors`.
    Model(Arc<[u8]>),
}

/// What is to be made ready.
pub(crate) struct PrepareJob {
    /// The recipe in TOML.
    pub(crate) recipe: String,
    /// Whether columns, channels and classes of its model follow the data.
    pub(crate) fit: bool,
    /// Training data.
    pub(crate) data: Arc<[u8]>,
    /// Held-out data, or the last tenth of the data.
    pub(crate) held_out: Option<Arc<[u8]>>,
    /// What training starts from.
    pub(crate) base: Base,
}

/// What was made: the answer, and the files it names.
pub(crate) struct PreparedFiles {
    /// The answer.
    pub(crate) prepared: Prepared,
    /// Files to upload.
    pub(crate) files: Vec<Arc<[u8]>>,
}

/// Checks and makes all of it, or says why not in a stable code.
pub(crate) fn prepare(job: PrepareJob) -> Result<PreparedFiles, PrepareRefused> {
    let mut recipe = Recipe::from_toml(&job.recipe).map_err(|error| refused("recipe_invalid", &error))?;
    let unfit = |error: TrainingError| unusable(&error.into());
    let items = Items::read(&recipe, job.data.clone(), TRAINING_DATA).map_err(unfit)?;
    if job.fit {
        recipe = items.fitted(&recipe).map_err(unfit)?;
    }
    let frozen = match &job.base {
        Base::Model(file) if recipe.adapter.is_some() => {
            recipe.name_frozen(hash_of(file));
            Some(file.clone())
        }
        _ => None,
    };
    let plan = plan(&recipe).map_err(|error| refused("recipe_invalid", &error))?;
    let mut files = Vec::new();
    let (data, held_out) = match job.held_out {
        Some(held_out) => (job.data, held_out),
        None => {
            let [data, held_out] = split(&recipe, &items).map_err(unfit)?;
            files.extend([data.clone(), held_out.clone()]);
            (data, held_out)
        }
    };
    let inputs = RunInputs::of(recipe.clone(), data.clone(), held_out.clone(), frozen.as_deref()).map_err(|error| unusable(&error))?;
    let weights = initial(&inputs, &job.base).map_err(|error| refused("base_mismatch", &error))?;
    let state = first_state(&recipe, &weights).map_err(|error| refused("recipe_invalid", &error))?;
    let (recipe_bytes, base): (Arc<[u8]>, Arc<[u8]>) = (recipe.canonical_json().into_bytes().into(), state.to_bytes().into());
    let prepared = Prepared {
        recipe: hash_of(&recipe_bytes),
        data: hash_of(&data),
        held_out: hash_of(&held_out),
        base: hash_of(&base),
        base_root: state.root(),
        rounds: recipe.rounds,
        tokens_per_round: plan.assigned_tokens(),
        parameters: recipe.model.parameter_count(),
        memory_bytes: memory_needed(&recipe, Some(inputs.trained_on())),
    };
    files.extend([recipe_bytes, base]);
    Ok(PreparedFiles { prepared, files })
}

/// Of a running text its last tenth is held out; of rows, texts and images as many, drawn by the recipe's seed.
fn split(recipe: &Recipe, items: &Items) -> Result<[Arc<[u8]>; 2], TrainingError> {
    if let Some(text) = items.text() {
        let (train, held_out) = text.split_at(text.len() - text.len() / HELD_OUT_PART);
        return Ok([train.into(), held_out.into()]);
    }
    // A run has one held-out part: both of a split's together.
    let splits = items.split(recipe, 2 * HELD_OUT_PART as u64)?;
    let mut held_out = [splits.validation, splits.hidden].concat();
    held_out.sort_unstable();
    Ok([items.part(&splits.train).to_bytes(recipe)?, items.part(&held_out).to_bytes(recipe)?])
}

fn initial(inputs: &RunInputs, base: &Base) -> Result<Parameters, TrainingError> {
    let recipe = &inputs.recipe;
    match base {
        Base::Fresh => Model::initial(recipe, None),
        Base::Model(_) if inputs.frozen.is_some() => Model::initial(recipe, inputs.frozen.as_deref()),
        Base::Model(file) => {
            let (parameters, metadata) = import_model(file)?;
            starling_training::check_parameters(&Model::layout(recipe)?, &parameters)?;
            if inputs.meaning.contains_key(TOKENIZER) != metadata.contains_key(TOKENIZER) {
                return Err(TrainingError::BadRequest("one of it and the recipe takes bytes as tokens, the other words".to_owned()));
            }
            check_meaning(&inputs.meaning, &metadata)?;
            Ok(parameters)
        }
    }
}

fn first_state(recipe: &Recipe, weights: &Parameters) -> Result<OuterState, EngineError> {
    let state = |error: &dyn std::fmt::Display| EngineError::State(error.to_string());
    #[expect(clippy::cast_possible_truncation, reason = "the outer step is defined in f32; the nearest is meant")]
    let (momentum, learning_rate) = (recipe.outer.momentum as f32, recipe.outer.learning_rate as f32);
    let config = OuterConfig::new(momentum, learning_rate).map_err(|error| state(&error))?;
    let layout = layout(recipe)?;
    recipe.fragments(&layout)?;
    OuterState::new(layout, config, flatten(weights)).map_err(|error| state(&error))
}

fn unusable(error: &EngineError) -> PrepareRefused {
    let code = match error {
        EngineError::Training(TrainingError::EmptyText { .. }) => "data_empty",
        EngineError::Frozen(_) => "base_mismatch",
        EngineError::Training(TrainingError::TextTooShort { .. }) => "data_too_short",
        _ => "data_unusable",
    };
    refused(code, error)
}

fn refused(code: &str, error: &dyn std::fmt::Display) -> PrepareRefused {
    PrepareRefused { code: code.to_owned(), detail: error.to_string() }
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;
    use starling_training::{AdapterRecipe, OverlapRecipe};

    fn job(data: &[u8]) -> PrepareJob {
        let recipe = Recipe::preset("tiny").unwrap().to_toml().unwrap();
        PrepareJob { recipe, fit: false, data: data.into(), held_out: None, base: Base::Fresh }
    }

    fn code(job: PrepareJob) -> String {
        prepare(job).map(|_| ()).unwrap_err().code
    }

    #[test]
    fn prepare__should_split_the_last_tenth_and_be_the_same_everywhere() {
        let data: Vec<u8> = (0..=u8::MAX).cycle().take(10_000).collect();
        let made = prepare(job(&data)).unwrap();
        assert_eq!(made.prepared.data, hash_of(&data[..9_000]));
        assert_eq!(made.prepared.held_out, hash_of(&data[9_000..]));
        assert_eq!(made.prepared.tokens_per_round, 640);
        assert_eq!(made.prepared, prepare(job(&data)).unwrap().prepared);
        let named = [made.prepared.data, made.prepared.held_out, made.prepared.recipe, made.prepared.base];
        assert_eq!(made.files.iter().map(|file| hash_of(file)).collect::<Vec<_>>(), named);
        let recipe = super::super::recipe_from_json(&made.files[2]).unwrap();
        let state = super::super::read_state(&recipe, &made.files[3]).unwrap();
        assert_eq!(state.root(), made.prepared.base_root);
    }

    #[test]
    fn prepare__should_refuse_with_stable_codes() {
        let data = [b'x'; 10_000];
        assert_eq!(code(job(b"")), "data_empty");
        assert_eq!(code(job(b"short")), "data_too_short");
        assert_eq!(code(PrepareJob { held_out: Some(Arc::from(*b"short")), ..job(&data) }), "data_too_short");
        assert_eq!(code(PrepareJob { held_out: Some(Arc::from(*b"")), ..job(&data) }), "data_empty");
        let mut overlapping = Recipe::preset("tiny").unwrap();
        overlapping.outer.overlap = Some(OverlapRecipe { fragments: 64, ..OverlapRecipe::usual(overlapping.inner_steps_per_round) });
        for recipe in ["", "nonsense = 1", &job(&data).recipe.replace("heads = 2", "heads = 3"), &overlapping.to_toml().unwrap()] {
            assert_eq!(code(PrepareJob { recipe: recipe.to_owned(), ..job(&data) }), "recipe_invalid");
        }
        let table = Recipe::preset("fraud").unwrap().to_toml().unwrap();
        assert_eq!(code(PrepareJob { recipe: table, ..job(&data) }), "data_unusable");
        assert_eq!(code(PrepareJob { base: Base::Model(Arc::from(*b"no model")), ..job(&data) }), "base_mismatch");
        let mut adapting = Recipe::preset("tiny").unwrap();
        adapting.adapter = AdapterRecipe::usual(&adapting.model, 8);
        for base in [Base::Fresh, Base::Model(Arc::from(*b"no model"))] {
            assert_eq!(code(PrepareJob { recipe: adapting.to_toml().unwrap(), base, ..job(&data) }), "base_mismatch");
        }
    }
}
