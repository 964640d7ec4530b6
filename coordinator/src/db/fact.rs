//! Facts: the projection of the chain, one JSON record each.

use super::{Db, DbError, from_json, signed, to_json};
use serde::{Serialize, de::DeserializeOwned};

/// What a fact is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FactKind {
    /// A node.
    Node,
    /// An offer.
    Offer,
    /// A run.
    Run,
    /// A lease.
    Lease,
}

impl FactKind {
    fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Offer => "offer",
            Self::Run => "run",
            Self::Lease => "lease",
        }
    }
}

impl Db {
    /// Replaces facts, all or none.
    pub async fn set_facts<T: Serialize>(&self, kind: FactKind, facts: Vec<(u64, &T)>) -> Result<(), DbError> {
        let sql = "INSERT INTO facts (kind, id, json) VALUES ($1, $2, $3) ON CONFLICT (kind, id) DO UPDATE SET json = excluded.json";
        let mut tx = self.begin_leading().await?;
        for (id, fact) in facts {
            sqlx::query(sql).bind(kind.name()).bind(signed(id)).bind(to_json(kind.name(), fact)?).execute(&mut *tx).await?;
        }
        tx.commit().await?;
        Ok(())
    }

    /// The newest 10,000 facts of a kind, by number.
    pub async fn facts<T: DeserializeOwned>(&self, kind: FactKind) -> Result<Vec<T>, DbError> {
        let rows: Vec<(String,)> = sqlx::query_as(
            "SELECT json FROM (SELECT id, json FROM facts WHERE kind = $1 ORDER BY id DESC LIMIT 10000) AS newest ORDER BY id",
        )
        .bind(kind.name())
        .fetch_all(&self.pool)
        .await?;
        rows.iter().map(|(json,)| from_json(kind.name(), json)).collect()
    }
}
