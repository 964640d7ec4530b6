//! What a machine tells of itself: NVIDIA cards through NVML, AMD cards and the processor through `/sys` and `/proc`, and the disk.
//!
//! Reading never changes a setting. What a machine does not give is missing in the readings; the rules decide what follows from that.

mod amd;
mod files;
mod nvidia;
mod processor;

pub use nvidia::NvidiaError;

use processor::Processor;
use serde::{Deserialize, Serialize};
use starling_limits::Readings;
use std::path::{Path, PathBuf};

/// Where readings of devices come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// NVIDIA cards.
    Nvidia,
    /// AMD cards.
    Amd,
    /// The processor.
    Processor,
}

/// What is read, and where it lies.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The devices that are read.
    pub sources: Vec<Source>,
    /// NVML, if not the one that the system finds.
    pub nvml_library: Option<PathBuf>,
    /// The folder that holds `sys` and `proc`; `/` but in tests.
    pub root: PathBuf,
    /// The folder whose disk is watched.
    pub disk: PathBuf,
    /// The process whose work, with that of its children, is not others'.
    pub own_process: u32,
}

/// The sensors of one machine.
pub struct Sensors {
    setup: Setup,
    nvidia: Option<Result<nvidia::Nvidia, NvidiaError>>,
    processor: Processor,
}

impl Sensors {
    /// Opens them. A library that is not there is no error here: the readings are missing then, and [`Self::problem`] says why.
    pub fn open(setup: Setup) -> Self {
        let nvidia = setup.sources.contains(&Source::Nvidia).then(|| nvidia::Nvidia::open(setup.nvml_library.as_deref()));
        let processor = Processor::new(setup.root.clone(), setup.own_process);
        Self { setup, nvidia, processor }
    }

    /// Reads all of it, which takes milliseconds.
    pub fn read(&mut self) -> Readings {
        let mut devices = Vec::new();
        if let Some(Ok(nvidia)) = &self.nvidia {
            devices.extend(nvidia.read());
        }
        if self.setup.sources.contains(&Source::Amd) {
            devices.extend(amd::read(&self.setup.root));
        }
        let (processor, others_percent) = self.processor.read();
        if self.setup.sources.contains(&Source::Processor) {
            devices.push(processor);
        }
        Readings { devices, others_percent, free_disk_mib: free_disk_mib(&self.setup.disk) }
    }

    /// Why a source gives nothing, and what to do.
    pub fn problem(&self) -> Option<&NvidiaError> {
        self.nvidia.as_ref().and_then(|nvidia| nvidia.as_ref().err())
    }
}

/// Space that a program without special rights may still use.
fn free_disk_mib(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize).map(|bytes| bytes >> 20)
}
