//! The JSON-RPC as clients see it, over a socket.

use crate::common::{builder, contract, id, near, signer};
use near_crypto::SecretKey;
use near_primitives::transaction::{Action, TransferAction};
use near_primitives::types::Balance;
use reqwest::StatusCode;
use serde_json::{Value, json};
use starling_localnet::{BlockMode, Faucet, Localnet, RpcOptions, RpcServer, serve};
use std::sync::atomic::{AtomicBool, Ordering};

async fn start(chain: &Localnet, options: RpcOptions) -> RpcServer {
    let any_port = "127.0.0.1:0".parse().expect("an address");
    serve(chain.clone(), any_port, options).await.expect("the server starts")
}

async fn post(server: &RpcServer, body: &Value) -> Value {
    let response = reqwest::Client::new().post(server.url()).json(body).send().await.expect("it answers");
    response.json().await.expect("it is JSON")
}

async fn ask(server: &RpcServer, method: &str, params: Value) -> Value {
    post(server, &json!({ "jsonrpc": "2.0", "id": "1", "method": method, "params": params })).await
}

fn transfer(chain: &Localnet, amount: Balance) -> Value {
    let action = Action::Transfer(TransferAction { deposit: amount });
    let signed = chain.sign(&signer("root"), &id("app.root"), vec![action]).expect("it signs");
    serde_json::to_value(&signed).expect("it has a JSON form")
}

#[tokio::test]
async fn status__should_name_chain_and_head() {
    let chain = builder().build().expect("the chain starts");
    let server = start(&chain, RpcOptions::default()).await;
    let status = ask(&server, "status", json!([])).await;
    assert_eq!(status["result"]["chain_id"], "localnet-test");
    assert_eq!(status["result"]["sync_info"]["latest_block_hash"], json!(chain.head().hash));
    let typed: near_primitives::views::StatusResponse = serde_json::from_value(status["result"].clone()).expect("clients can read it");
    assert_eq!(typed.protocol_version, 88);
    let by_get: Value = reqwest::get(format!("{}/status", server.url())).await.expect("it answers").json().await.expect("JSON");
    assert_eq!(by_get["chain_id"], "localnet-test");
    for method in ["health", "network_info", "validators", "gas_price", "EXPERIMENTAL_genesis_config"] {
        let answer = ask(&server, method, json!([null])).await;
        assert!(answer.get("error").is_none(), "{method}: {answer}");
    }
    let config = ask(&server, "EXPERIMENTAL_protocol_config", json!({ "finality": "final" })).await;
    assert_eq!(config["result"]["runtime_config"]["account_creation_charge"], "7000000000000000000000");
}

#[tokio::test]
async fn query__should_answer_each_kind() {
    let chain = builder().build().expect("the chain starts");
    let app = contract(&chain, "app.root");
    crate::common::call(&chain, &app, "app.root", "set", b"hello");
    let server = start(&chain, RpcOptions::default()).await;
    let query = async |params: Value| ask(&server, "query", params).await;
    let final_block = |mut params: Value| {
        params["finality"] = json!("final");
        params
    };
    let account = query(final_block(json!({ "request_type": "view_account", "account_id": "root" }))).await;
    assert_eq!(account["result"]["locked"], "0");
    assert_eq!(account["result"]["code_hash"], "11111111111111111111111111111111");
    let legacy = query(json!(["account/root", ""])).await;
    assert_eq!(legacy["result"]["amount"], account["result"]["amount"]);
    let keys = query(final_block(json!({ "request_type": "view_access_key_list", "account_id": "app.root" }))).await;
    assert_eq!(keys["result"]["keys"][0]["access_key"]["permission"], "FullAccess");
    let call = json!({ "request_type": "call_function", "account_id": "app.root", "method_name": "get", "args_base64": "" });
    let called = query(final_block(call)).await;
    assert_eq!(called["result"]["result"], json!(b"hello"));
    let state = query(final_block(json!({ "request_type": "view_state", "account_id": "app.root", "prefix_base64": "" }))).await;
    assert_eq!(state["result"]["values"], json!([{ "key": "a2V5", "value": "aGVsbG8=" }]));
    let code = query(final_block(json!({ "request_type": "view_code", "account_id": "app.root" }))).await;
    assert!(code["result"]["code_base64"].as_str().is_some_and(|code| code.starts_with("AGFzbQ")));

    // What fails, as nodes word it.
    let missing = query(final_block(json!({ "request_type": "view_account", "account_id": "nobody" }))).await;
    assert_eq!(missing["error"]["cause"]["name"], "UNKNOWN_ACCOUNT");
    assert_eq!(missing["error"]["name"], "HANDLER_ERROR");
    let no_key = json!({ "request_type": "view_access_key", "account_id": "root", "public_key": app.public_key() });
    let no_key = query(final_block(no_key)).await;
    let text = no_key["result"]["error"].as_str().expect("an error text in a result");
    assert!(text.starts_with("access key ed25519:") && text.ends_with("does not exist while viewing"), "{text}");
    let failing = json!({ "request_type": "call_function", "account_id": "app.root", "method_name": "nothing", "args_base64": "" });
    let failing = query(final_block(failing)).await;
    assert_eq!(failing["result"]["error"], "wasm execution failed with error: MethodResolveError(MethodNotFound)");
    let old = json!({ "request_type": "view_account", "account_id": "root", "block_id": 0 });
    assert_eq!(query(old).await["error"]["cause"]["name"], "GARBAGE_COLLECTED_BLOCK");
    let typed = ask(&server, "EXPERIMENTAL_view_account", json!({ "account_id": "nobody", "finality": "final" })).await;
    assert_eq!(typed["error"]["cause"]["name"], "UNKNOWN_ACCOUNT");
}

