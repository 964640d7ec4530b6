//! The first job of `up`: train on real text, then say what came out and check every figure.

use super::UpArgs;
use crate::{
    api::Api,
    corpus::{Corpus, CorpusSize, corpus_for, corpus_from_crates},
    output::Output,
    profile::Context,
    train::{TrainOptions, Trained, Watched, acknowledge, start, watch},
    verify::{Verified, verify},
};
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use starling_http_api::{
    path,
    run::{Base, Baselines, Findings, RoundView, RunResult},
};
use starling_primitives::Amount;
use starling_rounds::recipe::Recipe;
use std::{
    path::Path,
    time::{Duration, Instant},
};

/// What a million accepted tokens may cost in the first job: the price that the nodes of `up` ask.
const PRICE_MILLINEAR: u64 = 500;
/// Fewer accepted rounds than this are no proof of anything.
const MIN_ROUNDS: u32 = 10;
/// Rounds of which a share is made again before they are signed, of a hundred.
const AUDIT_PERCENT: u8 = 10;

/// A job whose input was read and checked.
pub(super) struct Job {
    recipe: Recipe,
    corpus: Corpus,
}

/// A recipe by a preset's name or from a file.
pub(crate) fn recipe(name_or_file: &str) -> Result<Recipe> {
    if Recipe::is_preset(name_or_file) {
        return Ok(Recipe::preset(name_or_file)?);
    }
    let text = std::fs::read_to_string(name_or_file).with_context(|| {
        format!("{name_or_file} is neither a preset ({}) nor a file that can be read", Recipe::preset_names().join(", "))
    })?;
    Recipe::from_toml(&text).with_context(|| format!("the recipe {name_or_file} is wrong"))
}

impl Job {
    pub(super) fn prepare(args: &UpArgs, out: Output) -> Result<Self> {
        let recipe = recipe(&args.recipe)?;
        let corpus = match &args.data {
            Some(path) => corpus_for(&recipe, path)?,
            None if recipe.model.classes().is_some() => {
                bail!("a {} with classes needs data: name its file with --data", recipe.model.kind())
            }
            None => corpus_from_crates(Path::new("."), CorpusSize::default())?,
        };
        out.say(
            "corpus",
            &json!({"hash": corpus.hash(), "train_bytes": corpus.train.len(), "held_out_bytes": corpus.held_out.len(), "sources": corpus.train_sources.len()}),
            &format!(
                "Text: {} bytes from {} sources to train on, {} bytes from {} others held out. Hash {}",
                corpus.train.len(),
                corpus.train_sources.len(),
                corpus.held_out.len(),
                corpus.held_out_sources.len(),
                corpus.hash()
            ),
        );
        Ok(Self { recipe, corpus })
    }

    /// Trains, acknowledges, verifies and sums up; whether everything held.
    pub(super) async fn run(self, context: &Context, nodes: u16, started: Instant, out: Output) -> Result<bool> {
        let api = Api::of(context)?;
        let options = TrainOptions {
            recipe: self.recipe,
            fit: false,
            corpus: self.corpus,
            base: Base::Fresh,
            min_nodes: nodes.min(2),
            max_nodes: nodes,
            price_per_million_tokens: Amount::from_millinear(PRICE_MILLINEAR),
            acknowledge: true,
        };
        let (run_id, escrow_id) = start(context, &api, &options, out).await?;
        let watched = Watched { started, patience: options.recipe.evaluation.patience, audit_percent: AUDIT_PERCENT };
        let trained = watch(context, &api, run_id, escrow_id, &watched, out).await?;
        if options.acknowledge && trained.caught.is_none() {
            acknowledge(context, escrow_id, out).await?;
        }
        let rounds: Vec<RoundView> = api.get(&path::fill(path::RUN_ROUNDS, &[&run_id])).await?;
        let verified = verify(context, &api, &rounds, run_id).await.context("the run could not be verified")?;
        Ok(summary(&trained, &verified, started.elapsed(), out))
    }
}

