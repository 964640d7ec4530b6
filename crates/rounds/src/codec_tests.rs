//! Tests of the int4 code: exactness, refusal of everything else, error feedback.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use proptest::prelude::*;

use super::*;
use crate::layout::TensorShape;

fn layout(sizes: &[u32]) -> Layout {
    let tensors = sizes.iter().enumerate().map(|(i, size)| TensorShape { name: format!("t{i:03}"), shape: vec![*size] });
    Layout::new(tensors.collect()).unwrap()
}

fn encode_once(layout: &Layout, delta: &[f32]) -> Vec<u8> {
    Codec::Int4.encode(layout, delta, &mut vec![0.0; delta.len()]).unwrap()
}

#[test]
fn encode__should_have_known_bytes() {
    let layout = layout(&[3, 2, 1]);
    let delta = [7.0, -3.4, 0.2, 0.0, 0.0, -1000.0];
    let mut feedback = vec![0.0; 6];
    let bytes = Codec::Int4.encode(&layout, &delta, &mut feedback).unwrap();
    // Block 1: scale 1.0 = 3c00, codes 7 -3 0. Block 2: zeros. Block 3: scale 16 = 4c00, code -7.
    let body = "003c5f88000088004c81";
    let expected = format!("53553400{}{}{body}", "0100", layout.hash());
    assert_eq!(hex::encode(&bytes), expected);
    assert_eq!(artifact_hash(&bytes).to_string(), "753e9251dcd22975603e7c5bfceae42aa4f27dc5cc156bf1770f37e2455ff4e1");
    let update = Codec::Int4.decode(&layout, &bytes).unwrap();
    assert_eq!(update.codes(), [7, -3, 0, 0, 0, -7]);
    let one = 1 << 24;
    assert_eq!(update.units().collect::<Vec<_>>(), [7 * one, -3 * one, 0, 0, 0, -7 * 16 * one]);
    assert_eq!(update.values(), [7.0, -3.0, 0.0, 0.0, 0.0, -112.0]);
    assert_eq!(feedback, [0.0, -3.4 + 3.0, 0.2, 0.0, 0.0, -888.0]);
    assert_eq!(update.hash(), artifact_hash(&bytes));
}

#[test]
fn scale_units__should_equal_fp16_at_every_admitted_scale() {
    for bits in 0..=MAX_SCALE_BITS {
        let units = scale_units(bits, 0).unwrap();
        assert_eq!(units_to_f32(units), f16::from_bits(bits).to_f32());
    }
    assert_eq!(scale_units(MAX_SCALE_BITS, 0), Ok(1 << 28));
    assert_eq!(f16::from_bits(MAX_SCALE_BITS).to_f32(), MAX_SCALE);
    for bits in MAX_SCALE_BITS + 1..=u16::MAX {
        let expected =
            if f16::from_bits(bits).is_finite() { CodecError::ScaleOutOfRange { block: 3 } } else { CodecError::NotFinite { block: 3 } };
        assert_eq!(scale_units(bits, 3), Err(expected));
    }
}

#[test]
fn decode__should_refuse_every_kind_of_wrong_bytes() {
    let layout = layout(&[3, 300]);
    let delta: Vec<f32> = (0..303_u16).map(|i| f32::from(i % 17) - 8.0).collect();
    let good = encode_once(&layout, &delta);
    let with = |place: usize, bytes: &[u8]| {
        let mut changed = good.clone();
        changed[place..place + bytes.len()].copy_from_slice(bytes);
        Codec::Int4.decode(&layout, &changed).unwrap_err()
    };
    let second_block = HEADER_BYTES + 2 + 2;
    assert_eq!(with(0, b"X"), CodecError::WrongHeader);
    assert_eq!(with(4, &[2]), CodecError::WrongHeader);
    assert_eq!(with(6, &[!good[6]]), CodecError::WrongLayout);
    assert_eq!(with(second_block, &[0x00, 0x7C]), CodecError::NotFinite { block: 1 });
    assert_eq!(with(second_block, &[0x01, 0x7C]), CodecError::NotFinite { block: 1 });
    assert_eq!(with(second_block, &[0x01, 0x4C]), CodecError::ScaleOutOfRange { block: 1 });
    assert_eq!(with(second_block, &[0x00, 0x80]), CodecError::ScaleOutOfRange { block: 1 });
    assert_eq!(with(second_block, &[0x00, 0x00]), CodecError::NotCanonical { block: 1 });
    assert_eq!(with(second_block + 2, &[0x80]), CodecError::NotCanonical { block: 1 });
    assert_eq!(with(second_block + 2, &[0x08]), CodecError::NotCanonical { block: 1 });
    // The half byte that three values leave over.
    assert_eq!(with(HEADER_BYTES + 3, &[good[HEADER_BYTES + 3] ^ 0x10]), CodecError::NotCanonical { block: 0 });
    // All codes zero under a scale.
    assert_eq!(with(HEADER_BYTES + 2, &[0x88, 0x88]), CodecError::NotCanonical { block: 0 });
    for len in [0, 5, 37, HEADER_BYTES, good.len() - 1] {
        assert!(Codec::Int4.decode(&layout, &good[..len]).is_err(), "{len}");
    }
    let longer = [good.as_slice(), &[0]].concat();
    let expected = CodecError::WrongLength { what: "bytes", got: good.len() + 1, expected: good.len() };
    assert_eq!(Codec::Int4.decode(&layout, &longer), Err(expected));
}

