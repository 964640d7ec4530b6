//! The owner's line to the running node: a socket that only its owner may open, one order and one answer in JSON on each connection.

use crate::{pace::Shown, probe::Measured, work::Context};
use serde::{Deserialize, Serialize};
use starling_limits::Limits;
use starling_primitives::{AccountId, Amount, NodeId, TimestampMs};
use std::{
    io,
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
};

/// An order is a word.
const MAX_ORDER_BYTES: u64 = 1_024;
/// A status of many devices and tasks.
const MAX_ANSWER_BYTES: u64 = 1 << 20;
/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the chain may take to tell a balance.
const CHAIN_TIME: Duration = Duration::from_secs(5);

/// What an owner can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// Tell how things stand.
    Status,
    /// Checkpoint, hand over, rest.
    Pause,
    /// Work again.
    Resume,
    /// Finish what is under way, then end.
    Drain,
}

/// How a node stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Its number.
    pub(crate) node_id: NodeId,
    /// Program version.
    pub(crate) version: String,
    /// Since when it runs.
    pub(crate) started_at: TimestampMs,
    /// Whether the coordinator hears it.
    pub(crate) connected: bool,
    /// Tasks under way.
    pub(crate) work: Vec<String>,
    /// What work may do, orders and readings.
    pub(crate) pace: Shown,
    /// The owner's limits.
    pub(crate) limits: Limits,
    /// What it did since its folder was made.
    pub(crate) tally: Tally,
    /// The account that is paid and its balance in `billing`; nothing while the chain does not answer.
    pub(crate) payout: Option<(AccountId, Amount)>,
    /// What the machine was measured to do.
    pub(crate) measured: Option<Measured>,
}

/// Work done, over restarts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    /// Round records signed after checking them.
    pub(crate) rounds_signed: u64,
    /// Shares of rounds committed to.
    pub(crate) rounds_trained: u64,
    /// Inner steps made while an update was on its way.
    #[serde(default)]
    pub(crate) steps_ahead: u64,
    /// Leases served to an end.
    pub(crate) leases: u64,
    /// Metered time that tenants' meters signed, in milliseconds.
    pub(crate) metered_ms: u64,
    /// What that time earns by the leases' prices, before the fee.
    pub(crate) metered_pay: Amount,
    /// Times that work was handed over because of a limit or an order.
    pub(crate) handed_over: u64,
}

fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("control")
}

fn socket(data_dir: &Path) -> PathBuf {
    folder(data_dir).join("socket")
}

