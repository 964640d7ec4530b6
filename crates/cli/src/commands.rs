//! The smaller commands: login, models, train, status, logs, stop, pull, verify, node.

use crate::{
    api::{Api, Place},
    corpus::corpus_for,
    home::{Home, write_atomically},
    output::Output,
    profile::{Context, Profile},
    royalties::pages,
    train::{TrainOptions, Watched, acknowledge, start, watch},
    verify::{Artifacts as _, Folder},
};
use anyhow::{Context as _, Result, bail};
use clap::Args;
use futures_util::StreamExt as _;
use serde_json::json;
use starling_contract_api::{hub::MAX_LISTINGS_PAGE, rpc::Signer};
use starling_http_api::{
    path,
    run::{Base, RoundView, RunEvent, RunView},
};
use starling_primitives::{Amount, AssetName, Hash32, RunId};
use starling_protocol::{
    listing::{Listing, Version},
    run::RunState,
};
use starling_rounds::recipe::{AdapterRecipe, Recipe};
use starling_tls::Roots;
use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

#[derive(Args, Debug)]
pub(crate) struct LoginArgs {
    /// The coordinator's address.
    #[arg(long)]
    coordinator: String,
    /// The account's NEAR credential file.
    #[arg(long)]
    key_file: PathBuf,
    /// A PEM file of an authority that is trusted besides the public ones, where coordinator or RPC have a private certificate.
    #[arg(long)]
    ca: Option<PathBuf>,
}

#[derive(Args, Debug)]
pub(crate) struct TrainArgs {
    /// File or folder with the data; with `--preset` or `--here` it may be left out where the recipe has its own.
    #[arg(required_unless_present_any = ["preset", "here"])]
    pub(crate) data: Option<PathBuf>,
    /// A preset's name or a TOML file.
    #[arg(long, default_value = "rust-small")]
    pub(crate) recipe: String,
    /// Train this preset on this machine alone, without network or pay: `starling recipe` lists them.
    #[arg(long, conflicts_with = "recipe")]
    pub(crate) preset: Option<String>,
    /// Train the recipe on this machine alone.
    #[arg(long)]
    pub(crate) here: bool,
    /// Where a training on this machine puts model and report [default: starling-NAME].
    #[arg(short, long)]
    pub(crate) output: Option<PathBuf>,
    /// A model.safetensors that a training on this machine starts from, or puts adapters on.
    #[arg(long)]
    pub(crate) base: Option<PathBuf>,
    /// Start from a published model that you may use, instead of fresh weights.
    #[arg(long)]
    pub(crate) from: Option<AssetName>,
    /// Start from the model that a run of yours gave.
    #[arg(long, conflicts_with_all = ["from", "here", "preset"])]
    from_run: Option<RunId>,
    /// Train adapters of this rank on the model that the run starts from, whose weights stay as they are.
    #[arg(long, value_name = "RANK", conflicts_with_all = ["here", "preset"])]
    adapters: Option<u32>,
    /// Federated: each node trains on the data that its owner keeps under this name; yours is a sample that updates are scored on.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["here", "preset"])]
    federated: Option<String>,
    /// Nodes train on while a part of the model is exchanged, and wait only where that takes longer than half a round.
    #[arg(long, conflicts_with_all = ["here", "preset"])]
    overlap: bool,
    /// Make a node's work again on this machine in so many of a hundred rounds before they are signed. Who is caught is not paid: the run is stopped.
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100), conflicts_with_all = ["here", "preset", "federated"])]
    audit: u8,
    /// At most so many nodes.
    #[arg(long, default_value_t = 3)]
    nodes: u16,
    /// At least so many.
    #[arg(long, default_value_t = 1)]
    min_nodes: u16,
    /// The most NEAR that a million accepted tokens may cost.
    #[arg(long, value_parser = Amount::parse_near, default_value = "0.5")]
    price: Amount,
    /// Do not acknowledge the result at the end: the held-back tenth then waits.
    #[arg(long)]
    no_acknowledge: bool,
}

