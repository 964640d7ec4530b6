//! Files that survive a kill at any moment: written beside their place, synced, then renamed.

use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

const PART: &str = "part";

/// Puts `bytes` at `path`: a reader sees the old file or the whole new one.
pub(crate) fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = part_of(path);
    let mut file = fs::File::create(&part)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    drop(file);
    fs::rename(&part, path)
}

/// The same for a value in JSON.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let bytes = serde_json::to_vec_pretty(value).map_err(io::Error::other)?;
    write_atomic(path, &bytes)
}

/// Reads a value in JSON; nothing where there is no file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let bytes = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes?,
    };
    let explain = |error: serde_json::Error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).map(Some).map_err(explain)
}

/// Reads a file; nothing where there is none.
pub(crate) fn read_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a file that may be gone already.
pub(crate) fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes a folder with all that is in it, which may be gone already.
pub(crate) fn remove_folder_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes what a killed process left half written in `folder`.
pub(crate) fn remove_parts(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == PART) {
            remove_if_there(&path)?;
        }
    }
    Ok(())
}

/// Removes all but the `count` entries of a folder that were changed last.
pub(crate) fn keep_newest(folder: &Path, count: usize) -> io::Result<()> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        entries.push((metadata.modified()?, metadata.is_dir(), entry.path()));
    }
    entries.sort();
    let surplus = entries.len().saturating_sub(count);
    for (_, is_folder, path) in entries.into_iter().take(surplus) {
        if is_folder { fs::remove_dir_all(&path)? } else { fs::remove_file(&path)? }
    }
    Ok(())
}

/// Where a file lies until it is whole.
pub(crate) fn part_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(PART);
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    #[test]
    fn write_atomic__should_replace_whole_files_and_leave_no_part() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        assert_eq!(read_json::<u32>(&path).unwrap(), None);
        write_json(&path, &1_u32).unwrap();
        write_json(&path, &2_u32).unwrap();
        assert_eq!(read_json(&path).unwrap(), Some(2_u32));
        fs::write(folder.path().join("b.json.part"), b"half").unwrap();
        remove_parts(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn keep_newest__should_remove_the_oldest_files_and_folders() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("old")).unwrap();
        fs::write(path("old").join("x"), b"x").unwrap();
        for (name, age_s) in [("b", 20), ("c", 10)] {
            fs::write(path(name), b"x").unwrap();
            let at = std::time::SystemTime::now() + std::time::Duration::from_secs(60 - age_s);
            fs::File::options().append(true).open(path(name)).unwrap().set_modified(at).unwrap();
        }
        keep_newest(folder.path(), 1).unwrap();
        assert_eq!([path("old"), path("b"), path("c")].map(|path| path.exists()), [false, false, true]);
        keep_newest(folder.path(), 1).unwrap();
        assert!(path("c").exists());
    }

    #[test]
    fn read_json__should_name_the_file_that_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.json");
        fs::write(&path, b"{").unwrap();
        assert!(read_json::<u32>(&path).unwrap_err().to_string().contains("a.json"));
    }
}
