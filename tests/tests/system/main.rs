//! The road from a wallet to a trained model and a paid provider, with real processes that are killed on the way.

#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

mod api;
mod audit;
mod balancer;
mod bonds;
mod chaos;
mod classes;
mod deployment;
mod federated;
mod impostor;
mod nat;
mod overlap;
mod owner;
mod paced;
mod packages;
mod replicas;
mod running;
mod schedules;
mod scripts;
mod uploads;

use impostor::{Fraud, Impostor};
use running::{Guarded, Running, Training, profile, refuse, run, said, starling, succeed};
use serde_json::Value;
use starling_rounds::recipe::ModelRecipe;
use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};
use uploads::home_beside;

/// Longer than anything takes that happens by itself.
const PATIENCE: Duration = Duration::from_secs(180);

fn status(home: &Path, run_id: &str) -> Value {
    said(&succeed(home, &["status", run_id]), "run")
}

fn amount(value: &Value) -> u128 {
    value.as_str().expect("an amount").parse().expect("digits")
}

/// What was paid, kept as fee, returned and held back is what was escrowed.
fn assert_sums(verified: &Value) {
    let paid: u128 = verified["paid"].as_array().expect("payees").iter().map(|pair| amount(&pair[1])).sum();
    assert_eq!(
        paid + amount(&verified["fee"]) + amount(&verified["refunded"]) + amount(&verified["pending"]),
        amount(&verified["deposited"])
    );
}

/// Downloads a run's model and proof: the folder, and what was said.
fn pull(home: &Path, run_id: &str) -> (PathBuf, Value) {
    let folder = home.join("pulled");
    let pulled = said(&succeed(home, &["pull", run_id, "--output", &folder.display().to_string(), "--proof"]), "pulled");
    (folder, pulled)
}

/// Names, shapes and places of the arrays in a file of safetensors.
fn arrays(file: &[u8]) -> serde_json::Map<String, Value> {
    let (length, rest) = file.split_first_chunk().expect("a length");
    let length = usize::try_from(u64::from_le_bytes(*length)).expect("fits");
    let mut header: serde_json::Map<String, Value> = serde_json::from_slice(&rest[..length]).expect("JSON");
    header.remove("__metadata__");
    header
}

/// Node 2's place in the roster of a run.
fn place_of_node_2(view: &Value) -> usize {
    let roster = view["run"]["roster"].as_array().expect("a roster");
    roster.iter().position(|member| member["payout"] == "provider-2.starling").expect("node 2 was enrolled")
}

#[test]
fn verify__should_pass_and_fail_for_each_kind_of_byte_changed() {
    let system = Running::start(3);
    let home = system.home();
    let mut training = system.train(Path::new("tiny"), &[]);
    let run_id = training.run_id();
    training.finish();
    assert_sums(&said(&succeed(home, &["verify", &run_id]), "verified"));
    let (folder, pulled) = pull(home, &run_id);
    let model = fs::read(folder.join("model.safetensors")).expect("the model was written");
    assert_eq!(pulled["hash"], blake3::hash(&model).to_hex().to_string());
    let proof = folder.join("proof");
    let verify = ["verify", &run_id, "--artifacts", &proof.display().to_string()];
    succeed(home, &verify);

    let view = status(home, &run_id);
    let rounds: Value = serde_json::from_slice(&fs::read(proof.join("rounds.json")).expect("the list was written")).expect("JSON");
    let update = rounds[0]["updates"].as_array().expect("updates").iter().find_map(Value::as_str).expect("one was accepted");
    let kinds = [
        ("recipe", &view["run"]["terms"]["recipe"]),
        ("base", &view["run"]["terms"]["base"]),
        ("record", &rounds[1]["record"]),
        ("update", &Value::from(update)),
    ];
    for (kind, hash) in kinds {
        let path = proof.join(hash.as_str().expect("a hash"));
        let original = fs::read(&path).expect("the artifact was written");
        let mut changed = original.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        fs::write(&path, &changed).expect("a file is written");
        assert!(refuse(home, &verify).contains("was changed"), "{kind}");
        fs::write(&path, &original).expect("a file is written");
    }
    // A list that names another round's artifacts is found too.
    let mut swapped = rounds.clone();
    swapped[0]["record"] = rounds[1]["record"].clone();
    fs::write(proof.join("rounds.json"), swapped.to_string()).expect("a file is written");
    assert!(refuse(home, &verify).contains("round 0"));
    fs::write(proof.join("rounds.json"), rounds.to_string()).expect("a file is written");
    succeed(home, &verify);

    let generated = said(&succeed(home, &["generate", "--run", &run_id, "fn main", "--tokens", "20"]), "generated");
    assert!(!generated["output"].as_str().expect("text").is_empty());
}

