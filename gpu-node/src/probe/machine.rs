//! The whole machine measured, with the evidence of each figure and its age: matrix rate, memory that is really usable, disk, and the way to the coordinator and back.

use super::{ProbeError, SIDE, matrix_rate, memory_bytes};
use crate::{
    files,
    trainer::Urgency,
    work::{Context, TaskError},
};
use memmap2::MmapMut;
use serde::{Deserialize, Serialize};
use starling_primitives::{DurationMs, TimestampMs};
use std::{
    fs,
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

/// A measurement that is older is made again.
const TOO_OLD: DurationMs = DurationMs::from_hours(24);
/// How often it is looked whether one is too old.
const LOOK_EVERY: Duration = Duration::from_secs(600);
/// The session is open and work has begun by then.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// What is written to memory and to disk, and sent to the coordinator.
const MEMORY_BYTES: u64 = 512 << 20;
const DISK_BYTES: u64 = 64 << 20;
const NETWORK_BYTES: usize = 1 << 20;
/// Memory is written so much at a time, and for so long at most.
const PIECE_BYTES: usize = 16 << 20;
const MEMORY_TIME: Duration = Duration::from_secs(2);

/// A figure and what it follows from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// In its unit.
    pub(crate) value: u64,
    /// What was done.
    pub(crate) evidence: String,
}

/// All that was measured at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Measured {
    /// When.
    pub(crate) at: TimestampMs,
    /// In 10^9 operations a second (f32).
    pub(crate) matrix_gflops: Figure,
    /// Memory that work can really have, in MiB.
    pub(crate) memory_mib: Figure,
    /// In MiB a second, synced.
    pub(crate) disk_write_mib: Figure,
    /// In MiB a second.
    pub(crate) disk_read_mib: Figure,
    /// In KiB a second, to the coordinator; nothing where it was not reached.
    pub(crate) upload_kib: Option<Figure>,
    /// The same back.
    pub(crate) download_kib: Option<Figure>,
}

impl Measured {
    /// For people: a name and its words on each line.
    pub(crate) fn lines(&self) -> Vec<(&'static str, String)> {
        let age = crate::pace::now().since(self.at);
        let words = |figure: &Figure, unit: &str| format!("{} {unit}: {} ({age} ago)", figure.value, figure.evidence);
        let mut lines = vec![
            ("matrix", words(&self.matrix_gflops, "GFLOP/s")),
            ("memory", words(&self.memory_mib, "MiB")),
            ("disk write", words(&self.disk_write_mib, "MiB/s")),
            ("disk read", words(&self.disk_read_mib, "MiB/s")),
        ];
        lines.extend(self.upload_kib.as_ref().map(|figure| ("upload", words(figure, "KiB/s"))));
        lines.extend(self.download_kib.as_ref().map(|figure| ("download", words(figure, "KiB/s"))));
        lines
    }
}

fn file(data_dir: &Path) -> PathBuf {
    data_dir.join("measured.json")
}

/// The last measurement; nothing where there is none that can be read.
pub(crate) fn last(data_dir: &Path) -> Option<Measured> {
    files::read_json(&file(data_dir)).ok().flatten()
}

