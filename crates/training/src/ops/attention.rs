//! Causal self-attention of all heads, forward and backward, without a matrix of scores in memory.
//!
//! The backward computes the scores again from queries and keys (as in arXiv:2205.14135) and needs only each row's
//! greatest score and sum of exponentials from the forward.

use candle_core::{D, DType, Tensor};

use super::host::{Host, for_chunk_pairs, for_chunks, is_fused, tensor, vectorized};
use super::math::{exp, max, sum, sum_pairs};
use super::tile::{Causal, Left, Matrix, PAD, PANEL, Product, padded};
use crate::error::{Result, TrainingError};
use crate::tape::{Tape, Value};

/// Attention of each position to itself and those before it in its window.
///
/// `qkv` is (windows * context, 3 * width): queries, keys and values side by side, each with `heads` heads side by
/// side; the result is (windows * context, width).
///
/// # Errors
/// [`TrainingError::BadRequest`] where the shape does not divide.
pub fn causal_attention(tape: &Tape, qkv: &Value, context: usize, heads: usize) -> Result<Value> {
    let (rows, columns) = qkv.tensor().dims2()?;
    let fits = context > 0 && heads > 0 && rows.is_multiple_of(context) && columns.is_multiple_of(3 * heads);
    if !fits {
        return Err(TrainingError::BadRequest(format!(
            "attention over ({rows}, {columns}) does not divide into windows of {context} and {heads} heads"
        )));
    }
    if !is_fused(qkv.tensor()) {
        return super::composed(tape, &[qkv], move |t| reference(&t[0], context, heads));
    }
    let shape = Shape { context, heads, head: columns / (3 * heads) };
    let (output, statistics) = forward(qkv.tensor(), shape)?;
    let qkv = qkv.clone();
    Ok(tape.record(&[&qkv.clone()], output, move |gradient, gradients| {
        gradients.add(&qkv, backward(qkv.tensor(), shape, &statistics, &gradient)?)
    }))
}

pub(super) fn reference(qkv: &Tensor, context: usize, heads: usize) -> candle_core::Result<Tensor> {
    let (rows, columns) = qkv.dims2()?;
    let (windows, head) = (rows / context, columns / (3 * heads));
    let split = qkv.reshape((windows, context, 3, heads, head))?;
    let part = |index| split.narrow(2, index, 1)?.squeeze(2)?.transpose(1, 2)?.contiguous(); // (windows, heads, context, head)
    let (q, k, v) = (part(0)?, part(1)?, part(2)?);
    let scores = (q.matmul(&k.t()?)? * (1.0 / (head as f64).sqrt()))?; // (windows, heads, context, context)
    let mask = Tensor::tril2(context, DType::F32, qkv.device())?;
    let mask = ((mask - 1.0)? * 1e30)?.to_dtype(qkv.dtype())?;
    let scores = scores.broadcast_add(&mask)?;
    let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
    let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
    weights.matmul(&v)?.transpose(1, 2)?.contiguous()?.reshape((rows, heads * head))
}

#[derive(Clone, Copy)]
struct Shape {
    context: usize,
    heads: usize,
    head: usize,
}

/// Of one row of scores.
#[derive(Clone, Copy, Default)]
struct RowStatistics {
    greatest: f32,
    inverse_total: f32,
}

impl Shape {
    fn width(self) -> usize {
        self.heads * self.head
    }

    /// Rows of scratch buffers.
    fn rows(self) -> usize {
        padded(self.context, PANEL)
    }

    /// Floats of a scratch row of scores.
    fn score_stride(self) -> usize {
        padded(self.context, PAD)
    }

    /// Floats of a scratch row of one head.
    fn head_stride(self) -> usize {
        padded(self.head, PAD)
    }

    fn scale(self) -> f32 {
        1.0 / (self.head as f32).sqrt()
    }

    /// Copies columns `first..first + head` of `rows` (of `stride` floats) into padded rows, times `factor`.
    fn gather(self, rows: &[f32], stride: usize, first: usize, factor: f32, out: &mut [f32]) {
        for (out, row) in out.chunks_exact_mut(self.head_stride()).zip(rows.chunks_exact(stride)) {
            for (out, value) in out.iter_mut().zip(&row[first..first + self.head]) {
                *out = value * factor;
            }
        }
    }

