//! Contracts on the chain: calls, promises, failures, yields, storage.

use crate::common::{account, assert_supply_holds, call, chain, contract, failure, id, near, value};
use near_primitives::types::Balance;
use starling_localnet::testing::tiny_contract;
use starling_localnet::{BlockMode, LocalnetError};

#[test]
fn tiny_contract__should_be_the_one_that_scripts_deploy() {
    let recorded = include_str!("../tiny-contract.base64").trim();
    let made = near_primitives::serialize::to_base64(&tiny_contract());
    assert!(made == recorded, "tests/tiny-contract.base64 should be:\n{made}");
}

#[test]
fn call__should_change_state_and_log() {
    let chain = chain();
    let app = contract(&chain, "app.root");
    let outcome = call(&chain, &app, "app.root", "set", b"hello");
    assert_eq!(outcome.receipts_outcome[0].outcome.logs, ["set"]);
    assert_eq!(chain.view(&id("app.root"), "get", b"").expect("the view runs"), b"hello");
    call(&chain, &app, "app.root", "unset", b"");
    assert_eq!(chain.view(&id("app.root"), "get", b"").expect("the view runs"), b"");
    assert_supply_holds(&chain);
}

#[test]
fn failed_call__should_roll_back_and_return_the_deposit() {
    let chain = chain();
    contract(&chain, "app.root");
    let alice = account(&chain, "alice.root");
    let before = chain.balance(&id("app.root")).expect("it exists");
    let outcome = chain
        .call(&alice, &id("app.root"), "fail", b"lost".to_vec(), crate::common::tgas(100), near(7))
        .expect("the transaction is accepted");
    assert!(failure(&outcome).contains("Smart contract panicked: as asked"), "{}", failure(&outcome));
    assert_eq!(chain.view(&id("app.root"), "get", b"").expect("the view runs"), b"");
    assert_eq!(chain.balance(&id("app.root")).expect("it exists"), before);
    assert!(chain.balance(&id("alice.root")).expect("it exists") > near(99));
    assert_supply_holds(&chain);
}

#[test]
fn promise__should_answer_its_callback() {
    let chain = chain();
    let asker = contract(&chain, "asker.root");
    let asked = contract(&chain, "asked.root");
    call(&chain, &asked, "asked.root", "set", b"42");
    assert_eq!(value(&call(&chain, &asker, "asker.root", "ask", b"asked.root")), b"42");
    let failed = call(&chain, &asker, "asker.root", "ask_to_fail", b"asked.root");
    assert_eq!(value(&failed), b"promise failed");
    let missing = call(&chain, &asker, "asker.root", "ask", b"nobody.root");
    assert_eq!(value(&missing), b"promise failed");
    assert_supply_holds(&chain);
}

#[test]
fn receipt__should_run_one_block_later_for_each_hop() {
    let chain = crate::common::builder().block_mode(BlockMode::Manual).build().expect("the chain starts");
    let asker = contract(&chain, "asker.root");
    let asked = contract(&chain, "asked.root");
    call(&chain, &asked, "asked.root", "set", b"before");
    let ask = near_primitives::transaction::FunctionCallAction {
        method_name: "ask".to_owned(),
        args: b"asked.root".to_vec(),
        gas: crate::common::tgas(100),
        deposit: Balance::ZERO,
    };
    let start = chain.head().height;
    let asking = chain.sign(&asker, &id("asker.root"), vec![ask.into()]).expect("it signs");
    let hash = chain.send_tx(asking).expect("it is accepted");
    chain.produce_block().expect("asker runs at once: signer and receiver are the same");
    // Between the two hops somebody else changes what will be read.
    let set = near_primitives::transaction::FunctionCallAction {
        method_name: "set".to_owned(),
        args: b"between".to_vec(),
        gas: crate::common::tgas(30),
        deposit: Balance::ZERO,
    };
    let setting = chain.sign(&asked, &id("asked.root"), vec![set.into()]).expect("it signs");
    chain.send_tx(setting).expect("it is accepted");
    chain.produce_block().expect("asked runs");
    assert!(matches!(chain.tx_outcome(&hash).expect("it is known").status, near_primitives::views::FinalExecutionStatus::Started));
    chain.produce_block().expect("the callback runs");
    let outcome = chain.tx_outcome(&hash).expect("it is known");
    assert_eq!(value(&outcome), b"between");
    assert_eq!(chain.head().height, start + 3);
    let heights: Vec<u64> = outcome
        .receipts_outcome
        .iter()
        .map(|receipt| chain.block_by_hash(&receipt.block_hash).expect("works").expect("is there").height - start)
        .collect();
    assert_eq!(&heights[..2], [1, 2], "{heights:?}");
}

