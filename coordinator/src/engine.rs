//! The engine: takes what nodes, tenants and the chain say, applies it, stores the new state, and only then does what is due.
//!
//! Each run and lease has one owner, the lane of its number. Lanes do not wait for each other: what they store at one moment lies on the disk at once.

mod admit;
mod lease;
mod run;

use crate::{
    artifacts::{Access, Artifacts},
    board::{Board, Live},
    chain::{Chain, FactsReader},
    clock,
    compute::Compute,
    db::{Db, DbError, WorkKind},
    hub::{Hub, NodeEvent},
    leases::LeaseWork,
    outbox::Outbox,
    problem::Fault,
    runs::{self, RunWork, Stage},
    streams::Streams,
};
use starling_contract_api::Deployment;
use starling_http_api::{node::FromNode, run::MetricPoint};
use starling_primitives::{LeaseId, NodeId, RunId, Signature, TimestampMs};
use starling_protocol::{lease::LeaseState, run::RunState};
use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};

/// How often time alone is looked at.
const TICK: Duration = Duration::from_millis(250);
/// Runs and leases that are worked on at once.
const LANES: u64 = 64;
/// What a lane has not taken yet; who says more waits.
const LANE_QUEUE: usize = 256;
/// Wait before something is tried again that could not be stored.
const RETRY: Duration = Duration::from_millis(300);
/// What a node said is tried again so often, which is a minute.
const RETRIES: u32 = 200;
/// Work that ended so long ago is not planned for any more.
const FORGET_MS: u64 = 86_400_000;

/// What others ask of the engine.
#[derive(Debug)]
pub enum Command {
    /// The meter's signature of a run's round.
    RunMeter {
        /// Which run.
        run_id: RunId,
        /// Which round.
        round: u32,
        /// In the role of meter.
        signature: Signature,
        /// Where the answer goes.
        answer: oneshot::Sender<Result<(), Fault>>,
    },
    /// The meter's signature of a lease's statement.
    LeaseMeter {
        /// Which lease.
        lease_id: LeaseId,
        /// Number of the statement.
        seq: u64,
        /// In the role of meter.
        signature: Signature,
        /// Where the answer goes.
        answer: oneshot::Sender<Result<(), Fault>>,
    },
    /// A task's outcome.
    RunEvent(RunId, runs::Event),
    /// A lease's job was checked.
    LeaseAdmitted(LeaseId, Result<starling_http_api::job::JobSpec, String>),
    /// What a node said about a run or lease.
    Said(NodeId, Box<FromNode>),
    /// A task ended and may be started again; said to its own lane.
    TaskEnded(String),
}

impl Command {
    /// Number of the run or lease that it is about.
    fn number(&self) -> u64 {
        match self {
            Self::RunMeter { run_id, .. } | Self::RunEvent(run_id, _) => run_id.0,
            Self::LeaseMeter { lease_id, .. } | Self::LeaseAdmitted(lease_id, _) => lease_id.0,
            Self::Said(_, message) => number_of(message),
            Self::TaskEnded(_) => 0,
        }
    }
}

/// Number of the run or lease that a node speaks of.
fn number_of(message: &FromNode) -> u64 {
    match message {
        FromNode::RunDeclined { run_id, .. }
        | FromNode::Progress { run_id, .. }
        | FromNode::Revealed { run_id, .. }
        | FromNode::Scored { run_id, .. }
        | FromNode::RoundSigned { run_id, .. }
        | FromNode::RoundRefused { run_id, .. }
        | FromNode::Evaluated { run_id, .. }
        | FromNode::Exported { run_id, .. } => run_id.0,
        FromNode::Committed { commitment, .. } => commitment.run_id.0,
        FromNode::LeaseStarted { lease_id }
        | FromNode::Output { lease_id, .. }
        | FromNode::Metrics { lease_id, .. }
        | FromNode::Setup { lease_id, .. }
        | FromNode::LeaseFailed { lease_id, .. } => lease_id.0,
        FromNode::Statement { statement, .. } => statement.lease_id.0,
        FromNode::Hello { .. }
        | FromNode::Alive
        | FromNode::Machine { .. }
        | FromNode::Prepared { .. }
        | FromNode::CheckpointShown { .. } => 0,
    }
}

/// The way to the engine. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ear {
    lanes: Arc<[mpsc::Sender<Command>]>,
}

