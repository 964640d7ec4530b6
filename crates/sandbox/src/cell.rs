//! The folder of one job below the sandbox's home: what is made for it, and what a killed node left of it.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use crate::cgroup::Group;

const CELLS: &str = "cells";
const GROUPS: &str = "groups";
const LOCK: &str = "lock";
/// Kernel's source of names that are never drawn twice.
const NAMES: &str = "/proc/sys/kernel/random/uuid";

/// A job's own folder, removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Cell {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    /// Held as long as the job's node lives.
    _lock: File,
}

impl Cell {
    pub(crate) fn make(home: &Path) -> io::Result<Self> {
        let name = fs::read_to_string(NAMES)?.trim().to_owned();
        let folder = home.join(CELLS).join(&name);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let lock = File::create(folder.join(LOCK))?;
        lock.try_lock()?;
        let cell = Self { name, folder, _lock: lock };
        fs::create_dir(cell.folder.join("stage"))?;
        Ok(cell)
    }

    pub(crate) fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        use io::Write;
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.folder.join(name))?.write_all(content)
    }

    /// Notes the groups that are about to be made, so that [`clean_up`] finds them after a crash.
    pub(crate) fn note_groups(&self, folders: &[PathBuf]) -> io::Result<()> {
        let mut text = Vec::new();
        for folder in folders {
            text.extend(folder.as_os_str().as_bytes());
            text.push(0);
        }
        self.write(GROUPS, &text)
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Ends and removes what nodes that are no longer alive left below `home`. How many cells there were.
pub(crate) fn clean_up(home: &Path) -> io::Result<usize> {
    let cells = home.join(CELLS);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&cells)?;
    let mut cleaned = 0;
    for entry in fs::read_dir(cells)? {
        let folder = entry?.path();
        // Without a lock the cell was never begun.
        if File::open(folder.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_err()) {
            continue;
        }
        let noted = fs::read(folder.join(GROUPS)).unwrap_or_default();
        let groups: Vec<PathBuf> =
            noted.split(|byte| *byte == 0).filter(|path| !path.is_empty()).map(|path| OsStr::from_bytes(path).into()).collect();
        // Dropping it kills all inside.
        drop(Group::left_behind(&groups));
        fs::remove_dir_all(&folder)?;
        cleaned += 1;
    }
    Ok(cleaned)
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    #[test]
    fn clean_up__should_leave_cells_of_the_living() {
        let home = tempfile::tempdir().unwrap();
        let cell = Cell::make(home.path()).unwrap();
        cell.write("args", b"x").unwrap();
        assert_eq!(clean_up(home.path()).unwrap(), 0);
        assert!(cell.folder.join("args").exists());
        let left_behind = home.path().join(CELLS).join("dead");
        fs::create_dir(&left_behind).unwrap();
        File::create(left_behind.join(LOCK)).unwrap();
        assert_eq!(clean_up(home.path()).unwrap(), 1);
        assert!(!left_behind.exists() && cell.folder.exists());
        let folder = cell.folder.clone();
        drop(cell);
        assert!(!folder.exists());
    }
}
