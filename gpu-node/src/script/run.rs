//! One script from its upload to its end: unpack, environment, the run without network, live output and figures.

use super::{
    HELPERS_INSIDE, Outputs, Room, environment,
    environment::Made,
    tools::{allow, gpu_devices, remove_folder},
};
use crate::{
    engine::{EngineError, Gate, Piece},
    trainer::Cancel,
};
use starling_sandbox::{Bind, Ended, Limits, Network, Order, Reason, StartError, Stream};
use starling_scripts::{Bundle, Exit, ExitReason, Input, LineCutter, Metric, Metrics, Requirements, Script, Taken};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, sync_channel},
    },
    time::{Duration, Instant},
};

/// What a script may print.
const OUTPUT_BYTES: u64 = 8 << 20;
/// Files in its folder.
const FILES: u64 = 100_000;
/// How often output, figures and time are passed on.
const PASS_EVERY: Duration = Duration::from_millis(200);
/// What is passed on at once; a message holds more.
const PASS_BYTES: usize = 12 * 1024;
/// Figures in one message.
const PASS_METRICS: usize = 200;
/// Time that is left for the last statement before the lease's own time is over.
const LAST_STATEMENT: Duration = Duration::from_secs(5);

/// Why the node could not do what it took on: its own fault, not the script's.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The order was refused.
    #[error("the sandbox refused the script: {0}")]
    Start(#[from] StartError),
    /// The sandbox failed.
    #[error("the sandbox could not be made: {0}")]
    Sandbox(String),
    /// Something is missing on this machine.
    #[error("{0}")]
    Lack(String),
    /// The disk failed.
    #[error("the node's disk failed: {0}")]
    Disk(#[from] io::Error),
}

/// A script with all that it needs, unpacked.
#[derive(Debug)]
pub(crate) struct ScriptJob {
    script: Script,
    requirements: Requirements,
    work: PathBuf,
    room: Arc<Room>,
    /// What it gives.
    pub(crate) outputs: Arc<Outputs>,
}

/// Who is told what while it runs.
pub(crate) struct Ears<P, M, L> {
    /// Output and time.
    pub(crate) piece: P,
    /// Figures.
    pub(crate) metrics: M,
    /// What is done before the run.
    pub(crate) line: L,
}

impl ScriptJob {
    /// Unpacks upload and data into a folder of their own.
    ///
    /// # Errors
    /// What cannot be taken, in words; nothing has run.
    pub(crate) fn unpack(room: Arc<Room>, name: &str, script: Script, bundle: &[u8], inputs: Vec<fs::File>) -> Result<Self, String> {
        room.suits(&script)?;
        let bundle = Bundle::from_tar(bundle).map_err(|error| format!("the upload is refused: {error}"))?;
        let requirements = match &script.requirements {
            None => Requirements::default(),
            Some(path) => {
                let bytes = bundle.get(path).ok_or_else(|| format!("{path:?} is named and not in the upload"))?;
                Requirements::read(&String::from_utf8_lossy(bytes)).map_err(|error| format!("{path}: {error}"))?
            }
        };
        let work = room.work_folder(name);
        write_all(&work, &bundle, &script.inputs, inputs).map_err(|error| format!("the upload could not be unpacked: {error}"))?;
        let outputs = Arc::new(Outputs::new(&work));
        Ok(Self { script, requirements, work, room, outputs })
    }

    /// Runs it; blocks. Its end is in the outputs. What is metered is the run alone: making the environment is not paid, but the lease's time goes on. An earlier run of the same
    /// lease, cut off with the node, counts once: time up to `before_ms` is not metered again. Gives the reason where the owner's limits or orders ended it.
    pub(crate) fn run<P: Fn(Piece), M: Fn(Vec<Metric>), L: Fn(String)>(
        &self,
        before_ms: u64,
        lease_left: Duration,
        unsigned_limit_ms: u64,
        gate: &Gate,
        cancel: &Cancel,
        ears: &Ears<P, M, L>,
    ) -> Result<Option<EngineError>, Fault> {
        let started = Instant::now();
        let left = || lease_left.saturating_sub(LAST_STATEMENT).saturating_sub(started.elapsed());
        let environment = if self.requirements.is_empty() {
            None
        } else {
            match self.room.environments.get(&self.room, &self.requirements, left(), cancel, &ears.line)? {
                Made::Ready(environment) => Some(environment),
                Made::Not(exit) => {
                    self.outputs.end(exit);
                    return Ok(None);
                }
            }
        };
        if let Some(environment) = &environment {
            self.outputs.set_lock(environment.lock.clone());
        }
        let order = self.order(environment.as_ref().map(|environment| environment.folder.as_path()), left());
        let (sender, pieces) = sync_channel(64);
        let running = self.room.sandbox.start(&order, sender)?;
        let stopper = running.handle();
        self.outputs.begin(running.peek());
        let mut reader = Reader {
            job: self,
            started: Instant::now(),
            before_ms,
            text: Vec::new(),
            points: Vec::new(),
            cutters: Default::default(),
            metrics: Metrics::default(),
            passed: Instant::now(),
        };
        let (mut unsigned, mut handed_over) = (false, None);
        loop {
            match pieces.recv_timeout(PASS_EVERY) {
                Ok(piece) => reader.take(piece.stream, &piece.bytes),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            reader.pass(ears, false);
            unsigned |= !gate.is_below(reader.metered_ms(), unsigned_limit_ms);
            if let Err(error @ EngineError::HandedOver(_)) = cancel.between_steps(Duration::ZERO) {
                handed_over.get_or_insert(error);
            }
            if unsigned || handed_over.is_some() || cancel.is_cancelled() {
                stopper.stop();
            }
        }
        let ended = running.wait();
        reader.pass(ears, true);
        self.outputs.drop_metrics(reader.metrics.dropped());
        self.outputs.set_usage(ended.peak_memory_bytes, ended.cpu_ms);
        self.outputs.end(exit_of(&ended, unsigned)?);
        Ok(handed_over)
    }

    fn order(&self, environment: Option<&Path>, wall: Duration) -> Order {
        let resources = &self.script.resources;
        let mut variables = vec![("PYTHONPATH".to_owned(), HELPERS_INSIDE.to_owned()), ("PYTHONUNBUFFERED".to_owned(), "1".to_owned())];
        let mut path = format!("{HELPERS_INSIDE}/bin:/usr/bin:/bin");
        let mut binds = vec![self.room.helpers()];
        if let Some(folder) = environment {
            binds.push(Bind { source: folder.to_owned(), target: environment::INSIDE.into(), writable: false });
            path = format!("{}/venv/bin:{path}", environment::INSIDE);
            variables.push(("VIRTUAL_ENV".to_owned(), format!("{}/venv", environment::INSIDE)));
        }
        variables.push(("PATH".to_owned(), path));
        variables.extend(self.script.environment.iter().map(|(name, value)| (name.clone(), value.clone())));
        let mut command = self.script.command.clone();
        if command.first().is_some_and(|program| program == "notebook") {
            command.splice(0..1, ["python".to_owned(), format!("{HELPERS_INSIDE}/starling_notebook.py")]);
        }
        Order {
            command,
            environment: variables,
            binds,
            work: self.work.clone(),
            limits: Limits {
                memory_bytes: u64::from(resources.memory_mib) << 20,
                processes: resources.processes,
                cpu_millis: u32::from(resources.cpus).saturating_mul(1_000),
                disk_bytes: u64::from(resources.disk_mib) << 20,
                files: FILES,
                output_bytes: OUTPUT_BYTES,
                wall: wall.max(Duration::from_secs(1)),
            },
            network: Network::None,
            devices: if resources.gpu { gpu_devices() } else { Vec::new() },
        }
    }
}

/// Takes output apart and passes it on a few times a second.
struct Reader<'a> {
    job: &'a ScriptJob,
    started: Instant,
    before_ms: u64,
    text: Vec<u8>,
    points: Vec<Metric>,
    /// Of standard output and of standard error.
    cutters: [LineCutter; 2],
    metrics: Metrics,
    passed: Instant,
}

impl Reader<'_> {
    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn metered_ms(&self) -> u64 {
        self.elapsed_ms().max(self.before_ms)
    }

    fn take(&mut self, stream: Stream, bytes: &[u8]) {
        let place = usize::from(stream == Stream::Err);
        for line in self.cutters[place].push(bytes) {
            self.take_line(line);
        }
    }

    fn take_line(&mut self, line: Vec<u8>) {
        let text = String::from_utf8_lossy(&line);
        match self.metrics.take(text.trim_end(), self.elapsed_ms()) {
            Taken::Metric(metric) => {
                if self.job.outputs.add_metric(&metric) {
                    self.points.push(metric);
                }
            }
            Taken::Dropped => {}
            Taken::Text => self.text.extend_from_slice(&line),
        }
    }

    fn pass<P: Fn(Piece), M: Fn(Vec<Metric>), L: Fn(String)>(&mut self, ears: &Ears<P, M, L>, is_last: bool) {
        if is_last {
            for place in [0, 1] {
                let rest = self.cutters[place].rest();
                if !rest.is_empty() {
                    self.take_line(rest);
                }
            }
        } else if self.passed.elapsed() < PASS_EVERY && self.text.len() < PASS_BYTES {
            return;
        }
        self.passed = Instant::now();
        for points in self.points.chunks(PASS_METRICS) {
            (ears.metrics)(points.to_vec());
        }
        self.points.clear();
        let (units, metered_ms) = (self.job.outputs.count(), self.metered_ms());
        let mut text = std::mem::take(&mut self.text);
        while text.len() > PASS_BYTES {
            let rest = text.split_off(PASS_BYTES);
            (ears.piece)(Piece { bytes: text, units, metered_ms });
            text = rest;
        }
        (ears.piece)(Piece { bytes: text, units, metered_ms });
    }
}

