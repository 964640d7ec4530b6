//! Runs: lists, views, curves, rounds, and the meter's signature.

use super::{
    App, ListQuery,
    extract::{JsonBody, Path, Query},
};
use crate::{
    board::{pending_statement, run_view},
    clock,
    engine::Command,
    problem::Fault,
};
use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use starling_http_api::run::{Curves, DataKind, ExplainedField, MeterSignature, PendingStatement, RecipePreset, RoundView, RunView};
use starling_primitives::RunId;
use starling_protocol::run::Run;
use starling_rounds::recipe::{AdapterRecipe, BertHead, ModelRecipe, Recipe};
use std::sync::Arc;
use tokio::sync::oneshot;

pub(super) async fn recipes() -> Result<Json<Vec<RecipePreset>>, Fault> {
    let presets = Recipe::preset_names().into_iter().map(Recipe::preset).collect::<Result<Vec<_>, _>>().map_err(Fault::internal)?;
    let shown = |recipe: &Recipe| {
        let tokens_per_round = u32::try_from(recipe.tokens_per_round()).map_err(Fault::internal)?;
        let adapter = AdapterRecipe::usual(&recipe.model, AdapterRecipe::USUAL_RANK);
        let adapting = adapter.map(|adapter| Recipe { adapter: Some(adapter), ..recipe.clone() }.to_toml()).transpose();
        Ok(RecipePreset {
            name: recipe.name.clone(),
            title: title(recipe),
            recipe: recipe.to_toml().map_err(Fault::internal)?,
            adapting: adapting.map_err(Fault::internal)?,
            data: data_kind(&recipe.model),
            parameters: recipe.model.parameter_count(),
            rounds: recipe.rounds,
            tokens_per_round,
            explained: explain(recipe),
        })
    };
    presets.iter().map(shown).collect::<Result<Vec<_>, Fault>>().map(Json)
}

fn data_kind(model: &ModelRecipe) -> DataKind {
    match model {
        ModelRecipe::Perceptron(_) => DataKind::Table,
        ModelRecipe::Convolution(_) => DataKind::Images,
        ModelRecipe::Bert(_) if model.classes().is_some() => DataKind::LabelledTexts,
        ModelRecipe::Gpt(_) | ModelRecipe::Llama(_) | ModelRecipe::Bert(_) => DataKind::Text,
    }
}

fn title(recipe: &Recipe) -> String {
    let of_text = |layers: u32, width: u32, context: u32, vocab: u32| {
        let tokens = if vocab == 256 { "bytes".to_owned() } else { format!("tokens of {vocab}") };
        format!("A language model over {tokens}: {layers} layers, {width} wide, sees {context} of them")
    };
    match &recipe.model {
        ModelRecipe::Gpt(gpt) => of_text(gpt.layers, gpt.width, gpt.context, gpt.vocab),
        ModelRecipe::Llama(llama) => of_text(llama.layers, llama.width, llama.context, llama.vocab),
        ModelRecipe::Bert(bert) => {
            let does = match bert.head {
                BertHead::Classes(classes) => format!("sorts texts into {classes} classes"),
                BertHead::MaskedTokens => "fills in masked tokens".to_owned(),
            };
            format!("An encoder that {does}: {} layers, {} wide, reads {} tokens of {}", bert.layers, bert.width, bert.context, bert.vocab)
        }
        ModelRecipe::Perceptron(perceptron) => {
            format!(
                "A perceptron that sorts the rows of a table: {} columns of numbers, {} classes",
                perceptron.features, perceptron.classes
            )
        }
        ModelRecipe::Convolution(convolution) => {
            let colours = if convolution.channels == 1 { "grey" } else { "colour" };
            format!("A convolutional net that sorts {colours} images into {} classes", convolution.classes)
        }
    }
}

