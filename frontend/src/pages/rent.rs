//! Rent a node: what it should do, for how long, the quote, one approval.

use super::{param, polled};
use crate::{
    api::{
        Failure, Outcome, chain, coordinator, meter,
        pay::{Payment, after_payment, now, pay},
    },
    app::{Shared, shared},
    components::{
        quote::{QuoteCard, storage},
        ui::{Empty, MaybeProblem, Money, NeedsLogin},
    },
    pages::{
        compute::{kind_word, reputation_words},
        models::listings,
        network::node_state,
        provider::machine,
    },
};
use leptos::{prelude::*, task::spawn_local};
use leptos_router::{
    components::A,
    hooks::{use_navigate, use_query_map},
};
use starling_browse::axis::grouped_rate;
use starling_contract_api::{
    compute::{Compute, Offer, Purpose},
    payment::{DELEGATES_BYTES, LEASE_BYTES, PaymentMsg},
};
use starling_http_api::{
    job::{Classify, Generate, JobSpec, MAX_PICTURE_BYTES, MAX_PICTURES, MAX_TEXT_BYTES, MAX_TEXTS, PictureFile},
    node::NodeView,
    path,
    run::RunView,
};
use starling_primitives::{Amount, BasisPoints, DurationMs, Hash32, OfferId, PublicKey, grouped};
use starling_protocol::{
    lease::LeaseTerms,
    listing::{Kind, Listing},
    meter::{Delegate, MAX_SHARE},
    price::{HOLDBACK, quote_lease},
};
use std::time::Duration;
use web_sys::File;

const MINUTE_MS: u64 = 60_000;

/// The task, in the address, of a node that sorts texts; continuing one needs no word.
pub(crate) const CLASSIFY: &str = "classify";
/// The same for pictures.
pub(crate) const PICTURES: &str = "pictures";

#[component]
pub(crate) fn Rent() -> impl IntoView {
    let shared = shared();
    let Ok(id) = param("offer").parse::<OfferId>() else { return view! { <super::missing::Missing /> }.into_any() };
    let (offer, failure) = polled(Duration::from_secs(10), move || {
        let network = shared.network.get();
        async move {
            let Some(network) = network else { return Ok(None) };
            chain::view(&network.rpc_url, &Compute(network.deployment.compute).offer(id)).await.map(Some)
        }
    });
    view! {
        <header><div><h1>{move || match offer.with(|offer| offer.as_ref()?.as_ref()?.as_ref().map(|offer| offer.node_id)) { Some(node) => format!("Rent node {node}"), None => "Rent a node".to_owned() }}</h1><p>"The node works on one job of yours. You can stop at any time; what was not used comes back."</p></div></header>
        <MaybeProblem failure />
        <NeedsLogin what="rent a node">{move || match offer.get().flatten() {
            None => view! { <div class="skeleton" style="height: 300px" aria-hidden="true"></div> }.into_any(),
            Some(Some(offer)) if !offer.closed => view! { <Form offer /> }.into_any(),
            Some(found) => view! { <Empty><p>{if found.is_some() { "Its provider took this offer back. Nothing was charged; other offers are open." } else { "There is no offer with this number." }}</p><A href="/compute" attr:class="button">"All offers"</A></Empty> }.into_any(),
        }}</NeedsLogin>
    }
    .into_any()
}

#[derive(Clone, Copy)]
struct Fields {
    model: RwSignal<String>,
    tool: RwSignal<String>,
    task: RwSignal<String>,
    /// To be sorted, one a line.
    texts: RwSignal<String>,
    /// Or pictures.
    pictures: NodeRef<leptos::html::Input>,
    prompt: RwSignal<String>,
    tokens: RwSignal<String>,
    minutes: RwSignal<String>,
    /// Whether a service signs instead of this tab, and which.
    by_service: RwSignal<bool>,
    service: RwSignal<String>,
    service_key: RwSignal<String>,
    service_share: RwSignal<String>,
}

