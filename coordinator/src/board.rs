//! The board: what the engine shows to readers. Only the engine writes it.

use crate::{
    chain::Facts,
    hub::{Abilities, Hub},
    leases::LeaseWork,
    runs::{RunWork, Stage},
};
use starling_http_api::{
    lease::LeaseView,
    node::NodeView,
    run::{MemberView, PendingStatement, RunView},
};
use starling_primitives::{Amount, LeaseId, NodeId, RunId, TimestampMs};
use starling_protocol::{
    lease::{Lease, LeaseState},
    node::Node,
    run::{Ending, FailReason, Run, RunState},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

/// What readers see. Cheap to clone.
#[derive(Clone, Default)]
pub struct Board(Arc<RwLock<Shown>>);

/// The contents of the board.
#[derive(Default)]
pub struct Shown {
    /// Work of runs.
    pub runs: BTreeMap<RunId, RunWork>,
    /// Work of leases.
    pub leases: BTreeMap<LeaseId, LeaseWork>,
    /// What members said of themselves in the round under way.
    pub live: BTreeMap<(RunId, NodeId), Live>,
    /// Tokens a second in each node's last accepted round.
    pub rates: BTreeMap<NodeId, f64>,
}

/// What a member said last.
#[derive(Clone, Copy, Debug, Default)]
pub struct Live {
    /// Of which round.
    pub round: u32,
    /// Inner step within it.
    pub step: u32,
    /// Nats a token.
    pub loss: Option<f64>,
    /// The learning rate of the step.
    pub learning_rate: Option<f64>,
    /// By its own count.
    pub tokens_per_second: Option<f64>,
}

impl Board {
    /// To read.
    pub fn read(&self) -> RwLockReadGuard<'_, Shown> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// To write; the engine's alone.
    pub fn write(&self) -> RwLockWriteGuard<'_, Shown> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A run as it is shown.
pub fn run_view(run: &Run, shown: &Shown, hub: &Hub, now: TimestampMs) -> RunView {
    let work = shown.runs.get(&run.id);
    let members = run.roster.iter().enumerate().map(|(place, member)| {
        let live = shown.live.get(&(run.id, member.node_id)).copied().unwrap_or_default();
        MemberView {
            node_id: member.node_id,
            activity: activity(run, work, place, hub.is_connected(member.node_id), member.left),
            step: live.step,
            loss: live.loss,
            tokens_per_second: live.tokens_per_second,
            accepted_tokens: member.tokens,
            heard_at: hub.heard_at(member.node_id),
        }
    });
    let earned = run.earned().ok().and_then(|earned| Amount::sum(earned.into_iter().map(|(_, amount)| amount)).ok()).unwrap_or_default();
    RunView {
        run: run.clone(),
        earned,
        members: members.collect(),
        held_out: work.and_then(|work| work.held_out),
        tokens_per_second: work.and_then(|work| work.tokens_per_second),
        bytes_exchanged: work.map_or(0, |work| work.bytes_exchanged),
        result: work.and_then(|work| work.result.clone()),
        checkpoint: work.map(|work| work.state).filter(|_| run.rounds_done > 0),
        sentence: sentence(run, work),
        at: now,
    }
}

/// What waits for a run's meter.
pub fn pending_statement(work: &RunWork) -> Option<PendingStatement> {
    let made = work.pending()?;
    Some(PendingStatement { statement: made.statement.clone(), record: made.record, updates: made.updates.clone(), before: work.state })
}

/// A lease as it is shown.
pub fn lease_view(lease: &Lease, shown: &Shown, hub: &Hub) -> LeaseView {
    let work = shown.leases.get(&lease.id);
    LeaseView {
        lease: lease.clone(),
        earned: lease.earned().unwrap_or_default(),
        job: work.and_then(|work| work.job.clone()),
        output: work.map_or_else(String::new, |work| work.output.clone()),
        metrics: work.map_or_else(Vec::new, |work| work.metrics.clone()),
        report: work.and_then(|work| work.report.clone()),
        setup: work.and_then(|work| work.setup.clone()),
        heard_at: hub.heard_at(lease.node_id),
        failure: work.and_then(|work| work.failure.clone()),
    }
}

/// A node as it is shown.
pub fn node_view(node: &Node, facts: &Facts, shown: &Shown, hub: &Hub) -> NodeView {
    let of_node = |run: &&Arc<Run>| run.roster.iter().any(|member| member.node_id == node.id);
    // A round that counted for a node paid it tokens; the chain keeps the sum.
    let rounds = facts.runs.values().filter(of_node).map(|run| rounds_of(run, node.id)).sum();
    let Abilities { scripts, data } = hub.abilities(node.id);
    NodeView {
        node: node.clone(),
        connected: hub.is_connected(node.id),
        heard_at: hub.heard_at(node.id),
        measured_tokens_per_second: shown.rates.get(&node.id).copied(),
        rounds,
        busy: busy(facts, node.id).unwrap_or_else(|| "idle".to_owned()),
        scripts: scripts.is_ok(),
        lacks: scripts.err().unwrap_or_default(),
        data,
    }
}

/// What a node works on by the chain, if anything.
pub fn busy(facts: &Facts, node: NodeId) -> Option<String> {
    let works = |run: &&Arc<Run>| {
        !matches!(run.state, RunState::Ended { .. }) && run.roster.iter().any(|member| member.node_id == node && !member.left)
    };
    let run = facts.runs.values().find(works).map(|run| format!("run {}", run.id));
    let open = |lease: &&Arc<Lease>| lease.node_id == node && matches!(lease.state, LeaseState::Pending { .. } | LeaseState::Active { .. });
    run.or_else(|| facts.leases.values().find(open).map(|lease| format!("lease {}", lease.id)))
}

fn rounds_of(run: &Run, node: NodeId) -> u64 {
    let tokens: u64 = run.roster.iter().filter(|member| member.node_id == node).map(|member| member.tokens).sum();
    tokens.div_ceil(u64::from(run.terms.tokens_per_round.max(1)))
}

fn activity(run: &Run, work: Option<&RunWork>, place: usize, connected: bool, left: bool) -> String {
    let place = u16::try_from(place).unwrap_or(u16::MAX);
    let ended = matches!(run.state, RunState::Ended { .. });
    let word = match work.map(|work| &work.stage) {
        _ if left || (!connected && !ended) => "lost",
        Some(Stage::Collecting { commitments, .. }) if !commitments.contains_key(&place) => "training",
        Some(Stage::Collecting { .. } | Stage::Revealing { .. } | Stage::Inspecting { .. }) => "committed",
        Some(Stage::Scoring { .. } | Stage::Recording { .. }) => "scoring",
        Some(Stage::Signing { signatures, .. }) if !signatures.contains_key(&place) => "signing",
        _ => "waiting",
    };
    word.to_owned()
}

fn sentence(run: &Run, work: Option<&RunWork>) -> String {
    if let Some(reason) = work.and_then(|work| work.not_served.as_ref()) {
        return format!("This coordinator does not serve the run: {reason} Its tenant gets back what was not earned by stopping it.");
    }
    let rounds = run.terms.rounds;
    match run.state {
        RunState::Pending => "The payment is on its way into escrow.".to_owned(),
        RunState::Enrolling { .. } => format!("{} of at most {} nodes have joined.", run.roster.len(), run.terms.max_nodes),
        RunState::Training { round, .. } => {
            let what = match work.map(|work| &work.stage) {
                Some(Stage::Collecting { commitments, .. }) => format!(
                    "{} of {} nodes have committed their work",
                    commitments.len(),
                    run.roster.iter().filter(|member| !member.left).count()
                ),
                Some(Stage::Revealing { .. } | Stage::Inspecting { .. }) => "updates are uploaded".to_owned(),
                Some(Stage::Scoring { .. } | Stage::Recording { .. }) => "a drawn node scores the updates".to_owned(),
                Some(Stage::Signing { quorum_at: None, .. }) => "nodes check and sign".to_owned(),
                Some(Stage::Signing { meter: None, .. }) => {
                    "waiting for the tenant's signature: its page or command must stay open".to_owned()
                }
                Some(Stage::Signing { .. }) => "the round goes on chain".to_owned(),
                _ => "nodes are called".to_owned(),
            };
            format!("Round {} of {rounds}: {what}.", round + 1)
        }
        RunState::Ended { ending, settled, .. } => {
            let how = match ending {
                Ending::Finished => "All rounds are done.",
                Ending::Stopped => "The tenant stopped the run.",
                Ending::Failed(FailReason::TooFewNodes) => "Too few nodes joined in time.",
                Ending::Failed(FailReason::RoundTimedOut) => "A round had no quorum in time.",
                Ending::Failed(FailReason::RosterTooSmall) => "Too many nodes left.",
                Ending::Failed(FailReason::Objected) => "The tenant objected to what the meter had signed.",
            };
            let money =
                if settled { "What was not earned is back on the tenant's balance." } else { "The last figures are being settled." };
            format!("{how} {} of {rounds} rounds counted. {money}", run.rounds_done)
        }
    }
}
