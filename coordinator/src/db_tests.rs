//! Tests of the database's promises.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use starling_contract_api::{billing::Billing, rpc::SignedTx};
use starling_http_api::network::{BalanceChange, Change, HistoryEntry};
use starling_primitives::{AccountId, Amount, Asset, EscrowId, Hash32, TimestampMs};

/// One of each kind, empty.
async fn both() -> (tempfile::TempDir, [Db; 2]) {
    let dir = tempfile::tempdir().unwrap();
    let sqlite = Db::open(&dir.path().join("a file.sqlite")).await.unwrap();
    let postgres = Db::open_postgres(&cluster::new_database().await).await.unwrap();
    (dir, [sqlite, postgres])
}

#[tokio::test]
async fn database__should_open_again_and_refuse_a_newer_layout() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a file.sqlite");
    for expect in [None, Some(7)] {
        let db = Db::open(&path).await.unwrap();
        assert_eq!(db.cursor("blocks").await.unwrap(), expect);
        db.set_cursor("blocks", 7).await.unwrap();
    }
    assert!(path.exists());
    let url = cluster::new_database().await;
    // Two programs that start at once bring it to its layout once.
    let (one, other) = tokio::join!(Db::open_postgres(&url), Db::open_postgres(&url));
    one.unwrap().set_cursor("blocks", 7).await.unwrap();
    assert_eq!(other.unwrap().cursor("blocks").await.unwrap(), Some(7));
    let db = Db::open(&path).await.unwrap();
    sqlx::raw_sql("PRAGMA user_version = 99").execute(&db.pool).await.unwrap();
    assert!(matches!(Db::open(&path).await, Err(DbError::Newer { found: 99 })));
    let db = Db::open_postgres(&url).await.unwrap();
    sqlx::raw_sql("UPDATE layout SET version = 99").execute(&db.pool).await.unwrap();
    assert!(matches!(Db::open_postgres(&url).await, Err(DbError::Newer { found: 99 })));
}

#[tokio::test]
async fn history__should_keep_what_a_layout_without_assets_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db.sqlite");
    sqlx::any::install_default_drivers();
    let pool = AnyPool::connect(&format!("sqlite://{}?mode=rwc", path.display())).await.unwrap();
    let entry = r#"{"seq":0,"at":5,"event":"deposited","change":null,"escrow_id":null,"purpose":null,"tx":"abc"}"#;
    let script = format!(
        "{}; PRAGMA user_version = 1; INSERT INTO history (tx, place, height, json) VALUES ('abc', 0, 1, '{entry}');
         INSERT INTO history_accounts (account_id, seq, change) VALUES ('alice.starling', 1, '{{\"plus\":\"7\"}}');",
        MIGRATIONS[0].0
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(script)).execute(&pool).await.unwrap();
    pool.close().await;
    let db = Db::open(&path).await.unwrap();
    let told = db.history(&AccountId::new("alice.starling").unwrap(), None, None, 10).await.unwrap();
    let expect = BalanceChange { asset: Asset::Near, change: Change::Plus(Amount(7)) };
    assert_eq!((told.len(), told[0].changes.clone(), told[0].signer.clone()), (1, vec![expect], None));
}

#[tokio::test]
async fn challenge__should_be_taken_once() {
    let (_dir, databases) = both().await;
    for db in databases {
        let nonce = [3; 32];
        db.add_challenge(&nonce, "text", None, TimestampMs(50), TimestampMs(1)).await.unwrap();
        assert!(!db.take_challenge(&nonce, TimestampMs(2)).await.unwrap().unwrap().used);
        assert!(db.take_challenge(&nonce, TimestampMs(3)).await.unwrap().unwrap().used);
        assert_eq!(db.take_challenge(&[4; 32], TimestampMs(3)).await.unwrap(), None);
    }
}

