//! The recipe: one typed, versioned, validated description of a run's model and method.
//!
//! Read from TOML or JSON, unknown keys refused; two recipes are the same exactly when their hashes are.

mod check;
mod presets;

use serde::{Deserialize, Serialize};

pub use check::RecipeError;

/// The only recipe version that this build reads.
pub const RECIPE_VERSION: u32 = 1;

/// The hyper-parameters and method of a run.
///
/// Only [`Recipe::from_toml`], [`Recipe::from_json`], [`Recipe::preset`] and [`Recipe::validated`] promise a valid one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// [`RECIPE_VERSION`].
    pub version: u32,
    /// A name for people, 1 to 64 of `a-z 0-9 - _ .`.
    pub name: String,
    /// Fixes the initial weights and which windows each step reads.
    pub seed: u64,
    /// Outer steps of the run.
    pub rounds: u32,
    /// DiLoCo's H: optimizer steps of each participant in a round.
    pub inner_steps_per_round: u32,
    /// Windows of text in one inner step.
    pub batch: u32,
    /// Greatest global norm of a gradient; larger ones are scaled down to it.
    pub clip_norm: f64,
    /// The shape of the model.
    pub model: ModelRecipe,
    /// The inner optimizer and its schedule.
    pub optimizer: OptimizerRecipe,
    /// The outer optimizer.
    pub outer: OuterRecipe,
}

/// Which model, and its shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum ModelRecipe {
    /// A GPT-2 style decoder over bytes.
    Gpt(GptShape),
}

/// The shape of a GPT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GptShape {
    /// Transformer blocks.
    pub layers: u32,
    /// Attention heads of each block; divides `width`.
    pub heads: u32,
    /// Floats per token between the blocks.
    pub width: u32,
    /// Tokens that the model sees at once.
    pub context: u32,
    /// Different tokens: 256, the bytes.
    pub vocab: u32,
}

/// AdamW (arXiv:1711.05101) with linear warm-up and a cosine down to a floor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptimizerRecipe {
    /// Learning rate after the warm-up.
    pub peak_learning_rate: f64,
    /// Learning rate of the last step.
    pub floor_learning_rate: f64,
    /// Inner steps until the peak.
    pub warmup_steps: u32,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled decay of matrices; vectors are left alone.
    pub weight_decay: f64,
}

/// The Nesterov outer step of DiLoCo (arXiv:2311.08105).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OuterRecipe {
    /// Decay of the outer momentum, 0 to below 1.
    pub momentum: f64,
    /// The outer learning rate.
    pub learning_rate: f64,
}

impl Recipe {
    /// Reads and validates a recipe file.
    ///
    /// # Errors
    /// [`RecipeError::Syntax`] with line and column for anything that TOML or the field types refuse, unknown keys
    /// included; else as [`Recipe::validated`].
    pub fn from_toml(text: &str) -> Result<Self, RecipeError> {
        let recipe: Self = toml::from_str(text).map_err(|e| RecipeError::Syntax(e.to_string()))?;
        recipe.validated()
    }

    /// Reads and validates a recipe in JSON, the form in which it travels.
    ///
    /// # Errors
    /// As [`Recipe::from_toml`].
    pub fn from_json(text: &str) -> Result<Self, RecipeError> {
        let recipe: Self = serde_json::from_str(text).map_err(|e| RecipeError::Syntax(e.to_string()))?;
        recipe.validated()
    }

    /// The built-in recipe of that name; [`Recipe::preset_names`] lists them.
    ///
    /// # Errors
    /// [`RecipeError::UnknownPreset`].
    pub fn preset(name: &str) -> Result<Self, RecipeError> {
        presets::find(name)
    }

    /// Names of the built-in recipes, the default first.
    #[must_use]
    pub fn preset_names() -> Vec<&'static str> {
        presets::names()
    }

    /// This recipe if every field is within its limits and the shape is possible.
    ///
    /// # Errors
    /// [`RecipeError::UnsupportedVersion`], [`RecipeError::OutOfRange`] or [`RecipeError::ImpossibleShape`], naming the
    /// field and its limit.
    pub fn validated(self) -> Result<Self, RecipeError> {
        check::check(&self)?;
        Ok(self)
    }

    /// The recipe as a file for people.
    ///
    /// # Errors
    /// Only a value that TOML cannot write, such as a seed above `i64::MAX`.
    pub fn to_toml(&self) -> Result<String, RecipeError> {
        toml::to_string(self).map_err(|e| RecipeError::Syntax(e.to_string()))
    }

    /// Compact JSON with sorted keys: the bytes that [`Recipe::hash`] covers.
    #[must_use]
    pub fn canonical_json(&self) -> String {
        let value = serde_json::to_value(self).unwrap_or(serde_json::Value::Null);
        canonical_text(&value)
    }

    /// BLAKE3 of a domain tag and [`Recipe::canonical_json`].
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("starling 2026 recipe v1");
        hasher.update(self.canonical_json().as_bytes());
        *hasher.finalize().as_bytes()
    }

    /// The GPT's shape.
    #[must_use]
    pub fn gpt(&self) -> &GptShape {
        match &self.model {
            ModelRecipe::Gpt(shape) => shape,
        }
    }

    /// Inner steps that each participant makes in the whole run.
    #[must_use]
    pub fn total_inner_steps(&self) -> u64 {
        u64::from(self.rounds) * u64::from(self.inner_steps_per_round)
    }

    /// Tokens that one participant trains on in one inner step: `batch * context`.
    #[must_use]
    pub fn tokens_per_inner_step(&self) -> u64 {
        u64::from(self.batch) * u64::from(self.gpt().context)
    }

    /// Tokens assigned to one participant in one round.
    #[must_use]
    pub fn tokens_per_round(&self) -> u64 {
        self.tokens_per_inner_step() * u64::from(self.inner_steps_per_round)
    }
}

/// `value` as compact JSON with sorted keys.
pub fn canonical_text(value: &serde_json::Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

/// Writes `value` without spaces, keys in byte order whatever the map's own order is.
fn write_canonical(value: &serde_json::Value, out: &mut String) {
    match value {
        serde_json::Value::Object(map) => {
            let mut keys: Vec<_> = map.keys().collect();
            keys.sort();
            out.push('{');
            for (position, key) in keys.into_iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                out.push_str(&serde_json::Value::String(key.clone()).to_string());
                out.push(':');
                write_canonical(&map[key], out);
            }
            out.push('}');
        }
        serde_json::Value::Array(items) => {
            out.push('[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    out.push(',');
                }
                write_canonical(item, out);
            }
            out.push(']');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

#[cfg(test)]
mod tests;