pub(crate) async fn login(home: &Home, args: &LoginArgs, out: Output) -> Result<()> {
    let signer = Signer::from_file(&args.key_file)?;
    let ca_file =
        args.ca.as_ref().map(|path| path.canonicalize().with_context(|| format!("{} cannot be read", path.display()))).transpose()?;
    let api = Api::new(&args.coordinator, &signer, &Roots::open(ca_file.as_deref())?)?;
    let network = api.network().await?;
    let key_file = args.key_file.canonicalize()?;
    let (rpc_url, deployment) = (network.rpc_url, network.deployment);
    let profile = Profile { coordinator: args.coordinator.clone(), rpc_url, deployment, key_file, ca_file };
    let context = Context::with_profile(home, profile)?;
    context.check_network().await?;
    let _: starling_http_api::login::SessionInfo = api.get(path::SESSION).await?;
    context.profile.save(home)?;
    out.say(
        "logged_in",
        &json!({"account": signer.account(), "chain_id": context.profile.deployment.chain_id}),
        &format!("Logged in as {} on {}.", signer.account(), network.name),
    );
    Ok(())
}

fn api(context: &Context) -> Result<Api> {
    Api::of(context)
}

pub(crate) async fn models(context: &Context, name: Option<&AssetName>, out: Output) -> Result<()> {
    let listings = match name {
        Some(name) => vec![
            context
                .rpc
                .view(&context.hub().listing(name))
                .await?
                .with_context(|| format!("there is no model {name}: `starling models` lists what there is"))?,
        ],
        None => listed(context).await?,
    };
    if listings.is_empty() {
        out.say("empty", &json!({}), "No model is published yet. Train one, then publish it from its run's page.");
    }
    for listing in listings {
        out.say(
            "model",
            &json!(listing),
            &format!("{:<48} {:<12} {}  {}", listing.name.to_string(), listing.licence, listing.price_words(), listing.title),
        );
        if name.is_some() {
            for (index, version) in versions(context, &listing.name).await?.iter().enumerate() {
                out.note(&format!(
                    "  version {}{}",
                    index + 1,
                    if version.note.as_str().is_empty() { String::new() } else { format!(": {}", version.note) }
                ));
                for file in &version.files {
                    out.note(&format!("    {:<24} {} bytes  {}", file.name, file.bytes, file.hash));
                }
            }
        }
    }
    Ok(())
}

/// All models that are on the list.
async fn listed(context: &Context) -> Result<Vec<Listing>> {
    let mut all = pages(context, |from| context.hub().listings(None, from, MAX_LISTINGS_PAGE)).await?;
    all.retain(|listing| !listing.delisted);
    Ok(all)
}

/// All versions of a model.
async fn versions(context: &Context, name: &AssetName) -> Result<Vec<Version>> {
    pages(context, |from| context.hub().versions(name, u32::try_from(from).unwrap_or(u32::MAX), u32::MAX)).await
}

pub(crate) async fn train(context: &Context, args: &TrainArgs, out: Output) -> Result<()> {
    let started = Instant::now();
    let mut recipe = crate::up::job::recipe(&args.recipe)?;
    if let Some(rank) = args.adapters {
        recipe.adapter = AdapterRecipe::usual(&recipe.model, rank);
    }
    if let Some(name) = &args.federated {
        recipe.federate(name);
    }
    if args.overlap {
        recipe.overlap();
    }
    let recipe = recipe.validated()?;
    if args.base.is_some() || args.output.is_some() {
        bail!("--base and --output belong to a training on this machine: add --here, or name a model with --from or --from-run");
    }
    if args.audit > 0 {
        // It makes the work again: better missed now than after the money moved.
        crate::up::sibling("gpu-node")?;
        if let Some(name) = &recipe.data.federated {
            bail!("--audit makes nodes' work again, and what they train on here (`{name}`) stays with them: leave one of the two out");
        }
    }
    let corpus = corpus_for(&recipe, args.data.as_deref().context("name the file or folder to train on")?)?;
    let api = api(context)?;
    let base = match args.from_run {
        Some(run) => Base::Model { model: model_of_run(&api, run).await?, name: None },
        None => base(context, args.from.as_ref()).await?,
    };
    let options = TrainOptions {
        recipe,
        fit: Recipe::is_preset(&args.recipe),
        corpus,
        base,
        min_nodes: args.min_nodes,
        max_nodes: args.nodes,
        price_per_million_tokens: args.price,
        acknowledge: !args.no_acknowledge,
    };
    let (run_id, escrow_id) = start(context, &api, &options, out).await?;
    let watched = Watched { started, patience: options.recipe.evaluation.patience, audit_percent: args.audit };
    let trained = watch(context, &api, run_id, escrow_id, &watched, out).await?;
    out.say(
        "ended",
        &json!({"run_id": run_id, "result": trained.view.result, "checkpoint": trained.view.checkpoint}),
        &format!("Run {run_id}: {}", trained.view.sentence),
    );
    if let Some(caught) = &trained.caught {
        bail!("{caught}. That round was not signed and not paid; what was held back of earlier ones waits for you on the run's page");
    }
    if options.acknowledge && trained.view.result.is_some() {
        acknowledge(context, escrow_id, out).await?;
    }
    out.note(&format!("`starling pull {run_id}` downloads the model, `starling verify {run_id}` checks every figure."));
    Ok(())
}

