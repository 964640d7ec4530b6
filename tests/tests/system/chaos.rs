//! `kill -9` of coordinator and nodes at random moments, while runs are paid for one after the other.
//!
//! `cargo xtask prove chaos` runs it with more kills; figures go to standard output, a `measured NAME: VALUE` a line.

use crate::{
    PATIENCE, amount, assert_sums,
    running::{Running, program, said, succeed},
    uploads::{Numbers, wanted},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Within that time what was killed works again.
const RESUME: Duration = Duration::from_secs(10);
const NODES: u64 = 3;

/// Kills one thing at a time, starts nodes again, and notes how long each was away.
struct Chaos {
    home: PathBuf,
    origin: String,
    numbers: Numbers,
    nodes: BTreeMap<u64, Child>,
    away: Vec<(String, Duration)>,
}

impl Chaos {
    fn kill_something(&mut self) {
        // As often the coordinator as all nodes together.
        let target = self.numbers.below(2 * NODES);
        let what = if target < NODES { format!("node-{}", target + 1) } else { "coordinator".to_owned() };
        let pid_file = self.home.join(&what).join("pid");
        let pid = fs::read_to_string(&pid_file).expect("the process is known");
        assert!(Command::new("kill").args(["-9", pid.trim()]).status().expect("kill starts").success(), "{what} was not running");
        let (killed, killed_at) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis());
        if target < NODES {
            self.start_node(target + 1, &pid_file);
        }
        let is_back = |chaos: &Self| match target {
            0..NODES => chaos.has_spoken(target + 1, killed_at),
            _ => fs::read_to_string(&pid_file).is_ok_and(|now| now != pid) && chaos.get("/api/v1/ready").is_some(),
        };
        while !is_back(self) {
            assert!(killed.elapsed() < RESUME, "{what} was away for more than {RESUME:?}");
            thread::sleep(Duration::from_millis(50));
        }
        self.away.push((what, killed.elapsed()));
    }

    /// What a service manager does.
    fn start_node(&mut self, number: u64, pid_file: &Path) {
        if let Some(mut dead) = self.nodes.remove(&number) {
            drop(dead.wait());
        }
        let log = File::options().append(true).create(true).open(self.home.join(format!("logs/node-{number}.log"))).expect("a log");
        let config = self.home.join(format!("node-{number}/node.toml"));
        let mut node = Command::new(program("gpu-node"));
        node.args(["run", "--config"]).arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let node = node.spawn().expect("gpu-node starts");
        fs::write(pid_file, node.id().to_string()).expect("a file is written");
        self.nodes.insert(number, node);
    }

    fn get(&self, path: &str) -> Option<String> {
        let url = format!("{}{path}", self.origin);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let asked =
            async { reqwest::Client::new().get(url).timeout(Duration::from_secs(2)).send().await?.error_for_status()?.text().await };
        runtime.block_on(asked).ok()
    }

    /// Whether a node is connected and spoke since then: the dead one's line may not be known for dead yet.
    fn has_spoken(&self, number: u64, since_ms: u128) -> bool {
        let nodes: Value = self.get("/api/v1/nodes").and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let provider = format!("provider-{number}.starling");
        let mut of_provider = nodes.as_array().into_iter().flatten().filter(|node| node["node"]["provider"] == *provider);
        of_provider.any(|node| node["connected"] == true && node["heard_at"].as_u64().is_some_and(|at| u128::from(at) > since_ms))
    }
}

impl Drop for Chaos {
    fn drop(&mut self) {
        for node in self.nodes.values_mut() {
            drop(node.kill());
            drop(node.wait());
        }
    }
}

#[test]
fn kills__should_lose_nothing_and_pay_nothing_twice() {
    let (wanted_kills, seed) = (wanted("STARLING_CHAOS_KILLS", 6), wanted("STARLING_CHAOS_SEED", 20_261_121));
    let system = Running::start(3);
    let profile: Value = serde_json::from_slice(&fs::read(system.home().join("profile.json")).expect("a profile")).expect("JSON");
    let origin = profile["coordinator"].as_str().expect("an origin").to_owned();
    let (home, numbers) = (system.home().to_owned(), Numbers::new(seed));
    let mut chaos = Chaos { home, origin, numbers, nodes: BTreeMap::new(), away: Vec::new() };
    let (over, kills) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (seen_over, counted) = (over.clone(), kills.clone());
    let killer = thread::spawn(move || {
        while !seen_over.load(SeqCst) && counted.load(SeqCst) < wanted_kills {
            thread::sleep(Duration::from_millis(200 + chaos.numbers.below(2_000)));
            chaos.kill_something();
            counted.fetch_add(1, SeqCst);
        }
        chaos
    });

    let (started, mut runs, mut rounds, mut paid) = (Instant::now(), 0_u64, 0_u64, 0_u128);
    let recipe = system.recipe(6, 20);
    while kills.load(SeqCst) < wanted_kills && !killer.is_finished() {
        assert!(started.elapsed() < PATIENCE * u32::try_from(wanted_kills).expect("few"), "only {} kills", kills.load(SeqCst));
        let mut training = system.train(&recipe, &[]);
        let run_id = training.run_id();
        let ended = training.finish();
        assert!(ended["result"].is_object(), "run {run_id} lost its result: {ended}");
        // Each round once, each figure recomputed from the accepted tokens, and all parts sum to what was escrowed.
        let verified = said(&succeed(system.home(), &["verify", &run_id]), "verified");
        assert_eq!(verified["rounds"], 6, "run {run_id}");
        assert_sums(&verified);
        paid += verified["paid"].as_array().expect("payees").iter().map(|pair| amount(&pair[1])).sum::<u128>();
        (runs, rounds) = (runs + 1, rounds + 6);
    }
    over.store(true, SeqCst);
    let chaos = killer.join().expect("everything came back in time");
    let longest =
        |kind: &str| chaos.away.iter().filter(|(what, _)| what.starts_with(kind)).map(|(_, away)| away.as_secs_f64()).fold(0.0, f64::max);
    let count = |kind: &str| chaos.away.iter().filter(|(what, _)| what.starts_with(kind)).count();
    println!("measured kill -9: {} of the coordinator, {} of nodes, seed {seed}", count("coordinator"), count("node"));
    println!("measured longest until it worked again: coordinator {:.1} s, node {:.1} s", longest("coordinator"), longest("node"));
    println!(
        "measured meanwhile: {runs} runs with {rounds} rounds, each verified, {paid} yocto paid, {:.0} s",
        started.elapsed().as_secs_f64()
    );
    assert!(runs > 0);
}
