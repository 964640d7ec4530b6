//! `starling`: from a wallet to a trained model, on the command line.

mod api;
mod ask;
mod audit;
mod bonds;
mod commands;
mod corpus;
mod delegate;
mod deploy;
mod here;
mod home;
mod job;
mod lease;
mod meter;
mod output;
mod pay;
mod profile;
mod receipt;
mod reclaim;
mod royalties;
mod schedule;
mod standalone;
mod story;
mod train;
mod transfer;
mod up;
mod upgrade;
mod uses;
mod verify;

use clap::{CommandFactory as _, Parser, Subcommand};
use home::Home;
use output::Output;
use profile::Context;
use starling_primitives::{AccountId, Amount, AssetName, EscrowId, Hash32, LeaseId, NodeId, RunId};
use std::{path::PathBuf, process::ExitCode};

#[derive(Parser, Debug)]
#[command(
    name = "starling",
    version,
    about = "Rent GPUs, train models on them together, and publish what comes out: money moves only for proven progress."
)]
struct Cli {
    /// Folder of keys, chain and settings [default: the XDG state folder].
    #[arg(long, global = true, env = "STARLING_HOME")]
    home: Option<PathBuf>,
    /// One JSON object a line instead of text.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Start everything on this machine and train a first model.
    Up(up::UpArgs),
    /// Use a coordinator with an account's key file.
    Login(commands::LoginArgs),
    /// List published models, or show one.
    Models {
        /// PUBLISHER/NAME
        name: Option<AssetName>,
    },
    /// Train a model on a file or folder: over the network, or with `--preset` or `--here` on this machine.
    Train(commands::TrainArgs),
    /// Show the built-in recipes, one of them as a file, or the schema of such files.
    Recipe {
        /// A preset's name or a TOML file.
        name: Option<String>,
        /// Print the JSON Schema of recipe files.
        #[arg(long, conflicts_with = "name")]
        schema: bool,
        /// Write the synthetic data that the preset generates into this file, to try it with.
        #[arg(long, requires = "name")]
        sample: Option<PathBuf>,
    },
    /// Show runs, or one of them.
    Status {
        /// The run's number.
        run: Option<RunId>,
    },
    /// Show what happens in a run.
    Logs {
        /// The run's number.
        run: RunId,
        /// Go on until it ends.
        #[arg(short, long)]
        follow: bool,
    },
    /// Stop a run: what counted stays paid, the rest comes back.
    Stop {
        /// The run's number.
        run: RunId,
    },
    /// Download a run's model, or its last paid checkpoint.
    Pull {
        /// The run's number.
        run: RunId,
        /// Folder to write to.
        #[arg(short, long, default_value = ".")]
        output: PathBuf,
        /// Also everything that `verify --artifacts` needs.
        #[arg(long)]
        proof: bool,
    },
    /// Store a file with the coordinator; what breaks off goes on where it was.
    Upload {
        /// Which file.
        file: PathBuf,
    },
    /// Fetch an artifact that you own, bought or may work with.
    Download {
        /// Its BLAKE3 hash.
        hash: Hash32,
        /// Where to write it.
        #[arg(short, long)]
        output: PathBuf,
    },
    /// Rent a node to continue a text.
    Generate(ask::GenerateArgs),
    /// Rent a node to sort texts or a table's rows with a model's classes.
    Sort(ask::SortArgs),
    /// Run a script or notebook of yours on a rented node.
    Job(job::JobArgs),
    /// Run a script, or train, at a time or again and again by a cron line, within a budget.
    Schedule(schedule::ScheduleArgs),
    /// Recompute a run from the chain and its artifacts (state roots, shares, fee, refund), or check a saved receipt without a network.
    Verify {
        /// The run's number.
        #[arg(required_unless_present = "receipt")]
        run: Option<RunId>,
        /// Folder that `pull --proof` wrote, instead of the coordinator.
        #[arg(long, requires = "run")]
        artifacts: Option<PathBuf>,
        /// A receipt that the dashboard saved, instead of a run.
        #[arg(long, conflicts_with = "run")]
        receipt: Option<PathBuf>,
        /// Also ask the chain whether it told what is in the receipt.
        #[arg(long, requires = "receipt")]
        on_chain: bool,
    },
    /// Have a node's share of a round made again on this machine, from the checkpoint that the node shows, and compare what comes out bit for bit.
    Audit {
        /// The run's number; nodes keep their last checkpoints until it ends.
        run: RunId,
        /// The round, counted from 1; the last one when left out.
        #[arg(long)]
        round: Option<u32>,
        /// The node; a random one of those whose work was accepted when left out.
        #[arg(long)]
        node: Option<NodeId>,
        /// Folder for all that anyone needs to make the share again; without it only what deviates is kept.
        #[arg(long)]
        keep: Option<PathBuf>,
    },
    /// Pay for metered uses of a model or tool, each good for one lease.
    Use(uses::UseArgs),
    /// Show what is due to you of works that are made from yours by more than two.
    Royalties {
        /// Take it to your balance in billing.
        #[arg(long)]
        take: bool,
    },
    /// Co-sign as a delegate for the leases whose payments name your key: a service for tenants who cannot keep a program open.
    Meter(delegate::MeterArgs),
    /// Free escrows over the chain alone, coordinator and nodes gone.
    Reclaim {
        /// The escrow's number; all of yours when left out.
        escrow: Option<EscrowId>,
        /// Accept the result of what waits for it, instead of waiting.
        #[arg(long)]
        acknowledge: bool,
    },
    /// Send the balance in billing to the account.
    Withdraw {
        /// How many NEAR; all when left out.
        #[arg(value_parser = Amount::parse_near)]
        near: Option<Amount>,
    },
    /// Deploy the four contracts to a NEAR network.
    Deploy {
        /// TOML file that describes the network.
        #[arg(long)]
        network: PathBuf,
        /// Folder with the built contracts.
        #[arg(long, default_value = "target/contracts")]
        contracts: PathBuf,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// Replace the code of deployed contracts: approved by their owner, eight days later by anyone.
    Upgrade(upgrade::UpgradeArgs),
    /// Serve an embedded NEAR chain by itself.
    Chain(standalone::ChainArgs),
    /// List a provider's bonds: what lies in them, what is set aside for leases, what broken promises paid.
    Bonds {
        /// Whose; the account's own when left out.
        provider: Option<AccountId>,
    },
    /// Ask on chain whether the node of your lease answers: it must within the time that its offer promised, or its bond pays you.
    Ping {
        /// The lease's number.
        lease: LeaseId,
        /// Do not wait for the answer.
        #[arg(long)]
        no_wait: bool,
    },
    /// Claim what a broken promise of a lease pays; anyone may, and it goes to the tenant.
    Claim {
        /// The lease's number.
        lease: LeaseId,
    },
    /// Run the provider's program.
    #[command(disable_help_flag = true)]
    Node {
        /// Its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Print completions for a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::try_from_env("STARLING_LOG").unwrap_or_else(|_| "warn".into()))
        .init();
    let cli = Cli::parse();
    let out = Output::new(cli.json);
    match run(cli, out).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if out.is_json() {
                out.say("error", &serde_json::json!({ "message": format!("{error:#}") }), "");
            } else {
                eprintln!("starling: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli, out: Output) -> anyhow::Result<()> {
    if let Command::Completions { shell } = cli.command {
        clap_complete::generate(shell, &mut Cli::command(), "starling", &mut std::io::stdout());
        return Ok(());
    }
    let home = Home::new(cli.home)?;
    let open = || Context::open(&home);
    match cli.command {
        Command::Up(args) => up::up(&home, &args, out).await,
        Command::Login(args) => commands::login(&home, &args, out).await,
        Command::Models { name } => commands::models(&open()?, name.as_ref(), out).await,
        Command::Train(args) if args.here || args.preset.is_some() => here::train(&args, out).await,
        Command::Train(args) => commands::train(&open()?, &args, out).await,
        Command::Recipe { name: Some(name), sample: Some(file), .. } => here::write_sample(&name, &file).await,
        Command::Recipe { name, schema, .. } => here::show_recipe(name.as_deref(), schema, out),
        Command::Status { run } => commands::status(&open()?, run, out).await,
        Command::Logs { run, follow } => commands::logs(&open()?, run, follow, out).await,
        Command::Stop { run } => commands::stop(&open()?, run, out).await,
        Command::Pull { run, output, proof } => commands::pull(&open()?, run, &output, proof, out).await.map(|_: Hash32| ()),
        Command::Upload { file } => transfer::upload(&open()?, &file, out).await,
        Command::Download { hash, output } => transfer::download(&open()?, hash, &output, out).await,
        Command::Generate(args) => ask::generate(&open()?, &args, out).await,
        Command::Sort(args) => ask::sort(&open()?, &args, out).await,
        Command::Job(args) => job::job(open, &args, out).await,
        Command::Schedule(args) => schedule::schedule(&home, open, &args, out).await,
        Command::Verify { receipt: Some(path), on_chain, .. } => {
            let chain = if on_chain { Some(open()?) } else { None };
            receipt::verify(&path, chain.as_ref(), out).await.map(|_| ())
        }
        Command::Verify { run: Some(run), artifacts, .. } => commands::verify(&open()?, run, artifacts, out).await,
        Command::Verify { .. } => anyhow::bail!("name a run, or a --receipt"),
        Command::Audit { run, round, node, keep } => audit::audit(&open()?, run, round, node, keep.as_deref(), out).await,
        Command::Use(args) => uses::buy(&open()?, &args, out).await,
        Command::Royalties { take } => royalties::royalties(&open()?, take, out).await,
        Command::Meter(args) => delegate::meter(&open()?, &args, out).await,
        Command::Reclaim { escrow, acknowledge } => reclaim::reclaim(&open()?, escrow, acknowledge, out).await,
        Command::Withdraw { near } => reclaim::withdraw(&open()?, near, out).await,
        Command::Deploy { network, contracts, yes } => deploy::deploy_to_network(&network, &contracts, yes, out).await.map(|_| ()),
        Command::Upgrade(args) => upgrade::upgrade(&args, out).await,
        Command::Chain(args) => standalone::serve_chain(&home, &args, out).await,
        Command::Bonds { provider } => bonds::bonds(&open()?, provider, out).await,
        Command::Ping { lease, no_wait } => bonds::ping(&open()?, lease, !no_wait, out).await,
        Command::Claim { lease } => bonds::claim(&open()?, lease, out).await,
        Command::Node { args } => commands::node(&args),
        Command::Completions { .. } => Ok(()),
    }
}
