//! A started command: what it writes, what it may take, how it ends.

use std::{
    collections::VecDeque,
    io::{self, Read},
    os::{fd::OwnedFd, unix::net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{SyncSender, TrySendError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    Ended, Limits, Piece, Reason, StartError, Stream,
    cell::Cell,
    cgroup::Group,
    outputs::{OUTPUTS, Taking, is_full, open_folder},
};

/// How often it is looked whether a command must end.
const LOOK: Duration = Duration::from_millis(20);
/// How long copying `work` into the sandbox may take.
const STAGED_WITHIN: Duration = Duration::from_mins(10);
/// How long the sandbox may take to be gone when all inside was killed.
const GONE_WITHIN: Duration = Duration::from_secs(10);
/// How long each last piece waits for whoever reads, when all inside is gone.
const TAKEN_WITHIN: Duration = Duration::from_secs(2);
/// How much of the end of what a command wrote explains how it ended.
const TAIL_BYTES: usize = 8 << 10;
const TAIL_LINES: usize = 20;
/// What the C library says of `ENOSPC`; a program that failed so may have removed what filled the disk.
const NO_SPACE: &str = "No space left on device";

/// A command that runs. Dropping it stops the command, and waits until nothing of it is left.
#[derive(Debug)]
pub struct Running {
    stopper: Stopper,
    peek: Peek,
    supervisor: Option<JoinHandle<Ended>>,
}

/// Stops a command from anywhere.
#[derive(Clone, Debug, Default)]
pub struct Stopper(Arc<AtomicBool>);

impl Stopper {
    /// Ends everything inside; [`Running::wait`] then says [`Reason::Cancelled`], unless the command ended before.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Release);
    }
}

/// Looks at what a command has written so far, from anywhere.
#[derive(Clone, Debug)]
pub struct Peek {
    /// The staging script, as long as it holds the job's files.
    stage: Arc<Mutex<Option<u32>>>,
    staged_work: &'static str,
    limits: Limits,
}

impl Peek {
    /// Copies what lies in `/work/outputs` now to `outputs` in a folder of the host, in place of what was there; a file that is being written may come cut.
    /// Says whether all of it fitted into `most_bytes`; nothing before the command started and after it ended.
    ///
    /// # Errors
    ///
    /// Where the host's folder cannot be written.
    pub fn outputs(&self, to: &Path, most_bytes: u64) -> io::Result<Option<bool>> {
        let work = {
            // The script is not reaped while this is held, so that its number is nobody else's.
            let stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(stage) = *stage else { return Ok(None) };
            match open_folder(&staged(stage, self.staged_work, "work")) {
                Ok(work) => work,
                Err(_) => return Ok(None),
            }
        };
        let mut taking = Taking::new(most_bytes.min(self.limits.disk_bytes), self.limits.files);
        taking.take(&work, to)?;
        Ok(Some(!taking.too_much))
    }
}

/// A folder of the job as the node reaches it through the staging script.
fn staged(stage: u32, view: &str, name: &str) -> PathBuf {
    Path::new("/proc").join(stage.to_string()).join(format!("root{view}/{name}"))
}

/// Everything that one run holds until its end.
pub(crate) struct Run {
    pub(crate) command: Command,
    pub(crate) limits: Limits,
    pub(crate) work: PathBuf,
    /// Where the job's `/work` lies for the staging script.
    pub(crate) staged_work: &'static str,
    pub(crate) group: Group,
    pub(crate) cell: Cell,
    pub(crate) lines: SyncSender<Piece>,
}

impl Running {
    pub(crate) fn begin(run: Run) -> Result<Self, StartError> {
        let stopper = Stopper::default();
        let stop = stopper.0.clone();
        let peek = Peek { stage: Arc::default(), staged_work: run.staged_work, limits: run.limits };
        let stage = peek.stage.clone();
        // The kernel kills the sandbox when the thread that started it ends: so the one that waits for it starts it.
        let supervisor = thread::Builder::new()
            .name("sandbox".to_owned())
            .spawn(move || run.supervise(&stop, &stage))
            .map_err(|source| StartError::Io { doing: "start a thread".to_owned(), source })?;
        Ok(Self { stopper, peek, supervisor: Some(supervisor) })
    }

    #[must_use]
    pub fn handle(&self) -> Stopper {
        self.stopper.clone()
    }

    /// For looking at its outputs while it runs.
    #[must_use]
    pub fn peek(&self) -> Peek {
        self.peek.clone()
    }

    /// Blocks until nothing of the command is left. What it writes must be taken from the channel meanwhile, or the channel be closed.
    #[must_use]
    pub fn wait(mut self) -> Ended {
        let ended = self.supervisor.take().map(JoinHandle::join);
        match ended {
            Some(Ok(ended)) => ended,
            _ => could_not_start("the sandbox's own thread failed".to_owned(), Vec::new()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(thread) = self.supervisor.take() {
            self.stopper.stop();
            let _ = thread.join();
        }
    }
}

fn could_not_start(why: String, mut last_lines: Vec<String>) -> Ended {
    last_lines.push(why.clone());
    Ended { reason: Reason::CouldNotStart { why }, last_lines, peak_memory_bytes: 0, cpu_ms: 0, wall_ms: 0 }
}

/// What the staging script said.
#[derive(Debug, Default)]
struct Told {
    started: Option<Instant>,
    ended: Option<u8>,
    /// When it was last listened to: what comes later is taking down, not running.
    heard: Option<Instant>,
    /// It said nothing more and will not.
    closed: bool,
}

impl Run {
    fn supervise(mut self, stop: &AtomicBool, stage: &Mutex<Option<u32>>) -> Ended {
        let (mut child, mut socket) = match self.spawn() {
            Ok(spawned) => spawned,
            Err(error) => return could_not_start(format!("the staging programs do not start: {error}"), Vec::new()),
        };
        let output = Output::new(self.limits.output_bytes);
        let pipes = (child.stdout.take(), child.stderr.take());
        let (told, forced, notes, full) = thread::scope(|scope| {
            let (output, lines) = (&output, &self.lines);
            scope.spawn(move || output.pass_on(pipes.0, Stream::Out, lines));
            scope.spawn(move || output.pass_on(pipes.1, Stream::Err, lines));
            let (told, forced) =
                self.watch(&mut socket, output, stop, || *stage.lock().unwrap_or_else(PoisonError::into_inner) = Some(child.id()));
            self.group.kill();
            let (notes, full) = if told.started.is_some() { self.take_outputs(&child) } else { (Vec::new(), false) };
            drop(socket);
            *stage.lock().unwrap_or_else(PoisonError::into_inner) = None;
            end(&mut child);
            output.over.store(true, Ordering::Release);
            (told, forced, notes, full)
        });
        let ended = self.explain(&told, forced, notes, full, output.last_lines());
        // In this order: what a crash in between leaves is found by its cell.
        drop(self.group);
        drop(self.cell);
        ended
    }

    fn spawn(&mut self) -> io::Result<(Child, UnixStream)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(LOOK))?;
        let command = &mut self.command;
        let child = command.stdin(OwnedFd::from(theirs)).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        // The command holds its own end of the socket until it is replaced.
        self.command = Command::new("true");
        Ok((child, ours))
    }

    /// Until the command ended by itself or must end. In the second case, why.
    fn watch(&self, socket: &mut UnixStream, output: &Output, stop: &AtomicBool, on_start: impl Fn()) -> (Told, Option<Reason>) {
        let staging = Instant::now();
        let (mut told, mut unread) = (Told::default(), Vec::new());
        loop {
            if told.ended.is_some() || told.closed {
                return (told, None);
            }
            let out_of_time = match told.started {
                Some(started) => started.elapsed() > self.limits.wall,
                None => staging.elapsed() > STAGED_WITHIN,
            };
            let must_end = if stop.load(Ordering::Acquire) {
                Some(Reason::Cancelled)
            } else if output.exceeded.load(Ordering::Acquire) {
                Some(Reason::OutputLimit)
            } else if self.group.memory_kills() > 0 {
                Some(Reason::OutOfMemory)
            } else {
                out_of_time.then_some(Reason::TimeLimit)
            };
            if must_end.is_some() {
                return (told, must_end);
            }
            let waited = told.started.is_none();
            listen(socket, &mut unread, &mut told);
            if waited && told.started.is_some() {
                on_start();
            }
        }
    }

    /// Copies what may be kept to the host while the staging script still holds it; notes for the tenant, and whether a folder is full.
    fn take_outputs(&self, child: &Child) -> (Vec<String>, bool) {
        let place = |name: &str| open_folder(&staged(child.id(), self.staged_work, name));
        let (Ok(work), Ok(tmp)) = (place("work"), place("tmp")) else {
            return (vec![format!("{OUTPUTS}/ could not be kept: the sandbox ended before it was read")], false);
        };
        let mut taking = Taking::new(self.limits.disk_bytes, self.limits.files);
        let taken = taking.take(&work, &self.work);
        let full = is_full(&work) || is_full(&tmp) || taking.too_much;
        let mut notes = taking.notes();
        notes.extend(taken.err().map(|error| format!("{OUTPUTS}/ could not be kept: {error}")));
        (notes, full)
    }

    fn explain(&self, told: &Told, forced: Option<Reason>, notes: Vec<String>, full: bool, mut last_lines: Vec<String>) -> Ended {
        let Limits { memory_bytes, processes, disk_bytes, files, output_bytes, wall, .. } = self.limits;
        let Some(started) = told.started else {
            return match forced {
                Some(Reason::Cancelled) => Ended { reason: Reason::Cancelled, last_lines, peak_memory_bytes: 0, cpu_ms: 0, wall_ms: 0 },
                Some(Reason::OutOfMemory) => {
                    could_not_start(format!("copying its files took more than {memory_bytes} bytes of memory"), last_lines)
                }
                Some(_) => could_not_start("it was not made in time".to_owned(), last_lines),
                None => could_not_start("making it failed".to_owned(), last_lines),
            };
        };
        let code = told.ended.unwrap_or(128 + 9);
        let reason = forced.unwrap_or_else(|| {
            if self.group.memory_kills() > 0 {
                Reason::OutOfMemory
            } else if code == 0 {
                Reason::Finished { code }
            } else if self.group.refused_processes() > 0 {
                Reason::TooManyProcesses
            } else if full || last_lines.iter().any(|line| line.contains(NO_SPACE)) {
                Reason::DiskFull
            } else if (129..=192).contains(&code) {
                Reason::Signal { number: code - 128 }
            } else {
                Reason::Finished { code }
            }
        });
        last_lines.extend(notes);
        last_lines.extend(match &reason {
            Reason::OutOfMemory => Some(format!("it needed more than its {memory_bytes} bytes of memory")),
            Reason::TooManyProcesses => Some(format!("it wanted more than its {processes} processes and threads")),
            Reason::TimeLimit => Some(format!("it ran longer than its {} ms", wall.as_millis())),
            Reason::OutputLimit => Some(format!("it wrote more than its {output_bytes} bytes; the rest was cut")),
            Reason::DiskFull => Some(format!("its {disk_bytes} bytes or {files} files were used up")),
            Reason::Cancelled => Some("it was stopped".to_owned()),
            Reason::Signal { number } => Some(format!("it was ended by signal {number}")),
            Reason::Finished { .. } | Reason::CouldNotStart { .. } => None,
        });
        let ran = told.heard.map_or(Duration::ZERO, |heard| heard.saturating_duration_since(started));
        let wall_ms = u64::try_from(ran.as_millis()).unwrap_or(u64::MAX);
        Ended { reason, last_lines, peak_memory_bytes: self.group.peak_memory_bytes(), cpu_ms: self.group.cpu_ms(), wall_ms }
    }
}

/// Reads what the script says, for a moment.
fn listen(socket: &mut UnixStream, unread: &mut Vec<u8>, told: &mut Told) {
    let mut buffer = [0; 256];
    match socket.read(&mut buffer) {
        Ok(0) => told.closed = true,
        Ok(read) => unread.extend(&buffer[..read]),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted) => {}
        Err(_) => told.closed = true,
    }
    told.heard = Some(Instant::now());
    while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
        let line: Vec<u8> = unread.drain(..=end).collect();
        match std::str::from_utf8(&line).unwrap_or_default().trim_end() {
            "started" => told.started = Some(Instant::now()),
            line => told.ended = line.strip_prefix("ended ").and_then(|code| code.parse().ok()).or(told.ended),
        }
    }
}

