//! Starling's training engine: a byte-level GPT on candle, its inner optimizer, evaluation and generation.
//!
//! What a node calls, in order:
//!
//! - [`Recipe::from_toml`], [`Recipe::from_json`] or [`Recipe::preset`]: a validated description of model and method,
//!   with [`Recipe::hash`].
//! - [`Text::new`] or [`Text::from_shards`]: training and held-out bytes, with clear errors for useless ones.
//! - [`Gpt::initial`]: the weights of round 0, equal on every machine; [`flatten`] and [`unflatten`] turn
//!   [`Parameters`] into the flat name-sorted vector of the outer optimizer and back, by [`Gpt::layout`].
//! - [`Trainer::new`], then [`Trainer::step`] for each inner step, [`Trainer::parameters`] at the round's end and
//!   [`Trainer::load_parameters`] after the outer step; [`Trainer::seek`] where rounds were missed.
//! - [`Trainer::probe_loss`] scores other participants' weights; [`evaluate`] gives bits per byte; [`baselines`] those
//!   of simpler models on the same bytes.
//! - [`Trainer::checkpoint`] and [`Trainer::resume`]: bit-equal continuation.
//! - [`Generator`] for text, [`export_model`] for files that other programs load.
//!
//! Threads: set `RAYON_NUM_THREADS` and `CANDLE_NUM_THREADS` before the first call. On the CPU results do not depend on
//! their number. Binaries should use mimalloc: a step allocates and frees all its activations.

mod arrays_file;
mod data;
mod device;
mod error;
mod export;
mod generate;
mod model;
mod ngram;
pub mod ops;
mod optim;
mod parameters;
mod random;
mod tape;
mod trainer;

/// Where tensors live.
pub use candle_core::Device;
pub use data::{Batch, Split, Text};
pub use device::open_device;
pub use error::{Result, TrainingError};
pub use export::{ModelFiles, export_model, import_model};
pub use generate::{Generator, Sampling};
pub use model::{Decoder, Gpt, Leaves};
pub use ngram::{Baselines, Ngram, baselines};
pub use optim::{AdamW, global_norm, learning_rate};
pub use parameters::{Array, Layout, Parameters, check_parameters, flatten, layout_of, unflatten};
pub use starling_rounds::recipe::{GptShape, ModelRecipe, OptimizerRecipe, OuterRecipe, RECIPE_VERSION, Recipe, RecipeError};
pub use tape::{Gradients, Tape, Value};
pub use trainer::{Evaluation, StepReport, Trainer, evaluate, mean_loss};
