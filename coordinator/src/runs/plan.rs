//! What is due for a run: a pure function of its state. The engine does each intent once per key (messages: once per connection).

use super::{
    judge::unanswered,
    record::RecordInput,
    state::{Assigned, Frozen, Made, RunWork, Stage, View},
};
use starling_contract_api::{
    Call,
    compute::{Compute, RosterSignature},
};
use starling_http_api::node::{PlacedUpdate, ToNode};
use starling_primitives::{AccountId, Hash32, NodeId, Signature, TimestampMs};
use starling_protocol::run::RunState;
use std::collections::BTreeMap;

/// Windows of held-out text in the figure after each round.
const EVALUATE_WINDOWS: u32 = 64;
/// Runs are settled every so many rounds, and at the end.
const SETTLE_EVERY: u32 = 5;
/// Others have so long to sign after the quorum.
const SIGN_GRACE_MS: u64 = 1_500;
/// After a run's end its nodes are told so for that long.
const TELL_END_MS: u64 = 86_400_000;
/// Who has not answered for so long is asked again: what was asked may have failed there.
const ASK_AGAIN_MS: u64 = 30_000;
/// Time may be off between this machine and the chain by that much before anything is repeated.
const RETRY_MS: u64 = 5_000;

/// Something that should have happened by now.
#[derive(Clone, Debug, PartialEq)]
pub enum Intent {
    /// A message to a connected node, once per connection and key.
    Send {
        /// To whom.
        node: NodeId,
        /// Names it.
        key: String,
        /// What is said.
        message: Box<ToNode>,
    },
    /// Wait for a block after this height and take its hash.
    DrawSeed {
        /// For which round.
        round: u32,
        /// The height.
        after_height: u64,
    },
    /// Decode and compare updates.
    Inspect {
        /// For which round.
        round: u32,
        /// Artifact of the recipe that names their code.
        recipe: Hash32,
        /// Artifact of the state that fixes their layout.
        state: Hash32,
        /// In order of commitment.
        updates: Vec<PlacedUpdate>,
    },
    /// Make the round record.
    Record(Box<RecordInput>),
    /// A call on chain through the outbox; repeated only after `retry_ms` when it ended without the wanted effect.
    Call {
        /// Idempotency key.
        key: String,
        /// What is called.
        call: Box<Call>,
        /// When it may be repeated.
        retry_ms: u64,
    },
}

/// Everything that is due.
pub fn plan(work: &RunWork, view: &View<'_>, compute: &AccountId) -> Vec<Intent> {
    let mut due = Vec::new();
    chain_duties(work, view, compute, &mut due);
    if work.not_served.is_some() || work.admitted.is_none() {
        return due;
    }
    match &work.stage {
        Stage::Waiting => open(view, &mut due),
        Stage::Collecting { since, assigned, commitments, .. } => {
            start(work, view, (*since, assigned), |place| !commitments.contains_key(&place), &mut due);
            evaluate(work, view, |place| commitments.contains_key(&place), &mut due);
        }
        Stage::Revealing { frozen, revealed, seed } => {
            for (_, member) in view.present().filter(|(place, _)| frozen.commitments.contains_key(place) && !revealed.contains_key(place)) {
                let message = ToNode::Reveal { run_id: work.run_id, round: work.rounds_done };
                send(view, member.node_id, again(format!("reveal/{}", work.rounds_done), frozen.at, view), message, &mut due);
            }
            if seed.is_none() {
                due.push(Intent::DrawSeed { round: work.rounds_done, after_height: frozen.height });
            }
        }
        Stage::Inspecting { frozen, revealed, .. } => {
            due.push(Intent::Inspect {
                round: work.rounds_done,
                recipe: view.run.terms.recipe,
                state: work.state,
                updates: in_order_of_commitment(frozen, |place| revealed.contains_key(&place)),
            });
        }
        Stage::Scoring { scoring, asked_at } => {
            for judge in unanswered(scoring) {
                let Some(member) = view.member(judge.place) else { continue };
                let updates = placed(&scoring.frozen, &judge.updates);
                let (run_id, round, state, seed) = (work.run_id, work.rounds_done, work.state, scoring.seed);
                let message = ToNode::Score { run_id, round, state, seed, updates };
                let key = again(format!("score/{}/{}", work.rounds_done, asked_at.0), *asked_at, view);
                send(view, member.node_id, key, message, &mut due);
            }
        }
        Stage::Recording { scored } => {
            let left = view
                .run
                .roster
                .iter()
                .enumerate()
                .filter(|(_, member)| member.left)
                .filter_map(|(place, _)| u16::try_from(place).ok())
                .collect();
            due.push(Intent::Record(Box::new(RecordInput {
                run_id: work.run_id,
                escrow_id: view.run.escrow_id,
                round: work.rounds_done,
                state: work.state,
                state_root: work.state_root,
                earlier: work.earlier,
                previous_digest: work.previous_digest,
                previous_chain: view.run.chain,
                recipe: view.run.terms.recipe,
                roster: u16::try_from(view.run.roster.len()).unwrap_or(u16::MAX),
                left,
                tokens_per_round: view.run.terms.tokens_per_round,
                scored: scored.clone(),
            })));
        }
        Stage::Signing { made, signatures, quorum_at, meter } => {
            record(work, view, made, |place| !signatures.contains_key(&place), &mut due);
            if let (Some(quorum_at), Some(meter)) = (quorum_at, meter) {
                post(view, compute, made, signatures, *quorum_at, meter, &mut due);
            }
        }
        Stage::Exporting { asked: Some(node), tries, .. } => {
            let message = ToNode::Export {
                run_id: work.run_id,
                terms: Box::new(view.run.terms.clone()),
                state: work.state,
                state_root: work.state_root,
            };
            send(view, *node, format!("export/{tries}"), message, &mut due);
        }
        Stage::Exporting { asked: None, .. } => {}
        Stage::Done => tell_end(work, view, &mut due),
    }
    due
}

