//! What holders say of a listing, and the form of whoever holds a licence.

use super::{
    models::{listings, needs_sign_in},
    polled,
};
use crate::{
    api::{Failure, Outcome, chain, wallet},
    app::{Shared, shared},
    components::{
        icons::{Icon, Name},
        ui::{Ago, MaybeProblem},
    },
};
use leptos::{prelude::*, task::spawn_local};
use starling_contract_api::{
    hub::{MAX_RATINGS_PAGE, RATING_BYTES},
    payment::{LICENCE_BYTES, storage_cost},
};
use starling_primitives::{AssetName, Text};
use starling_protocol::listing::{Kind, MAX_STARS, Rating, Ratings, Stars};
use std::time::Duration;

/// What the chain says about a listing's ratings and about this account.
#[derive(Clone, PartialEq)]
struct Said {
    sum: Ratings,
    page: Vec<Rating>,
    own: Option<Rating>,
    may_rate: bool,
    /// The price is 0, so a licence can be taken.
    free: bool,
    published: bool,
}

async fn said(shared: Shared, kind: Kind, name: AssetName, page: u64) -> Outcome<Option<Said>> {
    let (network, account) = (shared.network.get_untracked(), shared.session.get_untracked().map(|session| session.account_id));
    let Some(network) = network else { return Ok(None) };
    let contract = listings(&network, kind);
    let Some(listing) = chain::view(&network.rpc_url, &contract.listing(&name)).await? else { return Ok(None) };
    let (from, limit) = listing.ratings.newest(page, MAX_RATINGS_PAGE);
    let mut ratings = chain::view(&network.rpc_url, &contract.ratings(&name, from, limit)).await?;
    ratings.reverse();
    let (mut own, mut licensed) = (None, false);
    if let Some(account) = &account {
        own = chain::view(&network.rpc_url, &contract.rating(account, &name)).await?;
        licensed = chain::view(&network.rpc_url, &contract.licence(account, &name)).await?.is_some();
    }
    let published = account.as_ref() == Some(name.publisher());
    let free = listing.price.is_zero() && !listing.delisted;
    Ok(Some(Said { sum: listing.ratings, page: ratings, own, may_rate: licensed && !published, free, published }))
}

#[component]
pub(crate) fn Reviews(kind: Kind, name: AssetName) -> impl IntoView {
    let shared = shared();
    let page = RwSignal::new(0_u64);
    let asked = name.clone();
    let (said, failure) = polled(Duration::from_secs(4), move || {
        // Asked again when the network, the account or the page changes.
        shared.network.track();
        shared.session.track();
        said(shared, kind, asked.clone(), page.get())
    });
    let said = move || said.get().flatten();
    // The form stays as it is while others rate: it is made anew only when this account's own standing changes.
    let standing = Memo::new(move |_| said().map(|said| (said.may_rate, said.free, said.published, said.own)));
    let pages = move || said().map_or(0, |said| said.sum.count.div_ceil(u64::from(MAX_RATINGS_PAGE)));
    view! {
        <section class="card" aria-labelledby="ratings-heading">
            <div class="row between"><h2 id="ratings-heading">"Ratings"</h2><span class="num soft">{move || said().and_then(|said| said.sum.words())}</span></div>
            <MaybeProblem failure />
            {move || match said() {
                None => view! { <div class="skeleton" style="height: 48px" aria-hidden="true"></div> }.into_any(),
                Some(said) if said.page.is_empty() => view! { <p class="soft">"Nobody has rated it yet. Whoever holds a licence may."</p> }.into_any(),
                Some(said) => said.page.into_iter().map(|rating| view! { <Review rating /> }).collect_view().into_any(),
            }}
            <Show when=move || { pages() > 1 }>
                <div class="row between">
                    <button type="button" class="button small" disabled=move || page.get() == 0 on:click=move |_| page.update(|page| *page = page.saturating_sub(1))>"Newer"</button>
                    <span class="faint num">{move || format!("Page {} of {}", page.get() + 1, pages())}</span>
                    <button type="button" class="button small" disabled=move || { page.get() + 1 >= pages() } on:click=move |_| page.update(|page| *page += 1)>"Older"</button>
                </div>
            </Show>
            {move || standing.get().map(|(may_rate, free, published, own)| match (may_rate, free && !published) {
                (true, _) => view! { <Form kind name=name.clone() own /> }.into_any(),
                (false, true) => view! { <Take kind name=name.clone() /> }.into_any(),
                _ => ().into_any(),
            })}
        </section>
    }
}

