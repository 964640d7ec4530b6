//! The rule: limits, what was so far, readings and a clock give what work may do.

use crate::{Action, Device, LEAST_SHARE, LimitName, Limits, MinuteOfWeek, Readings, Reason, Share};
use serde::{Deserialize, Serialize};
use starling_primitives::{DurationMs, TimestampMs};
use std::collections::{BTreeMap, VecDeque};

/// Devices that are watched; a machine has no more.
const MAX_DEVICES: usize = 64;
/// A temperature is taken to rise on for so long as it rose over [`WINDOW`].
const AHEAD: DurationMs = DurationMs::from_secs(5);
/// Over which a rise is measured: sensors tell whole degrees.
const WINDOW: DurationMs = DurationMs::from_secs(10);
const MAX_PAST: usize = 32;
/// Work begins with this share where a temperature or a power is limited, and grows.
const FIRST_SHARE: Share = Share(25);
/// What a share grows by with each comfortable reading, in percent.
const GROWTH: u8 = 5;
/// Degrees below the limit at which work slows down, from which it grows again, and to which a device must cool down after a rest.
const WARM: u16 = 5;
const COMFORTABLE: u16 = 8;
const COOL: u16 = 10;
/// Degrees below the limit at which work that is slowed down as far as it goes is handed over.
const EDGE: u16 = 2;
/// Parts of the power limit in percent: above the first work slows down, below the second it grows.
const HEAVY_PERCENT: u32 = 90;
const LIGHT_PERCENT: u32 = 80;
/// Readings in a row with the least share and too much power after which work is handed over.
const HEAVY_READINGS: u8 = 3;
/// How long a device rests at least after it was too warm or drew too much.
const REST: DurationMs = DurationMs::from_secs(60);
/// How long a reading may be missing before work is handed over; no new work is taken at once.
const MISSING: DurationMs = DurationMs::from_secs(15);
/// Others use the machine when they take more than this part of it in two readings in a row.
const OTHERS_PERCENT: u8 = 15;
const OTHERS_READINGS: u8 = 2;
/// Minutes before the end of the hours: no new work, and handing over.
const LAST_WORK_MINUTES: u16 = 10;
const LAST_MINUTES: u16 = 1;

/// What the rule remembers between two readings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    share: Share,
    past: BTreeMap<String, VecDeque<(TimestampMs, u16)>>,
    /// Why the machine rests, and since when.
    resting: Option<(TimestampMs, Reason)>,
    missing_since: Option<TimestampMs>,
    others_at: TimestampMs,
    others_readings: u8,
    heavy_readings: u8,
}

impl State {
    /// At the program's start. Nobody knows whether the machine was used before, so `idle_only_minutes` begin now.
    pub fn new(limits: &Limits, now: TimestampMs) -> Self {
        Self {
            share: first_share(limits),
            past: BTreeMap::new(),
            resting: None,
            missing_since: None,
            others_at: now,
            others_readings: 0,
            heavy_readings: 0,
        }
    }
}

/// How the devices stand to their limits, the worst of them.
enum Pressure {
    /// Work may grow.
    Low,
    /// Work stays as it is.
    Middle,
    /// Work must slow down.
    High,
    /// Work must stop before the limit is crossed.
    Edge(Reason),
}

/// What work may do from now on, and what to remember. Call it with each set of readings, every second or two.
pub fn decide(limits: &Limits, state: &State, readings: &Readings, now: TimestampMs, minute: MinuteOfWeek) -> (State, Action) {
    let mut next = state.clone();
    next.notice(limits, readings, now);
    let missing = missing(limits, readings).map(|limit| Reason::NoReading { limit });
    next.missing_since = missing.as_ref().and(next.missing_since.or(Some(now)));
    let pressure = next.pressure(limits, readings, now);
    next.pace(limits, &pressure);
    let stop = next.stop(limits, readings, now, minute, missing.as_ref(), pressure);
    if let Some(reason) = stop {
        let since = next.resting.as_ref().map_or(now, |(since, _)| *since);
        next.resting = Some((since, reason.clone()));
        next.share = first_share(limits);
        return (next, Action::HandOver { reason });
    }
    next.resting = None;
    let share = next.share;
    let action = match (missing.or_else(|| no_new_work(limits, readings, minute)), share) {
        (Some(reason), share) => Action::Refuse { share, reason },
        (None, Share::FULL) => Action::Full,
        (None, share) => Action::Throttle { share },
    };
    (next, action)
}