/// What anyone may do on chain and this service pays for: ticks and settlements.
fn chain_duties(work: &RunWork, view: &View<'_>, compute: &AccountId, due: &mut Vec<Intent>) {
    let (run, compute) = (view.run, Compute(compute.clone()));
    let mut call = |key: String, call: Call, retry_ms: u64| due.push(Intent::Call { key, call: Box::new(call), retry_ms });
    match run.state {
        RunState::Enrolling { until } if view.chain_now >= until => {
            call(format!("tick/run/{}/enroll", run.id), compute.tick_run(run.id), RETRY_MS)
        }
        RunState::Training { round, deadline } if view.chain_now > deadline => {
            call(format!("tick/run/{}/{round}", run.id), compute.tick_run(run.id), RETRY_MS)
        }
        RunState::Training { round, .. } if round > 0 && round.is_multiple_of(SETTLE_EVERY) => {
            call(format!("settle/run/{}/{round}", run.id), compute.settle_run(run.id), u64::MAX)
        }
        RunState::Ended { settled: false, at, .. } if view.chain_now.since(at).0 > 1_000 || work.rounds_done == run.terms.rounds => {
            call(format!("settle/run/{}/end", run.id), compute.settle_run(run.id), 2 * RETRY_MS);
        }
        _ => {}
    }
}

fn open(view: &View<'_>, due: &mut Vec<Intent>) {
    let RunState::Enrolling { .. } = view.run.state else { return };
    let terms = &view.run.terms;
    for node in view.presence.keys() {
        let invited = terms.invited.is_empty() || terms.invited.contains(node);
        let enrolled = view.run.roster.iter().any(|member| member.node_id == *node);
        if invited && !enrolled {
            let message = ToNode::RunOpen { run_id: view.run.id, terms: Box::new(terms.clone()) };
            send(view, *node, "open".to_owned(), message, due);
        }
    }
}

fn start(
    work: &RunWork,
    view: &View<'_>,
    (since, assigned): (TimestampMs, &Assigned),
    wanted: impl Fn(u16) -> bool,
    due: &mut Vec<Intent>,
) {
    let RunState::Training { deadline, .. } = view.run.state else { return };
    for (place, member) in view.present().filter(|(place, _)| wanted(*place)) {
        let message = ToNode::StartRound {
            run_id: work.run_id,
            terms: Box::new(view.run.terms.clone()),
            round: work.rounds_done,
            place,
            steps: assigned.steps(place),
            state: work.state,
            state_root: work.state_root,
            time_left_ms: deadline.since(view.chain_now).0,
        };
        send(view, member.node_id, again(format!("start/{}", work.rounds_done), since, view), message, due);
    }
}

