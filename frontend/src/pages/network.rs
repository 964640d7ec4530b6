//! The network: health, contracts with their fee and limits, volume, runs, nodes. All of it read from the chain or from the coordinator, and said which.

use super::polled;
use crate::{
    api::{Outcome, chain, coordinator, tokens},
    app::shared,
    components::ui::{Ago, Empty, Id, MaybeProblem, Money},
    pages::run::RunCard,
};
use leptos::prelude::*;
use leptos_router::components::A;
use starling_contract_api::{
    billing::{self, Billing, TokenTotals, Totals},
    compute::{self, Compute, Counts},
    hub::Listings,
};
use starling_http_api::{network::NetworkInfo, node::NodeView, path, run::RunView};
use starling_primitives::{AccountId, Amount, Asset, grouped};
use starling_protocol::escrow::{CLOSING_PERIOD, HOLD_PERIOD, MAX_FEE, MAX_OBJECTION_WINDOW};
use std::time::Duration;

/// Runs that are shown.
const RUNS_SHOWN: usize = 6;

#[component]
pub(crate) fn Network() -> impl IntoView {
    let (nodes, nodes_failure) = polled(Duration::from_secs(3), || coordinator::get::<Vec<NodeView>>(path::NODES));
    view! {
        <header><div><h1>"Network"</h1><p>"Where the money lives, what it does, and who is connected."</p></div></header>
        <div class="split">
            <Health nodes />
            <Rules />
        </div>
        <Volume />
        <Runs />
        <Nodes nodes failure=nodes_failure />
    }
}

#[component]
fn Health(nodes: RwSignal<Option<Vec<NodeView>>>) -> impl IntoView {
    let shared = shared();
    let (status, failure) = polled(Duration::from_secs(3), move || {
        let network = shared.network.get();
        async move {
            let Some(network) = network else { return Ok(None) };
            chain::status(&network.rpc_url).await.map(Some)
        }
    });
    let (ready, unreached) = polled(Duration::from_secs(3), coordinator::is_ready);
    let (gas, _) = polled(Duration::from_secs(30), move || {
        let network = shared.network.get();
        async move {
            let Some(network) = network else { return Ok(None) };
            chain::wallet_balance(&network.rpc_url, &network.coordinator).await.map(Some)
        }
    });
    let chain_chip = move || match (status.get().flatten(), shared.network.get()) {
        _ if failure.get().is_some() => view! { <span class="chip bad">"does not answer"</span> }.into_any(),
        (Some(status), Some(network)) if status.chain_id != network.deployment.chain_id => {
            view! { <span class="chip bad">"another chain answers: do not sign anything"</span> }.into_any()
        }
        (Some(status), Some(_)) => view! { <span class="chip good">"answers, block "{status.height}</span> }.into_any(),
        _ => view! { <span class="chip">"asking"</span> }.into_any(),
    };
    let coordinator_chip = move || match (shared.away.get().is_some() || unreached.get().is_some(), ready.get()) {
        (true, _) => view! { <span class="chip bad">"does not answer"</span> }.into_any(),
        (_, None) => view! { <span class="chip">"asking"</span> }.into_any(),
        (_, Some(true)) => view! { <span class="chip good">"ready, has read the chain"</span> }.into_any(),
        (_, Some(false)) => view! { <span class="chip warn">"answers, and is behind the chain"</span> }.into_any(),
    };
    let connected = move || {
        nodes
            .get()
            .map(|nodes| (nodes.iter().filter(|node| node.connected).count(), nodes.iter().filter(|node| !node.node.retired).count()))
    };
    view! {
        <section class="card" aria-label="Health"><h2>"Health"</h2>
            <MaybeProblem failure />
            {move || shared.network.get().map(|network| view! {
                <dl class="pairs">
                    <dt>"Network"</dt><dd>{network.name.clone()}</dd>
                    <dt>"Chain"</dt><dd><span class="mono">{network.deployment.chain_id.clone()}</span></dd>
                    <dt>"State"</dt><dd>{chain_chip}</dd>
                    <dt>"Last block"</dt><dd>{move || status.get().flatten().map(|status| view! { <Ago at=Some(status.at) /> }.into_any()).unwrap_or_else(|| "not read yet".into_any())}</dd>
                    <dt>"RPC"</dt><dd class="mono">{network.rpc_url.clone()}</dd>
                    <dt>"Coordinator"</dt><dd>{coordinator_chip}</dd>
                    <dt>"Coordinator's version"</dt><dd>{network.version.clone()}</dd>
                    <dt>"Coordinator's account"</dt><dd><span class="mono">{network.coordinator.to_string()}</span>{move || gas.get().flatten().map_or_else(|| ", its gas not read yet".to_owned(), |amount: Amount| format!(", with {} for gas", amount.display_near()))}</dd>
                    <dt>"Nodes"</dt><dd class="num">{move || connected().map_or_else(|| "not read yet".to_owned(), |(connected, all)| format!("{connected} of {all} connected"))}</dd>
                </dl>
            })}
            <p class="faint">"The coordinator carries messages and pays gas. No key of it moves your money: with it gone, Billing works on the chain alone."</p>
        </section>
    }
}

