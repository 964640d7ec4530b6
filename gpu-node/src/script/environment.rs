//! Python environments: resolved once in the sandbox, with the network and for that step alone, and kept by the hash of what they were made from.

use super::{
    Room,
    run::Fault,
    tools::{PYTHON, allow, remove_folder},
};
use crate::{artifact::hash_of, files, trainer::Cancel};
use serde::{Deserialize, Serialize};
use starling_sandbox::{Bind, Limits, Network, Order, Reason};
use starling_scripts::{Exit, ExitReason, LineCutter, Requirements};
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        mpsc::{RecvTimeoutError, sync_channel},
    },
    time::{Duration, Instant, SystemTime},
};

/// Where an environment lies inside, when it is made and when it is used: its paths stay true.
pub(super) const INSIDE: &str = "/opt/environment";
/// The longest that resolving and installing may take.
const MOST_TIME: Duration = Duration::from_secs(1_800);
/// How often it is looked whether the environment grows too large.
const LOOK: Duration = Duration::from_secs(5);
const MEMORY_BYTES: u64 = 4 << 30;

/// Compiles a lock file with hashes where there is none, then installs exactly that. Wheels only: nothing of a package runs here.
/// An interpreter that starts with the installed packages runs code of theirs (`.pth` files), as uv's own `--compile-bytecode` would with the network at hand:
/// so bytecode is made by one that starts without them.
const BUILD: &str = r#"
set -e
mkdir -p outputs
if [ -e locked ]; then cp requirements.in outputs/lock.txt; else
  /opt/uv/uv pip compile --no-config --quiet --python "$1" --only-binary :all: --generate-hashes --no-header --no-annotate -o outputs/lock.txt requirements.in
fi
/opt/uv/uv venv --no-config --quiet --python "$1" "$2/venv"
/opt/uv/uv pip install --no-config --python "$2/venv/bin/python" --only-binary :all: --require-hashes -r outputs/lock.txt
"$1" -I -S -m compileall -q -j 4 "$2/venv/lib" || true
rm -rf "$2/cache"
"#;

/// A kept environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Environment {
    /// Its folder on this machine.
    pub(super) folder: PathBuf,
    /// The lock file: every package with its version and hashes.
    pub(super) lock: String,
    bytes: u64,
}

/// The environments of this node. One is made at a time.
#[derive(Debug)]
pub(super) struct Environments {
    folder: PathBuf,
    limit_bytes: u64,
    making: Mutex<()>,
}

/// How an environment was asked for.
pub(super) enum Made {
    /// It is there.
    Ready(Environment),
    /// It cannot be: the script ends so.
    Not(Exit),
}

