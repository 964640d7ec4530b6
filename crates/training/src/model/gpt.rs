//! GPT-2 over bytes (after karpathy/nanoGPT): pre-norm blocks, learned positions, the output layer tied to the token
//! embedding. Tensors are named and shaped as in Hugging Face's `GPT2LMHeadModel`.

mod decode;

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::{Device, Var};

pub(super) use decode::GptDecoder;

use super::config::Config;
use super::weights::{Initial, Leaves, Weights, initial};
use crate::error::Result;
use crate::ops;
use crate::parameters::{Layout, Parameters};
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
    weights: Weights,
}

impl Gpt {
    /// A model holding `parameters`.
    ///
    /// # Errors
    /// As [`Weights::new`] against [`Gpt::layout`].
    pub fn new(shape: &GptShape, parameters: &Parameters, device: &Device) -> Result<Self> {
        Ok(Self { shape: shape.clone(), weights: Weights::new(Self::layout(shape), parameters, device)? })
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
        initial(Self::layout(shape), seed, |name, dimensions| match dimensions {
            _ if name.ends_with(".bias") => Initial::Fill(0.0),
            [_] => Initial::Fill(1.0),
            _ => Initial::Normal(initial_deviation(name, dimensions, shape.layers)),
        })
    }

    /// `config.json` of a `GPT2LMHeadModel` whose tokens are bytes.
    #[must_use]
    pub fn config_json(shape: &GptShape) -> String {
        let config = serde_json::json!({
            "activation_function": "gelu_new",
            "architectures": ["GPT2LMHeadModel"],
            "attn_pdrop": 0.0,
            "bos_token_id": 10,
            "embd_pdrop": 0.0,
            "eos_token_id": 10,
            "layer_norm_epsilon": LAYER_NORM_EPSILON,
            "model_type": "gpt2",
            "n_ctx": shape.context,
            "n_embd": shape.width,
            "n_head": shape.heads,
            "n_inner": 4 * shape.width,
            "n_layer": shape.layers,
            "n_positions": shape.context,
            "resid_pdrop": 0.0,
            "tie_word_embeddings": true,
            "torch_dtype": "float32",
            "vocab_size": shape.vocab,
        });
        format!("{config:#}\n")
    }

    /// The shape that a `config.json` of a GPT-2 describes.
    ///
    /// # Errors
    /// [`crate::TrainingError::BadConfig`], naming the field that is absent or asks for another computation.
    pub fn read_config(text: &str) -> Result<GptShape> {
        let config = Config::read(text, "gpt2")?;
        config.expect("activation_function", &"gelu_new".into())?;
        config.expect("layer_norm_epsilon", &LAYER_NORM_EPSILON.into())?;
        config.expect("tie_word_embeddings", &true.into())?;
        config.expect("scale_attn_weights", &true.into())?;
        config.expect("scale_attn_by_inverse_layer_idx", &false.into())?;
        let width = config.number("n_embd", None)?;
        config.expect("n_inner", &(4 * u64::from(width)).into())?;
        Ok(GptShape {
            layers: config.number("n_layer", None)?,
            heads: config.number("n_head", None)?,
            width,
            context: config.number("n_positions", None)?,
            vocab: config.number("vocab_size", None)?,
        })
    }

    /// The model's shape.
    #[must_use]
    pub fn shape(&self) -> &GptShape {
        &self.shape
    }

    /// Its variables.
    #[must_use]
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Where its variables are.
    #[must_use]
    pub fn device(&self) -> &Device {
        self.weights.device()
    }

    /// The trainable variables by name.
    #[must_use]
    pub fn variables(&self) -> &BTreeMap<String, Var> {
        self.weights.variables()
    }

    /// A copy of the current weights.
    ///
    /// # Errors
    /// Candle's.
    pub fn parameters(&self) -> Result<Parameters> {
        self.weights.parameters()
    }

    /// Replaces all weights.
    ///
    /// # Errors
    /// As [`Gpt::new`]; nothing has changed then.
    pub fn load_parameters(&mut self, parameters: &Parameters) -> Result<()> {
        self.weights.load(parameters)
    }

    /// Puts the variables on a tape.
    #[must_use]
    pub fn leaves(&self, tape: &Tape) -> Leaves {
        self.weights.leaves(tape)
    }

    /// Logits (windows * context, vocab) of the token after each of `tokens` (windows * context).
    ///
    /// # Errors
    /// [`crate::TrainingError::BadRequest`] for tokens outside the vocabulary or a context longer than the model's.
    pub fn logits(&self, tape: &Tape, leaves: &Leaves, tokens: &Arc<[u32]>, context: usize) -> Result<Value> {
        let heads = self.shape.heads as usize;
        let (wte, wpe) = (leaves.get(TOKEN_EMBEDDING)?, leaves.get(POSITION_EMBEDDING)?);
        let mut x = ops::embed(tape, wte, wpe, tokens, context)?; // (rows, width)
        for layer in 0..self.shape.layers {
            x = leaves.block(tape, &block_name(layer, ""), &x, move |tape, leaves, x| {
                block(tape, leaves, layer, x, |qkv| ops::causal_attention(tape, qkv, context, heads))
            })?;
        }
        head(tape, leaves, &x)
    }
}

/// One transformer block; `attend` turns (rows, 3 width) into (rows, width).
fn block(tape: &Tape, leaves: &Leaves, layer: u32, x: &Value, attend: impl FnOnce(&Value) -> Result<Value>) -> Result<Value> {
    let linear = |x: &Value, name: &str| leaves.conv1d(tape, &block_name(layer, name), x);
    let norm = |x: &Value, name: &str| leaves.layer_norm(tape, &block_name(layer, name), x, LAYER_NORM_EPSILON);
    let qkv = linear(&norm(x, "ln_1")?, "attn.c_attn")?; // (rows, 3 width)
    let attended = linear(&attend(&qkv)?, "attn.c_proj")?; // (rows, width)
    let x = ops::add(tape, x, &attended)?;
    let hidden = linear(&norm(&x, "ln_2")?, "mlp.c_fc")?; // (rows, 4 width)
    let written = linear(&ops::gelu(tape, &hidden)?, "mlp.c_proj")?; // (rows, width)
    ops::add(tape, &x, &written)
}

/// The final norm and the tied output layer: (rows, vocab).
fn head(tape: &Tape, leaves: &Leaves, x: &Value) -> Result<Value> {
    let x = leaves.layer_norm(tape, FINAL_NORM, x, LAYER_NORM_EPSILON)?; // (rows, width)
    ops::dense(tape, &x, leaves.get(TOKEN_EMBEDDING)?, None)
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
