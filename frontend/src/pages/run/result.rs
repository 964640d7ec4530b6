//! What came out of a run: figures on held-out data, a sample of what it writes, and the files.

use crate::{
    api::coordinator,
    components::ui::{Id, MaybeProblem, save},
    pages::{
        models::size_word,
        rent::{CLASSIFY, PICTURES},
    },
};
use leptos::{prelude::*, task::spawn_local};
use leptos_router::components::A;
use starling_http_api::run::{ClassFigures, DataKind, Findings, HeldOut, Interval, RunResult};
use starling_primitives::{Hash32, RunId, grouped};

/// What was measured of a run's result on its held-out data: beside simple models of the same text, or by class.
pub(crate) fn figures(result: &RunResult) -> impl IntoView + use<> {
    let (before, after) = result.held_out;
    let (beside, verdict) = match &result.findings {
        Findings::Text { baselines, .. } => {
            let bits = |bits: f64| HeldOut { bits, per: after.per }.words();
            let words =
                format!("{} by a bigram model, {} by a trigram model (Kneser-Ney)", bits(baselines.bigram), bits(baselines.trigram));
            let verdict = match (after.bits < baselines.bigram, after.bits < baselines.trigram) {
                (true, true) => "better than both simple models",
                (true, false) => "better than the bigram model, and worse than the trigram model",
                (false, true) => "better than the trigram model, and worse than the bigram model",
                (false, false) => "worse than both simple models",
            };
            (Some(words), format!("Fewer bits are better. The model predicts this text {verdict}."))
        }
        Findings::Classes(_) | Findings::Masked => (None, "Fewer bits are better.".to_owned()),
    };
    let classes = if let Findings::Classes(figures) = &result.findings { Some(figures.clone()) } else { None };
    view! {
        <dl class="pairs">
            <dt>"Held out, before"</dt><dd class="num">{before.words()}</dd>
            <dt>"Held out, after"</dt><dd class="num">{after.words()}</dd>
            {beside.map(|beside| view! { <dt>"For comparison"</dt><dd class="num">{beside}</dd> })}
            <dt>"Model file"</dt><dd><Id text=result.model.to_string() />", "{size_word(result.model_bytes)}</dd>
            {result.adapters.map(|adapters| view! { <dt>"Adapters"</dt><dd><Id text=adapters.weights.to_string() />", merged in it; they are for the model "<Id text=adapters.base.to_string() /></dd> })}
        </dl>
        <p class="soft">{verdict}</p>
        {classes.map(|figures| view! { <Classes figures /> })}
    }
}

fn examples_word(of: DataKind) -> &'static str {
    match of {
        DataKind::Table => "rows",
        DataKind::Images => "images",
        DataKind::LabelledTexts | DataKind::Text => "texts",
    }
}

/// How well a classifier tells held-out examples apart.
#[component]
fn Classes(figures: ClassFigures) -> impl IntoView {
    let ClassFigures { of, classes, examples, accuracy, macro_f1, auroc, calibration_error, confusion } = figures;
    let row = |name: &'static str, figure: Interval, meaning: &'static str| {
        view! { <tr><th scope="row">{name}</th><td class="num" data-label="Value">{format!("{:.3}", figure.value)}</td><td class="num" data-label="95 % interval">{format!("{:.3}\u{a0}to\u{a0}{:.3}", figure.low, figure.high)}</td><td class="soft" data-label="What it is">{meaning}</td></tr> }
    };
    view! {
        <h3>{format!("On {} held-out {}", grouped(examples), examples_word(of))}</h3>
        <div class="scroll"><table class="stacked"><thead><tr><th>"Figure"</th><th class="num">"Value"</th><th class="num">"95 % interval"</th><th>"What it is"</th></tr></thead><tbody>
            {row("Accuracy", accuracy, "The share that is right.")}
            {row("Macro-F1", macro_f1, "Precision and recall of each class, each class counting the same.")}
            {auroc.map(|auroc| row("AUROC", auroc, "The chance that an example of a class is ranked above one that is not; 0.5 is a guess."))}
            {row("Calibration error", calibration_error, "How far the model's stated chances are from what happens; 0 is best.")}
        </tbody></table></div>
        <div class="scroll"><table><caption class="faint">"Held-out examples by their class (rows) and by what the model says (columns)"</caption>
            <thead><tr><th>"Class"</th>{classes.iter().map(|class| view! { <th class="num">{class.clone()}</th> }).collect_view()}</tr></thead>
            <tbody>{classes.iter().zip(confusion).map(|(class, said)| view! { <tr><th scope="row">{class.clone()}</th>{said.into_iter().map(|count| view! { <td class="num">{grouped(count)}</td> }).collect_view()}</tr> }).collect_view()}</tbody>
        </table></div>
    }
}

#[component]
pub(super) fn ResultCard(result: RunResult, mine: bool, run_id: RunId) -> impl IntoView {
    let (sample, tried) = match &result.findings {
        Findings::Text { sample, .. } => {
            (Some(sample.clone()), Some((format!("/compute?model={}", result.model), "Try it: rent a node to continue a text")))
        }
        Findings::Classes(ClassFigures { of: DataKind::LabelledTexts, .. }) => {
            (None, Some((format!("/compute?model={}&task={CLASSIFY}", result.model), "Try it: rent a node to sort texts")))
        }
        Findings::Classes(ClassFigures { of: DataKind::Table, .. }) => {
            (None, Some((format!("/compute?model={}&task={CLASSIFY}", result.model), "Try it: rent a node to sort rows")))
        }
        Findings::Classes(ClassFigures { of: DataKind::Images, .. }) => {
            (None, Some((format!("/compute?model={}&task={PICTURES}", result.model), "Try it: rent a node to sort pictures")))
        }
        Findings::Classes(_) | Findings::Masked => (None, None),
    };
    view! {
        <section class="card lead" aria-label="Result">
            <h2>"Result"</h2>
            {figures(&result)}
            {sample.map(|sample| view! { <h3>"What it writes"</h3><div class="log" role="region" aria-label="Sample text" tabindex="0">{sample}</div> })}
            {mine.then(|| view! { <div class="row"><Download hash=result.model name="model.safetensors".to_owned() label="Download model" class="button primary" />{result.adapters.map(|adapters| view! { <Download hash=adapters.weights name="adapter_model.safetensors".to_owned() label="Download adapters" /><Download hash=adapters.config name="adapter_config.json".to_owned() label="and their configuration" /> })}<A href=format!("/models/publish?run={run_id}") attr:class="button">"Publish this model"</A>{tried.map(|(address, words)| view! { <A href=address attr:class="button">{words}</A> })}</div> })}
        </section>
    }
}

/// Downloads an artifact and says that its hash was compared.
#[component]
pub(crate) fn Download(hash: Hash32, name: String, label: &'static str, #[prop(default = "button")] class: &'static str) -> impl IntoView {
    let (failure, done) = (RwSignal::new(None), RwSignal::new(None::<u64>));
    let run = move |_| {
        let name = name.clone();
        spawn_local(async move {
            match coordinator::download(hash).await {
                Ok(bytes) => {
                    save(&bytes, &name);
                    done.set(u64::try_from(bytes.len()).ok());
                    failure.set(None);
                }
                Err(error) => failure.set(Some(error)),
            }
        });
    };
    view! {
        <button type="button" class=class on:click=run>{label}</button>
        {move || done.get().map(|bytes| view! { <p class="note good" role="status">"Downloaded "{size_word(bytes)}"; the hash computed here equals the published one."</p> })}
        <MaybeProblem failure />
    }
}