    /// As [`Shape::gather`], transposed: (head, context).
    fn gather_transposed(self, rows: &[f32], stride: usize, first: usize, out: &mut [f32]) {
        for (position, row) in rows.chunks_exact(stride).enumerate() {
            let columns = out.chunks_exact_mut(self.score_stride());
            for (column, value) in columns.zip(&row[first..first + self.head]) {
                column[position] = *value;
            }
        }
    }

    /// The reverse of [`Shape::gather`].
    fn scatter(self, values: &[f32], stride: usize, first: usize, factor: f32, rows: &mut [f32]) {
        for (row, values) in rows.chunks_exact_mut(stride).zip(values.chunks_exact(self.head_stride())) {
            for (out, value) in row[first..first + self.head].iter_mut().zip(values) {
                *out = value * factor;
            }
        }
    }

    fn head_buffer(self) -> Vec<f32> {
        vec![0.0; self.rows() * self.head_stride()]
    }

    fn transposed_buffer(self) -> Vec<f32> {
        vec![0.0; self.head * self.score_stride()]
    }

    fn score_buffer(self) -> Vec<f32> {
        vec![0.0; self.rows() * self.score_stride()]
    }
}

fn forward(qkv: &Tensor, shape: Shape) -> Result<(Tensor, Vec<RowStatistics>)> {
    let (rows, columns) = qkv.dims2()?;
    let qkv = qkv.contiguous()?;
    let qkv = Host::of(&qkv)?;
    let qkv: &[f32] = &qkv;
    let (size, out_size) = (shape.context * columns, shape.context * shape.width());
    let mut output = vec![0.0; rows * shape.width()];
    let mut statistics = vec![RowStatistics::default(); rows * shape.heads];
    let outs = (output.as_mut_slice(), out_size);
    for_chunk_pairs(outs, (&mut statistics, shape.context * shape.heads), |window, output, statistics| {
        forward_window(&qkv[window * size..(window + 1) * size], shape, output, statistics);
    });
    Ok((tensor(output, (rows, shape.width()))?, statistics))
}

/// One window: fills its output (context, width), and statistics by head and position.
fn forward_window(qkv: &[f32], shape: Shape, output: &mut [f32], statistics: &mut [RowStatistics]) {
    let (width, stride) = (shape.width(), 3 * shape.width());
    let (mut q, mut v, mut o) = (shape.head_buffer(), shape.head_buffer(), shape.head_buffer());
    let (mut kt, mut scores) = (shape.transposed_buffer(), shape.score_buffer());
    for (head, statistics) in statistics.chunks_exact_mut(shape.context).enumerate() {
        let first = head * shape.head;
        shape.gather(qkv, stride, first, shape.scale(), &mut q);
        shape.gather_transposed(qkv, stride, width + first, &mut kt);
        shape.gather(qkv, stride, 2 * width + first, 1.0, &mut v);
        score(&q, &kt, shape, &mut scores);
        vectorized(
            #[inline(always)]
            || {
                for (position, row) in scores.chunks_exact_mut(shape.score_stride()).take(shape.context).enumerate() {
                    let (seen, hidden) = row.split_at_mut(position + 1);
                    let greatest = max(seen);
                    for value in seen.iter_mut() {
                        *value = exp(*value - greatest);
                    }
                    hidden.fill(0.0);
                    statistics[position] = RowStatistics { greatest, inverse_total: 1.0 / sum(seen, |value| value) };
                }
            },
        );
        weighted(&scores, &v, shape, &mut o);
        let rows = output.chunks_exact_mut(width).zip(o.chunks_exact(shape.head_stride()));
        for ((row, o), statistics) in rows.zip(statistics.iter()) {
            for (out, o) in row[first..first + shape.head].iter_mut().zip(o) {
                *out = o * statistics.inverse_total;
            }
        }
    }
}

fn backward(qkv: &Tensor, shape: Shape, statistics: &[RowStatistics], gradient: &Tensor) -> Result<Tensor> {
    let (rows, columns) = qkv.dims2()?;
    let (qkv, gradient) = (qkv.contiguous()?, gradient.contiguous()?);
    let (qkv, gradient) = (Host::of(&qkv)?, Host::of(&gradient)?);
    let (qkv, gradient): (&[f32], &[f32]) = (&qkv, &gradient);
    let mut dqkv = vec![0.0; rows * columns];
    for_chunks(&mut dqkv, shape.context * columns, |window, dqkv| {
        let at = |size: usize| window * size..(window + 1) * size;
        let gradient = &gradient[at(shape.context * shape.width())];
        let statistics = &statistics[at(shape.context * shape.heads)];
        backward_window(&qkv[at(shape.context * columns)], shape, statistics, gradient, dqkv);
    });
    tensor(dqkv, (rows, columns))
}

