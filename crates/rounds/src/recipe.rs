//! The recipe: one typed, versioned, validated description of a run's model and method.
//!
//! Read from TOML or JSON, unknown keys refused; two recipes are the same exactly when their hashes are. Files of version 1
//! are read as what they mean in version 2.

mod check;
mod limits;
mod method;
mod presets;
mod schema;
mod shapes;
mod version1;

use serde::{Deserialize, Serialize};

use crate::assignment::{Plan, PlanError};
use crate::fragments::{FragmentError, Fragments};
use crate::hash::Hash32;
use crate::layout::Layout;

pub use check::{PLAIN_NAME, RecipeError, is_plain_name};
pub use method::{
    AdapterRecipe, DataRecipe, DecayRecipe, EvaluationRecipe, InnerSteps, OptimizerKind, OptimizerRecipe, OuterRecipe, OverlapRecipe,
    ScheduleRecipe,
};
pub use shapes::{BertHead, BertShape, ConvolutionShape, GptShape, LlamaShape, ModelRecipe, PerceptronShape};

/// The recipe version that this build writes; it reads 1 too.
pub const RECIPE_VERSION: u32 = 2;

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
    /// Fixes the initial weights and which examples each step reads.
    pub seed: u64,
    /// Outer steps of the run.
    pub rounds: u32,
    /// DiLoCo's H: optimizer steps of each participant in a round.
    pub inner_steps_per_round: u32,
    /// Examples in one inner step: windows of text, labelled texts, rows of a table or images.
    pub batch: u32,
    /// Parts that the batch goes through the model in, one after the other; divides `batch`.
    #[serde(default = "one")]
    pub accumulation: u32,
    /// Greatest global norm of a gradient; larger ones are scaled down to it.
    pub clip_norm: f64,
    /// A step whose loss is more than so many deviations above the last steps' is withdrawn by its own node; 0 keeps all.
    #[serde(default)]
    pub spike_deviations: f64,
    /// The shape of the model.
    pub model: ModelRecipe,
    /// Low-rank adapters that train in place of the model's own weights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<AdapterRecipe>,
    /// The columns of the data.
    #[serde(default, skip_serializing_if = "method::is_default")]
    pub data: DataRecipe,
    /// The inner optimizer.
    pub optimizer: OptimizerRecipe,
    /// Its learning rate.
    pub schedule: ScheduleRecipe,
    /// The outer optimizer.
    pub outer: OuterRecipe,
    /// When the model is measured on the way.
    #[serde(default, skip_serializing_if = "method::is_default")]
    pub evaluation: EvaluationRecipe,
}

impl Recipe {
    /// Reads and validates a recipe file.
    ///
    /// # Errors
    /// [`RecipeError::Syntax`] with line and column for anything that TOML or the field types refuse, unknown keys
    /// included; else as [`Recipe::validated`].
    pub fn from_toml(text: &str) -> Result<Self, RecipeError> {
        let syntax = |e: toml::de::Error| RecipeError::Syntax(e.to_string());
        if version_of(toml::from_str::<toml::Table>(text).map_err(syntax)?.get("version").and_then(toml::Value::as_integer)) == 1 {
            return toml::from_str::<version1::Recipe>(text).map_err(syntax)?.read();
        }
        toml::from_str::<Self>(text).map_err(syntax)?.validated()
    }

