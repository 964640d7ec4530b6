//! Opens a sandbox and starts orders in it.

use std::{fs, io, os::unix::fs::DirBuilderExt, path::PathBuf, sync::mpsc::SyncSender, time::Duration};

use crate::{
    Check, Lack, Limits, Network, Order, Piece, Reason, Running, SandboxConfig, StartError,
    account::Account,
    cell::{Cell, clean_up},
    cgroup::Place,
    lack::Machine,
    running::Run,
    stage::{self, Storage},
};

/// A place where orders run, each apart from the others.
#[derive(Debug)]
pub struct Sandbox {
    home: PathBuf,
    account: Account,
    place: Place,
    storage: Storage,
}

impl Sandbox {
    /// Looks at the machine, ends what a killed node left behind in this home, and runs a command of its own to see that all of it works.
    ///
    /// # Errors
    ///
    /// Everything that this machine lacks: a node that has one must refuse script jobs.
    pub fn open(config: SandboxConfig) -> Result<Self, Vec<Lack>> {
        let (checks, machine) = Machine::look(&config);
        let Some(Machine { account, place, storage }) = machine else {
            return Err(checks.into_iter().filter_map(|check| check.outcome.err()).collect());
        };
        let home = open_home(&config).map_err(|error| vec![home_lack(&config, &error)])?;
        let mut sandbox = Self { home, account, place, storage };
        if let Err(why) = sandbox.try_out() {
            // Some machines have the programs for disk images but let nobody mount one.
            sandbox.storage = Storage::Memory;
            if storage == Storage::Memory || sandbox.try_out().is_err() {
                return Err(vec![Lack::of_trial(&why)]);
            }
        }
        Ok(sandbox)
    }

    /// Starts a command; what it writes goes to `lines`, in which a full channel holds the command back.
    ///
    /// # Errors
    ///
    /// [`StartError`] where the order cannot be what was meant; nothing has run then. What fails later is a [`Reason`].
    pub fn start(&self, order: &Order, lines: SyncSender<Piece>) -> Result<Running, StartError> {
        stage::check(order)?;
        let io = |doing: &str| {
            let doing = doing.to_owned();
            move |source| StartError::Io { doing, source }
        };
        let work = fs::canonicalize(&order.work).map_err(io(&format!("find {}", order.work.display())))?;
        let order = Order { work, ..order.clone() };
        let cell = Cell::make(&self.home).map_err(io("make a folder for the job"))?;
        cell.note_groups(&self.place.record(&cell.name)).map_err(io("note the job's control groups"))?;
        let group =
            self.place.make(&cell.name, &stage::with_own_processes(&order.limits)).map_err(io("make a control group for the job"))?;
        let command = stage::command(&order, &cell, &group, &self.account, self.storage).map_err(io("write what the sandbox needs"))?;
        let staged_work = stage::view().unwrap_or_default();
        Running::begin(Run { command, limits: order.limits, work: order.work, staged_work, group, cell, lines })
    }

    fn try_out(&self) -> Result<(), String> {
        let work = Cell::make(&self.home).map_err(|error| error.to_string())?;
        let order = Order {
            command: vec!["true".to_owned()],
            environment: Vec::new(),
            binds: Vec::new(),
            work: work.folder.join("stage"),
            limits: Limits {
                memory_bytes: 64 << 20,
                processes: 8,
                cpu_millis: 1000,
                disk_bytes: 16 << 20,
                files: 64,
                output_bytes: 4096,
                wall: Duration::from_secs(20),
            },
            network: Network::None,
            devices: Vec::new(),
        };
        let (lines, pieces) = std::sync::mpsc::sync_channel(1);
        drop(pieces);
        let ended = self.start(&order, lines).map_err(|error| chain(&error))?.wait();
        if ended.reason == (Reason::Finished { code: 0 }) { Ok(()) } else { Err(ended.last_lines.join("; ")) }
    }
}

/// Looks at everything that a job needs, as [`Sandbox::open`] does, and says of each thing whether this machine gives it.
#[must_use]
pub fn check(config: &SandboxConfig) -> Vec<Check> {
    let (mut checks, machine) = Machine::look(config);
    if machine.is_some() {
        let outcome = Sandbox::open(config.clone()).map(|sandbox| match sandbox.storage {
            Storage::Disk => "a command ran; a job's files lie on disk, in an image of its own".to_owned(),
            Storage::Memory => {
                "a command ran; a job's files lie in memory and count as its memory (as root, with mkfs.ext4 and loop devices, on disk)"
                    .to_owned()
            }
        });
        checks.extend(match outcome {
            Ok(there) => vec![Check { subject: "trial", outcome: Ok(there) }],
            Err(lacks) => lacks.into_iter().map(|lack| Check { subject: lack.subject, outcome: Err(lack) }).collect(),
        });
    }
    checks
}

fn chain(error: &StartError) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

fn open_home(config: &SandboxConfig) -> io::Result<PathBuf> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&config.home)?;
    let home = fs::canonicalize(&config.home)?;
    clean_up(&home)?;
    Ok(home)
}

fn home_lack(config: &SandboxConfig, error: &io::Error) -> Lack {
    Lack {
        subject: "folder",
        what: format!("{} cannot be used: {error}", config.home.display()),
        mend: "give it to the account that runs the node".to_owned(),
    }
}
