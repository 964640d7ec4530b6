//! Why a script ended: one reason out of a closed list, the last lines that explain it, and one sentence about what to do.

use serde::{Deserialize, Serialize};

/// Last lines that are kept.
pub const KEPT_LINES: usize = 20;
const MAX_LINE: usize = 400;

/// Why a script ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum ExitReason {
    /// With status 0.
    Completed,
    /// With another status.
    Failed {
        /// The status.
        code: i32,
    },
    /// By a signal that it did not catch.
    Killed {
        /// The signal's number.
        signal: i32,
    },
    /// It wanted more memory than it asked for.
    OutOfMemory,
    /// It started more processes than it asked for.
    TooManyProcesses,
    /// Its disk is full, or has too many files.
    DiskFull,
    /// It printed more than is kept.
    TooMuchOutput,
    /// The lease's time was over.
    TimeOver,
    /// Its tenant or its provider ended it.
    Stopped,
    /// The tenant's meter did not sign what was done.
    NotSigned,
    /// The command is not there.
    CommandNotFound,
    /// The requirements ask for what a job may not have.
    RequirementsRefused,
    /// The package index has no wheels that fit.
    RequirementsUnresolved,
    /// The upload or its data cannot be unpacked.
    UploadRefused,
    /// What it left under `outputs/` cannot be taken.
    OutputsRefused,
}

/// How a script ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Why.
    #[serde(flatten)]
    pub reason: ExitReason,
    /// The lines that explain it, the last of what was printed; [`KEPT_LINES`] at most.
    pub last_lines: Vec<String>,
    /// One sentence: what to do.
    pub advice: String,
}

impl Exit {
    /// An end with the advice that fits its lines.
    pub fn new(reason: ExitReason, last_lines: &[String]) -> Self {
        let short = |line: &String| line.chars().filter(|letter| !letter.is_control() || *letter == '\t').take(MAX_LINE).collect();
        let last_lines: Vec<String> = last_lines[last_lines.len().saturating_sub(KEPT_LINES)..].iter().map(short).collect();
        let advice = reason.advice(&last_lines);
        Self { reason, last_lines, advice }
    }
}

impl ExitReason {
    /// Whether the script did what it was asked for.
    pub fn is_success(self) -> bool {
        self == Self::Completed
    }

    /// The reason in words.
    pub fn words(self) -> String {
        match self {
            Self::Completed => "completed".to_owned(),
            Self::Failed { code } => format!("failed with status {code}"),
            Self::Killed { signal } => format!("killed by signal {signal}"),
            Self::OutOfMemory => "out of memory".to_owned(),
            Self::TooManyProcesses => "too many processes".to_owned(),
            Self::DiskFull => "disk full".to_owned(),
            Self::TooMuchOutput => "too much output".to_owned(),
            Self::TimeOver => "time over".to_owned(),
            Self::Stopped => "stopped".to_owned(),
            Self::NotSigned => "not signed".to_owned(),
            Self::CommandNotFound => "command not found".to_owned(),
            Self::RequirementsRefused => "requirements refused".to_owned(),
            Self::RequirementsUnresolved => "requirements not resolved".to_owned(),
            Self::UploadRefused => "upload refused".to_owned(),
            Self::OutputsRefused => "outputs refused".to_owned(),
        }
    }

    fn advice(self, lines: &[String]) -> String {
        match self {
            Self::Completed => "Everything under outputs/ is downloaded.".to_owned(),
            Self::Failed { .. } | Self::Killed { .. } => explained(lines),
            Self::OutOfMemory => "Raise memory_mib under [resources] in job.toml, or work on smaller batches.".to_owned(),
            Self::TooManyProcesses => "Raise processes under [resources] in job.toml, or start fewer workers.".to_owned(),
            Self::DiskFull => "Raise disk_mib under [resources] in job.toml, or remove what the script no longer needs.".to_owned(),
            Self::TooMuchOutput => "Print less: write long logs to a file under outputs/.".to_owned(),
            Self::TimeOver => {
                "Raise max_minutes in job.toml, and save checkpoints under outputs/ so that the next run goes on from there.".to_owned()
            }
            Self::Stopped => "What lay under outputs/ at the last statement is yours; run the job again to go on.".to_owned(),
            Self::NotSigned => "Keep the command or the page open while the job runs: it signs for each interval.".to_owned(),
            Self::CommandNotFound => {
                "Begin the command in job.toml with python, or with a program that the upload or the requirements bring.".to_owned()
            }
            Self::RequirementsRefused => "Name packages and versions only, one a line, as the package index has them.".to_owned(),
            Self::RequirementsUnresolved => {
                "Choose versions that exist together as wheels for Linux and this version of Python.".to_owned()
            }
            Self::UploadRefused => "Mend what the line above names and run the job again.".to_owned(),
            Self::OutputsRefused => "Write plain files under outputs/, fewer or smaller ones.".to_owned(),
        }
    }
}

/// What a Python error means in a sandbox.
fn explained(lines: &[String]) -> String {
    let find = |mark: &str| lines.iter().rev().find_map(|line| line.split_once(mark).map(|(_, rest)| rest.trim()));
    if let Some(module) = find("ModuleNotFoundError: No module named ") {
        let name = module.trim_matches(['\'', '"']);
        return format!("Add the package that brings {name} to requirements.txt, or put the file into the upload.");
    }
    let offline = [
        "Temporary failure in name resolution",
        "Network is unreachable",
        "Name or service not known",
        "Failed to resolve",
        "Connection refused",
    ];
    if offline.iter().any(|mark| find(mark).is_some()) {
        return "The run has no network: bring data and models with [[data]] in job.toml, and packages with requirements.txt.".to_owned();
    }
    if let Some(file) = find("FileNotFoundError: ") {
        return format!("A file is not there ({file}): paths are relative to the uploaded folder.");
    }
    if find("Read-only file system").is_some() || find("PermissionError").is_some() {
        return "Only the uploaded folder, outputs/ and /tmp can be written.".to_owned();
    }
    "Read the last lines: the script itself ended so. Run it here first if it is new.".to_owned()
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn exit__should_say_what_to_do_about_what_the_lines_show() {
        for (line, word) in [
            ("ModuleNotFoundError: No module named 'sklearn'", "brings sklearn"),
            ("OSError: [Errno 101] Network is unreachable", "no network"),
            ("FileNotFoundError: [Errno 2] No such file or directory: 'data.csv'", "data.csv"),
            ("OSError: [Errno 30] Read-only file system: '/usr/x'", "can be written"),
            ("ValueError: bad", "last lines"),
        ] {
            let exit = Exit::new(ExitReason::Failed { code: 1 }, &["Traceback".to_owned(), line.to_owned()]);
            assert!(exit.advice.contains(word), "{line}: {}", exit.advice);
        }
    }

    #[test]
    fn exit__should_keep_few_and_plain_lines() {
        let lines: Vec<String> = (0..100).map(|index| format!("\u{1b}[31m{index}{}", "x".repeat(1_000))).collect();
        let exit = Exit::new(ExitReason::OutOfMemory, &lines);
        assert_eq!(exit.last_lines.len(), KEPT_LINES);
        assert!(exit.last_lines.iter().all(|line| line.len() <= MAX_LINE && !line.contains('\u{1b}')));
        let written = serde_json::to_value(&exit).expect("writable");
        assert_eq!(written["reason"], "out_of_memory");
        assert_eq!(serde_json::from_value::<Exit>(written).expect("readable"), exit);
    }
}