/// Set-up of the contracts, as they say it.
#[derive(Clone, PartialEq)]
struct SetUp {
    billing: billing::Config,
    compute: compute::Config,
    hub_paused: bool,
    market_paused: bool,
}

async fn set_up(network: &NetworkInfo) -> Outcome<SetUp> {
    let (rpc, deployment) = (&network.rpc_url, &network.deployment);
    let paused = async |shelf: &AccountId| Outcome::Ok(chain::view(rpc, &Listings(shelf.clone()).config()).await?.paused);
    Ok(SetUp {
        billing: chain::view(rpc, &Billing(deployment.billing.clone()).config()).await?,
        compute: chain::view(rpc, &Compute(deployment.compute.clone()).config()).await?,
        hub_paused: paused(&deployment.hub).await?,
        market_paused: paused(&deployment.market).await?,
    })
}

#[component]
fn Rules() -> impl IntoView {
    let shared = shared();
    let (found, failure) = polled(Duration::from_secs(20), move || {
        let network = shared.network.get();
        async move {
            let Some(network) = network else { return Ok(None) };
            set_up(&network).await.map(Some)
        }
    });
    let paused = |paused: bool| {
        if paused {
            view! { <span class="chip warn">"takes nothing new"</span> }
        } else {
            view! { <span class="chip good">"running"</span> }
        }
    };
    let row = move |name: &'static str, account: AccountId, is_paused: bool| view! { <tr><th scope="row">{name}</th><td data-label="Account"><Id text=account.to_string() /></td><td data-label="State">{paused(is_paused)}</td></tr> };
    view! {
        <section class="card" aria-label="Contracts"><h2>"Contracts and rules"</h2>
            <MaybeProblem failure />
            {move || match found.get().flatten() {
                None => view! { <div class="skeleton" style="height: 220px" aria-hidden="true"></div> }.into_any(),
                Some(SetUp { billing, compute, hub_paused, market_paused }) => {
                    let deployment = billing.deployment.clone();
                    view! {
                        <table class="stacked"><thead><tr><th>"Contract"</th><th>"Account"</th><th>"State"</th></tr></thead><tbody>
                            {row("Billing", deployment.billing, billing.paused)}
                            {row("Compute", deployment.compute, compute.paused)}
                            {row("Hub", deployment.hub, hub_paused)}
                            {row("Market", deployment.market, market_paused)}
                        </tbody></table>
                        <dl class="pairs">
                            <dt>"Fee"</dt><dd class="num">{billing.fee.to_string()}" of what is earned, fixed when you pay"</dd>
                            <dt>"Fee at most"</dt><dd class="num">{MAX_FEE.to_string()}", in the code"</dd>
                            <dt>"Least stake"</dt><dd class="num">{compute.min_stake.display_near()}" a node"</dd>
                            <dt>"A contract without an answer"</dt><dd>"a payment comes back after "{HOLD_PERIOD.to_string()}</dd>
                            <dt>"Asking to end"</dt><dd>"closes whatever happens, "{CLOSING_PERIOD.to_string()}" later"</dd>
                            <dt>"Time to object"</dt><dd>"up to "{MAX_OBJECTION_WINDOW.to_string()}", as the offer says"</dd>
                            <dt>"Owner"</dt><dd class="mono">{billing.owner.to_string()}</dd>
                        </dl>
                    }.into_any()
                }
            }}
        </section>
    }
}

/// What lies in billing, and how much there is of everything.
#[derive(Clone, PartialEq)]
struct Figures {
    near: Totals,
    tokens: Vec<TokenTotals>,
    counts: Counts,
    models: u64,
    tools: u64,
}

async fn figures(network: &NetworkInfo) -> Outcome<Figures> {
    let (rpc, deployment) = (&network.rpc_url, &network.deployment);
    let billing = Billing(deployment.billing.clone());
    Ok(Figures {
        near: chain::view(rpc, &billing.totals()).await?,
        tokens: chain::view(rpc, &billing.tokens()).await?,
        counts: chain::view(rpc, &Compute(deployment.compute.clone()).counts()).await?,
        models: chain::view(rpc, &Listings(deployment.hub.clone()).listings_count(None)).await?,
        tools: chain::view(rpc, &Listings(deployment.market.clone()).listings_count(None)).await?,
    })
}

