//! The training studio: recipe, data with a preview, what training starts from, nodes, a quote that cannot be exceeded, one approval.

mod data;

use super::{polled, run::nodes_word};
use crate::pages::rent::usable_models;
use crate::{
    api::{
        Failure, Outcome, chain, coordinator, meter,
        pay::{Payment, after_payment, deposit, now, pay},
    },
    app::{Shared, shared},
    components::{
        quote::QuoteCard,
        ui::{Id, MaybeProblem, NeedsLogin, chosen_file},
    },
};
use leptos::{html, prelude::*, task::spawn_local};
use leptos_router::{
    components::A,
    hooks::{use_navigate, use_query_map},
};
use starling_contract_api::{
    compute::{Compute, Purpose},
    hub::Listings,
    payment::PaymentMsg,
};
use starling_http_api::{
    node::NodeView,
    path,
    run::{Base, DataKind, PrepareRun, PreparedRun, RecipePreset},
};
use starling_primitives::{Amount, AssetName, DurationMs, Hash32, grouped};
use starling_protocol::price::{HOLDBACK, cost_of_tokens};
use std::{collections::BTreeMap, time::Duration};

#[component]
pub(crate) fn Train() -> impl IntoView {
    view! {
        <header><div><h1>"Start a training run"</h1><p>"Choose a recipe, give it your data, and see the most it can cost before anything is charged. Recipes of your own run with "<code>"starling train FILE --recipe RECIPE"</code>"."</p></div><A href="/train/code" attr:class="button">"Run code of mine"</A></header>
        <NeedsLogin what="start a run"><Form /></NeedsLogin>
    }
}

#[derive(Clone, Copy)]
struct Fields {
    recipe: RwSignal<String>,
    nodes: RwSignal<String>,
    price: RwSignal<String>,
    /// Empty for fresh weights, a model's hash, or [`UPLOAD`].
    base: RwSignal<String>,
    /// Of a model that it starts from: adapters alone.
    adapters: RwSignal<bool>,
    /// Name of the data that nodes keep and train on; empty where they train on the person's.
    federated: RwSignal<String>,
    /// Nodes train on while updates travel.
    overlap: RwSignal<bool>,
    file: NodeRef<html::Input>,
    /// A data set that is stored already, in place of a file.
    data: Option<Hash32>,
    base_file: NodeRef<html::Input>,
}

/// What the field says where the person brings a model file.
const UPLOAD: &str = "upload";

