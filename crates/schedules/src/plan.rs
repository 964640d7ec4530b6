//! One schedule: when it runs, what it may cost, what it has done. Every change is a function of the state, an event and a time.

use crate::cron::CronLine;
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use serde::{Deserialize, Serialize};
use starling_primitives::{Amount, DurationMs, TimestampMs};
use std::fmt;

/// What ended is kept, the newest of it.
pub const MAX_KEPT: usize = 50;
/// Later than this, an occurrence was missed.
const GRACE: DurationMs = DurationMs::from_secs(120);
/// Occurrences that are counted one by one when nobody was there for long.
const MAX_COUNTED: u32 = 1_000;

/// When work is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum When {
    /// Once.
    At(TimestampMs),
    /// Again and again.
    Cron {
        /// The line, as it was written.
        line: String,
        /// The time zone whose clocks it means, by its IANA name.
        zone: String,
    },
}

/// Why a time is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhenError {
    /// The line is wrong.
    #[error(transparent)]
    Cron(#[from] crate::CronError),
    /// No such time zone.
    #[error("{0:?} is no time zone that this machine knows: write one such as Europe/Berlin or UTC")]
    Zone(String),
    /// No time.
    #[error("{0:?} is no time: write one such as 2026-11-22T06:00 or 2026-11-22T06:00Z")]
    Time(String),
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(at) => write!(f, "once at {}", shown(*at, "UTC")),
            Self::Cron { line, zone } => write!(f, "{line} ({zone})"),
        }
    }
}

/// The name of this machine's time zone, or UTC where it has none.
#[must_use]
pub fn local_zone() -> String {
    TimeZone::system().iana_name().unwrap_or("UTC").to_owned()
}

/// A time as the clocks of a zone show it; of a zone that is not known, as those of UTC.
#[must_use]
pub fn shown(at: TimestampMs, zone: &str) -> String {
    let Some(moment) = i64::try_from(at.0).ok().and_then(|at| Timestamp::from_millisecond(at).ok()) else { return at.to_string() };
    let zone = TimeZone::get(zone).unwrap_or(TimeZone::UTC);
    moment.to_zoned(zone).strftime("%Y-%m-%d %H:%M %Z").to_string()
}

impl When {
    /// Checks line and zone.
    ///
    /// # Errors
    /// One of them is wrong.
    pub fn cron(line: &str, zone: &str) -> Result<Self, WhenError> {
        let when = Self::Cron { line: line.trim().to_owned(), zone: zone.to_owned() };
        when.read()?;
        Ok(when)
    }

    /// A time of RFC 3339, or one that the clocks of a zone show, such as `2026-11-22T06:00`.
    ///
    /// # Errors
    /// It is none, or no such zone is known.
    pub fn at(text: &str, zone: &str) -> Result<Self, WhenError> {
        let known = TimeZone::get(zone).map_err(|_| WhenError::Zone(zone.to_owned()))?;
        let absolute = text.parse::<Timestamp>().ok();
        let local = || text.parse::<DateTime>().ok().and_then(|time| known.to_ambiguous_timestamp(time).compatible().ok());
        let moment = absolute.or_else(local).and_then(|moment| u64::try_from(moment.as_millisecond()).ok());
        moment.map(|moment| Self::At(TimestampMs(moment))).ok_or_else(|| WhenError::Time(text.to_owned()))
    }

    /// The zone whose clocks are meant.
    #[must_use]
    pub fn zone(&self) -> &str {
        match self {
            Self::At(_) => "UTC",
            Self::Cron { zone, .. } => zone,
        }
    }

    fn read(&self) -> Result<Option<(CronLine, TimeZone)>, WhenError> {
        match self {
            Self::At(_) => Ok(None),
            Self::Cron { line, zone } => Ok(Some((line.parse()?, TimeZone::get(zone).map_err(|_| WhenError::Zone(zone.clone()))?))),
        }
    }

    /// The first time after another; none when there is none any more.
    ///
    /// # Errors
    /// The state was changed by hand, or this machine forgot the time zone.
    pub fn next(&self, after: TimestampMs) -> Result<Option<TimestampMs>, WhenError> {
        let Some((line, zone)) = self.read()? else {
            let Self::At(at) = self else { return Ok(None) };
            return Ok((*at > after).then_some(*at));
        };
        let from = i64::try_from(after.0).ok().and_then(|after| Timestamp::from_millisecond(after).ok());
        let next = from.and_then(|from| line.next(from, &zone));
        Ok(next.and_then(|next| u64::try_from(next.as_millisecond()).ok()).map(TimestampMs))
    }
}

/// What becomes of occurrences that nobody was there for: the machine was off, or `serve` did not run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// Nothing.
    #[default]
    Skip,
    /// The last of them is made up for at once.
    Once,
}

/// What may be spent, and what was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spending {
    /// The most that one occurrence may cost.
    pub each: Amount,
    /// The most that all of them together may cost.
    pub budget: Amount,
    /// What those that ended have cost.
    pub spent: Amount,
}

