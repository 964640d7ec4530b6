//! Who of a round's judges is still asked, and who takes over from the silent ones.

use super::state::Scored;
use starling_rounds::{Committed, Judge, judge_pair, judges, scorer_order};

/// Those of [`judges`] that have not answered.
pub(super) fn unanswered(scoring: &Scored) -> Vec<Judge> {
    let mut judges = judges(&drawn_order(scoring), scoring.skipped, &scoring.valid);
    judges.retain(|judge| !judge.updates.iter().all(|place| scoring.scores.contains_key(place)));
    judges
}

/// The next count of skipped nodes: the first after the present one whose pair suits, else simply the next. The last in the order is
/// followed by the first, which may have come back.
pub(super) fn next_pair(scoring: &Scored, suits: impl Fn(u16) -> bool) -> Option<(u16, bool)> {
    let order = drawn_order(scoring);
    let count = u16::try_from(order.len()).ok().filter(|count| *count > 0)?;
    let mut following = (1..=count).map(|step| (scoring.skipped + step) % count);
    let suiting =
        following.clone().find(|skipped| judge_pair(&order, *skipped).is_some_and(|(scorer, second)| suits(scorer) && suits(second)));
    suiting.map(|skipped| (skipped, true)).or_else(|| following.next().map(|skipped| (skipped, false)))
}

/// All who committed, in drawn order. Steps stand for their tokens, and nothing for steps that are equal: the order is the record's.
fn drawn_order(scoring: &Scored) -> Vec<u16> {
    let commitments = scoring.frozen.commitments.iter().map(|(place, committed)| Committed {
        participant: *place,
        update: committed.update,
        assigned_tokens: scoring.frozen.assigned.steps(*place).unwrap_or_default(),
    });
    scorer_order(&scoring.seed, &commitments.collect::<Vec<_>>())
}
