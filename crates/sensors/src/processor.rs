//! The processor: its warmest sensor, its power where the kernel tells its energy, and who uses its time.

use crate::files::{degrees, entries, is_named, number, text, warmest};
use starling_limits::Device;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    time::Instant,
};

/// Drivers whose sensors are the processor's.
const DRIVERS: [&str; 5] = ["coretemp", "k10temp", "zenpower", "cpu_thermal", "soc_thermal"];
/// Thermal zones that are the processor's, where no driver is.
const ZONES: [&str; 5] = ["x86_pkg_temp", "cpu-thermal", "cpu_thermal", "soc-thermal", "acpitz"];
/// Processes that are looked at; a machine with more tells no share of others.
const MAX_PROCESSES: usize = 100_000;

/// The processor with what was read last.
pub(crate) struct Processor {
    root: PathBuf,
    own_process: u32,
    last_time: Option<Time>,
    last_energy: Option<(Instant, u64)>,
}

/// Processor time so far, in the kernel's ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Time {
    all: u64,
    busy: u64,
    own: u64,
}

impl Processor {
    pub(crate) fn new(root: PathBuf, own_process: u32) -> Self {
        let mut new = Self { root, own_process, last_time: None, last_energy: None };
        // What passed before the program began is not asked about.
        new.last_time = new.time();
        new
    }

    /// The processor as a device, and the part of its time since the last reading that others used.
    pub(crate) fn read(&mut self) -> (Device, Option<u8>) {
        let now = self.time();
        let (utilisation_percent, others) = match (self.last_time, now) {
            (Some(before), Some(now)) => (now.busy_since(before), now.others_since(before)),
            _ => (None, None),
        };
        self.last_time = now;
        let device = Device {
            name: "processor".to_owned(),
            temperature_celsius: self.temperature(),
            power_watts: self.watts(),
            utilisation_percent,
            memory_used_mib: None,
        };
        (device, others)
    }

    fn temperature(&self) -> Option<u16> {
        let is_ours = |path: &PathBuf| text(&path.join("name")).is_some_and(|name| DRIVERS.contains(&name.trim()));
        let drivers = entries(&self.root.join("sys/class/hwmon")).into_iter().filter(is_ours).filter_map(|path| warmest(&path)).max();
        drivers.or_else(|| {
            let zones = entries(&self.root.join("sys/class/thermal")).into_iter().filter(|path| is_named(path, "thermal_zone", ""));
            let is_ours = |path: &PathBuf| text(&path.join("type")).is_some_and(|kind| ZONES.contains(&kind.trim()));
            zones.filter(is_ours).filter_map(|path| degrees(number(&path.join("temp"))?)).max()
        })
    }

    /// Mean power since the last reading, from the packages' energy in millionths of a joule.
    fn watts(&mut self) -> Option<u32> {
        let packages = entries(&self.root.join("sys/class/powercap")).into_iter().filter(|path| {
            // `intel-rapl:0` is a package, `intel-rapl:0:1` a part of one.
            path.file_name()
                .and_then(|name| name.to_str())
                .is_some_and(|name| name.starts_with("intel-rapl:") && name.matches(':').count() == 1)
        });
        let energy = packages
            .map(|path| number(&path.join("energy_uj")))
            .try_fold((0_u64, false), |(sum, _), part| Some((sum.checked_add(part?)?, true)));
        let now = energy.and_then(|(sum, any)| any.then_some((Instant::now(), sum)));
        let before = std::mem::replace(&mut self.last_energy, now);
        let ((then, before), (now, after)) = (before?, now?);
        let micros = u64::try_from(now.duration_since(then).as_micros()).ok().filter(|micros| *micros > 0)?;
        // A counter that went round tells nothing this once.
        u32::try_from(after.checked_sub(before)?.div_ceil(micros)).ok()
    }

    fn time(&self) -> Option<Time> {
        let stat = text(&self.root.join("proc/stat"))?;
        let ticks: Vec<u64> = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; guests are in the first two.
        let all: u64 = ticks.iter().take(8).sum();
        let idle = ticks.get(3)? + ticks.get(4).copied().unwrap_or(0);
        Some(Time { all, busy: all.checked_sub(idle)?, own: self.own()? })
    }

    /// Ticks of this program and of all that it started, finished ones too.
    fn own(&self) -> Option<u64> {
        let mut processes = BTreeMap::new();
        for folder in entries(&self.root.join("proc")).into_iter().take(MAX_PROCESSES) {
            let Some(id) = folder.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok()) else { continue };
            // A process may end while it is looked at.
            if let Some((parent, ticks)) = text(&folder.join("stat")).as_deref().and_then(parent_and_ticks) {
                processes.insert(id, (parent, ticks));
            }
        }
        let mut ours = BTreeSet::from([self.own_process]);
        loop {
            let more: Vec<u32> =
                processes.iter().filter(|(id, (parent, _))| ours.contains(parent) && !ours.contains(id)).map(|(id, _)| *id).collect();
            if more.is_empty() {
                break;
            }
            ours.extend(more);
        }
        processes.get(&self.own_process)?;
        Some(ours.iter().filter_map(|id| processes.get(id)).map(|(_, ticks)| ticks).sum())
    }
}

impl Time {
    fn busy_since(self, before: Self) -> Option<u8> {
        percent(self.busy.saturating_sub(before.busy), self.all.checked_sub(before.all)?)
    }

    fn others_since(self, before: Self) -> Option<u8> {
        let own = self.own.saturating_sub(before.own);
        percent(self.busy.saturating_sub(before.busy).saturating_sub(own), self.all.checked_sub(before.all)?)
    }
}

fn percent(part: u64, whole: u64) -> Option<u8> {
    u8::try_from((part.min(whole) * 100).checked_div(whole)?).ok()
}

/// Parent, and time of the process and of its children that it has waited for. The name, in brackets, may hold anything.
fn parent_and_ticks(stat: &str) -> Option<(u32, u64)> {
    let words: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks: Option<u64> = words.get(11..15)?.iter().map(|word| word.parse::<u64>().ok()).sum();
    Some((words.get(1)?.parse().ok()?, ticks?))
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn process_line__should_be_read_whatever_its_name_is() {
        let line = "42 (a) b ( c) S 7 42 42 0 -1 4194304 100 0 0 0 11 12 13 14 20 0 1 0 5 0 0";
        assert_eq!(parent_and_ticks(line), Some((7, 50)));
        assert_eq!(parent_and_ticks("42 (a) S 7"), None);
    }

    #[test]
    fn times__should_be_parts_of_what_passed() {
        let before = Time { all: 1_000, busy: 500, own: 100 };
        let now = Time { all: 1_200, busy: 600, own: 160 };
        assert_eq!((now.busy_since(before), now.others_since(before)), (Some(50), Some(20)));
        assert_eq!(before.busy_since(before), None, "no time passed");
    }
}
