//! Federated runs: nodes train on what their owners keep, and of that nothing leaves them.

use crate::{
    assert_sums, place_of_node_2,
    running::{Guarded, Running, Training, refuse, said, start_node, succeed, top},
    status,
};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(60);

/// A node that keeps a text of its own, in place of the one that `up` started.
struct Keeper {
    child: Guarded,
    folder: PathBuf,
    /// Its configuration without the text.
    config: String,
    marker: String,
}

impl Keeper {
    fn instead_of(system: &Running, name: &str, text: &str, tenants: &str) -> Self {
        system.kill(&format!("{name}/pid"));
        let folder = system.home().join(name);
        let marker = format!("Only {name} knows this sentence.");
        fs::write(folder.join("notes.txt"), format!("{text}\n{marker}\n").repeat(20)).expect("a file is written");
        let config = fs::read_to_string(folder.join("node.toml")).expect("a configuration");
        let child = Self::spawn(&folder, &config, tenants);
        Self { child, folder, config, marker }
    }

    fn spawn(folder: &Path, config: &str, tenants: &str) -> Guarded {
        let config = format!("{config}\n[[data]]\nname = \"notes\"\nfile = \"notes.txt\"\ntenants = [{tenants}]\n");
        fs::write(folder.join("node.toml"), config).expect("a file is written");
        start_node(folder, "keeper.log")
    }

    fn allow_anyone(&mut self) {
        self.child.0.kill().expect("it runs");
        self.child.0.wait().expect("it ends");
        self.child = Self::spawn(&self.folder, &self.config, "");
    }
}

/// All files below a folder, where no other process takes them away.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let entries: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    entries.into_iter().flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// Whether a file has these bytes in it.
fn holds(file: &Path, marker: &str) -> bool {
    fs::read(file).is_ok_and(|bytes| bytes.windows(marker.len()).any(|window| window == marker.as_bytes()))
}

/// Waits until so many nodes are connected that keep notes.
fn wait_for_keepers(system: &Running, count: usize) {
    let keeps = |node: &&Value| node["connected"] == true && node["data"] == json!(["notes"]);
    let started = Instant::now();
    while system.ask("/api/v1/nodes").as_array().into_iter().flatten().filter(keeps).count() < count {
        assert!(started.elapsed() < PATIENCE, "{count} nodes keep notes");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn federated_run__should_train_on_what_nodes_keep_and_let_none_of_it_go() {
    let system = Running::start(3);
    let home = system.home();
    let recipe = system.recipe(6, 40);
    let args = ["train", &system.text().display().to_string(), "--recipe", &recipe.display().to_string(), "--federated", "notes"];
    let args = |nodes: &'static str| [&args[..], &["--nodes", nodes, "--min-nodes", nodes]].concat();

    // Two of three keep notes, one of them for another tenant alone.
    let source = |name: &str| fs::read_to_string(top().join("crates/protocol/src").join(name)).expect("our own source");
    let first = Keeper::instead_of(&system, "node-1", &source("meter.rs"), "");
    let mut second = Keeper::instead_of(&system, "node-2", &source("lease.rs"), "\"nobody.starling\"");
    wait_for_keepers(&system, 2);
    let mut training = Training::start(home, &args("1"));
    let run_id = training.run_id();
    let ended = training.finish();
    let view = status(home, &run_id);
    let roster = view["run"]["roster"].as_array().expect("a roster");
    assert_eq!((roster.len(), &roster[0]["payout"]), (1, &"provider-1.starling".into()), "{roster:?}");
    let log = fs::read_to_string(home.join("logs/keeper.log")).expect("they have a log");
    assert!(log.contains("has not allowed runs of"), "node 2 declines: {log}");
    let [before, after] = [0, 1].map(|which| ended["result"]["held_out"][which]["bits"].as_f64().expect("a loss"));
    assert!(after < before - 1.0, "what one node keeps teaches: {before} to {after}");

    second.allow_anyone();
    let mut training = Training::start(home, &args("2"));
    let run_id = training.run_id();
    training.finish();
    let view = status(home, &run_id);
    let (place, rounds) = (place_of_node_2(&view), view["run"]["rounds_done"].as_u64().expect("a number"));
    let roster = view["run"]["roster"].as_array().expect("a roster");
    assert_eq!((roster.len(), rounds), (2, 6), "{view}");
    // 40 steps of 128 tokens a round.
    assert!([place, 1 - place].iter().all(|place| roster[*place]["tokens"].as_u64() >= Some(4 * 40 * 128)), "both are paid: {roster:?}");
    assert_sums(&said(&succeed(home, &["verify", &run_id]), "verified"));

    for keeper in [&first, &second] {
        let found: Vec<PathBuf> = files(home).into_iter().filter(|file| holds(file, &keeper.marker)).collect();
        assert!(found.len() == 1 && found[0].ends_with("notes.txt"), "{found:?}");
    }
    let refused = refuse(home, &["train", args("1")[1], "--recipe", "tiny", "--federated", "Notes"]);
    assert!(refused.contains("data.federated"), "{refused}");
}
