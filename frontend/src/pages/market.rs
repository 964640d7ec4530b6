//! The marketplace: research tools, their pages, publishing one.

use super::models::{Catalogue, Detail, publish};
use crate::{
    api::{Failure, Outcome, coordinator},
    app::{Shared, shared},
    components::ui::{MaybeProblem, NeedsLogin},
    pages::publish::{About, AboutFields, Send},
};
use leptos::{prelude::*, task::spawn_local};
use leptos_router::{components::A, hooks::use_navigate};
use starling_contract_api::hub::PublishArgs;
use starling_http_api::job::{Measure, Probe, ToolSpec};
use starling_primitives::{AssetName, Text};
use starling_protocol::listing::{File, Kind};

/// The most probes of a tool.
const MAX_PROBES: usize = 64;

#[component]
pub(crate) fn Market() -> impl IntoView {
    view! {
        <header>
            <div><h1>"Research tools"</h1><p>"A tool is a set of prompts, and what to measure in a model's answer. It never contains code. Buy it once, use it on any model you may use."</p></div>
            <A href="/market/publish" attr:class="button">"Publish a tool"</A>
        </header>
        <Catalogue models=false />
    }
}

#[component]
pub(crate) fn Item() -> impl IntoView {
    view! { <Detail kind=Kind::Tool /> }
}

#[component]
pub(crate) fn PublishTool() -> impl IntoView {
    view! {
        <header><div><h1>"Publish a research tool"</h1><p>"Each probe gives the model a prompt and measures how many bits a byte it needs for the continuation that you expect."</p></div></header>
        <NeedsLogin what="publish"><Form /></NeedsLogin>
    }
}

#[component]
fn Form() -> impl IntoView {
    let shared = shared();
    let about = About::new("evaluation");
    let probes = RwSignal::new(vec![(RwSignal::new(String::new()), RwSignal::new(String::new()))]);
    let (failure, busy) = (RwSignal::new(None), RwSignal::new(false));
    let storage = about.storage(Kind::Tool);
    let full = move || probes.with(|probes| probes.len() >= MAX_PROBES);
    let navigate = use_navigate();
    let send = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let navigate = navigate.clone();
        let given: Vec<(String, String)> =
            probes.get_untracked().iter().map(|(prompt, continuation)| (prompt.get_untracked(), continuation.get_untracked())).collect();
        busy.set(true);
        failure.set(None);
        spawn_local(async move {
            match send_tool(shared, about, given).await {
                Ok(name) => navigate(&format!("/market/{name}"), leptos_router::NavigateOptions::default()),
                Err(error) => failure.set(Some(error)),
            }
            busy.set(false);
        });
    };
    view! {
        <form class="card" style="max-width: 640px" on:submit=send>
            <AboutFields about />
            <fieldset class="stack"><legend><h2>"Probes"</h2></legend>
                {move || probes.get().into_iter().enumerate().map(|(index, (prompt, continuation))| view! {
                    <div class="card">
                        {(probes.with(Vec::len) > 1).then(|| view! { <div class="row between"><h3>{format!("Probe {}", index + 1)}</h3><button type="button" class="button small" aria-label=format!("Remove probe {}", index + 1) on:click=move |_| probes.update(|probes| _ = probes.remove(index))>"Remove"</button></div> })}
                        <label class="field">{format!("Prompt {}", index + 1)}<textarea required maxlength="4096" prop:value=move || prompt.get() on:input:target=move |event| prompt.set(event.target().value())></textarea></label>
                        <label class="field">{format!("Expected continuation {}", index + 1)}<textarea required maxlength="4096" prop:value=move || continuation.get() on:input:target=move |event| continuation.set(event.target().value())></textarea></label>
                    </div>
                }).collect_view()}
                <button type="button" class="button" disabled=full on:click=move |_| probes.update(|probes| probes.push((RwSignal::new(String::new()), RwSignal::new(String::new()))))>"Add a probe"</button>
            </fieldset>
            <MaybeProblem failure />
            <Send storage busy />
        </form>
    }
}

async fn send_tool(shared: Shared, about: About, probes: Vec<(String, String)>) -> Outcome<AssetName> {
    let args = about.args(shared, Kind::Tool)?;
    let probes =
        probes.into_iter().map(|(prompt, continuation)| Probe { prompt, measure: Measure::BitsPerByte { continuation } }).collect();
    let spec = serde_json::to_vec_pretty(&ToolSpec { version: 1, probes }).map_err(|error| Failure::new("tool", error.to_string()))?;
    let stored = coordinator::upload(&spec).await?;
    let file = File {
        name: Text::new("tool.json").map_err(|error| Failure::new("tool", error.to_string()))?,
        hash: stored.hash,
        bytes: stored.bytes,
    };
    publish(shared, PublishArgs { files: vec![file], ..args }).await
}
