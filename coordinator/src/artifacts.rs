//! The artifact store: bytes named by their BLAKE3 hash, in chunks, in an object store. Who may read them is decided in `access`, what goes in `collect`.

mod access;
mod collect;

pub use access::{Access, Who};
pub use collect::Collector;

use crate::{
    clock,
    config::StoreConfig,
    db::{Db, DbError},
};
use axum::body::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use object_store::{
    GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, PutPayload, aws::AmazonS3Builder, local::LocalFileSystem, path::Path,
    prefix::PrefixStore,
};
use starling_http_api::artifact::{CHUNK_BYTES, MAX_BYTES, Manifest, Stored, UploadState};
use starling_primitives::Hash32;
use std::{ops::Range, sync::Arc};

/// Uploads of one owner under way at once.
const MAX_OPEN_UPLOADS: u64 = 256;

/// Why bytes were not stored or not found.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The values of the chunks do not give the name.
    #[error("the values of the chunks do not sum to the name {0}: cut the file again and begin anew. Nothing was stored.")]
    WrongManifest(Hash32),
    /// A chunk is not the one of its number.
    #[error(
        "chunk {number} (from byte {from}) is not the one that was announced: it was damaged on its way. Send it again; nothing of it was stored."
    )]
    Damaged {
        /// Which, from 0.
        number: u32,
        /// Its first byte.
        from: u64,
    },
    /// Not all chunks are there.
    #[error("{0} chunks have not arrived yet: begin again to learn which")]
    Incomplete(usize),
    /// No upload of the caller's.
    #[error("no upload of yours of {0} is under way: begin one")]
    NoUpload(Hash32),
    /// The store holds other bytes than it was given.
    #[error("artifact {wanted} is damaged: the store gives bytes with the hash {found}")]
    HashMismatch {
        /// By the name.
        wanted: Hash32,
        /// Of what the store gave.
        found: Hash32,
    },
    /// Longer than any artifact may be, or than one request may bring.
    #[error("an artifact has at most {MAX_BYTES} bytes, and one request brings at most {CHUNK_BYTES}: upload larger files in chunks")]
    TooLarge,
    /// Too many uploads of one owner are open.
    #[error("{MAX_OPEN_UPLOADS} uploads of yours are under way: end some of them, or wait two days until they are forgotten")]
    TooManyUploads,
    /// The owner's storage is full.
    #[error("{used} of {limit} bytes are used")]
    Quota {
        /// Stored or announced so far.
        used: u64,
        /// The limit.
        limit: u64,
    },
    /// The old bytes are being removed.
    #[error("older bytes of {0} are being removed: try again in a moment")]
    BeingRemoved(Hash32),
    /// Not stored.
    #[error("artifact {0} is not stored here")]
    Missing(Hash32),
    /// The settings of the store are wrong.
    #[error("{0}")]
    Settings(String),
    /// The store failed.
    #[error("the artifact store failed: {0}")]
    Store(#[from] object_store::Error),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// The store. Cheap to clone.
#[derive(Clone)]
pub struct Artifacts {
    store: Arc<dyn ObjectStore>,
    db: Db,
}

impl Artifacts {
    /// A store in a local folder.
    pub fn local(folder: &std::path::Path, db: Db) -> Result<Self, ArtifactError> {
        let store = LocalFileSystem::new_with_prefix(folder)?.with_automatic_cleanup(true);
        Ok(Self { store: Arc::new(store), db })
    }

    /// A store that speaks S3. Without a key file the key is taken from where the platform puts it (environment, container, instance).
    pub fn s3(config: &StoreConfig, db: Db) -> Result<Self, ArtifactError> {
        let mut builder = AmazonS3Builder::from_env().with_bucket_name(&config.bucket).with_allow_http(config.allow_http);
        if let Some(region) = &config.region {
            builder = builder.with_region(region);
        }
        if let Some(endpoint) = &config.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(path) = &config.key_file {
            let text = std::fs::read_to_string(path).map_err(|error| {
                ArtifactError::Settings(format!("the key of the artifact store, {}, cannot be read: {error}", path.display()))
            })?;
            let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
            let (Some(id), Some(secret), None) = (lines.next(), lines.next(), lines.next()) else {
                let detail = format!("{} must hold two lines: the id of the access key, and its secret", path.display());
                return Err(ArtifactError::Settings(detail));
            };
            builder = builder.with_access_key_id(id).with_secret_access_key(secret);
        }
        Ok(Self { store: Arc::new(PrefixStore::new(builder.build()?, config.prefix.as_str())), db })
    }

    /// Whether the store answers.
    pub async fn check(&self) -> Result<(), ArtifactError> {
        self.store.list_with_delimiter(None).await?;
        Ok(())
    }

    /// Begins an upload or takes it up again: which chunks are to be sent. What the caller owns already is whole.
    pub async fn begin(&self, hash: Hash32, manifest: &Manifest, owner: &str, quota: u64) -> Result<UploadState, ArtifactError> {
        if manifest.bytes > MAX_BYTES {
            return Err(ArtifactError::TooLarge);
        }
        if manifest.hash() != Some(hash) {
            return Err(ArtifactError::WrongManifest(hash));
        }
        if self.db.owns_artifact(hash, owner).await? {
            return Ok(UploadState { missing: Vec::new() });
        }
        let (open, announced) = self.db.open_uploads(owner, hash).await?;
        if open >= MAX_OPEN_UPLOADS {
            return Err(ArtifactError::TooManyUploads);
        }
        let used = self.db.owned_bytes(owner).await?.saturating_add(announced);
        if used.saturating_add(manifest.bytes) > quota {
            return Err(ArtifactError::Quota { used, limit: quota });
        }
        self.db.begin_upload(owner, hash, manifest, clock::now()).await?;
        if self.db.is_removed(hash).await? {
            return Err(ArtifactError::BeingRemoved(hash));
        }
        Ok(UploadState { missing: self.missing(hash, owner, manifest).await? })
    }

    async fn missing(&self, hash: Hash32, owner: &str, manifest: &Manifest) -> Result<Vec<u32>, ArtifactError> {
        let there: std::collections::BTreeSet<u32> = self.db.uploaded_chunks(owner, hash).await?.into_iter().collect();
        Ok((0_u32..).take(manifest.chunks.len()).filter(|number| !there.contains(number)).collect())
    }

    /// Takes a chunk of an upload that was begun. Sending it again changes nothing.
    pub async fn put_chunk(&self, hash: Hash32, number: u32, chunk: Bytes, owner: &str) -> Result<(), ArtifactError> {
        let Some(manifest) = self.db.upload(owner, hash).await? else {
            if !self.db.owns_artifact(hash, owner).await? {
                return Err(ArtifactError::NoUpload(hash));
            }
            // Its answer was lost on the way: it is whole. Other bytes are still not taken for it.
            let manifest = self.manifest(hash).await?;
            let right = manifest.has(number, &chunk);
            return if right { Ok(()) } else { Err(ArtifactError::Damaged { number, from: manifest.range(number).start }) };
        };
        let checked = chunk.clone();
        let (manifest, right) = tokio::task::spawn_blocking(move || {
            let right = manifest.has(number, &checked);
            (manifest, right)
        })
        .await
        .map_err(|error| ArtifactError::Settings(error.to_string()))?;
        if !right {
            return Err(ArtifactError::Damaged { number, from: manifest.range(number).start });
        }
        if self.db.is_removed(hash).await? {
            return Err(ArtifactError::BeingRemoved(hash));
        }
        self.store.put(&place(hash, number, manifest.chunks.len()), PutPayload::from_bytes(chunk)).await?;
        Ok(self.db.add_chunk(owner, hash, number, clock::now()).await?)
    }

    /// Ends an upload: from here on its bytes are an artifact, and its bringer owns it. Saying it again changes nothing.
    pub async fn finish(&self, hash: Hash32, owner: &str) -> Result<Stored, ArtifactError> {
        let Some(manifest) = self.db.upload(owner, hash).await? else {
            let bytes = self.db.artifact_bytes(hash).await?;
            return match bytes {
                Some(bytes) if self.db.owns_artifact(hash, owner).await? => Ok(Stored { hash, bytes }),
                _ => Err(ArtifactError::NoUpload(hash)),
            };
        };
        let missing = self.missing(hash, owner, &manifest).await?;
        if !missing.is_empty() {
            return Err(ArtifactError::Incomplete(missing.len()));
        }
        self.db.add_artifact(hash, &manifest, Some(owner), clock::now()).await?;
        Ok(Stored { hash, bytes: manifest.bytes })
    }

    /// A whole artifact of one chunk, in one request.
    pub async fn put_small(&self, hash: Hash32, bytes: Bytes, owner: &str, quota: u64) -> Result<Stored, ArtifactError> {
        let manifest = Manifest { bytes: length(&bytes), chunks: vec![hash] };
        if !manifest.has(0, &bytes) {
            return Err(ArtifactError::Damaged { number: 0, from: 0 });
        }
        for _ in self.begin(hash, &manifest, owner, quota).await?.missing {
            self.put_chunk(hash, 0, bytes.clone(), owner).await?;
        }
        self.finish(hash, owner).await
    }

    /// Stores bytes of our own making.
    pub async fn put(&self, bytes: Vec<u8>) -> Result<Hash32, ArtifactError> {
        let manifest = Manifest::of(&bytes);
        let hash = manifest.hash().ok_or(ArtifactError::TooLarge)?;
        let bytes = Bytes::from(bytes);
        for number in (0_u32..).take(manifest.chunks.len()) {
            let range = manifest.range(number);
            let chunk = bytes.slice(index(range.start)..index(range.end));
            self.store.put(&place(hash, number, manifest.chunks.len()), PutPayload::from_bytes(chunk)).await?;
        }
        self.db.add_artifact(hash, &manifest, None, clock::now()).await?;
        Ok(hash)
    }

    /// The size of a stored artifact.
    pub async fn bytes(&self, hash: Hash32) -> Result<Option<u64>, ArtifactError> {
        Ok(self.db.artifact_bytes(hash).await?)
    }

    /// How a stored artifact is cut.
    pub async fn manifest(&self, hash: Hash32) -> Result<Manifest, ArtifactError> {
        let mut manifest = self.db.artifact_manifest(hash).await?.ok_or(ArtifactError::Missing(hash))?;
        if manifest.chunks.is_empty() {
            // It was stored whole: read it once more, a chunk in memory at a time.
            let whole = manifest.bytes;
            for number in 0..u32::try_from(starling_http_api::artifact::chunk_count(whole)).unwrap_or(0) {
                let chunk: Vec<Bytes> = self.stream(hash, manifest.range(number)).await?.try_collect().await?;
                manifest.chunks.push(starling_http_api::artifact::chunk_value(number, index(whole.div_ceil(CHUNK_BYTES)), &chunk.concat()));
            }
        }
        Ok(manifest)
    }

    /// All bytes, checked against their name.
    pub async fn get(&self, hash: Hash32) -> Result<Vec<u8>, ArtifactError> {
        let bytes = self.bytes(hash).await?.ok_or(ArtifactError::Missing(hash))?;
        let parts: Vec<Bytes> = self.stream(hash, 0..bytes).await?.try_collect().await?;
        let bytes = parts.concat();
        let found = Hash32(*blake3::hash(&bytes).as_bytes());
        if found == hash { Ok(bytes) } else { Err(ArtifactError::HashMismatch { wanted: hash, found }) }
    }

    /// A part, as it lies in the store; the reader checks it by the manifest.
    pub async fn stream(
        &self,
        hash: Hash32,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, object_store::Error>>, ArtifactError> {
        let manifest = self.db.artifact_manifest(hash).await?.ok_or(ArtifactError::Missing(hash))?;
        if range.is_empty() {
            return Ok(stream::empty().boxed());
        }
        let mut pieces = pieces(hash, &manifest, range).into_iter();
        let Some((path, inside)) = pieces.next() else { return Ok(stream::empty().boxed()) };
        // The first is opened before anything is promised.
        let first = match read_piece(self.store.clone(), path, inside).await {
            Err(object_store::Error::NotFound { .. }) => return Err(ArtifactError::Missing(hash)),
            first => first?,
        };
        let store = self.store.clone();
        let rest = stream::iter(pieces).then(move |(path, inside)| read_piece(store.clone(), path, inside)).try_flatten();
        Ok(first.chain(rest).boxed())
    }

    /// Removes the objects of an artifact of so many chunks; one that is not there is removed already.
    async fn remove(&self, hash: Hash32, chunks: u64) -> Result<(), ArtifactError> {
        for number in (0_u32..).take(index(chunks.max(1))) {
            match self.store.delete(&place(hash, number, index(chunks))).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

type Piece = BoxStream<'static, Result<Bytes, object_store::Error>>;

async fn read_piece(store: Arc<dyn ObjectStore>, path: Path, inside: Range<u64>) -> Result<Piece, object_store::Error> {
    let options = GetOptions { range: Some(GetRange::Bounded(inside)), ..GetOptions::default() };
    Ok(store.get_opts(&path, options).await?.into_stream().boxed())
}

/// The objects that a range lies in, and where in each.
fn pieces(hash: Hash32, manifest: &Manifest, range: Range<u64>) -> Vec<(Path, Range<u64>)> {
    let count = manifest.chunks.len();
    if count <= 1 {
        return vec![(place(hash, 0, 1), range)];
    }
    let numbers = range.start / CHUNK_BYTES..=(range.end - 1) / CHUNK_BYTES;
    let numbers = numbers.filter_map(|number| u32::try_from(number).ok());
    numbers
        .map(|number| {
            let chunk = manifest.range(number);
            let inside = range.start.max(chunk.start) - chunk.start..range.end.min(chunk.end) - chunk.start;
            (place(hash, number, count), inside)
        })
        .collect()
}

/// An artifact of one chunk is one object by its name; others are a folder.
fn place(hash: Hash32, number: u32, count: usize) -> Path {
    let text = hash.to_string();
    if count <= 1 {
        Path::from(format!("blake3/{}/{text}", &text[..2]))
    } else {
        Path::from(format!("chunks/{}/{text}/{number}", &text[..2]))
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn index(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
#[path = "artifacts_tests.rs"]
mod tests;
