//! `starling-sandbox` as a process: its files, its refusals, and a kill in between.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use near_crypto::{InMemorySigner, SecretKey};
use near_primitives::account::{AccessKey, Account, AccountContract};
use near_primitives::hash::CryptoHash;
use near_primitives::state_record::StateRecord;
use near_primitives::transaction::{SignedTransaction, Transaction, TransactionV0};
use near_primitives::types::Balance;
use serde_json::{Value, json};
use starling_localnet::testing::tiny_contract;

use crate::common::{builder, id, near, signer};

fn sandbox(home: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_starling-sandbox"));
    command.arg("--home").arg(home).args(arguments);
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A running sandbox; it is killed, with no time to tidy up, when this goes.
struct Running {
    child: Child,
    url: String,
}

impl Running {
    fn start(home: &Path) -> Self {
        let arguments = ["run", "--rpc-addr", "127.0.0.1:0", "--network-addr", "127.0.0.1:0"];
        let mut child = sandbox(home, &arguments).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut url = String::new();
        BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut url).expect("it says where it is");
        Self { child, url: url.trim().to_owned() }
    }

    async fn ask(&self, method: &str, params: Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer = reqwest::Client::new().post(&self.url).json(&body).send().await.expect("it answers");
        answer.json::<Value>().await.expect("it is JSON")["result"].clone()
    }

    async fn amount(&self, account: &str) -> Balance {
        let params = json!({ "request_type": "view_account", "finality": "final", "account_id": account });
        serde_json::from_value(self.ask("query", params).await["amount"].clone()).expect("an amount")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().expect("it was running");
        self.child.wait().expect("it ended");
    }
}

fn change(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut content: Value = serde_json::from_slice(&fs::read(path).expect("it is there")).expect("it is JSON");
    change(&mut content);
    fs::write(path, content.to_string()).expect("it is written");
}

/// An account as a program that prepares a sandbox adds it; what it uses of storage is left to the chain.
fn add_account(genesis: &mut Value, name: &str, amount: Balance) {
    let account = Account::new(amount, Balance::ZERO, AccountContract::None, 0);
    let records = [
        StateRecord::Contract { account_id: id(name), code: tiny_contract() },
        StateRecord::Data { account_id: id(name), data_key: b"key".to_vec().into(), value: b"from the start".to_vec().into() },
        StateRecord::Account { account_id: id(name), account },
        StateRecord::access_key(id(name), signer(name).public_key(), AccessKey::full_access()),
    ];
    let supply: Balance = serde_json::from_value(genesis["total_supply"].clone()).expect("an amount");
    genesis["total_supply"] = json!(supply.checked_add(amount).expect("no overflow"));
    let list = genesis["records"].as_array_mut().expect("a list");
    list.extend(records.iter().map(|record| serde_json::to_value(record).expect("it has a JSON form")));
}

#[tokio::test(flavor = "multi_thread")]
async fn sandbox__should_go_on_after_a_kill_with_what_was_put_into_its_genesis() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let made = sandbox(home.path(), &["init", "--fast"]).output().expect("it starts");
    assert!(made.status.success(), "{}", said(&made));
    change(&home.path().join("genesis.json"), |genesis| add_account(genesis, "app", near(7)));

    let running = Running::start(home.path());
    assert_eq!(running.ask("status", json!([])).await["chain_id"], "sandbox");
    let get = json!({ "request_type": "call_function", "finality": "final", "account_id": "app", "method_name": "get", "args_base64": "" });
    assert_eq!(running.ask("query", get.clone()).await["result"], json!(b"from the start"));
    // The same account made by transactions uses the same storage.
    let chain = builder().build().expect("the chain starts");
    let app = crate::common::contract(&chain, "app.root");
    crate::common::call(&chain, &app, "app.root", "set", b"from the start");
    let usual = chain.account(&id("app.root")).expect("works").expect("is there").storage_usage();
    let account = json!({ "request_type": "view_account", "finality": "final", "account_id": "app" });
    assert_eq!(running.ask("query", account).await["storage_usage"], usual);

    let root = InMemorySigner::from_file(&home.path().join("validator_key.json")).expect("a key that clients can read");
    let block_hash: CryptoHash =
        serde_json::from_value(running.ask("block", json!({ "finality": "final" })).await["header"]["hash"].clone()).expect("a hash");
    let transaction = Transaction::V0(TransactionV0 {
        signer_id: id("test.near"),
        public_key: root.public_key(),
        nonce: 1,
        receiver_id: id("app"),
        block_hash,
        actions: vec![near_primitives::action::TransferAction { deposit: near(3) }.into()],
    });
    let hash = transaction.get_hash_and_size().0;
    let signed = SignedTransaction::new(root.sign(hash.as_ref()), transaction);
    assert_eq!(running.ask("broadcast_tx_commit", json!([signed])).await["status"]["SuccessValue"], "");
    drop(running);

    let running = Running::start(home.path());
    assert_eq!(running.amount("app").await, near(10));
    assert_eq!(running.ask("tx", json!([hash, "test.near"])).await["status"]["SuccessValue"], "");
    assert_eq!(running.ask("query", get).await["result"], json!(b"from the start"));
}

