//! `job.toml` (or `metadata.json` with the same fields): what to run, with what, for how much and how long at most.

use crate::{
    requirements::RequirementsError,
    script::{Input, Script, ScriptError},
};
use serde::{Deserialize, Deserializer, Serialize};
use starling_primitives::{Amount, Hash32};
use std::collections::BTreeMap;

const MAX_BYTES: usize = 64 * 1024;

/// Why a job file is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JobFileError {
    /// It does not parse, or has a field that is not known.
    #[error("{name}: {reason}")]
    Syntax {
        /// Which file.
        name: String,
        /// The parser's words, with the line.
        reason: String,
    },
    /// A field says what cannot be.
    #[error(transparent)]
    Field(#[from] ScriptError),
    /// The requirements that it names are refused.
    #[error("{name}: {source}")]
    Requirements {
        /// Which file.
        name: String,
        /// The line.
        source: RequirementsError,
    },
    /// A file that it names is not in the upload.
    #[error("{0:?} is named and not in the upload")]
    NotThere(String),
}

/// What a script may use. The node refuses a job that asks for more than it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// Memory, in MiB.
    pub memory_mib: u32,
    /// Processors.
    pub cpus: u16,
    /// Disk for upload, data and outputs, in MiB.
    pub disk_mib: u32,
    /// Processes and threads at one time.
    pub processes: u32,
    /// Whether the node's graphics processors are passed in.
    pub gpu: bool,
}

impl Default for Resources {
    fn default() -> Self {
        Self { memory_mib: 2_048, cpus: 1, disk_mib: 2_048, processes: 256, gpu: false }
    }
}

impl Resources {
    pub(crate) fn check(&self) -> Result<(), ScriptError> {
        let ranges = [
            ("memory_mib", u64::from(self.memory_mib), 64, 4 << 20),
            ("cpus", u64::from(self.cpus), 1, 1_024),
            ("disk_mib", u64::from(self.disk_mib), 16, 4 << 20),
            ("processes", u64::from(self.processes), 4, 65_536),
        ];
        for (name, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(ScriptError::Field { field: "resources", why: format!("{name} is {value}: write {least} to {most}") });
            }
        }
        Ok(())
    }
}

/// A file of the tenant's disk, or an artifact, that lies beside the upload in the sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataFile {
    /// Where it lies in the sandbox, relative to the uploaded folder.
    pub path: String,
    /// Where it lies on this disk, relative to the job file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Or an artifact that may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Hash32>,
}

/// A job file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobFile {
    /// Program and arguments as a list, or as one line that is cut at its spaces.
    #[serde(deserialize_with = "command")]
    pub command: Vec<String>,
    /// The upload's file of requirements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requirements: Option<String>,
    /// The most NEAR that it may cost, in decimal; the offer's price times the time when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_price_near: Option<String>,
    /// The most minutes that it may take, setting up included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_minutes: Option<u32>,
    /// What it may use.
    #[serde(default)]
    pub resources: Resources,
    /// Variables of the run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// Data sets and models to start from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<DataFile>,
}

impl JobFile {
    /// Names that a job file may have, the first is taken.
    pub const NAMES: [&str; 2] = ["job.toml", "metadata.json"];

    /// A job of a command and nothing more.
    pub fn of_command(command: Vec<String>) -> Self {
        Self {
            command,
            requirements: None,
            max_price_near: None,
            max_minutes: None,
            resources: Resources::default(),
            environment: BTreeMap::new(),
            data: Vec::new(),
        }
    }

    /// Reads a job file; `name` decides between TOML and JSON.
    ///
    /// # Errors
    /// [`JobFileError::Syntax`] or [`JobFileError::Field`].
    pub fn read(name: &str, bytes: &[u8]) -> Result<Self, JobFileError> {
        let syntax = |reason: String| JobFileError::Syntax { name: name.to_owned(), reason };
        if bytes.len() > MAX_BYTES {
            return Err(syntax(format!("longer than {MAX_BYTES} bytes")));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| syntax("it is no UTF-8".to_owned()))?;
        let file: Self = if name.ends_with(".json") {
            serde_json::from_str(text).map_err(|error| syntax(error.to_string()))?
        } else {
            toml::from_str(text).map_err(|error| syntax(error.to_string()))?
        };
        file.max_price()?;
        file.script(Hash32([0; 32]), &vec![Hash32([0; 32]); file.data.len()])?;
        Ok(file)
    }

