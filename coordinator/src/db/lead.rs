//! The lead: of several programs on one database, one works and the others stand by.

use super::{Db, DbError, signed, unsigned};
use starling_primitives::{DurationMs, TimestampMs};

impl Db {
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

    /// Gives the lead up, so that another takes it at once.
    pub async fn leave_lead(&self, holder: &str) -> Result<(), DbError> {
        sqlx::query("UPDATE leads SET until = 0 WHERE holder = $1").bind(holder).execute(&self.pool).await?;
        Ok(())
    }
}