#[test]
fn run__should_end_without_a_node_that_was_killed() {
    let system = Running::start(3);
    let home = system.home();
    let mut training = system.train(&system.recipe(12, 40), &[]);
    let run_id = training.run_id();
    training.wait_for_round(3);
    system.kill("node-2/pid");
    let ended = training.finish();
    assert!(ended["result"].is_object(), "{ended}");
    let view = status(home, &run_id);
    let terms = &view["run"]["terms"];
    let full = terms["rounds"].as_u64().expect("rounds") * terms["tokens_per_round"].as_u64().expect("tokens");
    let tokens = view["run"]["roster"][place_of_node_2(&view)]["tokens"].as_u64().expect("tokens");
    assert!(tokens > 0 && tokens < full, "{tokens} of {full}");
    let verified = said(&succeed(home, &["verify", &run_id]), "verified");
    assert_eq!(verified["rounds"], 12);
    assert!(amount(&verified["refunded"]) > 0);
    assert_sums(&verified);
}

#[test]
fn impostor__should_earn_nothing_with_zeros_noise_and_copies() {
    let system = Running::start(3);
    let home = system.home();
    let mut training = system.train(&system.recipe(12, 40), &[]);
    let run_id = training.run_id();
    training.wait_for_round(1);
    system.kill("node-2/pid");
    // A hash is public: whoever's file a node names as the run's result, the tenant gets no right to it.
    let profile = profile(home);
    let keys = Path::new(profile["key_file"].as_str().expect("a path")).parent().expect("a folder").to_owned();
    let publisher = home_beside(&system, "publisher", |profile| {
        profile["key_file"] = keys.join("provider-3.starling.json").display().to_string().into();
    });
    let file = publisher.join("private");
    fs::write(&file, "what others pay for").expect("a file is written");
    let uploaded = said(&succeed(&publisher, &["upload", &file.display().to_string()]), "uploaded");
    let hash = uploaded["hash"].as_str().expect("a hash");
    let impostor = Impostor::start(home, "node-2", "node-1", hash.parse().expect("a hash"));
    training.finish();
    let fetch = ["download", hash, "--output", &home.join("taken").display().to_string()];
    assert!(refuse(home, &fetch).contains("not_found"), "it is not there for the tenant");
    let handed = impostor.handed();
    for fraud in [Fraud::Zeros, Fraud::Noise, Fraud::Copy] {
        assert!(handed.values().any(|(tried, _)| *tried == fraud), "{fraud:?} was not tried: {handed:?}");
    }

    let (folder, _) = pull(home, &run_id);
    let rounds: Value = serde_json::from_slice(&fs::read(folder.join("proof/rounds.json")).expect("the list was written")).expect("JSON");
    let view = status(home, &run_id);
    let place = place_of_node_2(&view);
    for (round, fraud) in &handed {
        let update = &rounds[*round as usize]["updates"][place];
        assert!(update.is_null(), "{fraud:?} was accepted in round {round} as {update}");
    }
    // Its payout stands for the rounds that the honest node had done before.
    let honest = rounds.as_array().expect("rounds").iter().filter(|round| !round["updates"][place].is_null()).count() as u64;
    assert_eq!(view["run"]["roster"][place]["tokens"], honest * view["run"]["terms"]["tokens_per_round"].as_u64().expect("tokens"));
    assert_sums(&said(&succeed(home, &["verify", &run_id]), "verified"));
}

