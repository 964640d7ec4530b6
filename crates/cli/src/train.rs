//! The tenant's road: upload, prepare, pay, co-sign, watch, acknowledge.

mod watch;

pub(crate) use watch::{Trained, Watched, watch};

use crate::{
    api::Api,
    corpus::Corpus,
    output::Output,
    pay::{Payment, pay},
    profile::Context,
};
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use starling_contract_api::{compute::Purpose, payment::PaymentMsg, rpc::Signer};
use starling_http_api::{
    path,
    problem::Problem,
    run::{Base, PrepareRun, PreparedRun},
};
use starling_primitives::{Amount, DurationMs, EscrowId, Hash32, PublicKey, RunId, TimestampMs};
use starling_protocol::price::HOLDBACK;
use starling_rounds::{artifact_hash, recipe::Recipe};
use std::{
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

/// How long nodes are waited for before a run is prepared.
const NODE_WAIT: Duration = Duration::from_secs(90);

/// What to train.
pub(crate) struct TrainOptions {
    pub(crate) recipe: Recipe,
    /// Whether columns, channels and classes of its model follow the data: of a preset, which says nothing of them.
    pub(crate) fit: bool,
    pub(crate) corpus: Corpus,
    pub(crate) base: Base,
    pub(crate) min_nodes: u16,
    pub(crate) max_nodes: u16,
    pub(crate) price_per_million_tokens: Amount,
    /// Whether the result is acknowledged as soon as it was checked.
    pub(crate) acknowledge: bool,
}

/// Uploads, prepares and pays; gives the run.
pub(crate) async fn start(context: &Context, api: &Api, options: &TrainOptions, out: Output) -> Result<(RunId, EscrowId)> {
    context.check_network().await?;
    let meter = Signer::generate(context.signer.account().clone())?;
    let prepared = prepare(context, api, options, &meter, out).await?;
    let escrow_id = pay(context, payment(context, &prepared)).await?;
    let run_id = run_of(context, escrow_id).await?;
    out.say("paid", &json!({"run_id": run_id, "escrow_id": escrow_id}), &format!("Paid into escrow {escrow_id}. This is run {run_id}."));
    Ok((run_id, escrow_id))
}

/// Uploads the data and has the coordinator prepare the run; keeps the key that co-signs it.
pub(crate) async fn prepare(context: &Context, api: &Api, options: &TrainOptions, meter: &Signer, out: Output) -> Result<PreparedRun> {
    let data = api.upload(&options.corpus.train).await.context("the training data could not be uploaded")?;
    let held_out = if options.corpus.held_out.is_empty() {
        None
    } else {
        Some(api.upload(&options.corpus.held_out).await.context("the held-out data could not be uploaded")?)
    };
    let request = PrepareRun {
        recipe: options.recipe.to_toml()?,
        fit: options.fit,
        data,
        held_out,
        base: options.base.clone(),
        max_nodes: options.max_nodes,
        min_nodes: options.min_nodes,
        price_per_million_tokens: options.price_per_million_tokens,
        meter: meter.public_key(),
        // The recipe says it.
        federated: None,
        overlap: false,
    };
    let prepared = ask(api, &request, options.recipe.data.federated.as_deref(), options.max_nodes, out).await?;
    let recipe = if options.fit { fitted(api, &options.recipe, prepared.terms.recipe, out).await? } else { options.recipe.clone() };
    compare(&request, &recipe, &prepared)?;
    // Kept before the money moves: without this key nobody can co-sign the run.
    let key_file = key_file(context, &meter.public_key());
    std::fs::create_dir_all(key_file.parent().context("a key file needs a folder")?)?;
    if !key_file.exists() {
        meter.write_file(&key_file)?;
    }
    out.say(
        "quote",
        &json!({"at_most": prepared.quote.at_most, "fee_at_most": prepared.quote.fee_at_most, "nodes": prepared.willing_nodes}),
        &format!(
            "Quote: at most {} for {} rounds on {} nodes ({} parameters); of it at most {} fee, and a tenth waits for your acknowledgement. What is not earned comes back.",
            prepared.quote.at_most.display_near(),
            prepared.terms.rounds,
            prepared.terms.max_nodes,
            prepared.parameters,
            prepared.quote.fee_at_most.display_near()
        ),
    );
    Ok(prepared)
}

/// The recipe with columns, channels and classes of the one that a node made of it: nothing else of that counts.
async fn fitted(api: &Api, recipe: &Recipe, made: Hash32, out: Output) -> Result<Recipe> {
    if recipe.model.classes().is_none() {
        return Ok(recipe.clone());
    }
    let bytes = api.download(made).await.context("the recipe that was made of the data could not be read")?;
    let made = Recipe::from_json(&String::from_utf8_lossy(&bytes)).context("the recipe that was made of the data is wrong")?;
    let fitted = Recipe { model: recipe.model.for_data(made.model.inputs(), made.model.classes()), ..recipe.clone() }.validated()?;
    if fitted.model != recipe.model {
        let inputs = fitted.model.inputs().map_or_else(String::new, |inputs| format!("{inputs} columns or channels and "));
        let classes = fitted.model.classes().unwrap_or_default();
        out.note(&format!("{} is fitted to the data: {inputs}{classes} classes.", recipe.name));
    }
    Ok(fitted)
}

/// Refuses terms that are not what was asked for: a node made them, and they are paid as they stand.
fn compare(asked: &PrepareRun, recipe: &Recipe, prepared: &PreparedRun) -> Result<()> {
    let (mut recipe, terms) = (recipe.clone(), &prepared.terms);
    if let Base::Model { model, .. } = &asked.base {
        recipe.name_frozen(*model);
    }
    let same = [
        ("recipe", terms.recipe == artifact_hash(recipe.canonical_json().as_bytes())),
        ("number of rounds", terms.rounds == recipe.rounds),
        ("number of tokens", terms.tokens_per_round == recipe.plan()?.assigned_tokens()),
    ];
    let other = same.into_iter().find(|(_, same)| !same).map(|(what, _)| what);
    match prepared.deviation(asked).or(other) {
        Some(what) => bail!("the run was prepared with another {what} than was asked for. Nothing was paid; ask again, or elsewhere"),
        None => Ok(()),
    }
}

/// What is to be paid for a prepared run.
pub(crate) fn payment(context: &Context, prepared: &PreparedRun) -> Payment {
    Payment {
        target: context.profile.deployment.compute.clone(),
        asset: prepared.terms.asset.clone(),
        amount: prepared.quote.at_most,
        msg: PaymentMsg::Run(prepared.terms.clone()),
        expires_by: prepared.terms.expires_at(now()).after(DurationMs::from_hours(1)),
        holdback: HOLDBACK,
        voucher: None,
    }
}

/// The run that an escrow pays.
pub(crate) async fn run_of(context: &Context, escrow_id: EscrowId) -> Result<RunId> {
    match context.rpc.view(&context.compute().purpose(escrow_id)).await? {
        Some(Purpose::Run(run_id)) => Ok(run_id),
        _ => bail!("escrow {escrow_id} is open but no run belongs to it: run `starling reclaim {escrow_id}`"),
    }
}

fn key_file(context: &Context, key: &PublicKey) -> PathBuf {
    context.home.meter_key(&key.to_string().replace("ed25519:", ""))
}

/// Asks for the run's terms until as many nodes as are wanted take them, or patience ends.
async fn ask(api: &Api, request: &PrepareRun, kept: Option<&str>, wanted: u16, out: Output) -> Result<PreparedRun> {
    let spinner = out.spinner("waiting for nodes");
    let started = Instant::now();
    loop {
        let answer: Result<PreparedRun> = api.post(path::PREPARE_RUN, request).await;
        let patient = started.elapsed() < NODE_WAIT;
        match answer {
            Ok(prepared) if prepared.willing_nodes.len() >= usize::from(wanted) || !patient => {
                spinner.finish_and_clear();
                if prepared.willing_nodes.len() < usize::from(request.min_nodes) {
                    let (willing, least) = (prepared.willing_nodes.len(), request.min_nodes);
                    let kept = kept.map_or_else(String::new, |name| format!(" and keep data called {name}"));
                    bail!(
                        "{willing} of at least {least} nodes take this price{kept}. Nothing was paid. Raise --price or lower --min-nodes"
                    );
                }
                return Ok(prepared);
            }
            Err(error) if !(patient && error.downcast_ref::<Problem>().is_some_and(|problem| problem.code == "no_nodes_connected")) => {
                return Err(error);
            }
            Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }
}

/// The time by this machine's clock.
pub(crate) fn now() -> TimestampMs {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    TimestampMs(millis(since))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Acknowledges a result: the tenth that was held back is earned. Nothing is sent when nothing waits.
pub(crate) async fn acknowledge(context: &Context, escrow_id: EscrowId, out: Output) -> Result<()> {
    let waits = context.rpc.view(&context.billing().escrow(escrow_id)).await?.is_some_and(|view| !view.pending.is_zero());
    if !waits {
        out.note("Nothing was held back: there is nothing to acknowledge.");
        return Ok(());
    }
    context.rpc.call(&context.signer, &context.billing().acknowledge(escrow_id)).await?;
    out.say("acknowledged", &json!({"escrow_id": escrow_id}), "Result acknowledged: what was held back is earned.");
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;
    use starling_primitives::{Asset, BasisPoints, Hash32, NodeId};
    use starling_protocol::{price::quote_run, run::RunTerms};
    use starling_rounds::recipe::AdapterRecipe;

    type Change = fn(&mut RunTerms);

    /// A request for a run of adapters, its recipe, and an honest answer.
    fn prepared() -> (PrepareRun, Recipe, PreparedRun) {
        let mut recipe = Recipe::preset("tiny").unwrap();
        recipe.adapter = AdapterRecipe::usual(&recipe.model, 8);
        let [data, held_out, model, base] = [1, 2, 3, 4].map(|byte| Hash32([byte; 32]));
        let asked = PrepareRun {
            recipe: recipe.to_toml().unwrap(),
            fit: false,
            data,
            held_out: Some(held_out),
            base: Base::Model { model, name: None },
            max_nodes: 3,
            min_nodes: 2,
            price_per_million_tokens: Amount::from_near(1),
            meter: PublicKey([5; 32]),
            federated: None,
            overlap: false,
        };
        let mut named = recipe.clone();
        named.adapter.as_mut().unwrap().base = Some(model);
        let terms = RunTerms {
            recipe: artifact_hash(named.canonical_json().as_bytes()),
            data,
            held_out,
            base,
            base_root: base,
            rounds: recipe.rounds,
            min_nodes: 2,
            max_nodes: 3,
            tokens_per_round: 640,
            price_per_million_tokens: Amount::from_near(1),
            enroll_time: DurationMs::from_secs(60),
            round_time: DurationMs::from_secs(300),
            meter: asked.meter,
            availability: DurationMs::from_hours(24),
            invited: Vec::new(),
            asset: Asset::Near,
            delegate: None,
            objection_window: DurationMs(0),
        };
        let quote = quote_run(&terms, BasisPoints::new(100).unwrap()).unwrap();
        let prepared = PreparedRun { terms, quote, parameters: 1, memory_bytes: 1, willing_nodes: Vec::new(), expected_duration: None };
        (asked, recipe, prepared)
    }

    #[test]
    fn compare__should_refuse_terms_that_nobody_asked_for() {
        let (asked, recipe, honest) = prepared();
        compare(&asked, &recipe, &honest).unwrap();
        let changes: [(&str, Change); 11] = [
            ("recipe", |terms| terms.recipe = Hash32([9; 32])),
            ("data", |terms| terms.data = Hash32([9; 32])),
            ("data", |terms| terms.held_out = Hash32([9; 32])),
            ("number of rounds", |terms| terms.rounds += 1),
            ("number of tokens", |terms| terms.tokens_per_round *= 2),
            ("number of nodes", |terms| terms.max_nodes = 4),
            ("number of nodes", |terms| terms.min_nodes = 1),
            ("choice of nodes", |terms| terms.invited = vec![NodeId(1)]),
            ("key that signs", |terms| terms.meter = PublicKey([6; 32])),
            ("price", |terms| terms.price_per_million_tokens = Amount::from_near(2)),
            ("price", |terms| terms.asset = "nep141:usdt.near".parse().unwrap()),
        ];
        for (what, change) in changes {
            let mut other = honest.clone();
            change(&mut other.terms);
            let refused = compare(&asked, &recipe, &other).unwrap_err().to_string();
            assert!(refused.contains(&format!("another {what} than")), "{what}: {refused}");
        }
    }
}
