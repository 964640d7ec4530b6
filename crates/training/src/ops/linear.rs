//! Affine layers.

use candle_core::Tensor;

use super::host::{Host, add_to, is_fused, sum_over_rows, tensor};
use super::product::product;
use super::rows::join_columns;
use crate::error::Result;
use crate::tape::{Slot, Tape, Value};

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
    if is_fused(x.tensor()) {
        return dense_columns(tape, x, &[(w, b)]);
    }
    let arguments: Vec<&Value> = [x, w].into_iter().chain(b).collect();
    super::composed(tape, &arguments, |t| {
        let y = t[0].matmul(&t[1].t()?)?;
        t.get(2).map_or(Ok(y.clone()), |b| y.broadcast_add(b))
    })
}

/// A layer of [`dense`]: `w` (out, in), and `b` (out) where it has one.
pub type Dense<'a> = (&'a Value, Option<&'a Value>);

/// Several layers of [`dense`] on one `x` (rows, in), their columns side by side (rows, sum of outs): one product, and one for each
/// kind of gradient, in place of one a layer.
///
/// # Errors
/// Shapes that do not fit.
pub fn dense_columns(tape: &Tape, x: &Value, layers: &[Dense<'_>]) -> Result<Value> {
    let biases: Option<Vec<&Value>> = layers.iter().map(|(_, b)| *b).collect();
    let (true, Some(biases)) = (is_fused(x.tensor()), biases.or_else(|| layers.iter().all(|(_, b)| b.is_none()).then(Vec::new))) else {
        let each = layers.iter().map(|(w, b)| dense(tape, x, w, *b)).collect::<Result<Vec<_>>>()?;
        return join_columns(tape, &each.iter().collect::<Vec<_>>());
    };
    let arguments: Vec<&Value> = [x].into_iter().chain(layers.iter().map(|(w, _)| *w)).chain(biases.iter().copied()).collect();
    let of_w: Vec<Tensor> = layers.iter().map(|(w, _)| w.tensor().clone()).collect();
    let outs = of_w.iter().map(|w| w.dim(0)).collect::<candle_core::Result<Vec<_>>>()?;
    let b = biases.iter().map(|b| b.tensor().clone()).collect::<Vec<_>>();
    let b = if b.is_empty() { None } else { Some(Tensor::cat(&b, 0)?) };
    let y = product(x.tensor(), &Tensor::cat(&of_w, 0)?.t()?, b.as_ref())?; // (rows, sum of outs)
    let (to_x, to_w): (_, Vec<_>) = (x.slot(), layers.iter().map(|(w, _)| w.slot()).collect());
    let to_b: Vec<_> = biases.iter().map(|b| b.slot()).collect();
    let of_x = to_w.iter().any(|slot| slot.is_wanted()).then(|| x.kept());
    Ok(tape.record(&arguments, y, move |dy, gradients| {
        let mut share = |slots: Vec<Slot>, all: Tensor| -> Result<()> {
            let firsts = outs.iter().scan(0, |first, out| Some(std::mem::replace(first, *first + out)));
            slots.into_iter().zip(firsts.zip(&outs)).try_for_each(|(slot, (first, out))| gradients.add(slot, all.narrow(0, first, *out)?))
        };
        if to_b.iter().any(|slot| slot.is_wanted()) {
            share(to_b, column_sums(&dy)?)?;
        }
        if let Some(x) = of_x {
            share(to_w, product(&dy.t()?, &x.tensor()?, None)?)?; // (sum of outs, in)
        }
        if to_x.is_wanted() {
            gradients.add(to_x, product(&dy, &Tensor::cat(&of_w, 0)?, None)?)?; // (rows, in)
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
