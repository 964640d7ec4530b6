//! Who may read which artifact.

use super::{Db, DbError, WorkKind, signed, unsigned};
use starling_primitives::{EscrowId, Hash32, LeaseId, TimestampMs};

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
            sqlx::query_as("SELECT bytes FROM artifacts WHERE hash = ?").bind(hash.0.as_slice()).fetch_optional(&self.pool).await?;
        Ok(row.map(|(bytes,)| unsigned(bytes)))
    }

    /// Notes a stored artifact and one of its owners.
    pub async fn add_artifact(&self, hash: Hash32, bytes: u64, owner: Option<&str>, now: TimestampMs) -> Result<(), DbError> {
        let mut tx = self.pool.begin().await?;
        sqlx::query("INSERT OR IGNORE INTO artifacts (hash, bytes, stored_at) VALUES (?, ?, ?)")
            .bind(hash.0.as_slice())
            .bind(signed(bytes))
            .bind(signed(now.0))
            .execute(&mut *tx)
            .await?;
        if let Some(owner) = owner {
            sqlx::query("INSERT OR IGNORE INTO artifact_owners (hash, owner, bytes, at) VALUES (?, ?, ?, ?)")
                .bind(hash.0.as_slice())
                .bind(owner)
                .bind(signed(bytes))
                .bind(signed(now.0))
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// Whether someone brought the artifact's bytes.
    pub async fn owns_artifact(&self, hash: Hash32, owner: &str) -> Result<bool, DbError> {
        let row: Option<(i64,)> = sqlx::query_as("SELECT 1 FROM artifact_owners WHERE hash = ? AND owner = ?")
            .bind(hash.0.as_slice())
            .bind(owner)
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.is_some())
    }

    /// All bytes that someone stored.
    pub async fn owned_bytes(&self, owner: &str) -> Result<u64, DbError> {
        let (sum,): (i64,) =
            sqlx::query_as("SELECT COALESCE(SUM(bytes), 0) FROM artifact_owners WHERE owner = ?").bind(owner).fetch_one(&self.pool).await?;
        Ok(unsigned(sum))
    }

    /// Notes that a run or lease refers to an artifact.
    pub async fn add_use(&self, hash: Hash32, work: WorkKind, id: u64, made: bool) -> Result<(), DbError> {
        sqlx::query("INSERT INTO artifact_uses (hash, work, work_id, made) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET made = MAX(made, excluded.made)")
            .bind(hash.0.as_slice())
            .bind(work.name())
            .bind(signed(id))
            .bind(i64::from(made))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// The runs and leases that refer to an artifact; the newest 100.
    pub async fn uses(&self, hash: Hash32) -> Result<Vec<Use>, DbError> {
        let rows: Vec<(String, i64, i64)> =
            sqlx::query_as("SELECT work, work_id, made FROM artifact_uses WHERE hash = ? ORDER BY work_id DESC LIMIT 100")
                .bind(hash.0.as_slice())
                .fetch_all(&self.pool)
                .await?;
        let read = |(work, id, made): (String, i64, i64)| Use {
            work: if work == WorkKind::Run.name() { WorkKind::Run } else { WorkKind::Lease },
            id: unsigned(id),
            made: made == 1,
        };
        Ok(rows.into_iter().map(read).collect())
    }

    /// Counts a metered use to a lease, if fewer than `paid` went to others; the same lease again is the same use. Says whether it may go on.
    pub async fn take_use(&self, escrow_id: EscrowId, lease_id: LeaseId, paid: u64) -> Result<bool, DbError> {
        let taken = sqlx::query(
            "INSERT OR IGNORE INTO metered_uses (escrow_id, lease_id) SELECT ?1, ?2 WHERE (SELECT COUNT(*) FROM metered_uses WHERE escrow_id = ?1) < ?3",
        );
        taken.bind(signed(escrow_id.0)).bind(signed(lease_id.0)).bind(signed(paid)).execute(&self.pool).await?;
        let row: Option<(i64,)> = sqlx::query_as("SELECT 1 FROM metered_uses WHERE escrow_id = ? AND lease_id = ?")
            .bind(signed(escrow_id.0))
            .bind(signed(lease_id.0))
            .fetch_optional(&self.pool)
            .await?;
        Ok(row.is_some())
    }

    /// Replaces the files of a listing.
    pub async fn set_listing_files(&self, contract: &str, name: &str, hashes: &[Hash32]) -> Result<(), DbError> {
        let mut tx = self.pool.begin().await?;
        for hash in hashes {
            sqlx::query("INSERT OR IGNORE INTO listing_files (hash, contract, name) VALUES (?, ?, ?)")
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
        Ok(sqlx::query_as("SELECT contract, name FROM listing_files WHERE hash = ? LIMIT 20")
            .bind(hash.0.as_slice())
            .fetch_all(&self.pool)
            .await?)
    }
}
