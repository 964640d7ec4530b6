//! `starling generate` and `starling sort`: a node asks a model; each statement is checked and co-signed while one waits.

use crate::{
    api::{Api, Place, unless_away},
    commands::model_of_run,
    lease::sign_waiting,
    output::Output,
    pay::{self, Payment, pay},
    profile::Context,
    train::{acknowledge, now},
};
use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use futures_util::StreamExt as _;
use serde_json::json;
use starling_contract_api::{compute::Purpose, payment::PaymentMsg, rpc::Signer};
use starling_http_api::{
    job::{Classified, Classify, Generate, JobSpec, MAX_PICTURE_BYTES, MAX_PICTURES, MAX_TEXT_BYTES, MAX_TEXTS, PictureFile},
    lease::{LeaseEvent, LeaseView},
    path,
};
use starling_primitives::{Asset, DurationMs, Hash32, LeaseId, RunId};
use starling_protocol::{
    lease::{LeaseState, LeaseTerms},
    price::{HOLDBACK, quote_lease},
};
use std::{fs, path::PathBuf, time::Duration};

/// How long it is waited for any node.
const NODE_WAIT: Duration = Duration::from_secs(15);
/// The wait for a coordinator that is away.
const AWAY: Duration = Duration::from_secs(1);

#[derive(Args, Debug)]
struct AskArgs {
    /// The run whose model is asked.
    #[arg(long, conflicts_with = "model", required_unless_present = "model")]
    run: Option<RunId>,
    /// Or the artifact hash of a model file.
    #[arg(long)]
    model: Option<Hash32>,
    /// The longest time that is paid, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Only offers that are paid in this: near, or nep141:ACCOUNT.
    #[arg(long, default_value = "near")]
    pay_in: Asset,
}