#[test]
fn encode__should_refuse_what_is_not_finite_and_leave_the_feedback() {
    let layout = layout(&[300]);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut delta = vec![1.0; 300];
        delta[299] = bad;
        let mut feedback = vec![0.5; 300];
        assert_eq!(Codec::Int4.encode(&layout, &delta, &mut feedback), Err(CodecError::NotFinite { block: 1 }));
        assert_eq!(feedback, vec![0.5; 300]);
    }
    let mut feedback = vec![f32::MAX; 300];
    assert_eq!(Codec::Int4.encode(&layout, &[f32::MAX; 300], &mut feedback), Err(CodecError::NotFinite { block: 0 }));
    assert!(Codec::Int4.encode(&layout, &[0.0; 299], &mut feedback).is_err());
    assert!(Codec::Int4.encode(&layout, &[0.0; 300], &mut [0.0; 1]).is_err());
}

#[test]
fn probe_point__should_step_along_the_update() {
    let layout = layout(&[2]);
    let update = Codec::Int4.decode(&layout, &encode_once(&layout, &[7.0, -3.0])).unwrap();
    assert_eq!(probe_point(&[1.0, 1.0], &update, 0.5), Ok(vec![-2.5, 2.5]));
    assert!(probe_point(&[1.0], &update, 0.5).is_err());
}

/// Numbers like a normal distribution's, from a counter.
fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        u16::try_from(state >> 48).map(|bits| f32::from(bits) / 65_536.0 - 0.5).unwrap()
    };
    (0..len).map(|_| (0..12).map(|_| next()).sum()).collect()
}

#[test]
fn overlap__should_tell_copies_from_relatives() {
    let layout = layout(&[65_536]);
    let decode_of = |values: &[f32]| Codec::Int4.decode(&layout, &encode_once(&layout, values)).unwrap();
    let (a, b, c) = (noise(1, 65_536), noise(2, 65_536), noise(3, 65_536));
    let mix = |share: f32| -> Vec<f32> { a.iter().zip(&b).map(|(x, y)| x + share * y).collect() };
    let common = |rest: &[f32]| -> Vec<f32> { c.iter().zip(rest).map(|(x, y)| 3.0 * x + y).collect() };
    let original = decode_of(&a);
    for (name, left, right, least, most) in [
        ("same", &original, original.clone(), 10_000, 10_000),
        ("scaled", &original, decode_of(&a.iter().map(|x| x * 2.0).collect::<Vec<_>>()), 10_000, 10_000),
        ("with a tenth of noise", &original, decode_of(&mix(0.1)), 7_000, 9_999),
        ("independent", &original, decode_of(&b), 0, 1_500),
        ("correlated by 0.9", &decode_of(&common(&a)), decode_of(&common(&b)), 0, 6_000),
    ] {
        let shared = overlap(left, &right);
        println!("{name}: {shared}");
        assert!((least..=most).contains(&shared), "{name}: {shared}");
    }
    let zeros = decode_of(&vec![0.0; 65_536]);
    assert_eq!((overlap(&zeros, &zeros), overlap(&zeros, &original)), (10_000, 0));
}

#[test]
fn copies__should_stand_out_among_all_pairs() {
    let layout = layout(&[65_536]);
    let decode_of = |values: &[f32]| Codec::Int4.decode(&layout, &encode_once(&layout, values)).unwrap();
    let common = noise(9, 65_536);
    // Of work that is mostly alike, as in the first round of a small model on little data.
    let work = |seed: u64, own: f32| -> Vec<f32> { common.iter().zip(noise(seed, 65_536)).map(|(x, y)| x + own * y).collect() };
    for own in [0.1, 0.3, 2.0] {
        let values: Vec<Vec<f32>> = (1..5).map(|seed| work(seed, own)).collect();
        let updates: Vec<Update> = values.iter().map(|values| decode_of(values)).collect();
        let copy = decode_of(&values[1].iter().zip(noise(8, 65_536)).map(|(x, y)| x * 0.7 + 0.01 * y).collect::<Vec<_>>());
        let honest: Vec<&Update> = updates.iter().collect();
        println!("{own}: {:?}", honest[1..].iter().map(|other| overlap(honest[0], other)).collect::<Vec<_>>());
        assert_eq!(copies(&honest), [false; 4], "{own}");
        assert_eq!(copies(&[&honest[..3], &[&copy], &honest[3..]].concat()), [false, false, false, true, false], "{own}");
        assert_eq!(copies(&[honest[1], &copy]), [false, true], "{own}");
        assert!(is_same(honest[1], honest[1]) && !is_same(honest[0], honest[1]), "{own}");
    }
    assert!(copies(&[]).is_empty());
    // Where most are one, another that is nearly so is no less a copy.
    let first = decode_of(&common);
    let near = decode_of(&common.iter().zip(noise(7, 65_536)).map(|(x, y)| x + 0.002 * y).collect::<Vec<_>>());
    assert!((9_500..10_000).contains(&overlap(&first, &near)), "{}", overlap(&first, &near));
    assert_eq!(copies(&[&first, &first, &first, &near]), [false, true, true, true]);
}

