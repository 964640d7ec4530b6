//! The database: SQLite by default. One small module for each kind of record; SQL stands nowhere else.

mod artifact;
mod fact;
mod history;
mod login;
mod outbox;
mod upload;
mod work;

pub use artifact::Use;
pub use fact::FactKind;
pub use history::NewEvent;
pub use login::ChallengeRow;
pub use outbox::{OutboxRow, OutboxState, OutboxStatus};
pub use work::WorkKind;

use sqlx::{
    SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{path::Path, time::Duration};

/// Applied in order; never changed once released.
const MIGRATIONS: &[&str] = &[
    include_str!("../migrations/0001_init.sql"),
    include_str!("../migrations/0002_metered_uses.sql"),
    include_str!("../migrations/0003_changes_by_asset.sql"),
    include_str!("../migrations/0004_uploads.sql"),
];

/// Why the database gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// SQLite refused.
    #[error("the database failed: {0}")]
    Sql(#[from] sqlx::Error),
    /// A stored record cannot be read.
    #[error("a stored {what} cannot be read: {source}")]
    Malformed {
        /// Which kind of record.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The file was written by a newer version of this program.
    #[error("the database has layout {found}, this program knows {MAX}: use the newer program", MAX = MIGRATIONS.len())]
    Newer {
        /// Its layout.
        found: i64,
    },
}

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    pool: SqlitePool,
}

impl Db {
    /// Opens or makes the file and brings it to this program's layout.
    pub async fn open(path: &Path) -> Result<Self, DbError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal)
            .busy_timeout(Duration::from_secs(10))
            .foreign_keys(true);
        let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await?;
        let db = Self { pool };
        db.migrate().await?;
        Ok(db)
    }

    async fn migrate(&self) -> Result<(), DbError> {
        let (found,): (i64,) = sqlx::query_as("PRAGMA user_version").fetch_one(&self.pool).await?;
        let done = usize::try_from(found).ok().filter(|done| *done <= MIGRATIONS.len()).ok_or(DbError::Newer { found })?;
        for (number, sql) in MIGRATIONS.iter().enumerate().skip(done) {
            let script = format!("BEGIN; {sql}; PRAGMA user_version = {}; COMMIT;", number + 1);
            sqlx::raw_sql(sqlx::AssertSqlSafe(script)).execute(&self.pool).await?;
        }
        Ok(())
    }

    /// A number that was kept under a name.
    pub async fn cursor(&self, name: &str) -> Result<Option<u64>, DbError> {
        let row: Option<(i64,)> = sqlx::query_as("SELECT value FROM cursors WHERE name = ?").bind(name).fetch_optional(&self.pool).await?;
        Ok(row.map(|(value,)| unsigned(value)))
    }

    /// Keeps a number under a name.
    pub async fn set_cursor(&self, name: &str, value: u64) -> Result<(), DbError> {
        let sql = "INSERT INTO cursors (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        sqlx::query(sql).bind(name).bind(signed(value)).execute(&self.pool).await?;
        Ok(())
    }
}

/// SQLite's integers are signed; our numbers stay far below the limit.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn to_json<T: serde::Serialize>(what: &'static str, value: &T) -> Result<String, DbError> {
    serde_json::to_string(value).map_err(|source| DbError::Malformed { what, source })
}

fn from_json<T: serde::de::DeserializeOwned>(what: &'static str, text: &str) -> Result<T, DbError> {
    serde_json::from_str(text).map_err(|source| DbError::Malformed { what, source })
}

#[cfg(test)]
#[path = "db_tests.rs"]
mod tests;
