//! Publish a model: from a finished run of mine, or from an uploaded safetensors file.

use super::polled;
use crate::{
    api::{Failure, Outcome, chain, coordinator, tokens},
    app::{Shared, shared},
    components::ui::{MaybeProblem, NeedsLogin, chosen_file},
    pages::{
        models::{CATEGORIES, category_named, listings, place, publish},
        rent::usable_models,
    },
};
use leptos::{html, prelude::*, task::spawn_local};
use leptos_router::hooks::{use_navigate, use_query_map};
use starling_contract_api::{billing::split_deposit, hub::PublishArgs};
use starling_http_api::{
    network::NetworkInfo,
    path,
    run::{DataKind, Findings, RunView},
};
use starling_primitives::{Amount, Asset, AssetName, BasisPoints, Text};
use starling_protocol::listing::{Category, File, Kind, MAX_NAMED, flatten};
use std::{future::Future, time::Duration};

const SLUG: &str = "2 to 48 of a-z, 0-9 and dashes, with no dash at an end";
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
    /// What prices are counted in.
    pub(crate) asset: RwSignal<String>,
    pub(crate) price: RwSignal<String>,
    /// Nothing where no use is sold.
    pub(crate) price_per_use: RwSignal<String>,
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
            asset: RwSignal::new(Asset::Near.to_string()),
            price: text("0"),
            price_per_use: text(""),
            category: text(category),
            royalty: text("5"),
            parent: text(""),
        }
    }

    /// The arguments, still without files, or what is wrong with a field: asked before anything is uploaded.
    pub(crate) fn args(self, shared: Shared, kind: Kind) -> Outcome<PublishArgs> {
        let wrong = |field: &str, reason: String| Failure::new("field", format!("{field}: {reason}. Nothing was uploaded."));
        let tokens = &shared.tokens.get_untracked();
        let slug = self.slug.get_untracked();
        AssetName::new(shared.signed_in()?.1, &slug).map_err(|_| wrong("Name", SLUG.to_owned()))?;
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
        let asset: Asset = self.asset.get_untracked().parse().map_err(|_| wrong("Paid in", "choose one of the list".to_owned()))?;
        let per_use = self.price_per_use.get_untracked();
        let per_use = (!per_use.trim().is_empty()).then(|| tokens::parse(tokens, &asset, &per_use)).transpose()?;
        if per_use.is_some_and(|price| price.is_zero()) {
            return Err(wrong("Price of a use", "leave it empty where none is sold".to_owned()));
        }
        Ok(PublishArgs {
            slug,
            kind,
            category: category_named(&self.category.get_untracked()).unwrap_or(Category::Other),
            title: Text::new(self.title.get_untracked()).map_err(|error| wrong("Title", error.to_string()))?,
            summary: Text::new(self.summary.get_untracked()).map_err(|error| wrong("What it does", error.to_string()))?,
            licence: Text::new(self.licence.get_untracked()).map_err(|error| wrong("Licence", error.to_string()))?,
            price: tokens::parse(tokens, &asset, &self.price.get_untracked())?,
            asset,
            price_per_use: per_use,
            parents,
            royalty: BasisPoints::new(royalty).map_err(|error| wrong("Royalty", error.to_string()))?,
            files: Vec::new(),
            run_id: None,
        })
    }

    /// What publishing attaches for storage at most: the listing's, and that of its ancestors' split where the work is made from another.
    pub(crate) fn storage(self, kind: Kind) -> (RwSignal<Option<Option<Amount>>>, RwSignal<Option<Failure>>) {
        let shared = shared();
        polled(Duration::from_secs(10), move || {
            let (network, parent) = (shared.network.get(), self.parent.get().trim().parse::<AssetName>().ok());
            async move {
                let Some(network) = network else { return Ok(None) };
                attached(&network, kind, parent.as_ref()).await.map(Some)
            }
        })
    }
}