impl Environments {
    pub(super) fn open(folder: PathBuf, limit_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(&folder)?;
        // The job's account writes to what lies in it, through the sandbox alone.
        allow(&folder, 0o700)?;
        // What a killed process left half made.
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if !path.join("ready.json").is_file() {
                remove_folder(&path)?;
            }
        }
        Ok(Self { folder, limit_bytes, making: Mutex::new(()) })
    }

    /// The environment of these requirements, from the cache or made now; `say` is told what is done, a line at a time.
    pub(super) fn get(
        &self,
        room: &Room,
        requirements: &Requirements,
        left: Duration,
        cancel: &Cancel,
        say: impl Fn(String),
    ) -> Result<Made, Fault> {
        let _one = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let what = format!(
            "{}\n{}\n{}\n{}",
            room.tools.python_version,
            std::env::consts::ARCH,
            room.settings.index.as_deref().unwrap_or(""),
            requirements.canonical()
        );
        let key = hash_of(what.as_bytes()).to_string();
        let folder = self.folder.join(&key);
        if let Some(environment) = files::read_json::<Environment>(&folder.join("ready.json"))? {
            // Use keeps it from being the oldest.
            fs::File::options().append(true).open(folder.join("ready.json"))?.set_modified(SystemTime::now())?;
            say(format!("environment {} is in the cache", &key[..12]));
            return Ok(Made::Ready(environment));
        }
        say(format!("making environment {} of {} requirements", &key[..12], requirements.list().len()));
        remove_folder(&folder)?;
        fs::create_dir_all(&folder)?;
        let made = self.make(room, requirements, &folder, left, cancel, &say);
        if !matches!(made, Ok(Made::Ready(_))) {
            remove_folder(&folder)?;
        }
        let made = made?;
        self.evict(&folder)?;
        Ok(made)
    }

    fn make(
        &self,
        room: &Room,
        requirements: &Requirements,
        folder: &Path,
        left: Duration,
        cancel: &Cancel,
        say: &impl Fn(String),
    ) -> Result<Made, Fault> {
        let uv = room.tools.uv().map_err(Fault::Lack)?;
        let started = Instant::now();
        let work = room.work_folder("environment");
        remove_folder(&work)?;
        fs::create_dir_all(&work)?;
        fs::write(work.join("requirements.in"), requirements.canonical())?;
        if requirements.is_locked() {
            fs::write(work.join("locked"), "")?;
        }
        let filled = folder.join("files");
        fs::create_dir_all(&filled)?;
        allow(&filled, 0o777)?;
        let order = order(room, &uv, &work, &filled, left);
        let (sender, pieces) = sync_channel(64);
        let running = room.sandbox.start(&order, sender)?;
        let (stopper, mut cutter, mut looked, mut too_large) = (running.handle(), LineCutter::default(), Instant::now(), false);
        loop {
            match pieces.recv_timeout(Duration::from_millis(250)) {
                Ok(piece) => cutter.push(&piece.bytes).iter().for_each(|line| say(String::from_utf8_lossy(line).trim_end().to_owned())),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if looked.elapsed() > LOOK {
                looked = Instant::now();
                too_large = size_of(&filled)? > self.limit_bytes;
            }
            if cancel.is_cancelled() || too_large {
                stopper.stop();
            }
        }
        let ended = running.wait();
        let reason = match ended.reason {
            Reason::CouldNotStart { why } => return Err(Fault::Sandbox(why)),
            _ if too_large => {
                let line = format!("the environment has more than the {} MiB that this node keeps", self.limit_bytes >> 20);
                return Ok(Made::Not(Exit::new(ExitReason::RequirementsUnresolved, &[line])));
            }
            Reason::Cancelled => ExitReason::Stopped,
            Reason::TimeLimit => ExitReason::TimeOver,
            Reason::Finished { code: 0 } => ExitReason::Completed,
            _ => ExitReason::RequirementsUnresolved,
        };
        if !reason.is_success() {
            return Ok(Made::Not(Exit::new(reason, &ended.last_lines)));
        }
        let lock = fs::read_to_string(work.join("outputs/lock.txt"))?;
        remove_folder(&work)?;
        let environment = Environment { folder: filled.clone(), lock, bytes: size_of(&filled)? };
        files::write_json(&folder.join("ready.json"), &environment)?;
        say(format!("environment ready after {:.1} s, {} MiB", started.elapsed().as_secs_f64(), environment.bytes >> 20));
        Ok(Made::Ready(environment))
    }

    /// Removes the longest unused until the rest fits; `keep` stays.
    fn evict(&self, keep: &Path) -> io::Result<()> {
        let (mut kept, mut total) = (Vec::new(), 0_u64);
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let Some(environment) = files::read_json::<Environment>(&path.join("ready.json"))? else { continue };
            total = total.saturating_add(environment.bytes);
            kept.push((fs::metadata(path.join("ready.json"))?.modified()?, environment.bytes, path));
        }
        kept.sort();
        for (_, bytes, path) in kept.into_iter().filter(|(_, _, path)| path != keep) {
            if total <= self.limit_bytes {
                break;
            }
            // Without this file it counts as half made, should removing be interrupted.
            files::remove_if_there(&path.join("ready.json"))?;
            remove_folder(&path)?;
            total = total.saturating_sub(bytes);
        }
        Ok(())
    }
}

