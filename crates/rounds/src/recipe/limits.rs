//! The limits of each field, in one place: what [`super::check`] refuses beyond is what [`super::schema`] publishes.

use std::ops::RangeInclusive;

/// Exact in JSON and TOML readers alike.
pub(super) const SEED: RangeInclusive<u64> = 0..=(1 << 53) - 1;
pub(super) const ROUNDS: RangeInclusive<u32> = 1..=100_000;
pub(super) const INNER_STEPS: RangeInclusive<u32> = 1..=1_000;
pub(super) const BATCH: RangeInclusive<u32> = 1..=1_024;
pub(super) const CLIP_NORM: RangeInclusive<f64> = 1e-3..=1e3;
/// Besides 0, which keeps every step: less than four deviations would withdraw honest noise.
pub(super) const SPIKE_DEVIATIONS: RangeInclusive<f64> = 4.0..=100.0;

pub(super) const LAYERS: RangeInclusive<u32> = 1..=48;
pub(super) const HEADS: RangeInclusive<u32> = 1..=64;
pub(super) const HEAD: RangeInclusive<u32> = 2..=256;
pub(super) const WIDTH: RangeInclusive<u32> = 8..=4_096;
pub(super) const HIDDEN: RangeInclusive<u32> = 8..=16_384;
pub(super) const CONTEXT: RangeInclusive<u32> = 8..=4_096;
pub(super) const VOCAB: RangeInclusive<u32> = 256..=65_536;
/// The bytes and three tokens that begin, pad and mask.
pub(super) const ENCODER_VOCAB: RangeInclusive<u32> = 259..=65_536;
pub(super) const SEGMENTS: RangeInclusive<u32> = 1..=16;
pub(super) const THETA: RangeInclusive<f64> = 1e2..=1e8;
pub(super) const EPSILON: RangeInclusive<f64> = 1e-12..=1e-2;
pub(super) const CLASSES: RangeInclusive<u32> = 2..=1_024;
pub(super) const FEATURES: RangeInclusive<u32> = 1..=4_096;
pub(super) const HIDDEN_LAYERS: RangeInclusive<usize> = 0..=16;
pub(super) const HIDDEN_WIDTH: RangeInclusive<u32> = 1..=8_192;
pub(super) const CHANNELS: RangeInclusive<u32> = 1..=4;
pub(super) const STAGES: RangeInclusive<usize> = 1..=8;
pub(super) const STAGE_CHANNELS: RangeInclusive<u32> = 1..=1_024;

pub(super) const RANK: RangeInclusive<u32> = 1..=256;
pub(super) const ALPHA: RangeInclusive<f64> = 1e-3..=1e4;
/// Names in a list, and letters in a name.
pub(super) const NAMES: RangeInclusive<usize> = 1..=32;
pub(super) const NAME_LENGTH: RangeInclusive<usize> = 1..=128;

pub(super) const PEAK: RangeInclusive<f64> = 1e-7..=1.0;
pub(super) const BETA1: RangeInclusive<f64> = 0.0..=0.999_9;
pub(super) const BETA2: RangeInclusive<f64> = 0.0..=0.999_99;
pub(super) const WEIGHT_DECAY: RangeInclusive<f64> = 0.0..=1.0;
pub(super) const MOMENTUM: RangeInclusive<f64> = 0.0..=0.999;
pub(super) const OUTER_MOMENTUM: RangeInclusive<f64> = 0.0..=0.99;
pub(super) const OUTER_RATE: RangeInclusive<f64> = 1e-3..=2.0;
pub(super) const FRAGMENTS: RangeInclusive<u32> = 1..=64;
pub(super) const OWN_SHARE: RangeInclusive<f64> = 0.0..=1.0;
pub(super) const EVERY_STEPS: RangeInclusive<u32> = 0..=1_000_000;
pub(super) const EXAMPLES: RangeInclusive<u32> = 0..=10_000_000;
pub(super) const PATIENCE: RangeInclusive<u32> = 0..=1_000;

/// The most parameters that a model may have here: a state of weights and moments stays below 1.6 GB.
pub(super) const PARAMETERS_MAX: u64 = 1 << 27;
/// The most tokens of one inner step.
pub(super) const TOKENS_PER_STEP_MAX: u64 = 1 << 20;