/// The sandbox's reason as the tenant is told it.
fn exit_of(ended: &Ended, unsigned: bool) -> Result<Exit, Fault> {
    let reason = match &ended.reason {
        Reason::Finished { code: 0 } => ExitReason::Completed,
        // As shells and bwrap say it.
        Reason::Finished { code: 126 | 127 } => ExitReason::CommandNotFound,
        Reason::Finished { code } => ExitReason::Failed { code: i32::from(*code) },
        Reason::Signal { number } => ExitReason::Killed { signal: i32::from(*number) },
        Reason::OutOfMemory => ExitReason::OutOfMemory,
        Reason::TooManyProcesses => ExitReason::TooManyProcesses,
        Reason::TimeLimit => ExitReason::TimeOver,
        Reason::OutputLimit => ExitReason::TooMuchOutput,
        Reason::DiskFull => ExitReason::DiskFull,
        Reason::Cancelled if unsigned => ExitReason::NotSigned,
        Reason::Cancelled => ExitReason::Stopped,
        Reason::CouldNotStart { why } if why.contains("execvp") || why.contains("No such file") => ExitReason::CommandNotFound,
        Reason::CouldNotStart { why } => return Err(Fault::Sandbox(why.clone())),
    };
    Ok(Exit::new(reason, &ended.last_lines))
}

/// Writes the upload and its data: folders for all to enter, files for all to read, since the job runs as another account.
fn write_all(work: &Path, bundle: &Bundle, inputs: &[Input], files: Vec<fs::File>) -> io::Result<()> {
    remove_folder(work)?;
    make_folder(work)?;
    for (path, entry) in bundle.files() {
        write(work, path, &mut entry.bytes.as_slice(), entry.executable)?;
    }
    for (input, mut file) in inputs.iter().zip(files) {
        if bundle.get(&input.path).is_some() {
            return Err(io::Error::other(format!("{:?} is in the upload and under [[data]]", input.path)));
        }
        write(work, &input.path, &mut file, false)?;
    }
    make_folder(&work.join("outputs"))
}

fn write(work: &Path, path: &str, from: &mut impl io::Read, executable: bool) -> io::Result<()> {
    starling_scripts::check_path(path).map_err(io::Error::other)?;
    for (at, _) in path.match_indices('/') {
        make_folder(&work.join(&path[..at]))?;
    }
    let file = work.join(path);
    io::copy(from, &mut fs::File::create(&file)?)?;
    allow(&file, if executable { 0o755 } else { 0o644 })
}

fn make_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    allow(folder, 0o755)
}
