//! Self-attention of all heads, forward and backward, without a matrix of scores in memory.
//!
//! The backward computes the scores again from queries and keys (as in arXiv:2205.14135) and needs only each row's
//! greatest score and sum of exponentials from the forward.

use std::sync::Arc;

use candle_core::{D, Tensor};

use super::host::{Host, for_chunk_pairs, for_chunks, is_fused, tensor, vectorized};
use super::math::{exp, max, sum, sum_pairs};
use super::tile::{Causal, Left, Matrix, PAD, PANEL, Product, padded};
use super::vectors::vectors;
use crate::error::{Result, TrainingError};
use crate::tape::{Tape, Value};

/// How many heads there are of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Heads of queries.
    pub queries: usize,
    /// Heads of keys and of values: divides `queries`; each serves as many queries in turn (grouped queries, arXiv:2305.13245).
    pub keys: usize,
}

/// What a position attends to in its window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// Itself and what is before it.
    Before,
    /// The first so many positions of each window, at least 1: the rest is padding.
    First(Arc<[usize]>),
}

/// Attention of each position to itself and those before it in its window.
///
/// `qkv` is (windows * context, 3 * width): queries, keys and values side by side, each with `heads` heads side by
/// side; the result is (windows * context, width).
///
/// # Errors
/// As [`attention`].
pub fn causal_attention(tape: &Tape, qkv: &Value, context: usize, heads: usize) -> Result<Value> {
    attention(tape, qkv, context, Heads { queries: heads, keys: heads }, &Seen::Before)
}

/// Attention of each position to those it sees.
///
/// `qkv` is (windows * context, (queries + 2 keys) * head): all heads of queries, then of keys, then of values; the
/// result is (windows * context, queries * head).
///
/// # Errors
/// [`TrainingError::BadRequest`] where the shape does not divide or the lengths are not those of the windows.
pub fn attention(tape: &Tape, qkv: &Value, context: usize, heads: Heads, seen: &Seen) -> Result<Value> {
    let (rows, columns) = qkv.tensor().dims2()?;
    let parts = heads.queries + 2 * heads.keys;
    let divides = heads.keys > 0 && heads.queries > 0 && heads.queries.is_multiple_of(heads.keys) && columns.is_multiple_of(parts);
    if !divides || context == 0 || !rows.is_multiple_of(context) {
        return Err(TrainingError::BadRequest(format!(
            "attention over ({rows}, {columns}) does not divide into windows of {context} and {heads:?}"
        )));
    }
    if let Seen::First(lengths) = seen
        && (lengths.len() != rows / context || !lengths.iter().all(|length| (1..=context).contains(length)))
    {
        return Err(TrainingError::BadRequest(format!(
            "{} windows of {context} need as many lengths from 1 to {context}, not {lengths:?}",
            rows / context
        )));
    }
    let shape = Shape { context, heads: heads.queries, keys: heads.keys, head: columns / parts };
    let seen = seen.clone();
    if !is_fused(qkv.tensor()) {
        return super::composed(tape, &[qkv], move |t| reference(&t[0], shape, &seen));
    }
    let (output, statistics) = forward(qkv.tensor(), shape, &seen)?;
    let (to_qkv, of_qkv) = (qkv.slot(), qkv.tensor().clone());
    Ok(tape
        .record(&[qkv], output, move |gradient, gradients| gradients.add(to_qkv, backward(&of_qkv, shape, &seen, &statistics, &gradient)?)))
}

fn reference(qkv: &Tensor, shape: Shape, seen: &Seen) -> candle_core::Result<Tensor> {
    let Shape { context, heads, keys, head } = shape;
    let rows = qkv.dim(0)?;
    let windows = rows / context;
    let part = |first: usize, count: usize| {
        let part = qkv.narrow(1, first * head, count * head)?.reshape((windows, context, count, head))?;
        part.transpose(1, 2)?.contiguous() // (windows, count, context, head)
    };
    // Each key head is repeated for the queries that it serves.
    let repeated = |part: Tensor| {
        let wide = part.unsqueeze(2)?.broadcast_as((windows, keys, heads / keys, context, head))?;
        wide.contiguous()?.reshape((windows, heads, context, head))
    };
    let (q, k, v) = (part(0, heads)?, repeated(part(heads, keys)?)?, repeated(part(heads + keys, keys)?)?);
    let scores = (q.matmul(&k.t()?)? * (1.0 / (head as f64).sqrt()))?; // (windows, heads, context, context)
    let hidden = |window: usize, position: usize, other: usize| if other < seen.count(window, position) { 0.0 } else { -1e30 };
    let places = (0..windows).flat_map(|window| (0..context).map(move |position| (window, position)));
    let mask: Vec<f32> = places.flat_map(|(w, p)| (0..context).map(move |other| hidden(w, p, other))).collect();
    let mask = Tensor::from_vec(mask, (windows, 1, context, context), qkv.device())?.to_dtype(qkv.dtype())?;
    let scores = scores.broadcast_add(&mask)?;
    let weights = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?.detach())?.exp()?;
    let weights = weights.broadcast_div(&weights.sum_keepdim(D::Minus1)?)?;
    weights.matmul(&v)?.transpose(1, 2)?.contiguous()?.reshape((rows, heads * head))
}

