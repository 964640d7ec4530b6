//! Scripts of a tenant on a rented node: from a folder to outputs, paid for the time of the run.

use crate::{
    amount,
    running::{Running, refuse, run, said, starling, succeed},
    uploads::{peak_kib, write_file},
};
use serde_json::Value;
use std::{fs, path::Path, thread, time::Duration};

/// Reads a table, reports figures with and without the helper, writes files, and tries what it may not.
const SCRIPT: &str = r#"
import csv, json, os, socket, sys, time
from starling_job import metric, output

with open("data/table.csv", newline="") as file:
    values = [float(row["value"]) for row in csv.DictReader(file)]
for step, value in enumerate(values):
    metric("value", value, step=step)
print("::metric name=sum step=0 value=%r" % sum(values), flush=True)
print("this is on standard error", file=sys.stderr)
with open(output("result", "sum.json"), "w") as file:
    json.dump({"sum": sum(values), "seed": os.environ["SEED"], "arguments": sys.argv[1:]}, file)
time.sleep(1)
try:
    socket.create_connection(("192.0.2.1", 80), timeout=2)
    print("the network is there")
except OSError as error:
    print("no network:", type(error).__name__)
"#;

const JOB: &str = r#"
command = ["python", "main.py", "--fast"]
max_price_near = "0.05"
max_minutes = 4
[resources]
memory_mib = 256
disk_mib = 64
[environment]
SEED = "7"
[[data]]
path = "data/table.csv"
file = "../table.csv"
"#;

fn write(folder: &Path, files: &[(&str, &str)]) -> String {
    for (path, text) in files {
        let file = folder.join(path);
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder is made");
        fs::write(file, text).expect("a file is written");
    }
    folder.display().to_string()
}

fn events(output: &std::process::Output, event: &str) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).filter(|line| line["event"] == event).collect()
}

#[test]
fn script__should_come_back_with_its_outputs_and_cost_the_time_of_its_run() {
    let system = Running::start(1);
    let home = system.home();
    fs::write(home.join("table.csv"), "value\n1.5\n2.5\n").expect("a file is written");
    let job = write(&home.join("job"), &[("main.py", SCRIPT), ("job.toml", JOB)]);
    let came = home.join("came");
    let ran = succeed(home, &["job", "run", &job, "--output", &came.display().to_string()]);
    let ended = said(&ran, "job_ended");
    assert_eq!(ended["exit"]["reason"], "completed", "{ended}");
    let sum: Value = serde_json::from_slice(&fs::read(came.join("outputs/result/sum.json")).expect("it came back")).expect("JSON");
    assert_eq!(sum, serde_json::json!({"sum": 4.0, "seed": "7", "arguments": ["--fast"]}));
    let hash = blake3::hash(&fs::read(came.join("outputs/result/sum.json")).expect("it is there")).to_hex().to_string();
    assert_eq!((&ended["files"][0]["path"], &ended["files"][0]["hash"]), (&Value::from("result/sum.json"), &Value::from(hash)));
    let log = fs::read_to_string(came.join("log.txt")).expect("the log came back");
    assert!(log.contains("this is on standard error") && log.contains("no network: OSError") && !log.contains("::metric"), "{log}");
    let live: String = events(&ran, "output").iter().filter_map(|line| line["text"].as_str()).collect();
    assert_eq!(live, log, "what was seen live is the log");
    let points: Vec<Value> =
        events(&ran, "metrics").iter().flat_map(|line| line["points"].as_array().cloned().unwrap_or_default()).collect();
    let points: Vec<_> = points.iter().map(|point| (point["name"].as_str(), point["step"].as_u64(), point["value"].as_f64())).collect();
    assert_eq!(points, [(Some("value"), Some(0), Some(1.5)), (Some("value"), Some(1), Some(2.5)), (Some("sum"), Some(0), Some(4.0))]);
    // 0.6 NEAR an hour: a run of one second and a little costs that, and never the cap.
    let (earned, metered) = (amount(&ended["earned"]), ended["metered_ms"].as_u64().expect("a time"));
    assert!((1_000..20_000).contains(&metered), "{metered}");
    assert_eq!(earned, 600_000_000_000_000_000_000_000 * u128::from(metered) / 3_600_000);
    assert!(amount(&said(&ran, "quote")["quote"]["at_most"]) <= 50_000_000_000_000_000_000_000);

    // A script that fails is paid for its time too, and says why.
    let broken = write(&home.join("broken"), &[("only.py", "open('outputs/half.txt', 'w').write('half')\nimport not_there\n")]);
    let failed = run(home, &["job", "run", &broken, "--output", &home.join("half").display().to_string()]);
    assert!(!failed.status.success());
    let message = said(&failed, "error")["message"].to_string();
    assert!(message.contains("failed with status 1") && message.contains("No module named 'not_there'"), "{message}");
    assert!(message.contains("requirements.txt"), "{message}");
    assert_eq!(fs::read_to_string(home.join("half/outputs/half.txt")).expect("what it wrote came back"), "half");

    // What no job may have is refused before anything is paid.
    let refused =
        write(&home.join("refused"), &[("main.py", ""), ("requirements.txt", "numpy\n--extra-index-url https://example.org/simple\n")]);
    assert!(refuse(home, &["job", "run", &refused]).contains("line 2"));
    let greedy = write(&home.join("greedy"), &[("main.py", ""), ("job.toml", "command = \"python main.py\"\n[resources]\ncpus = 999\n")]);
    assert!(refuse(home, &["job", "run", &greedy]).contains("of 999 processors"));
    assert!(starling(home, &["job", "check", &job]).output().expect("starling starts").status.success());
}

