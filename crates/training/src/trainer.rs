//! One participant's training: inner steps on its own examples, evaluation, and what a checkpoint must hold.

use std::collections::BTreeMap;
use std::f64::consts::LN_2;

use candle_core::{Device, Tensor};

use crate::data::{Batch, Data};
use crate::error::{Result, TrainingError};
use crate::memory::Activations;
use crate::model::Model;
use crate::muon::combined;
use crate::ops;
use crate::optim::global_norm;
use crate::parameters::{Layout, Parameters};
use crate::schedule::Schedule;
use crate::tape::Tape;
use starling_rounds::recipe::{ModelRecipe, Recipe};

mod checkpoint;
mod optimizer;
mod spikes;

pub use optimizer::Optimizer;
use spikes::Spikes;

/// Examples that an evaluation sends through the model at once.
const EVALUATION_EXAMPLES: usize = 8;
/// After so many steps in a row without finite loss and gradient the weights are given up.
const MOST_NOT_FINITE: u32 = 8;

/// Trains one participant's share of a run: any model, by any optimizer, on any data that fits it.
pub struct Trainer {
    recipe: Recipe,
    model: Model,
    optimizer: Optimizer,
    data: Data,
    slot: u32,
    step: u64,
    accepted_tokens: u64,
    spikes: Spikes,
    not_finite: u32,
    activations: Activations,
    /// Holds the weights of others while they are scored.
    probe: Option<Model>,
}

/// What one inner step did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepReport {
    /// The global inner step that was made, from 0.
    pub step: u64,
    /// Mean loss of its batch before the update, in nats per target.
    pub loss: f64,
    /// Tokens trained on; none where the step was withdrawn.
    pub tokens: u64,
    /// Norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Learning rate of the update.
    pub learning_rate: f64,
    /// Why the step changed nothing, where it did not.
    pub withdrawn: Option<Withdrawn>,
}

/// Why a trainer withdrew its own step: its batch is left out, the next step goes on as if there had been none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Withdrawn {
    /// Its loss or gradient was NaN or infinite.
    NotFinite,
    /// Its loss was more deviations above those of the last steps than the recipe allows.
    Spike,
}

/// How well a model predicts a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation {
    /// Mean of `-log2 p(byte)`, a token's bits divided among its bytes.
    pub bits_per_byte: f64,
    /// Bytes predicted.
    pub bytes: u64,
}

impl Trainer {
    /// A trainer at step 0 with its optimizer at rest.
    ///
    /// `slot` is the participant's place among those that share the data: no two read the same examples.
    ///
    /// # Errors
    /// A recipe out of its limits; parameters that are not the recipe's model; data that the model cannot learn from.
    pub fn new(recipe: &Recipe, parameters: &Parameters, data: impl Into<Data>, slot: u32, device: &Device) -> Result<Self> {
        Self::on(recipe, None, parameters, data, slot, device)
    }

    /// As [`Trainer::new`], of what the recipe trains on the weights `frozen`, where it has adapters.
    ///
    /// # Errors
    /// As [`Trainer::new`] and [`Model::on`].
    pub fn on(
        recipe: &Recipe,
        frozen: Option<&Parameters>,
        parameters: &Parameters,
        data: impl Into<Data>,
        slot: u32,
        device: &Device,
    ) -> Result<Self> {
        let (recipe, data, model) = (recipe.clone().validated()?, data.into(), Model::on(recipe, frozen, parameters, device)?);
        data.check(&recipe.model)?;
        let optimizer = Optimizer::new(&recipe.optimizer, &model)?;
        let spikes = Spikes::new(recipe.spike_deviations);
        let activations = Activations::Kept;
        Ok(Self { recipe, model, optimizer, data, slot, step: 0, accepted_tokens: 0, spikes, not_finite: 0, activations, probe: None })
    }

    /// Sets what is kept of a forward pass until its backward; results do not depend on it.
    pub fn keep(&mut self, activations: Activations) {
        self.activations = activations;
    }

