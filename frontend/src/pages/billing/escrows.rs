//! Escrows that this account pays: where each stands, what can still be objected to, what can be done.

use super::Held;
use crate::{
    api::{Failure, Outcome, coordinator, wallet},
    app::shared,
    components::ui::{Empty, MaybeProblem, Money},
    pages::{billing::history::ReceiptButton, polled, run::Accept},
};
use leptos::{prelude::*, task::spawn_local};
use leptos_router::components::A;
use starling_contract_api::{
    Call,
    billing::{Billing, EscrowView},
};
use starling_http_api::{lease::LeaseView, network::HistoryEntry, path, run::RunView};
use starling_primitives::{AccountId, Amount, Asset, EscrowId, TimestampMs};
use starling_protocol::escrow::{CLOSING_PERIOD, Escrow, Opened, State};
use std::{collections::BTreeMap, time::Duration};

/// What escrows pay: in a few words, and the address of its page if it has one.
type Purposes = BTreeMap<EscrowId, (String, Option<String>)>;

/// The pages of all that this account pays by an escrow and that has one.
async fn pages_of(account: &AccountId) -> Outcome<Purposes> {
    let leases = coordinator::get::<Vec<LeaseView>>(&format!("{}?tenant={account}", path::LEASES)).await?;
    let runs = coordinator::get::<Vec<RunView>>(&format!("{}?tenant={account}", path::RUNS)).await?;
    let lease =
        |LeaseView { lease, .. }: LeaseView| (lease.escrow_id, (format!("Lease {}", lease.id), Some(format!("/leases/{}", lease.id))));
    let run = |RunView { run, .. }: RunView| (run.escrow_id, (format!("Run {}", run.id), Some(format!("/runs/{}", run.id))));
    Ok(leases.into_iter().map(lease).chain(runs.into_iter().map(run)).collect())
}

#[component]
pub(super) fn Escrows(held: Memo<Option<Held>>, newest: RwSignal<Option<Vec<HistoryEntry>>>) -> impl IntoView {
    let shared = shared();
    let (pages, _) = polled(Duration::from_secs(10), move || {
        let account = shared.account();
        async move {
            match account {
                Some(account) => pages_of(&account).await,
                None => Ok(Purposes::new()),
            }
        }
    });
    // What is not a lease or a run is told by the payment.
    let purposes = Memo::new(move |_| {
        let told = newest.with(|lines| {
            let purpose = |line: &HistoryEntry| Some((line.escrow_id?, (line.purpose.clone()?, None)));
            lines.iter().flatten().filter_map(purpose).collect::<Purposes>()
        });
        told.into_iter().chain(pages.get().unwrap_or_default()).collect::<Purposes>()
    });
    let escrows = Memo::new(move |_| held.get().map(|held| held.escrows));
    view! {
        <section class="stack" aria-label="Escrows"><h2>"Escrows"</h2>
            {move || match escrows.get() {
                None => view! { <div class="skeleton" style="height: 80px" aria-hidden="true"></div> }.into_any(),
                Some(escrows) if escrows.is_empty() => view! { <Empty><p>"No escrow holds anything of yours. One appears with each payment and goes when it is settled."</p><A href="/compute" attr:class="button">"Find a machine"</A></Empty> }.into_any(),
                Some(escrows) => view! { <div class="cards">{escrows.into_iter().map(|view| view! { <EscrowCard view purposes /> }).collect_view()}</div> }.into_any(),
            }}
        </section>
    }
}

/// What the escrow waits for, and when it comes back at the latest.
fn waits_for(escrow: &Escrow, now: TimestampMs) -> String {
    let left = |at: TimestampMs| at.since(now);
    match &escrow.state {
        State::Held { hold_deadline } if now < *hold_deadline => {
            format!("Waits for the contract's answer. If none comes within {}, anyone can send it back.", left(*hold_deadline))
        }
        State::Held { .. } => "The contract never answered: send it back now.".to_owned(),
        State::Open(opened) if now >= opened.closable_at() => "Its time is over: close it, and what was not earned returns.".to_owned(),
        State::Open(opened) if opened.closing_asked_at.is_some() => {
            format!("Closing was asked: what is not earned returns in {} at the latest.", left(opened.closable_at()))
        }
        State::Open(opened) => {
            format!("Open: earned parts are posted as work is shown. It ends by itself in {} at the latest.", left(opened.closable_at()))
        }
        State::Settling { opened, .. } if opened.held_back().is_zero() => {
            "The work is over; the last posts wait out your time to object.".to_owned()
        }
        State::Settling { until, .. } => {
            format!("The work is over. What is held back waits for you, and is paid in {} without an answer.", left(*until))
        }
        State::Closed(_) => "Closed: what is left waits for a payee to register.".to_owned(),
        State::Voided => "Returned.".to_owned(),
    }
}

fn chip(state: &State) -> &'static str {
    match state {
        State::Open(_) => "chip alive",
        State::Held { .. } | State::Settling { .. } => "chip warn",
        State::Closed(_) | State::Voided => "chip good",
    }
}

/// The one call that anyone can make when a moment has come.
fn due_call(billing: &Billing, view: &EscrowView, now: TimestampMs) -> Option<(Call, &'static str)> {
    match &view.escrow.state {
        State::Held { hold_deadline } if now >= *hold_deadline => Some((billing.void(view.id), "Send it back")),
        State::Open(opened) if now >= opened.closable_at() => Some((billing.close(view.id), "Close it")),
        _ => None,
    }
}

