//! Makes the record of a round from what came in: the coordinator's side of what [`RoundRecord::check`] checks.

use std::collections::BTreeMap;

use crate::aggregate::{CLIP_ONE, clip_factors, norm, too_long};
use crate::apply::Updates;
use crate::assignment::Plan;
use crate::check::Previous;
use crate::codec::{Codec, CodecError, Update, copies};
use crate::draw::scorer_order;
use crate::gate::{Cohort, Nats, Score, Verdict, gate};
use crate::hash::Hash32;
use crate::layout::Layout;
use crate::record::{Entry, Outcome, Refusal, RoundRecord, ScorerDraw};

/// One participant's work as it reached the coordinator.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Index in the roster.
    pub participant: u16,
    /// Tokens of the steps that it was told to make.
    pub assigned_tokens: u32,
    /// What was committed before the freeze, if anything was.
    pub commitment: Option<Hash32>,
    /// What was delivered.
    pub work: Work<'a>,
}

/// What a participant delivered.
#[derive(Clone, Copy, Debug)]
pub enum Work<'a> {
    /// Nothing that could be scored: [`Refusal::Late`], or what [`Refusal::from`] a [`CodecError`] says.
    Unusable(Refusal),
    /// An update, and what the scorer measured; no score if a loss was not finite.
    Scored {
        /// Decoded from the bytes committed to.
        update: &'a Update,
        /// From [`Score::from_losses`].
        score: Option<Score>,
    },
}

impl From<&CodecError> for Refusal {
    fn from(error: &CodecError) -> Self {
        match error {
            CodecError::NotFinite { .. } => Self::NotFinite,
            _ => Self::WrongShape,
        }
    }
}

/// Decodes what was revealed, in order of commitment: usable updates by participant, and why the others are refused.
///
/// Nothing revealed is [`Refusal::Late`]; of two updates that are one the later is [`Refusal::Copied`].
pub fn inspect(codec: Codec, layout: &Layout, revealed: &[(u16, Option<&[u8]>)]) -> (Updates, BTreeMap<u16, Refusal>) {
    let (mut decoded, mut refused) = (Vec::with_capacity(revealed.len()), BTreeMap::new());
    for (participant, bytes) in revealed {
        match bytes.map(|bytes| codec.decode(layout, bytes)) {
            Some(Ok(update)) => decoded.push((*participant, update)),
            Some(Err(error)) => drop(refused.insert(*participant, Refusal::from(&error))),
            None => drop(refused.insert(*participant, Refusal::Late)),
        }
    }
    let copied = copies(&decoded.iter().map(|(_, update)| update).collect::<Vec<_>>());
    let mut usable = Updates::new();
    for ((participant, update), copied) in decoded.into_iter().zip(copied) {
        if copied {
            refused.insert(participant, Refusal::Copied);
        } else {
            usable.insert(participant, update);
        }
    }
    (usable, refused)
}

/// Proposes the record that continues `previous`: finds copies and what is too long, applies the gate, computes clip factors, draws.
///
/// `candidates` come in the order in which they committed: of two that share their update the later is the copy. Each
/// participant appears once. Accepted work counts for the tokens assigned. `seed` and `skipped` are those
/// of [`ScorerDraw`], `probe` is [`RoundRecord::probe`].
pub fn propose(
    previous: &Previous,
    plan: Plan,
    (seed, skipped): (Hash32, u16),
    probe: Option<Nats>,
    candidates: &[Candidate<'_>],
) -> RoundRecord {
    let mut judged: Vec<(&Candidate<'_>, Judgement<'_>)> =
        candidates.iter().map(|candidate| (candidate, first_judgement(candidate))).collect();
    refuse_copies(&mut judged);
    judged.sort_by_key(|(candidate, _)| candidate.participant);
    refuse_too_long(&mut judged);
    apply_gate(plan, &mut judged);
    let works: Vec<(u64, u32)> =
        judged.iter().filter_map(|(candidate, judgement)| Some((norm(judgement.update()?), candidate.assigned_tokens))).collect();
    let mut factors = clip_factors(&works).into_iter();
    let entries = judged.into_iter().map(|(candidate, judgement)| {
        let outcome = match judgement {
            Judgement::Usable(update, score) => {
                Outcome::Accepted { update_hash: update.hash(), clip_factor_256: factors.next().unwrap_or(CLIP_ONE), score }
            }
            Judgement::Refused(score, reason) => Outcome::Refused { update_hash: candidate.commitment, score, reason },
        };
        Entry { participant: candidate.participant, assigned_tokens: candidate.assigned_tokens, outcome }
    });
    let mut record = RoundRecord {
        run: previous.run,
        round: previous.round,
        previous_digest: previous.digest,
        previous_state_root: previous.state_root,
        first_inner_step: plan.first_inner_step(previous.round),
        inner_steps: plan.inner_steps_per_round(),
        roster_size: previous.roster_size,
        scorer: None,
        probe,
        entries: entries.collect(),
    };
    let scorer = scorer_order(&seed, &record.commitments()).get(usize::from(skipped)).copied();
    record.scorer = scorer.map(|scorer| ScorerDraw { seed, skipped, scorer });
    record
}

enum Judgement<'a> {
    Usable(&'a Update, Score),
    Refused(Option<Score>, Refusal),
}

impl<'a> Judgement<'a> {
    fn update(&self) -> Option<&'a Update> {
        match self {
            Self::Usable(update, _) => Some(update),
            Self::Refused(..) => None,
        }
    }
}

