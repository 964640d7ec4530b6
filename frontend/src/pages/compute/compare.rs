//! Offers beside each other: prices, speed, reliability by the chain, limits.

use super::{compared, kind_word, rent_address, threads};
use crate::{
    api::{Outcome, chain},
    app::shared,
    components::{
        hub::Address,
        ui::{MaybeProblem, Money},
    },
    pages::polled,
};
use leptos::prelude::*;
use leptos_router::components::A;
use starling_browse::{axis::grouped_rate, offers::Wanted};
use starling_contract_api::compute::{Compute, Standing};
use starling_http_api::{network::NetworkInfo, node::OfferView};
use starling_primitives::{DurationMs, NodeId};
use starling_protocol::reputation::Reputation;
use std::{collections::BTreeMap, time::Duration};

/// Figures of the chain fade by the day; reading them again after a minute is enough.
const AGAIN: Duration = Duration::from_secs(60);
/// What a whole round or lease counts in the figures.
const MILLIONTHS: u64 = 1_000_000;

/// The score, and whether anything is behind it.
fn score(Standing { score, figures }: &Standing) -> String {
    let nothing = Reputation { day: figures.day, ..Default::default() };
    if *figures == nothing { format!("no record yet ({score})") } else { score.to_string() }
}

/// The score with what it follows from.
pub(crate) fn reputation_words(standing: &Standing) -> String {
    let figures = &standing.figures;
    let rounds = (figures.rounds + figures.missed_rounds) / MILLIONTHS;
    let leases = (figures.leases_kept + figures.leases_missed + figures.leases_left) / MILLIONTHS;
    match (rounds, leases) {
        (0, 0) => score(standing),
        _ => format!("{}, by {rounds} rounds and {leases} leases of late", standing.score),
    }
}

async fn standings(network: &NetworkInfo, nodes: Vec<NodeId>) -> Outcome<BTreeMap<NodeId, Standing>> {
    let compute = Compute(network.deployment.compute.clone());
    let mut all = BTreeMap::new();
    for node in nodes {
        all.insert(node, chain::view(&network.rpc_url, &compute.reputation(node)).await?);
    }
    Ok(all)
}

#[component]
pub(super) fn Compare(offers: RwSignal<Option<Vec<OfferView>>>, address: Address) -> impl IntoView {
    let shared = shared();
    let chosen = Memo::new(move |_| {
        let numbers = compared(address);
        offers.with(|offers| {
            let find = |number| offers.iter().flatten().find(|offer| offer.offer.id == number).cloned();
            numbers.into_iter().filter_map(find).collect::<Vec<OfferView>>()
        })
    });
    let nodes = Memo::new(move |_| chosen.with(|chosen| chosen.iter().map(|offer| offer.node.node.id).collect::<Vec<_>>()));
    let (known, failure) = polled(AGAIN, move || {
        let (network, nodes) = (shared.network.get(), nodes.get());
        async move {
            match network {
                Some(network) => standings(&network, nodes).await,
                None => Ok(BTreeMap::new()),
            }
        }
    });
    let standing = move |offer: &OfferView| known.with(|known| known.as_ref()?.get(&offer.node.node.id).cloned());
    let clear = move |_| {
        let wanted = untrack(|| address.read(|address| Wanted::read(address)));
        address.say(&wanted.say(), &super::CARRIED);
    };
    view! {
        <section class="card" aria-label="Compare"><div class="row between"><h2>"Compared"</h2><button type="button" class="button small" on:click=clear>"End comparison"</button></div>
            {move || {
                let chosen = chosen.get();
                let row = |label: &'static str, cell: &dyn Fn(&OfferView) -> AnyView| view! { <tr><th scope="row">{label}</th>{chosen.iter().map(|offer| view! { <td class="num">{cell(offer)}</td> }).collect_view()}</tr> };
                let figure = |cell: fn(&Standing) -> String| move |offer: &OfferView| standing(offer).map_or_else(|| "reading".to_owned(), |standing| cell(&standing)).into_any();
                view! { <div class="scroll" tabindex="0" role="region" aria-label="Compared offers"><table class="compared" style=format!("--offers: {}", chosen.len())>
                    <thead><tr><th>"Offer"</th>{chosen.iter().map(|offer| view! { <th class="num">{format!("Node {}, offer {}", offer.node.node.id, offer.offer.id)}</th> }).collect_view()}</tr></thead>
                    <tbody>
                        {row("Provider", &|offer| offer.offer.provider.to_string().into_any())}
                        {row("Price an hour", &|offer| view! { <Money asset=offer.offer.terms.asset.clone() amount=offer.offer.terms.price_per_hour /> }.into_any())}
                        {row("Price a million tokens", &|offer| view! { <Money asset=offer.offer.terms.asset.clone() amount=offer.offer.terms.price_per_million_tokens /> }.into_any())}
                        {row("Tokens/s (measured)", &|offer| offer.node.measured_tokens_per_second.map_or_else(|| "not yet".to_owned(), grouped_rate).into_any())}
                        {row("Matrix rate (declared)", &|offer| format!("{} GFLOP/s", offer.node.node.capability.matrix_gflops).into_any())}
                        {row("Device (declared)", &|offer| format!("{}, {}", kind_word(offer.node.node.capability.kind), offer.node.node.capability.device).into_any())}
                        {row("Memory, threads (declared)", &|offer| format!("{} GiB, {}", offer.node.node.capability.memory_bytes >> 30, threads(offer.node.node.capability.threads)).into_any())}
                        {row("Reputation", &figure(score))}
                        {row("Rounds", &figure(|standing| format!("{} kept, {} missed", standing.figures.rounds / MILLIONTHS, standing.figures.missed_rounds / MILLIONTHS)))}
                        {row("Leases", &figure(|standing| format!("{} kept, {} broken off", standing.figures.leases_kept / MILLIONTHS, (standing.figures.leases_missed + standing.figures.leases_left) / MILLIONTHS)))}
                        {row("Tenants said no", &figure(|standing| format!("{} objected, {} refused the result", standing.figures.objections / MILLIONTHS, standing.figures.refusals / MILLIONTHS)))}
                        {row("Leases it takes", &|offer| format!("{} to {}", offer.offer.terms.min_lease, offer.offer.terms.max_lease).into_any())}
                        {row("A service may sign", &|offer| match offer.offer.terms.objection_window { DurationMs(0) => "no".to_owned(), window => format!("yes, {window} to object") }.into_any())}
                        {row("Bond behind a promise", &|offer| if offer.offer.terms.sla.is_some() { "yes" } else { "none" }.into_any())}
                        {row("To the quote", &|offer| view! { <A href=rent_address(address, offer.offer.id) attr:class="button small">"Rent"</A> }.into_any())}
                    </tbody>
                </table></div> }
            }}
            <p class="faint">"Reputation and its figures are read from the chain and fade with time; what is declared nobody has checked."</p>
            <MaybeProblem failure />
        </section>
    }
}