#[test]
fn coordinator__should_resume_within_its_round_and_repeat_none() {
    let system = Running::start(3);
    let home = system.home();
    let mut training = system.train(&system.recipe(10, 40), &[]);
    let run_id = training.run_id();
    for round in [2, 5] {
        training.wait_for_round(round);
        system.kill("coordinator/pid");
    }
    training.finish();
    // The statements form one chain from round 0 to 9, each once: verification recomputes it.
    let verified = said(&succeed(home, &["verify", &run_id]), "verified");
    assert_eq!(verified["rounds"], 10);
    assert_sums(&verified);
}

#[test]
fn byte_pairs__should_train_over_the_network_and_be_adapted_to_another_text() {
    let system = Running::start(2);
    let home = system.home();
    let recipe = system.recipe_with(3, 20, |recipe| {
        let ModelRecipe::Gpt(shape) = &mut recipe.model else { panic!("a GPT") };
        shape.vocab = 300;
    });
    let mut training = system.train_with(&recipe, 2, &[]);
    let run_id = training.run_id();
    let ended = training.finish();
    assert!(ended["result"].is_object(), "{ended}");
    let verified = said(&succeed(home, &["verify", &run_id]), "verified");
    assert_eq!(verified["rounds"], 3, "{verified}");
    let folder = home.join("pulled").display().to_string();
    succeed(home, &["pull", &run_id, "--output", &folder]);
    let tokenizer: Value = serde_json::from_slice(&fs::read(home.join("pulled/tokenizer.json")).expect("it came")).expect("JSON");
    assert_eq!(tokenizer["model"]["vocab"].as_object().map(serde_json::Map::len), Some(300));
    let generated = said(&succeed(home, &["generate", "--run", &run_id, "fn main", "--tokens", "12"]), "generated");
    assert!(generated["output"].as_str().is_some_and(|text| !text.is_empty()), "{generated}");

    // Its adapters learn another text with its tokens.
    let recipe = system.recipe_with(4, 20, |recipe| {
        let ModelRecipe::Gpt(shape) = &mut recipe.model else { panic!("a GPT") };
        shape.vocab = 300;
    });
    let poem = home.join("poem.txt");
    fs::write(&poem, "The starling sings what it has heard, and what it sings another heard.\n".repeat(400)).expect("a file is written");
    let (poem, recipe) = (poem.display().to_string(), recipe.display().to_string());
    let adapting = ["train", &poem, "--recipe", &recipe, "--nodes", "2", "--min-nodes", "2", "--adapters", "8"];
    assert!(refuse(home, &adapting).contains("Adapters need the model"));
    let mut training = Training::start(home, &[&adapting[..], &["--from-run", &run_id]].concat());
    let adapted = training.run_id();
    let ended = training.finish();
    let held_out = ended["result"]["held_out"].as_array().expect("before and after");
    let bits = held_out.iter().filter_map(|loss| loss["bits"].as_f64()).collect::<Vec<_>>();
    assert!(bits[1] < bits[0] - 0.05, "adapters learn: {bits:?}");
    let verified = said(&succeed(home, &["verify", &adapted]), "verified");
    assert_eq!(verified["rounds"], 4, "{verified}");
    let folder = home.join("adapted").display().to_string();
    succeed(home, &["pull", &adapted, "--output", &folder]);
    let file = |name: &str| fs::read(home.join(name)).expect("it came");
    assert_eq!(file("adapted/tokenizer.json"), file("pulled/tokenizer.json"));
    assert_eq!(arrays(&file("adapted/model.safetensors")), arrays(&file("pulled/model.safetensors")), "the whole model, adapters merged");
    let config: Value = serde_json::from_slice(&file("adapted/adapter_config.json")).expect("JSON");
    assert_eq!((&config["r"], &config["base_model_name_or_path"]), (&8.into(), &ended["result"]["adapters"]["base"]));
    assert!(file("adapted/adapter_model.safetensors").len() < file("adapted/model.safetensors").len() / 2);
    let generated = said(&succeed(home, &["generate", "--run", &adapted, "The star", "--tokens", "12"]), "generated");
    assert!(generated["output"].as_str().is_some_and(|text| !text.is_empty()), "{generated}");
}

