//! What can go wrong, one enum per boundary.

use near_primitives::errors::{IntegerOverflowError, InvalidTxError};
use near_primitives::hash::CryptoHash;
use near_primitives::types::{AccountId, BlockHeight};

/// A record of the state cannot be read or written: the data is damaged, or this crate has a bug.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A value cannot be written in borsh.
    #[error("a state record cannot be encoded")]
    Encode(#[source] std::io::Error),
    /// Stored bytes are not what their key promises.
    #[error("a state record cannot be decoded")]
    Decode(#[source] std::io::Error),
    /// Records contradict one another.
    #[error("the state contradicts itself: {0}")]
    Inconsistent(&'static str),
    /// A sum of money, gas or bytes left its type.
    #[error("an amount overflows")]
    Overflow,
}

impl From<IntegerOverflowError> for StateError {
    fn from(_: IntegerOverflowError) -> Self {
        Self::Overflow
    }
}

/// The file with blocks and state failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data folder cannot be made or used.
    #[error("the data folder cannot be used")]
    Folder(#[source] std::io::Error),
    /// The database cannot be opened; often another process holds it.
    #[error("the chain's database cannot be opened (is another process using it?)")]
    Open(#[source] Box<redb::Error>),
    /// Reading or writing failed; the chain stays at the last block that was committed.
    #[error("the chain's database failed")]
    Database(#[source] Box<redb::Error>),
    /// The folder holds a chain with another id.
    #[error("the data folder holds the chain {found}, not {expected}")]
    OtherChain {
        /// The id in the folder.
        found: String,
        /// The id that was asked for.
        expected: String,
    },
    /// Stored bytes do not decode.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Errors of [`crate::Localnet`] and its builder.
#[derive(Debug, thiserror::Error)]
pub enum LocalnetError {
    /// The genesis makes no chain; nothing was written.
    #[error("the genesis is not valid: {0}")]
    Genesis(String),
    /// The protocol version has no configuration in this build.
    #[error("protocol version {asked} is not supported (from {least} to {greatest})")]
    ProtocolVersion {
        /// What was asked for.
        asked: u32,
        /// The least that works.
        least: u32,
        /// The greatest that works.
        greatest: u32,
    },
    /// The transaction was refused before it entered a block; nothing has changed.
    #[error("the transaction was refused: {0}")]
    InvalidTransaction(#[source] Box<InvalidTxError>),
    /// Too many transactions wait for a block; nothing has changed.
    #[error("{0} transactions are waiting already")]
    PoolFull(usize),
    /// No transaction with this hash is known.
    #[error("transaction {0} is not known")]
    UnknownTransaction(CryptoHash),
    /// A view asked for an account that is not there.
    #[error("account {0} does not exist")]
    UnknownAccount(AccountId),
    /// A view asked for a contract on an account without one.
    #[error("account {0} has no contract")]
    NoContract(AccountId),
    /// A view call failed in the contract, with its message and logs.
    #[error("the view failed: {message}")]
    ViewFailed {
        /// What the contract or the machine said.
        message: String,
        /// Logs until then.
        logs: Vec<String>,
    },
    /// The answer of a view, or the state asked for, is over the limit.
    #[error("the state of {0} is too large to be viewed")]
    StateTooLarge(AccountId),
    /// No such block.
    #[error("there is no block at height {0}")]
    UnknownBlock(BlockHeight),
    /// The jump was refused.
    #[error("at most {0} blocks can be skipped at once")]
    JumpTooFar(u64),
    /// A state record of a kind that cannot be set.
    #[error("this kind of state record cannot be set here: {0}")]
    PatchRefused(String),
    /// An outcome that was expected to succeed failed.
    #[error("the transaction failed: {0}")]
    ExecutionFailed(String),
    /// See [`StoreError`].
    #[error(transparent)]
    Store(#[from] StoreError),
    /// See [`StateError`].
    #[error(transparent)]
    State(#[from] StateError),
}

impl From<InvalidTxError> for LocalnetError {
    fn from(error: InvalidTxError) -> Self {
        Self::InvalidTransaction(Box::new(error))
    }
}
