//! Every fused operation against candle's composition of it, and both against finite differences.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};

use super::*;
use crate::random::Stream;
use crate::tape::Kept;

fn random(shape: &[usize], seed: u64) -> Tensor {
    let mut values = vec![0.0; shape.iter().product()];
    Stream::new("op test", seed, &[]).fill_normal(1.0, &mut values);
    Tensor::from_vec(values, shape, &Device::Cpu).expect("a tensor")
}

type Operation<'a> = &'a dyn Fn(&Tape, &[Value]) -> Result<Value>;

/// The operation's output weighted by fixed random numbers: a scalar whose gradient reaches every output.
fn weighted(operation: Operation<'_>, inputs: &[Tensor]) -> Result<(f64, Vec<Tensor>)> {
    let tape = Tape::training();
    let leaves: Vec<Value> = inputs.iter().map(|input| tape.leaf(input.clone())).collect();
    let output = operation(&tape, &leaves)?;
    let weights = random(output.tensor().dims(), 99).to_dtype(output.tensor().dtype())?;
    let value = (output.tensor() * &weights)?.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
    let target = composed(&tape, &[&output], move |t| (&t[0] * &weights)?.sum_all())?;
    let mut gradients = tape.backward(&target)?;
    let gradients = leaves.iter().map(|leaf| gradients.take(leaf).expect("every input has a gradient")).collect();
    Ok((value, gradients))
}

fn flat(tensor: &Tensor) -> Vec<f64> {
    let tensor = tensor.flatten_all().and_then(|t| t.to_dtype(DType::F64)).expect("convertible");
    tensor.to_vec1::<f64>().expect("one dimension")
}

fn assert_close(what: &str, found: &[f64], expected: &[f64], tolerance: f64) {
    let norm = expected.iter().map(|e| e * e).sum::<f64>().sqrt().max(1e-3);
    let distance = found.iter().zip(expected).map(|(f, e)| (f - e) * (f - e)).sum::<f64>().sqrt();
    assert_eq!(found.len(), expected.len(), "{what}");
    assert!(distance <= tolerance * norm, "{what}: relative distance {}", distance / norm);
}

/// Checks value and gradients of the fused f32 operation against the composed one in f64, and that one's gradients
/// against central differences.
fn check(operation: Operation<'_>, inputs: &[Tensor]) {
    let wide: Vec<Tensor> = inputs.iter().map(|input| input.to_dtype(DType::F64).expect("widened")).collect();
    let (fused, fused_gradients) = weighted(operation, inputs).expect("fused");
    let (exact, exact_gradients) = weighted(operation, &wide).expect("composed");
    assert!((fused - exact).abs() <= 1e-5 * exact.abs().max(1.0), "value {fused} against {exact}");
    for (position, (fused, exact)) in fused_gradients.iter().zip(&exact_gradients).enumerate() {
        assert_close(&format!("gradient {position}"), &flat(fused), &flat(exact), 2e-6);
    }
    for (position, gradient) in exact_gradients.iter().enumerate() {
        let differences = central_differences(operation, &wide, position);
        assert_close(&format!("differences {position}"), &flat(gradient), &differences, 1e-6);
    }
}

fn central_differences(operation: Operation<'_>, inputs: &[Tensor], position: usize) -> Vec<f64> {
    const STEP: f64 = 1e-4;
    let base = flat(&inputs[position]);
    let at = |index: usize, offset: f64| {
        let mut moved = base.clone();
        moved[index] += offset;
        let mut inputs = inputs.to_vec();
        inputs[position] = Tensor::from_vec(moved, inputs[position].dims(), &Device::Cpu).expect("a tensor");
        weighted(operation, &inputs).expect("composed").0
    };
    (0..base.len()).map(|index| (at(index, STEP) - at(index, -STEP)) / (2.0 * STEP)).collect()
}

#[test]
fn linear__should_have_the_right_gradients() {
    for (rows, input, output) in [(1, 3, 2), (5, 7, 4), (3, 600, 2)] {
        let inputs = [random(&[rows, input], 1), random(&[input, output], 2), random(&[output], 3)];
        check(&|tape, v| linear(tape, &v[0], &v[1], &v[2]), &inputs);
    }
}

