//! Preparing a run: a connected node checks recipe and data and makes the base state; the answer is the terms to pay for.

use super::{App, extract::JsonBody};
use crate::{artifacts::Who, board::busy, clock, problem::Fault};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, Method, StatusCode},
};
use starling_http_api::{
    node::{FromNode, Prepared, ToNode},
    run::{Base, PrepareRun, PreparedRun},
};
use starling_primitives::{AccountId, Asset, DurationMs, Hash32, NodeId, TimestampMs};
use starling_protocol::{
    price::quote_run,
    run::{MAX_ROSTER, MAX_ROUND_TIME, RunTerms},
};
use starling_rounds::recipe::Recipe;
use std::time::Duration;

/// The longest recipe.
const MAX_RECIPE: usize = 64 * 1024;
/// A node must answer within this.
const ANSWER_TIME: Duration = Duration::from_secs(60);
/// An answer is good for so long, so that asking again with another price costs nothing.
const CACHE_MS: u64 = 600_000;
const MAX_CACHED: usize = 256;
const ENROLL_TIME: DurationMs = DurationMs::from_secs(60);
/// A round has at least so long, and at least this many times what it takes by measured rates.
const MIN_ROUND_TIME: DurationMs = DurationMs::from_secs(300);
const ROUND_TIME_FACTOR: u64 = 10;
const AVAILABILITY: DurationMs = DurationMs::from_hours(24);

/// What was asked: who, recipe and whether it is to fit, data, held-out data, base.
pub(super) type Key = (AccountId, String, bool, Hash32, Option<Hash32>, Option<Hash32>);
/// What a node answered, and when.
pub(super) type Cached = (Prepared, TimestampMs);

pub(super) async fn prepare(
    State(app): State<App>,
    method: Method,
    headers: HeaderMap,
    JsonBody(mut request): JsonBody<PrepareRun>,
) -> Result<Json<PreparedRun>, Fault> {
    let tenant = app.auth.account(&headers, &method).await?;
    let federated = check_request(&mut request)?;
    let model = match &request.base {
        Base::Fresh => None,
        Base::Model { model, .. } => Some(*model),
    };
    check_rights(&app, &tenant, &request, model).await?;
    let key = (tenant.clone(), request.recipe.clone(), request.fit, request.data, request.held_out, model);
    let cached =
        app.prepared.lock().await.get(&key).filter(|(_, at)| clock::now().since(*at).0 < CACHE_MS).map(|(prepared, _)| prepared.clone());
    let prepared = match cached {
        Some(prepared) => prepared,
        None => {
            let (node, prepared) = ask_nodes(&app, &request, model).await?;
            own_prepared(&app, &tenant, node, &prepared).await?;
            let mut cache = app.prepared.lock().await;
            cache.retain(|_, (_, at)| clock::now().since(*at).0 < CACHE_MS);
            if cache.len() < MAX_CACHED {
                cache.insert(key, (prepared.clone(), clock::now()));
            }
            prepared
        }
    };
    answer(&app, &request, federated.as_deref(), &prepared).map(Json)
}

/// Gives the name of the data that nodes train on where the run is federated. What was asked for beside the recipe it says from here on.
fn check_request(request: &mut PrepareRun) -> Result<Option<String>, Fault> {
    let refused = |code, detail: String| Err(Fault::new(StatusCode::UNPROCESSABLE_ENTITY, code, "The run cannot be prepared", detail));
    if request.recipe.len() > MAX_RECIPE {
        return refused("recipe_invalid", format!("The recipe has {} bytes, {MAX_RECIPE} are allowed.", request.recipe.len()));
    }
    let read = Recipe::from_toml(&request.recipe).and_then(|mut recipe| {
        let (federated, overlap) = (request.federated.take(), std::mem::take(&mut request.overlap));
        if federated.is_none() && !overlap {
            return Ok(recipe);
        }
        if let Some(name) = federated {
            recipe.federate(&name);
        }
        if overlap {
            recipe.overlap();
        }
        let recipe = recipe.validated()?;
        request.recipe = recipe.to_toml()?;
        Ok(recipe)
    });
    let recipe = match read {
        Ok(recipe) => recipe,
        Err(error) => return refused("recipe_invalid", error.to_string()),
    };
    if recipe.adapter.is_some() && matches!(request.base, Base::Fresh) {
        let detail = "Adapters need the model that they are for. Name one to start from.";
        return refused("base_mismatch", detail.to_owned());
    }
    if request.held_out == Some(request.data) {
        let detail =
            "The held-out text is the training text, which would measure nothing. Name another, or none: then the last tenth is held out.";
        return refused("held_out_is_data", detail.to_owned());
    }
    if request.min_nodes == 0 || request.min_nodes > request.max_nodes || request.max_nodes > MAX_ROSTER {
        return refused("nodes_invalid", format!("Nodes must satisfy 1 <= min_nodes <= max_nodes <= {MAX_ROSTER}."));
    }
    if request.price_per_million_tokens.is_zero() {
        return refused("price_invalid", "No node works for nothing: name a price.".to_owned());
    }
    Ok(recipe.data.federated)
}

