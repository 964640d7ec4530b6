//! Artifacts: bytes by their BLAKE3 hash, verified whenever they come in, kept on disk within a limit.

use crate::files;
use starling_http_api::{
    artifact::{CHUNK_BYTES, Manifest, Stored, UploadState},
    path,
    problem::Problem,
};
use starling_limits::Limits;
use starling_primitives::Hash32;
use starling_tls::Roots;
use std::{
    fs, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    sync::{Mutex, watch},
    time::Instant,
};

/// Tries of one transfer before its job gives up.
const TRIES: u32 = 6;
/// The wait before the second try; it doubles each time.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// How long a transfer waits for a session to open.
const SESSION_WAIT: Duration = Duration::from_secs(60);
/// A connection that brings nothing for so long is given up.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// What a job works with is held in memory.
const MAX_BYTES: u64 = 4 << 30;

/// Bytes that a slowed upload sends at a time.
const PART_BYTES: usize = 16 * 1_024;

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
    /// Larger than a node takes into memory.
    #[error("artifact {0} is larger than the {MAX_BYTES} bytes that a job may hold")]
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
    rates: Rates,
    origin: String,
    http: reqwest::Client,
    token: watch::Receiver<Option<String>>,
    /// One download at a time: two jobs that want one artifact fetch it once.
    downloading: Mutex<()>,
}

/// Bytes a second that transfers may take; nothing does not limit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rates {
    up: Option<u64>,
    down: Option<u64>,
}

impl Rates {
    /// As the owner set them.
    pub(crate) fn of(limits: &Limits) -> Self {
        let bytes = |kib: Option<u32>| kib.map(|kib| u64::from(kib) * 1_024);
        Self { up: bytes(limits.max_upload_kib_per_second), down: bytes(limits.max_download_kib_per_second) }
    }
}

/// Waits until `bytes` may have moved since `began` at this rate.
async fn keep_rate(began: Instant, bytes: usize, rate: Option<u64>) {
    if let Some(rate) = rate {
        let micros = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(1_000_000) / rate.max(1);
        tokio::time::sleep_until(began + Duration::from_micros(micros)).await;
    }
}

/// What a failed try means.
enum Failed {
    Again(String),
    Never(ArtifactError),
}

/// The tries of one transfer; progress begins them anew.
struct Tries {
    left: u32,
    wait: Duration,
}

impl Default for Tries {
    fn default() -> Self {
        Self { left: TRIES, wait: FIRST_WAIT }
    }
}

impl Tries {
    /// Waits before the next try, or gives up.
    async fn again(&mut self, hash: Hash32, failed: Failed) -> Result<(), ArtifactError> {
        let reason = match failed {
            Failed::Never(error) => return Err(error),
            Failed::Again(reason) => reason,
        };
        self.left -= 1;
        if self.left == 0 {
            return Err(ArtifactError::Unreachable { hash, reason });
        }
        tokio::time::sleep(self.wait).await;
        self.wait *= 2;
        Ok(())
    }
}

impl ArtifactStore {
    /// The store in `folder`, which holds at most `limit_bytes` when nothing larger is in use. `token` opens the coordinator's.
    pub(crate) fn open(
        folder: PathBuf,
        limit_bytes: u64,
        rates: Rates,
        origin: String,
        token: watch::Receiver<Option<String>>,
        roots: &Roots,
    ) -> Result<Self, ArtifactError> {
        fs::create_dir_all(&folder)?;
        files::remove_parts(&folder)?;
        let http = roots.http().connect_timeout(Duration::from_secs(10)).read_timeout(READ_TIMEOUT).build();
        let http = http.map_err(std::io::Error::other)?;
        Ok(Self { folder, limit_bytes, rates, origin, http, token, downloading: Mutex::new(()) })
    }

    /// The bytes of an artifact, from disk or from the coordinator.
    pub(crate) async fn get(&self, hash: Hash32) -> Result<Arc<[u8]>, ArtifactError> {
        let _one = self.downloading.lock().await;
        if let Some(bytes) = self.local(hash)? {
            return Ok(bytes.into());
        }
        let bytes = self.download(hash).await?;
        self.keep(hash, &bytes)?;
        Ok(bytes.into())
    }

