//! The compute hub: offers of connected nodes; filters, order, page and what is compared stand in the address.

mod compare;

use super::polled;
use crate::{
    api::coordinator,
    app::shared,
    components::{
        hub::{Address, Choose, Pager},
        ui::{Ago, Empty, MaybeProblem, Money, of_at_most},
    },
    pages::lease,
};
use compare::Compare;
pub(crate) use compare::reputation_words;
use leptos::prelude::*;
use leptos_router::components::A;
use starling_browse::{
    axis::grouped_rate,
    offers::{MAX_COMPARED, Wanted},
};
use starling_http_api::{lease::LeaseView, node::OfferView, path};
use starling_primitives::OfferId;
use starling_protocol::node::DeviceKind;
use std::time::Duration;

/// What the address hands on to the page that rents.
const CARRIED: [&str; 3] = ["model", "tool", "task"];
/// What stays when a filter changes.
const KEPT: [&str; 4] = ["model", "tool", "task", "compare"];

pub(crate) fn kind_word(kind: DeviceKind) -> &'static str {
    match kind {
        DeviceKind::Cpu => "CPU",
        DeviceKind::Nvidia => "NVIDIA",
        DeviceKind::Amd => "AMD",
    }
}

/// How many threads a machine has.
pub(crate) fn threads(count: u16) -> String {
    if count == 1 { "1 thread".to_owned() } else { format!("{count} threads") }
}

/// The way to the page that rents an offer, with what the address carries.
fn rent_address(address: Address, offer: OfferId) -> String {
    let carried = CARRIED.map(|name| (name, address.value(name)));
    let said: Vec<_> = carried.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| format!("{name}={value}")).collect();
    if said.is_empty() { format!("/compute/rent/{offer}") } else { format!("/compute/rent/{offer}?{}", said.join("&")) }
}

/// The offers that are compared, by number.
fn compared(address: Address) -> Vec<OfferId> {
    address.value("compare").split(',').filter_map(|number| number.parse().ok()).take(MAX_COMPARED).collect()
}

#[component]
pub(crate) fn Compute() -> impl IntoView {
    let shared = shared();
    let address = Address::here();
    let (offers, failure) = polled(Duration::from_secs(3), || coordinator::get::<Vec<OfferView>>(path::OFFERS));
    let (leases, _) = polled(Duration::from_secs(3), move || {
        let account = shared.account();
        async move {
            let Some(account) = account else { return Ok(Vec::new()) };
            coordinator::get::<Vec<LeaseView>>(&format!("{}?tenant={account}", path::LEASES)).await
        }
    });
    let wanted = Memo::new(move |_| address.read(|address| Wanted::read(address)));
    let say = move |wanted: Wanted| address.say(&wanted.say(), &KEPT);
    // Another filter begins at its first page.
    let change = move |change: &dyn Fn(&mut Wanted)| {
        let mut wanted = Wanted { page: 1, ..wanted.get_untracked() };
        change(&mut wanted);
        say(wanted);
    };
    let shown = Memo::new(move |_| offers.with(|offers| offers.as_ref().map(|offers| wanted.get().choose(offers))));
    view! {
        <header><div><h1>"Compute"</h1><p>"Machines that are connected now. Rented time is metered: you pay for the time that both sides signed, never more than the quote."</p></div><A href="/provider" attr:class="button">"My nodes"</A></header>
        <div class="row filters">
            <Choose label="Device" value=Signal::derive(move || wanted.get().device) choose=move |device| change(&|wanted| wanted.device = device) />
            <Choose label="Kind" value=Signal::derive(move || wanted.get().class) choose=move |class| change(&|wanted| wanted.class = class) />
            <label class="field">"Memory, GiB at least"<input type="number" min="0" max="4096" prop:value=move || Some(wanted.get().memory_gib).filter(|gib| *gib > 0).map(|gib| gib.to_string()).unwrap_or_default() on:change:target=move |event| { let gib = event.target().value().parse().unwrap_or(0); change(&|wanted| wanted.memory_gib = gib) } /></label>
            <Choose label="Sort by" value=Signal::derive(move || wanted.get().order) choose=move |order| change(&|wanted| wanted.order = order) />
            <label class="row"><input type="checkbox" prop:checked=move || wanted.get().idle on:change:target=move |event| { let idle = event.target().checked(); change(&|wanted| wanted.idle = idle) } />"Idle now"</label>
        </div>
        <MaybeProblem failure />
        {move || (!compared(address).is_empty()).then(|| view! { <Compare offers address /> })}
        {move || shown.get().map(|page| view! { <Pager page what=["offer fits", "offers fit"] go=move |page| say(Wanted { page, ..wanted.get_untracked() }) /> })}
        {move || match (shown.get(), offers.with(|offers| offers.as_ref().is_some_and(Vec::is_empty))) {
            (None, _) => view! { <div class="skeleton" style="height: 160px" aria-hidden="true"></div> }.into_any(),
            (Some(page), none) if page.total == 0 => view! { <Empty>{if none {
                view! { <p>"No node offers work now. Offers appear when a provider's node connects."</p><A href="/provider" attr:class="button">"Offer a machine of yours"</A> }.into_any()
            } else {
                view! { <p>"No offer of a connected node fits these filters."</p><A href="/compute" attr:class="button">"Show all offers"</A> }.into_any()
            }}</Empty> }.into_any(),
            (Some(page), _) => view! {
                <div class="scroll"><table class="stacked">
                    <thead><tr><th>"Node"</th><th>"Device (declared)"</th><th class="num">"Matrix rate (declared)"</th><th class="num">"Tokens/s (measured)"</th><th class="num">"Rounds counted"</th><th class="num">"Price an hour"</th><th class="num">"Price a million tokens"</th><th>"Now"</th><td></td></tr></thead>
                    <tbody>{page.items.into_iter().filter_map(|place| offers.with_untracked(|offers| offers.as_ref()?.get(place).cloned())).map(|offer| view! { <OfferRow offer address /> }).collect_view()}</tbody>
                </table></div>
            }.into_any(),
        }}
        {move || leases.get().filter(|leases| !leases.is_empty()).map(|leases| view! {
            <section class="stack"><h2>"My leases"</h2><div class="cards">{leases.into_iter().map(|view| view! {
                <article class="card"><div class="row between"><h3><A href=format!("/leases/{}", view.lease.id)>"Lease "{view.lease.id.0}</A></h3><span class=lease::chip(&view)>{view.lease.state.name()}</span></div>
                <p class="num soft">{of_at_most(&shared.words(&view.lease.asset, view.earned), &shared.words(&view.lease.asset, view.lease.deposit))}</p></article>
            }).collect_view()}</div></section>
        })}
    }
}

