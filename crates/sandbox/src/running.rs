//! A started command: what it writes, what it may take, how it ends.

use std::{
    collections::VecDeque,
    io::Read,
    os::unix::process::ExitStatusExt,
    process::{Command, ExitStatus},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::SyncSender,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{Ended, Limits, Piece, Reason, StartError, Stream};

/// How often it is looked whether a command must end.
const LOOK: Duration = Duration::from_millis(20);
/// How much of the end of what a command wrote explains how it ended.
const TAIL_BYTES: usize = 8 << 10;
const TAIL_LINES: usize = 20;

/// A command that runs. Dropping it stops the command.
#[derive(Debug)]
pub struct Running {
    stopper: Stopper,
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

impl Running {
    pub(crate) fn begin(mut command: Command, limits: &Limits, lines: SyncSender<Piece>) -> Result<Self, StartError> {
        let stopper = Stopper::default();
        let (stop, limits) = (stopper.0.clone(), *limits);
        let supervisor = thread::Builder::new()
            .name("sandbox".to_owned())
            .spawn(move || supervise(&mut command, limits, &stop, &lines))
            .map_err(|source| StartError::Io { doing: "start a thread".to_owned(), source })?;
        Ok(Self { stopper, supervisor: Some(supervisor) })
    }

    #[must_use]
    pub fn handle(&self) -> Stopper {
        self.stopper.clone()
    }

    /// Blocks until nothing of the command is left.
    #[must_use]
    pub fn wait(mut self) -> Ended {
        self.supervisor.take().map_or_else(
            || could_not_start("it was waited for twice"),
            |thread| thread.join().unwrap_or_else(|_| could_not_start("the sandbox's own thread failed")),
        )
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

fn could_not_start(why: &str) -> Ended {
    let reason = Reason::CouldNotStart { why: why.to_owned() };
    Ended { reason, last_lines: vec![why.to_owned()], peak_memory_bytes: 0, cpu_ms: 0, wall_ms: 0 }
}

fn supervise(command: &mut Command, limits: Limits, stop: &AtomicBool, lines: &SyncSender<Piece>) -> Ended {
    let started = Instant::now();
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return could_not_start(&error.to_string()),
    };
    let (tail, left) = (Mutex::new(VecDeque::new()), AtomicU64::new(limits.output_bytes));
    let over = AtomicBool::new(false);
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let status = thread::scope(|scope| {
        let (tail, left, over) = (&tail, &left, &over);
        scope.spawn(move || pass_on(out, Stream::Out, lines, tail, left, over));
        scope.spawn(move || pass_on(err, Stream::Err, lines, tail, left, over));
        loop {
            if let Ok(Some(status)) = child.try_wait() {
                return reason_of(status);
            }
            let must_end = [
                (stop.load(Ordering::Acquire), Reason::Cancelled),
                (over.load(Ordering::Acquire), Reason::OutputLimit),
                (started.elapsed() > limits.wall, Reason::TimeLimit),
            ];
            if let Some((_, reason)) = must_end.into_iter().find(|(must, _)| *must) {
                let _ = child.kill();
                let _ = child.wait();
                return reason;
            }
            thread::sleep(LOOK);
        }
    });
    let tail: Vec<u8> = tail.into_inner().unwrap_or_default().into();
    let text = String::from_utf8_lossy(&tail);
    let lines: Vec<&str> = text.lines().collect();
    Ended {
        reason: status,
        last_lines: lines[lines.len().saturating_sub(TAIL_LINES)..].iter().map(|line| (*line).to_owned()).collect(),
        peak_memory_bytes: 0,
        cpu_ms: 0,
        wall_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

fn reason_of(status: ExitStatus) -> Reason {
    let code =
        status.code().or_else(|| status.signal().map(|signal| signal + 128)).and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX);
    if (129..=192).contains(&code) { Reason::Signal { number: code - 128 } } else { Reason::Finished { code } }
}

fn pass_on(
    pipe: Option<impl Read>,
    stream: Stream,
    lines: &SyncSender<Piece>,
    tail: &Mutex<VecDeque<u8>>,
    left: &AtomicU64,
    over: &AtomicBool,
) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; 16 << 10];
    while let Ok(read @ 1..) = pipe.read(&mut buffer) {
        let bytes = u64::try_from(read).unwrap_or(u64::MAX);
        let before = left.fetch_update(Ordering::AcqRel, Ordering::Acquire, |left| Some(left.saturating_sub(bytes))).unwrap_or_default();
        let kept = usize::try_from(before.min(bytes)).unwrap_or(read);
        if kept < read {
            over.store(true, Ordering::Release);
        }
        if kept > 0 {
            if let Ok(mut tail) = tail.lock() {
                tail.extend(&buffer[..kept]);
                let excess = tail.len().saturating_sub(TAIL_BYTES);
                tail.drain(..excess);
            }
            let _ = lines.send(Piece { stream, bytes: buffer[..kept].to_vec() });
        }
    }
}
