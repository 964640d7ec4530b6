//! Schedules: what is due runs once and is paid once, however often the program that serves is killed.

use crate::{
    PATIENCE, amount,
    running::{Guarded, Running, profile, refuse, said, starling, succeed},
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const SCRIPT: &str = "open('outputs/done.txt', 'w').write('done')\n";
const EACH: &str = "0.05";

/// `starling schedule serve`, killed with `kill -9` when it is dropped.
struct Serving(#[expect(dead_code, reason = "it lives as long as this")] Guarded);

impl Serving {
    fn start(home: &Path) -> Self {
        let log = fs::File::options().create(true).append(true).open(home.join("logs/schedules.log")).expect("a log");
        let said = || fs::read_to_string(home.join("logs/schedules.log")).expect("a log").matches("\"serving\"").count();
        let before = said();
        let mut command = starling(home, &["schedule", "serve"]);
        let child = command.stdout(log.try_clone().expect("a log")).stderr(log).stdin(Stdio::null()).spawn().expect("starling starts");
        let serving = Self(Guarded(child));
        wait_for("the program that serves", || (said() > before).then_some(()));
        serving
    }
}

/// Time enough for two schedules to be added.
fn soon() -> String {
    let said = Command::new("date").args(["-u", "-d", "12 seconds", "+%FT%TZ"]).output().expect("date starts");
    String::from_utf8(said.stdout).expect("a time").trim().to_owned()
}

fn listed(home: &Path, name: &str) -> Value {
    let output = succeed(home, &["schedule", "list"]);
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.find(|line| line["name"] == name).unwrap_or_else(|| panic!("no {name} in {text}"))["schedule"].clone()
}

fn wait_for<T>(what: &str, find: impl Fn() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = find() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what} did not come");
        thread::sleep(Duration::from_millis(2));
    }
}

/// The payment of a schedule's only run, once it is stored.
fn payment(home: &Path, name: &str) -> Option<(PathBuf, Value)> {
    let run = fs::read_dir(home.join("schedules").join(name).join("runs")).ok()?.flatten().next()?.path();
    let payment = serde_json::from_slice(&fs::read(run.join("payment.json")).ok()?).ok()?;
    Some((run, payment))
}

#[test]
fn schedule__should_run_and_pay_once_however_often_it_is_killed() {
    let system = Running::start(1);
    let home = system.home();
    let job = home.join("job");
    fs::create_dir(&job).expect("a folder is made");
    fs::write(job.join("main.py"), SCRIPT).expect("a file is written");
    let job = job.display().to_string();
    let add = |name: &str, when: [&str; 2]| {
        let args = ["schedule", "add", name, &job, when[0], when[1], "--zone", "UTC", "--each", EACH, "--budget", "0.1"];
        said(&succeed(home, &args), "schedule_added")
    };
    let refused = |more: &[&str]| refuse(home, &[&["schedule", "add", "wrong", &job, "--each", EACH, "--budget", "0.1"], more].concat());
    assert!(refused(&["--cron", "61 * * * *"]).contains("minute"));
    assert!(refused(&["--cron", "@daily", "--zone", "Mars/Olympus"]).contains("time zone"));
    assert!(refused(&["--at", "2001-01-01T00:00Z"]).contains("has passed"));

    let at = soon();
    add("once", ["--at", &at]);
    add("rests", ["--at", &at]);
    add("yearly", ["--cron", "0 0 1 1 *"]);
    succeed(home, &["schedule", "pause", "rests"]);
    // Killed as soon as the payment lies on disk, whether it was sent or not; then when it is known to be paid; then now and then.
    let serving = Serving::start(home);
    wait_for("the payment", || payment(home, "once"));
    drop(serving);
    let serving = Serving::start(home);
    assert!(refuse(home, &["schedule", "serve"]).contains("another"), "one program serves");
    let (run, paid) = wait_for("the lease", || payment(home, "once").filter(|(_, payment)| !payment["paid"].is_null()));
    drop(serving);
    let mut serving = Serving::start(home);
    for milliseconds in [300, 700] {
        thread::sleep(Duration::from_millis(milliseconds));
        drop(serving);
        serving = Serving::start(home);
    }
    let past = wait_for("the end", || listed(home, "once")["past"].as_array().filter(|past| !past.is_empty()).cloned());
    assert_eq!((past.len(), &past[0]["outcome"]), (1, &Value::from("done")), "{past:?}");
    assert_eq!(fs::read_to_string(run.join("outputs/done.txt")).expect("its output came"), "done");
    let (spent, cost) = (amount(&listed(home, "once")["spending"]["spent"]), amount(&past[0]["cost"]));
    assert!(spent == cost && cost > 0 && cost <= 50_000_000_000_000_000_000_000, "{spent} {cost}");
    drop(serving);

    // The chain knows of one lease, and of no second escrow.
    let profile = profile(home);
    let url = format!("{}/api/v1/leases", profile["coordinator"].as_str().expect("an address"));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let leases: Vec<Value> = runtime.block_on(async { reqwest::get(url).await?.json().await }).expect("leases");
    assert_eq!(leases.iter().map(|view| &view["lease"]["id"]).collect::<Vec<_>>(), [&paid["paid"][0]["lease"]]);

    // What was paused did not run, is not made up for, and can be removed.
    succeed(home, &["schedule", "resume", "rests"]);
    let rests = listed(home, "rests");
    assert!(rests["running"].is_null() && rests["past"].as_array().is_some_and(Vec::is_empty), "{rests}");
    succeed(home, &["schedule", "remove", "rests"]);
    assert!(refuse(home, &["schedule", "pause", "rests"]).contains("no schedule"));
}

