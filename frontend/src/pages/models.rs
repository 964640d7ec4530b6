//! The model hub: the list with its filters, and a model's page.

use super::{param, polled};
use crate::{
    api::{
        Failure, Outcome, chain, coordinator,
        pay::{Payment, now, pay},
        wallet,
    },
    app::{Shared, shared},
    components::{
        hub::{Address, Choose, Pager},
        quote::{QuoteCard, storage},
        ui::{Ago, Coming, Empty, Id, MaybeProblem, Money},
    },
    pages::{
        own::{Manage, Own},
        ratings::Reviews,
        rent::{CLASSIFY, PICTURES},
        run::{Download, figures, nodes_word},
        uses::Uses,
    },
};
use leptos::{prelude::*, task::spawn_local};
use leptos_router::components::A;
use starling_browse::listings::{Wanted, bytes, is_made_here, licences as found_licences};
use starling_contract_api::{
    billing::{Billing, split_deposit},
    hub::Listings,
    payment::{LICENCE_BYTES, PaymentMsg},
};
use starling_http_api::{network::NetworkInfo, path, run::RunView};
use starling_primitives::{AccountId, Amount, AssetName, BasisPoints, DurationMs, Hash32};
use starling_protocol::{
    listing::{Category, Kind, Listing, Version, lineage_split, split},
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

/// What a chip says: a data set is one, whatever it is for.
fn kind_or_category(listing: &Listing) -> &'static str {
    if listing.kind == Kind::Dataset { "Data set" } else { category_word(listing.category) }
}

/// The contract that lists this kind.
pub(crate) fn listings(network: &NetworkInfo, kind: Kind) -> Listings {
    Listings(if kind == Kind::Model { network.deployment.hub.clone() } else { network.deployment.market.clone() })
}

/// The address of a listing's page.
pub(crate) fn address(listing: &Listing) -> String {
    place(listing.kind, &listing.name)
}

/// The same by its kind and name.
pub(crate) fn place(kind: Kind, name: &AssetName) -> String {
    let shelf = if kind == Kind::Model { "models" } else { "market" };
    format!("/{shelf}/{}/{}", name.publisher(), name.slug())
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
        <Own all />
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
            {(!models).then(|| view! { <Choose label="Kind" value=Signal::derive(move || wanted.get().goods) choose=move |goods| change(&|wanted| wanted.goods = goods) /> })}
            <Choose label="Price" value=Signal::derive(move || wanted.get().price) choose=move |price| change(&|wanted| wanted.price = price) />
            {models.then(|| view! { <Choose label="Size" value=Signal::derive(move || wanted.get().size) choose=move |size| change(&|wanted| wanted.size = size) /> })}
            <Choose label="Sort by" value=Signal::derive(move || wanted.get().order) choose=move |order| change(&|wanted| wanted.order = order) />
            {models.then(|| view! { <label class="row"><input type="checkbox" prop:checked=move || wanted.get().made_here on:change:target=move |event| { let here = event.target().checked(); change(&|wanted| wanted.made_here = here) } />"Made by a run of this network, says its publisher"</label> })}
        </form>
        <MaybeProblem failure />
        {move || shown.get().filter(|page| page.total > 0).map(|page| view! { <Pager page what=if models { ["model fits", "models fit"] } else { ["item fits", "items fit"] } go=move |page| say(Wanted { page, ..wanted.get_untracked() }) /> })}
        {move || match (shown.get(), all.with(|all| all.as_ref().is_some_and(Vec::is_empty))) {
            (None, _) => view! { <div class="skeleton" style="height: 120px" aria-hidden="true"></div> }.into_any(),
            (Some(page), true) if page.total == 0 => view! { <Empty><p>{if models { "No model here yet. A finished run can be published from its page." } else { "Nothing is on the market yet. A research tool is a set of prompts with what to measure, a data set is a file to train on; anyone can publish either." }}</p></Empty> }.into_any(),
            (Some(page), false) if page.total == 0 => view! { <Empty><p>"Nothing here fits these filters."</p><A href=place attr:class="button">"Show everything"</A></Empty> }.into_any(),
            (Some(page), _) => view! { <div class="cards">{page.items.into_iter().filter_map(|index| all.with_untracked(|all| all.as_ref()?.get(index).cloned())).map(|listing| view! { <ListingCard listing /> }).collect_view()}</div> }.into_any(),
        }}
    }
}

