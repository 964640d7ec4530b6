//! Llama (arXiv:2302.13971, grouped queries as in arXiv:2307.09288): pre-norm blocks with root-mean-square norms, rotary
//! positions and a SwiGLU perceptron, no biases. Tensors are named and shaped as in `transformers`' `LlamaForCausalLM`.

use std::sync::Arc;

use candle_core::Device;

use super::config::Config;
use super::weights::{Initial, Leaves, Weights, initial};
use crate::error::{Result, TrainingError};
use crate::ops::{self, Heads, Rotations, Seen};
use crate::parameters::{Layout, Parameters};
use crate::tape::{Tape, Value};
use starling_rounds::recipe::LlamaShape;

const EMBEDDING: &str = "model.embed_tokens";
const FINAL_NORM: &str = "model.norm";
const HEAD: &str = "lm_head";
/// Deviation of the initial embeddings.
const EMBEDDING_DEVIATION: f32 = 0.02;

/// A Llama with its variables.
pub struct Llama {
    shape: LlamaShape,
    weights: Weights,
    rotations: Rotations,
}

impl Llama {
    /// A model holding `parameters`.
    ///
    /// # Errors
    /// [`TrainingError::BadRequest`] for heads that do not divide; else as [`Weights::new`] against [`Llama::layout`].
    pub fn new(shape: &LlamaShape, parameters: &Parameters, device: &Device) -> Result<Self> {
        if shape.key_heads == 0 || !shape.heads.is_multiple_of(shape.key_heads) {
            return Err(TrainingError::BadRequest(format!("{} heads cannot share {} key heads", shape.heads, shape.key_heads)));
        }
        let rotations = Rotations::new(shape.context as usize, shape.head as usize, shape.theta)?;
        Ok(Self { shape: shape.clone(), weights: Weights::new(Self::layout(shape), parameters, device)?, rotations })
    }

    /// Names and shapes of all trainable arrays, sorted by name; matrices are (out, in).
    #[must_use]
    pub fn layout(shape: &LlamaShape) -> Layout {
        let LlamaShape { width, hidden, vocab, .. } = *shape;
        let (queries, keys) = (shape.heads * shape.head, shape.key_heads * shape.head);
        let mut layout = vec![(format!("{EMBEDDING}.weight"), vec![vocab, width]), (format!("{FINAL_NORM}.weight"), vec![width])];
        if !shape.tied {
            layout.push((format!("{HEAD}.weight"), vec![vocab, width]));
        }
        for layer in 0..shape.layers {
            let arrays: [(&str, Vec<u32>); 9] = [
                ("input_layernorm", vec![width]),
                ("self_attn.q_proj", vec![queries, width]),
                ("self_attn.k_proj", vec![keys, width]),
                ("self_attn.v_proj", vec![keys, width]),
                ("self_attn.o_proj", vec![width, queries]),
                ("post_attention_layernorm", vec![width]),
                ("mlp.gate_proj", vec![hidden, width]),
                ("mlp.up_proj", vec![hidden, width]),
                ("mlp.down_proj", vec![width, hidden]),
            ];
            layout.extend(arrays.into_iter().map(|(module, shape)| (format!("{}.weight", of_block(layer, module)), shape)));
        }
        super::sorted(layout)
    }

    /// The initial weights for `seed`, equal on every machine: matrices of deviation `1 / (2 sqrt(inputs))`, those that
    /// write to the residual stream divided by `sqrt(2 layers)`, norms one.
    #[must_use]
    pub fn initial(shape: &LlamaShape, seed: u64) -> Parameters {
        initial(Self::layout(shape), seed, |name, dimensions| match dimensions {
            [_, inputs] if name.starts_with("model.layers.") => {
                let deviation = 0.5 / (*inputs as f32).sqrt();
                let writes = name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
                Initial::Normal(if writes { deviation / (2.0 * shape.layers as f32).sqrt() } else { deviation })
            }
            [_, _] => Initial::Normal(EMBEDDING_DEVIATION),
            _ => Initial::Fill(1.0),
        })
    }

    /// `config.json` of a `LlamaForCausalLM`.
    #[must_use]
    pub fn config_json(shape: &LlamaShape) -> String {
        let config = serde_json::json!({
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": false,
            "attention_dropout": 0.0,
            "head_dim": shape.head,
            "hidden_act": "silu",
            "hidden_size": shape.width,
            "intermediate_size": shape.hidden,
            "max_position_embeddings": shape.context,
            "mlp_bias": false,
            "model_type": "llama",
            "num_attention_heads": shape.heads,
            "num_hidden_layers": shape.layers,
            "num_key_value_heads": shape.key_heads,
            "rms_norm_eps": shape.epsilon,
            "rope_theta": shape.theta,
            "tie_word_embeddings": shape.tied,
            "torch_dtype": "float32",
            "vocab_size": shape.vocab,
        });
        format!("{config:#}\n")
    }

