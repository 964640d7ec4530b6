//! What a node is told by its owner: `node.toml`, and environment variables that override it. Secrets only as paths.

use crate::{own_data::OwnData, script::ScriptSettings};
use serde::{Deserialize, Serialize};
use starling_contract_api::Deployment;
use starling_limits::Limits;
use starling_primitives::{AccountId, Amount, NodeId};
use starling_sensors::Source;
use starling_tls::{Roots, checked_origin};
use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Bytes of downloaded artifacts that are kept, unless the owner says otherwise: 20 GiB.
const CACHE_LIMIT_BYTES: u64 = 20 << 30;
const MAX_CONFIG_BYTES: u64 = 64 * 1024;
/// More threads than any machine has are a slip of the pen.
const MAX_THREADS: u16 = 1_024;

/// The configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeConfig {
    /// Origin of the coordinator, such as `http://127.0.0.1:8080`.
    pub(crate) coordinator: String,
    /// The chain's JSON-RPC.
    pub(crate) rpc_url: String,
    /// A PEM file of an authority that is trusted besides the public ones; relative to the configuration file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ca_file: Option<PathBuf>,
    /// The node's number in `compute`.
    pub(crate) node_id: NodeId,
    /// The account that owns the node.
    pub(crate) provider: AccountId,
    /// The node's own key, a NEAR credential; relative to the configuration file.
    pub(crate) key_file: PathBuf,
    /// Where state and artifacts are kept; relative to the configuration file.
    pub(crate) data_dir: PathBuf,
    /// Processor threads that work may use.
    pub(crate) threads: u16,
    /// Runs that pay less per million accepted tokens are declined.
    pub(crate) min_price_per_million_tokens: Amount,
    /// Leases that pay less an hour are declined.
    pub(crate) min_price_per_hour: Amount,
    /// Memory that work may use; what the machine has when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) memory_limit_bytes: Option<u64>,
    /// Bytes of artifacts that are kept on disk.
    #[serde(default = "cache_limit_bytes")]
    pub(crate) cache_limit_bytes: u64,
    /// Where Prometheus may read figures; nowhere when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) metrics_address: Option<SocketAddr>,
    /// What work may do to this machine.
    #[serde(default)]
    pub(crate) limits: Limits,
    /// Where readings for the limits come from.
    #[serde(default)]
    pub(crate) sensors: SensorChoice,
    /// Contracts and chain.
    pub(crate) deployment: Deployment,
    /// Tenants' scripts.
    #[serde(default, skip_serializing_if = "ScriptSettings::is_default")]
    pub(crate) scripts: ScriptSettings,
    /// What federated runs may train on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) data: Vec<OwnData>,
}

/// Where readings come from; what is left out is found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SensorChoice {
    /// The devices that limits are about: those that the node computes on when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) watch: Option<Vec<Source>>,
    /// NVML, if not the one that the system finds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nvml_library: Option<PathBuf>,
}

