//! Tests of all models together: names, config, first losses, gradients of finite differences, what sees what.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::*;
use crate::error::{Result, TrainingError};
use crate::ops;
use crate::ops::math::nearest_f32;
use crate::parameters::{Array, Parameters, flatten, layout_of};
use crate::random::Stream;
use crate::tape::{Tape, Value};

fn llama_shape() -> LlamaShape {
    let (layers, heads, key_heads, head, width, hidden) = (2, 4, 2, 4, 16, 24);
    LlamaShape { layers, heads, key_heads, head, width, hidden, context: 8, vocab: 32, theta: 1e4, epsilon: 1e-6, tied: true }
}

fn bert_shape(head: BertHead) -> BertShape {
    BertShape { layers: 2, heads: 2, width: 16, hidden: 24, context: 8, vocab: 32, segments: 2, epsilon: 1e-12, head }
}

fn ids(count: usize, below: u64, seed: u64) -> Arc<[u32]> {
    let mut stream = Stream::new("model test", seed, &[]);
    (0..count).map(|_| u32::try_from(stream.below(below)).expect("small")).collect()
}

fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut values = vec![0.0; shape.iter().product()];
    Stream::new("model test", seed, &[]).fill_normal(1.0, &mut values);
    Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor")
}

fn texts() -> Texts {
    Texts { tokens: ids(16, 32, 1), lengths: Arc::from([8, 3].as_slice()), context: 8 }
}

type Loss<'a> = &'a dyn Fn(&Tape, &Leaves) -> Result<Value>;

/// Every variable has a finite gradient that is not zero, and along each the loss changes as it says.
fn check(weights: &mut Weights, loss: Loss<'_>, classes: f64) {
    let tape = Tape::training();
    let leaves = weights.leaves(&tape);
    let first = loss(&tape, &leaves).expect("computable");
    let start = f64::from(first.tensor().to_scalar::<f32>().expect("a scalar"));
    assert!((start - classes.ln()).abs() < 0.25 * classes.ln(), "a new model guesses: {start} against {}", classes.ln());
    let gradients = leaves.gradients(tape, &first).expect("differentiable");
    let gradients: Parameters = gradients.iter().map(|(n, g)| (n.clone(), Array::from_tensor(g).expect("f32"))).collect();
    crate::check_parameters(weights.layout(), &gradients).expect("a finite gradient for each and no other");

    let parameters = weights.parameters().expect("readable");
    for (name, gradient) in &gradients {
        let square: f64 = gradient.values.iter().map(|g| f64::from(*g).powi(2)).sum();
        assert!(square > 1e-14 || name.ends_with("key.bias"), "{name}");
        let mut along = |step: f64| {
            let mut moved = parameters.clone();
            let values = &mut moved.get_mut(name).expect("there").values;
            values.iter_mut().zip(&gradient.values).for_each(|(value, g)| *value += nearest_f32(step * f64::from(*g)));
            weights.load(&moved).expect("same shapes");
            let tape = Tape::inference();
            let loss = loss(&tape, &weights.leaves(&tape)).expect("computable");
            f64::from(loss.tensor().to_scalar::<f32>().expect("a scalar"))
        };
        let step = 1e-2 / square.sqrt().max(1e-4);
        let slope = (along(step) - along(-step)) / (2.0 * step);
        assert!((slope - square).abs() < 0.05 * square + 1e-4 * square.sqrt() + 1e-9, "{name}: {slope} against {square}");
    }
    weights.load(&parameters).expect("same shapes");
}

#[test]
fn llama__should_have_the_gradient_of_finite_differences() {
    for tied in [true, false] {
        let shape = LlamaShape { tied, ..llama_shape() };
        let parameters = Llama::initial(&shape, 1);
        assert_eq!(parameters.contains_key("lm_head.weight"), !tied);
        let mut model = Llama::new(&shape, &parameters, &Device::Cpu).expect("fits");
        // Embeddings so large that a step of a difference is small beside them.
        let mut large = parameters.clone();
        large.get_mut("model.embed_tokens.weight").expect("there").values.iter_mut().for_each(|value| *value *= 10.0);
        let mut weights = Weights::new(Llama::layout(&shape), &large, &Device::Cpu).expect("fits");
        let loss: Loss<'_> = &|tape, leaves| {
            let logits = model.logits(tape, leaves, &ids(16, 32, 1), 8)?;
            ops::cross_entropy(tape, &logits, &ids(16, 32, 2))
        };
        check(&mut weights, loss, 32.0);
        model.weights_mut().load(&Llama::initial(&shape, 2)).expect("fits");
        assert_ne!(model.weights().parameters().expect("readable"), parameters);
    }
}

