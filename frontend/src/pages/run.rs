//! A run: its state in a sentence, the curve, the cost against its cap, nodes, rounds, log; this tab co-signs.

use super::{param, polled, polled_until};
use crate::{
    api::{Failure, Outcome, chain, coordinator, meter, wallet},
    app::shared,
    components::{
        chart::{Beside, LossCurve},
        hub::Address,
        ui::{Ago, Ceiling, Id, MaybeProblem, Money, save},
    },
};
use leptos::{prelude::*, task::spawn_local};
use leptos_router::{components::A, hooks::use_query_map};
use starling_contract_api::{billing::Billing, compute::Compute};
use starling_http_api::{
    path,
    run::{MemberView, MetricPoint, PendingStatement, RoundView, RunResult, RunView},
};
use starling_primitives::{DurationMs, Hash32, RunId};
use starling_protocol::run::{Ending, RunState};
use std::time::Duration;

/// So long after its end a run's figures are all there.
const LAST_FIGURES: DurationMs = DurationMs::from_secs(30);

fn state_chip(view: &RunView) -> (&'static str, &'static str) {
    match view.run.state {
        RunState::Pending => ("chip warn", "payment held"),
        RunState::Enrolling { .. } => ("chip alive", "enrolling"),
        RunState::Training { .. } => ("chip alive", "training"),
        RunState::Ended { ending: Ending::Finished, .. } => ("chip good", "finished"),
        RunState::Ended { ending: Ending::Stopped, .. } => ("chip warn", "stopped"),
        RunState::Ended { ending: Ending::Failed(_), .. } => ("chip bad", "failed"),
    }
}

#[component]
pub(crate) fn RunCard(view: RunView) -> impl IntoView {
    let (class, word) = state_chip(&view);
    let id = view.run.id;
    view! {
        <article class="card">
            <div class="row between"><h2><A href=format!("/runs/{id}")>"Run "{id.0}</A></h2><span class=class>{word}</span></div>
            <p class="soft">{view.sentence.clone()}</p>
            <p class="num">"Round "{view.run.rounds_done}" of "{view.run.terms.rounds}</p>
            <Ceiling part=view.earned whole=view.run.deposit asset=view.run.terms.asset.clone() />
        </article>
    }
}

#[component]
pub(crate) fn Run() -> impl IntoView {
    let shared = shared();
    let Ok(id) = param("id").parse::<RunId>() else { return view! { <super::missing::Missing /> }.into_any() };
    let every = Duration::from_millis(1_000);
    let (view, failure) = polled(every, move || async move { coordinator::get::<RunView>(&path::fill(path::RUN, &[&id])).await });
    // The last figures come some seconds after the end.
    let over = move || {
        let ended = view.try_get_untracked().flatten().and_then(|view| match view.run.state {
            RunState::Ended { at, .. } => Some(view.at.since(at) > LAST_FIGURES),
            _ => None,
        });
        ended.unwrap_or(false)
    };
    let (metrics, _) = polled_until(every, move || async move { metrics_of(id).await }, over);
    let (rounds, _) = polled(every, move || async move { coordinator::get::<Vec<RoundView>>(&path::fill(path::RUN_ROUNDS, &[&id])).await });
    let points = RwSignal::new(Vec::new());
    Effect::new(move |_| points.set(metrics.get().unwrap_or_default()));
    let (others, beside) = beside(id, view);
    let signing = RwSignal::new(None::<Failure>);
    co_sign(id, view, signing);
    view! {
        {move || match view.get() {
            None => view! { <div class="skeleton" style="height: 200px" aria-label="Loading the run"></div> }.into_any(),
            Some(view) => view! { <Head view /> }.into_any(),
        }}
        <MaybeProblem failure />
        <MaybeProblem failure=signing />
        <div class="split">
            <div class="stack" style="gap: 16px">
                <LossCurve points beside />
                <CompareWith id others />
                <section class="card" aria-label="Rounds">
                    <h2>"Rounds"</h2>
                    {move || rounds.get().map(|rounds| view! { <Rounds rounds /> })}
                </section>
                <Log view rounds />
            </div>
            <div class="stack" style="gap: 16px">
                {move || view.get().map(|view| view! { <Side view owner=shared.account() /> })}
            </div>
        </div>
    }
    .into_any()
}

async fn metrics_of(id: RunId) -> Outcome<Vec<MetricPoint>> {
    coordinator::get(&path::fill(path::RUN_METRICS, &[&id])).await
}

