//! The compute hub: offers of connected nodes, filters in the address.

use super::polled;
use crate::{
    api::coordinator,
    app::shared,
    components::ui::{Ago, Empty, MaybeProblem, Money},
};
use leptos::prelude::*;
use leptos_router::{
    components::A,
    hooks::{use_navigate, use_query_map},
};
use starling_http_api::{lease::LeaseView, node::OfferView, path};
use starling_protocol::node::DeviceKind;
use std::time::Duration;

fn kind_word(kind: DeviceKind) -> &'static str {
    match kind {
        DeviceKind::Cpu => "CPU",
        DeviceKind::Nvidia => "NVIDIA",
        DeviceKind::Amd => "AMD",
    }
}

#[component]
pub(crate) fn Compute() -> impl IntoView {
    let shared = shared();
    let query = use_query_map();
    let value = move |name: &'static str| query.with(|query| query.get(name).unwrap_or_default());
    let (offers, failure) = polled(Duration::from_secs(3), || coordinator::get::<Vec<OfferView>>(path::OFFERS));
    let (leases, _) = polled(Duration::from_secs(3), move || {
        let account = shared.account();
        async move {
            let Some(account) = account else { return Ok(Vec::new()) };
            coordinator::get::<Vec<LeaseView>>(&format!("{}?tenant={account}", path::LEASES)).await
        }
    });
    let carried = move || {
        ["model", "tool"]
            .into_iter()
            .filter_map(|name| Some(value(name)).filter(|text| !text.is_empty()).map(|text| format!("{name}={text}")))
            .collect::<Vec<_>>()
            .join("&")
    };
    let navigate = use_navigate();
    let choose = move |kind: String, sort: String| {
        navigate(
            &format!("/compute?kind={kind}&sort={sort}&{}", carried()),
            leptos_router::NavigateOptions { replace: true, scroll: false, ..Default::default() },
        )
    };
    let choose_sort = choose.clone();
    let shown = move || {
        let kind = value("kind");
        offers.get().map(|mut offers| {
            offers.retain(|offer| kind.is_empty() || kind_word(offer.node.node.capability.kind) == kind);
            match value("sort").as_str() {
                "speed" => offers.sort_by_key(|offer| std::cmp::Reverse(offer.node.node.capability.matrix_gflops)),
                _ => offers.sort_by_key(|offer| offer.offer.terms.price_per_hour),
            }
            offers
        })
    };
    view! {
        <header><div><h1>"Compute"</h1><p>"Machines that are connected now. Rented time is metered: paid by the minute that both sides signed, never more than the quote."</p></div><A href="/provider" attr:class="button">"My nodes"</A></header>
        <div class="row">
            <label class="field">"Device"<select prop:value=move || value("kind") on:change:target=move |event| choose(event.target().value(), value("sort"))><option value="">"All"</option><option>"NVIDIA"</option><option>"AMD"</option><option>"CPU"</option></select></label>
            <label class="field">"Sort by"<select prop:value=move || value("sort") on:change:target=move |event| choose_sort(value("kind"), event.target().value())><option value="">"Price an hour"</option><option value="speed">"Matrix rate"</option></select></label>
        </div>
        <MaybeProblem failure />
        {move || match shown() {
            None => view! { <div class="skeleton" style="height: 160px" aria-hidden="true"></div> }.into_any(),
            Some(offers) if offers.is_empty() => view! { <Empty><p>"No offer of a connected node fits. Offers appear when a provider's node connects."</p></Empty> }.into_any(),
            Some(offers) => view! {
                <div class="scroll"><table class="stacked">
                    <thead><tr><th>"Node"</th><th>"Device (declared)"</th><th class="num">"Matrix rate (declared)"</th><th class="num">"Tokens/s (measured)"</th><th class="num">"An hour"</th><th class="num">"A million tokens"</th><th>"Now"</th><th>"Heard"</th><td></td></tr></thead>
                    <tbody>{offers.into_iter().map(|offer| view! { <OfferRow offer carried=carried() /> }).collect_view()}</tbody>
                </table></div>
            }.into_any(),
        }}
        {move || leases.get().filter(|leases| !leases.is_empty()).map(|leases| view! {
            <section class="stack"><h2>"My leases"</h2><div class="cards">{leases.into_iter().map(|view| view! {
                <article class="card"><div class="row between"><h3><A href=format!("/leases/{}", view.lease.id)>"Lease "{view.lease.id.0}</A></h3><span class="chip">{view.lease.state.name()}</span></div>
                <p class="num soft">{shared.words(&view.lease.asset, view.earned)}" of at most "{shared.words(&view.lease.asset, view.lease.deposit)}</p></article>
            }).collect_view()}</div></section>
        })}
    }
}

#[component]
fn OfferRow(offer: OfferView, carried: String) -> impl IntoView {
    let node = offer.node;
    let (idle, asset) = (node.busy == "idle", offer.offer.terms.asset.clone());
    view! {
        <tr>
            <td data-label="Node" class="num"><div>{node.node.id.0}<br /><span class="faint">{offer.offer.provider.to_string()}</span></div></td>
            <td data-label="Device (declared)"><div>{kind_word(node.node.capability.kind)}<br /><span class="faint">{node.node.capability.device.to_string()}", "{node.node.capability.threads}" threads, "{node.node.capability.memory_bytes >> 30}" GiB"</span></div></td>
            <td data-label="Matrix rate (declared)" class="num"><div>{node.node.capability.matrix_gflops}" GFLOP/s"</div></td>
            <td data-label="Tokens/s (measured)" class="num">{node.measured_tokens_per_second.map_or_else(|| "not yet".to_owned(), |rate| format!("{rate:.0}"))}</td>
            <td data-label="An hour" class="num"><Money asset=asset.clone() amount=offer.offer.terms.price_per_hour /></td>
            <td data-label="A million tokens" class="num"><Money asset amount=offer.offer.terms.price_per_million_tokens /></td>
            <td data-label="Now"><span class=if idle { "chip good" } else { "chip alive" }>{node.busy.clone()}</span></td>
            <td data-label="Heard"><Ago at=node.heard_at /></td>
            <td><A href=format!("/compute/rent/{}?{carried}", offer.offer.id) attr:class="button small">"Rent"</A></td>
        </tr>
    }
}
