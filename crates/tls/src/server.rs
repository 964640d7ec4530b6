//! The server's end: a listener whose connections are encrypted, and whose certificate is read again when it changes.

use crate::{TlsError, read};
use axum::serve::Listener;
use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval, timeout},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    },
    server::TlsStream,
};

/// How long a stranger may take to agree on keys.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Strangers who do so at once; the others wait in the system's queue.
const MAX_HANDSHAKES: usize = 512;
/// How often certificate and key are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// Takes connections by TLS, for `axum::serve`. A stranger who is slow holds up nobody else.
pub struct TlsListener {
    plain: TcpListener,
    address: SocketAddr,
    acceptor: TlsAcceptor,
    files: Files,
    used: Arc<Used>,
    look: Interval,
    shaking: JoinSet<Option<(TlsStream<TcpStream>, SocketAddr)>>,
}

impl TlsListener {
    /// Listens with the certificates (the server's own first, then those between it and the root) and the key of two PEM files.
    ///
    /// # Errors
    /// A file cannot be read or is not what it should be, or the two do not belong together.
    pub fn new(plain: TcpListener, certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let mut files = Files { certificate: certificate.to_owned(), key: key.to_owned(), seen: Ok(Bytes::default()) };
        let found = files.read()?;
        let first = files.parse(&found)?;
        files.seen = Ok(found);
        let used = Arc::new(Used(RwLock::new(Arc::new(first))));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(used.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let address = plain.local_addr().map_err(TlsError::Address)?;
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self { plain, address, acceptor: TlsAcceptor::from(Arc::new(config)), files, used, look, shaking: JoinSet::new() })
    }

    /// Takes a new certificate where there is one. What cannot be used is said once, and the old one stays.
    fn renew(&mut self) {
        let found = self.files.read().map_err(|error| error.to_string());
        if self.files.seen == found {
            return;
        }
        let parsed = found.as_ref().map_err(String::clone).and_then(|found| self.files.parse(found).map_err(|error| error.to_string()));
        self.files.seen = found;
        match parsed {
            Ok(key) => {
                *self.used.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(key);
                tracing::info!(certificate = %self.files.certificate.display(), "the certificate was renewed");
            }
            Err(error) => tracing::warn!(error, "the new certificate is not used, the old one stays"),
        }
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            tokio::select! {
                Some(done) = self.shaking.join_next() => {
                    if let Ok(Some(connection)) = done {
                        return connection;
                    }
                }
                (stream, address) = Listener::accept(&mut self.plain), if self.shaking.len() < MAX_HANDSHAKES => {
                    let shake = self.acceptor.accept(stream);
                    self.shaking.spawn(async move { Some((timeout(HANDSHAKE_TIME, shake).await.ok()?.ok()?, address)) });
                }
                _ = self.look.tick() => self.renew(),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

/// What new connections are given.
#[derive(Debug)]
struct Used(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Used {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Certificates and key as they were read.
type Bytes = (Vec<u8>, Vec<u8>);

/// Certificate and key where they lie, and what was found there last.
struct Files {
    certificate: PathBuf,
    key: PathBuf,
    seen: Result<Bytes, String>,
}

impl Files {
    fn read(&self) -> Result<Bytes, TlsError> {
        Ok((read(&self.certificate)?, read(&self.key)?))
    }

    fn parse(&self, (certificates, key): &Bytes) -> Result<CertifiedKey, TlsError> {
        let wrong = |path: &Path, wanted, reason: String| TlsError::Pem { path: path.to_owned(), wanted, reason };
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificates)
            .collect::<Result<_, _>>()
            .map_err(|error| wrong(&self.certificate, "certificates", error.to_string()))?;
        if chain.is_empty() {
            return Err(wrong(&self.certificate, "certificates", "there is none".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|error| wrong(&self.key, "a private key", error.to_string()))?;
        Ok(CertifiedKey::from_der(chain, key, &ring::default_provider())?)
    }
}
