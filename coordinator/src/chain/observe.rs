//! Observes the chain: polls views level by level and publishes the facts. What was missed costs a delay, never a loss.

use super::{Chain, Facts, facts::Head};
use crate::{
    clock,
    db::{Db, DbError, FactKind},
};
use starling_contract_api::{
    compute::Counts,
    rpc::{BlockRef, RpcError},
};
use starling_primitives::{AccountId, Hash32, LeaseId, RunId, TimestampMs};
use starling_protocol::{lease::LeaseState, run::RunState};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::{Notify, watch};

/// How often runs and leases under way are read.
const POLL: Duration = Duration::from_millis(500);
/// How often nodes and offers are read.
const SLOW_POLL_MS: u64 = 2_000;
/// How often listings are read.
const LISTINGS_POLL_MS: u64 = 5_000;

/// Reads the chain and publishes [`Facts`]. Its loop has one owner.
pub struct Observer {
    chain: Arc<dyn Chain>,
    db: Db,
    listing_contracts: [AccountId; 2],
    facts: watch::Sender<Arc<Facts>>,
    wake: Arc<Notify>,
    slow_at: TimestampMs,
    listings_at: TimestampMs,
}

/// Why a reading stopped.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// The chain gave no answer.
    #[error(transparent)]
    Chain(#[from] RpcError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Observer {
    /// Starts from the projection as it was stored; `wake` asks for a reading at once.
    pub async fn new(
        chain: Arc<dyn Chain>,
        db: Db,
        listing_contracts: [AccountId; 2],
        wake: Arc<Notify>,
    ) -> Result<(Self, super::FactsReader), DbError> {
        let facts = Facts {
            nodes: by_id(db.facts(FactKind::Node).await?, |node: &starling_protocol::node::Node| node.id),
            offers: by_id(db.facts(FactKind::Offer).await?, |offer: &starling_contract_api::compute::Offer| offer.id),
            runs: by_id(db.facts(FactKind::Run).await?, |run: &starling_protocol::run::Run| run.id),
            leases: by_id(db.facts(FactKind::Lease).await?, |lease: &starling_protocol::lease::Lease| lease.id),
            ..Facts::default()
        };
        let (sender, reader) = watch::channel(Arc::new(facts));
        Ok((Self { chain, db, listing_contracts, facts: sender, wake, slow_at: TimestampMs(0), listings_at: TimestampMs(0) }, reader))
    }

    /// Reads for ever. A failing chain is tried again, and said once.
    pub async fn run(mut self) {
        let mut failing = false;
        loop {
            match self.read().await {
                Ok(()) if failing => {
                    failing = false;
                    tracing::info!("the chain answers again");
                }
                Ok(()) => {}
                Err(error) if !failing => {
                    failing = true;
                    tracing::warn!(%error, "the chain cannot be read; trying again");
                }
                Err(_) => {}
            }
            let pause = if failing { POLL * 4 } else { POLL };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    /// One reading.
    pub async fn read(&mut self) -> Result<(), ObserveError> {
        let mut next = Facts::clone(&self.facts.borrow());
        let block = self.chain.block(BlockRef::Final).await?;
        let now = clock::now();
        if block.height != next.head.height {
            next.head = Head { height: block.height, hash: block.hash, at: TimestampMs(block.timestamp_ms), seen_at: now };
        }
        if now.since(self.slow_at).0 >= SLOW_POLL_MS || !next.complete {
            next.fee = self.chain.fee().await?;
            self.read_market(&mut next).await?;
            self.slow_at = now;
        }
        self.read_runs(&mut next).await?;
        self.read_leases(&mut next).await?;
        next.complete = true;
        self.facts.send_replace(Arc::new(next));
        if now.since(self.listings_at).0 >= LISTINGS_POLL_MS {
            self.listings_at = now;
            read_listings(&*self.chain, &self.db, &self.listing_contracts).await?;
        }
        Ok(())
    }

    async fn read_market(&self, next: &mut Facts) -> Result<(), ObserveError> {
        let (counts, mut from) = (self.chain.counts().await?, 1);
        while from <= counts.nodes {
            let page = self.chain.nodes(from).await?;
            from = Counts::next(from, page.last().map(|node| node.id.0));
            for node in page {
                if next.nodes.get(&node.id).is_none_or(|known| **known != node) {
                    self.db.set_fact(FactKind::Node, node.id.0, &node).await?;
                    next.nodes.insert(node.id, Arc::new(node));
                }
            }
        }
        let mut from = 1;
        while from <= counts.offers {
            let page = self.chain.offers(from).await?;
            from = Counts::next(from, page.last().map(|offer| offer.id.0));
            for offer in page {
                if next.offers.get(&offer.id).is_none_or(|known| **known != offer) {
                    self.db.set_fact(FactKind::Offer, offer.id.0, &offer).await?;
                    next.offers.insert(offer.id, Arc::new(offer));
                }
            }
        }
        Ok(())
    }

    /// New runs by number, and those that are not settled one by one.
    async fn read_runs(&self, next: &mut Facts) -> Result<(), ObserveError> {
        let known = next.runs.keys().next_back().map_or(1, |last| last.0 + 1);
        let open = next.runs.values().filter(|run| !matches!(run.state, RunState::Ended { settled: true, .. })).map(|run| run.id);
        let mut found = Vec::new();
        for run_id in open.collect::<Vec<RunId>>() {
            found.extend(self.chain.run(run_id).await?);
        }
        let (last, mut from) = (self.chain.counts().await?.runs, known);
        while from <= last {
            let page = self.chain.runs(from).await?;
            from = Counts::next(from, page.last().map(|run| run.id.0));
            found.extend(page);
        }
        for run in found {
            if next.runs.get(&run.id).is_none_or(|known| **known != run) {
                self.db.set_fact(FactKind::Run, run.id.0, &run).await?;
                next.runs.insert(run.id, Arc::new(run));
            }
        }
        Ok(())
    }

    async fn read_leases(&self, next: &mut Facts) -> Result<(), ObserveError> {
        let known = next.leases.keys().next_back().map_or(1, |last| last.0 + 1);
        let open = next.leases.values().filter(|lease| !matches!(lease.state, LeaseState::Closed { .. })).map(|lease| lease.id);
        let mut found = Vec::new();
        for lease_id in open.collect::<Vec<LeaseId>>() {
            found.extend(self.chain.lease(lease_id).await?);
        }
        let (last, mut from) = (self.chain.counts().await?.leases, known);
        while from <= last {
            let page = self.chain.leases(from).await?;
            from = Counts::next(from, page.last().map(|lease| lease.id.0));
            found.extend(page);
        }
        for lease in found {
            if next.leases.get(&lease.id).is_none_or(|known| **known != lease) {
                self.db.set_fact(FactKind::Lease, lease.id.0, &lease).await?;
                next.leases.insert(lease.id, Arc::new(lease));
            }
        }
        Ok(())
    }
}

/// Reads which artifacts are files of listings, of delisted ones too: their licences stay valid.
pub async fn read_listings(chain: &dyn Chain, db: &Db, contracts: &[AccountId]) -> Result<(), ObserveError> {
    for contract in contracts {
        let mut from = 0;
        loop {
            let page = chain.listings(contract, from).await?;
            if page.is_empty() {
                break;
            }
            from += page.len() as u64;
            for listing in &page {
                let hashes: Vec<Hash32> = listing.versions.iter().flat_map(|version| &version.files).map(|file| file.hash).collect();
                db.set_listing_files(contract.as_str(), &listing.name.to_string(), &hashes).await?;
            }
        }
    }
    Ok(())
}

fn by_id<K: Ord, T>(records: Vec<T>, id: impl Fn(&T) -> K) -> BTreeMap<K, Arc<T>> {
    records.into_iter().map(|record| (id(&record), Arc::new(record))).collect()
}
