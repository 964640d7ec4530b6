//! Metered generation: text token by token, a stopwatch that runs only while it works, and a gate that stops it when too much is unsigned.

use super::{EngineError, device};
use crate::trainer::Cancel;
use starling_http_api::job::Generate;
use starling_training::{Sampling, Writer};
use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Time between two pieces of output.
const PIECE_EVERY: Duration = Duration::from_millis(250);
/// How often a stopped job looks whether it was cancelled.
const GATE_LOOK: Duration = Duration::from_millis(200);

/// A piece of a job's output with the figures at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The bytes that follow.
    pub(crate) bytes: Vec<u8>,
    /// Work units so far.
    pub(crate) units: u64,
    /// Metered time so far, in milliseconds.
    pub(crate) metered_ms: u64,
}

/// What the meter has signed, seen by the thread that works.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    signed_ms: Mutex<u64>,
    changed: Condvar,
}

/// A generation to make.
pub(crate) struct GenerateJob {
    /// What.
    pub(crate) spec: Generate,
    /// What writes it.
    pub(crate) writer: Writer,
    /// Metered time and units of the last statement: what was metered before a restart is made again unmetered.
    pub(crate) before: (u64, u64),
    /// Unsigned work beyond this stops the job until the meter signs.
    pub(crate) unsigned_limit_ms: u64,
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.signed_ms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The meter has signed work up to here.
    pub(crate) fn signed(&self, metered_ms: u64) {
        let mut signed = self.lock();
        *signed = (*signed).max(metered_ms);
        self.changed.notify_all();
    }

    /// Whether no more than `limit_ms` is unsigned.
    pub(crate) fn is_below(&self, metered_ms: u64, limit_ms: u64) -> bool {
        metered_ms.saturating_sub(*self.lock()) <= limit_ms
    }

    /// Waits while more than `limit_ms` is unsigned.
    pub(super) fn wait_below(&self, metered_ms: u64, limit_ms: u64, cancel: &Cancel) -> Result<(), EngineError> {
        let mut signed = self.lock();
        while metered_ms.saturating_sub(*signed) > limit_ms {
            if cancel.is_cancelled() {
                return Err(EngineError::Cancelled);
            }
            (signed, _) = self.changed.wait_timeout(signed, GATE_LOOK).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }
}

/// The model of a `model.safetensors`, shaped by the recipe in its metadata.
pub(crate) fn load_writer(file: &[u8]) -> Result<Writer, EngineError> {
    Ok(Writer::read(file, &device()?)?)
}

/// Generates, giving a piece a few times a second and one at the end.
pub(crate) fn generate(job: &GenerateJob, gate: &Gate, cancel: &Cancel, mut give: impl FnMut(Piece)) -> Result<(), EngineError> {
    let writer = &job.writer;
    let vocab = usize::try_from(writer.tokenizer().vocab()).unwrap_or(usize::MAX);
    let top_k = if job.spec.top_k == 0 { vocab } else { usize::try_from(job.spec.top_k).unwrap_or(vocab).min(vocab) };
    let sampling = Sampling { temperature: f64::from(job.spec.temperature), top_k, seed: job.spec.seed };
    let mut watch = Stopwatch::new(job.before.0);
    let mut bytes = Vec::new();
    let mut given = Instant::now();
    let mut units = 0;
    let wanted = usize::try_from(job.spec.max_new_tokens).unwrap_or(usize::MAX);
    for piece in writer.write(job.spec.prompt.as_bytes(), sampling)?.take(wanted) {
        if cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        bytes.extend_from_slice(piece?);
        units += 1;
        if units <= job.before.1 {
            watch.reset();
        }
        if given.elapsed() >= PIECE_EVERY {
            let metered_ms = watch.so_far_ms();
            give(Piece { bytes: std::mem::take(&mut bytes), units: units.max(job.before.1), metered_ms });
            let worked = given.elapsed();
            gate.wait_below(metered_ms, job.unsigned_limit_ms, cancel)?;
            cancel.between_steps(worked)?;
            watch.pause_until_now();
            given = Instant::now();
        }
    }
    give(Piece { bytes, units, metered_ms: watch.so_far_ms() });
    Ok(())
}

/// Counts working time, in milliseconds, rounded down.
pub(super) struct Stopwatch {
    base: Duration,
    since: Instant,
    /// Time that counted up to the last look.
    counted: Duration,
}

impl Stopwatch {
    pub(super) fn new(base_ms: u64) -> Self {
        let base = Duration::from_millis(base_ms);
        Self { base, since: Instant::now(), counted: base }
    }

