//! Group commit: writes that lie on the disk before anything is done about them. Those of one moment share a transaction, and with it the wait for the disk;
//! rows of one table share a statement, and with it the way to the database.

use super::{Db, DbError, Fence};
use sqlx::{Any, AnyPool, AssertSqlSafe, any::AnyArguments, pool::PoolConnection, query::Query};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};
use tokio::sync::{mpsc, oneshot};

/// Writes of one transaction.
const MOST: usize = 256;
/// How often those who are ready to work may do so before a group is closed.
const YIELDS: usize = 4;
/// Rows of one statement.
const TOGETHER: usize = 32;
/// Writes that wait; who brings more waits too.
const QUEUE: usize = 1_024;

/// A value of a write.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Value {
    Number(i64),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(Some(text.to_owned()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Some(text))
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Self {
        Self::Text(text.map(str::to_owned))
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(Some(bytes.to_vec()))
    }
}

impl From<Option<&[u8]>> for Value {
    fn from(bytes: Option<&[u8]>) -> Self {
        Self::Bytes(bytes.map(<[u8]>::to_vec))
    }
}

/// Adds a row, or changes the one that has its key. Nothing else that is written in groups touches its table.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Upsert {
    /// `INSERT INTO table (columns)`.
    pub(super) insert: &'static str,
    /// How many columns, from the first on, are the key.
    pub(super) key: usize,
    /// What follows the rows: `ON CONFLICT` and so on.
    pub(super) conflict: &'static str,
}

impl Upsert {
    /// The statement for rows of so many values.
    fn sql(&self, rows: usize, columns: usize) -> String {
        let row = |row: usize| {
            let values: Vec<String> = (1..=columns).map(|column| format!("${}", row * columns + column)).collect();
            format!("({})", values.join(", "))
        };
        let rows: Vec<String> = (0..rows).map(row).collect();
        format!("{} VALUES {} {}", self.insert, rows.join(", "), self.conflict)
    }
}

#[derive(Clone, Copy, Debug)]
enum What {
    Statement(&'static str),
    Row(&'static Upsert),
}

struct Write {
    what: What,
    values: Vec<Value>,
    done: oneshot::Sender<Result<u64, DbError>>,
}

/// The way to the one task that writes. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Group {
    queue: mpsc::Sender<Write>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    writes: AtomicU64,
    commits: AtomicU64,
}

impl Group {
    /// Writes by connections of this pool, as long as the fence stands.
    pub(super) fn start(pool: AnyPool, fence: Fence) -> Self {
        let (queue, mut writes) = mpsc::channel(QUEUE);
        let counts = Arc::<Counts>::default();
        let counted = counts.clone();
        tokio::spawn(async move {
            let mut group = Vec::with_capacity(MOST);
            let mut to = Connection { pool, fence, held: None };
            loop {
                if writes.is_empty() {
                    to.held = None;
                }
                if writes.recv_many(&mut group, MOST).await == 0 {
                    return;
                }
                // Whoever is about to write comes along.
                for _ in 0..YIELDS {
                    tokio::task::yield_now().await;
                }
                while group.len() < MOST
                    && let Ok(write) = writes.try_recv()
                {
                    group.push(write);
                }
                write(&mut to, &counted, &mut group).await;
            }
        });
        Self { queue, counts }
    }

    /// Writes, and comes back when it lies on the disk: how many rows it was.
    pub(super) async fn write<const N: usize>(&self, sql: &'static str, values: [Value; N]) -> Result<u64, DbError> {
        self.push(What::Statement(sql), values.into()).await
    }

    /// Writes a row, and comes back when it lies on the disk.
    pub(super) async fn put<const N: usize>(&self, upsert: &'static Upsert, values: [Value; N]) -> Result<(), DbError> {
        self.push(What::Row(upsert), values.into()).await.map(drop)
    }