#[test]
fn dense__should_have_the_right_gradients_with_and_without_bias() {
    for (rows, input, output) in [(1, 3, 2), (5, 7, 9), (3, 600, 2)] {
        let inputs = [random(&[rows, input], 1), random(&[output, input], 2), random(&[output], 3)];
        check(&|tape, v| dense(tape, &v[0], &v[1], Some(&v[2])), &inputs);
        check(&|tape, v| dense(tape, &v[0], &v[1], None), &inputs[..2]);
    }
    let turned = [random(&[7, 5], 1).t().expect("transposed"), random(&[7, 4], 2).t().expect("transposed")];
    check(&|tape, v| dense(tape, &v[0], &v[1], None), &turned);
}

#[test]
fn dense_columns__should_be_its_layers_side_by_side() {
    for rows in [1, 7] {
        let shapes: [&[usize]; 5] = [&[rows, 5], &[4, 5], &[3, 5], &[4], &[3]];
        let inputs: Vec<Tensor> = shapes.iter().zip(1..).map(|(shape, seed)| random(shape, seed)).collect();
        let both = |tape: &Tape, v: &[Value]| dense_columns(tape, &v[0], &[(&v[1], Some(&v[3])), (&v[2], Some(&v[4]))]);
        check(&both, &inputs);
        check(&|tape, v| dense_columns(tape, &v[0], &[(&v[1], None), (&v[2], None)]), &inputs[..3]);
        check(&|tape, v| dense_columns(tape, &v[0], &[(&v[1], Some(&v[3])), (&v[2], None)]), &inputs[..4]);
        let tape = Tape::inference();
        let values: Vec<Value> = inputs.iter().map(|input| tape.leaf(input.clone())).collect();
        let each = [(1, 3), (2, 4)].map(|(w, b)| dense(&tape, &values[0], &values[w], Some(&values[b])).expect("fits"));
        let joined = join_columns(&tape, &[&each[0], &each[1]]).expect("as many rows");
        assert_eq!(flat(both(&tape, &values).expect("fits").tensor()), flat(joined.tensor()), "bit by bit");
        assert!(dense_columns(&tape, &values[0], &[(&values[1], Some(&values[4]))]).is_err());
    }
}

#[test]
fn dense__should_give_no_gradient_to_what_is_frozen() {
    let tape = Tape::training();
    let (x, frozen, bias) = (tape.leaf(random(&[3, 4], 1)), Value::constant(random(&[2, 4], 2)), tape.leaf(random(&[2], 3)));
    let y = dense(&tape, &x, &frozen, Some(&bias)).expect("fits");
    let mut gradients = tape.backward(&y).expect("differentiable");
    assert!(gradients.take(&frozen).is_none() && gradients.take(&x).is_some() && gradients.take(&bias).is_some());
}

#[test]
fn linear__should_take_inputs_that_are_not_contiguous() {
    let x = random(&[7, 5], 1).t().expect("transposed");
    check(&|tape, v| linear(tape, &v[0], &v[1], &v[2]), &[x, random(&[7, 4], 2), random(&[4], 3)]);
}

#[test]
fn layer_norm__should_have_the_right_gradients() {
    for (rows, width) in [(1, 8), (35, 5), (3, 33)] {
        let inputs = [random(&[rows, width], 1), random(&[width], 2), random(&[width], 3)];
        check(&|tape, v| layer_norm(tape, &v[0], &v[1], &v[2], 1e-5), &inputs);
    }
    let transposed = random(&[6, 4], 1).t().expect("transposed");
    let inputs = [transposed, random(&[6], 2), random(&[6], 3)];
    check(&|tape, v| layer_norm(tape, &v[0], &v[1], &v[2], 1e-5), &inputs);
}

#[test]
fn gelu__should_have_the_right_gradients() {
    check(&|tape, v| gelu(tape, &v[0]), &[(random(&[6, 7], 1) * 2.0).expect("scaled")]);
    check(&|tape, v| gelu(tape, &v[0]), &[random(&[6, 7], 1).t().expect("transposed")]);
}

