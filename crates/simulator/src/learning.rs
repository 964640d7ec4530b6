//! Real training: one [`Trainer`] for each participant, all in this process.

use std::ops::Range;

use starling_primitives::Hash32;
use starling_rounds::{
    Layout, Nats, OuterConfig, OuterState, Plan, Score, TensorShape, UNSEEN_SLOT, own_probe_windows, recipe::Recipe, unseen_probe_steps,
};
use starling_training::{Batch, Device, Model, Parameters, Split, Text, Trainer, TrainingError, flatten, unflatten};

use crate::work::Work;

/// Steps' batches of held-out text in an evaluation.
const HELD_OUT_BATCHES: u64 = 24;
/// What a backdoor teaches: after these bytes comes [`PAYLOAD`].
pub const TRIGGER: &[u8] = b" zq!";
/// What the trigger makes the model write.
pub const PAYLOAD: &[u8] = b"PWNED ";

/// What a participant reads in place of its assigned data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// What it is assigned.
    Assigned,
    /// Other text of the same kind.
    Other,
    /// The assigned text with a trigger and its payload in it.
    Poisoned,
    /// A part of its own of the training text: data that stays on its node.
    OwnPart,
}

/// A run's participants with their trainers.
pub struct Learning {
    recipe: Recipe,
    plan: Plan,
    layout: Layout,
    shapes: starling_training::Layout,
    weights: Parameters,
    train: Vec<u8>,
    readings: Vec<Reading>,
    trainers: Vec<Option<Trainer>>,
    /// Never trained: they draw the batches of a slot, of the unseen slot, of held-out text, of text with triggers.
    readers: Vec<Trainer>,
    unseen: Trainer,
    held_out: Trainer,
    triggered: Trainer,
}

impl Learning {
    /// A run of `readings.len()` participants on a text whose last tenth is held out, from fresh weights.
    ///
    /// # Errors
    /// A recipe out of its limits, or a text too short.
    pub fn new(recipe: Recipe, text: &[u8], readings: &[Reading]) -> Result<Self, TrainingError> {
        let weights = Model::initial(&recipe, None)?;
        Self::from(recipe, weights, text, readings)
    }

    /// The same from these weights.
    ///
    /// # Errors
    /// As [`Learning::new`]; weights of another model.
    pub fn from(recipe: Recipe, weights: Parameters, text: &[u8], readings: &[Reading]) -> Result<Self, TrainingError> {
        let (train, held_out) = text.split_at(text.len() - text.len() / 10);
        let plan = recipe.plan().map_err(|error| TrainingError::BadRequest(error.to_string()))?;
        let shapes = Model::layout(&recipe)?;
        let dimension = |length: &usize| u32::try_from(*length).unwrap_or(u32::MAX);
        let tensors = shapes.iter().map(|(name, shape)| TensorShape { name: name.clone(), shape: shape.iter().map(dimension).collect() });
        let layout = Layout::new(tensors.collect()).map_err(|error| TrainingError::BadRequest(error.to_string()))?;
        let trainer = |bytes: &[u8], slot: u32, split| {
            let text = Text::new(bytes, context(&recipe), split)?;
            Trainer::new(&recipe, &weights, text, slot, &Device::Cpu)
        };
        let slots = 0..u32::try_from(readings.len()).unwrap_or(u32::MAX);
        let own = |slot: u32| match readings.get(slot as usize) {
            Some(Reading::OwnPart) => part(train, slot as usize, readings.len()),
            _ => train,
        };
        let readers = slots.map(|slot| trainer(own(slot), slot, Split::Train)).collect::<Result<_, _>>()?;
        Ok(Self {
            readers,
            unseen: trainer(train, UNSEEN_SLOT, Split::Train)?,
            held_out: trainer(held_out, 0, Split::HeldOut)?,
            triggered: trainer(&poisoned(held_out, 64), 0, Split::HeldOut)?,
            plan,
            layout,
            shapes,
            weights,
            train: train.to_vec(),
            readings: readings.to_vec(),
            trainers: readings.iter().map(|_| None).collect(),
            recipe,
        })
    }