impl Fields {
    async fn job(self) -> Outcome<JobSpec> {
        let wrong = |what: &str| Failure::new("field", what.to_owned());
        let model: Hash32 = self.model.get_untracked().parse().map_err(|_| wrong("Choose a model."))?;
        let tool = self.tool.get_untracked();
        if !tool.is_empty() {
            return Ok(JobSpec::Tool { tool: tool.parse().map_err(|_| wrong("The tool in the address is no hash."))?, model });
        }
        if self.task.get_untracked() == CLASSIFY {
            let texts = self.texts.get_untracked().lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
            let spec = Classify { model, texts, pictures: Vec::new() };
            let words = format!("Texts: 1 to {MAX_TEXTS} lines, of {MAX_TEXT_BYTES} bytes together at most.");
            return if spec.is_within_limits() { Ok(JobSpec::Classify(spec)) } else { Err(wrong(&words)) };
        }
        if self.task.get_untracked() == PICTURES {
            let list = self.pictures.get_untracked().and_then(|input| input.files());
            let chosen: Vec<File> = list.iter().flat_map(|list| (0..list.length()).filter_map(|place| list.get(place))).collect();
            let spec = |pictures| Classify { model, texts: Vec::new(), pictures };
            let name = |file: &File| PictureFile { name: file.name(), file: Hash32::default() };
            if !spec(chosen.iter().map(name).collect()).is_within_limits() {
                return Err(wrong(&format!("Pictures: 1 to {MAX_PICTURES} files with short names.")));
            }
            let mut pictures = Vec::new();
            for file in chosen {
                #[expect(clippy::cast_precision_loss, reason = "a few mebibytes")]
                if file.size() > MAX_PICTURE_BYTES as f64 {
                    return Err(wrong(&format!("{} has more than {} MiB.", file.name(), MAX_PICTURE_BYTES >> 20)));
                }
                pictures.push(PictureFile { name: file.name(), file: coordinator::upload_file(&file, |_| {}).await?.hash });
            }
            return Ok(JobSpec::Classify(spec(pictures)));
        }
        let max_new_tokens = self
            .tokens
            .get_untracked()
            .parse()
            .ok()
            .filter(|tokens| (1..=starling_http_api::job::MAX_NEW_TOKENS).contains(tokens))
            .ok_or_else(|| wrong("Tokens: a whole number from 1 to 100000."))?;
        Ok(JobSpec::Generate(Generate {
            model,
            prompt: self.prompt.get_untracked(),
            max_new_tokens,
            temperature: 0.8,
            top_k: 40,
            seed: now().0,
        }))
    }

    /// What the service gets of what the node earns; nothing if this tab signs.
    fn share(self) -> Option<BasisPoints> {
        let percent: f64 = self.service_share.get().trim().parse().ok()?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be 0 to 100")]
        let hundredths = (0.0..=100.0).contains(&percent).then_some((percent * 100.0).round() as u16)?;
        BasisPoints::new(hundredths).ok().filter(|share| *share <= MAX_SHARE)
    }

    /// The delegate and its key; nothing if this tab signs.
    fn signer(self) -> Outcome<Option<(Delegate, PublicKey)>> {
        if !self.by_service.get_untracked() {
            return Ok(None);
        }
        let wrong = |what: String| Failure::new("service", what);
        let account = self.service.get_untracked().trim().parse().map_err(|error| wrong(format!("The service's account: {error}.")))?;
        let key = self.service_key.get_untracked().trim().parse().map_err(|error| wrong(format!("The service's key: {error}.")))?;
        let share = untrack(|| self.share()).ok_or_else(|| wrong(format!("The service's share: 0 to {MAX_SHARE}.")))?;
        Ok(Some((Delegate { account, share }, key)))
    }

    fn duration(self) -> Option<DurationMs> {
        let minutes: u64 = self.minutes.get().trim().parse().ok()?;
        Some(DurationMs::from_secs(minutes.checked_mul(60)?))
    }
}

/// Models that one can work with: what came out of one's own runs, and what is published.
pub(crate) fn usable_models(shared: Shared) -> Memo<Vec<(Hash32, String)>> {
    let (runs, _) = polled(Duration::from_secs(10), move || {
        let account = shared.account();
        async move {
            let Some(account) = account else { return Ok(Vec::new()) };
            coordinator::get::<Vec<RunView>>(&format!("{}?tenant={account}", path::RUNS)).await
        }
    });
    let (hub, _) = polled(Duration::from_secs(30), move || {
        let network = shared.network.get();
        async move {
            let Some(network) = network else { return Ok(Vec::new()) };
            chain::listings(&network.rpc_url, &listings(&network, Kind::Model)).await
        }
    });
    Memo::new(move |_| {
        let mine = runs
            .get()
            .unwrap_or_default()
            .into_iter()
            .filter_map(|view| view.result.map(|result| (result.model, format!("Model of my run {}", view.run.id))));
        let published = hub.get().unwrap_or_default().into_iter().filter_map(|listing: Listing| {
            let file = listing.versions.last()?.files.iter().find(|file| file.name.as_str() == "model.safetensors")?.hash;
            Some((file, listing.name.to_string()))
        });
        mine.chain(published).collect::<Vec<_>>()
    })
}

