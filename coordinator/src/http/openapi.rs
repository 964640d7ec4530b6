//! The OpenAPI 3.1 document, made from the types that handlers read and answer with.

mod trace;

use axum::Json;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use starling_http_api::{
    artifact::{Manifest, Stored, UploadState},
    lease::{LeaseMeterSignature, LeaseView, PendingLeaseStatement},
    login::{Challenge, ChallengeRequest, LoginRequest, Session, SessionInfo},
    machine::MachineView,
    network::{HistoryEntry, NetworkInfo},
    node::{NodeView, OfferView},
    path,
    problem::Problem,
    run::{
        Curves, HeldOut, LossUnit, MeterSignature, MetricPoint, PendingStatement, PrepareRun, PreparedRun, RecipePreset, RoundView, RunView,
    },
    sponsor::{MadeAccount, NewAccount, RelayCall, Relayed},
};
use starling_primitives::TimestampMs;
use starling_protocol::{lease::LeaseState, run::RunState};
use std::sync::LazyLock;
use trace::{ACCOUNT, TraceError, Tracer};

/// Where the document lies.
pub(super) const PATH: &str = "/api/openapi.json";

static DOCUMENT: LazyLock<Result<Value, String>> = LazyLock::new(|| document().map_err(|error| error.to_string()));

pub(super) async fn answer() -> Result<Json<Value>, crate::problem::Fault> {
    DOCUMENT.clone().map(Json).map_err(crate::problem::Fault::internal)
}

/// Who may ask.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asker {
    Anyone,
    Session,
}

struct Paths {
    tracer: Tracer,
    all: Map<String, Value>,
}

impl Paths {
    fn add(&mut self, method: &str, path: &str, summary: &str, asker: Asker, request: Option<Value>, answer: Value) {
        let parameters: Vec<Value> = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).map(parameter).collect();
        let mut operation = json!({
            "summary": summary, "parameters": parameters,
            "responses": { "default": { "description": "A refusal, as RFC 9457 describes it.", "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } } } },
        });
        if let Some((answers, told)) = operation["responses"].as_object_mut().zip(answer.as_object()) {
            answers.extend(told.clone());
        }
        if let Some(request) = request {
            operation["requestBody"] = json!({ "required": true, "content": request });
        }
        operation["security"] = if asker == Asker::Session { json!([{ "session": [] }, { "cookie": [] }]) } else { json!([]) };
        self.all.entry(path).or_insert_with(|| json!({}))[method] = operation;
    }

    /// A page of records or one of them.
    fn get<T: DeserializeOwned>(&mut self, path: &str, summary: &str, asker: Asker) -> Result<(), TraceError> {
        let answer = self.answer::<T>()?;
        self.add("get", path, summary, asker, None, answer);
        Ok(())
    }

    /// As [`Self::get`], of a list that these select from.
    fn list<T: DeserializeOwned>(&mut self, path: &str, summary: &str, asker: Asker, filters: &[&str]) -> Result<(), TraceError> {
        self.get::<T>(path, summary, asker)?;
        let filters = filters.iter().map(|name| {
            let schema = match *name {
                "before" | "escrow" => json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX }),
                "limit" => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
                _ => json!({ "type": "string", "pattern": ACCOUNT }),
            };
            json!({ "name": name, "in": "query", "schema": schema })
        });
        self.all[path]["get"]["parameters"] = filters.collect();
        Ok(())
    }

    fn post<B: DeserializeOwned, T: DeserializeOwned>(&mut self, path: &str, summary: &str, asker: Asker) -> Result<(), TraceError> {
        let (request, answer) = (self.body::<B>()?, self.answer::<T>()?);
        self.add("post", path, summary, asker, Some(request), answer);
        Ok(())
    }

    fn body<T: DeserializeOwned>(&mut self) -> Result<Value, TraceError> {
        Ok(json!({ "application/json": { "schema": self.tracer.schema::<T>()? } }))
    }

    fn answer<T: DeserializeOwned>(&mut self) -> Result<Value, TraceError> {
        Ok(json!({ "200": { "description": "The answer.", "content": self.body::<T>()? } }))
    }
}

fn parameter(name: &str) -> Value {
    let schema = match name {
        "hash" => json!({ "type": "string", "pattern": "^[0-9a-f]{64}$" }),
        _ => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
    };
    json!({ "name": name, "in": "path", "required": true, "schema": schema })
}

/// Bytes, a text, nothing.
fn plain(status: &str, description: &str, kind: Option<&str>) -> Value {
    let content = kind.map_or(json!({}), |kind| json!({ kind: {} }));
    json!({ status: { "description": description, "content": content } })
}