impl Ear {
    /// Says something to the lane that it concerns.
    ///
    /// # Errors
    /// The engine has stopped.
    pub async fn send(&self, command: Command) -> Result<(), mpsc::error::SendError<Command>> {
        let place = lane_of(command.number());
        match self.lanes.get(place) {
            Some(lane) => lane.send(command).await,
            None => Err(mpsc::error::SendError(command)),
        }
    }
}

fn lane_of(number: u64) -> usize {
    usize::try_from(number % LANES).unwrap_or(0)
}

/// What the engine works with.
#[derive(Clone)]
pub struct Tools {
    /// Storage of work.
    pub db: Db,
    /// The chain.
    pub chain: Arc<dyn Chain>,
    /// The newest facts.
    pub facts: FactsReader,
    /// Nodes.
    pub hub: Hub,
    /// Bytes.
    pub artifacts: Artifacts,
    /// Rounds.
    pub compute: Compute,
    /// Rights.
    pub access: Access,
    /// What must happen once on chain.
    pub outbox: Outbox,
    /// Readers of news.
    pub streams: Streams,
    /// What is shown.
    pub board: Board,
    /// Contracts and chain.
    pub deployment: Deployment,
}

/// The engine: hears the nodes, and tells the lanes.
pub struct Engine {
    tools: Tools,
    ear: Ear,
    nodes: mpsc::Receiver<NodeEvent>,
    lanes: Vec<Lane>,
    look: watch::Sender<()>,
}

/// The owner of every run and lease whose number leads here.
struct Lane {
    place: usize,
    tools: Tools,
    commands: mpsc::Receiver<Command>,
    sender: mpsc::Sender<Command>,
    /// Tells when nodes came or went.
    look: watch::Receiver<()>,
    tasks: HashSet<String>,
    metrics: Vec<(RunId, MetricPoint)>,
    seen_runs: BTreeMap<RunId, Arc<starling_protocol::run::Run>>,
    seen_leases: BTreeMap<LeaseId, Arc<starling_protocol::lease::Lease>>,
    booted_at: TimestampMs,
}

impl Engine {
    /// An engine that hears these nodes.
    pub fn new(tools: Tools, nodes: mpsc::Receiver<NodeEvent>) -> (Self, Ear) {
        let (look, looked) = watch::channel(());
        let (senders, lanes) = (0..usize::try_from(LANES).unwrap_or(1))
            .map(|place| {
                let (sender, commands) = mpsc::channel(LANE_QUEUE);
                let lane = Lane {
                    place,
                    tools: tools.clone(),
                    commands,
                    sender: sender.clone(),
                    look: looked.clone(),
                    tasks: HashSet::new(),
                    metrics: Vec::new(),
                    seen_runs: BTreeMap::new(),
                    seen_leases: BTreeMap::new(),
                    booted_at: clock::now(),
                };
                (sender, lane)
            })
            .unzip::<_, _, Vec<_>, Vec<_>>();
        let ear = Ear { lanes: senders.into() };
        (Self { tools, ear: ear.clone(), nodes, lanes, look }, ear)
    }

    /// Takes up the stored work.
    pub async fn take_up(&self) -> Result<(), DbError> {
        let runs: Vec<RunWork> = self.tools.db.works(WorkKind::Run).await?;
        let leases: Vec<LeaseWork> = self.tools.db.works(WorkKind::Lease).await?;
        let mut shown = self.tools.board.write();
        shown.runs = runs.into_iter().map(|work| (work.run_id, work)).collect();
        shown.leases = leases.into_iter().map(|work| (work.lease_id, work)).collect();
        Ok(())
    }