#[component]
fn ListingCard(listing: Listing) -> impl IntoView {
    let (price, mean) = (price_word(&listing), listing.ratings.words());
    let made_here = listing.kind == Kind::Model && is_made_here(&listing);
    let (size, what) = (size_word(bytes(&listing)), kind_or_category(&listing));
    view! {
        <article class="card">
            <h2><A href=address(&listing)>{listing.title.to_string()}</A></h2>
            <p class="mono faint">{listing.name.to_string()}</p>
            <p class="soft">{listing.summary.to_string()}</p>
            <div class="row between"><span class="row"><span class="chip plain">{what}</span>{made_here.then(|| view! { <span class="chip plain">"made by a run"</span> })}</span><span class="num">{price}", "{listing.licence.to_string()}</span></div>
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

pub(crate) fn price_word(listing: &Listing) -> String {
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
    let listing = Memo::new(move |_| found.with(|found| found.as_ref()?.as_ref()?.0.clone()));
    let licensed = Memo::new(move |_| found.with(|found| found.iter().flatten().any(|(_, licence)| licence.is_some())));
    let exists = Memo::new(move |_| found.with(|found| found.as_ref()?.as_ref().map(|(listing, _)| listing.is_some())));
    let files = move || listing.get().map(|listing| view! { <Files may_use=may_use(&listing, licensed.get()) listing /> });
    // What someone types about a price stays while others buy and rate.
    let offered = Memo::new(move |_| {
        listing.with(|listing| {
            let listing = listing.as_ref()?;
            Some((listing.asset.clone(), listing.price, listing.price_per_use, listing.delisted, listing.versions.len()))
        })
    });
    let terms = move || {
        offered.track();
        listing.get_untracked().map(|listing| view! { <Terms listing licensed=licensed.get() /> })
    };
    view! {
        <MaybeProblem failure />
        {move || match exists.get() {
            None => view! { <Coming title=name.to_string() /> }.into_any(),
            Some(false) => view! { <super::missing::Missing /> }.into_any(),
            // The form of a rating stays as it is while the listing changes.
            Some(true) => view! {
                {move || listing.get().map(|listing| view! { <header><div><h1>{listing.title.to_string()}</h1><p class="mono">{listing.name.to_string()}</p></div><span class="chip plain">{kind_or_category(&listing)}</span></header> })}
                <div class="split woven">
                    <div class="stack" style="gap: 16px">{files}{(kind == Kind::Model).then(|| view! { <Evaluation listing /> })}<Reviews kind name=name.clone() /></div>
                    <div class="stack early" style="gap: 16px">{terms}</div>
                </div>
            }.into_any(),
        }}
    }
    .into_any()
}

fn is_own(listing: &Listing) -> bool {
    shared().account().as_ref() == Some(listing.name.publisher())
}

fn may_use(listing: &Listing, licensed: bool) -> bool {
    is_own(listing) || licensed || (listing.price.is_zero() && !listing.delisted && shared().account().is_some())
}

/// What it is, the files of its versions, the newest first, and its price.
#[component]
fn Files(listing: Listing, may_use: bool) -> impl IntoView {
    let price = price_word(&listing);
    let parents: Vec<_> = listing.parents.iter().map(|parent| (place(listing.kind, parent), parent.to_string())).collect();
    view! {
        <section class="card lead"><h2>"What it is"</h2><p>{listing.summary.to_string()}</p>
            {(!parents.is_empty()).then(|| view! { <p class="row soft">"Made from"{parents.into_iter().map(|(place, name)| view! { <A href=place attr:class="mono">{name}</A> }).collect_view()}</p> })}
        </section>
        {listing.versions.iter().enumerate().rev().map(|(index, version)| view! {
            <section class="card">
                <div class="row between"><div class="row"><h2>"Version "{index + 1}</h2><Ago at=Some(version.published_at) /></div>{version.run_id.map(|run| view! { <A href=format!("/runs/{run}")>"Made by run "{run.0}", says its publisher"</A> })}</div>
                {(!version.note.as_str().is_empty()).then(|| view! { <p class="soft">{version.note.to_string()}</p> })}
                <ul class="files">{version.files.iter().map(|file| view! { <li>
                    <span class="name">{file.name.to_string()}</span><span class="faint num" title=format!("{} bytes", file.bytes)>{size_word(file.bytes)}</span><Id text=file.hash.to_string() />
                    {may_use.then(|| view! { <div class="stack"><Download hash=file.hash name=file.name.to_string() label="Download" /></div> })}
                </li> }).collect_view()}</ul>
            </section>
        }).collect_view()}
        <section class="card"><dl class="pairs"><dt>"Price"</dt><dd>{price}</dd>{listing.price_per_use.map(|price| view! { <dt>"Price of a use"</dt><dd><Money asset=listing.asset.clone() amount=price /></dd> })}<dt>"Licence"</dt><dd>{listing.licence.to_string()}</dd><dt>"Sold"</dt><dd class="num">{listing.sold}</dd><dt>"Royalty of works made from it"</dt><dd class="num">{listing.royalty.to_string()}</dd></dl></section>
    }
}

/// What the run that a model's newest version names measured of it, where that run gave this very file.
#[component]
fn Evaluation(listing: Memo<Option<Listing>>) -> impl IntoView {
    let claimed = Memo::new(move |_| {
        listing.with(|listing| {
            let version = listing.as_ref()?.versions.last()?;
            Some((version.run_id?, model_file(version)?))
        })
    });
    let (view, failure) = polled(Duration::from_secs(30), move || {
        let claimed = claimed.get();
        async move {
            let Some((run_id, _)) = claimed else { return Ok(None) };
            coordinator::find::<RunView>(&path::fill(path::RUN, &[&run_id])).await.map(|view| Some((run_id, view)))
        }
    });
    // An answer to what was asked before is none.
    let answer = move || view.get().flatten().filter(|(run_id, _)| claimed.get().is_some_and(|(claimed, _)| claimed == *run_id));
    let shown = move || {
        match (claimed.get(), answer().map(|(_, view)| view)) {
        (None, _) => view! { <p class="soft">"Nothing was measured here: its newest version names no run of this network."</p> }.into_any(),
        (Some(_), None) => view! { <div class="skeleton" style="height: 120px" aria-hidden="true"></div> }.into_any(),
        (Some((run_id, file)), Some(view)) => match view.as_ref().and_then(|view| Some((view, view.result.as_ref()?))) {
            Some((view, result)) if result.model == file => {
                let nodes = nodes_word(view.run.roster.len());
                view! {
                    <p class="note">{format!("Its model.safetensors is what run {run_id} gave: the hashes are equal. {nodes} trained it. Node {}, which the run asked, measured it at the end on the run's held-out data; nobody has repeated that.", result.node_id)}</p>
                    {figures(result)}
                    <p class="faint">"Held-out data "<Id text=view.run.terms.held_out.to_string() />", fixed when the run was paid."</p>
                }
                .into_any()
            }
            Some(_) => view! { <p class="note warn">{format!("The file of the newest version is not what run {run_id} gave, so the run's figures are not of this model.")}</p> }.into_any(),
            None => view! { <p class="soft">{format!("Its publisher names run {run_id}, of which this coordinator has no result.")}</p> }.into_any(),
        },
    }
    };
    view! { <section class="card" aria-label="Evaluation"><h2>"Evaluation"</h2>{shown}<MaybeProblem failure /></section> }
}

/// The weights of a version.
fn model_file(version: &Version) -> Option<Hash32> {
    version.files.iter().find(|file| file.name.as_str() == "model.safetensors").map(|file| file.hash)
}

/// The ways to it, and what they cost.
#[component]
fn Terms(listing: Listing, licensed: bool) -> impl IntoView {
    view! {
        {listing.delisted.then(|| view! { <p class="note warn">"Its publisher took it off the list: it cannot be bought any more. Licences stay valid."</p> })}
        {if may_use(&listing, licensed) {
            view! { <section class="card"><p class="note good">{if is_own(&listing) { "You published this." } else if licensed { "You hold a licence." } else { "Free to use." }}</p>
                {ways(&listing)}
            </section>{(is_own(&listing) && !listing.delisted).then(|| view! { <Manage listing /> })} }.into_any()
        } else if listing.delisted {
            ().into_any()
        } else {
            view! { <Buy listing=listing.clone() />{listing.price_per_use.map(|price| view! { <Uses listing=listing.clone() price /> })} }.into_any()
        }}
    }
}

/// What one can do with a listing that one may use.
pub(crate) fn ways(listing: &Listing) -> Option<AnyView> {
    let (version, name) = (listing.versions.last()?, &listing.name);
    Some(match (listing.kind, listing.category) {
        (Kind::Tool, _) => {
            let hash = version.files.first()?.hash;
            view! { <A href=format!("/compute?tool={hash}") attr:class="button primary">"Use it on a model"</A> }.into_any()
        }
        (Kind::Dataset, _) => {
            let hash = version.files.first()?.hash;
            view! { <A href=format!("/train?data={hash}&of={name}") attr:class="button primary">"Train on it"</A> }.into_any()
        }
        (Kind::Model, Category::TextClassification | Category::Tabular) => {
            let hash = model_file(version)?;
            let words = if listing.category == Category::Tabular { "Sort rows with it" } else { "Sort texts with it" };
            view! { <A href=format!("/compute?model={hash}&task={CLASSIFY}") attr:class="button primary">{words}</A> }.into_any()
        }
        (Kind::Model, Category::Vision) => {
            let hash = model_file(version)?;
            view! { <A href=format!("/compute?model={hash}&task={PICTURES}") attr:class="button primary">"Sort pictures with it"</A> }
                .into_any()
        }
        (Kind::Model, _) => {
            let hash = model_file(version)?;
            view! { <A href=format!("/train?model={hash}&name={name}") attr:class="button primary">"Train from this"</A><A href=format!("/compute?model={hash}") attr:class="button">"Generate text with it"</A> }.into_any()
        }
    })
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
    // What arrives: each share less its fee.
    let to = move || {
        let less = |amount: Amount| Amount(amount.0.saturating_sub(amount.fraction_ceil(fee()).0));
        shares.iter().map(|(account, amount)| format!("{account} {}", words(less(*amount)))).collect::<Vec<_>>().join(", ")
    };
    let storage = storage(|| LICENCE_BYTES);
    let price = listing.price;
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
