//! Configuration: a TOML file, with `STARLING_COORDINATOR_*` from the environment on top.

use serde::Deserialize;
use starling_contract_api::Deployment;
use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

/// What the service needs to know. Secrets are named by the path of their file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The origin that browsers and nodes dial, such as `https://starling.example`. A port of 0 stands for the one taken.
    pub public_origin: String,
    /// A PEM file with the certificate for `public_origin` and what lies between it and the root; plain HTTP, for a reverse proxy, when left out.
    pub tls_certificate: Option<PathBuf>,
    /// A PEM file with the certificate's key.
    pub tls_key: Option<PathBuf>,
    /// Where metrics, health and readiness are served to the operator alone; nowhere when left out.
    pub operator_listen: Option<SocketAddr>,
    /// Where other programs on the same PostgreSQL reach this one, in a network of their own; when left out, this one stands by while another leads.
    pub replica_listen: Option<SocketAddr>,
    /// Reverse proxies whose `X-Forwarded-For` is believed.
    #[serde(default)]
    pub trusted_proxies: Vec<IpAddr>,
    /// How long the service says that it is not ready before it stops taking requests, in seconds.
    #[serde(default)]
    pub drain_seconds: u16,
    /// A file with the address of a PostgreSQL database, `postgres://USER:PASSWORD@HOST/NAME?sslmode=verify-full`; a SQLite file in `data_dir` when left out.
    pub database_url_file: Option<PathBuf>,
    /// NEAR JSON-RPC for this service.
    pub rpc_url: String,
    /// NEAR JSON-RPC for browsers.
    pub public_rpc_url: String,
    /// The network's name for people.
    pub network_name: String,
    /// Contracts and chain.
    pub deployment: Deployment,
    /// NEAR credential file of the account that pays gas of rounds and posts.
    pub key_file: PathBuf,
    /// Where database and artifacts lie.
    pub data_dir: PathBuf,
    /// The built dashboard; none serves the API only.
    pub dashboard_dir: Option<PathBuf>,
    /// Origin of the development wallet, on the embedded chain only.
    pub dev_wallet_url: Option<String>,
    /// Whether the chain's RPC offers `POST /faucet`.
    #[serde(default)]
    pub faucet: bool,
    /// Who pays gas for accounts that hold no NEAR; nobody when left out.
    pub sponsor: Option<Sponsorship>,
    /// Explorer address with `{tx}` in it.
    pub explorer_url: Option<String>,
    /// First block whose events are read; when left out, the first of a young chain, else the newest.
    pub history_from: Option<u64>,
    /// Where artifacts lie if not in `data_dir`: a bucket of any store that speaks S3.
    pub artifact_store: Option<StoreConfig>,
    /// Days that what a run or lease made is kept after its end, where no account owns it.
    #[serde(default = "keep_days")]
    pub keep_days: u32,
    /// Bounds on what strangers may ask.
    #[serde(default)]
    pub limits: Limits,
}

fn keep_days() -> u32 {
    30
}

/// A bucket of a store that speaks S3.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// The bucket; it must be there.
    pub bucket: String,
    /// The store's address; that of Amazon when left out.
    pub endpoint: Option<String>,
    /// The region, where the store has any.
    pub region: Option<String>,
    /// What all names begin with, so that several services share a bucket.
    #[serde(default)]
    pub prefix: String,
    /// A file of two lines, the access key's id and its secret; what the platform offers when left out.
    pub key_file: Option<PathBuf>,
    /// Allows `http://`: for a store on the same machine or in a closed network.
    #[serde(default)]
    pub allow_http: bool,
}

/// Bounds on what strangers may ask.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// The most bytes that one account may store.
    pub account_bytes: u64,
    /// The most bytes that one node may store.
    pub node_bytes: u64,
    /// Logins begun from one address in a minute.
    pub logins_per_minute: u32,
    /// Requests of one address in a second, in bursts of ten seconds' worth.
    pub requests_per_second: u32,
    /// Connected nodes.
    pub nodes: usize,
    /// Open event streams.
    pub streams: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { account_bytes: 8 << 30, node_bytes: 64 << 30, logins_per_minute: 60, requests_per_second: 200, nodes: 4_096, streams: 1_024 }
    }
}

/// Who pays gas for accounts that hold no NEAR, and how much. A day is the last 24 hours.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sponsorship {
    /// NEAR credential file of the account that pays; never the coordinator's own, so that a spent budget stops no run.
    pub key_file: PathBuf,
    /// Accounts made in a day.
    #[serde(default = "Sponsorship::accounts_a_day")]
    pub accounts_a_day: u64,
    /// Accounts made in a day for one address.
    #[serde(default = "Sponsorship::accounts_a_day_per_address")]
    pub accounts_a_day_per_address: u64,
    /// Tgas of calls sent in a day.
    #[serde(default = "Sponsorship::tgas_a_day")]
    pub tgas_a_day: u64,
    /// Tgas of calls sent in a day for one account.
    #[serde(default = "Sponsorship::tgas_a_day_per_account")]
    pub tgas_a_day_per_account: u64,
}

impl Sponsorship {
    fn accounts_a_day() -> u64 {
        500
    }

    fn accounts_a_day_per_address() -> u64 {
        10
    }

