//! How many nodes a coordinator holds and how fast it dispatches, as a table: `cargo xtask bench coordinator`.
//!
//! The coordinator is the program itself, on the embedded chain with our contracts; nodes are registered there, sign in with their keys and speak the nodes' protocol. A dispatch is a meter's
//! signature that comes by HTTP, changes the state of a lease, and is told to its node. Each turn is measured beside the bare queue (`coordinator/examples/bare_queue.rs`): the same
//! nodes and meters say the same to a program that keeps it in the same database and tells it on, and nothing else. Fails where a goal is missed; the table is printed then too.
//! Long because chain, nodes and meters stand here with what they measure.

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use futures_util::{SinkExt as _, StreamExt as _, TryStreamExt as _, stream};
use serde_json::json;
use starling_contract_api::{
    payment::{PayResult, PaymentMsg},
    rpc::{RpcClient, Signer},
};
use starling_http_api::{
    job::{Generate, JobSpec},
    login::{Challenge, LoginRequest, Session, nep413_bytes},
    node::{FromNode, HEARTBEAT_MS, ToNode},
    path,
};
use starling_primitives::{AccountId, Amount, DurationMs, EscrowId, Hash32, LeaseId, NodeId};
use starling_protocol::{
    lease::LeaseTerms,
    node::{Capability, DeviceKind},
    signing::{Domain, LeaseStatement, NodeHello, Role},
};
use starling_tests::{
    Actor, Harness, Postgres,
    work::{NodeOf, offer_terms},
};
use std::{
    collections::VecDeque,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
    sync::mpsc,
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

const NODES: usize = 10_000;
/// Providers that register nodes at the same time.
const PROVIDERS: usize = 4;
/// Leases under way, each with a node and a meter.
const JOBS: usize = 128;
/// Of them, those whose meters sign at once: the other nodes' statements come to wait meanwhile, so that nobody asks for what is not there yet.
const AT_ONCE: usize = 64;
const RENTED: DurationMs = DurationMs::from_hours(20);
const PACE: Duration = Duration::from_millis(1);
const SECONDS: u64 = 10;
/// By then a coordinator has read on the chain what the renting left there.
const SETTLED: Duration = Duration::from_secs(10);
const TURNS: usize = 3;
const GOAL_MEMORY_MB: f64 = 120.0;
const GOAL_P99_MS: f64 = 10.0;
const GOAL_RATIO: f64 = 0.8;

type Socket = WebSocketStream<TcpStream>;

struct World {
    harness: Harness,
    domain: Domain,
    idle: Vec<(NodeId, Signer)>,
    key_file: PathBuf,
}

/// A lease with its two keys.
struct Job {
    lease_id: LeaseId,
    escrow_id: EscrowId,
    node: NodeOf,
    meter: Signer,
}

#[tokio::main]
async fn main() -> Result<()> {
    check_limit(NODES + 1_000)?;
    let home = tempfile::tempdir()?;
    let world = World::new(home.path()).await?;
    println!("| measured | value | goal |\n|---|---|---|");
    let mut missed = Vec::new();
    let mut row = |what: &str, value: String, goal: &str, holds: bool| {
        println!("| {what} | {value} | {goal} |");
        missed.extend((!holds).then(|| what.to_owned()));
    };

    let memory = tempfile::tempdir_in("/dev/shm").context("this wants a file system in memory, /dev/shm")?;
    let coordinator = Coordinator::start(&world, memory.path(), None).await?;
    let empty = coordinator.resident_mb()?;
    let started = Instant::now();
    let idle = coordinator.connect(&world).await?;
    let took = started.elapsed();
    tokio::time::sleep(Duration::from_millis(3 * HEARTBEAT_MS)).await;
    let full = coordinator.resident_mb()?;
    row(&format!("resident with {NODES} nodes connected"), format!("{full:.0} MB"), "<= 120 MB", full <= GOAL_MEMORY_MB);
    row("resident without a node", format!("{empty:.0} MB"), "", true);
    row("signing them in, a view of the chain each", format!("{:.0} /s", as_f64(NODES) / took.as_secs_f64()), "", true);
    let mut workers = Workers::start(&coordinator, &world).await?;
    let with_idle = workers.paced().await?;
    row(&format!("p99 of 1,000 dispatches/s, {NODES} nodes connected"), format!("{with_idle:.1} ms"), "", true);
    let lost = idle.stop();
    row("nodes that lost their connection meanwhile", lost.to_string(), "0", lost == 0);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let p99 = workers.paced().await?;
    row("p99 of 1,000 dispatches/s, SQLite in memory", format!("{p99:.1} ms"), "<= 10 ms", p99 <= GOAL_P99_MS);
    let (in_memory, _) = workers.flat_out().await?;
    row("dispatches flat out, SQLite in memory", format!("{in_memory:.0} /s"), ">= 1,000 /s", in_memory >= 1_000.0);
    drop((workers, coordinator));

    let postgres = Postgres::start()?;
    for database in [None, Some(&postgres)] {
        let folder = tempfile::tempdir()?;
        let coordinator = Coordinator::start(&world, folder.path(), database).await?;
        let mut workers = Workers::start(&coordinator, &world).await?;
        let address = database.map_or_else(|| format!("sqlite://{}", folder.path().join("db.sqlite").display()), Postgres::address);
        let queue = BareQueue::start(&address).await?;
        let mut bare_workers = workers.at(&queue.address).await?;
        let (mut rates, mut groups, mut bare) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..TURNS {
            let before = coordinator.group_counts().await?;
            let (rate, time) = workers.flat_out().await?;
            let after = coordinator.group_counts().await?;
            rates.push((rate, (after.0 - before.0) / time));
            groups.push((after.0 - before.0) / (after.1 - before.1));
            bare.push(bare_workers.flat_out().await?.0);
        }
        let name = if database.is_some() { "PostgreSQL" } else { "SQLite" };
        let (dispatches, changes) = (median(rates.iter().map(|rate| rate.0)), median(rates.iter().map(|rate| rate.1)));
        row(
            &format!("durable dispatches, {name}"),
            format!("{dispatches:.0} /s, {:.2} of those in memory", dispatches / in_memory),
            "",
            true,
        );
        row(&format!("the bare queue's, {name}"), format!("{:.0} /s", median(bare.iter().copied())), "", true);
        let ratio = median(rates.iter().zip(&bare).map(|(rate, bare)| rate.0 / bare));
        row(&format!("ratio, {name}"), format!("{ratio:.2}"), ">= 0.8", ratio >= GOAL_RATIO);
        row(
            &format!("state changes of durable dispatches, {name}"),
            format!("{changes:.0} /s, {:.0} in a commit", median(groups.into_iter())),
            "",
            true,
        );
    }
    ensure!(missed.is_empty(), "missed: {}", missed.join("; "));
    Ok(())
}

/// Each connection is an open file, here and in the coordinator.
fn check_limit(needed: usize) -> Result<()> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find(|line| line.starts_with("Max open files")).context("the system names no limit of open files")?;
    let soft: usize = line.split_whitespace().nth(3).and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
    ensure!(soft >= needed, "this wants {needed} open files and may have {soft}: run it under `ulimit -n {needed}`");
    Ok(())
}

