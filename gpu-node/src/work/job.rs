//! What a lease's node works on: the job that was paid for, with all its files, and the thread that does it.

use super::{Context, Report, TaskError};
use crate::{
    engine::{self, ClassifyJob, Gate, GenerateJob, Piece, ToolJob},
    script::{Ears, Outputs, ScriptJob},
    trainer::{Cancel, Urgency},
};
use starling_http_api::{
    job::{JobSpec, MAX_NEW_TOKENS, MAX_TEXT_BYTES, MAX_TEXTS},
    node::FromNode,
};
use starling_limits::JobKind;
use starling_primitives::LeaseId;
use starling_protocol::lease::{Lease, STATEMENT_INTERVAL};
use std::{sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// The longest prompt.
const MAX_PROMPT_BYTES: usize = 8 * 1024;

/// A job with all its files.
pub(super) enum Job {
    Model(ModelJob),
    Script(ScriptJob),
}

/// A job for the trainer thread.
pub(super) enum ModelJob {
    Generate(starling_http_api::job::Generate, Arc<[u8]>),
    Classify(Vec<String>, Arc<[u8]>),
    Tool(starling_http_api::job::ToolSpec, Arc<[u8]>),
}

impl Job {
    /// As the owner's limits call it.
    pub(super) fn kind(&self) -> JobKind {
        match self {
            Self::Model(ModelJob::Generate(..)) => JobKind::Generate,
            Self::Model(ModelJob::Classify(..)) => JobKind::Classify,
            Self::Model(ModelJob::Tool(..)) => JobKind::Tool,
            Self::Script(_) => JobKind::Script,
        }
    }

    /// What a script gives, beside what it prints.
    pub(super) fn outputs(&self) -> Option<Arc<Outputs>> {
        match self {
            Self::Script(job) => Some(job.outputs.clone()),
            Self::Model(_) => None,
        }
    }
}

/// Reads the job that was paid for, not the one that was told.
pub(super) async fn gather(context: &Context, lease: &Lease) -> Result<Job, TaskError> {
    let spec = context.store.get(lease.terms.job).await?;
    let spec: JobSpec =
        serde_json::from_slice(&spec).map_err(|error| TaskError::Asked(format!("the job's description is not understood: {error}")))?;
    match spec {
        JobSpec::Generate(spec) => {
            if spec.prompt.len() > MAX_PROMPT_BYTES || !(1..=MAX_NEW_TOKENS).contains(&spec.max_new_tokens) {
                return Err(TaskError::Asked(format!(
                    "a prompt has {MAX_PROMPT_BYTES} bytes at most, a generation 1 to {MAX_NEW_TOKENS} tokens"
                )));
            }
            let model = context.store.get(spec.model).await?;
            Ok(Job::Model(ModelJob::Generate(spec, model)))
        }
        JobSpec::Classify(spec) => {
            if !spec.is_within_limits() {
                return Err(TaskError::Asked(format!(
                    "a classification has 1 to {MAX_TEXTS} texts, none empty, of {MAX_TEXT_BYTES} bytes together at most"
                )));
            }
            let model = context.store.get(spec.model).await?;
            Ok(Job::Model(ModelJob::Classify(spec.texts, model)))
        }
        JobSpec::Tool { tool, model } => {
            let tool = engine::check_tool(&context.store.get(tool).await?)?;
            Ok(Job::Model(ModelJob::Tool(tool, context.store.get(model).await?)))
        }
        JobSpec::Script(script) => {
            let room = context.scripts.clone().map_err(|lack| TaskError::Asked(format!("this node takes no scripts: {}", lack.words)))?;
            room.suits(&script).map_err(TaskError::Asked)?;
            let bundle = context.store.get(script.bundle).await?;
            let mut inputs = Vec::new();
            for input in &script.inputs {
                inputs.push(context.store.get(input.artifact).await?);
            }
            let name = lease.id.to_string();
            let unpack = move || ScriptJob::unpack(room, &name, script, &bundle, &inputs);
            let job = tokio::task::spawn_blocking(unpack).await.map_err(|error| TaskError::Asked(error.to_string()))?;
            Ok(Job::Script(job.map_err(TaskError::Asked)?))
        }
    }
}

/// Lets the trainer thread do the job, or the sandbox if it is a script; its pieces come by channel.
#[expect(clippy::too_many_arguments, reason = "all that a job needs, moved into its thread")]
pub(super) async fn compute(
    context: Arc<Context>,
    lease_id: LeaseId,
    job: Job,
    before: (u64, u64),
    left: Duration,
    gate: Arc<Gate>,
    cancel: Cancel,
    give: mpsc::Sender<Piece>,
) -> Result<(), TaskError> {
    let unsigned_limit_ms = STATEMENT_INTERVAL.0;
    let job = match job {
        Job::Script(job) => {
            let reports = context.reports.clone();
            let say = move |message| drop(reports.blocking_send(Report::Say(message)));
            let run = move || {
                let ears = Ears {
                    piece: |piece| drop(give.blocking_send(piece)),
                    metrics: |points| say(FromNode::Metrics { lease_id, points }),
                    line: |line| say(FromNode::Setup { lease_id, line }),
                };
                job.run(before.0, left, unsigned_limit_ms, &gate, &cancel, &ears)
            };
            let handed_over = tokio::task::spawn_blocking(run).await.map_err(|error| TaskError::Asked(error.to_string()))??;
            return handed_over.map_or(Ok(()), |error| Err(error.into()));
        }
        Job::Model(job) => job,
    };
    let work = move |_: &mut engine::Bench| {
        // A receiver that is gone has stopped the job already.
        let send = |piece| drop(give.blocking_send(piece));
        match job {
            ModelJob::Generate(spec, model) => {
                engine::generate(&GenerateJob { spec, model, before, unsigned_limit_ms }, &gate, &cancel, send)
            }
            ModelJob::Classify(texts, model) => {
                engine::classify(&ClassifyJob { texts, model, before_ms: before.0, unsigned_limit_ms }, &gate, &cancel, send)
            }
            ModelJob::Tool(tool, model) => {
                engine::run_tool(&ToolJob { tool, model, before_ms: before.0, unsigned_limit_ms }, &gate, &cancel, send)
            }
        }
    };
    Ok(context.trainer.run(Urgency::Work, work).await??)
}
