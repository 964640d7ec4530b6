//! Low-rank adapters (LoRA, arXiv:2106.09685) for the transformers, in PEFT's file layout.
//!
//! A module `y = x W` becomes `y = x W + alpha / rank * (x A^T) B^T` with `W` frozen; what trains is A (rank, in), B
//! (out, rank) and the modules that are trained whole, such as a new classifier.

use std::collections::BTreeMap;

use candle_core::Device;

use super::weights::{Initial, Leaves, Weights, initial};
use crate::arrays_file;
use crate::error::{Result, TrainingError};
use crate::ops;
use crate::ops::math::nearest_f32;
use crate::parameters::{Array, Layout, Parameters};
use crate::tape::{Tape, Value};

/// What PEFT puts before the name of the base model's tensor.
const PREFIX: &str = "base_model.model.";
const DOWN: &str = ".lora_A.weight";
const UP: &str = ".lora_B.weight";

/// Which modules are adapted, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraShape {
    /// Rows of A, at least 1.
    pub rank: u32,
    /// The update is scaled by `alpha / rank`.
    pub alpha: f64,
    /// The last part of the adapted modules' names: `q_proj`, `c_attn`.
    pub targets: Vec<String>,
    /// Names of modules that are trained whole: `classifier`.
    pub whole: Vec<String>,
    /// Whether the base stores its matrices as (in, out), as GPT-2 does; else as (out, in).
    pub fan_in_fan_out: bool,
}

/// The adapters of one base model.
pub struct Lora {
    shape: LoraShape,
    weights: Weights,
}

/// One module's adapter on a tape, each array with its name.
#[derive(Clone)]
pub(super) struct Adapter {
    down: (String, Value), // (rank, in)
    up: (String, Value),   // (out, rank)
    scale: f32,
}

impl Lora {
    /// Adapters holding `parameters` for a model of layout `base`.
    ///
    /// # Errors
    /// As [`Lora::layout`] and [`Weights::new`].
    pub fn new(shape: &LoraShape, base: &Layout, parameters: &Parameters, device: &Device) -> Result<Self> {
        let weights = Weights::new(Self::layout(shape, base)?, parameters, device)?;
        Ok(Self { shape: shape.clone(), weights })
    }

    /// Names as in `adapter_model.safetensors` and shapes of what trains, sorted by name.
    ///
    /// # Errors
    /// [`TrainingError::BadRequest`] for a rank of 0, or a module that the base does not have or that is no matrix.
    pub fn layout(shape: &LoraShape, base: &Layout) -> Result<Layout> {
        if shape.rank == 0 {
            return Err(TrainingError::BadRequest("an adapter's rank must be at least 1".to_owned()));
        }
        let mut layout = Layout::new();
        for target in &shape.targets {
            let before = layout.len();
            for (name, dimensions) in base {
                let module = name.strip_suffix(".weight").filter(|module| module.rsplit('.').next() == Some(target));
                let (Some(module), [first, second]) = (module, dimensions.as_slice()) else { continue };
                let (input, output) = if shape.fan_in_fan_out { (*first, *second) } else { (*second, *first) };
                layout.push((format!("{PREFIX}{module}{DOWN}"), vec![shape.rank as usize, input]));
                layout.push((format!("{PREFIX}{module}{UP}"), vec![output, shape.rank as usize]));
            }
            if layout.len() == before {
                return Err(TrainingError::BadRequest(format!("the model has no matrix in a module named `{target}` to adapt")));
            }
        }
        for module in &shape.whole {
            let arrays = base.iter().filter(|(name, _)| name.rsplit_once('.').is_some_and(|(of, _)| of == module));
            let before = layout.len();
            layout.extend(arrays.map(|(name, dimensions)| (format!("{PREFIX}{name}"), dimensions.clone())));
            if layout.len() == before {
                return Err(TrainingError::BadRequest(format!("the model has no module named `{module}` to train whole")));
            }
        }
        layout.sort();
        Ok(layout)
    }

    /// Adapters that change nothing yet: A random, B zero, whole modules as in `base`.
    ///
    /// # Errors
    /// As [`Lora::layout`].
    pub fn initial(shape: &LoraShape, base: &Parameters, seed: u64) -> Result<Parameters> {
        let layout = Self::layout(shape, &crate::parameters::layout_of(base))?;
        let mut parameters = initial(layout, seed, |name, dimensions| match dimensions {
            [_, input] if name.ends_with(DOWN) => Initial::Normal(1.0 / (*input as f32).sqrt()),
            _ => Initial::Fill(0.0),
        });
        for (name, array) in &mut parameters {
            if let Some(whole) = name.strip_prefix(PREFIX).and_then(|name| base.get(name)) {
                array.clone_from(whole);
            }
        }
        Ok(parameters)
    }