    /// Reads and validates a recipe in JSON, the form in which it travels.
    ///
    /// # Errors
    /// As [`Recipe::from_toml`].
    pub fn from_json(text: &str) -> Result<Self, RecipeError> {
        let syntax = |e: serde_json::Error| RecipeError::Syntax(e.to_string());
        let value: serde_json::Value = serde_json::from_str(text).map_err(syntax)?;
        if version_of(value.get("version").and_then(serde_json::Value::as_i64)) == 1 {
            return serde_json::from_str::<version1::Recipe>(text).map_err(syntax)?.read();
        }
        serde_json::from_str::<Self>(text).map_err(syntax)?.validated()
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

    /// Whether a built-in recipe is called so.
    #[must_use]
    pub fn is_preset(name: &str) -> bool {
        presets::names().contains(&name)
    }

    /// The JSON Schema (2020-12) of a recipe file of this version: what each field means and its limits.
    #[must_use]
    pub fn schema() -> serde_json::Value {
        schema::schema()
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
        let mut hasher = blake3::Hasher::new_derive_key("starling 2026 recipe v2");
        hasher.update(self.canonical_json().as_bytes());
        *hasher.finalize().as_bytes()
    }

    /// The GPT's shape; nothing where the model is another.
    #[must_use]
    pub fn gpt(&self) -> Option<&GptShape> {
        match &self.model {
            ModelRecipe::Gpt(shape) => Some(shape),
            _ => None,
        }
    }

    /// Inner steps that each participant makes in the whole run.
    #[must_use]
    pub fn total_inner_steps(&self) -> u64 {
        u64::from(self.rounds) * u64::from(self.inner_steps_per_round)
    }

    /// Tokens that one participant trains on in one inner step: `batch` times [`ModelRecipe::tokens_per_example`].
    #[must_use]
    pub fn tokens_per_inner_step(&self) -> u64 {
        u64::from(self.batch) * u64::from(self.model.tokens_per_example())
    }

    /// Tokens assigned to one participant in one round; fewer to a slow one where steps are paced.
    #[must_use]
    pub fn tokens_per_round(&self) -> u64 {
        self.tokens_per_inner_step() * u64::from(self.inner_steps_per_round)
    }

    /// Tokens assigned to one participant in the whole run: what the schedule ends at.
    #[must_use]
    pub fn total_tokens(&self) -> u64 {
        self.tokens_per_inner_step() * self.total_inner_steps()
    }

    /// Where a round begins in the schedule, in tokens of one participant; `accepted` are those of each place in the roster so far.
    ///
    /// Where all make equally many steps, work that was refused or lost does not move the learning rate. Where they are paced, participants have unequal
    /// tokens and their mean would never reach the schedule's end: the rounds that are done count whole, as for the one that makes all steps.
    #[must_use]
    pub fn place_in_schedule(&self, accepted: &[u64], round: u32) -> u64 {
        match self.outer.inner_steps {
            InnerSteps::Equal => accepted.iter().sum::<u64>() / u64::try_from(accepted.len()).unwrap_or(1).max(1),
            InnerSteps::Paced => u64::from(round) * self.tokens_per_round(),
        }
    }

    /// What each participant is assigned in each round.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn plan(&self) -> Result<Plan, PlanError> {
        Plan::new(self.inner_steps_per_round, self.batch, self.model.tokens_per_example())
    }

    /// The parts of a state of this layout that its rounds exchange: all of it in each, unless they overlap.
    ///
    /// # Errors
    /// As [`Fragments::new`].
    pub fn fragments(&self, layout: &Layout) -> Result<Fragments, FragmentError> {
        let count = self.outer.overlap.map_or(1, |overlap| overlap.fragments);
        Fragments::new(layout, usize::try_from(count).unwrap_or(usize::MAX))
    }

    /// Windows or examples that each loss of a score is measured on ([`Plan::probe_windows`]): where a window has one class for a
    /// target, as many as of windows of one token.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn probe_windows(&self) -> Result<u32, PlanError> {
        let targets = if self.model.classes().is_some() { 1 } else { self.model.tokens_per_example() };
        Ok(Plan::new(self.inner_steps_per_round, self.batch, targets)?.probe_windows())
    }

    /// Has each node train on the data that its owner keeps under this name, and takes the mean of what they reach.
    pub fn federate(&mut self, name: &str) {
        self.data.federated = Some(name.to_owned());
        self.outer = self.outer.clone().averaging();
    }

    /// Has nodes train on while fragments are exchanged, as usual unless the recipe says how.
    pub fn overlap(&mut self) {
        self.outer.overlap.get_or_insert(OverlapRecipe::usual(self.inner_steps_per_round));
    }

    /// Names the model that the adapters are for, where there are some and none is named yet.
    pub fn name_frozen(&mut self, model: Hash32) {
        if let Some(adapter) = &mut self.adapter {
            adapter.base.get_or_insert(model);
        }
    }
}

fn one() -> u32 {
    1
}

/// A file without a version is judged as one of this version, which then names what is missing.
fn version_of(found: Option<i64>) -> i64 {
    found.unwrap_or(i64::from(RECIPE_VERSION))
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