/// The tenant's other runs, and the held-out curve of the one that the address names.
fn beside(id: RunId, view: RwSignal<Option<RunView>>) -> (Memo<Vec<RunId>>, Memo<Option<Beside>>) {
    let query = use_query_map();
    let tenant = Memo::new(move |_| view.with(|view| view.as_ref().map(|view| view.run.tenant.clone())));
    let (runs, _) = polled(Duration::from_secs(60), move || {
        let tenant = tenant.get();
        async move {
            let Some(tenant) = tenant else { return Ok(Vec::new()) };
            coordinator::get::<Vec<RunView>>(&format!("{}?tenant={tenant}", path::RUNS)).await
        }
    });
    let others = Memo::new(move |_| {
        runs.with(|runs| runs.iter().flatten().map(|view| view.run.id).filter(|other| *other != id).collect::<Vec<_>>())
    });
    let chosen = Memo::new(move |_| query.with(|query| query.get("beside")?.parse::<RunId>().ok()).filter(|other| *other != id));
    let (points, _) = polled(Duration::from_secs(60), move || {
        let chosen = chosen.get();
        async move {
            match chosen {
                Some(other) => Ok(Some(Beside::of(format!("run {other}"), &metrics_of(other).await?))),
                None => Ok(None),
            }
        }
    });
    (others, Memo::new(move |_| points.get().flatten().filter(|_| chosen.get().is_some())))
}

/// Which other run's curve is drawn beside this one's; it stands in the address.
#[component]
fn CompareWith(id: RunId, others: Memo<Vec<RunId>>) -> impl IntoView {
    let address = Address::here();
    view! {
        <Show when=move || others.with(|others| !others.is_empty())>
            <label class="field">"Compare with"<select prop:value=move || address.value("beside") on:change:target=move |event| address.say(&[("beside", event.target().value())], &[])>
                <option value="">"No other run"</option>
                {move || others.get().into_iter().map(|other| { let value = other.to_string(); let key = value.clone(); view! { <option value=value selected=move || address.value("beside") == key>{format!("Run {other}")}</option> }}).collect_view()}
            </select><span class="hint">{format!("Held-out text of another run of this tenant, beside run {id}. Figures are comparable where the held-out text is the same.")}</span></label>
        </Show>
    }
}

/// What happened, the newest last.
#[component]
fn Log(view: RwSignal<Option<RunView>>, rounds: RwSignal<Option<Vec<RoundView>>>) -> impl IntoView {
    let lines = Memo::new(move |_| {
        let counted = rounds.with(|rounds| rounds.iter().flatten().map(round_words).collect::<Vec<_>>());
        let now = view.with(|view| view.as_ref().map(|view| view.sentence.clone()));
        counted.into_iter().chain(now).collect::<Vec<_>>()
    });
    view! {
        <section class="card" aria-label="Log"><h2>"Log"</h2>
            <div class="log" role="log" tabindex="0" aria-label="What happened, the newest last">{move || lines.get().join("\n")}</div>
        </section>
    }
}

fn round_words(round: &RoundView) -> String {
    let accepted = round.updates.iter().filter(|update| update.is_some()).count();
    let refused: Vec<&str> = round.refused.iter().flatten().map(String::as_str).collect();
    let refused = if refused.is_empty() { String::new() } else { format!(", refused: {}", refused.join(", ")) };
    let paid = if round.tx.is_some() { "paid" } else { "not on chain yet" };
    format!("Round {}: {accepted} updates accepted{refused}, {} bytes, {paid}", round.round + 1, round.bytes)
}

/// While this tab is open it signs each round that waits for the meter, if the key is here.
fn co_sign(id: RunId, view: RwSignal<Option<RunView>>, problem: RwSignal<Option<Failure>>) {
    let shared = shared();
    let busy = StoredValue::new(false);
    let round = move || {
        let Some(network) = shared.network_now() else { return };
        let holds_key = view
            .try_get_untracked()
            .flatten()
            .is_some_and(|view| matches!(view.run.state, RunState::Training { .. }) && meter::key(&view.run.terms.meter).is_some());
        if !holds_key || busy.try_get_value() != Some(false) {
            return;
        }
        busy.set_value(true);
        spawn_local(async move {
            let outcome = match coordinator::find::<PendingStatement>(&path::fill(path::RUN_STATEMENT, &[&id])).await {
                Ok(Some(pending)) => meter::sign_round(&network, id, &pending).await,
                Ok(None) => Ok(()),
                Err(error) => Err(error),
            };
            problem.try_set(outcome.err());
            busy.try_update_value(|busy| *busy = false);
        });
    };
    if let Ok(handle) = set_interval_with_handle(round, Duration::from_millis(400)) {
        on_cleanup(move || handle.clear());
    }
}

#[component]
fn Head(view: RunView) -> impl IntoView {
    let (class, word) = state_chip(&view);
    let here = meter::key(&view.run.terms.meter).is_some();
    let running = !matches!(view.run.state, RunState::Ended { .. });
    view! {
        <header>
            <div><div class="row"><h1>"Run "{view.run.id.0}</h1><span class=class>{word}</span></div><p>{view.sentence.clone()}</p></div>
            <Ago at=Some(view.at) />
        </header>
        {(running && here).then(|| view! { <p class="note">"This tab co-signs each round: keep it open until the run ends. If you close it, the run waits for you until the round's deadline, then ends, and what is not earned comes back."</p> })}
    }
}