#[test]
fn llama__should_only_look_back() {
    let model = Llama::new(&llama_shape(), &Llama::initial(&llama_shape(), 1), &Device::Cpu).expect("fits");
    let logits = |tokens: &Arc<[u32]>| {
        let tape = Tape::inference();
        let logits = model.logits(&tape, &model.weights().leaves(&tape), tokens, 8).expect("fits");
        logits.tensor().to_vec2::<f32>().expect("two dimensions")
    };
    let tokens = ids(8, 32, 1);
    let mut changed = tokens.to_vec();
    changed[7] ^= 1;
    let (before, after) = (logits(&tokens), logits(&changed.into()));
    assert_eq!(before[..7], after[..7]);
    assert_ne!(before[7], after[7]);
}

#[test]
fn bert__should_have_the_gradient_of_finite_differences() {
    let shape = bert_shape(BertHead::Classes(3));
    let parameters = Bert::initial(&shape, 1);
    let model = Bert::new(&shape, &parameters, &Device::Cpu).expect("fits");
    let mut weights = Weights::new(Bert::layout(&shape), &wider(&parameters), &Device::Cpu).expect("fits");
    let loss: Loss<'_> = &|tape, leaves| {
        let logits = model.classify(tape, leaves, &texts())?;
        ops::cross_entropy(tape, &logits, &ids(2, 3, 2))
    };
    check(&mut weights, loss, 3.0);

    let shape = bert_shape(BertHead::MaskedTokens);
    let parameters = Bert::initial(&shape, 1);
    let masked = Bert::new(&shape, &parameters, &Device::Cpu).expect("fits");
    let mut weights = Weights::new(Bert::layout(&shape), &wider(&parameters), &Device::Cpu).expect("fits");
    let loss: Loss<'_> = &|tape, leaves| {
        let logits = masked.predict_masked(tape, leaves, &texts(), &ids(5, 11, 3))?;
        ops::cross_entropy(tape, &logits, &ids(5, 32, 4))
    };
    check(&mut weights, loss, 32.0);
    let tape = Tape::inference();
    let missing = masked.classify(&tape, &masked.weights().leaves(&tape), &texts()).err().expect("no classifier");
    assert_eq!(missing.to_string(), "tensor `bert.pooler.dense.weight` is missing");
}

/// Matrices large enough that gradients of attention are seen in `f32`.
fn wider(parameters: &Parameters) -> Parameters {
    let mut wide = parameters.clone();
    for (name, array) in wide.iter_mut().filter(|(name, _)| name.contains("encoder")) {
        let factor = if name.ends_with("dense.weight") || name.contains("self") { 8.0 } else { 1.0 };
        array.values.iter_mut().for_each(|value| *value *= factor);
    }
    wide
}

#[test]
fn bert__should_not_see_padding() {
    let shape = bert_shape(BertHead::Classes(3));
    let model = Bert::new(&shape, &wider(&Bert::initial(&shape, 1)), &Device::Cpu).expect("fits");
    let logits = |texts: &Texts| {
        let tape = Tape::inference();
        let logits = model.classify(&tape, &model.weights().leaves(&tape), texts).expect("fits");
        logits.tensor().to_vec2::<f32>().expect("two dimensions")
    };
    let plain = texts();
    let mut tokens = plain.tokens.to_vec();
    tokens[8 + 3] ^= 1; // the second text has three tokens
    let changed = Texts { tokens: tokens.clone().into(), ..plain.clone() };
    assert_eq!(logits(&plain), logits(&changed));
    tokens[7] ^= 1; // the first has eight
    let changed = logits(&Texts { tokens: tokens.into(), ..plain.clone() });
    assert!(logits(&plain)[0] != changed[0] && logits(&plain)[1] == changed[1]);
}

