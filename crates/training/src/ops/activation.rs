//! Element-wise non-linear functions and their slopes: ReLU, tanh, and the gate of SwiGLU (arXiv:2002.05202).

use candle_core::Tensor;

use super::host::{is_fused, map_pairs, map_triples};
use super::math;
use crate::error::Result;
use crate::tape::{Gradients, Tape, Value};

/// The greater of each element and zero; its slope at zero is zero, as in PyTorch.
///
/// # Errors
/// Candle's.
pub fn relu(tape: &Tape, x: &Value) -> Result<Value> {
    if !is_fused(x.tensor()) {
        // Candle's own has slope one at zero.
        return super::composed(tape, &[x], |t| &t[0] * t[0].gt(0.0)?.to_dtype(t[0].dtype())?);
    }
    let forward = |x: &Tensor| map_pairs(x, x, |x, _| if x > 0.0 { x } else { 0.0 });
    let y = forward(x.tensor())?;
    let (to_x, of_x, again_x) = (x.slot(), x.tensor().clone(), x.tensor().clone());
    let backward =
        move |dy: Tensor, gradients: &mut Gradients| gradients.add(to_x, map_pairs(&of_x, &dy, |x, dy| if x > 0.0 { dy } else { 0.0 })?);
    Ok(tape.record_light(&[x], y, backward, move || forward(&again_x)))
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
    let (to_x, kept) = (x.slot(), y.clone());
    Ok(tape.record(&[x], y, move |dy, gradients| gradients.add(to_x, map_pairs(&kept, &dy, |y, dy| dy * (1.0 - y * y))?)))
}

/// `silu(gate) * up`, where `silu(x) = x sigmoid(x)`.
///
/// # Errors
/// Unequal shapes.
pub fn swiglu(tape: &Tape, gate: &Value, up: &Value) -> Result<Value> {
    if !is_fused(gate.tensor()) {
        return super::composed(tape, &[gate, up], |t| t[0].silu()? * &t[1]);
    }
    let forward = |gate: &Tensor, up: &Tensor| map_pairs(gate, up, |gate, up| gate * math::sigmoid(gate) * up);
    let arguments = [gate, up];
    let [to_gate, to_up] = arguments.map(Value::slot);
    let [gate, up] = arguments.map(|value| value.tensor().clone());
    let y = forward(&gate, &up)?;
    let (of_gate, of_up) = (gate.clone(), up.clone());
    let backward = move |dy: Tensor, gradients: &mut Gradients| {
        let through = map_pairs(&of_gate, &dy, |gate, dy| dy * gate * math::sigmoid(gate))?;
        let to_slope = |gate: f32, up: f32, dy: f32| {
            let s = math::sigmoid(gate);
            dy * (s + gate * s * (1.0 - s)) * up
        };
        gradients.add(to_gate, map_triples(&of_gate, &of_up, &dy, to_slope)?)?;
        gradients.add(to_up, through)
    };
    Ok(tape.record_light(&arguments, y, backward, move || forward(&gate, &up)))
}
