//! A run: its state in a sentence, the curve, the cost against its cap, nodes, rounds, log; this tab co-signs.

mod result;

pub(crate) use result::{Download, figures};

use super::{param, polled, polled_until};
use crate::{
    api::{Failure, Outcome, chain, coordinator, meter, wallet},
    app::shared,
    components::{
        chart::{Beside, LossCurve},
        hub::Address,
        icons::{Icon, Name},
        ui::{Ago, Ceiling, Coming, Id, MaybeProblem, Money, exact_time},
    },
    pages::{billing::Timeline, models::size_word},
};
use leptos::{prelude::*, task::spawn_local};
use leptos_router::{components::A, hooks::use_query_map};
use result::ResultCard;
use starling_browse::axis::grouped_rate;
use starling_contract_api::{billing::Billing, compute::Compute};
use starling_http_api::{
    path,
    run::{Curves, MemberView, MetricPoint, PendingStatement, RoundView, RunView, ScoreView, SinceLeast},
};
use starling_primitives::{DurationMs, NodeId, RunId, TimestampMs, grouped};
use starling_protocol::{
    escrow::State,
    run::{Ending, RunState},
};
use std::time::Duration;

/// After so many rounds without a better figure the tenant is told what stopping would bring.
const STALE: u32 = 3;
/// So long after its end a run's figures are all there.
const LAST_FIGURES: DurationMs = DurationMs::from_secs(30);

/// The class of a run's chip, and its state in words.
pub(crate) fn state_chip(view: &RunView) -> (&'static str, &'static str) {
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
            {match view.run.state {
                RunState::Ended { at, .. } => view! { <p class="faint">"Ended "<Ago at=Some(at) /></p> }.into_any(),
                _ => view! { <p class="num">"Round "{view.run.rounds_done}" of "{view.run.terms.rounds}", "{nodes_word(view.members.len())}</p> }.into_any(),
            }}
            {view.held_out.map(|(_, last)| view! { <p class="num soft">{format!("Held-out data: {}", last.words())}</p> })}
            <Ceiling part=view.earned whole=view.run.deposit asset=view.run.terms.asset.clone() />
        </article>
    }
}

pub(crate) fn nodes_word(count: usize) -> String {
    if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") }
}

#[component]
pub(crate) fn Run() -> impl IntoView {
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
    let points = curves(id, every, over);
    let (rounds, _) =
        polled_until(every, move || async move { coordinator::get::<Vec<RoundView>>(&path::fill(path::RUN_ROUNDS, &[&id])).await }, over);
    let (others, beside) = beside(id, view);
    let signing = RwSignal::new(None::<Failure>);
    co_sign(id, view, signing);
    let result = Memo::new(move |_| view.with(|view| view.as_ref().and_then(|view| view.result.clone())));
    // The result's own figure ends the held-out curve.
    let last =
        Memo::new(move |_| view.with(|view| view.as_ref().and_then(|view| Some((view.run.rounds_done, view.result.as_ref()?.held_out.1)))));
    let mine = mine(view);
    let escrow = Memo::new(move |_| view.with(|view| view.as_ref().map(|view| view.run.escrow_id)));
    let roster = Memo::new(move |_| {
        view.with(|view| view.iter().flat_map(|view| view.run.roster.iter().map(|member| member.node_id)).collect::<Vec<_>>())
    });
    view! {
        {move || match view.get() {
            None => view! { <Coming title=format!("Run {id}") /> }.into_any(),
            Some(view) => view! { <Head view /> }.into_any(),
        }}
        <MaybeProblem failure />
        <MaybeProblem failure=signing />
        <Show when=move || view.with(Option::is_some)>
            <div class="split woven">
                <div class="stack" style="gap: 16px">
                    {move || result.get().map(|result| view! { <ResultCard result mine=mine.get() run_id=id /> })}
                    <LossCurve points beside last />
                    <CompareWith id others />
                    <section class="card" aria-label="Rounds">
                        <h2>"Rounds"</h2>
                        {move || rounds.get().map(|rounds| view! { <Rounds rounds roster=roster.get() /> })}
                    </section>
                    <Log view rounds />
                </div>
                <div class="stack" style="gap: 16px">
                    <Side view mine points />
                    {move || escrow.get().map(|escrow| view! { <Timeline escrow /> })}
                </div>
            </div>
        </Show>
    }
    .into_any()
}

