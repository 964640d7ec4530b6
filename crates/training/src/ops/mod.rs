//! The operations that train: each with its backward, each fused on the CPU.
//!
//! On any other device an operation is composed of candle's own differentiable primitives (`composed`); the same
//! composition is what the fused one is tested against. Reductions have a fixed order, so that results do not depend
//! on the number of threads.

mod activation;
mod attention;
mod cross_entropy;
mod embedding;
mod gelu;
pub(crate) mod host;
mod layer_norm;
mod linear;
pub(crate) mod math;
mod product;
mod rms_norm;
mod rope;
mod rows;
mod tile;
mod unfold;
mod vectors;

use candle_core::{Tensor, Var};

pub(crate) use product::product;

pub use activation::{relu, swiglu, tanh};
pub use attention::{Heads, Seen, attention, causal_attention};
pub use cross_entropy::{cross_entropy, summed_loss};
pub use embedding::embed;
pub use gelu::{exact_gelu, gelu};
pub use layer_norm::layer_norm;
pub use linear::{Dense, dense, dense_columns, linear};
pub use rms_norm::rms_norm;
pub use rope::{Rotations, rope};
pub use rows::{join_columns, lookup, mean_of_groups, reshape};
pub use unfold::{Images, Kernel, unfold};
pub use vectors::vectors_in_use;

use crate::error::Result;
use crate::tape::{Slot, Tape, Value};

/// `a + b` of equal shapes: the residual connection.
///
/// # Errors
/// Unequal shapes.
pub fn add(tape: &Tape, a: &Value, b: &Value) -> Result<Value> {
    let sum = sum(a.tensor(), b.tensor())?;
    let (to_a, to_b) = (a.slot(), b.slot());
    Ok(tape.record(&[a, b], sum, move |gradient, gradients| {
        gradients.add(to_a, gradient.clone())?;
        gradients.add(to_b, gradient)
    }))
}

/// `a + factor * b` of equal shapes.
///
/// # Errors
/// Unequal shapes.
pub fn add_scaled(tape: &Tape, a: &Value, b: &Value, factor: f32) -> Result<Value> {
    if !host::is_fused(a.tensor()) {
        return composed(tape, &[a, b], move |t| &t[0] + (&t[1] * f64::from(factor))?);
    }
    let sum = host::map_pairs(a.tensor(), b.tensor(), move |a, b| a + factor * b)?;
    let (to_a, to_b) = (a.slot(), b.slot());
    Ok(tape.record(&[a, b], sum, move |gradient, gradients| {
        gradients.add(to_b, host::map_pairs(&gradient, &gradient, move |g, _| factor * g)?)?;
        gradients.add(to_a, gradient)
    }))
}

/// `a + b`; on the CPU without candle's pool of spinning threads.
pub(crate) fn sum(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    if host::is_fused(a) { host::map_pairs(a, b, |a, b| a + b) } else { Ok((a + b)?) }
}

/// An operation made of candle's differentiable primitives; its backward computes the forward again.
pub(crate) fn composed(
    tape: &Tape,
    arguments: &[&Value],
    forward: impl Fn(&[Tensor]) -> candle_core::Result<Tensor> + 'static,
) -> Result<Value> {
    let slots: Vec<Slot> = arguments.iter().map(|value| value.slot()).collect();
    let tensors: Vec<Tensor> = arguments.iter().map(|value| value.tensor().clone()).collect();
    let output = forward(&tensors)?.detach();
    Ok(tape.record(arguments, output, move |gradient, gradients| {
        let variables = tensors.iter().map(Var::from_tensor).collect::<candle_core::Result<Vec<_>>>()?;
        let inputs: Vec<Tensor> = variables.iter().map(|variable| variable.as_tensor().clone()).collect();
        let store = (forward(&inputs)? * gradient)?.sum_all()?.backward()?;
        for (slot, input) in slots.into_iter().zip(&inputs) {
            if let Some(gradient) = store.get(input) {
                gradients.add(slot, gradient.clone())?;
            }
        }
        Ok(())
    }))
}

#[cfg(test)]
mod tests;
