//! The engine: one owner of all work. It takes what nodes, tenants and the chain say, applies it, stores the new state, and only then does what is due.

mod admit;
mod lease;
mod run;

use crate::{
    artifacts::{Access, Artifacts},
    board::{Board, Live},
    chain::{Chain, FactsReader},
    clock,
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
use tokio::sync::{mpsc, oneshot};

/// How often time alone is looked at.
const TICK: Duration = Duration::from_millis(250);
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
    /// A task ended and may be started again.
    TaskEnded(String),
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

/// The engine. Its loop has one owner.
pub struct Engine {
    tools: Tools,
    commands: mpsc::Receiver<Command>,
    sender: mpsc::Sender<Command>,
    nodes: mpsc::Receiver<NodeEvent>,
    tasks: HashSet<String>,
    metrics: Vec<(RunId, MetricPoint)>,
    seen_runs: BTreeMap<RunId, Arc<starling_protocol::run::Run>>,
    seen_leases: BTreeMap<LeaseId, Arc<starling_protocol::lease::Lease>>,
    booted_at: TimestampMs,
}

impl Engine {
    /// Takes up the stored work.
    pub async fn new(tools: Tools, nodes: mpsc::Receiver<NodeEvent>) -> Result<(Self, mpsc::Sender<Command>), DbError> {
        let runs: Vec<RunWork> = tools.db.works(WorkKind::Run).await?;
        let leases: Vec<LeaseWork> = tools.db.works(WorkKind::Lease).await?;
        {
            let mut shown = tools.board.write();
            shown.runs = runs.into_iter().map(|work| (work.run_id, work)).collect();
            shown.leases = leases.into_iter().map(|work| (work.lease_id, work)).collect();
        }
        let (sender, commands) = mpsc::channel(4_096);
        let engine = Self {
            tools,
            commands,
            sender: sender.clone(),
            nodes,
            tasks: HashSet::new(),
            metrics: Vec::new(),
            seen_runs: BTreeMap::new(),
            seen_leases: BTreeMap::new(),
            booted_at: clock::now(),
        };
        Ok((engine, sender))
    }

    /// Works for ever.
    pub async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let outcome = tokio::select! {
                Some(event) = self.nodes.recv() => self.take_node(event).await,
                Some(command) = self.commands.recv() => self.take_command(command).await,
                _ = tick.tick() => self.sweep().await,
            };
            if let Err(error) = outcome {
                // The state in memory and the stored one may differ now; the stored one counts.
                tracing::error!(%error, "work could not be stored");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }

    /// Everything that time and the chain demand.
    async fn sweep(&mut self) -> Result<(), DbError> {
        if !self.metrics.is_empty() {
            let points = std::mem::take(&mut self.metrics);
            self.tools.db.add_metrics(&points).await?;
        }
        let facts = self.tools.facts.borrow().clone();
        if !facts.complete {
            return Ok(());
        }
        let now = facts.chain_time(clock::now());
        for run in facts.runs.values() {
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
        for lease in facts.leases.values() {
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
            Command::TaskEnded(key) => {
                self.tasks.remove(&key);
            }
        }
        Ok(())
    }

    async fn take_node(&mut self, event: NodeEvent) -> Result<(), DbError> {
        match event {
            NodeEvent::Joined(node) => {
                tracing::info!(%node, "a node connected");
                self.sweep().await
            }
            NodeEvent::Left(node) => {
                tracing::info!(%node, "a node went");
                self.sweep().await
            }
            NodeEvent::Said(node, message) => self.take_message(node, message).await,
        }
    }

    async fn take_message(&mut self, node: NodeId, message: FromNode) -> Result<(), DbError> {
        match message {
            FromNode::LeaseStarted { .. }
            | FromNode::Output { .. }
            | FromNode::Metrics { .. }
            | FromNode::Setup { .. }
            | FromNode::Statement { .. }
            | FromNode::LeaseFailed { .. } => self.take_lease_message(node, message).await,
            FromNode::Progress { run_id, round, step, loss, tokens_per_second, .. } => {
                self.progress(node, run_id, Live { round, step, loss: Some(loss), tokens_per_second: Some(tokens_per_second) });
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