/// Which machine it is: what its provider declares, what was measured, what it costs, how the chain thinks of it.
#[component]
fn Offered(offer: Offer) -> impl IntoView {
    let shared = shared();
    let id = offer.node_id;
    let (nodes, _) = polled(Duration::from_secs(10), || coordinator::get::<Vec<NodeView>>(path::NODES));
    let (standing, failure) = polled(Duration::from_secs(60), move || {
        let network = shared.network.get();
        async move {
            let Some(network) = network else { return Ok(None) };
            chain::view(&network.rpc_url, &Compute(network.deployment.compute).reputation(id)).await.map(Some)
        }
    });
    let node = Memo::new(move |_| nodes.with(|nodes| nodes.as_ref().map(|nodes| nodes.iter().find(|view| view.node.id == id).cloned())));
    let facts = move || match node.get() {
        None => view! { <dt>"Device (declared)"</dt><dd>"reading"</dd> }.into_any(),
        Some(None) => view! { <dt>"Now"</dt><dd>"The coordinator does not know this node."</dd> }.into_any(),
        Some(Some(view)) => {
            let (class, state) = node_state(&view);
            let (capability, rate) = (view.node.capability, view.measured_tokens_per_second.map(grouped_rate));
            view! {
                <dt>"Device (declared)"</dt><dd>{kind_word(capability.kind)}", "{capability.device.to_string()}", "{machine(&capability)}</dd>
                <dt>"Measured"</dt><dd class="num">{rate.map_or_else(|| "not yet".to_owned(), |rate| format!("{rate} tokens/s"))}</dd>
                <dt>"Now"</dt><dd><span class=class>{state}</span></dd>
            }
            .into_any()
        }
    };
    view! {
        <section class="card" aria-label="The node"><h2>"Node "{id.0}</h2>
            <MaybeProblem failure />
            <dl class="pairs">
                <dt>"Provider"</dt><dd class="mono">{offer.provider.to_string()}</dd>
                {facts}
                <dt>"Price"</dt><dd class="num"><Money asset=offer.terms.asset.clone() amount=offer.terms.price_per_hour />" an hour"</dd>
                <dt>"Reputation"</dt><dd class="num">{move || standing.get().flatten().map_or_else(|| "reading".to_owned(), |standing| reputation_words(&standing))}</dd>
            </dl>
        </section>
    }
}

