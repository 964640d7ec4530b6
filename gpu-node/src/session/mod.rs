//! The session with the coordinator: one owner loop that dials, hears, decides by the desk and acts. Tasks outlive a lost connection.

pub(crate) mod desk;
mod link;

use crate::{
    trainer::Cancel,
    work::{Context, LeaseNote, Report, perform},
};
use desk::{Desk, Effect, Event, Key};
use link::{Heard, Link};
use starling_http_api::node::{FromNode, HEARTBEAT_MS};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::{
    sync::{mpsc, watch},
    task::AbortHandle,
    time::MissedTickBehavior,
};

pub(crate) use link::SessionError;

/// Notes that wait for a lease's task.
const LEASE_NOTES: usize = 64;

/// A task under way.
struct Running {
    cancel: Cancel,
    abort: AbortHandle,
    /// For a lease.
    notes: Option<mpsc::Sender<LeaseNote>>,
}

/// What the owner loop takes up next.
enum Action {
    Heard(Heard),
    Reported(Box<Report>),
    Heartbeat,
    Stop,
}

struct Session {
    context: Arc<Context>,
    desk: Desk,
    running: BTreeMap<Key, Running>,
    link: Link,
}

/// Serves the coordinator until `stop` is true; ends early only for what no repetition mends.
pub(crate) async fn run(
    context: Arc<Context>,
    mut reports: mpsc::Receiver<Report>,
    token: watch::Sender<Option<String>>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), SessionError> {
    let link = Link::new(context.clone(), token);
    let mut session = Session { context, desk: Desk::default(), running: BTreeMap::new(), link };
    let mut heartbeat = tokio::time::interval(Duration::from_millis(HEARTBEAT_MS));
    heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let action = tokio::select! {
            heard = session.link.next() => Action::Heard(heard?),
            Some(report) = reports.recv() => Action::Reported(Box::new(report)),
            _ = heartbeat.tick() => Action::Heartbeat,
            _ = stop.wait_for(|stop| *stop) => Action::Stop,
        };
        match action {
            Action::Heard(Heard::Message(message)) => session.apply(Event::Heard(*message)).await,
            Action::Heard(Heard::Opened) => session.context.board.set_connected(true),
            Action::Heard(Heard::Closed) => session.context.board.set_connected(false),
            Action::Reported(report) => match *report {
                Report::Say(message) => session.link.say(&message).await,
                Report::Finished(key, finish) => {
                    session.running.remove(&key);
                    session.apply(Event::Finished(key, finish)).await;
                }
            },
            Action::Heartbeat => {
                let machine = session.context.machine_state();
                session.link.beat(machine).await;
                if session.context.pace.orders().draining && session.desk.is_idle() {
                    tracing::info!("all work is finished, as its owner ordered");
                    break;
                }
            }
            Action::Stop => break,
        }
        session.show();
    }
    session.close().await;
    Ok(())
}

impl Session {
    async fn apply(&mut self, event: Event) {
        for effect in self.desk.apply(event) {
            self.act(effect).await;
        }
    }

    fn show(&self) {
        self.context.board.set_work(self.desk.work());
    }

    async fn act(&mut self, effect: Effect) {
        match effect {
            Effect::Say(message) => self.link.say(&message).await,
            Effect::Start { key, message, busy_with } => {
                let cancel = Cancel::new(self.context.pace.clone());
                let (sender, notes) = mpsc::channel(LEASE_NOTES);
                let task = perform(self.context.clone(), key, *message, busy_with, cancel.clone(), notes);
                let abort = tokio::spawn(task).abort_handle();
                let notes = matches!(key, Key::Lease(_)).then_some(sender);
                self.running.insert(key, Running { cancel, abort, notes });
            }
            Effect::Cancel(key) => {
                if let Some(task) = self.running.remove(&key) {
                    task.cancel.cancel();
                    task.abort.abort();
                }
            }
            Effect::RepeatLease => self.note_lease(LeaseNote::Repeat),
            Effect::LeaseSigned(seq, signature) => self.note_lease(LeaseNote::Signed(seq, signature)),
            Effect::EndLease => self.note_lease(LeaseNote::Ended),
            Effect::ForgetRun(run_id) => {
                let context = self.context.clone();
                tokio::spawn(async move { context.forget_run(run_id).await });
            }
        }
    }

    fn note_lease(&self, note: LeaseNote) {
        for task in self.running.values() {
            if let Some(notes) = &task.notes
                && notes.try_send(note.clone()).is_err()
            {
                tracing::warn!("the lease's task does not take notes; the coordinator will ask again");
            }
        }
    }

    /// Stops all work at its next step; what is under way goes on from disk at the next start.
    async fn close(&mut self) {
        for task in self.running.values() {
            task.cancel.cancel();
            task.abort.abort();
        }
        self.link.close().await;
    }
}

/// Whether a message may be lost with the connection: what is asked again is said again.
pub(crate) fn may_be_lost(message: &FromNode) -> bool {
    matches!(
        message,
        FromNode::Progress { .. }
            | FromNode::Alive
            | FromNode::Machine { .. }
            | FromNode::Output { .. }
            | FromNode::Metrics { .. }
            | FromNode::Setup { .. }
    )
}
