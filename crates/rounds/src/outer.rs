//! The outer optimizer: Nesterov momentum on the mean pseudo-gradient (DiLoCo, arXiv:2311.08105, Alg. 1).
//!
//! Plain `f32` multiplications and additions in a fixed order. Rust never contracts `a * b + c` into a fused
//! multiply-add by itself, and IEEE 754 fixes each operation, so every machine gets the same bits.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::codec::CodecError;

const MAX_MOMENTUM: f32 = 0.999;
const MAX_LEARNING_RATE: f32 = 4.0;

/// Momentum and learning rate of the outer step, within bounds under which no number of rounds reaches infinity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "OuterConfigFields", into = "OuterConfigFields")]
pub struct OuterConfig {
    momentum: f32,
    learning_rate: f32,
}

/// A number outside of its bounds.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum OuterConfigError {
    /// Momentum must lie in 0..=0.999.
    #[error("outer momentum {0} is not within 0 to {MAX_MOMENTUM}")]
    Momentum(f32),
    /// The learning rate must be above 0 and at most 4.
    #[error("outer learning rate {0} is not above 0 and at most {MAX_LEARNING_RATE}")]
    LearningRate(f32),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OuterConfigFields {
    momentum: f32,
    learning_rate: f32,
}

impl OuterConfig {
    /// Checks the bounds.
    pub fn new(momentum: f32, learning_rate: f32) -> Result<Self, OuterConfigError> {
        if !(0.0..=MAX_MOMENTUM).contains(&momentum) || momentum.is_sign_negative() {
            return Err(OuterConfigError::Momentum(momentum));
        }
        if !(learning_rate > 0.0 && learning_rate <= MAX_LEARNING_RATE) {
            return Err(OuterConfigError::LearningRate(learning_rate));
        }
        Ok(Self { momentum, learning_rate })
    }

    /// Share of the velocity that a step keeps.
    pub fn momentum(self) -> f32 {
        self.momentum
    }

    /// Length of a step; the first moves by `(1 + momentum) * learning_rate` times the mean.
    pub fn learning_rate(self) -> f32 {
        self.learning_rate
    }

    /// `b = mu b + d; w -= lr (d + mu b)` for each parameter. All slices have one length.
    pub(crate) fn step(self, weights: &mut [f32], velocity: &mut [f32], mean: &[f32]) {
        for ((weight, speed), d) in weights.iter_mut().zip(velocity).zip(mean) {
            let kept = self.momentum * *speed;
            *speed = kept + d;
            let ahead = self.momentum * *speed;
            let step = self.learning_rate * (d + ahead);
            *weight -= step;
        }
    }
}

impl TryFrom<OuterConfigFields> for OuterConfig {
    type Error = OuterConfigError;

    fn try_from(fields: OuterConfigFields) -> Result<Self, OuterConfigError> {
        Self::new(fields.momentum, fields.learning_rate)
    }
}

impl From<OuterConfig> for OuterConfigFields {
    fn from(config: OuterConfig) -> Self {
        Self { momentum: config.momentum, learning_rate: config.learning_rate }
    }
}

/// What one participant's work says: `global - local`, so that the outer optimizer descends along it.
///
/// The one place that fixes the sign. `global` are the state's weights that the round began with, `local` those that
/// the inner steps reached.
pub fn pseudo_gradient(global: &[f32], local: &[f32]) -> Result<Vec<f32>, CodecError> {
    if global.len() != local.len() {
        return Err(CodecError::WrongLength { what: "local weights", got: local.len(), expected: global.len() });
    }
    Ok(global.iter().zip(local).map(|(before, after)| before - after).collect())
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    #[test]
    fn step__should_begin_with_one_plus_momentum() {
        let config = OuterConfig::new(0.5, 0.5).unwrap();
        let (mut weights, mut velocity) = ([1.0_f32], [0.0_f32]);
        config.step(&mut weights, &mut velocity, &[1.0]);
        assert_eq!((weights, velocity), ([0.25], [1.0]));
        config.step(&mut weights, &mut velocity, &[1.0]);
        assert_eq!((weights, velocity), ([-0.625], [1.5]));
    }

    #[test]
    fn pseudo_gradient__should_make_a_full_step_reach_the_local_weights() {
        let (global, local) = ([3.0_f32, -1.0], [1.0_f32, 2.0]);
        let delta = pseudo_gradient(&global, &local).unwrap();
        let (mut weights, mut velocity) = (global, [0.0_f32; 2]);
        OuterConfig::new(0.0, 1.0).unwrap().step(&mut weights, &mut velocity, &delta);
        assert_eq!(weights, local);
        assert!(pseudo_gradient(&global, &[1.0]).is_err());
    }

    #[test]
    fn config__should_refuse_what_could_diverge() {
        for (momentum, learning_rate) in
            [(-0.0, 0.5), (-0.1, 0.5), (1.0, 0.5), (f32::NAN, 0.5), (0.5, 0.0), (0.5, 4.1), (0.5, f32::NAN), (0.5, -1.0)]
        {
            assert!(OuterConfig::new(momentum, learning_rate).is_err(), "{momentum} {learning_rate}");
        }
    }
}
