//! The model hub: the list by category and text, and a model's page.

use super::{param, polled};
use crate::{
    api::{
        Failure, Outcome, chain,
        pay::{Payment, deposit, now, pay},
        wallet,
    },
    app::{Shared, shared},
    components::{
        quote::QuoteCard,
        ui::{Empty, Id, MaybeProblem, Money},
    },
    pages::{ratings::Reviews, run::Download},
};
use leptos::{prelude::*, task::spawn_local};
use leptos_router::{
    components::A,
    hooks::{use_navigate, use_query_map},
};
use starling_contract_api::{
    billing::{Billing, split_deposit},
    hub::{Licence, Listings},
    payment::PaymentMsg,
};
use starling_http_api::network::NetworkInfo;
use starling_primitives::{AccountId, Amount, AssetName, BasisPoints, DurationMs};
use starling_protocol::{
    listing::{Category, Kind, Listing, lineage_split, split},
    price::quote_purchase,
};
use std::time::Duration;

/// Categories in words, in the order they are offered.
pub(crate) const CATEGORIES: [(Category, &str, &str); 6] = [
    (Category::TextGeneration, "text_generation", "Text generation"),
    (Category::TextClassification, "text_classification", "Text classification"),
    (Category::Tabular, "tabular", "Tables"),
    (Category::Vision, "vision", "Images"),
    (Category::Evaluation, "evaluation", "Evaluation"),
    (Category::Other, "other", "Other"),
];

pub(crate) fn category_word(category: Category) -> &'static str {
    CATEGORIES.iter().find(|(known, ..)| *known == category).map_or("Other", |(_, _, word)| word)
}

pub(crate) fn category_named(name: &str) -> Option<Category> {
    CATEGORIES.iter().find(|(_, key, _)| *key == name).map(|(category, ..)| *category)
}

/// The contract that lists this kind.
pub(crate) fn listings(network: &NetworkInfo, kind: Kind) -> Listings {
    Listings(if kind == Kind::Model { network.deployment.hub.clone() } else { network.deployment.market.clone() })
}

#[component]
pub(crate) fn Models() -> impl IntoView {
    view! {
        <header>
            <div><h1>"Models"</h1><p>"Published with their lineage, files and hashes. A licence is bought once; its price is shared with what the model was made from."</p></div>
            <A href="/models/publish" attr:class="button">"Publish a model"</A>
        </header>
        <Catalogue models=true />
    }
}

/// Listings with search and category, both in the address.
#[component]
pub(crate) fn Catalogue(models: bool) -> impl IntoView {
    let shared = shared();
    let kind = if models { Kind::Model } else { Kind::Tool };
    let query = use_query_map();
    let (text, category) = (
        move || query.with(|query| query.get("q").unwrap_or_default()),
        move || query.with(|query| query.get("category").unwrap_or_default()),
    );
    let (found, failure) = polled(Duration::from_secs(5), move || {
        let network = shared.network.get();
        async move {
            let Some(network) = network else { return Ok(None) };
            chain::listings(&network.rpc_url, &listings(&network, kind)).await.map(Some)
        }
    });
    let navigate = use_navigate();
    let place = if models { "/models" } else { "/market" };
    let set = move |text: String, category: String| {
        let encode = |text: &str| js_sys::encode_uri_component(text).as_string().unwrap_or_default();
        navigate(
            &format!("{place}?q={}&category={}", encode(&text), encode(&category)),
            leptos_router::NavigateOptions { replace: true, scroll: false, ..Default::default() },
        );
    };
    let set_category = set.clone();
    let matching = move || {
        let (text, category) = (text().to_lowercase(), category_named(&category()));
        found.get().flatten().map(|found: Vec<Listing>| {
            let fits = |listing: &Listing| {
                category.is_none_or(|category| listing.category == category)
                    && (text.is_empty() || format!("{} {} {}", listing.name, listing.title, listing.summary).to_lowercase().contains(&text))
            };
            found.into_iter().filter(fits).collect::<Vec<_>>()
        })
    };
    view! {
        <form class="row" role="search" on:submit=|event| event.prevent_default()>
            <label class="field" style="flex: 1 1 220px">"Search"<input type="search" prop:value=text on:input:target=move |event| set(event.target().value(), category()) /></label>
            <label class="field">"Category"<select prop:value=category on:change:target=move |event| set_category(text(), event.target().value())>
                <option value="">"All"</option>
                {CATEGORIES.map(|(_, key, word)| view! { <option value=key>{word}</option> }).collect_view()}
            </select></label>
        </form>
        <MaybeProblem failure />
        {move || match matching() {
            None => view! { <div class="skeleton" style="height: 120px" aria-hidden="true"></div> }.into_any(),
            Some(found) if found.is_empty() => view! { <Empty><p>{if models { "No model here yet. A finished run can be published from its page." } else { "No research tool here yet. A tool is a set of prompts with what to measure; anyone can publish one." }}</p></Empty> }.into_any(),
            Some(found) => view! { <div class="cards">{found.into_iter().map(|listing| view! { <ListingCard listing place /> }).collect_view()}</div> }.into_any(),
        }}
    }
}

