//! The text that a run trains on: the sources of the crates that the lockfile pins, or any file or folder.
//!
//! Held-out text is never cut from the files that are trained on: it is whole crates of other families, or whole files,
//! or, where there is only one file, its tail. The same input gives the same bytes, so the same hash, on every machine.

mod crates;

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use starling_primitives::Hash32;
use starling_rounds::recipe::Recipe;

pub(crate) use crates::{CorpusSize, corpus_from_crates};

/// More text than this is refused rather than read into memory.
const MAX_BYTES: u64 = 1 << 30;
/// More files than this are refused.
const MAX_FILES: usize = 200_000;
/// Folders nested deeper than this are refused.
const MAX_DEPTH: usize = 64;
/// Held-out text is one part in ten.
const PARTS: usize = 10;
/// Less than this cannot be split into anything that trains or measures.
const MIN_BYTES: usize = 1_000;

/// Text to train on and text to measure on.
#[derive(Debug)]
pub(crate) struct Corpus {
    /// Training text.
    pub(crate) train: Vec<u8>,
    /// Held-out text; empty where it is not held out here.
    pub(crate) held_out: Vec<u8>,
    /// What the training text was made from: crates with their versions, or files.
    pub(crate) train_sources: Vec<String>,
    /// What the held-out text was made from.
    pub(crate) held_out_sources: Vec<String>,
}

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CorpusError {
    /// A file or folder cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing, or too little, to train on.
    #[error("{path} holds {bytes} bytes of text; at least {MIN_BYTES} are needed")]
    TooSmall {
        /// What was given.
        path: PathBuf,
        /// How much is there.
        bytes: usize,
    },
    /// More than fits.
    #[error("{path} holds more than {limit}; name a smaller file or folder")]
    TooLarge {
        /// What was given.
        path: PathBuf,
        /// The limit that it breaks.
        limit: String,
    },
    /// A folder where one file is needed.
    #[error(
        "{path} is a folder, and a {kind} with classes trains on one file: CSV or JSON lines, or a zip or tar of images whose folders name their classes"
    )]
    Folder {
        /// What was given.
        path: PathBuf,
        /// Of the model.
        kind: &'static str,
    },
    /// `cargo` could not say where the sources are, or fetch them.
    #[error(
        "`cargo {command}` failed: {message}\nThe default text is the sources of this project's dependencies; name a file or folder of text instead, or make `cargo` work here."
    )]
    Cargo {
        /// What was run.
        command: String,
        /// What it said.
        message: String,
    },
}

impl Corpus {
    /// Name of the training text as an artifact.
    pub(crate) fn train_hash(&self) -> Hash32 {
        hash(&self.train)
    }

    /// Name of the held-out text as an artifact.
    pub(crate) fn held_out_hash(&self) -> Hash32 {
        hash(&self.held_out)
    }

    /// One hash for both texts.
    pub(crate) fn hash(&self) -> Hash32 {
        hash(&[self.train_hash().0, self.held_out_hash().0].concat())
    }
}

/// What a recipe trains on: running text, as [`corpus_from_path`] reads it; of anything else the one file, from which the node that
/// makes the run ready holds examples out.
pub(crate) fn corpus_for(recipe: &Recipe, path: &Path) -> Result<Corpus, CorpusError> {
    if recipe.model.classes().is_none() {
        return corpus_from_path(path);
    }
    let meta = fs::metadata(path).map_err(|source| CorpusError::Read { path: path.to_owned(), source })?;
    if meta.is_dir() {
        return Err(CorpusError::Folder { path: path.to_owned(), kind: recipe.model.kind() });
    }
    let train = read_limited(path, meta.len())?;
    Ok(Corpus { train, held_out: Vec::new(), train_sources: vec![name_of(path)], held_out_sources: Vec::new() })
}

/// Reads a file or all text files of a folder and holds a tenth out.
///
/// Of a folder: files in UTF-8 that are not hidden, links not followed; whole files are held out, by the order of their
/// hashes. Of one file of any bytes: its tail.
pub(crate) fn corpus_from_path(path: &Path) -> Result<Corpus, CorpusError> {
    let meta = fs::metadata(path).map_err(|source| CorpusError::Read { path: path.to_owned(), source })?;
    let mut files = if meta.is_dir() { read_folder(path)? } else { vec![(name_of(path), read_limited(path, meta.len())?)] };
    let bytes: usize = files.iter().map(|(_, text)| text.len()).sum();
    if bytes < MIN_BYTES {
        return Err(CorpusError::TooSmall { path: path.to_owned(), bytes });
    }
    let whole = |files: Vec<(String, Vec<u8>)>| files.into_iter().unzip::<String, Vec<u8>, Vec<_>, Vec<_>>();
    if let Some((held_out, train)) = split_files(&mut files, bytes / PARTS) {
        let (held_out_sources, held_out) = whole(held_out);
        let (train_sources, train) = whole(train);
        return Ok(Corpus { train: train.concat(), held_out: held_out.concat(), train_sources, held_out_sources });
    }
    let (sources, text) = whole(files);
    let mut train = text.concat();
    let held_out = train.split_off(bytes - bytes / PARTS);
    let held_out_sources = sources.iter().map(|name| format!("{name} (its last tenth)")).collect();
    Ok(Corpus { train, held_out, train_sources: sources, held_out_sources })
}

