//! Publish a model: from a finished run of mine, or from an uploaded safetensors file.

use super::polled;
use crate::{
    api::{Failure, Outcome, coordinator},
    app::{Shared, shared},
    components::ui::{MaybeProblem, NeedsLogin, chosen_file},
    pages::models::{CATEGORIES, category_named, publish},
};
use leptos::{html, prelude::*, task::spawn_local};
use leptos_router::hooks::{use_navigate, use_query_map};
use starling_contract_api::hub::PublishArgs;
use starling_http_api::{path, run::RunView};
use starling_primitives::{Amount, Asset, AssetName, BasisPoints, RunId, Text};
use starling_protocol::listing::{Category, File, Kind};
use std::time::Duration;

/// The header of a safetensors file may be at most this long, in bytes.
const MAX_HEADER: u64 = 100 << 20;

#[component]
pub(crate) fn Publish() -> impl IntoView {
    view! {
        <header><div><h1>"Publish a model"</h1><p>"Versions and hashes are on the chain and never change. A price may be 0."</p></div></header>
        <NeedsLogin what="publish"><Form /></NeedsLogin>
    }
}

/// The fields that models and tools share.
#[derive(Clone, Copy)]
pub(crate) struct About {
    pub(crate) slug: RwSignal<String>,
    pub(crate) title: RwSignal<String>,
    pub(crate) summary: RwSignal<String>,
    pub(crate) licence: RwSignal<String>,
    pub(crate) price: RwSignal<String>,
    pub(crate) category: RwSignal<String>,
    pub(crate) royalty: RwSignal<String>,
    pub(crate) parent: RwSignal<String>,
}

impl About {
    pub(crate) fn new(category: &str) -> Self {
        let text = |text: &str| RwSignal::new(text.to_owned());
        Self {
            slug: text(""),
            title: text(""),
            summary: text(""),
            licence: text("MIT"),
            price: text("0"),
            category: text(category),
            royalty: text("5"),
            parent: text(""),
        }
    }

    /// The arguments, or what is wrong with a field.
    pub(crate) fn args(self, kind: Kind, files: Vec<File>, run_id: Option<RunId>) -> Outcome<PublishArgs> {
        let wrong = |field: &str, reason: String| Failure::new("field", format!("{field}: {reason}."));
        let royalty: f64 = self.royalty.get_untracked().parse().map_err(|_| wrong("Royalty", "write a number of percent".to_owned()))?;
        if !(0.0..=100.0).contains(&royalty) {
            return Err(wrong("Royalty", "0 to 100 percent".to_owned()));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be 0 to 100")]
        let royalty = (royalty * 100.0).round() as u16;
        let parent = self.parent.get_untracked();
        let parents = if parent.trim().is_empty() {
            Vec::new()
        } else {
            vec![parent.trim().parse::<AssetName>().map_err(|error| wrong("Made from", error.to_string()))?]
        };
        Ok(PublishArgs {
            slug: self.slug.get_untracked(),
            kind,
            category: category_named(&self.category.get_untracked()).unwrap_or(Category::Other),
            title: Text::new(self.title.get_untracked()).map_err(|error| wrong("Title", error.to_string()))?,
            summary: Text::new(self.summary.get_untracked()).map_err(|error| wrong("What it does", error.to_string()))?,
            licence: Text::new(self.licence.get_untracked()).map_err(|error| wrong("Licence", error.to_string()))?,
            asset: Asset::Near,
            price: Amount::parse_near(&self.price.get_untracked()).map_err(|error| wrong("Price", error.to_string()))?,
            price_per_use: None,
            parents,
            royalty: BasisPoints::new(royalty).map_err(|error| wrong("Royalty", error.to_string()))?,
            files,
            run_id,
        })
    }
}

#[component]
pub(crate) fn AboutFields(about: About) -> impl IntoView {
    let field = |label: &'static str, name: &'static str, value: RwSignal<String>, hint: &'static str, required: bool| {
        view! { <label class="field">{label}<input name=name required=required prop:value=move || value.get() on:input:target=move |event| value.set(event.target().value()) /><span class="hint">{hint}</span></label> }
    };
    view! {
        {field("Name", "slug", about.slug, "2 to 48 of a-z, 0-9 and dashes; it cannot be changed later", true)}
        {field("Title", "title", about.title, "At most 80 letters", true)}
        <label class="field">"What it does"<textarea name="summary" required maxlength="600" prop:value=move || about.summary.get() on:input:target=move |event| about.summary.set(event.target().value())></textarea></label>
        <label class="field">"Category"<select prop:value=move || about.category.get() on:change:target=move |event| about.category.set(event.target().value())>
            {CATEGORIES.map(|(_, key, word)| view! { <option value=key selected=move || about.category.get() == key>{word}</option> }).collect_view()}
        </select></label>
        {field("Licence", "licence", about.licence, "An SPDX expression such as MIT or Apache-2.0", true)}
        {field("Price of a licence, NEAR", "price", about.price, "0 for everyone", true)}
        {field("Royalty, percent", "royalty", about.royalty, "What works made from this owe to it", true)}
        {field("Made from", "parent", about.parent, "PUBLISHER/NAME, if it was; its royalty is taken from your price", false)}
    }
}