#[component]
fn Side(view: RunView, owner: Option<starling_primitives::AccountId>) -> impl IntoView {
    let mine = owner.as_ref() == Some(&view.run.tenant);
    let ended = matches!(view.run.state, RunState::Ended { .. });
    let run = view.run.clone();
    let result = view.result.clone();
    view! {
        <section class="card" aria-label="Cost">
            <h2>"Cost against its cap"</h2>
            <Ceiling part=view.earned whole=run.deposit asset=run.terms.asset.clone() />
            <p class="faint">"What is not earned comes back. A tenth of what is earned waits until the result is accepted."</p>
            {(mine && !ended).then(|| view! { <Stop id=run.id /> })}
            {(mine && ended).then(|| view! { <Accept escrow=run.escrow_id /> })}
        </section>
        <section class="card" aria-label="Nodes">
            <h2>"Nodes"</h2>
            {if view.members.is_empty() { view! { <p class="soft">"Nodes are joining."</p> }.into_any() } else { view.members.iter().cloned().map(|member| view! { <MemberRow member /> }).collect_view().into_any() }}
            {view.tokens_per_second.map(|rate| view! { <p class="faint num">{format!("{rate:.0} accepted tokens a second over the last round, {} bytes of updates so far", view.bytes_exchanged)}</p> })}
        </section>
        {result.map(|result| view! { <ResultCard result mine run_id=run.id /> })}
        {(view.result.is_none() && ended).then(|| view.checkpoint.map(|hash| view! {
            <section class="card"><h2>"Last paid checkpoint"</h2><p class="soft">"The outer state after the last round that counted."</p><Download hash name=format!("checkpoint-{}.bin", run.id) label="Download checkpoint" /></section>
        }))}
        <section class="card" aria-label="Identifiers">
            <dl class="pairs"><dt>"State root"</dt><dd><Id text=run.state_root.to_string() /></dd><dt>"Escrow"</dt><dd class="num">{run.escrow_id.0}</dd><dt>"Tenant"</dt><dd class="mono">{run.tenant.to_string()}</dd><dt>"Price"</dt><dd><Money asset=run.terms.asset.clone() amount=run.terms.price_per_million_tokens />" a million accepted tokens"</dd></dl>
        </section>
    }
}

#[component]
fn MemberRow(member: MemberView) -> impl IntoView {
    let class = match member.activity.as_str() {
        "lost" => "chip bad",
        "waiting" => "chip",
        _ => "chip alive",
    };
    view! {
        <div class="row between">
            <span class=class>"Node "{member.node_id.0}": "{member.activity}</span>
            <span class="faint num">{member.tokens_per_second.map(|rate| format!("{rate:.0} tokens/s, "))}{member.accepted_tokens}" accepted"</span>
            <Ago at=member.heard_at />
        </div>
    }
}

#[component]
fn Rounds(rounds: Vec<RoundView>) -> impl IntoView {
    if rounds.is_empty() {
        return view! { <p class="soft">"The first round appears when nodes have joined."</p> }.into_any();
    }
    let took_part = |round: &RoundView| round.updates.iter().filter(|update| update.is_some()).count();
    view! {
        <div class="strip">{rounds.iter().map(|round| view! { <span class=if round.tx.is_some() { "done" } else { "" } title=format!("round {}: {} updates accepted, {} bytes", round.round, took_part(round), round.bytes)>{round.round}{if round.tx.is_some() { " ✓" } else { "" }}</span> }).collect_view()}</div>
        <details><summary class="faint">"Rounds as a table"</summary><div class="scroll"><table>
            <thead><tr><th>"Round"</th><th>"Updates"</th><th>"Refused"</th><th class="num">"Bytes"</th><th>"State root"</th><th>"Transaction"</th></tr></thead>
            <tbody>{rounds.into_iter().map(|round| { let updates = took_part(&round); view! { <tr>
                <td class="num">{round.round}</td><td class="num">{updates}</td><td>{round.refused.iter().flatten().cloned().collect::<Vec<_>>().join(", ")}</td><td class="num">{round.bytes}</td>
                <td>{round.statement.map(|statement| view! { <Id text=statement.state_root.to_string() /> })}</td><td>{round.tx.map(|tx| view! { <Id text=tx /> })}</td>
            </tr> }}).collect_view()}</tbody></table></div></details>
    }
    .into_any()
}

