//! The HTTP side: handlers validate, read the board and the database, and enqueue; they do no work themselves.

mod artifact;
mod checkpoint;
mod dashboard;
mod events;
mod extract;
mod lease;
mod limit;
mod login;
mod market;
mod metrics;
mod node;
mod openapi;
mod prepare;
mod replica;
mod run;
mod sponsor;

pub use metrics::operator_router;

use crate::{
    auth::Auth, chain::FactsReader, compute, config::Config, engine::Ear, engine::Tools, lead::Leader, problem::Fault, sponsor::Sponsor,
};
use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, State},
    http::StatusCode,
    middleware,
    routing::{get, post, put},
};
use starling_http_api::{network::NetworkInfo, path};
use starling_primitives::{AccountId, EscrowId};
use starling_rounds::Refusal;
use std::{collections::HashMap, sync::Arc};
use tokio::sync::{Mutex, Semaphore, watch};

/// The longest JSON body.
const MAX_JSON: usize = 256 * 1024;
/// The longest manifest: 8,192 values in hexadecimal.
const MAX_MANIFEST: usize = 1 << 20;
/// Chunks on their way in at once; each is in memory.
const MAX_UPLOADS: usize = 16;

/// What handlers work with: each request and each connected node holds one. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// All that an [`App`] gives.
#[derive(Clone)]
pub struct Parts {
    /// Database, chain, nodes, bytes and rights.
    pub tools: Tools,
    /// Sessions.
    pub auth: Auth,
    /// The engine's ear.
    pub engine: Ear,
    /// Configuration.
    pub config: Arc<Config>,
    /// This service's own origin.
    pub origin: Arc<str>,
    /// The account that pays gas.
    pub account: AccountId,
    /// Becomes true when the service is about to stop: it is not ready from then on.
    pub draining: watch::Receiver<bool>,
    /// Who pays gas for accounts that hold no NEAR, if anyone.
    pub sponsor: Option<Sponsor>,
    /// Who leads of several programs on one database.
    pub leader: watch::Receiver<Leader>,
    /// Becomes true when the service stops: streams end then.
    pub stopping: watch::Receiver<bool>,
    streams: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    prepared: Arc<Mutex<HashMap<prepare::Key, prepare::Cached>>>,
    requests: metrics::Requests,
    buckets: limit::Buckets,
}

impl App {
    /// Puts it together.
    #[expect(clippy::too_many_arguments, reason = "each is a part of the service")]
    pub fn new(
        tools: Tools,
        auth: Auth,
        engine: Ear,
        config: Arc<Config>,
        origin: &str,
        account: AccountId,
        draining: watch::Receiver<bool>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let streams = Arc::new(Semaphore::new(config.limits.streams));
        let buckets = limit::Buckets::new(config.limits.requests_per_second);
        Self(Arc::new(Parts {
            tools,
            auth,
            engine,
            config,
            origin: origin.into(),
            account,
            draining,
            sponsor: None,
            leader: watch::Sender::new(Leader::Here).subscribe(),
            stopping,
            streams,
            uploads: Arc::new(Semaphore::new(MAX_UPLOADS)),
            prepared: Arc::default(),
            requests: metrics::Requests::default(),
            buckets,
        }))
    }

    /// With somebody who pays gas for accounts that hold no NEAR.
    #[must_use]
    pub fn with_sponsor(self, sponsor: Option<Sponsor>) -> Self {
        Self(Arc::new(Parts { sponsor, ..Arc::unwrap_or_clone(self.0) }))
    }

    /// As one of several programs on one database.
    #[must_use]
    pub fn with_leader(self, leader: watch::Receiver<Leader>) -> Self {
        Self(Arc::new(Parts { leader, ..Arc::unwrap_or_clone(self.0) }))
    }

    /// The newest facts.
    pub fn facts(&self) -> &FactsReader {
        &self.tools.facts
    }
}