    /// Works for ever.
    pub async fn run(self) {
        let Self { ear, mut nodes, lanes, look, .. } = self;
        let mut working = JoinSet::new();
        for lane in lanes {
            working.spawn(lane.run());
        }
        loop {
            let event = tokio::select! {
                Some(event) = nodes.recv() => event,
                // A lane ends by an error in this program alone.
                _ = working.join_next() => return,
                else => return,
            };
            match event {
                NodeEvent::Joined(node) => {
                    tracing::info!(%node, "a node connected");
                    look.send_replace(());
                }
                NodeEvent::Left(node) => {
                    tracing::info!(%node, "a node went");
                    look.send_replace(());
                }
                NodeEvent::Said(node, message) => {
                    if ear.send(Command::Said(node, message)).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

impl Lane {
    async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.booted_at = clock::now();
        loop {
            let outcome = tokio::select! {
                Some(command) = self.commands.recv() => self.take_command(command).await,
                Ok(()) = self.look.changed() => self.sweep().await,
                _ = tick.tick() => self.sweep().await,
            };
            if let Err(error) = outcome {
                tracing::error!(%error, "work could not be stored");
                tokio::time::sleep(RETRY).await;
            }
        }
    }

    /// Everything that time and the chain demand.
    async fn sweep(&mut self) -> Result<(), DbError> {
        if !self.metrics.is_empty() {
            self.tools.db.add_metrics(&self.metrics).await?;
            self.metrics.clear();
        }
        let facts = self.tools.facts.borrow().clone();
        if !facts.complete {
            return Ok(());
        }
        let (now, place) = (facts.chain_time(clock::now()), self.place);
        for run in facts.runs.values().filter(|run| lane_of(run.id.0) == place) {
            let changed = self.seen_runs.get(&run.id).is_none_or(|seen| seen != run);
            let over = matches!(run.state, RunState::Ended { at, settled: true, .. } if now.since(at).0 > FORGET_MS);
            if changed || !over {
                self.step_run(run.id, runs::Event::Tick).await?;
            }
            if changed {
                self.seen_runs.insert(run.id, run.clone());
                self.show_run(run.id);
            }
        }
        for lease in facts.leases.values().filter(|lease| lane_of(lease.id.0) == place) {
            let changed = self.seen_leases.get(&lease.id).is_none_or(|seen| seen != lease);
            let over = matches!(lease.state, LeaseState::Closed { ended_at, .. } if now.since(ended_at).0 > FORGET_MS);
            if changed || !over {
                self.step_lease(lease.id).await?;
            }
            if changed {
                self.seen_leases.insert(lease.id, lease.clone());
                self.show_lease(lease.id);
            }
        }
        Ok(())
    }

    async fn take_command(&mut self, command: Command) -> Result<(), DbError> {
        match command {
            Command::RunMeter { run_id, round, signature, answer } => {
                let outcome = self.take_run_meter(run_id, round, signature).await?;
                drop(answer.send(outcome));
            }
            Command::LeaseMeter { lease_id, seq, signature, answer } => {
                let outcome = self.take_lease_meter(lease_id, seq, signature).await?;
                drop(answer.send(outcome));
            }
            Command::RunEvent(run_id, event) => self.step_run(run_id, event).await?,
            Command::LeaseAdmitted(lease_id, outcome) => self.lease_admitted(lease_id, outcome).await?,
            Command::Said(node, message) => {
                // A node says it once on a connection: it is not lost because the database was away for a while.
                for _ in 0..RETRIES {
                    match self.take_message(node, (*message).clone()).await {
                        Ok(()) => return Ok(()),
                        Err(error) => tracing::error!(%error, %node, "what a node said could not be stored; trying again"),
                    }
                    tokio::time::sleep(RETRY).await;
                }
                self.take_message(node, *message).await?;
            }
            Command::TaskEnded(key) => {
                self.tasks.remove(&key);
            }
        }
        Ok(())
    }

    async fn take_message(&mut self, node: NodeId, message: FromNode) -> Result<(), DbError> {
        match message {
            FromNode::LeaseStarted { .. }
            | FromNode::Output { .. }
            | FromNode::Metrics { .. }
            | FromNode::Setup { .. }
            | FromNode::Statement { .. }
            | FromNode::LeaseFailed { .. } => self.take_lease_message(node, message).await,
            FromNode::Progress { run_id, round, step, loss, learning_rate, tokens_per_second } => {
                let made =
                    Live { round, step, loss: Some(loss), learning_rate: Some(learning_rate), tokens_per_second: Some(tokens_per_second) };
                self.progress(node, run_id, made);
                Ok(())
            }
            message => self.take_run_message(node, message).await,
        }
    }

    /// Starts a task unless one of this name is under way.
    fn spawn(&mut self, key: String, task: impl Future<Output = Option<Command>> + Send + 'static) {
        if !self.tasks.insert(key.clone()) {
            return;
        }
        let sender = self.sender.clone();
        tokio::spawn(async move {
            let outcome = task.await;
            if outcome.is_none() {
                // It failed and was logged: not at once again.
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
            for command in outcome.into_iter().chain([Command::TaskEnded(key)]) {
                if sender.send(command).await.is_err() {
                    return;
                }
            }
        });
    }

    fn stage_of(&self, run_id: RunId) -> Option<Stage> {
        self.tools.board.read().runs.get(&run_id).map(|work| work.stage.clone())
    }
}