    /// The shape that a `config.json` of a Llama describes.
    ///
    /// # Errors
    /// [`TrainingError::BadConfig`], naming the field that is absent or asks for another computation.
    pub fn read_config(text: &str) -> Result<LlamaShape> {
        let config = Config::read(text, "llama")?;
        config.expect("hidden_act", &"silu".into())?;
        config.expect("attention_bias", &false.into())?;
        config.expect("mlp_bias", &false.into())?;
        let (width, heads) = (config.number("hidden_size", None)?, config.number("num_attention_heads", None)?);
        Ok(LlamaShape {
            layers: config.number("num_hidden_layers", None)?,
            heads,
            key_heads: config.number("num_key_value_heads", Some(heads))?,
            head: config.number("head_dim", Some(width / heads))?,
            width,
            hidden: config.number("intermediate_size", None)?,
            context: config.number("max_position_embeddings", None)?,
            vocab: config.number("vocab_size", None)?,
            theta: config.rope_theta()?,
            epsilon: config.positive("rms_norm_eps")?,
            tied: config.flag("tie_word_embeddings", false),
        })
    }

    /// The model's shape.
    #[must_use]
    pub fn shape(&self) -> &LlamaShape {
        &self.shape
    }

    /// Its variables.
    #[must_use]
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Its variables, to be replaced.
    pub fn weights_mut(&mut self) -> &mut Weights {
        &mut self.weights
    }

    /// Logits (windows * context, vocab) of the token after each of `tokens` (windows * context).
    ///
    /// # Errors
    /// [`TrainingError::BadRequest`] for tokens outside the vocabulary or a context longer than the model's.
    pub fn logits(&self, tape: &Tape, leaves: &Leaves, tokens: &Arc<[u32]>, context: usize) -> Result<Value> {
        let embedding = leaves.get(&format!("{EMBEDDING}.weight"))?;
        let mut x = ops::lookup(tape, embedding, tokens)?; // (rows, width)
        for layer in 0..self.shape.layers {
            let block = Block { shape: self.shape.clone(), rotations: self.rotations.clone(), layer, context };
            x = leaves.block(tape, &of_block(layer, ""), &x, move |tape, leaves, x| block.of(tape, leaves, x))?;
        }
        let x = norm(tape, leaves, FINAL_NORM, &x, &self.shape)?; // (rows, width)
        if self.shape.tied { ops::dense(tape, &x, embedding, None) } else { leaves.linear(tape, HEAD, &x) }
    }
}

/// One transformer block on windows of `context` tokens.
struct Block {
    shape: LlamaShape,
    rotations: Rotations,
    layer: u32,
    context: usize,
}

impl Block {
    /// (rows, width) to the same.
    fn of(&self, tape: &Tape, leaves: &Leaves, x: &Value) -> Result<Value> {
        let linear = |module: &str, x: &Value| leaves.linear(tape, &of_block(self.layer, module), x);
        let norm = |module: &str, x: &Value| norm(tape, leaves, &of_block(self.layer, module), x, &self.shape);
        let heads = Heads { queries: self.shape.heads as usize, keys: self.shape.key_heads as usize };

        let h = norm("input_layernorm", x)?; // (rows, width)
        let [q, k, v] = ["q_proj", "k_proj", "v_proj"].map(|name| of_block(self.layer, &format!("self_attn.{name}")));
        let qkv = leaves.linear_columns(tape, [&q, &k, &v], &h)?; // (rows, (heads + 2 key_heads) * head)
        let qkv = ops::rope(tape, &qkv, &self.rotations, self.context, heads.queries + heads.keys)?;
        let attended = ops::attention(tape, &qkv, self.context, heads, &Seen::Before)?; // (rows, heads * head)
        let x = ops::add(tape, x, &linear("self_attn.o_proj", &attended)?)?; // (rows, width)

        let h = norm("post_attention_layernorm", &x)?; // (rows, width)
        let (gate, up) = (linear("mlp.gate_proj", &h)?, linear("mlp.up_proj", &h)?); // (rows, hidden)
        let written = linear("mlp.down_proj", &ops::swiglu(tape, &gate, &up)?)?; // (rows, width)
        ops::add(tape, &x, &written)
    }
}

fn norm(tape: &Tape, leaves: &Leaves, module: &str, x: &Value, shape: &LlamaShape) -> Result<Value> {
    ops::rms_norm(tape, x, leaves.get(&format!("{module}.weight"))?, shape.epsilon)
}

fn of_block(layer: u32, module: &str) -> String {
    format!("model.layers.{layer}.{module}")
}
