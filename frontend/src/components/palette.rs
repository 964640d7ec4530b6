//! Search and commands: places, runs, machines, models and tools by a few letters.

use crate::{
    api::{chain, coordinator},
    app::{Shared, shared},
    pages::{
        models::{address, listings},
        run::state_chip,
    },
};
use leptos::{ev, html, prelude::*, task::spawn_local};
use leptos_router::hooks::use_navigate;
use starling_browse::palette::choose;
use starling_http_api::{node::OfferView, path, run::RunView};
use starling_protocol::listing::{Kind, Listing};

/// What an entry does.
#[derive(Clone)]
enum Does {
    Goes(String),
    SignsIn,
    SignsOut,
}

/// Something that can be chosen.
#[derive(Clone)]
struct Entry {
    name: String,
    about: String,
    does: Does,
}

impl Entry {
    fn to(name: impl Into<String>, about: impl Into<String>, path: impl Into<String>) -> Self {
        Self { name: name.into(), about: about.into(), does: Does::Goes(path.into()) }
    }
}

/// Places, and what can be done anywhere.
fn places(is_signed_in: bool) -> Vec<Entry> {
    let sign = if is_signed_in {
        Entry { name: "Sign out".to_owned(), about: "of this browser".to_owned(), does: Does::SignsOut }
    } else {
        Entry { name: "Sign in".to_owned(), about: "with a wallet".to_owned(), does: Does::SignsIn }
    };
    [
        ("Home", "what runs on this network", "/"),
        ("Models", "published, with files and lineage", "/models"),
        ("Compute", "machines on offer, my leases", "/compute"),
        ("Train", "a model on other people's machines", "/train"),
        ("Market", "research tools and data sets", "/market"),
        ("Billing", "balance, escrows, history, receipts", "/billing"),
        ("Network", "health, rules, contracts", "/network"),
        ("Run code", "a script or notebook on a rented machine", "/train/code"),
        ("Publish a model", "files, price and licence", "/models/publish"),
        ("Publish a tool", "probes and what to measure", "/market/publish"),
        ("Publish a data set", "a file to train on", "/market/publish?what=data"),
        ("My nodes", "earnings, limits, pause", "/provider"),
    ]
    .map(|(name, about, path)| Entry::to(name, about, path))
    .into_iter()
    .chain([sign])
    .collect()
}

fn run_entry(view: &RunView) -> Entry {
    let id = view.run.id.0;
    let (_, state) = state_chip(view);
    Entry::to(format!("Run {id}"), format!("run of {}, {state}", view.run.tenant), format!("/runs/{id}"))
}

fn offer_entry(shared: Shared, view: &OfferView) -> Entry {
    let (id, node) = (view.offer.id, &view.node.node);
    let terms = &view.offer.terms;
    let price = shared.words(&terms.asset, terms.price_per_hour);
    Entry::to(format!("Rent node {}", node.id), format!("{}, {price} an hour", node.provider), format!("/compute/rent/{id}"))
}

fn listing_entry(listing: &Listing) -> Entry {
    let what = if listing.kind == Kind::Model { "model" } else { "tool" };
    Entry::to(listing.title.to_string(), format!("{what} {}", listing.name), address(listing))
}

#[component]
pub(crate) fn Palette() -> impl IntoView {
    let (shared, navigate) = (shared(), use_navigate());
    let (dialog, input) = (NodeRef::<html::Dialog>::new(), NodeRef::<html::Input>::new());
    let (typed, marked) = (RwSignal::new(String::new()), RwSignal::new(0_usize));
    let entries = RwSignal::new(places(shared.account().is_some()));
    Effect::new(move |_| {
        let (Some(dialog), Some(input)) = (dialog.get(), input.get()) else { return };
        if !dialog.open() && dialog.show_modal().is_ok() {
            let _ = input.focus();
        }
    });
    // What does not answer is not among them.
    let add = move |more: Vec<Entry>| {
        entries.try_update(|entries| entries.extend(more));
    };
    spawn_local(async move {
        if let Ok(runs) = coordinator::get::<Vec<RunView>>(path::RUNS).await {
            add(runs.iter().map(run_entry).collect());
        }
    });
    spawn_local(async move {
        if let Ok(offers) = coordinator::get::<Vec<OfferView>>(path::OFFERS).await {
            add(offers.iter().map(|offer| offer_entry(shared, offer)).collect());
        }
    });
    if let Some(network) = shared.network_now() {
        spawn_local(async move {
            for kind in [Kind::Model, Kind::Tool] {
                if let Ok(found) = chain::listings(&network.rpc_url, &listings(&network, kind)).await {
                    add(found.iter().map(listing_entry).collect());
                }
            }
        });
    }
    let shown = Memo::new(move |_| {
        entries.with(|entries| typed.with(|typed| choose(typed, entries.iter().map(|entry| (entry.name.as_str(), entry.about.as_str())))))
    });
    let at = move || marked.get().min(shown.with(Vec::len).saturating_sub(1));
    let take = move |place: usize| {
        let Some(Entry { does, .. }) = entries.with_untracked(|entries| entries.get(place).cloned()) else { return };
        shared.searching.set(false);
        match does {
            Does::Goes(path) => navigate(&path, leptos_router::NavigateOptions::default()),
            Does::SignsIn => shared.signing_in.set(true),
            Does::SignsOut => shared.leave(),
        }
    };
    let take = StoredValue::new(take);
    let keys = move |event: ev::KeyboardEvent| {
        let (now, count) = (untrack(at), shown.with_untracked(Vec::len).max(1));
        match event.key().as_str() {
            "ArrowDown" => marked.set((now + 1) % count),
            "ArrowUp" => marked.set((now + count - 1) % count),
            "Enter" => {
                if let Some(place) = shown.with_untracked(|shown| shown.get(now).copied()) {
                    take.get_value()(place);
                }
            }
            _ => return,
        }
        event.prevent_default();
    };
    let option = move |(row, place): (usize, usize)| {
        let entry = entries.with_untracked(|entries| entries.get(place).cloned());
        entry.map(|Entry { name, about, .. }| {
            view! {
                <li role="option" id=format!("found-{row}") aria-selected=move || (at() == row).to_string() on:mousemove=move |_| marked.set(row) on:click=move |_| take.get_value()(place)>
                    <span>{name}</span><span class="faint">{about}</span>
                </li>
            }
        })
    };
    view! {
        <dialog class="sheet palette" node_ref=dialog aria-label="Search and commands" on:close=move |_| shared.searching.set(false) on:click:target=move |event| { if event.target().has_attribute("open") { shared.searching.set(false) } }>
            <input node_ref=input type="text" role="combobox" aria-expanded="true" aria-controls="found" aria-autocomplete="list" aria-activedescendant=move || format!("found-{}", at()) aria-label="Go to a page, run, machine, model or tool" placeholder="Go to a page, run, machine, model or tool" autocomplete="off" maxlength="100" prop:value=move || typed.get() on:input:target=move |event| { typed.set(event.target().value()); marked.set(0) } on:keydown=keys />
            <ul id="found" role="listbox" aria-label="Found">{move || shown.get().into_iter().enumerate().filter_map(option).collect_view()}</ul>
            {move || shown.with(Vec::is_empty).then(|| view! { <p class="soft">"Nothing here has these words."</p> })}
            <p class="faint">"Arrow keys choose, Enter goes, Escape closes."</p>
        </dialog>
    }
}
