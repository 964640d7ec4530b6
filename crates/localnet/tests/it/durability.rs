//! The data folder: restarts, a killed process, determinism.

use std::process::{Command, Stdio};

use crate::common::{account, assert_supply_holds, builder, call, contract, id, near, signer};
use near_primitives::transaction::{Action, TransferAction};
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
        let transfer = Action::Transfer(TransferAction { deposit: near(1) });
        let signed = chain.sign(&signer("root"), &id("alice.root"), vec![transfer]).expect("it signs");
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

/// Not a test of its own: the process that the next test kills.
#[test]
fn child__should_transfer_until_it_is_killed() {
    let Ok(folder) = std::env::var(CHILD_FOLDER) else {
        return;
    };
    let chain = builder().data_dir(folder).build().expect("the chain starts");
    account(&chain, "alice.root");
    for sent in 1_u32.. {
        chain.transfer(&signer("root"), &id("alice.root"), near(1)).expect("it succeeds");
        println!("acknowledged {sent}");
    }
}

#[test]
fn kill__should_lose_nothing_that_was_acknowledged() {
    use std::io::BufRead;
    let folder = tempfile::tempdir().expect("a temporary folder");
    for round in 0..3_u32 {
        let folder = folder.path().join(round.to_string());
        let mut child = Command::new(std::env::current_exe().expect("this test's program"))
            .args(["durability::child__should_transfer_until_it_is_killed", "--exact", "--nocapture"])
            .env(CHILD_FOLDER, &folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the child starts");
        let lines = std::io::BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut acknowledged = 0_u32;
        for line in lines.map_while(Result::ok) {
            if let Some(sent) = line.trim().strip_prefix("acknowledged ") {
                acknowledged = sent.parse().expect("a number");
                if acknowledged >= 5 + 7 * round {
                    break;
                }
            }
        }
        child.kill().expect("it was running");
        child.wait().expect("it ended");
        assert!(acknowledged >= 5);
        let chain = builder().data_dir(&folder).build().expect("the chain opens after the kill");
        let held = chain.balance(&id("alice.root")).expect("it exists");
        assert!(held >= near(100 + u128::from(acknowledged)), "{held} after {acknowledged}");
        assert_supply_holds(&chain);
    }
}