/// The tenant's own right to data and model, and data that is not empty.
async fn check_rights(app: &App, tenant: &AccountId, request: &PrepareRun, model: Option<Hash32>) -> Result<(), Fault> {
    let who = Who::Account(tenant.clone());
    let named = [(Some(request.data), "data"), (request.held_out, "held-out data"), (model, "model")];
    for (hash, what) in named.into_iter().filter_map(|(hash, what)| Some((hash?, what))) {
        let bytes = app.tools.artifacts.bytes(hash).await?;
        if bytes.is_none() || !app.tools.access.may_read(&who, hash).await? {
            let code = if what == "model" { "model_unknown" } else { "data_unknown" };
            let detail =
                format!("The {what} {} is not stored here, or you may not use it. Upload it, or buy its licence first.", hash.short());
            return Err(Fault::new(StatusCode::UNPROCESSABLE_ENTITY, code, "The run cannot be prepared", detail));
        }
        if bytes == Some(0) {
            let detail = format!("The {what} is empty. Upload text to train on.");
            return Err(Fault::new(StatusCode::UNPROCESSABLE_ENTITY, "data_empty", "The run cannot be prepared", detail));
        }
    }
    Ok(())
}

/// Asks idle nodes first; another when one goes away.
async fn ask_nodes(app: &App, request: &PrepareRun, model: Option<Hash32>) -> Result<(NodeId, Prepared), Fault> {
    let facts = app.facts().borrow().clone();
    let mut nodes = app.tools.hub.connected();
    nodes.sort_by_key(|node| (busy(&facts, *node).is_some(), *node));
    if nodes.is_empty() {
        let detail = "No node is connected at the moment. Nothing was paid. Try again when one is.";
        return Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, "no_nodes_connected", "No node is connected", detail));
    }
    for node in nodes.into_iter().take(3) {
        for hash in [Some(request.data), request.held_out, model].into_iter().flatten() {
            app.tools.access.grant(node, hash);
        }
        let message = |request_id| ToNode::Prepare {
            request_id,
            recipe: request.recipe.clone(),
            fit: request.fit,
            data: request.data,
            held_out: request.held_out,
            base: request.base.clone(),
        };
        match tokio::time::timeout(ANSWER_TIME, app.tools.hub.ask(node, message)).await {
            Ok(Ok(FromNode::Prepared { outcome: Ok(prepared), .. })) => return Ok((node, prepared)),
            Ok(Ok(FromNode::Prepared { outcome: Err(refused), .. })) => {
                tracing::info!(%node, code = refused.code, "a node cannot prepare a run");
                return Err(Fault::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    known_code(&refused.code),
                    "The run cannot be prepared",
                    refused.detail,
                ));
            }
            Ok(Ok(_)) => tracing::warn!(%node, "a node answered something else"),
            Ok(Err(_)) => tracing::info!(%node, "a node went away while it prepared a run"),
            Err(_) => tracing::info!(%node, "a node did not prepare a run in time"),
        }
    }
    let detail = "The nodes that were asked did not answer in time. Nothing was paid. Try again in a moment.";
    Err(Fault::new(StatusCode::GATEWAY_TIMEOUT, "nodes_silent", "No node answered", detail))
}

/// Codes that nodes may give; anything else is one of them.
fn known_code(code: &str) -> &'static str {
    const KNOWN: &[&str] = &[
        "recipe_invalid",
        "data_empty",
        "data_too_short",
        "data_unusable",
        "data_unknown",
        "held_out_too_short",
        "base_mismatch",
        "base_invalid",
        "model_unknown",
        "memory_too_small",
        "node_busy",
    ];
    KNOWN.iter().find(|known| **known == code).copied().unwrap_or("prepare_refused")
}