impl Spending {
    /// Whether one more may cost its most without passing the budget.
    #[must_use]
    pub fn covers_one_more(&self) -> bool {
        self.spent.checked_add(self.each).is_ok_and(|most| most <= self.budget)
    }
}

/// Why an occurrence did not run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Skipped {
    /// The one before still ran.
    Overlap,
    /// Nobody was there.
    Missed,
    /// The budget would not have covered it.
    Budget,
}

/// How an occurrence ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It ran to its end.
    Done,
    /// It failed, and why.
    Failed(String),
    /// It was not begun; so many times one after the other.
    Skipped {
        /// Why.
        why: Skipped,
        /// How many.
        count: u32,
    },
}

/// An occurrence that is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    /// When it was due; of several that were skipped, the last.
    pub at: TimestampMs,
    /// How it ended.
    pub outcome: Outcome,
    /// What it cost.
    pub cost: Amount,
}

/// What there is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Run the occurrence that was due then: it is noted as running, to be stored before anything is paid.
    Run(TimestampMs),
    /// Nothing before then.
    Wait(TimestampMs),
    /// Nothing, unless somebody changes something.
    Rest,
}

/// A schedule and all that it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// When.
    pub when: When,
    /// How much.
    pub spending: Spending,
    /// What becomes of missed occurrences.
    pub missed: Missed,
    /// Whether it rests. What is due meanwhile is not made up for.
    pub paused: bool,
    /// Occurrences up to then are decided.
    pub decided: TimestampMs,
    /// The occurrence that runs, by when it was due.
    pub running: Option<TimestampMs>,
    /// What is over, the newest last.
    pub past: Vec<Ended>,
}

impl Schedule {
    /// A schedule that begins now.
    #[must_use]
    pub fn new(when: When, each: Amount, budget: Amount, missed: Missed, now: TimestampMs) -> Self {
        let spending = Spending { each, budget, spent: Amount::ZERO };
        Self { when, spending, missed, paused: false, decided: now, running: None, past: Vec::new() }
    }

    /// Decides what is due, and notes it.
    ///
    /// # Errors
    /// Line or zone cannot be read any more.
    pub fn step(&mut self, now: TimestampMs) -> Result<Next, WhenError> {
        if self.paused {
            return Ok(Next::Rest);
        }
        let Some(first) = self.when.next(self.decided)? else { return Ok(Next::Rest) };
        if first > now {
            return Ok(Next::Wait(first));
        }
        let (mut last, mut count) = (first, 1_u32);
        while let Some(next) = self.when.next(last)?.filter(|next| *next <= now) {
            // A machine that was off for a year is not counted minute by minute.
            (last, count) =
                if count < MAX_COUNTED { (next, count + 1) } else { (TimestampMs(now.0.saturating_sub(GRACE.0)).max(next), count) };
        }
        self.decided = last;
        let late = now.since(last) > GRACE;
        if self.running.is_some() {
            self.skip(last, Skipped::Overlap, count);
        } else if late && self.missed == Missed::Skip {
            self.skip(last, Skipped::Missed, count);
        } else if !self.spending.covers_one_more() {
            self.skip(last, Skipped::Budget, count);
        } else {
            if count > 1 {
                self.skip(last, Skipped::Missed, count - 1);
            }
            self.running = Some(last);
            return Ok(Next::Run(last));
        }
        self.step(now)
    }

    fn skip(&mut self, at: TimestampMs, why: Skipped, count: u32) {
        if let Some(Ended { at: before, outcome: Outcome::Skipped { why: same, count: so_far }, .. }) = self.past.last_mut()
            && *same == why
        {
            (*before, *so_far) = (at, so_far.saturating_add(count));
            return;
        }
        self.keep(Ended { at, outcome: Outcome::Skipped { why, count }, cost: Amount::ZERO });
    }

    /// The occurrence that runs is over. What it cost is never more than it might.
    pub fn end(&mut self, outcome: Outcome, cost: Amount) {
        let Some(at) = self.running.take() else { return };
        self.spending.spent = self.spending.spent.checked_add(cost).unwrap_or(Amount(u128::MAX));
        self.keep(Ended { at, outcome, cost });
    }

    fn keep(&mut self, ended: Ended) {
        self.past.push(ended);
        let surplus = self.past.len().saturating_sub(MAX_KEPT);
        self.past.drain(..surplus);
    }

    /// Rests, or goes on from now. What runs is not touched.
    pub fn set_paused(&mut self, paused: bool, now: TimestampMs) {
        if self.paused && !paused {
            self.decided = self.decided.max(now);
        }
        self.paused = paused;
    }
}

/// Why a name is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name: write 1 to 48 of a-z, 0-9 and -, a letter or digit first")]
pub struct NameError(String);

/// A schedule's name, which is also its folder's.
///
/// # Errors
/// It has other letters, or too many.
pub fn checked_name(text: &str) -> Result<&str, NameError> {
    let fits = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if fits && (1..=48).contains(&text.len()) && !text.starts_with('-') { Ok(text) } else { Err(NameError(text.to_owned())) }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