#[tokio::test]
async fn transactions__should_be_sent_waited_for_and_found() {
    let chain = builder().build().expect("the chain starts");
    contract(&chain, "app.root");
    let server = start(&chain, RpcOptions::default()).await;
    let signed = transfer(&chain, near(1));
    let committed = ask(&server, "broadcast_tx_commit", json!([signed])).await;
    assert_eq!(committed["result"]["status"]["SuccessValue"], "");
    assert_eq!(committed["result"]["final_execution_status"], "FINAL");
    let hash = committed["result"]["transaction"]["hash"].clone();
    let again = ask(&server, "send_tx", json!({ "signed_tx_base64": signed, "wait_until": "FINAL" })).await;
    assert_eq!(again["result"]["transaction"]["hash"], hash);
    let found = ask(&server, "tx", json!([hash, "root"])).await;
    assert_eq!(found["result"]["transaction"]["signer_id"], "root");
    let detailed = json!({ "tx_hash": hash, "sender_account_id": "root", "wait_until": "FINAL" });
    let detailed = ask(&server, "EXPERIMENTAL_tx_status", detailed).await;
    let receipt_id = detailed["result"]["receipts"][0]["receipt_id"].clone();
    let receipt = ask(&server, "EXPERIMENTAL_receipt", json!({ "receipt_id": receipt_id })).await;
    assert_eq!(receipt["result"]["receiver_id"], "app.root");
    let asynchronous = ask(&server, "broadcast_tx_async", json!([transfer(&chain, near(2))])).await;
    assert!(asynchronous["result"].is_string(), "{asynchronous}");

    let poor = ask(&server, "broadcast_tx_commit", json!([transfer(&chain, near(10_000_000))])).await;
    assert_eq!(poor["error"]["cause"]["name"], "INVALID_TRANSACTION");
    let data = &poor["error"]["data"]["TxExecutionError"]["InvalidTxError"]["NotEnoughBalance"];
    assert_eq!(data["signer_id"], "root");
    let unknown = ask(&server, "tx", json!(["11111111111111111111111111111112", "root"])).await;
    assert_eq!(unknown["error"]["cause"]["name"], "UNKNOWN_TRANSACTION");
}