#[component]
fn Form(offer: Offer) -> impl IntoView {
    let shared = shared();
    let query = use_query_map();
    let from_address = |name: &'static str| RwSignal::new(query.with_untracked(|query| query.get(name).unwrap_or_default()));
    let fields = Fields {
        model: from_address("model"),
        tool: from_address("tool"),
        task: from_address("task"),
        texts: RwSignal::new(String::new()),
        pictures: NodeRef::new(),
        prompt: RwSignal::new(String::new()),
        tokens: RwSignal::new("200".to_owned()),
        minutes: RwSignal::new("2".to_owned()),
        by_service: RwSignal::new(false),
        service: RwSignal::new(String::new()),
        service_key: RwSignal::new(String::new()),
        service_share: RwSignal::new("5".to_owned()),
    };
    let models = usable_models(shared);
    let (failure, busy) = (RwSignal::new(None::<Failure>), RwSignal::new(false));
    let (price, asset) = (offer.terms.price_per_hour, StoredValue::new(offer.terms.asset.clone()));
    let (least, most) = (offer.terms.min_lease, offer.terms.max_lease);
    let (first, last) = (least.0.div_ceil(MINUTE_MS), most.0 / MINUTE_MS);
    // The quote depends on the share alone, not on whose it is.
    let provider_account = StoredValue::new(offer.provider.clone());
    let window = offer.terms.objection_window;
    let quote = move || {
        let fee = shared.network.get()?.fee;
        let duration = fields.duration().filter(|duration| (least..=most).contains(duration))?;
        let delegate =
            if fields.by_service.get() { Some(Delegate { account: provider_account.get_value(), share: fields.share()? }) } else { None };
        quote_lease(price, duration, delegate.as_ref(), fee).ok()
    };
    let navigate = use_navigate();
    let provider = offer.provider.to_string();
    let offered = offer.clone();
    let storage = storage(move || LEASE_BYTES + if fields.by_service.get() { DELEGATES_BYTES } else { 0 });
    let start = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let (offer, navigate) = (offer.clone(), navigate.clone());
        let Some(quote) = quote() else {
            return failure
                .set(Some(Failure::new("duration", format!("This offer takes {} to {} minutes.", grouped(first), grouped(last)))));
        };
        busy.set(true);
        failure.set(None);
        spawn_local(async move {
            match rent(shared, fields, &offer, quote.at_most).await {
                Ok(address) => navigate(&address, leptos_router::NavigateOptions::default()),
                Err(error) => failure.set(Some(error)),
            }
            busy.set(false);
        });
    };
    view! {
        <form class="split" on:submit=start>
            <div class="stack" style="gap: 16px">
                <Offered offer=offered.clone() />
                <div class="card">
                    <label class="field">"Model"
                        <select required prop:value=move || fields.model.get() on:change:target=move |event| fields.model.set(event.target().value())>
                            <option value="">"Choose a model"</option>
                            {move || models.get().into_iter().map(|(hash, name)| { let value = hash.to_string(); let key = value.clone(); view! { <option value=value selected=move || fields.model.get() == key>{name}</option> }}).collect_view()}
                        </select>
                    </label>
                    <Show when=move || fields.tool.get().is_empty()>
                        <label class="field">"What the node does"
                            <select prop:value=move || fields.task.get() on:change:target=move |event| fields.task.set(event.target().value())>
                                <option value="">"Continues a text"</option>
                                <option value=CLASSIFY selected=move || fields.task.get() == CLASSIFY>"Sorts texts or rows into classes"</option>
                                <option value=PICTURES selected=move || fields.task.get() == PICTURES>"Sorts pictures into classes"</option>
                            </select>
                        </label>
                    </Show>
                    {move || if fields.tool.get().is_empty() && fields.task.get() == CLASSIFY { view! {
                        <label class="field">"Texts or rows to sort, one a line"<textarea name="texts" required prop:value=move || fields.texts.get() on:input:target=move |event| fields.texts.set(event.target().value())></textarea><span class="hint">{format!("At most {MAX_TEXTS}. A row of a table is its numbers with commas between. The answer is the probability of each of the model's classes.")}</span></label>
                    }.into_any() } else if fields.tool.get().is_empty() && fields.task.get() == PICTURES { view! {
                        <label class="field">"Pictures to sort"<input type="file" name="pictures" accept=".png,.pgm,.ppm" multiple required node_ref=fields.pictures /><span class="hint">{format!("At most {MAX_PICTURES}, as PNG, PGM or PPM of {} MiB each, of the size that the model was trained on. The answer is the probability of each of the model's classes.", MAX_PICTURE_BYTES >> 20)}</span></label>
                    }.into_any() } else if fields.tool.get().is_empty() { view! {
                        <label class="field">"Text to continue"<textarea name="prompt" required maxlength="8192" placeholder="The node writes on from the last letter" prop:value=move || fields.prompt.get() on:input:target=move |event| fields.prompt.set(event.target().value())></textarea></label>
                        <label class="field">"New tokens, at most"<input type="number" min="1" max="100000" prop:value=move || fields.tokens.get() on:input:target=move |event| fields.tokens.set(event.target().value()) /></label>
                    }.into_any() } else { view! { <p class="note">"Runs the research tool "<span class="mono">{fields.tool.get()}</span></p> }.into_any() }}
                    <label class="field">"Minutes, at most"<input type="number" min=first.to_string() max=last.to_string() required prop:value=move || fields.minutes.get() on:input:target=move |event| fields.minutes.set(event.target().value()) /><span class="hint">{format!("{} to {} minutes. Time that is not used comes back.", grouped(first), grouped(last))}</span></label>
                    {(window > DurationMs(0)).then(|| view! {
                        <fieldset class="stack"><legend class="field">"Who signs the time that is used"</legend>
                            <label class="row"><input type="radio" name="signer" checked=true on:change=move |_| fields.by_service.set(false) />"This tab. Keep it open; what it signs is final."</label>
                            <label class="row"><input type="radio" name="signer" on:change=move |_| fields.by_service.set(true) />{format!("A service that you choose. You may object to what it signed for {window}.")}</label>
                            {move || fields.by_service.get().then(|| view! {
                                <label class="field">"Account of the service"<input autocomplete="off" required prop:value=move || fields.service.get() on:input:target=move |event| fields.service.set(event.target().value()) /></label>
                                <label class="field">"Key that it signs with"<input autocomplete="off" required placeholder="ed25519:…" prop:value=move || fields.service_key.get() on:input:target=move |event| fields.service_key.set(event.target().value()) /></label>
                                <label class="field">"Its share of what the node earns, percent"<input inputmode="decimal" required prop:value=move || fields.service_share.get() on:input:target=move |event| fields.service_share.set(event.target().value()) /><span class="hint">{format!("On top of the node's price and inside the quote; {MAX_SHARE} at most. ")}<code>"starling meter"</code>" runs such a service."</span></label>
                            })}
                        </fieldset>
                    })}
                    <p class="faint">"The provider can read what you send and the model."</p>
                </div>
            </div>
            <div class="stack" style="gap: 16px">
                {move || quote().map(|quote| view! { <QuoteCard quote what=format!("{} of one node", fields.duration().unwrap_or_default()) paid=if fields.by_service.get() { "as it passes, for the time that the service and the node both sign, once your time to object is over" } else { "as it passes, for the time that you and the node both sign" } to=provider.clone() back="what was not used, when it ends or you stop" storage=storage.get() asset=asset.get_value() /> })}
                <MaybeProblem failure />
                <button class="button primary" disabled=move || busy.get()>{move || match (busy.get(), quote()) { (true, _) => "Waiting for your wallet".to_owned(), (false, Some(quote)) => format!("Rent for at most {}", asset.with_value(|asset| shared.words(asset, quote.at_most))), (false, None) => "Choose a time that the offer takes".to_owned() }}</button>
            </div>
        </form>
    }
}

