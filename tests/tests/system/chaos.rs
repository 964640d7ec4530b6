//! `kill -9` of coordinators, nodes, PostgreSQL and an S3 server at random moments, while runs are paid for one after the other.
//!
//! `cargo xtask prove chaos` runs it with more kills; figures go to standard output, a `measured NAME: VALUE` a line.

use crate::{
    PATIENCE, amount, assert_sums,
    replicas::Replicas,
    running::{Guarded, Running, profile, said, start_node, succeed},
    uploads::{Numbers, wanted},
};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Within that time what was killed works again; `prove chaos`, on a machine that does nothing else, holds it to that.
const RESUME: Duration = Duration::from_secs(10);
const NODES: u64 = 3;
/// How many kills, where somebody says.
const KILLS: &str = "STARLING_CHAOS_KILLS";

/// What is killed. How often each is drawn says the list of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Node(u64),
    /// The coordinator that `starling up` watches.
    Coordinator,
    /// The second one on the same database.
    Replica,
    /// Whichever coordinator leads: stopped for longer than its lead lasts, then woken.
    Stall,
    Database,
    Store,
}

impl Target {
    fn name(self) -> &'static str {
        match self {
            Self::Node(_) => "node",
            Self::Coordinator => "coordinator",
            Self::Replica => "replica",
            Self::Stall => "stopped leader",
            Self::Database => "PostgreSQL",
            Self::Store => "S3 server",
        }
    }
}

/// Kills one thing at a time, starts again what nobody else does, and notes how long the service was away.
struct Chaos {
    home: PathBuf,
    origin: String,
    numbers: Numbers,
    targets: Vec<Target>,
    nodes: BTreeMap<u64, Guarded>,
    replicas: Option<Replicas>,
    away: Vec<(Target, Duration)>,
}

