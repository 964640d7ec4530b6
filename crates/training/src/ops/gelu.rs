//! GELU (arXiv:1606.08415) in the two forms that models were trained with.

use candle_core::Tensor;

use super::host::{is_fused, map_pairs};
use super::math::{erf, exp, sigmoid};
use crate::error::Result;
use crate::tape::{Tape, Value};

const SLOPE: f32 = 1.595_769; // 2 sqrt(2 / pi)
const CUBIC: f32 = 0.044_715;
const INVERSE_ROOT_2PI: f32 = 0.398_942_3;

/// The tanh form of GPT-2: `x sigmoid(2u)`, `u = sqrt(2/pi) (x + 0.044715 x^3)`.
///
/// # Errors
/// Candle's.
pub fn gelu(tape: &Tape, x: &Value) -> Result<Value> {
    if !is_fused(x.tensor()) {
        return super::composed(tape, &[x], |t| t[0].gelu());
    }
    let forward = |x: &Tensor| map_pairs(x, x, |x, _| x * sigmoid(SLOPE * (x + CUBIC * x * x * x)));
    let slope = |x: &Tensor, dy: &Tensor| {
        map_pairs(x, dy, |x, dy| {
            let s = sigmoid(SLOPE * (x + CUBIC * x * x * x));
            let slope = SLOPE * (1.0 + 3.0 * CUBIC * x * x);
            dy * (s + x * s * (1.0 - s) * slope)
        })
    };
    super::light(tape, x, forward, slope)
}

/// The exact form of BERT: `x (1 + erf(x / sqrt(2))) / 2`.
///
/// # Errors
/// Candle's.
pub fn exact_gelu(tape: &Tape, x: &Value) -> Result<Value> {
    if !is_fused(x.tensor()) {
        return super::composed(tape, &[x], |t| t[0].gelu_erf());
    }
    let below = |x: f32| 0.5 + 0.5 * erf(x * std::f32::consts::FRAC_1_SQRT_2);
    let forward = move |x: &Tensor| map_pairs(x, x, move |x, _| x * below(x));
    let slope = move |x: &Tensor, dy: &Tensor| map_pairs(x, dy, move |x, dy| dy * (below(x) + x * INVERSE_ROOT_2PI * exp(-0.5 * x * x)));
    super::light(tape, x, forward, slope)
}
