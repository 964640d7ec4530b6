//! A script on a leased machine: what it prints, its figures, how it ended and what it left under outputs/.

use crate::{
    api::{Failure, Outcome, coordinator},
    components::{
        line::{Line, short},
        ui::{Id, MaybeProblem, save},
    },
    pages::{models::size_word, run::Download},
};
use leptos::{html, prelude::*, task::spawn_local};
use starling_http_api::{
    job::{Exit, Metric, OutputFile, Report},
    lease::LeaseView,
};
use starling_scripts::{Bundle, Entry, MAX_BUNDLE_BYTES};

/// So near to its end a log follows what is printed, in pixels.
const NEAR_END: i32 = 120;

/// Output, figures and files, each drawn again only when it changes.
#[component]
pub(super) fn Script(view: RwSignal<Option<LeaseView>>) -> impl IntoView {
    let report = Memo::new(move |_| view.with(|view| view.as_ref().and_then(|view| view.report.clone())));
    let exit = Memo::new(move |_| report.with(|report| report.as_ref().and_then(|report| report.exit.clone())));
    let metrics = Memo::new(move |_| view.with(|view| view.as_ref().map(|view| view.metrics.clone()).unwrap_or_default()));
    view! {
        {move || exit.get().map(|exit| view! { <Ended exit /> })}
        <Printed view />
        <Show when=move || metrics.with(|metrics| !metrics.is_empty())><Figures metrics /></Show>
        {move || report.get().map(|report| view! { <Files report=*report /> })}
    }
}

#[component]
fn Printed(view: RwSignal<Option<LeaseView>>) -> impl IntoView {
    let log = NodeRef::<html::Div>::new();
    let text = Memo::new(move |_| view.with(|view| view.as_ref().map(|view| view.output.clone()).unwrap_or_default()));
    let nothing = Memo::new(move |_| text.with(String::is_empty));
    let setup = Memo::new(move |_| view.with(|view| view.as_ref().and_then(|view| view.setup.clone())));
    let failure = Memo::new(move |_| view.with(|view| view.as_ref().and_then(|view| view.failure.clone())));
    Effect::new(move |_| {
        text.track();
        if let Some(log) = log.get() {
            let left = log.scroll_height() - log.scroll_top() - log.client_height();
            // What was just added counts as the end.
            if log.scroll_top() == 0 || left < NEAR_END {
                log.set_scroll_top(log.scroll_height());
            }
        }
    });
    view! {
        <section class="card" aria-label="Output"><h2>"Output"</h2>
            {move || failure.get().map(|failure| view! { <p class="note bad" role="alert">"The node could not do it: "{failure}". What was not used comes back."</p> })}
            {move || setup.get().map(|line| view! { <p class="soft" role="status">"Before the run, not paid: "<span class="mono">{line}</span></p> })}
            {move || if nothing.get() {
                view! { <p class="soft">"Nothing printed yet."</p> }.into_any()
            } else {
                view! { <div class="log" node_ref=log role="log" aria-live="polite" aria-label="Standard output and error" tabindex="0">{move || text.get()}</div> }.into_any()
            }}
        </section>
    }
}

#[component]
fn Ended(exit: Exit) -> impl IntoView {
    let class = if exit.reason.is_success() { "chip good" } else { "chip bad" };
    view! {
        <section class="card" aria-label="How it ended">
            <div class="row"><h2>"How it ended"</h2><span class=class>{exit.reason.words()}</span></div>
            <p>{if exit.reason.is_success() { "Its files are below, ready to download.".to_owned() } else { exit.advice }}</p>
            {(!exit.reason.is_success() && !exit.last_lines.is_empty()).then(|| view! { <div class="log" role="region" tabindex="0" aria-label="Last lines">{exit.last_lines.join("\n")}</div> })}
        </section>
    }
}