impl Chaos {
    fn kill_something(&mut self) {
        // Each once, then as they are drawn.
        let drawn = usize::try_from(self.numbers.below(u64::try_from(self.targets.len()).expect("few"))).expect("few");
        let place = if self.away.len() < self.targets.len() { self.away.len() } else { drawn };
        let target = self.targets[place];
        // One at a time: who is still on the way up comes first.
        let begun = Instant::now();
        while self.replicas.as_ref().is_some_and(|replicas| !replicas.both_listen()) {
            self.replicas().tend();
            assert!(begun.elapsed() < PATIENCE, "a coordinator does not come back");
            thread::sleep(Duration::from_millis(100));
        }
        let (killed, killed_at) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_millis());
        match target {
            Target::Node(number) => {
                let pid_file = self.home.join(format!("node-{number}/pid"));
                signal("-9", &fs::read_to_string(&pid_file).expect("the process is known"));
                self.start_node(number, &pid_file);
                self.wait(target, killed, |chaos| chaos.has_spoken(number, killed_at));
            }
            Target::Coordinator => {
                let pid = self.coordinator_pid();
                signal("-9", &pid);
                self.wait(target, killed, |chaos| chaos.coordinator_pid() != pid && chaos.works());
            }
            Target::Replica => {
                let replicas = self.replicas();
                signal("-9", &replicas.second_pid());
                self.wait(target, killed, Self::works);
            }
            Target::Stall => {
                let (pid, is_second) = self.replicas().leading().expect("one leads");
                signal("-STOP", &pid);
                self.wait(target, killed, |chaos| chaos.replicas_lead().is_some_and(|(leads, _)| leads != pid) && chaos.works());
                self.replicas().let_stopped_end(&pid, is_second);
            }
            Target::Database => {
                self.replicas().postgres.kill_and_start().expect("PostgreSQL starts again");
                self.wait(target, killed, Self::works);
            }
            Target::Store => {
                self.replicas().store.as_mut().expect("there is a store").kill_and_start();
                self.wait(target, killed, Self::works);
            }
        }
    }

    fn wait(&mut self, target: Target, killed: Instant, is_back: impl Fn(&Self) -> bool) {
        while !is_back(self) {
            self.replicas.iter_mut().for_each(Replicas::tend);
            let limit = if std::env::var_os(KILLS).is_some() { RESUME } else { PATIENCE };
            assert!(killed.elapsed() < limit, "after {} was killed the service was away for more than {limit:?}", target.name());
            thread::sleep(Duration::from_millis(50));
        }
        self.away.push((target, killed.elapsed()));
    }

    fn replicas(&mut self) -> &mut Replicas {
        self.replicas.as_mut().expect("there are replicas")
    }

    fn replicas_lead(&self) -> Option<(String, bool)> {
        self.replicas.as_ref()?.leading()
    }

    fn coordinator_pid(&self) -> String {
        fs::read_to_string(self.home.join("coordinator/pid")).expect("the process is known")
    }

    /// Whether requests are answered: what the database answers, and what the leading program does.
    fn works(&self) -> bool {
        ["/api/v1/ready", "/api/v1/runs/1/rounds", "/api/v1/nodes"].iter().all(|path| self.get(path).is_some())
    }

    /// What a service manager does.
    fn start_node(&mut self, number: u64, pid_file: &Path) {
        drop(self.nodes.remove(&number));
        let node = start_node(&self.home.join(format!("node-{number}")), &format!("node-{number}.log"));
        fs::write(pid_file, node.0.id().to_string()).expect("a file is written");
        self.nodes.insert(number, node);
    }

    fn get(&self, path: &str) -> Option<String> {
        let url = format!("{}{path}", self.origin);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let asked = async {
            let answer = reqwest::Client::new().get(url).timeout(Duration::from_secs(2)).send().await?;
            // What is not there is an answer too.
            if answer.status().is_server_error() { answer.error_for_status()?.text().await } else { answer.text().await }
        };
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

pub(crate) fn signal(name: &str, pid: &str) {
    assert!(Command::new("kill").args([name, pid.trim()]).status().expect("kill starts").success(), "{pid} was not running");
}

#[test]
fn kills__should_lose_nothing_and_pay_nothing_twice() {
    let system = Running::start(3);
    // As often the coordinator as all nodes together.
    let targets = (1..=NODES).flat_map(|number| [Target::Node(number), Target::Coordinator]).collect();
    survive(&system, targets, None, 10);
}

#[test]
fn kills_of_replicas_and_stores__should_lose_nothing_and_pay_nothing_twice() {
    let system = Running::start(3);
    let replicas = Replicas::start(system.home());
    let mut targets = vec![Target::Database, Target::Stall, Target::Coordinator, Target::Replica];
    targets.extend(replicas.store.as_ref().map(|_| Target::Store));
    targets.extend((1..=NODES).map(Target::Node));
    survive(&system, targets, Some(replicas), 10);
}

/// Pays for runs one after the other while something is killed again and again.
fn survive(system: &Running, targets: Vec<Target>, replicas: Option<Replicas>, kills: u64) {
    let (wanted_kills, seed) = (wanted(KILLS, kills), wanted("STARLING_CHAOS_SEED", 20_261_121));
    let profile = profile(system.home());
    let origin = profile["coordinator"].as_str().expect("an origin").to_owned();
    let (home, numbers) = (system.home().to_owned(), Numbers::new(seed));
    let kinds = targets.clone();
    let mut chaos = Chaos { home, origin, numbers, targets, nodes: BTreeMap::new(), replicas, away: Vec::new() };
    let begun = Instant::now();
    while !chaos.works() {
        assert!(begun.elapsed() < PATIENCE, "the service does not begin");
        thread::sleep(Duration::from_millis(100));
    }
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
    while runs == 0 || !killer.is_finished() {
        let patience = PATIENCE * u32::try_from(wanted_kills).expect("few");
        assert!(started.elapsed() < patience, "only {} kills and {runs} runs", kills.load(SeqCst));
        let mut training = system.train(&recipe, &[]);
        // Who was cut off before anything was paid does it again.
        let Some(run_id) = training.paid_run() else { continue };
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
    let mut counted: Vec<&str> = Vec::new();
    for kind in kinds.into_iter().map(Target::name) {
        let away: Vec<f64> = chaos.away.iter().filter(|(target, _)| target.name() == kind).map(|(_, away)| away.as_secs_f64()).collect();
        if !counted.contains(&kind) {
            counted.push(kind);
            println!(
                "measured {kind}: killed {} times, worked again after {:.1} s at most",
                away.len(),
                away.iter().copied().fold(0.0, f64::max)
            );
        }
    }
    if let Some(replicas) = &chaos.replicas {
        let parts = replicas.parts_computed();
        println!("measured parts of rounds that a program computed which stood by: {parts}");
        assert!(parts > 0, "two programs share the work of rounds");
    }
    println!("measured seed: {seed}");
    println!(
        "measured meanwhile: {runs} runs with {rounds} rounds, each verified, {paid} yocto paid, {:.0} s",
        started.elapsed().as_secs_f64()
    );
}
