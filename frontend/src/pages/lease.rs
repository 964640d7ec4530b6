//! A lease: live output, earned against its ceiling, who works for whom, stop, refund.

mod script;

use super::{param, polled};
use crate::{
    api::{coordinator, decode, meter, wallet},
    app::shared,
    components::ui::{Ago, Ceiling, Coming, Id, MaybeProblem, Money},
    pages::{billing::Timeline, run::Accept},
};
use leptos::{prelude::*, task::spawn_local};
use leptos_router::components::A;
use starling_contract_api::compute::Compute;
use starling_http_api::{
    job::{Classified, JobSpec, ProbeAnswer, ToolReport},
    lease::{LeaseView, PendingLeaseStatement},
    path,
};
use starling_primitives::{DurationMs, LeaseId, TimestampMs};
use starling_protocol::lease::{Cause, Lease as Record, LeaseState};
use std::time::Duration;

fn sentence(view: &LeaseView, mine: bool) -> String {
    match view.lease.state {
        LeaseState::Unpaid => "The payment is held until the chain confirms it.".to_owned(),
        LeaseState::Pending { .. } => "Paid. The node has a minute to accept, or everything comes back.".to_owned(),
        LeaseState::Active { .. } => match &view.lease.terms.delegate {
            None if !mine => "The node works, and the tenant co-signs the time it used.".to_owned(),
            None => "The node works. This tab co-signs the time it used: keep it open.".to_owned(),
            Some(delegate) if !mine => format!("The node works, and {} co-signs for the tenant.", delegate.account),
            Some(delegate) => {
                format!("The node works, and {} co-signs for you. What it signs waits in Billing, where you may object.", delegate.account)
            }
        },
        LeaseState::Closing { cause, .. } => {
            format!("{} The last signed time may be posted for two minutes, then the rest comes back.", cause_words(cause, mine))
        }
        LeaseState::Closed { cause, .. } => {
            let whose = if mine { "your" } else { "the tenant's" };
            format!("{} What was not used is back on {whose} balance.", cause_words(cause, mine))
        }
    }
}

/// Only what runs is alive.
pub(crate) fn chip(view: &LeaseView) -> &'static str {
    match view.lease.state {
        LeaseState::Active { .. } => "chip alive",
        LeaseState::Closed { cause: Cause::Completed, .. } => "chip good",
        LeaseState::Unpaid | LeaseState::Pending { .. } | LeaseState::Closing { .. } | LeaseState::Closed { .. } => "chip warn",
    }
}

fn cause_words(cause: Cause, mine: bool) -> &'static str {
    match cause {
        Cause::TenantClosed if !mine => "The tenant stopped it.",
        Cause::Objected if !mine => "The tenant objected to what its meter had signed.",
        Cause::Completed => "The work is complete.",
        Cause::TenantClosed => "You stopped it.",
        Cause::ProviderClosed => "The provider stopped it.",
        Cause::NotAccepted => "The node did not accept it.",
        Cause::TimeOver => "Its time ran out.",
        Cause::Objected => "You objected to what its meter had signed.",
        Cause::EscrowClosed => "Its escrow was closed.",
    }
}

/// When it ended, if it did.
fn ended_at(state: &LeaseState) -> Option<TimestampMs> {
    match state {
        LeaseState::Closing { ended_at, .. } | LeaseState::Closed { ended_at, .. } => Some(*ended_at),
        LeaseState::Unpaid | LeaseState::Pending { .. } | LeaseState::Active { .. } => None,
    }
}

/// Time that counts: some of it is never told as none.
fn metered_words(metered: DurationMs) -> String {
    if (1..1_000).contains(&metered.0) { "less than 1 s".to_owned() } else { metered.to_string() }
}

