//! Rotary positions (RoPE, arXiv:2104.09864) in the half-split form of Llama in `transformers`.

use std::sync::Arc;

use candle_core::{D, Tensor};

use super::host::{Host, for_chunks, is_fused, tensor, vectorized};
use super::math::{cosine_and_sine, nearest_f32};
use crate::error::{Result, TrainingError};
use crate::tape::{Tape, Value};

/// Cosine and sine of every angle, made of additions, products, quotients and roots alone: the same bits everywhere.
#[derive(Clone)]
pub struct Rotations {
    half: usize,
    cosines: Arc<[f32]>, // (context, head_dim / 2)
    sines: Arc<[f32]>,   // (context, head_dim / 2)
}

impl Rotations {
    /// The rotations of `context` positions for heads of `head` floats; pair `i` turns by `theta^(-2 i / head)` a position.
    ///
    /// # Errors
    /// [`TrainingError::BadRequest`] for an odd or empty head, or a `theta` that is not from 1 to 1e12.
    pub fn new(context: usize, head: usize, theta: f64) -> Result<Self> {
        if head == 0 || !head.is_multiple_of(2) || !(1.0..=1e12).contains(&theta) {
            return Err(TrainingError::BadRequest(format!("heads of {head} floats cannot be rotated with theta {theta}")));
        }
        let half = head / 2;
        let ratio = 1.0 / root(theta, half);
        let (mut cosines, mut sines) = (vec![0.0; context * half], vec![0.0; context * half]);
        let mut angle = 1.0;
        for pair in 0..half {
            let (step_cosine, step_sine) = cosine_and_sine(angle);
            let (mut cosine, mut sine) = (1.0, 0.0);
            for position in 0..context {
                cosines[position * half + pair] = nearest_f32(cosine);
                sines[position * half + pair] = nearest_f32(sine);
                (cosine, sine) = (cosine * step_cosine - sine * step_sine, sine * step_cosine + cosine * step_sine);
            }
            angle *= ratio;
        }
        Ok(Self { half, cosines: cosines.into(), sines: sines.into() })
    }

    fn context(&self) -> usize {
        self.cosines.len() / self.half
    }
}

/// The `degree`-th root of `value` (at least 1) by Newton's steps from above.
fn root(value: f64, degree: usize) -> f64 {
    let mut guess = value;
    loop {
        let below: f64 = (1..degree).map(|_| guess).product();
        let next = guess - (guess - value / below) / degree as f64;
        if next >= guess {
            return guess;
        }
        guess = next;
    }
}

/// Turns the first `heads` heads of each row of `x` (windows * context, columns) by its position; later columns stay.
///
/// # Errors
/// [`TrainingError::BadRequest`] where the shapes do not fit.
pub fn rope(tape: &Tape, x: &Value, rotations: &Rotations, context: usize, heads: usize) -> Result<Value> {
    let (rows, columns) = x.tensor().dims2()?;
    let fits = context > 0 && context <= rotations.context() && rows.is_multiple_of(context) && heads * 2 * rotations.half <= columns;
    if !fits {
        return Err(TrainingError::BadRequest(format!(
            "({rows}, {columns}) does not divide into windows of {context} (at most {}) and {heads} heads of {}",
            rotations.context(),
            2 * rotations.half
        )));
    }
    let place = Place { context, heads };
    if !is_fused(x.tensor()) {
        let rotations = rotations.clone();
        return super::composed(tape, &[x], move |t| reference(&t[0], &rotations, place));
    }
    let y = turn(x.tensor(), rotations, place, 1.0)?;
    let (to_x, rotations) = (x.slot(), rotations.clone());
    Ok(tape.record(&[x], y, move |dy, gradients| gradients.add(to_x, turn(&dy, &rotations, place, -1.0)?)))
}

#[derive(Clone, Copy)]
struct Place {
    context: usize,
    heads: usize,
}

fn reference(x: &Tensor, rotations: &Rotations, Place { context, heads }: Place) -> candle_core::Result<Tensor> {
    let (rows, columns) = x.dims2()?;
    let (windows, half) = (rows / context, rotations.half);
    let table = |values: &[f32]| {
        let table = Tensor::from_slice(&values[..context * half], (1, context, 1, half), x.device())?;
        table.to_dtype(x.dtype())
    };
    let (cosines, sines) = (table(&rotations.cosines)?, table(&rotations.sines)?);
    let turned = x.narrow(1, 0, heads * 2 * half)?.reshape((windows, context, heads, 2 * half))?;
    let (a, b) = (turned.narrow(D::Minus1, 0, half)?, turned.narrow(D::Minus1, half, half)?);
    let first = (a.broadcast_mul(&cosines)? - b.broadcast_mul(&sines)?)?;
    let second = (b.broadcast_mul(&cosines)? + a.broadcast_mul(&sines)?)?;
    let turned = Tensor::cat(&[first, second], D::Minus1)?.reshape((rows, heads * 2 * half))?;
    let kept = columns - heads * 2 * half;
    if kept == 0 { Ok(turned) } else { Tensor::cat(&[turned, x.narrow(1, heads * 2 * half, kept)?], 1) }
}

/// Turns forward for `direction` 1, back for -1.
fn turn(x: &Tensor, rotations: &Rotations, Place { context, heads }: Place, direction: f32) -> Result<Tensor> {
    let (rows, columns) = x.dims2()?;
    let half = rotations.half;
    let x = x.contiguous()?;
    let from = Host::of(&x)?;
    let from: &[f32] = &from;
    let mut out = vec![0.0; rows * columns];
    for_chunks(&mut out, context * columns, |window, out| {
        let from = &from[window * context * columns..];
        vectorized(
            #[inline(always)]
            || {
                let tables = rotations.cosines.chunks_exact(half).zip(rotations.sines.chunks_exact(half));
                for ((out, from), (cosines, sines)) in out.chunks_exact_mut(columns).zip(from.chunks_exact(columns)).zip(tables) {
                    out.copy_from_slice(from);
                    for head in out.chunks_exact_mut(2 * half).take(heads) {
                        let (first, second) = head.split_at_mut(half);
                        for (((a, b), cosine), sine) in first.iter_mut().zip(second).zip(cosines).zip(sines) {
                            let (sine, before) = (direction * sine, *a);
                            *a = before * cosine - *b * sine;
                            *b = *b * cosine + before * sine;
                        }
                    }
                }
            },
        );
    });
    tensor(out, (rows, columns))
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn rotations__should_be_cosine_and_sine_of_every_angle() {
        for (head, theta) in [(2, 10_000.0), (6, 10_000.0), (64, 500_000.0), (128, 1.0)] {
            let rotations = Rotations::new(4_096, head, theta).expect("possible");
            for position in [0, 1, 2, 77, 4_095u16] {
                for pair in 0..head / 2 {
                    let angle = f64::from(position) * theta.powf(-2.0 * pair as f64 / head as f64);
                    let index = usize::from(position) * head / 2 + pair;
                    assert!((f64::from(rotations.cosines[index]) - angle.cos()).abs() < 1e-7, "{position} {pair}");
                    assert!((f64::from(rotations.sines[index]) - angle.sin()).abs() < 1e-7, "{position} {pair}");
                }
            }
        }
        for (head, theta) in [(0, 1e4), (3, 1e4), (4, 0.5), (4, f64::NAN)] {
            assert!(Rotations::new(8, head, theta).is_err());
        }
    }
}
