//! The BERT encoder (arXiv:1810.04805): post-norm blocks in which each token sees its whole text, with a head that
//! classifies texts or one that predicts masked tokens. Tensors are named and shaped as in `transformers`'
//! `BertForSequenceClassification` and `BertForMaskedLM`.

use std::sync::Arc;

use candle_core::Device;

use super::config::Config;
use super::weights::{Initial, Leaves, Weights, initial};
use crate::error::{Result, TrainingError};
use crate::ops::{self, Heads, Seen};
use crate::parameters::{Layout, Parameters};
use crate::tape::{Tape, Value};
use starling_rounds::recipe::{BertHead, BertShape};

const TOKEN_EMBEDDING: &str = "bert.embeddings.word_embeddings.weight";
const POSITION_EMBEDDING: &str = "bert.embeddings.position_embeddings.weight";
const SEGMENT_EMBEDDING: &str = "bert.embeddings.token_type_embeddings.weight";
/// Deviation of all initial matrices, as published.
const DEVIATION: f32 = 0.02;

/// Texts of equal room: token `position` of text `i` is at `i * context + position`, padding after the real ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Texts {
    /// (texts * context).
    pub tokens: Arc<[u32]>,
    /// Real tokens of each text, from 1 to `context`.
    pub lengths: Arc<[usize]>,
    /// Room for each text.
    pub context: usize,
}

/// A BERT with its variables.
pub struct Bert {
    shape: BertShape,
    weights: Weights,
}

impl Bert {
    /// A model holding `parameters`.
    ///
    /// # Errors
    /// [`TrainingError::BadRequest`] for heads that do not divide the width; else as [`Weights::new`] against
    /// [`Bert::layout`].
    pub fn new(shape: &BertShape, parameters: &Parameters, device: &Device) -> Result<Self> {
        if shape.heads == 0 || !shape.width.is_multiple_of(shape.heads) {
            return Err(TrainingError::BadRequest(format!("width {} is not divisible by heads {}", shape.width, shape.heads)));
        }
        Ok(Self { shape: shape.clone(), weights: Weights::new(Self::layout(shape), parameters, device)? })
    }