/// Writes its data six times, and so more than the node may hold in memory.
const COPIES: &str = r#"
from starling_job import output
data = open("data/large.bin", "rb").read()
with open(output("copies.bin"), "wb") as file:
    for _ in range(6):
        file.write(data)
"#;

const COPIES_JOB: &str = r#"
command = ["python", "main.py"]
max_price_near = "0.05"
max_minutes = 4
[resources]
memory_mib = 512
disk_mib = 1024
[[data]]
path = "data/large.bin"
file = "../large.bin"
"#;

#[test]
fn script__should_take_and_give_files_larger_than_its_node_holds_in_memory() {
    const DATA_BYTES: u64 = 100 << 20;
    let system = Running::start(1);
    let home = system.home();
    write_file(&home.join("large.bin"), DATA_BYTES);
    let job = write(&home.join("job"), &[("main.py", COPIES), ("job.toml", COPIES_JOB)]);
    let node = fs::read_to_string(home.join("node-1/pid")).expect("the process is known");
    let log = home.join("logs/node-1.log");
    // It fills memory once, to measure it; from then on its peak is counted.
    while !fs::read_to_string(&log).expect("a log").contains("measured this machine") {
        thread::sleep(Duration::from_millis(100));
    }
    fs::write(format!("/proc/{}/clear_refs", node.trim()), "5").expect("the peak is counted anew");
    let before = peak_kib(&node);
    let came = home.join("came");
    let ran = succeed(home, &["job", "run", &job, "--output", &came.display().to_string()]);
    assert_eq!(said(&ran, "job_ended")["exit"]["reason"], "completed");
    let data = fs::read(home.join("large.bin")).expect("a file");
    let copies = fs::read(came.join("outputs/copies.bin")).expect("it came back");
    assert!(copies.len() == 6 * data.len() && copies.chunks(data.len()).all(|copy| copy == data));
    let grew = peak_kib(&node).saturating_sub(before) >> 10;
    println!("measured memory that the node took for 100 MiB of data and 600 of outputs: {grew} MiB");
    assert!(grew < 100, "the node took {grew} MiB");
}
