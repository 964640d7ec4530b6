//! What the node does when it is asked: each task fetches what it needs, lets the trainer thread compute, and ends with an answer.

mod job;
mod lease;
mod prepare;
mod promise;
mod receipt;
mod round;

pub(crate) use lease::LeaseNote;
pub(crate) use promise::keep as keep_promises;

use crate::{
    artifact::{ArtifactError, ArtifactStore, Rates},
    board::Board,
    chain::{Chain, ChainError},
    config::NodeConfig,
    control::Tally,
    engine::{EngineError, RunInputs, recipe_from_json},
    files,
    own_data::OwnData,
    pace::Pace,
    script::{Fault, NoScripts, Room},
    session::desk::{Finish, Key},
    trainer::{Cancel, TrainerError, TrainerThread, Urgency},
};
use receipt::Receipts;
use starling_http_api::{
    machine::MachineState,
    node::{FromNode, ToNode},
};
use starling_limits::{JobKind, Reason, Share};
use starling_primitives::{Hash32, RunId};
use starling_protocol::run::Run;
use starling_tls::Roots;
use std::{
    path::PathBuf,
    sync::{Arc, PoisonError},
    time::Duration,
};
use tokio::sync::{Mutex, mpsc, watch};

/// Reports that wait for the owner loop.
pub(crate) const REPORTS: usize = 1_024;

/// Tries of a part of a round.
const TRIES: u32 = 4;
/// The wait before the second try; it grows.
const RETRY_WAIT: Duration = Duration::from_secs(1);

/// What a task tells the owner loop.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Report {
    /// Say this to the coordinator.
    Say(FromNode),
    /// A task ended.
    Finished(Key, Finish),
}

