//! What is in an upload: entry points, notebooks, requirements, tables, models, and what looks wrong. Nothing of it is run or loaded.

use crate::{
    bundle::Bundle,
    job_file::{JobFile, JobFileError},
    pickle::{Pickle, scan_pickle},
    requirements::Requirements,
};
use serde::Serialize;

/// A pickle inside a model file is read up to this.
const MAX_INNER_PICKLE: usize = 64 << 20;
const MAX_FINDINGS: usize = 100;

/// How much a finding weighs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Weight {
    /// Worth knowing.
    Note,
    /// Looks like an attack on whoever loads it.
    Suspicious,
}

/// Something about a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which file.
    pub path: String,
    /// How much it weighs.
    pub weight: Weight,
    /// In words.
    pub words: String,
}

/// What an upload holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Files and their bytes.
    pub files: usize,
    /// All bytes.
    pub bytes: u64,
    /// The job file, if there is one.
    pub job_file: Option<String>,
    /// Scripts that could be started, the likeliest first.
    pub entry_points: Vec<String>,
    /// Notebooks at the top.
    pub notebooks: Vec<String>,
    /// Files of requirements, the likeliest first: a lock file in pip's format goes before what it was made from.
    pub requirements: Vec<String>,
    /// Tables and other data.
    pub data: Vec<String>,
    /// Models to start from.
    pub models: Vec<String>,
    /// What is worth knowing.
    pub findings: Vec<Finding>,
}

/// What to run, by what was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proposal {
    /// One thing only could be meant.
    One(JobFile),
    /// Choose among these.
    Choose(Vec<JobFile>),
    /// Nothing that can be run was found.
    Nothing,
}

/// Looks through an upload.
pub fn inspect(bundle: &Bundle) -> Found {
    let mut found = Found { files: bundle.len(), bytes: bundle.bytes(), ..Found::default() };
    found.job_file = JobFile::NAMES.iter().find(|name| bundle.get(name).is_some()).map(|name| (*name).to_owned());
    for (path, entry) in bundle.files() {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let end = name.rsplit_once('.').map_or("", |(_, end)| end).to_ascii_lowercase();
        match end.as_str() {
            "py" if folder.is_empty() => found.entry_points.push(path.to_owned()),
            "ipynb" if folder.is_empty() => found.notebooks.push(path.to_owned()),
            "csv" | "tsv" | "parquet" | "jsonl" | "npy" | "npz" | "arrow" | "feather" => found.data.push(path.to_owned()),
            "safetensors" | "pt" | "pth" | "ckpt" | "onnx" | "gguf" | "joblib" | "pkl" | "pickle" | "h5" => {
                found.models.push(path.to_owned())
            }
            _ => {}
        }
        if folder.is_empty() && is_requirements(name) {
            found.requirements.push(path.to_owned());
        }
        note_lock(&mut found, path, name);
        note_pickles(&mut found, path, &entry.bytes);
    }
    found.entry_points.sort_by_key(|path| (rank(path, bundle), path.clone()));
    // Only what says that it is a program counts, where anything does.
    if found.entry_points.first().is_some_and(|first| rank(first, bundle) < 9) {
        found.entry_points.retain(|path| rank(path, bundle) < 9);
    }
    found.requirements.sort_by_key(|path| (!path.contains("lock"), path != "requirements.txt", path.clone()));
    found.findings.truncate(MAX_FINDINGS);
    found
}

impl Found {
    /// The job that was likely meant, or the choice.
    pub fn propose(&self) -> Proposal {
        let requirements = self.requirements.first().cloned();
        let job = |command: Vec<String>| JobFile { requirements: requirements.clone(), ..JobFile::of_command(command) };
        let words = |parts: [&str; 2]| parts.map(str::to_owned).to_vec();
        let scripts = self.entry_points.iter().map(|path| job(words(["python", path])));
        let notebooks = self.notebooks.iter().map(|path| job(words(["notebook", path])));
        let mut jobs: Vec<JobFile> = scripts.chain(notebooks).collect();
        match jobs.len() {
            0 => Proposal::Nothing,
            1 => Proposal::One(jobs.remove(0)),
            _ if self.entry_points.first().is_some_and(|first| first == "main.py") => Proposal::One(jobs.remove(0)),
            _ => Proposal::Choose(jobs),
        }
    }

