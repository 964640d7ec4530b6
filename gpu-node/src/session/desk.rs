//! What the node is doing and what it does next: a pure state machine. Messages and results go in, effects come out.
//!
//! The coordinator asks again after each reconnect and after its own restart. So each thing that can be asked has a [`Key`]: what is under way is not
//! started twice, and what was answered is answered again.

use starling_http_api::node::{FromNode, PlacedUpdate, ToNode};
use starling_primitives::{Hash32, LeaseId, RunId, Signature};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
};

/// Tasks under way at once; an orderly coordinator asks for a handful.
const MAX_RUNNING: usize = 64;
/// Answers that are kept for being asked again.
const MAX_ANSWERS: usize = 128;

/// Names a thing that can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Key {
    /// A recipe and data to make ready; numbered by the coordinator.
    Prepare(u64),
    /// A checkpoint to be shown; numbered by the coordinator.
    Show(u64),
    /// Joining a run.
    Enroll(RunId),
    /// A share of a round.
    Round(RunId, u32),
    /// Uploading the update.
    Reveal(RunId, u32),
    /// Scoring these updates; who takes over from another judge is asked for others.
    Score(RunId, u32, Hash32),
    /// Checking and signing a record.
    Record(RunId, u32, Hash32),
    /// A held-out figure.
    Evaluate(RunId, Option<u32>),
    /// Files of the final state.
    Export(RunId),
    /// A lease.
    Lease(LeaseId),
}

/// How a task ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Finish {
    /// With this answer, given again when asked again.
    Answer(FromNode),
    /// With nothing to say.
    Quiet,
    /// Without a result; asked again, it is tried again.
    Failed(Option<FromNode>),
}

/// What goes in.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Event {
    /// The coordinator said something.
    Heard(ToNode),
    /// A task ended.
    Finished(Key, Finish),
}

/// What comes out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// Tell the coordinator.
    Say(FromNode),
    /// Begin a task.
    Start {
        /// Its name.
        key: Key,
        /// What was asked.
        message: Box<ToNode>,
        /// The run that the node takes itself to be in, if it is another one.
        busy_with: Option<RunId>,
    },
    /// End a task at once; it reports nothing any more.
    Cancel(Key),
    /// The lease under way is asked for again: repeat what waits for an answer.
    RepeatLease,
    /// The meter signed a statement of the lease under way.
    LeaseSigned(u64, Signature),
    /// Let the lease under way come to its end.
    EndLease,
    /// Remove what is kept of a run.
    ForgetRun(RunId),
}

/// The state.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    run: Option<RunId>,
    lease: Option<LeaseId>,
    running: BTreeSet<Key>,
    answers: BTreeMap<Key, Option<FromNode>>,
    /// Keys of `answers`, oldest first.
    order: VecDeque<Key>,
}

