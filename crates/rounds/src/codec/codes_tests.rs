//! Tests of the two-bit and the sparse code: exactness, one encoding for each update, refusal of everything else, feedback.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use proptest::prelude::*;

use super::*;
use crate::layout::TensorShape;

fn layout(shapes: &[&[u32]]) -> Layout {
    let tensors = shapes.iter().enumerate().map(|(i, shape)| TensorShape { name: format!("t{i:03}"), shape: shape.to_vec() });
    Layout::new(tensors.collect()).unwrap()
}

/// Numbers of many magnitudes, from a counter.
fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u16::try_from(state >> 48).map(|bits| f32::from(bits) / 32_768.0 - 1.0).unwrap()
    };
    (0..len).map(|_| next().powi(3)).collect()
}

fn body(codec: Codec, layout: &Layout, delta: &[f32], feedback: &mut [f32]) -> String {
    hex::encode(&codec.encode(layout, delta, feedback).unwrap()[HEADER_BYTES..])
}

#[test]
fn two_bit__should_have_known_bytes() {
    let layout = layout(&[&[5], &[2]]);
    let delta = [0.5, -0.5, 10.0, -9.0, 1.0, 0.0, 0.0];
    let mut feedback = vec![0.0; 7];
    // Mean magnitude 4.2 times 0.65 is 2.73 in fp16 = 4176; codes 1 -1 3 -3 are the bits 2 1 3 0; then 1, and zeros.
    assert_eq!(body(Codec::TwoBit, &layout, &delta, &mut feedback), "76413602000000");
    let bytes = Codec::TwoBit.encode(&layout, &delta, &mut [0.0; 7]).unwrap();
    assert_eq!(bytes[..4], *b"SU2\0");
    let update = Codec::TwoBit.decode(&layout, &bytes).unwrap();
    assert_eq!(update.codes(), [1, -1, 3, -3, 1, 0, 0]);
    let scale = f16::from_bits(0x4176).to_f32();
    assert_eq!(update.values()[..5], [scale, -scale, 3.0 * scale, -3.0 * scale, scale]);
    assert_eq!(feedback[2], 10.0 - 3.0 * scale);
}

#[test]
fn top_k__should_have_known_bytes() {
    // One value in each 64 or part of it: two of a vector of 70, four of a matrix of 3 rows and 65 columns in two tiles.
    let layout = layout(&[&[70], &[3, 65]]);
    let mut delta = vec![0.01; 70 + 195];
    (delta[69], delta[7], delta[70 + 64], delta[70 + 65 + 3], delta[70 + 130 + 63], delta[72]) = (-3.0, 2.0, 5.0, -6.0, 6.0, 5.0);
    let mut feedback = vec![0.0; delta.len()];
    let bytes = Codec::TopK.encode(&layout, &delta, &mut feedback).unwrap();
    assert_eq!(bytes[..4], *b"SUK\0");
    let update = Codec::TopK.decode(&layout, &bytes).unwrap();
    let sent: Vec<(usize, i8)> = update.codes().iter().copied().enumerate().filter(|(_, code)| *code != 0).collect();
    // The second tile of the matrix is one column: rows 0 to 2 of column 64.
    assert_eq!(sent, [(7, 2), (69, -3), (72, 2), (134, 2), (138, -3), (263, 3)]);
    let values = update.values();
    for (i, value) in values.iter().enumerate() {
        assert_eq!(feedback[i], delta[i] - value, "{i}");
    }
    let scale = |mean: f32| f16::from_f32(mean * (1.0 / 2.4)).to_f32();
    assert_eq!((values[7], values[69]), (2.0 * scale(2.5), -3.0 * scale(2.5)));
    assert_eq!((values[72], values[138]), (2.0 * scale(17.0 / 3.0), -3.0 * scale(17.0 / 3.0)));
    assert_eq!(values[134], 2.0 * scale(5.0));
    // Places 7 and 69 in twelve bits each, then the codes 2 and 0 in two.
    assert_eq!(hex::encode(&bytes[HEADER_BYTES + 2..HEADER_BYTES + 6]), "07500402");
}

#[test]
fn top_k__should_forget_a_twentieth_of_its_feedback() {
    let layout = layout(&[&[64]]);
    let mut feedback = vec![0.0; 64];
    feedback[3] = 1.0;
    let mut delta = vec![0.0; 64];
    delta[9] = 5.0;
    Codec::TopK.encode(&layout, &delta, &mut feedback).unwrap();
    assert_eq!(feedback[3], 0.95);
    // What was left over is sent as soon as it is the greatest.
    let bytes = Codec::TopK.encode(&layout, &[0.0; 64], &mut feedback).unwrap();
    assert_eq!(Codec::TopK.decode(&layout, &bytes).unwrap().codes().iter().position(|code| *code != 0), Some(3));
}