impl World {
    async fn new(home: &Path) -> Result<Self> {
        let harness = Harness::start().await?;
        let coordinator = harness.actor("coordinator.starling", 100).await?;
        let key_file = home.join("key.json");
        coordinator.signer.write_file(&key_file)?;
        let mut idle = Vec::with_capacity(NODES);
        let registered = stream::iter((0..PROVIDERS).map(|number| register(&harness, number))).buffer_unordered(PROVIDERS);
        for nodes in registered.try_collect::<Vec<_>>().await? {
            idle.extend(nodes);
        }
        Ok(Self { domain: harness.domain(), harness, idle, key_file })
    }

    /// Rents as many nodes as there are jobs, each for one that was uploaded to this coordinator first.
    async fn rent(&self, coordinator: &Coordinator) -> Result<Vec<Job>> {
        let mut line = Line::open(&coordinator.address).await?;
        let tenant = self.harness.actor(&format!("tenant-{}.starling", coordinator.child.id()), 20_000).await?;
        let token = line.sign_in(&tenant).await?;
        let model = line.put(b"a model", &token).await?;
        let prompt = "Once upon a time".to_owned();
        let job = JobSpec::Generate(Generate { model, prompt, max_new_tokens: 100, temperature: 0.0, top_k: 0, seed: 1 });
        let job = line.put(&serde_json::to_vec(&job)?, &token).await?;
        let (harness, compute) = (&self.harness, self.harness.compute());
        let price = harness.view(&compute.storage_price()).await?;
        let mut jobs = Vec::with_capacity(JOBS);
        for number in 0..JOBS {
            let node = harness.node(&format!("worker-{number}-{}.starling", coordinator.child.id())).await?;
            let made = harness.call(&node.provider, &compute.create_offer(node.id, &offer_terms(), price)).await?.ok()?;
            let (meter, availability) = (tenant.public_key(), DurationMs::from_days(1));
            let terms = LeaseTerms { offer_id: made.json()?, duration: RENTED, job, meter, availability, delegate: None };
            let paid = harness.pay(&tenant, &harness.deployment.compute, Amount::from_near(60), PaymentMsg::Lease(terms)).await?;
            let escrow_id = paid.ok()?.json::<PayResult>()?.escrow_id;
            let lease_id = LeaseId(harness.view(&compute.counts()).await?.leases);
            harness.call(&node.key, &compute.accept_lease(lease_id)).await?.ok()?;
            jobs.push(Job { lease_id, escrow_id, node, meter: tenant.signer.clone() });
        }
        Ok(jobs)
    }
}

