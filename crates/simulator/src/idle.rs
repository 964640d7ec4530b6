//! No training, only sizes: for virtual-time figures of models that are too large to train here by the dozen.

use std::ops::Range;

use starling_primitives::Hash32;
use starling_rounds::{Layout, Nats, OuterConfig, OuterState, Plan, Score};
use starling_training::TrainingError;

use crate::{chance::Chance, work::Work};

/// Participants whose weights move at random and whose scores are always good.
pub struct Idle {
    layout: Layout,
    plan: Plan,
    chance: Chance,
    weights: Vec<Vec<f32>>,
}

impl Idle {
    /// Participants of a layout.
    pub fn new(layout: Layout, plan: Plan, participants: usize, seed: u64) -> Self {
        let weights = vec![vec![0.0; layout.parameters()]; participants];
        Self { layout, plan, chance: Chance::new(seed), weights }
    }
}

impl Work for Idle {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn plan(&self) -> Plan {
        self.plan
    }

    fn first_state(&self) -> OuterState {
        let config = OuterConfig::new(0.5, 0.8).expect("within bounds");
        OuterState::new(self.layout.clone(), config, vec![0.0; self.layout.parameters()]).expect("zeros are finite")
    }

    fn start(&mut self, _: usize, _: Option<&[u8]>) -> Result<(), TrainingError> {
        Ok(())
    }

    fn load(&mut self, who: usize, weights: &[f32]) -> Result<(), TrainingError> {
        self.weights[who].copy_from_slice(weights);
        Ok(())
    }

    fn train(&mut self, who: usize, steps: Range<u64>) -> Result<Vec<f32>, TrainingError> {
        let moves = self.chance.normal("move", &[who as u64, steps.end], 65_521);
        for (weight, step) in self.weights[who].iter_mut().zip(moves.iter().cycle()) {
            *weight += 1e-3 * step;
        }
        Ok(self.weights[who].clone())
    }

    fn checkpoint(&mut self, _: usize) -> Result<Vec<u8>, TrainingError> {
        Ok(Vec::new())
    }

    fn score(&mut self, _: &[f32], _: &[f32], _: u16, _: Range<u64>, _: &Hash32) -> Result<Option<Score>, TrainingError> {
        Ok(Some(Score { own: Nats(30_000), unseen: Nats(10_000) }))
    }

    fn probe(&mut self, _: &[f32], _: &Hash32) -> Result<Nats, TrainingError> {
        Ok(Nats(2_000_000))
    }

    fn held_out_loss(&mut self, _: &[f32]) -> Result<f64, TrainingError> {
        Ok(0.0)
    }

    fn trigger_loss(&mut self, _: &[f32]) -> Result<f64, TrainingError> {
        Ok(0.0)
    }
}