/// Why a task gave no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TaskError {
    /// The chain does not say what was asked.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// Bytes did not come or go.
    #[error(transparent)]
    Artifact(#[from] ArtifactError),
    /// The work itself failed, or something in it deviates.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A script could not be run.
    #[error(transparent)]
    Script(#[from] Fault),
    /// The thread gave no answer.
    #[error(transparent)]
    Trainer(#[from] TrainerError),
    /// The node's own disk failed.
    #[error("the node's disk failed: {0}")]
    Disk(#[from] std::io::Error),
    /// What was asked makes no sense for this node.
    #[error("{0}")]
    Asked(String),
}

impl TaskError {
    /// Whether the same may succeed a moment later.
    fn is_passing(&self) -> bool {
        match self {
            Self::Chain(ChainError::Rpc(error)) => error.is_passing(),
            Self::Artifact(ArtifactError::Unreachable { .. }) => true,
            _ => false,
        }
    }
}

/// All that tasks share.
pub(crate) struct Context {
    /// What the owner said.
    pub(crate) config: NodeConfig,
    /// Whom the node trusts when it dials.
    pub(crate) roots: Roots,
    /// The chain, with the node's key.
    pub(crate) chain: Chain,
    /// Bytes by their hash.
    pub(crate) store: ArtifactStore,
    /// The thread that computes.
    pub(crate) trainer: TrainerThread,
    /// Where scripts run, or what this node lacks for them.
    pub(crate) scripts: Result<Arc<Room>, NoScripts>,
    /// For requests that are no artifacts.
    pub(crate) http: reqwest::Client,
    /// The owner's limits and orders.
    pub(crate) pace: Pace,
    /// What is shown to the owner.
    pub(crate) board: Board,
    tally: std::sync::Mutex<Tally>,
    tally_file: PathBuf,
    /// Memory that work may use.
    memory_bytes: u64,
    receipts: Receipts,
    reports: mpsc::Sender<Report>,
    /// The texts of the run that was worked on last.
    inputs: Mutex<Option<(RunId, RunInputs)>>,
}

impl Context {
    /// Opens all of it below the data folder, apart for each deployment, so that a new chain begins with no memory of an old one.
    pub(crate) fn open(
        config: NodeConfig,
        roots: Roots,
        chain: Chain,
        memory_bytes: u64,
        pace: Pace,
        token: watch::Receiver<Option<String>>,
        reports: mpsc::Sender<Report>,
    ) -> Result<Self, TaskError> {
        let rates = Rates::of(&config.limits);
        let folder = config.data_dir.join("artifacts");
        let store = ArtifactStore::open(folder, config.cache_limit_bytes, rates, config.coordinator.clone(), token, &roots)?;
        let folder = config.data_dir.join(folder_of(&config.deployment));
        let receipts = Receipts::open(folder.clone())?;
        let tally_file = folder.join("tally.json");
        let tally = std::sync::Mutex::new(files::read_json(&tally_file)?.unwrap_or_default());
        let board = Board::new(crate::pace::now());
        let trainer = TrainerThread::start()?;
        let http = roots.http().timeout(Duration::from_secs(30)).build().map_err(|error| TaskError::Asked(error.to_string()))?;
        let memory_bytes = config.memory_limit_bytes.unwrap_or(memory_bytes);
        let inputs = Mutex::new(None);
        let scripts = Room::open(&config.scripts, &config.data_dir, config.threads, memory_bytes).map(Arc::new);
        if let Err(NoScripts { words, .. }) = &scripts
            && config.scripts.allowed
        {
            tracing::warn!(lack = words, "this node takes no scripts");
        }
        Ok(Self {
            config,
            roots,
            chain,
            store,
            trainer,
            scripts,
            http,
            pace,
            board,
            tally,
            tally_file,
            memory_bytes,
            receipts,
            reports,
            inputs,
        })
    }

    /// What the node has done.
    pub(crate) fn tally(&self) -> Tally {
        *self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the machine stands, for its provider.
    pub(crate) fn machine_state(&self) -> MachineState {
        let pace = self.pace.shown();
        let readings = pace.readings.unwrap_or_default();
        MachineState {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            work: self.board.shown().1,
            share_percent: pace.action.share().map(Share::as_percent),
            refusal: pace.action.refusal().map(ToString::to_string),
            devices: readings.devices,
            free_disk_mib: readings.free_disk_mib,
            limits: self.config.limits.words(),
        }
    }

    /// Counts what was done; figures for its owner, on which nothing depends.
    fn count(&self, change: impl FnOnce(&mut Tally)) {
        let mut tally = self.tally.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut tally);
        if let Err(error) = files::write_json(&self.tally_file, &*tally) {
            tracing::warn!(%error, "what the node has done could not be written down");
        }
    }

    /// Why no new work of this kind is taken now, if none is.
    fn takes(&self, kind: JobKind) -> Result<(), Reason> {
        self.config.limits.takes(kind)?;
        match self.pace.action().refusal() {
            Some(reason) => Err(reason.clone()),
            None => Ok(()),
        }
    }

    /// Recipe and texts of a run, what its adapters are for, and what this node keeps for it where it is federated; fetched once.
    async fn inputs(&self, run: &Run) -> Result<RunInputs, TaskError> {
        let (run_id, terms) = (run.id, &run.terms);
        let mut kept = self.inputs.lock().await;
        if let Some((kept_id, inputs)) = &*kept
            && *kept_id == run_id
        {
            return Ok(inputs.clone());
        }
        let recipe = self.store.get(terms.recipe).await?;
        let data = self.store.get(terms.data).await?;
        let held_out = self.store.get(terms.held_out).await?;
        let recipe = recipe_from_json(&recipe)?;
        let frozen = match recipe.adapter.as_ref().and_then(|adapter| adapter.base) {
            Some(base) => Some(self.store.get(base).await?),
            None => None,
        };
        let own = match &recipe.data.federated {
            Some(name) => Some(OwnData::find(&self.config.data, name, &run.tenant).map_err(TaskError::Asked)?.clone()),
            None => None,
        };
        // A tokenizer takes seconds to learn.
        let read = tokio::task::spawn_blocking(move || -> Result<_, TaskError> {
            let own = match &own {
                Some(own) => Some((own.name.as_str(), own.read().map_err(TaskError::Asked)?)),
                None => None,
            };
            Ok(RunInputs::with_own(recipe, data, held_out, frozen.as_deref(), own)?)
        })
        .await;
        let inputs = read.map_err(|_| TaskError::Asked("the run's data could not be read".to_owned()))??;
        if crate::engine::plan(&inputs.recipe)?.assigned_tokens() != terms.tokens_per_round {
            return Err(TaskError::Asked(format!(
                "the terms pay for {} tokens a round, the recipe assigns another number",
                terms.tokens_per_round
            )));
        }
        *kept = Some((run_id, inputs.clone()));
        Ok(inputs)
    }

    /// Removes what is kept of a run that ended.
    pub(crate) async fn forget_run(&self, run_id: RunId) {
        let kept = self.inputs.lock().await.take_if(|(kept_id, _)| *kept_id == run_id);
        drop(kept);
        if self.trainer.run(Urgency::Figures, move |bench| bench.forget(run_id)).await.is_err() {
            tracing::debug!(%run_id, "the trainer could not be told that the run ended");
        }
        if let Err(error) = self.receipts.forget_run(run_id) {
            tracing::warn!(%run_id, %error, "the files of the ended run could not be removed");
        }
    }

    fn sign(&self, bytes: &[u8]) -> starling_primitives::Signature {
        self.chain.sign(bytes)
    }
}

/// A folder's name for a deployment.
fn folder_of(deployment: &starling_contract_api::Deployment) -> PathBuf {
    let plain = |character: char| if character.is_ascii_alphanumeric() || character == '-' { character } else { '_' };
    let name: String = deployment.chain_id.chars().take(100).map(plain).collect();
    PathBuf::from(format!("{name}-{}-{}", deployment.compute, deployment.instance))
}

/// Does what was asked, again if what failed may pass by itself, and reports how it ended.
pub(crate) async fn perform(
    context: Arc<Context>,
    key: Key,
    message: ToNode,
    busy_with: Option<RunId>,
    cancel: Cancel,
    notes: mpsc::Receiver<LeaseNote>,
) {
    let finish = match message {
        ToNode::LeaseOpen { lease_id, last, .. } => lease::serve(&context, lease_id, last, busy_with, cancel, notes).await,
        ToNode::Prepare { request_id, recipe, fit, data, held_out, base } => {
            prepare::prepare(&context, request_id, prepare::Wanted { recipe, fit, data, held_out, base }).await
        }
        ToNode::ShowCheckpoint { request_id, run_id, checkpoint } => round::show_checkpoint(&context, request_id, run_id, checkpoint).await,
        message => {
            let mut tries = 1;
            loop {
                match do_round_part(&context, message.clone(), busy_with, cancel.clone()).await {
                    Ok(finish) => break finish,
                    Err(error) if tries < TRIES && error.is_passing() => tracing::warn!(?key, %error, tries, "trying again"),
                    Err(error) => {
                        tracing::warn!(?key, %error, "could not be done");
                        break Finish::Failed(refusal(key, &error));
                    }
                }
                tokio::time::sleep(RETRY_WAIT * tries).await;
                tries += 1;
            }
        }
    };
    if context.reports.send(Report::Finished(key, finish)).await.is_err() {
        tracing::debug!(?key, "the session has ended before the task");
    }
}

async fn do_round_part(context: &Arc<Context>, message: ToNode, busy_with: Option<RunId>, cancel: Cancel) -> Result<Finish, TaskError> {
    match message {
        ToNode::RunOpen { run_id, terms } => prepare::enroll(context, run_id, &terms, busy_with).await,
        ToNode::StartRound { run_id, terms, round, place, steps, state, state_root, .. } => {
            round::train(context, round::Share { run_id, terms: *terms, round, place, steps, state, state_root }, cancel).await
        }
        ToNode::Reveal { run_id, round } => round::reveal(context, run_id, round).await,
        ToNode::Score { run_id, round, state, seed, updates } => {
            round::score(context, run_id, round, round::Judging { state, seed, updates }, cancel).await
        }
        ToNode::Record { run_id, round, record, state, earlier, updates, statement } => {
            round::record(context, round::Proposal { run_id, round, record, state, earlier, updates, statement: *statement }).await
        }
        ToNode::Evaluate { run_id, round, state, windows } => round::evaluate(context, run_id, round, state, windows).await,
        ToNode::Export { run_id, state, state_root, .. } => round::export(context, run_id, state, state_root).await,
        _ => Ok(Finish::Quiet),
    }
}

/// How a failure is told, where the coordinator waits for an answer.
fn refusal(key: Key, error: &TaskError) -> Option<FromNode> {
    let reason = error.to_string();
    match key {
        Key::Round(run_id, round) | Key::Reveal(run_id, round) | Key::Score(run_id, round, _) | Key::Record(run_id, round, _) => {
            Some(FromNode::RoundRefused { run_id, round, reason })
        }
        Key::Enroll(run_id) => Some(FromNode::RunDeclined { run_id, reason }),
        Key::Lease(lease_id) => Some(FromNode::LeaseFailed { lease_id, reason }),
        Key::Prepare(_) | Key::Show(_) | Key::Evaluate(..) | Key::Export(_) => None,
    }
}

/// Reads the state behind an artifact and refuses one with another root than was said.
async fn state_of(context: &Context, inputs: &RunInputs, state: Hash32, root: Hash32) -> Result<starling_rounds::OuterState, TaskError> {
    let bytes = context.store.get(state).await?;
    let state = crate::engine::read_state(&inputs.recipe, &bytes)?;
    let found = state.root();
    if found != root {
        return Err(TaskError::Asked(format!("the state's root is {found}, not {root}")));
    }
    Ok(state)
}