    fn tgas_a_day() -> u64 {
        200_000
    }

    fn tgas_a_day_per_account() -> u64 {
        2_000
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("the configuration {path} cannot be read: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not TOML, an unknown key or a wrong value.
    #[error("the configuration {path}: {message}")]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// The origin is no `http` or `https` origin.
    #[error("public_origin must be http://HOST[:PORT] or https://HOST[:PORT] without a path, not {0:?}")]
    Origin(String),
    /// TLS wants both files, and an origin that says so.
    #[error("own TLS wants `tls_certificate`, `tls_key`, and a public_origin that begins with https://")]
    Tls,
}

const FROM_ENVIRONMENT: &[&str] = &[
    "listen",
    "operator_listen",
    "replica_listen",
    "tls_certificate",
    "tls_key",
    "public_origin",
    "rpc_url",
    "public_rpc_url",
    "network_name",
    "key_file",
    "database_url_file",
    "data_dir",
    "dashboard_dir",
    "dev_wallet_url",
    "explorer_url",
];

impl Config {
    /// Reads the file and what the environment says instead.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::File { path: path.to_owned(), source })?;
        Self::parse(&text, path, |name| std::env::var(name).ok())
    }

    fn parse(text: &str, path: &Path, environment: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let syntax = |message: String| ConfigError::Syntax { path: path.to_owned(), message };
        let mut table: toml::Table = text.parse().map_err(|error: toml::de::Error| syntax(error.to_string()))?;
        for key in FROM_ENVIRONMENT {
            if let Some(value) = environment(&format!("STARLING_COORDINATOR_{}", key.to_uppercase())) {
                table.insert((*key).to_owned(), toml::Value::String(value));
            }
        }
        let config: Self = table.try_into().map_err(|error: toml::de::Error| syntax(error.to_string()))?;
        let host = config.public_origin.strip_prefix("http://").or_else(|| config.public_origin.strip_prefix("https://"));
        match host {
            Some(host) if !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']) => {}
            _ => return Err(ConfigError::Origin(config.public_origin)),
        }
        config.with_tls(None)
    }

    /// With these files, certificate and key, instead of those that it names.
    pub fn with_tls(self, files: Option<(PathBuf, PathBuf)>) -> Result<Self, ConfigError> {
        let (tls_certificate, tls_key) =
            files.map_or((self.tls_certificate, self.tls_key), |(certificate, key)| (Some(certificate), Some(key)));
        let secure = self.public_origin.starts_with("https://");
        if tls_certificate.is_some() != tls_key.is_some() || (tls_key.is_some() && !secure) {
            return Err(ConfigError::Tls);
        }
        Ok(Self { tls_certificate, tls_key, ..self })
    }

    /// The origin once the port is known.
    pub fn origin(&self, port: u16) -> String {
        match self.public_origin.strip_suffix(":0") {
            Some(host) => format!("{host}:{port}"),
            None => self.public_origin.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    const TEXT: &str = r#"
listen = "127.0.0.1:0"
public_origin = "http://127.0.0.1:0"
rpc_url = "http://127.0.0.1:1"
public_rpc_url = "http://127.0.0.1:1"
network_name = "embedded chain"
key_file = "key.json"
data_dir = "data"
faucet = true
[deployment]
chain_id = "starling-embedded-1"
instance = 1
billing = "billing.starling"
compute = "compute.starling"
hub = "hub.starling"
market = "market.starling"
"#;

    fn parse(text: &str, environment: impl Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("coordinator.toml"), environment)
    }

    #[test]
    fn config__should_take_file_then_environment() {
        let config = parse(TEXT, |_| None).unwrap();
        assert_eq!((config.origin(81).as_str(), config.limits.nodes, config.faucet), ("http://127.0.0.1:81", 4_096, true));
        let config = parse(TEXT, |name| (name == "STARLING_COORDINATOR_DATA_DIR").then(|| "elsewhere".to_owned())).unwrap();
        assert_eq!(config.data_dir, Path::new("elsewhere"));
    }

    #[test]
    fn config__should_want_all_of_tls_or_nothing() {
        let both = "tls_certificate = \"c.pem\"\ntls_key = \"k.pem\"\n";
        let secure = TEXT.replace("http://127.0.0.1:0\"\nrpc", "https://127.0.0.1:0\"\nrpc");
        assert!(parse(&format!("{both}{secure}"), |_| None).is_ok());
        assert!(matches!(parse(&format!("{both}{TEXT}"), |_| None), Err(ConfigError::Tls)), "the origin is plain");
        assert!(matches!(parse(&format!("tls_key = \"k.pem\"\n{secure}"), |_| None), Err(ConfigError::Tls)), "a key alone");
    }

    #[test]
    fn config__should_refuse_what_it_does_not_know() {
        let unknown = parse(&format!("spped = 1\n{TEXT}"), |_| None).unwrap_err().to_string();
        assert!(unknown.contains("spped"), "{unknown}");
        for origin in ["127.0.0.1", "http://", "https://a/b", "ftp://a"] {
            let changed = TEXT.replace("http://127.0.0.1:0", origin);
            assert!(matches!(parse(&changed, |_| None), Err(ConfigError::Origin(_))), "{origin}");
        }
    }
}