fn backward_window(qkv: &[f32], shape: Shape, statistics: &[RowStatistics], gradient: &[f32], dqkv: &mut [f32]) {
    let (width, stride) = (shape.width(), 3 * shape.width());
    let mut buffers: [Vec<f32>; 4] = std::array::from_fn(|_| shape.head_buffer());
    let [q, k, dout, result] = &mut buffers;
    let (mut kt, mut vt) = (shape.transposed_buffer(), shape.transposed_buffer());
    let (mut weights, mut dscores) = (shape.score_buffer(), shape.score_buffer());
    for (head, statistics) in statistics.chunks_exact(shape.context).enumerate() {
        let first = head * shape.head;
        shape.gather(qkv, stride, first, shape.scale(), q);
        shape.gather(qkv, stride, width + first, 1.0, k);
        shape.gather_transposed(qkv, stride, width + first, &mut kt);
        shape.gather_transposed(qkv, stride, 2 * width + first, &mut vt);
        shape.gather(gradient, width, first, 1.0, dout);
        score(q, &kt, shape, &mut weights);
        score(dout, &vt, shape, &mut dscores); // gradients of the weights
        vectorized(
            #[inline(always)]
            || {
                let rows = weights.chunks_exact_mut(shape.score_stride());
                let rows = rows.zip(dscores.chunks_exact_mut(shape.score_stride())).zip(statistics);
                for (position, ((weights, dscores), statistics)) in rows.enumerate() {
                    backward_scores(weights, dscores, *statistics, position + 1);
                }
            },
        );
        weighted(&dscores, k, shape, result);
        shape.scatter(result, stride, first, shape.scale(), dqkv);
        transposed(&dscores, q, shape, result); // q carries the scale
        shape.scatter(result, stride, width + first, 1.0, dqkv);
        transposed(&weights, dout, shape, result);
        shape.scatter(result, stride, 2 * width + first, 1.0, dqkv);
    }
}

/// Turns a row of scores into weights and the gradients of the weights into those of the scores; the first `seen`
/// columns count, the rest becomes zero.
#[inline(always)]
fn backward_scores(weights: &mut [f32], dscores: &mut [f32], statistics: RowStatistics, seen: usize) {
    let (weights, hidden) = weights.split_at_mut(seen);
    let (dscores, dhidden) = dscores.split_at_mut(seen);
    for weight in weights.iter_mut() {
        *weight = exp(*weight - statistics.greatest) * statistics.inverse_total;
    }
    let mean = sum_pairs(weights, dscores, |weight, gradient| weight * gradient);
    for (gradient, weight) in dscores.iter_mut().zip(weights.iter()) {
        *gradient = weight * (*gradient - mean);
    }
    hidden.fill(0.0);
    dhidden.fill(0.0);
}

/// Rows times columns, up to the diagonal.
fn score(rows: &[f32], columns: &[f32], shape: Shape, out: &mut [f32]) {
    pulp::Arch::new().dispatch(Product {
        left: Left::Rows(Matrix { values: rows, stride: shape.head_stride() }),
        right: Matrix { values: columns, stride: shape.score_stride() },
        inner: shape.head,
        causal: Causal::Columns,
        out,
        out_stride: shape.score_stride(),
    });
}

/// Lower-triangular weights times rows of a head.
fn weighted(weights: &[f32], rows: &[f32], shape: Shape, out: &mut [f32]) {
    pulp::Arch::new().dispatch(Product {
        left: Left::Rows(Matrix { values: weights, stride: shape.score_stride() }),
        right: Matrix { values: rows, stride: shape.head_stride() },
        inner: shape.context,
        causal: Causal::InnerBefore,
        out,
        out_stride: shape.head_stride(),
    });
}

/// Transposed lower-triangular weights times rows of a head.
fn transposed(weights: &[f32], rows: &[f32], shape: Shape, out: &mut [f32]) {
    pulp::Arch::new().dispatch(Product {
        left: Left::Columns(Matrix { values: weights, stride: shape.score_stride() }),
        right: Matrix { values: rows, stride: shape.head_stride() },
        inner: shape.context,
        causal: Causal::InnerAfter,
        out,
        out_stride: shape.head_stride(),
    });
}
