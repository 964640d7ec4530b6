//! How fast the chain is and what it takes of memory, as a table: `cargo xtask bench localnet`.
//!
//! With an argument, the path of a contract built with near-sdk, starting is measured with that contract too. Nothing is
//! asserted: figures depend on the machine and on what else it does.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use near_crypto::Signer;
use near_primitives::action::TransferAction;
use near_primitives::transaction::{Action, SignedTransaction, Transaction, TransactionV0};
use near_primitives::types::{AccountId, Balance, Gas};
use serde_json::{Value, json};
use starling_localnet::testing::{expect_success, signer_from_seed, tiny_contract};
use starling_localnet::{BlockMode, Clock, Localnet, LocalnetBuilder, RpcOptions, serve};

/// Says that this process is one of those whose start is measured; holds the folder of compiled contracts.
const START: &str = "LOCALNET_BENCH_START";
/// Processes started for the median.
const STARTS: usize = 11;
const TRANSACTIONS: u32 = 1_000;
const RPC_TRANSACTIONS: u32 = 300;
const VIEWS: u32 = 5_000;
const CLIENTS: u32 = 8;

/// A contract, a method of it that changes nothing that matters, and its name in the table.
struct Subject {
    name: &'static str,
    path: Option<PathBuf>,
    method: &'static str,
}

/// One line of the table.
struct Row {
    what: String,
    value: String,
    goal: &'static str,
}

fn main() {
    // cargo adds `--bench`.
    let contract = std::env::args_os().skip(1).find(|argument| argument != "--bench").map(PathBuf::from);
    if let Some(folder) = std::env::var_os(START) {
        return first_outcome(Path::new(&folder), &subject(contract));
    }
    // First, while this process has done nothing else.
    let memory = memory();
    let mut rows = starts(&subject(None));
    if contract.is_some() {
        rows.extend(starts(&subject(contract)));
    }
    rows.extend(in_process());
    let runtime = tokio::runtime::Runtime::new().expect("the runtime starts");
    rows.extend(runtime.block_on(over_rpc()));
    rows.extend(memory);
    print(&rows);
}

fn subject(path: Option<PathBuf>) -> Subject {
    match path {
        None => Subject { name: "a tiny contract", path: None, method: "set" },
        Some(path) => Subject { name: "a contract of near-sdk", path: Some(path), method: "contract_source_metadata" },
    }
}

fn id(name: &str) -> AccountId {
    name.parse().expect("a valid account id")
}

fn signer(name: &str) -> Signer {
    signer_from_seed(&id(name), name)
}

fn builder() -> LocalnetBuilder {
    let builder = Localnet::builder().chain_id("bench").clock(Clock::Steps);
    let names = ["root".to_owned(), "app".to_owned()].into_iter().chain((0..CLIENTS).map(client));
    names.fold(builder, |builder, name| builder.account(id(&name), signer(&name).public_key(), Balance::from_near(1_000_000)))
}

fn client(number: u32) -> String {
    format!("client{number}")
}

fn started(builder: LocalnetBuilder) -> Localnet {
    let chain = builder.build().expect("the chain starts");
    chain.deploy(&signer("app"), tiny_contract()).expect("it is deployed");
    chain
}

/// What a test does that wants one answer: start, deploy, call.
fn first_outcome(cache: &Path, subject: &Subject) {
    let code = subject.path.as_ref().map_or_else(tiny_contract, |path| std::fs::read(path).expect("the contract can be read"));
    let chain = builder().contract_cache(cache).build().expect("the chain starts");
    chain.deploy(&signer("app"), code).expect("it is deployed");
    call(&chain, subject.method);
}

fn call(chain: &Localnet, method: &str) {
    let outcome = chain.call(&signer("root"), &id("app"), method, b"x".to_vec(), Gas::from_teragas(10), Balance::ZERO);
    expect_success(outcome.expect("it is accepted")).expect("it succeeds");
}

/// From starting a process to its end, with one outcome in between: the first compiles, the others find it compiled.
fn starts(subject: &Subject) -> Vec<Row> {
    let cache = tempfile::tempdir().expect("a temporary folder");
    let program = std::env::current_exe().expect("this program has a path");
    let start = || {
        let started = Instant::now();
        let arguments = subject.path.iter().map(OsString::from);
        let mut child = Command::new(&program);
        child.args(arguments).env(START, cache.path()).stdin(Stdio::null());
        assert!(child.status().expect("it starts").success());
        started.elapsed()
    };
    let compiling = start();
    let mut cached: Vec<Duration> = (0..STARTS).map(|_| start()).collect();
    cached.sort();
    let name = subject.name;
    vec![
        Row {
            what: format!("process start to first outcome, {name}, cached: median"),
            value: milliseconds(cached[STARTS / 2]),
            goal: "< 200 ms",
        },
        Row { what: format!("the same, slowest of {STARTS}"), value: milliseconds(cached[STARTS - 1]), goal: "" },
        Row { what: format!("the same, compiling {name} first"), value: milliseconds(compiling), goal: "" },
    ]
}

fn in_process() -> Vec<Row> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let memory = started(builder());
    let disk = started(builder().data_dir(folder.path()));
    let mut rows = Vec::new();
    // On disk one after the other waits for the disk each time.
    for (place, chain, goal) in [("in memory", &memory, ">= 500"), ("on disk", &disk, "")] {
        let root = signer("root");
        let transfers = per_second(TRANSACTIONS, || {
            chain.transfer(&root, &id("app"), Balance::from_yoctonear(1)).expect("it succeeds");
        });
        rows.push(rate(format!("transfers one after the other, {place}"), transfers, goal));
        rows.push(rate(format!("contract calls one after the other, {place}"), per_second(TRANSACTIONS, || call(chain, "set")), goal));
    }
    rows.push(rate("transfers, 1,000 in a block, in memory".to_owned(), full_block(), ">= 500"));
    let views = per_second(VIEWS, || {
        memory.view(&id("app"), "get", b"").expect("the view runs");
    });
    rows.push(rate("views".to_owned(), views, ""));
    rows
}