type Files = Vec<(String, Vec<u8>)>;

/// Takes whole files, in the order of their hashes, until `least` bytes are held out; both parts sorted by name again.
///
/// A file that also stands elsewhere under another name goes wherever its double goes. `None` if that would leave less
/// than half for training (one file, or one that holds nearly everything).
fn split_files(files: &mut Files, least: usize) -> Option<(Files, Files)> {
    let mut order: Vec<Hash32> = files.iter().map(|(_, text)| hash(text)).collect();
    order.sort_unstable();
    order.dedup();
    let total: usize = files.iter().map(|(_, text)| text.len()).sum();
    let (mut held, mut bytes) = (Vec::new(), 0);
    for next in order {
        if bytes >= least {
            break;
        }
        let size: usize = files.iter().filter(|(_, text)| hash(text) == next).map(|(_, text)| text.len()).sum();
        if bytes + size <= total / 2 {
            bytes += size;
            held.push(next);
        }
    }
    if bytes < least {
        return None;
    }
    Some(std::mem::take(files).into_iter().partition(|(_, text)| held.contains(&hash(text))))
}

fn read_folder(root: &Path) -> Result<Files, CorpusError> {
    let (mut files, mut total) = (Files::new(), 0);
    for path in list_files(root, |name| !name.starts_with('.'))? {
        let size = fs::metadata(&path).map_err(|source| CorpusError::Read { path: path.clone(), source })?.len();
        total += size;
        if total > MAX_BYTES {
            return Err(CorpusError::TooLarge { path: root.to_owned(), limit: format!("{MAX_BYTES} bytes") });
        }
        let text = read_limited(&path, size)?;
        if std::str::from_utf8(&text).is_ok() && !text.is_empty() {
            files.push((relative_name(root, &path), text));
        }
    }
    Ok(files)
}

/// All files below `root` whose names, and those of their folders, are admitted; sorted by path, links left out.
fn list_files(root: &Path, admits: impl Fn(&str) -> bool) -> Result<Vec<PathBuf>, CorpusError> {
    let (mut files, mut folders) = (Vec::new(), vec![(root.to_owned(), 0)]);
    while let Some((folder, depth)) = folders.pop() {
        let wrap = |source| CorpusError::Read { path: folder.clone(), source };
        for entry in fs::read_dir(&folder).map_err(wrap)? {
            let entry = entry.map_err(wrap)?;
            let kind = entry.file_type().map_err(wrap)?;
            if !entry.file_name().to_str().is_some_and(&admits) {
                continue;
            }
            if kind.is_dir() {
                folders.push((entry.path(), depth + 1));
            } else if kind.is_file() {
                files.push(entry.path());
            }
            if files.len() > MAX_FILES || depth > MAX_DEPTH {
                let limit = format!("{MAX_FILES} files or {MAX_DEPTH} levels of folders");
                return Err(CorpusError::TooLarge { path: root.to_owned(), limit });
            }
        }
    }
    files.sort_by_cached_key(|path| relative_name(root, path));
    Ok(files)
}

fn read_limited(path: &Path, size: u64) -> Result<Vec<u8>, CorpusError> {
    if size > MAX_BYTES {
        return Err(CorpusError::TooLarge { path: path.to_owned(), limit: format!("{MAX_BYTES} bytes") });
    }
    fs::read(path).map_err(|source| CorpusError::Read { path: path.to_owned(), source })
}

/// The path below `root` with `/` between its parts, on every machine.
fn relative_name(root: &Path, path: &Path) -> String {
    let relative = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("/")
}

fn name_of(path: &Path) -> String {
    path.file_name().map_or_else(|| path.display().to_string(), |name| name.to_string_lossy().into_owned())
}

fn hash(bytes: &[u8]) -> Hash32 {
    Hash32(*blake3::hash(bytes).as_bytes())
}

#[cfg(test)]
#[path = "corpus/tests.rs"]
mod tests;