impl State {
    /// Remembers what later readings are compared with.
    fn notice(&mut self, limits: &Limits, readings: &Readings, now: TimestampMs) {
        self.past.retain(|name, _| readings.devices.iter().any(|device| device.name == *name));
        for device in readings.devices.iter().take(MAX_DEVICES) {
            let Some(celsius) = device.temperature_celsius else { continue };
            let past = self.past.entry(device.name.clone()).or_default();
            past.push_back((now, celsius));
            while past.len() > MAX_PAST || past.front().is_some_and(|(at, _)| now.since(*at) > WINDOW) {
                past.pop_front();
            }
        }
        let others = readings.others_percent.is_some_and(|percent| percent > OTHERS_PERCENT);
        self.others_readings = if others { self.others_readings.saturating_add(1) } else { 0 };
        if self.others_readings >= OTHERS_READINGS {
            self.others_at = now;
        }
        let heavy = limits.max_power_watts.is_some_and(|limit| readings.devices.iter().any(|device| is_heavy(device, limit)));
        self.heavy_readings = if heavy && self.share <= LEAST_SHARE { self.heavy_readings.saturating_add(1) } else { 0 };
    }

    fn pressure(&self, limits: &Limits, readings: &Readings, now: TimestampMs) -> Pressure {
        let mut worst = Pressure::Low;
        for device in readings.devices.iter().take(MAX_DEVICES) {
            for pressure in [self.warmth(limits, device, now), self.load(limits, device)] {
                worst = match (worst, pressure) {
                    (edge @ Pressure::Edge(_), _) | (_, edge @ Pressure::Edge(_)) => edge,
                    (Pressure::High, _) | (_, Pressure::High) => Pressure::High,
                    (Pressure::Middle, _) | (_, Pressure::Middle) => Pressure::Middle,
                    (Pressure::Low, Pressure::Low) => Pressure::Low,
                };
            }
        }
        worst
    }

    fn warmth(&self, limits: &Limits, device: &Device, now: TimestampMs) -> Pressure {
        let (Some(limit), Some(celsius)) = (limits.max_temperature_celsius, device.temperature_celsius) else { return Pressure::Low };
        let ahead = celsius.saturating_add(self.rise(&device.name, celsius, now));
        let at_least = self.share <= LEAST_SHARE;
        if ahead >= limit || (at_least && celsius.saturating_add(EDGE) >= limit) {
            Pressure::Edge(Reason::Temperature { device: device.name.clone(), celsius, limit })
        } else if ahead.saturating_add(WARM) >= limit {
            Pressure::High
        } else if ahead.saturating_add(COMFORTABLE) > limit {
            Pressure::Middle
        } else {
            Pressure::Low
        }
    }

    /// Degrees by which a device will be warmer in [`AHEAD`] if it goes on as it did.
    fn rise(&self, name: &str, celsius: u16, now: TimestampMs) -> u16 {
        let Some((at, before)) = self.past.get(name).and_then(|past| past.front()) else { return 0 };
        let passed = now.since(*at).0;
        let rise = u64::from(celsius.saturating_sub(*before)) * AHEAD.0;
        // Sensors tell whole degrees: a shorter time makes a cliff out of a step.
        u16::try_from(rise.checked_div(passed.max(WINDOW.0 / 2)).unwrap_or(0)).unwrap_or(u16::MAX)
    }

    fn load(&self, limits: &Limits, device: &Device) -> Pressure {
        let (Some(limit), Some(watts)) = (limits.max_power_watts, device.power_watts) else { return Pressure::Low };
        if watts > limit || self.heavy_readings >= HEAVY_READINGS {
            Pressure::Edge(Reason::Power { device: device.name.clone(), watts, limit })
        } else if is_heavy(device, limit) {
            Pressure::High
        } else if watts.saturating_mul(100) > limit.saturating_mul(LIGHT_PERCENT) {
            Pressure::Middle
        } else {
            Pressure::Low
        }
    }

