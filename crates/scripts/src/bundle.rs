//! The files of an upload, checked once where they come in: whoever holds a [`Bundle`] may write it below a folder of its own.

use crate::archive::{gzip, tar, zip};
use starling_archives::Fault;
use std::collections::BTreeMap;

/// All files of an upload together, unpacked.
pub const MAX_BUNDLE_BYTES: u64 = 256 << 20;
/// The most files of an upload.
pub const MAX_BUNDLE_FILES: usize = 10_000;
const MAX_PATH_BYTES: usize = 512;
const MAX_PART_BYTES: usize = 255;
const MAX_DEPTH: usize = 32;

/// Why an upload is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UploadError {
    /// A path that leads out of the folder, or that no system writes.
    #[error("{path:?} is no path below the upload: {why}")]
    Path {
        /// As it stands in the upload.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A link, device or other thing that is not a plain file.
    #[error("{path:?} is {what}: put the file itself there, or name it under [[data]] in job.toml")]
    NotAFile {
        /// Which.
        path: String,
        /// What it is.
        what: &'static str,
    },
    /// Two entries of one name, or one name for a file and a folder.
    #[error("{0:?} is there twice")]
    Twice(String),
    /// More than an upload may hold.
    #[error("{0}: name large data under [[data]] in job.toml, where it is uploaded by itself")]
    TooLarge(String),
    /// The archive is damaged or of a kind that is not read.
    #[error("the archive cannot be read{}: {why}", .entry.as_ref().map(|entry| format!(" at {entry:?}")).unwrap_or_default())]
    Archive {
        /// Where.
        entry: Option<String>,
        /// Why.
        why: &'static str,
    },
    /// No file at all.
    #[error("there is no file in it")]
    Empty,
    /// The disk failed.
    #[error("{path}: {reason}")]
    Disk {
        /// Which file.
        path: String,
        /// The system's words.
        reason: String,
    },
}

impl From<Fault> for UploadError {
    fn from(Fault { entry, why }: Fault) -> Self {
        Self::Archive { entry, why }
    }
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Whether it may be started.
    pub executable: bool,
}

/// Files by their paths, `/` between the parts. No path leads out, no file is also a folder, and all are within the limits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle {
    files: BTreeMap<String, Entry>,
    bytes: u64,
}

impl Bundle {
    /// Reads a zip, a tar, a compressed tar, or takes a file of any other kind under its name.
    ///
    /// # Errors
    /// What [`UploadError`] says; nothing was written anywhere.
    pub fn read(name: &str, bytes: Vec<u8>) -> Result<Self, UploadError> {
        let bundle = match bytes.as_slice() {
            // A model file may be a zip too: only what is called an archive is unpacked.
            [b'P', b'K', 3 | 5, 4 | 6, ..] if name.ends_with(".zip") => zip::read(&bytes)?,
            [0x1F, 0x8B, ..] => tar::read(&gzip::inflate(&bytes)?)?,
            _ if bytes.get(257..262) == Some(b"ustar") => tar::read(&bytes)?,
            _ => {
                let mut bundle = Self::default();
                bundle.add(name, Entry { bytes, executable: false })?;
                bundle
            }
        };
        if bundle.is_empty() { Err(UploadError::Empty) } else { Ok(bundle.without_common_folder()) }
    }

    /// Reads what [`Self::to_tar`] wrote, or any other tar.
    pub fn from_tar(bytes: &[u8]) -> Result<Self, UploadError> {
        tar::read(bytes)
    }

    /// A tar of all files, sorted by path: equal files are equal bytes.
    pub fn to_tar(&self) -> Vec<u8> {
        tar::write(&self.files)
    }

    /// Adds a file.
    ///
    /// # Errors
    /// Its path, a name that is taken, or a limit; the bundle is as before.
    pub fn add(&mut self, path: &str, entry: Entry) -> Result<(), UploadError> {
        check_path(path)?;
        let is_folder =
            |name: &str| self.files.range(format!("{name}/")..).next().is_some_and(|(next, _)| next.starts_with(&format!("{name}/")));
        let below_a_file = path.match_indices('/').any(|(at, _)| self.files.contains_key(&path[..at]));
        if self.files.contains_key(path) || below_a_file || is_folder(path) {
            return Err(UploadError::Twice(path.to_owned()));
        }
        self.room_for(path, entry.bytes.len())?;
        self.bytes += length(entry.bytes.len());
        self.files.insert(path.to_owned(), entry);
        Ok(())
    }

    /// Fails where one more file of that size passes a limit.
    pub(crate) fn room_for(&self, path: &str, bytes: usize) -> Result<(), UploadError> {
        if self.files.len() >= MAX_BUNDLE_FILES {
            return Err(UploadError::TooLarge(format!("it has more than {MAX_BUNDLE_FILES} files")));
        }
        if self.bytes.saturating_add(length(bytes)) > MAX_BUNDLE_BYTES {
            return Err(UploadError::TooLarge(format!("with {path:?} it has more than {} MiB", MAX_BUNDLE_BYTES >> 20)));
        }
        Ok(())
    }

    /// Bytes that may still come in.
    pub(crate) fn room(&self) -> usize {
        usize::try_from(MAX_BUNDLE_BYTES - self.bytes).unwrap_or(usize::MAX)
    }

