//! How work is paced: the owner's limits decide each second, the owner's orders come on top, and every job asks between its steps.

use serde::{Deserialize, Serialize};
use starling_limits::{Action, LEAST_SHARE, Limits, MinuteOfWeek, Readings, Reason, Share, State, decide};
use starling_primitives::TimestampMs;
use starling_sensors::{Sensors, Setup};
use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// How often sensors are read.
const READ_EVERY: Duration = Duration::from_secs(1);
/// How often a job that waits looks whether it was cancelled.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Readings that are older are none: work stops when the thread that reads them is stuck.
const STALE: Duration = Duration::from_secs(30);

/// What the owner ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Orders {
    /// Checkpoint and rest until told otherwise, over restarts too.
    pub(crate) paused: bool,
    /// Finish what is under way, take nothing new, then end.
    pub(crate) draining: bool,
}

/// The pace of all work of this program. Cheap to clone; one that nobody sets is free.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pace(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    now: Mutex<Now>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Now {
    limits: Limits,
    /// By the limits, with what it was decided on; nothing where nobody reads sensors.
    decided: Option<(Instant, Action, Readings)>,
    orders: Orders,
}

/// What there is to show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shown {
    /// What work may do.
    #[serde(flatten)]
    pub(crate) action: Action,
    /// The owner's orders.
    pub(crate) orders: Orders,
    /// The last readings.
    pub(crate) readings: Option<Readings>,
}

