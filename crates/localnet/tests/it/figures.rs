//! How fast the chain is: run with `--ignored --nocapture`. Nothing is asserted about time.

use std::time::{Duration, Instant};

use near_primitives::types::Balance;
use serde_json::json;
use starling_localnet::testing::tiny_contract;
use starling_localnet::{RpcOptions, serve};

use crate::common::{builder, contract, id, near, signer};

fn per_second(count: u32, took: Duration) -> f64 {
    f64::from(count) / took.as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "prints figures; run by hand or as a proof"]
async fn figures__should_be_printed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let cached = |data: &str| builder().data_dir(folder.path().join(data)).contract_cache(folder.path());
    drop(contract(&cached("first").build().expect("the chain starts"), "app.root"));

    let start = Instant::now();
    let chain = cached("second").build().expect("the chain starts");
    chain.deploy(&signer("root"), tiny_contract()).expect("it is deployed");
    println!("start to first outcome of a cached contract: {:?}", start.elapsed());

    let memory = builder().build().expect("the chain starts");
    contract(&memory, "app.root");
    contract(&chain, "app.root");
    let root = signer("root");
    for (name, chain) in [("in memory", &memory), ("on disk", &chain)] {
        let start = Instant::now();
        for _ in 0..500 {
            chain.transfer(&root, &id("app.root"), near(1)).expect("it succeeds");
        }
        println!("transfers one after the other, {name}: {:.0}/s", per_second(500, start.elapsed()));
        let start = Instant::now();
        for _ in 0..500 {
            chain.call(&root, &id("app.root"), "set", b"x".to_vec(), crate::common::tgas(10), Balance::ZERO).expect("it is accepted");
        }
        println!("calls one after the other, {name}: {:.0}/s", per_second(500, start.elapsed()));
    }
    let start = Instant::now();
    for _ in 0..2_000 {
        memory.view(&id("app.root"), "get", b"").expect("the view runs");
    }
    println!("views: {:.0}/s", per_second(2_000, start.elapsed()));

    let server = serve(chain.clone(), "127.0.0.1:0".parse().expect("an address"), RpcOptions::default());
    let server = server.await.expect("the server starts");
    let client = reqwest::Client::new();
    let start = Instant::now();
    for _ in 0..200 {
        let action = near_primitives::transaction::TransferAction { deposit: near(1) };
        let signed = chain.sign(&root, &id("app.root"), vec![action.into()]).expect("it signs");
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "broadcast_tx_commit", "params": [signed] });
        let answer = client.post(server.url()).json(&body).send().await.expect("it answers");
        assert!(answer.status().is_success());
    }
    println!("transfers over RPC, one after the other, on disk: {:.0}/s", per_second(200, start.elapsed()));
}