async fn curves_after(id: RunId, after: u64) -> Outcome<Curves> {
    coordinator::get(&format!("{}?after={after}", path::fill(path::RUN_METRICS, &[&id]))).await
}

/// The points of the curves, which grow by what is new each time.
fn curves(id: RunId, every: Duration, over: impl Fn() -> bool + Clone + 'static) -> RwSignal<Vec<MetricPoint>> {
    let (points, last) = (RwSignal::new(Vec::new()), StoredValue::new(0));
    let ask = move || {
        let after = last.get_value();
        async move { curves_after(id, after).await.map(|news| (after, news)) }
    };
    let (news, _) = polled_until(every, ask, over);
    Effect::new(move |_| {
        // Of two answers to one question the second says nothing new.
        if let Some((_, news)) = news.get().filter(|(after, news)| *after == last.get_value() && news.last > *after) {
            last.set_value(news.last);
            points.update(|points| points.extend(news.points));
        }
    });
    points
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
                Some(other) => Ok(Some(Beside::of(format!("run {other}"), &curves_after(other, 0).await?.points))),
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
            </select><span class="hint">{format!("Held-out data of another run of this tenant, beside run {id}. Figures are comparable where the held-out data is the same.")}</span></label>
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
    let at = round.at.map(|at| format!("{}  ", exact_time(at))).unwrap_or_default();
    format!("{at}Round {}: {accepted} updates accepted{refused}, {}, {paid}", round.round + 1, size_word(round.bytes))
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

/// Whether the run is of whoever looks.
fn mine(view: RwSignal<Option<RunView>>) -> Memo<bool> {
    let shared = shared();
    Memo::new(move |_| view.with(|view| view.as_ref().is_some_and(|view| shared.account().as_ref() == Some(&view.run.tenant))))
}

#[component]
fn Head(view: RunView) -> impl IntoView {
    let (class, word) = state_chip(&view);
    let here = meter::key(&view.run.terms.meter).is_some();
    let (done, at) = match view.run.state {
        RunState::Ended { at, .. } => ("Ended ", at),
        _ => ("Updated ", view.at),
    };
    view! {
        <header>
            <div><div class="row"><h1>"Run "{view.run.id.0}</h1><span class=class>{word}</span></div><p>{view.sentence.clone()}</p></div>
            <span class="faint">{done}<Ago at=Some(at) /></span>
        </header>
        {(done == "Updated " && here).then(|| view! { <p class="note">"This tab co-signs each round: keep it open until the run ends. If you close it, the run waits for you until the round's deadline, then ends, and what is not earned comes back."</p> })}
    }
}

/// What stands beside the curve. Each part is made anew only when what it shows has changed.
#[component]
fn Side(view: RwSignal<Option<RunView>>, mine: Memo<bool>, points: RwSignal<Vec<MetricPoint>>) -> impl IntoView {
    let run = Memo::new(move |_| view.with(|view| view.as_ref().map(|view| view.run.clone())));
    let earned =
        Memo::new(move |_| view.with(|view| view.as_ref().map(|view| (view.earned, view.run.deposit, view.run.terms.asset.clone()))));
    let ended = Memo::new(move |_| run.with(|run| run.as_ref().is_some_and(|run| matches!(run.state, RunState::Ended { .. }))));
    let escrow = Memo::new(move |_| run.with(|run| run.as_ref().map(|run| run.escrow_id)));
    let checkpoint = Memo::new(move |_| {
        view.with(|view| {
            view.as_ref().filter(|view| view.result.is_none() && ended.get()).and_then(|view| Some((view.run.id, view.checkpoint?)))
        })
    });
    let stale = Memo::new(move |_| points.with(|points| rounds_without_gain(points)));
    let own_run = Memo::new(move |_| run.with(|run| run.as_ref().map(|run| run.id)).filter(|_| mine.get() && !ended.get()));
    view! {
        <section class="card early" aria-label="Cost">
            <h2>"Cost against its cap"</h2>
            {move || earned.get().map(|(part, whole, asset)| view! { <Ceiling part whole asset /> })}
            <Show when=move || !ended.get()><p class="faint">"What is not earned comes back. A tenth of what is earned waits until the result is accepted."</p></Show>
            {move || own_run.get().filter(|_| stale.get() >= STALE).map(|_| view! { <p class="note" role="status">{format!("The held-out loss has not improved for {} rounds. If you stop now, what is not earned comes back.", stale.get())}</p> })}
            {move || own_run.get().map(|id| view! { <Stop id /> })}
            {move || escrow.get().filter(|_| mine.get() && ended.get()).map(|escrow| view! { <Accept escrow /> })}
        </section>
        <section class="card" aria-label="Nodes">
            <h2>"Nodes"</h2>
            {move || view.with(|view| view.as_ref().map(|view| members(view, ended.get())))}
        </section>
        {move || checkpoint.get().map(|(id, hash)| view! {
            <section class="card"><h2>"Last paid checkpoint"</h2><p class="soft">"The outer state after the last round that counted."</p><Download hash name=format!("checkpoint-{id}.bin") label="Download checkpoint" /></section>
        })}
        <section class="card" aria-label="Identifiers">
            {move || run.get().map(|run| view! { <dl class="pairs"><dt>"State root"</dt><dd><Id text=run.state_root.to_string() /></dd><dt>"Escrow"</dt><dd class="num">{run.escrow_id.0}</dd><dt>"Tenant"</dt><dd class="mono">{run.tenant.to_string()}</dd><dt>"Price"</dt><dd><Money asset=run.terms.asset.clone() amount=run.terms.price_per_million_tokens />" a million accepted tokens"</dd></dl> })}
        </section>
    }
}

/// How many figures on held-out data came since the best one.
fn rounds_without_gain(points: &[MetricPoint]) -> u32 {
    let losses = points.iter().filter_map(|point| if let MetricPoint::HeldOut { loss, .. } = point { Some(loss.bits) } else { None });
    losses.fold(SinceLeast::default(), SinceLeast::after).count()
}

fn members(view: &RunView, ended: bool) -> AnyView {
    let bytes = size_word(view.bytes_exchanged);
    let rate = view.tokens_per_second.map(|rate| {
        format!(
            "{} accepted tokens a second over the last round, waiting and checks included; {bytes} of updates so far.",
            grouped_rate(rate)
        )
    });
    let rows = view.members.iter().cloned().map(|member| view! { <MemberRow member ended /> }).collect_view();
    match view.members.is_empty() {
        true if ended => view! { <p class="soft">"No node joined."</p> }.into_any(),
        true => view! { <p class="soft">"Nodes are joining."</p> }.into_any(),
        false => view! { {rows}{rate.map(|rate| view! { <p class="faint num">{rate}</p> })} }.into_any(),
    }
}

#[component]
fn MemberRow(member: MemberView, ended: bool) -> impl IntoView {
    let (class, activity) = match member.activity.as_str() {
        "lost" if !ended => ("chip bad", "lost"),
        _ if ended => ("chip", "done"),
        "waiting" => ("chip", "waiting"),
        activity => ("chip alive", activity),
    };
    view! {
        <div>
            <div class="row between"><span class=class>"Node "{member.node_id.0}": "{activity.to_owned()}</span>{(!ended).then(|| view! { <Ago at=member.heard_at /> })}</div>
            <p class="faint num">{member.tokens_per_second.map(|rate| format!("{} tokens/s, ", grouped_rate(rate)))}{grouped(member.accepted_tokens)}" tokens accepted"</p>
        </div>
    }
}

#[component]
fn Rounds(rounds: Vec<RoundView>, roster: Vec<NodeId>) -> impl IntoView {
    if rounds.is_empty() {
        return view! { <p class="soft">"The first round appears when nodes have joined."</p> }.into_any();
    }
    let took_part = |round: &RoundView| round.updates.iter().filter(|update| update.is_some()).count();
    let lines = |round: &RoundView| score_lines(round, &roster);
    view! {
        <div class="strip">{rounds.iter().map(|round| view! { <span class=if round.tx.is_some() { "done" } else { "" } title=format!("Round {}: {} updates accepted, {}\n{}", round.round + 1, took_part(round), size_word(round.bytes), lines(round).join("\n"))>{round.round + 1}{round.tx.is_some().then(|| view! { <Icon name=Name::Check /><span class="visually-hidden">" paid"</span> })}</span> }).collect_view()}</div>
        <details><summary class="faint">"Rounds as a table"</summary><div class="scroll"><table class="rounds">
            <thead><tr><th class="num">"Round"</th><th>"Each node's update: the loss falls by (own data, unseen data)"</th><th class="num">"Size"</th><th>"State root"</th><th>"Transaction"</th></tr></thead>
            <tbody>{rounds.iter().cloned().map(|round| { let told = Some(lines(&round)).filter(|lines| !lines.is_empty()).unwrap_or_else(|| vec![format!("{} updates accepted", took_part(&round))]); let updates = told.into_iter().chain(round.rolled_back.then(|| "It took the step before back.".to_owned())); view! { <tr>
                <td class="num">{round.round + 1}</td><td>{updates.map(|line| view! { <div>{line}</div> }).collect_view()}</td><td class="num" title=format!("{} bytes", round.bytes)>{size_word(round.bytes)}</td>
                <td>{round.statement.map(|statement| view! { <Id text=statement.state_root.to_string() /> })}</td><td>{round.tx.map(|tx| view! { <Id text=tx /> })}</td>
            </tr> }}).collect_view()}</tbody></table></div><p class="faint">"A node that is drawn after all have committed measures each update: how far a fifth of it lowers the loss, in nats, on the data that its node was assigned and on data that nobody was. An update without work lowers neither, and is refused. Whether all of the work was done, doing it again shows: "<code>"starling audit RUN"</code>" has a round made again on your machine, bit for bit."</p></details>
    }
    .into_any()
}

/// What was measured of each node's update, and why one was refused, a line each.
fn score_lines(round: &RoundView, roster: &[NodeId]) -> Vec<String> {
    let places = roster.iter().enumerate().map(|(place, node)| {
        let score = round.scores.get(place).copied().flatten().map(|ScoreView { own, unseen }| format!("{own:.4}, {unseen:.4}"));
        let refused = round.refused.get(place).cloned().flatten().map(|why| format!("refused: {why}"));
        (node, [score, refused].into_iter().flatten().collect::<Vec<_>>())
    });
    places.filter(|(_, told)| !told.is_empty()).map(|(node, told)| format!("Node {node}: {}", told.join(", "))).collect()
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
    let refusing = RwSignal::new(false);
    // Kept while its escrow stays as it is, so that a question that was asked stays.
    let held_back = Memo::new(move |_| {
        state.with(|state| {
            let view = state.as_ref()?.as_ref()?;
            let amount = view.escrow.state.opened().map(|opened| opened.held_back()).filter(|amount| !amount.is_zero())?;
            let until = if let State::Settling { until, .. } = &view.escrow.state { Some(*until) } else { None };
            Some((view.escrow.asset.clone(), amount, until))
        })
    });
    let returned = move || state.with(|state| state.as_ref()?.as_ref().map(|view| shared.words(&view.escrow.asset, view.escrow.refunded)));
    let gone = move || state.with(|state| matches!(state, Some(None)));
    let deadline = move |until: TimestampMs| {
        let now = shared.clock.get();
        if now < until {
            format!("Without an answer it is paid in {}.", until.since(now))
        } else {
            "Its time is over: it can be paid now.".to_owned()
        }
    };
    view! {
        {move || held_back.get().map(|(asset, amount, until)| {
            let words = shared.words(&asset, amount);
            view! {
                <p>{words.clone()}" waits for you to accept the result. "{move || until.map(deadline)}</p>
                {move || if refusing.get() { view! {
                    <p>{format!("Refuse the result? {words} comes back to you and is not paid for the work. It cannot be changed later.")}</p>
                    <div class="row"><button class="button danger" on:click=move |_| decide(false)>"Refuse and get "{words.clone()}" back"</button><button class="button" on:click=move |_| refusing.set(false)>"Decide later"</button></div>
                }.into_any() } else { view! {
                    <div class="row"><button class="button primary" on:click=move |_| decide(true)>"Accept and pay "{words.clone()}</button><button class="button danger" on:click=move |_| refusing.set(true)>"Refuse it"</button></div>
                }.into_any() }}
            }
        })}
        {move || returned().map(|words| view! { <p class="soft">{words}" was returned to your balance."</p> })}
        {move || gone().then(|| view! { <div class="note good" role="status"><p>"Settled: all of the escrow was paid or returned. "<A href="/billing">"Billing"</A>" has the figures."</p></div> })}
        <MaybeProblem failure />
        <MaybeProblem failure=problem />
    }
}
