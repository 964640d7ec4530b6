//! Who judges whose update: the drawn scorer all but its own, and the next in the drawn order that one. Nobody judges its own work.

use super::state::Scored;
use starling_rounds::scorer_order;

/// A node that is asked to score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judge {
    /// Its place.
    pub(super) place: u16,
    /// The places whose updates it judges; at least one.
    pub(super) updates: Vec<u16>,
}

/// Who is asked now, and for what. Only who committed alone judges its own update: there is nobody else.
pub(super) fn judges(scoring: &Scored) -> Vec<Judge> {
    let order = drawn_order(scoring);
    let Some((scorer, second)) = pair(&order, scoring.skipped) else { return Vec::new() };
    if scorer == second {
        return vec![Judge { place: scorer, updates: scoring.valid.clone() }];
    }
    let (own, others): (Vec<u16>, Vec<u16>) = scoring.valid.iter().partition(|place| **place == scorer);
    let asked = [Judge { place: scorer, updates: others }, Judge { place: second, updates: own }];
    asked.into_iter().filter(|judge| !judge.updates.is_empty()).collect()
}

/// Those of [`judges`] that have not answered.
pub(super) fn unanswered(scoring: &Scored) -> Vec<Judge> {
    let mut judges = judges(scoring);
    judges.retain(|judge| !judge.updates.iter().all(|place| scoring.scores.contains_key(place)));
    judges
}

/// The next count of skipped nodes: the first after the present one whose pair suits, else simply the next. The last in the order is
/// followed by the first, which may have come back.
pub(super) fn next_pair(scoring: &Scored, suits: impl Fn(u16) -> bool) -> Option<(u16, bool)> {
    let order = drawn_order(scoring);
    let count = u16::try_from(order.len()).ok().filter(|count| *count > 0)?;
    let mut following = (1..=count).map(|step| (scoring.skipped + step) % count);
    let suiting = following.clone().find(|skipped| pair(&order, *skipped).is_some_and(|(scorer, second)| suits(scorer) && suits(second)));
    suiting.map(|skipped| (skipped, true)).or_else(|| following.next().map(|skipped| (skipped, false)))
}

fn pair(order: &[u16], skipped: u16) -> Option<(u16, u16)> {
    let at = usize::from(skipped).checked_rem(order.len())?;
    Some((order[at], order[(at + 1) % order.len()]))
}

/// All who committed, in drawn order.
fn drawn_order(scoring: &Scored) -> Vec<u16> {
    let commitments: Vec<_> = scoring.frozen.commitments.iter().map(|(place, committed)| (*place, committed.update)).collect();
    let places: Vec<u16> = scoring.frozen.commitments.keys().copied().collect();
    scorer_order(&scoring.seed, &commitments, &places)
}