#[test]
fn gas__should_run_out() {
    let chain = chain();
    let app = contract(&chain, "app.root");
    let outcome = call(&chain, &app, "app.root", "spin", b"");
    assert!(failure(&outcome).contains("Exceeded the prepaid gas"), "{}", failure(&outcome));
    assert!(outcome.receipts_outcome[0].outcome.gas_burnt >= crate::common::tgas(100));
    assert_supply_holds(&chain);
}

#[test]
fn view__should_fail_clearly() {
    let chain = chain();
    contract(&chain, "app.root");
    let failed = chain.view(&id("app.root"), "fail", b"");
    assert!(matches!(failed, Err(LocalnetError::ViewFailed { .. })), "{failed:?}");
    let missing = chain.view(&id("app.root"), "nothing", b"");
    assert!(matches!(&missing, Err(LocalnetError::ViewFailed { message, .. }) if message.contains("MethodNotFound")));
    assert!(matches!(chain.view(&id("root"), "get", b""), Err(LocalnetError::NoContract(_))));
    assert!(matches!(chain.view(&id("nobody"), "get", b""), Err(LocalnetError::UnknownAccount(_))));
}

#[test]
fn environment__should_name_the_chain_and_vary_the_seed() {
    let chain = chain();
    let app = contract(&chain, "app.root");
    assert_eq!(value(&call(&chain, &app, "app.root", "chain", b"")), b"localnet-test");
    let first = value(&call(&chain, &app, "app.root", "seed", b""));
    let second = value(&call(&chain, &app, "app.root", "seed", b""));
    assert_eq!(first.len(), 32);
    assert_ne!(first, second);
}

#[test]
fn contract__should_pay_from_its_balance() {
    let chain = chain();
    let app = contract(&chain, "app.root");
    account(&chain, "alice.root");
    call(&chain, &app, "app.root", "pay", b"alice.root");
    assert_eq!(chain.balance(&id("alice.root")).expect("it exists"), near(101));
    // To nobody: the receipt fails and the coin comes back.
    let before = chain.balance(&id("app.root")).expect("it exists");
    call(&chain, &app, "app.root", "pay", b"nobody.root");
    let after = chain.balance(&id("app.root")).expect("it exists");
    assert!(before.checked_sub(after).expect("only gas is lost") < Balance::from_millinear(10));
    assert_supply_holds(&chain);
}

#[test]
fn yielded__should_be_resumed_or_time_out() {
    let chain = chain();
    let app = contract(&chain, "app.root");
    let started = call_without_waiting(&chain, &app, "wait", b"");
    let woke = call(&chain, &app, "app.root", "wake", b"good morning");
    value(&woke);
    assert_eq!(chain.view(&id("app.root"), "get", b"").expect("the view runs"), b"good morning");
    assert_eq!(value(&chain.tx_outcome(&started).expect("it is known")), b"good morning");

    let started = call_without_waiting(&chain, &app, "wait", b"");
    chain.fast_forward(150).expect("time passes");
    assert!(
        chain
            .tx_status(&started)
            .expect("works")
            .is_some_and(|status| { status.progress == near_primitives::views::TxExecutionStatus::IncludedFinal })
    );
    chain.fast_forward(60).expect("time passes");
    assert_eq!(value(&chain.tx_outcome(&started).expect("it is known")), b"promise failed");
    assert_supply_holds(&chain);
}

