//! Takes what a job left in `outputs/`, trusting none of it: links are not followed, nothing but files and folders is taken, within limits.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fstat, fstatvfs, openat, statat};

/// What is taken back, by its name in `/work`.
pub(crate) const OUTPUTS: &str = "outputs";
/// Folders inside folders, at most: each holds a file open while it is walked.
const DEPTH: u32 = 32;
/// How many things that were left out are named.
const NAMED: usize = 5;
const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC).union(OFlags::RDONLY);
/// Opening must neither follow a link nor wait for a pipe's other end.
const FILE: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC).union(OFlags::RDONLY);

/// How much may be taken, and what was not.
#[derive(Debug)]
pub(crate) struct Taking {
    bytes_left: u64,
    files_left: u64,
    /// More was there than may be taken.
    pub(crate) too_much: bool,
    left_out: usize,
    lines: Vec<String>,
}

impl Taking {
    pub(crate) fn new(bytes: u64, files: u64) -> Self {
        Self { bytes_left: bytes, files_left: files, too_much: false, left_out: 0, lines: Vec::new() }
    }

    /// Copies the folder `outputs` below `from` to the host's folder of that name below `work`, in place of what was there.
    ///
    /// # Errors
    ///
    /// Where the host's folder cannot be written; what the job made never is an error.
    pub(crate) fn take(&mut self, from: &OwnedFd, work: &Path) -> io::Result<()> {
        let to = work.join(OUTPUTS);
        match fs::symlink_metadata(&to) {
            Ok(found) if found.is_dir() => fs::remove_dir_all(&to)?,
            Ok(_) => fs::remove_file(&to)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        fs::create_dir(&to)?;
        match openat(from, OUTPUTS, FOLDER, Mode::empty()) {
            Ok(folder) => self.folder(&folder, &to, Path::new(OUTPUTS), 0),
            Err(_) => {
                self.leave(Path::new(OUTPUTS), "it is no folder");
                Ok(())
            }
        }
    }

    /// What was left out and why, in a few lines.
    pub(crate) fn notes(mut self) -> Vec<String> {
        if self.left_out > NAMED {
            self.lines.push(format!("{} more were left out", self.left_out - NAMED));
        }
        self.lines
    }

    fn leave(&mut self, path: &Path, why: &str) {
        if self.left_out < NAMED {
            self.lines.push(format!("{:?} was left out: {why}", path.display().to_string()));
        }
        self.left_out += 1;
    }

    fn folder(&mut self, from: &OwnedFd, to: &Path, shown: &Path, depth: u32) -> io::Result<()> {
        if depth >= DEPTH {
            self.leave(shown, "it is too deep");
            return Ok(());
        }
        let Ok(entries) = Dir::read_from(from) else {
            self.leave(shown, "it cannot be read");
            return Ok(());
        };
        for entry in entries {
            let Ok(entry) = entry else { break };
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            self.entry(from, name, to, &shown.join(name), depth)?;
            if self.too_much {
                break;
            }
        }
        Ok(())
    }

    fn entry(&mut self, from: &OwnedFd, name: &OsStr, to: &Path, shown: &Path, depth: u32) -> io::Result<()> {
        if name.to_str().is_none_or(|name| name.chars().any(char::is_control)) {
            self.leave(shown, "its name is not plain text");
            return Ok(());
        }
        let Some(left) = self.files_left.checked_sub(1) else {
            self.too_much = true;
            self.leave(shown, "there are too many files");
            return Ok(());
        };
        self.files_left = left;
        // What it is is looked at first: opening a socket or a device has effects.
        let kind = statat(from, name, AtFlags::SYMLINK_NOFOLLOW).map(|found| FileType::from_raw_mode(found.st_mode));
        match kind {
            Ok(FileType::Directory) => match openat(from, name, FOLDER, Mode::empty()) {
                Ok(inner) => {
                    fs::create_dir(to.join(name))?;
                    self.folder(&inner, &to.join(name), shown, depth + 1)
                }
                Err(_) => {
                    self.leave(shown, "it cannot be read");
                    Ok(())
                }
            },
            Ok(FileType::RegularFile) => match openat(from, name, FILE, Mode::empty()) {
                Ok(file) => self.file(file, &to.join(name), shown),
                Err(_) => {
                    self.leave(shown, "it cannot be read");
                    Ok(())
                }
            },
            _ => {
                self.leave(shown, "it is neither a file nor a folder");
                Ok(())
            }
        }
    }

    fn file(&mut self, file: OwnedFd, to: &Path, shown: &Path) -> io::Result<()> {
        let found = fstat(&file)?;
        if FileType::from_raw_mode(found.st_mode) != FileType::RegularFile {
            self.leave(shown, "it is no file");
            return Ok(());
        }
        // A file with holes counts what it says, for that is what whoever reads it gets.
        let bytes = u64::try_from(found.st_size).unwrap_or(u64::MAX);
        let Some(left) = self.bytes_left.checked_sub(bytes) else {
            self.too_much = true;
            self.leave(shown, "there is too much");
            return Ok(());
        };
        self.bytes_left = left;
        let mut to = File::create_new(to)?;
        io::copy(&mut io::Read::take(File::from(file), bytes), &mut to)?;
        Ok(())
    }
}

/// Opens `path` as a folder, to be read later.
pub(crate) fn open_folder(path: &Path) -> io::Result<OwnedFd> {
    Ok(openat(CWD, path, OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY, Mode::empty())?)
}

/// True when next to nothing more fits there, in bytes or in files.
pub(crate) fn is_full(folder: &OwnedFd) -> bool {
    // The last part of a disk image is kept for what describes the files.
    fstatvfs(folder).is_ok_and(|room| room.f_bavail <= room.f_blocks / 64 || room.f_ffree == 0)
}

#[cfg(test)]
#[path = "outputs_tests.rs"]
mod tests;