#[component]
pub(crate) fn Lease() -> impl IntoView {
    let shared = shared();
    let Ok(id) = param("id").parse::<LeaseId>() else { return view! { <super::missing::Missing /> }.into_any() };
    let (view, failure) =
        polled(Duration::from_millis(700), move || async move { coordinator::get::<LeaseView>(&path::fill(path::LEASE, &[&id])).await });
    let problem = RwSignal::new(None);
    let busy = StoredValue::new(false);
    // Taken out while a statement is checked.
    let seen = StoredValue::new(Some(meter::Seen::default()));
    let co_sign = move || {
        let Some(network) = shared.network_now() else { return };
        let ended = view.try_get_untracked().flatten().is_none_or(|view: LeaseView| matches!(view.lease.state, LeaseState::Closed { .. }));
        if ended || busy.try_get_value() != Some(false) {
            return;
        }
        busy.set_value(true);
        spawn_local(async move {
            let mut signed = seen.try_update_value(Option::take).flatten().unwrap_or_default();
            let outcome = match coordinator::find::<PendingLeaseStatement>(&path::fill(path::LEASE_STATEMENT, &[&id])).await {
                Ok(Some(pending)) => meter::sign_lease(&network, &pending, &mut signed).await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            seen.try_set_value(Some(signed));
            problem.try_set(outcome.err());
            busy.try_update_value(|busy| *busy = false);
        });
    };
    if let Ok(handle) = set_interval_with_handle(co_sign, Duration::from_millis(500)) {
        on_cleanup(move || handle.clear());
    }
    let is_script = Memo::new(move |_| view.with(|view| view.as_ref().is_some_and(|view| matches!(view.job, Some(JobSpec::Script(_))))));
    let mine = move |view: &LeaseView| shared.account().as_ref() == Some(&view.lease.tenant);
    let running = Memo::new(move |_| {
        let runs = |view: &LeaseView| matches!(view.lease.state, LeaseState::Pending { .. } | LeaseState::Active { .. });
        view.with(|view| view.as_ref().is_some_and(|view| mine(view) && runs(view)))
    });
    let closed = Memo::new(move |_| {
        let over = |view: &&LeaseView| mine(view) && matches!(view.lease.state, LeaseState::Closed { .. });
        view.with(|view| view.as_ref().filter(over).map(|view| view.lease.escrow_id))
    });
    let about = Memo::new(move |_| view.with(|view| view.as_ref().map(|view| (view.lease.clone(), view.job.clone()))));
    let stop = move |_| {
        let Some(network) = shared.network_now() else { return };
        spawn_local(async move {
            problem.set(wallet::send(&Compute(network.deployment.compute).close_lease(id)).await.err());
            shared.refresh_balance();
        });
    };
    view! {
        {move || view.with(Option::is_none).then(|| view! { <Coming title=format!("Lease {id}") /> })}
        {move || view.get().map(|view| { let words = sentence(&view, mine(&view)); view! { <header><div><p class="faint"><A href="/compute">"Compute"</A>" /"</p><div class="row"><h1>"Lease "{view.lease.id.0}</h1><span class=chip(&view)>{view.lease.state.name()}</span></div><p>{words}</p></div>{match ended_at(&view.lease.state) {
            Some(at) => view! { <p class="faint">"ended "<Ago at=Some(at) /></p> }.into_any(),
            None => view! { <p class="faint">"node heard "<Ago at=view.heard_at /></p> }.into_any(),
        }}</header> }})}
        <MaybeProblem failure />
        <MaybeProblem failure=problem />
        <Show when=move || view.with(Option::is_some)>
            <div class="split woven">
                <div class="stack" style="gap: 16px">
                    {move || if is_script.get() { view! { <script::Script view /> }.into_any() } else { view! { <Text view /> }.into_any() }}
                </div>
                <div class="stack" style="gap: 16px">
                <section class="card early" aria-label="Cost"><h2>"Cost against its cap"</h2>
                    {move || view.get().map(|view| view! {
                        <Ceiling part=view.earned whole=view.lease.deposit asset=view.lease.asset.clone() />
                        <p class="faint num">{metered_words(view.lease.metered)}" signed by both, of at most "{view.lease.terms.duration.to_string()}</p>
                    })}
                    {move || running.get().then(|| view! { <button class="button danger" on:click=stop>"Stop and get the rest back"</button> })}
                    {move || closed.get().map(|escrow| view! { <Accept escrow /> })}
                </section>
                {move || about.get().map(|(lease, job)| { let escrow = lease.escrow_id; view! { <About lease job /><Timeline escrow /> }})}
                </div>
            </div>
        </Show>
    }
    .into_any()
}

/// What the job is, in a few words.
fn job_words(job: &JobSpec) -> String {
    match job {
        JobSpec::Generate(asked) => format!("Continue a text, by {} tokens at most", asked.max_new_tokens),
        JobSpec::Classify(asked) => match (asked.texts.len(), asked.pictures.len()) {
            (1, 0) => "Sort a text into classes".to_owned(),
            (texts, 0) => format!("Sort {texts} texts into classes"),
            (_, 1) => "Sort a picture into classes".to_owned(),
            (_, pictures) => format!("Sort {pictures} pictures into classes"),
        },
        JobSpec::Tool { .. } => "Run a research tool on a model".to_owned(),
        JobSpec::Script(script) => format!("Run {}", script.command.join(" ")),
    }
}

/// Who works for whom, for what price and with which records.
#[component]
fn About(lease: Record, job: Option<JobSpec>) -> impl IntoView {
    let shared = shared();
    let tenant = lease.tenant.clone();
    let mine = move || shared.account().as_ref() == Some(&tenant);
    let model = match &job {
        Some(JobSpec::Generate(asked)) => Some(asked.model),
        Some(JobSpec::Classify(asked)) => Some(asked.model),
        Some(JobSpec::Tool { model, .. }) => Some(*model),
        Some(JobSpec::Script(_)) | None => None,
    };
    let tool = if let Some(JobSpec::Tool { tool, .. }) = &job { Some(*tool) } else { None };
    let prompt = if let Some(JobSpec::Generate(asked)) = &job { Some(asked.prompt.clone()) } else { None };
    let signs = lease.terms.delegate.as_ref().map_or_else(|| "the tenant's own key".to_owned(), |delegate| delegate.account.to_string());
    let escrow = format!("Escrow {}", lease.escrow_id);
    view! {
        <section class="card" aria-label="About this lease"><h2>"About this lease"</h2>
            <dl class="pairs">
                {job.as_ref().map(|job| view! { <dt>"Job"</dt><dd>{job_words(job)}</dd> })}
                {prompt.map(|prompt| view! { <dt>"Prompt"</dt><dd class="prose">{prompt}</dd> })}
                {model.map(|model| view! { <dt>"Model"</dt><dd><Id text=model.to_string() /></dd> })}
                {tool.map(|tool| view! { <dt>"Tool"</dt><dd><Id text=tool.to_string() /></dd> })}
                <dt>"Node"</dt><dd class="num">{lease.node_id.0}", by offer "{lease.terms.offer_id.0}</dd>
                <dt>"Paid to"</dt><dd class="mono">{lease.payout.to_string()}</dd>
                <dt>"Tenant"</dt><dd class="mono">{lease.tenant.to_string()}</dd>
                <dt>"Price"</dt><dd class="num"><Money asset=lease.asset.clone() amount=lease.price_per_hour />" an hour"</dd>
                <dt>"Co-signed by"</dt><dd>{signs}</dd>
                <dt>"Rented"</dt><dd><Ago at=Some(lease.created_at) /></dd>
                {lease.output.map(|output| view! { <dt>"Output hash"</dt><dd><Id text=output.to_string() /></dd> })}
                <dt>"Money"</dt><dd>{escrow}{move || mine().then(|| view! { ", "<A href="/billing">"in Billing"</A> })}</dd>
            </dl>
        </section>
    }
}

/// What a node that works with a model prints.
#[component]
fn Text(view: RwSignal<Option<LeaseView>>) -> impl IntoView {
    move || {
        view.get().map(|view| {
            view! {
                <section class="card" aria-label="Output"><h2>"Output"</h2>
                    {view.failure.clone().map(|failure| view! { <p class="note bad" role="alert">"The node could not do it: "{failure}". What was not used comes back."</p> })}
                    <Output view />
                </section>
            }
        })
    }
}

#[component]
fn Output(view: LeaseView) -> impl IntoView {
    if let Some(JobSpec::Classify(asked)) = &view.job
        && let Ok(answer) = decode::<Classified>(view.output.as_bytes())
    {
        let what = if asked.pictures.is_empty() { "Text or row" } else { "Picture" };
        return view! { <Sorted what asked=asked.asked() answer /> }.into_any();
    }
    let report = matches!(view.job, Some(JobSpec::Tool { .. })).then(|| decode::<ToolReport>(view.output.as_bytes()).ok()).flatten();
    match report {
        Some(report) => view! { <Report report /> }.into_any(),
        None if view.output.is_empty() => view! { <p class="soft">"Nothing yet."</p> }.into_any(),
        None => {
            view! { <div class="log" role="log" aria-live="polite" aria-label="Text so far" tabindex="0">{view.output}</div> }.into_any()
        }
    }
}

/// The likeliest class of each text or picture, and how likely each of them is.
#[component]
fn Sorted(what: &'static str, asked: Vec<String>, answer: Classified) -> impl IntoView {
    let Classified { classes, probabilities } = answer;
    let likeliest = |row: &[f64]| row.iter().enumerate().max_by(|left, right| left.1.total_cmp(right.1)).map(|(place, _)| place);
    let percent = |part: f64| format!("{:.1}\u{a0}%", part * 100.0);
    view! {
        <table class="stacked"><thead><tr><th>{what}</th><th>"Class"</th>{classes.iter().map(|class| view! { <th class="num">{class.clone()}</th> }).collect_view()}</tr></thead>
        <tbody>{asked.into_iter().zip(probabilities).map(|(text, row)| {
            let best = likeliest(&row).and_then(|place| classes.get(place)).cloned();
            view! { <tr><th scope="row">{text}</th><td data-label="Class"><strong>{best}</strong></td>{row.into_iter().zip(&classes).map(|(part, class)| view! { <td class="num" data-label=class.clone()>{percent(part)}</td> }).collect_view()}</tr> }
        }).collect_view()}</tbody></table>
    }
}

#[component]
fn Report(report: ToolReport) -> impl IntoView {
    view! {
        <dl class="pairs">
            {report.bits_per_byte.map(|bits| view! { <dt>"Mean bits a byte"</dt><dd class="num">{format!("{bits:.3}")}</dd> })}
            {report.accuracy.map(|part| view! { <dt>"Preferred the right one"</dt><dd class="num">{format!("{:.0} %", part * 100.0)}</dd> })}
        </dl>
        <table><thead><tr><th>"Probe"</th><th>"Answer"</th></tr></thead><tbody>{report.answers.into_iter().enumerate().map(|(index, answer)| view! { <tr><td class="num">{index + 1}</td><td>{match answer {
            ProbeAnswer::BitsPerByte(bits) => format!("{bits:.3} bits a byte"),
            ProbeAnswer::Preferred(true) => "preferred the right one".to_owned(),
            ProbeAnswer::Preferred(false) => "preferred a wrong one".to_owned(),
            ProbeAnswer::Sample(text) => text,
        }}</td></tr> }).collect_view()}</tbody></table>
    }
}