#[test]
fn named_yield__should_be_found_by_its_id_until_it_is_answered() {
    let chain = chain();
    let app = contract(&chain, "app.root");
    let (first, second) = ([1_u8; 32], [2_u8; 32]);
    let started = call_without_waiting(&chain, &app, "wait_named", &first);
    let other = call_without_waiting(&chain, &app, "wait_named", &second);
    let twice = call(&chain, &app, "app.root", "wait_named", &first);
    assert!(failure(&twice).contains("InvalidPromiseIndex") || failure(&twice).contains("does not correspond to existing promises"));
    assert_eq!(value(&call(&chain, &app, "app.root", "wake_named", &[3; 32])), b"promise failed");
    assert_eq!(value(&call(&chain, &app, "app.root", "wake_named", &first)), b"woken");
    assert_eq!(value(&chain.tx_outcome(&started).expect("it is known")), b"woken");
    // The id is free again, and the other yield runs out of time.
    assert_eq!(value(&call(&chain, &app, "app.root", "wake_named", &first)), b"promise failed");
    chain.fast_forward(210).expect("time passes");
    assert_eq!(value(&chain.tx_outcome(&other).expect("it is known")), b"promise failed");
    assert_eq!(value(&call(&chain, &app, "app.root", "wake_named", &second)), b"promise failed");
    let again = call_without_waiting(&chain, &app, "wait_named", &second);
    assert_eq!(value(&call(&chain, &app, "app.root", "wake_named", &second)), b"woken");
    assert_eq!(value(&chain.tx_outcome(&again).expect("it is known")), b"woken");
    assert_supply_holds(&chain);
}

#[test]
fn refund__should_go_to_whom_the_promise_named() {
    let chain = chain();
    let app = contract(&chain, "app.root");
    account(&chain, "heir.root");
    let before = chain.balance(&id("app.root")).expect("it exists");
    let outcome = call(&chain, &app, "app.root", "lose", b"heir.root");
    value(&outcome);
    assert_eq!(chain.balance(&id("heir.root")).expect("it exists"), near(101));
    let after = chain.balance(&id("app.root")).expect("it exists");
    let spent = before.checked_sub(after).expect("it fell");
    assert!(spent > near(1) && spent < Balance::from_millinear(1_010), "{spent}");
    // To an account that is not there: the coin is burnt, as all refunds to nobody are.
    let supply = chain.head().total_supply;
    call(&chain, &app, "app.root", "lose", b"nobody.root");
    let burnt = supply.checked_sub(chain.head().total_supply).expect("it fell");
    assert!(burnt > near(1) && burnt < Balance::from_millinear(1_010), "{burnt}");
    assert_supply_holds(&chain);
}

fn call_without_waiting(
    chain: &starling_localnet::Localnet,
    signer: &near_crypto::Signer,
    method: &str,
    args: &[u8],
) -> near_primitives::hash::CryptoHash {
    let call = near_primitives::transaction::FunctionCallAction {
        method_name: method.to_owned(),
        args: args.to_vec(),
        gas: crate::common::tgas(100),
        deposit: Balance::ZERO,
    };
    let receiver = signer.get_account_id();
    let signed = chain.sign(signer, &receiver, vec![call.into()]).expect("it signs");
    chain.send_tx(signed).expect("it is accepted")
}

#[test]
fn storage__should_be_staked_or_the_receipt_rolls_back() {
    let chain = chain();
    let poor = crate::common::signer("poor.root");
    chain
        .create_account(&crate::common::signer("root"), &id("poor.root"), poor.public_key(), Balance::from_millinear(150))
        .expect("the account is created");
    chain.deploy(&poor, tiny_contract()).expect("a small contract is affordable");
    let alice = account(&chain, "alice.root");
    let outcome = call(&chain, &alice, "poor.root", "set", &[7; 40_000]);
    assert!(failure(&outcome).contains("wouldn't have enough balance to cover storage"), "{}", failure(&outcome));
    assert_eq!(chain.view(&id("poor.root"), "get", b"").expect("the view runs"), b"");
    assert_supply_holds(&chain);
}

#[test]
fn gas_limit__should_put_receipts_off_to_the_next_block() {
    let chain = crate::common::builder().block_mode(BlockMode::Manual).build().expect("the chain starts");
    let app = contract(&chain, "app.root");
    let mut hashes = Vec::new();
    for nonce in 1..=15 {
        let spin = near_primitives::transaction::FunctionCallAction {
            method_name: "spin".to_owned(),
            args: Vec::new(),
            gas: crate::common::tgas(100),
            deposit: Balance::ZERO,
        };
        let key = chain.access_key(&id("app.root"), &app.public_key()).expect("works").expect("is there");
        let signed = crate::accounts::signed(&chain, &app, "app.root", key.nonce + nonce, vec![spin.into()]);
        hashes.push(chain.send_tx(signed).expect("it is accepted"));
    }
    let done = |chain: &starling_localnet::Localnet| {
        hashes
            .iter()
            .filter(|hash| {
                let status = chain.tx_status(hash).expect("works");
                status.is_some_and(|status| !status.outcome.receipts_outcome.is_empty())
            })
            .count()
    };
    let block = chain.produce_block().expect("a block");
    assert!(block.gas_used >= crate::common::tgas(1_000) && block.gas_used < crate::common::tgas(1_200));
    let first = done(&chain);
    assert!((9..=10).contains(&first), "{first}");
    chain.produce_block().expect("a block");
    assert_eq!(done(&chain), 15);
    chain.produce_block().expect("refunds");
    assert_supply_holds(&chain);
}