#[component]
fn ListingCard(listing: Listing, place: &'static str) -> impl IntoView {
    let (price, mean) = (price_word(&listing), listing.ratings.words());
    view! {
        <article class="card">
            <h2><A href=format!("{place}/{}/{}", listing.name.publisher(), listing.name.slug())>{listing.title.to_string()}</A></h2>
            <p class="mono faint">{listing.name.to_string()}</p>
            <p class="soft">{listing.summary.to_string()}</p>
            <div class="row between"><span class="chip plain">{category_word(listing.category)}</span><span class="num">{price}", "{listing.licence.to_string()}</span></div>
            {mean.map(|mean| view! { <p class="faint num">{mean}</p> })}
        </article>
    }
}

/// Asks to sign in where nobody is; says whether it did.
pub(crate) fn needs_sign_in(shared: Shared) -> bool {
    let nobody = shared.session.get_untracked().is_none();
    if nobody {
        shared.signing_in.set(true);
    }
    nobody
}

fn price_word(listing: &Listing) -> String {
    if listing.price.is_zero() { "Free".to_owned() } else { shared().words(&listing.asset, listing.price) }
}

#[component]
pub(crate) fn Model() -> impl IntoView {
    view! { <Detail kind=Kind::Model /> }
}

/// A listing's page: what it is, its files, its price and who gets it.
#[component]
pub(crate) fn Detail(kind: Kind) -> impl IntoView {
    let shared = shared();
    let Ok(name) = format!("{}/{}", param("publisher"), param("slug")).parse::<AssetName>() else {
        return view! { <super::missing::Missing /> }.into_any();
    };
    let asked = name.clone();
    let (found, failure) = polled(Duration::from_secs(4), move || {
        let (network, name, account) = (shared.network.get(), asked.clone(), shared.account());
        async move {
            let Some(network) = network else { return Ok(None) };
            let contract = listings(&network, kind);
            let mut listing = chain::view(&network.rpc_url, &contract.listing(&name)).await?;
            if let Some(listing) = &mut listing {
                listing.versions = chain::versions(&network.rpc_url, &contract, &name).await?;
            }
            let licence = match account {
                Some(account) => chain::view(&network.rpc_url, &contract.licence(&account, &name)).await?,
                None => None,
            };
            Ok(Some((listing, licence)))
        }
    });
    let rated = name.clone();
    let exists = Memo::new(move |_| found.get().flatten().is_some_and(|(listing, _)| listing.is_some()));
    view! {
        <MaybeProblem failure />
        {move || match found.get().flatten() {
            None => view! { <div class="skeleton" style="height: 200px" aria-label="Loading"></div> }.into_any(),
            Some((None, _)) => view! { <super::missing::Missing /> }.into_any(),
            Some((Some(listing), licence)) => view! { <Card listing licence /> }.into_any(),
        }}
        {move || exists.get().then(|| view! { <Reviews kind name=rated.clone() /> })}
    }
    .into_any()
}