fn cache_limit_bytes() -> u64 {
    CACHE_LIMIT_BYTES
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// No such file, or not readable.
    #[error("the configuration {path} cannot be read: {source}; write one with `gpu-node setup`")]
    Read {
        /// Which.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Not a configuration.
    #[error("the configuration {path} is not understood: {reason}")]
    Syntax {
        /// Which.
        path: String,
        /// Where and why.
        reason: String,
    },
    /// A value outside its limits.
    #[error("the configuration's `{field}` is wrong: {reason}")]
    Field {
        /// Which.
        field: &'static str,
        /// What it must be.
        reason: String,
    },
}

impl NodeConfig {
    /// Reads a file, lets `environment` override it, makes its paths absolute, and checks it.
    pub(crate) fn read(path: &Path, environment: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let name = path.display().to_string();
        let failed = |source| ConfigError::Read { path: name.clone(), source };
        if fs::metadata(path).map_err(failed)?.len() > MAX_CONFIG_BYTES {
            return Err(ConfigError::Syntax { path: name, reason: format!("longer than {MAX_CONFIG_BYTES} bytes") });
        }
        let text = fs::read_to_string(path).map_err(failed)?;
        let mut config: Self =
            toml::from_str(&text).map_err(|error| ConfigError::Syntax { path: name.clone(), reason: error.to_string() })?;
        config.override_by(environment)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        config.key_file = folder.join(&config.key_file);
        config.data_dir = folder.join(&config.data_dir);
        config.ca_file = config.ca_file.map(|file| folder.join(file));
        config.scripts.home = config.scripts.home.map(|home| folder.join(home));
        for data in &mut config.data {
            data.file = folder.join(&data.file);
        }
        config.checked()
    }

    fn override_by(&mut self, environment: impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
        if let Some(value) = environment("STARLING_COORDINATOR") {
            self.coordinator = value;
        }
        if let Some(value) = environment("STARLING_RPC_URL") {
            self.rpc_url = value;
        }
        if let Some(value) = environment("STARLING_CA_FILE") {
            self.ca_file = Some(value.into());
        }
        if let Some(value) = environment("STARLING_DATA_DIR") {
            self.data_dir = value.into();
        }
        if let Some(value) = environment("STARLING_KEY_FILE") {
            self.key_file = value.into();
        }
        if let Some(value) = environment("STARLING_THREADS") {
            self.threads = value.parse().map_err(|_| field("threads", "STARLING_THREADS must be a number"))?;
        }
        Ok(())
    }

    fn checked(mut self) -> Result<Self, ConfigError> {
        self.coordinator = checked_coordinator(&self.coordinator)?;
        self.limits.check().map_err(|error| field(error.setting, &format!("write {}", error.wanted)))?;
        if self.metrics_address.is_some_and(|address| !address.ip().is_loopback()) {
            return Err(field("metrics_address", "write an address of this machine alone, such as 127.0.0.1:9477"));
        }
        if !(self.rpc_url.starts_with("http://") || self.rpc_url.starts_with("https://")) {
            return Err(field("rpc_url", "write an address that begins with http:// or https://"));
        }
        if !(1..=MAX_THREADS).contains(&self.threads) {
            return Err(field("threads", &format!("write 1 to {MAX_THREADS}")));
        }
        OwnData::check(&self.data).map_err(|reason| field("data", &reason))?;
        if self.cache_limit_bytes < 1 << 20 {
            return Err(field("cache_limit_bytes", "write at least 1048576"));
        }
        Ok(self)
    }

    /// Whom the node trusts when it dials.
    pub(crate) fn roots(&self) -> Result<Roots, ConfigError> {
        open_roots(self.ca_file.as_deref())
    }

    /// The file's text, each setting behind a line that explains it.
    pub(crate) fn to_toml(&self) -> Result<String, ConfigError> {
        let plain =
            toml::to_string(self).map_err(|error| ConfigError::Syntax { path: "node.toml".to_owned(), reason: error.to_string() })?;
        Ok(explained(&plain))
    }

    /// What is read of this machine to keep the limits.
    pub(crate) fn sensors(&self) -> starling_sensors::Setup {
        let computes_on_card = starling_training::open_device(Some(0)).is_ok_and(|device| device.is_cuda());
        let found = if computes_on_card { Source::Nvidia } else { Source::Processor };
        starling_sensors::Setup {
            sources: self.sensors.watch.clone().unwrap_or_else(|| vec![found]),
            nvml_library: self.sensors.nvml_library.clone(),
            root: "/".into(),
            disk: self.data_dir.clone(),
            own_process: std::process::id(),
        }
    }
}

/// Puts a comment before each setting that has one, and examples of those that are left out behind the head of their table.
fn explained(plain: &str) -> String {
    let mut text = String::from(HEAD);
    for line in plain.lines() {
        let key = line.split(" = ").next().unwrap_or_default();
        if let Some((_, comment)) = COMMENTS.iter().find(|(setting, _)| *setting == key) {
            text.push_str(&format!("# {comment}\n"));
        }
        text.push_str(line);
        text.push('\n');
        if line == "[limits]" {
            let missing = EXAMPLES.iter().filter(|(setting, _)| !plain.contains(&format!("\n{setting} = ")));
            missing.for_each(|(setting, example)| text.push_str(&format!("# {setting} = {example}\n")));
        }
    }
    if !plain.contains("[[data]]") {
        text.push_str(DATA_EXAMPLE);
    }
    text
}

const HEAD: &str = "\
# A Starling node. `gpu-node doctor` looks whether all of it holds; a change counts from the next start.
# The key in `key_file` can neither withdraw nor change who is paid; its gas is paid by `provider`.
";

const COMMENTS: &[(&str, &str)] = &[
    ("coordinator", "Where work comes from."),
    ("rpc_url", "The chain's JSON-RPC: what is paid and by whom is read there, not believed."),
    ("ca_file", "An authority that is trusted besides the public ones, in a PEM file."),
    ("node_id", "This machine's number in `compute`."),
    ("provider", "The account that owns the node, holds its stake and pays its gas. Who is paid stands on chain."),
    ("key_file", "The node's own key, which only works on this machine's leases and runs."),
    ("data_dir", "State, artifacts and the control socket."),
    ("threads", "Processor threads that work may use."),
    ("min_price_per_million_tokens", "Runs that pay less are declined, in yoctoNEAR (24 zeros are a NEAR)."),
    ("min_price_per_hour", "Leases that pay less are declined, in yoctoNEAR."),
    ("memory_limit_bytes", "Memory that work may use."),
    ("cache_limit_bytes", "Downloaded files that are kept, the longest unused go first."),
    ("metrics_address", "Prometheus reads figures there."),
    ("[limits]", "What work may do to this machine. It is slowed down first, then checkpointed and given back before a limit is crossed."),
    ("max_utilisation_percent", "Part of the time in which work may go on."),
    ("hours", "Hours of the week in your own time, such as [\"mon-fri 22:00-06:00\", \"sat-sun 00:00-24:00\"]; always when empty."),
    ("min_free_disk_mib", "Space that stays free on the disk of `data_dir`."),
    ("job_kinds", "What is taken: train, generate, classify, tool, script."),
    ("[sensors]", "Where readings come from: watch = [\"nvidia\", \"amd\", \"processor\"], nvml_library = a path. Found when left out."),
    ("[deployment]", "The contracts. `gpu-node setup` writes them."),
];

const EXAMPLES: &[(&str, &str)] = &[
    ("max_temperature_celsius", "80"),
    ("max_power_watts", "250"),
    ("idle_only_minutes", "10          # only when nobody else used the machine for so long"),
    ("max_upload_kib_per_second", "2048"),
    ("max_download_kib_per_second", "8192"),
];

const DATA_EXAMPLE: &str = "
# Data that federated runs may train on: its name is told, the file stays here. Updates made from it go to the tenant, who can learn something of
# the data by them: name those whom you trust with that, or leave `tenants` out for anyone.
# [[data]]
# name = \"notes\"
# file = \"notes.txt\"
# tenants = [\"alice.near\"]
";

/// The coordinator's origin: nothing that the node says beyond this machine goes without TLS.
pub(crate) fn checked_coordinator(text: &str) -> Result<String, ConfigError> {
    checked_origin(text).map_err(|error| field("coordinator", &error.to_string()))
}

/// The public authorities, and those of a file.
pub(crate) fn open_roots(file: Option<&Path>) -> Result<Roots, ConfigError> {
    Roots::open(file).map_err(|error| field("ca_file", &error.to_string()))
}

fn field(field: &'static str, reason: &str) -> ConfigError {
    ConfigError::Field { field, reason: reason.to_owned() }
}

#[cfg(test)]
pub(crate) mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    pub(crate) fn sample() -> NodeConfig {
        let account = |name: &str| AccountId::new(name).unwrap();
        NodeConfig {
            coordinator: "http://127.0.0.1:1".to_owned(),
            rpc_url: "http://127.0.0.1:2".to_owned(),
            ca_file: None,
            node_id: NodeId(1),
            provider: account("provider-1.starling"),
            key_file: "key.json".into(),
            data_dir: "data".into(),
            threads: 1,
            min_price_per_million_tokens: Amount::from_millinear(500),
            min_price_per_hour: Amount::from_millinear(600),
            memory_limit_bytes: None,
            cache_limit_bytes: 1 << 30,
            metrics_address: None,
            limits: Limits::default(),
            sensors: SensorChoice::default(),
            scripts: ScriptSettings::default(),
            data: Vec::new(),
            deployment: Deployment {
                chain_id: "starling-embedded-1".to_owned(),
                instance: 1,
                billing: account("billing.starling"),
                compute: account("compute.starling"),
                hub: account("hub.starling"),
                market: account("market.starling"),
            },
        }
    }

    fn read(text: &str, environment: impl Fn(&str) -> Option<String>) -> Result<NodeConfig, ConfigError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.toml");
        fs::write(&path, text).unwrap();
        NodeConfig::read(&path, environment)
    }

    #[test]
    fn config__should_survive_its_file_and_take_the_environment() {
        let text = sample().to_toml().unwrap();
        let config = read(&text, |_| None).unwrap();
        assert!(config.key_file.is_absolute() && config.key_file.ends_with("key.json"));
        assert_eq!(NodeConfig { key_file: "key.json".into(), data_dir: "data".into(), ..config }, sample());
        let config = read(&text, |name| (name == "STARLING_THREADS").then(|| "3".to_owned())).unwrap();
        assert_eq!(config.threads, 3);
    }

    #[test]
    fn config__should_explain_itself() {
        let text = sample().to_toml().unwrap();
        for (setting, _) in COMMENTS {
            let optional = ["ca_file", "memory_limit_bytes", "metrics_address"].contains(setting);
            assert!(optional || text.contains(&format!("\n{setting}")), "{setting} has a comment and is not there:\n{text}");
        }
        assert!(text.contains("# max_temperature_celsius = 80"), "{text}");
        let limited = NodeConfig { limits: Limits { max_temperature_celsius: Some(70), ..Limits::default() }, ..sample() };
        let text = limited.to_toml().unwrap();
        assert!(text.contains("\nmax_temperature_celsius = 70") && !text.contains("# max_temperature"), "{text}");
        assert_eq!(read(&text, |_| None).unwrap().limits, limited.limits);
    }

    #[test]
    fn data__should_be_read_as_its_example_says() {
        let text = sample().to_toml().unwrap();
        let (before, example) = text.split_once("# [[data]]").unwrap();
        let text = format!("{before}[[data]]{}", example.replace("\n# ", "\n"));
        let config = read(&text, |_| None).unwrap();
        let [data] = &config.data[..] else { panic!("{:?}", config.data) };
        assert!(data.name == "notes" && data.file.is_absolute() && data.tenants.len() == 1, "{data:?}");
        assert!(!config.to_toml().unwrap().contains("# [[data]]"));
        let error = read(&text.replace("\"notes\"", "\"My notes\""), |_| None).unwrap_err().to_string();
        assert!(error.contains("`data`") && error.contains("a-z"), "{error}");
    }

    #[test]
    fn config__should_name_what_is_wrong() {
        let good = sample().to_toml().unwrap();
        for (from, to, word) in [
            ("threads = 1", "threads = 0", "threads"),
            ("threads = 1", "threads = 1\nthread = 1", "unknown field"),
            ("http://127.0.0.1:1", "127.0.0.1:1", "coordinator"),
            ("http://127.0.0.1:1", "http://127.0.0.1:1/path", "coordinator"),
            ("http://127.0.0.1:1", "http://192.0.2.1:1", "https://"),
            ("http://127.0.0.1:2", "ftp://x", "rpc_url"),
            ("provider-1.starling", "Provider", "account name"),
            ("max_utilisation_percent = 100", "max_utilisation_percent = 0", "1 to 100"),
            ("# max_power_watts = 250", "max_power_watts = 1", "max_power_watts"),
            ("cache_limit_bytes =", "metrics_address = \"0.0.0.0:9477\"\ncache_limit_bytes =", "this machine alone"),
        ] {
            let text = good.replacen(from, to, 1);
            assert_ne!(text, good, "{from}");
            let error = read(&text, |_| None).unwrap_err().to_string();
            assert!(error.contains(word), "{error} lacks {word}");
        }
    }
}
