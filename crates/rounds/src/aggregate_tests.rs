//! Tests of the integer mean, at its bounds and against exact rationals.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use proptest::prelude::*;

use super::*;
use crate::codec::Codec;
use crate::layout::TensorShape;

fn layout(size: u32) -> Layout {
    Layout::new(vec![TensorShape { name: "w".into(), shape: vec![size] }]).unwrap()
}

fn update(layout: &Layout, values: &[f32]) -> Update {
    Codec::Int4.decode(layout, &Codec::Int4.encode(layout, values, &mut vec![0.0; values.len()]).unwrap()).unwrap()
}

#[test]
fn mean__should_not_overflow_at_the_bound() {
    let layout = layout(2);
    let extreme = update(&layout, &[112.0, -112.0]);
    assert_eq!(extreme.units().collect::<Vec<_>>(), [7 << 28, -(7 << 28)]);
    let mut mean = Aggregator::new(&layout);
    for participant in 0..1_024 {
        mean.add(participant, &extreme, MAX_TOKENS_PER_ROUND, CLIP_ONE).unwrap();
    }
    // The proof's figure, and the room above it.
    assert_eq!(mean.sums, [7 << 60, -(7 << 60)]);
    assert!((7_i64 << 60).checked_add(1 << 60).is_none());
    assert_eq!(mean.finish_units(), Some(vec![7 << 28, -(7 << 28)]));
}

#[test]
fn mean__should_weigh_by_tokens_and_shorten_by_clip() {
    let layout = layout(1);
    let (one, three) = (update(&layout, &[7.0]), update(&layout, &[21.0]));
    let mut mean = Aggregator::new(&layout);
    mean.add(0, &one, 300, CLIP_ONE).unwrap();
    mean.add(5, &three, 100, CLIP_ONE).unwrap();
    assert_eq!(mean.finish(), Some(vec![10.5]));
    let mut clipped = Aggregator::new(&layout);
    clipped.add(0, &one, 300, CLIP_ONE).unwrap();
    clipped.add(5, &three, 100, 128).unwrap();
    assert_eq!(clipped.finish(), Some(vec![(7.0 * 300.0 + 10.5 * 100.0) / 400.0]));
    assert_eq!(Aggregator::new(&layout).finish(), None);
}

#[test]
fn add__should_refuse_what_breaks_the_bounds_and_change_nothing() {
    let layout = layout(1);
    let one = update(&layout, &[7.0]);
    let mut mean = Aggregator::new(&layout);
    mean.add(3, &one, 1, CLIP_ONE).unwrap();
    assert_eq!(mean.add(3, &one, 1, 1), Err(AggregateError::NotInOrder(3)));
    assert_eq!(mean.add(2, &one, 1, 1), Err(AggregateError::NotInOrder(2)));
    assert_eq!(mean.add(1_024, &one, 1, 1), Err(AggregateError::TooManyParticipants(1_024)));
    assert_eq!(mean.add(4, &one, 0, 1), Err(AggregateError::TokensOutOfRange(4)));
    assert_eq!(mean.add(4, &one, MAX_TOKENS_PER_ROUND + 1, 1), Err(AggregateError::TokensOutOfRange(4)));
    assert_eq!(mean.add(4, &one, 1, 257), Err(AggregateError::ClipOutOfRange(4)));
    let other = Layout::new(vec![TensorShape { name: "v".into(), shape: vec![1] }]).unwrap();
    assert_eq!(mean.add(4, &update(&other, &[7.0]), 1, 1), Err(AggregateError::WrongLayout(4)));
    assert_eq!(mean.finish(), Some(vec![7.0]));
}

#[test]
fn div_half_even__should_round_ties_to_even_on_both_sides() {
    for (dividend, divisor, expected) in [
        (5, 2, 2),
        (7, 2, 4),
        (-5, 2, -2),
        (-7, 2, -4),
        (6, 4, 2),
        (-6, 4, -2),
        (-1, 3, 0),
        (-2, 3, -1),
        (1, 2, 0),
        (-1, 2, 0),
        (i64::MAX, 1, i64::MAX),
        (i64::MIN, 1, i64::MIN),
    ] {
        assert_eq!(div_half_even(dividend, divisor), expected, "{dividend} / {divisor}");
    }
}