async fn rent(shared: Shared, fields: Fields, offer: &Offer, at_most: Amount) -> Outcome<String> {
    let job = fields.job().await?;
    let duration = fields.duration().ok_or_else(|| Failure::new("duration", "Minutes: a whole number."))?;
    pay_lease(shared, offer, &job, duration, at_most, fields.signer()?).await
}

/// Pays for a lease of an offer; gives its address. Where nobody else signs the time that is used, this tab does.
pub(crate) async fn pay_lease(
    shared: Shared,
    offer: &Offer,
    job: &JobSpec,
    duration: DurationMs,
    at_most: Amount,
    signer: Option<(Delegate, PublicKey)>,
) -> Outcome<String> {
    let (network, account) = shared.signed_in()?;
    let job = serde_json::to_vec(job).map_err(|error| Failure::new("job", error.to_string()))?;
    let stored = coordinator::upload(&job).await?;
    let terms = LeaseTerms {
        offer_id: offer.id,
        duration,
        job: stored.hash,
        meter: match &signer {
            Some((_, key)) => *key,
            None => meter::make_key()?,
        },
        availability: DurationMs::from_hours(24),
        delegate: signer.as_ref().map(|(delegate, _)| delegate.clone()),
    };
    let msg = PaymentMsg::Lease(terms);
    let payment = Payment {
        target: network.deployment.compute.clone(),
        asset: offer.terms.asset.clone(),
        amount: at_most,
        msg,
        expires_by: now().after(duration).after(DurationMs::from_hours(48)),
        holdback: HOLDBACK,
        post_at_once: Amount::ZERO,
        objection_window: if signer.is_some() { offer.terms.objection_window } else { DurationMs(0) },
    };
    let escrow = pay(&network, &account, payment).await?;
    shared.refresh_balance();
    let purpose = chain::view(&network.rpc_url, &Compute(network.deployment.compute).purpose(escrow)).await;
    match purpose.map_err(|failure| after_payment(format_args!("escrow {escrow}"), failure))? {
        Some(Purpose::Lease(id)) => Ok(format!("/leases/{id}")),
        _ => Err(Failure::new(
            "no_lease",
            format!("Escrow {escrow} is open but no lease belongs to it. Ask for closing in Billing to get it back."),
        )),
    }
}
