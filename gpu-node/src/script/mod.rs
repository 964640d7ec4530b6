//! Scripts of tenants, run in the sandbox: what this node allows, its environments, the run itself, and what comes back.

mod environment;
mod outputs;
mod run;
mod tools;

pub(crate) use outputs::Outputs;
pub(crate) use run::{Ears, Fault, ScriptJob};

use environment::Environments;
use serde::{Deserialize, Serialize};
use starling_sandbox::{Bind, Lack, Sandbox, SandboxConfig};
use starling_scripts::Script;
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use tools::Tools;

/// Bytes of environments that are kept, unless the owner says otherwise: 20 GiB.
const ENVIRONMENTS_BYTES: u64 = 20 << 30;
/// Disk that one script may use at most, unless the owner says otherwise: 20 GiB.
const DISK_BYTES: u64 = 20 << 30;
/// Where helpers lie inside.
const HELPERS_INSIDE: &str = "/opt/starling";

/// What the owner says about scripts: `[scripts]` in `node.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct ScriptSettings {
    /// Whether strangers' scripts may run here at all.
    pub(crate) allowed: bool,
    /// The account that they run as where the node runs as root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    /// The sandbox's own folder; below `data_dir` when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) home: Option<PathBuf>,
    /// A program `uv` to resolve environments with; installed from the package index when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) uv: Option<PathBuf>,
    /// Another package index than the usual one, such as a mirror.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<String>,
    /// Bytes of environments that are kept.
    pub(crate) environments_bytes: u64,
    /// Disk that one script may use.
    pub(crate) disk_bytes: u64,
}

impl Default for ScriptSettings {
    fn default() -> Self {
        Self {
            allowed: false,
            user: None,
            home: None,
            uv: None,
            index: None,
            environments_bytes: ENVIRONMENTS_BYTES,
            disk_bytes: DISK_BYTES,
        }
    }
}

impl ScriptSettings {
    /// Whether all of it is as it comes, so that the file need not say it.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    fn folder(&self, data_dir: &Path) -> PathBuf {
        self.home.clone().unwrap_or_else(|| data_dir.join("scripts"))
    }

    /// The sandbox that scripts run in.
    pub(crate) fn sandbox(&self, data_dir: &Path) -> SandboxConfig {
        SandboxConfig { home: self.folder(data_dir).join("sandbox"), user: self.user.clone() }
    }
}

/// Why this node takes no scripts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoScripts {
    /// What this machine cannot give, by name, where its owner allows scripts: told to everyone.
    pub(crate) lacks: Vec<String>,
    /// What is missing and how to mend it.
    pub(crate) words: String,
}

impl NoScripts {
    fn of(name: &str, words: String) -> Self {
        Self { lacks: vec![name.to_owned()], words }
    }
}

impl From<Vec<Lack>> for NoScripts {
    fn from(lacks: Vec<Lack>) -> Self {
        let words = lacks.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        Self { lacks: lacks.into_iter().map(|lack| lack.subject.to_owned()).collect(), words }
    }
}

/// Everything that scripts run in.
#[derive(Debug)]
pub(crate) struct Room {
    sandbox: Sandbox,
    /// Helpers, uploads unpacked, environments.
    folder: PathBuf,
    settings: ScriptSettings,
    tools: Tools,
    environments: Environments,
    threads: u16,
    memory_bytes: u64,
}

/// What scripts need beside the sandbox, in words. Nothing of a node that runs is touched.
///
/// # Errors
/// What is missing and how to mend it.
pub(crate) fn look(settings: &ScriptSettings, data_dir: &Path) -> Result<String, String> {
    let folder = settings.folder(data_dir);
    fs::create_dir_all(&folder).map_err(|error| format!("the folder {} cannot be written: {error}", folder.display()))?;
    let tools = Tools::prepare(&folder, settings.uv.as_deref())?;
    let uv = tools.uv()?;
    Ok(format!("{}, uv in {}", tools.python_version, uv.display()))
}

impl Room {
    /// Opens the sandbox and looks for what scripts need beside it.
    ///
    /// # Errors
    /// What this machine lacks, with how to mend it.
    pub(crate) fn open(settings: &ScriptSettings, data_dir: &Path, threads: u16, memory_bytes: u64) -> Result<Self, NoScripts> {
        if !settings.allowed {
            let words = "its owner does not allow scripts: `allowed = true` under [scripts] in node.toml does".to_owned();
            return Err(NoScripts { lacks: Vec::new(), words });
        }
        let folder = settings.folder(data_dir);
        let disk = |error: io::Error| NoScripts::of("disk", format!("the folder {} cannot be written: {error}", folder.display()));
        // What a killed process left there.
        tools::remove_folder(&folder.join("work")).map_err(disk)?;
        fs::create_dir_all(folder.join("work")).map_err(disk)?;
        let sandbox = Sandbox::open(settings.sandbox(data_dir))?;
        let tools = Tools::prepare(&folder, settings.uv.as_deref()).map_err(|lack| NoScripts::of("Python", lack))?;
        let environments = Environments::open(folder.join("environments"), settings.environments_bytes).map_err(disk)?;
        Ok(Self { sandbox, folder, settings: settings.clone(), tools, environments, threads, memory_bytes })
    }

    /// Whether this node has what a script asks for.
    ///
    /// # Errors
    /// What it lacks, in words.
    pub(crate) fn suits(&self, script: &Script) -> Result<(), String> {
        script.check().map_err(|error| error.to_string())?;
        let resources = &script.resources;
        if resources.cpus > self.threads {
            return Err(format!("it asks for {} processors, this node gives {}", resources.cpus, self.threads));
        }
        if u64::from(resources.memory_mib) << 20 > self.memory_bytes {
            return Err(format!("it asks for {} MiB of memory, this node gives {}", resources.memory_mib, self.memory_bytes >> 20));
        }
        if u64::from(resources.disk_mib) << 20 > self.settings.disk_bytes {
            return Err(format!("it asks for {} MiB of disk, this node gives {}", resources.disk_mib, self.settings.disk_bytes >> 20));
        }
        if resources.gpu && tools::gpu_devices().is_empty() {
            return Err("it asks for a graphics processor, this node has none".to_owned());
        }
        Ok(())
    }

    /// The folder of one lease's upload.
    pub(crate) fn work_folder(&self, name: &str) -> PathBuf {
        self.folder.join("work").join(name)
    }

    fn helpers(&self) -> Bind {
        Bind { source: self.tools.helpers.clone(), target: HELPERS_INSIDE.into(), writable: false }
    }
}
