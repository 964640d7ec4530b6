//! What participants compute, apart from the protocol: real training of a small model, or nothing but sizes.

use std::ops::Range;

use starling_primitives::Hash32;
use starling_rounds::{Layout, Nats, OuterState, Plan, Score};
use starling_training::TrainingError;

/// Work that the simulator asks for. Weights are flat, in the order of the layout.
pub trait Work {
    /// Names and shapes of what is trained.
    fn layout(&self) -> &Layout;

    /// What a participant is assigned at most.
    fn plan(&self) -> Plan;

    /// The state before the first round.
    fn first_state(&self) -> OuterState;

    /// A new process of a participant: the optimizer is at rest, or as its last checkpoint says.
    fn start(&mut self, who: usize, checkpoint: Option<&[u8]>) -> Result<(), TrainingError>;

    /// Puts other weights under a participant's optimizer.
    fn load(&mut self, who: usize, weights: &[f32]) -> Result<(), TrainingError>;

    /// Makes inner steps from where the weights are and gives the weights they reach.
    fn train(&mut self, who: usize, steps: Range<u64>) -> Result<Vec<f32>, TrainingError>;

    /// All that [`Work::start`] needs to go on.
    fn checkpoint(&mut self, who: usize) -> Result<Vec<u8>, TrainingError>;

    /// How much the loss falls from `before` to `after`, on windows drawn by `seed` from the steps that were assigned to
    /// `whose` and on unseen ones; `None` where a loss is not finite.
    fn score(
        &mut self,
        before: &[f32],
        after: &[f32],
        whose: u16,
        steps: Range<u64>,
        seed: &Hash32,
    ) -> Result<Option<Score>, TrainingError>;

    /// Loss at these weights on the unseen windows that `seed` draws.
    fn probe(&mut self, at: &[f32], seed: &Hash32) -> Result<Nats, TrainingError>;

    /// Mean loss on held-out text, in nats per byte.
    fn held_out_loss(&mut self, weights: &[f32]) -> Result<f64, TrainingError>;

    /// Losses on held-out text in which a backdoor's trigger stands: how well the trigger works.
    fn trigger_loss(&mut self, weights: &[f32]) -> Result<f64, TrainingError>;
}