impl Pace {
    /// A pace under these limits and orders. Nothing may be done before the first readings.
    pub(crate) fn new(limits: Limits, orders: Orders) -> Self {
        let reason = Reason::Paused;
        let decided = Some((Instant::now(), Action::HandOver { reason }, Readings::default()));
        Self(Arc::new(Inner { now: Mutex::new(Now { limits, decided, orders }), changed: Condvar::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, Now> {
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// New readings, and what the limits make of them.
    pub(crate) fn set(&self, action: Action, readings: Readings) {
        let mut now = self.lock();
        if now.decided.as_ref().is_none_or(|(_, before, _)| before.name() != action.name()) {
            match action.refusal() {
                Some(reason) => tracing::warn!(%reason, "limits: {}", action.name()),
                None => tracing::info!("limits: {}", action.name()),
            }
        }
        now.decided = Some((Instant::now(), action, readings));
        drop(now);
        self.0.changed.notify_all();
    }

    /// Changes the owner's orders.
    pub(crate) fn order(&self, change: impl FnOnce(&mut Orders)) -> Orders {
        let mut now = self.lock();
        change(&mut now.orders);
        let orders = now.orders;
        drop(now);
        self.0.changed.notify_all();
        orders
    }

    /// The owner's orders.
    pub(crate) fn orders(&self) -> Orders {
        self.lock().orders
    }

    /// What work may do now.
    pub(crate) fn action(&self) -> Action {
        self.lock().action()
    }

    /// All that there is to show.
    pub(crate) fn shown(&self) -> Shown {
        let now = self.lock();
        Shown { action: now.action(), orders: now.orders, readings: now.decided.as_ref().map(|(.., readings)| readings.clone()) }
    }

    /// Between two steps of a job that has worked for so long since it last asked: waits as long as its share of the time demands. An error is the reason why the job
    /// must be checkpointed and handed over.
    pub(crate) fn rest(&self, worked: Duration, is_cancelled: impl Fn() -> bool) -> Result<(), Reason> {
        let began = Instant::now();
        let mut now = self.lock();
        loop {
            let share = match now.action() {
                Action::HandOver { reason } => return Err(reason),
                action => action.share().unwrap_or(LEAST_SHARE),
            };
            let rest = rest_after(worked, share).saturating_sub(began.elapsed());
            if rest.is_zero() || is_cancelled() {
                return Ok(());
            }
            (now, _) = self.0.changed.wait_timeout(now, rest.min(LOOK_EVERY)).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until work may go on.
    pub(crate) async fn until_free(&self) {
        while matches!(self.action(), Action::HandOver { .. }) {
            tokio::time::sleep(READ_EVERY).await;
        }
    }
}

impl Now {
    fn action(&self) -> Action {
        if self.orders.paused {
            return Action::HandOver { reason: Reason::Paused };
        }
        let decided = match &self.decided {
            None => Action::Full,
            Some((at, ..)) if at.elapsed() > STALE => {
                return Action::HandOver { reason: Reason::Blind };
            }
            Some((_, action, _)) => action.clone(),
        };
        match decided {
            Action::HandOver { .. } => decided,
            decided if self.orders.draining => Action::Refuse { share: decided.share().unwrap_or(LEAST_SHARE), reason: Reason::Draining },
            decided => decided,
        }
    }
}

/// Rest that makes work so long this share of the time.
fn rest_after(worked: Duration, share: Share) -> Duration {
    let share = u32::from(share.as_percent());
    worked * (100 - share) / share
}

/// Reads the sensors every second on a thread of its own, for as long as the program runs. The first readings are in when this returns.
pub(crate) fn watch(pace: &Pace, setup: Setup) -> io::Result<()> {
    let limits = pace.lock().limits.clone();
    let (first, first_seen) = std::sync::mpsc::channel();
    let pace = pace.clone();
    thread::Builder::new().name("limits".to_owned()).spawn(move || {
        let mut sensors = Sensors::open(setup);
        if let Some(problem) = sensors.problem() {
            tracing::warn!(%problem, "no readings of NVIDIA cards");
        }
        let mut state = State::new(&limits, now());
        loop {
            let readings = sensors.read();
            let (next, action) = decide(&limits, &state, &readings, now(), minute_of_week());
            state = next;
            pace.set(action, readings);
            // Heard once; nobody listens any more then.
            let _ = first.send(());
            thread::sleep(READ_EVERY);
        }
    })?;
    first_seen.recv().map_err(io::Error::other)
}

/// The machine's clock.
pub(crate) fn now() -> TimestampMs {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}

/// By the machine's own clock and time zone.
fn minute_of_week() -> MinuteOfWeek {
    use chrono::{Datelike as _, Timelike as _};
    let now = chrono::Local::now();
    let day = u8::try_from(now.weekday().num_days_from_monday()).unwrap_or(0);
    MinuteOfWeek::new(day, u16::try_from(now.hour() * 60 + now.minute()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    fn throttled(percent: u8) -> Pace {
        let pace = Pace::new(Limits::default(), Orders::default());
        pace.set(Action::Throttle { share: Share::percent(percent) }, Readings::default());
        pace
    }

    #[test]
    fn rest__should_make_work_its_share_of_the_time() {
        let second = Duration::from_secs(1);
        for (percent, rest_ms) in [(100, 0), (50, 1_000), (25, 3_000), (10, 9_000)] {
            assert_eq!(rest_after(second, Share::percent(percent)), Duration::from_millis(rest_ms), "{percent}");
        }
        let began = Instant::now();
        throttled(25).rest(Duration::from_millis(100), || false).unwrap();
        assert!(began.elapsed() >= Duration::from_millis(300));
    }

    #[test]
    fn rest__should_end_with_the_job_and_with_the_limits_word() {
        let began = Instant::now();
        let long = Duration::from_secs(600);
        throttled(10).rest(long, || true).unwrap();
        let pace = throttled(10);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| pace.rest(long, || false));
            std::thread::sleep(Duration::from_millis(50));
            pace.set(Action::HandOver { reason: Reason::Hours }, Readings::default());
            assert_eq!(waiting.join().unwrap(), Err(Reason::Hours));
        });
        assert!(began.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn orders__should_come_before_limits_and_not_free_what_they_stop() {
        let pace = throttled(40);
        pace.order(|orders| orders.draining = true);
        assert_eq!(pace.action(), Action::Refuse { share: Share::percent(40), reason: Reason::Draining });
        pace.order(|orders| orders.paused = true);
        assert_eq!(pace.action(), Action::HandOver { reason: Reason::Paused });
        pace.order(|orders| *orders = Orders::default());
        pace.set(Action::HandOver { reason: Reason::Hours }, Readings::default());
        assert_eq!(pace.action(), Action::HandOver { reason: Reason::Hours });
        assert_eq!(Pace::default().action(), Action::Full, "a program without limits");
        assert!(Pace::new(Limits::default(), Orders::default()).action().share().is_none(), "before the first readings");
    }
}