#[test]
fn causal_attention__should_have_the_right_gradients() {
    for (windows, context, heads, head) in [(1, 1, 1, 2), (2, 5, 2, 3), (1, 9, 1, 4)] {
        let inputs = [random(&[windows * context, 3 * heads * head], 1)];
        check(&|tape, v| causal_attention(tape, &v[0], context, heads), &inputs);
    }
}

#[test]
fn causal_attention__should_equal_the_composition_at_working_size() {
    for (windows, context, heads, head) in [(2, 64, 2, 32), (1, 70, 3, 20), (1, 33, 1, 64)] {
        let input = random(&[windows * context, 3 * heads * head], 1);
        let operation: Operation<'_> = &|tape, v| causal_attention(tape, &v[0], context, heads);
        let (fused, gradients) = weighted(operation, std::slice::from_ref(&input)).expect("fused");
        let wide = input.to_dtype(DType::F64).expect("widened");
        let (exact, exact_gradients) = weighted(operation, &[wide]).expect("composed");
        assert!((fused - exact).abs() <= 1e-4 * exact.abs().max(1.0), "{fused} {exact}");
        assert_close("gradient", &flat(&gradients[0]), &flat(&exact_gradients[0]), 2e-6);
    }
}

#[test]
fn causal_attention__should_not_see_what_comes_later() {
    let input = random(&[8, 12], 1);
    let mut later = input.to_vec2::<f32>().expect("two dimensions");
    later[7].fill(100.0);
    let later = Tensor::new(later, &Device::Cpu).expect("a tensor");
    let output = |input: &Tensor| {
        let tape = Tape::inference();
        let output = causal_attention(&tape, &tape.leaf(input.clone()), 8, 2).expect("shapes fit");
        output.tensor().to_vec2::<f32>().expect("two dimensions")
    };
    assert_eq!(output(&input)[..7], output(&later)[..7]);
    assert_ne!(output(&input)[7], output(&later)[7]);
}

#[test]
fn embed__should_add_up_gradients_of_repeated_tokens() {
    let tokens: Arc<[u32]> = Arc::from([3, 1, 3, 3, 0, 1].as_slice());
    let inputs = [random(&[5, 4], 1), random(&[4, 4], 2)];
    check(&|tape, v| embed(tape, &v[0], &v[1], &tokens, 3), &inputs);
}

#[test]
fn embed__should_refuse_tokens_and_contexts_outside_the_tables() {
    let tape = Tape::training();
    let (table, positions) = (tape.leaf(random(&[5, 4], 1)), tape.leaf(random(&[2, 4], 2)));
    let embed = |tokens: &[u32], context| embed(&tape, &table, &positions, &Arc::from(tokens), context).err();
    assert!(embed(&[0, 4], 2).is_none());
    for (tokens, context) in [(&[5, 0][..], 2), (&[0, 1, 2], 3), (&[0, 1, 2], 2), (&[0], 0)] {
        assert!(embed(tokens, context).is_some());
    }
}

#[test]
fn cross_entropy__should_have_the_right_gradients() {
    let targets: Arc<[u32]> = Arc::from([0, 6, 2, 2, 5].as_slice());
    let logits = (random(&[5, 7], 1) * 3.0).expect("scaled");
    check(&|tape, v| cross_entropy(tape, &v[0], &targets), std::slice::from_ref(&logits));
    let tape = Tape::inference();
    let mean = cross_entropy(&tape, &tape.leaf(logits.clone()), &targets).expect("fits");
    let mean = f64::from(mean.tensor().to_scalar::<f32>().expect("a scalar"));
    assert!((summed_loss(&logits, &targets).expect("fits") - 5.0 * mean).abs() < 1e-5);
}

