//! From an order to the programs that stage and run it.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, MetadataExt},
    },
    path::{Component, Path, PathBuf},
    process::Command,
};

use crate::{
    Limits, Network, Order, StartError,
    account::Account,
    cell::Cell,
    cgroup::Group,
    outputs::OUTPUTS,
    seccomp::{Architecture, filter},
};

const SCRIPT: &str = include_str!("stage.sh");
const REROOT: &str = include_str!("reroot.sh");
/// Says that the sandbox stands, and becomes the command.
const INSIDE: &str = "echo started >&7; exec 7>&- 8<&- 9<&- \"$@\"";
/// Folders that stay empty or are of no use to a job, one of which hides behind what it sees.
const VIEWS: [&str; 4] = ["/mnt", "/media", "/srv", "/tmp"];
/// The system, as far as a job sees it.
const SYSTEM_FOLDERS: [&str; 6] = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"];
const SYSTEM_FILES: [&str; 4] = ["/etc/ld.so.cache", "/etc/alternatives", "/etc/localtime", "/etc/ssl/certs"];
const NETWORK_FILES: [&str; 5] = ["/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/ssl/openssl.cnf", "/etc/pki"];
/// Where a bind may not be, nor below.
const KEPT: [&str; 13] = ["proc", "sys", "dev", "tmp", "etc", "usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "run"];
/// Where the staging programs are looked for.
pub(crate) const SEARCHED: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// Open files of one process.
const OPEN_FILES: u32 = 4096;
/// `/work`, `/tmp` and what makes them count as files too.
const OWN_FILES: u64 = 16;
/// Below this an ext4 image has no room for what it says that it has.
const LEAST_DISK_BYTES: u64 = 16 << 20;
/// More bytes, files, processes or milliseconds than any machine has.
const MOST: u64 = 1 << 50;

/// Where `/work` lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    /// In a file of the host's disk, with a file system of its own.
    Disk,
    /// In memory, where it counts as the job's.
    Memory,
}

/// Bubblewrap's own two processes, and the shell that becomes the command.
const OWN_PROCESSES: u32 = 3;

/// What the control group must allow so that the job has what it was promised.
pub(crate) fn with_own_processes(limits: &Limits) -> Limits {
    Limits { processes: limits.processes.saturating_add(OWN_PROCESSES), ..*limits }
}

/// Refuses what cannot be meant.
pub(crate) fn check(order: &Order) -> Result<(), StartError> {
    if order.command.is_empty() {
        return Err(StartError::NoCommand);
    }
    let zero = |text: &str| text.contains('\0');
    if order.command.iter().any(|part| zero(part)) {
        return Err(StartError::ZeroByte { what: "a command" });
    }
    for (name, value) in &order.environment {
        if zero(value) {
            return Err(StartError::ZeroByte { what: "an environment variable" });
        }
        if name.is_empty() || name.contains('=') || zero(name) {
            return Err(StartError::BadVariable(name.clone()));
        }
    }
    for bind in &order.binds {
        if !good_target(&bind.target, &order.work) {
            return Err(StartError::BadTarget(bind.target.clone()));
        }
        fs::metadata(&bind.source).map_err(|source| StartError::Io { doing: format!("bind {}", bind.source.display()), source })?;
    }
    for device in &order.devices {
        let plain = device.starts_with("/dev") && device.components().skip(1).all(|part| matches!(part, Component::Normal(_)));
        let is_device = fs::symlink_metadata(device).is_ok_and(|found| found.file_type().is_char_device());
        if !plain || !is_device {
            return Err(StartError::NotADevice(device.clone()));
        }
    }
    let Limits { memory_bytes, processes, cpu_millis, disk_bytes, files, output_bytes, wall } = order.limits;
    let wall_ms = u64::try_from(wall.as_millis()).unwrap_or(u64::MAX);
    for (name, value, least) in [
        ("memory_bytes", memory_bytes, 8 << 20),
        ("processes", processes.into(), 1),
        ("cpu_millis", cpu_millis.into(), 10),
        ("disk_bytes", disk_bytes, 1 << 16),
        ("files", files, 1),
        ("output_bytes", output_bytes, 1),
        ("wall", wall_ms, 1),
    ] {
        if !(least..=MOST).contains(&value) {
            return Err(StartError::BadLimit(name));
        }
    }
    Ok(())
}

