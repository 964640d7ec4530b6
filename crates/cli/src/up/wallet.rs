//! Serves the development wallet on an origin of its own, so that the dashboard's scripts cannot read its keys.

use super::port_error;
use anyhow::Result;
use axum::{Json, Router, http::HeaderValue, routing::get};
use serde_json::json;
use std::{net::SocketAddr, path::PathBuf, sync::Mutex};
use tokio::{net::TcpListener, task::JoinHandle};
use tower_http::{cors::CorsLayer, services::ServeDir};

pub(super) struct WalletServer {
    address: SocketAddr,
    folder: PathBuf,
    listener: Mutex<Option<TcpListener>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

impl WalletServer {
    pub(super) async fn bind(address: SocketAddr, folder: PathBuf) -> Result<Self> {
        let listener = TcpListener::bind(address).await.map_err(|error| port_error("wallet", address, error))?;
        Ok(Self { address: listener.local_addr()?, folder, listener: Mutex::new(Some(listener)), task: Mutex::new(None) })
    }

    /// Another host name than the dashboard's as well: near-connect compares host names, not ports.
    pub(super) fn url(&self) -> String {
        format!("http://localhost:{}", self.address.port())
    }

    /// Serves the wallet's files and its own settings; the wallet takes the chain from here, never from the dashboard.
    pub(super) fn serve(&self, rpc_url: &str, chain_id: &str, dashboard_origin: &str) {
        let settings = json!({"rpc_url": rpc_url, "chain_id": chain_id, "dashboard_origin": dashboard_origin, "faucet_root": "faucet.starling", "sponsor_root": super::chain::SPONSOR});
        let config = get(move || std::future::ready(Json(settings.clone())));
        let fresh = tower_http::set_header::SetResponseHeaderLayer::overriding(
            axum::http::header::CACHE_CONTROL,
            HeaderValue::from_static("no-cache"),
        );
        let router = Router::new()
            .route("/config.json", config)
            .fallback_service(ServeDir::new(&self.folder))
            .layer(CorsLayer::permissive())
            .layer(fresh);
        let Some(listener) = self.listener.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() else { return };
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the wallet's server ended");
            }
        });
        *self.task.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(task);
    }
}
