//! Home: what Starling is, what runs, what to do next.

use super::polled;
use crate::{
    api::coordinator,
    app::shared,
    components::ui::{Empty, MaybeProblem},
    pages::run::RunCard,
};
use leptos::prelude::*;
use leptos_router::components::A;
use starling_http_api::{node::OfferView, path, run::RunView};
use starling_primitives::Asset;
use std::{collections::BTreeSet, time::Duration};

#[component]
pub(crate) fn Home() -> impl IntoView {
    let shared = shared();
    let (runs, failure) = polled(Duration::from_secs(3), || coordinator::get::<Vec<RunView>>(path::RUNS));
    let (offers, _) = polled(Duration::from_secs(10), || coordinator::get::<Vec<OfferView>>(path::OFFERS));
    let nodes = move || {
        let Some(offers) = offers.get() else { return "Counting nodes".to_owned() };
        let nodes = offers.iter().map(|offer| offer.node.node.id).collect::<BTreeSet<_>>();
        let in_near = offers.iter().map(|offer| &offer.offer.terms).filter(|terms| terms.asset == Asset::Near);
        let from = in_near.map(|terms| terms.price_per_hour).min().map(|price| format!(", from {} an hour", price.display_near()));
        match nodes.len() {
            0 => "No node offers work right now".to_owned(),
            1 => format!("1 node offers work now{}", from.unwrap_or_default()),
            many => format!("{many} nodes offer work now{}", from.unwrap_or_default()),
        }
    };
    view! {
        <header>
            <div><h1>"Train models on other people's machines"</h1><p>"You see a price that cannot be exceeded, pay once, and watch the loss fall. Money moves only for proven progress: each step can be checked by anyone."</p></div>
            <A href="/train" attr:class="button primary">"Start a training run"</A>
        </header>
        <p><A href="/compute">{nodes}</A></p>
        <MaybeProblem failure />
        <section class="stack" aria-label="Runs">
            <h2>"Runs on this network"</h2>
            {move || match runs.get() {
                None => view! { <div class="skeleton" style="height: 120px" aria-hidden="true"></div> }.into_any(),
                Some(runs) if runs.is_empty() => view! { <Empty><p>"No run yet. The first one appears here the moment it is paid."</p><A href="/train" attr:class="button">"Start one"</A></Empty> }.into_any(),
                Some(runs) => view! { <div class="cards">{runs.into_iter().map(|view| view! { <RunCard view /> }).collect_view()}</div> }.into_any(),
            }}
        </section>
        {move || shared.account().is_none().then(|| view! { <p class="faint">"You are not signed in: you see what everyone sees."</p> })}
    }
}
