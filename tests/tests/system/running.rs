//! The whole system as real processes, each test in a home of its own.

use serde_json::{Value, json};
use starling_rounds::recipe::Recipe;
use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// Three nodes share two cores: one system at a time.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Nothing here takes longer on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// `starling up --serve` and its children; all are killed with it.
pub(crate) struct Running {
    pub(crate) home: tempfile::TempDir,
    up: Child,
    _turn: MutexGuard<'static, ()>,
}

/// The top folder of the checkout.
pub(crate) fn top() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A program as it was built.
pub(crate) fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let folder = test.ancestors().nth(2).expect("tests lie in target/debug/deps");
    let path = folder.join(name);
    assert!(path.is_file(), "{} is not built: run `cargo xtask test`", path.display());
    path
}

/// A command of `starling` in a home.
pub(crate) fn starling(home: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(program("starling"));
    command.current_dir(top()).args(["--home", &home.display().to_string(), "--json"]).args(args).stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn run(home: &Path, args: &[&str]) -> Output {
    starling(home, args).output().expect("starling starts")
}

/// A child that ends with the test.
pub(crate) struct Guarded(pub(crate) Child);

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the program of a node that is set up in `folder`, in place of the one that `up` started.
pub(crate) fn start_node(folder: &Path, log: &str) -> Guarded {
    let log = folder.with_file_name("logs").join(log);
    let log = fs::File::options().create(true).append(true).open(log).expect("a log");
    let mut command = Command::new(program("gpu-node"));
    command.args(["run", "--config"]).arg(folder.join("node.toml")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    Guarded(command.spawn().expect("the node starts"))
}

/// What the home of an account knows: addresses, key, deployment.
pub(crate) fn profile(home: &Path) -> Value {
    serde_json::from_slice(&fs::read(home.join("profile.json")).expect("a profile")).expect("JSON")
}

/// The last JSON line of a kind that a command printed.
pub(crate) fn said(output: &Output, event: &str) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let found = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).rfind(|line| line["event"] == event);
    found.unwrap_or_else(|| panic!("no {event} in: {text}{}", String::from_utf8_lossy(&output.stderr)))
}

