//! The lead: of several programs on one database one works at the chain and the nodes. Its number fences what it writes: who lost the lead writes nothing any more.

use super::{Db, DbError, signed, unsigned};
use sqlx::{Acquire, Any, Transaction};
use starling_primitives::{DurationMs, TimestampMs};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::SeqCst},
};

/// The number of the lead under which is written. Cheap to clone; without a number nothing is checked.
#[derive(Clone, Debug, Default)]
pub(super) struct Fence(Arc<AtomicU64>);

/// Numbers begin at 1.
const NO_LEAD: u64 = u64::MAX;

impl Fence {
    /// Begins a transaction that ends before another can take the lead, or is refused where another has.
    pub(super) async fn begin<'c>(&self, database: impl Acquire<'c, Database = Any>) -> Result<Transaction<'c, Any>, DbError> {
        let mut tx = database.begin().await?;
        let number = self.0.load(SeqCst);
        if number != 0 {
            // Who takes the lead waits for this lock, and sees what was written under it.
            let sql = "SELECT number FROM leads WHERE name = 'coordinator' AND number = $1 FOR SHARE";
            let held: Option<(i64,)> = sqlx::query_as(sql).bind(signed(number)).fetch_optional(&mut *tx).await?;
            held.ok_or(DbError::NotLeading)?;
        }
        Ok(tx)
    }
}

impl Db {
    /// From now on only the program with the lead of this number writes what the leading one writes; nobody here while there is none. For PostgreSQL: a file has one program.
    pub fn fence(&self, number: Option<u64>) {
        self.fence.0.store(number.unwrap_or(NO_LEAD), SeqCst);
    }

    /// Begins a transaction of what only the leading program writes.
    pub(crate) async fn begin_leading(&self) -> Result<Transaction<'static, Any>, DbError> {
        self.fence.begin(&self.pool).await
    }

    /// Takes the lead, or renews it, for so long from now. Gives its number, which grows with each new holder; nothing while another holds it.
    pub async fn take_lead(&self, holder: &str, now: TimestampMs, span: DurationMs) -> Result<Option<u64>, DbError> {
        let sql = "INSERT INTO leads (name, holder, number, until) VALUES ('coordinator', $1, 1, $2)
            ON CONFLICT (name) DO UPDATE SET until = excluded.until, holder = excluded.holder,
                number = CASE WHEN leads.holder = excluded.holder THEN leads.number ELSE leads.number + 1 END
            WHERE leads.holder = excluded.holder OR leads.until < $3 RETURNING number";
        let row: Option<(i64,)> =
            sqlx::query_as(sql).bind(holder).bind(signed(now.after(span).0)).bind(signed(now.0)).fetch_optional(&self.pool).await?;
        Ok(row.map(|(number,)| unsigned(number)))
    }

    /// Who has the lead now.
    pub async fn leader(&self, now: TimestampMs) -> Result<Option<String>, DbError> {
        let sql = "SELECT holder FROM leads WHERE name = 'coordinator' AND until >= $1";
        let row: Option<(String,)> = sqlx::query_as(sql).bind(signed(now.0)).fetch_optional(&self.pool).await?;
        Ok(row.map(|(holder,)| holder))
    }

    /// Whether this program may write what only the leading one writes, as far as it knows.
    pub fn may_lead(&self) -> bool {
        self.fence.0.load(SeqCst) != NO_LEAD
    }

    /// Says for so long from now that a program stands by at an address.
    pub async fn stand_by(&self, address: &str, now: TimestampMs, span: DurationMs) -> Result<(), DbError> {
        sqlx::query("DELETE FROM replicas WHERE until < $1").bind(signed(now.0)).execute(&self.pool).await?;
        let sql = "INSERT INTO replicas (address, until) VALUES ($1, $2) ON CONFLICT (address) DO UPDATE SET until = excluded.until";
        sqlx::query(sql).bind(address).bind(signed(now.after(span).0)).execute(&self.pool).await?;
        Ok(())
    }

    /// A program stands by no longer: it leads, or stops.
    pub async fn stop_standing_by(&self, address: &str) -> Result<(), DbError> {
        sqlx::query("DELETE FROM replicas WHERE address = $1").bind(address).execute(&self.pool).await?;
        Ok(())
    }

    /// Where programs stand by now, always in one order.
    pub async fn standing_by(&self, now: TimestampMs) -> Result<Vec<String>, DbError> {
        let rows: Vec<(String,)> = sqlx::query_as("SELECT address FROM replicas WHERE until >= $1 ORDER BY address")
            .bind(signed(now.0))
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.into_iter().map(|(address,)| address).collect())
    }

    /// Gives the lead up, so that another takes it at once.
    pub async fn leave_lead(&self, holder: &str) -> Result<(), DbError> {
        sqlx::query("UPDATE leads SET until = 0 WHERE holder = $1").bind(holder).execute(&self.pool).await?;
        Ok(())
    }
}