#[component]
fn Card(listing: Listing, licence: Option<Licence>) -> impl IntoView {
    let account = shared().account();
    let own = account.as_ref() == Some(listing.name.publisher());
    let may_use = own || licence.is_some() || (listing.price.is_zero() && account.is_some());
    let model = (listing.kind == Kind::Model)
        .then(|| {
            listing
                .versions
                .last()
                .and_then(|version| version.files.iter().find(|file| file.name.as_str() == "model.safetensors").map(|file| file.hash))
        })
        .flatten();
    let tool = (listing.kind == Kind::Tool)
        .then(|| listing.versions.last().and_then(|version| version.files.first().map(|file| file.hash)))
        .flatten();
    let (name, price) = (listing.name.clone(), price_word(&listing));
    view! {
        <header><div><h1>{listing.title.to_string()}</h1><p class="mono">{listing.name.to_string()}</p></div><span class="chip plain">{category_word(listing.category)}</span></header>
        <div class="split">
            <div class="stack" style="gap: 16px">
                <section class="card"><h2>"What it is"</h2><p>{listing.summary.to_string()}</p>
                    {(!listing.parents.is_empty()).then(|| view! { <p class="soft">"Made from "{listing.parents.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")}"."</p> })}
                </section>
                {listing.versions.iter().enumerate().rev().map(|(index, version)| view! {
                    <section class="card">
                        <div class="row between"><h2>"Version "{index + 1}</h2>{version.run_id.map(|run| view! { <A href=format!("/runs/{run}")>"Made by run "{run.0}", says its publisher"</A> })}</div>
                        <p class="soft">{version.note.to_string()}</p>
                        {version.files.iter().map(|file| view! { <div class="row between"><span>{file.name.to_string()}</span><span class="faint num">{file.bytes}" bytes"</span><Id text=file.hash.to_string() />
                            {may_use.then(|| view! { <Download hash=file.hash name=file.name.to_string() label="Download" /> })}</div> }).collect_view()}
                    </section>
                }).collect_view()}
            </div>
            <div class="stack" style="gap: 16px">
                {if may_use {
                    view! { <section class="card"><p class="note good">{if own { "You published this." } else if licence.is_some() { "You hold a licence." } else { "Free to use." }}</p>
                        {model.map(|hash| view! { <A href=format!("/train?model={hash}&name={name}") attr:class="button primary">"Train from this"</A><A href=format!("/compute?model={hash}") attr:class="button">"Generate text with it"</A> })}
                        {tool.map(|hash| view! { <A href=format!("/compute?tool={hash}") attr:class="button primary">"Use it on a model"</A> })}
                    </section> }.into_any()
                } else {
                    view! { <Buy listing=listing.clone() /> }.into_any()
                }}
                <section class="card"><dl class="pairs"><dt>"Price"</dt><dd>{price}</dd>{listing.price_per_use.map(|price| view! { <dt>"Price of a use"</dt><dd><Money asset=listing.asset.clone() amount=price /></dd> })}<dt>"Licence"</dt><dd>{listing.licence.to_string()}</dd><dt>"Sold"</dt><dd class="num">{listing.sold}</dd><dt>"Royalty of works made from it"</dt><dd class="num">{listing.royalty.to_string()}</dd></dl></section>
            </div>
        </div>
    }
}

async fn buy(shared: Shared, listing: Listing) -> Outcome<()> {
    let (network, account) = shared.signed_in()?;
    let contract = listings(&network, listing.kind);
    let payment = Payment {
        target: contract.0,
        asset: listing.asset,
        amount: listing.price,
        msg: PaymentMsg::Licence { name: listing.name },
        expires_by: now().after(DurationMs::from_days(1)),
        holdback: BasisPoints::ZERO,
        post_at_once: listing.price,
        objection_window: DurationMs(0),
    };
    pay(&network, &account, payment).await.map(|_| ())
}

#[component]
fn Buy(listing: Listing) -> impl IntoView {
    let shared = shared();
    let (failure, busy) = (RwSignal::new(None), RwSignal::new(false));
    let fee = move || shared.network.get().map_or(BasisPoints::ZERO, |network| network.fee);
    let shares: Vec<(AccountId, Amount)> = split(&listing, listing.price);
    let asset = StoredValue::new(listing.asset.clone());
    let words = move |amount: Amount| asset.with_value(|asset| shared.words(asset, amount));
    let to = move || shares.iter().map(|(account, amount)| format!("{account} {}", words(*amount))).collect::<Vec<_>>().join(", ");
    let storage = RwSignal::new(Amount::ZERO);
    let (price, name) = (listing.price, listing.name.clone());
    Effect::new(move |_| {
        if let Some((network, session)) = shared.network.get().zip(shared.session.get()) {
            let msg = PaymentMsg::Licence { name: name.clone() };
            spawn_local(async move {
                if let Ok(near) = deposit(&network, &session.account_id, Amount::ZERO, &msg).await {
                    storage.try_set(near);
                }
            });
        }
    });
    let start = move |_| {
        if needs_sign_in(shared) {
            return;
        }
        let listing = listing.clone();
        busy.set(true);
        spawn_local(async move {
            failure.set(buy(shared, listing).await.err());
            busy.set(false);
            shared.refresh_balance();
        });
    };
    view! {
        {move || view! { <QuoteCard quote=quote_purchase(price, fee()) what="a licence, for good".to_owned() paid="at once; purchases are final" to=to() back="nothing of the price: purchases are final" storage=storage.get() asset=asset.get_value() /> }}
        <button class="button primary" disabled=move || busy.get() on:click=start>{move || if busy.get() { "Waiting for your wallet".to_owned() } else { format!("Buy licence for at most {}", words(price)) }}</button>
        <MaybeProblem failure />
    }
}

/// Sends a publication through the wallet.
pub(crate) async fn publish(shared: Shared, args: starling_contract_api::hub::PublishArgs) -> Outcome<AssetName> {
    let (network, account) = shared.signed_in()?;
    let contract = listings(&network, args.kind);
    let name = AssetName::new(account, &args.slug).map_err(|error| Failure::new("name", error.to_string()))?;
    let storage = chain::view(&network.rpc_url, &contract.storage_price()).await?;
    wallet::send(&contract.publish(&args, storage)).await?;
    open_split(&network, &contract, &name).await?;
    Ok(name)
}

/// Opens the split of a new listing's ancestors, where a payment names it and nobody has opened it: so each sale's royalties reach it at once.
async fn open_split(network: &NetworkInfo, contract: &Listings, name: &AssetName) -> Outcome<()> {
    let listing = chain::view(&network.rpc_url, &contract.listing(name)).await?;
    let Some(split) = listing.as_ref().and_then(lineage_split) else { return Ok(()) };
    let billing = Billing(network.deployment.billing.clone());
    if chain::view(&network.rpc_url, &billing.split(&split.account())).await?.is_none() {
        wallet::send(&billing.open_split(split.shares(), split_deposit(split.shares().len()))).await?;
    }
    Ok(())
}
