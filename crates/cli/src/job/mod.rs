//! `starling job`: a script from a folder to its outputs, on a rented node.

pub(crate) mod follow;
pub(crate) mod prepare;
pub(crate) mod receive;
pub(crate) mod rent;

use crate::{
    api::Api,
    output::Output,
    profile::Context,
    train::{acknowledge, now},
};
use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, Subcommand};
use serde_json::json;
use starling_contract_api::rpc::Signer;
use starling_http_api::job::{Exit, JobSpec};
use starling_primitives::{Amount, OfferId};
use starling_scripts::EXAMPLE;
use std::{
    fs,
    path::{Path, PathBuf},
};

#[derive(Args, Debug)]
pub(crate) struct JobArgs {
    #[command(subcommand)]
    order: Order,
}

#[derive(Subcommand, Debug)]
enum Order {
    /// Run a folder, an archive, one file or a notebook on a rented node, and download what it wrote to outputs/.
    Run(RunArgs),
    /// Show what is in an upload and what would be run; nothing is sent.
    Check {
        /// Folder, archive, script or notebook.
        path: PathBuf,
        #[command(flatten)]
        what: prepare::What,
    },
    /// Write an example: a regression on a CSV.
    Example {
        /// Folder, made if it is not there.
        folder: PathBuf,
    },
}

#[derive(Args, Debug)]
struct RunArgs {
    /// Folder, archive, script or notebook.
    path: PathBuf,
    #[command(flatten)]
    what: prepare::What,
    /// The most NEAR that it may cost, instead of the job file's.
    #[arg(long, value_parser = Amount::parse_near)]
    max_price: Option<Amount>,
    /// The most hours that it may take, setting up included, instead of the job file's minutes.
    #[arg(long)]
    hours: Option<f64>,
    /// Take this offer instead of the cheapest that fits.
    #[arg(long)]
    offer: Option<OfferId>,
    /// Folder for log, metrics and outputs [default: starling-job-LEASE].
    #[arg(short, long)]
    output: Option<PathBuf>,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
}

pub(crate) async fn job(context: impl FnOnce() -> Result<Context>, args: &JobArgs, out: Output) -> Result<()> {
    match &args.order {
        Order::Run(args) => run(&context()?, args, out).await,
        Order::Check { path, what } => prepare::Prepared::read(path, what, out).map(|prepared| prepared.show(out)),
        Order::Example { folder } => example(folder, out),
    }
}

fn example(folder: &Path, out: Output) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("the folder {} cannot be made", folder.display()))?;
    for (name, text) in EXAMPLE {
        let path = folder.join(name);
        ensure!(!path.exists(), "{} is there already: nothing was replaced. Choose another folder", path.display());
        fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    let line = format!("{} holds an example. `starling job run {}` runs it.", folder.display(), folder.display());
    out.say("example", &json!({ "folder": folder }), &line);
    Ok(())
}

async fn run(context: &Context, args: &RunArgs, out: Output) -> Result<()> {
    let prepared = prepare::Prepared::read(&args.path, &args.what, out)?;
    prepared.show(out);
    context.check_network().await?;
    let api = Api::of(context)?;
    let wish = rent::wish(&prepared.job, args.max_price, args.hours, args.offer)?;
    let choice = rent::choose(context, &api, &wish).await?;
    out.say(
        "quote",
        &json!({"quote": choice.quote, "node_id": choice.offer.node_id, "minutes": choice.duration.0 / 60_000}),
        &choice.words(),
    );
    if !args.yes && !prepared.confirm(out)? {
        bail!("nothing was sent and nothing was paid");
    }
    let script = prepared.upload(&api, out).await?;
    let job = api.upload(&serde_json::to_vec(&JobSpec::Script(script))?).await?;
    let meter = Signer::generate(context.signer.account().clone())?;
    let (lease_id, escrow_id) = rent::pay(context, &choice, job, &meter).await?;
    let folder = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("starling-job-{lease_id}")));
    out.say(
        "paid",
        &json!({"lease_id": lease_id, "escrow_id": escrow_id}),
        &format!("Lease {lease_id} is paid; the node has a minute to accept."),
    );
    let mut receiver = receive::Receiver::new(&folder)?;
    let view = follow::follow(context, &api, &meter, lease_id, &mut receiver, true, out).await?;
    if let Some(failure) = &view.failure {
        bail!("the node could not do it: {failure}. What was not earned is back on your balance");
    }
    let exit = receiver.exit().cloned();
    if exit.is_some() {
        acknowledge(context, escrow_id, out).await?;
    }
    let cost = format!("Cost {} of at most {}.", view.earned.display_near(), view.lease.deposit.display_near());
    let files = receiver.files();
    out.say(
        "job_ended",
        &json!({"lease_id": lease_id, "exit": exit, "folder": folder, "files": files, "earned": view.earned, "metered_ms": view.lease.metered.0}),
        &format!("{} files in {}. {cost}", files.len(), folder.display()),
    );
    ended(exit)
}

/// A script that failed is this command's failure, with the lines that explain it.
fn ended(exit: Option<Exit>) -> Result<()> {
    match exit {
        Some(exit) if exit.reason.is_success() => Ok(()),
        Some(exit) => bail!("{}\n{}\n{}", exit.reason.words(), exit.last_lines.join("\n"), exit.advice),
        None => bail!("the lease ended before the script did; what came until then is downloaded"),
    }
}
