//! Removes what nobody needs any more: uploads that were given up, and artifacts that no account owns, no listing names and no open work refers to.
//!
//! Nothing goes while money depends on it: every run and lease that refers to an artifact must be over for a while, and its escrow spent by the chain's own word.

use super::{ArtifactError, Artifacts};
use crate::{
    chain::{Chain, Facts, FactsReader},
    clock,
    db::{Use, WorkKind},
};
use starling_contract_api::rpc::RpcError;
use starling_primitives::{DurationMs, EscrowId, Hash32, LeaseId, RunId, TimestampMs};
use starling_protocol::{lease::LeaseState, run::RunState};
use std::{sync::Arc, time::Duration};

/// How often is looked for what may go.
const PAUSE: Duration = Duration::from_secs(600);
/// An upload that nobody touched for so long was given up.
const UPLOAD_LIFE: DurationMs = DurationMs::from_days(2);
/// What was stored less long ago may still be named by a payment, however short results are kept.
const YOUNG: DurationMs = DurationMs::from_days(1);

/// What may be done with an artifact that no account owns.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    /// Something that is not over refers to it.
    Keep,
    /// All that refers to it is over; it may go once these escrows are spent.
    GoAfter(Vec<EscrowId>),
}

/// Removes what nobody needs any more. Its loop has one owner.
pub struct Collector {
    artifacts: Artifacts,
    chain: Arc<dyn Chain>,
    facts: FactsReader,
    keep: DurationMs,
}

/// Why it could not be looked through.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The store or the database failed.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The chain gave no answer.
    #[error(transparent)]
    Chain(#[from] RpcError),
}

impl From<crate::db::DbError> for CollectError {
    fn from(error: crate::db::DbError) -> Self {
        Self::Artifact(error.into())
    }
}

impl Collector {
    /// Keeps what a run or lease made for `keep` after its end.
    pub fn new(artifacts: Artifacts, chain: Arc<dyn Chain>, facts: FactsReader, keep: DurationMs) -> Self {
        Self { artifacts, chain, facts, keep }
    }

    /// Works for ever. What cannot be removed now is tried again.
    pub async fn run(self) {
        loop {
            tokio::time::sleep(PAUSE).await;
            match self.collect(clock::now()).await {
                Ok(0) => {}
                Ok(removed) => tracing::info!(removed, "artifacts and given-up uploads were removed"),
                Err(error) => tracing::warn!(%error, "what nobody needs could not be removed; trying again"),
            }
        }
    }

    /// Looks through everything once; says how many artifacts and uploads went.
    pub async fn collect(&self, now: TimestampMs) -> Result<u64, CollectError> {
        let (db, mut removed) = (&self.artifacts.db, 0);
        for (hash, chunks) in db.removals().await? {
            self.remove(hash, chunks).await?;
        }
        for (owner, hash, chunks) in db.stale_uploads(before(now, UPLOAD_LIFE)).await? {
            db.end_upload(&owner, hash).await?;
            db.begin_removal(hash, chunks).await?;
            self.remove(hash, chunks).await?;
            removed += 1;
        }
        let facts = self.facts.borrow().clone();
        if !facts.complete {
            return Ok(removed);
        }
        let mut after = None;
        loop {
            let page = db.unowned_artifacts(before(now, self.keep.max(YOUNG)), after).await?;
            let Some(last) = page.last() else { return Ok(removed) };
            after = Some(*last);
            for hash in page {
                removed += u64::from(self.consider(hash, &facts, now).await?);
            }
        }
    }

    async fn consider(&self, hash: Hash32, facts: &Facts, now: TimestampMs) -> Result<bool, CollectError> {
        let db = &self.artifacts.db;
        let uses = db.all_uses(hash).await?;
        let Fate::GoAfter(escrows) = fate(&uses, facts, now, self.keep) else { return Ok(false) };
        for escrow_id in escrows {
            if self.chain.escrow(escrow_id).await?.is_some_and(|view| !view.escrow.is_spent()) {
                return Ok(false);
            }
        }
        let Some(manifest) = db.artifact_manifest(hash).await? else { return Ok(false) };
        let chunks = manifest.chunks.len() as u64;
        db.begin_removal(hash, chunks).await?;
        let forgotten = db.forget_artifact(hash, uses.len() as u64).await?;
        self.remove(hash, chunks).await?;
        Ok(forgotten)
    }

    /// Ends a removal that was begun: with the bytes, or without if they are wanted again.
    async fn remove(&self, hash: Hash32, chunks: u64) -> Result<(), CollectError> {
        let db = &self.artifacts.db;
        if !db.is_wanted(hash).await? {
            self.artifacts.remove(hash, chunks).await?;
        }
        Ok(db.end_removal(hash).await?)
    }
}

fn before(now: TimestampMs, span: DurationMs) -> TimestampMs {
    TimestampMs(now.0.saturating_sub(span.0))
}

/// By what refers to it. What this service does not know of is not over.
fn fate(uses: &[Use], facts: &Facts, now: TimestampMs, keep: DurationMs) -> Fate {
    let mut escrows = Vec::new();
    for used in uses {
        let over = match used.work {
            WorkKind::Run => facts.runs.get(&RunId(used.id)).and_then(|run| match run.state {
                RunState::Ended { at, settled: true, .. } => Some((at, run.escrow_id)),
                _ => None,
            }),
            WorkKind::Lease => facts.leases.get(&LeaseId(used.id)).and_then(|lease| match lease.state {
                LeaseState::Closed { ended_at, .. } => Some((ended_at, lease.escrow_id)),
                _ => None,
            }),
        };
        match over {
            Some((at, escrow_id)) if now.since(at) > keep => escrows.push(escrow_id),
            _ => return Fate::Keep,
        }
    }
    Fate::GoAfter(escrows)
}

#[cfg(test)]
#[path = "collect_tests.rs"]
mod tests;
