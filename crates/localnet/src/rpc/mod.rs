//! NEAR's JSON-RPC over HTTP.
//!
//! Answers and errors are the types of `near-jsonrpc-primitives`, so clients written for NEAR read them unchanged. A
//! method that is not here is answered `METHOD_NOT_FOUND` with its name.

mod block;
mod info;
mod params;
mod query;
mod tx;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::Listener;
use near_jsonrpc_primitives::errors::RpcError;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tower_http::cors::CorsLayer;

use crate::faucet::{Faucet, FaucetState};
use crate::node::Localnet;

/// Greatest request body by default: a transaction is at most 1.5 MiB, base64 makes a third more, and batches hold several.
const BODY_LIMIT_BYTES: usize = 16 * 1024 * 1024;
/// Requests in one batch.
const BATCH_LIMIT: usize = 100;

/// How the server behaves.
#[derive(Debug, Clone)]
pub struct RpcOptions {
    /// How long a request waits for a transaction before `TIMEOUT_ERROR`. Default: 10 s, as on NEAR.
    pub wait_timeout: Duration,
    /// Greatest request body, in bytes. Default: 16 MiB.
    pub body_limit_bytes: usize,
    /// Gives accounts to strangers; without it `/faucet` is 404.
    pub faucet: Option<Faucet>,
}

impl Default for RpcOptions {
    fn default() -> Self {
        Self { wait_timeout: Duration::from_secs(10), body_limit_bytes: BODY_LIMIT_BYTES, faucet: None }
    }
}

/// A running server; it stops when this is dropped.
#[derive(Debug)]
pub struct RpcServer {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
}

impl RpcServer {
    /// Where it listens, with the port that the system chose for port 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base address for clients.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Leaves the server running until the process or its runtime ends.
    pub fn detach(mut self) {
        if let Some(stop) = self.stop.take() {
            std::mem::forget(stop);
        }
    }
}

/// What request handlers share.
pub(crate) struct Rpc {
    pub(crate) localnet: Localnet,
    pub(crate) options: RpcOptions,
    pub(crate) address: SocketAddr,
    pub(crate) started: Instant,
    pub(crate) faucet: Option<FaucetState>,
}

/// Serves `localnet` at `address` on the current tokio runtime.
///
/// # Errors
/// When the address cannot be bound, for example because the port is in use.
pub async fn serve(localnet: Localnet, address: SocketAddr, options: RpcOptions) -> std::io::Result<RpcServer> {
    serve_on(localnet, tokio::net::TcpListener::bind(address).await?, options)
}

/// Serves `localnet` to whoever comes through `listener`, which may encrypt; several may serve one chain.
///
/// # Errors
/// When the listener has no address.
pub fn serve_on(localnet: Localnet, listener: impl Listener<Addr = SocketAddr>, options: RpcOptions) -> std::io::Result<RpcServer> {
    let address = listener.local_addr()?;
    let router = router(localnet, options, address);
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(async move {
        let shutdown = async {
            // A forgotten sender never answers, a dropped one does at once.
            let _ = stopped.await;
        };
        if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(shutdown).await {
            tracing::error!(%error, "the RPC server ended");
        }
    });
    Ok(RpcServer { address, stop: Some(stop) })
}

/// The routes, for servers that have others besides.
fn router(localnet: Localnet, options: RpcOptions, address: SocketAddr) -> Router {
    let faucet = options.faucet.clone().map(FaucetState::new);
    let body_limit = DefaultBodyLimit::max(options.body_limit_bytes);
    let rpc = Arc::new(Rpc { localnet, options, address, started: Instant::now(), faucet });
    Router::new()
        .route("/", post(handle_post))
        .route("/status", get(handle_status))
        .route("/health", get(handle_health))
        .route("/faucet", post(crate::faucet::handle))
        .layer(body_limit)
        .layer(CorsLayer::permissive())
        .with_state(rpc)
}

