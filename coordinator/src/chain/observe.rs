//! Observes the chain: polls views level by level and publishes the facts. What was missed costs a delay, never a loss.

use super::{Answer, Chain, Facts, facts::Head};
use crate::{
    clock,
    db::{Db, DbError, FactKind},
};
use serde::Serialize;
use starling_contract_api::{
    compute::{Counts, MAX_PAGE},
    rpc::{BlockRef, RpcError},
};
use starling_primitives::{AccountId, DurationMs, Hash32, LeaseId, RunId, TimestampMs};
use starling_protocol::{lease::LeaseState, run::RunState};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::sync::{Notify, watch};

/// How often runs and leases under way are read.
const POLL: Duration = Duration::from_millis(500);
/// How often nodes and offers are read, where there are few.
const SLOW_POLL_MS: u64 = 2_000;
/// Where there are many, reading them takes no more than one part of so many of the time.
const SLOW_PART: u64 = 10;
/// So many records of one page are read with it, fewer alone: a page may hold others that are over long since.
const PAGE_FROM: usize = 3;
/// How often listings are read.
const LISTINGS_POLL_MS: u64 = 5_000;

/// Reads the chain and publishes [`Facts`]. Its loop has one owner.
pub struct Observer {
    chain: Arc<dyn Chain>,
    db: Db,
    listing_contracts: [AccountId; 2],
    facts: watch::Sender<Arc<Facts>>,
    wake: Arc<Notify>,
    /// Whether the database has all facts: not while another program leads, which keeps its own.
    kept: bool,
    /// When nodes and offers are read next.
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
        let kept = db.may_lead();
        Ok((Self { chain, db, listing_contracts, facts: sender, wake, kept, slow_at: TimestampMs(0), listings_at: TimestampMs(0) }, reader))
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
        // All is read of final blocks: nothing changes from one to the next.
        let is_news = block.hash != next.head.hash || !next.complete;
        if block.height != next.head.height {
            next.head = Head { height: block.height, hash: block.hash, at: TimestampMs(block.timestamp_ms), seen_at: now };
        }
        if now >= self.slow_at || !next.complete {
            next.fee = self.chain.fee().await?;
            self.read_market(&mut next).await?;
            let pause = clock::now().since(now).0.saturating_mul(SLOW_PART).max(SLOW_POLL_MS);
            self.slow_at = now.after(DurationMs(pause));
        }
        if is_news {
            self.read_runs(&mut next).await?;
            self.read_leases(&mut next).await?;
        }
        next.complete = true;
        if !self.kept && self.db.may_lead() {
            self.db.set_facts(FactKind::Node, next.nodes.values().map(|node| (node.id.0, &**node)).collect()).await?;
            self.db.set_facts(FactKind::Offer, next.offers.values().map(|offer| (offer.id.0, &**offer)).collect()).await?;
            self.db.set_facts(FactKind::Run, next.runs.values().map(|run| (run.id.0, &**run)).collect()).await?;
            self.db.set_facts(FactKind::Lease, next.leases.values().map(|lease| (lease.id.0, &**lease)).collect()).await?;
            self.kept = true;
        }
        self.facts.send_replace(Arc::new(next));
        if now.since(self.listings_at).0 >= LISTINGS_POLL_MS && self.kept {
            self.listings_at = now;
            read_listings(&*self.chain, &self.db, &self.listing_contracts).await?;
        }
        Ok(())
    }

    async fn read_market(&self, next: &mut Facts) -> Result<(), ObserveError> {
        let (counts, mut from) = (self.chain.counts().await?, 1);
        while from <= counts.nodes {
            let mut changed = self.chain.nodes(from).await?;
            from = Counts::next(from, changed.last().map(|node| node.id.0));
            changed.retain(|node| next.nodes.get(&node.id).is_none_or(|known| **known != *node));
            self.keep(FactKind::Node, &changed, |node| node.id.0).await?;
            next.nodes.extend(changed.into_iter().map(|node| (node.id, Arc::new(node))));
        }
        let mut from = 1;
        while from <= counts.offers {
            let mut changed = self.chain.offers(from).await?;
            from = Counts::next(from, changed.last().map(|offer| offer.id.0));
            changed.retain(|offer| next.offers.get(&offer.id).is_none_or(|known| **known != *offer));
            self.keep(FactKind::Offer, &changed, |offer| offer.id.0).await?;
            next.offers.extend(changed.into_iter().map(|offer| (offer.id, Arc::new(offer))));
        }
        Ok(())
    }

    /// Runs that are not settled, and new ones by number.
    async fn read_runs(&self, next: &mut Facts) -> Result<(), ObserveError> {
        let known = next.runs.keys().next_back().map_or(1, |last| last.0 + 1);
        let open = next.runs.values().filter(|run| !matches!(run.state, RunState::Ended { settled: true, .. })).map(|run| run.id.0);
        let (open, chain) = (open.collect::<Vec<u64>>(), &self.chain);
        let mut found = read_these(&open, |id| chain.run(RunId(id)), |from| chain.runs(from), |run| run.id.0).await?;
        let (last, mut from) = (self.chain.counts().await?.runs, known);
        while from <= last {
            let page = self.chain.runs(from).await?;
            from = Counts::next(from, page.last().map(|run| run.id.0));
            found.extend(page);
        }
        found.retain(|run| next.runs.get(&run.id).is_none_or(|known| **known != *run));
        self.keep(FactKind::Run, &found, |run| run.id.0).await?;
        next.runs.extend(found.into_iter().map(|run| (run.id, Arc::new(run))));
        Ok(())
    }

    async fn read_leases(&self, next: &mut Facts) -> Result<(), ObserveError> {
        let known = next.leases.keys().next_back().map_or(1, |last| last.0 + 1);
        let open = next.leases.values().filter(|lease| !matches!(lease.state, LeaseState::Closed { .. })).map(|lease| lease.id.0);
        let (open, chain) = (open.collect::<Vec<u64>>(), &self.chain);
        let mut found = read_these(&open, |id| chain.lease(LeaseId(id)), |from| chain.leases(from), |lease| lease.id.0).await?;
        let (last, mut from) = (self.chain.counts().await?.leases, known);
        while from <= last {
            let page = self.chain.leases(from).await?;
            from = Counts::next(from, page.last().map(|lease| lease.id.0));
            found.extend(page);
        }
        found.retain(|lease| next.leases.get(&lease.id).is_none_or(|known| **known != *lease));
        self.keep(FactKind::Lease, &found, |lease| lease.id.0).await?;
        next.leases.extend(found.into_iter().map(|lease| (lease.id, Arc::new(lease))));
        Ok(())
    }

    async fn keep<T: Serialize>(&self, kind: FactKind, changed: &[T], id: impl Fn(&T) -> u64) -> Result<(), DbError> {
        if changed.is_empty() || !self.kept {
            return Ok(());
        }
        let facts = changed.iter().map(|fact| (id(fact), fact)).collect();
        self.db.set_facts(kind, facts).await
    }
}

