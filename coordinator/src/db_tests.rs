//! Tests of the database's promises.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use starling_contract_api::{billing::Billing, rpc::SignedTx};
use starling_http_api::network::{BalanceChange, Change};
use starling_primitives::{AccountId, Amount, Asset, EscrowId, Hash32, TimestampMs};

async fn open() -> (tempfile::TempDir, Db) {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&dir.path().join("db.sqlite")).await.unwrap();
    (dir, db)
}

#[tokio::test]
async fn database__should_open_again_and_refuse_a_newer_layout() {
    let (dir, db) = open().await;
    db.set_cursor("blocks", 7).await.unwrap();
    drop(db);
    let path = dir.path().join("db.sqlite");
    let db = Db::open(&path).await.unwrap();
    assert_eq!(db.cursor("blocks").await.unwrap(), Some(7));
    sqlx::raw_sql("PRAGMA user_version = 99").execute(&db.pool).await.unwrap();
    assert!(matches!(Db::open(&path).await, Err(DbError::Newer { found: 99 })));
}

#[tokio::test]
async fn history__should_keep_what_a_layout_without_assets_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("db.sqlite");
    let options = SqliteConnectOptions::new().filename(&path).create_if_missing(true);
    let pool = SqlitePoolOptions::new().connect_with(options).await.unwrap();
    let entry = r#"{"seq":0,"at":5,"event":"deposited","change":null,"escrow_id":null,"purpose":null,"tx":"abc"}"#;
    let script = format!(
        "{}; PRAGMA user_version = 1; INSERT INTO history (tx, place, height, json) VALUES ('abc', 0, 1, '{entry}');
         INSERT INTO history_accounts (account_id, seq, change) VALUES ('alice.starling', 1, '{{\"plus\":\"7\"}}');",
        MIGRATIONS[0]
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(script)).execute(&pool).await.unwrap();
    pool.close().await;
    let db = Db::open(&path).await.unwrap();
    let told = db.history(&AccountId::new("alice.starling").unwrap(), None, 10).await.unwrap();
    let expect = BalanceChange { asset: Asset::Near, change: Change::Plus(Amount(7)) };
    assert_eq!((told.len(), told[0].changes.clone(), told[0].signer.clone()), (1, vec![expect], None));
}

#[tokio::test]
async fn challenge__should_be_taken_once() {
    let (_dir, db) = open().await;
    let nonce = [3; 32];
    db.add_challenge(&nonce, "text", None, TimestampMs(50), TimestampMs(1)).await.unwrap();
    assert!(!db.take_challenge(&nonce, TimestampMs(2)).await.unwrap().unwrap().used);
    assert!(db.take_challenge(&nonce, TimestampMs(3)).await.unwrap().unwrap().used);
    assert_eq!(db.take_challenge(&[4; 32], TimestampMs(3)).await.unwrap(), None);
}

#[tokio::test]
async fn session__should_die_at_its_expiry() {
    let (_dir, db) = open().await;
    let alice = AccountId::new("alice.starling").unwrap();
    let hash = Hash32([9; 32]);
    db.add_session(hash, &alice, TimestampMs(10), TimestampMs(1)).await.unwrap();
    assert_eq!(db.session(hash, TimestampMs(9)).await.unwrap().map(|(account, _)| account), Some(alice));
    assert_eq!(db.session(hash, TimestampMs(10)).await.unwrap(), None);
}

#[tokio::test]
async fn outbox__should_take_a_key_once_and_keep_the_signed_bytes() {
    let (_dir, db) = open().await;
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

#[tokio::test]
async fn artifact__should_count_each_owners_bytes_once() {
    let (_dir, db) = open().await;
    let hash = Hash32([1; 32]);
    for _ in 0..2 {
        let manifest = starling_http_api::artifact::Manifest { bytes: 100, chunks: vec![hash] };
        db.add_artifact(hash, &manifest, Some("alice.starling"), TimestampMs(1)).await.unwrap();
    }
    assert_eq!(db.owned_bytes("alice.starling").await.unwrap(), 100);
    assert!(db.owns_artifact(hash, "alice.starling").await.unwrap());
    assert!(!db.owns_artifact(hash, "bob.starling").await.unwrap());
}