#[test]
fn cross_entropy__should_be_the_logarithm_of_the_vocabulary_for_equal_logits() {
    let logits = Tensor::zeros((3, 256), DType::F32, &Device::Cpu).expect("a tensor");
    let loss = summed_loss(&logits, &[1, 2, 255]).expect("fits") / 3.0;
    assert!((loss - 256f64.ln()).abs() < 1e-6, "{loss}");
    assert!(summed_loss(&logits, &[1, 2, 256]).is_err());
    assert!(summed_loss(&logits, &[1, 2]).is_err());
}

#[test]
fn add__should_pass_its_gradient_to_both_sides() {
    check(&|tape, v| add(tape, &v[0], &v[1]), &[random(&[3, 4], 1), random(&[3, 4], 2)]);
    check(&|tape, v| add(tape, &v[0], &v[0]), &[random(&[3, 4], 1)]);
}

#[test]
fn add_scaled__should_have_the_right_gradients() {
    check(&|tape, v| add_scaled(tape, &v[0], &v[1], 0.5), &[random(&[1, 4], 1), random(&[1, 4], 2)]);
    let turned = random(&[4, 3], 2).t().expect("transposed");
    check(&|tape, v| add_scaled(tape, &v[0], &v[1], -2.0), &[random(&[3, 4], 1), turned]);
}

#[test]
fn attention__should_have_the_right_gradients_with_grouped_queries() {
    for (windows, context, queries, keys, head) in [(1, 1, 2, 1, 2), (2, 5, 4, 2, 3), (1, 9, 3, 1, 4)] {
        let inputs = [random(&[windows * context, (queries + 2 * keys) * head], 1)];
        check(&|tape, v| attention(tape, &v[0], context, Heads { queries, keys }, &Seen::Before), &inputs);
    }
}

#[test]
fn attention__should_have_the_right_gradients_over_padded_windows() {
    for (lengths, context, queries, keys, head) in [(vec![1], 1, 1, 1, 2), (vec![5, 3], 5, 2, 2, 3), (vec![4, 9, 1], 9, 2, 1, 4)] {
        let inputs = [random(&[(queries + 2 * keys) * head, lengths.len() * context], 1).t().expect("transposed")];
        let seen = Seen::First(lengths.into());
        check(&|tape, v| attention(tape, &v[0], context, Heads { queries, keys }, &seen), &inputs);
    }
}

#[test]
fn attention__should_refuse_heads_and_lengths_that_do_not_fit() {
    let tape = Tape::inference();
    let qkv = tape.leaf(random(&[6, 12], 1));
    let refused = |context, queries, keys, seen: &Seen| attention(&tape, &qkv, context, Heads { queries, keys }, seen).is_err();
    let lengths = |lengths: &[usize]| Seen::First(lengths.into());
    assert!(!refused(3, 2, 2, &Seen::Before) && !refused(3, 2, 1, &lengths(&[3, 1])));
    assert!(refused(4, 2, 2, &Seen::Before) && refused(3, 3, 2, &Seen::Before) && refused(3, 2, 0, &Seen::Before));
    assert!(refused(3, 2, 2, &lengths(&[3])) && refused(3, 2, 2, &lengths(&[3, 4])) && refused(3, 2, 2, &lengths(&[0, 3])));
}

#[test]
fn rms_norm__should_have_the_right_gradients() {
    for (rows, width) in [(1, 8), (35, 5), (3, 33)] {
        check(&|tape, v| rms_norm(tape, &v[0], &v[1], 1e-5), &[random(&[rows, width], 1), random(&[width], 2)]);
    }
    let transposed = random(&[6, 4], 1).t().expect("transposed");
    check(&|tape, v| rms_norm(tape, &v[0], &v[1], 1e-5), &[transposed, random(&[6], 2)]);
}

#[test]
fn rope__should_have_the_right_gradients_and_leave_later_columns() {
    let rotations = Rotations::new(8, 4, 10_000.0).expect("possible");
    for (windows, context, heads, columns) in [(1, 1, 1, 4), (2, 5, 2, 12), (1, 8, 3, 12)] {
        let inputs = [random(&[windows * context, columns], 1)];
        check(&|tape, v| rope(tape, &v[0], &rotations, context, heads), &inputs);
    }
    let turned = random(&[8, 6], 1).t().expect("transposed");
    check(&|tape, v| rope(tape, &v[0], &rotations, 3, 2), &[turned]);
    let tape = Tape::inference();
    let x = tape.leaf(random(&[9, 8], 1));
    assert!(rope(&tape, &x, &rotations, 9, 1).is_err() && rope(&tape, &x, &rotations, 3, 3).is_err());
}