#[test]
fn clip_factors__should_bound_norms_by_the_median() {
    for (norms, expected) in [
        (vec![], vec![]),
        (vec![5], vec![256]),
        (vec![0, 0], vec![256, 256]),
        (vec![50, 100, 100, 101, 1_000], vec![256, 256, 256, 253, 25]),
        (vec![10, 10, 21], vec![256, 256, 121]),
        (vec![0, 0, 7], vec![256, 256, 0]),
        (vec![1, u64::MAX], vec![256, 0]),
        (vec![u64::MAX, u64::MAX], vec![256, 256]),
        // Of an even number the lower middle: two of four cannot raise it.
        (vec![10, 10, 1_000, 1_000], vec![256, 256, 2, 2]),
    ] {
        for tokens in [1, 640, MAX_TOKENS_PER_ROUND] {
            let works: Vec<(u64, u32)> = norms.iter().map(|norm| (*norm, tokens)).collect();
            assert_eq!(clip_factors(&works), expected, "{norms:?} of {tokens} tokens");
        }
    }
}

#[test]
fn too_long__should_find_what_no_work_is() {
    for (works, expected) in [
        (vec![], vec![]),
        (vec![(u64::MAX, 1)], vec![false]),
        (vec![(100, 8), (120, 8), (90, 8), (501, 8), (500, 8)], vec![false, false, false, false, false]),
        (vec![(100, 8), (100, 8), (90, 8), (501, 8), (500, 8)], vec![false, false, false, true, false]),
        // A quarter of the tokens: a quarter of the length.
        (vec![(100, 8), (100, 8), (100, 8), (126, 2)], vec![false, false, false, true]),
        (vec![(0, 8), (0, 8), (7, 8)], vec![false, false, false]),
    ] {
        assert_eq!(too_long(&works), expected, "{works:?}");
    }
}

#[test]
fn clip_factors__should_take_norms_by_their_tokens() {
    // A quarter of the tokens and of the length is as usual; the whole length for a quarter is four times too long.
    assert_eq!(clip_factors(&[(400, 400), (400, 400), (100, 100), (400, 100)]), [256, 256, 256, 64]);
    assert_eq!(clip_factors(&[(u64::MAX, MAX_TOKENS_PER_ROUND), (u64::MAX, 1), (u64::MAX, MAX_TOKENS_PER_ROUND)]), [256, 0, 256]);
}

#[test]
fn norm__should_be_the_euclidean_norm_in_units() {
    let layout = layout(2);
    assert_eq!(norm(&update(&layout, &[7.0, 0.0])), 7 << 24);
    assert_eq!(norm(&update(&layout, &[0.0, 0.0])), 0);
    // Codes 7 and 5 of scale 1: the root of 74.
    let expected = (74.0_f64.sqrt() * f64::from(UNITS_PER_ONE)).floor();
    assert_eq!(norm(&update(&layout, &[7.0, -5.0])) as f64, expected);
}

proptest! {
    #[test]
    fn mean__should_equal_the_exact_quotient_rounded(
        rows in prop::collection::vec((prop::collection::vec(-112.0_f32..112.0, 3), 1..=MAX_TOKENS_PER_ROUND, 0..=CLIP_ONE), 1..9)
    ) {
        let layout = layout(3);
        let mut mean = Aggregator::new(&layout);
        let mut sums = [0_i128; 3];
        let mut total = 0_i128;
        for (participant, (values, tokens, clip)) in (0_u16..).zip(&rows) {
            let one = update(&layout, values);
            mean.add(participant, &one, *tokens, *clip).unwrap();
            let product = i128::from(*tokens) * i128::from(*clip);
            let (floor, rest) = (product / 256, product % 256);
            let weight = floor + i128::from(rest > 128 || (rest == 128 && floor % 2 == 1));
            for (sum, units) in sums.iter_mut().zip(one.units()) {
                *sum += i128::from(units) * weight;
            }
            total += i128::from(*tokens);
        }
        for (got, sum) in mean.finish_units().unwrap().into_iter().zip(sums) {
            let doubled_error = 2 * (sum - i128::from(got) * total);
            prop_assert!(doubled_error.abs() <= total);
            prop_assert!(doubled_error.abs() < total || got % 2 == 0);
        }
    }
}