/// A place of its own; below `/work` only where no link of the job's own files leads elsewhere.
fn good_target(target: &Path, work: &Path) -> bool {
    let mut parts = target.components();
    if parts.next() != Some(Component::RootDir) || target.as_os_str().as_bytes().contains(&0) {
        return false;
    }
    let Ok(names) = parts.map(|part| if let Component::Normal(name) = part { Ok(name) } else { Err(()) }).collect::<Result<Vec<_>, ()>>()
    else {
        return false;
    };
    let Some((first, below)) = names.split_first() else { return false };
    if *first == "work" {
        let mut path = work.to_owned();
        return !below.is_empty()
            && below[0] != OUTPUTS
            && below.iter().all(|name| {
                path.push(name);
                !path.is_symlink()
            });
    }
    !KEPT.iter().any(|kept| first == kept)
}

/// Where the stage lies once it is made, in the script's own namespace.
pub(crate) fn view() -> Option<&'static str> {
    VIEWS.into_iter().find(|view| Path::new(view).is_dir())
}

/// False in a chroot.
pub(crate) fn has_real_root() -> bool {
    fs::read_to_string("/proc/self/mountinfo").is_ok_and(|mounts| mounts.lines().any(|line| line.split(' ').nth(4) == Some("/")))
}

/// Writes what the script needs into the cell, and returns what runs it.
pub(crate) fn command(order: &Order, cell: &Cell, group: &Group, account: &Account, storage: Storage) -> io::Result<Command> {
    let architecture = Architecture::here().ok_or_else(|| io::Error::other("no filter for this processor"))?;
    let view = view().ok_or_else(|| io::Error::other("there is no /mnt"))?;
    cell.write("passwd", b"job:x:1000:1000:job:/work:/bin/sh\n")?;
    cell.write("group", b"job:x:1000:\n")?;
    cell.write("filter", &filter(architecture, order.network))?;
    cell.write("enter", &enter(group))?;
    cell.write("arguments", &bubble(order, Path::new(view)))?;
    let Limits { disk_bytes, files, memory_bytes, .. } = order.limits;
    let small = disk_bytes < LEAST_DISK_BYTES;
    let storage = if small { Storage::Memory } else { storage };
    // A file system has no more files than blocks.
    let files = if storage == Storage::Disk { files.min(disk_bytes / 8192) } else { files } + OWN_FILES;
    let mut command = Command::new("unshare");
    if account.drops().is_none() {
        command.args(["--user", "--map-root-user"]);
    }
    let rooted = has_real_root();
    command.args(["--mount", "--propagation", if rooted { "private" } else { "unchanged" }, "--", "setpriv", "--pdeathsig", "KILL"]);
    if !rooted {
        command.args(["bash", "--norc", "-c", REROOT, "reroot", view]);
    }
    command.args(["bash", "--norc", "-c", SCRIPT, "stage"]);
    command.arg(&cell.folder).arg(&order.work).arg(account.owner());
    command.args([disk_bytes.to_string(), files.to_string(), memory_bytes.to_string()]);
    command.args([if storage == Storage::Disk { "disk" } else { "memory" }, view, &order.binds.len().to_string()]);
    command.args(order.binds.iter().map(|bind| &bind.source));
    // From here on it is the script's own command: first limits, then the account, then the sandbox.
    command.args([
        "prlimit",
        "--core=1",
        "--rtprio=0",
        &format!("--nofile={OPEN_FILES}"),
        &format!("--fsize={}", disk_bytes.max(memory_bytes)),
        "setpriv",
    ]);
    if let Some((user, group)) = account.drops() {
        command.args([format!("--reuid={user}"), format!("--regid={group}")]);
        let groups = device_groups(&order.devices);
        command.arg(if groups.is_empty() { "--clear-groups".to_owned() } else { format!("--groups={}", groups.join(",")) });
    }
    // Root of a namespace of its own may map itself into a further one with this capability alone (Linux 5.12); it is worth nothing outside.
    let bounds = if account.is_own() { "--bounding-set=-all,+setfcap" } else { "--bounding-set=-all" };
    command.args(["--no-new-privs", "--inh-caps=-all", bounds]);
    command.args(["bwrap", "--args", "8", "--seccomp", "9", "--", "/bin/sh", "-c", INSIDE, "job"]).args(&order.command);
    command.env_clear().env("PATH", SEARCHED).env("LC_ALL", "C").current_dir("/");
    Ok(command)
}

