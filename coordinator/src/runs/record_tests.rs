//! Tests of inspecting updates and of making the round record: bytes in, bytes out.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use crate::runs::{Assigned, Committed, Frozen};
use starling_primitives::TimestampMs;
use starling_rounds::{Codec, Layout, Nats, OuterConfig, Refusal, Score, TensorShape, genesis_digest};

const T0: u64 = 1_000_000;

/// What goes into the record of a round that begins with this state.
fn input_of(round: u32, state: &OuterState, previous_digest: Hash32, roster: u16, scored: Scored) -> RecordInput {
    RecordInput {
        run_id: RunId(7),
        escrow_id: EscrowId(1),
        round,
        state: Hash32::default(),
        state_root: state.root(),
        earlier: None,
        previous_digest,
        previous_chain: Hash32::default(),
        recipe: Hash32::default(),
        roster,
        left: Vec::new(),
        tokens_per_round: 640,
        scored,
    }
}

#[test]
fn record__should_accept_work_and_refuse_copies_noise_and_what_is_no_number() {
    let recipe = Recipe::preset("tiny").unwrap();
    let shape = |name: &str, shape: Vec<u32>| TensorShape { name: name.to_owned(), shape };
    let layout = Layout::new(vec![shape("a", vec![20, 30]), shape("b", vec![30])]).unwrap();
    let parameters = layout.parameters();
    let state = OuterState::new(layout.clone(), OuterConfig::new(0.5, 0.8).unwrap(), vec![0.5; parameters]).unwrap();
    let update = |seed: u32| {
        let value = |i: usize| {
            f32::from(artifact_hash(&[u32::try_from(i).unwrap().to_le_bytes(), seed.to_le_bytes()].concat()).0[0]) / 1_000.0 - 0.1
        };
        let delta: Vec<f32> = (0..parameters).map(value).collect();
        Codec::Int4.encode(&layout, &delta, &mut vec![0.0; parameters]).unwrap()
    };
    let mut nan = update(4);
    nan[38..40].copy_from_slice(&[0x00, 0x7E]);
    let bytes = [update(1), update(2), update(1), nan, update(5), update(6)];
    let placed: Vec<(u16, Option<Vec<u8>>)> =
        bytes.iter().enumerate().map(|(place, bytes)| (u16::try_from(place).unwrap(), (place != 5).then(|| bytes.clone()))).collect();
    let (valid, refused) = inspect(recipe.canonical_json().as_bytes(), &state.to_bytes(), &placed).unwrap();
    assert_eq!(valid, [0, 1, 4]);
    assert_eq!(refused, BTreeMap::from([(2, Refusal::Copied), (3, Refusal::NotFinite), (5, Refusal::Late)]));

    let commitments = placed.iter().map(|(place, _)| {
        (
            *place,
            Committed {
                update: artifact_hash(&bytes[usize::from(*place)]),
                steps: 5,
                at: TimestampMs(T0 + u64::from(*place)),
                signed: None,
            },
        )
    });
    let frozen = Frozen {
        since: TimestampMs(T0),
        at: TimestampMs(T0 + 10),
        height: 1,
        assigned: Assigned::default(),
        commitments: commitments.collect(),
    };
    let scores = BTreeMap::from([
        (0, Score::from_losses(2.0, 1.97, 2.0, 1.99)),
        (1, Score::from_losses(2.0, 1.96, 2.0, 1.99)),
        (4, Score::from_losses(2.0, 2.01, 2.0, 2.01)),
    ]);
    let revealed = (0..5).map(|place| (place, 10)).collect();
    let scored =
        Scored { frozen, revealed, seed: Hash32([8; 32]), skipped: 1, valid: valid.clone(), refused, scores, probe: Some(Nats(2_000_000)) };
    let input = input_of(0, &state, genesis_digest(RunId(7), state.root()), 6, scored);
    let updates: BTreeMap<u16, Vec<u8>> = valid.iter().map(|place| (*place, bytes[usize::from(*place)].clone())).collect();
    let ready = make_record(&input, &state.to_bytes(), None, recipe.canonical_json().as_bytes(), &updates).unwrap();
    assert_eq!(ready.made.statement.tokens, [640, 640, 0, 0, 0, 0]);
    assert_eq!(
        ready.made.refused,
        [None, None, Some(Refusal::Copied), Some(Refusal::NotFinite), Some(Refusal::GateRefused), Some(Refusal::Late)]
    );
    assert_eq!(OuterState::from_bytes(&ready.state).unwrap().root(), ready.made.statement.state_root);
    assert_eq!(artifact_hash(&ready.record), ready.made.record);

    let left = RecordInput { left: vec![1], ..input.clone() };
    let ready = make_record(&left, &state.to_bytes(), None, recipe.canonical_json().as_bytes(), &updates).unwrap();
    assert_eq!(ready.made.statement.tokens, [640, 0, 0, 0, 0, 0], "who left is not paid");
    let other = RecordInput { tokens_per_round: 641, ..input };
    assert!(matches!(
        make_record(&other, &state.to_bytes(), None, recipe.canonical_json().as_bytes(), &updates),
        Err(RecordError::Tokens { .. })
    ));
}

#[test]
fn inspect__should_read_the_code_that_the_recipe_names_and_no_other() {
    let layout = Layout::new(vec![TensorShape { name: "w".into(), shape: vec![64] }]).unwrap();
    let state = OuterState::new(layout.clone(), OuterConfig::new(0.5, 0.8).unwrap(), vec![0.5; 64]).unwrap().to_bytes();
    let update = |codec: Codec| Some(codec.encode(&layout, &[0.1; 64], &mut [0.0; 64]).unwrap());
    let placed: Vec<(u16, Option<Vec<u8>>)> = (0..).zip(Codec::ALL.map(update)).collect();
    let mut recipe = Recipe::preset("tiny").unwrap();
    for (place, codec) in (0..).zip(Codec::ALL) {
        recipe.outer.codec = codec;
        let (valid, refused) = inspect(recipe.canonical_json().as_bytes(), &state, &placed).unwrap();
        assert_eq!(valid, [place], "{codec:?}");
        assert!(refused.len() == 2 && refused.values().all(|reason| *reason == Refusal::WrongShape), "{refused:?}");
    }
}

