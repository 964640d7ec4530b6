//! Control groups of both versions: how much a job may use, what it used, and how all of it is ended.
//!
//! Source: the kernel's `admin-guide/cgroup-v1` and `admin-guide/cgroup-v2`.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{Lack, Limits};

/// Name of every group made here, before the cell's.
const PREFIX: &str = "starling-job-";
/// Where a node that shares its group with nobody moves itself, so that groups beside it can have limits.
const LEAF: &str = "node";
/// Length of the scheduler's period.
const PERIOD_US: u64 = 100_000;
/// How long what was killed may take to be gone.
const GONE_WITHIN: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(5);
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// Where groups for jobs can be made on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// One tree for each controller.
    V1 {
        memory: PathBuf,
        pids: PathBuf,
        cpu: PathBuf,
        cpuacct: PathBuf,
    },
    V2(PathBuf),
}

/// The group of one job.
#[derive(Debug)]
pub(crate) struct Group {
    place: Place,
}

/// One mounted tree, from `/proc/self/mountinfo`.
struct Mount<'a> {
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (first, last) = line.split_once(" - ")?;
        let mut first = first.split(' ').skip(3);
        let (root, point) = (first.next()?, first.next()?);
        let mut last = last.split(' ');
        let kind = last.next()?;
        Some(Self { root, point, kind, options: last.nth(1).unwrap_or_default() })
    }

    /// The folder of the group `path`, which `/proc/self/cgroup` names from the tree's root.
    fn folder(&self, path: &str) -> PathBuf {
        let inside = if self.root == "/" { path } else { path.strip_prefix(self.root).unwrap_or_default() };
        Path::new(self.point).join(inside.trim_start_matches('/'))
    }
}

impl Place {
    /// Looks where this process may make groups; on version 2 it moves itself into a leaf where that is what is missing.
    pub(crate) fn find() -> Result<Self, Lack> {
        let read = |path: &str| {
            fs::read_to_string(path).map_err(|error| lack(format!("{path} cannot be read: {error}"), "mount /proc and /sys/fs/cgroup"))
        };
        Self::find_in(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?)
    }

    fn find_in(own: &str, mounts: &str) -> Result<Self, Lack> {
        let mounts: Vec<Mount<'_>> = mounts.lines().filter_map(Mount::read).collect();
        let v1 = |controller: &str| {
            let mount =
                mounts.iter().rev().find(|mount| mount.kind == "cgroup" && mount.options.split(',').any(|option| option == controller))?;
            let path = own.lines().find_map(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                parts.next()?.split(',').any(|name| name == controller).then(|| parts.next())?
            })?;
            Some(mount.folder(path))
        };
        if let [Some(memory), Some(pids), Some(cpu), Some(cpuacct)] = ["memory", "pids", "cpu", "cpuacct"].map(v1) {
            return Self::V1 { memory, pids, cpu, cpuacct }.writable();
        }
        let unified = mounts.iter().rev().find(|mount| mount.kind == "cgroup2");
        let path = own.lines().find_map(|line| line.strip_prefix("0::"));
        let (Some(mount), Some(path)) = (unified, path) else {
            return Err(lack(
                "neither version 2 nor the controllers memory, pids and cpu of version 1 are mounted".to_owned(),
                "mount -t cgroup2 none /sys/fs/cgroup, or in a container: give it its own (`--cgroupns private`, /sys/fs/cgroup writable)",
            ));
        };
        Self::in_v2(&mount.folder(path), Path::new(mount.point))
    }

    /// Beside the own leaf, below the own group, or, for root, at the top.
    fn in_v2(own: &Path, top: &Path) -> Result<Self, Lack> {
        if own.ends_with(LEAF)
            && let Some(parent) = own.parent()
            && hand_on(parent).is_ok()
        {
            return Self::V2(parent.to_owned()).writable();
        }
        if hand_on(own).is_ok() || (move_into_leaf(own).is_ok() && hand_on(own).is_ok()) {
            return Self::V2(own.to_owned()).writable();
        }
        if hand_on(top).is_ok() {
            return Self::V2(top.to_owned()).writable();
        }
        Err(lack(
            format!("{} may not hand on the controllers memory, pids and cpu", own.display()),
            "start the node by systemd with `Delegate=yes` and `DelegateSubgroup=node` in its unit (for an ordinary account: \
             `systemd-run --user --scope -p Delegate=yes gpu-node run`, and `doctor` likewise), or as root",
        ))
    }

    /// Itself, if groups can really be made here.
    fn writable(self) -> Result<Self, Lack> {
        for folder in self.folders() {
            let probe = folder.join(format!("{PREFIX}probe-{}-{:?}", std::process::id(), thread::current().id()));
            let made = fs::create_dir(&probe);
            let _ = fs::remove_dir(&probe);
            made.map_err(|error| {
                lack(
                    format!("no group can be made in {}: {error}", folder.display()),
                    "run the node as root, or by systemd on version 2 with `Delegate=yes`; in a container, mount /sys/fs/cgroup writable",
                )
            })?;
        }
        Ok(self)
    }

    fn folders(&self) -> Vec<&Path> {
        let mut folders: Vec<&Path> = match self {
            Self::V1 { memory, pids, cpu, cpuacct } => vec![memory, pids, cpu, cpuacct],
            Self::V2(folder) => vec![folder],
        };
        // Two controllers may share one tree.
        folders.sort_unstable();
        folders.dedup();
        folders
    }

    /// The folders of the group that [`Self::make`] makes by this name, as [`Group::left_behind`] wants them.
    pub(crate) fn record(&self, name: &str) -> Vec<PathBuf> {
        match self.below(name) {
            Self::V1 { memory, pids, cpu, cpuacct } => vec![memory, pids, cpu, cpuacct],
            Self::V2(folder) => vec![folder],
        }
    }

    fn below(&self, name: &str) -> Self {
        let below = |folder: &PathBuf| folder.join(format!("{PREFIX}{name}"));
        match self {
            Self::V1 { memory, pids, cpu, cpuacct } => {
                Self::V1 { memory: below(memory), pids: below(pids), cpu: below(cpu), cpuacct: below(cpuacct) }
            }
            Self::V2(folder) => Self::V2(below(folder)),
        }
    }

    /// Makes a group with these limits; nothing is left of it after an error.
    pub(crate) fn make(&self, name: &str, limits: &Limits) -> io::Result<Group> {
        let group = Group { place: self.below(name) };
        group
            .place
            .folders()
            .into_iter()
            .try_for_each(fs::create_dir)
            .and_then(|()| group.limit(limits))
            .inspect_err(|_| group.remove_folders())?;
        Ok(group)
    }

    /// A word for `doctor`.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::V1 { memory, .. } => format!("version 1, {}", memory.display()),
            Self::V2(folder) => format!("version 2, {}", folder.display()),
        }
    }
}

