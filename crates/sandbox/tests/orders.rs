//! What an order gives, as the node sees it.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]
#![expect(clippy::unwrap_used, reason = "a panic in a test is a failed test")]

mod support;

use std::{
    os::fd::AsFd,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use starling_sandbox::{Bind, Network, Reason, Sandbox, SandboxConfig, StartError, check};
use support::{open, processes_with, run, shell};

#[test]
fn start__should_run_a_command_and_stream_what_it_writes() {
    let (home, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sandbox = open(home.path());
    let (out, ended) = run(&sandbox, &shell(work.path(), "echo one; echo two >&2; exit 3"));
    assert_eq!((out.as_str(), ended.reason), ("one\n", Reason::Finished { code: 3 }));
    assert!(ended.last_lines.contains(&"two".to_owned()), "{:?}", ended.last_lines);
}

#[test]
fn start__should_give_the_work_folder_and_bring_back_the_outputs() {
    let (home, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sandbox = open(home.path());
    std::fs::write(work.path().join("input"), "seven").unwrap();
    let script =
        "id -un; pwd; ls /proc/self/fd | wc -w; mkdir outputs/a; cp input outputs/a/copy; echo x > private; ln -s /etc outputs/etc";
    let (out, ended) = run(&sandbox, &shell(work.path(), script));
    // The fourth is the folder that `ls` reads.
    assert_eq!((out.as_str(), &ended.reason), ("job\n/work\n4\n", &Reason::Finished { code: 0 }), "{ended:?}");
    assert_eq!(std::fs::read_to_string(work.path().join("outputs/a/copy")).unwrap(), "seven");
    assert!(!work.path().join("private").exists() && !work.path().join("outputs/etc").exists());
    assert!(ended.last_lines.iter().any(|line| line.contains("outputs/etc")), "{ended:?}");
    assert!(ended.peak_memory_bytes > 0, "{ended:?}");
    assert_eq!(std::fs::read_dir(home.path().join("cells")).unwrap().count(), 0, "nothing is left of the job");
}

#[test]
fn wait__should_say_which_limit_ended_a_command() {
    let (home, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sandbox = open(home.path());
    for (script, expected) in [
        ("exit 7", Reason::Finished { code: 7 }),
        ("kill -TERM $$", Reason::Signal { number: 15 }),
        ("head -c 100M /dev/zero > big", Reason::DiskFull),
        ("i=0; while : > outputs/$i; do i=$((i+1)); done; exit 1", Reason::DiskFull),
        ("head -c 100M /dev/zero > /tmp/big", Reason::DiskFull),
        ("yes", Reason::OutputLimit),
        ("sleep 60 & sleep 60", Reason::TimeLimit),
        ("python3 -c 'x = bytearray(1 << 30)'", Reason::OutOfMemory),
        ("for i in $(seq 100); do sleep 5 & done", Reason::TooManyProcesses),
        ("no-such-program", Reason::Finished { code: 127 }),
    ] {
        let mut order = shell(work.path(), script);
        if expected == Reason::TimeLimit {
            order.limits.wall = Duration::from_millis(300);
        }
        let (_, ended) = run(&sandbox, &order);
        assert_eq!(ended.reason, expected, "{script}: {ended:?}");
        assert!(expected != Reason::TimeLimit || (300..30_000).contains(&ended.wall_ms), "{ended:?}");
        assert!(!ended.last_lines.is_empty() || expected == Reason::Finished { code: 7 }, "{script}: {ended:?}");
    }
}

#[test]
fn start__should_hand_back_pieces_while_the_command_runs_and_stop_when_told() {
    let (home, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sandbox = open(home.path());
    let (lines, pieces) = mpsc::sync_channel(1);
    let running = sandbox.start(&shell(work.path(), "trap '' TERM; echo here; echo kept > outputs/kept; sleep 8640001"), lines).unwrap();
    assert_eq!(pieces.recv().unwrap().bytes, b"here\n");
    while processes_with("8640001") == 0 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let (stopper, stopped) = (running.handle(), Instant::now());
    std::thread::spawn(move || stopper.stop());
    let ended = running.wait();
    assert!(stopped.elapsed() < Duration::from_secs(60), "{:?}", stopped.elapsed());
    assert_eq!((ended.reason, processes_with("8640001")), (Reason::Cancelled, 0));
    assert_eq!(std::fs::read_to_string(work.path().join("outputs/kept")).unwrap(), "kept\n");
}

#[test]
fn drop__should_leave_nothing_running() {
    let (home, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sandbox = open(home.path());
    let (lines, pieces) = mpsc::sync_channel(1);
    let running = sandbox.start(&shell(work.path(), "setsid sh -c 'echo here; exec sleep 8640002' & sleep 8640002"), lines).unwrap();
    pieces.recv().unwrap();
    drop(running);
    assert_eq!(processes_with("8640002"), 0);
    assert_eq!(std::fs::read_dir(home.path().join("cells")).unwrap().count(), 0);
}

#[test]
fn wait__should_end_though_nobody_reads() {
    let (home, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sandbox = open(home.path());
    let (lines, pieces) = mpsc::sync_channel(1);
    let mut order = shell(work.path(), "yes");
    order.limits.wall = Duration::from_millis(500);
    let running = sandbox.start(&order, lines).unwrap();
    assert_eq!(running.wait().reason, Reason::TimeLimit);
    assert!(pieces.iter().count() <= 1, "a full channel holds the command back");
}

/// What it waits for is killed: `open__should_clean_up_after_a_killed_node` starts it in a process of its own.
#[test]
#[ignore = "another test starts it"]
fn node_that_is_killed() {
    let (home, work) = (std::env::var("STARLING_TEST_HOME").unwrap(), tempfile::tempdir().unwrap());
    let sandbox = open(Path::new(&home));
    let (lines, pieces) = mpsc::sync_channel(1);
    let running = sandbox.start(&shell(work.path(), "setsid sleep 8640003 & echo here; exec sleep 8640003"), lines).unwrap();
    pieces.recv().unwrap();
    let _ = running.wait();
}

#[test]
fn open__should_clean_up_after_a_killed_node() {
    let home = tempfile::tempdir().unwrap();
    let mut node = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "node_that_is_killed"])
        .env("STARLING_TEST_HOME", home.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let limit = Instant::now() + Duration::from_secs(120);
    while processes_with("8640003") < 2 {
        assert!(Instant::now() < limit, "the node did not start its command");
        std::thread::sleep(Duration::from_millis(20));
    }
    let cells = || std::fs::read_dir(home.path().join("cells")).unwrap().flatten().map(|cell| cell.path()).collect::<Vec<_>>();
    let groups: Vec<u8> = std::fs::read(cells()[0].join("groups")).unwrap();
    let groups: Vec<&Path> =
        groups.split(|byte| *byte == 0).filter(|path| !path.is_empty()).map(|path| Path::new(std::str::from_utf8(path).unwrap())).collect();
    assert!(!groups.is_empty() && groups.iter().all(|group| group.exists()), "{groups:?}");
    node.kill().unwrap();
    node.wait().unwrap();
    let killed = Instant::now();
    while processes_with("8640003") > 0 {
        assert!(killed.elapsed() < Duration::from_secs(60), "a command outlived its node");
        std::thread::sleep(Duration::from_millis(20));
    }
    let sandbox = open(home.path());
    assert!(groups.iter().all(|group| !group.exists()), "{groups:?}");
    assert_eq!(cells(), [""; 0].map(std::path::PathBuf::from));
    drop(sandbox);
}

#[test]
fn start__should_bind_what_was_ordered_and_hold_nothing_else_open() {
    let (home, work, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // Whoever started the node may have left something open for its children.
    let left_open = std::fs::File::open("/").unwrap();
    rustix::io::fcntl_setfd(left_open.as_fd(), rustix::io::FdFlags::empty()).unwrap();
    std::fs::write(data.path().join("x"), "data").unwrap();
    let mut order = shell(work.path(), "cat /data/x /work/in/x; touch /data/y 2>&1; echo $GREETING; ls /proc/self/fd | wc -w");
    let bind = |target: &str| Bind { source: data.path().to_owned(), target: target.into(), writable: false };
    order.binds = vec![bind("/data"), bind("/work/in")];
    order.environment = vec![("GREETING".to_owned(), "hello $HOME".to_owned())];
    std::fs::set_permissions(data.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (out, ended) = run(&open(home.path()), &order);
    assert_eq!(ended.reason, Reason::Finished { code: 0 }, "{ended:?}");
    assert_eq!(out, "datadatatouch: cannot touch '/data/y': Read-only file system\nhello $HOME\n4\n");
}

#[test]
fn start__should_hold_a_command_to_its_share_of_a_core() {
    let (home, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut order = shell(work.path(), "while :; do :; done & while :; do :; done");
    order.limits.cpu_millis = 200;
    order.limits.wall = Duration::from_millis(1500);
    let (_, ended) = run(&open(home.path()), &order);
    assert_eq!(ended.reason, Reason::TimeLimit);
    assert!(ended.cpu_ms > 50 && ended.cpu_ms * 10 < ended.wall_ms * 4, "{ended:?}");
}

#[test]
fn start__should_reach_the_network_only_where_packages_are_fetched() {
    let (home, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sandbox = open(home.path());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let script =
        format!("python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {}), 5)'", listener.local_addr().unwrap().port());
    let mut order = shell(work.path(), &script);
    assert_eq!(run(&sandbox, &order).1.reason, Reason::Finished { code: 1 });
    order.network = Network::Packages;
    let (_, ended) = run(&sandbox, &order);
    assert_eq!(ended.reason, Reason::Finished { code: 0 }, "{ended:?}");
    order.command = ["python3", "-c", "import socket; socket.socket(socket.AF_UNIX)"].map(str::to_owned).to_vec();
    assert_eq!(run(&sandbox, &order).1.reason, Reason::Finished { code: 1 }, "an abstract name would reach the host");
}

#[test]
fn start__should_refuse_orders_that_cannot_be_meant() {
    let (home, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sandbox = open(home.path());
    std::os::unix::fs::symlink("/etc", work.path().join("link")).unwrap();
    let refuse = |change: &dyn Fn(&mut starling_sandbox::Order)| {
        let mut order = shell(work.path(), "true");
        change(&mut order);
        sandbox.start(&order, mpsc::sync_channel(1).0).map(|_| ()).unwrap_err()
    };
    assert!(matches!(refuse(&|order| order.command.clear()), StartError::NoCommand));
    assert!(matches!(refuse(&|order| order.command[2].push('\0')), StartError::ZeroByte { .. }));
    assert!(matches!(refuse(&|order| order.environment = vec![("A=B".to_owned(), String::new())]), StartError::BadVariable(_)));
    assert!(matches!(refuse(&|order| order.limits.files = 0), StartError::BadLimit("files")));
    assert!(matches!(refuse(&|order| order.limits.disk_bytes = u64::MAX), StartError::BadLimit("disk_bytes")));
    assert!(matches!(refuse(&|order| order.devices = vec!["/etc/passwd".into()]), StartError::NotADevice(_)));
    assert!(matches!(refuse(&|order| order.devices = vec!["/dev/../dev/null".into()]), StartError::NotADevice(_)));
    assert!(matches!(refuse(&|order| order.work = "/nowhere".into()), StartError::Io { .. }));
    for target in ["data", "/", "/usr/x", "/etc", "/proc/1", "/dev/shm", "/tmp/x", "/a/../etc", "/work", "/work/outputs", "/work/link/x"] {
        let bind = Bind { source: "/usr".into(), target: target.into(), writable: false };
        assert!(matches!(refuse(&|order| order.binds = vec![bind.clone()]), StartError::BadTarget(_)), "{target}");
    }
}

#[test]
fn start__should_show_a_device_only_when_it_is_leased() {
    let (home, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sandbox = open(home.path());
    let mut order = shell(work.path(), "test -c /dev/fuse");
    if !Path::new("/dev/fuse").exists() {
        eprintln!("this machine has no /dev/fuse to lend: only its absence was tested");
    } else {
        order.devices = vec!["/dev/fuse".into()];
        assert_eq!(run(&sandbox, &order).1.reason, Reason::Finished { code: 0 });
        order.devices.clear();
    }
    assert_eq!(run(&sandbox, &order).1.reason, Reason::Finished { code: 1 });
}

#[test]
fn open__should_work_for_an_ordinary_account_with_groups_of_its_own() {
    if std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) != 0 {
        return; // Then every test here is this one.
    }
    let folder = tempfile::tempdir().unwrap();
    let (program, temporary) = (folder.path().join("tests"), folder.path().join("tmp"));
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    std::fs::create_dir(&temporary).unwrap();
    for (path, mode) in [(folder.path(), 0o755), (&program, 0o755), (&temporary, 0o1777)] {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    }
    let told = Command::new("bash")
        .args(["-c", include_str!("ordinary.sh"), "ordinary", starling_sandbox::DEFAULT_USER])
        .arg(&program)
        .args(["--exact", "start__should_give_the_work_folder_and_bring_back_the_outputs", "wait__should_say_which_limit_ended_a_command"])
        .env("TMPDIR", &temporary)
        .env_remove("HOME")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    if mounts.lines().any(|line| line.split(' ').nth(4) == Some("/")) {
        assert!(told.status.success() && said.contains("2 passed"), "{said}");
    } else {
        assert!(said.contains("runs in a chroot"), "only root can help itself there: {said}");
    }
}

#[test]
fn open__should_work_for_root_where_proc_is_masked() {
    if std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap()) != 0 {
        return; // Only root can unmask it.
    }
    // As containers and systemd's ProtectKernelTunables= do it.
    let masked =
        "mount --make-rprivate / 2>/dev/null; mount -n --bind /proc/sys /proc/sys && mount -n -o remount,bind,ro /proc/sys && exec \"$@\"";
    let told = Command::new("unshare")
        .args(["--mount", "--propagation", "unchanged", "sh", "-c", masked, "masked"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "start__should_give_the_work_folder_and_bring_back_the_outputs"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned();
    assert!(told.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
fn check__should_look_at_everything_and_mend_what_is_missing() {
    let home = tempfile::tempdir().unwrap();
    let config = SandboxConfig { home: home.path().to_owned(), user: None };
    let checks = check(&config);
    let subjects: Vec<_> = checks.iter().map(|check| (check.subject, check.outcome.is_ok())).collect();
    let all = ["programs", "bubblewrap", "user namespaces", "system calls", "account", "control groups", "trial"];
    assert_eq!(subjects, all.map(|subject| (subject, true)), "{checks:#?}");
    let checks = check(&SandboxConfig { user: Some("root".to_owned()), ..config });
    assert!(checks.iter().any(|check| check.subject == "account" && check.outcome.is_err()), "{checks:#?}");
    assert!(!checks.iter().any(|check| check.subject == "trial"), "nothing is run where something is lacking");
}

#[test]
fn open__should_say_how_to_mend_a_missing_account() {
    let home = tempfile::tempdir().unwrap();
    let lacks = Sandbox::open(SandboxConfig { home: home.path().to_owned(), user: Some("nobody-of-this-name".to_owned()) }).unwrap_err();
    assert!(lacks.iter().any(|lack| lack.subject == "account" && !lack.mend.is_empty()), "{lacks:?}");
}
