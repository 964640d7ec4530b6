//! Uploads under way, and what is being removed.

use super::{Db, DbError, signed, unsigned};
use starling_http_api::artifact::Manifest;
use starling_primitives::{Hash32, TimestampMs};

impl Db {
    /// Keeps an upload, or touches the one that is there.
    pub async fn begin_upload(&self, owner: &str, hash: Hash32, manifest: &Manifest, now: TimestampMs) -> Result<(), DbError> {
        let sql = "INSERT INTO uploads (owner, hash, bytes, chunks, touched_at) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (owner, hash) DO UPDATE SET touched_at = excluded.touched_at";
        sqlx::query(sql)
            .bind(owner)
            .bind(hash.0.as_slice())
            .bind(signed(manifest.bytes))
            .bind(written(manifest))
            .bind(signed(now.0))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// What an upload said it would bring.
    pub async fn upload(&self, owner: &str, hash: Hash32) -> Result<Option<Manifest>, DbError> {
        let row: Option<(i64, Vec<u8>)> = sqlx::query_as("SELECT bytes, chunks FROM uploads WHERE owner = $1 AND hash = $2")
            .bind(owner)
            .bind(hash.0.as_slice())
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|(bytes, chunks)| read(bytes, &chunks)))
    }

    /// The numbers of the chunks that an upload has brought.
    pub async fn uploaded_chunks(&self, owner: &str, hash: Hash32) -> Result<Vec<u32>, DbError> {
        let rows: Vec<(i64,)> = sqlx::query_as("SELECT number FROM upload_chunks WHERE owner = $1 AND hash = $2 ORDER BY number")
            .bind(owner)
            .bind(hash.0.as_slice())
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.into_iter().map(|(number,)| u32::try_from(number).unwrap_or(u32::MAX)).collect())
    }

    /// Notes a chunk whose bytes are stored.
    pub async fn add_chunk(&self, owner: &str, hash: Hash32, number: u32, now: TimestampMs) -> Result<(), DbError> {
        let mut tx = self.pool.begin().await?;
        sqlx::query("INSERT INTO upload_chunks (owner, hash, number) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(owner)
            .bind(hash.0.as_slice())
            .bind(i64::from(number))
            .execute(&mut *tx)
            .await?;
        sqlx::query("UPDATE uploads SET touched_at = $1 WHERE owner = $2 AND hash = $3")
            .bind(signed(now.0))
            .bind(owner)
            .bind(hash.0.as_slice())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(())
    }

    /// Forgets an upload; what was stored of it stays until it is removed.
    pub async fn end_upload(&self, owner: &str, hash: Hash32) -> Result<(), DbError> {
        let mut tx = self.pool.begin().await?;
        for sql in ["DELETE FROM upload_chunks WHERE owner = $1 AND hash = $2", "DELETE FROM uploads WHERE owner = $1 AND hash = $2"] {
            sqlx::query(sql).bind(owner).bind(hash.0.as_slice()).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// How many uploads of an owner are under way beside one of them, and their bytes.
    pub async fn open_uploads(&self, owner: &str, but: Hash32) -> Result<(u64, u64), DbError> {
        let sql = "SELECT COUNT(*), CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM uploads WHERE owner = $1 AND hash <> $2";
        let (count, bytes): (i64, i64) = sqlx::query_as(sql).bind(owner).bind(but.0.as_slice()).fetch_one(&self.pool).await?;
        Ok((unsigned(count), unsigned(bytes)))
    }

    /// Uploads that nobody touched since then, as (owner, artifact, chunks); 100 at most.
    pub async fn stale_uploads(&self, before: TimestampMs) -> Result<Vec<(String, Hash32, u64)>, DbError> {
        let rows: Vec<(String, Vec<u8>, Vec<u8>)> =
            sqlx::query_as("SELECT owner, hash, chunks FROM uploads WHERE touched_at < $1 ORDER BY touched_at LIMIT 100")
                .bind(signed(before.0))
                .fetch_all(&self.pool)
                .await?;
        Ok(rows.into_iter().filter_map(|(owner, hash, chunks)| Some((owner, name(&hash)?, (chunks.len() / 32) as u64))).collect())
    }

    /// Whether the artifact's bytes are wanted: it is stored, or someone uploads it.
    pub async fn is_wanted(&self, hash: Hash32) -> Result<bool, DbError> {
        let sql = "SELECT 1 WHERE EXISTS (SELECT 1 FROM artifacts WHERE hash = $1) OR EXISTS (SELECT 1 FROM uploads WHERE hash = $1)";
        let row: Option<(i64,)> = sqlx::query_as(sql).bind(hash.0.as_slice()).fetch_optional(&self.pool).await?;
        Ok(row.is_some())
    }

    /// Notes that an artifact's bytes are going to be removed.
    pub async fn begin_removal(&self, hash: Hash32, chunks: u64) -> Result<(), DbError> {
        sqlx::query("INSERT INTO removals (hash, chunks) VALUES ($1, $2) ON CONFLICT DO NOTHING")
            .bind(hash.0.as_slice())
            .bind(signed(chunks))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// Whether an artifact's bytes are being removed.
    pub async fn is_removed(&self, hash: Hash32) -> Result<bool, DbError> {
        let row: Option<(i64,)> =
            sqlx::query_as("SELECT chunks FROM removals WHERE hash = $1").bind(hash.0.as_slice()).fetch_optional(&self.pool).await?;
        Ok(row.is_some())
    }

    /// Removals that were begun and not ended, as (artifact, chunks); 100 at most.
    pub async fn removals(&self) -> Result<Vec<(Hash32, u64)>, DbError> {
        let rows: Vec<(Vec<u8>, i64)> = sqlx::query_as("SELECT hash, chunks FROM removals LIMIT 100").fetch_all(&self.pool).await?;
        Ok(rows.into_iter().filter_map(|(hash, chunks)| Some((name(&hash)?, unsigned(chunks)))).collect())
    }

    /// A removal is done, or was called off.
    pub async fn end_removal(&self, hash: Hash32) -> Result<(), DbError> {
        sqlx::query("DELETE FROM removals WHERE hash = $1").bind(hash.0.as_slice()).execute(&self.pool).await?;
        Ok(())
    }
}

/// The values as they lie in a column.
pub(super) fn written(manifest: &Manifest) -> Vec<u8> {
    manifest.chunks.iter().flat_map(|value| value.0).collect()
}

pub(super) fn read(bytes: i64, chunks: &[u8]) -> Manifest {
    Manifest { bytes: unsigned(bytes), chunks: chunks.as_chunks().0.iter().copied().map(Hash32).collect() }
}

pub(super) fn name(bytes: &[u8]) -> Option<Hash32> {
    bytes.try_into().ok().map(Hash32)
}