    /// What trains.
    #[must_use]
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// What trains, to be replaced.
    pub fn weights_mut(&mut self) -> &mut Weights {
        &mut self.weights
    }

    /// Puts the frozen `base` and the adapters on a tape; a model reads them as its own leaves.
    ///
    /// # Errors
    /// [`TrainingError::UnknownTensor`] where `base` is not the model that the adapters were made for.
    pub fn leaves(&self, tape: &Tape, base: &Weights) -> Result<Leaves> {
        let mut leaves = base.frozen();
        PREFIX.clone_into(&mut leaves.prefix);
        for (name, variable) in self.weights.variables() {
            let module = name.strip_prefix(PREFIX).unwrap_or(name);
            let value = tape.variable(variable);
            if let Some(module) = module.strip_suffix(DOWN) {
                let up = format!("{PREFIX}{module}{UP}");
                let variable = self.weights.variables().get(&up).ok_or_else(|| TrainingError::MissingTensor(up.clone()))?;
                let up = (up, tape.variable(variable));
                let adapter = Adapter { down: (name.clone(), value), up, scale: self.scale() };
                leaves.adapters.insert(module.to_owned(), adapter);
            } else if !module.ends_with(UP) {
                leaves.replace(module, value)?;
            }
        }
        Ok(leaves)
    }

    /// The base with the adapters' products added to its matrices: a plain model that computes the same.
    ///
    /// # Errors
    /// [`TrainingError::UnknownTensor`] where `base` is not the model that the adapters were made for.
    pub fn merged(&self, base: &Parameters) -> Result<Parameters> {
        let mut merged = base.clone();
        for (name, variable) in self.weights.variables() {
            let module = name.strip_prefix(PREFIX).unwrap_or(name);
            let unknown = || TrainingError::UnknownTensor(name.clone());
            if let Some(module) = module.strip_suffix(DOWN) {
                let up = self.weights.variables().get(&format!("{PREFIX}{module}{UP}")).ok_or_else(unknown)?;
                let mut update = (up.as_tensor().matmul(variable.as_tensor())? * f64::from(self.scale()))?; // (out, in)
                if self.shape.fan_in_fan_out {
                    update = update.t()?.contiguous()?; // (in, out)
                }
                let weight = merged.get_mut(&format!("{module}.weight")).ok_or_else(unknown)?;
                let sum = (weight.to_tensor(self.weights.device())? + update)?;
                *weight = Array::from_tensor(&sum)?;
            } else if !module.ends_with(UP) {
                *merged.get_mut(module).ok_or_else(unknown)? = Array::from_tensor(variable)?;
            }
        }
        Ok(merged)
    }

    /// `adapter_model.safetensors` and `adapter_config.json`, as PEFT reads them.
    ///
    /// `task` is PEFT's name of what the base is for (`CAUSAL_LM`, `SEQ_CLS`), `base` where the base model is found.
    ///
    /// # Errors
    /// Candle's.
    pub fn files(&self, task: &str, base: &str) -> Result<(Vec<u8>, String)> {
        let whole = (!self.shape.whole.is_empty()).then_some(&self.shape.whole);
        let config = serde_json::json!({
            "base_model_name_or_path": base,
            "bias": "none",
            "fan_in_fan_out": self.shape.fan_in_fan_out,
            "inference_mode": true,
            "lora_alpha": self.shape.alpha,
            "lora_dropout": 0.0,
            "modules_to_save": whole,
            "peft_type": "LORA",
            "r": self.shape.rank,
            "target_modules": self.shape.targets,
            "task_type": task,
        });
        let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
        Ok((arrays_file::write(&self.weights.parameters()?, &metadata), format!("{config:#}\n")))
    }

    fn scale(&self) -> f32 {
        nearest_f32(self.shape.alpha / f64::from(self.shape.rank))
    }
}

impl Adapter {
    /// `y` plus the adapter's part for `x` (rows, in): (rows, out).
    pub(super) fn apply(&self, tape: &Tape, x: &Value, y: &Value) -> Result<Value> {
        let narrow = ops::dense(tape, x, &self.down.1, None)?; // (rows, rank)
        let update = ops::dense(tape, &narrow, &self.up.1, None)?; // (rows, out)
        ops::add_scaled(tape, y, &update, self.scale)
    }

    /// The same on another tape.
    pub(super) fn again(&self, tape: &Tape) -> Self {
        let again = |(name, value): &(String, Value)| (name.clone(), value.on(tape));
        Self { down: again(&self.down), up: again(&self.up), scale: self.scale }
    }

    /// Both arrays with their names.
    pub(super) fn leaves(&self) -> [(String, &Value); 2] {
        [&self.down, &self.up].map(|(name, value)| (name.clone(), value))
    }
}
