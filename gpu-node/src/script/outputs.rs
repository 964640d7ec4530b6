//! What a script gave: log, figures and files, as artifacts and the report that names them.

use super::tools::remove_folder;
use crate::artifact::{ArtifactError, ArtifactStore, hash_of};
use starling_http_api::artifact::{MAX_BYTES, Manifest};
use starling_primitives::Hash32;
use starling_sandbox::Peek;
use starling_scripts::{Exit, ExitReason, MAX_OUTPUT_FILES, Metric, OutputFile, Report, check_path};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Figures that are kept of one script.
const MAX_METRICS: u64 = 100_000;
/// What a statement before the last brings of `outputs/`; the rest waits for the last.
const INTERIM_BYTES: u64 = 256 << 20;

/// Shared by the thread that runs the script and the task that makes its statements.
#[derive(Debug)]
pub(crate) struct Outputs {
    /// Where the script works; its `outputs/` lies there once it has ended.
    work: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// A figure in JSON a line.
    metrics: Vec<u8>,
    count: u64,
    dropped: u64,
    last: BTreeMap<String, Metric>,
    lock: Option<String>,
    peak_memory_bytes: Option<u64>,
    cpu_ms: Option<u64>,
    exit: Option<Exit>,
    /// Looks into the script's `outputs/` while it runs.
    peek: Option<Peek>,
    /// What was uploaded, so that it is not uploaded again.
    uploaded: BTreeMap<String, OutputFile>,
}

impl Outputs {
    /// The outputs of a script that works in `work`.
    pub(crate) fn new(work: &Path) -> Self {
        Self { work: work.to_owned(), state: Mutex::default() }
    }

    /// Keeps a figure; false where there are too many.
    pub(super) fn add_metric(&self, metric: &Metric) -> bool {
        let mut state = self.lock();
        if state.count >= MAX_METRICS {
            state.dropped += 1;
            return false;
        }
        if let Ok(line) = serde_json::to_vec(metric) {
            state.metrics.extend_from_slice(&line);
            state.metrics.push(b'\n');
        }
        state.count += 1;
        state.last.insert(metric.name.clone(), metric.clone());
        true
    }

    /// Figures so far.
    pub(super) fn count(&self) -> u64 {
        self.lock().count
    }

    pub(super) fn drop_metrics(&self, count: u64) {
        let mut state = self.lock();
        state.dropped = state.dropped.saturating_add(count);
    }

    pub(super) fn set_lock(&self, lock: String) {
        self.lock().lock = Some(lock);
    }

    pub(super) fn set_usage(&self, peak_memory_bytes: u64, cpu_ms: u64) {
        let mut state = self.lock();
        (state.peak_memory_bytes, state.cpu_ms) = (Some(peak_memory_bytes), Some(cpu_ms));
    }

    pub(super) fn begin(&self, peek: Peek) {
        self.lock().peek = Some(peek);
    }

    pub(super) fn end(&self, exit: Exit) {
        let mut state = self.lock();
        (state.exit, state.peek) = (Some(exit), None);
    }

    /// Uploads what there is so far and the report that names it; gives the report's hash. What was uploaded and has not changed is not uploaded again.
    pub(crate) async fn report(&self, store: &ArtifactStore, log: &[u8], is_final: bool) -> Result<Hash32, ArtifactError> {
        let (metrics, lock, mut report) = {
            let state = self.lock();
            let report = Report {
                metrics_dropped: state.dropped,
                last_metrics: state.last.values().cloned().collect(),
                peak_memory_bytes: state.peak_memory_bytes,
                cpu_ms: state.cpu_ms,
                exit: state.exit.clone().filter(|_| is_final),
                ..Report::default()
            };
            (state.metrics.clone(), state.lock.clone(), report)
        };
        report.log = self.put(store, "log.txt", log.to_vec()).await?;
        report.metrics = self.put(store, "metrics.jsonl", metrics).await?;
        report.environment = self.put(store, "requirements.lock", lock.unwrap_or_default().into_bytes()).await?;
        let folder = if is_final { Some(self.work.clone()) } else { self.look(&mut report).await? };
        match folder.map_or_else(|| Ok(Ok(BTreeMap::new())), |folder| list(&folder.join("outputs")))? {
            Ok(paths) => {
                for (path, file) in paths {
                    let name = format!("outputs/{path}");
                    let stored = self.put_file(store, &name, file).await?;
                    report.files.push(OutputFile { path, ..stored });
                }
            }
            Err(why) if is_final => {
                let lines = report.exit.take().map_or_else(Vec::new, |exit| exit.last_lines);
                report.exit = Some(Exit::new(ExitReason::OutputsRefused, &[lines, vec![why]].concat()));
            }
            Err(_) => report.more_files = true,
        }
        let bytes = serde_json::to_vec(&report).map_err(|error| ArtifactError::Disk(io::Error::other(error)))?;
        store.put(bytes.into()).await
    }

