//! Where things lie on disk: XDG folders, or one folder by `--home`.

use anyhow::{Context as _, Result};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The folder of one Starling set-up: chain, keys, coordinator, nodes, profile.
#[derive(Clone, Debug)]
pub(crate) struct Home(PathBuf);

impl Home {
    /// The named folder, or `$XDG_STATE_HOME/starling`, or `~/.local/state/starling`.
    pub(crate) fn new(chosen: Option<PathBuf>) -> Result<Self> {
        let folder = match chosen {
            Some(folder) => folder,
            None => match std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute()) {
                Some(state) => state.join("starling"),
                None => std::env::home_dir().context("there is no home folder: name one with --home")?.join(".local/state/starling"),
            },
        };
        fs::create_dir_all(&folder)
            .with_context(|| format!("the folder {} cannot be made: choose another with --home", folder.display()))?;
        Ok(Self(folder.canonicalize()?))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn join(&self, part: impl AsRef<Path>) -> PathBuf {
        self.0.join(part)
    }

    pub(crate) fn profile(&self) -> PathBuf {
        self.join("profile.json")
    }

    pub(crate) fn key(&self, account: &str) -> PathBuf {
        self.join("keys").join(format!("{account}.json"))
    }

    pub(crate) fn meter_key(&self, purpose: &str) -> PathBuf {
        self.join("meter").join(format!("{purpose}.json"))
    }
}

/// Writes a file so that a reader sees the old or the new one, never a part.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().context("a file needs a folder")?;
    fs::create_dir_all(folder)?;
    let partial = path.with_extension("part");
    fs::write(&partial, bytes).with_context(|| format!("{} cannot be written", partial.display()))?;
    fs::rename(&partial, path).with_context(|| format!("{} cannot be written", path.display()))
}
