//! Element-wise non-linear functions and their slopes: ReLU, tanh, and the gate of SwiGLU (arXiv:2002.05202).

use super::host::{is_fused, map_pairs};
use super::math;
use crate::error::Result;
use crate::tape::{Tape, Value};

/// The greater of each element and zero; its slope at zero is zero, as in PyTorch.
///
/// # Errors
/// Candle's.
pub fn relu(tape: &Tape, x: &Value) -> Result<Value> {
    if !is_fused(x.tensor()) {
        // Candle's own has slope one at zero.
        return super::composed(tape, &[x], |t| &t[0] * t[0].gt(0.0)?.to_dtype(t[0].dtype())?);
    }
    let y = map_pairs(x.tensor(), x.tensor(), |x, _| if x > 0.0 { x } else { 0.0 })?;
    let x = x.clone();
    Ok(tape.record(&[&x.clone()], y, move |dy, gradients| {
        gradients.add(&x, map_pairs(x.tensor(), &dy, |x, dy| if x > 0.0 { dy } else { 0.0 })?)
    }))
}

/// The hyperbolic tangent of each element.
///
/// # Errors
/// Candle's.
pub fn tanh(tape: &Tape, x: &Value) -> Result<Value> {
    if !is_fused(x.tensor()) {
        return super::composed(tape, &[x], |t| t[0].tanh());
    }
    let y = map_pairs(x.tensor(), x.tensor(), |x, _| math::tanh(x))?;
    let (x, kept) = (x.clone(), y.clone());
    Ok(tape.record(&[&x.clone()], y, move |dy, gradients| gradients.add(&x, map_pairs(&kept, &dy, |y, dy| dy * (1.0 - y * y))?)))
}

/// `silu(gate) * up`, where `silu(x) = x sigmoid(x)`.
///
/// # Errors
/// Unequal shapes.
pub fn swiglu(tape: &Tape, gate: &Value, up: &Value) -> Result<Value> {
    if !is_fused(gate.tensor()) {
        return super::composed(tape, &[gate, up], |t| t[0].silu()? * &t[1]);
    }
    let y = map_pairs(gate.tensor(), up.tensor(), |gate, up| gate * math::sigmoid(gate) * up)?;
    let (gate, up) = (gate.clone(), up.clone());
    Ok(tape.record(&[&gate.clone(), &up.clone()], y, move |dy, gradients| {
        let through = map_pairs(gate.tensor(), &dy, |gate, dy| dy * gate * math::sigmoid(gate))?;
        let slope = map_pairs(gate.tensor(), &dy, |gate, dy| {
            let s = math::sigmoid(gate);
            dy * (s + gate * s * (1.0 - s))
        })?;
        gradients.add(&gate, map_pairs(&slope, up.tensor(), |slope, up| slope * up)?)?;
        gradients.add(&up, through)
    }))
}
