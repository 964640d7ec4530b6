//! The client's end: whom it trusts.

use crate::{TlsError, read};
use std::{path::Path, sync::Arc};
use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject as _},
};

/// The authorities that a client trusts. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Roots(Arc<ClientConfig>);

impl Roots {
    /// The public authorities, and those of a PEM file besides: for a service whose certificate is private.
    ///
    /// # Errors
    /// The file cannot be read, or holds no certificate.
    pub fn open(file: Option<&Path>) -> Result<Self, TlsError> {
        let mut store: RootCertStore = webpki_roots::TLS_SERVER_ROOTS.iter().cloned().collect();
        if let Some(path) = file {
            let bytes = read(path)?;
            let wrong = |reason: String| TlsError::Pem { path: path.to_owned(), wanted: "certificates", reason };
            let mut found = 0_u32;
            for certificate in CertificateDer::pem_slice_iter(&bytes) {
                store.add(certificate.map_err(|error| wrong(error.to_string()))?).map_err(|error| wrong(error.to_string()))?;
                found = found.saturating_add(1);
            }
            if found == 0 {
                return Err(wrong("there is none".to_owned()));
            }
        }
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(store)
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }

    /// For connections that are no requests, such as WebSockets.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        self.0.clone()
    }

    /// Begins a client of HTTP that trusts them.
    pub fn http(&self) -> reqwest::ClientBuilder {
        reqwest::Client::builder().use_preconfigured_tls(ClientConfig::clone(&self.0))
    }
}