#[tokio::test(flavor = "multi_thread")]
async fn query__should_be_answered_while_blocks_are_made() {
    let chain = builder().block_mode(BlockMode::Manual).build().expect("the chain starts");
    let server = start(&chain, RpcOptions::default()).await;
    let done = AtomicBool::new(false);
    let asked = json!({ "jsonrpc": "2.0", "id": "1", "method": "query", "params": { "request_type": "view_account", "finality": "final", "account_id": "root" } });
    let batch = Value::from(vec![asked; 100]);
    let mut failures = Vec::new();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                chain.produce_block().expect("a block is made");
                // Readers get their turn.
                std::thread::sleep(std::time::Duration::from_micros(100));
            }
        });
        tokio::task::block_in_place(|| {
            for _ in 0..200 {
                let answers = tokio::runtime::Handle::current().block_on(post(&server, &batch));
                failures.extend(answers.as_array().into_iter().flatten().filter(|answer| answer.get("error").is_some()).cloned());
            }
            done.store(true, Ordering::Relaxed);
        });
    });
    assert_eq!(failures, Vec::<Value>::new());
}

#[tokio::test]
async fn waiting__should_end_with_a_block_or_a_timeout() {
    let interval = BlockMode::Interval(std::time::Duration::from_millis(20));
    let chain = builder().block_mode(interval).build().expect("the chain starts");
    contract(&chain, "app.root");
    let server = start(&chain, RpcOptions::default()).await;
    let committed = ask(&server, "broadcast_tx_commit", json!([transfer(&chain, near(1))])).await;
    assert_eq!(committed["result"]["status"]["SuccessValue"], "", "{committed}");

    let manual = builder().block_mode(BlockMode::Manual).build().expect("the chain starts");
    let options = RpcOptions { wait_timeout: std::time::Duration::from_millis(50), ..RpcOptions::default() };
    let server = start(&manual, options).await;
    let timed_out = ask(&server, "broadcast_tx_commit", json!([transfer(&manual, near(1))])).await;
    assert_eq!(timed_out["error"]["cause"]["name"], "TIMEOUT_ERROR", "{timed_out}");
    let none = json!({ "signed_tx_base64": transfer(&manual, near(1)), "wait_until": "NONE" });
    assert_eq!(ask(&server, "send_tx", none).await["result"]["final_execution_status"], "NONE");
}

#[tokio::test]
async fn blocks__should_be_found_by_each_name() {
    let chain = builder().build().expect("the chain starts");
    contract(&chain, "app.root");
    let server = start(&chain, RpcOptions::default()).await;
    let head = ask(&server, "block", json!({ "finality": "final" })).await["result"].clone();
    let hash = head["header"]["hash"].clone();
    let height = head["header"]["height"].clone();
    for params in [json!({ "block_id": hash }), json!({ "block_id": height }), json!([height]), json!([hash])] {
        assert_eq!(ask(&server, "block", params.clone()).await["result"]["header"]["hash"], hash, "{params}");
    }
    let typed: near_primitives::views::BlockView = serde_json::from_value(head.clone()).expect("clients can read it");
    assert_eq!(typed.header.height, chain.head().height);
    let chunk_hash = head["chunks"][0]["chunk_hash"].clone();
    for params in [json!({ "chunk_id": chunk_hash }), json!({ "block_id": height, "shard_id": 0 }), json!([chunk_hash])] {
        let chunk = ask(&server, "chunk", params.clone()).await;
        assert_eq!(chunk["result"]["header"]["chunk_hash"], chunk_hash, "{params}");
        let _: near_primitives::views::ChunkView = serde_json::from_value(chunk["result"].clone()).expect("clients can read it");
    }
    assert_eq!(ask(&server, "block", json!([999_999])).await["error"]["cause"]["name"], "UNKNOWN_BLOCK");
}

