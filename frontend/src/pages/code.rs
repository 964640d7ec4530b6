//! Run code of one's own on a rented machine: what was chosen, what was found in it, what it may use, a quote that cannot be exceeded, one approval.

mod fields;
mod found;
mod upload;

use super::polled;
use crate::{
    api::{Failure, Outcome, coordinator},
    app::{Shared, shared},
    components::{
        quote::{QuoteCard, storage},
        ui::{MaybeProblem, NeedsLogin, save},
    },
    pages::rent::pay_lease,
};
use fields::{Beside, BesideFields, Fields, JobFields};
use found::WhatWasFound;
use leptos::{html, prelude::*, task::spawn_local};
use leptos_router::hooks::use_navigate;
use starling_contract_api::{compute::Offer, payment::LEASE_BYTES};
use starling_http_api::{artifact::CHUNK_BYTES, job::JobSpec, node::OfferView, path};
use starling_primitives::{Amount, DurationMs, Hash32};
use starling_protocol::price::quote_lease;
use starling_scripts::JobFile;
use std::{sync::Arc, time::Duration};
use upload::Chosen;

#[component]
pub(crate) fn Code() -> impl IntoView {
    let download = move |_| {
        if let Ok(bundle) = upload::example() {
            save(&bundle.to_tar(), "starling-example.tar");
        }
    };
    view! {
        <header>
            <div><h1>"Run code"</h1><p>"Python of yours on a rented machine: a folder, an archive, one file or a notebook. It runs in a sandbox without network; what it writes to outputs/ comes back. "<code>"starling job run"</code>" does the same from a terminal."</p></div>
            <button type="button" class="button" on:click=download>"Download an example"</button>
        </header>
        <NeedsLogin what="run code"><Form /></NeedsLogin>
    }
}

/// What was uploaded: the bundle, then what lies beside it in order.
type Uploaded = (Hash32, Vec<Hash32>);

#[component]
fn Form() -> impl IntoView {
    let shared = shared();
    let fields = Fields::new();
    let uploaded = RwSignal::new(None::<Uploaded>);
    let (failure, busy) = (RwSignal::new(None::<Failure>), RwSignal::new(None::<String>));
    let (offers, offers_failure) = polled(Duration::from_secs(3), || coordinator::get::<Vec<OfferView>>(path::OFFERS));
    // Other files are another upload; another price is not.
    Effect::new(move |_| {
        fields.chosen.track();
        fields.beside.with(|beside| beside.iter().for_each(|beside| beside.changed.track()));
        uploaded.set(None);
    });
    let storage = storage(|| LEASE_BYTES);
    let job = Memo::new(move |_| fields.job());
    let choice = Memo::new(move |_| {
        let (job, fee) = (job.get()?.ok()?, shared.network.get()?.fee);
        let wish = fields.wish(&job).ok()?;
        let found = offers.with(|offers| match wish.choose(offers.as_deref()?) {
            Ok(choice) => Some(Ok((choice.offer.offer.clone(), choice.time))),
            Err(none) => Some(Err(none.to_string())),
        });
        Some(found?.and_then(|(offer, time)| {
            let quote = quote_lease(offer.terms.price_per_hour, time, None, fee).map_err(|error| error.to_string())?;
            Ok((offer, time, quote))
        }))
    });
    let send = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let Some(chosen) = fields.chosen.get_untracked() else { return };
        failure.set(None);
        spawn_local(async move {
            match bring(fields, &chosen, busy).await {
                Ok(hashes) => uploaded.set(Some(hashes)),
                Err(error) => failure.set(Some(error)),
            }
            busy.set(None);
        });
    };
    let navigate = use_navigate();
    let pay = move |_| {
        let Some(Ok((offer, time, quote))) = choice.get_untracked() else { return };
        let (Some((bundle, beside)), Some(Ok(job))) = (uploaded.get_untracked(), job.get_untracked()) else { return };
        let navigate = navigate.clone();
        failure.set(None);
        spawn_local(async move {
            busy.set(Some("Waiting for your wallet".to_owned()));
            match run(shared, &offer, &job, bundle, &beside, time, quote.at_most).await {
                Ok(address) => navigate(&address, leptos_router::NavigateOptions::default()),
                Err(error) => failure.set(Some(error)),
            }
            busy.set(None);
        });
    };
    let ready = move || matches!(choice.get(), Some(Ok(_))) && busy.get().is_none() && fields.is_agreed();
    view! {
        <div class="split">
            <form class="stack" style="gap: 16px" on:submit=send>
                <Choose fields failure />
                {move || fields.chosen.get().map(|chosen| view! {
                    <section class="card" aria-label="Job">
                        <WhatWasFound chosen=chosen.clone() />
                        <JobFields fields chosen offers />
                        <BesideFields fields />
                        {move || job.get().and_then(Result::err).map(|wrong| view! { <p class="note bad" role="alert">{wrong.what}</p> })}
                        <button class="button primary" disabled=move || busy.get().is_some() || uploaded.get().is_some() || !matches!(job.get(), Some(Ok(_)))>{move || match (busy.get(), uploaded.get()) {
                            (Some(words), _) => words,
                            (None, Some(_)) => "Uploaded".to_owned(),
                            (None, None) => "Upload".to_owned(),
                        }}</button>
                    </section>
                })}
            </form>
            <div class="stack" style="gap: 16px" aria-live="polite">
                <MaybeProblem failure />
                <MaybeProblem failure=offers_failure />
                {move || fields.chosen.with(Option::is_none).then(|| view! {
                    <section class="card" aria-label="What comes next"><h2>"What comes next"</h2>
                        <ol class="stack soft">
                            <li>"1. What was found in your files is shown, and what it may use can be changed. Nothing is uploaded before you say so."</li>
                            <li>"2. You see the highest price before anything runs: it is never more."</li>
                            <li>"3. You pay for the time that both sides signed. The rest comes back when it ends or you stop it."</li>
                        </ol>
                    </section>
                })}
                {move || choice.get().map(|choice| match choice {
                    Err(none) => view! { <div class="note warn" role="status"><p>{none}"."</p><p class="soft">"Nothing was charged. Lower what the script may use, raise price or time, or come back later. A provider sees with "<code>"gpu-node doctor"</code>" what a machine lacks and how to mend it."</p></div> }.into_any(),
                    Ok((offer, time, quote)) => view! {
                        <QuoteCard quote what=format!("{time} of node {}, setting up included", offer.node_id) paid="for the time of the run, by what you and the node both signed" to=offer.provider.to_string() back="what was not used, when it ends or you stop" storage=storage.get() />
                        <p class="note warn">"The provider of this job can read this code and its data."</p>
                    }.into_any(),
                })}
                {move || fields.is_suspicious().then(|| view! {
                    <label class="row note bad"><input type="checkbox" prop:checked=move || fields.anyway.get() on:change:target=move |event| fields.anyway.set(event.target().checked()) />"A file of this upload looks like an attack on whoever loads it. Run it all the same."</label>
                })}
                {move || uploaded.get().map(|_| { let pay = pay.clone(); view! {
                    <button class="button primary" disabled=move || !ready() on:click=pay>{move || match choice.get() {
                        Some(Ok((_, _, quote))) => format!("Run for at most {}", quote.at_most.display_near()),
                        _ => "No machine takes it now".to_owned(),
                    }}</button>
                }})}
            </div>
        </div>
    }
}