#[component]
fn Volume() -> impl IntoView {
    let shared = shared();
    let (found, failure) = polled(Duration::from_secs(10), move || {
        let network = shared.network.get();
        async move {
            let Some(network) = network else { return Ok(None) };
            figures(&network).await.map(Some)
        }
    });
    let row = move |asset: Asset, balances: Amount, escrows: Amount, fees: Amount| {
        let name = shared.tokens.with(|tokens| tokens::name(tokens, &asset));
        let contract = if let Asset::Nep141(token) = &asset { Some(token.to_string()) } else { None };
        let money = |amount: Amount| {
            let asset = asset.clone();
            view! { <Money asset amount /> }
        };
        view! { <tr><th scope="row"><div>{name}{contract.map(|token| view! { <br /><span class="faint mono">{token}</span> })}</div></th><td data-label="Free balances" class="num">{money(balances)}</td><td data-label="In escrows" class="num">{money(escrows)}</td><td data-label="Fees not withdrawn" class="num">{money(fees)}</td></tr> }
    };
    view! {
        <section class="card" aria-label="Money held, and counts"><h2>"Money held, and counts"</h2>
            <MaybeProblem failure />
            {move || match found.get().flatten() {
                None => view! { <div class="skeleton" style="height: 120px" aria-hidden="true"></div> }.into_any(),
                Some(Figures { near, tokens, counts, models, tools }) => view! {
                    <table class="stacked"><thead><tr><th>"In billing"</th><th class="num">"Free balances"</th><th class="num">"In escrows"</th><th class="num">"Fees not withdrawn"</th></tr></thead><tbody>
                        {row(Asset::Near, near.balances, near.escrows, near.fees)}
                        {tokens.into_iter().map(|totals| row(Asset::Nep141(totals.token), totals.balances, totals.escrows, totals.fees)).collect_view()}
                    </tbody></table>
                    <dl class="counts">
                        {[("Nodes registered", counts.nodes), ("Offers made", counts.offers), ("Runs paid", counts.runs), ("Leases paid", counts.leases), ("Models published", models), ("Tools and data sets", tools)].map(|(name, count)| view! { <div><dt>{name}</dt><dd class="num">{grouped(count)}</dd></div> }).collect_view()}
                    </dl>
                    <p class="faint">"Since the contracts were deployed, as they count it; closed and delisted ones are among them."</p>
                }.into_any(),
            }}
        </section>
    }
}

#[component]
fn Runs() -> impl IntoView {
    let (runs, failure) =
        polled(Duration::from_secs(5), || async { coordinator::get::<Vec<RunView>>(&format!("{}?limit={RUNS_SHOWN}", path::RUNS)).await });
    view! {
        <section class="stack" aria-label="Runs"><h2>"Last runs"</h2>
            <MaybeProblem failure />
            {move || match runs.get() {
                None => view! { <div class="skeleton" style="height: 80px" aria-hidden="true"></div> }.into_any(),
                Some(runs) if runs.is_empty() => view! { <Empty><p>"No run was paid yet. The first one appears here."</p><A href="/train" attr:class="button">"Start one"</A></Empty> }.into_any(),
                Some(runs) => view! { <div class="cards">{runs.into_iter().map(|view| view! { <RunCard view /> }).collect_view()}</div> }.into_any(),
            }}
        </section>
    }
}

#[component]
fn Nodes(nodes: RwSignal<Option<Vec<NodeView>>>, failure: RwSignal<Option<crate::api::Failure>>) -> impl IntoView {
    view! {
        <section class="stack" aria-label="Nodes"><h2>"Nodes"</h2>
            <MaybeProblem failure />
            {move || match nodes.get() {
                None => view! { <div class="skeleton" style="height: 80px" aria-hidden="true"></div> }.into_any(),
                Some(nodes) if nodes.is_empty() => view! { <Empty><p>"No node is registered yet. A provider adds one with "<code>"starling node setup"</code>"."</p></Empty> }.into_any(),
                Some(nodes) => view! { <div class="scroll"><table class="stacked"><thead><tr><th>"Node"</th><th>"Provider"</th><th>"State"</th><th class="num">"Stake"</th><th class="num">"Rounds"</th><th>"Heard"</th></tr></thead><tbody>
                    {nodes.into_iter().map(|node| { let (class, state) = node_state(&node); view! { <tr><td data-label="Node" class="num">{node.node.id.0}</td><td data-label="Provider" class="mono">{node.node.provider.to_string()}</td><td data-label="State"><span class=class>{state}</span></td><td data-label="Stake" class="num">{node.node.stake.as_ref().filter(|stake| stake.confirmed).map_or_else(|| "none".to_owned(), |stake| stake.amount.display_near())}</td><td data-label="Rounds" class="num">{node.rounds}</td><td data-label="Heard"><Ago at=node.heard_at /></td></tr> }}).collect_view()}
                </tbody></table></div> }.into_any(),
            }}
        </section>
    }
}

/// A node's chip: how it looks and what it says.
pub(crate) fn node_state(node: &NodeView) -> (&'static str, String) {
    match node {
        node if node.node.retired => ("chip", "retired".to_owned()),
        node if !node.connected => ("chip warn", "not connected".to_owned()),
        node if node.busy == "idle" => ("chip good", "idle".to_owned()),
        node => ("chip alive", node.busy.clone()),
    }
}