/// One node that has committed, another each round and not the last scorer, evaluates the state that the round began with.
fn evaluate(work: &RunWork, view: &View<'_>, idle: impl Fn(u16) -> bool, due: &mut Vec<Intent>) {
    if work.evaluated == Some(work.rounds_done) {
        return;
    }
    let able: Vec<NodeId> = view
        .present()
        .filter(|(place, member)| Some(*place) != work.last_scorer && idle(*place) && view.is_connected(member.node_id))
        .map(|(_, member)| member.node_id)
        .collect();
    let turn = usize::try_from(work.rounds_done).ok().and_then(|round| round.checked_rem(able.len()));
    if let Some(node) = turn.and_then(|turn| able.get(turn)) {
        let round = work.rounds_done.checked_sub(1);
        let message = ToNode::Evaluate { run_id: work.run_id, round, state: work.state, windows: EVALUATE_WINDOWS };
        send(view, *node, format!("evaluate/{}", work.rounds_done), message, due);
    }
}

fn record(work: &RunWork, view: &View<'_>, made: &Made, wanted: impl Fn(u16) -> bool, due: &mut Vec<Intent>) {
    let updates: Vec<PlacedUpdate> = made
        .updates
        .iter()
        .enumerate()
        .filter_map(|(place, update)| Some(PlacedUpdate { place: u16::try_from(place).ok()?, update: (*update)?, steps: None }))
        .collect();
    for (_, member) in view.present().filter(|(place, _)| wanted(*place)) {
        let message = ToNode::Record {
            run_id: work.run_id,
            round: made.statement.round,
            record: made.record,
            state: work.state,
            earlier: work.earlier,
            updates: updates.clone(),
            statement: Box::new(made.statement.clone()),
        };
        send(view, member.node_id, again(format!("record/{}", made.statement.round), made.since, view), message, due);
    }
}

fn post(
    view: &View<'_>,
    compute: &AccountId,
    made: &Made,
    signatures: &BTreeMap<u16, Signature>,
    quorum_at: TimestampMs,
    meter: &Signature,
    due: &mut Vec<Intent>,
) {
    let signers: Vec<RosterSignature> = view
        .present()
        .filter_map(|(place, _)| signatures.get(&place).map(|signature| RosterSignature { place, signature: *signature }))
        .collect();
    let all = view.present().filter(|(_, member)| view.is_connected(member.node_id)).all(|(place, _)| signatures.contains_key(&place));
    if all || view.now.since(quorum_at).0 >= SIGN_GRACE_MS {
        let call = Compute(compute.clone()).post_round(&made.statement, &signers, meter);
        due.push(Intent::Call { key: round_key(view.run.id, made.statement.round), call: Box::new(call), retry_ms: RETRY_MS });
    }
}

/// The outbox key of a round.
pub(crate) fn round_key(run_id: starling_primitives::RunId, round: u32) -> String {
    format!("round/{run_id}/{round}")
}

fn tell_end(work: &RunWork, view: &View<'_>, due: &mut Vec<Intent>) {
    let RunState::Ended { at, .. } = view.run.state else { return };
    if view.chain_now.since(at).0 < TELL_END_MS {
        for member in &view.run.roster {
            send(view, member.node_id, "ended".to_owned(), ToNode::RunEnded { run_id: work.run_id }, due);
        }
    }
}

fn send(view: &View<'_>, node: NodeId, key: String, message: ToNode, due: &mut Vec<Intent>) {
    if view.is_connected(node) {
        due.push(Intent::Send { node, key: format!("run/{}/{key}", view.run.id), message: Box::new(message) });
    }
}

/// The name of what is asked, another one each time that those are asked again who have not answered.
fn again(key: String, since: TimestampMs, view: &View<'_>) -> String {
    match view.now.since(since).0 / ASK_AGAIN_MS {
        0 => key,
        turn => format!("{key}/{turn}"),
    }
}

fn placed(frozen: &Frozen, places: &[u16]) -> Vec<PlacedUpdate> {
    let placed = |place: &u16| {
        let update = frozen.commitments.get(place)?.update;
        Some(PlacedUpdate { place: *place, update, steps: frozen.assigned.steps(*place) })
    };
    places.iter().filter_map(placed).collect()
}

fn in_order_of_commitment(frozen: &Frozen, wanted: impl Fn(u16) -> bool) -> Vec<PlacedUpdate> {
    let mut updates: Vec<_> = frozen.commitments.iter().filter(|(place, _)| wanted(**place)).collect();
    updates.sort_by_key(|(place, committed)| (committed.at, **place));
    updates.into_iter().map(|(place, committed)| PlacedUpdate { place: *place, update: committed.update, steps: None }).collect()
}