/// Waits until the staging script is gone; kills it when it does not go.
fn end(child: &mut Child) {
    let limit = Instant::now() + GONE_WITHIN;
    while Instant::now() < limit {
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        thread::sleep(LOOK / 4);
    }
    let _ = child.kill();
    let _ = child.wait();
}

/// What a command writes, on its way to whoever reads it.
struct Output {
    left: AtomicU64,
    exceeded: AtomicBool,
    /// The command is gone: what is left must be taken soon.
    over: AtomicBool,
    tail: Mutex<VecDeque<u8>>,
}

impl Output {
    fn new(limit_bytes: u64) -> Self {
        Self { left: AtomicU64::new(limit_bytes), exceeded: AtomicBool::new(false), over: AtomicBool::new(false), tail: Mutex::default() }
    }

    fn pass_on(&self, pipe: Option<impl Read>, stream: Stream, lines: &SyncSender<Piece>) {
        let Some(mut pipe) = pipe else { return };
        let mut buffer = vec![0; 16 << 10];
        loop {
            let read = match pipe.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => return,
            };
            let bytes = u64::try_from(read).unwrap_or(u64::MAX);
            let before = self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| Some(left.saturating_sub(bytes)));
            let kept = usize::try_from(before.unwrap_or_default().min(bytes)).unwrap_or(read);
            if kept < read {
                self.exceeded.store(true, Ordering::Release);
            }
            if kept > 0 {
                self.remember(&buffer[..kept]);
                self.hand_over(Piece { stream, bytes: buffer[..kept].to_vec() }, lines);
            }
        }
    }

    /// Holds the command back while nobody takes; gives up some time after it is gone.
    fn hand_over(&self, piece: Piece, lines: &SyncSender<Piece>) {
        let (mut piece, mut patience) = (piece, TAKEN_WITHIN);
        loop {
            match lines.try_send(piece) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => return,
                Err(TrySendError::Full(back)) => piece = back,
            }
            thread::sleep(LOOK / 4);
            if self.over.load(Ordering::Acquire) {
                patience = patience.saturating_sub(LOOK / 4);
            }
            if patience.is_zero() {
                return;
            }
        }
    }

    fn remember(&self, bytes: &[u8]) {
        if let Ok(mut tail) = self.tail.lock() {
            tail.extend(bytes);
            let excess = tail.len().saturating_sub(TAIL_BYTES);
            tail.drain(..excess);
        }
    }

    fn last_lines(self) -> Vec<String> {
        let tail: Vec<u8> = self.tail.into_inner().unwrap_or_default().into();
        let text = String::from_utf8_lossy(&tail);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|line| (*line).to_owned()).collect()
    }
}