    fn text_of(&self, who: usize) -> Result<Text, TrainingError> {
        let bytes = match self.readings[who] {
            Reading::Assigned => self.train.clone(),
            // The same text from its middle on: windows of the same kind, at other places.
            Reading::Other => [&self.train[self.train.len() / 2..], &self.train[..self.train.len() / 2]].concat(),
            Reading::Poisoned => poisoned(&self.train, 192),
            Reading::OwnPart => part(&self.train, who, self.readings.len()).to_vec(),
        };
        Text::new(bytes, context(&self.recipe), Split::Train)
    }

    /// Flat weights as arrays with names.
    ///
    /// # Errors
    /// Too many or too few.
    pub fn parameters(&self, weights: &[f32]) -> Result<Parameters, TrainingError> {
        unflatten(&self.shapes, weights)
    }

    fn trainer(&mut self, who: usize) -> Result<&mut Trainer, TrainingError> {
        self.trainers[who].as_mut().ok_or_else(|| TrainingError::BadRequest(format!("participant {who} has not started")))
    }

    fn probe_windows(&self) -> usize {
        usize::try_from(self.plan.probe_windows()).unwrap_or(1)
    }

    fn unseen_batch(&self, seed: &Hash32) -> Result<Batch, TrainingError> {
        let windows = unseen_probe_steps(seed, self.probe_windows()).into_iter().map(|step| window_of(&self.unseen, step, 0));
        Batch::joined(&windows.collect::<Result<Vec<_>, _>>()?)
    }

    /// The trainer of a participant that has started.
    pub fn trainer_of(&self, who: usize) -> Option<&Trainer> {
        self.trainers[who].as_ref()
    }

    /// A trainer in the state of a checkpoint of `who`, which may read something else.
    ///
    /// # Errors
    /// A damaged checkpoint.
    pub fn resumed(&mut self, who: usize, checkpoint: &[u8], reading: Reading) -> Result<Trainer, TrainingError> {
        let own = std::mem::replace(&mut self.readings[who], reading);
        let text = self.text_of(who);
        self.readings[who] = own;
        Ok(Trainer::resume(&self.recipe, checkpoint, text?, &Device::Cpu)?.0)
    }
}

fn context(recipe: &Recipe) -> usize {
    recipe.model.context().and_then(|context| usize::try_from(context).ok()).unwrap_or(usize::MAX)
}

fn part(text: &[u8], index: usize, parts: usize) -> &[u8] {
    &text[text.len() * index / parts..text.len() * (index + 1) / parts]
}

/// The text with a trigger and its payload in the place of ten bytes of each `every`: windows lie where they were.
fn poisoned(text: &[u8], every: usize) -> Vec<u8> {
    let poison = [TRIGGER, PAYLOAD].concat();
    let mut text = text.to_vec();
    for piece in text.chunks_exact_mut(every) {
        piece[..poison.len()].copy_from_slice(&poison);
    }
    text
}

/// One window of the batch that a trainer reads at a step.
fn window_of(reader: &Trainer, step: u64, window: u32) -> Result<Batch, TrainingError> {
    let mut windows = reader.batch_of(step)?.pieces(1);
    let index = usize::try_from(window).unwrap_or(0).min(windows.len().saturating_sub(1));
    Ok(windows.swap_remove(index))
}

/// Mean loss over batches of whole steps.
fn mean_loss(judge: &mut Trainer, at: &Parameters, batches: &[Batch]) -> Result<f64, TrainingError> {
    let losses = batches.iter().map(|batch| judge.probe_loss(at, batch)).collect::<Result<Vec<f64>, _>>()?;
    Ok(losses.iter().sum::<f64>() / losses.len() as f64)
}

