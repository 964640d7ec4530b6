//! Root-mean-square normalisation (arXiv:1910.07467) over the last dimension, with a weight.

use candle_core::{D, Tensor};

use super::host::{Host, add_to, for_chunk_pairs, is_fused, tensor, vectorized};
use super::math::{nearest_f32, sum, sum_pairs};
use crate::error::Result;
use crate::tape::{Gradients, Tape, Value};

const ROWS_PER_CHUNK: usize = 32;

/// `x / sqrt(mean(x^2) + epsilon) * weight` of each row of `x` (rows, width).
///
/// # Errors
/// Shapes that do not fit.
pub fn rms_norm(tape: &Tape, x: &Value, weight: &Value, epsilon: f64) -> Result<Value> {
    if !is_fused(x.tensor()) {
        return super::composed(tape, &[x, weight], move |t| {
            let root = (t[0].sqr()?.mean_keepdim(D::Minus1)? + epsilon)?.sqrt()?;
            t[0].broadcast_div(&root)?.broadcast_mul(&t[1])
        });
    }
    let epsilon = nearest_f32(epsilon);
    let arguments = [x, weight];
    let [to_x, to_weight] = arguments.map(Value::slot);
    let [x, weight] = arguments.map(|value| value.tensor().clone());
    let (y, inverse_roots) = forward(&x, &weight, epsilon)?;
    let (of_x, of_weight) = (x.clone(), weight.clone());
    let backward = move |dy: Tensor, gradients: &mut Gradients| {
        let (dx, dweight) = backward(&of_x, &of_weight, &inverse_roots, &dy)?;
        gradients.add(to_weight, dweight)?;
        gradients.add(to_x, dx)
    };
    Ok(tape.record_light(&arguments, y, backward, move || Ok(forward(&x, &weight, epsilon)?.0)))
}

fn forward(x: &Tensor, weight: &Tensor, epsilon: f32) -> Result<(Tensor, Vec<f32>)> {
    let (rows, width) = x.dims2()?;
    let (x, weight) = (x.contiguous()?, weight.contiguous()?);
    let (from_x, weight) = (Host::of(&x)?, Host::of(&weight)?);
    let (from_x, weight): (&[f32], &[f32]) = (&from_x, &weight);
    let mut y = vec![0.0; rows * width];
    let mut inverse_roots = vec![0.0; rows];
    let size = ROWS_PER_CHUNK * width;
    for_chunk_pairs((&mut y, size), (&mut inverse_roots, ROWS_PER_CHUNK), |chunk, y, inverse_roots| {
        vectorized(
            #[inline(always)]
            || {
                let x_rows = from_x[chunk * size..].chunks_exact(width);
                for ((y, x), inverse_root) in y.chunks_exact_mut(width).zip(x_rows).zip(inverse_roots) {
                    *inverse_root = 1.0 / (sum(x, |x| x * x) / width as f32 + epsilon).sqrt();
                    for ((y, x), weight) in y.iter_mut().zip(x).zip(weight) {
                        *y = x * *inverse_root * weight;
                    }
                }
            },
        );
    });
    Ok((tensor(y, (rows, width))?, inverse_roots))
}

/// Gradients of x and weight.
fn backward(x: &Tensor, weight: &Tensor, inverse_roots: &[f32], dy: &Tensor) -> Result<(Tensor, Tensor)> {
    let (rows, width) = x.dims2()?;
    let (x, weight, dy) = (x.contiguous()?, weight.contiguous()?, dy.contiguous()?);
    let (from_x, weight, from_dy) = (Host::of(&x)?, Host::of(&weight)?, Host::of(&dy)?);
    let (from_x, weight, from_dy): (&[f32], &[f32], &[f32]) = (&from_x, &weight, &from_dy);
    // Chunks of a fixed number of rows, joined in order: nothing depends on the number of threads.
    let mut dx = vec![0.0; rows * width];
    let mut parts = vec![0.0; rows.div_ceil(ROWS_PER_CHUNK) * width];
    let outs = (dx.as_mut_slice(), ROWS_PER_CHUNK * width);
    for_chunk_pairs(outs, (&mut parts, width), |chunk, dx, dweight| {
        let first = chunk * ROWS_PER_CHUNK;
        vectorized(
            #[inline(always)]
            || {
                for (row, dx) in (first..).zip(dx.chunks_exact_mut(width)) {
                    let at = row * width..(row + 1) * width;
                    backward_row(&from_x[at.clone()], &from_dy[at], inverse_roots[row], weight, dx, dweight);
                }
            },
        );
    });
    let mut dweight = vec![0.0; width];
    for part in parts.chunks_exact(width) {
        add_to(&mut dweight, part);
    }
    Ok((tensor(dx, (rows, width))?, tensor(dweight, width)?))
}

#[inline(always)]
fn backward_row(x: &[f32], dy: &[f32], inverse_root: f32, weight: &[f32], dx: &mut [f32], dweight: &mut [f32]) {
    // dx first holds the gradient of the normalised row.
    for ((dx, dy), weight) in dx.iter_mut().zip(dy).zip(weight) {
        *dx = dy * weight;
    }
    let mean_product = sum_pairs(dx, x, |d, x| d * (x * inverse_root)) / x.len() as f32;
    for (((dx, x), dy), dweight) in dx.iter_mut().zip(x).zip(dy).zip(dweight) {
        let normalised = x * inverse_root;
        *dx = inverse_root * (*dx - normalised * mean_product);
        *dweight += dy * normalised;
    }
}