#[component]
fn Form() -> impl IntoView {
    let shared = shared();
    let about = About::new("text_generation");
    let file = NodeRef::<html::Input>::new();
    let run = RwSignal::new(use_query_map().with_untracked(|query| query.get("run").unwrap_or_default()));
    let (failure, busy) = (RwSignal::new(None), RwSignal::new(false));
    let (runs, _) = polled(Duration::from_secs(10), move || {
        let account = shared.account();
        async move {
            let Some(account) = account else { return Ok(Vec::new()) };
            coordinator::get::<Vec<RunView>>(&format!("{}?tenant={account}", path::RUNS)).await
        }
    });
    let finished = move || runs.get().unwrap_or_default().into_iter().filter(|view| view.result.is_some()).collect::<Vec<_>>();
    let navigate = use_navigate();
    let send = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let chosen = finished().into_iter().find(|view| view.run.id.to_string() == run.get_untracked());
        let navigate = navigate.clone();
        busy.set(true);
        failure.set(None);
        spawn_local(async move {
            match send_model(shared, about, chosen, file).await {
                Ok(name) => navigate(&format!("/models/{name}"), leptos_router::NavigateOptions::default()),
                Err(error) => failure.set(Some(error)),
            }
            busy.set(false);
        });
    };
    view! {
        <form class="card" style="max-width: 640px" on:submit=send>
            <label class="field">"From"
                <select prop:value=move || run.get() on:change:target=move |event| run.set(event.target().value())>
                    <option value="">"A file on this computer"</option>
                    {move || finished().into_iter().map(|view| { let id = view.run.id.to_string(); let value = id.clone(); view! { <option value=value.clone() selected=move || run.get() == value>{format!("Run {id}")}</option> }}).collect_view()}
                </select>
            </label>
            {move || run.get().is_empty().then(|| view! { <label class="field">"Model file"<input type="file" accept=".safetensors" node_ref=file /><span class="hint">"safetensors; its header is checked before it is uploaded"</span></label> })}
            <AboutFields about />
            <MaybeProblem failure />
            <button class="button primary" disabled=move || busy.get()>{move || if busy.get() { "Waiting for your wallet" } else { "Publish" }}</button>
        </form>
    }
}

async fn send_model(shared: Shared, about: About, run: Option<RunView>, input: NodeRef<html::Input>) -> Outcome<AssetName> {
    let name = |text: &str| Text::new(text).map_err(|error| Failure::new("file", error.to_string()));
    let (files, run_id) = match run.and_then(|view| view.result.map(|result| (view.run.id, result))) {
        Some((id, result)) => {
            let config = coordinator::download(result.config).await?;
            let config_bytes = u64::try_from(config.len()).unwrap_or(u64::MAX);
            (
                vec![
                    File { name: name("model.safetensors")?, hash: result.model, bytes: result.model_bytes },
                    File { name: name("config.json")?, hash: result.config, bytes: config_bytes },
                ],
                Some(id),
            )
        }
        None => {
            let input = input.get_untracked().ok_or_else(|| Failure::new("no_file", "Choose a model file."))?;
            let (_, bytes) = chosen_file(&input).await.ok_or_else(|| Failure::new("no_file", "Choose a model file."))?;
            check_safetensors(&bytes)?;
            let stored = coordinator::upload(&bytes).await?;
            (vec![File { name: name("model.safetensors")?, hash: stored.hash, bytes: stored.bytes }], None)
        }
    };
    publish(shared, about.args(Kind::Model, files, run_id)?).await
}

/// Whether the file begins with a safetensors header that fits it.
pub(crate) fn check_safetensors(bytes: &[u8]) -> Outcome<()> {
    let wrong = |reason: &str| Failure::new("not_safetensors", format!("This is no safetensors file: {reason}. Nothing was uploaded."));
    let length = bytes
        .first_chunk::<8>()
        .map(|length| u64::from_le_bytes(*length))
        .filter(|length| *length <= MAX_HEADER)
        .ok_or_else(|| wrong("its first 8 bytes are no header length"))?;
    let end = usize::try_from(length).ok().and_then(|length| length.checked_add(8)).ok_or_else(|| wrong("its header is too long"))?;
    let header = bytes.get(8..end).ok_or_else(|| wrong("it is shorter than its header"))?;
    serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(header).map(|_| ()).map_err(|_| wrong("its header is no JSON"))
}