fn explain(recipe: &Recipe) -> Vec<ExplainedField> {
    let (optimizer, schedule, outer) = (&recipe.optimizer, &recipe.schedule, &recipe.outer);
    let field = |field: &str, value: String, meaning: &str| ExplainedField { field: field.to_owned(), value, meaning: meaning.to_owned() };
    let of_text = |layers: u32, heads: u32, width: u32, context: u32, vocab: u32| {
        vec![
            field("model.layers", layers.to_string(), "Transformer blocks."),
            field("model.heads", heads.to_string(), "Attention heads of each block."),
            field("model.width", width.to_string(), "Numbers that stand for each token inside the model."),
            field("model.context", context.to_string(), "Tokens that the model sees at once."),
            field("model.vocab", vocab.to_string(), "Different tokens: 256 are the bytes, more are learnt from the training text."),
        ]
    };
    let of_model = match &recipe.model {
        ModelRecipe::Gpt(gpt) => of_text(gpt.layers, gpt.heads, gpt.width, gpt.context, gpt.vocab),
        ModelRecipe::Llama(llama) => of_text(llama.layers, llama.heads, llama.width, llama.context, llama.vocab),
        ModelRecipe::Bert(bert) => {
            let mut fields = of_text(bert.layers, bert.heads, bert.width, bert.context, bert.vocab);
            if let BertHead::Classes(classes) = bert.head {
                fields.push(field("model.head.classes", classes.to_string(), "Different labels in the data."));
            }
            fields
        }
        ModelRecipe::Perceptron(perceptron) => vec![
            field("model.features", perceptron.features.to_string(), "Columns of numbers in the table, besides the label."),
            field("model.hidden", format!("{:?}", perceptron.hidden), "Width of each hidden layer."),
            field("model.classes", perceptron.classes.to_string(), "Different labels in the table."),
        ],
        ModelRecipe::Convolution(convolution) => vec![
            field("model.channels", convolution.channels.to_string(), "1 for grey images, 3 for colours."),
            field("model.stages", format!("{:?}", convolution.stages), "Channels of each stage, which halves the image."),
            field("model.classes", convolution.classes.to_string(), "Folders of images."),
        ],
    };
    let of_method = [
        field("seed", recipe.seed.to_string(), "Fixes the first weights and which examples each step reads."),
        field("rounds", recipe.rounds.to_string(), "How often the nodes' work is merged, checked and paid."),
        field("inner_steps_per_round", recipe.inner_steps_per_round.to_string(), "Steps that each node makes between two merges."),
        field("batch", recipe.batch.to_string(), "Pieces of text, rows or images in one step."),
        field("clip_norm", recipe.clip_norm.to_string(), "Longer gradients are shortened to this."),
    ];
    let of_steps = [
        field("schedule.peak_learning_rate", schedule.peak_learning_rate.to_string(), "The longest step, reached after the warm-up."),
        field("schedule.floor_learning_rate", schedule.floor_learning_rate.to_string(), "The step at the end."),
        field("schedule.warmup_tokens", schedule.warmup_tokens.to_string(), "Accepted tokens until the longest."),
        field("optimizer.weight_decay", optimizer.weight_decay.to_string(), "Pulls weights towards zero."),
        field("outer.momentum", outer.momentum.to_string(), "How much of the last merge's direction is kept."),
        field("outer.learning_rate", outer.learning_rate.to_string(), "How far a merge goes along the nodes' mean."),
        field("outer.codec", outer.codec.name().to_owned(), "How nodes write what they send to a merge."),
        field("outer.inner_steps", outer.inner_steps.name().to_owned(), "Whether slow nodes make fewer steps, so that all end at once."),
    ];
    let of_overlap = outer.overlap.map(|overlap| {
        let said = format!("{} parts, merged after {} steps", overlap.fragments, overlap.merge_after_steps);
        field("outer.overlap", said, "Nodes train on while a part of the model is exchanged.")
    });
    of_method.into_iter().chain(of_model).chain(of_steps).chain(of_overlap).collect()
}

pub(super) async fn runs(State(app): State<App>, Query(query): Query<ListQuery>) -> Json<Vec<RunView>> {
    let facts = app.facts().borrow().clone();
    let (shown, now) = (app.tools.board.read(), clock::now());
    let wanted = |run: &&Arc<Run>| {
        query.before.is_none_or(|before| run.id.0 < before) && query.tenant.as_ref().is_none_or(|tenant| run.tenant == *tenant)
    };
    Json(facts.runs.values().rev().filter(wanted).take(query.limit()).map(|run| run_view(run, &shown, &app.tools.hub, now)).collect())
}

pub(super) async fn run(State(app): State<App>, Path(run_id): Path<RunId>) -> Result<Json<RunView>, Fault> {
    let run = find(&app, run_id).await?;
    let shown = app.tools.board.read();
    Ok(Json(run_view(&run, &shown, &app.tools.hub, clock::now())))
}

/// From which place on curves are wanted.
#[derive(Deserialize)]
pub(super) struct Since {
    #[serde(default)]
    after: u64,
}

pub(super) async fn metrics(State(app): State<App>, Path(run_id): Path<RunId>, Query(since): Query<Since>) -> Result<Json<Curves>, Fault> {
    find(&app, run_id).await?;
    Ok(Json(app.tools.db.curves(run_id, since.after).await?))
}

pub(super) async fn rounds(State(app): State<App>, Path(run_id): Path<RunId>) -> Result<Json<Vec<RoundView>>, Fault> {
    find(&app, run_id).await?;
    Ok(Json(app.tools.db.rounds(run_id).await?))
}

pub(super) async fn statement(State(app): State<App>, Path(run_id): Path<RunId>) -> Result<Json<PendingStatement>, Fault> {
    let pending = app.tools.board.read().runs.get(&run_id).and_then(pending_statement);
    pending.map(Json).ok_or_else(|| Fault::not_found("statement that waits"))
}

/// Anyone may bring the meter's signature: it proves itself.
pub(super) async fn sign(
    State(app): State<App>,
    Path(run_id): Path<RunId>,
    JsonBody(signed): JsonBody<MeterSignature>,
) -> Result<StatusCode, Fault> {
    let (answer, outcome) = oneshot::channel();
    app.engine
        .send(Command::RunMeter { run_id, round: signed.round, signature: signed.signature, answer })
        .await
        .map_err(Fault::internal)?;
    outcome.await.map_err(Fault::internal)??;
    Ok(StatusCode::NO_CONTENT)
}

/// A run by the facts, or by the chain when it is newer.
pub(super) async fn find(app: &App, run_id: RunId) -> Result<Arc<Run>, Fault> {
    let known = app.facts().borrow().runs.get(&run_id).cloned();
    match known {
        Some(run) => Ok(run),
        None => app.tools.chain.run(run_id).await?.map(Arc::new).ok_or_else(|| Fault::not_found("run")),
    }
}
