//! What a stranger's program tries: each attempt first outside, where it succeeds, then inside, where it must not.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]
#![expect(clippy::unwrap_used, reason = "a panic in a test is a failed test")]

mod support;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead, BufReader},
    os::{fd::AsFd, unix::fs::PermissionsExt},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use starling_sandbox::{Bind, Reason};
use support::{open, order, processes_with, run, shell};

const SCRIPT: &str = include_str!("hostile.py");
const PYTHON: &str = "/usr/bin/python3";

/// What not every kernel, machine or container has, even for root: outside, these may fail too.
const NOT_EVERYWHERE: [&str; 31] = [
    "read the host's devices from /sys",
    "connect by IPv6",
    "use the kernel's cryptography",
    "reach the hypervisor by vsock",
    "use any other family of sockets",
    "see network interfaces",
    "clone a mount",
    "change the root by pivot_root",
    "make a user namespace",
    "make a user namespace by clone",
    "make a user namespace by clone3",
    "read a disk",
    "read the kernel's messages",
    "read the kernel's messages by a call",
    "load a module",
    "load another kernel",
    "account for processes",
    "set quotas",
    "use io_uring",
    "handle page faults",
    "measure the processor",
    "watch all files",
    "hide memory from the kernel",
    "write to sysrq",
    "be killed last",
    "raise a limit",
    "run in real time",
    "run with a deadline",
    "use ports of the machine",
    "call by the 32-bit interface",
    "call by the x32 interface",
];

/// A process of the machine that has what strangers must not reach.
struct Victim {
    process: Child,
    facts: String,
}

