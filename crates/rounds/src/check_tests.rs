//! Tests of the round record: its known digest, and that each wrong field is refused for its own reason.
//! Long because one fixture serves a test for each kind of wrong record.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use crate::apply::{ApplyError, apply_round};
use crate::codec::{Codec, Update};
use crate::fragments::Fragments;
use crate::gate::{Nats, Score};
use crate::layout::{Layout, TensorShape};
use crate::outer::OuterConfig;
use crate::record::ScorerDraw;

const RUN: RunId = RunId(9);

struct Round {
    previous: Previous,
    plan: Plan,
    state: OuterState,
    record: RoundRecord,
    updates: Updates,
}

fn score(own: i64, unseen: i64) -> Score {
    Score { own: Nats(own), unseen: Nats(unseen) }
}

fn update(layout: &Layout, seed: u32, factor: f32) -> Update {
    let values: Vec<f32> = (0..64_u32)
        .map(|i| {
            let mixed = (i + 1).wrapping_mul(seed.wrapping_mul(0x9E37_79B1) | 1).rotate_left(13).wrapping_mul(0x85EB_CA6B);
            (f32::from(u16::try_from(mixed >> 16).unwrap()) / 32_768.0 - 1.0) * factor
        })
        .collect();
    Codec::Int4.decode(layout, &Codec::Int4.encode(layout, &values, &mut [0.0; 64]).unwrap()).unwrap()
}

/// Five in the roster: 0, 1 and 3 accepted (3 three times as long as the others), 2 refused, 4 absent.
fn round() -> Round {
    let layout = Layout::new(vec![TensorShape { name: "w".into(), shape: vec![64] }]).unwrap();
    let state = OuterState::new(layout.clone(), OuterConfig::new(0.5, 0.8).unwrap(), vec![0.25; 64]).unwrap();
    let plan = Plan::new(10, 4, 16).unwrap();
    let previous = Previous::genesis(RUN, &state, 5);
    let updates: Updates = [(0, 1, 1.0), (1, 2, 1.0), (3, 3, 3.0)].map(|(who, seed, factor)| (who, update(&layout, seed, factor))).into();
    let works: Vec<(u64, u32)> = updates.values().map(|update| (norm(update), 640)).collect();
    let scores = [score(30_000, 2_000), score(25_000, 1_000), score(20_000, 3_000)];
    let mut entries: Vec<Entry> = updates
        .iter()
        .zip(clip_factors(&works))
        .zip(scores)
        .map(|(((participant, update), clip_factor_256), score)| Entry {
            participant: *participant,
            assigned_tokens: 640,
            outcome: Outcome::Accepted { update_hash: update.hash(), clip_factor_256, score },
        })
        .collect();
    let refused = Outcome::Refused { update_hash: Some(Hash32([2; 32])), score: Some(score(-10, 5)), reason: Refusal::GateRefused };
    entries.insert(2, Entry { participant: 2, assigned_tokens: 640, outcome: refused });
    let mut record = RoundRecord {
        run: RUN,
        round: 0,
        previous_digest: previous.digest,
        previous_state_root: previous.state_root,
        first_inner_step: 0,
        inner_steps: 10,
        roster_size: 5,
        scorer: None,
        probe: Some(Nats(2_000_000)),
        entries,
    };
    draw(&mut record);
    Round { previous, plan, state, record, updates }
}

fn whole() -> Fragments {
    Fragments::whole(round().state.layout())
}

/// Draws anew, as an honest coordinator would after a change.
fn draw(record: &mut RoundRecord) {
    let seed = Hash32([7; 32]);
    let order = scorer_order(&seed, &record.commitments());
    record.scorer = order.first().map(|scorer| ScorerDraw { seed, skipped: 0, scorer: *scorer });
}

fn refused_after(change: impl FnOnce(&mut Round)) -> RecordError {
    let mut round = round();
    change(&mut round);
    round.record.check(&round.previous, round.plan, &round.updates).unwrap_err()
}

