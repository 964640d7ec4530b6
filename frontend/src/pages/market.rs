//! The marketplace: research tools and data sets, their pages, publishing one.

use super::models::{Catalogue, Detail, publish};
use crate::{
    api::{Failure, Outcome, coordinator},
    app::{Shared, shared},
    components::ui::{MaybeProblem, NeedsLogin, chosen_file},
    pages::publish::{About, AboutFields, Send, publishing},
};
use leptos::{html, prelude::*};
use leptos_router::{components::A, hooks::use_query_map};
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
            <div><h1>"Research tools and data sets"</h1><p>"A tool is a set of prompts, and what to measure in a model's answer; it never contains code. A data set is a file to train on. Buy either once, use it as often as you like."</p></div>
            <div class="row"><A href="/market/publish" attr:class="button">"Publish a tool"</A><A href="/market/publish?what=data" attr:class="button">"Publish a data set"</A></div>
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
    let query = use_query_map();
    let is_data = Memo::new(move |_| query.with(|query| query.get("what").as_deref() == Some("data")));
    view! {
        <Show when=move || is_data.get() fallback=|| view! {
            <header><div><h1>"Publish a research tool"</h1><p>"Each probe gives the model a prompt and measures how many bits a byte it needs for the continuation that you expect."</p></div></header>
            <NeedsLogin what="publish"><Form /></NeedsLogin>
        }>
            <header><div><h1>"Publish a data set"</h1><p>"One file. Its hash is on the chain and never changes; who holds a licence can download it and train on it, and the providers of such a run can read it."</p></div></header>
            <NeedsLogin what="publish"><DataForm /></NeedsLogin>
        </Show>
    }
}

#[component]
fn DataForm() -> impl IntoView {
    let shared = shared();
    let about = About::new("other");
    let file = NodeRef::<html::Input>::new();
    let (failure, busy, publishing) = publishing(Kind::Dataset);
    let storage = about.storage(Kind::Dataset);
    let send = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        publishing(send_data(shared, about, file));
    };
    view! {
        <form class="card" style="max-width: 640px" on:submit=send>
            <label class="field">"File"<input type="file" name="data" required node_ref=file /><span class="hint">"Runs on the network read it as one stream of bytes, so text trains best. Only publish what you may pass on."</span></label>
            <AboutFields about by_use=false />
            <MaybeProblem failure />
            <Send storage busy />
        </form>
    }
}

async fn send_data(shared: Shared, about: About, input: NodeRef<html::Input>) -> Outcome<AssetName> {
    let args = about.args(shared, Kind::Dataset)?;
    let none = || Failure::new("no_file", "Choose a file. Nothing was uploaded.");
    let (name, bytes) = chosen_file(&input.get_untracked().ok_or_else(none)?).await.ok_or_else(none)?;
    if bytes.is_empty() {
        return Err(Failure::new("data_empty", "The file is empty. Nothing was uploaded; choose one with data in it."));
    }
    let name = Text::new(name).map_err(|error| Failure::new("file_name", format!("The file's name: {error}. Nothing was uploaded.")))?;
    let stored = coordinator::upload(&bytes).await?;
    publish(shared, PublishArgs { files: vec![File { name, hash: stored.hash, bytes: stored.bytes }], ..args }).await
}

#[component]
fn Form() -> impl IntoView {
    let shared = shared();
    let about = About::new("evaluation");
    let probes = RwSignal::new(vec![(RwSignal::new(String::new()), RwSignal::new(String::new()))]);
    let (failure, busy, publishing) = publishing(Kind::Tool);
    let storage = about.storage(Kind::Tool);
    let full = move || probes.with(|probes| probes.len() >= MAX_PROBES);
    let send = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let given: Vec<(String, String)> =
            probes.get_untracked().iter().map(|(prompt, continuation)| (prompt.get_untracked(), continuation.get_untracked())).collect();
        publishing(send_tool(shared, about, given));
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