#[tokio::test]
async fn session__should_die_at_its_expiry() {
    let (_dir, databases) = both().await;
    for db in databases {
        let alice = AccountId::new("alice.starling").unwrap();
        let hash = Hash32([9; 32]);
        db.add_session(hash, &alice, TimestampMs(10), TimestampMs(1)).await.unwrap();
        assert_eq!(db.session(hash, TimestampMs(9)).await.unwrap().map(|(account, _)| account), Some(alice));
        assert_eq!(db.session(hash, TimestampMs(10)).await.unwrap(), None);
    }
}

#[tokio::test]
async fn outbox__should_take_a_key_once_and_keep_the_signed_bytes() {
    let (_dir, databases) = both().await;
    for db in databases {
        let call = Billing(AccountId::new("billing.starling").unwrap()).close(EscrowId(1));
        assert!(db.enqueue("close/1", &call, TimestampMs(1)).await.unwrap());
        assert!(!db.enqueue("close/1", &call, TimestampMs(2)).await.unwrap());
        let row = db.next_call().await.unwrap().unwrap();
        let transaction = SignedTx { hash: "abc".to_owned(), bytes: vec![1, 2, 3] };
        db.set_signed(row.seq, Some(&transaction), TimestampMs(3)).await.unwrap();
        assert_eq!(db.next_call().await.unwrap().unwrap().signed, Some(transaction));
        db.finish_call(row.seq, None, TimestampMs(4)).await.unwrap();
        assert!(db.next_call().await.unwrap().is_none());
        assert_eq!(db.call_status("close/1").await.unwrap().map(|status| status.0), Some(OutboxState::Done));
    }
}

#[tokio::test]
async fn artifact__should_count_each_owners_bytes_once() {
    let (_dir, databases) = both().await;
    for db in databases {
        let hash = Hash32([1; 32]);
        for _ in 0..2 {
            let manifest = starling_http_api::artifact::Manifest { bytes: 100, chunks: vec![hash] };
            db.add_artifact(hash, &manifest, Some("alice.starling"), TimestampMs(1)).await.unwrap();
        }
        assert_eq!(db.owned_bytes("alice.starling").await.unwrap(), 100);
        assert!(db.owns_artifact(hash, "alice.starling").await.unwrap());
        assert!(!db.owns_artifact(hash, "bob.starling").await.unwrap());
    }
}

#[tokio::test]
async fn history__should_keep_an_event_once_and_know_payments() {
    let (_dir, databases) = both().await;
    let alice = AccountId::new("alice.starling").unwrap();
    for db in databases {
        let entry = |event: &str, tx: &str| HistoryEntry {
            seq: 0,
            at: TimestampMs(5),
            event: event.to_owned(),
            changes: Vec::new(),
            from_wallet: Vec::new(),
            escrow_id: Some(EscrowId(3)),
            payer: None,
            purpose: Some("run 4".to_owned()),
            tx: tx.to_owned(),
            signer: None,
        };
        let change = BalanceChange { asset: Asset::Near, change: Change::Minus(Amount(9)) };
        let event =
            |name: &str, tx: &str| NewEvent { entry: entry(name, tx), place: 0, accounts: vec![(alice.clone(), vec![change.clone()])] };
        for height in [1, 2] {
            db.add_history("blocks", height, &[event("payment_held", "a"), event("posted", "b")]).await.unwrap();
        }
        let told = db.history(&alice, None, None, 10).await.unwrap();
        assert_eq!(told.iter().map(|entry| entry.event.as_str()).collect::<Vec<_>>(), ["posted", "payment_held"]);
        assert_eq!(told[0].changes, [change]);
        assert_eq!(db.history(&alice, None, Some(told[0].seq), 10).await.unwrap().len(), 1);
        assert_eq!(db.history(&alice, Some(EscrowId(3)), None, 10).await.unwrap(), told);
        assert_eq!(db.history(&alice, Some(EscrowId(30)), None, 10).await.unwrap(), []);
        assert_eq!(db.payments().await.unwrap(), [(EscrowId(3), alice.clone(), "run 4".to_owned())]);
        assert_eq!(db.cursor("blocks").await.unwrap(), Some(2));
    }
}

