//! Recipes of version 1, of which published models and older runs name some: a GPT over bytes with AdamW and a cosine that
//! counts steps.

use serde::Deserialize;

use super::{
    DataRecipe, DecayRecipe, EvaluationRecipe, GptShape, InnerSteps, ModelRecipe, OptimizerKind, OptimizerRecipe, OuterRecipe,
    RECIPE_VERSION, RecipeError, ScheduleRecipe,
};
use crate::codec::Codec;

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Recipe {
    version: u32,
    name: String,
    seed: u64,
    rounds: u32,
    inner_steps_per_round: u32,
    batch: u32,
    clip_norm: f64,
    model: Model,
    optimizer: Optimizer,
    outer: Outer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Outer {
    momentum: f64,
    learning_rate: f64,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum Model {
    Gpt(GptShape),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Optimizer {
    peak_learning_rate: f64,
    floor_learning_rate: f64,
    warmup_steps: u32,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    weight_decay: f64,
}

impl Recipe {
    /// The same run as a recipe of this version.
    pub(super) fn read(self) -> Result<super::Recipe, RecipeError> {
        let Self { version, name, seed, rounds, inner_steps_per_round, batch, clip_norm, model, optimizer, outer } = self;
        if version != 1 {
            return Err(RecipeError::UnsupportedVersion { found: version });
        }
        let Model::Gpt(shape) = model;
        let tokens_per_step = u64::from(batch) * u64::from(shape.context);
        let Optimizer { peak_learning_rate, floor_learning_rate, warmup_steps, beta1, beta2, epsilon, weight_decay } = optimizer;
        let recipe = super::Recipe {
            version: RECIPE_VERSION,
            name,
            seed,
            rounds,
            inner_steps_per_round,
            batch,
            accumulation: 1,
            clip_norm,
            spike_deviations: 0.0,
            model: ModelRecipe::Gpt(shape),
            adapter: None,
            data: DataRecipe::default(),
            optimizer: OptimizerRecipe { method: OptimizerKind::Adamw, beta1, beta2, epsilon, weight_decay },
            schedule: ScheduleRecipe {
                peak_learning_rate,
                floor_learning_rate,
                warmup_tokens: u64::from(warmup_steps) * tokens_per_step,
                decay: DecayRecipe::Cosine,
            },
            outer: OuterRecipe {
                momentum: outer.momentum,
                learning_rate: outer.learning_rate,
                codec: Codec::Int4,
                inner_steps: InnerSteps::Equal,
                overlap: None,
            },
            evaluation: EvaluationRecipe::default(),
        };
        recipe.validated()
    }
}
