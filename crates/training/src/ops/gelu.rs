//! GELU (arXiv:1606.08415) in the two forms that models were trained with.

use std::{cell::RefCell, rc::Rc};

use candle_core::Tensor;

use super::host::{is_fused, map_pairs, map_triples};
use super::math::{erf, exp, sigmoid};
use crate::error::Result;
use crate::tape::{Gradients, Tape, Value};

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
    gated(
        tape,
        x,
        #[inline(always)]
        |x| sigmoid(SLOPE * (x + CUBIC * x * x * x)),
        #[inline(always)]
        |x, gate| {
            let slope = SLOPE * (1.0 + 3.0 * CUBIC * x * x);
            gate + x * gate * (1.0 - gate) * slope
        },
    )
}

/// The exact form of BERT: `x (1 + erf(x / sqrt(2))) / 2`.
///
/// # Errors
/// Candle's.
pub fn exact_gelu(tape: &Tape, x: &Value) -> Result<Value> {
    if !is_fused(x.tensor()) {
        return super::composed(tape, &[x], |t| t[0].gelu_erf());
    }
    gated(
        tape,
        x,
        #[inline(always)]
        |x| 0.5 + 0.5 * erf(x * std::f32::consts::FRAC_1_SQRT_2),
        #[inline(always)]
        |x, gate| gate + x * INVERSE_ROOT_2PI * exp(-0.5 * x * x),
    )
}

/// `x gate(x)`, whose derivative is `slope(x, gate(x))`.
///
/// Where a backward needs the result once more, the gates that it is made of are left for the backward of this.
#[inline(always)]
fn gated(
    tape: &Tape,
    x: &Value,
    gate: impl Fn(f32) -> f32 + Sync + Send + Copy + 'static,
    slope: impl Fn(f32, f32) -> f32 + Sync + Send + Copy + 'static,
) -> Result<Value> {
    let y = map_pairs(
        x.tensor(),
        x.tensor(),
        #[inline(always)]
        move |x, _| x * gate(x),
    )?;
    let gates: Rc<RefCell<Option<Tensor>>> = Rc::default();
    let (to_x, of_x, again_x, left) = (x.slot(), x.tensor().clone(), x.tensor().clone(), Rc::clone(&gates));
    let backward = move |dy: Tensor, gradients: &mut Gradients| {
        let dx = match gates.take() {
            Some(gates) => map_triples(
                &of_x,
                &gates,
                &dy,
                #[inline(always)]
                move |x, gate, dy| dy * slope(x, gate),
            )?,
            None => map_pairs(
                &of_x,
                &dy,
                #[inline(always)]
                move |x, dy| dy * slope(x, gate(x)),
            )?,
        };
        gradients.add(to_x, dx)
    };
    let again = move || {
        let gates = map_pairs(
            &again_x,
            &again_x,
            #[inline(always)]
            move |x, _| gate(x),
        )?;
        let y = map_pairs(
            &again_x,
            &gates,
            #[inline(always)]
            |x, gate| x * gate,
        )?;
        left.replace(Some(gates));
        Ok(y)
    };
    Ok(tape.record_light(&[x], y, backward, again))
}