#[test]
fn scheduled_training__should_pay_once_and_leave_its_model() {
    let system = Running::start(1);
    let home = system.home();
    let (recipe, text) = (system.recipe(2, 10).display().to_string(), system.text());
    let data = text.display().to_string();
    let lost = home.join("lost.txt").display().to_string();
    fs::copy(&text, &lost).expect("a file is copied");
    let args = |name: &'static str, data: &str, more: &[&str]| -> Vec<String> {
        let fixed = ["schedule", "train", name, data, "--recipe", &recipe, "--nodes", "1", "--zone", "UTC", "--budget", "0.1"];
        fixed.iter().chain(more).map(ToString::to_string).collect()
    };
    let refused = |more: &[&str]| {
        let args = args("wrong", &data, &[&["--cron", "0 0 1 1 *"], more].concat());
        refuse(home, &args.iter().map(String::as_str).collect::<Vec<_>>())
    };
    assert!(refused(&["--each", "0.0000001"]).contains("raise it"));
    assert!(refused(&["--each", EACH, "--min-nodes", "2"]).contains("--min-nodes"));
    assert!(refused(&["--each", EACH, "--from", "nobody.starling/nothing"]).contains("no model"));

    let at = soon();
    for (name, data) in [("nightly", &data), ("lost", &lost)] {
        let args = args(name, data, &["--at", &at, "--each", EACH]);
        succeed(home, &args.iter().map(String::as_str).collect::<Vec<_>>());
    }
    fs::remove_file(&lost).expect("a file is removed");
    // Killed as soon as the payment lies on disk; then when the run is known; the rounds are co-signed by the third.
    let serving = Serving::start(home);
    wait_for("the payment", || payment(home, "nightly"));
    drop(serving);
    let serving = Serving::start(home);
    let (run, paid) = wait_for("the run", || payment(home, "nightly").filter(|(_, payment)| !payment["paid"].is_null()));
    drop(serving);
    let serving = Serving::start(home);
    let past = wait_for("the end", || listed(home, "nightly")["past"].as_array().filter(|past| !past.is_empty()).cloned());
    assert_eq!((past.len(), &past[0]["outcome"]), (1, &Value::from("done")), "{past:?}");
    assert!(fs::metadata(run.join("model.safetensors")).expect("the model came").len() > 1_000);
    let cost = amount(&past[0]["cost"]);
    assert!(cost > 0 && cost == amount(&listed(home, "nightly")["spending"]["spent"]), "{cost}");
    let run_id = paid["paid"][0]["run"].to_string();
    assert_eq!(run_id, "1", "{paid}");
    let verified = said(&succeed(home, &["verify", &run_id]), "verified");
    assert_eq!((&verified["rounds"], amount(&verified["pending"])), (&Value::from(2), 0), "{verified}");
    refuse(home, &["status", "2"]);

    // The data of the other is away: nothing was paid for it.
    let lost = wait_for("the other's end", || Some(listed(home, "lost")).filter(|lost| lost["running"].is_null()));
    assert!(lost["past"][0]["outcome"]["failed"].as_str().is_some_and(|why| why.contains("cannot read")), "{lost}");
    assert_eq!((amount(&lost["spending"]["spent"]), payment(home, "lost")), (0, None));
    drop(serving);
}
