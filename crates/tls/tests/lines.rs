//! Both ends over loopback: trust, renewal, strangers.

#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use axum::{Router, extract::ConnectInfo, routing::get, serve::ListenerExt as _};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use starling_tls::{Roots, TlsError, TlsListener};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};
use tokio::net::{TcpListener, TcpStream};

/// A private authority, and the files of a server for this machine.
struct Site {
    folder: tempfile::TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Site {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let site = Self {
            folder: tempfile::tempdir().expect("a temporary folder"),
            authority: CertifiedIssuer::self_signed(params, key).expect("an authority"),
        };
        fs::write(site.path("ca.pem"), AsRef::<rcgen::Certificate>::as_ref(&site.authority).pem()).expect("a file is written");
        site.issue();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Puts a new certificate and its key in place.
    fn issue(&self) {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.authority).expect("a certificate");
        fs::write(self.path("certificate.pem"), certificate.pem()).expect("a file is written");
        fs::write(self.path("key.pem"), key.serialize_pem()).expect("a file is written");
    }

    /// A service that tells askers their address.
    async fn serve(&self) -> SocketAddr {
        let plain = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let listener = TlsListener::new(plain, &self.path("certificate.pem"), &self.path("key.pem")).expect("a listener");
        let address = axum::serve::Listener::local_addr(&listener).expect("an address");
        let router = Router::new().route("/", get(|ConnectInfo(from): ConnectInfo<SocketAddr>| async move { from.ip().to_string() }));
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener.tap_io(|_| {}), service).await });
        address
    }
}

async fn ask(roots: &Roots, address: SocketAddr) -> reqwest::Result<String> {
    let http = roots.http().timeout(Duration::from_secs(5)).build()?;
    http.get(format!("https://{address}/")).send().await?.text().await
}

/// The certificate that the service shows.
async fn shown(roots: &Roots, address: SocketAddr) -> Vec<u8> {
    let stream = TcpStream::connect(address).await.expect("a connection");
    let connector = tokio_rustls::TlsConnector::from(roots.config());
    let stream = connector.connect(address.ip().into(), stream).await.expect("a handshake");
    stream.get_ref().1.peer_certificates().expect("certificates")[0].to_vec()
}

#[tokio::test]
async fn line__should_hold_for_those_who_trust_the_authority_and_no_others() {
    let site = Site::new();
    let address = site.serve().await;
    let trusting = Roots::open(Some(&site.path("ca.pem"))).expect("roots");
    assert_eq!(ask(&trusting, address).await.expect("an answer"), "127.0.0.1");
    let others = Roots::open(None).expect("roots");
    assert!(ask(&others, address).await.expect_err("the authority is not public").is_connect());
    let plain = reqwest::get(format!("http://{address}/")).await;
    assert!(plain.is_err(), "nothing is said in the open: {plain:?}");
}

#[tokio::test]
async fn certificate__should_be_renewed_while_connections_go_on() {
    let site = Site::new();
    let (address, roots) = (site.serve().await, Roots::open(Some(&site.path("ca.pem"))).expect("roots"));
    let first = shown(&roots, address).await;
    // Half of a renewal is none: the old pair stays.
    let key = fs::read(site.path("key.pem")).expect("a key");
    site.issue();
    let renewed_key = fs::read(site.path("key.pem")).expect("a key");
    fs::write(site.path("key.pem"), &key).expect("a file is written");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(shown(&roots, address).await, first);
    fs::write(site.path("key.pem"), renewed_key).expect("a file is written");
    let began = Instant::now();
    while shown(&roots, address).await == first {
        assert!(began.elapsed() < Duration::from_secs(10), "it was not renewed");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn stranger__should_hold_up_nobody_by_saying_nothing() {
    let site = Site::new();
    let (address, roots) = (site.serve().await, Roots::open(Some(&site.path("ca.pem"))).expect("roots"));
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(address).await.expect("a connection"));
    }
    assert_eq!(ask(&roots, address).await.expect("an answer"), "127.0.0.1");
}

#[tokio::test]
async fn files__should_be_named_with_what_is_wrong() {
    let site = Site::new();
    let listen = async |certificate: &Path, key: &Path| {
        let plain = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        TlsListener::new(plain, certificate, key).map(drop)
    };
    let (certificate, key) = (site.path("certificate.pem"), site.path("key.pem"));
    assert!(matches!(listen(&site.path("none.pem"), &key).await, Err(TlsError::File { path, .. }) if path == site.path("none.pem")));
    assert!(matches!(listen(&key, &key).await, Err(TlsError::Pem { wanted: "certificates", .. })));
    assert!(matches!(listen(&certificate, &certificate).await, Err(TlsError::Pem { wanted: "a private key", .. })));
    let other = Site::new();
    assert!(matches!(listen(&certificate, &other.path("key.pem")).await, Err(TlsError::Unfit(_))));
    assert!(matches!(Roots::open(Some(&key)), Err(TlsError::Pem { wanted: "certificates", .. })));
}
