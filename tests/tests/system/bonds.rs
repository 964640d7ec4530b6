//! A node with a bond behind its offer: alive it answers pings and keeps the bond, dead it loses what it promised.

use crate::running::{Guarded, Running, profile, refuse, said, starling, succeed};
use serde_json::{Value, json};
use std::{
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

const NEAR: u128 = 1_000_000_000_000_000_000_000_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// What a view of `compute` answers.
pub(crate) fn view(home: &Path, method: &str, args: &Value) -> Value {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let profile = profile(home);
    let params = json!({
        "request_type": "call_function", "finality": "final", "account_id": profile["deployment"]["compute"],
        "method_name": method, "args_base64": STANDARD.encode(args.to_string()),
    });
    let asked = json!({"jsonrpc": "2.0", "id": 1, "method": "query", "params": params});
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let answer: Value = runtime.block_on(async {
        let sent = reqwest::Client::new().post(profile["rpc_url"].as_str().expect("an address")).json(&asked).send().await;
        sent.expect("the chain answers").json().await.expect("JSON")
    });
    let bytes: Vec<u8> = serde_json::from_value(answer["result"]["result"].clone()).unwrap_or_else(|_| panic!("{answer}"));
    serde_json::from_slice(&bytes).expect("JSON")
}

/// A `starling generate` that rents the node for a long text, once its lease is active; it goes on until it is killed. The coordinator may need a moment to see the offer.
fn rent(system: &Running, run_id: &str, lease_id: u64) -> Guarded {
    let home = system.home();
    let args = ["generate", "--run", run_id, "fn main", "--tokens", "100000", "--seconds", "36000"];
    let start = || Guarded(starling(home, &args).stdout(Stdio::null()).spawn().expect("starling starts"));
    let (mut rented, started) = (start(), Instant::now());
    while view(home, "lease", &json!({"lease_id": lease_id}))["state"]["state"] != "active" {
        assert!(started.elapsed() < PATIENCE, "lease {lease_id} did not become active");
        std::thread::sleep(Duration::from_millis(300));
        if rented.0.try_wait().expect("a child").is_some() {
            rented = start();
        }
    }
    rented
}

fn bond(home: &Path) -> Value {
    said(&succeed(home, &["bonds", "provider-1.starling"]), "bond")
}

fn near(value: &Value) -> u128 {
    value.as_str().expect("an amount").parse().expect("digits")
}

#[test]
fn promise__should_be_kept_by_a_living_node_and_cost_a_dead_one_its_bond() {
    let system = Running::start(1);
    let home = system.home();
    let mut training = system.train_with(&system.recipe(1, 10), 1, &[]);
    let run_id = training.run_id();
    training.finish();
    succeed(home, &["bonds", "provider-1.starling"]);

    let profile = profile(home);
    let (coordinator, rpc) = (profile["coordinator"].as_str().expect("an origin"), profile["rpc_url"].as_str().expect("an address"));
    let key = home.join("keys/provider-1.starling.json").display().to_string();
    let folder = home.join("node-1").display().to_string();
    let setup = ["node", "setup", "--coordinator", coordinator, "--rpc", rpc, "--provider-key", &key, "--home", &folder, "--threads", "1"];
    let promise = ["--sla-bond", "4", "--sla-pays", "1", "--sla-answer-minutes", "10"];
    succeed(home, &[&setup[..], &promise].concat());
    // Repeated it changes nothing: one bond, one offer.
    succeed(home, &[&setup[..], &promise].concat());
    let put_down = bond(home);
    assert_eq!((near(&put_down["deposit"]), near(&put_down["free"]), &put_down["state"]), (4 * NEAR, 4 * NEAR, &json!("open")));
    assert_eq!(view(home, "offers", &json!({"from": 1, "limit": 20})).as_array().expect("offers").len(), 2, "one was taken back");

    let rented = rent(&system, &run_id, 1);
    assert_eq!((near(&bond(home)["set_aside"]), bond(home)["leases"].as_u64()), (NEAR, Some(1)));
    let asked = Instant::now();
    let answered = said(&succeed(home, &["ping", "1"]), "answered");
    println!("the node answered after {:?}", asked.elapsed());
    assert_eq!(answered["cover"]["state"], "standing", "{answered}");
    assert!(refuse(home, &["ping", "1"]).contains("too early"));
    assert!(refuse(home, &["claim", "1"]).contains("nothing is owed"));

    // Dead, and asked again.
    system.kill("node-1/pid");
    system.let_hours_pass(1);
    succeed(home, &["ping", "1", "--no-wait"]);
    system.let_hours_pass(1);
    let claimed = said(&succeed(home, &["claim", "1"]), "claimed");
    assert_eq!((near(&claimed["pays"]), &claimed["cover"]["breach"]), (NEAR, &json!("unanswered")), "{claimed}");
    let left = bond(home);
    assert_eq!((near(&left["paid"]), near(&left["free"]), near(&left["set_aside"])), (NEAR, 3 * NEAR, 0), "{left}");
    drop(rented);
}
