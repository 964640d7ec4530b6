//! What can go wrong in training, as failed facts.

use starling_rounds::recipe::RecipeError;

/// The one error of this crate's public functions.
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
    /// A shard, or the manifest that names shards, cannot be used.
    #[error("{name} cannot be read: {why}")]
    Shard {
        /// Which.
        name: String,
        /// Why.
        why: String,
    },
    /// A file of data is wrong somewhere.
    #[error("{name}{}: {why}", place(*row, column))]
    BadData {
        /// The file.
        name: String,
        /// The row, counted from 1; 0 where the file has none.
        row: usize,
        /// The column's name, the letter's number in the row or the entry's path; empty where it is the whole row.
        column: String,
        /// What is wrong, in words.
        why: String,
    },
    /// A `tokenizer.json` that is not one of ours, or merges that are impossible.
    #[error("the tokenizer cannot be used: {0}")]
    BadTokenizer(String),
    /// The recipe's model needs more memory than there is; nothing was started.
    #[error(
        "training by this recipe needs about {needed_mib} MiB of memory, there are {available_mib}: make batch, context or model smaller, or accumulation greater"
    )]
    OutOfMemory {
        /// By the estimate.
        needed_mib: u64,
        /// That may be used.
        available_mib: u64,
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
    /// Step after step was withdrawn: the weights that the run has reached lead nowhere.
    #[error("the last {withdrawn} steps up to step {step} had no finite loss and gradient; the weights lead nowhere")]
    Diverged {
        /// The global inner step.
        step: u64,
        /// Steps withdrawn one after the other.
        withdrawn: u32,
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

impl TrainingError {
    /// A file of data that is wrong at a row and column.
    pub(crate) fn bad_data(name: &str, row: usize, column: &str, why: String) -> Self {
        Self::BadData { name: name.to_owned(), row, column: column.to_owned(), why }
    }
}

fn place(row: usize, column: &str) -> String {
    match (row, column) {
        (0, "") => String::new(),
        (0, entry) => format!(", `{entry}`"),
        (row, "") => format!(", row {row}"),
        (row, column) => format!(", row {row}, column `{column}`"),
    }
}