    /// Names and shapes of all trainable arrays, sorted by name; matrices are (out, in).
    #[must_use]
    pub fn layout(shape: &BertShape) -> Layout {
        let BertShape { width, hidden, vocab, .. } = *shape;
        let mut layout = vec![
            (TOKEN_EMBEDDING.to_owned(), vec![vocab, width]),
            (POSITION_EMBEDDING.to_owned(), vec![shape.context, width]),
            (SEGMENT_EMBEDDING.to_owned(), vec![shape.segments, width]),
        ];
        let mut module = |name: String, dimensions: Vec<u32>| {
            layout.push((format!("{name}.bias"), vec![dimensions[0]]));
            layout.push((format!("{name}.weight"), dimensions));
        };
        module("bert.embeddings.LayerNorm".to_owned(), vec![width]);
        for layer in 0..shape.layers {
            for name in ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"] {
                module(of_block(layer, name), vec![width, width]);
            }
            module(of_block(layer, "attention.output.LayerNorm"), vec![width]);
            module(of_block(layer, "intermediate.dense"), vec![hidden, width]);
            module(of_block(layer, "output.dense"), vec![width, hidden]);
            module(of_block(layer, "output.LayerNorm"), vec![width]);
        }
        match shape.head {
            BertHead::Classes(classes) => {
                module("bert.pooler.dense".to_owned(), vec![width, width]);
                module("classifier".to_owned(), vec![classes, width]);
            }
            BertHead::MaskedTokens => {
                module("cls.predictions.transform.dense".to_owned(), vec![width, width]);
                module("cls.predictions.transform.LayerNorm".to_owned(), vec![width]);
                layout.push(("cls.predictions.bias".to_owned(), vec![vocab]));
            }
        }
        super::sorted(layout)
    }

    /// The initial weights for `seed`, equal on every machine: matrices of deviation 0.02, norms one, biases zero.
    #[must_use]
    pub fn initial(shape: &BertShape, seed: u64) -> Parameters {
        initial(Self::layout(shape), seed, |name, dimensions| match dimensions {
            [_, _] => Initial::Normal(DEVIATION),
            _ => Initial::Fill(if name.ends_with("LayerNorm.weight") { 1.0 } else { 0.0 }),
        })
    }

    /// `config.json` of a `BertForSequenceClassification` or `BertForMaskedLM`.
    #[must_use]
    pub fn config_json(shape: &BertShape) -> String {
        let mut config = serde_json::json!({
            "architectures": ["BertForMaskedLM"],
            "attention_probs_dropout_prob": 0.0,
            "hidden_act": "gelu",
            "hidden_dropout_prob": 0.0,
            "hidden_size": shape.width,
            "intermediate_size": shape.hidden,
            "layer_norm_eps": shape.epsilon,
            "max_position_embeddings": shape.context,
            "model_type": "bert",
            "num_attention_heads": shape.heads,
            "num_hidden_layers": shape.layers,
            "tie_word_embeddings": true,
            "torch_dtype": "float32",
            "type_vocab_size": shape.segments,
            "vocab_size": shape.vocab,
        });
        if let BertHead::Classes(classes) = shape.head {
            let label = |class: u32| format!("LABEL_{class}");
            config["architectures"] = serde_json::json!(["BertForSequenceClassification"]);
            config["id2label"] =
                (0..classes).map(|class| (class.to_string(), label(class).into())).collect::<serde_json::Map<_, _>>().into();
            config["label2id"] = (0..classes).map(|class| (label(class), class.into())).collect::<serde_json::Map<_, _>>().into();
        }
        format!("{config:#}\n")
    }

    /// The shape that a `config.json` of a BERT describes; its architecture tells the head.
    ///
    /// # Errors
    /// [`TrainingError::BadConfig`], naming the field that is absent or asks for another computation.
    pub fn read_config(text: &str) -> Result<BertShape> {
        let config = Config::read(text, "bert")?;
        config.expect("hidden_act", &"gelu".into())?;
        config.expect("position_embedding_type", &"absolute".into())?;
        config.expect("tie_word_embeddings", &true.into())?;
        let head = match config.get("architectures").and_then(|list| list.get(0)).and_then(serde_json::Value::as_str) {
            Some("BertForMaskedLM") => BertHead::MaskedTokens,
            Some("BertForSequenceClassification") => BertHead::Classes(config.labels()?),
            other => return Err(TrainingError::BadConfig(format!("its architecture is {other:?}, not one of the two that are supported"))),
        };
        Ok(BertShape {
            layers: config.number("num_hidden_layers", None)?,
            heads: config.number("num_attention_heads", None)?,
            width: config.number("hidden_size", None)?,
            hidden: config.number("intermediate_size", None)?,
            context: config.number("max_position_embeddings", None)?,
            vocab: config.number("vocab_size", None)?,
            segments: config.number("type_vocab_size", Some(2))?,
            epsilon: config.positive("layer_norm_eps")?,
            head,
        })
    }

    /// The model's shape.
    #[must_use]
    pub fn shape(&self) -> &BertShape {
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

    /// Logits (texts, classes).
    ///
    /// # Errors
    /// [`TrainingError::MissingTensor`] on a model of masked tokens; [`TrainingError::BadRequest`] for texts that do not
    /// fit.
    pub fn classify(&self, tape: &Tape, leaves: &Leaves, texts: &Texts) -> Result<Value> {
        let x = self.encode(tape, leaves, texts)?; // (texts * context, width)
        let first = (0..texts.lengths.len()).map(|text| row(text * texts.context)).collect::<Result<_>>()?;
        let first = ops::lookup(tape, &x, &first)?; // (texts, width)
        let pooled = ops::tanh(tape, &leaves.linear(tape, "bert.pooler.dense", &first)?)?; // (texts, width)
        leaves.linear(tape, "classifier", &pooled)
    }

    /// Logits (places, vocab) of the tokens at `places`, each an index into the texts' tokens.
    ///
    /// # Errors
    /// [`TrainingError::MissingTensor`] on a model of classes; [`TrainingError::BadRequest`] for texts or places that do
    /// not fit.
    pub fn predict_masked(&self, tape: &Tape, leaves: &Leaves, texts: &Texts, places: &Arc<[u32]>) -> Result<Value> {
        let x = self.encode(tape, leaves, texts)?; // (texts * context, width)
        let x = ops::lookup(tape, &x, places)?; // (places, width)
        let x = ops::exact_gelu(tape, &leaves.linear(tape, "cls.predictions.transform.dense", &x)?)?; // (places, width)
        let x = leaves.layer_norm(tape, "cls.predictions.transform.LayerNorm", &x, self.shape.epsilon)?; // (places, width)
        ops::dense(tape, &x, leaves.get(TOKEN_EMBEDDING)?, Some(leaves.get("cls.predictions.bias")?))
    }

    /// The encoder: (texts * context, width).
    fn encode(&self, tape: &Tape, leaves: &Leaves, texts: &Texts) -> Result<Value> {
        let (tokens, positions) = (leaves.get(TOKEN_EMBEDDING)?, leaves.get(POSITION_EMBEDDING)?);
        let x = ops::embed(tape, tokens, positions, &texts.tokens, texts.context)?; // (rows, width)
        let segment = ops::lookup(tape, leaves.get(SEGMENT_EMBEDDING)?, &vec![0; texts.tokens.len()].into())?; // (rows, width)
        let x = ops::add(tape, &x, &segment)?;
        let mut x = leaves.layer_norm(tape, "bert.embeddings.LayerNorm", &x, self.shape.epsilon)?; // (rows, width)
        let seen = Seen::First(Arc::clone(&texts.lengths));
        for layer in 0..self.shape.layers {
            let block = Block { shape: self.shape.clone(), layer, context: texts.context, seen: seen.clone() };
            x = leaves.block(tape, &of_block(layer, ""), &x, move |tape, leaves, x| block.of(tape, leaves, x))?;
        }
        Ok(x)
    }
}