/// Where files come in: chosen or dropped, one or many or a folder.
#[component]
fn Choose(fields: Fields, failure: RwSignal<Option<Failure>>) -> impl IntoView {
    let (files, folder) = (NodeRef::<html::Input>::new(), NodeRef::<html::Input>::new());
    let take = move |read: Outcome<Chosen>| match read {
        Ok(chosen) => {
            failure.set(None);
            fields.choose(Arc::new(chosen));
        }
        Err(error) => {
            fields.chosen.set(None);
            failure.set(Some(error));
        }
    };
    let read = move |input: NodeRef<html::Input>| {
        let Some(list) = input.get_untracked().and_then(|input| input.files()).filter(|list| list.length() > 0) else { return };
        spawn_local(async move { take(Chosen::read(&list).await) });
    };
    view! {
        <section class="card" aria-label="Code">
            <label class="field">"A script, a notebook or an archive"
                <input type="file" class="drop" name="files" multiple=true node_ref=files on:change=move |_| read(files) />
                <span class="hint">"Choose or drop: .py, .ipynb, .zip, .tar, .tar.gz, or several files. 256 MiB at most; larger data is added apart, in the next step."</span>
            </label>
            <label class="field">"Or a folder"
                <input type="file" class="drop" name="folder" prop:webkitdirectory=true node_ref=folder on:change=move |_| read(folder) />
                <span class="hint">"Its outputs/, .git, environments and caches are not uploaded."</span>
            </label>
            <div class="row"><button type="button" class="button small" on:click=move |_| take(Chosen::example())>"Fill in the example"</button><span class="faint">"A regression on a CSV with scikit-learn."</span></div>
        </section>
    }
}

/// Uploads the bundle and what lies beside it.
async fn bring(fields: Fields, chosen: &Chosen, busy: RwSignal<Option<String>>) -> Outcome<Uploaded> {
    busy.set(Some("Uploading".to_owned()));
    let bundle = coordinator::upload(&chosen.bundle.to_tar()).await?.hash;
    let mut hashes = Vec::new();
    for Beside { path, file, artifact, .. } in fields.beside.get_untracked() {
        let path = path.get_untracked();
        hashes.push(match artifact {
            Some(artifact) => artifact,
            None => {
                let none = || Failure::new("no_file", format!("Choose the file that shall lie at {path:?}."));
                let file = file.get_untracked().and_then(|input| input.files()).and_then(|list| list.get(0)).ok_or_else(none)?;
                coordinator::upload_file(&file, |sent| {
                    busy.set(Some(format!("Uploading {path}: {} MiB sent", u64::from(sent) * (CHUNK_BYTES >> 20))))
                })
                .await?
                .hash
            }
        });
    }
    Ok((bundle, hashes))
}

async fn run(
    shared: Shared,
    offer: &Offer,
    job: &JobFile,
    bundle: Hash32,
    beside: &[Hash32],
    time: DurationMs,
    at_most: Amount,
) -> Outcome<String> {
    let script = job.script(bundle, beside).map_err(|error| Failure::new("job", format!("{error}. Nothing was charged.")))?;
    pay_lease(shared, offer, &JobSpec::Script(script), time, at_most, None).await
}
