//! Layer normalisation (arXiv:1607.06450) over the last dimension, with weight and bias.

use candle_core::{D, Tensor};

use super::host::{Host, for_chunks, is_fused, map_indices, tensor, vectorized};
use super::math::{nearest_f32, sum, sum_pairs};
use crate::error::Result;
use crate::tape::{Tape, Value};

const ROWS_PER_CHUNK: usize = 32;

/// What the forward keeps of each row.
#[derive(Clone, Copy)]
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
    let (y, statistics) = forward(x.tensor(), weight.tensor(), bias.tensor(), nearest_f32(epsilon))?;
    let (x, weight, bias) = (x.clone(), weight.clone(), bias.clone());
    Ok(tape.record(&[&x.clone(), &weight.clone(), &bias.clone()], y, move |dy, gradients| {
        let (dx, dweight, dbias) = backward(x.tensor(), weight.tensor(), &statistics, &dy)?;
        gradients.add(&weight, dweight)?;
        gradients.add(&bias, dbias)?;
        gradients.add(&x, dx)
    }))
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
    let measure = |row: &[f32]| {
        let mean = sum(row, |x| x) / width as f32;
        let variance = sum(row, |x| (x - mean) * (x - mean)) / width as f32;
        Statistics { mean, inverse_deviation: 1.0 / (variance + epsilon).sqrt() }
    };
    let statistics: Vec<Statistics> =
        vectorized(|| from_x.chunks_exact(width).map(measure).collect());
    let mut y = vec![0.0; rows * width];
    for_chunks(&mut y, ROWS_PER_CHUNK * width, |chunk, y| {
        let first = chunk * ROWS_PER_CHUNK;
        vectorized(|| {
            let x_rows = from_x[first * width..].chunks_exact(width);
            for ((y, x), s) in y.chunks_exact_mut(width).zip(x_rows).zip(&statistics[first..]) {
                for (((y, x), weight), bias) in y.iter_mut().zip(x).zip(weight).zip(bias) {
                    *y = (x - s.mean) * s.inverse_deviation * weight + bias;
                }
            }
        });
    });
    Ok((tensor(y, (rows, width))?, statistics))
}

/// Gradients of x, weight and bias.
fn backward(x: &Tensor, weight: &Tensor, statistics: &[Statistics], dy: &Tensor) -> Result<(Tensor, Tensor, Tensor)> {
    let (rows, width) = x.dims2()?;
    let (x, weight, dy) = (x.contiguous()?, weight.contiguous()?, dy.contiguous()?);
    let (from_x, weight, from_dy) = (Host::of(&x)?, Host::of(&weight)?, Host::of(&dy)?);
    let (from_x, weight, from_dy): (&[f32], &[f32], &[f32]) = (&from_x, &weight, &from_dy);
    // Chunks of a fixed number of rows, joined in order: nothing depends on the number of threads.
    let chunks = map_indices(rows.div_ceil(ROWS_PER_CHUNK), |chunk| {
        let range = chunk * ROWS_PER_CHUNK..rows.min((chunk + 1) * ROWS_PER_CHUNK);
        let mut dx = vec![0.0; range.len() * width];
        let (mut dweight, mut dbias) = (vec![0.0; width], vec![0.0; width]);
        vectorized(|| {
            for (row, dx) in range.zip(dx.chunks_exact_mut(width)) {
                let at = row * width..(row + 1) * width;
                let input = Row { x: &from_x[at.clone()], dy: &from_dy[at], statistics: statistics[row] };
                backward_row(&input, weight, dx, &mut dweight, &mut dbias);
            }
        });
        (dx, dweight, dbias)
    });
    let mut dx = Vec::with_capacity(rows * width);
    let (mut dweight, mut dbias) = (vec![0.0; width], vec![0.0; width]);
    for (part, dweight_part, dbias_part) in chunks {
        dx.extend_from_slice(&part);
        super::host::add_to(&mut dweight, &dweight_part);
        super::host::add_to(&mut dbias, &dbias_part);
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
