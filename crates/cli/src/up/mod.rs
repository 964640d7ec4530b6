//! `starling up`: the whole of Starling on this machine: chain, contracts, coordinator, nodes, dashboard, wallet, and a first training run.

mod chain;
pub(crate) mod job;
mod processes;
mod wallet;

pub(crate) use chain::keep_time;

use crate::{
    home::Home,
    output::Output,
    profile::{Context, Profile},
};
use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::json;
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Instant,
};

/// The first of three ports that follow one another: dashboard, wallet, chain.
const DEFAULT_PORT: u16 = 8080;
/// More nodes than this are not started on one machine.
const MAX_NODES: u16 = 16;

#[derive(Args, Debug)]
pub(crate) struct UpArgs {
    /// Train on this file or folder instead of the sources of the crates that this program was built from.
    pub(crate) data: Option<PathBuf>,
    /// Exit after the summary; status 0 only if everything it claims held.
    #[arg(long, conflicts_with = "serve")]
    pub(crate) once: bool,
    /// Only serve: start everything, train nothing.
    #[arg(long)]
    pub(crate) serve: bool,
    /// How many node processes.
    #[arg(long, default_value_t = 3)]
    pub(crate) nodes: u16,
    /// The recipe: a preset's name or a TOML file.
    #[arg(long, default_value = "rust-small")]
    pub(crate) recipe: String,
    /// First of three ports (dashboard, wallet, chain); 0 takes free ones.
    #[arg(long, default_value_t = DEFAULT_PORT)]
    pub(crate) port: u16,
    /// Set an older chain in this home aside and start a new one.
    #[arg(long)]
    pub(crate) fresh: bool,
    /// Folder with the built contracts, dashboard and wallet.
    #[arg(long, env = "STARLING_TARGET", default_value = "target")]
    pub(crate) target: PathBuf,
}

/// Everything that runs; ends with it.
struct Running {
    _chain: chain::EmbeddedChain,
    _wallet: wallet::WalletServer,
    processes: processes::Processes,
    context: Context,
    dashboard: String,
    wallet_url: String,
}

/// Starts everything, runs the first job unless told otherwise, and serves until interrupted.
pub(crate) async fn up(home: &Home, args: &UpArgs, out: Output) -> Result<()> {
    let started = Instant::now();
    if args.nodes == 0 || args.nodes > MAX_NODES {
        bail!("--nodes must be 1 to {MAX_NODES}");
    }
    // Wrong input is found before anything starts.
    let job = if args.serve { None } else { Some(job::Job::prepare(args, out)?) };
    let mut running = start(home, args, out).await?;
    let ready =
        json!({"dashboard": running.dashboard, "wallet": running.wallet_url, "rpc": running.context.profile.rpc_url, "home": home.path()});
    out.say(
        "ready",
        &ready,
        &format!("Dashboard: {}   (chain {}, wallet {})", running.dashboard, running.context.profile.rpc_url, running.wallet_url),
    );
    if let Some(job) = job {
        let held = tokio::select! {
            held = job.run(&running.context, args.nodes, started, out) => held?,
            died = running.processes.watch(out) => return Err(died),
            _ = tokio::signal::ctrl_c() => bail!("interrupted; what was paid and not earned can be had back with `starling reclaim`"),
        };
        if args.once {
            if held {
                return Ok(());
            }
            bail!("not everything that the summary claims held");
        }
        out.note(&format!("Dashboard: {}   still serving; Ctrl C ends it.", running.dashboard));
    }
    tokio::select! {
        died = running.processes.watch(out) => Err(died),
        _ = terminated() => Ok(()),
    }
}

async fn start(home: &Home, args: &UpArgs, out: Output) -> Result<Running> {
    let spinner = out.spinner("starting the embedded chain");
    let ports = Ports::choose(args.port);
    let chain = chain::EmbeddedChain::start(home, args, ports.rpc).await?;
    let dashboard_dir = args.target.join("dashboard");
    let wallet = wallet::WalletServer::bind(ports.wallet, args.target.join("wallet")).await?;
    spinner.set_message("starting coordinator and nodes");
    let mut processes = processes::Processes::new(home)?;
    let dashboard = processes.start_coordinator(&chain, &wallet.url(), &dashboard_dir, ports.dashboard).await?;
    wallet.serve(&chain.rpc_url(), &chain.deployment().chain_id, &dashboard);
    let profile = Profile {
        coordinator: dashboard.clone(),
        rpc_url: chain.rpc_url(),
        deployment: chain.deployment().clone(),
        key_file: home.key("tenant.starling"),
        ca_file: None,
    };
    profile.save(home)?;
    processes.start_nodes(&chain, &dashboard, args.nodes, &spinner).await?;
    spinner.finish_and_clear();
    let context = Context::with_profile(home, profile)?;
    Ok(Running { wallet_url: wallet.url(), _chain: chain, _wallet: wallet, processes, context, dashboard })
}

#[derive(Clone, Copy)]
struct Ports {
    dashboard: SocketAddr,
    wallet: SocketAddr,
    rpc: SocketAddr,
}

impl Ports {
    fn choose(first: u16) -> Self {
        let port = |offset: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, if first == 0 { 0 } else { first.saturating_add(offset) }));
        Self { dashboard: port(0), wallet: port(1), rpc: port(2) }
    }
}

/// A port that is taken, in words.
pub(crate) fn port_error(what: &str, address: SocketAddr, error: std::io::Error) -> anyhow::Error {
    if error.kind() == std::io::ErrorKind::AddrInUse {
        return anyhow::anyhow!(
            "the port {} for the {what} is in use: choose others with --port (three in a row), or --port 0 for free ones. Nothing was started",
            address.port()
        );
    }
    anyhow::Error::new(error).context(format!("the {what} cannot listen on {address}"))
}

/// Ends on Ctrl C or SIGTERM.
pub(crate) async fn terminated() {
    let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
}

/// A program that was built beside this one.
pub(crate) fn sibling(name: &str) -> Result<PathBuf> {
    let this = std::env::current_exe().context("this program's own path is unknown")?;
    let path = this.parent().unwrap_or(Path::new(".")).join(name);
    if !path.is_file() {
        bail!("{} is not there: build it with `cargo build`", path.display());
    }
    Ok(path)
}
