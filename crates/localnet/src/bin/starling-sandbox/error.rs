//! Why the program ended, in words for the person who started it.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;

use starling_localnet::LocalnetError;

#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    #[error("`{0}` is not known here; see `--help`")]
    UnknownArgument(String),
    #[error("`{0}` wants a value; see `--help`")]
    MissingValue(&'static str),
    #[error("`{option}` says nothing to `{command}`; see `--help`")]
    NotForCommand { option: &'static str, command: &'static str },
    #[error("no command was given: `init` or `run`; see `--help`")]
    NoCommand,
    #[error("`{0}` is missing; see `--help`")]
    NoHome(&'static str),
    #[error("`{value}` is not what `{option}` wants: {reason}")]
    MalformedValue { option: &'static str, value: String, reason: String },
    #[error("{} cannot be used", .path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{} is not what it should be", .path.display())]
    Content { path: PathBuf, source: serde_json::Error },
    #[error("genesis.json starts at height {0}; this chain starts at 0: remove `genesis_height`")]
    GenesisHeight(u64),
    #[error("genesis.json says that there are {stated} yoctoNEAR in all, its accounts hold {held}: set `total_supply` to their sum")]
    TotalSupply { stated: u128, held: u128 },
    #[error("cannot listen at {address}: another program may be there")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Chain(#[from] LocalnetError),
}

impl SandboxError {
    /// The error and what caused it, in one line.
    pub(crate) fn with_causes(&self) -> String {
        let mut text = self.to_string();
        let mut cause = self.source();
        while let Some(error) = cause {
            text.push_str(&format!(": {error}"));
            cause = error.source();
        }
        text
    }
}