    /// The files, sorted by path.
    pub fn files(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.files.iter().map(|(path, entry)| (path.as_str(), entry))
    }

    /// A file's bytes.
    pub fn get(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(|entry| entry.bytes.as_slice())
    }

    /// How many files.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// All bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// An archive of one folder is that folder.
    fn without_common_folder(self) -> Self {
        let Some(first) = self.files.keys().next().and_then(|path| path.split_once('/')).map(|(folder, _)| format!("{folder}/")) else {
            return self;
        };
        if self.files.keys().all(|path| path.starts_with(&first)) {
            let files = self.files.into_iter().map(|(path, entry)| (path[first.len()..].to_owned(), entry)).collect();
            return Self { files, bytes: self.bytes };
        }
        self
    }
}

/// Whether a path stays below the folder that it is written to, on every system.
///
/// # Errors
/// [`UploadError::Path`], with the reason.
pub fn check_path(path: &str) -> Result<(), UploadError> {
    let wrong = |why| Err(UploadError::Path { path: path.chars().take(MAX_PATH_BYTES).collect(), why });
    if path.len() > MAX_PATH_BYTES {
        return wrong("longer than 512 bytes");
    }
    if path.starts_with('/') {
        return wrong("it begins at the root");
    }
    if path.contains(['\\', ':']) || path.chars().any(char::is_control) {
        return wrong("it has a backslash, a colon or a control character");
    }
    let parts: Vec<&str> = path.split('/').collect();
    if parts.len() > MAX_DEPTH {
        return wrong("deeper than 32 folders");
    }
    for part in parts {
        match part {
            "" => return wrong("a part of it is empty"),
            "." | ".." => return wrong("it has a part that is `.` or `..`"),
            _ if part.len() > MAX_PART_BYTES => return wrong("a part of it is longer than 255 bytes"),
            _ => {}
        }
    }
    Ok(())
}

fn length(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    fn entry(bytes: &[u8]) -> Entry {
        Entry { bytes: bytes.to_vec(), executable: false }
    }

    #[test]
    fn path__should_never_lead_out() {
        for path in [
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a//b",
            "./a",
            "a/.",
            "",
            "a\\..\\b",
            "C:/x",
            "a\nb",
            "a\0",
            &"x/".repeat(40),
            &"y".repeat(300),
        ] {
            assert!(check_path(path).is_err(), "{path:?}");
        }
        for path in ["main.py", "data/ä b.csv", "a/..b/c", ".hidden", "a/b/c.d"] {
            assert_eq!(check_path(path), Ok(()), "{path:?}");
        }
    }

    #[test]
    fn bundle__should_not_take_a_name_twice_or_a_file_as_a_folder() {
        let mut bundle = Bundle::default();
        bundle.add("a/b", entry(b"1")).expect("the first");
        for path in ["a/b", "a", "a/b/c"] {
            assert_eq!(bundle.add(path, entry(b"2")), Err(UploadError::Twice(path.to_owned())));
        }
        bundle.add("a.b", entry(b"3")).expect("another name");
        bundle.add("a/c", entry(b"4")).expect("the same folder");
        assert_eq!((bundle.len(), bundle.bytes()), (3, 3));
    }

    #[test]
    fn bundle__should_be_the_same_after_its_tar() {
        let mut bundle = Bundle::default();
        bundle.add("main.py", entry(b"print(1)")).expect("fits");
        bundle.add("run.sh", Entry { bytes: vec![7; 1_000], executable: true }).expect("fits");
        bundle.add(&format!("{}/{}", "long".repeat(40), "name".repeat(30)), entry(b"")).expect("fits");
        assert_eq!(Bundle::from_tar(&bundle.to_tar()), Ok(bundle));
    }

    #[test]
    fn bundle__should_take_one_file_and_unwrap_a_single_folder() {
        let one = Bundle::read("train.py", b"print(1)".to_vec()).expect("a file");
        assert_eq!(one.files().map(|(path, _)| path).collect::<Vec<_>>(), ["train.py"]);
        let mut wrapped = Bundle::default();
        wrapped.add("project/main.py", entry(b"1")).expect("fits");
        wrapped.add("project/data/a.csv", entry(b"2")).expect("fits");
        let read = Bundle::read("project.tar", wrapped.to_tar()).expect("an archive");
        assert_eq!(read.files().map(|(path, _)| path).collect::<Vec<_>>(), ["data/a.csv", "main.py"]);
        assert_eq!(Bundle::from_tar(&Bundle::default().to_tar()), Err(UploadError::Archive { entry: None, why: "it is no tar" }));
    }

    #[test]
    fn bundle__should_stop_at_its_limits() {
        let mut bundle = Bundle::default();
        for index in 0..MAX_BUNDLE_FILES {
            bundle.add(&index.to_string(), entry(b"")).expect("fits");
        }
        assert!(matches!(bundle.add("more", entry(b"")), Err(UploadError::TooLarge(_))));
        let mut bundle = Bundle { bytes: MAX_BUNDLE_BYTES - 1, ..Bundle::default() };
        assert!(matches!(bundle.add("more", entry(b"12")), Err(UploadError::TooLarge(_))));
    }
}
