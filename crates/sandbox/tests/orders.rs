//! What an order gives, as the node sees it.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]
#![expect(clippy::unwrap_used, reason = "a panic in a test is a failed test")]

use std::{path::Path, sync::mpsc, time::Duration};

use starling_sandbox::{Ended, Limits, Network, Order, Reason, Sandbox, SandboxConfig, Stream};

fn order(work: &Path, script: &str) -> Order {
    Order {
        command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        environment: vec![],
        binds: vec![],
        work: work.to_owned(),
        limits: Limits {
            memory_bytes: 256 << 20,
            processes: 32,
            cpu_millis: 1000,
            disk_bytes: 16 << 20,
            files: 100,
            output_bytes: 64 << 10,
            wall: Duration::from_secs(20),
        },
        network: Network::None,
        devices: vec![],
    }
}

/// Runs to the end; what was written to standard output, and how it ended.
fn run(sandbox: &Sandbox, order: &Order) -> (String, Ended) {
    let (lines, pieces) = mpsc::sync_channel(16);
    let running = sandbox.start(order, lines).unwrap();
    let out: Vec<u8> = pieces.iter().filter(|piece| piece.stream == Stream::Out).flat_map(|piece| piece.bytes).collect();
    (String::from_utf8_lossy(&out).into_owned(), running.wait())
}

fn open(home: &Path) -> Sandbox {
    match Sandbox::open(SandboxConfig { home: home.to_owned(), user: None }) {
        Ok(sandbox) => sandbox,
        Err(lacks) => panic!("this machine cannot give the sandbox; `./bootstrap setup test` installs what it needs: {lacks:#?}"),
    }
}

#[test]
fn start__should_run_a_command_and_stream_what_it_writes() {
    let (home, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sandbox = open(home.path());
    let (out, ended) = run(&sandbox, &order(work.path(), "echo one; echo two >&2; exit 3"));
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
    let (out, ended) = run(&sandbox, &order(work.path(), script));
    // The fourth is the folder that `ls` reads.
    assert_eq!((out.as_str(), &ended.reason), ("job\n/work\n4\n", &Reason::Finished { code: 0 }), "{ended:?}");
    assert_eq!(std::fs::read_to_string(work.path().join("outputs/a/copy")).unwrap(), "seven");
    assert!(!work.path().join("private").exists() && !work.path().join("outputs/etc").exists());
    assert!(ended.last_lines.iter().any(|line| line.contains("outputs/etc")), "{ended:?}");
    assert!(ended.peak_memory_bytes > 0 && ended.wall_ms > 0, "{ended:?}");
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
        let mut order = order(work.path(), script);
        if expected == Reason::TimeLimit {
            order.limits.wall = Duration::from_millis(300);
        }
        let (_, ended) = run(&sandbox, &order);
        assert_eq!(ended.reason, expected, "{script}: {ended:?}");
        assert!(!ended.last_lines.is_empty() || expected == Reason::Finished { code: 7 }, "{script}: {ended:?}");
    }
}