/// What can be said of a candidate without the others.
fn first_judgement<'a>(candidate: &Candidate<'a>) -> Judgement<'a> {
    match candidate.work {
        _ if candidate.commitment.is_none() => Judgement::Refused(None, Refusal::Late),
        Work::Unusable(reason) => Judgement::Refused(None, reason),
        Work::Scored { score: None, .. } => Judgement::Refused(None, Refusal::NotFinite),
        // What was committed to never came.
        Work::Scored { update, .. } if candidate.commitment != Some(update.hash()) => Judgement::Refused(None, Refusal::Late),
        Work::Scored { update, score: Some(score) } => Judgement::Usable(update, score),
    }
}

fn refuse_copies(judged: &mut [(&Candidate<'_>, Judgement<'_>)]) {
    let updates: Vec<&Update> = judged.iter().filter_map(|(_, judgement)| judgement.update()).collect();
    let copied = copies(&updates);
    refuse_usable(judged, copied, Refusal::Copied);
}

fn refuse_too_long(judged: &mut [(&Candidate<'_>, Judgement<'_>)]) {
    let works: Vec<(u64, u32)> =
        judged.iter().filter_map(|(candidate, judgement)| Some((norm(judgement.update()?), candidate.assigned_tokens))).collect();
    refuse_usable(judged, too_long(&works), Refusal::TooLong);
}

/// Refuses the usable ones of which the list, in their order, says so.
fn refuse_usable(judged: &mut [(&Candidate<'_>, Judgement<'_>)], refused: Vec<bool>, reason: Refusal) {
    let usable = judged.iter_mut().filter(|(_, judgement)| judgement.update().is_some());
    for ((_, judgement), _) in usable.zip(refused).filter(|(_, refused)| *refused) {
        *judgement = Judgement::Refused(None, reason);
    }
}

