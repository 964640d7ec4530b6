//! A lease: live output, earned against its ceiling, stop, refund.

use super::{param, polled};
use crate::{
    api::{coordinator, decode, meter, wallet},
    app::shared,
    components::ui::{Ago, Ceiling, MaybeProblem},
    pages::run::Accept,
};
use leptos::{prelude::*, task::spawn_local};
use starling_contract_api::compute::Compute;
use starling_http_api::{
    job::{JobSpec, ProbeAnswer, ToolReport},
    lease::{LeaseView, PendingLeaseStatement},
    path,
};
use starling_primitives::LeaseId;
use starling_protocol::lease::{Cause, LeaseState};
use std::time::Duration;

fn sentence(view: &LeaseView) -> String {
    match view.lease.state {
        LeaseState::Unpaid => "The payment is held until the chain confirms it.".to_owned(),
        LeaseState::Pending { .. } => "Paid. The node has a minute to accept, or everything comes back.".to_owned(),
        LeaseState::Active { .. } => match &view.lease.terms.delegate {
            None => "The node works. This tab co-signs the time it used: keep it open.".to_owned(),
            Some(delegate) => {
                format!("The node works, and {} co-signs for you. What it signs waits in Billing, where you may object.", delegate.account)
            }
        },
        LeaseState::Closing { cause, .. } => {
            format!("{} The last signed time may be posted for two minutes, then the rest comes back.", cause_words(cause))
        }
        LeaseState::Closed { cause, .. } => format!("{} Settled: what was not used is on your balance.", cause_words(cause)),
    }
}

/// Only what runs is alive.
fn chip(view: &LeaseView) -> &'static str {
    match view.lease.state {
        LeaseState::Active { .. } => "chip alive",
        LeaseState::Closed { cause: Cause::Completed, .. } => "chip good",
        LeaseState::Unpaid | LeaseState::Pending { .. } | LeaseState::Closing { .. } | LeaseState::Closed { .. } => "chip warn",
    }
}

fn cause_words(cause: Cause) -> &'static str {
    match cause {
        Cause::Completed => "The work is complete.",
        Cause::TenantClosed => "You stopped it.",
        Cause::ProviderClosed => "The provider stopped it.",
        Cause::NotAccepted => "The node did not accept in time.",
        Cause::TimeOver => "Its time ran out.",
        Cause::Objected => "You objected to what its meter had signed.",
        Cause::EscrowClosed => "Its escrow was closed.",
    }
}

#[component]
pub(crate) fn Lease() -> impl IntoView {
    let shared = shared();
    let Ok(id) = param("id").parse::<LeaseId>() else { return view! { <super::missing::Missing /> }.into_any() };
    let (view, failure) =
        polled(Duration::from_millis(700), move || async move { coordinator::get::<LeaseView>(&path::fill(path::LEASE, &[&id])).await });
    let problem = RwSignal::new(None);
    let busy = StoredValue::new(false);
    let co_sign = move || {
        let Some(network) = shared.network_now() else { return };
        let ended = view.try_get_untracked().flatten().is_none_or(|view: LeaseView| matches!(view.lease.state, LeaseState::Closed { .. }));
        if ended || busy.try_get_value() != Some(false) {
            return;
        }
        busy.set_value(true);
        spawn_local(async move {
            let outcome = match coordinator::find::<PendingLeaseStatement>(&path::fill(path::LEASE_STATEMENT, &[&id])).await {
                Ok(Some(pending)) => meter::sign_lease(&network, &pending).await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            problem.try_set(outcome.err());
            busy.try_update_value(|busy| *busy = false);
        });
    };
    if let Ok(handle) = set_interval_with_handle(co_sign, Duration::from_millis(500)) {
        on_cleanup(move || handle.clear());
    }
    let stop = move |_| {
        let Some(network) = shared.network_now() else { return };
        spawn_local(async move {
            problem.set(wallet::send(&Compute(network.deployment.compute).close_lease(id)).await.err());
            shared.refresh_balance();
        });
    };
    view! {
        {move || view.get().map(|view| { let words = sentence(&view); view! { <header><div><div class="row"><h1>"Lease "{view.lease.id.0}</h1><span class=chip(&view)>{view.lease.state.name()}</span></div><p>{words}</p></div><Ago at=view.heard_at /></header> }})}
        <MaybeProblem failure />
        <MaybeProblem failure=problem />
        {move || view.get().map(|view| {
            let mine = shared.account().as_ref() == Some(&view.lease.tenant);
            let (running, closed) = (matches!(view.lease.state, LeaseState::Pending { .. } | LeaseState::Active { .. }), matches!(view.lease.state, LeaseState::Closed { .. }));
            view! {
                <div class="split">
                    <section class="card" aria-label="Output"><h2>"Output"</h2>
                        {view.failure.clone().map(|failure| view! { <p class="note bad" role="alert">"The node could not do it: "{failure}". What was not used comes back."</p> })}
                        <Output view=view.clone() />
                    </section>
                    <section class="card" aria-label="Cost"><h2>"Cost against its cap"</h2>
                        <Ceiling part=view.earned whole=view.lease.deposit asset=view.lease.asset.clone() />
                        {(mine && running).then(|| view! { <button class="button danger" on:click=stop>"Stop and get the rest back"</button> })}
                        {(mine && closed).then(|| view! { <Accept escrow=view.lease.escrow_id /> })}
                    </section>
                </div>
            }
        })}
    }
    .into_any()
}

#[component]
fn Output(view: LeaseView) -> impl IntoView {
    let report = matches!(view.job, Some(JobSpec::Tool { .. })).then(|| decode::<ToolReport>(view.output.as_bytes()).ok()).flatten();
    match report {
        Some(report) => view! { <Report report /> }.into_any(),
        None if view.output.is_empty() => view! { <p class="soft">"Nothing yet."</p> }.into_any(),
        None => {
            view! { <div class="log" role="log" aria-live="polite" aria-label="Text so far" tabindex="0">{view.output}</div> }.into_any()
        }
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
