//! Skips a step whose inputs are the same as when it last succeeded.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

/// The digest of what a step reads: files and folders (recursively, by name and content) and texts.
#[derive(Default)]
pub(crate) struct Inputs(Sha256);

impl Inputs {
    /// Adds a file, or all files of a folder. What does not exist counts as absent, not as an error.
    pub(crate) fn path(mut self, path: &Path) -> Result<Self> {
        let mut files = files_below(path)?;
        files.sort();
        for file in files {
            let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
            self = self.text(&file.to_string_lossy());
            self.0.update((bytes.len() as u64).to_le_bytes());
            self.0.update(&bytes);
        }
        Ok(self)
    }

    pub(crate) fn text(mut self, text: &str) -> Self {
        self.0.update((text.len() as u64).to_le_bytes());
        self.0.update(text.as_bytes());
        self
    }

    pub(crate) fn digest(self) -> String {
        hex(&self.0.finalize())
    }
}

/// Whether `stamp` says that a step succeeded with exactly these inputs.
pub(crate) fn is_fresh(stamp: &Path, digest: &str) -> bool {
    fs::read_to_string(stamp).is_ok_and(|made_from| made_from == digest)
}

/// All files below `path`, or `path` itself when it is a file; nothing when it does not exist.
pub(crate) fn files_below(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_path_buf()]);
    }
    if !path.exists() {
        return Ok(Vec::new());
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).with_context(|| format!("cannot list {}", path.display()))? {
        files.extend(files_below(&entry?.path())?);
    }
    Ok(files)
}

/// The first 16 hex digits of a file's digest: enough to name one version of it for a cache.
pub(crate) fn short_digest(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes)[..8])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
