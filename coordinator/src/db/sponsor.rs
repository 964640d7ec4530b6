//! What the sponsor gave in the last day.

use super::{Db, DbError, signed, unsigned};
use starling_primitives::TimestampMs;

/// How long a gift counts.
const DAY_MS: u64 = 86_400_000;

/// A kind of thing that the sponsor gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gift {
    /// Accounts, counted by the address that asked.
    Account,
    /// Tgas of calls, counted by the account that signed.
    Call,
}

impl Gift {
    fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Call => "call",
        }
    }
}

/// How much was given in the last day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Given {
    /// To everyone.
    pub in_all: u64,
    /// To the one asked about.
    pub to_one: u64,
}

impl Db {
    /// What was given in the last day; forgets what is older.
    pub async fn given(&self, gift: Gift, whose: &str, now: TimestampMs) -> Result<Given, DbError> {
        let since = signed(now.0.saturating_sub(DAY_MS));
        sqlx::query("DELETE FROM sponsored WHERE at < $1").bind(since).execute(&self.pool).await?;
        let sql = "SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT), CAST(COALESCE(SUM(CASE WHEN whose = $1 THEN amount ELSE 0 END), 0) AS BIGINT) FROM sponsored WHERE kind = $2";
        let (in_all, to_one): (i64, i64) = sqlx::query_as(sql).bind(whose).bind(gift.name()).fetch_one(&self.pool).await?;
        Ok(Given { in_all: unsigned(in_all), to_one: unsigned(to_one) })
    }

    /// Writes down what is being given.
    pub async fn give(&self, gift: Gift, whose: &str, amount: u64, now: TimestampMs) -> Result<(), DbError> {
        sqlx::query("INSERT INTO sponsored (kind, whose, amount, at) VALUES ($1, $2, $3, $4)")
            .bind(gift.name())
            .bind(whose)
            .bind(signed(amount))
            .bind(signed(now.0))
            .execute(&self.pool)
            .await?;
        Ok(())
    }
}