fn order(room: &Room, uv: &Path, work: &Path, filled: &Path, left: Duration) -> Order {
    let word = |text: &str| text.to_owned();
    let mut environment = vec![
        (word("UV_CACHE_DIR"), format!("{INSIDE}/cache")),
        (word("UV_NO_PROGRESS"), word("1")),
        (word("UV_PYTHON_DOWNLOADS"), word("never")),
        (word("UV_HTTP_TIMEOUT"), word("120")),
    ];
    if let Some(index) = &room.settings.index {
        environment.push((word("UV_DEFAULT_INDEX"), index.clone()));
    }
    if let Ok(file) = std::env::var("SSL_CERT_FILE") {
        environment.push((word("SSL_CERT_FILE"), file));
    }
    Order {
        command: ["/bin/sh", "-c", BUILD, "build", PYTHON, INSIDE].map(word).to_vec(),
        environment,
        binds: vec![
            Bind { source: uv.to_owned(), target: "/opt/uv/uv".into(), writable: false },
            Bind { source: filled.to_owned(), target: INSIDE.into(), writable: true },
        ],
        work: work.to_owned(),
        limits: Limits {
            memory_bytes: MEMORY_BYTES.min(room.memory_bytes),
            processes: 256,
            cpu_millis: u32::from(room.threads).saturating_mul(1_000),
            disk_bytes: 256 << 20,
            files: 10_000,
            output_bytes: 4 << 20,
            wall: MOST_TIME.min(left),
        },
        network: Network::Packages,
        devices: Vec::new(),
    }
}

/// Bytes of all files below a folder; links are not followed.
fn size_of(folder: &Path) -> io::Result<u64> {
    let (mut total, mut folders) = (0_u64, vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            // What is being written may be gone already.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries.flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => folders.push(entry.path()),
                Ok(metadata) => total = total.saturating_add(metadata.len()),
                Err(_) => {}
            }
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    #[test]
    fn environments__should_remove_the_longest_unused_and_what_is_half_made() {
        let folder = tempfile::tempdir().unwrap();
        let environments = Environments::open(folder.path().to_owned(), 250).unwrap();
        for (index, name) in ["old", "new", "now"].iter().enumerate() {
            let place = folder.path().join(name);
            fs::create_dir_all(place.join("files")).unwrap();
            files::write_json(&place.join("ready.json"), &Environment { folder: place.join("files"), lock: String::new(), bytes: 100 })
                .unwrap();
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(index).unwrap());
            fs::File::options().append(true).open(place.join("ready.json")).unwrap().set_modified(at).unwrap();
        }
        environments.evict(&folder.path().join("now")).unwrap();
        let left = || {
            let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(left(), ["new", "now"]);
        fs::create_dir_all(folder.path().join("half/files")).unwrap();
        Environments::open(folder.path().to_owned(), 250).unwrap();
        assert_eq!(left(), ["new", "now"]);
    }

    #[test]
    fn build__should_run_nothing_of_the_packages() {
        let folder = tempfile::tempdir().unwrap();
        let packages = folder.path().join("venv/lib/python3/site-packages");
        fs::create_dir_all(&packages).unwrap();
        fs::write(packages.join("a.pth"), "import pathlib; pathlib.Path('ran').touch()\n").unwrap();
        fs::write(packages.join("module.py"), "import pathlib; pathlib.Path('ran').touch()\n").unwrap();
        let compile = BUILD.lines().find(|line| line.contains("compileall")).unwrap();
        let told = std::process::Command::new("sh")
            .args(["-c", compile, "build", PYTHON])
            .arg(folder.path())
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(packages.join("__pycache__").is_dir(), "{told:?}");
        assert!(!folder.path().join("ran").exists());
        assert!(!BUILD.contains("--compile-bytecode"));
    }
}
