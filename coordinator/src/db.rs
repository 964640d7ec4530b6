//! The database: SQLite in a file, or PostgreSQL by configuration, with the same queries and migrations. One small module for each kind of record; SQL stands nowhere else.

mod artifact;
#[cfg(test)]
pub(crate) mod cluster;
mod fact;
mod group;
mod history;
mod lead;
mod login;
mod outbox;
mod sponsor;
mod upload;
mod work;

pub use artifact::Use;
pub use fact::FactKind;
pub use history::NewEvent;
pub use login::ChallengeRow;
pub use outbox::{OutboxRow, OutboxState, OutboxStatus};
pub use sponsor::{Gift, Given};
pub use work::WorkKind;

use group::Group;
use lead::Fence;
use sqlx::{
    AnyPool, Executor as _,
    any::{AnyConnectOptions, AnyPoolOptions},
};
use std::{path::Path, str::FromStr as _, time::Duration};

/// Applied in order; never changed once released. The second is for rows that only a SQLite database had at that time.
const MIGRATIONS: &[(&str, &str)] = &[
    (include_str!("../migrations/0001_init.sql"), ""),
    (include_str!("../migrations/0002_metered_uses.sql"), ""),
    (include_str!("../migrations/0003_changes_by_asset.sql"), include_str!("../migrations/0003_changes_by_asset.sqlite.sql")),
    (include_str!("../migrations/0004_uploads.sql"), ""),
    (include_str!("../migrations/0005_leads.sql"), ""),
    (include_str!("../migrations/0006_sponsored.sql"), ""),
    (include_str!("../migrations/0007_replicas.sql"), ""),
];
/// Writers of one file wait for each other. A lost machine may cost the last logins, or facts that are read again.
const PREPARE_SQLITE: &str =
    "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;";
/// What is written in groups lies on the disk when it is done.
const PREPARE_SQLITE_GROUP: &str =
    "PRAGMA busy_timeout = 10000; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;";
/// A program that stops in the middle of a transaction holds up nobody for longer.
const PREPARE_POSTGRES: &str = "SET idle_in_transaction_session_timeout = '2s'";
/// Names the lock under which one of several programs brings PostgreSQL to its layout.
const LAYOUT_LOCK: &str = "SELECT pg_advisory_xact_lock(734152)";

/// What differs between the two: how tables are written, and where the layout's number stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Sqlite,
    Postgres,
}

/// Why the database gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// It refused, or is not there.
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
    /// What was written together with it failed.
    #[error(transparent)]
    Together(std::sync::Arc<DbError>),
    /// Another program on this database has the lead: what this one writes would be out of date.
    #[error("another program leads on this database now")]
    NotLeading,
    /// The program is stopping.
    #[error("the database is closed: the program stops")]
    Stopped,
    /// The file was written by a newer version of this program.
    #[error("the database has layout {found}, this program knows {MAX}: use the newer program", MAX = MIGRATIONS.len())]
    Newer {
        /// Its layout.
        found: i64,
    },
}

impl DbError {
    /// Whether the database is away for a moment: it starts, stops, or cannot be reached; or another program leads.
    pub fn is_passing(&self) -> bool {
        match self {
            // PostgreSQL's classes: connections, and what an operator does to the server.
            Self::Sql(sqlx::Error::Database(error)) => error.code().is_some_and(|code| code.starts_with("08") || code.starts_with("57P")),
            Self::Sql(error) => matches!(error, sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Protocol(_)),
            Self::Together(error) => error.is_passing(),
            Self::NotLeading | Self::Stopped => true,
            Self::Malformed { .. } | Self::Newer { .. } => false,
        }
    }
}

/// The database. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Db {
    pool: AnyPool,
    dialect: Dialect,
    fence: Fence,
    group: Group,
}

