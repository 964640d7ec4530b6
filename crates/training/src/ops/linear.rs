//! Affine layers.

use candle_core::Tensor;

use super::host::{Host, add_to, is_fused, sum_over_rows, tensor};
use super::product::product;
use crate::error::Result;
use crate::tape::{Tape, Value};

/// `x w + b` with `x` (rows, in), `w` (in, out) as GPT-2 stores it, `b` (out).
///
/// # Errors
/// Shapes that do not fit.
pub fn linear(tape: &Tape, x: &Value, w: &Value, b: &Value) -> Result<Value> {
    if !is_fused(x.tensor()) {
        return super::composed(tape, &[x, w, b], |t| t[0].matmul(&t[1])?.broadcast_add(&t[2]));
    }
    let y = product(x.tensor(), w.tensor(), Some(b.tensor()))?; // (rows, out)
    let (x, w, b) = (x.clone(), w.clone(), b.clone());
    Ok(tape.record(&[&x.clone(), &w.clone(), &b.clone()], y, move |dy, gradients| {
        if b.wants_gradient() {
            gradients.add(&b, column_sums(&dy)?)?;
        }
        if w.wants_gradient() {
            gradients.add(&w, product(&x.tensor().t()?, &dy, None)?)?; // (in, out)
        }
        if x.wants_gradient() {
            gradients.add(&x, product(&dy, &w.tensor().t()?, None)?)?; // (rows, in)
        }
        Ok(())
    }))
}

/// `x w^T`, plus `b` where there is one, with `x` (rows, in), `w` (out, in) as PyTorch stores it, `b` (out).
///
/// # Errors
/// Shapes that do not fit.
pub fn dense(tape: &Tape, x: &Value, w: &Value, b: Option<&Value>) -> Result<Value> {
    let arguments: Vec<&Value> = [x, w].into_iter().chain(b).collect();
    if !is_fused(x.tensor()) {
        return super::composed(tape, &arguments, |t| {
            let y = t[0].matmul(&t[1].t()?)?;
            t.get(2).map_or(Ok(y.clone()), |b| y.broadcast_add(b))
        });
    }
    let y = product(x.tensor(), &w.tensor().t()?, b.map(Value::tensor))?; // (rows, out)
    let (x, w, b) = (x.clone(), w.clone(), b.cloned());
    Ok(tape.record(&arguments, y, move |dy, gradients| {
        if let Some(b) = b.filter(Value::wants_gradient) {
            gradients.add(&b, column_sums(&dy)?)?;
        }
        if w.wants_gradient() {
            gradients.add(&w, product(&dy.t()?, x.tensor(), None)?)?; // (out, in)
        }
        if x.wants_gradient() {
            gradients.add(&x, product(&dy, w.tensor(), None)?)?; // (rows, in)
        }
        Ok(())
    }))
}

/// The gradient of a bias.
fn column_sums(dy: &Tensor) -> Result<Tensor> {
    let (rows, width) = dy.dims2()?;
    let dy = dy.contiguous()?;
    let dy = Host::of(&dy)?;
    let sums = sum_over_rows(rows, width, |range, sums| {
        for row in dy[range.start * width..range.end * width].chunks_exact(width) {
            add_to(sums, row);
        }
    });
    tensor(sums, width)
}