#[test]
fn decode__should_refuse_other_codes_and_second_ways_to_say_the_same() {
    let layout = layout(&[&[6], &[70]]);
    let delta = noise(1, 76);
    let encoded = |codec: Codec| codec.encode(&layout, &delta, &mut [0.0; 76]).unwrap();
    for (codec, other) in [(Codec::TwoBit, Codec::Int4), (Codec::TopK, Codec::TwoBit), (Codec::Int4, Codec::TopK)] {
        assert_eq!(codec.decode(&layout, &encoded(other)), Err(CodecError::WrongHeader));
        let good = encoded(codec);
        assert!(codec.decode(&layout, &good[..good.len() - 1]).is_err());
        assert!(codec.decode(&layout, &[good.as_slice(), &[0]].concat()).is_err());
    }
    let with = |codec: Codec, place: usize, bytes: &[u8]| {
        let mut changed = encoded(codec);
        changed[HEADER_BYTES + place..][..bytes.len()].copy_from_slice(bytes);
        codec.decode(&layout, &changed).unwrap_err()
    };
    // Two bits: six values leave four bits over; a zero scale has zero bits.
    assert_eq!(with(Codec::TwoBit, 3, &[0xFF]), CodecError::NotCanonical { block: 0 });
    assert_eq!(with(Codec::TwoBit, 0, &[0, 0, 1, 0]), CodecError::NotCanonical { block: 0 });
    assert_eq!(with(Codec::TwoBit, 0, &[0, 0x7C]), CodecError::NotFinite { block: 0 });
    // Sparse: one place of six, then two of 70. Beyond the tensor, not rising, bits left over, zero scale with a place.
    assert_eq!(with(Codec::TopK, 2, &[6, 0]), CodecError::NotCanonical { block: 0 });
    assert_eq!(with(Codec::TopK, 2, &[5, 0x10]), CodecError::NotCanonical { block: 0 });
    assert_eq!(with(Codec::TopK, 4, &[4]), CodecError::NotCanonical { block: 0 });
    assert_eq!(with(Codec::TopK, 0, &[0, 0, 1, 0, 0]), CodecError::NotCanonical { block: 0 });
    assert_eq!(with(Codec::TopK, 5 + 2, &[7, 0x70, 0]), CodecError::NotCanonical { block: 1 });
    assert_eq!(with(Codec::TopK, 5 + 2, &[7, 0x60, 4]), CodecError::NotCanonical { block: 1 });
    assert_eq!(with(Codec::TopK, 5, &[0x01, 0x4C]), CodecError::ScaleOutOfRange { block: 1 });
}

#[test]
fn zeros__should_be_sent_as_zeros() {
    let layout = layout(&[&[6], &[65, 65]]);
    let zeros = vec![0.0; layout.parameters()];
    for codec in [Codec::TwoBit, Codec::TopK] {
        let bytes = codec.encode(&layout, &zeros, &mut zeros.clone()).unwrap();
        let update = codec.decode(&layout, &bytes).unwrap();
        assert_eq!(update.values(), zeros);
        assert_eq!(crate::norm(&update), 0);
    }
}

proptest! {
    #[test]
    fn codes__should_survive_their_bytes_and_accept_no_others(
        rows in 1_u32..130,
        columns in 1_u32..130,
        vector in 1_u32..600,
        exponent in -26_i32..=2,
        seed in any::<u64>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let layout = layout(&[&[rows, columns], &[vector]]);
        let delta: Vec<f32> = noise(seed, layout.parameters()).iter().map(|x| x * 2.0_f32.powi(exponent)).collect();
        for codec in [Codec::TwoBit, Codec::TopK] {
            let mut feedback = vec![0.0; delta.len()];
            let mut bytes = codec.encode(&layout, &delta, &mut feedback).unwrap();
            prop_assert_eq!(bytes.len(), codec.encoded_len(&layout));
            let update = codec.decode(&layout, &bytes).unwrap();
            prop_assert_eq!(update.codes().len(), delta.len());
            for ((value, units), (meant, rest)) in update.values().iter().zip(update.units()).zip(delta.iter().zip(&feedback)) {
                prop_assert_eq!(*value, units_to_f32(units));
                prop_assert_eq!(meant - value, *rest);
            }
            for (place, byte) in &changes {
                *place.get_mut(&mut bytes) = *byte;
            }
            // What is still read as an update is the one encoding of its values: other bytes have other values.
            if let Ok(other) = codec.decode(&layout, &bytes) {
                prop_assert_eq!(other.hash() == update.hash(), other.codes() == update.codes() && other.units().eq(update.units()));
                prop_assert!(other.blocks().all(|(scale, _)| (0..=1 << 28).contains(&scale)));
            }
        }
    }

    #[test]
    fn two_bit_feedback__should_carry_what_rounds_leave_over(seed in any::<u64>(), rounds in 2_usize..20) {
        let layout = layout(&[&[300]]);
        let (mut feedback, mut sent, mut meant) = (vec![0.0; 300], vec![0.0_f64; 300], vec![0.0_f64; 300]);
        for round in 0..rounds {
            let delta = noise(seed ^ round as u64, 300);
            let bytes = Codec::TwoBit.encode(&layout, &delta, &mut feedback).unwrap();
            meant.iter_mut().zip(&delta).for_each(|(sum, value)| *sum += f64::from(*value));
            let values = Codec::TwoBit.decode(&layout, &bytes).unwrap().values();
            sent.iter_mut().zip(values).for_each(|(sum, value)| *sum += f64::from(value));
        }
        for i in 0..300 {
            prop_assert!((sent[i] + f64::from(feedback[i]) - meant[i]).abs() < 1e-4);
            prop_assert!(feedback[i].abs() < 3.0, "{}", feedback[i]);
        }
    }
}
