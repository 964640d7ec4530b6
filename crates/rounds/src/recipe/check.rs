//! The limits of a recipe, and what is said when one is broken.

use std::fmt::Display;
use std::ops::RangeInclusive;

use super::{GptShape, OptimizerRecipe, RECIPE_VERSION, Recipe};

/// The most parameters that a model may have here: a state of weights and moments stays below 1.6 GB.
const PARAMETERS_MAX: u64 = 1 << 27;
/// The most tokens of one inner step.
const TOKENS_PER_STEP_MAX: u64 = 1 << 20;

/// Why a recipe was refused, naming the field and its limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecipeError {
    /// Not a recipe file at all, or a key that no recipe has.
    #[error("the recipe cannot be read: {0}")]
    Syntax(String),
    /// Written for another version of this program.
    #[error("recipe version {found} is not supported: this build reads version {RECIPE_VERSION}")]
    UnsupportedVersion {
        /// The version in the file.
        found: u32,
    },
    /// A field outside its limits.
    #[error("recipe field `{field}` is {value}, but must be {limit}")]
    OutOfRange {
        /// Path of the field.
        field: &'static str,
        /// The value given.
        value: String,
        /// The limit in words.
        limit: String,
    },
    /// Fields that are each allowed, but not together.
    #[error("the recipe's shape is impossible: {0}")]
    ImpossibleShape(String),
    /// No built-in recipe has that name.
    #[error("there is no recipe named `{name}`; the built-in ones are: {known}")]
    UnknownPreset {
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
}

/// Checks every limit of `recipe`; the first broken one is named.
pub(super) fn check(recipe: &Recipe) -> Result<(), RecipeError> {
    if recipe.version != RECIPE_VERSION {
        return Err(RecipeError::UnsupportedVersion { found: recipe.version });
    }
    check_name(&recipe.name)?;
    within("seed", recipe.seed, 0..=(1 << 53) - 1)?; // exact in JSON and TOML readers alike
    within("rounds", recipe.rounds, 1..=100_000)?;
    within("inner_steps_per_round", recipe.inner_steps_per_round, 1..=1_000)?;
    within("batch", recipe.batch, 1..=1_024)?;
    within("clip_norm", recipe.clip_norm, 1e-3..=1e3)?;
    check_shape(recipe.gpt())?;
    if recipe.tokens_per_inner_step() > TOKENS_PER_STEP_MAX {
        return Err(RecipeError::ImpossibleShape(format!(
            "batch {} times context {} is {} tokens a step, at most {TOKENS_PER_STEP_MAX} are allowed",
            recipe.batch,
            recipe.gpt().context,
            recipe.tokens_per_inner_step(),
        )));
    }
    check_optimizer(&recipe.optimizer, recipe.total_inner_steps())?;
    within("outer.momentum", recipe.outer.momentum, 0.0..=0.99)?;
    within("outer.learning_rate", recipe.outer.learning_rate, 1e-3..=2.0)
}

fn check_name(name: &str) -> Result<(), RecipeError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c);
    if (1..=64).contains(&name.len()) && name.chars().all(allowed) {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    Err(out_of_range("name", format!("{shown:?}"), "1 to 64 characters of a-z, 0-9, `-`, `_` and `.`".to_owned()))
}

fn check_shape(shape: &GptShape) -> Result<(), RecipeError> {
    within("model.layers", shape.layers, 1..=48)?;
    within("model.heads", shape.heads, 1..=64)?;
    within("model.width", shape.width, 8..=4_096)?;
    within("model.context", shape.context, 8..=4_096)?;
    within("model.vocab", shape.vocab, 256..=256)?;
    if !shape.width.is_multiple_of(shape.heads) {
        return Err(RecipeError::ImpossibleShape(format!("width {} is not divisible by heads {}", shape.width, shape.heads)));
    }
    let parameters = shape.parameter_count();
    if parameters > PARAMETERS_MAX {
        return Err(RecipeError::ImpossibleShape(format!(
            "{} layers of width {} have {parameters} parameters, at most {PARAMETERS_MAX} are allowed",
            shape.layers, shape.width
        )));
    }
    Ok(())
}

fn check_optimizer(optimizer: &OptimizerRecipe, total_steps: u64) -> Result<(), RecipeError> {
    within("optimizer.peak_learning_rate", optimizer.peak_learning_rate, 1e-7..=1.0)?;
    within("optimizer.floor_learning_rate", optimizer.floor_learning_rate, 0.0..=optimizer.peak_learning_rate)?;
    within("optimizer.beta1", optimizer.beta1, 0.0..=0.999_9)?;
    within("optimizer.beta2", optimizer.beta2, 0.0..=0.999_99)?;
    within("optimizer.epsilon", optimizer.epsilon, 1e-12..=1e-2)?;
    within("optimizer.weight_decay", optimizer.weight_decay, 0.0..=1.0)?;
    if u64::from(optimizer.warmup_steps) > total_steps {
        return Err(out_of_range(
            "optimizer.warmup_steps",
            optimizer.warmup_steps.to_string(),
            format!("at most the run's {total_steps} inner steps"),
        ));
    }
    Ok(())
}

/// NaN is within no range.
fn within<T: PartialOrd + Display>(field: &'static str, value: T, range: RangeInclusive<T>) -> Result<(), RecipeError> {
    if range.contains(&value) {
        return Ok(());
    }
    let limit = if range.start() == range.end() {
        format!("exactly {}", range.start())
    } else {
        format!("from {} to {}", range.start(), range.end())
    };
    Err(out_of_range(field, value.to_string(), limit))
}

fn out_of_range(field: &'static str, value: String, limit: String) -> RecipeError {
    RecipeError::OutOfRange { field, value, limit }
}

impl GptShape {
    /// Trainable numbers of a GPT of this shape; the output layer is the token embedding again.
    #[must_use]
    pub fn parameter_count(&self) -> u64 {
        let [layers, width, context, vocab] = [self.layers, self.width, self.context, self.vocab].map(u64::from);
        let norms = 4 * width;
        let attention = width * 3 * width + 3 * width + width * width + width;
        let perceptron = width * 4 * width + 4 * width + 4 * width * width + width;
        vocab * width + context * width + layers * (norms + attention + perceptron) + 2 * width
    }
}
