//! The outbox: sends calls one after the other. The signed bytes are stored before they are sent, so a crash repeats the same transaction, which takes effect once.

use crate::{
    chain::Chain,
    clock,
    db::{Db, DbError, OutboxRow, OutboxState},
};
use starling_contract_api::{
    Call,
    rpc::{Outcome, RpcError, SignedTx},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;

/// Wait after a failure that may pass.
const RETRY: Duration = Duration::from_secs(1);
/// A call that the RPC refuses so often is given up, so that it does not hold up the others.
const MAX_REFUSALS: u32 = 5;

/// The outbox. Cheap to clone.
#[derive(Clone)]
pub struct Outbox {
    db: Db,
    chain: Arc<dyn Chain>,
    work: Arc<Notify>,
    /// Wakes who reads the chain.
    done: Arc<Notify>,
}

impl Outbox {
    /// An outbox that wakes `done` after each call.
    pub fn new(db: Db, chain: Arc<dyn Chain>, done: Arc<Notify>) -> Self {
        Self { db, chain, work: Arc::default(), done }
    }

    /// Makes sure that a call is made under this key. When it ended and the chain does not show its effect, it is repeated after `retry_ms`.
    pub async fn ensure(&self, key: &str, call: &Call, retry_ms: u64) -> Result<(), DbError> {
        let now = clock::now();
        let fresh = match self.db.call_status(key).await? {
            None => self.db.enqueue(key, call, now).await?,
            Some((OutboxState::Queued | OutboxState::Signed, ..)) => false,
            Some((_, _, _, at)) if now.since(at).0 < retry_ms => false,
            Some(_) => {
                self.db.requeue(key, call, now).await?;
                true
            }
        };
        if fresh {
            self.work.notify_one();
        }
        Ok(())
    }

    /// The transaction of a call that succeeded.
    pub async fn transaction(&self, key: &str) -> Result<Option<String>, DbError> {
        Ok(self.db.call_status(key).await?.and_then(|(_, tx, ..)| tx))
    }

    /// Sends for ever.
    pub async fn run(self) {
        loop {
            match self.db.next_call().await {
                Ok(Some(row)) => self.send(row).await,
                Ok(None) => {
                    tokio::select! {
                        () = self.work.notified() => {}
                        () = tokio::time::sleep(RETRY * 5) => {}
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the outbox cannot be read");
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    async fn send(&self, row: OutboxRow) {
        let mut signed = row.signed.clone();
        let mut refusals = 0;
        loop {
            match self.attempt(&row, &mut signed).await {
                Ok(outcome) => {
                    tracing::info!(key = row.key, tx = outcome.hash, burnt = %outcome.tokens_burnt, "done on chain");
                    return self.finish(&row, None).await;
                }
                Err(SendError::Rpc(RpcError::Failed { outcome, message })) => {
                    tracing::warn!(key = row.key, tx = outcome.hash, message, "refused on chain");
                    return self.finish(&row, Some(&message)).await;
                }
                Err(SendError::Rpc(error)) if !error.is_passing() => {
                    refusals += 1;
                    tracing::warn!(key = row.key, %error, refusals, "the RPC refused a transaction");
                    if refusals >= MAX_REFUSALS {
                        return self.finish(&row, Some(&error.to_string())).await;
                    }
                    // Its nonce is taken or its block too old: it was not executed (the client asked) and never will be.
                    signed = None;
                }
                Err(error) => tracing::warn!(key = row.key, %error, "sending again"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn attempt(&self, row: &OutboxRow, signed: &mut Option<SignedTx>) -> Result<Outcome, SendError> {
        let transaction = match signed.take() {
            Some(transaction) => transaction,
            None => {
                let transaction = self.chain.sign(&row.call).await?;
                self.db.set_signed(row.seq, Some(&transaction), clock::now()).await?;
                transaction
            }
        };
        let outcome = self.chain.submit(&transaction).await;
        *signed = Some(transaction);
        Ok(outcome?)
    }

    async fn finish(&self, row: &OutboxRow, error: Option<&str>) {
        while let Err(failure) = self.db.finish_call(row.seq, error, clock::now()).await {
            tracing::error!(%failure, key = row.key, "the outbox cannot be written");
            tokio::time::sleep(RETRY).await;
        }
        self.done.notify_one();
    }
}

#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Rpc(#[from] RpcError),
    #[error(transparent)]
    Db(#[from] DbError),
}