/// Reads the records of these numbers, which grow: a page at a time where enough of them are near each other, else each alone. Others of a page come too.
async fn read_these<'a, T>(
    numbers: &[u64],
    one: impl Fn(u64) -> Answer<'a, Option<T>>,
    page: impl Fn(u64) -> Answer<'a, Vec<T>>,
    number: impl Fn(&T) -> u64,
) -> Result<Vec<T>, RpcError> {
    let (mut found, mut rest) = (Vec::new(), numbers);
    while let Some(&first) = rest.first() {
        let near = rest.partition_point(|number| *number < first.saturating_add(u64::from(MAX_PAGE)));
        if near < PAGE_FROM {
            found.extend(one(first).await?);
            rest = &rest[1..];
            continue;
        }
        let records = page(first).await?;
        let next = Counts::next(first, records.last().map(&number)).max(first + 1);
        found.extend(records);
        rest = &rest[rest.partition_point(|number| *number < next)..];
    }
    Ok(found)
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

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;
    use futures_util::FutureExt as _;
    use std::sync::Mutex;

    #[tokio::test]
    async fn records__should_be_read_in_pages_where_they_are_near_each_other() {
        // Numbers that a chain has given; a page is cut after three records, as by its size.
        let given: Vec<u64> = (1..=70).filter(|number| *number != 13).collect();
        let asked = Mutex::new(Vec::new());
        let note = |what: String| asked.lock().unwrap().push(what);
        let one = |number: u64| {
            note(format!("{number}"));
            let found = given.contains(&number).then_some(number);
            async move { Ok(found) }.boxed()
        };
        let page = |from: u64| {
            note(format!("from {from}"));
            let found = given.iter().copied().filter(|number| (from..from + u64::from(MAX_PAGE)).contains(number)).take(3).collect();
            async move { Ok(found) }.boxed()
        };
        let found = read_these(&[2, 3, 11, 12, 13, 15, 40, 55, 70], one, page, |number| *number).await.unwrap();
        assert_eq!(*asked.lock().unwrap(), ["from 2", "from 11", "15", "40", "55", "70"]);
        assert_eq!(found, [2, 3, 4, 11, 12, 14, 15, 40, 55, 70]);
    }
}