    /// Copies what lies under `outputs/` now, where the script runs; gives the folder that it lies in.
    async fn look(&self, report: &mut Report) -> Result<Option<PathBuf>, ArtifactError> {
        let Some(peek) = self.lock().peek.clone() else { return Ok(None) };
        let (folder, to) = (self.so_far(), self.so_far());
        let copy = move || fs::create_dir_all(&to).and_then(|()| peek.outputs(&to, INTERIM_BYTES));
        let copied = tokio::task::spawn_blocking(copy).await.map_err(io::Error::other)??;
        report.more_files = copied == Some(false);
        Ok(copied.map(|_| folder))
    }

    /// Beside the script's folder.
    fn so_far(&self) -> PathBuf {
        self.work.with_extension("so-far")
    }

    /// Removes upload and outputs; to be called when nothing more is asked of them.
    pub(crate) fn remove(&self) {
        if let Err(error) = remove_folder(&self.work).and_then(|()| remove_folder(&self.so_far())) {
            tracing::warn!(%error, folder = %self.work.display(), "a script's folder could not be removed");
        }
    }

    /// Uploads bytes that are not there yet; nothing for none.
    async fn put(&self, store: &ArtifactStore, name: &str, bytes: Vec<u8>) -> Result<Option<OutputFile>, ArtifactError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let file = OutputFile { path: name.to_owned(), bytes: u64::try_from(bytes.len()).unwrap_or(u64::MAX), hash: hash_of(&bytes) };
        if self.lock().uploaded.get(name) != Some(&file) {
            store.put(bytes.into()).await?;
            self.lock().uploaded.insert(name.to_owned(), file.clone());
        }
        Ok(Some(file))
    }

    /// The same for a file, never whole in memory, and for an empty one too.
    async fn put_file(&self, store: &ArtifactStore, name: &str, path: PathBuf) -> Result<OutputFile, ArtifactError> {
        let cut = path.clone();
        let manifest = tokio::task::spawn_blocking(move || Manifest::read(fs::File::open(cut)?)).await.map_err(io::Error::other)??;
        let hash = manifest.hash().unwrap_or_default();
        let file = OutputFile { path: name.to_owned(), bytes: manifest.bytes, hash };
        if self.lock().uploaded.get(name) != Some(&file) {
            store.put_file(&path, &manifest).await?;
            self.lock().uploaded.insert(name.to_owned(), file.clone());
        }
        Ok(file)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The plain files below a folder, by path; nothing is followed. An inner error is what cannot be taken, in words.
fn list(folder: &Path) -> io::Result<Result<BTreeMap<String, PathBuf>, String>> {
    let (mut files, mut folders) = (BTreeMap::new(), vec![(folder.to_owned(), String::new())]);
    while let Some((folder, prefix)) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let path = format!("{prefix}{}", entry.file_name().to_string_lossy());
            let metadata = fs::symlink_metadata(entry.path())?;
            if let Err(error) = check_path(&path) {
                return Ok(Err(format!("outputs/: {error}")));
            }
            if metadata.is_dir() {
                folders.push((entry.path(), format!("{path}/")));
            } else if metadata.is_file() {
                if metadata.len() > MAX_BYTES {
                    return Ok(Err(format!("outputs/{path} has more than {} GiB", MAX_BYTES >> 30)));
                }
                files.insert(path, entry.path());
            }
            if files.len() > MAX_OUTPUT_FILES || folders.len() > MAX_OUTPUT_FILES {
                return Ok(Err(format!("outputs/ has more than {MAX_OUTPUT_FILES} files")));
            }
        }
    }
    Ok(Ok(files))
}

#[cfg(all(test, unix))]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    #[test]
    fn outputs__should_list_plain_files_and_follow_nothing() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(list(&folder.path().join("none")).unwrap(), Ok(BTreeMap::new()));
        fs::create_dir_all(folder.path().join("plots")).unwrap();
        fs::write(folder.path().join("plots/a.png"), "x").unwrap();
        fs::write(folder.path().join("model.pkl"), "x").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("stolen")).unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("root")).unwrap();
        let files = list(folder.path()).unwrap().unwrap();
        assert_eq!(files.keys().collect::<Vec<_>>(), ["model.pkl", "plots/a.png"]);
        fs::File::create(folder.path().join("huge")).unwrap().set_len(MAX_BYTES + 1).unwrap();
        assert!(list(folder.path()).unwrap().unwrap_err().contains("huge"));
    }

    #[test]
    fn outputs__should_keep_a_bounded_number_of_figures() {
        let outputs = Outputs::new(Path::new("/nowhere"));
        let metric = Metric { name: "loss".to_owned(), step: 0, value: 1.0 };
        outputs.lock().count = MAX_METRICS - 1;
        assert!(outputs.add_metric(&metric));
        assert!(!outputs.add_metric(&metric));
        assert_eq!((outputs.count(), outputs.lock().dropped), (MAX_METRICS, 1));
    }
}