    fn pace(&mut self, limits: &Limits, pressure: &Pressure) {
        let most = limits.max_utilisation_percent;
        let share = match pressure {
            Pressure::Low => self.share.0.saturating_add(GROWTH),
            Pressure::Middle => self.share.0,
            // Two thirds of what it was.
            Pressure::High | Pressure::Edge(_) => (self.share.0 - self.share.0 / 3).saturating_sub(1).max(LEAST_SHARE.0),
        };
        self.share = Share::percent(share.min(most));
    }

    /// Why work must stop, or why a rest goes on.
    fn stop(
        &self,
        limits: &Limits,
        readings: &Readings,
        now: TimestampMs,
        minute: MinuteOfWeek,
        missing: Option<&Reason>,
        pressure: Pressure,
    ) -> Option<Reason> {
        if !limits.in_hours(minute) || !limits.in_hours(minute.after(LAST_MINUTES)) {
            return Some(Reason::Hours);
        }
        if let Some(minutes) = limits.idle_only_minutes
            && now.since(self.others_at) < DurationMs::from_secs(u64::from(minutes) * 60)
        {
            return Some(Reason::InUse { minutes });
        }
        if let Some(free_mib) = readings.free_disk_mib
            && free_mib < limits.min_free_disk_mib
        {
            return Some(Reason::Disk { free_mib, least_mib: limits.min_free_disk_mib });
        }
        if let (Some(reason), Some(since)) = (missing, self.missing_since)
            && now.since(since) >= MISSING
        {
            return Some(reason.clone());
        }
        if let Pressure::Edge(reason) = pressure {
            return Some(reason);
        }
        match &self.resting {
            Some((since, reason @ (Reason::Temperature { .. } | Reason::Power { .. })))
                if now.since(*since) < REST || !is_cool(limits, readings) || missing.is_some() =>
            {
                Some(reason.clone())
            }
            _ => None,
        }
    }
}

fn first_share(limits: &Limits) -> Share {
    let watched = limits.max_temperature_celsius.is_some() || limits.max_power_watts.is_some();
    let first = if watched { FIRST_SHARE } else { Share::FULL };
    first.min(Share::percent(limits.max_utilisation_percent))
}

fn is_heavy(device: &Device, limit: u32) -> bool {
    device.power_watts.is_some_and(|watts| watts.saturating_mul(100) > limit.saturating_mul(HEAVY_PERCENT))
}

/// Whether all devices are well below what made them rest.
fn is_cool(limits: &Limits, readings: &Readings) -> bool {
    readings.devices.iter().all(|device| {
        let cool = |limit| device.temperature_celsius.is_some_and(|celsius| celsius.saturating_add(COOL) <= limit);
        let light = |limit: u32| device.power_watts.is_some_and(|watts| watts.saturating_mul(100) <= limit.saturating_mul(LIGHT_PERCENT));
        limits.max_temperature_celsius.is_none_or(cool) && limits.max_power_watts.is_none_or(light)
    })
}

/// The first limit that is set and whose reading is not there.
fn missing(limits: &Limits, readings: &Readings) -> Option<LimitName> {
    let each = |there: fn(&Device) -> bool| !readings.devices.is_empty() && readings.devices.iter().all(there);
    if limits.max_temperature_celsius.is_some() && !each(|device| device.temperature_celsius.is_some()) {
        return Some(LimitName::MaxTemperatureCelsius);
    }
    if limits.max_power_watts.is_some() && !each(|device| device.power_watts.is_some()) {
        return Some(LimitName::MaxPowerWatts);
    }
    if limits.idle_only_minutes.is_some() && readings.others_percent.is_none() {
        return Some(LimitName::IdleOnlyMinutes);
    }
    (limits.min_free_disk_mib > 0 && readings.free_disk_mib.is_none()).then_some(LimitName::MinFreeDiskMib)
}

/// Why nothing new is taken while what is under way may go on.
fn no_new_work(limits: &Limits, readings: &Readings, minute: MinuteOfWeek) -> Option<Reason> {
    if !limits.in_hours(minute.after(LAST_WORK_MINUTES)) {
        return Some(Reason::Hours);
    }
    let least_mib = limits.min_free_disk_mib;
    let free_mib = readings.free_disk_mib?;
    // A quarter more than what must stay free.
    (free_mib < least_mib.saturating_add(least_mib / 4)).then_some(Reason::Disk { free_mib, least_mib })
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