#[component]
fn Figures(metrics: Memo<Vec<Metric>>) -> impl IntoView {
    let names = Memo::new(move |_| {
        let mut names: Vec<String> = Vec::new();
        metrics.with(|metrics| {
            for metric in metrics {
                if !names.contains(&metric.name) {
                    names.push(metric.name.clone());
                }
            }
        });
        names
    });
    let wanted = RwSignal::new(String::new());
    let shown = Memo::new(move |_| {
        let wanted = wanted.get();
        names.with(|names| if names.contains(&wanted) { wanted } else { names.first().cloned().unwrap_or_default() })
    });
    let points = Memo::new(move |_| {
        let name = shown.get();
        #[expect(clippy::cast_precision_loss, reason = "steps on a screen")]
        let point = |metric: &Metric| (metric.name == name).then_some((metric.step as f64, metric.value));
        let mut points: Vec<(f64, f64)> = metrics.with(|metrics| metrics.iter().filter_map(point).collect());
        points.sort_by(|left, right| left.0.total_cmp(&right.0));
        points
    });
    let last = move |name: &str| {
        metrics
            .with(|metrics| metrics.iter().rev().find(|metric| metric.name == name).map(|metric| short(metric.value)).unwrap_or_default())
    };
    view! {
        <section class="card" aria-label="Figures"><h2>"Figures"</h2>
            <Show when=move || names.with(|names| names.len() > 1)><div class="row" role="group" aria-label="Which figure is drawn">{move || names.get().into_iter().map(|name| {
                let (key, value, words) = (name.clone(), name.clone(), name.clone());
                view! { <button type="button" class="button small" aria-pressed=move || (shown.get() == key).to_string() on:click=move |_| wanted.set(value.clone())>{name}" "<span class="num">{move || last(&words)}</span></button> }
            }).collect_view()}</div></Show>
            <Line name=shown points />
        </section>
    }
}

#[component]
fn Files(report: Report) -> impl IntoView {
    let (failure, busy) = (RwSignal::new(None::<Failure>), RwSignal::new(false));
    let outputs = report.files.iter().map(|file| (format!("outputs/{}", file.path), file.clone()));
    let named = |file: &OutputFile| (file.path.clone(), file.clone());
    let all: Vec<(String, OutputFile)> = outputs
        .chain(report.log.iter().map(named))
        .chain(report.metrics.iter().map(named))
        .chain(report.environment.iter().map(named))
        .collect();
    let over = report.exit.is_some();
    let bytes: u64 = all.iter().map(|(_, file)| file.bytes).sum();
    let every = StoredValue::new(all.clone());
    let take_all = move |_| {
        busy.set(true);
        spawn_local(async move {
            match bundle(&every.get_value()).await {
                Ok(tar) => {
                    failure.set(save(&tar, "starling-job.tar").is_none().then(|| Failure::new("not_saved", "The browser saved nothing.")))
                }
                Err(error) => failure.set(Some(error)),
            }
            busy.set(false);
        });
    };
    let used = [
        report.peak_memory_bytes.map(|bytes| format!("{} of memory at most", size_word(bytes))),
        report.cpu_ms.map(|milliseconds| format!("{}.{} s of processor time", milliseconds / 1_000, milliseconds % 1_000 / 100)),
    ];
    let used = used.into_iter().flatten().collect::<Vec<_>>().join(", ");
    view! {
        <section class="card" aria-label="Files">
            <div class="row between"><h2>{if over { "Files" } else { "Files so far" }}</h2>
                {(bytes <= MAX_BUNDLE_BYTES && !all.is_empty()).then(|| view! { <button type="button" class="button small" disabled=move || busy.get() on:click=take_all>{format!("Download all, {}", size_word(bytes))}</button> })}
            </div>
            {report.files.is_empty().then(|| view! { <p class="soft">{if over { "It left nothing under outputs/." } else { "Nothing under outputs/ yet." }}</p> })}
            {report.more_files.then(|| view! { <p class="soft">"More files come with the next statement."</p> })}
            <table class="stacked"><thead><tr><th>"File"</th><th class="num">"Size"</th><th>"Hash"</th><td></td></tr></thead>
            <tbody>{all.into_iter().map(|(path, file)| {
                let name = path.rsplit('/').next().unwrap_or(&path).to_owned();
                view! { <tr>
                    <th scope="row" class="mono">{path}</th><td data-label="Size" class="num">{size_word(file.bytes)}</td><td data-label="Hash"><Id text=file.hash.to_string() /></td>
                    <td><div class="stack end"><Download hash=file.hash name label="Download" /></div></td>
                </tr> }
            }).collect_view()}</tbody></table>
            {(report.metrics_dropped > 0).then(|| view! { <p class="faint num">{report.metrics_dropped}" figures passed the limits and were left out."</p> })}
            <p class="faint">{used}</p>
            <MaybeProblem failure />
        </section>
    }
}

/// All files in one tar, each checked against its hash.
async fn bundle(files: &[(String, OutputFile)]) -> Outcome<Vec<u8>> {
    let mut bundle = Bundle::default();
    for (path, file) in files {
        let entry = Entry { bytes: coordinator::download(file.hash).await?, executable: false };
        bundle.add(path, entry).map_err(|error| Failure::new("files_refused", format!("{error}. Download the files one by one.")))?;
    }
    Ok(bundle.to_tar())
}
