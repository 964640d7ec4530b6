//! What this machine can do, measured: threads, memory, and a matrix rate with a deadline. A device's name is only shown, never believed.

mod machine;

pub(crate) use machine::{Measured, keep_measured, last};

use anyhow::Context as _;
use candle_core::{DType, Tensor};
use starling_primitives::Text;
use starling_protocol::node::{Capability, DeviceKind};
use std::{
    fs, thread,
    time::{Duration, Instant},
};

/// A first product that takes longer does not count.
const DEADLINE: Duration = Duration::from_secs(3);
/// It is tried so often, as others may need the machine for a moment.
const ATTEMPTS: u32 = 3;
/// It measures for so long.
const MEASURE: Duration = Duration::from_millis(500);
/// Rows and columns of the matrices: large enough for the cache to matter, small enough for a slow processor.
const SIDE: usize = 512;

/// Why the machine could not be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    /// The device refused.
    #[error("the device cannot compute: {0}")]
    Device(#[from] starling_training::TrainingError),
    /// A matrix product failed.
    #[error("a matrix product failed: {0}")]
    Product(#[from] candle_core::Error),
    /// Each time the deadline passed before one product was made.
    #[error("not one matrix product was made in {} s: this machine is too slow or too busy", DEADLINE.as_secs())]
    TooSlow,
    /// The system does not tell its memory.
    #[error("the system does not tell how much memory it has")]
    NoMemory,
}

/// Measures the machine for work with `threads` threads. Takes [`MEASURE`] and one product, on a busy machine at most [`ATTEMPTS`].
pub(crate) fn probe(threads: u16, memory_limit_bytes: Option<u64>) -> Result<Capability, ProbeError> {
    let device = starling_training::open_device(Some(0))?;
    let memory = memory_bytes().ok_or(ProbeError::NoMemory)?;
    Ok(Capability {
        kind: if device.is_cuda() { DeviceKind::Nvidia } else { DeviceKind::Cpu },
        device: device_name(),
        memory_bytes: memory_limit_bytes.map_or(memory, |limit| limit.min(memory)),
        threads,
        matrix_gflops: matrix_gflops(&device)?,
    })
}

/// Threads that this machine has.
pub(crate) fn threads() -> u16 {
    thread::available_parallelism().ok().and_then(|threads| u16::try_from(threads.get()).ok()).unwrap_or(1)
}

/// What work may use where its owner named so many MiB, else all that the machine has.
pub(crate) fn memory_for_work(mib: Option<u64>) -> anyhow::Result<u64> {
    match mib {
        Some(mib) => Ok(mib.saturating_mul(1 << 20)),
        None => memory_bytes().context("the system does not tell how much memory it has: give --memory-mib"),
    }
}

/// Memory of the machine.
pub(crate) fn memory_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let kib: u64 = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1_024)
}

fn matrix_gflops(device: &candle_core::Device) -> Result<u32, ProbeError> {
    Ok(matrix_rate(device)?.0)
}

/// Rate in units of 10^9 operations a second, with the products and the time that it follows from.
fn matrix_rate(device: &candle_core::Device) -> Result<(u32, u32, Duration), ProbeError> {
    let matrix = Tensor::ones((SIDE, SIDE), DType::F32, device)?;
    // The first product warms up pools and caches.
    let is_in_time = || {
        let start = Instant::now();
        matrix.matmul(&matrix)?;
        device.synchronize()?;
        Ok::<_, candle_core::Error>(start.elapsed() <= DEADLINE)
    };
    let mut attempts = 1;
    while !is_in_time()? {
        if attempts == ATTEMPTS {
            return Err(ProbeError::TooSlow);
        }
        attempts += 1;
    }
    let (start, mut products) = (Instant::now(), 0_u32);
    while start.elapsed() < MEASURE {
        matrix.matmul(&matrix)?;
        device.synchronize()?;
        products += 1;
    }
    let took = start.elapsed();
    let operations = 2.0 * (SIDE as f64).powi(3) * f64::from(products);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate below 2^32 and above zero; a float cast saturates")]
    let gflops = (operations / took.as_secs_f64() / 1e9) as u32;
    Ok((gflops.max(1), products, took))
}

/// The processor's name as the system gives it.
fn device_name() -> Text<64> {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .and_then(|rest| rest.split_once(':'))
        .map_or("processor", |(_, name)| name.trim());
    let short: String = name.chars().filter(char::is_ascii).filter(|character| !character.is_control()).take(64).collect();
    Text::new(short).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    #[test]
    fn probe__should_measure_this_machine() {
        let capability = probe(1, Some(1 << 20)).unwrap();
        assert!(capability.check().is_ok());
        assert_eq!((capability.threads, capability.memory_bytes), (1, 1 << 20));
        assert!(capability.matrix_gflops >= 1);
        assert!(memory_bytes().unwrap() > 1 << 20);
    }
}