/// Registers one provider's part of the nodes.
async fn register(harness: &Harness, number: usize) -> Result<Vec<(NodeId, Signer)>> {
    let provider = harness.registered(&format!("provider-{number}.starling"), 2_000).await?;
    let (rpc, price) = (RpcClient::new(&harness.rpc_url()), harness.view(&harness.compute().storage_price()).await?);
    let device = "idle".parse().map_err(|_| anyhow::anyhow!("no name of a device"))?;
    let capability = Capability { kind: DeviceKind::Cpu, device, memory_bytes: 1 << 30, threads: 2, matrix_gflops: 10 };
    let mut nodes = Vec::new();
    for index in (number..NODES).step_by(PROVIDERS) {
        let key = Signer::from_seed(AccountId::new("node.starling")?, *blake3::hash(&index.to_le_bytes()).as_bytes());
        let call = harness.compute().register_node(&key.public_key(), &provider.account, &capability, price);
        nodes.push((rpc.call(&provider.signer, &call).await?.json()?, key));
    }
    Ok(nodes)
}

/// The program with a home of its own.
struct Coordinator {
    child: Child,
    address: String,
    operator: String,
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Coordinator {
    async fn start(world: &World, folder: &Path, database: Option<&Postgres>) -> Result<Self> {
        let (listen, operator) = (free_port()?, free_port()?);
        let config = folder.join("coordinator.toml");
        // What was before it is not read while it is measured.
        let history_from = RpcClient::new(&world.harness.rpc_url()).status().await?.height;
        let mut settings = json!({
            "listen": listen, "operator_listen": operator, "public_origin": format!("http://{listen}"), "rpc_url": world.harness.rpc_url(), "public_rpc_url": world.harness.rpc_url(),
            "network_name": "bench", "history_from": history_from, "deployment": world.harness.deployment, "key_file": world.key_file, "data_dir": folder,
            "limits": {"nodes": NODES + JOBS, "requests_per_second": 1_000_000},
        });
        if let Some(postgres) = database {
            let file = folder.join("database");
            fs::write(&file, postgres.address())?;
            settings["database_url_file"] = json!(file);
        }
        fs::write(&config, toml::to_string(&settings)?)?;
        let child = Command::new(program("starling-coordinator")?)
            .arg("--config")
            .arg(&config)
            .env("STARLING_LOG", "warn")
            .stdin(Stdio::null())
            .spawn()
            .context("the coordinator cannot be started")?;
        let coordinator = Self { child, address: listen, operator };
        let started = Instant::now();
        while coordinator.ask("/ready").await.is_err() {
            ensure!(started.elapsed() < Duration::from_secs(120), "the coordinator is not ready");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(coordinator)
    }

    /// Asks the operator's side.
    async fn ask(&self, path: &str) -> Result<String> {
        let mut line = Line::open(&self.operator).await?;
        Ok(String::from_utf8(line.must("GET", path, None, &[]).await?)?)
    }

    fn resident_mb(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no resident memory is told")?;
        Ok(kib.trim().trim_end_matches(" kB").parse::<f64>()? * 1_024.0 / 1e6)
    }

    /// State changes so far, and the commits they took.
    async fn group_counts(&self) -> Result<(f64, f64)> {
        let metrics = self.ask("/metrics").await?;
        let count = |name: &str| -> Result<f64> {
            let line = metrics.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name} among the metrics"))?;
            Ok(line.trim().parse()?)
        };
        Ok((count("starling_db_group_writes_total")?, count("starling_db_group_commits_total")?))
    }

    /// Signs all idle nodes in; they stay, and send signs of life.
    async fn connect(&self, world: &World) -> Result<Idle> {
        let lost = Arc::new(AtomicUsize::new(0));
        let tasks = tokio::task::JoinSet::new();
        let mut idle = Idle { tasks, lost };
        let mut sockets = stream::iter(&world.idle).map(|(node, key)| sign_in(world, &self.address, *node, key)).buffer_unordered(64);
        while let Some((mut socket, _)) = sockets.try_next().await? {
            let lost = idle.lost.clone();
            idle.tasks.spawn(async move {
                let mut beat = tokio::time::interval(Duration::from_millis(HEARTBEAT_MS));
                let mut beats = 0_u8;
                loop {
                    beats = beats.wrapping_add(1);
                    let lives = tokio::select! {
                        _ = beat.tick() => say(&mut socket, &machine(beats)).await.is_ok(),
                        heard = socket.next() => matches!(heard, Some(Ok(_))),
                    };
                    if !lives {
                        lost.fetch_add(1, SeqCst);
                        return;
                    }
                }
            });
        }
        Ok(idle)
    }
}

struct Idle {
    tasks: tokio::task::JoinSet<()>,
    lost: Arc<AtomicUsize>,
}

impl Idle {
    /// Ends the connections; says how many had ended before.
    fn stop(mut self) -> usize {
        self.tasks.abort_all();
        self.lost.load(SeqCst)
    }
}

/// A node's connection.
async fn connect(address: &str) -> Result<Socket> {
    let stream = TcpStream::connect(address).await?;
    let small = WebSocketConfig::default().read_buffer_size(4_096).write_buffer_size(0);
    let url = format!("ws://{address}{}", path::NODE_CONNECT);
    Ok(client_async_with_config(url, stream, Some(small)).await?.0)
}

/// Answers the challenge; gives the connection and its token.
async fn sign_in(world: &World, address: &str, node_id: NodeId, key: &Signer) -> Result<(Socket, String)> {
    let mut socket = connect(address).await?;
    loop {
        match hear(&mut socket).await? {
            ToNode::Challenge { nonce, origin, expires_at } => {
                let hello = NodeHello { node_id, origin, nonce, expires_at };
                let signature = key.sign_bytes(&hello.signing_bytes(&world.domain));
                let greeting =
                    FromNode::Hello { hello, signature, version: "bench".to_owned(), scripts: false, lacks: Vec::new(), data: Vec::new() };
                say(&mut socket, &greeting).await?;
            }
            ToNode::Welcome { token } => return Ok((socket, token)),
            other => anyhow::bail!("the coordinator says {other:?}"),
        }
    }
}

/// What a node with two cards says of its machine; each time another temperature.
fn machine(celsius: u8) -> FromNode {
    let device = |number: u8| json!({ "name": format!("NVIDIA GeForce RTX 4090 {number}"), "temperature_celsius": celsius, "power_watts": 310, "utilisation_percent": 98, "memory_used_mib": 20_480 });
    let state = json!({
        "version": "bench", "work": ["lease 5"], "share_percent": 100, "refusal": null, "devices": [device(0), device(1)], "free_disk_mib": 100_000,
        "limits": ["no device above 83 °C", "1024 MiB of disk stay free"],
    });
    serde_json::from_value(json!({ "say": "machine", "state": state })).expect("a message")
}

async fn say(socket: &mut Socket, message: &FromNode) -> Result<()> {
    Ok(socket.send(Message::text(serde_json::to_string(message)?)).await?)
}

async fn hear(socket: &mut Socket) -> Result<ToNode> {
    loop {
        if let Message::Text(text) = socket.next().await.context("the connection ended")?? {
            return Ok(serde_json::from_str(&text)?);
        }
    }
}

/// Nodes with a lease each, and its meter.
struct Workers {
    go: Vec<mpsc::Sender<Instant>>,
    said: Vec<Said>,
    done: mpsc::Receiver<(usize, Result<Duration>)>,
    ready: VecDeque<usize>,
    tasks: tokio::task::JoinSet<()>,
}

impl Workers {
    async fn start(coordinator: &Coordinator, world: &World) -> Result<Self> {
        let (sender, done) = mpsc::channel(JOBS);
        let (mut workers, mut tasks) = (Vec::new(), tokio::task::JoinSet::new());
        for (place, job) in world.rent(coordinator).await?.into_iter().enumerate() {
            let (mut socket, token) = sign_in(world, &coordinator.address, job.node.id, &job.node.key.signer).await?;
            let mut line = Line::open(&coordinator.address).await?;
            let output = line.put(format!("output of {}", job.lease_id).as_bytes(), &token).await?;
            let opened = hear(&mut socket).await?;
            ensure!(matches!(opened, ToNode::LeaseOpen { lease_id, .. } if lease_id == job.lease_id), "a lease is not served: {opened:?}");
            let (to, due) = mpsc::channel(1);
            let said = Said { job: Arc::new(job), output, domain: world.domain.clone() };
            let worker = Worker { place, said: said.clone(), socket, line, seq: 0 };
            tasks.spawn(worker.work(due, sender.clone()));
            workers.push((to, said));
        }
        tokio::time::sleep(SETTLED).await;
        let (go, said) = workers.into_iter().unzip();
        Ok(Self { go, said, done, ready: (0..JOBS).collect(), tasks })
    }

