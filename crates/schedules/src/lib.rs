//! When work that was ordered once is done again, and how much it may cost: times, ceilings, and what happens to occurrences that nobody was there for. Without a clock, without I/O.

mod cron;
mod plan;

pub use cron::{CronError, CronLine};
pub use plan::{
    Ended, MAX_KEPT, Missed, NameError, Next, Outcome, Schedule, Skipped, Spending, When, WhenError, checked_name, local_zone, shown,
};
