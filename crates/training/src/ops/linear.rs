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
    let (to_x, to_w, to_b) = (x.slot(), w.slot(), b.slot());
    let (of_x, of_w) = (to_w.is_wanted().then(|| x.kept()), w.tensor().clone());
    Ok(tape.record(&[x, w, b], y, move |dy, gradients| {
        if to_b.is_wanted() {
            gradients.add(to_b, column_sums(&dy)?)?;
        }
        if let Some(x) = of_x {
            gradients.add(to_w, product(&x.tensor()?.t()?, &dy, None)?)?; // (in, out)
        }
        if to_x.is_wanted() {
            gradients.add(to_x, product(&dy, &of_w.t()?, None)?)?; // (rows, in)
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
    let (to_x, to_w, to_b) = (x.slot(), w.slot(), b.map(Value::slot));
    let (of_x, of_w) = (to_w.is_wanted().then(|| x.kept()), w.tensor().clone());
    Ok(tape.record(&arguments, y, move |dy, gradients| {
        if let Some(to_b) = to_b.filter(|slot| slot.is_wanted()) {
            gradients.add(to_b, column_sums(&dy)?)?;
        }
        if let Some(x) = of_x {
            gradients.add(to_w, product(&dy.t()?, &x.tensor()?, None)?)?; // (out, in)
        }
        if to_x.is_wanted() {
            gradients.add(to_x, product(&dy, &of_w, None)?)?; // (rows, in)
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