    /// The same that say the same to a bare queue.
    async fn at(&self, address: &str) -> Result<Self> {
        let (sender, done) = mpsc::channel(JOBS);
        let (mut go, mut tasks) = (Vec::new(), tokio::task::JoinSet::new());
        for (place, said) in self.said.iter().cloned().enumerate() {
            let mut socket = connect(address).await?;
            ensure!(matches!(hear(&mut socket).await?, ToNode::Welcome { .. }), "a bare queue asks nothing");
            let (to, due) = mpsc::channel(1);
            let worker = Worker { place, said, socket, line: Line::open(address).await?, seq: 0 };
            tasks.spawn(worker.work(due, sender.clone()));
            go.push(to);
        }
        Ok(Self { go, said: self.said.clone(), done, ready: (0..JOBS).collect(), tasks })
    }

    /// A thousand dispatches a second, each due at its time whatever became of those before: the 99th percentile of how late they were, in milliseconds.
    async fn paced(&mut self) -> Result<f64> {
        let (mut due, end) = (Instant::now(), Instant::now() + Duration::from_secs(SECONDS));
        let mut late = Vec::new();
        while due < end {
            tokio::time::sleep_until(due.into()).await;
            while let Ok(done) = self.done.try_recv() {
                late.push(self.take(done)?);
            }
            if self.ready.is_empty() {
                let done = self.done.recv().await;
                late.push(self.take(done.context("the workers ended")?)?);
            }
            self.start_next(due).await?;
            due += PACE;
        }
        self.rest(&mut late).await?;
        late.sort_unstable();
        let worst = late.get(late.len() * 99 / 100).context("nothing was dispatched")?;
        Ok(worst.as_secs_f64() * 1e3)
    }