    /// The most that it may cost.
    pub fn max_price(&self) -> Result<Option<Amount>, ScriptError> {
        let read = |text: &String| {
            Amount::parse_near(text)
                .map_err(|_| ScriptError::Field { field: "max_price_near", why: format!("{text:?} is no amount: write such as \"0.5\"") })
        };
        self.max_price_near.as_ref().map(read).transpose()
    }

    /// The order for an upload and its data, `artifacts` in the order of [`Self::data`].
    ///
    /// # Errors
    /// What [`Script::check`] says, or data that names neither or both of file and artifact.
    pub fn script(&self, bundle: Hash32, artifacts: &[Hash32]) -> Result<Script, ScriptError> {
        for data in &self.data {
            if data.file.is_some() == data.artifact.is_some() {
                return Err(ScriptError::Field { field: "data", why: format!("{:?} needs either `file` or `artifact`", data.path) });
            }
        }
        if self.max_minutes == Some(0) {
            return Err(ScriptError::Field { field: "max_minutes", why: "write 1 or more".to_owned() });
        }
        let inputs =
            self.data.iter().zip(artifacts).map(|(data, artifact)| Input { path: data.path.clone(), artifact: *artifact }).collect();
        let script = Script {
            bundle,
            inputs,
            command: self.command.clone(),
            requirements: self.requirements.clone(),
            environment: self.environment.clone(),
            resources: self.resources,
        };
        script.check()?;
        Ok(script)
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Command {
    Line(String),
    Parts(Vec<String>),
}

fn command<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(match Command::deserialize(deserializer)? {
        Command::Line(line) => line.split_whitespace().map(str::to_owned).collect(),
        Command::Parts(parts) => parts,
    })
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    const FULL: &str = r#"
command = "python train.py --epochs 3"
requirements = "requirements.txt"
max_price_near = "0.25"
max_minutes = 30

[resources]
memory_mib = 4096
cpus = 2

[environment]
SEED = "1"

[[data]]
path = "data/houses.csv"
file = "../houses.csv"
"#;

    #[test]
    fn job_file__should_be_the_same_in_toml_and_json() {
        let file = JobFile::read("job.toml", FULL.as_bytes()).expect("a job");
        assert_eq!(file.command, ["python", "train.py", "--epochs", "3"]);
        assert_eq!(file.max_price(), Ok(Some(Amount::from_millinear(250))));
        assert_eq!((file.resources.memory_mib, file.resources.cpus, file.resources.processes), (4_096, 2, 256));
        let json = serde_json::to_vec(&file).expect("writable");
        assert_eq!(JobFile::read("metadata.json", &json), Ok(file));
    }

    #[test]
    fn job_file__should_name_what_is_wrong() {
        for (from, to, word) in [
            ("cpus = 2", "cpu = 2", "unknown field"),
            ("cpus = 2", "cpus = 0", "cpus is 0"),
            ("\"0.25\"", "\"much\"", "max_price_near"),
            ("max_minutes = 30", "max_minutes = 0", "max_minutes"),
            ("file = \"../houses.csv\"", "", "either `file` or `artifact`"),
            ("data/houses.csv", "../houses.csv", "`..`"),
            ("\"python train.py --epochs 3\"", "\"\"", "command"),
            ("SEED", "PATH", "belongs to the sandbox"),
        ] {
            let text = FULL.replacen(from, to, 1);
            assert_ne!(text, FULL, "{from}");
            let error = JobFile::read("job.toml", text.as_bytes()).expect_err(to).to_string();
            assert!(error.contains(word), "{error} lacks {word}");
        }
    }
}
