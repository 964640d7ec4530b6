//! A folder, or a file, of the tenant's disk as a bundle.

use crate::bundle::{Bundle, Entry, MAX_BUNDLE_BYTES, UploadError};
use std::{fs, io, path::Path};

/// What never belongs to a job: histories, caches, environments (they are made again from the requirements), and earlier results.
const LEFT_OUT: &[&str] = &[
    ".git",
    ".hg",
    ".svn",
    "__pycache__",
    ".ipynb_checkpoints",
    ".venv",
    "venv",
    "env",
    ".tox",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    "node_modules",
    ".DS_Store",
];

/// The part of a path, relative to the chosen folder, that never belongs to a job: the folder's own `outputs`, histories, caches, environments.
pub fn left_out(path: &str) -> Option<&str> {
    let ends = path.match_indices('/').map(|(end, _)| end).chain([path.len()]);
    ends.map(|end| &path[..end]).find(|part| *part == "outputs" || LEFT_OUT.contains(&part.rsplit('/').next().unwrap_or_default()))
}

/// Reads a folder, an archive or one file. Gives the bundle and the folders that were left out. A folder's own `outputs` is left out too.
///
/// # Errors
/// Links and other things that are no files, limits, and what the disk says; each names its path.
pub fn read_folder(path: &Path) -> Result<(Bundle, Vec<String>), UploadError> {
    let failed = |error: io::Error| UploadError::Disk { path: path.display().to_string(), reason: error.to_string() };
    if fs::metadata(path).map_err(failed)?.is_dir() {
        let mut reader = Reader { bundle: Bundle::default(), left_out: Vec::new() };
        reader.folder(path, "")?;
        if reader.bundle.is_empty() {
            return Err(UploadError::Empty);
        }
        return Ok((reader.bundle, reader.left_out));
    }
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("upload").to_owned();
    if fs::metadata(path).map_err(failed)?.len() > MAX_BUNDLE_BYTES {
        return Err(UploadError::TooLarge(format!("{name:?} has more than {} MiB", MAX_BUNDLE_BYTES >> 20)));
    }
    Ok((Bundle::read(&name, fs::read(path).map_err(failed)?)?, Vec::new()))
}

struct Reader {
    bundle: Bundle,
    left_out: Vec<String>,
}

impl Reader {
    fn folder(&mut self, folder: &Path, prefix: &str) -> Result<(), UploadError> {
        let failed = |error: io::Error| UploadError::Disk { path: folder.display().to_string(), reason: error.to_string() };
        for entry in fs::read_dir(folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Ok(name) = entry.file_name().into_string() else {
                return Err(UploadError::Path { path: entry.path().display().to_string(), why: "its name is no text" });
            };
            let path = format!("{prefix}{name}");
            if left_out(&path).is_some() {
                self.left_out.push(path);
                continue;
            }
            // Of the link itself, not of what it leads to.
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                crate::bundle::check_path(&path)?;
                self.folder(&entry.path(), &format!("{path}/"))?;
            } else if kind.is_file() {
                let metadata = entry.metadata().map_err(failed)?;
                self.bundle.room_for(&path, usize::try_from(metadata.len()).unwrap_or(usize::MAX))?;
                let bytes = fs::read(entry.path()).map_err(failed)?;
                self.bundle.add(&path, Entry { bytes, executable: is_executable(&metadata) })?;
            } else {
                return Err(UploadError::NotAFile { path, what: if kind.is_symlink() { "a link" } else { "neither a file nor a folder" } });
            }
        }
        Ok(())
    }
}

#[cfg(unix)]
fn is_executable(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o100 != 0
}

#[cfg(not(unix))]
fn is_executable(_: &fs::Metadata) -> bool {
    false
}

#[cfg(all(test, unix))]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn left_out__should_name_the_part_that_never_belongs_to_a_job() {
        for (path, part) in [
            ("main.py", None),
            ("src/outputs/kept.txt", None),
            ("environment.py", None),
            ("outputs/old.txt", Some("outputs")),
            ("src/__pycache__/x.pyc", Some("src/__pycache__")),
            (".git", Some(".git")),
        ] {
            assert_eq!(left_out(path), part, "{path}");
        }
    }

    #[test]
    fn folder__should_leave_out_what_is_no_part_of_a_job_and_refuse_links() {
        let folder = tempfile::tempdir().expect("a folder");
        for path in ["main.py", "data/a.csv", ".git/config", "__pycache__/x.pyc", "outputs/old.txt", "src/outputs/kept.txt"] {
            let file = folder.path().join(path);
            fs::create_dir_all(file.parent().expect("a folder")).expect("made");
            fs::write(file, path).expect("written");
        }
        let (bundle, mut left_out) = read_folder(folder.path()).expect("readable");
        left_out.sort();
        assert_eq!(bundle.files().map(|(path, _)| path).collect::<Vec<_>>(), ["data/a.csv", "main.py", "src/outputs/kept.txt"]);
        assert_eq!(left_out, [".git", "__pycache__", "outputs"]);
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("data/link")).expect("made");
        assert_eq!(read_folder(folder.path()), Err(UploadError::NotAFile { path: "data/link".to_owned(), what: "a link" }));
    }
}
