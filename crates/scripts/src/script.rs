//! The order that a lease of a script pays for: what to run, with what, within which limits.

use crate::{bundle::check_path, job_file::Resources};
use serde::{Deserialize, Serialize};
use starling_primitives::Hash32;
use std::collections::BTreeMap;

const MAX_ARGUMENTS: usize = 64;
const MAX_TEXT: usize = 4_096;
const MAX_VARIABLES: usize = 64;
const MAX_INPUTS: usize = 32;
/// Variables that belong to the sandbox.
const RESERVED: &[&str] = &["PATH", "HOME", "PYTHONPATH", "PYTHONHOME", "LD_PRELOAD", "LD_LIBRARY_PATH", "TMPDIR", "VIRTUAL_ENV"];

/// Why an order is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScriptError {
    /// A part of it.
    #[error("{field}: {why}")]
    Field {
        /// Which, as job.toml calls it.
        field: &'static str,
        /// What is wrong and what to write.
        why: String,
    },
}

/// A file that lies in the sandbox beside the upload: a data set, or a model to start from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Where, relative to the uploaded folder.
    pub path: String,
    /// The artifact; the tenant must have the right to it.
    pub artifact: Hash32,
}

/// A script job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// A tar of the upload, as [`crate::Bundle::to_tar`] writes it.
    pub bundle: Hash32,
    /// More files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inputs: Vec<Input>,
    /// Program and arguments; no shell reads them.
    pub command: Vec<String>,
    /// The upload's file of requirements; none uses the system's Python alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requirements: Option<String>,
    /// Variables of the run.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// What it may use.
    pub resources: Resources,
}

impl Script {
    /// Whether a node may take it at all.
    ///
    /// # Errors
    /// The first field that is wrong.
    pub fn check(&self) -> Result<(), ScriptError> {
        let wrong = |field, why: &str| Err(ScriptError::Field { field, why: why.to_owned() });
        let is_text = |text: &str| text.len() <= MAX_TEXT && !text.contains('\0');
        if self.command.first().is_none_or(String::is_empty) {
            return wrong("command", "say what to run, such as [\"python\", \"train.py\"]");
        }
        if self.command.len() > MAX_ARGUMENTS || !self.command.iter().all(|part| is_text(part)) {
            return wrong("command", "64 parts of 4,096 bytes at most");
        }
        if self.inputs.len() > MAX_INPUTS {
            return wrong("data", "32 files at most");
        }
        for (index, input) in self.inputs.iter().enumerate() {
            if let Err(error) = check_path(&input.path) {
                return wrong("data", &error.to_string());
            }
            if self.inputs[..index].iter().any(|other| other.path == input.path) {
                return wrong("data", "two files of one path");
            }
        }
        if let Some(Err(error)) = self.requirements.as_deref().map(check_path) {
            return wrong("requirements", &error.to_string());
        }
        let is_name = |name: &str| {
            name.len() <= 64
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                && name.bytes().next().is_some_and(|byte| !byte.is_ascii_digit())
        };
        if self.environment.len() > MAX_VARIABLES || !self.environment.iter().all(|(name, value)| is_name(name) && is_text(value)) {
            return wrong("environment", "64 variables at most, named with letters, digits and underscores");
        }
        if let Some(name) = self.environment.keys().find(|name| RESERVED.contains(&name.as_str())) {
            return wrong("environment", &format!("{name} belongs to the sandbox: leave it out"));
        }
        self.resources.check()
    }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn sample() -> Script {
        Script {
            bundle: Hash32([1; 32]),
            inputs: vec![Input { path: "data/a.csv".to_owned(), artifact: Hash32([2; 32]) }],
            command: vec!["python".to_owned(), "main.py".to_owned()],
            requirements: Some("requirements.txt".to_owned()),
            environment: BTreeMap::from([("SEED".to_owned(), "1".to_owned())]),
            resources: Resources::default(),
        }
    }

    #[test]
    fn script__should_be_checked_in_each_field() {
        assert_eq!(sample().check(), Ok(()));
        type Change = (&'static str, fn(&mut Script));
        let changes: [Change; 9] = [
            ("command", |script| script.command.clear()),
            ("command", |script| script.command = vec!["x".to_owned(); 65]),
            ("command", |script| script.command.push("a\0b".to_owned())),
            ("data", |script| script.inputs[0].path = "../x".to_owned()),
            ("data", |script| script.inputs.push(script.inputs[0].clone())),
            ("requirements", |script| script.requirements = Some("/etc/x".to_owned())),
            ("environment", |script| drop(script.environment.insert("LD_PRELOAD".to_owned(), "x".to_owned()))),
            ("environment", |script| drop(script.environment.insert("1X".to_owned(), "x".to_owned()))),
            ("resources", |script| script.resources.memory_mib = 0),
        ];
        for (field, change) in changes {
            let mut script = sample();
            change(&mut script);
            let error = script.check().expect_err(field).to_string();
            assert!(error.starts_with(field), "{error}");
        }
    }
}