#[test]
fn activations__should_have_the_right_gradients() {
    for shape in [[1, 5], [6, 7]] {
        let (x, up) = (random(&shape, 1), random(&shape, 2));
        check(&|tape, v| exact_gelu(tape, &v[0]), std::slice::from_ref(&x));
        check(&|tape, v| relu(tape, &v[0]), std::slice::from_ref(&x));
        check(&|tape, v| tanh(tape, &v[0]), std::slice::from_ref(&x));
        check(&|tape, v| swiglu(tape, &v[0], &v[1]), &[x, up]);
    }
    let turned = |seed| random(&[6, 7], seed).t().expect("transposed");
    check(&|tape, v| exact_gelu(tape, &v[0]), &[turned(1)]);
    check(&|tape, v| relu(tape, &v[0]), &[turned(1)]);
    check(&|tape, v| tanh(tape, &v[0]), &[turned(1)]);
    check(&|tape, v| swiglu(tape, &v[0], &v[1]), &[turned(1), turned(2)]);
}

#[test]
fn relu__should_have_no_slope_at_zero() {
    for dtype in [DType::F32, DType::F64] {
        let tape = Tape::training();
        let x = tape.leaf(Tensor::zeros((2, 2), dtype, &Device::Cpu).expect("a tensor"));
        let y = relu(&tape, &x).expect("fits");
        let gradient = tape.backward(&y).expect("differentiable").take(&x).expect("there");
        assert_eq!(flat(&gradient), [0.0; 4]);
    }
}

#[test]
fn lookup__should_add_up_gradients_of_repeated_rows() {
    let ids: Arc<[u32]> = Arc::from([3, 1, 3, 3, 0].as_slice());
    check(&|tape, v| lookup(tape, &v[0], &ids), &[random(&[5, 4], 1)]);
    check(&|tape, v| lookup(tape, &v[0], &ids), &[random(&[4, 5], 1).t().expect("transposed")]);
    let one: Arc<[u32]> = Arc::from([0].as_slice());
    check(&|tape, v| lookup(tape, &v[0], &one), &[random(&[1, 1], 1)]);
    let tape = Tape::inference();
    assert!(lookup(&tape, &tape.leaf(random(&[3, 4], 1)), &ids).is_err());
}

#[test]
fn join_columns_and_reshape__should_have_the_right_gradients() {
    let inputs = [random(&[1, 4], 1), random(&[1, 2], 2)];
    check(&|tape, v| join_columns(tape, &[&v[0], &v[1], &v[0]]), &inputs);
    let inputs = [random(&[4, 3], 1).t().expect("transposed"), random(&[3, 5], 2)];
    check(&|tape, v| join_columns(tape, &[&v[0], &v[1]]), &inputs);
    check(&|tape, v| reshape(tape, &v[0], &[2, 6]), &inputs[..1]);
    let tape = Tape::inference();
    let [a, b] = [[2, 3], [3, 3]].map(|shape| tape.leaf(random(&shape, 1)));
    assert!(join_columns(&tape, &[&a, &b]).is_err() && reshape(&tape, &a, &[4, 2]).is_err());
}

#[test]
fn mean_of_groups__should_have_the_right_gradients() {
    check(&|tape, v| mean_of_groups(tape, &v[0], 3), &[random(&[6, 4], 1)]);
    check(&|tape, v| mean_of_groups(tape, &v[0], 1), &[random(&[1, 4], 1)]);
    check(&|tape, v| mean_of_groups(tape, &v[0], 4), &[random(&[3, 8], 1).t().expect("transposed")]);
    let tape = Tape::inference();
    assert!(mean_of_groups(&tape, &tape.leaf(random(&[5, 4], 1)), 2).is_err());
}

