//! What can go wrong in training, as failed facts.

use starling_rounds::recipe::RecipeError;

/// The one error of this crate's public functions.
///
/// Nothing of a [`crate::Trainer`] has changed when [`TrainingError::LossNotFinite`] or
/// [`TrainingError::GradientNotFinite`] is returned: the step was withdrawn.
#[derive(Debug, thiserror::Error)]
pub enum TrainingError {
    /// The recipe was refused.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A text holds no byte at all.
    #[error("the {what} is empty: give at least {needed} bytes")]
    EmptyText {
        /// Which text: `training text` or `held-out text`.
        what: &'static str,
        /// The least number of bytes.
        needed: usize,
    },
    /// A text is shorter than one window and its next byte.
    #[error("the {what} has {found} bytes, but one window of the model needs {needed}")]
    TextTooShort {
        /// Which text: `training text` or `held-out text`.
        what: &'static str,
        /// Bytes that are there.
        found: usize,
        /// Bytes that one window needs.
        needed: usize,
    },
    /// A shard's bytes are not the ones that its name promises.
    #[error("shard {index} does not match its hash: expected {expected}, found {found}")]
    ShardHashMismatch {
        /// Position in the list of shards.
        index: usize,
        /// Hex BLAKE3 that was promised.
        expected: String,
        /// Hex BLAKE3 of the bytes given.
        found: String,
    },
    /// A tensor that the model has is missing from what was loaded.
    #[error("tensor `{0}` is missing")]
    MissingTensor(String),
    /// A tensor was given that the model does not have.
    #[error("tensor `{0}` does not belong to this model")]
    UnknownTensor(String),
    /// A tensor has another shape than the model's.
    #[error("tensor `{name}` has shape {found:?}, the model needs {expected:?}")]
    WrongShape {
        /// The tensor's name.
        name: String,
        /// The model's shape.
        expected: Vec<usize>,
        /// The shape given.
        found: Vec<usize>,
    },
    /// A tensor holds NaN or an infinity.
    #[error("tensor `{0}` holds a value that is not finite")]
    NotFinite(String),
    /// The loss of a step was NaN or infinite; the step changed nothing.
    #[error("the loss of step {step} is not finite; the step was withdrawn")]
    LossNotFinite {
        /// The global inner step.
        step: u64,
    },
    /// The gradient of a step was NaN or infinite; the step changed nothing.
    #[error("the gradient of step {step} is not finite; the step was withdrawn")]
    GradientNotFinite {
        /// The global inner step.
        step: u64,
    },
    /// A checkpoint's bytes are damaged or from another program.
    #[error("the checkpoint is not readable: {0}")]
    BadCheckpoint(String),
    /// A checkpoint was made with another recipe.
    #[error("the checkpoint was made with recipe {found}, this run has {expected}")]
    CheckpointOfAnotherRecipe {
        /// Hex hash of this run's recipe.
        expected: String,
        /// Hex hash in the checkpoint.
        found: String,
    },
    /// A `config.json` that does not describe a model of ours.
    #[error("config.json cannot be used: {0}")]
    BadConfig(String),
    /// What was asked of the model cannot be done, in words for a person.
    #[error("{0}")]
    BadRequest(String),
    /// Candle refused an operation.
    #[error("tensor operation failed")]
    Tensor(#[from] candle_core::Error),
}

/// This crate's result.
pub type Result<T, E = TrainingError> = std::result::Result<T, E>;
