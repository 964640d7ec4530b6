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

#[test]
fn start__should_run_a_command_and_stream_what_it_writes() {
    let (home, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sandbox = Sandbox::open(SandboxConfig { home: home.path().to_owned(), user: None }).unwrap();
    let (out, ended) = run(&sandbox, &order(work.path(), "echo one; echo two >&2; exit 3"));
    assert_eq!((out.as_str(), ended.reason), ("one\n", Reason::Finished { code: 3 }));
    assert!(ended.last_lines.contains(&"two".to_owned()), "{:?}", ended.last_lines);
}
