//! The real program against a chain that is not its own, or that does not know it: it ends at once and says what to do.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]
#![expect(clippy::unwrap_used, reason = "a panic in a test is a failed test")]

use starling_contract_api::rpc::Signer;
use starling_primitives::AccountId;
use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    path::Path,
    process::{Command, Output},
    thread,
};

/// A chain's RPC that is called `chain_id` and answers every view with `null`.
fn serve_rpc(chain_id: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut request = Vec::new();
            // The body ends with the object that the request is.
            while !request.ends_with(b"}") {
                let mut part = [0; 4_096];
                let read = stream.read(&mut part).unwrap();
                if read == 0 {
                    break;
                }
                request.extend_from_slice(&part[..read]);
            }
            let result = if String::from_utf8_lossy(&request).contains("\"status\"") {
                serde_json::json!({"chain_id": chain_id, "sync_info": {"latest_block_height": 7}})
            } else {
                serde_json::json!({"result": b"null".to_vec(), "logs": [], "block_height": 7, "block_hash": "11111111111111111111111111111111"})
            };
            let body = serde_json::json!({"jsonrpc": "2.0", "id": "starling", "result": result}).to_string();
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(body.as_bytes()).unwrap();
        }
    });
    url
}

fn write_home(folder: &Path, rpc_url: &str) {
    let account = AccountId::new("provider-1.starling").unwrap();
    Signer::generate(account).unwrap().write_file(&folder.join("key.json")).unwrap();
    let config = format!(
        r#"coordinator = "http://127.0.0.1:9"
rpc_url = "{rpc_url}"
node_id = 1
provider = "provider-1.starling"
key_file = "key.json"
data_dir = "data"
threads = 1
min_price_per_million_tokens = "1"
min_price_per_hour = "1"
[deployment]
chain_id = "starling-embedded-1"
instance = 1
billing = "billing.starling"
compute = "compute.starling"
hub = "hub.starling"
market = "market.starling"
"#
    );
    std::fs::write(folder.join("node.toml"), config).unwrap();
}

fn gpu_node(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gpu-node")).args(arguments).output().unwrap()
}

fn run_in(folder: &Path) -> (bool, String) {
    let output = gpu_node(&["run", "--config", &folder.join("node.toml").display().to_string()]);
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn node__should_refuse_an_rpc_of_another_chain() {
    let folder = tempfile::tempdir().unwrap();
    write_home(folder.path(), &serve_rpc("some-other-chain"));
    let (succeeded, words) = run_in(folder.path());
    assert!(!succeeded);
    assert!(words.contains("is of the chain some-other-chain") && words.contains("set up for starling-embedded-1"), "{words}");
}

#[test]
fn node__should_say_that_it_is_not_registered() {
    let folder = tempfile::tempdir().unwrap();
    write_home(folder.path(), &serve_rpc("starling-embedded-1"));
    let (succeeded, words) = run_in(folder.path());
    assert!(!succeeded);
    assert!(words.contains("node 1 is not registered in compute.starling") && words.contains("gpu-node setup"), "{words}");
}

#[test]
fn node__should_not_start_on_a_data_folder_that_is_in_use() {
    let folder = tempfile::tempdir().unwrap();
    write_home(folder.path(), "http://127.0.0.1:9");
    std::fs::create_dir_all(folder.path().join("data")).unwrap();
    let lock = std::fs::File::create(folder.path().join("data/lock")).unwrap();
    lock.lock().unwrap();
    let (succeeded, words) = run_in(folder.path());
    assert!(!succeeded && words.contains("another gpu-node works in"), "{words}");
}

#[test]
fn node__should_say_that_there_is_no_configuration_and_show_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let (succeeded, words) = run_in(folder.path());
    assert!(!succeeded && words.contains("cannot be read") && words.contains("gpu-node setup"), "{words}");
    std::fs::write(folder.path().join("node.toml"), "threads = 1").unwrap();
    let (_, words) = run_in(folder.path());
    assert!(words.contains("is not understood") && words.contains("missing field"), "{words}");
}

#[test]
fn probe__should_print_a_capability() {
    let output = gpu_node(&["probe", "--threads", "1"]);
    let capability: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success() && capability["matrix_gflops"].as_u64() >= Some(1), "{capability}");
}
