//! Leases: lists, views, and the meter's signature. What a lease's job says and gives is for its tenant only.

use super::{
    App, ListQuery,
    extract::{JsonBody, Path, Query},
};
use crate::{board::lease_view, engine::Command, problem::Fault};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, Method, StatusCode},
};
use starling_http_api::lease::{LeaseMeterSignature, LeaseView, PendingLeaseStatement};
use starling_primitives::{AccountId, LeaseId};
use starling_protocol::lease::Lease;
use std::sync::Arc;
use tokio::sync::oneshot;

pub(super) async fn leases(
    State(app): State<App>,
    method: Method,
    headers: HeaderMap,
    Query(query): Query<ListQuery>,
) -> Result<Json<Vec<LeaseView>>, Fault> {
    let viewer = app.auth.session(&headers, &method).await?.map(|(account, _)| account);
    let facts = app.facts().borrow().clone();
    let shown = app.tools.board.read();
    let wanted = |lease: &&Arc<Lease>| {
        query.before.is_none_or(|before| lease.id.0 < before) && query.tenant.as_ref().is_none_or(|tenant| lease.tenant == *tenant)
    };
    let view = |lease: &Arc<Lease>| for_viewer(lease_view(lease, &shown, &app.tools.hub), viewer.as_ref());
    Ok(Json(facts.leases.values().rev().filter(wanted).take(query.limit()).map(view).collect()))
}

pub(super) async fn lease(
    State(app): State<App>,
    Path(lease_id): Path<LeaseId>,
    method: Method,
    headers: HeaderMap,
) -> Result<Json<LeaseView>, Fault> {
    let viewer = app.auth.session(&headers, &method).await?.map(|(account, _)| account);
    let lease = find(&app, lease_id).await?;
    let shown = app.tools.board.read();
    Ok(Json(for_viewer(lease_view(&lease, &shown, &app.tools.hub), viewer.as_ref())))
}

pub(super) async fn statement(State(app): State<App>, Path(lease_id): Path<LeaseId>) -> Result<Json<PendingLeaseStatement>, Fault> {
    let pending = app.tools.board.read().leases.get(&lease_id).and_then(|work| work.pending.clone());
    pending.map(Json).ok_or_else(|| Fault::not_found("statement that waits"))
}

pub(super) async fn sign(
    State(app): State<App>,
    Path(lease_id): Path<LeaseId>,
    JsonBody(signed): JsonBody<LeaseMeterSignature>,
) -> Result<StatusCode, Fault> {
    let (answer, outcome) = oneshot::channel();
    app.engine
        .send(Command::LeaseMeter { lease_id, seq: signed.seq, signature: signed.signature, answer })
        .await
        .map_err(Fault::internal)?;
    outcome.await.map_err(Fault::internal)??;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn find(app: &App, lease_id: LeaseId) -> Result<Arc<Lease>, Fault> {
    let known = app.facts().borrow().leases.get(&lease_id).cloned();
    match known {
        Some(lease) => Ok(lease),
        None => app.tools.chain.lease(lease_id).await?.map(Arc::new).ok_or_else(|| Fault::not_found("lease")),
    }
}

fn for_viewer(view: LeaseView, viewer: Option<&AccountId>) -> LeaseView {
    if viewer == Some(&view.lease.tenant) {
        return view;
    }
    LeaseView { job: None, output: String::new(), metrics: Vec::new(), report: None, setup: None, failure: None, ..view }
}
