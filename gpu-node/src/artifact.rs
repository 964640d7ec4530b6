//! Artifacts: bytes by their BLAKE3 hash, verified whenever they come in, kept on disk within a limit.

use crate::files;
use starling_http_api::{
    artifact::{MAX_BYTES, Stored},
    path,
    problem::Problem,
};
use starling_primitives::Hash32;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::sync::{Mutex, watch};

/// Tries of one transfer before its job gives up.
const TRIES: u32 = 6;
/// The wait before the second try; it doubles each time.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// How long a transfer waits for a session to open.
const SESSION_WAIT: Duration = Duration::from_secs(60);
/// A connection that brings nothing for so long is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Why bytes did not come or go.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArtifactError {
    /// The store has no such artifact, or this node may not read it.
    #[error("artifact {0} is not there, or not for this node")]
    NotFound(Hash32),
    /// The bytes are not those that the name promises.
    #[error("artifact {expected} came as {found}: the bytes were changed on the way")]
    WrongHash {
        /// Its name.
        expected: Hash32,
        /// What came.
        found: Hash32,
    },
    /// Larger than any artifact may be.
    #[error("artifact {0} is larger than {MAX_BYTES} bytes")]
    TooLarge(Hash32),
    /// The coordinator refused and a repetition would not help.
    #[error("the coordinator refused artifact {hash}: {reason}")]
    Refused {
        /// Which.
        hash: Hash32,
        /// Its words.
        reason: String,
    },
    /// No answer after several tries.
    #[error("artifact {hash} could not be moved: {reason}")]
    Unreachable {
        /// Which.
        hash: Hash32,
        /// The last reason.
        reason: String,
    },
    /// The disk failed.
    #[error("the artifact folder failed: {0}")]
    Disk(#[from] io::Error),
}

/// The node's copy of what it works with.
#[derive(Debug)]
pub(crate) struct ArtifactStore {
    folder: PathBuf,
    limit_bytes: u64,
    origin: String,
    http: reqwest::Client,
    token: watch::Receiver<Option<String>>,
    /// One download at a time: two jobs that want one artifact fetch it once.
    downloading: Mutex<()>,
}

/// What a failed try means.
enum Failed {
    Again(String),
    Never(ArtifactError),
}

impl ArtifactStore {
    /// The store in `folder`, which holds at most `limit_bytes` when nothing larger is in use. `token` opens the coordinator's.
    pub(crate) fn open(
        folder: PathBuf,
        limit_bytes: u64,
        origin: String,
        token: watch::Receiver<Option<String>>,
    ) -> Result<Self, ArtifactError> {
        fs::create_dir_all(&folder)?;
        files::remove_parts(&folder)?;
        let http =
            reqwest::Client::builder().connect_timeout(Duration::from_secs(10)).read_timeout(READ_TIMEOUT).build().unwrap_or_default();
        Ok(Self { folder, limit_bytes, origin, http, token, downloading: Mutex::new(()) })
    }

