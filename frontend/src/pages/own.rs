//! What a publisher has on a shelf, what it earned, and what can be changed about it.

use super::polled;
use crate::{
    api::{Failure, Outcome, chain, coordinator, tokens, wallet},
    app::{Shared, shared},
    components::ui::MaybeProblem,
    pages::models::{address, listings, price_word},
};
use leptos::{prelude::*, task::spawn_local};
use leptos_router::components::A;
use starling_browse::income::{Income, Sums, income};
use starling_http_api::{network::HistoryEntry, path};
use starling_primitives::{AccountId, Amount};
use starling_protocol::listing::{Kind, Listing};
use std::time::Duration;

/// Lines of history that are asked for at once, and how often at most.
const PAGE: usize = 200;
const PAGES: usize = 20;

async fn earned(account: &AccountId) -> Outcome<Income> {
    let mut all: Vec<HistoryEntry> = Vec::new();
    for _ in 0..PAGES {
        let before = all.last().map_or_else(String::new, |entry| format!("&before={}", entry.seq));
        let page: Vec<HistoryEntry> = coordinator::get(&format!("{}?account={account}&limit={PAGE}{before}", path::HISTORY)).await?;
        let is_last = page.len() < PAGE;
        all.extend(page);
        if is_last {
            break;
        }
    }
    Ok(income(&all, account))
}

fn sums_words(shared: Shared, sums: Option<&Sums>) -> String {
    let words: Vec<String> = sums.into_iter().flatten().map(|(asset, amount)| shared.words(asset, *amount)).collect();
    if words.is_empty() { Amount::ZERO.display_near() } else { words.join(", ") }
}

/// The listings of whoever is signed in among `all`, with their income; nothing for who has none.
#[component]
pub(crate) fn Own(all: Memo<Option<Vec<Listing>>>) -> impl IntoView {
    let shared = shared();
    let own = Memo::new(move |_| {
        let account = shared.account();
        all.with(|all| {
            let own = all.iter().flatten().filter(|listing| account.as_ref() == Some(listing.name.publisher()));
            own.cloned().collect::<Vec<_>>()
        })
    });
    let has_own = Memo::new(move |_| !own.with(Vec::is_empty));
    let (income, failure) = polled(Duration::from_secs(30), move || {
        let account = shared.account().filter(|_| has_own.get());
        async move {
            match account {
                Some(account) => earned(&account).await.map(Some),
                None => Ok(None),
            }
        }
    });
    let income = Memo::new(move |_| income.get().flatten());
    let earned = move |listing: &Listing| match income.get() {
        Some(income) => sums_words(shared, income.own.get(&listing.name)),
        None => "reading".to_owned(),
    };
    let royalties = move || income.get().map(|income| income.royalties).filter(|royalties| !royalties.is_empty());
    view! {
        <Show when=move || has_own.get()>
            <section class="card" aria-label="Published by you">
                <h2>"Published by you"</h2>
                <div class="scroll"><table class="stacked"><thead><tr><th>"Item"</th><th class="num">"Price"</th><th class="num">"Sold"</th><th class="num">"Income, after the fee"</th><th>"Ratings"</th></tr></thead><tbody>
                    {move || own.get().into_iter().map(|listing| { let (price, income) = (price_word(&listing), earned(&listing)); view! { <tr>
                        <td data-label="Item"><A href=address(&listing)>{listing.title.to_string()}</A></td>
                        <td data-label="Price" class="num">{price}</td>
                        <td data-label="Sold" class="num">{listing.sold}</td>
                        <td data-label="Income" class="num">{income}</td>
                        <td data-label="Ratings">{listing.ratings.words().unwrap_or_else(|| "none yet".to_owned())}</td>
                    </tr> }}).collect_view()}
                </tbody></table></div>
                {move || royalties().map(|royalties| view! { <p>"Royalties of works that others made from yours: "<span class="num">{sums_words(shared, Some(&royalties))}</span></p> })}
                <p class="faint">"Income is the sum of what your history holds of sales and uses, in the last 4,000 lines. "<A href="/billing">"Each payment in Billing"</A></p>
                <MaybeProblem failure />
            </section>
        </Show>
    }
}