    /// Keeps bytes and brings them to the coordinator; repeating it changes nothing.
    pub(crate) async fn put(&self, bytes: Arc<[u8]>) -> Result<Hash32, ArtifactError> {
        let manifest = Manifest::of(&bytes);
        let hash = manifest.hash().filter(|_| manifest.bytes <= MAX_BYTES).ok_or_else(|| ArtifactError::TooLarge(hash_of(&bytes)))?;
        self.keep(hash, &bytes)?;
        let mut tries = Tries::default();
        loop {
            match self.upload(hash, &manifest, &bytes, &mut tries).await {
                Ok(()) => return Ok(hash),
                Err(failed) => tries.again(hash, failed).await?,
            }
        }
    }

    /// Moves bytes to the coordinator and back; how long each way took.
    pub(crate) async fn measure(&self, bytes: Arc<[u8]>) -> Result<(Duration, Duration), ArtifactError> {
        let began = Instant::now();
        let hash = self.put(bytes).await?;
        let up = began.elapsed();
        let began = Instant::now();
        self.download(hash).await?;
        Ok((up, began.elapsed()))
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

    /// Keeps bytes by their name, so that they need not come from the coordinator.
    pub(crate) fn keep(&self, hash: Hash32, bytes: &[u8]) -> Result<(), ArtifactError> {
        let path = self.path(hash);
        if !path.exists() {
            files::write_atomic(&path, bytes)?;
        }
        evict(&self.folder, self.limit_bytes, &path)?;
        Ok(())
    }

    /// The first chunk, and the others by their values if there are more. A chunk that came is not asked for again.
    async fn download(&self, hash: Hash32) -> Result<Vec<u8>, ArtifactError> {
        let mut tries = Tries::default();
        let (mut bytes, total) = loop {
            match self.range(hash, 0..CHUNK_BYTES).await {
                Ok(first) => break first,
                Err(failed) => tries.again(hash, failed).await?,
            }
        };
        if total > MAX_BYTES {
            return Err(ArtifactError::TooLarge(hash));
        }
        let whole = length(&bytes) == total;
        if whole {
            let found = hash_of(&bytes);
            return if found == hash { Ok(bytes) } else { Err(ArtifactError::WrongHash { expected: hash, found }) };
        }
        let manifest = loop {
            match self.manifest(hash).await {
                Ok(manifest) => break manifest,
                Err(failed) => tries.again(hash, failed).await?,
            }
        };
        // One damaged chunk is fetched again by itself; the values sum to the name, so that what fits them is right.
        if !manifest.has(0, &bytes) {
            bytes.clear();
        }
        let mut number = u32::try_from(length(&bytes) / CHUNK_BYTES).unwrap_or(u32::MAX);
        while length(&bytes) < manifest.bytes {
            match self.range(hash, manifest.range(number)).await {
                Ok((chunk, _)) if manifest.has(number, &chunk) => {
                    bytes.extend_from_slice(&chunk);
                    number = number.saturating_add(1);
                    tries = Tries::default();
                }
                Ok(_) => tries.again(hash, Failed::Again(format!("chunk {number} came damaged"))).await?,
                Err(failed) => tries.again(hash, failed).await?,
            }
        }
        Ok(bytes)
    }

    /// Bytes of a range and the size of the whole.
    async fn range(&self, hash: Hash32, range: Range<u64>) -> Result<(Vec<u8>, u64), Failed> {
        let asked = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
        let url = self.url(path::ARTIFACT, &[&hash]);
        let get = self.http.get(url).bearer_auth(self.open_token().await?).header("range", asked);
        let mut response = accepted(hash, get.send().await.map_err(again)?).await?;
        let total = response.headers().get("content-range").and_then(|text| text.to_str().ok()?.rsplit_once('/')?.1.parse().ok());
        let (mut bytes, began) = (Vec::new(), Instant::now());
        while let Some(part) = response.chunk().await.map_err(again)? {
            if length(&bytes).saturating_add(length(&part)) > CHUNK_BYTES {
                return Err(Failed::Never(ArtifactError::TooLarge(hash)));
            }
            bytes.extend_from_slice(&part);
            keep_rate(began, bytes.len(), self.rates.down).await;
        }
        let total = total.unwrap_or(length(&bytes));
        Ok((bytes, total))
    }

    async fn manifest(&self, hash: Hash32) -> Result<Manifest, Failed> {
        let url = self.url(path::ARTIFACT_MANIFEST, &[&hash]);
        let get = self.http.get(url).bearer_auth(self.open_token().await?);
        let manifest: Manifest = accepted(hash, get.send().await.map_err(again)?).await?.json().await.map_err(again)?;
        match manifest.hash() {
            Some(found) if found == hash => Ok(manifest),
            found => Err(Failed::Never(ArtifactError::WrongHash { expected: hash, found: found.unwrap_or_default() })),
        }
    }

    /// Brings what is missing. Each chunk that arrives gives the upload its tries back.
    async fn upload(&self, hash: Hash32, manifest: &Manifest, bytes: &[u8], tries: &mut Tries) -> Result<(), Failed> {
        let answer = if let [_] = manifest.chunks.as_slice() {
            let url = self.url(path::ARTIFACT, &[&hash]);
            self.send(hash, reqwest::Method::PUT, url, bytes.to_vec()).await?
        } else {
            let begin = serde_json::to_vec(manifest).map_err(|error| Failed::Again(error.to_string()))?;
            let url = self.url(path::ARTIFACT_UPLOAD, &[&hash]);
            let state: UploadState = self.send(hash, reqwest::Method::POST, url, begin).await?.json().await.map_err(again)?;
            for number in state.missing {
                let range = manifest.range(number);
                let chunk =
                    usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok()).and_then(|(from, to)| bytes.get(from..to));
                let chunk = chunk.ok_or_else(|| Failed::Again(format!("the coordinator asks for chunk {number}, which is not there")))?;
                let url = self.url(path::ARTIFACT_CHUNK, &[&hash, &number]);
                self.send(hash, reqwest::Method::PUT, url, chunk.to_vec()).await?;
                *tries = Tries::default();
            }
            let url = self.url(path::ARTIFACT_FINISH, &[&hash]);
            self.send(hash, reqwest::Method::POST, url, Vec::new()).await?
        };
        let stored: Stored = answer.json().await.map_err(again)?;
        if stored.hash != hash {
            return Err(Failed::Never(ArtifactError::WrongHash { expected: hash, found: stored.hash }));
        }
        Ok(())
    }