#[component]
fn OfferRow(offer: OfferView, address: Address) -> impl IntoView {
    let (node, id) = (offer.node, offer.offer.id);
    let (idle, asset) = (node.busy == "idle", offer.offer.terms.asset.clone());
    let chosen = move || compared(address).contains(&id);
    let full = move || !chosen() && compared(address).len() >= MAX_COMPARED;
    let toggle = move |_| {
        let mut numbers = compared(address);
        if chosen() {
            numbers.retain(|number| *number != id);
        } else {
            numbers.push(id);
        }
        let numbers = numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        let wanted = untrack(|| address.read(|address| Wanted::read(address)));
        let pairs: Vec<_> = wanted.say().into_iter().chain([("compare", numbers)]).collect();
        address.say(&pairs, &CARRIED);
    };
    view! {
        <tr>
            <td data-label="Node" class="num"><div>{node.node.id.0}<br /><span class="faint whole">{offer.offer.provider.to_string()}</span></div></td>
            <td data-label="Device (declared)"><div>{kind_word(node.node.capability.kind)}<br /><span class="faint">{node.node.capability.device.to_string()}", "<span class="whole">{threads(node.node.capability.threads)}</span>", "<span class="whole">{node.node.capability.memory_bytes >> 30}" GiB"</span></span></div></td>
            <td data-label="Matrix rate (declared)" class="num"><div>{node.node.capability.matrix_gflops}" GFLOP/s"</div></td>
            <td data-label="Tokens/s (measured)" class="num">{node.measured_tokens_per_second.map_or_else(|| "not yet".to_owned(), grouped_rate)}</td>
            <td data-label="Rounds counted" class="num">{node.rounds}</td>
            <td data-label="Price an hour" class="num"><Money asset=asset.clone() amount=offer.offer.terms.price_per_hour /></td>
            <td data-label="Price a million tokens" class="num"><Money asset amount=offer.offer.terms.price_per_million_tokens /></td>
            <td data-label="Now"><div><span class=if idle { "chip good" } else { "chip alive" }>{node.busy.clone()}</span><br /><Ago at=node.heard_at /></div></td>
            <td><div class="row end">
                <label class="row faint"><input type="checkbox" aria-label=format!("Compare offer {id}") prop:checked=chosen disabled=full on:change=toggle />"Compare"</label>
                <A href=rent_address(address, id) attr:class="button small">"Rent"</A>
            </div></td>
        </tr>
    }
}