    /// Whether something looks like an attack.
    pub fn is_suspicious(&self) -> bool {
        self.findings.iter().any(|finding| finding.weight == Weight::Suspicious)
    }
}

impl Bundle {
    /// The job file of the upload, checked against it: what it names is there, and its requirements are such as a job may have.
    ///
    /// # Errors
    /// What [`JobFileError`] says.
    pub fn check_job(&self, job: &JobFile) -> Result<Requirements, JobFileError> {
        if let ["notebook", notebook] = job.command.iter().map(String::as_str).collect::<Vec<_>>()[..]
            && self.get(notebook).is_none()
        {
            return Err(JobFileError::NotThere(notebook.to_owned()));
        }
        let Some(name) = &job.requirements else { return Ok(Requirements::default()) };
        let bytes = self.get(name).ok_or_else(|| JobFileError::NotThere(name.clone()))?;
        Requirements::read(&String::from_utf8_lossy(bytes)).map_err(|source| JobFileError::Requirements { name: name.clone(), source })
    }
}

fn is_requirements(name: &str) -> bool {
    name.starts_with("requirements") && (name.ends_with(".txt") || name.ends_with(".lock"))
}

/// How likely a script is the one to start; 9 says nothing for it.
fn rank(path: &str, bundle: &Bundle) -> usize {
    let usual = ["main.py", "train.py", "run.py", "app.py", "__main__.py"];
    usual.iter().position(|name| *name == path).unwrap_or_else(|| {
        let is_program = bundle.get(path).is_some_and(|bytes| {
            let text = String::from_utf8_lossy(bytes);
            text.contains("__name__ == \"__main__\"") || text.contains("__name__ == '__main__'")
        });
        if is_program { 8 } else { 9 }
    })
}

fn note_lock(found: &mut Found, path: &str, name: &str) {
    let how = match name {
        "uv.lock" => "uv export --format requirements-txt -o requirements.txt",
        "poetry.lock" => "poetry export -o requirements.txt",
        "Pipfile.lock" => "pipenv requirements --hash > requirements.txt",
        "pdm.lock" => "pdm export -o requirements.txt",
        "environment.yml" | "environment.yaml" => "pip freeze > requirements.txt",
        _ => return,
    };
    let words = format!("not read: `{how}` writes what is");
    found.findings.push(Finding { path: path.to_owned(), weight: Weight::Note, words });
}

fn note_pickles(found: &mut Found, path: &str, bytes: &[u8]) {
    let mut note = |place: String, pickle: &Pickle| {
        let list = |names: &[String]| names.iter().take(5).cloned().collect::<Vec<_>>().join(", ");
        if !pickle.dangerous.is_empty() {
            let words = format!("loading this pickle would call {}", list(&pickle.dangerous));
            found.findings.push(Finding { path: place, weight: Weight::Suspicious, words });
        } else if !pickle.unusual.is_empty() {
            let words = format!("a pickle that needs {}", list(&pickle.unusual));
            found.findings.push(Finding { path: place, weight: Weight::Note, words });
        }
    };
    if let Some(pickle) = scan_pickle(bytes) {
        note(path.to_owned(), &pickle);
    } else if bytes.starts_with(b"PK") {
        // PyTorch's files and NumPy's archives are zips.
        for inner in starling_archives::zip::list(bytes).unwrap_or_default() {
            let is_pickle = [".pkl", ".pickle", ".npy"].iter().any(|end| inner.path.ends_with(end));
            if let Some(bytes) = is_pickle.then(|| inner.unpack(MAX_INNER_PICKLE).ok()).flatten()
                && let Some(pickle) = scan_pickle(array_body(&bytes).unwrap_or(&bytes))
            {
                note(format!("{path}: {}", inner.path), &pickle);
            }
        }
    } else if let Some(pickle) = array_body(bytes).and_then(scan_pickle) {
        note(path.to_owned(), &pickle);
    }
}

