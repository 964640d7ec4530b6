//! Layer normalisation (arXiv:1607.06450) over the last dimension, with weight and bias.

use std::rc::Rc;

use candle_core::{D, Tensor};

use super::host::{Host, add_to, for_chunk_pairs, for_chunks, is_fused, tensor, vectorized};
use super::math::{nearest_f32, sum, sum_pairs};
use crate::error::Result;
use crate::tape::{Gradients, Tape, Value};

const ROWS_PER_CHUNK: usize = 32;

/// What the forward keeps of each row.
#[derive(Clone, Copy, Default)]
struct Statistics {
    mean: f32,
    inverse_deviation: f32,
}

/// `(x - mean) / sqrt(variance + epsilon) * weight + bias` of each row of `x` (rows, width).
///
/// # Errors
/// Shapes that do not fit.
pub fn layer_norm(tape: &Tape, x: &Value, weight: &Value, bias: &Value, epsilon: f64) -> Result<Value> {
    if !is_fused(x.tensor()) {
        return super::composed(tape, &[x, weight, bias], move |t| reference(&t[0], &t[1], &t[2], epsilon));
    }
    let epsilon = nearest_f32(epsilon);
    let arguments = [x, weight, bias];
    let [to_x, to_weight, to_bias] = arguments.map(Value::slot);
    let [x, weight, bias] = arguments.map(|value| value.tensor().clone());
    let (y, statistics) = forward(&x, &weight, &bias, epsilon)?;
    let (of_x, of_weight) = (x.clone(), weight.clone());
    let statistics: Rc<[Statistics]> = statistics.into();
    let measured = Rc::clone(&statistics);
    let backward = move |dy: Tensor, gradients: &mut Gradients| {
        let (dx, dweight, dbias) = backward(&of_x, &of_weight, &statistics, &dy)?;
        gradients.add(to_weight, dweight)?;
        gradients.add(to_bias, dbias)?;
        gradients.add(to_x, dx)
    };
    Ok(tape.record_light(&arguments, y, backward, move || again(&x, &weight, &bias, &measured)))
}

fn reference(x: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f64) -> candle_core::Result<Tensor> {
    let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)?;
    let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + epsilon)?.sqrt()?;
    centred.broadcast_div(&deviation)?.broadcast_mul(weight)?.broadcast_add(bias)
}

fn forward(x: &Tensor, weight: &Tensor, bias: &Tensor, epsilon: f32) -> Result<(Tensor, Vec<Statistics>)> {
    let (rows, width) = x.dims2()?;
    let (x, weight, bias) = (x.contiguous()?, weight.contiguous()?, bias.contiguous()?);
    let (from_x, weight, bias) = (Host::of(&x)?, Host::of(&weight)?, Host::of(&bias)?);
    let (from_x, weight, bias): (&[f32], &[f32], &[f32]) = (&from_x, &weight, &bias);
    let mut y = vec![0.0; rows * width];
    let mut statistics = vec![Statistics::default(); rows];
    let size = ROWS_PER_CHUNK * width;
    for_chunk_pairs((&mut y, size), (&mut statistics, ROWS_PER_CHUNK), |chunk, y, statistics| {
        vectorized(
            #[inline(always)]
            || {
                let x_rows = from_x[chunk * size..].chunks_exact(width);
                for ((y, x), s) in y.chunks_exact_mut(width).zip(x_rows).zip(statistics) {
                    *s = measure(x, epsilon);
                    normalise(x, *s, weight, bias, y);
                }
            },
        );
    });
    Ok((tensor(y, (rows, width))?, statistics))
}

/// The forward once more, of rows that were measured.
fn again(x: &Tensor, weight: &Tensor, bias: &Tensor, statistics: &[Statistics]) -> Result<Tensor> {
    let (rows, width) = x.dims2()?;
    let (x, weight, bias) = (x.contiguous()?, weight.contiguous()?, bias.contiguous()?);
    let (from_x, weight, bias) = (Host::of(&x)?, Host::of(&weight)?, Host::of(&bias)?);
    let (from_x, weight, bias): (&[f32], &[f32], &[f32]) = (&from_x, &weight, &bias);
    let mut y = vec![0.0; rows * width];
    let size = ROWS_PER_CHUNK * width;
    for_chunks(&mut y, size, |chunk, y| {
        vectorized(
            #[inline(always)]
            || {
                let rows = from_x[chunk * size..].chunks_exact(width).zip(&statistics[chunk * ROWS_PER_CHUNK..]);
                for (y, (x, s)) in y.chunks_exact_mut(width).zip(rows) {
                    normalise(x, *s, weight, bias, y);
                }
            },
        );
    });
    tensor(y, (rows, width))
}