#[tokio::test]
async fn body_limit__should_be_what_the_configuration_says() {
    let home = tempfile::tempdir().expect("a temporary folder");
    assert!(sandbox(home.path(), &["init"]).status().expect("it starts").success());
    change(&home.path().join("config.json"), |config| config["rpc"]["limits_config"]["json_payload_max_size"] = json!(1_000));
    let running = Running::start(home.path());
    let send = async |bytes| reqwest::Client::new().post(&running.url).body(vec![b' '; bytes]).send().await.expect("it answers").status();
    assert_eq!(send(1_000).await, reqwest::StatusCode::BAD_REQUEST);
    assert_eq!(send(1_001).await, reqwest::StatusCode::PAYLOAD_TOO_LARGE);
}

#[test]
fn init__should_keep_what_is_there() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let init = ["init", "--chain-id=mine", "--account-id", "boss.near", "--test-seed", "seed"];
    assert!(sandbox(home.path(), &init).status().expect("it starts").success());
    let read = |name: &str| fs::read_to_string(home.path().join(name)).expect("it is there");
    let before = ["config.json", "genesis.json", "validator_key.json"].map(read);
    let key: Value = serde_json::from_str(&before[2]).expect("it is JSON");
    assert_eq!(key["account_id"], "boss.near");
    assert_eq!(key["public_key"], json!(SecretKey::from_seed(near_crypto::KeyType::ED25519, "seed").public_key()));
    assert!(before[1].contains("\"mine\"") && before[1].contains("boss.near"));
    assert!(sandbox(home.path(), &["init"]).status().expect("it starts").success());
    assert_eq!(["config.json", "genesis.json", "validator_key.json"].map(read), before);
}

#[test]
fn sandbox__should_refuse_by_name_what_it_cannot_do() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let refusal = |arguments: &[&str]| {
        let output = sandbox(home.path(), arguments).output().expect("it starts");
        assert!(!output.status.success(), "{arguments:?} should have been refused");
        said(&output)
    };
    assert!(refusal(&["view-state"]).contains("`view-state` is not known"));
    assert!(refusal(&["run", "--archive"]).contains("`--archive` is not known"));
    assert!(refusal(&["run", "--fast"]).contains("`--fast` says nothing to `run`"));
    assert!(refusal(&["init", "--rpc-addr", "127.0.0.1:1"]).contains("`--rpc-addr` says nothing to `init`"));
    assert!(refusal(&["run", "--rpc-addr"]).contains("`--rpc-addr` wants a value"));
    assert!(refusal(&["run", "--rpc-addr", "here"]).contains("`here` is not what `--rpc-addr` wants"));
    assert!(refusal(&["init", "--account-id", "UPPER"]).contains("`UPPER` is not what `--account-id` wants"));
    assert!(refusal(&[]).contains("no command was given"));
    assert!(refusal(&["run"]).contains("config.json cannot be used"));

    assert!(sandbox(home.path(), &["init"]).status().expect("it starts").success());
    let genesis = home.path().join("genesis.json");
    let original = fs::read(&genesis).expect("it is there");
    let refused_genesis = |changed: &dyn Fn(&mut Value)| {
        fs::write(&genesis, &original).expect("it is written");
        change(&genesis, changed);
        refusal(&["run", "--rpc-addr", "127.0.0.1:0"])
    };
    assert!(refused_genesis(&|genesis| genesis["total_supply"] = json!("1")).contains("set `total_supply`"));
    assert!(refused_genesis(&|genesis| genesis["genesis_height"] = json!(5)).contains("remove `genesis_height`"));
    assert!(refused_genesis(&|genesis| genesis["protocol_version"] = json!(29)).contains("protocol version 29"));
    let without_account = |genesis: &mut Value| {
        let code = StateRecord::Contract { account_id: id("nobody"), code: tiny_contract() };
        genesis["records"].as_array_mut().expect("a list").push(serde_json::to_value(code).expect("it has a JSON form"));
    };
    assert!(refused_genesis(&without_account).contains("nobody"));
}