/// What follows the header of an array file whose elements are objects: a pickle.
fn array_body(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(b"\x93NUMPY")?;
    let (length, start): (usize, usize) = match rest.first()? {
        1 => (usize::from(u16::from_le_bytes([*rest.get(2)?, *rest.get(3)?])), 4),
        _ => (usize::try_from(u32::from_le_bytes([*rest.get(2)?, *rest.get(3)?, *rest.get(4)?, *rest.get(5)?])).ok()?, 6),
    };
    let header = rest.get(start..start.checked_add(length)?)?;
    String::from_utf8_lossy(header).contains("|O").then(|| &rest[start + length..])
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;
    use crate::bundle::Entry;

    const EVIL: &[u8] = b"\x80\x02cposix\nsystem\nq\x00X\x02\x00\x00\x00idq\x01\x85q\x02Rq\x03.";

    fn bundle(files: &[(&str, &[u8])]) -> Bundle {
        let mut bundle = Bundle::default();
        for (path, bytes) in files {
            bundle.add(path, Entry { bytes: bytes.to_vec(), executable: false }).expect("fits");
        }
        bundle
    }

    #[test]
    fn found__should_propose_what_was_likely_meant() {
        let program = b"if __name__ == \"__main__\":\n    pass\n";
        let check = |files: &[(&str, &[u8])], expect: &[&str]| {
            let found = inspect(&bundle(files));
            let jobs = match found.propose() {
                Proposal::One(job) => vec![job],
                Proposal::Choose(jobs) => jobs,
                Proposal::Nothing => Vec::new(),
            };
            assert_eq!(jobs.iter().map(|job| job.command.join(" ")).collect::<Vec<_>>(), expect);
        };
        check(&[("script.py", b""), ("a.csv", b"")], &["python script.py"]);
        check(&[("main.py", b""), ("model.py", b""), ("tool.py", program)], &["python main.py"]);
        check(&[("fit.py", program), ("model.py", b"")], &["python fit.py"]);
        check(&[("a.py", b""), ("b.py", b"")], &["python a.py", "python b.py"]);
        check(&[("study.ipynb", b"{}")], &["notebook study.ipynb"]);
        check(&[("study.ipynb", b"{}"), ("fit.py", program)], &["python fit.py", "notebook study.ipynb"]);
        check(&[("src/a.py", b""), ("a.csv", b"")], &[]);
    }

    #[test]
    fn found__should_list_what_there_is() {
        let found = inspect(&bundle(&[
            ("job.toml", b""),
            ("requirements.txt", b""),
            ("requirements.lock", b""),
            ("requirements-dev.txt", b""),
            ("uv.lock", b""),
            ("data/a.csv", b""),
            ("base.safetensors", b""),
        ]));
        assert_eq!(found.job_file.as_deref(), Some("job.toml"));
        assert_eq!(found.requirements, ["requirements.lock", "requirements.txt", "requirements-dev.txt"]);
        assert_eq!((found.data, found.models), (vec!["data/a.csv".to_owned()], vec!["base.safetensors".to_owned()]));
        assert!(found.findings.iter().any(|finding| finding.path == "uv.lock" && finding.words.contains("uv export")));
    }

    #[test]
    fn found__should_name_hostile_pickles_wherever_they_hide() {
        let torch = crate::archive::zip::tests::zipped(&[("model/data.pkl", 0o100_644, EVIL, EVIL.len())]);
        let header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n";
        let mut array = b"\x93NUMPY\x01\x00".to_vec();
        array.extend(u16::try_from(header.len()).expect("short").to_le_bytes());
        array.extend(header);
        array.extend(EVIL);
        for (path, bytes) in [("model.pkl", EVIL), ("model.pt", &torch), ("notes.txt", EVIL), ("array.npy", &array)] {
            let found = inspect(&bundle(&[(path, bytes)]));
            assert!(found.is_suspicious(), "{path}");
            assert!(found.findings[0].words.contains("posix.system"), "{path}: {:?}", found.findings);
        }
        assert!(!inspect(&bundle(&[("main.py", b"import os"), ("a.csv", b"1,2\n")])).is_suspicious());
    }

    #[test]
    fn job__should_be_checked_against_its_upload() {
        let bundle = bundle(&[("main.py", b""), ("requirements.txt", b"numpy\n-e .\n")]);
        let job = JobFile { requirements: Some("requirements.txt".to_owned()), ..JobFile::of_command(vec!["python".to_owned()]) };
        let error = bundle.check_job(&job).expect_err("refused").to_string();
        assert!(error.starts_with("requirements.txt: line 2"), "{error}");
        let missing = JobFile { requirements: Some("other.txt".to_owned()), ..job.clone() };
        assert_eq!(bundle.check_job(&missing), Err(JobFileError::NotThere("other.txt".to_owned())));
        assert_eq!(bundle.check_job(&JobFile { requirements: None, ..job }), Ok(Requirements::default()));
    }
}
