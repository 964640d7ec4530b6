//! Group commit: writes that lie on the disk before anything is done about them. Those of one moment share a transaction, and with it the wait for the disk.

use super::{Db, DbError, Fence};
use sqlx::AnyPool;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};
use tokio::sync::{mpsc, oneshot};

/// Writes of one transaction.
const MOST: usize = 256;
/// Writes that wait; who brings more waits too.
const QUEUE: usize = 1_024;

/// A value of a write.
#[derive(Clone, Debug)]
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

struct Write {
    sql: &'static str,
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
            while writes.recv_many(&mut group, MOST).await > 0 {
                write(&pool, &fence, &counted, &mut group).await;
            }
        });
        Self { queue, counts }
    }

    /// Writes, and comes back when it lies on the disk: how many rows it was.
    pub(super) async fn write<const N: usize>(&self, sql: &'static str, values: [Value; N]) -> Result<u64, DbError> {
        let (done, written) = oneshot::channel();
        let write = Write { sql, values: values.into(), done };
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

/// All or none in one transaction. Where the database refuses one, each is tried alone, so that it takes only itself down.
async fn write(pool: &AnyPool, fence: &Fence, counts: &Counts, group: &mut Vec<Write>) {
    match commit(pool, fence, group).await {
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
                let outcome = commit(pool, fence, alone).await.map(|rows| rows.into_iter().sum());
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

async fn commit(pool: &AnyPool, fence: &Fence, group: &[Write]) -> Result<Vec<u64>, DbError> {
    let mut tx = fence.begin(pool).await?;
    let mut rows = Vec::with_capacity(group.len());
    for Write { sql, values, .. } in group {
        let query = values.iter().cloned().fold(sqlx::query(*sql), |query, value| match value {
            Value::Number(number) => query.bind(number),
            Value::Text(text) => query.bind(text),
            Value::Bytes(bytes) => query.bind(bytes),
        });
        rows.push(query.execute(&mut *tx).await?.rows_affected());
    }
    tx.commit().await?;
    Ok(rows)
}
