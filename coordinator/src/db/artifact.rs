//! Who may read which artifact.

use super::{Db, DbError, WorkKind, group::Upsert, signed, unsigned, upload};
use starling_http_api::artifact::Manifest;
use starling_primitives::{EscrowId, Hash32, LeaseId, TimestampMs};

const PUT_USE: Upsert = Upsert {
    insert: "INSERT INTO artifact_uses (hash, work, work_id, made)",
    key: 3,
    conflict: "ON CONFLICT (hash, work, work_id) DO UPDATE SET made = CASE WHEN excluded.made > artifact_uses.made THEN excluded.made ELSE artifact_uses.made END",
};

/// A run or lease that refers to an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// Run or lease.
    pub work: WorkKind,
    /// Its number.
    pub id: u64,
    /// Whether the work itself made the artifact.
    pub made: bool,
}

impl Db {
    /// The size of an artifact that is stored.
    pub async fn artifact_bytes(&self, hash: Hash32) -> Result<Option<u64>, DbError> {
        let row: Option<(i64,)> =
            sqlx::query_as("SELECT bytes FROM artifacts WHERE hash = $1").bind(hash.0.as_slice()).fetch_optional(&self.pool).await?;
        Ok(row.map(|(bytes,)| unsigned(bytes)))
    }

