//! What each statement of a script's node names: log, metrics and files so far, and the end. The last one is what the tenant acknowledges.

use crate::{exit::Exit, metric::Metric};
use serde::{Deserialize, Serialize};
use starling_primitives::Hash32;

/// The most files under `outputs/`.
pub const MAX_OUTPUT_FILES: usize = 1_000;
/// The longest report, in bytes of JSON.
pub const MAX_REPORT_BYTES: u64 = 1 << 20;

/// A file under `outputs/`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputFile {
    /// Its path below `outputs/`.
    pub path: String,
    /// Its size.
    pub bytes: u64,
    /// The artifact.
    pub hash: Hash32,
}

/// The outputs so far, as an artifact in JSON.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    /// All that was printed; nothing before the first byte.
    pub log: Option<OutputFile>,
    /// All figures, a JSON [`Metric`] a line; nothing before the first.
    pub metrics: Option<OutputFile>,
    /// Figures that passed the limits and were left out.
    pub metrics_dropped: u64,
    /// The last figure of each name.
    pub last_metrics: Vec<Metric>,
    /// Files under `outputs/`, by path.
    pub files: Vec<OutputFile>,
    /// Whether files are left to a later report because too much changed since the last.
    pub more_files: bool,
    /// The environment's lock file with the hash of every package, if there was anything to install.
    pub environment: Option<OutputFile>,
    /// The most memory that was used at one time.
    pub peak_memory_bytes: Option<u64>,
    /// Processor time.
    pub cpu_ms: Option<u64>,
    /// How it ended, in the last report.
    pub exit: Option<Exit>,
}

impl Report {
    /// All artifacts that it names.
    pub fn artifacts(&self) -> impl Iterator<Item = &OutputFile> {
        self.log.iter().chain(&self.metrics).chain(&self.environment).chain(&self.files)
    }

    /// Whether its paths stay below the folder that they are written to, each once.
    pub fn is_well_formed(&self) -> bool {
        let paths: std::collections::BTreeSet<&str> = self.files.iter().map(|file| file.path.as_str()).collect();
        self.files.len() <= MAX_OUTPUT_FILES && paths.len() == self.files.len() && paths.iter().all(|path| crate::check_path(path).is_ok())
    }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn report__should_not_lead_its_reader_out_of_a_folder() {
        let file = |path: &str| OutputFile { path: path.to_owned(), bytes: 1, hash: Hash32([1; 32]) };
        let report = |paths: &[&str]| Report { files: paths.iter().map(|path| file(path)).collect(), ..Report::default() };
        assert!(report(&["model.pkl", "plots/a.png"]).is_well_formed());
        for paths in [&["../x"][..], &["/etc/x"], &["a", "a"]] {
            assert!(!report(paths).is_well_formed(), "{paths:?}");
        }
        assert_eq!(Report { log: Some(file("log")), ..report(&["a"]) }.artifacts().count(), 2);
    }
}