    /// The bytes of an artifact, from disk or from the coordinator.
    pub(crate) async fn get(&self, hash: Hash32) -> Result<Arc<[u8]>, ArtifactError> {
        let _one = self.downloading.lock().await;
        if let Some(bytes) = self.local(hash)? {
            return Ok(bytes.into());
        }
        let mut wait = FIRST_WAIT;
        let mut reason = String::new();
        for _ in 0..TRIES {
            match self.download(hash).await {
                Ok(bytes) => {
                    self.keep(hash, &bytes)?;
                    return Ok(bytes.into());
                }
                Err(Failed::Never(error)) => return Err(error),
                Err(Failed::Again(why)) => reason = why,
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        Err(ArtifactError::Unreachable { hash, reason })
    }

    /// Keeps bytes and brings them to the coordinator; repeating it changes nothing.
    pub(crate) async fn put(&self, bytes: Arc<[u8]>) -> Result<Hash32, ArtifactError> {
        let hash = hash_of(&bytes);
        if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_BYTES {
            return Err(ArtifactError::TooLarge(hash));
        }
        self.keep(hash, &bytes)?;
        let mut wait = FIRST_WAIT;
        let mut reason = String::new();
        for _ in 0..TRIES {
            match self.upload(hash, bytes.clone()).await {
                Ok(()) => return Ok(hash),
                Err(Failed::Never(error)) => return Err(error),
                Err(Failed::Again(why)) => reason = why,
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        Err(ArtifactError::Unreachable { hash, reason })
    }

    /// What lies on disk, if it is whole; what is not is removed.
    fn local(&self, hash: Hash32) -> Result<Option<Vec<u8>>, ArtifactError> {
        let path = self.path(hash);
        let Some(bytes) = files::read_if_there(&path)? else { return Ok(None) };
        if hash_of(&bytes) != hash {
            tracing::warn!(%hash, "a kept artifact was damaged; fetching it again");
            files::remove_if_there(&path)?;
            return Ok(None);
        }
        // Use keeps it from being the oldest.
        fs::File::options().append(true).open(&path)?.set_modified(SystemTime::now())?;
        Ok(Some(bytes))
    }

    fn keep(&self, hash: Hash32, bytes: &[u8]) -> Result<(), ArtifactError> {
        let path = self.path(hash);
        if !path.exists() {
            files::write_atomic(&path, bytes)?;
        }
        evict(&self.folder, self.limit_bytes, &path)?;
        Ok(())
    }

    async fn download(&self, hash: Hash32) -> Result<Vec<u8>, Failed> {
        let token = self.open_token().await?;
        let response = self.http.get(self.url(hash)).bearer_auth(token).send().await.map_err(again)?;
        let mut response = accepted(hash, response).await?;
        let too_large = || Failed::Never(ArtifactError::TooLarge(hash));
        if response.content_length().is_some_and(|length| length > MAX_BYTES) {
            return Err(too_large());
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(again)? {
            bytes.extend_from_slice(&chunk);
            if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > MAX_BYTES {
                return Err(too_large());
            }
        }
        let found = hash_of(&bytes);
        if found != hash {
            return Err(Failed::Never(ArtifactError::WrongHash { expected: hash, found }));
        }
        Ok(bytes)
    }

    async fn upload(&self, hash: Hash32, bytes: Arc<[u8]>) -> Result<(), Failed> {
        let token = self.open_token().await?;
        let response = self.http.put(self.url(hash)).bearer_auth(token).body(bytes.to_vec()).send().await.map_err(again)?;
        let stored: Stored = accepted(hash, response).await?.json().await.map_err(again)?;
        if stored.hash != hash {
            return Err(Failed::Never(ArtifactError::WrongHash { expected: hash, found: stored.hash }));
        }
        Ok(())
    }

    /// The session's token; waits while there is no session.
    async fn open_token(&self) -> Result<String, Failed> {
        let mut token = self.token.clone();
        let opened = tokio::time::timeout(SESSION_WAIT, token.wait_for(Option::is_some)).await;
        match opened {
            Ok(Ok(token)) => Ok(token.clone().unwrap_or_default()),
            _ => Err(Failed::Again("no session with the coordinator".to_owned())),
        }
    }

    fn url(&self, hash: Hash32) -> String {
        format!("{}{}", self.origin, path::fill(path::ARTIFACT, &[&hash]))
    }

    fn path(&self, hash: Hash32) -> PathBuf {
        self.folder.join(hash.to_string())
    }
}

/// The name of bytes.
pub(crate) fn hash_of(bytes: &[u8]) -> Hash32 {
    starling_rounds::artifact_hash(bytes)
}

fn again(error: reqwest::Error) -> Failed {
    Failed::Again(error.without_url().to_string())
}

async fn accepted(hash: Hash32, response: reqwest::Response) -> Result<reqwest::Response, Failed> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let reason = response.json::<Problem>().await.map_or_else(|_| status.to_string(), |problem| problem.to_string());
    // A session that ended opens again with the next connection.
    if status.is_server_error() || matches!(status.as_u16(), 401 | 408 | 429) {
        return Err(Failed::Again(reason));
    }
    if status == reqwest::StatusCode::NOT_FOUND {
        return Err(Failed::Never(ArtifactError::NotFound(hash)));
    }
    Err(Failed::Never(ArtifactError::Refused { hash, reason }))
}

/// Removes the longest unused files until the rest fits; `keep` stays.
fn evict(folder: &Path, limit_bytes: u64, keep: &Path) -> io::Result<()> {
    let mut files = Vec::new();
    let mut total = 0_u64;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(metadata) = entry.metadata() else { continue };
        total = total.saturating_add(metadata.len());
        files.push((metadata.modified()?, metadata.len(), entry.path()));
    }
    files.sort();
    for (_, length, path) in files.into_iter().filter(|(_, _, path)| path != keep) {
        if total <= limit_bytes {
            break;
        }
        files::remove_if_there(&path)?;
        total = total.saturating_sub(length);
    }
    Ok(())
}

#[cfg(test)]
#[path = "artifact_tests.rs"]
mod tests;
