//! One token at a time, with the keys and values of earlier positions kept.

use std::sync::Arc;

use candle_core::{D, Tensor};

use super::{Gpt, POSITION_EMBEDDING, TOKEN_EMBEDDING, block, head};
use crate::error::Result;
use crate::model::Leaves;
use crate::ops;
use crate::tape::{Tape, Value};

/// Feeds a model token by token.
///
/// When the context is full, the later half of what was fed is fed again from position 0, so a text of any length
/// costs at most about twice as much a token as a short one.
pub(in crate::model) struct GptDecoder<'a> {
    model: &'a Gpt,
    tape: Tape,
    leaves: Leaves,
    tokens: Vec<u32>,
    layers: Vec<Option<Cache>>,
}

/// Keys and values of one layer so far.
struct Cache {
    keys: Tensor,   // (heads, positions, head_dim)
    values: Tensor, // (heads, positions, head_dim)
}

impl<'a> GptDecoder<'a> {
    /// A decoder that has seen nothing; `leaves` are the model's.
    pub(in crate::model) fn new(model: &'a Gpt, leaves: Leaves) -> Self {
        let tape = Tape::inference();
        let layers = (0..model.shape.layers).map(|_| None).collect();
        Self { model, tape, leaves, tokens: Vec::new(), layers }
    }

    /// Logits (vocab) of the token after `token`.
    ///
    /// # Errors
    /// [`crate::TrainingError::BadRequest`] for a token outside the vocabulary.
    pub(in crate::model) fn feed(&mut self, token: u32) -> Result<Vec<f32>> {
        let context = self.model.shape.context as usize;
        if self.tokens.len() == context {
            let kept = self.tokens.split_off(context - context / 2);
            self.tokens.clear();
            self.layers.iter_mut().for_each(|cache| *cache = None);
            for token in kept {
                self.advance(token)?;
            }
        }
        let x = self.advance(token)?;
        let logits = head(&self.tape, &self.leaves, &x)?; // (1, vocab)
        Ok(logits.tensor().flatten_all()?.to_vec1()?)
    }

    /// Runs the blocks for one more token: (1, width).
    fn advance(&mut self, token: u32) -> Result<Value> {
        let position = self.tokens.len();
        let wpe = self.leaves.get(POSITION_EMBEDDING)?.tensor().narrow(0, position, 1)?;
        let (wte, wpe) = (self.leaves.get(TOKEN_EMBEDDING)?, self.tape.leaf(wpe));
        let mut x = ops::embed(&self.tape, wte, &wpe, &Arc::from([token].as_slice()), 1)?; // (1, width)
        let heads = self.model.shape.heads as usize;
        for (layer, cache) in (0..self.model.shape.layers).zip(&mut self.layers) {
            let tape = &self.tape;
            x = block(tape, &self.leaves, layer, &x, |qkv| Ok(tape.leaf(attend(qkv.tensor(), heads, cache)?)))?;
        }
        self.tokens.push(token);
        Ok(x)
    }
}

/// Attention of one position to all in `cache`, which it joins: (1, 3 width) to (1, width).
fn attend(qkv: &Tensor, heads: usize, cache: &mut Option<Cache>) -> Result<Tensor> {
    let width = qkv.dim(1)? / 3;
    let head = width / heads;
    let part = |index| qkv.narrow(1, index * width, width)?.reshape((heads, 1, head));
    let (query, mut keys, mut values) = (part(0)?, part(1)?, part(2)?); // (heads, 1, head_dim)
    if let Some(earlier) = cache.take() {
        keys = Tensor::cat(&[&earlier.keys, &keys], 1)?;
        values = Tensor::cat(&[&earlier.values, &values], 1)?;
    }
    let scores = (query.matmul(&keys.t()?)? * (1.0 / (head as f64).sqrt()))?; // (heads, 1, positions)
    let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
    let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
    let output = weights.matmul(&values)?.reshape((1, width))?;
    *cache = Some(Cache { keys, values });
    Ok(output)
}
