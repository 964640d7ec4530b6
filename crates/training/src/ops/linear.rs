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
        gradients.add(&b, column_sums(&dy)?)?;
        gradients.add(&w, product(&x.tensor().t()?, &dy, None)?)?; // (in, out)
        if x.wants_gradient() {
            gradients.add(&x, product(&dy, &w.tensor().t()?, None)?)?; // (rows, in)
        }
        Ok(())
    }))
}

/// `x w^T` with `x` (rows, width), `w` (vocab, width): the output layer that shares the token embedding.
///
/// # Errors
/// Shapes that do not fit.
pub fn project_back(tape: &Tape, x: &Value, w: &Value) -> Result<Value> {
    if !is_fused(x.tensor()) {
        return super::composed(tape, &[x, w], |t| t[0].matmul(&t[1].t()?));
    }
    let y = product(x.tensor(), &w.tensor().t()?, None)?; // (rows, vocab)
    let (x, w) = (x.clone(), w.clone());
    Ok(tape.record(&[&x.clone(), &w.clone()], y, move |dy, gradients| {
        gradients.add(&w, product(&dy.t()?, x.tensor(), None)?)?; // (vocab, width)
        gradients.add(&x, product(&dy, w.tensor(), None)?) // (rows, width)
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
