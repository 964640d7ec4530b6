//! The network: chain, contracts, fee, coordinator, nodes.

use super::polled;
use crate::{
    api::{chain, coordinator},
    app::shared,
    components::ui::{Ago, Empty, Id, MaybeProblem},
};
use leptos::prelude::*;
use starling_http_api::{node::NodeView, path};
use std::time::Duration;

#[component]
pub(crate) fn Network() -> impl IntoView {
    let shared = shared();
    let (status, failure) = polled(Duration::from_secs(3), move || {
        let network = shared.network.get();
        async move {
            let Some(network) = network else { return Ok(None) };
            chain::status(&network.rpc_url).await.map(Some)
        }
    });
    let (nodes, nodes_failure) = polled(Duration::from_secs(3), || coordinator::get::<Vec<NodeView>>(path::NODES));
    view! {
        <header><div><h1>"Network"</h1><p>"Where the money lives and who is connected."</p></div></header>
        <MaybeProblem failure />
        {move || shared.network.get().map(|network| {
            let right = move || status.get().flatten().map(|(chain_id, height)| (chain_id == shared.network.get().map(|network| network.deployment.chain_id).unwrap_or_default(), height));
            view! {
                <section class="card" aria-label="Chain"><h2>"Chain and contracts"</h2><dl class="pairs">
                    <dt>"Network"</dt><dd>{network.name.clone()}</dd>
                    <dt>"Chain"</dt><dd class="mono">{network.deployment.chain_id.clone()}</dd>
                    <dt>"State"</dt><dd>{move || match right() { None => view! { <span class="chip">"asking"</span> }.into_any(), Some((true, height)) => view! { <span class="chip good">"answers, block "{height}</span> }.into_any(), Some((false, _)) => view! { <span class="chip bad">"another chain answers: do not sign anything"</span> }.into_any() }}</dd>
                    <dt>"Fee"</dt><dd class="num">{network.fee.to_string()}" of what is earned"</dd>
                    <dt>"Billing"</dt><dd class="mono">{network.deployment.billing.to_string()}</dd>
                    <dt>"Compute"</dt><dd class="mono">{network.deployment.compute.to_string()}</dd>
                    <dt>"Hub"</dt><dd class="mono">{network.deployment.hub.to_string()}</dd>
                    <dt>"Market"</dt><dd class="mono">{network.deployment.market.to_string()}</dd>
                    <dt>"Coordinator"</dt><dd><span class="mono">{network.coordinator.to_string()}</span>", version "{network.version.clone()}</dd>
                    <dt>"RPC"</dt><dd><Id text=network.rpc_url.clone() /></dd>
                </dl></section>
            }
        })}
        <section class="stack" aria-label="Nodes"><h2>"Nodes"</h2>
            <MaybeProblem failure=nodes_failure />
            {move || match nodes.get() {
                None => view! { <div class="skeleton" style="height: 80px" aria-hidden="true"></div> }.into_any(),
                Some(nodes) if nodes.is_empty() => view! { <Empty><p>"No node is registered yet. A provider adds one with `starling node setup`."</p></Empty> }.into_any(),
                Some(nodes) => view! { <div class="scroll"><table class="stacked"><thead><tr><th>"Node"</th><th>"Provider"</th><th>"State"</th><th class="num">"Rounds"</th><th>"Heard"</th></tr></thead><tbody>
                    {nodes.into_iter().map(|node| view! { <tr><td data-label="Node" class="num">{node.node.id.0}</td><td data-label="Provider" class="mono">{node.node.provider.to_string()}</td><td data-label="State"><span class=if node.connected { "chip alive" } else { "chip warn" }>{if node.connected { node.busy.clone() } else { "not connected".to_owned() }}</span></td><td data-label="Rounds" class="num">{node.rounds}</td><td data-label="Heard"><Ago at=node.heard_at /></td></tr> }).collect_view()}
                </tbody></table></div> }.into_any(),
            }}
        </section>
    }
}