fn document() -> Result<Value, TraceError> {
    use Asker::{Anyone, Session as Known};
    let sample = |value: Result<Value, serde_json::Error>| value.map_err(<TraceError as serde::de::Error>::custom);
    let samples = vec![
        ("internally tagged enum RunState", sample(serde_json::to_value(RunState::Pending))?),
        ("internally tagged enum LeaseState", sample(serde_json::to_value(LeaseState::Unpaid))?),
        (
            "internally tagged enum MetricPoint",
            sample(serde_json::to_value(MetricPoint::HeldOut {
                round: 0,
                step: 0,
                loss: HeldOut { bits: 1.0, per: LossUnit::Byte },
                at: TimestampMs(0),
            }))?,
        ),
    ];
    let mut paths = Paths { tracer: Tracer::new(samples), all: Map::new() };
    let words = |what: &str| plain("200", what, Some("text/plain"));
    paths.get::<NetworkInfo>(path::NETWORK, "What a program needs to talk to chain and coordinator.", Anyone)?;
    paths.add("get", path::HEALTH, "Whether the service answers.", Anyone, None, words("It does."));
    paths.add("get", path::READY, "Whether it has read the chain and is not stopping.", Anyone, None, words("It is ready."));
    paths.add("get", PATH, "This document.", Anyone, None, plain("200", "OpenAPI 3.1.", Some("application/json")));
    paths.post::<ChallengeRequest, Challenge>(path::LOGIN_CHALLENGE, "Something to sign with a wallet (NEP-413).", Anyone)?;
    paths.post::<LoginRequest, Session>(path::LOGIN, "Opens a session: a token, and a cookie for browsers.", Anyone)?;
    paths.add("post", path::LOGOUT, "Ends the session.", Anyone, None, plain("204", "It is over.", None));
    paths.add(
        "post",
        path::LOGOUT_EVERYWHERE,
        "Ends all sessions of the caller's account.",
        Known,
        None,
        plain("204", "They are over.", None),
    );
    paths.post::<NewAccount, MadeAccount>(path::SPONSOR_ACCOUNTS, "Makes an account that holds nothing; rationed.", Anyone)?;
    paths.post::<RelayCall, Relayed>(path::SPONSOR_CALLS, "Sends a listed call that the caller's account signed (NEP-366).", Known)?;
    paths.get::<SessionInfo>(path::SESSION, "Whose session it is.", Known)?;
    let bytes = || Some(json!({ "application/octet-stream": {} }));
    let part = json!({ "200": { "description": "All bytes.", "content": { "application/octet-stream": {} } },
        "206": { "description": "The range that was asked for.", "content": { "application/octet-stream": {} } }, "304": { "description": "The same." } });
    paths.add(
        "get",
        path::ARTIFACT,
        "Bytes by their BLAKE3 hash, or a range of them; 404 for whoever may not read them.",
        Anyone,
        None,
        part,
    );
    let stored = paths.answer::<Stored>()?;
    paths.add("put", path::ARTIFACT, "Stores bytes of one chunk at most.", Known, bytes(), stored);
    paths.add("delete", path::ARTIFACT, "Gives up what the caller owns of an artifact.", Known, None, plain("204", "Given up.", None));
    paths.get::<Manifest>(path::ARTIFACT_MANIFEST, "The values by which each chunk of a download is checked.", Anyone)?;
    paths.post::<Manifest, UploadState>(path::ARTIFACT_UPLOAD, "Begins an upload or takes it up again.", Known)?;
    paths.add(
        "put",
        path::ARTIFACT_CHUNK,
        "Stores a chunk of an upload; again changes nothing.",
        Known,
        bytes(),
        plain("204", "Stored.", None),
    );
    let stored = paths.answer::<Stored>()?;
    paths.add("post", path::ARTIFACT_FINISH, "Ends an upload whose chunks are all there.", Known, None, stored);
    paths.get::<Vec<RecipePreset>>(path::RECIPES, "The built-in recipes.", Anyone)?;
    paths.post::<PrepareRun, PreparedRun>(path::PREPARE_RUN, "Has a run made ready, with its quote.", Known)?;
    paths.list::<Vec<RunView>>(path::RUNS, "Runs, newest first.", Anyone, &["tenant", "before", "limit"])?;
    paths.get::<RunView>(path::RUN, "A run.", Anyone)?;
    let events = || plain("200", "Server-sent events; Last-Event-ID resumes.", Some("text/event-stream"));
    paths.add("get", path::RUN_EVENTS, "News of a run.", Anyone, None, events());
    paths.get::<Curves>(path::RUN_METRICS, "The points of a run's curves; with `?after=` those that came since.", Anyone)?;
    paths.get::<Vec<RoundView>>(path::RUN_ROUNDS, "A run's rounds.", Anyone)?;
    let summary = "Has a node bring the checkpoint that a round of the caller's run began with, so that the round can be made again.";
    paths.add("post", path::RUN_CHECKPOINT, summary, Known, None, plain("204", "It can be downloaded.", None));
    paths.get::<PendingStatement>(path::RUN_STATEMENT, "What waits for the meter's signature.", Anyone)?;
    let signature = paths.body::<MeterSignature>()?;
    paths.add("post", path::RUN_STATEMENT, "The meter's signature of a round.", Anyone, Some(signature), plain("204", "Taken.", None));
    paths.list::<Vec<NodeView>>(path::NODES, "Nodes.", Anyone, &["provider"])?;
    paths.get::<Vec<MachineView>>(path::MACHINES, "How the machines of the caller's connected nodes stand.", Known)?;
    paths.get::<Vec<OfferView>>(path::OFFERS, "Offers of nodes that are connected.", Anyone)?;
    paths.add("get", path::NODE_CONNECT, "The WebSocket of nodes.", Anyone, None, plain("101", "The connection is a WebSocket.", None));
    let summary = "Leases, newest first; what was put in and came out only for their tenant.";
    paths.list::<Vec<LeaseView>>(path::LEASES, summary, Anyone, &["tenant", "before", "limit"])?;
    paths.get::<LeaseView>(path::LEASE, "A lease; what was put in and came out only for its tenant.", Anyone)?;
    paths.add("get", path::LEASE_EVENTS, "News of a lease.", Known, None, events());
    paths.get::<PendingLeaseStatement>(path::LEASE_STATEMENT, "What waits for the meter's signature.", Anyone)?;
    let signature = paths.body::<LeaseMeterSignature>()?;
    paths.add(
        "post",
        path::LEASE_STATEMENT,
        "The meter's signature of a lease's statement.",
        Anyone,
        Some(signature),
        plain("204", "Taken.", None),
    );
    paths.list::<Vec<HistoryEntry>>(
        path::HISTORY,
        "What the caller's money did, newest first.",
        Known,
        &["account", "escrow", "before", "limit"],
    )?;
    drop(paths.tracer.schema::<Problem>()?);
    let Paths { tracer, all } = paths;
    Ok(json!({
        "openapi": "3.1.0",
        "info": { "title": "Starling coordinator", "version": env!("CARGO_PKG_VERSION"), "license": { "name": "MIT", "identifier": "MIT" } },
        "paths": all,
        "components": {
            "schemas": tracer.components,
            "securitySchemes": {
                "session": { "type": "http", "scheme": "bearer" },
                "cookie": { "type": "apiKey", "in": "cookie", "name": crate::auth::COOKIE },
            },
        },
    }))
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;
    use std::collections::{BTreeMap, BTreeSet};

    /// Routes as they stand in the router's source, by the name of their path: `.route(path::NAME, get(..).put(..))`.
    fn routed() -> BTreeMap<String, BTreeSet<String>> {
        let source = include_str!("../http.rs");
        let routes = source.split(".route(path::").skip(1).filter_map(|route| route.split_once(", "));
        routes
            .map(|(name, rest)| {
                let handlers = rest.split(".route(").next().unwrap().split(".layer(").next().unwrap();
                let methods = ["get", "put", "post", "delete"].into_iter().filter(|method| handlers.contains(&format!("{method}(")));
                (name.to_owned(), methods.map(str::to_owned).collect())
            })
            .collect()
    }

    /// Paths by the names of their constants, as they stand in their source.
    fn named() -> BTreeMap<String, String> {
        let source = include_str!("../../../crates/http-api/src/path.rs");
        let constants = source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split_once(": &str = "));
        constants.map(|(name, path)| (name.to_owned(), path.trim_matches(['"', ';']).to_owned())).collect()
    }

    #[test]
    fn document__should_have_every_route_and_no_other() {
        let document = document().unwrap();
        let (routed, named) = (routed(), named());
        assert!(routed.len() > 20, "{routed:?}");
        let mut expect: BTreeMap<String, BTreeSet<String>> =
            routed.into_iter().map(|(name, methods)| (named[&name].clone(), methods)).collect();
        expect.insert(PATH.to_owned(), BTreeSet::from(["get".to_owned()]));
        let methods = |path: &Value| path.as_object().unwrap().keys().cloned().collect();
        let told: BTreeMap<String, BTreeSet<String>> =
            document["paths"].as_object().unwrap().iter().map(|(path, operations)| (path.clone(), methods(operations))).collect();
        assert_eq!(told, expect);
    }

    #[test]
    fn document__should_tell_the_shapes_of_types_and_refer_to_nothing_that_is_missing() {
        let document = document().unwrap();
        let schemas = &document["components"]["schemas"];
        assert_eq!(schemas["Stored"]["properties"]["hash"]["pattern"], "^[0-9a-f]{64}$");
        assert_eq!(schemas["Stored"]["required"], json!(["hash", "bytes"]));
        assert_eq!(schemas["Manifest"]["properties"]["chunks"]["items"]["pattern"], "^[0-9a-f]{64}$");
        assert_eq!(schemas["LoginRequest"]["properties"]["account_id"]["pattern"], "^[a-z0-9._-]{2,64}$");
        assert_eq!(schemas["BalanceChange"]["properties"]["asset"]["pattern"], "^(near|nep141:.{2,64})$");
        assert_eq!(schemas["ChallengeRequest"]["required"], json!([]), "an option may be left out");
        assert_eq!(schemas["PrepareRun"]["properties"]["base"]["oneOf"][0], json!({ "const": "fresh" }));
        let text = document.to_string();
        for reference in text.split("\"#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schemas[name].is_object(), "{name}");
        }
    }
}