    /// Nothing since the beginning counts.
    fn reset(&mut self) {
        (self.since, self.counted) = (Instant::now(), self.base);
    }

    pub(super) fn so_far_ms(&mut self) -> u64 {
        let now = Instant::now();
        self.counted += now.duration_since(self.since);
        self.since = now;
        u64::try_from(self.counted.as_millis()).unwrap_or(u64::MAX)
    }

    /// What passed since the last look does not count.
    pub(super) fn pause_until_now(&mut self) {
        self.since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;
    use starling_training::{Model, Recipe};
    use std::collections::BTreeMap;

    fn writer() -> Writer {
        let recipe = Recipe::preset("tiny").unwrap();
        let parameters = Model::initial(&recipe, None).unwrap();
        load_writer(&starling_training::export_model(&recipe, &parameters, &BTreeMap::new()).unwrap().safetensors).unwrap()
    }

    fn job(max_new_tokens: u32) -> GenerateJob {
        let spec =
            Generate { model: Default::default(), prompt: "fn main".to_owned(), max_new_tokens, temperature: 1.0, top_k: 0, seed: 7 };
        GenerateJob { spec, writer: writer(), before: (0, 0), unsigned_limit_ms: 60_000 }
    }

    fn pieces(job: &GenerateJob) -> Vec<Piece> {
        let mut pieces = Vec::new();
        generate(job, &Gate::default(), &Cancel::default(), |piece| pieces.push(piece)).unwrap();
        pieces
    }

    #[test]
    fn generate__should_meter_what_it_makes_and_repeat_itself() {
        let job = job(300);
        let made = pieces(&job);
        let text = |pieces: &[Piece]| pieces.iter().flat_map(|piece| piece.bytes.clone()).collect::<Vec<_>>();
        assert_eq!(text(&made).len(), 300);
        assert_eq!(made.last().unwrap().units, 300);
        assert!(made.windows(2).all(|pair| pair[0].metered_ms <= pair[1].metered_ms));
        assert_eq!(text(&made), text(&pieces(&job)));
    }

    #[test]
    fn generate__should_not_meter_twice_what_was_metered_before_a_restart() {
        let again = GenerateJob { before: (5_000, 200), ..job(200) };
        // The least of some: what passes between the last byte and the last look counts, and there the machine may pause.
        let tries = (0..5).map(|_| {
            let last = pieces(&again).pop().unwrap();
            assert_eq!(last.units, 200);
            last.metered_ms
        });
        let least = tries.min().unwrap();
        assert!((5_000..5_200).contains(&least), "{least}");
    }

    #[test]
    fn generate__should_stop_at_once_when_cancelled_even_while_it_waits() {
        let cancel = Cancel::default();
        let gate = Gate::default();
        let endless = GenerateJob { unsigned_limit_ms: 0, ..job(100_000) };
        std::thread::scope(|scope| {
            let (gate, at) = (&gate, &cancel);
            let worker = scope.spawn(move || generate(&endless, gate, at, |_| ()));
            std::thread::sleep(Duration::from_millis(600));
            assert!(!worker.is_finished(), "it waits for the meter");
            cancel.cancel();
            assert!(matches!(worker.join().unwrap(), Err(EngineError::Cancelled)));
        });
    }

    #[test]
    fn gate__should_open_when_the_meter_signs() {
        let gate = Gate::default();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| gate.wait_below(100, 60, &Cancel::default()));
            gate.signed(30);
            std::thread::sleep(Duration::from_millis(50));
            assert!(!waiting.is_finished());
            gate.signed(40);
            assert!(waiting.join().unwrap().is_ok());
        });
    }
}