/// Stars as a row of shapes, said in words to whoever does not see them.
#[component]
fn StarRow(stars: Stars) -> impl IntoView {
    let (full, all) = (usize::from(stars.get()), usize::from(MAX_STARS));
    view! { <span class="stars" role="img" aria-label=format!("{full} of {all} stars")>{(0..all).map(|place| view! { <span class=if place < full { "full" } else { "" }><Icon name=Name::Star /></span> }).collect_view()}</span> }
}

#[component]
fn Review(rating: Rating) -> impl IntoView {
    view! {
        <article class="stack">
            <div class="row between">
                <span class="row"><StarRow stars=rating.stars /><span class="mono">{rating.rater.to_string()}</span></span>
                <Ago at=Some(rating.rated_at) />
            </div>
            <p class="prose">{rating.text.to_string()}</p>
            <p class="faint">{format!("Of version {}. {}", rating.version, if rating.bought { "Bought its licence." } else { "Took its licence for nothing." })}</p>
        </article>
    }
}

#[component]
fn Form(kind: Kind, name: AssetName, own: Option<Rating>) -> impl IntoView {
    let shared = shared();
    let (said_before, text) = own.map_or((None, String::new()), |own| (Some(own.stars.get()), own.text.to_string()));
    let (stars, text) = (RwSignal::new(said_before), RwSignal::new(text));
    let (failure, busy) = (RwSignal::new(None), RwSignal::new(false));
    let send = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let (name, stars, text) = (name.clone(), stars.get_untracked(), text.get_untracked());
        busy.set(true);
        spawn_local(async move {
            failure.try_set(rate(shared, kind, &name, stars, text).await.err());
            busy.try_set(false);
        });
    };
    view! {
        <form class="stack" on:submit=send>
            <fieldset><legend>{if said_before.is_some() { "Change your rating" } else { "Rate it" }}</legend>
                <div class="row">
                    {(1..=MAX_STARS).map(|count| view! {
                        <label class="row"><input type="radio" name="stars" required prop:checked=move || stars.get() == Some(count) on:change=move |_| stars.set(Some(count)) /><span>{count}<span class="visually-hidden">{if count == 1 { " star" } else { " stars" }}</span>" "<span class="stars" aria-hidden="true"><Icon name=Name::Star /></span></span></label>
                    }).collect_view()}
                </div>
            </fieldset>
            <label class="field">"What you think of it"<textarea maxlength="280" prop:value=move || text.get() on:input:target=move |event| text.set(event.target().value())></textarea>
                <span class="hint">"Public, with your account's name. At most 280 bytes. You pay their storage."</span></label>
            <MaybeProblem failure />
            <div><button class="button" disabled=move || busy.get()>{move || if busy.get() { "Waiting for your wallet" } else { "Save the rating" }}</button></div>
        </form>
    }
}

async fn rate(shared: Shared, kind: Kind, name: &AssetName, stars: Option<u8>, text: String) -> Outcome<()> {
    let stars = stars.and_then(|stars| Stars::new(stars).ok()).ok_or_else(|| Failure::new("stars", "Choose 1 to 5 stars."))?;
    let text = Text::new(text).map_err(|error| Failure::new("text", format!("What you think of it: {error}.")))?;
    let (network, _) = shared.signed_in()?;
    wallet::send(&listings(&network, kind).rate(name, stars, &text, storage_cost(RATING_BYTES))).await?;
    Ok(())
}

#[component]
fn Take(kind: Kind, name: AssetName) -> impl IntoView {
    let shared = shared();
    let (failure, busy) = (RwSignal::new(None), RwSignal::new(false));
    let take = move |_| {
        if needs_sign_in(shared) {
            return;
        }
        let name = name.clone();
        busy.set(true);
        spawn_local(async move {
            failure.try_set(take_licence(shared, kind, &name).await.err());
            busy.try_set(false);
        });
    };
    view! {
        <div class="stack">
            <p class="soft">"It is free. Whoever wants to rate it takes a licence first, which stays free whatever it costs later."</p>
            <MaybeProblem failure />
            <div><button type="button" class="button" disabled=move || busy.get() on:click=take>{move || if busy.get() { "Waiting for your wallet" } else { "Take a free licence" }}</button></div>
        </div>
    }
}

async fn take_licence(shared: Shared, kind: Kind, name: &AssetName) -> Outcome<()> {
    let (network, _) = shared.signed_in()?;
    wallet::send(&listings(&network, kind).take_licence(name, storage_cost(LICENCE_BYTES))).await?;
    Ok(())
}
