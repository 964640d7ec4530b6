//! Transport over NEAR's JSON-RPC, for native programs. The same code talks to the embedded chain, to testnet and to mainnet.

mod client;
mod delegate;
mod outcome;
mod signer;

pub use client::{AccountInfo, BlockInfo, BlockRef, BlockTx, ChainStatus, KeyInfo, RpcClient};
pub use delegate::{Delegated, DelegatedCall, DelegatedError};
pub use near_primitives::action::{
    Action, AddKeyAction, CreateAccountAction, DeleteKeyAction, DeployContractAction, FunctionCallAction, TransferAction,
};
pub use outcome::{Event, Outcome};
pub use signer::{KeyError, Signer, verify};

/// A transaction that was signed and may be sent any number of times: it takes effect once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTx {
    /// Its hash in base58.
    pub hash: String,
    /// Borsh of the signed transaction.
    pub bytes: Vec<u8>,
}

/// Why the chain gave no answer, or not the wanted one.
#[derive(Debug, thiserror::Error)]
pub enum RpcError {
    /// No connection, or no HTTP answer.
    #[error("the chain's RPC at {url} does not answer: {source}")]
    Unreachable {
        /// The address.
        url: String,
        /// What went wrong.
        #[source]
        source: reqwest::Error,
    },
    /// The RPC refused the request.
    #[error("the chain's RPC refused: {name}: {message}")]
    Refused {
        /// The error's name, such as `UNKNOWN_ACCOUNT` or `INVALID_TRANSACTION`.
        name: String,
        /// What it says.
        message: String,
    },
    /// The transaction is on chain and failed; money that it attached came back.
    #[error("the transaction {} failed: {message}", outcome.hash)]
    Failed {
        /// What the chain recorded.
        outcome: Box<Outcome>,
        /// The contract's panic or the chain's error.
        message: String,
    },
    /// The answer has not the expected form.
    #[error("the chain's answer is not understood: {0}")]
    Malformed(String),
    /// The account does not exist.
    #[error("the account {0} does not exist on this chain")]
    NoAccount(String),
}

impl RpcError {
    /// Whether the same request may succeed later without a change.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { name, .. } => {
                matches!(name.as_str(), "TIMEOUT_ERROR" | "NOT_SYNCED_YET" | "INTERNAL_ERROR" | "UNAVAILABLE_SHARD")
            }
            Self::Failed { .. } | Self::Malformed(_) | Self::NoAccount(_) => false,
        }
    }

    /// The contract's own words, when a contract panicked; else the whole error.
    pub fn contract_message(&self) -> String {
        match self {
            Self::Failed { message, .. } => message.clone(),
            other => other.to_string(),
        }
    }
}
