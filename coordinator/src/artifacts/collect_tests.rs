//! Tests of what goes and what stays.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use crate::{chain::fake::FakeChain, db::Db, http::tests::use_of_bob, runs::tests::run_of};
use axum::body::Bytes;
use starling_http_api::artifact::{CHUNK_BYTES, Manifest};
use starling_protocol::run::{Ending, Run};
use tokio::sync::watch;

const NODE: &str = "node:1";
const DAY: u64 = 86_400_000;

struct World {
    dir: tempfile::TempDir,
    artifacts: Artifacts,
    chain: Arc<FakeChain>,
    facts: watch::Sender<Arc<Facts>>,
    collector: Collector,
}

impl World {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("db.sqlite")).await.unwrap();
        let artifacts = Artifacts::local(dir.path(), db).unwrap();
        let chain = Arc::new(FakeChain::default());
        let (facts, reader) = watch::channel(Arc::new(Facts { complete: true, ..Facts::default() }));
        let collector = Collector::new(artifacts.clone(), chain.clone(), reader, DurationMs::from_days(30));
        Self { dir, artifacts, chain, facts, collector }
    }

    async fn upload(&self, bytes: &[u8], owner: &str) -> Hash32 {
        let (hash, bytes) = (Hash32(*blake3::hash(bytes).as_bytes()), Bytes::copy_from_slice(bytes));
        self.artifacts.put_small(hash, bytes, owner, 1 << 30).await.unwrap().hash
    }

    async fn used_by_run(&self, hash: Hash32) {
        self.artifacts.db.add_use(hash, WorkKind::Run, 7, true).await.unwrap();
    }

    fn run_is(&self, state: RunState) {
        let run = Run { escrow_id: EscrowId(7), ..run_of(state) };
        let runs = [(run.id, Arc::new(run))].into();
        self.facts.send_replace(Arc::new(Facts { complete: true, runs, ..Facts::default() }));
    }

    async fn collect_after_days(&self, days: u64) -> u64 {
        self.collector.collect(TimestampMs(clock::now().0 + days * DAY)).await.unwrap()
    }

    async fn is_there(&self, hash: Hash32) -> bool {
        self.artifacts.get(hash).await.is_ok()
    }

    /// Objects in the store.
    fn files(&self) -> usize {
        fn count(folder: &std::path::Path) -> usize {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| if entry.path().is_dir() { count(&entry.path()) } else { 1 }).sum()
        }
        count(&self.dir.path().join("blake3")) + count(&self.dir.path().join("chunks"))
    }
}

#[tokio::test]
async fn collector__should_keep_what_an_open_escrow_refers_to_and_then_remove_it() {
    let world = World::new().await;
    let update = world.upload(b"update", NODE).await;
    world.used_by_run(update).await;
    let ended = |settled| RunState::Ended { ending: Ending::Finished, at: clock::now(), settled };
    assert_eq!(world.collect_after_days(400).await, 0, "a run that is not known is not over");
    world.run_is(RunState::Training { round: 0, deadline: TimestampMs(5) });
    assert_eq!(world.collect_after_days(400).await, 0, "the run is under way");
    world.run_is(ended(false));
    assert_eq!(world.collect_after_days(400).await, 0, "the run is not settled");
    world.run_is(ended(true));
    assert_eq!(world.collect_after_days(29).await, 0, "it may still be fetched");
    let (_, escrow) = use_of_bob(5, clock::now());
    world.chain.0.lock().unwrap().escrows = vec![escrow];
    assert_eq!(world.collect_after_days(400).await, 0, "its escrow is open");
    assert!(world.is_there(update).await);
    world.chain.0.lock().unwrap().escrows.clear();
    assert_eq!(world.collect_after_days(400).await, 1);
    assert!(!world.is_there(update).await);
    assert_eq!(world.files(), 0);
    // It may come again.
    assert_eq!(world.upload(b"update", NODE).await, update);
    assert!(world.is_there(update).await);
}

#[tokio::test]
async fn collector__should_keep_what_an_account_owns_or_a_listing_names() {
    let world = World::new().await;
    let owned = world.upload(b"owned", NODE).await;
    world.upload(b"owned", "alice.starling").await;
    let listed = world.upload(b"listed", NODE).await;
    world.artifacts.db.set_listing_files("hub.starling", "alice.starling/model", &[listed]).await.unwrap();
    let young = world.upload(b"young", NODE).await;
    assert_eq!(world.collect_after_days(29).await, 0);
    assert_eq!(world.collect_after_days(31).await, 1);
    assert_eq!((world.is_there(owned).await, world.is_there(listed).await, world.is_there(young).await), (true, true, false));
    assert!(world.artifacts.db.disown_artifact(owned, "alice.starling").await.unwrap());
    assert_eq!(world.collect_after_days(31).await, 1);
}

#[tokio::test]
async fn collector__should_remove_uploads_that_were_given_up_and_leave_those_under_way() {
    let world = World::new().await;
    let whole = vec![7; usize::try_from(CHUNK_BYTES).unwrap() + 1];
    let manifest = Manifest::of(&whole);
    let hash = manifest.hash().unwrap();
    for owner in [NODE, "bob.starling"] {
        world.artifacts.begin(hash, &manifest, owner, 1 << 30).await.unwrap();
        world.artifacts.put_chunk(hash, 1, Bytes::from_static(&[7]), owner).await.unwrap();
    }
    assert_eq!(world.collect_after_days(1).await, 0);
    world.artifacts.db.begin_upload("bob.starling", hash, &manifest, TimestampMs(clock::now().0 + 2 * DAY)).await.unwrap();
    assert_eq!(world.collect_after_days(3).await, 1, "only one of the two was given up");
    assert_eq!(world.files(), 1, "the other's chunk stays");
    assert_eq!(world.artifacts.begin(hash, &manifest, "bob.starling", 1 << 30).await.unwrap().missing, [0]);
    assert_eq!(world.collect_after_days(9).await, 1);
    assert_eq!(world.files(), 0);
}

#[tokio::test]
async fn removal__should_hold_up_an_upload_and_be_ended_after_a_restart() {
    let world = World::new().await;
    let hash = world.upload(b"bytes", NODE).await;
    let db = &world.artifacts.db;
    db.begin_removal(hash, 1).await.unwrap();
    assert!(db.forget_artifact(hash, 0).await.unwrap());
    let refused = world.artifacts.put_small(hash, Bytes::from_static(b"bytes"), "bob.starling", 99).await;
    assert!(matches!(refused, Err(ArtifactError::BeingRemoved(_))));
    // Its row stands now, so that the bytes are wanted: the removal is called off.
    world.collect_after_days(0).await;
    assert!(db.removals().await.unwrap().is_empty());
    assert_eq!(world.upload(b"bytes", "bob.starling").await, hash);
    assert!(world.is_there(hash).await);
}
