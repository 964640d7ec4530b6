//! The model hub: the list with its filters, and a model's page.

use super::{param, polled};
use crate::{
    api::{
        Failure, Outcome, chain,
        pay::{Payment, deposit, now, pay},
        wallet,
    },
    app::{Shared, shared},
    components::{
        hub::{Address, Choose, Pager},
        quote::QuoteCard,
        ui::{Empty, Id, MaybeProblem, Money},
    },
    pages::{ratings::Reviews, run::Download},
};
use leptos::{prelude::*, task::spawn_local};
use leptos_router::components::A;
use starling_browse::listings::{Wanted, bytes, is_made_here, licences as found_licences};
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

/// Listings with search, filters, order and page, all in the address.
#[component]
pub(crate) fn Catalogue(models: bool) -> impl IntoView {
    let shared = shared();
    let kind = if models { Kind::Model } else { Kind::Tool };
    let address = Address::here();
    let (found, failure) = polled(Duration::from_secs(5), move || {
        let network = shared.network.get();
        async move {
            let Some(network) = network else { return Ok(None) };
            chain::listings(&network.rpc_url, &listings(&network, kind)).await.map(Some)
        }
    });
    let all = Memo::new(move |_| found.get().flatten());
    let place = if models { "/models" } else { "/market" };
    let wanted = Memo::new(move |_| address.read(|address| Wanted::read(address)));
    let say = move |wanted: Wanted| address.say(&wanted.say(), &[]);
    // Another filter begins at its first page.
    let change = move |change: &dyn Fn(&mut Wanted)| {
        let mut wanted = Wanted { page: 1, ..wanted.get_untracked() };
        change(&mut wanted);
        say(wanted);
    };
    let licences = Memo::new(move |_| all.with(|all| all.as_deref().map(found_licences).unwrap_or_default()));
    let shown = Memo::new(move |_| all.with(|all| all.as_ref().map(|all| wanted.get().choose(all, category_named))));
    view! {
        <form class="row filters" role="search" on:submit=|event| event.prevent_default()>
            <label class="field" style="flex: 2 1 220px; max-width: none">"Search"<input type="search" maxlength="100" prop:value=move || wanted.get().text on:input:target=move |event| { let text = event.target().value(); change(&|wanted| wanted.text.clone_from(&text)) } /></label>
            <label class="field">"Category"<select prop:value=move || wanted.get().category on:change:target=move |event| { let name = event.target().value(); change(&|wanted| wanted.category.clone_from(&name)) }>
                <option value="">"All"</option>
                {CATEGORIES.map(|(_, key, word)| view! { <option value=key selected=move || wanted.get().category == key>{word}</option> }).collect_view()}
            </select></label>
            <label class="field">"Licence"<select prop:value=move || wanted.get().licence on:change:target=move |event| { let name = event.target().value(); change(&|wanted| wanted.licence.clone_from(&name)) }>
                <option value="">"Any"</option>
                {move || licences.get().into_iter().map(|name| { let key = name.clone(); view! { <option value=name.clone() selected=move || wanted.get().licence == key>{name.clone()}</option> }}).collect_view()}
            </select></label>
            <Choose label="Price" value=Signal::derive(move || wanted.get().price) choose=move |price| change(&|wanted| wanted.price = price) />
            {models.then(|| view! { <Choose label="Size" value=Signal::derive(move || wanted.get().size) choose=move |size| change(&|wanted| wanted.size = size) /> })}
            <Choose label="Sort by" value=Signal::derive(move || wanted.get().order) choose=move |order| change(&|wanted| wanted.order = order) />
            {models.then(|| view! { <label class="row"><input type="checkbox" prop:checked=move || wanted.get().made_here on:change:target=move |event| { let here = event.target().checked(); change(&|wanted| wanted.made_here = here) } />"Runs here: made by a run of this network"</label> })}
        </form>
        <MaybeProblem failure />
        {move || shown.get().filter(|page| page.total > 0).map(|page| view! { <Pager page what=if models { "models fit" } else { "tools fit" } go=move |page| say(Wanted { page, ..wanted.get_untracked() }) /> })}
        {move || match (shown.get(), all.with(|all| all.as_ref().is_some_and(Vec::is_empty))) {
            (None, _) => view! { <div class="skeleton" style="height: 120px" aria-hidden="true"></div> }.into_any(),
            (Some(page), true) if page.total == 0 => view! { <Empty><p>{if models { "No model here yet. A finished run can be published from its page." } else { "No research tool here yet. A tool is a set of prompts with what to measure; anyone can publish one." }}</p></Empty> }.into_any(),
            (Some(page), false) if page.total == 0 => view! { <Empty><p>"Nothing here fits these filters."</p><A href=place attr:class="button">"Show everything"</A></Empty> }.into_any(),
            (Some(page), _) => view! { <div class="cards">{page.items.into_iter().filter_map(|index| all.with_untracked(|all| all.as_ref()?.get(index).cloned())).map(|listing| view! { <ListingCard listing place /> }).collect_view()}</div> }.into_any(),
        }}
    }
}

#[component]
fn ListingCard(listing: Listing, place: &'static str) -> impl IntoView {
    let (price, mean) = (price_word(&listing), listing.ratings.words());
    let made_here = listing.kind == Kind::Model && is_made_here(&listing);
    let size = size_word(bytes(&listing));
    view! {
        <article class="card">
            <h2><A href=format!("{place}/{}/{}", listing.name.publisher(), listing.name.slug())>{listing.title.to_string()}</A></h2>
            <p class="mono faint">{listing.name.to_string()}</p>
            <p class="soft">{listing.summary.to_string()}</p>
            <div class="row between"><span class="row"><span class="chip plain">{category_word(listing.category)}</span>{made_here.then(|| view! { <span class="chip good">"runs here"</span> })}</span><span class="num">{price}", "{listing.licence.to_string()}</span></div>
            <p class="faint num">{size}{mean.map(|mean| format!(", {mean}"))}</p>
        </article>
    }
}

/// Bytes in the largest unit of which there is at least one.
pub(crate) fn size_word(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let bytes_f = bytes as f64;
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes_f / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes_f / 1e6),
        _ => format!("{:.1} GB", bytes_f / 1e9),
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
                        {version.files.iter().map(|file| view! { <div class="row between"><span>{file.name.to_string()}</span><span class="faint num" title=format!("{} bytes", file.bytes)>{size_word(file.bytes)}</span><Id text=file.hash.to_string() />
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