/// What a run starts from: fresh weights, or the last version of a published model.
pub(crate) async fn base(context: &Context, from: Option<&AssetName>) -> Result<Base> {
    let Some(name) = from else { return Ok(Base::Fresh) };
    let listing = context
        .rpc
        .view(&context.hub().listing(name))
        .await?
        .with_context(|| format!("there is no model {name}: `starling models` lists what there is"))?;
    let files = listing.versions.last().map(|version| version.files.as_slice()).unwrap_or_default();
    let model =
        files.iter().find(|file| file.name.as_str() == "model.safetensors").with_context(|| format!("{name} has no model.safetensors"))?;
    Ok(Base::Model { model: model.hash, name: Some(name.clone()) })
}

/// The model that a run gave.
pub(crate) async fn model_of_run(api: &Api, run: RunId) -> Result<Hash32> {
    let view: RunView = api.get(&path::fill(path::RUN, &[&run])).await?;
    Ok(view.result.with_context(|| format!("run {run} has no model yet"))?.model)
}

pub(crate) async fn status(context: &Context, run: Option<RunId>, out: Output) -> Result<()> {
    let api = api(context)?;
    let views: Vec<RunView> = match run {
        Some(run) => vec![api.get(&path::fill(path::RUN, &[&run])).await.with_context(|| format!("run {run} cannot be shown"))?],
        None => api.get(&format!("{}?tenant={}", path::RUNS, context.signer.account())).await?,
    };
    if views.is_empty() {
        out.say("empty", &json!({}), "No runs yet. `starling train FILE` starts one.");
    }
    for view in views {
        let line = format!(
            "run {:<4} {:<10} round {} of {}   {} of at most {} earned   {}",
            view.run.id,
            view.run.state.name(),
            view.run.rounds_done,
            view.run.terms.rounds,
            view.earned.display_near(),
            view.run.deposit.display_near(),
            view.sentence
        );
        out.say("run", &json!(view), &line);
    }
    Ok(())
}

pub(crate) async fn logs(context: &Context, run: RunId, follow: bool, out: Output) -> Result<()> {
    let api = api(context)?;
    let (path, place) = (path::fill(path::RUN_EVENTS, &[&run]), Place::now());
    loop {
        let mut events = std::pin::pin!(api.events::<RunEvent>(&path, &place).await?);
        while let Ok(Some(event)) = tokio::time::timeout(Duration::from_secs(if follow { 20 } else { 2 }), events.next()).await {
            match event {
                RunEvent::Log { node_id, line, .. } => out.say(
                    "log",
                    &json!({"node_id": node_id, "line": line}),
                    &format!("{}{line}", node_id.map_or_else(String::new, |node| format!("node {node}: "))),
                ),
                RunEvent::Changed { view } if follow && matches!(view.run.state, RunState::Ended { settled: true, .. }) => {
                    out.note(&view.sentence);
                    return Ok(());
                }
                _ => {}
            }
        }
        if !follow {
            return Ok(());
        }
    }
}

pub(crate) async fn stop(context: &Context, run: RunId, out: Output) -> Result<()> {
    context.check_network().await?;
    context.rpc.call(&context.signer, &context.compute().stop_run(run)).await?;
    out.say(
        "stopped",
        &json!({"run_id": run}),
        &format!("Run {run} is stopped. Rounds that counted stay paid; the rest is back on your balance."),
    );
    Ok(())
}

