//! Before a run: making it ready for a tenant, and joining it where its terms suit this node.

use super::{Context, TaskError};
use crate::{
    artifact::ArtifactError,
    engine::{self, PrepareJob, PreparedFiles},
    own_data::OwnData,
    session::desk::Finish,
};
use starling_http_api::{
    node::{FromNode, PrepareRefused, Prepared},
    run::Base,
};
use starling_limits::JobKind;
use starling_primitives::{Asset, Hash32, RunId};
use starling_protocol::run::{Run, RunState, RunTerms};
use starling_rounds::recipe::Recipe;

/// Recipes are texts of a page or two.
const MAX_RECIPE_BYTES: usize = 64 * 1024;

/// What a run is to be made of.
pub(super) struct Wanted {
    pub(super) recipe: String,
    pub(super) fit: bool,
    pub(super) data: Hash32,
    pub(super) held_out: Option<Hash32>,
    pub(super) base: Base,
}

/// Answers `Prepare` in any case: with what was made, or why not.
pub(super) async fn prepare(context: &Context, request_id: u64, wanted: Wanted) -> Finish {
    let outcome = make(context, wanted).await;
    if let Err(refused) = &outcome {
        tracing::info!(request_id, code = refused.code, detail = refused.detail, "a run cannot be made ready");
    }
    Finish::Answer(FromNode::Prepared { request_id, outcome })
}

async fn make(context: &Context, wanted: Wanted) -> Result<Prepared, PrepareRefused> {
    let length = wanted.recipe.len();
    if length > MAX_RECIPE_BYTES {
        return Err(refused("recipe_invalid", &format!("the recipe has {length} bytes, {MAX_RECIPE_BYTES} are allowed")));
    }
    let job = gather(context, wanted).await.map_err(|error| refused("data_unavailable", &error))?;
    // Short, and a tenant waits: not behind the trainer's queue.
    let made = tokio::task::spawn_blocking(move || engine::prepare(job)).await;
    let PreparedFiles { prepared, files } = made.map_err(|_| refused("preparation_failed", &"the node could not finish; try again"))??;
    for file in files {
        context.store.put(file).await.map_err(|error| refused("upload_failed", &error))?;
    }
    Ok(prepared)
}

async fn gather(context: &Context, wanted: Wanted) -> Result<PrepareJob, ArtifactError> {
    let Wanted { recipe, fit, data, held_out, base } = wanted;
    let data = context.store.get(data).await?;
    let held_out = match held_out {
        Some(hash) => Some(context.store.get(hash).await?),
        None => None,
    };
    let base = match base {
        Base::Fresh => engine::Base::Fresh,
        Base::Model { model, .. } => engine::Base::Model(context.store.get(model).await?),
    };
    Ok(PrepareJob { recipe, fit, data, held_out, base })
}

fn refused(code: &str, detail: &dyn std::fmt::Display) -> PrepareRefused {
    PrepareRefused { code: code.to_owned(), detail: detail.to_string() }
}

/// Joins a run if its price is enough, its money lies in an open escrow, its model fits, and the node is free.
pub(super) async fn enroll(context: &Context, run_id: RunId, terms: &RunTerms, busy_with: Option<RunId>) -> Result<Finish, TaskError> {
    if let Some(reason) = objection(context, run_id, terms, busy_with).await? {
        tracing::info!(%run_id, reason, "declined a run");
        return Ok(Finish::Failed(Some(FromNode::RunDeclined { run_id, reason })));
    }
    context.chain.enroll(run_id).await?;
    tracing::info!(%run_id, "enrolled");
    Ok(Finish::Quiet)
}

async fn objection(context: &Context, run_id: RunId, terms: &RunTerms, busy_with: Option<RunId>) -> Result<Option<String>, TaskError> {
    if let Err(reason) = context.takes(JobKind::Train) {
        return Ok(Some(reason.to_string()));
    }
    if terms.asset != Asset::Near {
        return Ok(Some(format!("it pays in {}, this node asks NEAR", terms.asset)));
    }
    let least = context.config.min_price_per_million_tokens;
    if terms.price_per_million_tokens < least {
        return Ok(Some(format!(
            "it pays {} for a million tokens, this node asks {}",
            terms.price_per_million_tokens.exact_near(),
            least.exact_near()
        )));
    }
    if !terms.invited.is_empty() && !terms.invited.contains(&context.config.node_id) {
        return Ok(Some("this node is not invited".to_owned()));
    }
    if let Some(other) = busy_with
        && !matches!(context.chain.run(other).await?.state, RunState::Ended { .. })
    {
        return Ok(Some(format!("busy with run {other}")));
    }
    let run = context.chain.run(run_id).await?;
    if run.terms != *terms {
        return Ok(Some("the terms are not those that were paid for".to_owned()));
    }
    context.chain.open_escrow(run.escrow_id).await?;
    // Before it is in the roster a node may not be allowed to read the recipe; then its memory is checked with the first round.
    match context.store.get(terms.recipe).await {
        Ok(recipe) => {
            let recipe = engine::recipe_from_json(&recipe)?;
            if let Err(words) = engine::activations_within(&recipe, None, context.memory_bytes) {
                return Ok(Some(words));
            }
            match recipe.data.federated.clone() {
                Some(name) => own_data_objection(context, &run, recipe, &name).await,
                None => Ok(None),
            }
        }
        Err(ArtifactError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Why a federated run cannot train on what this node keeps, if it cannot.
async fn own_data_objection(context: &Context, run: &Run, recipe: Recipe, name: &str) -> Result<Option<String>, TaskError> {
    let own = match OwnData::find(&context.config.data, name, &run.tenant) {
        Ok(own) => own.clone(),
        Err(words) => return Ok(Some(words)),
    };
    let data = context.store.get(run.terms.data).await?;
    let read = move || {
        let fits = engine::check_own(&recipe, data, &own.name, own.read()?);
        fits.map_err(|error| format!("the node's data {} does not fit the run: {error}", own.name))
    };
    let read = tokio::task::spawn_blocking(read).await.map_err(|_| TaskError::Asked("the node's data could not be read".to_owned()))?;
    Ok(read.err())
}
