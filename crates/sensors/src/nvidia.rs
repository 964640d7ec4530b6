//! NVIDIA cards through NVML, which is loaded when the program runs: a machine without it starts all the same.

use nvml_wrapper::{Nvml, enum_wrappers::device::TemperatureSensor, error::NvmlError};
use starling_limits::Device;
use std::path::Path;

/// Cards that are read; a machine has no more.
const MAX_CARDS: u32 = 64;

/// Why there are no readings of NVIDIA cards.
#[derive(Debug, thiserror::Error)]
#[error("NVML does not open: {0}; install the card's driver (its package brings libnvidia-ml.so.1), or name the library in `nvml_library`")]
pub struct NvidiaError(#[from] NvmlError);

/// An open NVML.
pub(crate) struct Nvidia(Nvml);

impl Nvidia {
    /// Opens the library at `path`, or the one that the system finds.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, NvidiaError> {
        let opened = match path {
            Some(path) => Nvml::builder().lib_path(path.as_os_str()).init(),
            // The name that is there without development files.
            None => Nvml::builder().lib_path("libnvidia-ml.so.1".as_ref()).init(),
        };
        Ok(Self(opened?))
    }

    /// All cards; one that answers nothing is told without figures, so that no limit is taken for kept.
    pub(crate) fn read(&self) -> Vec<Device> {
        let count = self.0.device_count().unwrap_or(0).min(MAX_CARDS);
        (0..count).map(|index| self.card(index)).collect()
    }

    fn card(&self, index: u32) -> Device {
        let name = |model: &str| format!("NVIDIA card {index} ({model})");
        let Ok(card) = self.0.device_by_index(index) else { return Device { name: name("lost"), ..Device::default() } };
        Device {
            name: name(card.name().as_deref().unwrap_or("unnamed")),
            temperature_celsius: card.temperature(TemperatureSensor::Gpu).ok().and_then(|degrees| u16::try_from(degrees).ok()),
            power_watts: card.power_usage().ok().map(|milliwatts| milliwatts.div_ceil(1_000)),
            utilisation_percent: card.utilization_rates().ok().and_then(|rates| u8::try_from(rates.gpu.min(100)).ok()),
            memory_used_mib: card.memory_info().ok().map(|memory| memory.used >> 20),
        }
    }
}