impl Db {
    /// Opens or makes a SQLite file and brings it to this program's layout.
    pub async fn open(path: &Path) -> Result<Self, DbError> {
        // A path may hold what an address may not.
        let mut url = "sqlite://".to_owned();
        for byte in path.to_string_lossy().bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => url.push(char::from(byte)),
                other => url.push_str(&format!("%{other:02X}")),
            }
        }
        url.push_str("?mode=rwc");
        Self::connect(&url, Dialect::Sqlite, 4).await
    }

    /// Connects to PostgreSQL and brings it to this program's layout.
    pub async fn open_postgres(url: &str) -> Result<Self, DbError> {
        Self::connect(url, Dialect::Postgres, 16).await
    }

    async fn connect(url: &str, dialect: Dialect, connections: u32) -> Result<Self, DbError> {
        sqlx::any::install_default_drivers();
        let (prepare, prepare_group) = match dialect {
            Dialect::Sqlite => (PREPARE_SQLITE, PREPARE_SQLITE_GROUP),
            Dialect::Postgres => (PREPARE_POSTGRES, PREPARE_POSTGRES),
        };
        let fence = Fence::default();
        let group = Group::start(pool(url, prepare_group, 1)?, fence.clone());
        let db = Self { pool: pool(url, prepare, connections)?, dialect, fence, group };
        db.migrate().await?;
        Ok(db)
    }

    async fn migrate(&self) -> Result<(), DbError> {
        let mut tx = self.pool.begin().await?;
        if self.dialect == Dialect::Postgres {
            tx.execute(sqlx::raw_sql(LAYOUT_LOCK)).await?;
            tx.execute(sqlx::raw_sql("CREATE TABLE IF NOT EXISTS layout (version BIGINT NOT NULL)")).await?;
        }
        let found: Option<(i64,)> = match self.dialect {
            Dialect::Sqlite => sqlx::query_as("PRAGMA user_version").fetch_optional(&mut *tx).await?,
            Dialect::Postgres => sqlx::query_as("SELECT version FROM layout").fetch_optional(&mut *tx).await?,
        };
        let found = found.map_or(0, |(found,)| found);
        let done = usize::try_from(found).ok().filter(|done| *done <= MIGRATIONS.len()).ok_or(DbError::Newer { found })?;
        for (tables, sqlite_rows) in &MIGRATIONS[done..] {
            let script = match self.dialect {
                Dialect::Sqlite => format!("{tables}; {sqlite_rows}"),
                Dialect::Postgres => for_postgres(tables),
            };
            tx.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(script))).await?;
        }
        let done = match self.dialect {
            Dialect::Sqlite => format!("PRAGMA user_version = {}", MIGRATIONS.len()),
            Dialect::Postgres => format!("DELETE FROM layout; INSERT INTO layout (version) VALUES ({})", MIGRATIONS.len()),
        };
        tx.execute(sqlx::raw_sql(sqlx::AssertSqlSafe(done))).await?;
        tx.commit().await?;
        Ok(())
    }

    /// A number that was kept under a name.
    pub async fn cursor(&self, name: &str) -> Result<Option<u64>, DbError> {
        let row: Option<(i64,)> = sqlx::query_as("SELECT value FROM cursors WHERE name = $1").bind(name).fetch_optional(&self.pool).await?;
        Ok(row.map(|(value,)| unsigned(value)))
    }

    /// Keeps a number under a name.
    pub async fn set_cursor(&self, name: &str, value: u64) -> Result<(), DbError> {
        let sql = "INSERT INTO cursors (name, value) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET value = excluded.value";
        sqlx::query(sql).bind(name).bind(signed(value)).execute(&self.pool).await?;
        Ok(())
    }
}

/// Connections are made when they are needed.
fn pool(url: &str, prepare: &'static str, connections: u32) -> Result<AnyPool, DbError> {
    let options = AnyPoolOptions::new().max_connections(connections).acquire_timeout(Duration::from_secs(10));
    let options = options.after_connect(move |connection, _| {
        Box::pin(async move {
            connection.execute(sqlx::raw_sql(prepare)).await?;
            Ok(())
        })
    });
    Ok(options.connect_lazy_with(AnyConnectOptions::from_str(url)?))
}

/// A script of tables as PostgreSQL writes it.
fn for_postgres(script: &str) -> String {
    [
        ("INTEGER PRIMARY KEY AUTOINCREMENT", "BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY"),
        (" INTEGER", " BIGINT"),
        (" BLOB", " BYTEA"),
        (" WITHOUT ROWID", ""),
    ]
    .iter()
    .fold(script.to_owned(), |script, (ours, theirs)| script.replace(ours, theirs))
}

/// The databases' integers are signed; our numbers stay far below the limit.
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
