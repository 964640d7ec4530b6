//! Starling's training engine: models with their own differentiable operations on candle, the inner optimizer, evaluation
//! and generation.
//!
//! The models are [`Gpt`], [`Llama`], [`Bert`], [`Perceptron`] and [`Convolution`], with [`Lora`] adapters for the first
//! three; names and `config.json` are those of `transformers` and PEFT. A [`Recipe`] names any of them, with adapters or
//! without, and [`Model`] is the one that it names.
//!
//! What a node calls, in order:
//!
//! - [`Recipe::from_toml`], [`Recipe::from_json`] or [`Recipe::preset`]: a validated description of model and method,
//!   with [`Recipe::hash`]; [`check_memory`] refuses what would not fit.
//! - [`Text::new`] or [`Text::from_shards`]: training and held-out bytes, with clear errors for useless ones. Other
//!   [`Data`]: [`Tokens`] of a [`Tokenizer`], in memory or streamed from hashed shards, [`LabelledTexts`], a [`Table`] from
//!   [`read_csv`], [`Images`] from [`read_archive`].
//! - [`Model::initial`]: the weights of round 0, equal on every machine; [`flatten`] and [`unflatten`] turn
//!   [`Parameters`] into the flat name-sorted vector of the outer optimizer and back, by [`Model::layout`].
//! - [`Trainer::new`], then [`Trainer::step`] for each inner step, which withdraws itself where its numbers are not finite
//!   or spike; [`Trainer::parameters`] at the round's end and [`Trainer::load_parameters`] after the outer step;
//!   [`Trainer::seek_to`] where rounds were missed or work was refused.
//! - [`Trainer::probe_loss`] scores other participants' weights; [`evaluate`] gives bits per byte; [`baselines`] those
//!   of simpler models on the same bytes; [`classification`] a classifier's figures.
//! - [`Trainer::checkpoint`] and [`Trainer::resume`]: bit-equal continuation.
//! - [`Generator`] for text, [`export_model`] for files that other programs load.
//!
//! [`prepare`] and [`train`] do all of that on one machine, from a file of data to a [`Report`].
//!
//! Threads: set `RAYON_NUM_THREADS` and `CANDLE_NUM_THREADS` before the first call. On the CPU results do not depend on
//! their number. A step allocates and frees all its activations: see [`ONE_HEAP`].

mod arrays_file;
mod classifier;
mod data;
mod device;
mod error;
mod export;
mod generate;
mod local;
mod memory;
mod model;
mod muon;
mod ngram;
pub mod ops;
mod optim;
mod parameters;
mod random;
mod report;
mod schedule;
mod synthetic;
mod tape;
mod tokenizer;
mod trainer;
mod writer;

/// Where tensors live.
pub use candle_core::Device;
pub use classifier::{Classifier, TOKENIZER};
pub use data::{
    ArchiveEntry, Batch, Commitment, CsvTable, Data, Images, Items, JsonLine, LabelledTexts, Manifest, Picture, Sameness, Scaling,
    Shingles, Split, Splits, Table, Text, Tokens, Training, Windows, check_meaning, learn_tokenizer, own_tokenizer, read_archive, read_csv,
    read_images, read_json_lines, read_picture, split, without_near_duplicates, write_shards, write_tar,
};
pub use device::open_device;
pub use error::{Result, TrainingError};
pub use export::{ModelFiles, export_model, import_model, model_files};
pub use generate::{Generator, Sampling};
pub use local::{DataFile, Prepared, Progress, Trained, generated, prepare, train};
pub use memory::{Activations, ONE_HEAP, check_memory, memory_needed};
pub use model::{
    Bert, BertHead, BertShape, Convolution, ConvolutionShape, Decoder, Gpt, Leaves, Llama, LlamaShape, Lora, LoraShape, Model, Net,
    Perceptron, PerceptronShape, Texts, Weights,
};
pub use muon::Muon;
pub use ngram::{Baselines, Ngram, baselines};
pub use optim::{AdamW, global_norm, learning_rate};
pub use parameters::{Array, Layout, Parameters, check_parameters, flatten, layout_of, unflatten};
pub use report::{Calibration, Classification, Interval, Outcome, Report, classification};
pub use schedule::{Decay, Schedule};
pub use starling_rounds::recipe::{
    AdapterRecipe, DataRecipe, DecayRecipe, EvaluationRecipe, GptShape, InnerSteps, ModelRecipe, OptimizerKind, OptimizerRecipe,
    OuterRecipe, OverlapRecipe, RECIPE_VERSION, Recipe, RecipeError, ScheduleRecipe,
};
pub use tape::{Gradients, Tape, Value};
pub use tokenizer::Tokenizer;
pub use trainer::{Evaluation, Optimizer, StepReport, Trainer, Withdrawn, evaluate, held_out_bits, mean_loss, probabilities};
pub use writer::Writer;
