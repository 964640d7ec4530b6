//! Before any work: may the tenant use what the payment names? A hash is public, so naming it proves nothing.

use super::{Command, Lane, Tools};
use crate::{artifacts::Who, db::WorkKind, runs::Event};
use starling_http_api::job::JobSpec;
use starling_primitives::{AccountId, Hash32};
use starling_protocol::{lease::Lease, run::Run};
use starling_rounds::recipe::{AdapterRecipe, Recipe};
use std::sync::Arc;

/// The longest job description.
const MAX_JOB_BYTES: u64 = 64 * 1024;

impl Lane {
    /// Checks a run's artifacts and recipe.
    pub(super) fn admit_run(&mut self, run: Arc<Run>) {
        let tools = self.tools.clone();
        self.spawn(format!("admit/run/{}", run.id), async move {
            match check_run(&tools, &run).await {
                Ok(Ok(admitted)) => Some(Command::RunEvent(run.id, admitted)),
                Ok(Err(reason)) => {
                    tracing::warn!(run = %run.id, reason, "a run is not served");
                    Some(Command::RunEvent(run.id, Event::Refuse(reason)))
                }
                Err(error) => {
                    tracing::warn!(run = %run.id, %error, "a run cannot be checked yet");
                    None
                }
            }
        });
    }

    /// Checks a lease's job.
    pub(super) fn admit_lease(&mut self, lease: Arc<Lease>) {
        let tools = self.tools.clone();
        self.spawn(format!("admit/lease/{}", lease.id), async move {
            match check_lease(&tools, &lease).await {
                Ok(outcome) => Some(Command::LeaseAdmitted(lease.id, outcome)),
                Err(error) => {
                    tracing::warn!(lease = %lease.id, %error, "a lease cannot be checked yet");
                    None
                }
            }
        });
    }
}

/// That it is admitted, with what its recipe says of rounds; or why not.
async fn check_run(tools: &Tools, run: &Run) -> anyhow::Result<Result<Event, String>> {
    let terms = &run.terms;
    let mut named = vec![("recipe", terms.recipe), ("data", terms.data), ("held-out data", terms.held_out), ("base state", terms.base)];
    for (what, hash) in &named {
        if let Err(reason) = check_right(tools, &run.tenant, what, *hash).await? {
            return Ok(Err(reason));
        }
    }
    let bytes = tools.artifacts.get(terms.recipe).await?;
    let recipe = match Recipe::from_json(&String::from_utf8_lossy(&bytes)) {
        Ok(recipe) => recipe,
        Err(error) => return Ok(Err(format!("its recipe is not understood: {error}."))),
    };
    let plan = match recipe.plan() {
        Ok(plan) if plan.assigned_tokens() == terms.tokens_per_round => plan,
        Ok(plan) => {
            return Ok(Err(format!(
                "its terms assign {} tokens a round and its recipe {}.",
                terms.tokens_per_round,
                plan.assigned_tokens()
            )));
        }
        Err(error) => return Ok(Err(format!("its recipe is not understood: {error}."))),
    };
    let frozen = match &recipe.adapter {
        Some(AdapterRecipe { base: None, .. }) => return Ok(Err("its adapters name no model that they are for.".to_owned())),
        adapter => adapter.as_ref().and_then(|adapter| adapter.base),
    };
    if let Some(frozen) = frozen {
        if let Err(reason) = check_right(tools, &run.tenant, "model to adapt", frozen).await? {
            return Ok(Err(reason));
        }
        named.push(("model to adapt", frozen));
    }
    for (_, hash) in named {
        tools.db.add_use(hash, WorkKind::Run, run.id.0, false).await?;
    }
    let (inner_steps, federated) = (recipe.outer.inner_steps, recipe.data.federated);
    Ok(Ok(Event::Admitted { inner_steps_per_round: plan.inner_steps_per_round(), inner_steps, federated }))
}

async fn check_lease(tools: &Tools, lease: &Lease) -> anyhow::Result<Result<JobSpec, String>> {
    if let Err(reason) = check_right(tools, &lease.tenant, "job", lease.terms.job).await? {
        return Ok(Err(reason));
    }
    if tools.artifacts.bytes(lease.terms.job).await?.is_none_or(|bytes| bytes > MAX_JOB_BYTES) {
        return Ok(Err(format!("its job is longer than {MAX_JOB_BYTES} bytes.")));
    }
    let job: JobSpec = match serde_json::from_slice(&tools.artifacts.get(lease.terms.job).await?) {
        Ok(job) => job,
        Err(error) => return Ok(Err(format!("its job is not understood: {error}."))),
    };
    let named: Vec<(&str, Hash32)> = match &job {
        JobSpec::Generate(generate) => vec![("model", generate.model)],
        JobSpec::Classify(classify) => {
            let pictures = classify.pictures.iter().map(|picture| ("picture", picture.file));
            pictures.chain([("model", classify.model)]).collect()
        }
        JobSpec::Tool { tool, model } => vec![("tool", *tool), ("model", *model)],
        JobSpec::Script(script) => {
            if let Err(error) = script.check() {
                return Ok(Err(format!("its script is not taken: {error}.")));
            }
            let inputs = script.inputs.iter().map(|input| ("data", input.artifact));
            inputs.chain([("upload", script.bundle)]).collect()
        }
    };
    for (what, hash) in &named {
        let stored = tools.artifacts.bytes(*hash).await?.is_some();
        if !stored || !tools.access.may_work_with(&lease.tenant, *hash, lease.id).await? {
            return Ok(Err(format!(
                "its {what} ({}) is not stored here, or the tenant may not use it. A metered use takes a voucher for each lease first.",
                hash.short()
            )));
        }
    }
    for hash in named.iter().map(|(_, hash)| *hash).chain([lease.terms.job]) {
        tools.db.add_use(hash, WorkKind::Lease, lease.id.0, false).await?;
    }
    Ok(Ok(job))
}

async fn check_right(tools: &Tools, tenant: &AccountId, what: &str, hash: Hash32) -> anyhow::Result<Result<(), String>> {
    let stored = tools.artifacts.bytes(hash).await?.is_some();
    if stored && tools.access.may_read(&Who::Account(tenant.clone()), hash).await? {
        return Ok(Ok(()));
    }
    Ok(Err(format!("its {what} ({}) is not stored here, or the tenant may not use it.", hash.short())))
}
