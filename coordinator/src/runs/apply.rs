//! What an event changes. Anything that does not fit the stage or the round is ignored: messages are repeated and reordered.

use super::{
    advance,
    judge::unanswered,
    state::{Committed, Event, RunWork, Scored, Stage, View},
};
use starling_protocol::run::RunState;
use starling_rounds::Pace;
use std::collections::btree_map::Entry;

/// Applies an event, then what time and chain demand. Says whether anything changed.
pub fn apply(work: &mut RunWork, event: Event, view: &View<'_>) -> bool {
    let before = work.clone();
    take(work, event, view);
    // Each step goes one stage further; the number of stages bounds it.
    for _ in 0..8 {
        if !advance::step(work, view) {
            break;
        }
    }
    *work != before
}

fn take(work: &mut RunWork, event: Event, view: &View<'_>) {
    let current = work.rounds_done;
    let training = matches!(view.run.state, RunState::Training { .. });
    match (event, &mut work.stage) {
        (Event::Committed { place, signed }, Stage::Collecting { since, assigned, told, commitments })
            if signed.commitment.round == current && training =>
        {
            let (update, steps) = (signed.commitment.update, signed.commitment.steps);
            // The first commitment binds.
            if let Entry::Vacant(first) = commitments.entry(place) {
                first.insert(Committed { update, steps, at: view.now, signed: Some(signed) });
                if assigned.steps(place) == Some(steps) {
                    let began = told.get(&place).unwrap_or(since);
                    work.paces.insert(place, Pace { steps, took_ms: view.now.since(*began).0 });
                }
            }
        }
        (Event::Revealed { place, round, bytes }, Stage::Revealing { frozen, revealed, .. })
            if round == current && frozen.commitments.contains_key(&place) =>
        {
            revealed.entry(place).or_insert(bytes);
        }
        (Event::SeedDrawn { round, seed: drawn }, Stage::Revealing { seed, .. }) if round == current => {
            seed.get_or_insert(drawn);
        }
        (Event::Inspected { round, valid, refused }, Stage::Inspecting { frozen, revealed, seed }) if round == current => {
            let scored = Scored {
                frozen: frozen.clone(),
                revealed: revealed.clone(),
                seed: *seed,
                skipped: 0,
                valid,
                refused,
                scores: Default::default(),
                probe: None,
            };
            work.stage =
                if scored.valid.is_empty() { Stage::Recording { scored } } else { Stage::Scoring { scoring: scored, asked_at: view.now } };
        }
        (Event::Scored { place, round, scores, probe }, Stage::Scoring { scoring, .. }) if round == current => {
            let judge = unanswered(scoring).into_iter().find(|judge| judge.place == place);
            if judge.is_some_and(|judge| judge.updates.iter().eq(scores.keys())) {
                scoring.scores.extend(scores);
                scoring.probe = scoring.probe.into_iter().chain(probe).min();
                if unanswered(scoring).is_empty() {
                    work.stage = Stage::Recording { scored: scoring.clone() };
                }
            }
        }
        (Event::RecordMade(made), Stage::Recording { .. }) if made.statement.round == current => {
            work.bytes_exchanged = work.bytes_exchanged.saturating_add(made.bytes);
            work.last_scorer = made.scorer;
            work.stage = Stage::Signing { made, signatures: Default::default(), quorum_at: None, meter: None };
        }
        (Event::Signed { place, round, signature }, Stage::Signing { made, signatures, .. }) if round == made.statement.round => {
            signatures.entry(place).or_insert(signature);
        }
        (Event::Meter { round, signature }, Stage::Signing { made, quorum_at: Some(_), meter, .. }) if round == made.statement.round => {
            meter.get_or_insert(signature);
        }
        (Event::Evaluated { rounds_done, loss }, _) if loss.bits.is_finite() && work.evaluated.is_none_or(|last| rounds_done > last) => {
            work.evaluated = Some(rounds_done);
            let first = work.held_out.map_or(loss, |(first, _)| first);
            work.held_out = Some((first, loss));
        }
        (Event::Exported(result), Stage::Exporting { asked, .. })
            if *asked == Some(result.node_id) && result.state_root == work.state_root =>
        {
            work.held_out = Some(result.held_out);
            work.result = Some(*result);
            work.stage = Stage::Done;
        }
        (Event::Admitted { inner_steps_per_round, inner_steps, federated }, _) => {
            (work.admitted, work.inner_steps, work.federated) = (Some(inner_steps_per_round), inner_steps, federated);
        }
        (Event::Refuse(reason), _) => {
            work.not_served = Some(reason);
        }
        _ => {}
    }
}
