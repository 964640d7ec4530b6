//! Work under way: the state of each run and lease, finished rounds, and the points of the curves.

use super::{Db, DbError, from_json, group::Upsert, signed, to_json, unsigned};
use serde::{Serialize, de::DeserializeOwned};
use starling_http_api::run::{Curves, MetricPoint, RoundView};
use starling_primitives::{RunId, TimestampMs};

const PUT_WORK: Upsert = Upsert {
    insert: "INSERT INTO works (work, id, json, updated_at)",
    key: 2,
    conflict: "ON CONFLICT (work, id) DO UPDATE SET json = excluded.json, updated_at = excluded.updated_at",
};
const PUT_ROUND: Upsert = Upsert {
    insert: "INSERT INTO rounds (run_id, round, json)",
    key: 2,
    conflict: "ON CONFLICT (run_id, round) DO UPDATE SET json = excluded.json",
};

/// Run or lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkKind {
    /// A run.
    Run,
    /// A lease.
    Lease,
}

impl WorkKind {
    /// Its name in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Lease => "lease",
        }
    }
}

impl Db {
    /// Replaces the state of a run or lease.
    pub async fn set_work<T: Serialize>(&self, kind: WorkKind, id: u64, state: &T, now: TimestampMs) -> Result<(), DbError> {
        let values = [kind.name().into(), signed(id).into(), to_json("work", state)?.into(), signed(now.0).into()];
        self.group.put(&PUT_WORK, values).await
    }

    /// The states of all runs or leases; the newest 10,000.
    pub async fn works<T: DeserializeOwned>(&self, kind: WorkKind) -> Result<Vec<T>, DbError> {
        let rows: Vec<(String,)> = sqlx::query_as("SELECT json FROM works WHERE work = $1 ORDER BY id DESC LIMIT 10000")
            .bind(kind.name())
            .fetch_all(&self.pool)
            .await?;
        rows.iter().map(|(json,)| from_json("work", json)).collect()
    }

    /// Replaces what is shown of a round.
    pub async fn set_round(&self, run_id: RunId, round: &RoundView) -> Result<(), DbError> {
        let values = [signed(run_id.0).into(), i64::from(round.round).into(), to_json("round", round)?.into()];
        self.group.put(&PUT_ROUND, values).await
    }

    /// What is shown of a run's rounds, in order; the last 10,000.
    pub async fn rounds(&self, run_id: RunId) -> Result<Vec<RoundView>, DbError> {
        let sql =
            "SELECT json FROM (SELECT round, json FROM rounds WHERE run_id = $1 ORDER BY round DESC LIMIT 10000) AS newest ORDER BY round";
        let rows: Vec<(String,)> = sqlx::query_as(sql).bind(signed(run_id.0)).fetch_all(&self.pool).await?;
        rows.iter().map(|(json,)| from_json("round", json)).collect()
    }

    /// Adds points to the curves.
    pub async fn add_metrics(&self, points: &[(RunId, MetricPoint)]) -> Result<(), DbError> {
        let mut tx = self.begin_leading().await?;
        for (run_id, point) in points {
            sqlx::query("INSERT INTO metrics (run_id, json) VALUES ($1, $2)")
                .bind(signed(run_id.0))
                .bind(to_json("metric", point)?)
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// The points of a run's curves that came after a place, in order; the last 50,000.
    pub async fn curves(&self, run_id: RunId, after: u64) -> Result<Curves, DbError> {
        let sql = "SELECT seq, json FROM (SELECT seq, json FROM metrics WHERE run_id = $1 AND seq > $2 ORDER BY seq DESC LIMIT 50000) AS newest ORDER BY seq";
        let rows: Vec<(i64, String)> = sqlx::query_as(sql).bind(signed(run_id.0)).bind(signed(after)).fetch_all(&self.pool).await?;
        let last = rows.last().map_or(after, |(seq, _)| unsigned(*seq));
        let points = rows.iter().map(|(_, json)| from_json("metric", json)).collect::<Result<_, _>>()?;
        Ok(Curves { points, last })
    }
}
