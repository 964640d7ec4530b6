//! How a node's machine stands by its own word: work, pace, sensors, limits. For the node's provider alone.

use serde::{Deserialize, Serialize};
use starling_limits::Device;
use starling_primitives::{NodeId, TimestampMs};

/// A longer text of a [`MachineState`] is not kept.
pub const MAX_MACHINE_BYTES: usize = 8 * 1024;

/// What a node tells of its machine, each time that it has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineState {
    /// Version of its program.
    pub version: String,
    /// Tasks under way, by name.
    pub work: Vec<String>,
    /// Part of the time in which work may go on, in percent; nothing where it rests.
    pub share_percent: Option<u8>,
    /// Why it takes nothing new, where it takes none.
    pub refusal: Option<String>,
    /// Readings of the devices that work. What a machine does not measure is missing.
    pub devices: Vec<Device>,
    /// Free space where the node keeps its files, in MiB.
    pub free_disk_mib: Option<u64>,
    /// Its owner's limits, each in words.
    pub limits: Vec<String>,
}

/// A machine as its provider sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineView {
    /// Of which node.
    pub node_id: NodeId,
    /// When the node was last heard with all of this as it stands.
    pub at: TimestampMs,
    /// By its own word.
    pub state: MachineState,
}
