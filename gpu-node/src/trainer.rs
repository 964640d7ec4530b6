//! The one thread that computes: jobs come in by urgency, answers go out by channel. Nothing else in this program works longer than a moment.

use std::{
    collections::BinaryHeap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};
use tokio::sync::oneshot;

use crate::{
    engine::{Bench, EngineError},
    pace::Pace,
};

/// Jobs that may wait; a coordinator that sends more is out of order.
const MAX_WAITING: usize = 256;
/// Deep models recurse; the default of 2 MiB has been too little.
const STACK_BYTES: usize = 16 << 20;

/// Which job comes first. Others wait for a score or a signature; nobody waits for a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    /// Steps of a round that has not begun.
    Ahead,
    /// Figures and files for people.
    Figures,
    /// A share of a round, or a lease.
    Work,
    /// What a whole round waits for.
    Round,
}

/// Tells a job to stop at its next step, or how fast to go on. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cancel {
    asked: Arc<AtomicBool>,
    pace: Pace,
}

impl Cancel {
    /// For a job that keeps this pace.
    pub(crate) fn new(pace: Pace) -> Self {
        Self { asked: Arc::default(), pace }
    }

    /// Asks for the stop.
    pub(crate) fn cancel(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Whether it was asked for.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// Between two steps, after so much work since it was asked last: waits as the owner's limits demand, and is an error where the job must stop.
    pub(crate) fn between_steps(&self, worked: Duration) -> Result<(), EngineError> {
        self.pace.rest(worked, || self.is_cancelled()).map_err(EngineError::HandedOver)?;
        if self.is_cancelled() { Err(EngineError::Cancelled) } else { Ok(()) }
    }
}

/// Why a job gave no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TrainerError {
    /// Too many jobs wait.
    #[error("{MAX_WAITING} jobs wait already")]
    Full,
    /// The job broke down; the thread goes on with an empty bench.
    #[error("the job broke down; its state was thrown away")]
    BrokeDown,
}

/// The thread. It ends after the job under way once this is dropped.
pub(crate) struct TrainerThread {
    queue: Arc<Queue>,
}

type Job = Box<dyn FnOnce(&mut Bench) + Send>;

struct Waiting {
    urgency: Urgency,
    /// Counts down, so that of equal urgency the first comes first.
    order: u64,
    job: Job,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: BinaryHeap<Waiting>,
    taken: u64,
    closed: bool,
}

impl TrainerThread {
    /// Starts the thread.
    pub(crate) fn start() -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let inner = queue.clone();
        thread::Builder::new().name("trainer".to_owned()).stack_size(STACK_BYTES).spawn(move || work(&inner))?;
        Ok(Self { queue })
    }

    /// Does a job on the thread and gives its answer.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        urgency: Urgency,
        job: impl FnOnce(&mut Bench) -> T + Send + 'static,
    ) -> Result<T, TrainerError> {
        let (answer, receiver) = oneshot::channel();
        let job: Job = Box::new(move |bench| drop(answer.send(job(bench))));
        self.queue.push(urgency, job)?;
        receiver.await.map_err(|_| TrainerError::BrokeDown)
    }
}

impl Drop for TrainerThread {
    fn drop(&mut self) {
        self.queue.lock().closed = true;
        self.queue.changed.notify_all();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, urgency: Urgency, job: Job) -> Result<(), TrainerError> {
        let mut state = self.lock();
        if state.waiting.len() >= MAX_WAITING {
            return Err(TrainerError::Full);
        }
        state.taken += 1;
        let order = u64::MAX - state.taken;
        state.waiting.push(Waiting { urgency, order, job });
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    fn next(&self) -> Option<Job> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            if let Some(waiting) = state.waiting.pop() {
                return Some(waiting.job);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn work(queue: &Queue) {
    let mut bench = Bench::default();
    while let Some(job) = queue.next() {
        // A job that panics must not take the node with it; what it left on the bench is not trusted.
        if catch_unwind(AssertUnwindSafe(|| job(&mut bench))).is_err() {
            bench = Bench::default();
        }
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.urgency, self.order).cmp(&(other.urgency, other.order))
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn trainer__should_take_the_urgent_first_and_equals_in_order() {
        let trainer = Arc::new(TrainerThread::start().unwrap());
        let (release, gate) = mpsc::channel::<()>();
        let (report, seen) = mpsc::channel();
        let first = tokio::spawn({
            let trainer = trainer.clone();
            async move { trainer.run(Urgency::Work, move |_| gate.recv().unwrap()).await }
        });
        tokio::task::yield_now().await;
        let mut others = Vec::new();
        for (urgency, name) in [(Urgency::Figures, 'c'), (Urgency::Work, 'b'), (Urgency::Round, 'a'), (Urgency::Figures, 'd')] {
            let (trainer, report) = (trainer.clone(), report.clone());
            others.push(tokio::spawn(async move { trainer.run(urgency, move |_| report.send(name).unwrap()).await }));
            tokio::task::yield_now().await;
        }
        release.send(()).unwrap();
        first.await.unwrap().unwrap();
        for other in others {
            other.await.unwrap().unwrap();
        }
        drop(report);
        assert_eq!(seen.into_iter().collect::<String>(), "abcd");
    }

    #[tokio::test]
    async fn trainer__should_survive_a_job_that_panics() {
        let trainer = TrainerThread::start().unwrap();
        let broken = trainer.run(Urgency::Work, |_| panic!("on purpose")).await;
        assert_eq!(broken.map(|(): ()| ()), Err(TrainerError::BrokeDown));
        assert_eq!(trainer.run(Urgency::Work, |_| 7).await, Ok(7));
    }
}