impl Group {
    /// A group that a node left behind, by its folders.
    pub(crate) fn left_behind(folders: &[PathBuf]) -> Option<Self> {
        let ours = |folder: &PathBuf| folder.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()));
        if !folders.iter().all(ours) {
            return None;
        }
        let place = match folders {
            [memory, pids, cpu, cpuacct] => {
                Place::V1 { memory: memory.clone(), pids: pids.clone(), cpu: cpu.clone(), cpuacct: cpuacct.clone() }
            }
            [folder] => Place::V2(folder.clone()),
            _ => return None,
        };
        Some(Self { place })
    }

    /// Where a process writes `0` to come in.
    pub(crate) fn doors(&self) -> Vec<PathBuf> {
        self.place.folders().into_iter().map(|folder| folder.join("cgroup.procs")).collect()
    }

    fn limit(&self, limits: &Limits) -> io::Result<()> {
        let Limits { memory_bytes, processes, cpu_millis, .. } = *limits;
        let quota_us = (u64::from(cpu_millis) * PERIOD_US / 1000).max(1000);
        match &self.place {
            Place::V1 { memory, pids, cpu, .. } => {
                fs::write(memory.join("memory.limit_in_bytes"), memory_bytes.to_string())?;
                // There only where the kernel counts swap; then nothing may be swapped out beyond the limit.
                let _ = fs::write(memory.join("memory.memsw.limit_in_bytes"), memory_bytes.to_string());
                fs::write(pids.join("pids.max"), processes.to_string())?;
                fs::write(cpu.join("cpu.cfs_period_us"), PERIOD_US.to_string())?;
                fs::write(cpu.join("cpu.cfs_quota_us"), quota_us.to_string())
            }
            Place::V2(folder) => {
                fs::write(folder.join("memory.max"), memory_bytes.to_string())?;
                let _ = fs::write(folder.join("memory.swap.max"), "0");
                fs::write(folder.join("memory.oom.group"), "1")?;
                fs::write(folder.join("pids.max"), processes.to_string())?;
                fs::write(folder.join("cpu.max"), format!("{quota_us} {PERIOD_US}"))
            }
        }
    }

    /// How many processes the kernel killed for want of memory.
    pub(crate) fn memory_kills(&self) -> u64 {
        match &self.place {
            Place::V1 { memory, .. } => field(&memory.join("memory.oom_control"), "oom_kill"),
            Place::V2(folder) => field(&folder.join("memory.events"), "oom_kill"),
        }
    }

    /// How often a new process or thread was refused.
    pub(crate) fn refused_processes(&self) -> u64 {
        let folder = match &self.place {
            Place::V1 { pids, .. } => pids,
            Place::V2(folder) => folder,
        };
        field(&folder.join("pids.events"), "max")
    }

    /// The greatest memory in use; zero where the kernel does not say (version 2 before Linux 5.19).
    pub(crate) fn peak_memory_bytes(&self) -> u64 {
        match &self.place {
            Place::V1 { memory, .. } => number(&memory.join("memory.max_usage_in_bytes")),
            Place::V2(folder) => number(&folder.join("memory.peak")),
        }
    }

    pub(crate) fn cpu_ms(&self) -> u64 {
        match &self.place {
            Place::V1 { cpuacct, .. } => number(&cpuacct.join("cpuacct.usage")) / 1_000_000,
            Place::V2(folder) => field(&folder.join("cpu.stat"), "usage_usec") / 1000,
        }
    }

    /// Kills all inside, and what they start meanwhile; true when nothing is left.
    pub(crate) fn kill(&self) -> bool {
        let limit = Instant::now() + GONE_WITHIN;
        loop {
            let alive: Vec<String> =
                self.doors().iter().filter_map(|door| fs::read_to_string(door).ok()).flat_map(|ids| numbers(&ids)).collect();
            if alive.is_empty() {
                return true;
            }
            if Instant::now() > limit {
                return false;
            }
            self.kill_once(&alive);
            thread::sleep(LOOK);
        }
    }

    fn kill_once(&self, alive: &[String]) {
        match &self.place {
            Place::V2(folder) if fs::write(folder.join("cgroup.kill"), "1").is_ok() => {}
            Place::V2(folder) => {
                let _ = fs::write(folder.join("pids.max"), "0");
                send_kill(alive);
            }
            Place::V1 { pids, .. } => {
                let _ = fs::write(pids.join("pids.max"), "0");
                send_kill(alive);
            }
        }
    }

    /// Kills all inside and removes the group; true when nothing is left of it.
    pub(crate) fn remove(&self) -> bool {
        self.kill();
        let limit = Instant::now() + GONE_WITHIN;
        while Instant::now() < limit {
            self.remove_folders();
            if self.place.folders().into_iter().all(|folder| !folder.exists()) {
                return true;
            }
            thread::sleep(LOOK);
        }
        false
    }

    fn remove_folders(&self) {
        for folder in self.place.folders() {
            let _ = fs::remove_dir(folder);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if self.place.folders().into_iter().any(Path::exists) {
            self.remove();
        }
    }
}