#[test]
fn stopped_run__should_leave_the_last_paid_checkpoint() {
    let system = Running::start(3);
    let home = system.home();
    let mut training = system.train(&system.recipe(200, 40), &["--no-acknowledge"]);
    let run_id = training.run_id();
    training.wait_for_round(2);
    succeed(home, &["stop", &run_id]);
    training.finish();
    let view = status(home, &run_id);
    let checkpoint = view["checkpoint"].as_str().expect("a checkpoint");
    let (folder, _) = pull(home, &run_id);
    assert_sums(&said(&succeed(home, &["verify", &run_id, "--artifacts", &folder.join("proof").display().to_string()]), "verified"));
    assert!(!checkpoint.is_empty());
    succeed(home, &["reclaim", "--acknowledge"]);
    let verified = said(&succeed(home, &["verify", &run_id]), "verified");
    assert_eq!(amount(&verified["pending"]), 0);
    assert!(amount(&verified["refunded"]) > 0);
    assert_sums(&verified);
    succeed(home, &["withdraw"]);
}

#[test]
fn failed_run__should_leave_the_last_paid_checkpoint() {
    let system = Running::start(3);
    let home = system.home();
    let mut training = system.train(&system.recipe(200, 40), &["--no-acknowledge"]);
    let run_id = training.run_id();
    training.wait_for_round(2);
    system.kill("node-2/pid");
    system.kill("node-3/pid");
    // One of three is no quorum: the round's deadline passes, anyone may say so, and the run has failed.
    system.let_hours_pass(1);
    training.wait_for(|line| line["event"] == "ended");
    let view = status(home, &run_id);
    assert_eq!(view["run"]["state"]["ending"]["failed"], "round_timed_out", "{}", view["run"]["state"]);
    let (folder, _) = pull(home, &run_id);
    let verified = said(&succeed(home, &["verify", &run_id, "--artifacts", &folder.join("proof").display().to_string()]), "verified");
    assert!(verified["rounds"].as_u64() >= Some(2), "{verified}");
    assert!(amount(&verified["refunded"]) > 0 && amount(&verified["pending"]) > 0, "{verified}");
    assert_sums(&verified);
    // Nobody accepts or refuses the result: when it was served long enough, the providers get the rest without asking.
    system.let_hours_pass(25);
    let started = Instant::now();
    let vested = loop {
        let verified = said(&succeed(home, &["verify", &run_id]), "verified");
        if amount(&verified["pending"]) == 0 {
            break verified;
        }
        assert!(started.elapsed() < PATIENCE, "the holdback never vested: {verified}");
        std::thread::sleep(Duration::from_secs(2));
    };
    assert_eq!(vested["refunded"], verified["refunded"]);
    assert_sums(&vested);
}

/// `starling chain` by itself.
struct Chain {
    _program: Guarded,
    rpc: String,
}

impl Chain {
    fn start(home: &Path, chain_id: &str) -> Self {
        Self::start_with(home, chain_id, &[])
    }