/// The category of a run's model, by what was measured of it.
fn category_of(findings: &Findings) -> &'static str {
    let category = match findings {
        Findings::Text { .. } => Category::TextGeneration,
        Findings::Masked => Category::Other,
        Findings::Classes(figures) => match figures.of {
            DataKind::Table => Category::Tabular,
            DataKind::Images => Category::Vision,
            DataKind::LabelledTexts | DataKind::Text => Category::TextClassification,
        },
    };
    CATEGORIES.iter().find(|(known, ..)| *known == category).map_or("other", |(_, key, _)| key)
}

async fn attached(network: &NetworkInfo, kind: Kind, parent: Option<&AssetName>) -> Outcome<Amount> {
    let price = chain::view(&network.rpc_url, &listings(network, kind).storage_price()).await?;
    let Some(parent) = parent else { return Ok(price) };
    let Some(listing) = chain::view(&network.rpc_url, &listings(network, kind).listing(parent)).await? else { return Ok(price) };
    let recipients = flatten(&[&listing]).map_or(0, |shares| shares.len());
    let split = if recipients > MAX_NAMED { split_deposit(recipients) } else { Amount::ZERO };
    price.checked_add(split).map_err(|error| Failure::new("amount", error.to_string()))
}

/// Why a publication failed, whether one is under way, and what starts one: it goes to the listing's page then.
pub(crate) fn publishing<F: Future<Output = Outcome<AssetName>> + 'static>(
    kind: Kind,
) -> (RwSignal<Option<Failure>>, RwSignal<bool>, impl Fn(F) + Clone) {
    let (failure, busy, navigate) = (RwSignal::new(None), RwSignal::new(false), use_navigate());
    let start = move |published: F| {
        let navigate = navigate.clone();
        busy.set(true);
        failure.set(None);
        spawn_local(async move {
            match published.await {
                Ok(name) => navigate(&place(kind, &name), leptos_router::NavigateOptions::default()),
                Err(error) => failure.set(Some(error)),
            }
            busy.set(false);
        });
    };
    (failure, busy, start)
}

/// What is attached, and the button that says so.
#[component]
pub(crate) fn Send(
    storage: (RwSignal<Option<Option<Amount>>>, RwSignal<Option<Failure>>),
    #[prop(into)] busy: Signal<bool>,
) -> impl IntoView {
    let (storage, unread) = storage;
    let words = move || storage.get().flatten().map(Amount::display_near);
    view! {
        <MaybeProblem failure=unread />
        {move || words().map(|words| view! { <p class="soft">{format!("At most {words} is attached for storage on the chain: what the records do not need comes back at once. Besides, only gas is paid.")}</p> })}
        <button class="button primary" disabled=move || busy.get() || words().is_none()>{move || match (busy.get(), words()) {
            (true, _) => "Waiting for your wallet".to_owned(),
            (false, Some(words)) => format!("Publish for at most {words} of storage"),
            (false, None) => "Reading what storage costs".to_owned(),
        }}</button>
    }
}