proptest! {
    #[test]
    fn code__should_survive_its_bytes_and_stay_close(
        sizes in prop::collection::vec(1_u32..600, 1..4),
        exponent in -30_i32..=4,
        seed in any::<u64>(),
    ) {
        let layout = layout(&sizes);
        let factor = 2.0_f32.powi(exponent);
        let delta: Vec<f32> = noise(seed, layout.parameters()).iter().map(|x| x * factor).collect();
        let mut feedback = vec![0.0; delta.len()];
        let bytes = Codec::Int4.encode(&layout, &delta, &mut feedback).unwrap();
        prop_assert_eq!(bytes.len(), Codec::Int4.encoded_len(&layout));
        let update = Codec::Int4.decode(&layout, &bytes).unwrap();
        let values = update.values();
        for (value, units) in values.iter().zip(update.units()) {
            prop_assert_eq!(*value, units_to_f32(units));
        }
        for range in layout.blocks(BLOCK) {
            let greatest = delta[range.clone()].iter().fold(0.0_f32, |top, x| top.max(x.abs()));
            // Half a code; below fp16's least number, what half of that is seven times over.
            let bound = greatest / 7.0 * 0.5 * 1.02 + 3.5 / UNITS;
            for i in range {
                prop_assert!((delta[i] - values[i]).abs() <= bound, "{} {} {}", delta[i], values[i], bound);
                prop_assert!((delta[i] - values[i] - feedback[i]).abs() <= f32::EPSILON * greatest);
            }
        }
        // What was decoded encodes to itself and leaves nothing over, wherever the scale is used to the full.
        if update.blocks().all(|(scale, codes)| scale == 0 || codes.iter().any(|code| code.abs() == 7)) {
            let mut rest = vec![0.0; values.len()];
            prop_assert_eq!(&Codec::Int4.encode(&layout, &values, &mut rest).unwrap(), &bytes);
            prop_assert!(rest.iter().all(|value| *value == 0.0));
        }
    }

    #[test]
    fn code__should_accept_no_bytes_but_canonical_ones(
        size in 1_u32..40,
        seed in any::<u64>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let layout = layout(&[size, 3]);
        let mut bytes = encode_once(&layout, &noise(seed, layout.parameters()));
        for (place, byte) in changes {
            *place.get_mut(&mut bytes) = byte;
        }
        if let Ok(update) = Codec::Int4.decode(&layout, &bytes) {
            prop_assert_eq!(update.hash(), artifact_hash(&bytes));
            let mut rebuilt = bytes[..HEADER_BYTES].to_vec();
            for (scale, codes) in update.blocks() {
                prop_assert!((0..=1 << 28).contains(&scale));
                prop_assert!(codes.iter().all(|code| (-7..=7).contains(code)));
                prop_assert_eq!(scale == 0, codes.iter().all(|code| *code == 0));
                rebuilt.extend_from_slice(&f16::from_f32(units_to_f32(scale)).to_le_bytes());
                for pair in codes.chunks(2) {
                    let half = |place: usize| (pair.get(place).copied().unwrap_or(0) + 8).unsigned_abs();
                    rebuilt.push(half(0) | (half(1) << 4));
                }
            }
            prop_assert_eq!(rebuilt, bytes);
        }
    }

    #[test]
    fn feedback__should_carry_what_rounds_leave_over(seed in any::<u64>(), rounds in 2_usize..20) {
        let layout = layout(&[300]);
        let mut feedback = vec![0.0; 300];
        let mut sent = vec![0.0_f64; 300];
        let mut meant = vec![0.0_f64; 300];
        for round in 0..rounds {
            let delta = noise(seed ^ round as u64, 300);
            let bytes = Codec::Int4.encode(&layout, &delta, &mut feedback).unwrap();
            for (sum, value) in meant.iter_mut().zip(&delta) {
                *sum += f64::from(*value);
            }
            for (sum, value) in sent.iter_mut().zip(Codec::Int4.decode(&layout, &bytes).unwrap().values()) {
                *sum += f64::from(value);
            }
        }
        for i in 0..300 {
            prop_assert!((sent[i] + f64::from(feedback[i]) - meant[i]).abs() < 1e-4);
            prop_assert!(feedback[i].abs() < 1.5);
        }
    }
}