impl Victim {
    fn start(folder: &Path, script: &Path) -> Self {
        let mut process = Command::new(PYTHON)
            .arg(script)
            .arg("victim")
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{PYTHON}: {error}; `./bootstrap setup test` installs it"));
        let mut facts = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut facts).unwrap();
        Self { process, facts: facts.trim_end().to_owned() }
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // Its input ends, and it takes back what it made.
        drop(self.process.stdin.take());
        for _ in 0..100 {
            if !matches!(self.process.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What each attempt said.
fn outcomes(text: &str) -> BTreeMap<String, String> {
    text.lines().filter_map(|line| line.split_once('\t')).map(|(name, outcome)| (name.to_owned(), outcome.to_owned())).collect()
}

#[test]
fn attempts__should_succeed_outside_and_fail_inside() {
    let (home, work, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sandbox = open(home.path());
    let tools = folder.path().join("tools");
    fs::create_dir(&tools).unwrap();
    for open in [folder.path(), &tools] {
        fs::set_permissions(open, PermissionsExt::from_mode(0o755)).unwrap();
    }
    // A program that gives whoever starts it the rights of its owner.
    let setuid = tools.join("id");
    fs::copy("/usr/bin/id", &setuid).unwrap();
    fs::set_permissions(&setuid, PermissionsExt::from_mode(0o4755)).unwrap();
    let script = work.path().join("hostile.py");
    fs::write(&script, SCRIPT).unwrap();
    // Something that the node left open for its children.
    let left_open = File::open("/").unwrap();
    rustix::io::fcntl_setfd(left_open.as_fd(), rustix::io::FdFlags::empty()).unwrap();
    let victim = Victim::start(folder.path(), &script);

    let facts = |program: &Path| victim.facts.replacen('{', &format!("{{\"setuid\": \"{}\", ", program.display()), 1);
    let outside = Command::new(PYTHON)
        .arg(&script)
        .arg("attempt")
        .arg(facts(&setuid))
        .current_dir(work.path())
        .env("TMPDIR", work.path())
        .output()
        .unwrap();
    let outside = outcomes(&String::from_utf8_lossy(&outside.stdout));

    let mut order = order(work.path(), &[PYTHON, "hostile.py", "attempt", &facts(Path::new("/tools/id"))]);
    order.binds = vec![Bind { source: tools.clone(), target: "/tools".into(), writable: false }];
    let (inside, ended) = run(&sandbox, &order);
    let inside = outcomes(&inside);
    assert_eq!(ended.reason, Reason::Finished { code: 0 }, "{ended:?}");

    let is_root = fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0);
    assert!(outside.len() >= 60, "{outside:?}");
    let mut wrong = Vec::new();
    for (name, without) in &outside {
        let within = inside.get(name).map_or("nothing", String::as_str);
        if within == "done" || within == "nothing" {
            wrong.push(format!("{name}: inside, it said {within:?}"));
        }
        if without == "done" || NOT_EVERYWHERE.contains(&name.as_str()) || !is_root {
            println!("{name}: outside {without:?}, inside {within:?}");
        } else {
            wrong.push(format!("{name}: outside, it said {without:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let done = outside.values().filter(|outcome| *outcome == "done").count();
    println!("{} attempts, of which {done} succeeded outside", outside.len());
    assert!(!is_root || done >= 40, "only {done} succeeded outside");
}

#[test]
fn greed__should_end_at_the_limits() {
    let home = tempfile::tempdir().unwrap();
    let sandbox = open(home.path());
    // What it does, more than the limits and bounded, where nothing holds it; without a bound; how that ends.
    for (name, bounded, greedy, expected) in [
        (
            "processes",
            "import os, signal, time\nfor _ in range(60):\n  if not os.fork(): time.sleep(0.3); os._exit(0)",
            "import os\nwhile True: os.fork()",
            Reason::TooManyProcesses,
        ),
        (
            "threads",
            "import threading, time\nfor _ in range(60): threading.Thread(target=time.sleep, args=(0.1,)).start()",
            "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()",
            Reason::TooManyProcesses,
        ),
        ("memory", "bytes(bytearray(300 << 20))", "x = []\nwhile True: x.append(bytearray(1 << 20))", Reason::OutOfMemory),
        (
            "memory of children",
            "pass",
            "import os, time\nfor _ in range(8):\n  if not os.fork(): x = bytearray(100 << 20); time.sleep(60)\ntime.sleep(60)",
            Reason::OutOfMemory,
        ),
        (
            "shared memory",
            "f = open('/dev/shm/starling-greed', 'wb'); import os; os.unlink(f.name); f.write(bytes(20 << 20))",
            "f = open('/dev/shm/x', 'wb')\nwhile True: f.write(bytes(1 << 20))",
            Reason::OutOfMemory,
        ),
        (
            "disk",
            "import tempfile\nf = tempfile.TemporaryFile()\nfor _ in range(40): f.write(bytes(1 << 20))",
            "n = 0\nwhile True:\n  open(f'outputs/{n}', 'wb').write(bytes(1 << 20)); n += 1",
            Reason::DiskFull,
        ),
        ("temporary files", "pass", "n = 0\nwhile True:\n  open(f'/tmp/{n}', 'wb').write(bytes(1 << 20)); n += 1", Reason::DiskFull),
        (
            "files",
            "import tempfile\nwith tempfile.TemporaryDirectory() as d:\n  for n in range(1000): open(f'{d}/{n}', 'w')",
            "n = 0\nwhile True: open(f'outputs/{n}', 'w'); n += 1",
            Reason::DiskFull,
        ),
        (
            "one file with a hole",
            "import tempfile\ntempfile.TemporaryFile().truncate(1 << 40)",
            "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_DFL)\nopen('outputs/x', 'wb').truncate(1 << 40)",
            Reason::Signal { number: 25 },
        ),
        ("output", "print('x' * (1 << 20))", "while True: print('x' * 1000)", Reason::OutputLimit),
        ("time", "import time; time.sleep(0.1)", "import time; time.sleep(8640010)", Reason::TimeLimit),
        (
            "time, deaf to signals",
            "pass",
            "import os, signal, time\nfor n in range(1, 32):\n  try: signal.signal(n, signal.SIG_IGN)\n  except OSError: pass\nos.setsid() if os.fork() == 0 else 0\ntime.sleep(8640010)",
            Reason::TimeLimit,
        ),
    ] {
        let outside = Command::new(PYTHON).args(["-c", bounded]).stdout(Stdio::null()).status().unwrap();
        assert!(outside.success(), "{name}: it does not work outside");
        let work = tempfile::tempdir().unwrap();
        let mut order = order(work.path(), &[PYTHON, "-c", greedy]);
        order.limits.memory_bytes = 128 << 20;
        order.limits.wall = if expected == Reason::TimeLimit { Duration::from_millis(400) } else { Duration::from_secs(20) };
        let (out, ended) = run(&sandbox, &order);
        assert_eq!(ended.reason, expected, "{name}: {ended:?}");
        assert!(out.len() <= 64 << 10, "{name}");
        assert_eq!(processes_with("8640010"), 0, "{name}");
    }
}

#[test]
fn end__should_leave_no_process_behind() {
    let (home, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let script = "setsid nohup sleep 8640011 >/dev/null 2>&1 & (setsid sleep 8640011 &) ; trap '' HUP TERM; echo done";
    let (out, ended) = run(&open(home.path()), &shell(work.path(), script));
    assert_eq!((out.as_str(), ended.reason), ("done\n", Reason::Finished { code: 0 }));
    assert!(ended.wall_ms < 10_000, "nothing that it left is waited for");
    assert_eq!(processes_with("8640011"), 0);
}

#[test]
fn outputs__should_lead_nowhere_else() {
    let (home, work, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let secret = elsewhere.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    let path = secret.display();
    let parent = elsewhere.path().display();
    let script = format!(
        "cd outputs; ln -s {path} file; ln -s {parent} folder; ln -s /proc/1/root root; ln -s ../../../../../../{path} above; mkfifo pipe; \
         ln -s {parent} .. 2>/dev/null; mkdir kept; echo kept > kept/file; ln kept/file kept/again; echo x > $(printf 'odd\\nname')"
    );
    let (_, ended) = run(&open(home.path()), &shell(work.path(), &script));
    let mut found: Vec<_> = walk(&work.path().join("outputs")).into_iter().map(|path| path.display().to_string()).collect();
    found.sort();
    assert_eq!(found, ["kept", "kept/again", "kept/file"], "{ended:?}");
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1, "nothing was written there");
    // And where the outputs themselves were led away, or lie in what the tenant sent as a link.
    let (_, ended) = run(&open(home.path()), &shell(work.path(), &format!("rm -r outputs; ln -s {parent} outputs")));
    assert!(walk(&work.path().join("outputs")).is_empty(), "{ended:?}");
    fs::remove_dir(work.path().join("outputs")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), work.path().join("outputs")).unwrap();
    run(&open(home.path()), &shell(work.path(), "echo x > outputs/x"));
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 1, "nothing was written there");
}

/// Everything below a folder, links included, by its path from there.
fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![folder.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).unwrap().flatten() {
            found.push(entry.path().strip_prefix(folder).unwrap().to_owned());
            if entry.file_type().unwrap().is_dir() {
                left.push(entry.path());
            }
        }
    }
    found
}