#[test]
fn perceptron_and_convolution__should_have_the_gradient_of_finite_differences() {
    let shape = PerceptronShape { features: 5, hidden: vec![12, 8], classes: 3 };
    let parameters = Perceptron::initial(&shape, 1);
    let model = Perceptron::new(&shape, &parameters, &Device::Cpu).expect("fits");
    let mut weights = Weights::new(Perceptron::layout(&shape), &parameters, &Device::Cpu).expect("fits");
    let loss: Loss<'_> = &|tape, leaves| {
        let rows = Value::constant(random(&[5, 9], 1).t()?); // (9, 5), not contiguous
        ops::cross_entropy(tape, &model.logits(tape, leaves, &rows)?, &ids(9, 3, 2))
    };
    check(&mut weights, loss, 3.0);

    let shape = ConvolutionShape { channels: 2, stages: vec![6, 8], classes: 4 };
    let parameters = Convolution::initial(&shape, 1);
    let model = Convolution::new(&shape, &parameters, &Device::Cpu).expect("fits");
    let mut weights = Weights::new(Convolution::layout(&shape), &parameters, &Device::Cpu).expect("fits");
    let loss: Loss<'_> = &|tape, leaves| ops::cross_entropy(tape, &model.logits(tape, leaves, &random(&[1, 2, 7, 6], 1))?, &ids(1, 4, 2));
    check(&mut weights, loss, 4.0);
}

#[test]
fn configs__should_be_read_as_they_were_written() {
    let llama = LlamaShape { tied: false, ..llama_shape() };
    assert_eq!(Llama::read_config(&Llama::config_json(&llama)).expect("ours"), llama);
    for head in [BertHead::Classes(3), BertHead::MaskedTokens] {
        assert_eq!(Bert::read_config(&Bert::config_json(&bert_shape(head))).expect("ours"), bert_shape(head));
    }
    let perceptron = PerceptronShape { features: 5, hidden: vec![12, 8], classes: 3 };
    assert_eq!(Perceptron::read_config(&Perceptron::config_json(&perceptron)).expect("ours"), perceptron);
    let convolution = ConvolutionShape { channels: 3, stages: vec![], classes: 4 };
    assert_eq!(Convolution::read_config(&Convolution::config_json(&convolution)).expect("ours"), convolution);
}

#[test]
fn configs__should_be_refused_with_the_field_at_fault() {
    let llama = Llama::config_json(&llama_shape());
    let refusal = |from: &str, to: &str| {
        let changed = llama.replacen(from, to, 1);
        assert_ne!(changed, llama);
        Llama::read_config(&changed).expect_err("must be refused").to_string()
    };
    for (from, to, words) in [
        ("\"llama\"", "\"mistral\"", "`model_type` is \"mistral\"; only \"llama\""),
        ("\"silu\"", "\"relu\"", "`hidden_act` is \"relu\""),
        ("\"hidden_size\": 16", "\"hidden_size\": -1", "`hidden_size` is -1"),
        ("\"hidden_size\": 16,", "", "`hidden_size` is absent"),
        ("\"rope_theta\": 10000.0", "\"rope_parameters\": {\"rope_type\": \"yarn\"}", "`rope_type` is \"yarn\""),
        ("{", "[", "not a JSON object"),
    ] {
        let found = refusal(from, to);
        assert!(found.contains(words), "{found}");
    }
    assert!(matches!(Bert::read_config(&llama), Err(TrainingError::BadConfig(_))));
    let headless = Bert::config_json(&bert_shape(BertHead::MaskedTokens)).replace("BertForMaskedLM", "BertModel");
    assert!(Bert::read_config(&headless).expect_err("must be refused").to_string().contains("BertModel"));
}

#[test]
fn new__should_refuse_heads_that_do_not_divide() {
    let shape = LlamaShape { key_heads: 3, ..llama_shape() };
    assert!(Llama::new(&shape, &Llama::initial(&shape, 1), &Device::Cpu).is_err());
    let shape = BertShape { heads: 3, ..bert_shape(BertHead::MaskedTokens) };
    assert!(Bert::new(&shape, &Bert::initial(&shape, 1), &Device::Cpu).is_err());
}

fn adapters(targets: &[&str], whole: &[&str]) -> LoraShape {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    LoraShape { rank: 2, alpha: 4.0, targets: names(targets), whole: names(whole), fan_in_fan_out: false }
}

