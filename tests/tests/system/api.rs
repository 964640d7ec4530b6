//! The API against its own document: `schemathesis` asks what the document allows and what it does not, and looks at each answer.

use crate::running::{Running, profile, program, said, succeed};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value;
use starling_contract_api::rpc::Signer;
use starling_http_api::{
    login::{Challenge, ChallengeRequest, LoginRequest, Session, nep413_bytes},
    path,
};
use starling_primitives::Hash32;
use std::{fs, path::Path, process::Command};

/// What is looked at in each answer.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
    response_schema_conformance,negative_data_rejection,missing_required_header,unsupported_method,ignored_auth";
/// Events have no end, and other tests read them. A WebSocket is no answer. Logging out ends the session that all others need, and comes last.
const LATER: &str = "(/events|/connect)$|/logout";
const ENDING: &str = "/logout";

/// How much is asked: so many seconds, or a number of questions of each operation, which takes some seconds.
fn bound() -> [String; 2] {
    match std::env::var("STARLING_API_SECONDS") {
        Ok(seconds) => ["--max-time".to_owned(), seconds],
        Err(_) => ["--max-examples".to_owned(), "3".to_owned()],
    }
}

fn seed() -> String {
    std::env::var("STARLING_API_SEED").unwrap_or_else(|_| "20261121".to_owned())
}

/// The coordinator's address, and a session of the tenant.
async fn sign_in(home: &Path) -> (String, Session) {
    let profile = profile(home);
    let origin = profile["coordinator"].as_str().expect("an address").to_owned();
    let signer = Signer::from_file(Path::new(profile["key_file"].as_str().expect("a path"))).expect("a key");
    let http = reqwest::Client::new();
    let request = ChallengeRequest { account_id: Some(signer.account().clone()) };
    let asked = http.post(format!("{origin}{}", path::LOGIN_CHALLENGE)).json(&request).send().await.expect("an answer");
    let challenge: Challenge = asked.json().await.expect("a challenge");
    let nonce = STANDARD.decode(&challenge.nonce).expect("base64").try_into().expect("32 bytes");
    let digest = Hash32::sha256(&nep413_bytes(&challenge.message, nonce, &challenge.recipient));
    let login = LoginRequest {
        account_id: signer.account().clone(),
        public_key: signer.public_key(),
        signature: signer.sign_bytes(&digest.0),
        nonce: challenge.nonce,
    };
    let session = http.post(format!("{origin}{}", path::LOGIN)).json(&login).send().await.expect("an answer");
    (origin, session.json().await.expect("a session"))
}

/// What the tool takes for the document's parameters: a run, a lease, and a file of the tenant's.
fn known(home: &Path, run_id: &str) -> String {
    let upload = said(&succeed(home, &["upload", &home.join("text.rs").display().to_string()]), "uploaded");
    format!("parameters = {{ run_id = {run_id}, lease_id = 1, hash = {} }}\n", upload["hash"])
}

/// Asks as much as is wanted; gives the numbers of operations and of requests. What does not fit the document is a failure with the request that shows it.
fn explore(home: &Path, origin: &str, token: &str, filter: &[&str]) -> (u64, u64) {
    let tool = program("starling").with_file_name("../schemathesis/bin/schemathesis");
    assert!(tool.is_file(), "{} is not installed: run `cargo xtask test`", tool.display());
    let report = home.join("api.json");
    let mut command = Command::new(tool);
    command.current_dir(home).args(["run", &format!("{origin}/api/openapi.json"), "--no-color"]);
    command.args(["--header", &format!("Authorization: Bearer {token}"), "--checks", CHECKS, "--seed", &seed()]);
    command.args(["--phases", "examples,coverage,fuzzing", "--generation-database", "none", "--continue-on-failure"]);
    command.args(bound()).args(["--request-timeout", "30", "--report", "json"]);
    command.args(["--report-json-path", &report.display().to_string()]).args(filter);
    let output = command.output().expect("schemathesis starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&fs::read(&report).expect("a report")).expect("JSON");
    let count = |at: &str| report.pointer(at).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {at} in {report:#}"));
    let (operations, requests) = (count("/operations/tested"), count("/test_cases/generated"));
    assert!(operations > 0 && requests > operations, "{report:#}");
    (operations, requests)
}

#[test]
fn api__should_answer_as_its_document_says() {
    let system = Running::start(1);
    let home = system.home();
    // There is something to see: a run with rounds and curves, a model, a lease with its output, a history of money.
    let mut training = system.train_with(&system.recipe(2, 10), 1, &[]);
    let run_id = training.run_id();
    training.finish();
    said(&succeed(home, &["generate", "--run", &run_id, "fn main", "--tokens", "5"]), "generated");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (origin, session) = runtime.block_on(sign_in(home));
    // First by numbers and names that are there, then by any.
    let known = known(home, &run_id);
    fs::write(home.join("schemathesis.toml"), known).expect("a file is written");
    let (operations, requests) = explore(home, &origin, &session.token, &["--exclude-path-regex", LATER]);
    fs::write(home.join("schemathesis.toml"), "").expect("a file is written");
    let (_, any) = explore(home, &origin, &session.token, &["--exclude-path-regex", LATER]);
    let (ending, more) = explore(home, &origin, &session.token, &["--include-path-regex", ENDING]);
    println!("measured operations of the document: {}", operations + ending);
    println!("measured requests, none answered with 500 or with what the document does not say: {}", requests + any + more);
}