fn outcome_of(round: &mut Round, participant: u16) -> &mut Outcome {
    let entry = round.record.entries.iter_mut().find(|entry| entry.participant == participant);
    &mut entry.unwrap().outcome
}

#[test]
fn record__should_pass_and_apply_with_known_digest_and_root() {
    let Round { previous, plan, mut state, record, updates } = round();
    record.check(&previous, plan, &updates).unwrap();
    assert_eq!(record.tokens_by_place(), [640, 640, 0, 640, 0]);
    assert_eq!(record.digest().to_string(), "b5dd68cf9eeb892f0ce4090914cbe817f0a761d297df0f660e67c5883d4dbf51");
    let root = apply_round(&mut state, None, &whole(), &record, &updates).unwrap();
    assert_eq!(root.to_string(), "89ee612ef0a6daa819ce0e53df29575e620968199fc14cc9fb0273b6c62e3c69");
    assert_eq!((root, state.round(), state.next_inner_step()), (state.root(), 1, 10));
    let next = Previous::after(&record, root, 5);
    assert_eq!((next.round, next.digest, next.state_root), (1, record.digest(), root));
}

#[test]
fn probe__should_be_there_and_a_loss_where_work_was_scored() {
    for probe in [None, Some(Nats(Nats::MOST.0 + 1)), Some(Nats(i64::MIN))] {
        assert_eq!(refused_after(|round| round.record.probe = probe), RecordError::WrongProbe);
    }
}

#[test]
fn record__should_survive_borsh_and_json() {
    let record = round().record;
    assert_eq!(borsh::from_slice::<RoundRecord>(&borsh::to_vec(&record).unwrap()).unwrap(), record);
    let json = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<RoundRecord>(&json).unwrap(), record);
    let extra = json.replacen("{\"run\"", "{\"extra\":1,\"run\"", 1);
    assert!(serde_json::from_str::<RoundRecord>(&extra).is_err());
}

#[test]
fn digest__should_change_with_every_byte() {
    let record = round().record;
    let bytes = borsh::to_vec(&record).unwrap();
    for place in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        if let Ok(other) = borsh::from_slice::<RoundRecord>(&changed) {
            assert_ne!(other.digest(), record.digest(), "byte {place}");
        }
    }
}

#[test]
fn check__should_refuse_a_header_that_does_not_continue() {
    type Change = fn(&mut RoundRecord);
    let changes: [(Change, &str); 7] = [
        (|record| record.run = RunId(8), "run"),
        (|record| record.round = 1, "round"),
        (|record| record.previous_digest.0[0] ^= 1, "previous digest"),
        (|record| record.previous_state_root.0[0] ^= 1, "previous state root"),
        (|record| record.first_inner_step = 10, "first inner step"),
        (|record| record.inner_steps = 11, "number of inner steps"),
        (|record| record.roster_size = 4, "roster size"),
    ];
    for (change, what) in changes {
        assert_eq!(refused_after(|round| change(&mut round.record)), RecordError::NotContinuing(what));
    }
    let too_many = |round: &mut Round| {
        round.record.roster_size = 1_025;
        round.previous.roster_size = 1_025;
    };
    assert_eq!(refused_after(too_many), RecordError::RosterSize(1_025));
}

#[test]
fn check__should_refuse_disorder_and_strangers() {
    assert_eq!(refused_after(|round| round.record.entries.swap(0, 1)), RecordError::BadParticipant(0));
    let twice = |round: &mut Round| round.record.entries.insert(1, round.record.entries[0].clone());
    assert_eq!(refused_after(twice), RecordError::BadParticipant(0));
    let stranger = |round: &mut Round| round.record.entries[3].participant = 5;
    assert_eq!(refused_after(stranger), RecordError::BadParticipant(5));
}

#[test]
fn check__should_refuse_tokens_that_no_plan_assigns() {
    // Ten steps of 64 tokens.
    for wrong in [0, 63, 639, 641, 704, u32::MAX] {
        for place in [1, 2] {
            assert_eq!(
                refused_after(|round| round.record.entries[place].assigned_tokens = wrong),
                RecordError::WrongTokens(u16::try_from(place).unwrap())
            );
        }
    }
}