/// Runs a command that must succeed.
pub(crate) fn succeed(home: &Path, args: &[&str]) -> Output {
    let output = run(home, args);
    assert!(output.status.success(), "{args:?}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    output
}

/// Runs a command that must fail, and gives what it said.
pub(crate) fn refuse(home: &Path, args: &[&str]) -> String {
    let output = run(home, args);
    assert!(!output.status.success(), "{args:?} should have been refused: {}", String::from_utf8_lossy(&output.stdout));
    said(&output, "error")["message"].as_str().expect("a message").to_owned()
}

/// Waits until no other system runs.
pub(crate) fn take_turn() -> MutexGuard<'static, ()> {
    ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Running {
    pub(crate) fn start(nodes: u16) -> Self {
        let turn = take_turn();
        let home = tempfile::tempdir().expect("a temporary folder");
        let mut up = starling(home.path(), &["up", "--serve", "--port", "0", "--nodes", &nodes.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("starling starts");
        let mut line = String::new();
        let mut reader = BufReader::new(up.stdout.take().expect("its output is piped"));
        reader.read_line(&mut line).expect("starling speaks");
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not ready: {line}"));
        assert_eq!(ready["event"], "ready", "{line}");
        // What comes after is drained, so that nobody waits for a reader.
        std::thread::spawn(move || for _ in reader.lines() {});
        Self { home, up, _turn: turn }
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    /// A text to train on: enough for the recipes used here.
    pub(crate) fn text(&self) -> PathBuf {
        let path = self.home().join("text.rs");
        if !path.exists() {
            let source = fs::read_to_string(top().join("crates/protocol/src/escrow.rs")).expect("our own source");
            fs::write(&path, source.repeat(4)).expect("a file is written");
        }
        path
    }

    /// A small recipe with so many rounds, each of about a second.
    pub(crate) fn recipe(&self, rounds: u32, inner_steps: u32) -> PathBuf {
        self.recipe_with(rounds, inner_steps, |_| ())
    }

    /// The same with something else in it.
    pub(crate) fn recipe_with(&self, rounds: u32, inner_steps: u32, change: impl FnOnce(&mut Recipe)) -> PathBuf {
        let mut recipe = Recipe::preset("tiny").expect("the preset is there");
        recipe.rounds = rounds;
        recipe.inner_steps_per_round = inner_steps;
        change(&mut recipe);
        let path = self.home().join(format!("recipe-{rounds}.toml"));
        fs::write(&path, recipe.to_toml().expect("a recipe is TOML")).expect("a file is written");
        path
    }

    /// Starts `starling train` and gives its lines as they come.
    pub(crate) fn train(&self, recipe: &Path, more: &[&str]) -> Training {
        self.train_with(recipe, 3, more)
    }

    /// The same with exactly so many nodes.
    pub(crate) fn train_with(&self, recipe: &Path, nodes: u16, more: &[&str]) -> Training {
        let (text, recipe, nodes) = (self.text().display().to_string(), recipe.display().to_string(), nodes.to_string());
        let mut args = vec!["train", &text, "--recipe", &recipe, "--nodes", &nodes, "--min-nodes", &nodes];
        args.extend(more);
        Training::start(self.home(), &args)
    }

    /// `kill -9` of a process whose number stands in a file of the home.
    pub(crate) fn kill(&self, pid_file: &str) {
        let pid = fs::read_to_string(self.home().join(pid_file)).expect("the process is known");
        let status = Command::new("kill").args(["-9", pid.trim()]).status().expect("kill starts");
        assert!(status.success(), "{pid_file} was not running");
    }

    /// What the coordinator answers, as anyone who asks sees it.
    pub(crate) fn ask(&self, path: &str) -> Value {
        let profile = profile(self.home());
        let url = format!("{}{path}", profile["coordinator"].as_str().expect("an address"));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let answer = runtime.block_on(async { reqwest::get(url).await?.error_for_status()?.json().await });
        answer.expect("the coordinator answers")
    }

    /// Moves the chain's clock on.
    pub(crate) fn let_hours_pass(&self, hours: u32) {
        let profile = profile(self.home());
        let asked = json!({"jsonrpc": "2.0", "id": 1, "method": "sandbox_fast_forward", "params": {"delta_height": 3_600 * hours}});
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let answer = runtime.block_on(async {
            let sent = reqwest::Client::new().post(profile["rpc_url"].as_str().expect("an address")).json(&asked).send().await?;
            sent.error_for_status()?.json::<Value>().await
        });
        let answer = answer.expect("the chain answers");
        assert!(answer["error"].is_null(), "{answer}");
    }

    /// Ends chain, coordinator, nodes and all, at once.
    pub(crate) fn kill_everything(mut self) -> tempfile::TempDir {
        let folders = fs::read_dir(self.home()).expect("a folder").flatten();
        let pids: Vec<String> = folders.filter_map(|folder| fs::read_to_string(folder.path().join("pid")).ok()).collect();
        let _ = self.up.kill();
        let _ = self.up.wait();
        // Its children die with it, each in its time. One that nobody asks for its end has no command line any more.
        let lives = |pid: &String| fs::read(Path::new("/proc").join(pid.trim()).join("cmdline")).is_ok_and(|line| !line.is_empty());
        let started = Instant::now();
        while pids.iter().any(lives) {
            assert!(started.elapsed() < PATIENCE, "one of {pids:?} does not end");
            std::thread::sleep(Duration::from_millis(20));
        }
        let Self { home, .. } = &mut self;
        std::mem::replace(home, tempfile::tempdir().expect("a temporary folder"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.up.kill();
        let _ = self.up.wait();
        if std::thread::panicking() {
            for log in fs::read_dir(self.home().join("logs")).into_iter().flatten().flatten() {
                let text = fs::read_to_string(log.path()).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                eprintln!("== {}\n{}", log.path().display(), lines[lines.len().saturating_sub(12)..].join("\n"));
            }
        }
    }
}

/// A `starling train` under way.
pub(crate) struct Training {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    seen: Vec<Value>,
}

impl Training {
    pub(crate) fn start(home: &Path, args: &[&str]) -> Self {
        let mut child = starling(home, args).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("starling starts");
        let lines = BufReader::new(child.stdout.take().expect("its output is piped"));
        Self { child, lines, seen: Vec::new() }
    }

    /// Reads on until a line fits.
    pub(crate) fn wait_for(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        loop {
            let started = Instant::now();
            let mut line = String::new();
            let length = self.lines.read_line(&mut line).expect("starling speaks");
            assert!(
                length > 0 && started.elapsed() < PATIENCE,
                "starling train ended or was silent; it had said {:?}",
                self.seen.iter().rev().take(5).collect::<Vec<_>>()
            );
            let Ok(value) = serde_json::from_str::<Value>(&line) else { continue };
            self.seen.push(value.clone());
            if fits(&value) {
                return value;
            }
        }
    }

    pub(crate) fn wait_for_round(&mut self, round: u64) {
        self.wait_for(|line| line["event"] == "round" && line["rounds_done"].as_u64() >= Some(round));
    }

    pub(crate) fn run_id(&mut self) -> String {
        self.wait_for(|line| line["event"] == "paid")["run_id"].to_string()
    }

    /// The run that it paid for; nothing where it gave up before it paid, as when its line to the coordinator broke.
    pub(crate) fn paid_run(&mut self) -> Option<String> {
        let mut line = String::new();
        while self.lines.read_line(&mut line).expect("starling speaks") > 0 {
            let said: Value = serde_json::from_str(&line).unwrap_or_default();
            if said["event"] == "paid" {
                return Some(said["run_id"].to_string());
            }
            line.clear();
        }
        None
    }

    pub(crate) fn finish(mut self) -> Value {
        let ended = self.wait_for(|line| line["event"] == "ended");
        assert!(self.child.wait().expect("starling ends").success(), "starling train failed");
        ended
    }
}

impl Drop for Training {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
