//! A node's owner: pauses it, warms up its card, kills it in the middle of work, drains it.

use crate::{
    bonds::view,
    running::{Guarded, Running, program, said, starling, start_node, succeed, top},
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A node of ours with a card behind a stand-in NVML.
struct Node {
    child: Guarded,
    folder: PathBuf,
    metrics: String,
}

impl Node {
    /// Takes the place of the node that `up` started.
    fn instead_of(system: &Running, name: &str) -> Self {
        system.kill(&format!("{name}/pid"));
        let folder = system.home().join(name);
        let source = top().join("crates/sensors/tests/nvml_stand_in.c");
        let built =
            Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(folder.join("libnvidia-ml.so.1")).arg(source).arg("-ldl").status();
        assert!(built.expect("a C compiler").success());
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
        let path = folder.join("node.toml");
        let config = fs::read_to_string(&path).expect("a configuration");
        let config = config
            .replace("# max_temperature_celsius = 80", "max_temperature_celsius = 83")
            .replace(
                "\n[sensors]\n",
                &format!("\n[sensors]\nwatch = [\"nvidia\"]\nnvml_library = \"{}\"\n", folder.join("libnvidia-ml.so.1").display()),
            )
            .replace("cache_limit_bytes =", &format!("metrics_address = \"{port}\"\ncache_limit_bytes ="));
        fs::write(path, config).expect("a file is written");
        Self::set_trace(&folder, &[line(74)]);
        Self { child: start_node(&folder, "our-node.log"), folder, metrics: format!("http://{port}/metrics") }
    }

    /// What the card goes through from now on, a line a second; it stays at the last.
    fn warm(&self, lines: &[String]) {
        Self::set_trace(&self.folder, lines);
    }

    fn set_trace(folder: &Path, lines: &[String]) {
        let (new, trace) = (folder.join("trace.new"), folder.join("trace"));
        fs::write(&new, lines.join("\n") + "\n").expect("a file is written");
        fs::rename(new, trace).expect("a file is replaced");
    }

    fn kill_and_start_again(&mut self) {
        self.child.0.kill().expect("it runs");
        self.child.0.wait().expect("it ends");
        self.child = start_node(&self.folder, "our-node.log");
    }

    fn order(&self, order: &str) -> Output {
        let config = self.folder.join("node.toml");
        Command::new(program("gpu-node")).args([order, "--config"]).arg(config).output().expect("gpu-node starts")
    }

    fn status(&self) -> Value {
        let config = self.folder.join("node.toml");
        let output =
            Command::new(program("gpu-node")).args(["status", "--json", "--config"]).arg(config).output().expect("gpu-node starts");
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    fn wait_for(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let status = self.status();
            if fits(&status) {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "not {what}: {status:#}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// A line of a trace at this temperature.
fn line(celsius: u32) -> String {
    format!("{celsius} 120000 50 100")
}

/// A recorded trace from this line on.
fn recorded(name: &str, from: usize) -> Vec<String> {
    let trace = fs::read_to_string(top().join("crates/sensors/tests/traces").join(name)).expect("a trace");
    trace.lines().skip(from - 1).map(str::to_owned).collect()
}

fn rent(system: &Running, run_id: &str, tokens: &str) -> Child {
    let args = ["generate", "--run", run_id, "fn main", "--tokens", tokens, "--seconds", "3600"];
    starling(system.home(), &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starling starts")
}

fn lease(home: &Path, lease_id: u64) -> Value {
    view(home, "lease", &json!({"lease_id": lease_id}))
}

fn wait_for_lease(home: &Path, lease_id: u64, fits: impl Fn(&Value) -> bool) -> Value {
    let started = Instant::now();
    loop {
        let lease = lease(home, lease_id);
        if fits(&lease) {
            return lease;
        }
        assert!(started.elapsed() < PATIENCE, "lease {lease_id} stays {lease}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn node__should_obey_its_owner_and_go_on_after_a_kill() {
    let system = Running::start(1);
    let home = system.home();
    let mut training = system.train_with(&system.recipe(1, 10), 1, &[]);
    let run_id = training.run_id();
    training.finish();
    let mut node = Node::instead_of(&system, "node-1");
    let status = node.wait_for("connected", |status| status["connected"] == true);
    assert_eq!(status["pace"]["readings"]["devices"][0]["temperature_celsius"], 74, "{status:#}");
    let mode = |path: &str| {
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(node.folder.join(path)).expect("it is there").permissions()) & 0o777
    };
    assert_eq!((mode("data/control"), mode("data/control/socket")), (0o700, 0o600));

    // Paused in the middle of a lease: what was done is stated, co-signed and on chain, and the lease is given back.
    let first = rent(&system, &run_id, "100000");
    wait_for_lease(home, 1, |lease| lease["state"]["state"] == "active");
    node.wait_for("at work", |status| status["work"] == json!(["lease 1"]));
    std::thread::sleep(Duration::from_secs(3));
    assert!(node.order("pause").status.success());
    let given_back = wait_for_lease(home, 1, |lease| lease["state"]["state"] == "closing" && lease["seq"].as_u64() > Some(0));
    assert_eq!(given_back["state"]["cause"], "provider_closed", "{given_back}");
    let metered = given_back["metered"].as_u64().expect("a time");
    assert!(metered > 500 && given_back["units"].as_u64() > Some(0), "{given_back}");
    let status = node.wait_for("idle", |status| status["work"] == json!([]));
    assert_eq!((&status["pace"]["action"], &status["pace"]["reason"]["reason"]), (&json!("hand_over"), &json!("paused")), "{status:#}");
    assert_eq!((status["tally"]["metered_ms"].as_u64(), &status["tally"]["handed_over"]), (Some(metered), &json!(1)));

    // Paused it stays over a kill.
    node.kill_and_start_again();
    node.wait_for("connected", |status| status["connected"] == true && status["pace"]["orders"]["paused"] == true);
    assert!(node.order("resume").status.success());

    // Killed in the middle of a lease it goes on where it was.
    let rented = rent(&system, &run_id, "20000");
    wait_for_lease(home, 2, |lease| lease["state"]["state"] == "active");
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(lease(home, 2)["state"]["state"], "active");
    node.kill_and_start_again();
    let told = rented.wait_with_output().expect("it ends");
    assert!(told.status.success(), "{told:?}");
    assert_eq!(lease(home, 2)["units"], 20_000);

    // Its card's fan stops in the middle of a lease: work slows down, then is stated, co-signed and given back before the limit of 83 degrees.
    node.wait_for("at full speed", |status| status["pace"]["action"] == "full");
    let third = rent(&system, &run_id, "100000");
    wait_for_lease(home, 3, |lease| lease["state"]["state"] == "active");
    node.warm(&[75, 76, 77, 78].map(line));
    let slowed = node.wait_for("slowed down", |status| status["pace"]["action"] == "throttle");
    assert_eq!(slowed["work"], json!(["lease 3"]), "{slowed:#}");
    node.warm(&recorded("fan-stops.txt", 163));
    let stopped = node.wait_for("too warm", |status| status["pace"]["action"] == "hand_over");
    let reason = &stopped["pace"]["reason"];
    assert_eq!(reason["reason"], "temperature", "{stopped:#}");
    assert!(reason["celsius"].as_u64() < Some(83), "{stopped:#}");
    let given_back = wait_for_lease(home, 3, |lease| lease["state"]["state"] == "closing" && lease["seq"].as_u64() > Some(0));
    assert_eq!(given_back["state"]["cause"], "provider_closed", "{given_back}");
    node.warm(&[line(82)]);
    node.wait_for("at 82 degrees", |status| status["pace"]["readings"]["devices"][0]["temperature_celsius"] == 82);
    // When no more statements are taken of what was given back, its tenants have the rest back and hear why.
    system.let_hours_pass(1);
    for (tenant, why) in [(first, "paused"), (third, "degrees")] {
        let told = tenant.wait_with_output().expect("it ends");
        assert!(said(&told, "error")["message"].as_str().expect("a message").contains(why), "{told:?}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let metrics = runtime.block_on(async { reqwest::get(&node.metrics).await.expect("it answers").text().await.expect("a text") });
    assert!(metrics.contains("starling_device_temperature_celsius{device=\"NVIDIA card 0 (stand-in)\"} 82\n"), "{metrics}");
    assert!(metrics.contains("starling_node_takes_work 0\n") && metrics.contains("starling_node_share_percent 0\n"), "{metrics}");
    let measured = node.wait_for("measured", |status| status["measured"]["upload_kib"]["value"].as_u64() > Some(0));
    assert!(measured["measured"]["disk_write_mib"]["evidence"].as_str().is_some_and(|words| words.contains("64 MiB")), "{measured:#}");

    let config = node.folder.join("node.toml").display().to_string();
    let unit = String::from_utf8(succeed(home, &["node", "unit", "--config", &config]).stdout).expect("text");
    assert!(unit.contains("ExecStart=") && unit.contains(&config), "{unit}");
    assert!(succeed(home, &["node", "doctor", "--config", &config]).stdout.starts_with(b"ok"));

    // Drained with nothing to do, it ends.
    assert!(node.order("drain").status.success());
    let started = Instant::now();
    let ended = loop {
        if let Some(ended) = node.child.0.try_wait().expect("a child") {
            break ended;
        }
        assert!(started.elapsed() < PATIENCE, "it did not end");
        std::thread::sleep(Duration::from_millis(200));
    };
    assert!(ended.success(), "{ended}");
}