/// One transformer block on texts of `context` tokens.
struct Block {
    shape: BertShape,
    layer: u32,
    context: usize,
    seen: Seen,
}

impl Block {
    /// (rows, width) to the same.
    fn of(&self, tape: &Tape, leaves: &Leaves, x: &Value) -> Result<Value> {
        let linear = |module: &str, x: &Value| leaves.linear(tape, &of_block(self.layer, module), x);
        let norm = |module: &str, x: &Value| leaves.layer_norm(tape, &of_block(self.layer, module), x, self.shape.epsilon);
        let heads = self.shape.heads as usize;

        let [q, k, v] = ["query", "key", "value"].map(|name| of_block(self.layer, &format!("attention.self.{name}")));
        let qkv = leaves.linear_columns(tape, [&q, &k, &v], x)?; // (rows, 3 width)
        let attended = ops::attention(tape, &qkv, self.context, Heads { queries: heads, keys: heads }, &self.seen)?; // (rows, width)
        let x = ops::add(tape, x, &linear("attention.output.dense", &attended)?)?;
        let x = norm("attention.output.LayerNorm", &x)?; // (rows, width)

        let hidden = ops::exact_gelu(tape, &linear("intermediate.dense", &x)?)?; // (rows, hidden)
        let x = ops::add(tape, &x, &linear("output.dense", &hidden)?)?; // (rows, width)
        norm("output.LayerNorm", &x)
    }
}

fn of_block(layer: u32, module: &str) -> String {
    format!("bert.encoder.layer.{layer}.{module}")
}

fn row(index: usize) -> Result<u32> {
    u32::try_from(index).map_err(|_| TrainingError::BadRequest(format!("row {index} is beyond what a batch can hold")))
}