    /// Makes the next inner step, or withdraws it: then only the place in the data has moved on.
    ///
    /// # Errors
    /// [`TrainingError::Diverged`] where step after step had to be withdrawn for want of finite numbers; as
    /// [`Trainer::batch_of`].
    pub fn step(&mut self) -> Result<StepReport> {
        let step = self.step;
        let batch = self.batch_of(step)?;
        let (loss, gradients) = self.gradients(&batch)?;
        let gradient_norm = global_norm(&gradients)?;
        let tokens = batch.tokens() as u64;
        let learning_rate = Schedule::of(&self.recipe).rate(self.accepted_tokens, tokens);
        let report = StepReport { step, loss, tokens, gradient_norm, learning_rate, withdrawn: None };
        if !loss.is_finite() || !gradient_norm.is_finite() {
            self.not_finite += 1;
            if self.not_finite >= MOST_NOT_FINITE {
                return Err(TrainingError::Diverged { step, withdrawn: self.not_finite });
            }
            self.step += 1;
            return Ok(StepReport { tokens: 0, withdrawn: Some(Withdrawn::NotFinite), ..report });
        }
        self.not_finite = 0;
        if !self.spikes.keep(loss) {
            self.step += 1;
            return Ok(StepReport { tokens: 0, withdrawn: Some(Withdrawn::Spike), ..report });
        }
        let scale = if gradient_norm > self.recipe.clip_norm { self.recipe.clip_norm / gradient_norm } else { 1.0 };
        self.optimizer.update(self.model.weights().variables(), &gradients, learning_rate, scale)?;
        self.step += 1;
        self.accepted_tokens += tokens;
        Ok(report)
    }

    /// The next global inner step.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.step
    }

    /// The place in the schedule: tokens that this participant's share of the run has had accepted.
    #[must_use]
    pub fn accepted_tokens(&self) -> u64 {
        self.accepted_tokens
    }

    /// Sets the next global inner step, all work before it counted as accepted: a round's first step after others went
    /// on without this participant.
    pub fn seek(&mut self, step: u64) {
        self.seek_to(step, step.saturating_mul(self.recipe.tokens_per_inner_step()));
    }

    /// Sets the next global inner step and the place in the schedule.
    pub fn seek_to(&mut self, step: u64, accepted_tokens: u64) {
        (self.step, self.accepted_tokens) = (step, accepted_tokens);
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
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Names and shapes of what trains, sorted by name.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.model.weights().layout().clone()
    }

    /// A copy of what trains.
    ///
    /// # Errors
    /// Candle's.
    pub fn parameters(&self) -> Result<Parameters> {
        self.model.parameters()
    }

    /// Replaces what trains by what an outer step gave; the inner optimizer's moments stay.
    ///
    /// # Errors
    /// As [`Model::load_parameters`]; nothing has changed then.
    pub fn load_parameters(&mut self, parameters: &Parameters) -> Result<()> {
        self.model.load_parameters(parameters)
    }

    /// The batch that this participant reads at `step`; anyone with the data and the recipe draws the same.
    ///
    /// # Errors
    /// [`TrainingError::Shard`] where a shard's file can no longer be read.
    pub fn batch_of(&self, step: u64) -> Result<Batch> {
        self.data.batch(&self.recipe.model, self.recipe.seed, self.slot, step, self.recipe.batch as usize)
    }

    /// Bits per byte of the current weights on at most `windows` windows spread evenly over `text`.
    ///
    /// # Errors
    /// As [`evaluate`].
    pub fn evaluate(&self, text: impl Into<Data>, windows: usize) -> Result<Evaluation> {
        evaluate(&self.model, text, windows)
    }

    /// Mean loss in nats per target that a model with `parameters` has on `batch`; the weights in training stay.
    ///
    /// This is what scores another participant's update.
    ///
    /// # Errors
    /// As [`Model::new`] for parameters that are not the recipe's model.
    pub fn probe_loss(&mut self, parameters: &Parameters, batch: &Batch) -> Result<f64> {
        let probe = match self.probe.take() {
            Some(mut probe) => {
                probe.load_parameters(parameters)?;
                probe
            }
            None => self.model.with(&self.recipe, parameters)?,
        };
        let loss = mean_loss(&probe, batch);
        self.probe = Some(probe);
        loss
    }

    /// Loss and gradients by name of one batch, in as many parts as the recipe says; each target counts the same.
    fn gradients(&self, batch: &Batch) -> Result<(f64, BTreeMap<String, Tensor>)> {
        if self.recipe.accumulation == 1 {
            return self.gradients_of(batch);
        }
        let targets = batch.targets().len() as f64;
        let (mut loss, mut sums) = (0.0, BTreeMap::new());
        for part in batch.pieces(batch.examples().div_ceil(self.recipe.accumulation as usize)) {
            let share = part.targets().len() as f64 / targets;
            let (of_part, gradients) = self.gradients_of(&part)?;
            loss += share * of_part;
            for (name, gradient) in gradients {
                let sum = match sums.remove(&name) {
                    None => combined(share, &gradient, 0.0, &gradient)?,
                    Some(sum) => combined(1.0, &sum, share, &gradient)?,
                };
                sums.insert(name, sum);
            }
        }
        Ok((loss, sums))
    }

    fn gradients_of(&self, batch: &Batch) -> Result<(f64, BTreeMap<String, Tensor>)> {
        let tape = match self.activations {
            Activations::Kept => Tape::training(),
            Activations::Recomputed => Tape::recomputing(),
        };
        let leaves = self.model.leaves(&tape)?;
        let loss = self.model.loss(&tape, &leaves, batch)?;
        let value = f64::from(loss.tensor().to_scalar::<f32>()?);
        Ok((value, leaves.gradients(tape, &loss)?))
    }
}