#[tokio::test]
async fn work__should_be_replaced_and_kept_in_order() {
    let (_dir, databases) = both().await;
    for db in databases {
        for (id, state) in [(1, "old"), (2, "other"), (1, "new")] {
            db.set_work(WorkKind::Run, id, &state, TimestampMs(1)).await.unwrap();
            db.set_facts(FactKind::Run, vec![(id, &state)]).await.unwrap();
        }
        assert_eq!(db.works::<String>(WorkKind::Run).await.unwrap(), ["other", "new"]);
        assert_eq!(db.facts::<String>(FactKind::Run).await.unwrap(), ["new", "other"]);
        assert!(db.works::<String>(WorkKind::Lease).await.unwrap().is_empty());
        let point = |step| starling_http_api::run::MetricPoint::HeldOut {
            round: 0,
            step,
            loss: starling_http_api::run::HeldOut { bits: 1.5, per: starling_http_api::run::LossUnit::Byte },
            at: TimestampMs(1),
        };
        db.add_metrics(&[(starling_primitives::RunId(1), point(1)), (starling_primitives::RunId(1), point(2))]).await.unwrap();
        let run = starling_primitives::RunId(1);
        let all = db.curves(run, 0).await.unwrap();
        assert_eq!(all.points, [point(1), point(2)]);
        assert_eq!(db.curves(run, all.last).await.unwrap(), starling_http_api::run::Curves { points: vec![], last: all.last });
        db.add_metrics(&[(starling_primitives::RunId(2), point(8)), (run, point(3))]).await.unwrap();
        let news = db.curves(run, all.last).await.unwrap();
        assert_eq!(news.points, [point(3)]);
        assert!(news.last > all.last);
    }
}

#[tokio::test]
async fn use__should_be_made_once_made_and_counted_to_as_many_leases_as_were_paid() {
    let (_dir, databases) = both().await;
    let hash = Hash32([4; 32]);
    for db in databases {
        for made in [false, true, false] {
            db.add_use(hash, WorkKind::Run, 5, made).await.unwrap();
        }
        assert_eq!(db.uses(hash).await.unwrap(), [Use { work: WorkKind::Run, id: 5, made: true }]);
        let lease = starling_primitives::LeaseId;
        let mut taken = Vec::new();
        for (id, paid) in [(1, 1), (1, 1), (2, 1), (2, 2)] {
            taken.push(db.take_use(EscrowId(9), lease(id), paid).await.unwrap());
        }
        assert_eq!(taken, [true, true, false, true]);
    }
}

#[tokio::test]
async fn lead__should_have_one_holder_and_a_number_that_grows_with_each() {
    let (_dir, databases) = both().await;
    let span = starling_primitives::DurationMs(100);
    for db in databases {
        let at = |holder: &'static str, now| db.take_lead(holder, TimestampMs(now), span);
        let (one, other) = tokio::join!(at("one", 1_000), at("other", 1_000));
        let (first, second) = if one.unwrap().is_some() { ("one", "other") } else { ("other", "one") };
        assert!(other.unwrap().is_some() == (first == "other"), "one of them has it");
        assert_eq!(at(first, 1_080).await.unwrap(), Some(1), "its holder renews it");
        assert_eq!(at(second, 1_180).await.unwrap(), None, "it is held to its end");
        assert_eq!(at(second, 1_181).await.unwrap(), Some(2));
        assert_eq!(at(first, 1_182).await.unwrap(), None, "who lost it sees that");
        db.leave_lead(first).await.unwrap();
        assert_eq!(at(first, 1_183).await.unwrap(), None, "nobody gives up what another holds");
        db.leave_lead(second).await.unwrap();
        assert_eq!(at(first, 1_184).await.unwrap(), Some(3));
    }
}
