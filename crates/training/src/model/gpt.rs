//! GPT-2 over bytes (after karpathy/nanoGPT): pre-norm blocks, learned positions, the output layer tied to the token
//! embedding. Tensors are named and shaped as in Hugging Face's `GPT2LMHeadModel`.

mod decode;

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Device, Var};

pub use decode::Decoder;

use crate::error::{Result, TrainingError};
use crate::ops;
use crate::parameters::{Array, Layout, Parameters, check_parameters};
use crate::random::Stream;
use crate::tape::{Tape, Value};
use starling_rounds::recipe::GptShape;

/// Added to the variance in layer norms, as in GPT-2.
pub(crate) const LAYER_NORM_EPSILON: f64 = 1e-5;
const TOKEN_EMBEDDING: &str = "transformer.wte.weight";
const POSITION_EMBEDDING: &str = "transformer.wpe.weight";
const FINAL_NORM: &str = "transformer.ln_f";
/// Deviation of the initial embeddings.
const EMBEDDING_DEVIATION: f32 = 0.02;

/// A GPT with its trainable variables.
pub struct Gpt {
    shape: GptShape,
    device: Device,
    variables: BTreeMap<String, Var>,
}

/// The variables of one forward pass on its tape.
pub struct Leaves(BTreeMap<String, Value>);

impl Gpt {
    /// A model holding `parameters`.
    ///
    /// # Errors
    /// As [`check_parameters`] against [`Gpt::layout`].
    pub fn new(shape: &GptShape, parameters: &Parameters, device: &Device) -> Result<Self> {
        check_parameters(&Self::layout(shape), parameters)?;
        let variables = parameters.iter().map(|(name, array)| {
            let variable = Var::from_tensor(&array.to_tensor(device)?)?;
            Ok((name.clone(), variable))
        });
        Ok(Self { shape: shape.clone(), device: device.clone(), variables: variables.collect::<Result<_>>()? })
    }

    /// Names and shapes of all trainable arrays, sorted by name.
    #[must_use]
    pub fn layout(shape: &GptShape) -> Layout {
        let [width, context, vocab] = [shape.width, shape.context, shape.vocab].map(|dimension| dimension as usize);
        let mut layout = vec![
            (TOKEN_EMBEDDING.to_owned(), vec![vocab, width]),
            (POSITION_EMBEDDING.to_owned(), vec![context, width]),
            (format!("{FINAL_NORM}.weight"), vec![width]),
            (format!("{FINAL_NORM}.bias"), vec![width]),
        ];
        for layer in 0..shape.layers {
            let arrays: [(&str, Vec<usize>); 12] = [
                ("ln_1.weight", vec![width]),
                ("ln_1.bias", vec![width]),
                ("attn.c_attn.weight", vec![width, 3 * width]),
                ("attn.c_attn.bias", vec![3 * width]),
                ("attn.c_proj.weight", vec![width, width]),
                ("attn.c_proj.bias", vec![width]),
                ("ln_2.weight", vec![width]),
                ("ln_2.bias", vec![width]),
                ("mlp.c_fc.weight", vec![width, 4 * width]),
                ("mlp.c_fc.bias", vec![4 * width]),
                ("mlp.c_proj.weight", vec![4 * width, width]),
                ("mlp.c_proj.bias", vec![width]),
            ];
            layout.extend(arrays.into_iter().map(|(name, shape)| (block_name(layer, name), shape)));
        }
        layout.sort();
        layout
    }

    /// The initial weights for `seed`, equal on every machine: matrices of deviation `1 / (2 sqrt(inputs))`, those that
    /// write to the residual stream divided by `sqrt(2 layers)`, norms one, biases zero.
    #[must_use]
    pub fn initial(shape: &GptShape, seed: u64) -> Parameters {
        let mut parameters = Parameters::new();
        for (index, (name, dimensions)) in Self::layout(shape).into_iter().enumerate() {
            let mut array = Array::zeros(&dimensions);
            if name.ends_with(".bias") {
                // Zeros.
            } else if dimensions.len() == 1 {
                array.values.fill(1.0);
            } else {
                let deviation = initial_deviation(&name, &dimensions, shape.layers);
                let mut stream = Stream::new("starling 2026 initial weights v1", seed, &[index as u64]);
                stream.fill_normal(deviation, &mut array.values);
            }
            parameters.insert(name, array);
        }
        parameters
    }

    /// The model's shape.
    #[must_use]
    pub fn shape(&self) -> &GptShape {
        &self.shape
    }

    /// Where its variables are.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The trainable variables by name.
    #[must_use]
    pub fn variables(&self) -> &BTreeMap<String, Var> {
        &self.variables
    }

