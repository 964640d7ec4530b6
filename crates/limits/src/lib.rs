//! An owner's limits as pure rules: readings of the machine and a clock go in, what work may do comes out.
//!
//! Work is slowed down first; where that is not enough it is checkpointed and handed over *before* the limit is crossed. A limit that cannot be measured is not
//! obeyed by guess: the machine takes no new work, and soon none at all.

mod decide;
mod hours;
mod limits;
mod reading;

pub use decide::{State, decide};
pub use hours::{Hours, HoursError, MinuteOfWeek};
pub use limits::{JobKind, Limits, LimitsError};
pub use reading::{Device, Readings};

use serde::{Deserialize, Serialize};
use std::fmt;

/// The smallest share of its time that work is slowed down to; below that it is handed over.
pub const LEAST_SHARE: Share = Share(10);

/// A part of the time in percent, 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Share(u8);

impl Share {
    /// All of the time.
    pub const FULL: Self = Self(100);

    /// A share of so many percent; what lies outside 1 to 100 is moved to the nearer end.
    pub fn percent(percent: u8) -> Self {
        Self(percent.clamp(1, 100))
    }

    /// In percent, 1 to 100.
    pub fn as_percent(self) -> u8 {
        self.0
    }
}

/// What work may do now, from the freest to the strictest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "action")]
pub enum Action {
    /// Work at full speed, and take new work.
    Full,
    /// Work for this share of the time, and take new work.
    Throttle {
        /// Of the time.
        share: Share,
    },
    /// Go on with what is under way for this share of the time, and take nothing new.
    Refuse {
        /// Of the time.
        share: Share,
        /// Why.
        reason: Reason,
    },
    /// Checkpoint what is under way, give it back, and rest.
    HandOver {
        /// Why.
        reason: Reason,
    },
}

impl Action {
    /// The share of the time in which work may go on; nothing when it must stop.
    pub fn share(&self) -> Option<Share> {
        match self {
            Self::Full => Some(Share::FULL),
            Self::Throttle { share } | Self::Refuse { share, .. } => Some(*share),
            Self::HandOver { .. } => None,
        }
    }

    /// Why no new work is taken, if none is.
    pub fn refusal(&self) -> Option<&Reason> {
        match self {
            Self::Full | Self::Throttle { .. } => None,
            Self::Refuse { reason, .. } | Self::HandOver { reason } => Some(reason),
        }
    }

    /// The action's name in lower case.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Throttle { .. } => "throttle",
            Self::Refuse { .. } => "refuse",
            Self::HandOver { .. } => "hand over",
        }
    }
}

/// Why work is refused or handed over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "reason")]
pub enum Reason {
    /// A device is too warm.
    Temperature {
        /// Which device.
        device: String,
        /// What was read.
        celsius: u16,
        /// The limit.
        limit: u16,
    },
    /// A device draws too much.
    Power {
        /// Which device.
        device: String,
        /// What was read.
        watts: u32,
        /// The limit.
        limit: u32,
    },
    /// The hours in which the machine works are over, or about to be.
    Hours,
    /// Someone else uses the machine.
    InUse {
        /// Until so many minutes have passed without that.
        minutes: u16,
    },
    /// The disk is almost full.
    Disk {
        /// What is free.
        free_mib: u64,
        /// What must stay free.
        least_mib: u64,
    },
    /// A limit is set whose reading the machine does not give.
    NoReading {
        /// The setting.
        limit: LimitName,
    },
    /// The sensors have not been read for long.
    Blind,
    /// The owner paused the machine.
    Paused,
    /// The owner lets the machine finish what it has.
    Draining,
    /// The owner does not take this kind of job.
    Kind {
        /// Which.
        kind: JobKind,
    },
}

/// A setting whose reading may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitName {
    /// [`Limits::max_temperature_celsius`].
    MaxTemperatureCelsius,
    /// [`Limits::max_power_watts`].
    MaxPowerWatts,
    /// [`Limits::idle_only_minutes`].
    IdleOnlyMinutes,
    /// [`Limits::min_free_disk_mib`].
    MinFreeDiskMib,
}

impl LimitName {
    /// The setting as it stands in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::MaxTemperatureCelsius => "max_temperature_celsius",
            Self::MaxPowerWatts => "max_power_watts",
            Self::IdleOnlyMinutes => "idle_only_minutes",
            Self::MinFreeDiskMib => "min_free_disk_mib",
        }
    }
}

impl Reason {
    /// Whether it passes by itself within minutes, so that work is worth waiting for.
    pub fn is_short(&self) -> bool {
        matches!(self, Self::Temperature { .. } | Self::Power { .. })
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Temperature { device, celsius, limit } => {
                write!(f, "{device} has {celsius} degrees, its owner's limit is {limit}")
            }
            Self::Power { device, watts, limit } => write!(f, "{device} draws {watts} W, its owner's limit is {limit} W"),
            Self::Hours => f.write_str("it is outside the hours in which its owner lets this machine work"),
            Self::InUse { minutes } => write!(f, "its owner uses this machine; it works again after {minutes} idle minutes"),
            Self::Disk { free_mib, least_mib } => write!(f, "{free_mib} MiB of disk are free, its owner keeps {least_mib} MiB free"),
            Self::NoReading { limit } => write!(f, "the owner's `{}` cannot be obeyed: this machine gives no reading for it", limit.name()),
            Self::Blind => f.write_str("this machine's sensors were not read for half a minute, so no limit is sure to hold"),
            Self::Paused => f.write_str("its owner paused this machine"),
            Self::Draining => f.write_str("this machine finishes what it has and takes nothing new"),
            Self::Kind { kind } => write!(f, "this machine's owner takes no jobs of the kind `{}`", kind.name()),
        }
    }
}
