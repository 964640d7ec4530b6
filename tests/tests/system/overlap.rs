//! A run whose nodes train on while a fragment of the model is exchanged, one of them killed and started again on the way.

use crate::{
    assert_sums,
    federated::files,
    paced::signed,
    place_of_node_2, pull,
    running::{Running, said, start_node, succeed},
    status,
};
use serde_json::Value;
use std::{collections::BTreeSet, fs, path::Path};

const ROUNDS: u32 = 10;
const INNER_STEPS: u32 = 60;
/// Of `tiny`: four windows of 32 bytes.
const TOKENS_PER_ROUND: u64 = 128 * INNER_STEPS as u64;

/// Inner steps that a node made while its update was on the way.
fn steps_ahead(home: &Path, node: &str) -> u64 {
    let tally = files(&home.join(node)).into_iter().find(|file| file.ends_with("tally.json")).expect("it counts");
    serde_json::from_slice::<Value>(&fs::read(tally).expect("a file")).expect("JSON")["steps_ahead"].as_u64().expect("a number")
}

#[test]
fn overlapped_run__should_train_on_while_updates_travel_and_pay_the_same() {
    let system = Running::start(3);
    let home = system.home();
    let mut training = system.train(&system.recipe(ROUNDS, INNER_STEPS), &["--overlap"]);
    let run_id = training.run_id();
    training.wait_for_round(3);
    system.kill("node-2/pid");
    let _again = start_node(&home.join("node-2"), "again.log");
    let ended = training.finish();
    let [before, after] = [0, 1].map(|which| ended["result"]["held_out"][which]["bits"].as_f64().expect("a loss"));
    assert!(after < before - 1.0, "{before} to {after}");

    let (folder, _) = pull(home, &run_id);
    let proof = folder.join("proof");
    let rounds: Value = serde_json::from_slice(&fs::read(proof.join("rounds.json")).expect("the list was written")).expect("JSON");
    let size = |hash: &str| fs::metadata(proof.join(hash)).expect("the artifact was written").len();
    let sizes: Vec<u64> = (rounds.as_array().expect("rounds").iter())
        .flat_map(|round| round["updates"].as_array().expect("updates").iter().filter_map(Value::as_str).map(size))
        .collect();
    let model = fs::metadata(folder.join("model.safetensors")).expect("the model was written").len();
    // Four bits of a parameter's 32, of a part of them: never of half.
    assert!(sizes.iter().all(|size| *size < model / 16), "{sizes:?} of a model of {model}");

    let view = status(home, &run_id);
    assert_eq!(view["run"]["state"]["ending"], "finished", "{}", view["run"]["state"]);
    let tokens = |place: usize| view["run"]["roster"][place]["tokens"].as_u64().expect("a number");
    let second = place_of_node_2(&view);
    assert!(tokens(second) >= 5 * TOKENS_PER_ROUND, "who comes back takes part again: {view}");
    assert!((0..3).filter(|place| *place != second).all(|place| tokens(place) >= 8 * TOKENS_PER_ROUND), "{view}");
    assert_sums(&said(&succeed(home, &["verify", &run_id, "--artifacts", &proof.display().to_string()]), "verified"));
    let signed: Vec<(u32, String)> = ["node-1", "node-2", "node-3", "again"].iter().flat_map(|node| signed(home, node)).collect();
    let roots: BTreeSet<&(u32, String)> = signed.iter().collect();
    assert_eq!(roots.len(), ROUNDS as usize, "one root for each round: {signed:?}");
    // Half a round at most lies between two rounds.
    for node in ["node-1", "node-3"] {
        let made = steps_ahead(home, node);
        assert!((1..=u64::from((ROUNDS - 1) * INNER_STEPS / 2)).contains(&made), "{node} made {made} steps while it would have waited");
    }
}