fn apply_gate(plan: Plan, judged: &mut [(&Candidate<'_>, Judgement<'_>)]) {
    let scores: Vec<_> = judged
        .iter()
        .filter_map(|(candidate, judgement)| match judgement {
            Judgement::Usable(_, score) => Some((*score, plan.share(candidate.assigned_tokens))),
            Judgement::Refused(..) => None,
        })
        .collect();
    let cohort = Cohort::of(&scores);
    for (candidate, judgement) in judged {
        if let Judgement::Usable(_, score) = *judgement
            && let Verdict::Refuse(reason) = gate(score, plan.share(candidate.assigned_tokens), cohort)
        {
            *judgement = Judgement::Refused(Some(score), reason);
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use proptest::prelude::*;
    use starling_primitives::RunId;

    use super::*;
    use crate::apply::apply_round;
    use crate::fragments::Fragments;
    use crate::layout::TensorShape;
    use crate::outer::OuterConfig;
    use crate::state::OuterState;

    const ROSTER: u16 = 8;

    fn state() -> OuterState {
        let layout = Layout::new(vec![TensorShape { name: "w".into(), shape: vec![600] }]).unwrap();
        OuterState::new(layout, OuterConfig::new(0.5, 0.8).unwrap(), vec![0.0; 600]).unwrap()
    }

    /// An update that no other seed shares; of equal seeds the codes are equal whatever the factor.
    fn update(state: &OuterState, seed: u16, factor: u8) -> Update {
        let value = |i: u16| f32::from(crate::artifact_hash(&[i.to_le_bytes(), seed.to_le_bytes()].concat()).0[0]) - 127.5;
        let values: Vec<f32> = (0..600).map(|i| value(i) / 64.0 * f32::from(factor)).collect();
        Codec::Int4.decode(state.layout(), &Codec::Int4.encode(state.layout(), &values, &mut [0.0; 600]).unwrap()).unwrap()
    }

    fn reasons(record: &RoundRecord) -> Vec<(u16, Option<Refusal>)> {
        let reason = |entry: &Entry| match entry.outcome {
            Outcome::Accepted { .. } => (entry.participant, None),
            Outcome::Refused { reason, .. } => (entry.participant, Some(reason)),
        };
        record.entries.iter().map(reason).collect()
    }

    #[test]
    fn propose__should_say_why_each_work_is_refused() {
        let state = state();
        let previous = Previous::genesis(RunId(1), &state, ROSTER);
        let honest = Some(Score { own: Nats(30_000), unseen: Nats(1_000) });
        let updates: Vec<Update> = (0..6).map(|seed| update(&state, seed, 1)).collect();
        let scored = |participant: u16, update, score| {
            let commitment = Some(updates[usize::from(participant)].hash());
            Candidate { participant, assigned_tokens: 80, commitment, work: Work::Scored { update, score } }
        };
        let copy = update(&state, 5, 2);
        let candidates = [
            scored(5, &updates[5], honest),
            Candidate { work: Work::Scored { update: &copy, score: honest }, commitment: Some(copy.hash()), ..scored(4, &copy, honest) },
            scored(3, &updates[0], honest),
            scored(2, &updates[2], Some(Score { own: Nats(0), unseen: Nats(0) })),
            scored(1, &updates[1], None),
            Candidate { participant: 6, assigned_tokens: 80, commitment: None, work: Work::Scored { update: &updates[3], score: honest } },
            scored(0, &updates[0], honest),
            Candidate {
                participant: 7,
                assigned_tokens: 16,
                commitment: Some(Hash32([7; 32])),
                work: Work::Unusable((&CodecError::WrongHeader).into()),
            },
        ];
        let record = propose(&previous, Plan::new(5, 2, 8).unwrap(), (Hash32([1; 32]), 0), Some(Nats(1)), &candidates);
        let expected = [
            (0, None),
            (1, Some(Refusal::NotFinite)),
            (2, Some(Refusal::GateRefused)),
            (3, Some(Refusal::Late)),
            (4, Some(Refusal::Copied)),
            (5, None),
            (6, Some(Refusal::Late)),
            (7, Some(Refusal::WrongShape)),
        ];
        assert_eq!(reasons(&record), expected);
        assert_eq!(record.tokens_by_place(), [80, 0, 0, 0, 0, 80, 0, 0]);
    }

    #[test]
    fn inspect__should_call_the_later_of_two_the_copy() {
        let state = state();
        let bytes = |seed: u16| {
            let values: Vec<f32> = update(&state, seed, 1).values();
            Codec::Int4.encode(state.layout(), &values, &mut [0.0; 600]).unwrap()
        };
        let (first, second) = (bytes(1), bytes(2));
        let cut = &first[..40];
        let revealed = [(3, Some(first.as_slice())), (1, Some(first.as_slice())), (0, None), (2, Some(second.as_slice())), (4, Some(cut))];
        let (usable, refused) = inspect(Codec::Int4, state.layout(), &revealed);
        assert_eq!(usable.keys().copied().collect::<Vec<_>>(), [2, 3]);
        assert_eq!(refused, BTreeMap::from([(0, Refusal::Late), (1, Refusal::Copied), (4, Refusal::WrongShape)]));
    }

    fn any_score() -> impl Strategy<Value = Option<Score>> {
        let nats = -60_000_i64..60_000;
        prop::option::weighted(0.9, (nats.clone(), nats).prop_map(|(own, unseen)| Score { own: Nats(own), unseen: Nats(unseen) }))
    }

    proptest! {
        #[test]
        fn propose__should_pass_the_check_whatever_came_in(
            works in prop::collection::vec((0_u16..6, 1_u8..5, any_score(), 0_u8..8), ROSTER as usize),
            order in Just((0..ROSTER).collect::<Vec<_>>()).prop_shuffle(),
            present in 0_usize..=8,
            skipped in 0_u16..2,
        ) {
            let mut state = state();
            let previous = Previous::genesis(RunId(1), &state, ROSTER);
            let plan = Plan::new(5, 2, 8).unwrap();
            let updates: Vec<Update> = works.iter().map(|(seed, factor, ..)| update(&state, *seed, *factor)).collect();
            let candidates: Vec<Candidate<'_>> = order[..present]
                .iter()
                .map(|participant| {
                    let place = usize::from(*participant);
                    let (_, _, score, fate) = works[place];
                    let update = &updates[place];
                    let work = match fate {
                        0 => Work::Unusable(Refusal::Late),
                        1 => Work::Unusable(Refusal::WrongShape),
                        _ => Work::Scored { update, score },
                    };
                    // Of five steps, one to all.
                    let assigned_tokens = 16 * (1 + u32::from(fate) % 5);
                    Candidate { participant: *participant, assigned_tokens, commitment: (fate != 2).then(|| update.hash()), work }
                })
                .collect();
            let record = propose(&previous, plan, (Hash32([3; 32]), skipped), Some(Nats(1)), &candidates);
            let accepted: Updates = record.accepted().map(|who| (who, updates[usize::from(who)].clone())).collect();
            let committed = record.commitments().len();
            if committed > 0 && committed <= usize::from(skipped) {
                // Nobody is left to score: such a round cannot be proposed.
                prop_assert!(record.check(&previous, plan, &accepted).is_err());
            } else {
                prop_assert_eq!(record.check(&previous, plan, &accepted), Ok(()));
                let whole = Fragments::whole(state.layout());
                prop_assert_eq!(apply_round(&mut state, None, &whole, &record, &accepted).unwrap(), state.root());
            }
        }
    }
}
