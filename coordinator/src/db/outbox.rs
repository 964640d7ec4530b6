//! The outbox: calls that must happen once.

use super::{Db, DbError, from_json, signed, to_json};
use starling_contract_api::{Call, rpc::SignedTx};
use starling_primitives::TimestampMs;

/// Where a call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutboxState {
    /// Not signed yet.
    Queued,
    /// Its bytes are stored, and may have been sent.
    Signed,
    /// It succeeded on chain.
    Done,
    /// It was refused for good.
    Failed,
}

/// A call in the outbox.
#[derive(Clone, Debug)]
pub struct OutboxRow {
    /// Its place in the queue.
    pub seq: i64,
    /// Its idempotency key.
    pub key: String,
    /// What is called.
    pub call: Call,
    /// The signed transaction, once it was signed.
    pub signed: Option<SignedTx>,
}

/// What is known of a key: state, transaction, error, and when it last changed.
pub type OutboxStatus = (OutboxState, Option<String>, Option<String>, TimestampMs);

/// seq, key, call, tx, signed.
type CallColumns = (i64, String, String, Option<String>, Option<Vec<u8>>);

impl OutboxState {
    fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Signed => "signed",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    fn read(name: &str) -> Self {
        match name {
            "queued" => Self::Queued,
            "signed" => Self::Signed,
            "done" => Self::Done,
            _ => Self::Failed,
        }
    }
}

impl Db {
    /// Adds a call under its key; nothing happens if the key is there already. Says whether it was added.
    pub async fn enqueue(&self, key: &str, call: &Call, now: TimestampMs) -> Result<bool, DbError> {
        let sql = "INSERT INTO outbox (key, call, state, created_at, updated_at) VALUES ($1, $2, 'queued', $3, $4) ON CONFLICT DO NOTHING";
        let values = [key.into(), to_json("call", call)?.into(), signed(now.0).into(), signed(now.0).into()];
        Ok(self.group.write(sql, values).await? == 1)
    }

    /// Queues a finished call once more: for calls that change nothing when they already had their effect.
    pub async fn requeue(&self, key: &str, call: &Call, now: TimestampMs) -> Result<(), DbError> {
        let sql = "UPDATE outbox SET state = 'queued', call = $1, tx = NULL, signed = NULL, error = NULL, tries = tries + 1, updated_at = $2 WHERE key = $3 AND state IN ('done', 'failed')";
        self.group.write(sql, [to_json("call", call)?.into(), signed(now.0).into(), key.into()]).await?;
        Ok(())
    }

    /// The first call that is not finished.
    pub async fn next_call(&self) -> Result<Option<OutboxRow>, DbError> {
        let sql = "SELECT seq, key, call, tx, signed FROM outbox WHERE state IN ('queued', 'signed') ORDER BY seq LIMIT 1";
        let row: Option<CallColumns> = sqlx::query_as(sql).fetch_optional(&self.pool).await?;
        row.map(|(seq, key, call, tx, bytes)| {
            let signed = tx.zip(bytes).map(|(hash, bytes)| SignedTx { hash, bytes });
            Ok(OutboxRow { seq, key, call: from_json("call", &call)?, signed })
        })
        .transpose()
    }

    /// Stores the signed bytes before they are sent; `None` takes back bytes that can never take effect.
    pub async fn set_signed(&self, seq: i64, transaction: Option<&SignedTx>, now: TimestampMs) -> Result<(), DbError> {
        let state = if transaction.is_some() { OutboxState::Signed } else { OutboxState::Queued };
        let sql = "UPDATE outbox SET state = $1, tx = $2, signed = $3, updated_at = $4 WHERE seq = $5";
        let tx = transaction.map(|transaction| transaction.hash.as_str());
        let bytes = transaction.map(|transaction| transaction.bytes.as_slice());
        self.group.write(sql, [state.name().into(), tx.into(), bytes.into(), signed(now.0).into(), seq.into()]).await?;
        Ok(())
    }

    /// Ends a call.
    pub async fn finish_call(&self, seq: i64, error: Option<&str>, now: TimestampMs) -> Result<(), DbError> {
        let state = if error.is_some() { OutboxState::Failed } else { OutboxState::Done };
        let sql = "UPDATE outbox SET state = $1, error = $2, updated_at = $3 WHERE seq = $4";
        self.group.write(sql, [state.name().into(), error.into(), signed(now.0).into(), seq.into()]).await?;
        Ok(())
    }

    /// What is known of a key.
    pub async fn call_status(&self, key: &str) -> Result<Option<OutboxStatus>, DbError> {
        let row: Option<(String, Option<String>, Option<String>, i64)> =
            sqlx::query_as("SELECT state, tx, error, updated_at FROM outbox WHERE key = $1").bind(key).fetch_optional(&self.pool).await?;
        Ok(row.map(|(state, tx, error, at)| (OutboxState::read(&state), tx, error, TimestampMs(super::unsigned(at)))))
    }

    /// How many calls wait.
    pub async fn waiting_calls(&self) -> Result<u64, DbError> {
        let (count,): (i64,) =
            sqlx::query_as("SELECT COUNT(*) FROM outbox WHERE state IN ('queued', 'signed')").fetch_one(&self.pool).await?;
        Ok(super::unsigned(count))
    }
}
