//! The provider's view: my nodes with what they declare and what was measured, their offers, pause and resume, earnings and their withdrawal.

use super::polled;
use crate::{
    api::{Failure, Outcome, chain, coordinator, wallet},
    app::shared,
    components::ui::{Ago, Empty, Id, MaybeProblem, Money, NeedsLogin},
    pages::{
        billing::{Held, Moving, polled_held},
        compute::reputation_words,
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
use starling_http_api::{machine::MachineView, network::NetworkInfo, node::NodeView, path};
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
    let nodes = Memo::new(move |_| nodes.get().flatten());
    let (machines, machines_failure) =
        polled(Duration::from_secs(2), || async { coordinator::get::<Vec<MachineView>>(path::MACHINES).await });
    let (held, held_failure) = polled_held();
    let setup = move || {
        let (network, coordinator) = (shared.network.get()?, window().location().origin().ok()?);
        Some(format!("starling node setup --coordinator {coordinator} --rpc {} --provider-key KEY_FILE", network.rpc_url))
    };
    let count = Memo::new(move |_| nodes.with(|nodes| nodes.as_ref().map(Vec::len)));
    let ids = move || nodes.with(|nodes| nodes.iter().flatten().map(|node| node.view.node.id).collect::<Vec<_>>());
    view! {
        <MaybeProblem failure />
        <MaybeProblem failure=machines_failure />
        {move || match count.get() {
            None => view! { <div class="skeleton" style="height: 200px" aria-hidden="true"></div> }.into_any(),
            Some(0) => view! { <Empty><p>"No node of this account is registered. On the machine that shall earn, run this with your account's key file:"</p>{move || setup().map(|command| view! { <pre class="log" tabindex="0" style="text-align: left">{command.clone()}</pre><p><Id text=command label="Copy the command" /></p> })}</Empty> }.into_any(),
            // A question that was asked stays while figures change.
            Some(_) => view! { <div class="cards"><For each=ids key=|id| *id let:id><NodeCard id nodes machines /></For></div> }.into_any(),
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
fn NodeCard(id: NodeId, nodes: Memo<Option<Vec<MyNode>>>, machines: RwSignal<Option<Vec<MachineView>>>) -> impl IntoView {
    let shared = shared();
    let (failure, busy, retiring) = (RwSignal::new(None::<Failure>), RwSignal::new(false), RwSignal::new(false));
    let node = Memo::new(move |_| nodes.with(|nodes| nodes.iter().flatten().find(|node| node.view.node.id == id).cloned()));
    let shown = Memo::new(move |_| node.get().map(|node| (node.view, node.standing)));
    let offers = Memo::new(move |_| node.get().map(|node| node.offers).unwrap_or_default());
    let open = Memo::new(move |_| offers.get().into_iter().filter(|offer| !offer.closed).collect::<Vec<_>>());
    let (paused, last) = (move || open.with(Vec::is_empty), move || offers.with(|offers| offers.first().cloned()));
    let retired = Memo::new(move |_| shown.with(|shown| shown.as_ref().is_some_and(|(view, _)| view.node.retired)));
    let machine = Memo::new(move |_| machines.with(|machines| machines.iter().flatten().find(|machine| machine.node_id == id).cloned()));
    let connected = Memo::new(move |_| shown.with(|shown| shown.as_ref().is_some_and(|(view, _)| view.connected)));
    let act = move |act: Act| {
        let Some(network) = shared.network_now() else { return };
        busy.set(true);
        failure.set(None);
        spawn_local(async move {
            failure.try_set(send(&network, id, act).await.err());
            busy.try_set(false);
        });
    };
    let pause = move |_| act(Act::Pause(open.get_untracked().into_iter().map(|offer| offer.id).collect()));
    let resume = move |_| last().into_iter().for_each(|offer| act(Act::Resume(offer.terms)));
    let retire = move |_| {
        retiring.set(false);
        act(Act::Retire);
    };
    view! {
        <article class="card" aria-label=format!("Node {id}")>
            {move || shown.get().map(|(view, standing)| record(&view, &standing))}
            <Show when=move || connected.get()>
                {move || machine.get().map(|machine| view! { <section class="stack" aria-label=format!("Machine of node {id}")><h3>"The machine now (by its own word)"</h3>{told(machine)}</section> })}
            </Show>
            {move || open.get().into_iter().map(|offer| view! { <OfferLine offer /> }).collect_view()}
            {move || match (retired.get(), paused()) {
                (true, _) => view! { <p class="note">"Retired: it takes no new work, ever. A new node can be set up on the same machine."</p> }.into_any(),
                (false, true) => view! { <p class="note warn" role="status">"Paused: it has no offer, so it takes no new work. Work under way goes on."</p> }.into_any(),
                (false, false) => ().into_any(),
            }}
            {move || (!retired.get()).then(|| view! { <div class="row">
                {move || if paused() { last().map(|_| view! { <button class="button primary" disabled=move || busy.get() on:click=resume>"Offer it again"</button> }).into_any() } else { view! { <button class="button" disabled=move || busy.get() on:click=pause>"Pause: take no new work"</button> }.into_any() }}
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

/// What is registered of a node, and what was measured of it.
fn record(view: &NodeView, standing: &Standing) -> impl IntoView + use<> {
    let (class, state) = node_state(view);
    let (node, capability) = (&view.node, &view.node.capability);
    let stake = node.stake.as_ref().map_or_else(
        || "none".to_owned(),
        |stake| format!("{}{}", stake.amount.display_near(), if stake.confirmed { "" } else { ", not confirmed" }),
    );
    view! {
        <div class="row between"><h2>"Node "{node.id.0}</h2><span class=class>{state}</span></div>
        <dl class="pairs">
            <dt>"Device (declared)"</dt><dd>{capability.device.to_string()}</dd>
            <dt>"Size (declared)"</dt><dd class="num">{machine(capability)}</dd>
            <dt>"Tokens/s (measured)"</dt><dd class="num">{view.measured_tokens_per_second.map_or_else(|| "not yet".to_owned(), grouped_rate)}</dd>
            <dt>"Rounds that counted"</dt><dd class="num">{view.rounds}</dd>
            <dt>"Reputation"</dt><dd class="num">{reputation_words(standing)}</dd>
            <dt>"Stake"</dt><dd class="num">{stake}</dd>
            <dt>"Pay goes to"</dt><dd class="mono">{node.payout.to_string()}</dd>
            {(!view.data.is_empty()).then(|| view! { <dt>"Keeps for federated runs"</dt><dd class="mono">{view.data.join(", ")}</dd> })}
            <dt>"Heard"</dt><dd><Ago at=view.heard_at /></dd>
        </dl>
    }
}

/// What a machine tells of itself.
fn told(MachineView { at, state, .. }: MachineView) -> impl IntoView {
    let pace = match state.share_percent {
        None => "rests".to_owned(),
        Some(100) => "full speed".to_owned(),
        Some(share) => format!("slowed down to {share} % of the time"),
    };
    let work = if state.work.is_empty() { "nothing".to_owned() } else { state.work.join(", ") };
    let limits = if state.limits.is_empty() { "none".to_owned() } else { state.limits.join("; ") };
    let devices = state.devices.into_iter().map(|device| {
        let figures = [
            device.temperature_celsius.map(|celsius| format!("{celsius} °C")),
            device.power_watts.map(|watts| format!("{watts} W")),
            device.utilisation_percent.map(|percent| format!("{percent} % busy")),
            device.memory_used_mib.map(|mib| format!("{mib} MiB in use")),
        ];
        let missing = match (device.temperature_celsius, device.power_watts) {
            (None, None) => Some("it measures neither temperature nor power".to_owned()),
            (None, _) => Some("it measures no temperature".to_owned()),
            (_, None) => Some("it measures no power".to_owned()),
            _ => None,
        };
        let words = figures.into_iter().flatten().chain(missing).collect::<Vec<_>>().join(", ");
        view! { <dt>{device.name}</dt><dd class="num">{words}</dd> }
    });
    view! {
        <dl class="pairs">
            <dt>"Work under way"</dt><dd>{work}</dd>
            <dt>"Pace"</dt><dd>{pace}</dd>
            {state.refusal.map(|reason| view! { <dt>"Takes nothing new"</dt><dd>{reason}</dd> })}
            {devices.collect_view()}
            <dt>"Disk"</dt><dd class="num">{state.free_disk_mib.map_or_else(|| "not measured".to_owned(), |mib| format!("{mib} MiB free"))}</dd>
            <dt>"Limits"</dt><dd>{limits}</dd>
            <dt>"Program"</dt><dd class="num">"version "{state.version}", told "<Ago at=Some(at) /></dd>
        </dl>
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