#[tokio::test]
async fn malformed__should_be_answered_clearly() {
    let chain = builder().build().expect("the chain starts");
    let server = start(&chain, RpcOptions::default()).await;
    let unknown = ask(&server, "EXPERIMENTAL_changes", json!({})).await;
    assert_eq!(unknown["error"]["code"], -32_601);
    assert_eq!(unknown["error"]["cause"]["info"]["method_name"], "EXPERIMENTAL_changes");
    let wrong = ask(&server, "query", json!({ "request_type": "view_account", "account_id": "UPPER" })).await;
    assert_eq!(wrong["error"]["cause"]["name"], "PARSE_ERROR");
    assert_eq!(ask(&server, "broadcast_tx_commit", json!(["AAAA"])).await["error"]["code"], -32_700);
    let status = |method: &str| json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": [] });
    let mixed = post(&server, &json!([status("health"), status("nothing"), 5, status("status")])).await;
    let answers = mixed.as_array().expect("a list");
    let kinds: Vec<bool> = answers.iter().map(|answer| answer.get("error").is_some()).collect();
    assert_eq!(kinds, [false, true, true, false], "one bad request spoils no other: {mixed}");
    let full = post(&server, &Value::Array(vec![status("health"); 100])).await;
    assert_eq!(full.as_array().map(Vec::len), Some(100));
    for wrong in [Value::Array(vec![status("health"); 101]), json!([])] {
        let refused = post(&server, &wrong).await;
        assert_eq!((&refused["error"]["code"], &refused["error"]["data"]), (&json!(-32_700), &json!("a batch has 1 to 100 requests")));
    }
    let client = reqwest::Client::new();
    let text = client.post(server.url()).body("not json").send().await.expect("it answers");
    assert_eq!(text.status(), StatusCode::BAD_REQUEST);
    let huge = client.post(server.url()).body(vec![b' '; 17 << 20]).send().await;
    assert!(huge.is_err() || huge.is_ok_and(|response| response.status() == StatusCode::PAYLOAD_TOO_LARGE));
    let preflight = client
        .request(reqwest::Method::OPTIONS, server.url())
        .header("origin", "http://example.org")
        .header("access-control-request-method", "POST")
        .send()
        .await
        .expect("it answers");
    assert_eq!(preflight.headers()["access-control-allow-origin"], "*");
    for address in [server.url(), format!("{}/status", server.url())] {
        let from_a_page = client.get(address).header("origin", "http://example.org").send().await.expect("it answers");
        assert_eq!(from_a_page.headers()["access-control-allow-origin"], "*");
    }
}

#[tokio::test]
async fn faucet__should_give_rationed_accounts() {
    let chain = builder().build().expect("the chain starts");
    let without = start(&chain, RpcOptions::default()).await;
    let url = |server: &RpcServer| format!("{}/faucet", server.url());
    let body = |name: &str| json!({ "account_id": name, "public_key": signer(name).public_key() });
    let post = async |server: &RpcServer, body: &Value| {
        let response = reqwest::Client::new().post(url(server)).json(body).send().await.expect("it answers");
        (response.status(), response.json::<Value>().await.expect("it is JSON"))
    };
    assert_eq!(post(&without, &body("alice.root")).await.0, StatusCode::NOT_FOUND);

    let secret = SecretKey::from_seed(near_crypto::KeyType::ED25519, "root");
    let faucet = Some(Faucet::new(id("root"), secret, near(25), 3));
    let server = start(&chain, RpcOptions { faucet, ..RpcOptions::default() }).await;
    let (status, given) = post(&server, &body("alice.root")).await;
    assert_eq!((status, &given["account_id"]), (StatusCode::OK, &json!("alice.root")));
    assert_eq!(chain.balance(&id("alice.root")).expect("it exists"), near(25));
    assert_eq!(
        post(&server, &body("alice.root")).await,
        (
            StatusCode::CONFLICT,
            json!({
                "code": "account_exists", "error": "this account exists already",
            })
        )
    );
    assert_eq!(post(&server, &body("deep.alice.root")).await.0, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(post(&server, &json!({ "account_id": "x" })).await.0, StatusCode::BAD_REQUEST);
    chain
        .create_account(&signer("root"), &id("poor.root"), signer("poor.root").public_key(), near(0))
        .expect("an account that holds nothing");
    let fill = |name: &str| json!({ "account_id": name });
    assert_eq!(post(&server, &fill("poor.root")).await.0, StatusCode::OK);
    assert_eq!(chain.balance(&id("poor.root")).expect("it exists"), near(25));
    assert_eq!(post(&server, &fill("poor.root")).await.1["code"], "not_empty");
    assert_eq!(post(&server, &fill("nobody.root")).await.1["code"], "no_account");
    assert_eq!(post(&server, &body("bob.root")).await.0, StatusCode::OK);
    assert_eq!(post(&server, &body("carol.root")).await.0, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn port_in_use__should_be_an_error() {
    let chain = builder().build().expect("the chain starts");
    let server = start(&chain, RpcOptions::default()).await;
    let taken = serve(chain, server.address(), RpcOptions::default()).await;
    assert_eq!(taken.expect_err("it is taken").kind(), std::io::ErrorKind::AddrInUse);
}