/// Measures the machine when the last measurement is too old, for as long as the program runs. It waits its turn behind work.
pub(crate) async fn keep_measured(context: Arc<Context>) {
    tokio::time::sleep(FIRST_WAIT).await;
    loop {
        let old = last(&context.config.data_dir).is_none_or(|last| crate::pace::now().since(last.at) > TOO_OLD);
        if old {
            match measure(&context).await {
                Ok(measured) => {
                    tracing::info!(gflops = measured.matrix_gflops.value, memory_mib = measured.memory_mib.value, "measured this machine");
                    if let Err(error) = files::write_json(&file(&context.config.data_dir), &measured) {
                        tracing::warn!(%error, "the measurement could not be written down");
                    }
                }
                Err(error) => tracing::warn!(%error, "the machine could not be measured"),
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn measure(context: &Context) -> Result<Measured, TaskError> {
    let limit = context.config.memory_limit_bytes;
    let computing = move |_: &mut crate::engine::Bench| -> Result<(Figure, Figure), ProbeError> {
        let (gflops, products, took) = matrix_rate(&starling_training::open_device(Some(0))?)?;
        let evidence = format!("{products} products of {SIDE} x {SIDE} in {} ms", took.as_millis());
        Ok((Figure { value: u64::from(gflops), evidence }, memory(limit).ok_or(ProbeError::NoMemory)?))
    };
    let computed = context.trainer.run(Urgency::Figures, computing).await?;
    let (matrix_gflops, memory_mib) = computed.map_err(|error| TaskError::Asked(error.to_string()))?;
    let folder = context.config.data_dir.clone();
    let on_disk = tokio::task::spawn_blocking(move || disk(&folder)).await;
    let (disk_write_mib, disk_read_mib) = on_disk.map_err(io::Error::other)??;
    let moved = context.store.measure(bytes_of(&context.chain.public_key().0).into()).await;
    let (upload_kib, download_kib) = match moved {
        Ok((up, down)) => (Some(moved_in(up, "sent")), Some(moved_in(down, "fetched"))),
        Err(error) => {
            tracing::info!(%error, "the way to the coordinator was not measured");
            (None, None)
        }
    };
    Ok(Measured { at: crate::pace::now(), matrix_gflops, memory_mib, disk_write_mib, disk_read_mib, upload_kib, download_kib })
}

/// The same bytes each time, other ones for each node: measuring fills no store.
fn bytes_of(key: &[u8; 32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(NETWORK_BYTES);
    let mut block = *key;
    while bytes.len() < NETWORK_BYTES {
        block = crate::artifact::hash_of(&block).0;
        bytes.extend_from_slice(&block);
    }
    bytes
}

fn moved_in(took: Duration, what: &str) -> Figure {
    let bytes = u64::try_from(NETWORK_BYTES).unwrap_or(u64::MAX);
    Figure { value: rate(bytes, took) >> 10, evidence: format!("{what} {} KiB in {} ms", bytes >> 10, took.as_millis()) }
}

/// Bytes a second.
fn rate(bytes: u64, took: Duration) -> u64 {
    let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
    bytes.saturating_mul(1_000_000) / micros
}

/// What the system, the control group and the owner leave, some of it really written to.
fn memory(limit_bytes: Option<u64>) -> Option<Figure> {
    let available = available_bytes().or_else(memory_bytes)?;
    let group = group_bytes();
    let usable = available.min(group.unwrap_or(u64::MAX)).min(limit_bytes.unwrap_or(u64::MAX));
    let (wanted, began, mut pieces) = ((usable / 2).min(MEMORY_BYTES), Instant::now(), Vec::new());
    let mut written = 0_u64;
    while written < wanted && began.elapsed() < MEMORY_TIME {
        // From the system and back to it: the allocator would keep what is freed.
        let Ok(mut piece) = MmapMut::map_anon(PIECE_BYTES) else { break };
        piece.fill(0xA5);
        written += u64::try_from(PIECE_BYTES).unwrap_or(0);
        pieces.push(piece);
    }
    let whole = pieces.iter().all(|piece| piece.iter().step_by(4_096).all(|byte| *byte == 0xA5));
    let usable = if whole && written >= wanted { usable } else { written };
    let group =
        group.map_or_else(|| "no control group limits it".to_owned(), |group| format!("the control group allows {} MiB", group >> 20));
    let evidence = format!("the system has {} MiB available, {group}, {} MiB were written", available >> 20, written >> 20);
    Some(Figure { value: usable >> 20, evidence })
}

fn available_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1_024)
}

/// What this process's control group allows, of whichever version.
fn group_bytes() -> Option<u64> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = |of: &str| groups.lines().find_map(|line| line.split_once(':')?.1.strip_prefix(of).map(str::to_owned));
    let second = path(":").map(|path| format!("/sys/fs/cgroup{path}/memory.max"));
    let first = path("memory:").map(|path| format!("/sys/fs/cgroup/memory{path}/memory.limit_in_bytes"));
    let read = |path: String| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    // Without a limit the first version tells a number near 2^63.
    [second, first].into_iter().flatten().filter_map(read).filter(|bytes| *bytes < 1 << 60).min()
}

fn disk(folder: &Path) -> io::Result<(Figure, Figure)> {
    let path = folder.join("measure.part");
    let measured = write_and_read(&path);
    files::remove_if_there(&path)?;
    measured
}

fn write_and_read(path: &Path) -> io::Result<(Figure, Figure)> {
    let mut piece: Vec<u8> = (0..1 << 20_u32).map(|place: u32| place.to_le_bytes()[0] ^ place.to_le_bytes()[2]).collect();
    let mut file = fs::File::options().create(true).truncate(true).read(true).write(true).open(path)?;
    let began = Instant::now();
    for _ in 0..DISK_BYTES >> 20 {
        file.write_all(&piece)?;
    }
    file.sync_all()?;
    let wrote = began.elapsed();
    // Read from the disk where the system lets go of what it still holds.
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    file.rewind()?;
    let began = Instant::now();
    for _ in 0..DISK_BYTES >> 20 {
        file.read_exact(&mut piece)?;
    }
    let figure = |took: Duration, what: &str| Figure {
        value: rate(DISK_BYTES, took) >> 20,
        evidence: format!("{what} {} MiB in {} ms", DISK_BYTES >> 20, took.as_millis()),
    };
    Ok((figure(wrote, "wrote and synced"), figure(began.elapsed(), "read")))
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    #[test]
    fn machine__should_be_measured_with_evidence() {
        let folder = tempfile::tempdir().unwrap();
        let (write, read) = disk(folder.path()).unwrap();
        assert!(write.value > 0 && read.value > 0 && write.evidence.contains("64 MiB"), "{write:?} {read:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "it leaves nothing");
        let memory = memory(Some(64 << 20)).unwrap();
        assert_eq!(memory.value, 64, "{memory:?}");
        assert!(memory.evidence.contains("32 MiB were written"), "{memory:?}");
        assert_eq!(rate(1_000, Duration::from_millis(500)), 2_000);
    }

    #[test]
    fn measurement__should_be_kept_with_its_age() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(last(folder.path()), None);
        let figure = Figure { value: 3, evidence: "x".to_owned() };
        let measured = Measured {
            at: crate::pace::now(),
            matrix_gflops: figure.clone(),
            memory_mib: figure.clone(),
            disk_write_mib: figure.clone(),
            disk_read_mib: figure.clone(),
            upload_kib: Some(figure),
            download_kib: None,
        };
        files::write_json(&file(folder.path()), &measured).unwrap();
        assert_eq!(last(folder.path()), Some(measured.clone()));
        assert_eq!(measured.lines().last().map(|(name, words)| (*name, words.contains("s ago"))), Some(("upload", true)));
    }
}