    /// As fast as it goes: dispatches a second, and the seconds.
    async fn flat_out(&mut self) -> Result<(f64, f64)> {
        let (started, mut done) = (Instant::now(), Vec::new());
        while started.elapsed() < Duration::from_secs(SECONDS) {
            while self.ready.len() > JOBS - AT_ONCE {
                self.start_next(Instant::now()).await?;
            }
            let one = self.done.recv().await;
            done.push(self.take(one.context("the workers ended")?)?);
        }
        self.rest(&mut done).await?;
        let seconds = started.elapsed().as_secs_f64();
        Ok((as_f64(done.len()) / seconds, seconds))
    }

    async fn start_next(&mut self, due: Instant) -> Result<()> {
        let place = self.ready.pop_front().context("no worker is ready")?;
        Ok(self.go[place].send(due).await?)
    }

    fn take(&mut self, (place, took): (usize, Result<Duration>)) -> Result<Duration> {
        self.ready.push_back(place);
        took
    }

    async fn rest(&mut self, done: &mut Vec<Duration>) -> Result<()> {
        while self.ready.len() < JOBS {
            let one = self.done.recv().await;
            done.push(self.take(one.context("the workers ended")?)?);
        }
        Ok(())
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.tasks.abort_all();
    }
}

/// What a worker's messages are about.
#[derive(Clone)]
struct Said {
    job: Arc<Job>,
    output: Hash32,
    domain: Domain,
}

struct Worker {
    place: usize,
    said: Said,
    socket: Socket,
    line: Line,
    seq: u64,
}

impl Worker {
    async fn work(mut self, mut due: mpsc::Receiver<Instant>, done: mpsc::Sender<(usize, Result<Duration>)>) {
        loop {
            let next = match self.state().await {
                Ok(statement) => statement,
                Err(error) => return drop(done.send((self.place, Err(error))).await),
            };
            let due = loop {
                tokio::select! {
                    due = due.recv() => match due {
                        Some(due) => break due,
                        None => return,
                    },
                    () = tokio::time::sleep(Duration::from_millis(HEARTBEAT_MS)) => drop(say(&mut self.socket, &FromNode::Alive).await),
                }
            };
            let outcome = self.dispatch(&next).await.map(|()| due.elapsed());
            if done.send((self.place, outcome)).await.is_err() {
                return;
            }
        }
    }