#[component]
fn ResultCard(result: RunResult, mine: bool, run_id: RunId) -> impl IntoView {
    let (before, after) = result.bits_per_byte;
    view! {
        <section class="card" aria-label="Result">
            <h2>"Result"</h2>
            <dl class="pairs">
                <dt>"Held out, before"</dt><dd class="num">{format!("{before:.3} bits a byte")}</dd>
                <dt>"Held out, after"</dt><dd class="num">{format!("{after:.3} bits a byte")}</dd>
                <dt>"Kneser-Ney bigram"</dt><dd class="num">{format!("{:.3}", result.baselines.bigram)}</dd>
                <dt>"Kneser-Ney trigram"</dt><dd class="num">{format!("{:.3}", result.baselines.trigram)}</dd>
                <dt>"Model file"</dt><dd><Id text=result.model.to_string() /></dd>
            </dl>
            <div class="log" role="region" aria-label="Sample text" tabindex="0">{result.sample.clone()}</div>
            {mine.then(|| view! { <Download hash=result.model name="model.safetensors".to_owned() label="Download model" /><A href=format!("/models/publish?run={run_id}") attr:class="button">"Publish this model"</A><A href=format!("/compute?model={}", result.model) attr:class="button">"Try it: rent a node to continue a text"</A> })}
        </section>
    }
}

/// Downloads an artifact and says that its hash was compared.
#[component]
pub(crate) fn Download(hash: Hash32, name: String, label: &'static str) -> impl IntoView {
    let (failure, done) = (RwSignal::new(None), RwSignal::new(None::<usize>));
    let run = move |_| {
        let name = name.clone();
        spawn_local(async move {
            match coordinator::download(hash).await {
                Ok(bytes) => {
                    save(&bytes, &name);
                    done.set(Some(bytes.len()));
                    failure.set(None);
                }
                Err(error) => failure.set(Some(error)),
            }
        });
    };
    view! {
        <button class="button" on:click=run>{label}</button>
        {move || done.get().map(|bytes| view! { <p class="note good" role="status">"Downloaded "{bytes}" bytes; the hash computed here equals the published one."</p> })}
        <MaybeProblem failure />
    }
}

#[component]
fn Stop(id: RunId) -> impl IntoView {
    let shared = shared();
    let (asked, failure) = (RwSignal::new(false), RwSignal::new(None));
    let stop = move |_| {
        let Some(network) = shared.network_now() else { return };
        spawn_local(async move {
            failure.set(wallet::send(&Compute(network.deployment.compute).stop_run(id)).await.err());
            asked.set(false);
            shared.refresh_balance();
        });
    };
    view! {
        {move || if asked.get() {
            view! { <p>"Stop run "{id.0}"? Rounds that counted stay paid, the rest comes back at once. It cannot be resumed."</p><div class="row"><button class="button danger" on:click=stop>"Stop the run"</button><button class="button" on:click=move |_| asked.set(false)>"Keep it running"</button></div> }.into_any()
        } else {
            view! { <button class="button danger" on:click=move |_| asked.set(true)>"Stop"</button> }.into_any()
        }}
        <MaybeProblem failure />
    }
}

/// What became of an escrow, and the choice about what is held back.
#[component]
pub(crate) fn Accept(escrow: starling_primitives::EscrowId) -> impl IntoView {
    let shared = shared();
    let failure = RwSignal::new(None);
    let (state, problem) = polled(Duration::from_secs(2), move || async move {
        let Some(network) = shared.network_now() else { return Ok(None) };
        chain::view(&network.rpc_url, &Billing(network.deployment.billing).escrow(escrow)).await
    });
    let decide = move |accept: bool| {
        let Some(network) = shared.network_now() else { return };
        spawn_local(async move {
            let billing = Billing(network.deployment.billing);
            let call = if accept { billing.acknowledge(escrow) } else { billing.refuse(escrow) };
            failure.set(wallet::send(&call).await.err());
            shared.refresh_balance();
        });
    };
    view! {
        {move || match state.get() {
            Some(Some(view)) if view.escrow.state.opened().is_some_and(|opened| !opened.held_back().is_zero()) => view! {
                <p>{shared.words(&view.escrow.asset, view.escrow.state.opened().map(|opened| opened.held_back()).unwrap_or_default())}" waits for you to accept the result; "{shared.words(&view.escrow.asset, view.escrow.refunded)}" was returned to your balance."</p>
                <div class="row"><button class="button primary" on:click=move |_| decide(true)>"Accept the result"</button><button class="button danger" on:click=move |_| decide(false)>"Refuse it"</button></div>
            }.into_any(),
            Some(Some(view)) => view! { <p class="soft">{shared.words(&view.escrow.asset, view.escrow.refunded)}" was returned to your balance."</p> }.into_any(),
            Some(None) => view! { <p class="note good" role="status">"Settled: all of the escrow was paid or returned. See Billing for the figures."</p> }.into_any(),
            None => ().into_any(),
        }}
        <MaybeProblem failure />
        <MaybeProblem failure=problem />
    }
}
