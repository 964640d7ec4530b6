//! Tests of the outer state: known bytes, one encoding, refusal of the rest.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use proptest::prelude::*;

use super::*;
use crate::layout::TensorShape;
use crate::merkle::merkle_root;

fn state(size: u32) -> OuterState {
    let layout = Layout::new(vec![TensorShape { name: "w".into(), shape: vec![size] }]).unwrap();
    let weights = (0..size).map(|i| f32::from(u16::try_from(i % 1_000).unwrap()) * 0.25 - 3.0).collect();
    OuterState::new(layout, OuterConfig::new(0.5, 0.75).unwrap(), weights).unwrap()
}

#[test]
fn state__should_have_known_bytes_and_roots() {
    let mut state = state(2);
    state.step(Some(&[1.0, -0.5]), 20).unwrap();
    state.remember(Hash32([3; 32]), Nats::from_loss(2.0));
    state.remember(Hash32([4; 32]), Nats::from_loss(1.5));
    let layout = "0100000001000000770100000002000000";
    let expected = [
        "534f5300",
        "0200",
        "01000000",
        "1400000000000000",
        "0000003f",
        "0000403f",
        "0404040404040404040404040404040404040404040404040404040404040404",
        "02",
        "0000200000000000",
        "0000180000000000",
        "11000000",
        layout,
        // -3 - 0.75 * 1.5 = -4.125; -2.75 + 0.75 * 0.75 = -2.1875
        "000084c0",
        "00000cc0",
        "0000803f",
        "000000bf",
    ]
    .concat();
    assert_eq!(hex::encode(state.to_bytes()), expected);
    assert_eq!(state.root().to_string(), "46f77210a12a8d4415298c1181c9c38c3ef843d6b314bbdd619b5199375ac30b");
    // Several chunks.
    assert_eq!(self::state(40_000).root().to_string(), "b27c79dfedd184584cf66a24c66772b749559a2216e6c1070576f5f623bf3918");
}

#[test]
fn step__should_move_the_clock_alone_when_nothing_was_accepted() {
    let mut state = state(2);
    state.step(Some(&[1.0, 1.0]), 20).unwrap();
    let (weights, momentum) = (state.weights().to_vec(), state.momentum().to_vec());
    state.step(None, 20).unwrap();
    assert_eq!((state.round(), state.next_inner_step()), (2, 40));
    assert_eq!((state.weights(), state.momentum()), (&weights[..], &momentum[..]));
}

#[test]
fn step__should_change_nothing_on_an_error() {
    let mut state = state(2);
    let before = state.clone();
    assert!(state.step(Some(&[1.0]), 20).is_err());
    assert!(state.step(Some(&[1.0, f32::NAN]), 20).is_err());
    state.next_inner_step = u64::MAX;
    assert_eq!(state.step(Some(&[1.0, 1.0]), 1), Err(StateError::ClockAtEnd(0)));
    state.next_inner_step = 0;
    assert_eq!(state, before);
}

#[test]
fn state__should_refuse_values_that_are_not_finite() {
    let layout = state(2).layout().clone();
    let config = state(2).config();
    for bad in [f32::NAN, f32::INFINITY] {
        let refused = OuterState::new(layout.clone(), config, vec![0.0, bad]);
        assert_eq!(refused, Err(StateError::NotFinite { what: "weights", index: 1 }));
        let mut bytes = state(2).to_bytes();
        let end = bytes.len();
        bytes[end - 4..].copy_from_slice(&bad.to_le_bytes());
        assert_eq!(OuterState::from_bytes(&bytes), Err(StateError::NotFinite { what: "momentum", index: 1 }));
    }
    assert!(OuterState::new(layout, config, vec![0.0]).is_err());
}

#[test]
fn from_bytes__should_refuse_cut_and_longer_bytes() {
    let bytes = state(3).to_bytes();
    for len in 0..bytes.len() {
        assert!(OuterState::from_bytes(&bytes[..len]).is_err(), "{len}");
    }
    assert!(OuterState::from_bytes(&[bytes.as_slice(), &[0]].concat()).is_err());
    let mut huge = bytes.clone();
    huge[59..63].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(OuterState::from_bytes(&huge), Err(LayoutError::Malformed("longer than any layout").into()));
}

proptest! {
    #[test]
    fn bytes__should_read_back_and_any_change_should_show(
        size in 1_u32..50,
        steps in prop::collection::vec(-10.0_f32..10.0, 0..5),
        place in any::<prop::sample::Index>(),
        flip in 1_u8..,
    ) {
        let mut state = state(size);
        for step in steps {
            state.step(Some(&vec![step; state.weights().len()]), 7).unwrap();
            state.remember(state.root(), Nats::from_loss(f64::from(step)));
        }
        let bytes = state.to_bytes();
        prop_assert_eq!(bytes.len(), state.encoded_len());
        prop_assert_eq!(merkle_root(&bytes), state.root());
        prop_assert_eq!(&OuterState::from_bytes(&bytes).unwrap(), &state);
        let mut changed = bytes;
        *place.get_mut(&mut changed) ^= flip;
        if let Ok(other) = OuterState::from_bytes(&changed) {
            prop_assert_eq!(other.to_bytes(), changed);
            prop_assert_ne!(other.root(), state.root());
        }
    }
}