#[test]
fn check__should_judge_a_share_by_its_share() {
    // A twentieth of what others gain is no share of whole work, but it is one of a tenth of the steps.
    let weak = score(1_500, 100);
    let change = |round: &mut Round, tokens: u32| {
        if let Outcome::Accepted { score, .. } = outcome_of(round, 1) {
            *score = weak;
        }
        round.record.entries[1].assigned_tokens = tokens;
    };
    assert_eq!(refused_after(|round| change(round, 640)), RecordError::WrongVerdict(1));
    let clipped_now = refused_after(|round| change(round, 64));
    assert!(matches!(clipped_now, RecordError::WrongClipFactor { .. }), "as long as others for a tenth of the tokens: {clipped_now}");
}

#[test]
fn check__should_refuse_a_scorer_that_was_not_drawn() {
    let other = |round: &mut Round| {
        let draw = round.record.scorer.as_mut().unwrap();
        draw.scorer = if draw.scorer == 0 { 1 } else { 0 };
    };
    assert_eq!(refused_after(other), RecordError::WrongScorer);
    assert_eq!(refused_after(|round| round.record.scorer = None), RecordError::WrongScorer);
    assert_eq!(refused_after(|round| round.record.scorer.as_mut().unwrap().skipped = 9), RecordError::WrongScorer);
    // Another seed names another scorer for one of the next few at the latest.
    let reseeded = |step: u8| {
        let mut round = round();
        round.record.scorer.as_mut().unwrap().seed = Hash32([step; 32]);
        round.record.check(&round.previous, round.plan, &round.updates).is_err()
    };
    assert!((10..40).any(reseeded));
    // Who takes over when the first is silent is drawn too.
    let mut round = round();
    let commitments = round.record.commitments();
    let draw = round.record.scorer.as_mut().unwrap();
    draw.skipped = 1;
    draw.scorer = scorer_order(&draw.seed, &commitments)[1];
    assert_eq!(round.record.check(&round.previous, round.plan, &round.updates), Ok(()));
}

#[test]
fn check__should_refuse_verdicts_that_do_not_follow() {
    let accepted_with = |bad: Score| {
        refused_after(|round| {
            if let Outcome::Accepted { score, .. } = outcome_of(round, 1) {
                *score = bad;
            }
        })
    };
    for bad in [score(0, 0), score(-5, 5), score(25_000, -90_000)] {
        assert_eq!(accepted_with(bad), RecordError::WrongVerdict(1), "{bad:?}");
    }
    let honest = Some(score(24_000, 1_000));
    for (score, reason) in [
        (honest, Refusal::GateRefused),
        (honest, Refusal::LossSpike),
        (honest, Refusal::Copied),
        (honest, Refusal::NotFinite),
        (None, Refusal::GateRefused),
        (None, Refusal::LossSpike),
    ] {
        let change = |round: &mut Round| {
            *outcome_of(round, 2) = Outcome::Refused { update_hash: Some(Hash32([2; 32])), score, reason };
        };
        assert_eq!(refused_after(change), RecordError::WrongVerdict(2), "{reason:?}");
    }
    let unnamed = |round: &mut Round| {
        *outcome_of(round, 2) = Outcome::Refused { update_hash: None, score: None, reason: Refusal::WrongShape };
        draw(&mut round.record);
    };
    assert_eq!(refused_after(unnamed), RecordError::WrongVerdict(2));
}

#[test]
fn check__should_take_refusals_that_need_no_score() {
    for (update_hash, reason) in [
        (None, Refusal::Late),
        (Some(Hash32([2; 32])), Refusal::Late),
        (Some(Hash32([2; 32])), Refusal::NotFinite),
        (Some(Hash32([2; 32])), Refusal::WrongShape),
        (Some(Hash32([2; 32])), Refusal::Copied),
        (Some(Hash32([2; 32])), Refusal::TooLong),
    ] {
        let mut round = round();
        *outcome_of(&mut round, 2) = Outcome::Refused { update_hash, score: None, reason };
        draw(&mut round.record);
        assert_eq!(round.record.check(&round.previous, round.plan, &round.updates), Ok(()), "{reason:?}");
    }
}