    async fn send(&self, hash: Hash32, method: reqwest::Method, url: String, body: Vec<u8>) -> Result<reqwest::Response, Failed> {
        let token = self.open_token().await?;
        let request = self.http.request(method, url).bearer_auth(token).header("content-type", "application/json");
        let request = match self.rates.up {
            None => request.body(body),
            rate => request.header("content-length", body.len()).body(slowly(body.into(), rate)),
        };
        accepted(hash, request.send().await.map_err(again)?).await
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

    fn url(&self, path: &str, values: &[&dyn std::fmt::Display]) -> String {
        format!("{}{}", self.origin, path::fill(path, values))
    }

    fn path(&self, hash: Hash32) -> PathBuf {
        self.folder.join(hash.to_string())
    }
}

/// A body that is sent no faster than this.
fn slowly(bytes: Arc<[u8]>, rate: Option<u64>) -> reqwest::Body {
    let began = Instant::now();
    reqwest::Body::wrap_stream(futures_util::stream::unfold(0, move |sent| {
        let bytes = bytes.clone();
        async move {
            let part = bytes.get(sent..).filter(|rest| !rest.is_empty())?;
            let part = part[..part.len().min(PART_BYTES)].to_vec();
            let sent = sent + part.len();
            keep_rate(began, sent, rate).await;
            Some((Ok::<_, io::Error>(part), sent))
        }
    }))
}

/// The name of bytes.
pub(crate) fn hash_of(bytes: &[u8]) -> Hash32 {
    starling_rounds::artifact_hash(bytes)
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn again(error: reqwest::Error) -> Failed {
    Failed::Again(error.without_url().to_string())
}

async fn accepted(hash: Hash32, response: reqwest::Response) -> Result<reqwest::Response, Failed> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let problem = response.json::<Problem>().await;
    // Damaged on its way, or forgotten: the next begin tells what is missing.
    let may_pass = problem
        .as_ref()
        .is_ok_and(|problem| matches!(problem.code.as_str(), "chunk_damaged" | "upload_incomplete" | "upload_unknown" | "upload_broken"));
    let reason = problem.map_or_else(|_| status.to_string(), |problem| problem.to_string());
    // A session that ended opens again with the next connection.
    if may_pass
        || status.is_server_error() && status != reqwest::StatusCode::INSUFFICIENT_STORAGE
        || matches!(status.as_u16(), 401 | 408 | 429)
    {
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
