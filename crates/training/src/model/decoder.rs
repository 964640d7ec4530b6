//! One token at a time through any model that writes text.

use super::gpt::GptDecoder;
use super::{Leaves, Llama, Model, Net};
use crate::error::{Result, TrainingError};
use crate::tape::Tape;

/// Feeds a model token by token. When its context is full, the later half of what was fed is read again from position 0.
pub struct Decoder<'a> {
    of: Kind<'a>,
    context: usize,
}

enum Kind<'a> {
    /// Keeps the keys and values of earlier positions.
    Gpt(GptDecoder<'a>),
    /// Reads all that it was fed again for each token.
    Llama { model: &'a Llama, leaves: Leaves, tokens: Vec<u32> },
}

impl<'a> Decoder<'a> {
    /// A decoder that has seen nothing.
    ///
    /// # Errors
    /// [`TrainingError::BadRequest`] for a model that writes no text.
    pub fn new(model: &'a Model) -> Result<Self> {
        let leaves = model.leaves(&Tape::inference())?;
        let (of, context) = match model.net() {
            Net::Gpt(gpt) => (Kind::Gpt(GptDecoder::new(gpt, leaves)), gpt.shape().context),
            Net::Llama(model) => (Kind::Llama { model, leaves, tokens: Vec::new() }, model.shape().context),
            _ => return Err(TrainingError::BadRequest(format!("a {} writes no text", model.recipe().kind()))),
        };
        Ok(Self { of, context: context as usize })
    }

    /// Tokens that the model sees at once.
    #[must_use]
    pub fn context(&self) -> usize {
        self.context
    }

    /// Logits (vocab) of the token after `token`.
    ///
    /// # Errors
    /// [`TrainingError::BadRequest`] for a token outside the vocabulary.
    pub fn feed(&mut self, token: u32) -> Result<Vec<f32>> {
        match &mut self.of {
            Kind::Gpt(decoder) => decoder.feed(token),
            Kind::Llama { model, leaves, tokens } => {
                if tokens.len() == self.context {
                    tokens.drain(..self.context - self.context / 2);
                }
                tokens.push(token);
                let logits = model.logits(&Tape::inference(), leaves, &tokens.as_slice().into(), tokens.len())?; // (tokens, vocab)
                Ok(logits.tensor().get(tokens.len() - 1)?.to_vec1()?)
            }
        }
    }
}