#[derive(Args, Debug)]
pub(crate) struct GenerateArgs {
    #[command(flatten)]
    ask: AskArgs,
    /// Text to continue.
    prompt: String,
    /// How many tokens at most.
    #[arg(long, default_value_t = 200)]
    tokens: u32,
    /// 0 takes the likeliest each time.
    #[arg(long, default_value_t = 0.8)]
    temperature: f32,
    /// Only among so many likeliest; 0 for all.
    #[arg(long, default_value_t = 40)]
    top_k: u32,
    /// Makes it repeatable.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

#[derive(Args, Debug)]
pub(crate) struct SortArgs {
    #[command(flatten)]
    ask: AskArgs,
    /// Texts to sort, or rows of a table: numbers with commas between, in the order of the columns that the model was trained on.
    #[arg(required_unless_present_any = ["file", "picture"])]
    lines: Vec<String>,
    /// A file of them, one a line.
    #[arg(long, conflicts_with = "lines")]
    file: Option<PathBuf>,
    /// A picture to sort, as PNG, PGM or PPM, of the size that the model was trained on; may be given more than once.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["lines", "file"])]
    picture: Vec<PathBuf>,
}

pub(crate) async fn generate(context: &Context, args: &GenerateArgs, out: Output) -> Result<()> {
    let job = |model| {
        JobSpec::Generate(Generate {
            model,
            prompt: args.prompt.clone(),
            max_new_tokens: args.tokens,
            temperature: args.temperature,
            top_k: args.top_k,
            seed: args.seed,
        })
    };
    let view = rent(context, &args.ask, job, true, out).await?;
    out.say("generated", &json!({"lease_id": view.lease.id, "output": view.output, "earned": view.earned}), &format!("\n{}", cost(&view)));
    Ok(())
}

/// Gives each line the likeliest of the model's classes.
pub(crate) async fn sort(context: &Context, args: &SortArgs, out: Output) -> Result<()> {
    let lines: Vec<String> = match &args.file {
        Some(file) => {
            let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            text.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect()
        }
        None => args.lines.clone(),
    };
    let pictures = upload_pictures(context, &args.picture).await?;
    let spec = |model| Classify { model, texts: lines.clone(), pictures: pictures.clone() };
    let asked = spec(Hash32::default());
    ensure!(
        asked.is_within_limits(),
        "1 to {MAX_TEXTS} lines can be sorted at once, none empty, of {MAX_TEXT_BYTES} bytes together at most, or 1 to {MAX_PICTURES} pictures"
    );
    let view = rent(context, &args.ask, |model| JobSpec::Classify(spec(model)), false, out).await?;
    let Classified { classes, probabilities } = serde_json::from_str(&view.output).context("the node's answer is not understood")?;
    let likeliest = |row: &[f64]| row.iter().copied().enumerate().max_by(|left, right| left.1.total_cmp(&right.1));
    for (line, row) in asked.asked().iter().zip(&probabilities) {
        let best = likeliest(row).and_then(|(place, chance)| Some((classes.get(place)?, chance)));
        let (class, chance) = best.context("the node's answer lacks classes")?;
        let percent = 100.0 * chance;
        out.say(
            "sorted",
            &json!({"line": line, "class": class, "classes": classes, "probabilities": row}),
            &format!("{percent:5.1} %  {class}  {line}"),
        );
    }
    out.note(&cost(&view));
    Ok(())
}

/// Brings the pictures' files to the coordinator.
async fn upload_pictures(context: &Context, paths: &[PathBuf]) -> Result<Vec<PictureFile>> {
    ensure!(paths.len() <= MAX_PICTURES, "{MAX_PICTURES} pictures can be sorted at once");
    let (api, mut pictures) = (Api::of(context)?, Vec::with_capacity(paths.len()));
    for path in paths {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(bytes.len() as u64 <= MAX_PICTURE_BYTES, "{} has more than {} MiB", path.display(), MAX_PICTURE_BYTES >> 20);
        pictures.push(PictureFile { name: path.display().to_string(), file: api.upload(&bytes).await? });
    }
    Ok(pictures)
}

fn cost(view: &LeaseView) -> String {
    format!("Cost {} of at most {}.", view.earned.display_near(), view.lease.deposit.display_near())
}

/// Rents the cheapest idle node for a job with the model, sees it through, and accepts what came; `shows` what comes meanwhile.
async fn rent(context: &Context, args: &AskArgs, job: impl Fn(Hash32) -> JobSpec, shows: bool, out: Output) -> Result<LeaseView> {
    context.check_network().await?;
    let api = Api::of(context)?;
    let model = match (args.model, args.run) {
        (Some(model), _) => model,
        (None, Some(run)) => model_of_run(&api, run).await?,
        (None, None) => bail!("name a --run or a --model"),
    };
    let job = job(model);
    let offers = api.offers(NODE_WAIT, |_| true).await?;
    let duration = DurationMs::from_secs(args.seconds);
    let idle = offers.into_iter().filter(|offer| {
        offer.node.busy == "idle"
            && !offer.offer.closed
            && offer.offer.terms.asset == args.pay_in
            && duration >= offer.offer.terms.min_lease
            && duration <= offer.offer.terms.max_lease
    });
    let offer = idle
        .min_by_key(|offer| offer.offer.terms.price_per_hour)
        .with_context(|| {
            format!(
                "no idle node offers that long now for {}: `--seconds` changes the time, `--pay-in` the money, or try again later",
                args.pay_in
            )
        })?
        .offer;
    let meter = Signer::generate(context.signer.account().clone())?;
    let terms = LeaseTerms {
        offer_id: offer.id,
        duration,
        job: api.upload(&serde_json::to_vec(&job)?).await?,
        meter: meter.public_key(),
        availability: DurationMs::from_hours(1),
        delegate: None,
    };
    let quote = quote_lease(offer.terms.price_per_hour, duration, None, context.rpc.view(&context.billing().config()).await?.fee)?;
    out.say(
        "quote",
        &json!(quote),
        &format!("At most {} for {duration} on node {}.", pay::words(&offer.terms.asset, quote.at_most), offer.node_id),
    );
    let target = context.profile.deployment.compute.clone();
    let expires_by = now().after(duration).after(DurationMs::from_hours(48));
    let msg = PaymentMsg::Lease(terms);
    let payment =
        Payment { target, asset: offer.terms.asset.clone(), amount: quote.at_most, msg, expires_by, holdback: HOLDBACK, voucher: None };
    let escrow_id = pay(context, payment).await?;
    let Some(Purpose::Lease(lease_id)) = context.rpc.view(&context.compute().purpose(escrow_id)).await? else {
        bail!("escrow {escrow_id} is open but no lease belongs to it: run `starling reclaim {escrow_id}`");
    };
    let view = follow_lease(context, &api, &meter, lease_id, shows, out).await?;
    if let Some(failure) = view.failure {
        bail!("the node could not do it: {failure}. What was not earned is back on your balance");
    }
    acknowledge(context, escrow_id, out).await?;
    Ok(view)
}

async fn follow_lease(context: &Context, api: &Api, meter: &Signer, lease_id: LeaseId, shows: bool, out: Output) -> Result<LeaseView> {
    let place = Place::start();
    let money = format!("the escrow of lease {lease_id}");
    loop {
        let heard = listen_to_lease(context, api, meter, lease_id, &place, shows && !out.is_json()).await;
        if let Some(view) = unless_away(heard, &money, AWAY, out).await? {
            return Ok(view);
        }
    }
}

/// Takes what comes until it is silent, then signs what waits. Gives the lease once it is closed.
async fn listen_to_lease(
    context: &Context,
    api: &Api,
    meter: &Signer,
    lease_id: LeaseId,
    place: &Place,
    shows: bool,
) -> Result<Option<LeaseView>> {
    let mut events = std::pin::pin!(api.events::<LeaseEvent>(&path::fill(path::LEASE_EVENTS, &[&lease_id]), place).await?);
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_secs(3), events.next()).await {
        match event {
            LeaseEvent::Output { text } if shows => print!("{text}"),
            LeaseEvent::Output { .. } => {}
            // It may be told of one that was signed long ago.
            LeaseEvent::StatementReady { .. } => sign_waiting(context, api, meter, lease_id).await?,
            LeaseEvent::Changed { view } if matches!(view.lease.state, LeaseState::Closed { .. }) => return Ok(Some(*view)),
            LeaseEvent::Changed { .. } | LeaseEvent::Metrics { .. } | LeaseEvent::Setup { .. } => {}
        }
    }
    sign_waiting(context, api, meter, lease_id).await?;
    Ok(None)
}