    /// The node states what it did.
    async fn state(&mut self) -> Result<LeaseStatement> {
        self.seq += 1;
        let (Said { job, output, domain }, seq) = (&self.said, self.seq);
        let (escrow_id, lease_id, output) = (job.escrow_id, job.lease_id, *output);
        let statement = LeaseStatement { escrow_id, lease_id, seq, metered_ms: 1_000, units: seq, output, is_final: false };
        let signature = job.node.key.sign(&statement.signing_bytes(domain, Role::Node));
        say(&mut self.socket, &FromNode::Statement { statement: statement.clone(), signature }).await?;
        Ok(statement)
    }

    /// The meter signs, and the node hears of it.
    async fn dispatch(&mut self, statement: &LeaseStatement) -> Result<()> {
        let Said { job, domain, .. } = &self.said;
        let signature = job.meter.sign_bytes(&statement.signing_bytes(domain, Role::Meter));
        let body = json!({"seq": statement.seq, "signature": signature}).to_string();
        let path = path::LEASE_STATEMENT.replace("{lease_id}", &job.lease_id.to_string());
        loop {
            match self.line.ask("POST", &path, None, body.as_bytes()).await? {
                (204, _) => break,
                // Its statement is on the way.
                (404, _) => tokio::time::sleep(Duration::from_millis(2)).await,
                (status, body) => anyhow::bail!("a signature is answered {status}: {}", String::from_utf8_lossy(&body)),
            }
        }
        loop {
            if matches!(hear(&mut self.socket).await?, ToNode::MeterSigned { seq, .. } if seq == statement.seq) {
                return Ok(());
            }
        }
    }
}

/// A connection for requests, one after the other.
struct Line(BufReader<TcpStream>);

impl Line {
    async fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Status and body of the answer.
    async fn ask(&mut self, method: &str, path: &str, token: Option<&str>, body: &[u8]) -> Result<(u16, Vec<u8>)> {
        let token = token.map_or_else(String::new, |token| format!("authorization: Bearer {token}\r\n"));
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: bench\r\n{token}content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.0.write_all(&[head.as_bytes(), body].concat()).await?;
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            ensure!(self.0.read_line(&mut line).await? > 0, "the connection ended");
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(rest) = line.strip_prefix("http/1.1 ") {
                status = rest.split(' ').next().unwrap_or_default().parse()?;
            } else if let Some(bytes) = line.strip_prefix("content-length: ") {
                length = bytes.parse()?;
            } else if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await?;
        Ok((status, body))
    }

