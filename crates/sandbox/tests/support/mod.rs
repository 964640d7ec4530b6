//! What every test of the sandbox starts with.

use std::{path::Path, sync::mpsc, time::Duration};

use starling_sandbox::{Ended, Limits, Network, Order, Sandbox, SandboxConfig, Stream};

pub(crate) fn open(home: &Path) -> Sandbox {
    match Sandbox::open(SandboxConfig { home: home.to_owned(), user: None }) {
        Ok(sandbox) => sandbox,
        Err(lacks) => panic!("this machine cannot give the sandbox; `./bootstrap setup test` installs what it needs: {lacks:#?}"),
    }
}

pub(crate) fn order(work: &Path, command: &[&str]) -> Order {
    Order {
        command: command.iter().map(|part| (*part).to_owned()).collect(),
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

pub(crate) fn shell(work: &Path, script: &str) -> Order {
    order(work, &["/bin/sh", "-c", script])
}

/// Runs to the end; what was written to standard output, and how it ended.
pub(crate) fn run(sandbox: &Sandbox, order: &Order) -> (String, Ended) {
    let (lines, pieces) = mpsc::sync_channel(16);
    let running = sandbox.start(order, lines).unwrap();
    let out: Vec<u8> = pieces.iter().filter(|piece| piece.stream == Stream::Out).flat_map(|piece| piece.bytes).collect();
    (String::from_utf8_lossy(&out).into_owned(), running.wait())
}

/// How many processes of the machine have this among their arguments.
pub(crate) fn processes_with(argument: &str) -> usize {
    let of = |folder: &Path| std::fs::read(folder.join("cmdline")).unwrap_or_default();
    let has = |folder: &Path| of(folder).split(|byte| *byte == 0).any(|part| part == argument.as_bytes());
    std::fs::read_dir("/proc").unwrap().flatten().filter(|entry| has(&entry.path())).count()
}