#[test]
fn unfold__should_have_the_right_gradients() {
    let kernels = [(3, 2, 1), (1, 1, 0), (2, 3, 0), (3, 1, 2)];
    for (size, stride, padding) in kernels {
        for (count, height, width, channels) in [(1, 3, 5, 2), (2, 4, 4, 1)] {
            let (images, kernel) = (Images { height, width, channels }, Kernel { size, stride, padding });
            check(&|tape, v| unfold(tape, &v[0], images, kernel), &[random(&[count * height * width, channels], 1)]);
        }
    }
    let (images, kernel) = (Images { height: 2, width: 3, channels: 2 }, Kernel { size: 2, stride: 1, padding: 0 });
    check(&|tape, v| unfold(tape, &v[0], images, kernel), &[random(&[2, 12], 1).t().expect("transposed")]);
    let tape = Tape::inference();
    let x = tape.leaf(random(&[12, 2], 1));
    for (size, stride, padding) in [(4, 1, 0), (2, 0, 0), (0, 1, 0)] {
        assert!(unfold(&tape, &x, images, Kernel { size, stride, padding }).is_err());
    }
    assert!(unfold(&tape, &x, Images { channels: 3, ..images }, kernel).is_err());
}

#[test]
fn unfold__should_make_a_product_the_convolution() {
    let (images, kernel) = (Images { height: 5, width: 6, channels: 3 }, Kernel { size: 3, stride: 2, padding: 1 });
    let (pixels, weight) = (random(&[2, 3, 5, 6], 1), random(&[4, 3, 3, 3], 2));
    let expected = pixels.conv2d(&weight, 1, 2, 1, 1).and_then(|y| y.permute((0, 2, 3, 1))).expect("fits"); // (2, 3, 3, 4)
    let rows = pixels.permute((0, 2, 3, 1)).and_then(|x| x.reshape((60, 3))).expect("fits");
    let tape = Tape::inference();
    let columns = unfold(&tape, &tape.leaf(rows), images, kernel).expect("fits"); // (18, 27)
    let weight = tape.leaf(weight.reshape((4, 27)).expect("fits"));
    let found = dense(&tape, &columns, &weight, None).expect("fits"); // (18, 4)
    assert_close("convolution", &flat(found.tensor()), &flat(&expected), 1e-6);
}

#[test]
fn light_operations__should_be_computed_again_to_the_same_bits() {
    let (x, other, row) = (random(&[37, 24], 1), random(&[37, 24], 2), random(&[24], 3));
    let operations: [(&str, Operation<'_>); 6] = [
        ("gelu", &|tape, v| gelu(tape, &v[0])),
        ("exact gelu", &|tape, v| exact_gelu(tape, &v[0])),
        ("relu", &|tape, v| relu(tape, &v[0])),
        ("swiglu", &|tape, v| swiglu(tape, &v[0], &v[1])),
        ("layer norm", &|tape, v| layer_norm(tape, &v[0], &v[2], &v[2], 1e-5)),
        ("rms norm", &|tape, v| rms_norm(tape, &v[0], &v[2], 1e-5)),
    ];
    for (name, operation) in operations {
        let tape = Tape::training();
        let leaves = [&x, &other, &row].map(|tensor| tape.leaf(tensor.clone()));
        let made = operation(&tape, &leaves).expect("made");
        let (first, kept) = (flat(made.tensor()), [made.kept(), made.kept()]);
        assert!(kept.iter().all(|kept| matches!(kept, Kept::Again(_))), "{name} is kept");
        for kept in kept {
            let again = flat(&kept.tensor().expect("made again"));
            assert!(first.iter().zip(&again).all(|(a, b)| a.to_bits() == b.to_bits()), "{name}");
        }
        let constants = [&x, &other, &row].map(|tensor| Value::constant(tensor.clone()));
        let frozen = operation(&tape, &constants).expect("made");
        assert!(matches!(frozen.kept(), Kept::Tensor(_)), "{name} of what is frozen has nothing that keeps its input");
    }
}