#[test]
fn lora__should_change_nothing_at_first_and_train_its_own_arrays_alone() {
    let shape = bert_shape(BertHead::Classes(3));
    let base = Bert::initial(&shape, 1);
    let model = Bert::new(&shape, &base, &Device::Cpu).expect("fits");
    let lora_shape = adapters(&["query", "value"], &["classifier"]);
    let initial = Lora::initial(&lora_shape, &base, 1).expect("fits");
    let mut lora = Lora::new(&lora_shape, &layout_of(&base), &initial, &Device::Cpu).expect("fits");
    let logits = |tape: &Tape, leaves: &Leaves| model.classify(tape, leaves, &texts()).expect("fits");
    let values = |value: &Value| value.tensor().to_vec2::<f32>().expect("two dimensions");
    let tape = Tape::training();
    let leaves = lora.leaves(&tape, model.weights()).expect("fits");
    let adapted = logits(&tape, &leaves);
    assert_eq!(values(&adapted), values(&logits(&Tape::inference(), &model.weights().frozen())));
    let gradients = leaves.gradients(tape, &adapted).expect("differentiable");
    assert!(gradients.keys().eq(initial.keys()));
    assert_eq!(lora.merged(&base).expect("fits"), base);
    lora.weights_mut().load(&Lora::initial(&lora_shape, &base, 2).expect("fits")).expect("fits");
    assert_ne!(flatten(&lora.weights().parameters().expect("readable")), flatten(&initial));
    let other = Weights::new(Llama::layout(&llama_shape()), &Llama::initial(&llama_shape(), 1), &Device::Cpu).expect("fits");
    assert!(matches!(lora.leaves(&Tape::training(), &other), Err(TrainingError::UnknownTensor(_))));
}

#[test]
fn lora__should_refuse_modules_that_are_not_there() {
    let layout = Llama::layout(&llama_shape());
    let refusal = |shape: &LoraShape| Lora::layout(shape, &layout).expect_err("must be refused").to_string();
    assert!(refusal(&adapters(&["q_proj", "query"], &[])).contains("named `query` to adapt"));
    assert!(refusal(&adapters(&["norm"], &[])).contains("named `norm` to adapt"));
    assert!(refusal(&adapters(&["q_proj"], &["classifier"])).contains("named `classifier` to train whole"));
    assert!(refusal(&LoraShape { rank: 0, ..adapters(&["q_proj"], &[]) }).contains("rank must be at least 1"));
}

type SharedLoss<'a> = &'a (dyn Fn(&Tape, &Leaves) -> Result<Value> + Sync);

/// Loss and gradients of one batch, each in bits.
fn bits(weights: &Weights, loss: SharedLoss<'_>) -> (u32, Vec<u32>) {
    let tape = Tape::training();
    let leaves = weights.leaves(&tape);
    let value = loss(&tape, &leaves).expect("computable");
    let gradients = leaves.gradients(tape, &value).expect("differentiable");
    let gradients: Parameters = gradients.iter().map(|(n, g)| (n.clone(), Array::from_tensor(g).expect("f32"))).collect();
    (value.tensor().to_scalar::<f32>().expect("a scalar").to_bits(), flatten(&gradients).into_iter().map(f32::to_bits).collect())
}

#[test]
fn models__should_give_the_same_bits_on_any_number_of_threads() {
    let llama = Llama::new(&llama_shape(), &Llama::initial(&llama_shape(), 1), &Device::Cpu).expect("fits");
    let shape = bert_shape(BertHead::Classes(3));
    let bert = Bert::new(&shape, &Bert::initial(&shape, 1), &Device::Cpu).expect("fits");
    let shape = ConvolutionShape { channels: 3, stages: vec![6, 8], classes: 4 };
    let convolution = Convolution::new(&shape, &Convolution::initial(&shape, 1), &Device::Cpu).expect("fits");
    // More rows than any kernel takes in one chunk.
    let texts = Texts { tokens: ids(320, 32, 1), lengths: (0..40).map(|text| 1 + text % 8).collect(), context: 8 };
    let of_llama: SharedLoss<'_> =
        &|tape, leaves| ops::cross_entropy(tape, &llama.logits(tape, leaves, &texts.tokens, 8)?, &ids(320, 32, 2));
    let of_bert: SharedLoss<'_> = &|tape, leaves| ops::cross_entropy(tape, &bert.classify(tape, leaves, &texts)?, &ids(40, 3, 3));
    let images = random(&[9, 3, 16, 15], 1);
    let of_convolution: SharedLoss<'_> =
        &|tape, leaves| ops::cross_entropy(tape, &convolution.logits(tape, leaves, &images)?, &ids(9, 4, 4));
    let all = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        let models = [(llama.weights(), of_llama), (bert.weights(), of_bert), (convolution.weights(), of_convolution)];
        pool.install(|| models.map(|(weights, loss)| bits(weights, loss)))
    };
    let one = all(1);
    for threads in [2, 3, 7] {
        assert!(all(threads) == one, "{threads} threads");
    }
}