#[test]
fn senders__should_not_stop_a_chain_with_an_interval() {
    let interval = BlockMode::Interval(std::time::Duration::from_millis(5));
    let chain = crate::common::builder().block_mode(interval).build().expect("the chain starts");
    let signers: Vec<_> = ["aa.root", "bb.root", "cc.root", "dd.root"].map(|name| account(&chain, name)).into();
    std::thread::scope(|scope| {
        for signer in &signers {
            scope.spawn(|| {
                for _ in 0..20 {
                    chain.transfer(signer, &id("root"), Balance::from_millinear(1)).expect("it succeeds");
                    chain.balance(&signer.get_account_id()).expect("it exists");
                }
            });
        }
    });
    assert!(chain.transaction_count().expect("works") >= 84);
    assert_supply_holds(&chain);
}

#[test]
fn transactions__should_run_when_they_arrive_together_out_of_order() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let gathered = BlockMode::Gathered { wait: std::time::Duration::from_secs(3), idle: None };
    let open = || crate::common::builder().data_dir(folder.path()).block_mode(gathered).build();
    let chain = open().expect("the chain starts");
    let alice = account(&chain, "alice.root");
    let key = chain.access_key(&id("alice.root"), &alice.public_key()).expect("works").expect("is there");
    let coin = || near_primitives::action::TransferAction { deposit: near(1) }.into();
    let hashes: Vec<_> = [5, 2, 4, 1, 3]
        .map(|step| chain.send_tx(crate::accounts::signed(&chain, &alice, "root", key.nonce + step, vec![coin()])).expect("it is accepted"))
        .into();
    let height = chain.head().height;
    chain.transfer(&crate::common::signer("root"), &id("alice.root"), near(1)).expect("it succeeds");
    for hash in hashes {
        value(&chain.tx_outcome(&hash).expect("it ran with the others"));
    }
    assert_eq!(chain.block(height + 1).expect("works").expect("is there").transactions.len(), 6);
    // The thread that makes blocks does not keep a chain that nobody has any more, once it is done with its block.
    drop(chain);
    let started = std::time::Instant::now();
    let again = loop {
        match open() {
            Ok(chain) => break chain,
            Err(error) => assert!(started.elapsed() < std::time::Duration::from_secs(20), "{error:?}"),
        }
    };
    assert_supply_holds(&again);
}

#[test]
fn idle_chain__should_make_empty_blocks() {
    let gathered = BlockMode::Gathered { wait: std::time::Duration::ZERO, idle: Some(std::time::Duration::from_millis(5)) };
    let chain = crate::common::builder().block_mode(gathered).build().expect("the chain starts");
    let started = std::time::Instant::now();
    while chain.head().height < 5 {
        assert!(started.elapsed() < std::time::Duration::from_secs(20), "no blocks were made");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_supply_holds(&chain);
}

#[test]
fn each_protocol_version__should_keep_the_books() {
    for version in 85..=88 {
        let chain = crate::common::builder().protocol_version(version).build().expect("the chain starts");
        let app = contract(&chain, "app.root");
        let before = chain.balance(&id("app.root")).expect("it exists");
        let outcome = chain
            .call(&crate::common::signer("root"), &id("app.root"), "set", b"x".to_vec(), crate::common::tgas(30), near(1))
            .expect("the transaction is accepted");
        value(&outcome);
        let earned = chain.balance(&id("app.root")).expect("it exists").checked_sub(before);
        let reward = earned.and_then(|earned| earned.checked_sub(near(1))).expect("it did not fall");
        // Contracts were paid a share of the gas until 87.
        assert_eq!(version >= 87, reward.is_zero(), "{version}: {reward}");
        call(&chain, &app, "app.root", "ask", b"app.root");
        assert_supply_holds(&chain);
    }
    let unknown = crate::common::builder().protocol_version(29).build();
    assert!(matches!(unknown, Err(LocalnetError::ProtocolVersion { .. })));
}