#[component]
fn EscrowCard(view: EscrowView, purposes: Memo<Purposes>) -> impl IntoView {
    let shared = shared();
    let failure = RwSignal::new(None::<Failure>);
    let (id, escrow) = (view.id, view.escrow.clone());
    let asset = escrow.asset.clone();
    let send = move |call: Call| {
        spawn_local(async move {
            failure.set(wallet::send(&call).await.err());
            shared.refresh_balance();
        });
    };
    let billing = move || shared.network_now().map(|network| Billing(network.deployment.billing));
    let may_ask = matches!(&escrow.state, State::Open(opened) if opened.closing_asked_at.is_none());
    let undecided = matches!(&escrow.state, State::Settling { opened, .. } if !opened.held_back().is_zero());
    let opened = escrow.state.opened().filter(|opened| !opened.batches.is_empty()).cloned();
    let money = |amount: Amount| {
        let asset = asset.clone();
        view! { <Money asset amount /> }
    };
    let (state, due) = (escrow.clone(), view.clone());
    view! {
        <article class="card" aria-label=format!("Escrow {id}")>
            <div class="row between"><h3>"Escrow "{id.0}</h3><span class=chip(&escrow.state)>{escrow.state.name()}</span></div>
            <p class="soft">{move || waits_for(&state, shared.clock.get())}</p>
            <dl class="pairs">
                {move || purposes.with(|purposes| purposes.get(&id).cloned()).map(|(words, address)| view! { <dt>"Pays for"</dt><dd>{match address { Some(address) => view! { <A href=address>{words}</A> }.into_any(), None => words.into_any() }}</dd> })}
                <dt>"Paid in"</dt><dd>{money(escrow.deposited)}</dd>
                <dt>"Not yet earned"</dt><dd>{money(view.available)}</dd>
                <dt>"Not final yet"</dt><dd>{money(view.pending)}</dd>
                <dt>"Earned"</dt><dd>{money(view.posted)}</dd>
                <dt>"Fee, inside it"</dt><dd class="num">{escrow.fee.to_string()}</dd>
                <dt>"Returned"</dt><dd>{money(escrow.refunded)}</dd>
                <dt>"Decided by"</dt><dd class="mono">{escrow.arbiter.to_string()}</dd>
            </dl>
            {opened.map(|opened| view! { <Objection id asset=escrow.asset.clone() opened failure /> })}
            {undecided.then(|| view! { <Accept escrow=id /> })}
            {move || billing().and_then(|billing| due_call(&billing, &due, shared.clock.get())).map(|(call, label)| view! { <button class="button primary" on:click=move |_| send(call.clone())>{label}</button> })}
            <div class="row">
                {may_ask.then(|| view! { <button class="button small" on:click=move |_| if let Some(billing) = billing() { send(billing.ask_closing(id)) }>"Ask to end early"</button> })}
                <ReceiptButton id label="Receipt so far" />
            </div>
            {may_ask.then(|| view! { <p class="faint">"Ending early returns what is not earned, within "{CLOSING_PERIOD.to_string()}" at the latest."</p> })}
            <MaybeProblem failure />
        </article>
    }
}

/// What a delegate signed and has not vested: the payer's time to object, and what it means.
#[component]
fn Objection(id: starling_primitives::EscrowId, asset: Asset, opened: Opened, failure: RwSignal<Option<Failure>>) -> impl IntoView {
    let shared = shared();
    let batches: Vec<(TimestampMs, Amount)> =
        opened.batches.iter().map(|batch| (batch.vests_at, Amount(batch.added.iter().map(|added| added.0).sum()))).collect();
    // A batch whose moment has come is earned, whoever writes it down later.
    let open_now = {
        let batches = batches.clone();
        move || batches.iter().filter(|(at, _)| *at > shared.clock.get()).cloned().collect::<Vec<_>>()
    };
    let total = {
        let open_now = open_now.clone();
        move || Amount(open_now().iter().map(|(_, amount)| amount.0).sum())
    };
    let asset = StoredValue::new(asset);
    let words = move |amount: Amount| asset.with_value(|asset| shared.words(asset, amount));
    let object = move |_| {
        let Some(network) = shared.network_now() else { return };
        spawn_local(async move {
            failure.set(wallet::send(&Billing(network.deployment.billing).object(id, false)).await.err());
            shared.refresh_balance();
        });
    };
    let shown = total.clone();
    view! {
        <Show when=move || !shown().is_zero()>
            {let (open_now, total) = (open_now.clone(), total.clone()); view! {
            <div class="note warn" role="group" aria-label="Objection">
                <p>"This was signed by your delegate, not by you, and is not final yet: "<strong class="num">{ let total = total.clone(); move || words(total()) }</strong>{
                    let open_now = open_now.clone();
                    move || match open_now().as_slice() { [(at, _)] => format!(", final in {}.", at.since(shared.clock.get())), _ => ".".to_owned() }
                }</p>
                <ul class="stack">{move || Some(open_now()).filter(|batches| batches.len() > 1).into_iter().flatten().map(|(at, amount)| view! { <li class="num">{words(amount)}": final in "{move || at.since(shared.clock.get()).to_string()}</li> }).collect_view()}</ul>
                <p>"Objecting returns all of it to your balance, ends the work, and takes no more posts. It is public, and counts in the node's reputation."</p>
                <button class="button danger" on:click=object>{move || format!("Object and get {} back", words(total()))}</button>
            </div> }}
        </Show>
    }
}
