//! One participant's training: inner steps on its own windows, evaluation, and what a checkpoint must hold.

use std::collections::BTreeMap;
use std::f64::consts::LN_2;

use candle_core::{Device, Tensor};

use crate::data::{Batch, Text};
use crate::error::{Result, TrainingError};
use crate::model::Gpt;
use crate::ops;
use crate::optim::{AdamW, global_norm, learning_rate};
use crate::parameters::{Layout, Parameters};
use crate::tape::Tape;
use starling_rounds::recipe::Recipe;

mod checkpoint;

/// Windows that an evaluation sends through the model at once.
const EVALUATION_WINDOWS: usize = 8;

/// Trains one participant's share of a run.
pub struct Trainer {
    recipe: Recipe,
    model: Gpt,
    optimizer: AdamW,
    text: Text,
    slot: u32,
    step: u64,
    /// Holds the weights of others while they are scored.
    probe: Option<Gpt>,
}

/// What one inner step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// The global inner step that was made, from 0.
    pub step: u64,
    /// Mean loss of its batch before the update, in nats per byte.
    pub loss: f64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Learning rate of the update.
    pub learning_rate: f64,
}

/// How well a model predicts a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean of `-log2 p(byte)`.
    pub bits_per_byte: f64,
    /// Bytes predicted.
    pub bytes: u64,
}

impl Trainer {
    /// A trainer at step 0 with its optimizer at rest.
    ///
    /// `slot` is the participant's place among those that share the training text: no two read the same windows.
    ///
    /// # Errors
    /// A recipe out of its limits; parameters that are not the recipe's model; a text cut for another context.
    pub fn new(recipe: &Recipe, parameters: &Parameters, text: Text, slot: u32, device: &Device) -> Result<Self> {
        let recipe = recipe.clone().validated()?;
        if text.context() != recipe.gpt().context as usize {
            return Err(TrainingError::BadRequest(format!(
                "the training text is cut for windows of {} bytes, the recipe's context is {}",
                text.context(),
                recipe.gpt().context
            )));
        }
        let model = Gpt::new(recipe.gpt(), parameters, device)?;
        let optimizer = AdamW::new(&recipe.optimizer, model.variables())?;
        Ok(Self { recipe, model, optimizer, text, slot, step: 0, probe: None })
    }

    /// Makes the next inner step.
    ///
    /// # Errors
    /// [`TrainingError::LossNotFinite`] or [`TrainingError::GradientNotFinite`]: the step was withdrawn, nothing has
    /// changed.
    pub fn step(&mut self) -> Result<StepReport> {
        let step = self.step;
        let batch = self.batch_of(step);
        let (loss, gradients) = self.gradients(&batch)?;
        if !loss.is_finite() {
            return Err(TrainingError::LossNotFinite { step });
        }
        let gradient_norm = global_norm(&gradients)?;
        if !gradient_norm.is_finite() {
            return Err(TrainingError::GradientNotFinite { step });
        }
        let scale = if gradient_norm > self.recipe.clip_norm { self.recipe.clip_norm / gradient_norm } else { 1.0 };
        let learning_rate = learning_rate(&self.recipe, step);
        self.optimizer.update(self.model.variables(), &gradients, learning_rate, scale)?;
        self.step += 1;
        Ok(StepReport { step, loss, tokens: batch.len() as u64, gradient_norm, learning_rate })
    }

    /// The next global inner step.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.step
    }

    /// Sets the next global inner step: a round's first step after others went on without this participant.
    pub fn seek(&mut self, step: u64) {
        self.step = step;
    }

    /// The place among the participants.
    #[must_use]
    pub fn slot(&self) -> u32 {
        self.slot
    }

    /// The recipe in use.
    #[must_use]
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// The model in training.
    #[must_use]
    pub fn model(&self) -> &Gpt {
        &self.model
    }

    /// Names and shapes of the weights, sorted by name.
    #[must_use]
    pub fn layout(&self) -> Layout {
        Gpt::layout(self.recipe.gpt())
    }

    /// A copy of the current weights.
    ///
    /// # Errors
    /// Candle's.
    pub fn parameters(&self) -> Result<Parameters> {
        self.model.parameters()
    }

    /// Replaces the weights by those after an outer step; the inner optimizer's moments stay.
    ///
    /// # Errors
    /// As [`Gpt::load_parameters`]; nothing has changed then.
    pub fn load_parameters(&mut self, parameters: &Parameters) -> Result<()> {
        self.model.load_parameters(parameters)
    }

    /// The batch that this participant reads at `step`; anyone with the text and the recipe draws the same.
    #[must_use]
    pub fn batch_of(&self, step: u64) -> Batch {
        self.text.batch(self.recipe.seed, self.slot, step, self.recipe.batch as usize)
    }

    /// Bits per byte of the current weights on at most `windows` windows spread evenly over `text`.
    ///
    /// # Errors
    /// [`TrainingError::BadRequest`] where the text is cut for a longer context than the model's.
    pub fn evaluate(&self, text: &Text, windows: usize) -> Result<Evaluation> {
        evaluate(&self.model, text, windows)
    }

    /// Mean loss in nats per byte that a model with `parameters` has on `batch`; the weights in training stay.
    ///
    /// This is what scores another participant's update.
    ///
    /// # Errors
    /// As [`Gpt::new`] for parameters that are not the recipe's model.
    pub fn probe_loss(&mut self, parameters: &Parameters, batch: &Batch) -> Result<f64> {
        let probe = match self.probe.take() {
            Some(mut probe) => {
                probe.load_parameters(parameters)?;
                probe
            }
            None => Gpt::new(self.recipe.gpt(), parameters, self.model.device())?,
        };
        let loss = mean_loss(&probe, batch);
        self.probe = Some(probe);
        loss
    }

    /// Loss and gradients by name of one batch.
    fn gradients(&self, batch: &Batch) -> Result<(f64, BTreeMap<String, Tensor>)> {
        let tape = Tape::training();
        let leaves = self.model.leaves(&tape);
        let logits = self.model.logits(&tape, &leaves, &batch.tokens, batch.context)?; // (windows * context, vocab)
        let loss = ops::cross_entropy(&tape, &logits, &batch.targets)?;
        drop(logits);
        let value = f64::from(loss.tensor().to_scalar::<f32>()?);
        Ok((value, leaves.gradients(tape, &loss)?))
    }
}

/// Bits per byte of `model` on at most `windows` windows spread evenly over `text`.
///
/// # Errors
/// [`TrainingError::BadRequest`] where the text is cut for a longer context than the model's.
pub fn evaluate(model: &Gpt, text: &Text, windows: usize) -> Result<Evaluation> {
    let batch = text.spread(windows);
    let nats = mean_loss(model, &batch)?;
    Ok(Evaluation { bits_per_byte: nats / LN_2, bytes: batch.len() as u64 })
}

/// Mean loss in nats per token of `model` on `batch`.
///
/// # Errors
/// As [`Gpt::logits`].
pub fn mean_loss(model: &Gpt, batch: &Batch) -> Result<f64> {
    let mut sum = 0.0;
    for piece in batch.pieces(EVALUATION_WINDOWS) {
        let tape = Tape::inference();
        let logits = model.logits(&tape, &model.leaves(&tape), &piece.tokens, piece.context)?;
        sum += ops::summed_loss(logits.tensor(), &piece.targets)?;
    }
    Ok(sum / batch.len() as f64)
}

#[cfg(test)]
mod tests;