    /// The same where only success will do.
    async fn must(&mut self, method: &str, path: &str, token: Option<&str>, body: &[u8]) -> Result<Vec<u8>> {
        let (status, said) = self.ask(method, path, token, body).await?;
        ensure!((200..300).contains(&status), "{method} {path} is answered {status}: {}", String::from_utf8_lossy(&said));
        Ok(said)
    }

    /// An account's session.
    async fn sign_in(&mut self, who: &Actor) -> Result<String> {
        let asked = serde_json::to_vec(&json!({"account_id": who.account}))?;
        let challenge: Challenge = serde_json::from_slice(&self.must("POST", path::LOGIN_CHALLENGE, None, &asked).await?)?;
        let nonce: [u8; 32] = STANDARD.decode(&challenge.nonce)?.try_into().map_err(|_| anyhow::anyhow!("a nonce has 32 bytes"))?;
        let payload = Hash32::sha256(&nep413_bytes(&challenge.message, nonce, &challenge.recipient));
        let signature = who.sign(&payload.0);
        let request = LoginRequest { account_id: who.account.clone(), public_key: who.public_key(), signature, nonce: challenge.nonce };
        let session = self.must("POST", path::LOGIN, None, &serde_json::to_vec(&request)?).await?;
        Ok(serde_json::from_slice::<Session>(&session)?.token)
    }

    /// Uploads an artifact.
    async fn put(&mut self, bytes: &[u8], token: &str) -> Result<Hash32> {
        let hash = Hash32(*blake3::hash(bytes).as_bytes());
        self.must("PUT", &path::ARTIFACT.replace("{hash}", &hash.to_string()), Some(token), bytes).await?;
        Ok(hash)
    }
}

/// The bare queue as a service.
struct BareQueue {
    child: Child,
    address: String,
}

impl Drop for BareQueue {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl BareQueue {
    async fn start(database: &str) -> Result<Self> {
        let address = free_port()?;
        let child = Command::new(program("examples/bare_queue")?).args([database, &address]).stdin(Stdio::null()).spawn()?;
        let queue = Self { child, address };
        let started = Instant::now();
        while TcpStream::connect(&queue.address).await.is_err() {
            ensure!(started.elapsed() < Duration::from_secs(30), "the bare queue does not listen");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(queue)
    }
}

fn free_port() -> Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::current_exe()?.ancestors().nth(2).context("a benchmark lies in target/debug/deps")?.join(name);
    ensure!(path.is_file(), "{} is not built: `cargo xtask bench coordinator` does", path.display());
    Ok(path)
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn as_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}
