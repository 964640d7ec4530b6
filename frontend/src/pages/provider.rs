//! The provider's view: my nodes with what they declare and what was measured, their offers, pause and resume, earnings and their withdrawal.

use super::polled;
use crate::{
    api::{Failure, Outcome, chain, coordinator, wallet},
    app::shared,
    components::ui::{Ago, Empty, Id, MaybeProblem, Money, NeedsLogin},
    pages::{
        billing::{Held, Moving, polled_held},
        network::node_state,
    },
};
use leptos::{prelude::*, task::spawn_local};
use leptos_router::components::A;
use starling_browse::axis::grouped_rate;
use starling_contract_api::{
    Call,
    compute::{Compute, Counts, MAX_PAGE, Offer, Standing},
};
use starling_http_api::{network::NetworkInfo, node::NodeView, path};
use starling_primitives::{AccountId, NodeId, OfferId};
use starling_protocol::node::{Capability, OfferTerms};
use std::{collections::BTreeSet, time::Duration};

#[component]
pub(crate) fn Provider() -> impl IntoView {
    view! {
        <header><div><h1>"My nodes"</h1><p>"What your machines declare, what was measured, what they earn. Their limits stand in their own configuration, which nobody else can change."</p></div><A href="/compute" attr:class="button">"All offers"</A></header>
        <NeedsLogin what="see your nodes"><Mine /></NeedsLogin>
    }
}

/// A node with what the chain says of it.
#[derive(Clone, PartialEq)]
struct MyNode {
    view: NodeView,
    standing: Standing,
    /// The newest offer first.
    offers: Vec<Offer>,
}

async fn my_nodes(network: &NetworkInfo, account: &AccountId) -> Outcome<Vec<MyNode>> {
    let (rpc, compute) = (&network.rpc_url, Compute(network.deployment.compute.clone()));
    let views: Vec<NodeView> = coordinator::get(&format!("{}?provider={account}", path::NODES)).await?;
    let ids: BTreeSet<_> = views.iter().map(|view| view.node.id).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let (count, mut from, mut offers) = (chain::view(rpc, &compute.counts()).await?.offers, 1, Vec::new());
    while from <= count {
        let page = chain::view(rpc, &compute.offers(from, MAX_PAGE)).await?;
        from = Counts::next(from, page.last().map(|offer| offer.id.0));
        offers.extend(page.into_iter().filter(|offer| ids.contains(&offer.node_id)));
    }
    let mut nodes = Vec::with_capacity(views.len());
    for view in views {
        let standing = chain::view(rpc, &compute.reputation(view.node.id)).await?;
        let offers = offers.iter().rev().filter(|offer| offer.node_id == view.node.id).cloned().collect();
        nodes.push(MyNode { view, standing, offers });
    }
    Ok(nodes)
}

#[component]
fn Mine() -> impl IntoView {
    let shared = shared();
    let (nodes, failure) = polled(Duration::from_secs(4), move || {
        let (network, account) = (shared.network.get(), shared.account());
        async move {
            let (Some(network), Some(account)) = (network, account) else { return Ok(None) };
            my_nodes(&network, &account).await.map(Some)
        }
    });
    let (held, held_failure) = polled_held();
    let setup = move || {
        let (network, coordinator) = (shared.network.get()?, window().location().origin().ok()?);
        Some(format!("starling node setup --coordinator {coordinator} --rpc {} --provider-key KEY_FILE", network.rpc_url))
    };
    view! {
        <MaybeProblem failure />
        {move || match nodes.get().flatten() {
            None => view! { <div class="skeleton" style="height: 200px" aria-hidden="true"></div> }.into_any(),
            Some(nodes) if nodes.is_empty() => view! { <Empty><p>"No node of this account is registered. On the machine that shall earn, run this with your account's key file:"</p>{move || setup().map(|command| view! { <pre class="log" tabindex="0" style="text-align: left">{command.clone()}</pre><p><Id text=command label="Copy the command" /></p> })}</Empty> }.into_any(),
            Some(nodes) => view! { <div class="cards">{nodes.into_iter().map(|node| view! { <NodeCard node /> }).collect_view()}</div> }.into_any(),
        }}
        <MaybeProblem failure=held_failure />
        <div class="split">
            <Earnings held />
            <Moving held />
        </div>
    }
}

/// What is free on the account's balance: pay arrives there, if the node's pay goes to this account.
#[component]
fn Earnings(held: Memo<Option<Held>>) -> impl IntoView {
    view! {
        <section class="card" aria-label="Free on your balance"><h2>"Free on your balance"</h2>
            {move || match held.get() {
                None => view! { <div class="skeleton" style="height: 48px" aria-hidden="true"></div> }.into_any(),
                Some(held) => match held.record {
                    None => view! { <p class="soft">"This account is not registered in billing yet: nothing was paid to it."</p> }.into_any(),
                    Some(record) => view! {
                        <ul class="stack">{record.balances.into_iter().map(|(asset, amount)| view! { <li class="at-most num" style="font-size: 20px"><Money asset amount /></li> }).collect_view()}</ul>
                        <p class="faint">"What you put there and what was paid to you. Pay for rounds and leases arrives here, after the fee. A tenth of it, and what a delegate signed, waits in the tenant's escrow until it is final."</p>
                        <div class="row"><A href="/billing?kind=earnings" attr:class="button small">"Earnings in Billing"</A></div>
                    }.into_any(),
                },
            }}
        </section>
    }
}

/// What a provider does with a node.
enum Act {
    /// Take these offers back.
    Pause(Vec<OfferId>),
    /// Offer it again at these terms.
    Resume(OfferTerms),
    /// Take it out of service for good.
    Retire,
}

