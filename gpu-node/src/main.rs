//! `gpu-node`: the provider's program. It dials out, works within its owner's limits, and is paid for what others signed too.

mod artifact;
mod audit;
mod board;
mod chain;
mod config;
mod control;
mod doctor;
mod engine;
mod files;
mod here;
mod metrics;
mod own_data;
mod pace;
mod probe;
mod script;
mod session;
mod setup;
mod trainer;
mod unit;
mod work;

use anyhow::{Context as _, Result, bail};
use chain::Chain;
use clap::{Parser, Subcommand};
use config::NodeConfig;
use starling_contract_api::rpc::{RpcClient, Signer};
use starling_primitives::{AccountId, Amount, DurationMs};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::{mpsc, watch};

/// The pools of matrix products and of element-wise work read these when they start.
const THREAD_VARIABLES: [&str; 2] = ["RAYON_NUM_THREADS", "CANDLE_NUM_THREADS"];
/// How long a killed process may take to end.
const LAST_BREATH: Duration = Duration::from_secs(10);

/// Rents out this machine: trains shares of runs and serves leases, paid in NEAR.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Order,
}

#[derive(Subcommand)]
enum Order {
    /// Make this machine a node: key, registration, stake, offer, configuration. Repeated, it completes what is missing.
    Setup(SetupArguments),
    /// Work.
    Run(ConfigArgument),
    /// Show how the running node stands: work, limits, temperatures, earnings, what the machine was measured to do.
    Status {
        #[command(flatten)]
        config: ConfigArgument,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Checkpoint what is under way, give it back, and rest until `resume`, over restarts too.
    Pause(ConfigArgument),
    /// Work again after `pause` or `drain`.
    Resume(ConfigArgument),
    /// Finish what is under way, take nothing new, then end.
    Drain(ConfigArgument),
    /// Print a systemd unit for this node.
    Unit {
        #[command(flatten)]
        config: ConfigArgument,
        /// The system's user that runs it.
        #[arg(long, default_value = "starling")]
        user: String,
    },
    /// Train a recipe on this machine alone, without network or pay, and write a report.
    Train(here::TrainArguments),
    /// Make a share of a round again from what its node showed, and say whether that gives what the node committed to.
    Audit(audit::AuditArguments),
    /// Write the synthetic data that a preset generates, to try the preset with.
    Sample {
        /// A preset's name.
        #[arg(long)]
        recipe: String,
        /// The file.
        #[arg(long)]
        output: PathBuf,
    },
    /// Measure this machine and print what it can do, as JSON.
    Probe {
        /// Threads that work may use.
        #[arg(long, default_value_t = probe::threads(), value_parser = clap::value_parser!(u16).range(1..=1024))]
        threads: u16,
    },
    /// Look at all that the node needs, and say how to mend what is wrong.
    Doctor {
        #[command(flatten)]
        config: ConfigArgument,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Args)]
struct ConfigArgument {
    /// The configuration that `setup` wrote [default: node.toml in the default folder of `setup`].
    #[arg(long, env = "STARLING_NODE_CONFIG")]
    config: Option<PathBuf>,
}

impl ConfigArgument {
    fn path(&self) -> Result<PathBuf> {
        let path = match &self.config {
            Some(path) => path.clone(),
            None => default_home()?.join("node.toml"),
        };
        std::path::absolute(&path).with_context(|| format!("{} is no path", path.display()))
    }

    fn read(&self) -> Result<NodeConfig> {
        Ok(NodeConfig::read(&self.path()?, |name| std::env::var(name).ok())?)
    }
}

/// Where a node lives unless its owner says otherwise.
fn default_home() -> Result<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let state = state.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")));
    Ok(state.context("neither XDG_STATE_HOME nor HOME is set: give --config, or --home with setup")?.join("starling/node"))
}