/// What the node made for the tenant is the tenant's. Only what that node brought itself, or the tenant may read anyway: a hash that is merely named gives no right.
async fn own_prepared(app: &App, tenant: &AccountId, node: NodeId, prepared: &Prepared) -> Result<(), Fault> {
    let who = Who::Account(tenant.clone());
    for hash in [prepared.recipe, prepared.data, prepared.held_out, prepared.base] {
        let brought = app.tools.access.brought_by(node, hash).await?;
        let stored = app.tools.artifacts.bytes(hash).await?.is_some();
        if !stored || !(brought || app.tools.access.may_read(&who, hash).await?) {
            return Err(Fault::new(
                StatusCode::BAD_GATEWAY,
                "prepare_incomplete",
                "The node's answer is not whole",
                "The node named files that it did not upload. Nothing was paid. Try again.",
            ));
        }
        if brought {
            app.tools.db.own_artifact(hash, tenant.as_str(), clock::now()).await?;
        }
    }
    Ok(())
}

fn answer(app: &App, request: &PrepareRun, federated: Option<&str>, prepared: &Prepared) -> Result<PreparedRun, Fault> {
    let willing_nodes = willing(app, request, federated, prepared);
    let willing_count = u16::try_from(willing_nodes.len()).unwrap_or(u16::MAX);
    let per_round = round_time(app, &willing_nodes, prepared.tokens_per_round);
    let round_time =
        per_round.map_or(MIN_ROUND_TIME, |time| DurationMs(time.0.saturating_mul(ROUND_TIME_FACTOR)).clamp(MIN_ROUND_TIME, MAX_ROUND_TIME));
    let terms = RunTerms {
        recipe: prepared.recipe,
        data: prepared.data,
        held_out: prepared.held_out,
        base: prepared.base,
        base_root: prepared.base_root,
        rounds: prepared.rounds,
        min_nodes: request.min_nodes,
        // No more places than nodes that take the price: enrolling ends when the last has joined.
        max_nodes: request.max_nodes.min(willing_count.max(request.min_nodes)),
        tokens_per_round: prepared.tokens_per_round,
        price_per_million_tokens: request.price_per_million_tokens,
        enroll_time: ENROLL_TIME,
        round_time,
        meter: request.meter,
        availability: AVAILABILITY,
        invited: Vec::new(),
        asset: Asset::Near,
        delegate: None,
        objection_window: DurationMs(0),
    };
    let refused =
        |error: &dyn std::fmt::Display| Fault::new(StatusCode::UNPROCESSABLE_ENTITY, "terms_invalid", "The run cannot be prepared", error);
    terms.check().map_err(|error| refused(&error))?;
    let quote = quote_run(&terms, app.facts().borrow().fee).map_err(|error| refused(&error))?;
    let expected_duration = per_round.map(|time| DurationMs(time.0.saturating_mul(u64::from(prepared.rounds))));
    Ok(PreparedRun { terms, quote, parameters: prepared.parameters, memory_bytes: prepared.memory_bytes, willing_nodes, expected_duration })
}

/// Connected nodes with a confirmed stake, enough memory, an open offer at this price or below, and the data that a federated run trains on.
fn willing(app: &App, request: &PrepareRun, federated: Option<&str>, prepared: &Prepared) -> Vec<NodeId> {
    let facts = app.facts().borrow().clone();
    let keeps = |node: NodeId| federated.is_none_or(|name| app.tools.hub.keeps_data(node, name));
    let fits = |node: &NodeId| {
        let node = facts.nodes.get(node)?;
        let staked = node.stake.as_ref().is_some_and(|stake| stake.confirmed);
        (staked && node.capability.memory_bytes >= prepared.memory_bytes && busy(&facts, node.id).is_none()).then_some(())
    };
    let mut nodes: Vec<NodeId> = facts
        .open_offers()
        .filter(|offer| {
            offer.terms.price_per_million_tokens <= request.price_per_million_tokens && app.tools.hub.is_connected(offer.node_id)
        })
        .map(|offer| offer.node_id)
        .filter(|node| fits(node).is_some() && keeps(*node))
        .collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

/// What a round takes the slowest of these nodes, by what was measured.
fn round_time(app: &App, nodes: &[NodeId], tokens: u32) -> Option<DurationMs> {
    let shown = app.tools.board.read();
    let rates = nodes.iter().filter_map(|node| shown.rates.get(node)).copied();
    let slowest = rates.fold(f64::INFINITY, f64::min);
    let ms = f64::from(tokens) * 1_000.0 / slowest;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "positive, finite and below a day")]
    let ms = (slowest.is_finite() && slowest > 0.0 && ms < 86_400_000.0).then_some(ms as u64);
    ms.map(DurationMs)
}