pub(crate) async fn pull(context: &Context, run: RunId, folder: &Path, proof: bool, out: Output) -> Result<Hash32> {
    let api = api(context)?;
    let view: RunView = api.get(&path::fill(path::RUN, &[&run])).await?;
    let (hash, name) = match (&view.result, view.checkpoint) {
        (Some(result), _) => (result.model, "model.safetensors".to_owned()),
        (None, Some(checkpoint)) => (checkpoint, format!("checkpoint-{run}-{}.bin", view.run.rounds_done)),
        (None, None) => bail!("run {run} has nothing to download yet: no round has counted"),
    };
    let target = folder.join(&name);
    let bytes = api.artifact(hash).await?;
    write_atomically(&target, &bytes)?;
    if let Some(result) = &view.result {
        write_atomically(&folder.join("config.json"), &api.artifact(result.config).await?)?;
        if let Some(adapters) = result.adapters {
            write_atomically(&folder.join("adapter_model.safetensors"), &api.artifact(adapters.weights).await?)?;
            write_atomically(&folder.join("adapter_config.json"), &api.artifact(adapters.config).await?)?;
        }
        if let Some(tokenizer) = tokenizer_of(&bytes) {
            write_atomically(&folder.join("tokenizer.json"), tokenizer.as_bytes())?;
        }
    }
    if proof {
        let rounds: Vec<RoundView> = api.get(&path::fill(path::RUN_ROUNDS, &[&run])).await?;
        let counted: Vec<RoundView> = rounds.into_iter().filter(|round| round.round < view.run.rounds_done).collect();
        crate::verify::save(&api, &view.run, &counted, &folder.join("proof")).await?;
    }
    out.say("pulled", &json!({"file": target, "hash": hash}), &format!("{} has the hash {hash}, as published.", target.display()));
    Ok(hash)
}

/// The `tokenizer.json` that the header of a model's file carries where its tokens are not bytes.
fn tokenizer_of(safetensors: &[u8]) -> Option<String> {
    let (length, rest) = safetensors.split_first_chunk::<8>()?;
    let header = rest.get(..usize::try_from(u64::from_le_bytes(*length)).ok()?)?;
    let header: serde_json::Value = serde_json::from_slice(header).ok()?;
    Some(header.get("__metadata__")?.get("starling.tokenizer")?.as_str()?.to_owned())
}

pub(crate) async fn verify(context: &Context, run: RunId, artifacts: Option<PathBuf>, out: Output) -> Result<()> {
    let verified = match artifacts {
        Some(folder) => {
            let list = folder.join("rounds.json");
            let rounds: Vec<RoundView> =
                serde_json::from_slice(&std::fs::read(&list).with_context(|| format!("{} cannot be read", list.display()))?)?;
            crate::verify::verify(context, &Folder(folder), &rounds, run).await?
        }
        None => {
            let api = api(context)?;
            let rounds: Vec<RoundView> = api.get(&path::fill(path::RUN_ROUNDS, &[&run])).await?;
            crate::verify::verify(context, &api, &rounds, run).await?
        }
    };
    let mut lines = vec![
        format!("Run {run}: {} rounds recomputed, every figure is right.", verified.rounds),
        format!("  state root  {}", verified.state_root),
        format!("  escrowed    {}", verified.deposited.exact_near()),
    ];
    lines.extend(verified.paid.iter().map(|(account, amount)| format!("  paid        {}  to {account}", amount.exact_near())));
    lines.push(format!("  fee         {}", verified.fee.exact_near()));
    lines.push(format!("  held back   {}", verified.pending.exact_near()));
    lines.push(format!("  refunded    {}", verified.refunded.exact_near()));
    out.say("verified", &json!(verified), &lines.join("\n"));
    Ok(())
}

/// Becomes the provider's program, so that signals and its exit status are its own.
pub(crate) fn node(args: &[String]) -> Result<()> {
    let program = crate::up::sibling("gpu-node")?;
    let mut command = std::process::Command::new(&program);
    command.args(args);
    become_program(command).with_context(|| format!("{} cannot be started", program.display()))
}

#[cfg(unix)]
fn become_program(mut command: std::process::Command) -> Result<()> {
    // Returns only when it fails.
    Err(std::os::unix::process::CommandExt::exec(&mut command).into())
}

#[cfg(not(unix))]
fn become_program(mut command: std::process::Command) -> Result<()> {
    let status = command.status()?;
    std::process::exit(status.code().unwrap_or(1));
}