/// What a publisher changes about a listing.
enum Change {
    /// Prices of licences and uses to come.
    Price(Amount, Option<Amount>),
    /// Nobody buys it any more.
    Delist,
}

async fn change(shared: Shared, listing: &Listing, change: Change) -> Outcome<()> {
    let (network, _) = shared.signed_in()?;
    let contract = listings(&network, listing.kind);
    let call = match change {
        Change::Price(price, per_use) => {
            let storage = chain::view(&network.rpc_url, &contract.storage_price()).await?;
            contract.set_price(&listing.name, &listing.asset, price, per_use, storage)
        }
        Change::Delist => contract.delist(&listing.name),
    };
    wallet::send(&call).await.map(|_| ())
}

/// Prices and the place on the list, for the publisher.
#[component]
pub(crate) fn Manage(listing: Listing) -> impl IntoView {
    let shared = shared();
    let (failure, busy, done, asking) = (RwSignal::new(None::<Failure>), RwSignal::new(false), RwSignal::new(""), RwSignal::new(false));
    let number = |amount: Amount| {
        let exact = shared.tokens.with_untracked(|known| tokens::exact(known, &listing.asset, amount));
        exact.split(' ').next().unwrap_or_default().replace(',', "")
    };
    let (price, per_use) = (RwSignal::new(number(listing.price)), RwSignal::new(listing.price_per_use.map(number).unwrap_or_default()));
    let unit = shared.tokens.with_untracked(|known| tokens::name(known, &listing.asset));
    let (kind, use_unit) = (listing.kind, unit.clone());
    let (title, listing) = (listing.title.to_string(), StoredValue::new(listing));
    let act = move |wanted: Outcome<Change>, told: &'static str| {
        failure.set(None);
        done.set("");
        asking.set(false);
        busy.set(true);
        spawn_local(async move {
            let outcome = match wanted {
                Ok(wanted) => change(shared, &listing.get_value(), wanted).await,
                Err(error) => Err(error),
            };
            done.try_set(if outcome.is_ok() { told } else { "" });
            failure.try_set(outcome.err());
            busy.try_set(false);
        });
    };
    let read = move || {
        let (tokens, asset) = (shared.tokens.get_untracked(), listing.with_value(|listing| listing.asset.clone()));
        let per_use = per_use.get_untracked();
        let per_use = (!per_use.trim().is_empty()).then(|| tokens::parse(&tokens, &asset, &per_use)).transpose()?;
        Ok(Change::Price(tokens::parse(&tokens, &asset, &price.get_untracked())?, per_use))
    };
    let set_price = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        act(read(), "The new prices hold for what is bought from now on.");
    };
    view! {
        <section class="card" aria-label="Change it"><h2>"Change it"</h2>
            <form class="stack" on:submit=set_price>
                <label class="field">"New price of a licence"<input inputmode="decimal" required maxlength="48" prop:value=move || price.get() on:input:target=move |event| price.set(event.target().value()) /><span class="hint">{format!("In {unit}. 0: free for everyone")}</span></label>
                {(kind != Kind::Dataset).then(|| view! { <label class="field">"New price of a use"<input inputmode="decimal" maxlength="48" prop:value=move || per_use.get() on:input:target=move |event| per_use.set(event.target().value()) /><span class="hint">{format!("In {use_unit}; empty if no use is sold")}</span></label> })}
                <button class="button" disabled=move || busy.get()>{move || if busy.get() { "Waiting for your wallet" } else { "Change the prices" }}</button>
            </form>
            {move || if asking.get() {
                view! {
                    <p>{format!("Take \"{title}\" off the list? Nobody can find or buy it any more. Licences stay valid; who used it for nothing and took none can use it no more. It cannot be listed again.")}</p>
                    <div class="row"><button class="button danger" on:click=move |_| act(Ok(Change::Delist), "It is off the list.")>"Take it off"</button><button class="button" on:click=move |_| asking.set(false)>"Keep it"</button></div>
                }.into_any()
            } else {
                view! { <div class="row"><button class="button danger" disabled=move || busy.get() on:click=move |_| asking.set(true)>"Take it off the list"</button></div> }.into_any()
            }}
            {move || Some(done.get()).filter(|done| !done.is_empty()).map(|done| view! { <p class="note good" role="status">{done}</p> })}
            <MaybeProblem failure />
        </section>
    }
}
