//! A PostgreSQL of its own in a temporary folder, which can be killed and started again.

use anyhow::{Context as _, Result, ensure};
use std::{
    fs::File,
    os::unix::fs::{MetadataExt as _, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// It serves no root: everybody's nobody.
const NOBODY: u32 = 65_534;
/// From a start to the first answer, recovery after a kill included.
const START_TIME: Duration = Duration::from_secs(30);

/// The server with one database; gone when this is dropped.
pub struct Postgres {
    folder: tempfile::TempDir,
    server: Child,
}

impl Postgres {
    /// Makes a cluster and serves it as whoever keeps data would: what is committed lies on the disk.
    pub fn start() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        if is_root()? {
            chown(folder.path(), Some(NOBODY), Some(NOBODY))?;
        }
        let made = as_nobody("initdb")?
            .arg("-D")
            .arg(folder.path().join("data"))
            .args(["-A", "trust", "-U", "starling", "--no-sync", "--encoding", "UTF8", "--locale", "C"])
            .output()?;
        ensure!(made.status.success(), "initdb failed: {}", String::from_utf8_lossy(&made.stderr));
        let server = serve(folder.path())?;
        let postgres = Self { folder, server };
        postgres.wait()?;
        Ok(postgres)
    }

    /// The address of its database, as a coordinator takes it.
    pub fn address(&self) -> String {
        format!("postgres://starling@localhost/postgres?host={}", self.folder.path().display())
    }

    /// What a query answers, in one line.
    pub fn ask(&self, sql: &str) -> Result<String> {
        let asked = Command::new(programs()?.join("psql"))
            .args(["-X", "-A", "-t", "-U", "starling", "-d", "postgres", "-c", sql, "-h"])
            .arg(self.folder.path())
            .output()?;
        ensure!(asked.status.success(), "{sql}: {}", String::from_utf8_lossy(&asked.stderr));
        Ok(String::from_utf8_lossy(&asked.stdout).trim().to_owned())
    }

    /// `kill -9`, and a start as by a service manager; back when it answers again.
    pub fn kill_and_start(&mut self) -> Result<()> {
        self.server.kill()?;
        self.server.wait()?;
        let killed = Instant::now();
        // Its own processes see that it is gone, and hold its memory until then.
        loop {
            self.server = serve(self.folder.path())?;
            match self.wait() {
                Err(error) if killed.elapsed() > START_TIME => return Err(error),
                Err(_) => thread::sleep(Duration::from_millis(100)),
                Ok(()) => return Ok(()),
            }
        }
    }

    fn wait(&self) -> Result<()> {
        let started = Instant::now();
        loop {
            let asked = Command::new(programs()?.join("pg_isready")).arg("-q").arg("-h").arg(self.folder.path()).status()?;
            if asked.success() {
                return Ok(());
            }
            let lives = Path::new("/proc").join(self.server.id().to_string()).join("exe").exists();
            ensure!(lives && started.elapsed() < START_TIME, "PostgreSQL does not answer: {}", self.log());
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.server.kill());
        drop(self.server.wait());
    }
}

fn serve(folder: &Path) -> Result<Child> {
    let log = File::options().append(true).create(true).open(folder.join("log"))?;
    let mut server = as_nobody("postgres")?;
    server.arg("-D").arg(folder.join("data")).arg("-k").arg(folder).args(["-c", "listen_addresses="]);
    server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().context("postgres cannot be started")
}

fn is_root() -> Result<bool> {
    Ok(std::fs::metadata("/proc/self")?.uid() == 0)
}

fn as_nobody(program: &str) -> Result<Command> {
    let program = programs()?.join(program);
    if !is_root()? {
        return Ok(Command::new(program));
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", &NOBODY.to_string(), "--regid", &NOBODY.to_string(), "--clear-groups"]).arg(program);
    Ok(command)
}

/// Debian keeps the server's programs out of the way of ordinary commands.
fn programs() -> Result<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|version| version.path().join("bin"));
    let found = versions.filter(|bin| bin.join("initdb").exists()).max();
    let on_path = || std::env::split_paths(&std::env::var_os("PATH")?).find(|bin| bin.join("initdb").exists());
    found.or_else(on_path).context("PostgreSQL is missing: run `./bootstrap setup test`")
}