fn json_response(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

async fn handle_status(State(rpc): State<Arc<Rpc>>) -> Response {
    match rpc.blocking(Rpc::status).await {
        Ok(status) => json_response(StatusCode::OK, &status),
        Err(error) => json_response(StatusCode::INTERNAL_SERVER_ERROR, &json!({ "error": error.to_string() })),
    }
}

async fn handle_health() -> Response {
    json_response(StatusCode::OK, &Value::Null)
}

async fn handle_post(State(rpc): State<Arc<Rpc>>, body: Bytes) -> Response {
    let request: Value = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => {
            let answer = answer(&Value::Null, Err(RpcError::parse_error(error.to_string())));
            return json_response(StatusCode::BAD_REQUEST, &answer);
        }
    };
    let Value::Array(batch) = request else {
        return json_response(StatusCode::OK, &rpc.answer_one(request).await);
    };
    if batch.is_empty() || batch.len() > BATCH_LIMIT {
        let error = RpcError::parse_error(format!("a batch has 1 to {BATCH_LIMIT} requests"));
        return json_response(StatusCode::BAD_REQUEST, &answer(&Value::Null, Err(error)));
    }
    let mut answers = Vec::with_capacity(batch.len());
    for request in batch {
        answers.push(rpc.answer_one(request).await);
    }
    json_response(StatusCode::OK, &Value::Array(answers))
}

fn answer(id: &Value, result: Result<Value, RpcError>) -> Value {
    match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "result": result, "id": id }),
        Err(error) => json!({ "jsonrpc": "2.0", "error": error, "id": id }),
    }
}

/// What a handler gives.
pub(crate) type Answer = Result<Value, RpcError>;

impl Rpc {
    async fn answer_one(self: &Arc<Self>, request: Value) -> Value {
        let id = request.get("id").cloned().unwrap_or(Value::Null);
        let version = request.get("jsonrpc").and_then(Value::as_str);
        let Some(method) = request.get("method").and_then(Value::as_str).filter(|_| version == Some("2.0")) else {
            let error = RpcError::parse_error("JSON RPC Request format was expected".to_owned());
            return answer(&id, Err(error));
        };
        let params = request.get("params").cloned().unwrap_or(Value::Null);
        answer(&id, self.call(method, params).await)
    }

    async fn call(self: &Arc<Self>, method: &str, params: Value) -> Answer {
        match method {
            "status" => self.blocking(Self::status).await,
            "health" => Ok(Value::Null),
            "network_info" => Ok(info::network_info()),
            "gas_price" => self.blocking(move |rpc| rpc.gas_price(params)).await,
            "validators" => self.blocking(Self::validators).await,
            "EXPERIMENTAL_validators_ordered" => Ok(Value::Array(Vec::new())),
            "EXPERIMENTAL_protocol_config" => self.blocking(Self::protocol_config).await,
            "EXPERIMENTAL_genesis_config" | "genesis_config" => self.blocking(Self::genesis_config).await,
            "block" => self.blocking(move |rpc| rpc.block(params)).await,
            "chunk" => self.blocking(move |rpc| rpc.chunk(params)).await,
            "EXPERIMENTAL_receipt" => self.blocking(move |rpc| rpc.receipt(params)).await,
            "query" => self.blocking(move |rpc| rpc.query(params)).await,
            "EXPERIMENTAL_view_account"
            | "EXPERIMENTAL_view_code"
            | "EXPERIMENTAL_view_state"
            | "EXPERIMENTAL_view_access_key"
            | "EXPERIMENTAL_view_access_key_list"
            | "EXPERIMENTAL_call_function" => {
                let method = method.to_owned();
                self.blocking(move |rpc| rpc.typed_query(&method, params)).await
            }
            "broadcast_tx_async" => self.blocking(move |rpc| rpc.broadcast_async(params)).await,
            "broadcast_tx_commit" => self.broadcast_commit(params).await,
            "send_tx" => self.send_tx(params).await,
            "tx" => self.tx(params, false).await,
            "EXPERIMENTAL_tx_status" | "tx_status" => self.tx(params, true).await,
            "sandbox_fast_forward" => self.blocking(move |rpc| rpc.fast_forward(params)).await,
            "sandbox_patch_state" => self.blocking(move |rpc| rpc.patch_state(params)).await,
            other => Err(RpcError::method_not_found(other.to_owned())),
        }
    }

    /// Runs work that locks the chain off the threads that serve sockets.
    pub(crate) async fn blocking(self: &Arc<Self>, work: impl FnOnce(&Self) -> Answer + Send + 'static) -> Answer {
        let rpc = Arc::clone(self);
        match tokio::task::spawn_blocking(move || work(&rpc)).await {
            Ok(answer) => answer,
            Err(error) => Err(internal(&error)),
        }
    }
}

/// An error that is this server's fault.
pub(crate) fn internal(error: &dyn std::error::Error) -> RpcError {
    tracing::error!(%error, "a request failed");
    RpcError::new_internal_error(None, error.to_string())
}

pub(crate) fn to_value(value: &impl serde::Serialize) -> Answer {
    serde_json::to_value(value).map_err(|error| RpcError::serialization_error(error.to_string()))
}