/// Transfers a second when a block takes in all of them: handing in, the block, and the one for their receipts.
fn full_block() -> f64 {
    let chain = builder().block_mode(BlockMode::Manual).build().expect("the chain starts");
    let transfers: Vec<SignedTransaction> = (1..=u64::from(TRANSACTIONS)).map(|nonce| signed(&chain, "root", nonce)).collect();
    let started = Instant::now();
    let hashes: Vec<_> = transfers.into_iter().map(|transfer| chain.send_tx(transfer).expect("it is accepted")).collect();
    for _ in 0..2 {
        chain.produce_block().expect("a block is made");
    }
    let took = started.elapsed();
    for hash in hashes {
        expect_success(chain.tx_outcome(&hash).expect("it is known")).expect("it succeeds");
    }
    f64::from(TRANSACTIONS) / took.as_secs_f64()
}

fn signed(chain: &Localnet, name: &str, nonce: u64) -> SignedTransaction {
    let signer = signer(name);
    let transaction = Transaction::V0(TransactionV0 {
        signer_id: id(name),
        public_key: signer.public_key(),
        nonce,
        receiver_id: id("app"),
        block_hash: chain.head().hash,
        actions: vec![Action::Transfer(TransferAction { deposit: Balance::from_yoctonear(1) })],
    });
    let hash = transaction.get_hash_and_size().0;
    SignedTransaction::new(signer.sign(hash.as_ref()), transaction)
}

async fn over_rpc() -> Vec<Row> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let chain = started(builder().data_dir(folder.path()));
    let server = serve(chain.clone(), "127.0.0.1:0".parse().expect("an address"), RpcOptions::default());
    let server = server.await.expect("the server starts");
    let http = reqwest::Client::new();

    let begun = Instant::now();
    for nonce in 1..=u64::from(RPC_TRANSACTIONS) {
        commit(&http, &server.url(), signed(&chain, "root", nonce)).await;
    }
    let one = f64::from(RPC_TRANSACTIONS) / begun.elapsed().as_secs_f64();

    let begun = Instant::now();
    let clients = (0..CLIENTS).map(|number| {
        let (chain, http, url) = (chain.clone(), http.clone(), server.url());
        tokio::spawn(async move {
            for nonce in 1..=u64::from(RPC_TRANSACTIONS / CLIENTS) {
                commit(&http, &url, signed(&chain, &client(number), nonce)).await;
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.expect("the client ends");
    }
    let many = f64::from(RPC_TRANSACTIONS / CLIENTS * CLIENTS) / begun.elapsed().as_secs_f64();

    let params =
        json!({ "request_type": "call_function", "finality": "final", "account_id": "app", "method_name": "get", "args_base64": "" });
    let begun = Instant::now();
    for _ in 0..RPC_TRANSACTIONS {
        ask(&http, &server.url(), "query", params.clone()).await;
    }
    let views = f64::from(RPC_TRANSACTIONS) / begun.elapsed().as_secs_f64();
    vec![
        rate("transfers over RPC one after the other, on disk".to_owned(), one, ">= 50"),
        rate(format!("transfers over RPC, {CLIENTS} clients, on disk"), many, ">= 50"),
        rate("views over RPC one after the other".to_owned(), views, ""),
    ]
}

async fn commit(http: &reqwest::Client, url: &str, transaction: SignedTransaction) {
    let result = ask(http, url, "broadcast_tx_commit", json!([transaction])).await;
    assert_eq!(result["status"]["SuccessValue"], "", "{result}");
}

async fn ask(http: &reqwest::Client, url: &str, method: &str, params: Value) -> Value {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let answer = http.post(url).json(&body).send().await.expect("it answers");
    answer.json::<Value>().await.expect("it is JSON")["result"].clone()
}

/// What this process takes, before there is a chain, with a new one, and after many of its blocks.
fn memory() -> Vec<Row> {
    let resident = |what: String| status_kib("VmRSS:").map(|kib| Row { what, value: mebibytes(kib), goal: "" });
    let before = resident("memory of a process before its first chain".to_owned());
    let chain = started(builder());
    let new = resident("memory with a chain in memory and a contract".to_owned());
    let height = chain.head().height;
    for _ in 0..TRANSACTIONS {
        call(&chain, "set");
    }
    let blocks = chain.head().height - height;
    let after = resident(format!("memory after {TRANSACTIONS} calls in {blocks} blocks"));
    [before, new, after].into_iter().flatten().collect()
}

fn mebibytes(kib: u64) -> String {
    format!("{} MiB", kib.div_ceil(1_024))
}

/// A line of Linux's `/proc/self/status`; elsewhere nothing is known.
fn status_kib(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

fn per_second(count: u32, mut act: impl FnMut()) -> f64 {
    let started = Instant::now();
    for _ in 0..count {
        act();
    }
    f64::from(count) / started.elapsed().as_secs_f64()
}

fn rate(what: String, per_second: f64, goal: &'static str) -> Row {
    Row { what, value: format!("{per_second:.0} /s"), goal }
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.0} ms", duration.as_secs_f64() * 1_000.0)
}

fn print(rows: &[Row]) {
    let width = rows.iter().map(|row| row.what.len()).max().unwrap_or(0);
    println!("| {:width$} | measured   | goal     |", "what");
    println!("|-{:-<width$}-|-----------:|----------|", "");
    for Row { what, value, goal } in rows {
        println!("| {what:width$} | {value:>10} | {goal:8} |");
    }
}
