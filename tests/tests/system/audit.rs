//! Shares of rounds made again by their tenant: honest work is reproduced bit for bit, and whoever's is not is not paid for it.

use crate::{
    assert_sums,
    federated::files,
    place_of_node_2,
    running::{Running, refuse, said, start_node, succeed},
    status,
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};

const ROUNDS: u32 = 6;
const INNER_STEPS: u32 = 60;

/// The newest checkpoint of a round that lies with a node.
fn newest_checkpoint(node: &Path) -> PathBuf {
    let round = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix("checkpoint-")?.strip_suffix(".bin")?.parse::<u32>().ok();
    files(node).into_iter().filter(|path| round(path).is_some()).max_by_key(round).expect("it has finished a round")
}

#[test]
fn audit__should_reproduce_the_rounds_of_honest_nodes_and_let_others_see_it() {
    let system = Running::start(2);
    let home = system.home();
    let mut training = system.train_with(&system.recipe(ROUNDS, INNER_STEPS), 2, &["--overlap", "--audit", "100"]);
    let run_id = training.run_id();
    training.wait_for_round(2);
    let view = status(home, &run_id);
    let node = view["run"]["roster"][place_of_node_2(&view)]["node_id"].to_string();
    let kept = home.join("kept");
    let audited = succeed(home, &["audit", &run_id, "--round", "2", "--node", &node, "--keep", &kept.display().to_string()]);
    assert_eq!(said(&audited, "audited")["outcome"], "reproduced");
    assert!(refuse(home, &["audit", &run_id, "--round", "99"]).contains("not made yet"));
    let mut outcomes = Vec::new();
    while outcomes.len() < ROUNDS as usize - 2 {
        outcomes.push(training.wait_for(|line| line["event"] == "audited")["outcome"].clone());
    }
    training.finish();
    assert!(outcomes.iter().all(|outcome| outcome == "reproduced"), "{outcomes:?}");
    assert_sums(&said(&succeed(home, &["verify", &run_id]), "verified"));
    assert!(files(&home.join("audits")).is_empty(), "what was reproduced need not be kept");

    // Whoever has the folder needs nobody else.
    let share = kept.join("share.json").display().to_string();
    let verdict: Value = serde_json::from_slice(&succeed(home, &["node", "audit", &share, "--json"]).stdout).expect("JSON");
    assert!(verdict["deviation"].is_null(), "{verdict}");
    let mut claim: Value = serde_json::from_slice(&fs::read(&share).expect("a file")).expect("JSON");
    assert!(claim["claim"]["commitment"]["began_with"].is_string(), "{claim}");
    claim["claim"]["commitment"]["steps"] = (INNER_STEPS / 2).into();
    fs::write(&share, claim.to_string()).expect("a file is written");
    let output = crate::run(home, &["node", "audit", &share, "--json"]);
    let verdict: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert!(!output.status.success() && verdict["deviation"].as_str().is_some_and(|why| why.contains("another update")), "{verdict}");
}

#[test]
fn audit__should_end_a_run_whose_node_changed_its_checkpoint_and_leave_that_round_unpaid() {
    let system = Running::start(1);
    let home = system.home();
    let mut training = system.train_with(&system.recipe(ROUNDS, 4 * INNER_STEPS), 1, &["--audit", "100"]);
    let run_id = training.run_id();
    training.wait_for_round(2);
    system.kill("node-1/pid");
    let checkpoint = newest_checkpoint(&home.join("node-1"));
    let mut bytes = fs::read(&checkpoint).expect("a file");
    let last = bytes.len() - 4;
    bytes[last] ^= 1;
    fs::write(&checkpoint, bytes).expect("a file is written");
    let _again = start_node(&home.join("node-1"), "again.log");
    let caught = training.wait_for(|line| line["event"] == "audited" && line["outcome"] != "reproduced");
    assert!(caught["reason"].as_str().is_some_and(|why| why.contains("never committed to")), "{caught}");
    training.wait_for(|line| line["event"] == "error" && line["message"].as_str().is_some_and(|why| why.contains("did not do the work")));

    let view = status(home, &run_id);
    assert_eq!(view["run"]["state"]["ending"], "stopped", "{}", view["run"]["state"]);
    assert_eq!(view["run"]["rounds_done"], caught["round"], "the round that was not signed does not count");
    let paid =
        view["run"]["rounds_done"].as_u64().expect("a number") * view["run"]["terms"]["tokens_per_round"].as_u64().expect("a number");
    assert_eq!(view["run"]["roster"][0]["tokens"], paid);
    assert_sums(&said(&succeed(home, &["verify", &run_id]), "verified"));
}