    /// A copy of the current weights.
    ///
    /// # Errors
    /// Candle's.
    pub fn parameters(&self) -> Result<Parameters> {
        let copies = self.variables.iter().map(|(name, v)| Ok((name.clone(), Array::from_tensor(v.as_tensor())?)));
        copies.collect()
    }

    /// Replaces all weights.
    ///
    /// # Errors
    /// As [`Gpt::new`]; nothing has changed then.
    pub fn load_parameters(&mut self, parameters: &Parameters) -> Result<()> {
        check_parameters(&Self::layout(&self.shape), parameters)?;
        for (name, variable) in &self.variables {
            let array = parameters.get(name).ok_or_else(|| TrainingError::MissingTensor(name.clone()))?;
            variable.set(&array.to_tensor(&self.device)?)?;
        }
        Ok(())
    }

    /// Puts the variables on a tape.
    #[must_use]
    pub fn leaves(&self, tape: &Tape) -> Leaves {
        Leaves(self.variables.iter().map(|(name, variable)| (name.clone(), tape.variable(variable))).collect())
    }

    /// Logits (windows * context, vocab) of the token after each of `tokens` (windows * context).
    ///
    /// # Errors
    /// [`TrainingError::BadRequest`] for tokens outside the vocabulary or a context longer than the model's.
    pub fn logits(&self, tape: &Tape, leaves: &Leaves, tokens: &Arc<[u32]>, context: usize) -> Result<Value> {
        let heads = self.shape.heads as usize;
        let (wte, wpe) = (leaves.get(TOKEN_EMBEDDING)?, leaves.get(POSITION_EMBEDDING)?);
        let mut x = ops::embed(tape, wte, wpe, tokens, context)?; // (rows, width)
        for layer in 0..self.shape.layers {
            x = block(tape, leaves, layer, &x, |qkv| ops::causal_attention(tape, qkv, context, heads))?;
        }
        head(tape, leaves, &x)
    }
}

/// One transformer block; `attend` turns (rows, 3 width) into (rows, width).
fn block(tape: &Tape, leaves: &Leaves, layer: u32, x: &Value, attend: impl FnOnce(&Value) -> Result<Value>) -> Result<Value> {
    let linear = |x: &Value, name: &str| {
        let (weight, bias) = (leaves.of_block(layer, name, "weight")?, leaves.of_block(layer, name, "bias")?);
        ops::linear(tape, x, weight, bias)
    };
    let norm = |x: &Value, name: &str| {
        let (weight, bias) = (leaves.of_block(layer, name, "weight")?, leaves.of_block(layer, name, "bias")?);
        ops::layer_norm(tape, x, weight, bias, LAYER_NORM_EPSILON)
    };
    let qkv = linear(&norm(x, "ln_1")?, "attn.c_attn")?; // (rows, 3 width)
    let attended = linear(&attend(&qkv)?, "attn.c_proj")?; // (rows, width)
    let x = ops::add(tape, x, &attended)?;
    let hidden = linear(&norm(&x, "ln_2")?, "mlp.c_fc")?; // (rows, 4 width)
    let written = linear(&ops::gelu(tape, &hidden)?, "mlp.c_proj")?; // (rows, width)
    ops::add(tape, &x, &written)
}

/// The final norm and the tied output layer: (rows, vocab).
fn head(tape: &Tape, leaves: &Leaves, x: &Value) -> Result<Value> {
    let (weight, bias) = (leaves.get(&format!("{FINAL_NORM}.weight"))?, leaves.get(&format!("{FINAL_NORM}.bias"))?);
    let x = ops::layer_norm(tape, x, weight, bias, LAYER_NORM_EPSILON)?; // (rows, width)
    ops::project_back(tape, &x, leaves.get(TOKEN_EMBEDDING)?)
}

impl Leaves {
    /// The leaf of that name.
    ///
    /// # Errors
    /// [`TrainingError::MissingTensor`].
    pub fn get(&self, name: &str) -> Result<&Value> {
        self.0.get(name).ok_or_else(|| TrainingError::MissingTensor(name.to_owned()))
    }

    /// All leaves, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.0.iter()
    }

    fn of_block(&self, layer: u32, module: &str, kind: &str) -> Result<&Value> {
        self.get(&block_name(layer, &format!("{module}.{kind}")))
    }
}

fn block_name(layer: u32, name: &str) -> String {
    format!("transformer.h.{layer}.{name}")
}

fn initial_deviation(name: &str, dimensions: &[usize], layers: u32) -> f32 {
    if name == TOKEN_EMBEDDING || name == POSITION_EMBEDDING {
        return EMBEDDING_DEVIATION;
    }
    let deviation = 0.5 / (dimensions[0] as f32).sqrt();
    if name.ends_with("c_proj.weight") { deviation / (2.0 * layers as f32).sqrt() } else { deviation }
}

#[cfg(test)]
mod tests;