/// Listens below the data folder; the folder and the socket are its owner's alone.
pub(crate) fn listen(data_dir: &Path) -> io::Result<UnixListener> {
    let folder = folder(data_dir);
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o700))?;
    let socket = socket(data_dir);
    // The lock of the data folder is held: what lies here is of a process that is gone.
    crate::files::remove_if_there(&socket)?;
    let listener = UnixListener::bind(&socket)?;
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers orders for as long as the program runs.
pub(crate) async fn serve(context: Arc<Context>, listener: UnixListener) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let context = context.clone();
                tokio::spawn(async move {
                    if let Ok(Err(error)) = tokio::time::timeout(PATIENCE, answer(&context, stream)).await {
                        tracing::debug!(%error, "an order was not understood or its answer not taken");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "the control socket takes no connection");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

async fn answer(context: &Context, mut stream: UnixStream) -> io::Result<()> {
    let (read, mut write) = stream.split();
    let mut line = String::new();
    BufReader::new(read.take(MAX_ORDER_BYTES)).read_line(&mut line).await?;
    let order: Order = serde_json::from_str(&line)?;
    obey(context, order)?;
    let mut answer = serde_json::to_vec(&status(context).await)?;
    answer.push(b'\n');
    write.write_all(&answer).await
}

fn obey(context: &Context, order: Order) -> io::Result<()> {
    let orders = match order {
        Order::Status => return Ok(()),
        Order::Pause => context.pace.order(|orders| orders.paused = true),
        Order::Resume => context.pace.order(|orders| *orders = Default::default()),
        Order::Drain => context.pace.order(|orders| orders.draining = true),
    };
    tracing::info!(paused = orders.paused, draining = orders.draining, "the owner gave an order");
    save_paused(&context.config.data_dir, orders.paused)
}

async fn status(context: &Context) -> Status {
    let payout = tokio::time::timeout(CHAIN_TIME, context.chain.payout()).await.ok().and_then(Result::ok);
    let (connected, work) = context.board.shown();
    Status {
        node_id: context.config.node_id,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: context.board.started_at,
        connected,
        work,
        pace: context.pace.shown(),
        limits: context.config.limits.clone(),
        tally: context.tally(),
        payout,
        measured: crate::probe::last(&context.config.data_dir),
    }
}

fn paused_file(data_dir: &Path) -> PathBuf {
    data_dir.join("paused")
}

/// Whether the owner paused the node before it was started.
pub(crate) fn was_paused(data_dir: &Path) -> bool {
    paused_file(data_dir).exists()
}

fn save_paused(data_dir: &Path, paused: bool) -> io::Result<()> {
    if paused { crate::files::write_atomic(&paused_file(data_dir), b"") } else { crate::files::remove_if_there(&paused_file(data_dir)) }
}

/// Gives an order to the node that runs on this data folder.
pub(crate) async fn ask(data_dir: &Path, order: Order) -> anyhow::Result<Status> {
    use anyhow::Context as _;
    let socket = socket(data_dir);
    let stream = UnixStream::connect(&socket).await;
    let mut stream = stream.with_context(|| format!("no node answers at {}: is it running, and are you its owner?", socket.display()))?;
    let mut text = serde_json::to_vec(&order)?;
    text.push(b'\n');
    stream.write_all(&text).await?;
    let mut answer = String::new();
    let read = tokio::time::timeout(PATIENCE, BufReader::new(stream.take(MAX_ANSWER_BYTES)).read_line(&mut answer)).await;
    read.context("the node does not answer")??;
    serde_json::from_str(&answer).context("the node's answer is of another version of this program")
}

/// A status for people.
pub(crate) fn in_words(status: &Status) -> String {
    let mut text = String::new();
    let pace = match status.pace.action.share() {
        Some(share) => format!("{} ({} % of the time)", status.pace.action.name(), share.as_percent()),
        None => "rests".to_owned(),
    };
    let connected = if status.connected { "connected" } else { "not connected" };
    let mut line = |name: &str, words: &str| text.push_str(&format!("{name:<12} {words}\n"));
    line("node", &format!("{} ({connected}, version {})", status.node_id, status.version));
    line("work", &if status.work.is_empty() { "nothing under way".to_owned() } else { status.work.join(", ") });
    line("pace", &pace);
    if let Some(reason) = status.pace.action.refusal() {
        line("why", &reason.to_string());
    }
    for limit in status.limits.words() {
        line("limit", &limit);
    }
    for device in status.pace.readings.iter().flat_map(|readings| &readings.devices) {
        line("device", &device_in_words(device));
    }
    if let Some(readings) = &status.pace.readings {
        let free = readings.free_disk_mib.map_or_else(|| "not known".to_owned(), |mib| format!("{mib} MiB free"));
        line("disk", &free);
        line(
            "others",
            &readings.others_percent.map_or_else(|| "not known".to_owned(), |percent| format!("use {percent} % of the processor")),
        );
    }
    let Tally { rounds_signed, rounds_trained, steps_ahead: _, leases, metered_ms, metered_pay, handed_over } = status.tally;
    line(
        "done",
        &format!("{rounds_trained} shares trained, {rounds_signed} rounds signed, {leases} leases, {handed_over} times handed over"),
    );
    line("metered", &format!("{} s, which earn {} before the fee", metered_ms / 1_000, metered_pay.display_near()));
    match &status.payout {
        Some((account, balance)) => line("paid to", &format!("{account}, which has {} in billing", balance.display_near())),
        None => line("paid to", "the chain does not answer"),
    }
    match &status.measured {
        Some(measured) => measured.lines().iter().for_each(|(name, words)| line(name, words)),
        None => line("measured", "not yet"),
    }
    text
}

fn device_in_words(device: &starling_limits::Device) -> String {
    let figure = |figure: Option<u64>, unit: &str| figure.map_or_else(|| format!("? {unit}"), |figure| format!("{figure} {unit}"));
    format!(
        "{}: {}, {}, {}",
        device.name,
        figure(device.temperature_celsius.map(u64::from), "degrees"),
        figure(device.power_watts.map(u64::from), "W"),
        figure(device.utilisation_percent.map(u64::from), "% busy")
    )
}