#[test]
fn check__should_refuse_updates_that_are_not_those_accepted() {
    let layout = round().state.layout().clone();
    assert_eq!(refused_after(|round| drop(round.updates.remove(&1))), RecordError::WrongUpdates(1));
    let foreign = update(&layout, 9, 1.0);
    assert_eq!(refused_after(|round| drop(round.updates.insert(4, foreign.clone()))), RecordError::WrongUpdates(4));
    assert_eq!(refused_after(|round| drop(round.updates.insert(1, foreign.clone()))), RecordError::WrongUpdateHash(1));
}

#[test]
fn check__should_refuse_clip_factors_that_the_norms_do_not_give() {
    let Outcome::Accepted { clip_factor_256: expected, .. } = outcome_of(&mut round(), 3).clone() else { panic!() };
    assert!((50..128).contains(&expected), "the long update is clipped: {expected}");
    for got in [expected - 1, 256, 257] {
        let error = refused_after(|round| {
            if let Outcome::Accepted { clip_factor_256, .. } = outcome_of(round, 3) {
                *clip_factor_256 = got;
            }
        });
        assert_eq!(error, RecordError::WrongClipFactor { participant: 3, got, expected });
    }
}

#[test]
fn check__should_refuse_two_accepted_copies() {
    let change = |round: &mut Round| {
        // The same codes under another scale: other bytes, another hash, the same work.
        let layout = round.state.layout().clone();
        let copy = update(&layout, 1, 1.5);
        let hash = copy.hash();
        round.updates.insert(1, copy);
        let works: Vec<(u64, u32)> = round.updates.values().map(|update| (norm(update), 640)).collect();
        for (participant, factor) in [0, 1, 3].into_iter().zip(clip_factors(&works)) {
            if let Outcome::Accepted { clip_factor_256, update_hash, .. } = outcome_of(round, participant) {
                *clip_factor_256 = factor;
                if participant == 1 {
                    *update_hash = hash;
                }
            }
        }
        draw(&mut round.record);
    };
    assert_eq!(refused_after(change), RecordError::CopyAccepted(0, 1));
}

#[test]
fn apply__should_refuse_another_state_and_missing_updates_and_change_nothing() {
    let Round { state, record, updates, .. } = round();
    let mut wrong_state = state.clone();
    wrong_state.step(None, 10).unwrap();
    assert_eq!(apply_round(&mut wrong_state, None, &whole(), &record, &updates), Err(ApplyError::WrongState("round")));
    let mut wrong_root = record.clone();
    wrong_root.previous_state_root.0[0] ^= 1;
    let mut same = state.clone();
    assert_eq!(apply_round(&mut same, None, &whole(), &wrong_root, &updates), Err(ApplyError::WrongState("root")));
    let mut missing = updates.clone();
    missing.remove(&3);
    assert_eq!(apply_round(&mut same, None, &whole(), &record, &missing), Err(ApplyError::UpdateMissing(3)));
    let mut swapped = updates;
    let first = swapped[&0].clone();
    swapped.insert(3, first);
    assert_eq!(apply_round(&mut same, None, &whole(), &record, &swapped), Err(ApplyError::UpdateMissing(3)));
    assert_eq!(same, state);
}

#[test]
fn round_without_work__should_move_the_clock_alone() {
    let Round { previous, plan, state, mut record, .. } = round();
    record.entries.clear();
    record.scorer = None;
    record.check(&previous, plan, &Updates::new()).unwrap();
    let mut after = state.clone();
    let root = apply_round(&mut after, None, &whole(), &record, &Updates::new()).unwrap();
    assert_ne!(root, previous.state_root);
    assert_eq!((after.weights(), after.round()), (state.weights(), 1));
}