    fn start_with(home: &Path, chain_id: &str, more: &[&str]) -> Self {
        let args = [&["chain", "--chain-id", chain_id, "--port", "0"], more].concat();
        let mut child = starling(home, &args).stdout(Stdio::piped()).spawn().expect("starling starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("its output is piped")).read_line(&mut line).expect("it speaks");
        let ready: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not ready: {line}"));
        Self { _program: Guarded(child), rpc: ready["rpc"].as_str().expect("an address").to_owned() }
    }
}

#[test]
fn reclaim__should_free_an_escrow_with_everything_but_the_chain_gone() {
    let system = Running::start(3);
    let mut training = system.train(&system.recipe(300, 40), &["--no-acknowledge"]);
    let run_id = training.run_id();
    training.wait_for_round(2);
    let home = system.kill_everything();
    drop(training);
    for gone in ["coordinator", "node-1", "node-2", "node-3", "meter"] {
        fs::remove_dir_all(home.path().join(gone)).expect("a folder is removed");
    }
    let chain_id = fs::read_to_string(home.path().join("chain-id")).expect("the chain has a name");
    let chain = Chain::start(home.path(), &chain_id);
    let path = home.path().join("profile.json");
    let mut profile: Value = serde_json::from_slice(&fs::read(&path).expect("a profile")).expect("JSON");
    profile["rpc_url"] = chain.rpc.clone().into();
    profile["coordinator"] = "".into();
    fs::write(&path, profile.to_string()).expect("a file is written");
    let freed = run(home.path(), &["reclaim", "--acknowledge"]);
    assert!(freed.status.success(), "{}", String::from_utf8_lossy(&freed.stdout));
    assert_eq!(said(&freed, "free")["event"], "free");
    assert!(amount(&said(&freed, "balance")["amount"]) > 0, "run {run_id}");
    succeed(home.path(), &["withdraw"]);
}

#[test]
fn deploy__should_work_on_another_chain_and_refuse_a_wrong_one() {
    let home = tempfile::tempdir().expect("a temporary folder");
    let chain = Chain::start(home.path(), "another-chain");
    let file = home.path().join("network.toml");
    let network = |chain_id: &str| {
        format!(
            "chain_id = \"{chain_id}\"\nrpc_url = \"{}\"\nowner = \"owner.near\"\nowner_key_file = \"keys/owner.near.json\"\nfee = 200\nmin_stake = \"1000000000000000000000000\"\n",
            chain.rpc
        )
    };
    let args = ["deploy", "--network", &file.display().to_string(), "--yes"];
    fs::write(&file, network("mainnet")).expect("a file is written");
    assert!(refuse(home.path(), &args).contains("wrong network"));
    fs::write(&file, network("another-chain")).expect("a file is written");
    let done = said(&succeed(home.path(), &args), "done");
    assert_eq!(done["billing"], "billing.owner.near");
    assert!(refuse(home.path(), &args).contains("exists already"));
}

#[test]
fn bad_input__should_be_answered_with_what_to_do() {
    let system = Running::start(1);
    let home = system.home();
    let file = |name: &str, text: &str| {
        let path = home.join(name);
        fs::write(&path, text).expect("a file is written");
        path.display().to_string()
    };
    let text = system.text().display().to_string();
    let empty = file("empty.txt", "");
    assert!(refuse(home, &["train", &empty]).contains("0 bytes of text"));
    let preset = starling_rounds::recipe::Recipe::preset("tiny").expect("the preset is there").to_toml().expect("TOML");
    let unknown_key = file("unknown.toml", &format!("speed = 3\n{preset}"));
    assert!(refuse(home, &["train", &text, "--recipe", &unknown_key]).contains("speed"));
    let impossible = file("impossible.toml", &preset.replace("heads = 2", "heads = 3"));
    assert!(refuse(home, &["train", &text, "--recipe", &impossible]).contains("heads"));
    assert!(refuse(home, &["train", &text, "--recipe", "no-such"]).contains("rust-small"));
    assert!(refuse(home, &["train", &text, "--recipe", "tiny", "--from", "nobody.starling/nothing"]).contains("no model"));
    assert!(refuse(home, &["train", &text, "--recipe", "tiny", "--nodes", "1", "--price", "100000000"]).contains("over the balance"));
    assert!(refuse(home, &["status", "99"]).contains("99"));

    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let other = tempfile::tempdir().expect("a temporary folder");
    let said = refuse(other.path(), &["up", "--serve", "--port", &port.to_string()]);
    assert!(said.contains("in use") && said.contains("--port"), "{said}");

    let path = home.join("profile.json");
    let mut profile: Value = serde_json::from_slice(&fs::read(&path).expect("a profile")).expect("JSON");
    profile["deployment"]["chain_id"] = "testnet".into();
    fs::write(&path, profile.to_string()).expect("a file is written");
    assert!(refuse(home, &["train", &text, "--recipe", "tiny"]).contains("wrong network"));
}