/// One approval for all of it.
async fn send(network: &NetworkInfo, id: NodeId, act: Act) -> Outcome<()> {
    let compute = Compute(network.deployment.compute.clone());
    let calls: Vec<Call> = match act {
        Act::Pause(offers) => offers.into_iter().map(|offer| compute.close_offer(offer)).collect(),
        Act::Resume(terms) => {
            let storage = chain::view(&network.rpc_url, &compute.storage_price()).await?;
            vec![compute.create_offer(id, &terms, storage)]
        }
        Act::Retire => vec![compute.retire_node(id)],
    };
    match calls.as_slice() {
        [call] => wallet::send(call).await.map(|_| ()),
        several => wallet::send_all(several).await.map(|_| ()),
    }
}

#[component]
fn NodeCard(node: MyNode) -> impl IntoView {
    let shared = shared();
    let (failure, busy) = (RwSignal::new(None::<Failure>), RwSignal::new(false));
    let MyNode { view: shown, standing, offers } = node;
    let id = shown.node.id;
    let (class, state) = node_state(&shown);
    let open: Vec<Offer> = offers.iter().filter(|offer| !offer.closed).cloned().collect();
    let last = offers.first().cloned();
    let (paused, retired, payout) = (open.is_empty(), shown.node.retired, shown.node.payout.clone());
    let act = move |act: Act| {
        let Some(network) = shared.network_now() else { return };
        busy.set(true);
        failure.set(None);
        spawn_local(async move {
            failure.try_set(send(&network, id, act).await.err());
            busy.try_set(false);
        });
    };
    let closing: Vec<OfferId> = open.iter().map(|offer| offer.id).collect();
    let pause = move |_| act(Act::Pause(closing.clone()));
    let resume = move |_| {
        if let Some(offer) = &last {
            act(Act::Resume(offer.terms.clone()));
        }
    };
    let retiring = RwSignal::new(false);
    let retire = move |_| {
        retiring.set(false);
        act(Act::Retire);
    };
    let capability = shown.node.capability.clone();
    view! {
        <article class="card" aria-label=format!("Node {id}")>
            <div class="row between"><h2>"Node "{id.0}</h2><span class=class>{state}</span></div>
            <dl class="pairs">
                <dt>"Device (declared)"</dt><dd>{capability.device.to_string()}</dd>
                <dt>"Limits (declared)"</dt><dd class="num">{machine(&capability)}</dd>
                <dt>"Tokens/s (measured)"</dt><dd class="num">{shown.measured_tokens_per_second.map_or_else(|| "not yet".to_owned(), grouped_rate)}</dd>
                <dt>"Rounds that counted"</dt><dd class="num">{shown.rounds}</dd>
                <dt>"Reputation"</dt><dd class="num">{standing.score.to_string()}</dd>
                <dt>"Stake"</dt><dd class="num">{shown.node.stake.as_ref().map_or_else(|| "none".to_owned(), |stake| format!("{}{}", stake.amount.display_near(), if stake.confirmed { "" } else { ", not confirmed" }))}</dd>
                <dt>"Pay goes to"</dt><dd class="mono">{payout.to_string()}</dd>
                <dt>"Heard"</dt><dd><Ago at=shown.heard_at /></dd>
            </dl>
            {open.into_iter().map(|offer| view! { <OfferLine offer /> }).collect_view()}
            {match (retired, paused) {
                (true, _) => view! { <p class="note">"Retired: it takes no new work, ever. A new node can be set up on the same machine."</p> }.into_any(),
                (false, true) => view! { <p class="note warn" role="status">"Paused: it has no offer, so it takes no new work. Work under way goes on."</p> }.into_any(),
                (false, false) => ().into_any(),
            }}
            {(!retired).then(|| view! { <div class="row">
                {if paused { offers.first().map(|_| view! { <button class="button primary" disabled=move || busy.get() on:click=resume>"Offer it again"</button> }).into_any() } else { view! { <button class="button" disabled=move || busy.get() on:click=pause>"Pause: take no new work"</button> }.into_any() }}
                {move || (!retiring.get()).then(|| view! { <button class="button danger" disabled=move || busy.get() on:click=move |_| retiring.set(true)>"Retire for good"</button> })}
            </div> })}
            {move || retiring.get().then(|| view! {
                <p>{format!("Retire node {id}? It takes no work ever again. Work under way goes on, and what it earned stays yours.")}</p>
                <div class="row"><button class="button danger" on:click=retire>{format!("Retire node {id}")}</button><button class="button" on:click=move |_| retiring.set(false)>"Keep it"</button></div>
            })}
            <MaybeProblem failure />
        </article>
    }
}

/// Threads and memory in words.
#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
pub(crate) fn machine(capability: &Capability) -> String {
    let (threads, gibibytes) = (capability.threads, capability.memory_bytes as f64 / f64::from(1_u32 << 30));
    format!("{threads} thread{}, {gibibytes:.1} GiB of memory", if threads == 1 { "" } else { "s" })
}

#[component]
fn OfferLine(offer: Offer) -> impl IntoView {
    let (hour, million, window) = (offer.terms.asset.clone(), offer.terms.asset.clone(), offer.terms.objection_window);
    view! {
        <p class="num">"Offer "{offer.id.0}": "<Money asset=hour amount=offer.terms.price_per_hour />" an hour, "<Money asset=million amount=offer.terms.price_per_million_tokens />" a million tokens"{if window.0 > 0 { format!(", delegates with {window} to object") } else { String::new() }}</p>
    }
}