fn summary(trained: &Trained, verified: &Verified, elapsed: Duration, out: Output) -> bool {
    let claims = claims(trained, verified);
    let result = trained.view.result.as_ref();
    let training_seconds = trained.training_time.as_secs_f64();
    let rate = if training_seconds > 0.0 { Some(verified_tokens(verified) / training_seconds) } else { None };
    out.say(
        "summary",
        &json!({
            "run_id": trained.run_id, "escrow_id": trained.escrow_id, "result": result, "verified": verified, "bytes_exchanged": trained.view.bytes_exchanged, "tokens_per_second": rate,
            "first_loss_after_ms": trained.first_loss_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX)),
            "training_seconds": training_seconds, "elapsed_seconds": elapsed.as_secs_f64(),
            "claims": claims.iter().map(|(claim, held)| json!({"claim": claim, "held": held})).collect::<Vec<_>>(),
        }),
        &text(trained, verified, result, rate, elapsed),
    );
    for (claim, held) in &claims {
        out.note(&format!("  {} {claim}", if *held { "held    " } else { "NOT HELD" }));
    }
    claims.iter().all(|(_, held)| *held)
}

/// What the summary claims, each with whether it held.
fn claims(trained: &Trained, verified: &Verified) -> Vec<(String, bool)> {
    let result = trained.view.result.as_ref();
    let paid = verified.paid.iter().map(|(_, amount)| amount.0).sum::<u128>();
    let mut claims = vec![
        (format!("{MIN_ROUNDS} rounds at least were accepted and paid for"), verified.rounds >= MIN_ROUNDS),
        (
            "paid, fee, refund sum to what was escrowed, to the yocto".to_owned(),
            paid + verified.fee.0 + verified.refunded.0 == verified.deposited.0 && verified.pending.is_zero(),
        ),
        ("every state root was recomputed from the artifacts".to_owned(), verified.state_root == trained.view.run.state_root),
        (
            format!("a node's share of {} of the rounds was made again here, and gave the same bytes", trained.audited),
            trained.caught.is_none(),
        ),
        ("the model was made from that state root".to_owned(), result.is_some_and(|result| result.state_root == verified.state_root)),
        ("the loss on held-out data fell".to_owned(), result.is_some_and(|result| result.held_out.1.bits < result.held_out.0.bits)),
    ];
    if let Some(RunResult { findings: Findings::Text { baselines, .. }, held_out: (_, after), .. }) = result {
        claims.push(("held-out bits per byte are below the Kneser-Ney bigram model's".to_owned(), after.bits < baselines.bigram));
    }
    claims
}

fn verified_tokens(verified: &Verified) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let tokens = verified.accepted_tokens as f64;
    tokens
}

fn text(trained: &Trained, verified: &Verified, result: Option<&RunResult>, rate: Option<f64>, elapsed: Duration) -> String {
    let mut lines = vec![String::new(), format!("Run {}: {}", trained.run_id, trained.view.sentence)];
    if let Some(result) = result {
        lines.push(format!("  held out               {} before, {} after", result.held_out.0.words(), result.held_out.1.words()));
        match &result.findings {
            Findings::Text { baselines: Baselines { uniform, bigram, trigram }, .. } => {
                lines.push(format!("    for comparison         uniform {uniform:.3}, Kneser-Ney bigram {bigram:.3}, trigram {trigram:.3}"));
            }
            Findings::Classes(figures) => lines.push(format!("    of {} examples        {}", figures.examples, figures.words())),
            Findings::Masked => {}
        }
    }
    let rate = rate.map_or_else(String::new, |rate| format!(", {rate:.0} tokens/s"));
    lines.push(format!(
        "  accepted               {} rounds, {} tokens{rate}, {} bytes exchanged",
        verified.rounds, verified.accepted_tokens, trained.view.bytes_exchanged
    ));
    lines.push(format!("  escrowed               {}", verified.deposited.exact_near()));
    for (account, amount) in &verified.paid {
        lines.push(format!("    paid to {:<24} {}", account.as_str(), amount.exact_near()));
    }
    lines.push(format!("    fee                      {}", verified.fee.exact_near()));
    lines.push(format!("    refunded                 {}", verified.refunded.exact_near()));
    lines.push(format!("  state root             {} (equal on all nodes, recomputed here)", verified.state_root));
    if let Some(result) = result {
        lines.push(format!("  model                  {} ({} bytes)", result.model, result.model_bytes));
        if let Findings::Text { sample, .. } = &result.findings {
            lines.push("  sample".to_owned());
            lines.extend(sample.lines().take(12).map(|line| format!("    | {line}")));
        }
    }
    let first = trained.first_loss_after.map_or_else(String::new, |after| format!("first loss after {:.1} s, ", after.as_secs_f64()));
    lines.push(format!(
        "  time                   {first}training {:.0} s, all {:.0} s",
        trained.training_time.as_secs_f64(),
        elapsed.as_secs_f64()
    ));
    lines.join("\n")
}
