//! What time and the chain demand: closing commitments, passing over silent scorers, following the chain.

use super::{
    judge::{next_pair, unanswered},
    state::{Assigned, Committed, Frozen, Made, RunWork, Scored, Stage, View},
};
use starling_primitives::{NodeId, TimestampMs};
use starling_protocol::run::{Member, RunState};
use starling_rounds::{Pace, late_after_ms, paced_steps, recipe::InnerSteps};
use std::collections::BTreeMap;

/// A node that is away for so long is not waited for.
const AWAY_MS: u64 = 6_000;
/// After a restart of this process nodes have so long to come back.
const RETURN_MS: u64 = 12_000;
/// An update must be uploaded within the time that its training took, or this, whichever is longer.
const REVEAL_MS: u64 = 20_000;
/// A scorer must answer within the time that training took, or this, whichever is longer.
const SCORE_MS: u64 = 45_000;
/// The first node that is asked must make the result within this; each later one has twice the time of the one before.
const EXPORT_MS: u64 = 60_000;
/// The longest patience is 64 minutes.
const EXPORT_DOUBLINGS: u32 = 6;
/// Signing takes a part of the round's time: commitments close this much before the chain's deadline, or a quarter of the round before it.
const SIGNING_RESERVE_MS: u64 = 60_000;

/// Makes at most one transition. Says whether it did.
pub(super) fn step(work: &mut RunWork, view: &View<'_>) -> bool {
    if work.not_served.is_some() || work.admitted.is_none() {
        return false;
    }
    match follow_chain(work, view) {
        Some(stage) => {
            work.stage = stage;
            true
        }
        None => match within_round(work, view) {
            Some(stage) => {
                work.stage = stage;
                true
            }
            None => note_quorum(work, view) || note_told(work, view),
        },
    }
}

/// The chain's word counts: a round that counted, a start, an end.
fn follow_chain(work: &mut RunWork, view: &View<'_>) -> Option<Stage> {
    if let Stage::Signing { made, .. } = &work.stage
        && view.run.rounds_done == made.statement.round + 1
        && view.run.state_root == made.statement.state_root
    {
        let made = Made::clone(made);
        complete(work, &made, view.now);
        return Some(Stage::Waiting);
    }
    match (&work.stage, view.run.state) {
        (Stage::Waiting, RunState::Training { round, .. }) if round == work.rounds_done && view.run.state_root == work.state_root => {
            let (assigned, told, commitments) = (assign(work, view), BTreeMap::new(), BTreeMap::new());
            Some(Stage::Collecting { since: view.now, assigned, told, commitments })
        }
        (Stage::Done | Stage::Exporting { .. }, _) => None,
        (_, RunState::Ended { .. }) if view.run.rounds_done == 0 => Some(Stage::Done),
        (_, RunState::Ended { .. }) if view.run.rounds_done == work.rounds_done => {
            Some(Stage::Exporting { asked: None, asked_at: view.now, tries: 0 })
        }
        _ => None,
    }
}

/// What each place is to make in the round that begins, by what was seen of those who are still there.
fn assign(work: &RunWork, view: &View<'_>) -> Assigned {
    let (InnerSteps::Paced, Some(inner_steps_per_round)) = (work.inner_steps, work.admitted) else { return Assigned::default() };
    let seen = |(place, member): (u16, &Member)| work.paces.get(&place).copied().filter(|_| !member.left);
    let seen: Vec<Option<Pace>> = (0..).zip(&view.run.roster).map(seen).collect();
    Assigned(paced_steps(inner_steps_per_round, &seen))
}

fn complete(work: &mut RunWork, made: &Made, now: TimestampMs) {
    let statement = &made.statement;
    work.earlier = Some(std::mem::replace(&mut work.state, made.state));
    work.state_root = statement.state_root;
    work.previous_digest = statement.record;
    work.rounds_done = statement.round + 1;
    // Work that was refused shows no pace: a hash of nothing, committed to at once, would set that of all others.
    for (place, reason) in (0..).zip(&made.refused) {
        if reason.is_some() {
            work.paces.remove(&place);
        }
    }
    let tokens: u64 = statement.tokens.iter().map(|tokens| u64::from(*tokens)).sum();
    let passed = now.since(made.since).0.max(1);
    #[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
    let rate = tokens as f64 * 1_000.0 / passed as f64;
    work.tokens_per_second = Some(rate);
}

