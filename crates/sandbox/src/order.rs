//! What may be ordered of a sandbox, and what it tells of how that ended.

use std::{path::PathBuf, time::Duration};

/// Where a sandbox keeps what it needs, and as whom it runs strangers' code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxConfig {
    /// A folder of the sandbox's own, made where it is missing. One [`Sandbox`](crate::Sandbox) at a time looks after it.
    pub home: PathBuf,
    /// The account that jobs run as when the node runs as root; [`DEFAULT_USER`](crate::DEFAULT_USER) where none is named.
    /// A node that is not root cannot change accounts: its jobs run as its own, and naming another is a lack.
    pub user: Option<String>,
}

/// One command and everything that it may see and use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Program and arguments, as seen from inside; looked for in `PATH`, which is `/usr/bin:/bin` unless `environment` says otherwise.
    pub command: Vec<String>,
    /// The whole environment, besides `PATH`, `HOME=/work`, `TMPDIR=/tmp`, `LANG=C.UTF-8` and `OMP_NUM_THREADS`, the cores that `limits` gives (libraries
    /// would start a thread for each core of the machine). Each of them may be replaced.
    pub environment: Vec<(String, String)>,
    /// What is visible besides the system. Read-only sources must be readable by others (`chmod -R a+rX`).
    pub binds: Vec<Bind>,
    /// A folder of the host whose content is copied to `/work`. What then lies in `/work/outputs` is copied back when the command has
    /// ended: regular files and folders only, within `limits`; whatever lay there before is replaced.
    pub work: PathBuf,
    pub limits: Limits,
    pub network: Network,
    /// Device files of what was leased, such as `/dev/nvidia0`; no other is visible.
    pub devices: Vec<PathBuf>,
}

/// A file or folder of the host, visible inside at `target`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    pub source: PathBuf,
    /// An absolute path outside of `/proc`, `/dev` and `/tmp`.
    pub target: PathBuf,
    /// Writable binds have no quota: only for what the node's own tools fill, never where a stranger's program runs.
    pub writable: bool,
}

/// What a command may use at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub memory_bytes: u64,
    /// Processes and threads together.
    pub processes: u32,
    /// Thousandths of a core: 1000 is one core.
    pub cpu_millis: u32,
    /// In `/work` and, as much again, in `/tmp`.
    pub disk_bytes: u64,
    /// Files and folders in `/work` and, as many again, in `/tmp`.
    pub files: u64,
    /// Standard output and standard error together.
    pub output_bytes: u64,
    pub wall: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Not even a loopback that is up, and no socket but Unix sockets inside.
    None,
    /// The host's, by IPv4 and IPv6 alone: for resolving an environment with the node's own tools.
    Packages,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Out,
    Err,
}

/// What a command wrote, in the order in which it was read; a line may be cut anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub stream: Stream,
    pub bytes: Vec<u8>,
}

/// Why a command ended. The list is closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// By itself, with this exit code, which is zero for success.
    Finished { code: u8 },
    /// By a signal that the sandbox did not send.
    Signal { number: u8 },
    /// It used more than `memory_bytes`.
    OutOfMemory,
    /// It failed after it was refused another process or thread.
    TooManyProcesses,
    /// It ran longer than `wall`.
    TimeLimit,
    /// It wrote more than `output_bytes`; what is above was cut.
    OutputLimit,
    /// It failed with `/work` or `/tmp` full, in bytes or in files, or left more in `outputs/` than may be kept.
    DiskFull,
    /// The node stopped it.
    Cancelled,
    /// The sandbox could not be made: no line of the command ran.
    CouldNotStart { why: String },
}

/// How a command ended, and what it used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub reason: Reason,
    /// The last lines of what it wrote, oldest first, and what the sandbox has to add.
    pub last_lines: Vec<String>,
    /// The greatest memory in use, with what lay in memory-backed folders.
    pub peak_memory_bytes: u64,
    pub cpu_ms: u64,
    pub wall_ms: u64,
}

/// Why an order was refused; nothing has run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the order names no command")]
    NoCommand,
    #[error("{what} must not contain a zero byte")]
    ZeroByte { what: &'static str },
    #[error("{0} is not a name of an environment variable")]
    BadVariable(String),
    #[error("{} is no place for a bind: it must be an absolute path without `..`, outside of the system's folders", .0.display())]
    BadTarget(PathBuf),
    #[error("{} is not a device file below /dev", .0.display())]
    NotADevice(PathBuf),
    #[error("a limit is zero or beyond what can be given: {0}")]
    BadLimit(&'static str),
    #[error("cannot {doing}")]
    Io {
        doing: String,
        #[source]
        source: std::io::Error,
    },
}
