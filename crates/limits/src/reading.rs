//! What sensors tell at one moment. A figure that a machine does not give is missing, never zero.

use serde::{Deserialize, Serialize};

/// One device that works, or the processor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// As the system names it.
    pub name: String,
    /// Its warmest sensor, in degrees Celsius.
    pub temperature_celsius: Option<u16>,
    /// What it draws, in watts, rounded up.
    pub power_watts: Option<u32>,
    /// Part of the time in which it worked, 0 to 100.
    pub utilisation_percent: Option<u8>,
    /// Memory of its own in use, in MiB.
    pub memory_used_mib: Option<u64>,
}

/// All that is read at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readings {
    /// The devices that limits are about.
    pub devices: Vec<Device>,
    /// Part of the whole machine's processor time that others than this program used, 0 to 100.
    pub others_percent: Option<u8>,
    /// Free space where the node keeps its files, in MiB.
    pub free_disk_mib: Option<u64>,
}