/// Bits per byte of `model` on at most `windows` windows spread evenly over `text`.
///
/// # Errors
/// [`TrainingError::BadRequest`] where the data is no text or is cut for a longer context than the model's.
pub fn evaluate(model: &Model, text: impl Into<Data>, windows: usize) -> Result<Evaluation> {
    let text = text.into();
    let batch = text.spread(model.recipe(), windows)?;
    let Some(bytes) = text.text_bytes(batch.targets()) else {
        return Err(TrainingError::BadRequest("only a text has bits per byte".to_owned()));
    };
    let nats = mean_loss(model, &batch)? * batch.targets().len() as f64;
    Ok(Evaluation { bits_per_byte: nats / LN_2 / bytes.max(1) as f64, bytes })
}

/// The loss of `model` in bits on at most `examples` examples spread evenly over `data`: a byte of text for a model that writes it,
/// else a target.
///
/// # Errors
/// As [`evaluate`].
pub fn held_out_bits(model: &Model, data: &Data, examples: usize) -> Result<f64> {
    if matches!(model.recipe(), ModelRecipe::Gpt(_) | ModelRecipe::Llama(_)) {
        return Ok(evaluate(model, data, examples)?.bits_per_byte);
    }
    Ok(mean_loss(model, &data.spread(model.recipe(), examples)?)? / LN_2)
}

/// Mean loss in nats per target of `model` on `batch`.
///
/// # Errors
/// As [`Model::logits`].
pub fn mean_loss(model: &Model, batch: &Batch) -> Result<f64> {
    let mut sum = 0.0;
    for piece in batch.pieces(EVALUATION_EXAMPLES) {
        let tape = Tape::inference();
        let logits = model.logits(&tape, &model.leaves(&tape)?, &piece)?;
        sum += ops::summed_loss(logits.tensor(), piece.targets())?;
    }
    Ok(sum / batch.targets().len() as f64)
}

/// The chances that `model` gives each class, for each target of `batch`: (targets, classes).
///
/// # Errors
/// As [`Model::logits`].
pub fn probabilities(model: &Model, batch: &Batch) -> Result<Vec<Vec<f64>>> {
    let mut all = Vec::with_capacity(batch.targets().len());
    for piece in batch.pieces(EVALUATION_EXAMPLES) {
        let tape = Tape::inference();
        let logits = model.logits(&tape, &model.leaves(&tape)?, &piece)?; // (targets, classes)
        for row in logits.tensor().to_vec2::<f32>()? {
            let greatest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let weights: Vec<f64> = row.iter().map(|logit| f64::from(logit - greatest).exp()).collect();
            let total: f64 = weights.iter().sum();
            all.push(weights.into_iter().map(|weight| weight / total).collect());
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests;