impl Desk {
    /// Takes an event and gives what follows from it, in order.
    pub(crate) fn apply(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Heard(message) => self.hear(message),
            Event::Finished(key, finish) => self.finish(key, finish),
        }
    }

    /// Whether nothing is under way and nothing is waited for.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.is_empty() && self.run.is_none() && self.lease.is_none()
    }

    /// What is under way, by name.
    pub(crate) fn work(&self) -> Vec<String> {
        let waits = self.run.filter(|run| !self.running.iter().any(|key| key.run() == Some(*run)));
        waits.map(|run| format!("run {run} (between two tasks)")).into_iter().chain(self.running.iter().map(ToString::to_string)).collect()
    }

    fn hear(&mut self, message: ToNode) -> Vec<Effect> {
        let Some(key) = key_of(&message) else { return self.hear_note(&message) };
        match &message {
            ToNode::RunOpen { run_id, .. } => {
                let busy_with = self.run.filter(|other| other != run_id);
                if let Some(lease) = self.lease {
                    return vec![Effect::Say(FromNode::RunDeclined { run_id: *run_id, reason: format!("busy with lease {lease}") })];
                }
                self.ask(key, message, busy_with)
            }
            ToNode::StartRound { run_id, round, .. } => {
                self.run = Some(*run_id);
                let mut effects = self.cancel_where(|key| matches!(key, Key::Round(run, other) if *run != *run_id || other != round));
                effects.extend(self.ask(key, message, None));
                effects
            }
            ToNode::LeaseOpen { lease_id, .. } => match self.lease {
                Some(other) if other == *lease_id => vec![Effect::RepeatLease],
                Some(other) => vec![lease_refused(*lease_id, format!("busy with lease {other}"))],
                None => {
                    let (busy_with, lease_id) = (self.run, *lease_id);
                    let effects = self.ask(key, message, busy_with);
                    self.lease = self.running.contains(&key).then_some(lease_id);
                    effects
                }
            },
            _ => self.ask(key, message, None),
        }
    }

    fn hear_note(&mut self, message: &ToNode) -> Vec<Effect> {
        match message {
            ToNode::RunEnded { run_id } => self.end_run(*run_id),
            ToNode::MeterSigned { lease_id, seq, signature } if self.lease == Some(*lease_id) => {
                vec![Effect::LeaseSigned(*seq, *signature)]
            }
            ToNode::LeaseEnded { lease_id } => {
                self.forget(|key| *key == Key::Lease(*lease_id));
                if self.lease == Some(*lease_id) { vec![Effect::EndLease] } else { Vec::new() }
            }
            _ => Vec::new(),
        }
    }

    fn ask(&mut self, key: Key, message: ToNode, busy_with: Option<RunId>) -> Vec<Effect> {
        if let Some(answer) = self.answers.get(&key) {
            return answer.iter().cloned().map(Effect::Say).collect();
        }
        if self.running.contains(&key) {
            return Vec::new();
        }
        if self.running.len() >= MAX_RUNNING {
            tracing::warn!(?key, "too many tasks are under way; this one is left out");
            return Vec::new();
        }
        self.running.insert(key);
        vec![Effect::Start { key, message: Box::new(message), busy_with }]
    }

    fn finish(&mut self, key: Key, finish: Finish) -> Vec<Effect> {
        // A task that was cancelled may have reported in between.
        if !self.running.remove(&key) {
            return Vec::new();
        }
        match (key, &finish) {
            (Key::Lease(_), _) => self.lease = None,
            // Joined: from now on the node is in this run.
            (Key::Enroll(run_id), Finish::Quiet) => self.run = Some(run_id),
            _ => {}
        }
        match finish {
            Finish::Answer(answer) => {
                self.keep(key, Some(answer.clone()));
                vec![Effect::Say(answer)]
            }
            Finish::Quiet => {
                self.keep(key, None);
                Vec::new()
            }
            Finish::Failed(say) => say.into_iter().map(Effect::Say).collect(),
        }
    }

    fn keep(&mut self, key: Key, answer: Option<FromNode>) {
        // A coordinator that restarted counts its requests anew.
        if matches!(key, Key::Prepare(_) | Key::Show(_)) {
            return;
        }
        self.answers.insert(key, answer);
        self.order.push_back(key);
        if self.order.len() > MAX_ANSWERS
            && let Some(oldest) = self.order.pop_front()
        {
            self.answers.remove(&oldest);
        }
    }

    fn end_run(&mut self, run_id: RunId) -> Vec<Effect> {
        let of_run = |key: &Key| key.run() == Some(run_id);
        let mut effects = self.cancel_where(of_run);
        self.forget(of_run);
        self.run = self.run.filter(|run| *run != run_id);
        effects.push(Effect::ForgetRun(run_id));
        effects
    }

    fn cancel_where(&mut self, unwanted: impl Fn(&Key) -> bool) -> Vec<Effect> {
        let keys: Vec<Key> = self.running.extract_if(.., |key| unwanted(key)).collect();
        keys.into_iter().map(Effect::Cancel).collect()
    }

    fn forget(&mut self, unwanted: impl Fn(&Key) -> bool) {
        self.answers.retain(|key, _| !unwanted(key));
        self.order.retain(|key| !unwanted(key));
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prepare(_) => f.write_str("making a run ready"),
            Self::Show(_) => f.write_str("showing a checkpoint"),
            Self::Enroll(run) => write!(f, "joining run {run}"),
            Self::Round(run, round) => write!(f, "training round {} of run {run}", round + 1),
            Self::Reveal(run, round) => write!(f, "uploading round {} of run {run}", round + 1),
            Self::Score(run, round, _) => write!(f, "scoring round {} of run {run}", round + 1),
            Self::Record(run, round, _) => write!(f, "checking round {} of run {run}", round + 1),
            Self::Evaluate(run, _) => write!(f, "evaluating run {run}"),
            Self::Export(run) => write!(f, "exporting run {run}"),
            Self::Lease(lease) => write!(f, "lease {lease}"),
        }
    }
}

impl Key {
    /// The run that it is about.
    fn run(&self) -> Option<RunId> {
        match self {
            Self::Enroll(run)
            | Self::Round(run, _)
            | Self::Reveal(run, _)
            | Self::Score(run, ..)
            | Self::Record(run, ..)
            | Self::Evaluate(run, _)
            | Self::Export(run) => Some(*run),
            Self::Prepare(_) | Self::Show(_) | Self::Lease(_) => None,
        }
    }
}

/// The name of what a message asks for; nothing for what asks for no answer.
fn key_of(message: &ToNode) -> Option<Key> {
    Some(match message {
        ToNode::Prepare { request_id, .. } => Key::Prepare(*request_id),
        ToNode::ShowCheckpoint { request_id, .. } => Key::Show(*request_id),
        ToNode::RunOpen { run_id, .. } => Key::Enroll(*run_id),
        ToNode::StartRound { run_id, round, .. } => Key::Round(*run_id, *round),
        ToNode::Reveal { run_id, round } => Key::Reveal(*run_id, *round),
        ToNode::Score { run_id, round, updates, .. } => Key::Score(*run_id, *round, digest(updates)),
        ToNode::Record { run_id, round, record, .. } => Key::Record(*run_id, *round, *record),
        ToNode::Evaluate { run_id, round, .. } => Key::Evaluate(*run_id, *round),
        ToNode::Export { run_id, .. } => Key::Export(*run_id),
        ToNode::LeaseOpen { lease_id, .. } => Key::Lease(*lease_id),
        ToNode::Challenge { .. }
        | ToNode::Welcome { .. }
        | ToNode::Refused { .. }
        | ToNode::RunEnded { .. }
        | ToNode::MeterSigned { .. }
        | ToNode::LeaseEnded { .. } => return None,
    })
}

fn digest(updates: &[PlacedUpdate]) -> Hash32 {
    let bytes: Vec<u8> = updates.iter().flat_map(|placed| placed.place.to_le_bytes().into_iter().chain(placed.update.0)).collect();
    Hash32::sha256(&bytes)
}

fn lease_refused(lease_id: LeaseId, reason: String) -> Effect {
    Effect::Say(FromNode::LeaseFailed { lease_id, reason })
}

#[cfg(test)]
#[path = "desk_tests.rs"]
mod tests;
