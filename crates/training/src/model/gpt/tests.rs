//! Tests of the GPT: gradients reach everything, causality, decoding, names.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use crate::parameters::{Array, flatten};
use crate::random::Stream;

fn shape() -> GptShape {
    GptShape { layers: 2, heads: 2, width: 16, context: 12, vocab: 256 }
}

fn model(seed: u64) -> Gpt {
    Gpt::new(&shape(), &Gpt::initial(&shape(), seed), &Device::Cpu).expect("initial weights fit")
}

fn tokens(count: usize) -> Arc<[u32]> {
    let mut stream = Stream::new("gpt test", 1, &[]);
    (0..count).map(|_| u32::try_from(stream.below(256)).expect("small")).collect()
}

fn logits(model: &Gpt, tokens: &Arc<[u32]>, context: usize) -> Vec<Vec<f32>> {
    let tape = Tape::inference();
    let logits = model.logits(&tape, &model.leaves(&tape), tokens, context).expect("fits");
    logits.tensor().to_vec2().expect("two dimensions")
}

#[test]
fn gpt__should_give_every_variable_a_finite_gradient_that_is_not_zero() {
    let model = model(1);
    let (tokens, targets) = (tokens(24), tokens(24));
    let tape = Tape::training();
    let leaves = model.leaves(&tape);
    let logits = model.logits(&tape, &leaves, &tokens, 12).expect("fits");
    let loss = ops::cross_entropy(&tape, &logits, &targets).expect("fits");
    let mut gradients = tape.backward(&loss).expect("differentiable");
    for (name, leaf) in leaves.iter() {
        let gradient = gradients.take(leaf).unwrap_or_else(|| panic!("{name} has no gradient"));
        let gradient: Vec<f32> = gradient.flatten_all().and_then(|g| g.to_vec1()).expect("f32");
        assert!(gradient.iter().all(|g| g.is_finite()), "{name}");
        assert!(gradient.iter().any(|g| g.abs() > 1e-9), "{name}");
    }
}

#[test]
fn gpt__should_have_the_gradient_of_finite_differences() {
    let (tokens, targets) = (tokens(24), tokens(24));
    let mut model = model(1);
    let parameters = model.parameters().expect("readable");
    let tape = Tape::training();
    let leaves = model.leaves(&tape);
    let logits = model.logits(&tape, &leaves, &tokens, 12).expect("fits");
    let loss = ops::cross_entropy(&tape, &logits, &targets).expect("fits");
    let mut gradients = tape.backward(&loss).expect("differentiable");
    let mut loss_along = |direction: &Parameters, step: f32| {
        let mut moved = parameters.clone();
        for (array, direction) in moved.values_mut().zip(direction.values()) {
            array.values.iter_mut().zip(&direction.values).for_each(|(value, d)| *value += step * d);
        }
        model.load_parameters(&moved).expect("same shapes");
        let tape = Tape::inference();
        let logits = model.logits(&tape, &model.leaves(&tape), &tokens, 12).expect("fits");
        ops::summed_loss(logits.tensor(), &targets).expect("fits") / targets.len() as f64
    };
    // Along the gradient of each variable alone, the loss changes by the gradient's squared norm.
    for (name, leaf) in leaves.iter() {
        let gradient = Array::from_tensor(&gradients.take(leaf).expect("there")).expect("f32");
        let square: f64 = gradient.values.iter().map(|g| f64::from(*g).powi(2)).sum();
        let mut direction: Parameters = parameters.iter().map(|(n, a)| (n.clone(), Array::zeros(&a.shape))).collect();
        direction.insert(name.clone(), gradient);
        let step = 2e-3 / square.sqrt();
        let narrow = ops::math::nearest_f32(step);
        let slope = (loss_along(&direction, narrow) - loss_along(&direction, -narrow)) / (2.0 * step);
        assert!((slope - square).abs() < 0.03 * square + 1e-5, "{name}: {slope} against {square}");
    }
}

#[test]
fn gpt__should_only_look_back() {
    let model = model(1);
    let tokens = tokens(12);
    let mut changed = tokens.to_vec();
    changed[11] ^= 1;
    let (before, after) = (logits(&model, &tokens, 12), logits(&model, &changed.into(), 12));
    assert_eq!(before[..11], after[..11]);
    assert_ne!(before[11], after[11]);
}

#[test]
fn decoder__should_give_the_logits_of_the_whole_window() {
    let model = model(2);
    let tokens = tokens(12);
    let whole = logits(&model, &tokens, 12);
    let mut decoder = GptDecoder::new(&model, model.leaves(&Tape::inference()));
    for (position, token) in tokens.iter().enumerate() {
        let fed = decoder.feed(*token).expect("fits");
        for (fed, whole) in fed.iter().zip(&whole[position]) {
            assert!((fed - whole).abs() < 1e-4, "position {position}: {fed} against {whole}");
        }
    }
    // The thirteenth token sees the last six and itself.
    let next = decoder.feed(7).expect("fits");
    let mut window = tokens[6..].to_vec();
    window.push(7);
    let expected = logits(&model, &window.into(), 7);
    assert!(next.iter().zip(&expected[6]).all(|(a, b)| (a - b).abs() < 1e-4));
}

#[test]
fn initial__should_depend_on_the_seed_alone_and_start_near_uniform() {
    assert_eq!(Gpt::initial(&shape(), 1), Gpt::initial(&shape(), 1));
    assert_ne!(Gpt::initial(&shape(), 1), Gpt::initial(&shape(), 2));
    let (tokens, targets) = (tokens(24), tokens(24));
    let model = model(1);
    let tape = Tape::inference();
    let logits = model.logits(&tape, &model.leaves(&tape), &tokens, 12).expect("fits");
    let loss = ops::summed_loss(logits.tensor(), &targets).expect("fits") / 24.0;
    assert!((loss - 256f64.ln()).abs() < 0.1, "{loss}");
}

#[test]
fn layout__should_be_sorted_and_count_like_the_shape() {
    let layout = Gpt::layout(&shape());
    assert!(layout.windows(2).all(|pair| pair[0].0 < pair[1].0));
    let count = flatten(&Gpt::initial(&shape(), 1)).len();
    assert_eq!(count as u64, shape().parameter_count());
    assert!(layout.iter().any(|(name, dims)| name == "transformer.h.1.attn.c_attn.weight" && *dims == [16, 48]));
}
