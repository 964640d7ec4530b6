//! GELU in the tanh form of GPT-2 (arXiv:1606.08415): `x sigmoid(2u)`, `u = sqrt(2/pi) (x + 0.044715 x^3)`.

use candle_core::Tensor;

use super::host::{Host, for_chunks, is_fused, tensor, vectorized};
use super::math::sigmoid;
use crate::error::Result;
use crate::tape::{Tape, Value};

const SLOPE: f32 = 1.595_769_1; // 2 sqrt(2 / pi)
const CUBIC: f32 = 0.044_715;
const CHUNK: usize = 8_192;

/// GELU of each element.
///
/// # Errors
/// Candle's.
pub fn gelu(tape: &Tape, x: &Value) -> Result<Value> {
    if !is_fused(x.tensor()) {
        return super::composed(tape, &[x], |t| t[0].gelu());
    }
    let y = map(x.tensor(), x.tensor(), |x, _| x * sigmoid(SLOPE * (x + CUBIC * x * x * x)))?;
    let x = x.clone();
    Ok(tape.record(&[&x.clone()], y, move |dy, gradients| {
        let dx = map(x.tensor(), &dy, |x, dy| {
            let s = sigmoid(SLOPE * (x + CUBIC * x * x * x));
            let slope = SLOPE * (1.0 + 3.0 * CUBIC * x * x);
            dy * (s + x * s * (1.0 - s) * slope)
        })?;
        gradients.add(&x, dx)
    }))
}

#[inline(always)]
fn map(a: &Tensor, b: &Tensor, f: impl Fn(f32, f32) -> f32 + Sync + Send + Copy) -> Result<Tensor> {
    let (a, b) = (a.contiguous()?, b.contiguous()?);
    let (from_a, from_b) = (Host::of(&a)?, Host::of(&b)?);
    let (from_a, from_b): (&[f32], &[f32]) = (&from_a, &from_b);
    let mut out = vec![0.0; from_a.len()];
    for_chunks(&mut out, CHUNK, |index, out| {
        let (from_a, from_b) = (&from_a[index * CHUNK..], &from_b[index * CHUNK..]);
        vectorized(|| {
            for ((out, a), b) in out.iter_mut().zip(from_a).zip(from_b) {
                *out = f(*a, *b);
            }
        });
    });
    tensor(out, a.shape())
}
