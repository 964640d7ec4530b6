//! Nodes, their machines, offers and history.

use super::{App, ListQuery, extract::Query};
use crate::{board::node_view, problem::Fault};
use axum::{
    Json,
    extract::State,
    http::{HeaderMap, Method},
};
use starling_http_api::{
    machine::MachineView,
    network::HistoryEntry,
    node::{NodeView, OfferView},
};

pub(super) async fn nodes(State(app): State<App>, Query(query): Query<ListQuery>) -> Json<Vec<NodeView>> {
    let facts = app.facts().borrow().clone();
    let shown = app.tools.board.read();
    let wanted = facts.nodes.values().filter(|node| query.provider.as_ref().is_none_or(|provider| node.provider == *provider));
    Json(wanted.take(1_000).map(|node| node_view(node, &facts, &shown, &app.tools.hub)).collect())
}

pub(super) async fn offers(State(app): State<App>) -> Json<Vec<OfferView>> {
    let facts = app.facts().borrow().clone();
    let shown = app.tools.board.read();
    let connected = facts.open_offers().filter(|offer| app.tools.hub.is_connected(offer.node_id));
    let view = |offer: &std::sync::Arc<starling_contract_api::compute::Offer>| {
        let node = facts.nodes.get(&offer.node_id)?;
        Some(OfferView {
            offer: starling_contract_api::compute::Offer::clone(offer),
            node: node_view(node, &facts, &shown, &app.tools.hub),
        })
    };
    Json(connected.filter_map(view).take(1_000).collect())
}

/// What a machine says of itself is for the owner of the machine.
pub(super) async fn machines(State(app): State<App>, method: Method, headers: HeaderMap) -> Result<Json<Vec<MachineView>>, Fault> {
    let account = app.auth.account(&headers, &method).await?;
    let facts = app.facts().borrow().clone();
    let own = facts.nodes.values().filter(|node| node.provider == account);
    Ok(Json(own.filter_map(|node| app.tools.hub.machine(node.id)).take(1_000).collect()))
}

/// The chain is public, but a person's whole story in one list is only for that person.
pub(super) async fn history(
    State(app): State<App>,
    method: Method,
    headers: HeaderMap,
    Query(query): Query<ListQuery>,
) -> Result<Json<Vec<HistoryEntry>>, Fault> {
    let account = app.auth.account(&headers, &method).await?;
    if query.account.as_ref().is_some_and(|asked| *asked != account) {
        return Err(Fault::not_found("history"));
    }
    let limit = query.limit.unwrap_or(50).min(200);
    Ok(Json(app.tools.db.history(&account, query.escrow, query.before, limit).await?))
}