    async fn push(&self, what: What, values: Vec<Value>) -> Result<u64, DbError> {
        let (done, written) = oneshot::channel();
        let write = Write { what, values, done };
        self.queue.send(write).await.map_err(|_| DbError::Stopped)?;
        written.await.map_err(|_| DbError::Stopped)?
    }
}

impl Db {
    /// Writes and commits of the group since the start.
    pub fn group_counts(&self) -> (u64, u64) {
        let counts = &self.group.counts;
        (counts.writes.load(Relaxed), counts.commits.load(Relaxed))
    }
}

/// Where is written. The connection goes from one group to the next while there is always one more; when nothing waits, the pool looks after it.
struct Connection {
    pool: AnyPool,
    fence: Fence,
    held: Option<PoolConnection<Any>>,
}

/// All or none in one transaction. Where the database refuses one, each is tried alone, so that it takes only itself down.
async fn write(to: &mut Connection, counts: &Counts, group: &mut Vec<Write>) {
    match commit(to, group).await {
        Ok(rows) => {
            counts.commits.fetch_add(1, Relaxed);
            counts.writes.fetch_add(u64::try_from(group.len()).unwrap_or(u64::MAX), Relaxed);
            for (write, rows) in group.drain(..).zip(rows) {
                // Who asked may be gone.
                let _ = write.done.send(Ok(rows));
            }
        }
        Err(DbError::Sql(sqlx::Error::Database(refusal))) if group.len() > 1 => {
            tracing::debug!(%refusal, "a write of a group was refused");
            for write in group.drain(..) {
                let alone = std::slice::from_ref(&write);
                let outcome = commit(to, alone).await.map(|rows| rows.into_iter().sum());
                let _ = write.done.send(outcome);
            }
        }
        Err(error) => {
            let error = Arc::new(error);
            for write in group.drain(..) {
                let _ = write.done.send(Err(DbError::Together(error.clone())));
            }
        }
    }
}

async fn commit(to: &mut Connection, group: &[Write]) -> Result<Vec<u64>, DbError> {
    let mut connection = match to.held.take() {
        Some(held) => held,
        None => to.pool.acquire().await?,
    };
    let mut tx = to.fence.begin(&mut *connection).await?;
    let mut rows = Vec::with_capacity(group.len());
    for ((upsert, _), together) in rows_by_statement(group) {
        let mut rest = together.as_slice();
        while !rest.is_empty() {
            // Of so many lengths at most a connection keeps the statements.
            let (now, later) = rest.split_at(rest.len().min(TOGETHER));
            let sql = upsert.sql(now.len(), now[0].len());
            bound(sqlx::query(AssertSqlSafe(sql)), now.iter().copied().flatten()).execute(&mut *tx).await?;
            rest = later;
        }
    }
    for Write { what, values, .. } in group {
        rows.push(match *what {
            What::Statement(sql) => bound(sqlx::query(sql), values).execute(&mut *tx).await?.rows_affected(),
            What::Row(_) => 1,
        });
    }
    tx.commit().await?;
    to.held = Some(connection);
    Ok(rows)
}

/// Rows that can be written at once, in their order. No statement may change a row twice: of equal keys each comes in a statement after the one before it.
fn rows_by_statement(group: &[Write]) -> BTreeMap<(&'static Upsert, usize), Vec<&[Value]>> {
    let mut seen: HashMap<(&str, &[Value]), usize> = HashMap::new();
    let mut statements: BTreeMap<_, Vec<&[Value]>> = BTreeMap::new();
    for Write { what, values, .. } in group {
        let What::Row(upsert) = *what else { continue };
        let before = seen.entry((upsert.insert, &values[..upsert.key])).or_default();
        statements.entry((upsert, *before)).or_default().push(values);
        *before += 1;
    }
    statements
}

fn bound<'q>(query: Query<'q, Any, AnyArguments>, values: impl IntoIterator<Item = &'q Value>) -> Query<'q, Any, AnyArguments> {
    values.into_iter().cloned().fold(query, |query, value| match value {
        Value::Number(number) => query.bind(number),
        Value::Text(text) => query.bind(text),
        Value::Bytes(bytes) => query.bind(bytes),
    })
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    const PUT: Upsert =
        Upsert { insert: "INSERT INTO things (id, name)", key: 1, conflict: "ON CONFLICT (id) DO UPDATE SET name = excluded.name" };

    fn write(what: What, values: [Value; 2]) -> Write {
        Write { what, values: values.into(), done: oneshot::channel().0 }
    }

    #[test]
    fn rows__should_share_a_statement_unless_one_comes_twice() {
        let row = |id: i64, name: &str| write(What::Row(&PUT), [id.into(), name.into()]);
        let group =
            [row(1, "a"), write(What::Statement("DELETE"), [9.into(), "x".into()]), row(2, "b"), row(1, "c"), row(3, "d"), row(1, "e")];
        let found: Vec<Vec<&Value>> =
            rows_by_statement(&group).into_values().map(|rows| rows.into_iter().map(|row| &row[1]).collect()).collect();
        let names = [vec!["a", "b", "d"], vec!["c"], vec!["e"]].map(|names| names.into_iter().map(Value::from).collect::<Vec<_>>());
        assert_eq!(found, names.iter().map(|names| names.iter().collect::<Vec<_>>()).collect::<Vec<_>>());
        assert_eq!(
            PUT.sql(2, 2),
            "INSERT INTO things (id, name) VALUES ($1, $2), ($3, $4) ON CONFLICT (id) DO UPDATE SET name = excluded.name"
        );
    }
}
