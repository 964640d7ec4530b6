//! What was found in an upload, shown before anything leaves this browser.

use super::upload::Chosen;
use crate::pages::models::size_word;
use leptos::prelude::*;
use starling_scripts::Weight;
use std::sync::Arc;

/// Names of one kind that are shown.
const SHOWN: usize = 8;

fn names(label: &'static str, names: &[String]) -> Option<impl IntoView + use<>> {
    let more = names.len().saturating_sub(SHOWN);
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    (!names.is_empty()).then(|| view! { <dt>{label}</dt><dd class="mono">{shown}{(more > 0).then(|| format!(" and {more} more"))}</dd> })
}

/// Files, what kind they are, and what is worth knowing about them.
#[component]
pub(super) fn WhatWasFound(chosen: Arc<Chosen>) -> impl IntoView {
    let found = &chosen.found;
    let job_file = found.job_file.clone();
    view! {
        <section class="note" aria-label="What was found">
            <dl class="pairs">
                <dt>"Upload"</dt><dd class="num">{found.files}" files, "{size_word(found.bytes)}</dd>
                {job_file.map(|name| view! { <dt>"Job file"</dt><dd class="mono">{name}</dd> })}
                {names("Scripts", &found.entry_points)}
                {names("Notebooks", &found.notebooks)}
                {names("Requirements", &found.requirements)}
                {names("Data", &found.data)}
                {names("Models", &found.models)}
                {names("Left out", &chosen.left_out)}
            </dl>
            {found.findings.iter().map(|finding| {
                let (class, mark) = if finding.weight == Weight::Suspicious { ("note bad", "Warning: ") } else { ("soft", "Note: ") };
                view! { <p class=class>{mark}<span class="mono">{finding.path.clone()}</span>": "{finding.words.clone()}</p> }
            }).collect_view()}
            <p class="faint">"Read in this browser, nothing of it was run. Nothing is sent before you press Upload."</p>
        </section>
    }
}
