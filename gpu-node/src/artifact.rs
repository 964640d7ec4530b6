//! Artifacts: bytes by their BLAKE3 hash, verified whenever they come in, kept on disk within a limit. They come and go a chunk at a time.

mod disk;

use self::disk::{Source, aside, evict, open_part, touch};
use crate::files;
use starling_http_api::{
    artifact::{CHUNK_BYTES, MAX_BYTES, Manifest, Stored, UploadState},
    path,
    problem::Problem,
};
use starling_limits::Limits;
use starling_primitives::Hash32;
use starling_tls::Roots;
use std::{
    collections::HashMap,
    fs,
    io::{self, Write as _},
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, Weak},
    time::Duration,
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
/// The largest artifact that is taken into memory whole.
const MAX_IN_MEMORY: u64 = 4 << 30;

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
    /// Larger than a node takes, into memory or at all.
    #[error("artifact {0} is larger than the {1} bytes that may come of it")]
    TooLarge(Hash32, u64),
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
    /// Those that are in use: two jobs that want one artifact fetch it once, and none in use is removed.
    in_use: std::sync::Mutex<HashMap<Hash32, Weak<Mutex<()>>>>,
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
        let http = roots.http().connect_timeout(Duration::from_secs(10)).read_timeout(READ_TIMEOUT).build();
        let http = http.map_err(std::io::Error::other)?;
        Ok(Self { folder, limit_bytes, rates, origin, http, token, in_use: std::sync::Mutex::default() })
    }

    /// The bytes of an artifact, from disk or from the coordinator.
    pub(crate) async fn get(&self, hash: Hash32) -> Result<Arc<[u8]>, ArtifactError> {
        let used = self.using(hash);
        let _one = used.lock().await;
        if let Some(bytes) = self.local(hash)? {
            return Ok(bytes.into());
        }
        self.download(hash, MAX_IN_MEMORY).await?;
        Ok(fs::read(self.path(hash))?.into())
    }

    /// An artifact as a file, from disk or from the coordinator, never whole in memory.
    pub(crate) async fn file(&self, hash: Hash32) -> Result<fs::File, ArtifactError> {
        let used = self.using(hash);
        let _one = used.lock().await;
        let path = self.path(hash);
        if path.exists() {
            let file = fs::File::open(&path)?;
            let manifest = aside(move || Manifest::read(file)).await?;
            if manifest.hash() == Some(hash) {
                touch(&path)?;
                return Ok(fs::File::open(&path)?);
            }
            self.remove_damaged(hash)?;
        }
        self.download(hash, MAX_BYTES).await?;
        Ok(fs::File::open(&path)?)
    }

    /// Keeps bytes and brings them to the coordinator; repeating it changes nothing.
    pub(crate) async fn put(&self, bytes: Arc<[u8]>) -> Result<Hash32, ArtifactError> {
        let manifest = Manifest::of(&bytes);
        if let Some(hash) = manifest.hash() {
            self.keep(hash, &bytes)?;
        }
        self.bring(&manifest, &Source::Bytes(bytes)).await
    }

    /// Brings a file to the coordinator that nobody changes meanwhile; repeating it changes nothing. Nothing of it is kept here.
    pub(crate) async fn put_file(&self, path: &Path, manifest: &Manifest) -> Result<Hash32, ArtifactError> {
        self.bring(manifest, &Source::File(path.to_owned())).await
    }

    async fn bring(&self, manifest: &Manifest, source: &Source) -> Result<Hash32, ArtifactError> {
        let hash = manifest.hash().ok_or_else(|| ArtifactError::TooLarge(Hash32::default(), MAX_BYTES))?;
        let mut tries = Tries::default();
        loop {
            match self.upload(hash, manifest, source, &mut tries).await {
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
        let used = self.using(hash);
        let _one = used.lock().await;
        files::remove_if_there(&self.path(hash))?;
        let began = Instant::now();
        self.download(hash, MAX_IN_MEMORY).await?;
        Ok((up, began.elapsed()))
    }

    /// What lies on disk, if it is whole; what is not is removed.
    fn local(&self, hash: Hash32) -> Result<Option<Vec<u8>>, ArtifactError> {
        let path = self.path(hash);
        let Some(bytes) = files::read_if_there(&path)? else { return Ok(None) };
        if hash_of(&bytes) != hash {
            self.remove_damaged(hash)?;
            return Ok(None);
        }
        touch(&path)?;
        Ok(Some(bytes))
    }

    fn remove_damaged(&self, hash: Hash32) -> io::Result<()> {
        tracing::warn!(%hash, "a kept artifact was damaged; fetching it again");
        files::remove_if_there(&self.path(hash))
    }

    /// Marks an artifact as in use as long as the answer lives, which only one may lock.
    fn using(&self, hash: Hash32) -> Arc<Mutex<()>> {
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        in_use.retain(|_, used| used.strong_count() > 0);
        let known = in_use.get(&hash).and_then(Weak::upgrade);
        let used = known.unwrap_or_default();
        in_use.insert(hash, Arc::downgrade(&used));
        used
    }

    /// Removes the longest unused files until so many bytes more have room within the limit; those in use stay.
    fn make_room(&self, bytes: u64) -> io::Result<()> {
        let in_use: Vec<String> = {
            let in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
            in_use.iter().filter(|(_, used)| used.strong_count() > 0).map(|(hash, _)| hash.to_string()).collect()
        };
        evict(&self.folder, self.limit_bytes.saturating_sub(bytes), |name| in_use.iter().any(|used| name.starts_with(used)))
    }

    /// Keeps bytes by their name, so that they need not come from the coordinator.
    pub(crate) fn keep(&self, hash: Hash32, bytes: &[u8]) -> Result<(), ArtifactError> {
        let path = self.path(hash);
        let _used = self.using(hash);
        if !path.exists() {
            files::write_atomic(&path, bytes)?;
        }
        self.make_room(0)?;
        Ok(())
    }

    /// Brings an artifact onto the disk: the first chunk, and the others by their values if there are more. A chunk that came is not asked for again, also after the node was started anew.
    async fn download(&self, hash: Hash32, limit: u64) -> Result<(), ArtifactError> {
        let (mut tries, path, mut first) = (Tries::default(), self.path(hash), None);
        let part = files::part_of(&path);
        if !part.exists() {
            let (bytes, total) = loop {
                match self.range(hash, 0..CHUNK_BYTES).await {
                    Ok(first) => break first,
                    Err(failed) => tries.again(hash, failed).await?,
                }
            };
            if length(&bytes) == total {
                let found = hash_of(&bytes);
                if found != hash {
                    return Err(ArtifactError::WrongHash { expected: hash, found });
                }
                self.make_room(total)?;
                return Ok(files::write_atomic(&path, &bytes)?);
            }
            first = Some(bytes);
        }
        let manifest = loop {
            match self.manifest(hash).await {
                Ok(manifest) => break manifest,
                Err(failed) => tries.again(hash, failed).await?,
            }
        };
        if manifest.bytes > limit {
            return Err(ArtifactError::TooLarge(hash, limit));
        }
        self.make_room(manifest.bytes)?;
        // One damaged chunk is fetched again by itself; the values sum to the name, so that what fits them is right.
        let manifest = Arc::new(manifest);
        let (open, values) = (part.clone(), manifest.clone());
        let (mut file, mut number) = aside(move || open_part(&open, &values)).await?;
        while manifest.range(number).start < manifest.bytes {
            let come = match first.take() {
                Some(first) => Ok((first, manifest.bytes)),
                None => self.range(hash, manifest.range(number)).await,
            };
            match come {
                Ok((chunk, _)) if manifest.has(number, &chunk) => {
                    file = aside(move || file.write_all(&chunk).map(|()| file)).await?;
                    number = number.saturating_add(1);
                    tries = Tries::default();
                }
                Ok(_) => tries.again(hash, Failed::Again(format!("chunk {number} came damaged"))).await?,
                Err(failed) => tries.again(hash, failed).await?,
            }
        }
        Ok(aside(move || file.sync_data().and_then(|()| fs::rename(part, path))).await?)
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
                return Err(Failed::Never(ArtifactError::TooLarge(hash, CHUNK_BYTES)));
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
    async fn upload(&self, hash: Hash32, manifest: &Manifest, source: &Source, tries: &mut Tries) -> Result<(), Failed> {
        let answer = if let [_] = manifest.chunks.as_slice() {
            let url = self.url(path::ARTIFACT, &[&hash]);
            self.send(hash, reqwest::Method::PUT, url, source.read(0..manifest.bytes).await.map_err(of_disk)?).await?
        } else {
            let begin = serde_json::to_vec(manifest).map_err(|error| Failed::Again(error.to_string()))?;
            let url = self.url(path::ARTIFACT_UPLOAD, &[&hash]);
            let state: UploadState = self.send(hash, reqwest::Method::POST, url, begin).await?.json().await.map_err(again)?;
            for number in state.missing {
                let chunk = source.read(manifest.range(number)).await.map_err(of_disk)?;
                let url = self.url(path::ARTIFACT_CHUNK, &[&hash, &number]);
                self.send(hash, reqwest::Method::PUT, url, chunk).await?;
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

fn of_disk(error: io::Error) -> Failed {
    Failed::Never(ArtifactError::Disk(error))
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

#[cfg(test)]
#[path = "artifact_tests.rs"]
mod tests;