#[derive(clap::Args)]
struct SetupArguments {
    /// Origin of the coordinator, such as `https://starling.example`.
    #[arg(long)]
    coordinator: String,
    /// JSON-RPC of the chain.
    #[arg(long)]
    rpc: String,
    /// A PEM file of an authority that is trusted besides the public ones, where coordinator or RPC have a private certificate.
    #[arg(long)]
    ca: Option<PathBuf>,
    /// The provider's full-access key, a NEAR credential file; used by this command only.
    #[arg(long)]
    provider_key: PathBuf,
    /// Who is paid; the provider when left out.
    #[arg(long)]
    payout: Option<AccountId>,
    /// The node's folder [default: starling/node in the XDG state folder].
    #[arg(long)]
    home: Option<PathBuf>,
    /// Threads that work may use.
    #[arg(long, default_value_t = probe::threads(), value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Memory that work may use, in MiB; all of it when left out.
    #[arg(long)]
    memory_mib: Option<u64>,
    /// NEAR for a million accepted tokens.
    #[arg(long, default_value = "0.5", value_parser = Amount::parse_near)]
    price_per_million_tokens: Amount,
    /// NEAR for an hour.
    #[arg(long, default_value = "0.6", value_parser = Amount::parse_near)]
    price_per_hour: Amount,
    /// Hours in which a tenant whose meter is a delegate may object to what the delegate signed; 0 takes only tenants who sign themselves, and is paid at once.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=setup::MAX_OBJECTION_HOURS))]
    objection_hours: u64,
    /// Let tenants' scripts run in this machine's sandbox; `gpu-node doctor` says whether it can.
    #[arg(long)]
    scripts: bool,
    /// NEAR to stake; the least that is asked for when left out.
    #[arg(long, value_parser = Amount::parse_near)]
    stake: Option<Amount>,
    #[command(flatten)]
    sla: SlaArguments,
}

/// What the offer promises: 0 NEAR promises nothing, and nothing can be lost.
#[derive(clap::Args)]
#[command(next_help_heading = "Promise")]
struct SlaArguments {
    /// NEAR to put down as a bond behind the offer; 0 promises nothing. It stays yours: what no promise was broken for comes back seven days after you ask for closing.
    #[arg(long, default_value = "0", value_parser = Amount::parse_near)]
    sla_bond: Amount,
    /// NEAR out of the bond that a broken promise pays the tenant, once for a lease; half of the bond when left out.
    #[arg(long, value_parser = Amount::parse_near, requires = "sla_bond")]
    sla_pays: Option<Amount>,
    /// Work units an hour (of a generation: tokens) that every lease gets at least; 0 promises no speed. A lease that turns out slower is given back before it costs the bond.
    #[arg(long, default_value_t = 0, requires = "sla_bond")]
    sla_units_per_hour: u64,
    /// Minutes in which this machine answers when a tenant asks on chain whether it lives. A machine that is off for longer while it is rented loses the payment above.
    #[arg(long, default_value_t = 10, requires = "sla_bond", value_parser = clap::value_parser!(u64).range(1..=1_440))]
    sla_answer_minutes: u64,
}

impl SlaArguments {
    fn promise(&self) -> Result<Option<setup::Promise>> {
        if self.sla_bond.is_zero() {
            return Ok(None);
        }
        let pays = match self.sla_pays {
            Some(pays) => pays,
            None => self.sla_bond.mul_div_floor(1, 2)?,
        };
        if pays > self.sla_bond {
            bail!("a broken promise cannot pay {} out of a bond of {}: lower --sla-pays", pays.exact_near(), self.sla_bond.exact_near());
        }
        let answer_time = DurationMs::from_secs(self.sla_answer_minutes.saturating_mul(60));
        Ok(Some(setup::Promise { bond: self.sla_bond, pays, units_per_hour: self.sla_units_per_hour, answer_time }))
    }
}

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", in_words(&error));
            ExitCode::FAILURE
        }
    }
}

/// The error and its causes, none said twice.
fn in_words(error: &anyhow::Error) -> String {
    error.chain().map(ToString::to_string).fold(String::new(), |words, cause| match words.as_str() {
        "" => cause,
        words if words.contains(&cause) => words.to_owned(),
        words => format!("{words}: {cause}"),
    })
}