/// Groups that may use the devices where others may not.
fn device_groups(devices: &[PathBuf]) -> Vec<String> {
    let of = |device: &PathBuf| {
        let found = fs::metadata(device).ok()?;
        (found.mode() & 0o006 != 0o006 && found.mode() & 0o060 == 0o060 && found.gid() != 0).then(|| found.gid().to_string())
    };
    let mut groups: Vec<String> = devices.iter().filter_map(of).collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

/// A script that brings itself into the group and becomes what it is given.
fn enter(group: &Group) -> Vec<u8> {
    let mut script = Vec::new();
    for door in group.doors() {
        script.extend(b"echo 0 > ");
        quote(door.as_os_str(), &mut script);
        script.extend(b" || exit 125\n");
    }
    script.extend(b"exec \"$@\"\n");
    script
}

/// As one word of the shell.
fn quote(word: &OsStr, script: &mut Vec<u8>) {
    script.push(b'\'');
    for byte in word.as_bytes() {
        if *byte == b'\'' { script.extend(b"'\\''") } else { script.push(*byte) }
    }
    script.push(b'\'');
}

/// What bubblewrap makes of the stage at `view`, each argument ended by a zero byte.
fn bubble(order: &Order, view: &Path) -> Vec<u8> {
    let mut arguments = Arguments(Vec::new());
    arguments.add(["--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session", "--clearenv"]);
    arguments.add(["--uid", "1000", "--gid", "1000", "--cap-drop", "ALL", "--hostname", "job", "--ro-bind", "/usr", "/usr"]);
    for name in SYSTEM_FOLDERS {
        let folder = Path::new("/").join(name);
        match fs::read_link(&folder) {
            Ok(target) => arguments.add([OsStr::new("--symlink"), target.as_os_str(), folder.as_os_str()]),
            Err(_) if folder.is_dir() => arguments.add([OsStr::new("--ro-bind"), folder.as_os_str(), folder.as_os_str()]),
            Err(_) => {}
        }
    }
    let more: &[&str] = if order.network == Network::Packages { &NETWORK_FILES } else { &[] };
    for file in SYSTEM_FILES.iter().chain(more) {
        // Where the name is a link, such as that of the name servers, what it leads to.
        if let Ok(source) = fs::canonicalize(file) {
            arguments.add([OsStr::new("--ro-bind"), source.as_os_str(), OsStr::new(file)]);
        }
    }
    if order.network == Network::Packages {
        arguments.add(["--share-net"]);
    }
    arguments.add(["--proc", "/proc", "--dev", "/dev"]);
    for (kind, name, target) in [
        ("--ro-bind", "passwd", "/etc/passwd"),
        ("--ro-bind", "group", "/etc/group"),
        ("--bind", "shared", "/dev/shm"),
        ("--bind", "tmp", "/tmp"),
        ("--bind", "work", "/work"),
    ] {
        arguments.add([OsStr::new(kind), view.join(name).as_os_str(), OsStr::new(target)]);
    }
    for (number, bind) in order.binds.iter().enumerate() {
        let kind = if bind.writable { "--bind" } else { "--ro-bind" };
        arguments.add([OsStr::new(kind), view.join(number.to_string()).as_os_str(), bind.target.as_os_str()]);
    }
    for device in &order.devices {
        arguments.add([OsStr::new("--dev-bind"), device.as_os_str(), device.as_os_str()]);
    }
    arguments.add(["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/work"]);
    let cores = order.limits.cpu_millis.div_ceil(1000).to_string();
    let common = [("PATH", "/usr/bin:/bin"), ("HOME", "/work"), ("TMPDIR", "/tmp"), ("LANG", "C.UTF-8"), ("OMP_NUM_THREADS", &cores)];
    for (name, value) in common {
        arguments.add(["--setenv", name, value]);
    }
    for (name, value) in &order.environment {
        arguments.add(["--setenv", name, value]);
    }
    arguments.0
}

struct Arguments(Vec<u8>);

impl Arguments {
    fn add(&mut self, parts: impl IntoIterator<Item = impl AsRef<OsStr>>) {
        for part in parts {
            self.0.extend(part.as_ref().as_bytes());
            self.0.push(0);
        }
    }
}