#[test]
fn record__should_credit_what_was_assigned_and_refuse_other_steps() {
    let recipe = Recipe::preset("tiny").unwrap();
    let layout = Layout::new(vec![TensorShape { name: "w".into(), shape: vec![600] }]).unwrap();
    let state = OuterState::new(layout.clone(), OuterConfig::new(0.5, 0.8).unwrap(), vec![0.5; 600]).unwrap();
    let update = |place: u16| {
        let value = |i: u16| f32::from(artifact_hash(&[i.to_le_bytes(), place.to_le_bytes()].concat()).0[0]) / 1_000.0 - 0.1;
        Codec::Int4.encode(&layout, &(0..600).map(value).collect::<Vec<_>>(), &mut vec![0.0; 600]).unwrap()
    };
    let updates: BTreeMap<u16, Vec<u8>> = (0..4).map(|place| (place, update(place))).collect();
    let tokens = |assigned: &[u32], made: [u32; 4]| {
        let commitments = (0..).zip(made).map(|(place, steps): (u16, u32)| {
            (place, Committed { update: artifact_hash(&updates[&place]), steps, at: TimestampMs(T0 + u64::from(place)), signed: None })
        });
        let assigned = Assigned(assigned.to_vec());
        let frozen = Frozen { since: TimestampMs(T0), at: TimestampMs(T0), height: 1, assigned, commitments: commitments.collect() };
        let scored = Scored {
            frozen,
            revealed: (0..4).map(|place| (place, 10)).collect(),
            seed: Hash32([8; 32]),
            skipped: 0,
            valid: vec![0, 1, 2, 3],
            refused: BTreeMap::new(),
            scores: (0..4).map(|place| (place, Score::from_losses(2.0, 1.97, 2.0, 1.99))).collect(),
            probe: Some(Nats(2_000_000)),
        };
        let input = input_of(0, &state, genesis_digest(RunId(7), state.root()), 4, scored);
        let made = make_record(&input, &state.to_bytes(), None, recipe.canonical_json().as_bytes(), &updates).unwrap().made;
        assert!(
            made.statement.tokens.iter().zip(&made.refused).all(|(tokens, refused)| (*tokens == 0) == (*refused == Some(Refusal::Late)))
        );
        made.statement.tokens
    };
    assert_eq!(tokens(&[5, 4, 3, 3], [5, 4, 3, 2]), [640, 512, 384, 0]);
    assert_eq!(tokens(&[5, 4, 3, 3], [5, 5, 4, 3]), [640, 0, 0, 384], "nobody is paid for more than it was given");
    assert_eq!(tokens(&[], [5, 5, 4, 6]), [640, 640, 0, 0], "all that the recipe plans, and no more");
}

#[test]
fn record__should_take_a_harmful_step_back_and_ask_for_the_state_before_it() {
    let recipe = Recipe::preset("tiny").unwrap();
    let layout = Layout::new(vec![TensorShape { name: "w".into(), shape: vec![64] }]).unwrap();
    let mut state = OuterState::new(layout.clone(), OuterConfig::new(0.5, 0.8).unwrap(), vec![0.5; 64]).unwrap();
    let update = Codec::Int4.encode(&layout, &[0.1; 64], &mut [0.0; 64]).unwrap();
    let (updates, recipe) = (BTreeMap::from([(0, update.clone())]), recipe.canonical_json());
    let committed = Committed { update: artifact_hash(&update), steps: 5, at: TimestampMs(T0), signed: None };
    let frozen = Frozen {
        since: TimestampMs(T0),
        at: TimestampMs(T0),
        height: 1,
        assigned: Assigned::default(),
        commitments: BTreeMap::from([(0, committed)]),
    };
    let mut earlier = None;
    let mut previous_digest = genesis_digest(RunId(7), state.root());
    for round in 0..7 {
        // The sixth step did harm, which shows before the seventh.
        let probe = Nats::from_loss(if round == 6 { 9.0 } else { 2.0 });
        let scored = Scored {
            frozen: frozen.clone(),
            revealed: BTreeMap::from([(0, 10)]),
            seed: Hash32([8; 32]),
            skipped: 0,
            valid: vec![0],
            refused: BTreeMap::new(),
            scores: BTreeMap::from([(0, Score::from_losses(2.0, 1.97, 2.0, 1.99))]),
            probe,
        };
        let input = input_of(round, &state, previous_digest, 1, scored);
        let make = |earlier: Option<&[u8]>| make_record(&input, &state.to_bytes(), earlier, recipe.as_bytes(), &updates);
        let before: Option<Vec<u8>> = earlier.replace(state.to_bytes());
        if round == 6 {
            assert!(matches!(make(None), Err(RecordError::Apply(ApplyError::EarlierMissing(_)))));
        }
        let ready = make(before.as_deref()).unwrap();
        assert_eq!((ready.made.rolled_back, ready.made.statement.tokens.as_slice()), (round == 6, [640].as_slice()), "work is paid");
        let next = OuterState::from_bytes(&ready.state).unwrap();
        if round == 6 {
            assert_eq!(next.weights(), OuterState::from_bytes(&before.unwrap()).unwrap().weights());
        }
        (state, previous_digest) = (next, ready.made.statement.record);
    }
}
