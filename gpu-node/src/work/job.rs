//! What a lease's node works on: the job that was paid for, with all its files, and the thread that does it.

use super::{Context, Report, TaskError};
use crate::{
    engine::{self, ClassifyJob, Gate, GenerateJob, Piece, ToolJob},
    script::{Ears, Outputs, ScriptJob},
    trainer::{Cancel, Urgency},
};
use starling_http_api::{
    job::{Generate, JobSpec, MAX_NEW_TOKENS, MAX_PICTURE_BYTES, MAX_PICTURES, MAX_TEXT_BYTES, MAX_TEXTS, ToolSpec},
    node::FromNode,
};
use starling_limits::JobKind;
use starling_primitives::LeaseId;
use starling_protocol::lease::{Lease, STATEMENT_INTERVAL};
use starling_training::{Batch, Classifier, Writer};
use std::{io::Read as _, sync::Arc, time::Duration};
use tokio::sync::mpsc;

/// The longest prompt.
const MAX_PROMPT_BYTES: usize = 8 * 1024;

/// A job with all its files.
pub(super) enum Job {
    Model(Box<ModelJob>),
    Script(ScriptJob),
}

/// A job for the trainer thread, its model read.
pub(super) enum ModelJob {
    Generate(Generate, Writer),
    Classify(Classifier, Vec<Batch>),
    Tool(ToolSpec, Writer),
}

impl Job {
    /// As the owner's limits call it.
    pub(super) fn kind(&self) -> JobKind {
        match self {
            Self::Model(job) => match **job {
                ModelJob::Generate(..) => JobKind::Generate,
                ModelJob::Classify(..) => JobKind::Classify,
                ModelJob::Tool(..) => JobKind::Tool,
            },
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

/// Reads the job that was paid for, not the one that was told, and its model: what cannot be done is known before the lease is accepted.
pub(super) async fn gather(context: &Context, lease: &Lease) -> Result<Job, TaskError> {
    let of_model = |job| Ok(Job::Model(Box::new(job)));
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
            let file = context.store.get(spec.model).await?;
            of_model(ModelJob::Generate(spec, aside(move || engine::load_writer(&file)).await??))
        }
        JobSpec::Classify(spec) => {
            if !spec.is_within_limits() {
                return Err(TaskError::Asked(format!(
                    "a classification has 1 to {MAX_TEXTS} texts, none empty, of {MAX_TEXT_BYTES} bytes together at most, or 1 to {MAX_PICTURES} named pictures"
                )));
            }
            let mut pictures = Vec::with_capacity(spec.pictures.len());
            for picture in spec.pictures {
                let mut bytes = Vec::new();
                let file = context.store.file(picture.file).await?;
                if file.take(MAX_PICTURE_BYTES + 1).read_to_end(&mut bytes)? > usize::try_from(MAX_PICTURE_BYTES).unwrap_or(usize::MAX) {
                    let limit = MAX_PICTURE_BYTES >> 20;
                    return Err(TaskError::Asked(format!("the picture {:?} has more than {limit} MiB", picture.name)));
                }
                pictures.push((picture.name, bytes));
            }
            let file = context.store.get(spec.model).await?;
            let (model, lines) = aside(move || engine::load_classifier(&file, &spec.texts, &pictures)).await??;
            of_model(ModelJob::Classify(model, lines))
        }
        JobSpec::Tool { tool, model } => {
            let tool = engine::check_tool(&context.store.get(tool).await?)?;
            let file = context.store.get(model).await?;
            of_model(ModelJob::Tool(tool, aside(move || engine::load_writer(&file)).await??))
        }
        JobSpec::Script(script) => {
            let room = context.scripts.clone().map_err(|lack| TaskError::Asked(format!("this node takes no scripts: {}", lack.words)))?;
            room.suits(&script).map_err(TaskError::Asked)?;
            let bundle = context.store.get(script.bundle).await?;
            let mut inputs = Vec::new();
            for input in &script.inputs {
                inputs.push(context.store.file(input.artifact).await?);
            }
            let name = lease.id.to_string();
            let job = aside(move || ScriptJob::unpack(room, &name, script, &bundle, inputs)).await?;
            Ok(Job::Script(job.map_err(TaskError::Asked)?))
        }
    }
}

/// Lets a thread of its own do what takes longer than a moment.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, TaskError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| TaskError::Asked(error.to_string()))
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
            let handed_over = aside(run).await??;
            return handed_over.map_or(Ok(()), |error| Err(error.into()));
        }
        Job::Model(job) => job,
    };
    let work = move |_: &mut engine::Bench| {
        // A receiver that is gone has stopped the job already.
        let send = |piece| drop(give.blocking_send(piece));
        match *job {
            ModelJob::Generate(spec, writer) => {
                engine::generate(&GenerateJob { spec, writer, before, unsigned_limit_ms }, &gate, &cancel, send)
            }
            ModelJob::Classify(model, lines) => {
                engine::classify(&ClassifyJob { model, lines, before_ms: before.0, unsigned_limit_ms }, &gate, &cancel, send)
            }
            ModelJob::Tool(tool, writer) => {
                engine::run_tool(&ToolJob { tool, writer, before_ms: before.0, unsigned_limit_ms }, &gate, &cancel, send)
            }
        }
    };
    Ok(context.trainer.run(Urgency::Work, work).await??)
}
