//! What an operator's Prometheus reads: requests by route, and the state of the service. Served on the operator's own address, never to the public.

use super::App;
use crate::clock;
use axum::{
    Router,
    extract::{Request, State},
    http::header,
    middleware::Next,
    response::{IntoResponse, Response},
    routing::get,
};
use starling_protocol::{lease::LeaseState, run::RunState};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Upper bounds of the answer times, in seconds.
const BOUNDS: [f64; 8] = [0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0];

/// Counts of requests. Cheap to clone; as many entries as there are routes, methods and kinds of status.
#[derive(Clone, Default)]
pub(super) struct Requests(Arc<Mutex<BTreeMap<Kind, Seen>>>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    count: u64,
    time: Duration,
    within: [u64; BOUNDS.len()],
}

impl Requests {
    fn add(&self, kind: Kind, time: Duration) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = all.entry(kind).or_default();
        seen.count = seen.count.saturating_add(1);
        seen.time = seen.time.saturating_add(time);
        for (bound, within) in BOUNDS.iter().zip(&mut seen.within) {
            *within = within.saturating_add(u64::from(time.as_secs_f64() <= *bound));
        }
    }

    fn write(&self, out: &mut String) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        head(out, "starling_http_request_seconds", "histogram", "Time until the head of the answer, by route.");
        for (Kind { route, method, status }, seen) in all {
            let labels = format!("route=\"{route}\",method=\"{method}\",status=\"{status}\"");
            for (bound, within) in BOUNDS.iter().zip(seen.within) {
                push(out, format_args!("starling_http_request_seconds_bucket{{{labels},le=\"{bound}\"}} {within}"));
            }
            push(out, format_args!("starling_http_request_seconds_bucket{{{labels},le=\"+Inf\"}} {}", seen.count));
            push(out, format_args!("starling_http_request_seconds_sum{{{labels}}} {}", seen.time.as_secs_f64()));
            push(out, format_args!("starling_http_request_seconds_count{{{labels}}} {}", seen.count));
        }
    }
}

/// Marks the answer to a path that is none of ours.
#[derive(Clone, Copy)]
pub(super) struct NoRoute;

/// Counts each request by its route, so that no stranger's path makes a new entry.
pub(super) async fn count(State(app): State<App>, request: Request, next: Next) -> Response {
    let route = route_of(request.uri().path());
    let method = known_method(request.method());
    let started = Instant::now();
    let response = next.run(request).await;
    let route = if response.extensions().get::<NoRoute>().is_some() { "other".to_owned() } else { route };
    app.requests.add(Kind { route, method, status: response.status().as_u16() }, started.elapsed());
    response
}

/// A path with its values left out. Everything beside the API is pages.
fn route_of(path: &str) -> String {
    if !path.starts_with("/api/") {
        return "page".to_owned();
    }
    let is_value = |part: &&str| part.bytes().any(|byte| byte.is_ascii_digit()) && *part != "v1";
    path.split('/').map(|part| if is_value(&part) { "{}" } else { part }).collect::<Vec<_>>().join("/")
}

fn known_method(method: &axum::http::Method) -> &'static str {
    ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"].into_iter().find(|known| method.as_str() == *known).unwrap_or("OTHER")
}

/// The operator's routes: metrics, health, readiness.
pub fn operator_router(app: App) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(|| async { "ok" }))
        .route("/ready", get(super::ready))
        .with_state(app)
}

async fn metrics(State(app): State<App>) -> Result<impl IntoResponse, crate::problem::Fault> {
    let mut out = String::with_capacity(16 * 1024);
    app.requests.write(&mut out);
    let facts = app.facts().borrow().clone();
    let (now, waiting) = (clock::now(), app.tools.db.waiting_calls().await?);
    let open_runs = facts.runs.values().filter(|run| !matches!(run.state, RunState::Ended { settled: true, .. })).count();
    let open_leases = facts.leases.values().filter(|lease| !matches!(lease.state, LeaseState::Closed { .. })).count();
    let (uploads, streams) = (super::MAX_UPLOADS.saturating_sub(app.uploads.available_permits()), app.streams.available_permits());
    let gauges: [(&str, &str, f64); 8] = [
        ("starling_nodes_connected", "Nodes that are connected.", count_of(app.tools.hub.connected().len())),
        ("starling_runs_open", "Runs that are not settled.", count_of(open_runs)),
        ("starling_leases_open", "Leases that are not closed.", count_of(open_leases)),
        ("starling_outbox_waiting", "Calls on chain that wait to be done.", count_of(usize::try_from(waiting).unwrap_or(usize::MAX))),
        ("starling_chunks_arriving", "Chunks of uploads on their way in.", count_of(uploads)),
        ("starling_streams_open", "Open event streams.", count_of(app.config.limits.streams.saturating_sub(streams))),
        ("starling_chain_height", "Height of the last final block.", count_of(usize::try_from(facts.head.height).unwrap_or(usize::MAX))),
        (
            "starling_chain_age_seconds",
            "How long ago the chain was read.",
            Duration::from_millis(now.since(facts.head.seen_at).0).as_secs_f64(),
        ),
    ];
    for (name, help, value) in gauges {
        head(&mut out, name, "gauge", help);
        push(&mut out, format_args!("{name} {value}"));
    }
    let (writes, commits) = app.tools.db.group_counts();
    let counters = [
        ("starling_db_group_writes_total", "State changes that were written before anything was done about them.", writes),
        ("starling_db_group_commits_total", "Transactions that they shared.", commits),
    ];
    for (name, help, value) in counters {
        head(&mut out, name, "counter", help);
        push(&mut out, format_args!("{name} {value}"));
    }
    if let Some(bytes) = resident_bytes() {
        head(&mut out, "process_resident_memory_bytes", "gauge", "Resident memory.");
        push(&mut out, format_args!("process_resident_memory_bytes {bytes}"));
    }
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], out))
}

fn count_of(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// Where the system says it (Linux).
fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kib: u64 = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib.saturating_mul(1_024))
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    push(out, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}"));
}

fn push(out: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing into a string cannot fail.
    let _ = writeln!(out, "{line}");
}