#[component]
pub(crate) fn AboutFields(
    about: About,
    /// Whether it can be used by a lease without a licence.
    #[prop(default = true)]
    by_use: bool,
) -> impl IntoView {
    let shared = shared();
    let assets = Memo::new(move |_| {
        shared.tokens.with(|known| {
            let listed = known.iter().filter(|(_, info)| info.listed).map(|(token, _)| Asset::Nep141(token.clone()));
            [Asset::Near].into_iter().chain(listed).map(|asset| (asset.to_string(), tokens::name(known, &asset))).collect::<Vec<_>>()
        })
    });
    let unit = move || {
        shared.tokens.with(|known| about.asset.get().parse::<Asset>().map_or_else(|_| String::new(), |asset| tokens::name(known, &asset)))
    };
    let field = |label: &'static str,
                 name: &'static str,
                 value: RwSignal<String>,
                 most: &'static str,
                 hint: &'static str,
                 required: bool| {
        view! { <label class="field">{label}<input name=name required=required maxlength=most prop:value=move || value.get() on:input:target=move |event| value.set(event.target().value()) /><span class="hint">{hint}</span></label> }
    };
    let price = |label: &'static str, name: &'static str, value: RwSignal<String>, hint: &'static str, required: bool| {
        view! { <label class="field">{label}<input name=name inputmode="decimal" required=required maxlength="48" prop:value=move || value.get() on:input:target=move |event| value.set(event.target().value()) /><span class="hint">{move || format!("In {}. {hint}", unit())}</span></label> }
    };
    view! {
        <label class="field">"Name"<input name="slug" required minlength="2" maxlength="48" pattern="[a-z0-9][a-z0-9\\-]*[a-z0-9]" title=SLUG prop:value=move || about.slug.get() on:input:target=move |event| about.slug.set(event.target().value()) /><span class="hint">{SLUG}"; it cannot be changed later"</span></label>
        {field("Title", "title", about.title, "80", "At most 80 letters", true)}
        <label class="field">"What it does"<textarea name="summary" required maxlength="600" prop:value=move || about.summary.get() on:input:target=move |event| about.summary.set(event.target().value())></textarea><span class="hint">"At most 600 letters"</span></label>
        <label class="field">"Category"<select prop:value=move || about.category.get() on:change:target=move |event| about.category.set(event.target().value())>
            {CATEGORIES.map(|(_, key, word)| view! { <option value=key selected=move || about.category.get() == key>{word}</option> }).collect_view()}
        </select></label>
        {field("Licence", "licence", about.licence, "40", "An SPDX expression such as MIT or Apache-2.0; at most 40 letters", true)}
        <label class="field">"Paid in"<select prop:value=move || about.asset.get() on:change:target=move |event| about.asset.set(event.target().value())>
            {move || assets.get().into_iter().map(|(value, name)| { let key = value.clone(); view! { <option value=value selected=move || about.asset.get() == key>{name}</option> }}).collect_view()}
        </select></label>
        {price("Price of a licence", "price", about.price, "0: free for everyone", true)}
        {by_use.then(|| price("Price of a use", "price-per-use", about.price_per_use, "For one lease of someone without a licence; empty if no use is sold", false))}
        {field("Royalty, percent", "royalty", about.royalty, "6", "0 to 100: its share of the price of works made from this", true)}
        {field("Made from", "parent", about.parent, "130", "Empty, or PUBLISHER/NAME of that work; its royalty is taken from your price", false)}
    }
}

#[component]
fn Form() -> impl IntoView {
    let shared = shared();
    let about = About::new("text_generation");
    let file = NodeRef::<html::Input>::new();
    let run = RwSignal::new(use_query_map().with_untracked(|query| query.get("run").unwrap_or_default()));
    let (failure, busy, publishing) = publishing(Kind::Model);
    let storage = about.storage(Kind::Model);
    let (runs, _) = polled(Duration::from_secs(10), move || {
        let account = shared.account();
        async move {
            let Some(account) = account else { return Ok(Vec::new()) };
            coordinator::get::<Vec<RunView>>(&format!("{}?tenant={account}", path::RUNS)).await
        }
    });
    let finished = move || runs.get().unwrap_or_default().into_iter().filter(|view| view.result.is_some()).collect::<Vec<_>>();
    let models = usable_models(shared);
    // What the run says of its model. The recipe names the model that its adapters are for: if it is published, this one is made from it.
    let result = Memo::new(move |_| finished().into_iter().find(|view| view.run.id.to_string() == run.get())?.result);
    Effect::new(move |_| {
        if let Some(category) = result.get().map(|result| category_of(&result.findings)) {
            about.category.set(category.to_owned());
        }
    });
    Effect::new(move |_| {
        let base = result.get().and_then(|result| Some(result.adapters?.base));
        let published =
            models.get().into_iter().filter(|(hash, _)| Some(*hash) == base).find_map(|(_, name)| name.parse::<AssetName>().ok());
        if let Some(name) = published.filter(|_| about.parent.with_untracked(String::is_empty)) {
            about.parent.set(name.to_string());
        }
    });
    let send = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let chosen = finished().into_iter().find(|view| view.run.id.to_string() == run.get_untracked());
        publishing(send_model(shared, about, chosen, file));
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
            <Send storage busy />
        </form>
    }
}

async fn send_model(shared: Shared, about: About, run: Option<RunView>, input: NodeRef<html::Input>) -> Outcome<AssetName> {
    let args = about.args(shared, Kind::Model)?;
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
    publish(shared, PublishArgs { files, run_id, ..args }).await
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