    /// How a stored artifact is cut. One without chunks lies whole in one object, whatever its size.
    pub async fn artifact_manifest(&self, hash: Hash32) -> Result<Option<Manifest>, DbError> {
        let row: Option<(i64, Option<Vec<u8>>)> = sqlx::query_as("SELECT bytes, chunks FROM artifacts WHERE hash = $1")
            .bind(hash.0.as_slice())
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.map(|(bytes, chunks)| upload::read(bytes, &chunks.unwrap_or_default())))
    }

    /// Notes a stored artifact and one of its owners, whose upload ends with it.
    pub async fn add_artifact(&self, hash: Hash32, manifest: &Manifest, owner: Option<&str>, now: TimestampMs) -> Result<(), DbError> {
        let mut tx = self.pool.begin().await?;
        sqlx::query("INSERT INTO artifacts (hash, bytes, stored_at, chunks) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
            .bind(hash.0.as_slice())
            .bind(signed(manifest.bytes))
            .bind(signed(now.0))
            .bind(upload::written(manifest))
            .execute(&mut *tx)
            .await?;
        if let Some(owner) = owner {
            sqlx::query("INSERT INTO artifact_owners (hash, owner, bytes, at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING")
                .bind(hash.0.as_slice())
                .bind(owner)
                .bind(signed(manifest.bytes))
                .bind(signed(now.0))
                .execute(&mut *tx)
                .await?;
            for sql in ["DELETE FROM upload_chunks WHERE owner = $1 AND hash = $2", "DELETE FROM uploads WHERE owner = $1 AND hash = $2"] {
                sqlx::query(sql).bind(owner).bind(hash.0.as_slice()).execute(&mut *tx).await?;
            }
        }
        tx.commit().await?;
        Ok(())
    }

    /// Makes someone an owner of a stored artifact.
    pub async fn own_artifact(&self, hash: Hash32, owner: &str, now: TimestampMs) -> Result<(), DbError> {
        let sql = "INSERT INTO artifact_owners (hash, owner, bytes, at) SELECT hash, $2, bytes, $3 FROM artifacts WHERE hash = $1 ON CONFLICT DO NOTHING";
        sqlx::query(sql).bind(hash.0.as_slice()).bind(owner).bind(signed(now.0)).execute(&self.pool).await?;
        Ok(())
    }

    /// Takes an owner off an artifact. Says whether it was one.
    pub async fn disown_artifact(&self, hash: Hash32, owner: &str) -> Result<bool, DbError> {
        let done = sqlx::query("DELETE FROM artifact_owners WHERE hash = $1 AND owner = $2")
            .bind(hash.0.as_slice())
            .bind(owner)
            .execute(&self.pool)
            .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Artifacts that were stored before then, that no account owns and no listing names, with all that refers to each; 200 at most, behind `after`.
    pub async fn unowned_artifacts(&self, before: TimestampMs, after: Option<Hash32>) -> Result<Vec<Hash32>, DbError> {
        let sql = "SELECT hash FROM artifacts a WHERE stored_at < $1 AND hash > $2
            AND NOT EXISTS (SELECT 1 FROM artifact_owners o WHERE o.hash = a.hash AND o.owner NOT LIKE 'node:%')
            AND NOT EXISTS (SELECT 1 FROM listing_files l WHERE l.hash = a.hash) ORDER BY hash LIMIT 200";
        let after = after.map_or(Vec::new(), |hash| hash.0.to_vec());
        let rows: Vec<(Vec<u8>,)> = sqlx::query_as(sql).bind(signed(before.0)).bind(after).fetch_all(&self.pool).await?;
        Ok(rows.iter().filter_map(|(hash,)| upload::name(hash)).collect())
    }

    /// Forgets an artifact with its owners and uses, unless an account owns it, a listing names it, or anything refers to it that did not when `uses` were counted.
    /// Says whether it was forgotten.
    pub async fn forget_artifact(&self, hash: Hash32, uses: u64) -> Result<bool, DbError> {
        let mut tx = self.begin_leading().await?;
        let sql = "DELETE FROM artifacts WHERE hash = $1 AND (SELECT COUNT(*) FROM artifact_uses u WHERE u.hash = $1) = $2
            AND NOT EXISTS (SELECT 1 FROM artifact_owners o WHERE o.hash = $1 AND o.owner NOT LIKE 'node:%')
            AND NOT EXISTS (SELECT 1 FROM listing_files l WHERE l.hash = $1)";
        let done = sqlx::query(sql).bind(hash.0.as_slice()).bind(signed(uses)).execute(&mut *tx).await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        for sql in ["DELETE FROM artifact_owners WHERE hash = $1", "DELETE FROM artifact_uses WHERE hash = $1"] {
            sqlx::query(sql).bind(hash.0.as_slice()).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(true)
    }

    /// All runs and leases that refer to an artifact.
    pub async fn all_uses(&self, hash: Hash32) -> Result<Vec<Use>, DbError> {
        let rows: Vec<(String, i64, i64)> = sqlx::query_as("SELECT work, work_id, made FROM artifact_uses WHERE hash = $1")
            .bind(hash.0.as_slice())
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.into_iter().map(read_use).collect())
    }

    /// Whether someone brought the artifact's bytes.
    pub async fn owns_artifact(&self, hash: Hash32, owner: &str) -> Result<bool, DbError> {
        let row: Option<(i64,)> = sqlx::query_as("SELECT 1 FROM artifact_owners WHERE hash = $1 AND owner = $2")
            .bind(hash.0.as_slice())
            .bind(owner)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.is_some())
    }

    /// All bytes that someone stored.
    pub async fn owned_bytes(&self, owner: &str) -> Result<u64, DbError> {
        let (sum,): (i64,) = sqlx::query_as("SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) FROM artifact_owners WHERE owner = $1")
            .bind(owner)
            .fetch_one(&self.pool)
            .await?;
        Ok(unsigned(sum))
    }

    /// Notes that a run or lease refers to an artifact.
    pub async fn add_use(&self, hash: Hash32, work: WorkKind, id: u64, made: bool) -> Result<(), DbError> {
        self.group.put(&PUT_USE, [hash.0.as_slice().into(), work.name().into(), signed(id).into(), i64::from(made).into()]).await
    }

    /// The runs and leases that refer to an artifact; the newest 100.
    pub async fn uses(&self, hash: Hash32) -> Result<Vec<Use>, DbError> {
        let rows: Vec<(String, i64, i64)> =
            sqlx::query_as("SELECT work, work_id, made FROM artifact_uses WHERE hash = $1 ORDER BY work_id DESC LIMIT 100")
                .bind(hash.0.as_slice())
                .fetch_all(&self.pool)
                .await?;
        Ok(rows.into_iter().map(read_use).collect())
    }

    /// Counts a metered use to a lease, if fewer than `paid` went to others; the same lease again is the same use. Says whether it may go on.
    pub async fn take_use(&self, escrow_id: EscrowId, lease_id: LeaseId, paid: u64) -> Result<bool, DbError> {
        let sql = "INSERT INTO metered_uses (escrow_id, lease_id) SELECT $1, $2 WHERE (SELECT COUNT(*) FROM metered_uses WHERE escrow_id = $1) < $3 ON CONFLICT DO NOTHING";
        self.group.write(sql, [signed(escrow_id.0).into(), signed(lease_id.0).into(), signed(paid).into()]).await?;
        let row: Option<(i64,)> = sqlx::query_as("SELECT 1 FROM metered_uses WHERE escrow_id = $1 AND lease_id = $2")
            .bind(signed(escrow_id.0))
            .bind(signed(lease_id.0))
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.is_some())
    }

    /// Replaces the files of a listing.
    pub async fn set_listing_files(&self, contract: &str, name: &str, hashes: &[Hash32]) -> Result<(), DbError> {
        let mut tx = self.begin_leading().await?;
        for hash in hashes {
            sqlx::query("INSERT INTO listing_files (hash, contract, name) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
                .bind(hash.0.as_slice())
                .bind(contract)
                .bind(name)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// The listings that have an artifact among their files, as (contract, name); 20 at most.
    pub async fn listings_of(&self, hash: Hash32) -> Result<Vec<(String, String)>, DbError> {
        Ok(sqlx::query_as("SELECT contract, name FROM listing_files WHERE hash = $1 LIMIT 20")
            .bind(hash.0.as_slice())
            .fetch_all(&self.pool)
            .await?)
    }
}

fn read_use((work, id, made): (String, i64, i64)) -> Use {
    Use { work: if work == WorkKind::Run.name() { WorkKind::Run } else { WorkKind::Lease }, id: unsigned(id), made: made == 1 }
}
