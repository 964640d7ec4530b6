//! Artifacts on this machine's disk, a chunk in memory at a time.

use crate::files;
use starling_http_api::artifact::Manifest;
use std::{
    fs,
    io::{self, Read as _, Seek as _},
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

/// Where what is brought lies.
pub(super) enum Source {
    /// In memory.
    Bytes(Arc<[u8]>),
    /// In a file that nobody changes meanwhile.
    File(PathBuf),
}

impl Source {
    /// Bytes of a range.
    pub(super) async fn read(&self, range: Range<u64>) -> io::Result<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => {
                let (from, to) = (usize::try_from(range.start), usize::try_from(range.end));
                let part = from.ok().zip(to.ok()).and_then(|(from, to)| bytes.get(from..to));
                part.map(<[u8]>::to_vec).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
            }
            Self::File(path) => {
                let path = path.clone();
                aside(move || read_range(&mut fs::File::open(path)?, range)).await
            }
        }
    }
}

fn read_range(file: &mut fs::File, range: Range<u64>) -> io::Result<Vec<u8>> {
    file.seek(io::SeekFrom::Start(range.start))?;
    let mut bytes = vec![0; usize::try_from(range.end.saturating_sub(range.start)).map_err(io::Error::other)?];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// What came of an artifact before, up to the first chunk that is not right, and which chunk follows.
pub(super) fn open_part(path: &Path, manifest: &Manifest) -> io::Result<(fs::File, u32)> {
    let mut file = fs::File::options().read(true).write(true).create(true).truncate(false).open(path)?;
    let (length, mut number) = (file.metadata()?.len(), 0);
    loop {
        let range = manifest.range(number);
        if range.is_empty() || range.end > length || !manifest.has(number, &read_range(&mut file, range.clone())?) {
            file.set_len(range.start)?;
            file.seek(io::SeekFrom::Start(range.start))?;
            return Ok((file, number));
        }
        number += 1;
    }
}

/// Use keeps a file from being the oldest.
pub(super) fn touch(path: &Path) -> io::Result<()> {
    fs::File::options().append(true).open(path)?.set_modified(SystemTime::now())
}

/// Lets a thread of its own wait for the disk.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// Removes the longest unused files until the rest fits; those that `stay` do so.
pub(super) fn evict(folder: &Path, limit_bytes: u64, stay: impl Fn(&str) -> bool) -> io::Result<()> {
    let mut files = Vec::new();
    let mut total = 0_u64;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(metadata) = entry.metadata() else { continue };
        total = total.saturating_add(metadata.len());
        files.push((metadata.modified()?, metadata.len(), entry.path()));
    }
    files.sort();
    for (_, length, path) in files {
        if total <= limit_bytes {
            break;
        }
        if path.file_name().is_some_and(|name| stay(&name.to_string_lossy())) {
            continue;
        }
        files::remove_if_there(&path)?;
        total = total.saturating_sub(length);
    }
    Ok(())
}