fn start() -> Result<()> {
    let arguments = Arguments::parse();
    let threads = match &arguments.command {
        Order::Setup(setup) => setup.threads,
        Order::Probe { threads } => *threads,
        Order::Train(train) => train.threads,
        Order::Audit(audit) => audit.threads,
        Order::Run(config) | Order::Doctor { config, .. } => config.read()?.threads,
        // These compute nothing.
        Order::Status { .. } | Order::Pause(_) | Order::Resume(_) | Order::Drain(_) | Order::Unit { .. } | Order::Sample { .. } => 1,
    };
    with_threads(threads)?;
    let filter = tracing_subscriber::EnvFilter::try_from_env("STARLING_LOG").unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let ansi = std::io::IsTerminal::is_terminal(&std::io::stderr());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(ansi).with_target(false).init();
    // The trainer has a thread of its own; one more carries messages.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).max_blocking_threads(4).enable_all().build()?;
    runtime.block_on(obey(arguments.command))
}

/// Starts this program again with the pools' sizes and the allocator's settings in its environment, unless they are there: all are read once.
fn with_threads(threads: u16) -> Result<()> {
    let threads = threads.to_string();
    let wanted = THREAD_VARIABLES.map(|variable| (variable, threads.as_str())).into_iter().chain(starling_training::ONE_HEAP);
    if wanted.clone().all(|(variable, value)| std::env::var(variable).is_ok_and(|found| found == value)) {
        return Ok(());
    }
    let mut command = Command::new(std::env::current_exe().context("this program's own file is not known")?);
    command.args(std::env::args_os().skip(1)).envs(wanted);
    start_again(command)
}

#[cfg(unix)]
fn start_again(mut command: Command) -> Result<()> {
    // Returns only when it fails; the process keeps its number and its parent.
    Err(std::os::unix::process::CommandExt::exec(&mut command)).context("this program could not be started again with its thread limit")
}

#[cfg(not(unix))]
fn start_again(mut command: Command) -> Result<()> {
    let status = command.status().context("this program could not be started again with its thread limit")?;
    std::process::exit(status.code().unwrap_or(1));
}

async fn obey(order: Order) -> Result<()> {
    match order {
        Order::Setup(arguments) => set_up(arguments).await,
        Order::Run(config) => run(&config).await,
        Order::Status { config, json } => give(&config, control::Order::Status, json).await,
        Order::Pause(config) => give(&config, control::Order::Pause, false).await,
        Order::Resume(config) => give(&config, control::Order::Resume, false).await,
        Order::Drain(config) => give(&config, control::Order::Drain, false).await,
        Order::Unit { config, user } => {
            let (path, program) = (config.path()?, std::env::current_exe()?);
            let data_dir = config.read()?.data_dir;
            print!("{}", unit::Unit { program: &program, config: &path, data_dir: &data_dir, user: &user });
            Ok(())
        }
        Order::Sample { recipe, output } => here::write_sample(&recipe, &output),
        Order::Train(arguments) => tokio::task::spawn_blocking(move || here::train_here(&arguments)).await?,
        Order::Audit(arguments) => tokio::task::spawn_blocking(move || audit::audit(&arguments)).await?,
        Order::Probe { threads } => {
            let capability = tokio::task::spawn_blocking(move || probe::probe(threads, None)).await??;
            println!("{}", serde_json::to_string_pretty(&capability)?);
            Ok(())
        }
        Order::Doctor { config, json } => doctor(&config, json).await,
    }
}

async fn set_up(arguments: SetupArguments) -> Result<()> {
    let setup = setup::Setup {
        coordinator: arguments.coordinator,
        rpc_url: arguments.rpc,
        ca_file: arguments.ca,
        provider_key: arguments.provider_key,
        payout: arguments.payout,
        home: arguments.home.map_or_else(default_home, Ok)?,
        threads: arguments.threads,
        memory_limit_bytes: arguments.memory_mib.map(|mib| mib.saturating_mul(1 << 20)),
        price_per_million_tokens: arguments.price_per_million_tokens,
        price_per_hour: arguments.price_per_hour,
        objection_window: DurationMs::from_hours(arguments.objection_hours),
        stake: arguments.stake,
        promise: arguments.sla.promise()?,
        scripts: arguments.scripts,
    };
    let config = setup::set_up(&setup).await?;
    println!("This machine is a node. Limits stand in {}. Start it with: gpu-node run --config {}", config.display(), config.display());
    Ok(())
}