impl std::ops::Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// All routes.
pub fn router(app: App) -> Router {
    let api = Router::new()
        .route(path::NETWORK, get(network))
        .route(path::HEALTH, get(|| async { "ok" }))
        .route(path::READY, get(ready))
        .route(path::LOGIN_CHALLENGE, post(login::challenge))
        .route(path::LOGIN, post(login::login))
        .route(path::LOGOUT, post(login::logout))
        .route(path::LOGOUT_EVERYWHERE, post(login::logout_everywhere))
        .route(path::SESSION, get(login::session))
        .route(path::RECIPES, get(run::recipes))
        .route(path::PREPARE_RUN, post(prepare::prepare))
        .route(path::RUNS, get(run::runs))
        .route(path::RUN, get(run::run))
        .route(path::RUN_EVENTS, get(events::run))
        .route(path::RUN_METRICS, get(run::metrics))
        .route(path::RUN_ROUNDS, get(run::rounds))
        .route(path::RUN_CHECKPOINT, post(checkpoint::show))
        .route(path::RUN_STATEMENT, get(run::statement).post(run::sign))
        .route(path::NODES, get(market::nodes))
        .route(path::MACHINES, get(market::machines))
        .route(path::OFFERS, get(market::offers))
        .route(path::NODE_CONNECT, get(node::connect))
        .route(path::LEASES, get(lease::leases))
        .route(path::LEASE, get(lease::lease))
        .route(path::LEASE_EVENTS, get(events::lease))
        .route(path::LEASE_STATEMENT, get(lease::statement).post(lease::sign))
        .route(path::HISTORY, get(market::history))
        .route(path::SPONSOR_ACCOUNTS, post(sponsor::account))
        .route(path::SPONSOR_CALLS, post(sponsor::call))
        .route(openapi::PATH, get(openapi::answer))
        .layer(DefaultBodyLimit::max(MAX_JSON));
    let artifacts = Router::new()
        .route(path::ARTIFACT, put(artifact::put).get(artifact::get).delete(artifact::disown))
        .route(path::ARTIFACT_MANIFEST, get(artifact::manifest))
        .route(path::ARTIFACT_UPLOAD, post(artifact::begin))
        .route(path::ARTIFACT_CHUNK, put(artifact::put_chunk))
        .route(path::ARTIFACT_FINISH, post(artifact::finish))
        .layer(DefaultBodyLimit::max(MAX_MANIFEST));
    Router::new()
        .merge(api)
        .merge(artifacts)
        .route("/api/{*rest}", axum::routing::any(|| async { (axum::Extension(metrics::NoRoute), Fault::not_found("path")) }))
        .merge(dashboard::routes(&app))
        .method_not_allowed_fallback(|| async {
            let detail = "The header Allow of this answer names the methods that this path takes.";
            Fault::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "Not with this method", detail)
        })
        .layer(middleware::from_fn_with_state(app.clone(), replica::pass_on))
        .layer(middleware::from_fn_with_state(app.clone(), limit::limit))
        .layer(middleware::from_fn_with_state(app.clone(), metrics::count))
        .layer(middleware::from_fn_with_state(app.clone(), dashboard::headers))
        .with_state(app)
}

/// All routes for what other programs on the same database pass on, or ask to be computed.
pub fn replica_router(app: App) -> Router {
    let compute = Router::new().route(compute::PATH, post(replica::compute)).with_state(app.clone());
    compute.merge(router(app).layer(middleware::from_fn(replica::take_passed_on)))
}

async fn network(State(app): State<App>) -> Json<NetworkInfo> {
    let config = &app.config;
    Json(NetworkInfo {
        name: config.network_name.clone(),
        deployment: config.deployment.clone(),
        rpc_url: config.public_rpc_url.clone(),
        dev_wallet_url: config.dev_wallet_url.clone(),
        faucet: config.faucet,
        explorer_url: config.explorer_url.clone(),
        coordinator: app.account.clone(),
        sponsor: app.sponsor.as_ref().map(|sponsor| sponsor.info().clone()),
        fee: app.facts().borrow().fee,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

async fn ready(State(app): State<App>) -> Result<&'static str, Fault> {
    let facts = app.facts().borrow().clone();
    let fresh = crate::clock::now().since(facts.head.seen_at).0 < 30_000;
    if *app.draining.borrow() {
        let detail = "The service is stopping and takes no new work.";
        return Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "Not ready any more", detail));
    }
    if facts.complete && fresh {
        return Ok("ready");
    }
    Err(Fault::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", "Not ready yet", "The chain is being read. Try again in a moment."))
}

/// A refusal in words for people.
pub fn refusal_words(reason: Refusal) -> &'static str {
    match reason {
        Refusal::Late => "it came too late",
        Refusal::NotFinite => "it holds values that are no numbers",
        Refusal::WrongShape => "it has not the shape of this model",
        Refusal::GateRefused => "it does not lower the loss as work does",
        Refusal::Copied => "it is a copy, or was not made from the assigned data",
        Refusal::LossSpike => "it raises the loss by much",
        Refusal::TooLong => "it is longer than work can make it",
    }
}

/// Paging and filters of lists.
#[derive(Debug, Default, serde::Deserialize)]
pub struct ListQuery {
    /// Only of this tenant.
    pub tenant: Option<AccountId>,
    /// Only of this provider.
    pub provider: Option<AccountId>,
    /// Only of this account.
    pub account: Option<AccountId>,
    /// Only of this escrow.
    pub escrow: Option<EscrowId>,
    /// Only below this number.
    pub before: Option<u64>,
    /// At most so many.
    pub limit: Option<u32>,
}

impl ListQuery {
    fn limit(&self) -> usize {
        usize::try_from(self.limit.unwrap_or(50).min(200)).unwrap_or(200)
    }
}

#[cfg(test)]
#[path = "http_tests.rs"]
pub(crate) mod tests;