/// Lets groups below `folder` have limits of their own.
fn hand_on(folder: &Path) -> io::Result<()> {
    let control = folder.join("cgroup.subtree_control");
    for controller in CONTROLLERS {
        let on = fs::read_to_string(&control)?;
        if !on.split_whitespace().any(|name| name == controller) {
            fs::write(&control, format!("+{controller}"))?;
        }
    }
    Ok(())
}

/// Moves this process one level down, if it is alone in its group.
fn move_into_leaf(own: &Path) -> io::Result<()> {
    let inside = fs::read_to_string(own.join("cgroup.procs"))?;
    let me = std::process::id().to_string();
    if numbers(&inside).any(|id| id != me) {
        return Err(io::Error::other("other processes are in the same group"));
    }
    let leaf = own.join(LEAF);
    match fs::create_dir(&leaf) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    fs::write(leaf.join("cgroup.procs"), "0")
}

fn numbers(text: &str) -> impl Iterator<Item = String> + use<> {
    let ids: Vec<String> =
        text.lines().filter(|line| !line.is_empty() && line.bytes().all(|byte| byte.is_ascii_digit())).map(str::to_owned).collect();
    ids.into_iter()
}

fn send_kill(processes: &[String]) {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "kill -KILL \"$@\"", "kill"]).args(processes).env_clear();
    let _ = shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

fn number(file: &Path) -> u64 {
    fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or_default()
}

/// The number behind `name` in a file of lines `name number`.
fn field(file: &Path, name: &str) -> u64 {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok()).unwrap_or_default()
}

fn lack(what: String, mend: &str) -> Lack {
    Lack { subject: "control groups", what, mend: mend.to_owned() }
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
