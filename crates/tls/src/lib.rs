//! TLS on both ends: servers with a certificate that is renewed while they run, clients with the public roots and one more, and which origins may be dialled without it.

mod client;
mod origin;
mod server;

pub use client::Roots;
pub use origin::{OriginError, checked_origin};
pub use server::TlsListener;

use std::path::PathBuf;
use tokio_rustls::rustls;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file is not what it should be.
    #[error("{path} is no PEM file with {wanted}: {reason}")]
    Pem {
        /// Which.
        path: PathBuf,
        /// What should stand in it.
        wanted: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// Certificate and key do not fit, or are of a kind that is not known.
    #[error("certificate and key cannot be used: {0}")]
    Unfit(#[from] rustls::Error),
    /// The listener is not bound to an address.
    #[error("the address is not known: {0}")]
    Address(std::io::Error),
}

fn read(path: &std::path::Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::File { path: path.to_owned(), source })
}