#[inline(always)]
fn normalise(x: &[f32], s: Statistics, weight: &[f32], bias: &[f32], y: &mut [f32]) {
    for (((y, x), weight), bias) in y.iter_mut().zip(x).zip(weight).zip(bias) {
        *y = (x - s.mean) * s.inverse_deviation * weight + bias;
    }
}

#[inline(always)]
fn measure(row: &[f32], epsilon: f32) -> Statistics {
    let mean = sum(row, |x| x) / row.len() as f32;
    let variance = sum(row, |x| (x - mean) * (x - mean)) / row.len() as f32;
    Statistics { mean, inverse_deviation: 1.0 / (variance + epsilon).sqrt() }
}

/// Gradients of x, weight and bias.
fn backward(x: &Tensor, weight: &Tensor, statistics: &[Statistics], dy: &Tensor) -> Result<(Tensor, Tensor, Tensor)> {
    let (rows, width) = x.dims2()?;
    let (x, weight, dy) = (x.contiguous()?, weight.contiguous()?, dy.contiguous()?);
    let (from_x, weight, from_dy) = (Host::of(&x)?, Host::of(&weight)?, Host::of(&dy)?);
    let (from_x, weight, from_dy): (&[f32], &[f32], &[f32]) = (&from_x, &weight, &from_dy);
    // Chunks of a fixed number of rows, joined in order: nothing depends on the number of threads.
    let mut dx = vec![0.0; rows * width];
    let mut parts = vec![0.0; rows.div_ceil(ROWS_PER_CHUNK) * 2 * width];
    let outs = (dx.as_mut_slice(), ROWS_PER_CHUNK * width);
    for_chunk_pairs(outs, (&mut parts, 2 * width), |chunk, dx, part| {
        let first = chunk * ROWS_PER_CHUNK;
        let (dweight, dbias) = part.split_at_mut(width);
        vectorized(
            #[inline(always)]
            || {
                for (row, dx) in (first..).zip(dx.chunks_exact_mut(width)) {
                    let at = row * width..(row + 1) * width;
                    let input = Row { x: &from_x[at.clone()], dy: &from_dy[at], statistics: statistics[row] };
                    backward_row(&input, weight, dx, dweight, dbias);
                }
            },
        );
    });
    let (mut dweight, mut dbias) = (vec![0.0; width], vec![0.0; width]);
    for part in parts.chunks_exact(2 * width) {
        add_to(&mut dweight, &part[..width]);
        add_to(&mut dbias, &part[width..]);
    }
    Ok((tensor(dx, (rows, width))?, tensor(dweight, width)?, tensor(dbias, width)?))
}

struct Row<'a> {
    x: &'a [f32],
    dy: &'a [f32],
    statistics: Statistics,
}

#[inline(always)]
fn backward_row(row: &Row<'_>, weight: &[f32], dx: &mut [f32], dweight: &mut [f32], dbias: &mut [f32]) {
    let Statistics { mean, inverse_deviation } = row.statistics;
    // dx first holds the gradient of the normalised row.
    for ((dx, dy), weight) in dx.iter_mut().zip(row.dy).zip(weight) {
        *dx = dy * weight;
    }
    let width = row.x.len() as f32;
    let mean_gradient = sum(dx, |d| d) / width;
    let mean_product = sum_pairs(dx, row.x, |d, x| d * ((x - mean) * inverse_deviation)) / width;
    let gradients = dweight.iter_mut().zip(dbias.iter_mut());
    for (((dx, x), dy), (dweight, dbias)) in dx.iter_mut().zip(row.x).zip(row.dy).zip(gradients) {
        let normalised = (x - mean) * inverse_deviation;
        *dx = inverse_deviation * (*dx - mean_gradient - normalised * mean_product);
        *dweight += dy * normalised;
        *dbias += dy;
    }
}
