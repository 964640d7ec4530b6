//! Script jobs: what a tenant uploads, what is read out of it, and what comes back. Pure rules, with no clock, network or process; the dashboard can run them too.
//!
//! A folder, an archive or one file becomes a [`Bundle`]; [`inspect`] says what is in it; [`JobFile`] says what to do with it, and [`Script`] is that order with
//! the hashes of what was uploaded. On the node [`Metrics`] picks figures out of the output, and [`Report`] is what each statement names.

mod archive;
mod bundle;
mod example;
mod exit;
mod folder;
mod found;
mod job_file;
mod metric;
mod pickle;
mod report;
mod requirements;
mod script;

pub use bundle::{Bundle, Entry, MAX_BUNDLE_BYTES, MAX_BUNDLE_FILES, UploadError, check_path};
pub use example::EXAMPLE;
pub use exit::{Exit, ExitReason, KEPT_LINES};
pub use folder::{left_out, read_folder};
pub use found::{Finding, Found, Proposal, Weight, inspect};
pub use job_file::{DataFile, JobFile, JobFileError, Resources};
pub use metric::{LineCutter, MAX_LINE_BYTES, MAX_NAMES, MAX_PER_SECOND, Metric, Metrics, Taken};
pub use pickle::{Pickle, scan_pickle};
pub use report::{MAX_OUTPUT_FILES, MAX_REPORT_BYTES, OutputFile, Report};
pub use requirements::{Requirement, Requirements, RequirementsError};
pub use script::{Input, Script, ScriptError};

/// The helper that a script may import: `from starling_job import metric, output`.
pub const HELPER: &str = include_str!("../helpers/starling_job.py");
/// Runs a notebook's cells in order and writes the notebook with its outputs.
pub const NOTEBOOK_RUNNER: &str = include_str!("../helpers/starling_notebook.py");