/// Gives an order to the running node and shows how it stands then.
async fn give(config: &ConfigArgument, order: control::Order, json: bool) -> Result<()> {
    let status = control::ask(&config.read()?.data_dir, order).await?;
    if json {
        println!("{}", serde_json::to_string_pretty(&status)?);
    } else {
        print!("{}", control::in_words(&status));
    }
    Ok(())
}

async fn run(config: &ConfigArgument) -> Result<()> {
    let config = config.read()?;
    let signer = Signer::from_file(&config.key_file)?;
    fs::create_dir_all(&config.data_dir).with_context(|| format!("the folder {} cannot be made", config.data_dir.display()))?;
    let _only_one = lock(&config.data_dir).await?;
    let memory = probe::memory_bytes().context("the system does not tell how much memory it has: set memory_limit_bytes")?;
    let roots = config.roots()?;
    let chain = Chain::new(RpcClient::with_http(&config.rpc_url, roots.http()), config.deployment.clone(), config.node_id, signer);
    let (token, token_seen) = watch::channel(None);
    let (reports, reports_seen) = mpsc::channel(work::REPORTS);
    let (stop, stopped) = watch::channel(false);
    let orders = pace::Orders { paused: control::was_paused(&config.data_dir), draining: false };
    let pace = pace::Pace::new(config.limits.clone(), orders);
    pace::watch(&pace, config.sensors())?;
    let socket = control::listen(&config.data_dir).context("the control socket cannot be made")?;
    let metrics = match config.metrics_address {
        Some(address) => Some(metrics::listen(address).await.with_context(|| format!("metrics_address {address} cannot be used"))?),
        None => None,
    };
    let context = work::Context::open(config, roots, chain, memory, pace, token_seen, reports)?;
    tracing::info!(node_id = %context.config.node_id, threads = context.config.threads, "the node starts");
    tokio::spawn(async move {
        wait_for_signal().await;
        tracing::info!("stopping; work under way goes on at the next start");
        stop.send_replace(true);
    });
    let context = Arc::new(context);
    tokio::spawn(work::keep_promises(context.clone()));
    tokio::spawn(control::serve(context.clone(), socket));
    tokio::spawn(probe::keep_measured(context.clone()));
    if let Some(listener) = metrics {
        tokio::spawn(metrics::serve(context.clone(), listener));
    }
    session::run(context, reports_seen, token, stopped).await?;
    Ok(())
}

/// Two processes on one data folder would spoil it. The lock goes with the process, however it ends; one that was killed may take
/// a moment to give its memory back, and holds the lock until then.
async fn lock(data_dir: &Path) -> Result<fs::File> {
    let file = fs::File::create(data_dir.join("lock"))?;
    let begun = Instant::now();
    while file.try_lock().is_err() {
        if begun.elapsed() > LAST_BREATH {
            bail!("another gpu-node works in {}: stop it, or set another data_dir", data_dir.display());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(file)
}

async fn wait_for_signal() {
    #[cfg(unix)]
    if let Ok(mut terminate) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
        return;
    }
    drop(tokio::signal::ctrl_c().await);
}

async fn doctor(config: &ConfigArgument, json: bool) -> Result<()> {
    let findings = doctor::examine(&config.read()?).await;
    let wrong = findings.iter().filter(|finding| finding.outcome.is_err()).count();
    if json {
        let list: Vec<_> = findings.iter().map(|finding| serde_json::json!({"subject": finding.subject, "ok": finding.outcome.is_ok(), "words": finding.outcome.as_ref().unwrap_or_else(|mend| mend)})).collect();
        println!("{}", serde_json::to_string_pretty(&list)?);
    } else {
        for finding in &findings {
            match &finding.outcome {
                Ok(words) => println!("ok     {:<13} {words}", finding.subject),
                Err(words) => println!("WRONG  {:<13} {words}", finding.subject),
            }
        }
    }
    if wrong > 0 {
        bail!("{wrong} of {} things are wrong", findings.len());
    }
    Ok(())
}
