//! The artifact store: bytes named by their BLAKE3 hash, in an object store. Who may read them is decided in `access`.

mod access;

pub use access::{Access, Who};

use crate::{
    clock,
    db::{Db, DbError},
};
use axum::body::Bytes;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream::BoxStream};
use object_store::{GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, PutPayload, local::LocalFileSystem, path::Path};
use starling_http_api::artifact::{MAX_BYTES, Stored};
use starling_primitives::Hash32;
use std::{ops::Range, sync::Arc};

/// Uploads up to this are kept in memory; larger ones go to the store in parts of it.
const PART_BYTES: usize = 8 << 20;

/// Why bytes were not stored or not found.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The bytes are not those of the name.
    #[error(
        "the bytes that arrived have the hash {found}, not {wanted}: the upload was damaged on its way. Send it again; nothing was stored."
    )]
    HashMismatch {
        /// By the name.
        wanted: Hash32,
        /// Of what arrived.
        found: Hash32,
    },
    /// Longer than any artifact may be.
    #[error("an artifact has at most {MAX_BYTES} bytes")]
    TooLarge,
    /// The owner's storage is full.
    #[error("{used} of {limit} bytes are used")]
    Quota {
        /// Stored so far.
        used: u64,
        /// The limit.
        limit: u64,
    },
    /// The upload broke off.
    #[error("the upload broke off: {0}")]
    Body(String),
    /// Not stored.
    #[error("artifact {0} is not stored here")]
    Missing(Hash32),
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

    /// Takes an upload, checks its hash and notes its owner. On an error nothing is stored.
    pub async fn put_stream<E: std::fmt::Display>(
        &self,
        wanted: Hash32,
        body: impl Stream<Item = Result<Bytes, E>> + Unpin,
        owner: &str,
        quota: u64,
    ) -> Result<Stored, ArtifactError> {
        let used = self.db.owned_bytes(owner).await?;
        let room = quota.saturating_sub(used);
        let mut upload = Upload { store: &*self.store, hasher: blake3::Hasher::new(), buffer: Vec::new(), bytes: 0, large: None };
        let outcome = upload.receive(body, room.min(MAX_BYTES)).await;
        let known = self.db.owns_artifact(wanted, owner).await?;
        match outcome {
            Err(ArtifactError::TooLarge) if room < MAX_BYTES && !known => {
                upload.abort().await;
                Err(ArtifactError::Quota { used, limit: quota })
            }
            Err(error) => {
                upload.abort().await;
                Err(error)
            }
            Ok(()) => {
                let bytes = upload.bytes;
                upload.finish(wanted).await?;
                self.db.add_artifact(wanted, bytes, Some(owner), clock::now()).await?;
                Ok(Stored { hash: wanted, bytes })
            }
        }
    }

    /// Stores bytes of our own making.
    pub async fn put(&self, bytes: Vec<u8>) -> Result<Hash32, ArtifactError> {
        let hash = Hash32(*blake3::hash(&bytes).as_bytes());
        let length = length(&bytes);
        self.store.put(&place(hash), PutPayload::from(bytes)).await?;
        self.db.add_artifact(hash, length, None, clock::now()).await?;
        Ok(hash)
    }

    /// The size of a stored artifact.
    pub async fn bytes(&self, hash: Hash32) -> Result<Option<u64>, ArtifactError> {
        Ok(self.db.artifact_bytes(hash).await?)
    }

    /// All bytes, checked against their name.
    pub async fn get(&self, hash: Hash32) -> Result<Vec<u8>, ArtifactError> {
        let bytes = match self.store.get(&place(hash)).await {
            Err(object_store::Error::NotFound { .. }) => return Err(ArtifactError::Missing(hash)),
            answer => answer?.bytes().await?,
        };
        let found = Hash32(*blake3::hash(&bytes).as_bytes());
        if found == hash { Ok(bytes.to_vec()) } else { Err(ArtifactError::HashMismatch { wanted: hash, found }) }
    }

    /// A part, as it lies in the store; the reader checks the hash of the whole.
    pub async fn stream(
        &self,
        hash: Hash32,
        range: Range<u64>,
    ) -> Result<BoxStream<'static, Result<Bytes, object_store::Error>>, ArtifactError> {
        if range.is_empty() {
            return Ok(futures_util::stream::empty().boxed());
        }
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        match self.store.get_opts(&place(hash), options).await {
            Err(object_store::Error::NotFound { .. }) => Err(ArtifactError::Missing(hash)),
            answer => Ok(answer?.into_stream().boxed()),
        }
    }
}

struct Upload<'a> {
    store: &'a dyn ObjectStore,
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
    bytes: u64,
    large: Option<(Path, Box<dyn object_store::MultipartUpload>)>,
}

impl Upload<'_> {
    async fn receive<E: std::fmt::Display>(
        &mut self,
        mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
        limit: u64,
    ) -> Result<(), ArtifactError> {
        while let Some(chunk) = body.try_next().await.map_err(|error| ArtifactError::Body(error.to_string()))? {
            self.bytes = self.bytes.saturating_add(length(&chunk));
            if self.bytes > limit {
                return Err(ArtifactError::TooLarge);
            }
            self.hasher.update(&chunk);
            self.buffer.extend_from_slice(&chunk);
            if self.buffer.len() >= PART_BYTES {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), ArtifactError> {
        let part = std::mem::take(&mut self.buffer);
        if self.large.is_none() {
            let path = Path::from(format!("uploads/{}", crate::secret::random_hex::<16>()));
            let upload = self.store.put_multipart(&path).await?;
            self.large = Some((path, upload));
        }
        if let Some((_, upload)) = &mut self.large {
            upload.put_part(PutPayload::from(part)).await?;
        }
        Ok(())
    }

    async fn finish(mut self, wanted: Hash32) -> Result<(), ArtifactError> {
        let found = Hash32(*self.hasher.finalize().as_bytes());
        if found != wanted {
            self.abort().await;
            return Err(ArtifactError::HashMismatch { wanted, found });
        }
        if self.large.is_none() {
            self.store.put(&place(wanted), PutPayload::from(self.buffer)).await?;
            return Ok(());
        }
        if !self.buffer.is_empty() {
            self.flush().await?;
        }
        if let Some((path, mut upload)) = self.large.take() {
            upload.complete().await?;
            self.store.rename(&path, &place(wanted)).await?;
        }
        Ok(())
    }

    /// Drops what was sent so far; a part that stays behind is found by its folder.
    async fn abort(mut self) {
        if let Some((_, mut upload)) = self.large.take()
            && let Err(error) = upload.abort().await
        {
            tracing::debug!(%error, "a broken upload was not removed");
        }
    }
}

fn place(hash: Hash32) -> Path {
    let text = hash.to_string();
    Path::from(format!("blake3/{}/{text}", &text[..2]))
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "artifacts_tests.rs"]
mod tests;
