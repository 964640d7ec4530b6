//! The data folder: restarts, a killed process, determinism.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::common::{account, assert_supply_holds, builder, call, contract, id, near, signer};
use near_primitives::hash::CryptoHash;
use near_primitives::transaction::{Action, TransferAction};
use near_primitives::views::FinalExecutionStatus;
use starling_localnet::{BlockMode, LocalnetError, StoreError};

#[test]
fn chain__should_go_on_after_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let open = || builder().data_dir(folder.path()).build();
    let (hash, head) = {
        let chain = open().expect("the chain starts");
        let app = contract(&chain, "app.root");
        let outcome = call(&chain, &app, "app.root", "set", b"kept");
        (outcome.transaction_outcome.id, chain.head())
    };
    let chain = open().expect("the chain opens again");
    assert_eq!(chain.head().hash, head.hash);
    assert_eq!(chain.view(&id("app.root"), "get", b"").expect("the view runs"), b"kept");
    assert_eq!(chain.tx_outcome(&hash).expect("it is known").transaction_outcome.id, hash);
    call(&chain, &signer("app.root"), "app.root", "set", b"new");
    assert_supply_holds(&chain);
    drop(chain);
    let other = builder().chain_id("another").data_dir(folder.path()).build();
    assert!(matches!(other, Err(LocalnetError::Store(StoreError::OtherChain { .. }))));
}

#[test]
fn waiting_transaction__should_survive_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let open = |mode| builder().data_dir(folder.path()).block_mode(mode).build().expect("the chain opens");
    let hash = {
        let chain = open(BlockMode::Manual);
        account(&chain, "alice.root");
        let signed = chain.sign(&signer("root"), &id("alice.root"), vec![one_near()]).expect("it signs");
        let hash = chain.send_tx(signed).expect("it is accepted");
        assert!(chain.tx_status(&hash).expect("works").is_none());
        hash
    };
    let chain = open(BlockMode::OnDemand);
    assert!(chain.tx_outcome(&hash).is_ok());
    assert_eq!(chain.balance(&id("alice.root")).expect("it exists"), near(101));
}

#[test]
fn folder__should_belong_to_one_process() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let _first = builder().data_dir(folder.path()).build().expect("the chain starts");
    let second = builder().data_dir(folder.path()).build();
    assert!(matches!(second, Err(LocalnetError::Store(StoreError::Open(_)))));
}

#[test]
fn equal_input__should_give_equal_blocks() {
    let run = |seed| {
        let chain = builder().seed([seed; 32]).build().expect("the chain starts");
        let app = contract(&chain, "app.root");
        call(&chain, &app, "app.root", "set", b"1");
        call(&chain, &app, "app.root", "seed", b"");
        chain.fast_forward(50).expect("time passes");
        chain.head().hash
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}

const CHILD_FOLDER: &str = "LOCALNET_TEST_FOLDER";

fn one_near() -> Action {
    Action::Transfer(TransferAction { deposit: near(1) })
}

/// Transfers without end, and says each transaction that the chain acknowledged.
fn transfer_without_end(mode: BlockMode) {
    let Ok(folder) = std::env::var(CHILD_FOLDER) else {
        panic!("{CHILD_FOLDER} is not set");
    };
    let chain = builder().data_dir(folder).block_mode(mode).build().expect("the chain starts");
    account(&chain, "alice.root");
    let root = signer("root");
    let key = chain.access_key(&id("root"), &root.public_key()).expect("works").expect("is there");
    for nonce in key.nonce + 1.. {
        let signed = crate::accounts::signed(&chain, &root, "alice.root", nonce, vec![one_near()]);
        println!("acknowledged {}", chain.send_tx(signed).expect("it is accepted"));
    }
}

#[test]
#[ignore = "the process that kill__should_lose_nothing_that_was_acknowledged kills"]
fn child__should_run_each_transaction_at_once() {
    transfer_without_end(BlockMode::OnDemand);
}

#[test]
#[ignore = "the process that kill__should_lose_nothing_that_was_acknowledged kills"]
fn child__should_let_transactions_wait_for_blocks() {
    transfer_without_end(BlockMode::Interval(Duration::from_millis(20)));
}

/// Starts a child, kills it so long after its first acknowledgement, and gives all that it acknowledged.
fn acknowledged_until_killed(name: &str, folder: &Path, after: Duration) -> Vec<CryptoHash> {
    let mut child = Command::new(std::env::current_exe().expect("this test's program"))
        .args([&format!("durability::{name}"), "--exact", "--ignored", "--nocapture"])
        .env(CHILD_FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the child starts");
    let said = BufReader::new(child.stdout.take().expect("it is piped")).lines().map_while(Result::ok);
    let mut hashes = said.filter_map(|line| line.trim().strip_prefix("acknowledged ")?.parse().ok());
    let first = hashes.next().expect("it acknowledged one");
    std::thread::sleep(after);
    child.kill().expect("it was running");
    let all = std::iter::once(first).chain(hashes).collect();
    child.wait().expect("it ended");
    all
}

#[test]
fn kill__should_lose_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let children = ["child__should_run_each_transaction_at_once", "child__should_let_transactions_wait_for_blocks"];
    for (child, after_ms) in children.into_iter().flat_map(|child| [0, 7, 31, 90, 170].map(|after_ms| (child, after_ms))) {
        let folder = folder.path().join(format!("{child}-{after_ms}"));
        let acknowledged = acknowledged_until_killed(child, &folder, Duration::from_millis(after_ms));
        let chain = builder().data_dir(&folder).build().expect("the chain opens after the kill");
        for hash in &acknowledged {
            let outcome = chain.tx_outcome(hash).expect("what was acknowledged is known");
            assert!(matches!(outcome.status, FinalExecutionStatus::SuccessValue(_)), "{child} after {after_ms} ms: {outcome:?}");
        }
        let held = chain.balance(&id("alice.root")).expect("it exists");
        let count = u128::try_from(acknowledged.len()).expect("a number");
        // One more may have run without having been acknowledged any more.
        assert!((near(100 + count)..=near(101 + count)).contains(&held), "{child} after {after_ms} ms: {held} after {count}");
        assert_supply_holds(&chain);
    }
}