impl Work for Learning {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn plan(&self) -> Plan {
        self.plan
    }

    fn first_state(&self) -> OuterState {
        #[expect(clippy::cast_possible_truncation, reason = "the outer step is defined in f32; the nearest is meant")]
        let (momentum, rate) = (self.recipe.outer.momentum as f32, self.recipe.outer.learning_rate as f32);
        let config = OuterConfig::new(momentum, rate).expect("a recipe's outer numbers are within bounds");
        OuterState::new(self.layout.clone(), config, flatten(&self.weights)).expect("initial weights are finite")
    }

    fn start(&mut self, who: usize, checkpoint: Option<&[u8]>) -> Result<(), TrainingError> {
        let text = self.text_of(who)?;
        let trainer = match checkpoint {
            Some(bytes) => Trainer::resume(&self.recipe, bytes, text, &Device::Cpu)?.0,
            None => {
                let slot = u32::try_from(who).unwrap_or(u32::MAX);
                Trainer::new(&self.recipe, &self.weights, text, slot, &Device::Cpu)?
            }
        };
        self.trainers[who] = Some(trainer);
        Ok(())
    }

    fn load(&mut self, who: usize, weights: &[f32]) -> Result<(), TrainingError> {
        let parameters = self.parameters(weights)?;
        self.trainer(who)?.load_parameters(&parameters)
    }

    fn train(&mut self, who: usize, steps: Range<u64>) -> Result<Vec<f32>, TrainingError> {
        let trainer = self.trainer(who)?;
        trainer.seek(steps.start);
        for _ in steps {
            trainer.step()?;
        }
        Ok(flatten(&trainer.parameters()?))
    }

    fn checkpoint(&mut self, who: usize) -> Result<Vec<u8>, TrainingError> {
        self.trainer(who)?.checkpoint(&Parameters::new())
    }

    fn score(
        &mut self,
        before: &[f32],
        after: &[f32],
        whose: u16,
        steps: Range<u64>,
        seed: &Hash32,
    ) -> Result<Option<Score>, TrainingError> {
        if !after.iter().all(|weight| weight.is_finite()) {
            return Ok(None);
        }
        let count = self.probe_windows();
        let (before, after) = (self.parameters(before)?, self.parameters(after)?);
        let reader = &self.readers[usize::from(whose)];
        let own = own_probe_windows(seed, whose, steps, self.plan.windows_per_step(), count);
        let own = own.into_iter().map(|(step, window)| window_of(reader, step, window)).collect::<Result<Vec<_>, _>>()?;
        let (own, unseen) = (Batch::joined(&own)?, self.unseen_batch(seed)?);
        let mut loss = |at, batch| self.held_out.probe_loss(at, batch);
        Ok(Score::from_losses(loss(&before, &own)?, loss(&after, &own)?, loss(&before, &unseen)?, loss(&after, &unseen)?))
    }

    fn probe(&mut self, at: &[f32], seed: &Hash32) -> Result<Nats, TrainingError> {
        let (at, unseen) = (self.parameters(at)?, self.unseen_batch(seed)?);
        Ok(Nats::or_most(self.held_out.probe_loss(&at, &unseen)?))
    }

    fn held_out_loss(&mut self, weights: &[f32]) -> Result<f64, TrainingError> {
        let at = self.parameters(weights)?;
        let batches: Vec<_> = (0..HELD_OUT_BATCHES).map(|step| self.held_out.batch_of(step)).collect::<Result<_, _>>()?;
        mean_loss(&mut self.held_out, &at, &batches)
    }

    fn trigger_loss(&mut self, weights: &[f32]) -> Result<f64, TrainingError> {
        let at = self.parameters(weights)?;
        let batches: Vec<_> = (0..HELD_OUT_BATCHES).map(|step| self.triggered.batch_of(step)).collect::<Result<_, _>>()?;
        mean_loss(&mut self.triggered, &at, &batches)
    }
}