fn within_round(work: &RunWork, view: &View<'_>) -> Option<Stage> {
    match &work.stage {
        Stage::Collecting { since, assigned, commitments, .. } => {
            let frozen = closes(*since, commitments, view).then(|| Frozen {
                since: *since,
                at: view.now,
                height: view.height,
                assigned: assigned.clone(),
                commitments: commitments.clone(),
            })?;
            Some(Stage::Revealing { frozen, revealed: BTreeMap::new(), seed: None })
        }
        Stage::Revealing { frozen, revealed, seed: Some(seed) } => {
            let all = frozen.commitments.keys().all(|place| revealed.contains_key(place));
            let (frozen, revealed, seed) = (frozen.clone(), revealed.clone(), *seed);
            (all || reveal_is_over(&frozen, &revealed, view)).then_some(Stage::Inspecting { frozen, revealed, seed })
        }
        Stage::Scoring { scoring, asked_at } => {
            let is_away = |place: u16| view.member(place).is_none_or(|member| view.is_away(member.node_id, AWAY_MS));
            let (next, present) = next_pair(scoring, |place| !is_away(place))?;
            let patience = training_time(&scoring.frozen).max(SCORE_MS);
            let gone = unanswered(scoring).iter().any(|judge| is_away(judge.place));
            let silent = view.now >= patient_until(*asked_at, patience, view) || (present && gone);
            let scoring = Scored { skipped: next, scores: BTreeMap::new(), probe: None, ..scoring.clone() };
            silent.then_some(Stage::Scoring { scoring, asked_at: view.now })
        }
        Stage::Exporting { asked, asked_at, tries } => {
            let patience = EXPORT_MS << tries.saturating_sub(1).min(EXPORT_DOUBLINGS);
            let asked_still = asked.is_some_and(|node| !view.is_away(node, AWAY_MS) && view.now < patient_until(*asked_at, patience, view));
            let next = if asked_still { None } else { exporter(*asked, *tries, view) };
            next.map(|node| Stage::Exporting { asked: Some(node), asked_at: view.now, tries: tries + 1 })
        }
        _ => None,
    }
}

/// Whether commitments are closed: all are in, or a quorum is and the rest is late or gone.
fn closes(since: TimestampMs, commitments: &BTreeMap<u16, Committed>, view: &View<'_>) -> bool {
    let present: Vec<(u16, NodeId)> = view.present().map(|(place, member)| (place, member.node_id)).collect();
    let missing: Vec<NodeId> = present.iter().filter(|(place, _)| !commitments.contains_key(place)).map(|(_, node)| *node).collect();
    if present.is_empty() || commitments.is_empty() {
        return false;
    }
    if missing.is_empty() {
        return true;
    }
    let times: Vec<u64> = commitments.values().map(|committed| committed.at.since(since).0).collect();
    let quorum = usize::try_from(view.run.quorum()).unwrap_or(usize::MAX);
    let Some(patience) = late_after_ms(&times, quorum) else { return false };
    let late = view.now >= patient_until(since, patience, view);
    let gone = missing.iter().all(|node| view.is_away(*node, AWAY_MS)) && view.now.since(view.booted_at).0 >= AWAY_MS;
    late || gone || chain_presses(view)
}

fn chain_presses(view: &View<'_>) -> bool {
    let RunState::Training { deadline, .. } = view.run.state else { return false };
    let reserve = SIGNING_RESERVE_MS.min(view.run.terms.round_time.0 / 4);
    view.chain_now.0.saturating_add(reserve) >= deadline.0
}

fn reveal_is_over(frozen: &Frozen, revealed: &BTreeMap<u16, u64>, view: &View<'_>) -> bool {
    let missing = || frozen.commitments.keys().filter(|place| !revealed.contains_key(place));
    let gone = missing().all(|place| view.member(*place).is_none_or(|member| view.is_away(member.node_id, AWAY_MS)));
    gone || view.now >= patient_until(frozen.at, training_time(frozen).max(REVEAL_MS), view)
}

fn training_time(frozen: &Frozen) -> u64 {
    frozen.at.since(frozen.since).0
}

/// `patience` after `since`, and not before nodes had the time to come back after a restart of this process.
fn patient_until(since: TimestampMs, patience_ms: u64, view: &View<'_>) -> TimestampMs {
    let returned = if since < view.booted_at { view.booted_at.0.saturating_add(RETURN_MS) } else { 0 };
    TimestampMs(since.0.saturating_add(patience_ms).max(returned))
}

/// The next connected member after the one that was asked: those first who missed least, at the end those who have left.
fn exporter(asked: Option<NodeId>, tries: u32, view: &View<'_>) -> Option<NodeId> {
    let mut connected: Vec<&Member> = view.run.roster.iter().filter(|member| view.is_connected(member.node_id)).collect();
    connected.sort_by_key(|member| (member.left, member.missed));
    let others: Vec<&Member> = connected.iter().copied().filter(|member| Some(member.node_id) != asked).collect();
    let candidates = if others.is_empty() { connected } else { others };
    let index = usize::try_from(tries.saturating_sub(1)).ok()?.checked_rem(candidates.len())?;
    candidates.get(index).map(|member| member.node_id)
}

/// Notes the moment at which each node of a paced round is first told to begin, which is when it is there.
fn note_told(work: &mut RunWork, view: &View<'_>) -> bool {
    let Stage::Collecting { assigned, told, .. } = &mut work.stage else { return false };
    let before = told.len();
    for (place, member) in view.present().filter(|(place, _)| assigned.steps(*place).is_some()) {
        if view.is_connected(member.node_id) {
            told.entry(place).or_insert(view.now);
        }
    }
    told.len() > before
}

/// Notes the moment at which a quorum has signed.
fn note_quorum(work: &mut RunWork, view: &View<'_>) -> bool {
    let Stage::Signing { signatures, quorum_at, .. } = &mut work.stage else { return false };
    let signed = view.present().filter(|(place, _)| signatures.contains_key(place)).count();
    let reached = signed >= usize::try_from(view.run.quorum()).unwrap_or(usize::MAX);
    if quorum_at.is_some() || !reached {
        return false;
    }
    *quorum_at = Some(view.now);
    true
}