impl Seen {
    /// How many positions `position` of `window` attends to, from the window's first on.
    fn count(&self, window: usize, position: usize) -> usize {
        match self {
            Self::Before => position + 1,
            Self::First(lengths) => lengths[window],
        }
    }

    /// Which part of each small product is not zero by causality.
    fn causal(&self, causal: Causal) -> Causal {
        if *self == Self::Before { causal } else { Causal::Not }
    }
}

#[derive(Clone, Copy)]
struct Shape {
    context: usize,
    heads: usize,
    keys: usize,
    head: usize,
}

/// Where one head's queries, keys and values begin in a row.
struct Columns {
    query: usize,
    key: usize,
    value: usize,
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

    /// Floats of a row of queries, keys and values.
    fn stride(self) -> usize {
        (self.heads + 2 * self.keys) * self.head
    }

    fn columns(self, head: usize) -> Columns {
        let key = self.heads + head / (self.heads / self.keys);
        Columns { query: head * self.head, key: key * self.head, value: (key + self.keys) * self.head }
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

    /// The reverse of [`Shape::gather`], added to what is there.
    fn scatter(self, values: &[f32], stride: usize, first: usize, factor: f32, rows: &mut [f32]) {
        for (row, values) in rows.chunks_exact_mut(stride).zip(values.chunks_exact(self.head_stride())) {
            for (out, value) in row[first..first + self.head].iter_mut().zip(values) {
                *out += value * factor;
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

fn forward(qkv: &Tensor, shape: Shape, seen: &Seen) -> Result<(Tensor, Vec<RowStatistics>)> {
    let (rows, columns) = qkv.dims2()?;
    let qkv = qkv.contiguous()?;
    let qkv = Host::of(&qkv)?;
    let qkv: &[f32] = &qkv;
    let (size, out_size) = (shape.context * columns, shape.context * shape.width());
    let mut output = vec![0.0; rows * shape.width()];
    let mut statistics = vec![RowStatistics::default(); rows * shape.heads];
    let outs = (output.as_mut_slice(), out_size);
    for_chunk_pairs(outs, (&mut statistics, shape.context * shape.heads), |window, output, statistics| {
        forward_window(&qkv[window * size..(window + 1) * size], shape, (seen, window), output, statistics);
    });
    Ok((tensor(output, (rows, shape.width()))?, statistics))
}

/// One window: fills its output (context, width), and statistics by head and position.
fn forward_window(qkv: &[f32], shape: Shape, (seen, window): (&Seen, usize), output: &mut [f32], statistics: &mut [RowStatistics]) {
    let stride = shape.stride();
    let (mut q, mut v, mut o) = (shape.head_buffer(), shape.head_buffer(), shape.head_buffer());
    let (mut kt, mut scores) = (shape.transposed_buffer(), shape.score_buffer());
    for (head, statistics) in statistics.chunks_exact_mut(shape.context).enumerate() {
        let columns = shape.columns(head);
        shape.gather(qkv, stride, columns.query, shape.scale(), &mut q);
        shape.gather_transposed(qkv, stride, columns.key, &mut kt);
        shape.gather(qkv, stride, columns.value, 1.0, &mut v);
        score(&q, &kt, shape, seen, &mut scores);
        vectorized(
            #[inline(always)]
            || {
                for (position, row) in scores.chunks_exact_mut(shape.score_stride()).take(shape.context).enumerate() {
                    let (shown, hidden) = row.split_at_mut(seen.count(window, position));
                    let greatest = max(shown);
                    for value in shown.iter_mut() {
                        *value = exp(*value - greatest);
                    }
                    hidden.fill(0.0);
                    statistics[position] = RowStatistics { greatest, inverse_total: 1.0 / sum(shown, |value| value) };
                }
            },
        );
        weighted(&scores, &v, shape, seen, &mut o);
        let rows = output.chunks_exact_mut(shape.width()).zip(o.chunks_exact(shape.head_stride()));
        for ((row, o), statistics) in rows.zip(statistics.iter()) {
            for (out, o) in row[columns.query..columns.query + shape.head].iter_mut().zip(o) {
                *out = o * statistics.inverse_total;
            }
        }
    }
}

fn backward(qkv: &Tensor, shape: Shape, seen: &Seen, statistics: &[RowStatistics], gradient: &Tensor) -> Result<Tensor> {
    let (rows, columns) = qkv.dims2()?;
    let (qkv, gradient) = (qkv.contiguous()?, gradient.contiguous()?);
    let (qkv, gradient) = (Host::of(&qkv)?, Host::of(&gradient)?);
    let (qkv, gradient): (&[f32], &[f32]) = (&qkv, &gradient);
    let mut dqkv = vec![0.0; rows * columns];
    for_chunks(&mut dqkv, shape.context * columns, |window, dqkv| {
        let at = |size: usize| window * size..(window + 1) * size;
        let gradient = &gradient[at(shape.context * shape.width())];
        let statistics = &statistics[at(shape.context * shape.heads)];
        backward_window(&qkv[at(shape.context * columns)], shape, (seen, window), (statistics, gradient), dqkv);
    });
    tensor(dqkv, (rows, columns))
}

fn backward_window(
    qkv: &[f32],
    shape: Shape,
    (seen, window): (&Seen, usize),
    (statistics, gradient): (&[RowStatistics], &[f32]),
    dqkv: &mut [f32],
) {
    let stride = shape.stride();
    let mut buffers: [Vec<f32>; 4] = std::array::from_fn(|_| shape.head_buffer());
    let [q, k, dout, result] = &mut buffers;
    let (mut kt, mut vt) = (shape.transposed_buffer(), shape.transposed_buffer());
    let (mut weights, mut dscores) = (shape.score_buffer(), shape.score_buffer());
    for (head, statistics) in statistics.chunks_exact(shape.context).enumerate() {
        let columns = shape.columns(head);
        shape.gather(qkv, stride, columns.query, shape.scale(), q);
        shape.gather(qkv, stride, columns.key, 1.0, k);
        shape.gather_transposed(qkv, stride, columns.key, &mut kt);
        shape.gather_transposed(qkv, stride, columns.value, &mut vt);
        shape.gather(gradient, shape.width(), columns.query, 1.0, dout);
        score(q, &kt, shape, seen, &mut weights);
        score(dout, &vt, shape, seen, &mut dscores); // gradients of the weights
        vectorized(
            #[inline(always)]
            || {
                let rows = weights.chunks_exact_mut(shape.score_stride());
                let rows = rows.zip(dscores.chunks_exact_mut(shape.score_stride())).zip(statistics);
                for (position, ((weights, dscores), statistics)) in rows.enumerate() {
                    backward_scores(weights, dscores, *statistics, seen.count(window, position));
                }
            },
        );
        weighted(&dscores, k, shape, seen, result);
        shape.scatter(result, stride, columns.query, shape.scale(), dqkv);
        transposed(&dscores, q, shape, seen, result); // q carries the scale
        shape.scatter(result, stride, columns.key, 1.0, dqkv);
        transposed(&weights, dout, shape, seen, result);
        shape.scatter(result, stride, columns.value, 1.0, dqkv);
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

/// Rows times columns, up to the diagonal where it is causal.
fn score(rows: &[f32], columns: &[f32], shape: Shape, seen: &Seen, out: &mut [f32]) {
    vectors().dispatch(Product {
        left: Left::Rows(Matrix { values: rows, stride: shape.head_stride() }),
        right: Matrix { values: columns, stride: shape.score_stride() },
        inner: shape.head,
        causal: seen.causal(Causal::Columns),
        out,
        out_stride: shape.score_stride(),
    });
}

/// Weights times rows of a head.
fn weighted(weights: &[f32], rows: &[f32], shape: Shape, seen: &Seen, out: &mut [f32]) {
    vectors().dispatch(Product {
        left: Left::Rows(Matrix { values: weights, stride: shape.score_stride() }),
        right: Matrix { values: rows, stride: shape.head_stride() },
        inner: shape.context,
        causal: seen.causal(Causal::InnerBefore),
        out,
        out_stride: shape.head_stride(),
    });
}

/// Transposed weights times rows of a head.
fn transposed(weights: &[f32], rows: &[f32], shape: Shape, seen: &Seen, out: &mut [f32]) {
    vectors().dispatch(Product {
        left: Left::Columns(Matrix { values: weights, stride: shape.score_stride() }),
        right: Matrix { values: rows, stride: shape.head_stride() },
        inner: shape.context,
        causal: seen.causal(Causal::InnerAfter),
        out,
        out_stride: shape.head_stride(),
    });
}
