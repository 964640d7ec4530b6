//! AMD cards as the kernel's `amdgpu` driver shows them under `/sys/class/drm`.

use crate::files::{entries, is_named, number, text, warmest};
use starling_limits::Device;
use std::path::Path;

const VENDOR: &str = "0x1002";

/// All AMD cards below `root`.
pub(crate) fn read(root: &Path) -> Vec<Device> {
    let cards = entries(&root.join("sys/class/drm")).into_iter().filter(|path| is_named(path, "card", ""));
    let is_connector = |path: &Path| path.file_name().is_some_and(|name| name.to_string_lossy().contains('-'));
    cards.filter(|path| !is_connector(path)).filter_map(|path| card(&path)).collect()
}

fn card(card: &Path) -> Option<Device> {
    let device = card.join("device");
    if text(&device.join("vendor"))?.trim() != VENDOR {
        return None;
    }
    let monitors = entries(&device.join("hwmon"));
    let number_of = card.file_name().map(|name| name.to_string_lossy().trim_start_matches("card").to_owned()).unwrap_or_default();
    let watts = |name: &str| monitors.iter().find_map(|monitor| number(&monitor.join(name)));
    Some(Device {
        name: format!("AMD card {number_of}"),
        temperature_celsius: monitors.iter().filter_map(|monitor| warmest(monitor)).max(),
        // In millionths of a watt; older drivers tell an average, newer ones the moment.
        power_watts: watts("power1_average")
            .or_else(|| watts("power1_input"))
            .and_then(|micro| u32::try_from(micro.div_ceil(1_000_000)).ok()),
        utilisation_percent: number(&device.join("gpu_busy_percent")).and_then(|percent| u8::try_from(percent.min(100)).ok()),
        memory_used_mib: number(&device.join("mem_info_vram_used")).map(|bytes| bytes >> 20),
    })
}