#[component]
fn Form() -> impl IntoView {
    let shared = shared();
    let query = use_query_map();
    let fields = Fields {
        recipe: RwSignal::new(String::new()),
        nodes: RwSignal::new("3".to_owned()),
        price: RwSignal::new("0.5".to_owned()),
        base: RwSignal::new(query.with_untracked(|query| query.get("model").unwrap_or_default())),
        adapters: RwSignal::new(false),
        federated: RwSignal::new(String::new()),
        overlap: RwSignal::new(false),
        file: NodeRef::new(),
        data: query.with_untracked(|query| query.get("data")?.parse().ok()),
        base_file: NodeRef::new(),
    };
    let preview = RwSignal::new(None::<data::Preview>);
    // An address may say any name beside any hash.
    let (of, _) = polled(Duration::from_secs(60), move || {
        let (network, name) = (shared.network.get(), query.with_untracked(|query| query.get("of")?.parse::<AssetName>().ok()));
        async move {
            let (Some(network), Some(data), Some(name)) = (network, fields.data, name) else { return Ok(None) };
            let versions = chain::versions(&network.rpc_url, &Listings(network.deployment.market), &name).await?;
            Ok(versions.iter().any(|version| version.files.iter().any(|file| file.hash == data)).then_some(name))
        }
    });
    let of = move || of.get().flatten().map(|name| name.to_string());
    let models = usable_models(shared);
    let (nodes, _) = polled(Duration::from_secs(10), || coordinator::get::<Vec<NodeView>>(path::NODES));
    let kept = Memo::new(move |_| nodes.with(|nodes| kept_data(nodes.as_deref().unwrap_or_default())));
    let (presets, presets_failure) = polled(Duration::from_secs(60), || coordinator::get::<Vec<RecipePreset>>(path::RECIPES));
    let (failure, busy, prepared) =
        (RwSignal::new(None::<Failure>), RwSignal::new(None::<&'static str>), RwSignal::new(None::<(PreparedRun, Amount)>));
    // The name of the listing that the address came from, for the lineage.
    let named = query.with_untracked(|query| {
        Some((query.get("model")?.parse::<Hash32>().ok()?, query.get("name").and_then(|name| name.parse::<AssetName>().ok())?))
    });
    let chosen = move || {
        presets.get().and_then(|presets| presets.iter().find(|preset| preset.name == fields.recipe.get()).or(presets.first()).cloned())
    };
    let kind = move || chosen().map_or(DataKind::Text, |preset| preset.data);
    // What the quote will be by the fields alone, before anything is uploaded.
    let ceiling = move || {
        let (preset, nodes) = (chosen()?, fields.nodes.get().trim().parse::<u16>().ok().filter(|nodes| (1..=64).contains(nodes))?);
        let tokens = u64::from(preset.rounds).checked_mul(u64::from(preset.tokens_per_round))?.checked_mul(u64::from(nodes))?;
        cost_of_tokens(Amount::parse_near(&fields.price.get()).ok()?, tokens).ok()
    };
    let ask = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let (Some(preset), named) = (chosen(), named.clone()) else { return };
        failure.set(None);
        spawn_local(async move {
            busy.set(Some("Uploading and checking your data"));
            match prepare(shared, fields, &preset, named).await {
                Ok(ready) => prepared.set(Some(ready)),
                Err(error) => failure.set(Some(error)),
            }
            busy.set(None);
        });
    };
    let navigate = use_navigate();
    let start = move |_| {
        let (Some((run, _)), navigate) = (prepared.get_untracked(), navigate.clone()) else { return };
        failure.set(None);
        spawn_local(async move {
            busy.set(Some("Waiting for your wallet"));
            match pay_for(shared, run).await {
                Ok(address) => navigate(&address, leptos_router::NavigateOptions::default()),
                Err(error) => failure.set(Some(error)),
            }
            busy.set(None);
        });
    };
    view! {
        <div class="split">
            <form class="card" on:submit=ask on:change=move |_| prepared.set(None)>
                <label class="field">"Recipe"
                    <select prop:value=move || fields.recipe.get() on:change:target=move |event| fields.recipe.set(event.target().value())>
                        {move || presets.with(Option::is_none).then(|| view! { <option disabled selected>"Reading the recipes"</option> })}
                        {move || presets.get().unwrap_or_default().into_iter().map(|preset| view! { <option value=preset.name.clone()>{format!("{}, {} parameters", preset.name, grouped(preset.parameters))}</option> }).collect_view()}
                    </select>
                    <span class="hint">{move || chosen().map(|preset| preset.title)}</span>
                </label>
                <MaybeProblem failure=presets_failure />
                {move || chosen().map(|preset| view! { <Explained preset /> })}
                <label class="field">"Start from"
                    <select prop:value=move || fields.base.get() on:change:target=move |event| fields.base.set(event.target().value())>
                        <option value="">"Fresh weights"</option>
                        {move || {
                            let known = models.get();
                            let foreign = Some(fields.base.get()).filter(|base| !base.is_empty() && base != UPLOAD && !known.iter().any(|(hash, _)| hash.to_string() == *base));
                            let all = known.into_iter().map(|(hash, name)| (hash.to_string(), name)).chain(foreign.map(|hash| (hash, "The model in the address".to_owned())));
                            all.map(|(value, name)| { let key = value.clone(); view! { <option value=value selected=move || fields.base.get() == key>{name}</option> }}).collect_view()
                        }}
                        <option value=UPLOAD>"A model file of mine"</option>
                    </select>
                    <span class="hint">"A model must have the shape that is chosen above."</span>
                </label>
                {move || (!fields.base.get().is_empty() && chosen().is_some_and(|preset| preset.adapting.is_some())).then(|| view! {
                    <label class="field">"What is trained"
                        <select on:change:target=move |event| fields.adapters.set(!event.target().value().is_empty())>
                            <option value="">"All of its weights"</option>
                            <option value="adapters" selected=move || fields.adapters.get()>"Adapters, weights frozen"</option>
                        </select>
                        <span class="hint">"Adapters (LoRA, rank 8) fit a model to your data with updates that are far smaller. You get the whole model, adapters merged."</span>
                    </label>
                })}
                {move || (fields.base.get() == UPLOAD).then(|| view! { <label class="field">"Model file, safetensors"<input type="file" accept=".safetensors" required node_ref=fields.base_file /><span class="hint">"Providers of this run can read it."</span></label> })}
                {move || (!kept.with(Vec::is_empty)).then(|| view! {
                    <label class="field">"Whose data is trained on"
                        <select on:change:target=move |event| fields.federated.set(event.target().value())>
                            <option value="">"Mine"</option>
                            {kept.get().into_iter().map(|(name, nodes)| {
                                let (value, chosen) = (name.clone(), name.clone());
                                let words = format!("{name}, which {nodes} {} for themselves", if nodes == 1 { "node keeps" } else { "nodes keep" });
                                view! { <option value=value selected=move || fields.federated.get() == chosen>{words}</option> }
                            }).collect_view()}
                        </select>
                        <span class="hint">"Federated: each node trains on its own data, which never leaves it. What you give below is a sample of the same kind, and updates count by what they improve on it."</span>
                    </label>
                })}
                {match fields.data {
                    Some(hash) => view! {
                        <p class="note">"Trained on: "{of}" "<Id text=hash.to_string() />". The providers who train this run can read this data. A tenth of it is held out to measure with. "<a href="/train" rel="external">"Choose a file instead"</a></p>
                    }.into_any(),
                    None => view! {
                        <label class="field">{move || data::label(kind())}
                            <input type="file" name="data" required node_ref=fields.file on:change=move |_| data::look(fields.file, preview) />
                            <span class="hint">{move || data::hint(kind())}" The providers who train this run can read this data. A tenth of it is held out to measure with."</span>
                        </label>
                    }.into_any(),
                }}
                <data::Looked preview kind=Signal::derive(kind) tokens=Signal::derive(move || chosen().map(|preset| preset.tokens_per_round)) />
                <label class="field">"While updates travel"
                    <select on:change:target=move |event| fields.overlap.set(!event.target().value().is_empty())>
                        <option value="">"Nodes wait for the round to count"</option>
                        <option value="overlap">"Nodes train on"</option>
                    </select>
                    <span class="hint">"Nodes that train on exchange a quarter of the model in each round, and hide up to half a round's waiting. For slow lines, short rounds and runs of many rounds."</span>
                </label>
                <label class="field">"Nodes, at most"<input type="number" name="nodes" min="1" max="64" required prop:value=move || fields.nodes.get() on:input:target=move |event| fields.nodes.set(event.target().value()) /></label>
                <label class="field">"Price cap, NEAR a million accepted tokens"<input inputmode="decimal" name="price" required prop:value=move || fields.price.get() on:input:target=move |event| fields.price.set(event.target().value()) /><span class="hint">"Nodes that ask more do not join."</span></label>
                <button class="button primary" disabled=move || busy.get().is_some() || prepared.get().is_some() || chosen().is_none()>{move || busy.get().unwrap_or("Get the quote")}</button>
            </form>
            <div class="stack" style="gap: 16px" aria-live="polite">
                <MaybeProblem failure />
                {move || ceiling().filter(|_| prepared.with(Option::is_none)).map(|ceiling| view! {
                    <section class="card" aria-label="Estimate"><p class="soft">"At most about"</p><p class="at-most num">{ceiling.display_near()}</p>
                        <p class="soft">"If every node does every round at the price cap. Get the quote for the exact figure: "{if fields.data.is_some() { "nothing is charged." } else { "your data is uploaded for it, and nothing is charged." }}</p></section>
                })}
                {move || prepared.get().map(|(run, storage)| {
                    let start = start.clone();
                    view! {
                    <QuoteCard quote=run.quote what=format!("{} rounds on up to {}", run.terms.rounds, nodes_word(usize::from(run.terms.max_nodes))) paid="for each round that counts, by its accepted tokens" to=format!("the nodes that did the work ({} willing now)", run.willing_nodes.len()) back="all that is not earned, at the end or when you stop" storage />
                    {run.expected_duration.map(|duration| view! { <p class="soft">"Expected to take "{duration.to_string()}", by the rates measured last."</p> })}
                    <button class="button primary" disabled=move || busy.get().is_some() on:click=start>{format!("Train for at most {}", run.quote.at_most.display_near())}</button>
                }})}
            </div>
        </div>
    }
}

#[component]
fn Explained(preset: RecipePreset) -> impl IntoView {
    view! {
        <details><summary class="faint">{format!("{} rounds, {} tokens a node and round: every field", preset.rounds, grouped(u64::from(preset.tokens_per_round)))}</summary>
        <div class="scroll"><table><tbody>{preset.explained.into_iter().map(|field| view! { <tr><td class="mono">{field.field}</td><td class="num">{field.value}</td><td class="soft">{field.meaning}</td></tr> }).collect_view()}</tbody></table></div></details>
    }
}

async fn prepare(
    shared: Shared,
    fields: Fields,
    preset: &RecipePreset,
    named: Option<(Hash32, AssetName)>,
) -> Outcome<(PreparedRun, Amount)> {
    let max_nodes: u16 =
        fields.nodes.get_untracked().trim().parse().map_err(|_| Failure::new("nodes", "Nodes must be a whole number from 1 to 64."))?;
    let price =
        Amount::parse_near(&fields.price.get_untracked()).map_err(|error| Failure::new("price", format!("The price cap is {error}.")))?;
    let data = match fields.data {
        Some(data) => data,
        None => uploaded(fields.file).await?,
    };
    let base = base_of(fields, named).await?;
    let adapts = fields.adapters.get_untracked() && !matches!(base, Base::Fresh);
    let request = PrepareRun {
        recipe: preset.adapting.clone().filter(|_| adapts).unwrap_or_else(|| preset.recipe.clone()),
        fit: true,
        data,
        held_out: None,
        base,
        max_nodes,
        min_nodes: 1,
        price_per_million_tokens: price,
        meter: meter::make_key()?,
        federated: Some(fields.federated.get_untracked()).filter(|name| !name.is_empty()),
        overlap: fields.overlap.get_untracked(),
    };
    let prepared: PreparedRun = coordinator::post(path::PREPARE_RUN, &request).await?;
    let rounds_differ = prepared.terms.rounds != preset.rounds || prepared.terms.tokens_per_round != preset.tokens_per_round;
    if let Some(what) = prepared.deviation(&request).or(rounds_differ.then_some("number of rounds or tokens")) {
        return Err(Failure::new("terms", format!("The run was prepared with another {what} than you asked for. Nothing was charged.")));
    }
    if prepared.willing_nodes.is_empty() {
        let kept = request.federated.map_or_else(String::new, |name| format!(" and keeps {name}"));
        let words = format!("No connected node takes this price{kept}. Nothing was charged; raise the cap or come back later.");
        return Err(Failure::new("no_willing_nodes", words));
    }
    let (network, account) = shared.signed_in()?;
    let total = deposit(&network, &account, prepared.quote.at_most, &PaymentMsg::Run(prepared.terms.clone())).await?;
    let storage = Amount(total.0.saturating_sub(prepared.quote.at_most.0));
    Ok((prepared, storage))
}

/// Names of the data that connected nodes keep for federated runs, each with how many do, by name.
fn kept_data(nodes: &[NodeView]) -> Vec<(String, usize)> {
    let mut kept = BTreeMap::new();
    for name in nodes.iter().filter(|node| node.connected).flat_map(|node| &node.data) {
        *kept.entry(name.clone()).or_insert(0) += 1;
    }
    kept.into_iter().collect()
}

/// The chosen file, stored.
async fn uploaded(input: NodeRef<html::Input>) -> Outcome<Hash32> {
    let none = || Failure::new("no_file", "Choose a file to train on.");
    let (_, bytes) = chosen_file(&input.get_untracked().ok_or_else(none)?).await.ok_or_else(none)?;
    if bytes.is_empty() {
        return Err(Failure::new("data_empty", "The file is empty. Nothing was charged; choose one with data in it."));
    }
    Ok(coordinator::upload(&bytes).await?.hash)
}

/// What training starts from; a file of the person's own is uploaded first.
async fn base_of(fields: Fields, named: Option<(Hash32, AssetName)>) -> Outcome<Base> {
    let chosen = fields.base.get_untracked();
    if chosen.is_empty() {
        return Ok(Base::Fresh);
    }
    if chosen == UPLOAD {
        let none = || Failure::new("no_model", "Choose a model file, or start from something else.");
        let (_, bytes) = chosen_file(&fields.base_file.get_untracked().ok_or_else(none)?).await.ok_or_else(none)?;
        super::publish::check_safetensors(&bytes)?;
        return Ok(Base::Model { model: coordinator::upload(&bytes).await?.hash, name: None });
    }
    let model = chosen.parse().map_err(|_| Failure::new("model", "The model in the address is no hash."))?;
    Ok(Base::Model { model, name: named.filter(|(hash, _)| *hash == model).map(|(_, name)| name) })
}

async fn pay_for(shared: Shared, run: PreparedRun) -> Outcome<String> {
    let (network, account) = shared.signed_in()?;
    let payment = Payment {
        target: network.deployment.compute.clone(),
        asset: run.terms.asset.clone(),
        amount: run.quote.at_most,
        expires_by: run.terms.expires_at(now()).after(DurationMs::from_hours(1)),
        msg: PaymentMsg::Run(run.terms),
        holdback: HOLDBACK,
        post_at_once: Amount::ZERO,
        objection_window: DurationMs(0),
    };
    let escrow = pay(&network, &account, payment).await?;
    shared.refresh_balance();
    let purpose = chain::view(&network.rpc_url, &Compute(network.deployment.compute).purpose(escrow)).await;
    match purpose.map_err(|failure| after_payment(format_args!("escrow {escrow}"), failure))? {
        Some(Purpose::Run(id)) => Ok(format!("/runs/{id}")),
        _ => Err(Failure::new(
            "no_run",
            format!("Escrow {escrow} is open but no run belongs to it. Ask for closing in Billing to get it back."),
        )),
    }
}
