//! Affine layers on candle's matrix product, bias added in place.

use candle_core::Tensor;

use super::host::{AddRows, Host, add_to, is_fused, sum_over_rows, tensor};
use crate::error::Result;
use crate::tape::{Tape, Value};

/// Longest inner dimension given to the matrix product at once: beyond it gemm's own blocking, and with it the last
/// bits, differs between processors.
const INNER_MAX: usize = 512;

/// `x w + b` with `x` (rows, in), `w` (in, out) as GPT-2 stores it, `b` (out).
///
/// # Errors
/// Shapes that do not fit.
pub fn linear(tape: &Tape, x: &Value, w: &Value, b: &Value) -> Result<Value> {
    if !is_fused(x.tensor()) {
        return super::composed(tape, &[x, w, b], |t| t[0].matmul(&t[1])?.broadcast_add(&t[2]));
    }
    let y = multiply(x.tensor(), w.tensor())?; // (rows, out)
    y.inplace_op2(b.tensor(), &AddRows)?;
    let (x, w, b) = (x.clone(), w.clone(), b.clone());
    Ok(tape.record(&[&x.clone(), &w.clone(), &b.clone()], y, move |dy, gradients| {
        gradients.add(&b, column_sums(&dy)?)?;
        gradients.add(&w, multiply(&x.tensor().t()?, &dy)?)?; // (in, out)
        if x.wants_gradient() {
            gradients.add(&x, multiply(&dy, &w.tensor().t()?)?)?; // (rows, in)
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
    let y = multiply(x.tensor(), &w.tensor().t()?)?; // (rows, vocab)
    let (x, w) = (x.clone(), w.clone());
    Ok(tape.record(&[&x.clone(), &w.clone()], y, move |dy, gradients| {
        gradients.add(&w, multiply(&dy.t()?, x.tensor())?)?; // (vocab, width)
        gradients.add(&x, multiply(&dy, w.tensor())?) // (rows, width)
    }))
}

/// `a b` for (m, k) and (k, n), with k in blocks of at most [`INNER_MAX`] summed in order.
fn multiply(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let inner = a.dim(1)?;
    let mut sum: Option<Tensor> = None;
    for start in (0..inner).step_by(INNER_MAX) {
        let length = INNER_MAX.min(inner - start);
        let part = a.narrow(1, start, length)?.matmul(&b.narrow(0, start, length)?)?;
        match &sum {
            None => sum = Some(part),
            Some(sum) => sum.inplace_op2(&part, &AddRows)?,
        }
    }
    Ok(match sum {
        Some(sum) => sum,
        None => a.matmul(b)?,
    })
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
