//! Small matrix products on padded scratch buffers, for attention: four rows by two vectors at a time.
//!
//! gemm packs its operands for each call, which costs more than the product at the size of one attention head. Each
//! output element is one chain of fused multiply-adds over the inner index, so vector width does not change its bits.

use std::ops::Range;

use pulp::{Simd, WithSimd};

/// Rows of a tile; row counts of buffers are multiples of it.
pub(super) const PANEL: usize = 4;
/// Columns of buffers are multiples of it: two of the widest vectors.
pub(super) const PAD: usize = 32;

/// `length` rounded up to a multiple of `unit`.
pub(super) fn padded(length: usize, unit: usize) -> usize {
    length.div_ceil(unit) * unit
}

/// A row-major buffer of `stride` floats a row.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub(super) values: &'a [f32],
    pub(super) stride: usize,
}

/// How the left operand is read.
#[derive(Clone, Copy)]
pub(super) enum Left<'a> {
    /// As it lies: element (row, inner).
    Rows(Matrix<'a>),
    /// Transposed: element (inner, row).
    Columns(Matrix<'a>),
}

/// Which part of a panel's product is not zero by causality.
#[derive(Clone, Copy)]
pub(super) enum Causal {
    /// All of it is wanted.
    Not,
    /// Columns up to the panel's last row: scores.
    Columns,
    /// Inner indices up to the panel's last row: weights times values.
    InnerBefore,
    /// Inner indices from the panel's first row on: transposed weights times queries or gradients.
    InnerAfter,
}

/// `out = left * right`, where `inner` is the length of the inner index and `out` has whole panels of rows.
pub(super) struct Product<'a> {
    pub(super) left: Left<'a>,
    pub(super) right: Matrix<'a>,
    pub(super) inner: usize,
    pub(super) causal: Causal,
    pub(super) out: &'a mut [f32],
    pub(super) out_stride: usize,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let wide = 2 * S::F32_LANES;
        let Self { left, right, inner, causal, out, out_stride } = self;
        for (panel, out) in out.chunks_exact_mut(PANEL * out_stride).enumerate() {
            let (first, end) = (panel * PANEL, (panel + 1) * PANEL);
            let (inner, columns) = match causal {
                Causal::Not => (0..inner, out_stride),
                Causal::Columns => (0..inner, padded(end, wide).min(out_stride)),
                Causal::InnerBefore => (0..end.min(inner), out_stride),
                Causal::InnerAfter => (first.min(inner)..inner, out_stride),
            };
            for column in (0..columns).step_by(wide) {
                let accumulators = match left {
                    Left::Rows(left) => rows_tile(simd, left, first, right, inner.clone(), column),
                    Left::Columns(left) => columns_tile(simd, left, first, right, inner.clone(), column),
                };
                for (row, accumulators) in out.chunks_exact_mut(out_stride).zip(accumulators) {
                    let (vectors, _) = S::as_mut_simd_f32s(&mut row[column..column + wide]);
                    for (vector, accumulator) in vectors.iter_mut().zip(accumulators) {
                        *vector = accumulator;
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn rows_tile<S: Simd>(
    simd: S,
    left: Matrix<'_>,
    first: usize,
    right: Matrix<'_>,
    inner: Range<usize>,
    column: usize,
) -> [[S::f32s; 2]; PANEL] {
    let row = |offset: usize| &left.values[(first + offset) * left.stride..][inner.clone()];
    let rights = right.values[inner.start * right.stride..inner.end * right.stride].chunks_exact(right.stride);
    let mut sums = [[simd.splat_f32s(0.0); 2]; PANEL];
    for ((((a0, a1), a2), a3), right) in row(0).iter().zip(row(1)).zip(row(2)).zip(row(3)).zip(rights) {
        let vectors = two_vectors::<S>(&right[column..]);
        step(simd, &mut sums, [*a0, *a1, *a2, *a3], vectors);
    }
    sums
}

#[inline(always)]
fn columns_tile<S: Simd>(
    simd: S,
    left: Matrix<'_>,
    first: usize,
    right: Matrix<'_>,
    inner: Range<usize>,
    column: usize,
) -> [[S::f32s; 2]; PANEL] {
    let lefts = left.values[inner.start * left.stride..inner.end * left.stride].chunks_exact(left.stride);
    let rights = right.values[inner.start * right.stride..inner.end * right.stride].chunks_exact(right.stride);
    let mut sums = [[simd.splat_f32s(0.0); 2]; PANEL];
    for (left, right) in lefts.zip(rights) {
        let left = &left[first..first + PANEL];
        let vectors = two_vectors::<S>(&right[column..]);
        step(simd, &mut sums, [left[0], left[1], left[2], left[3]], vectors);
    }
    sums
}

#[inline(always)]
fn two_vectors<S: Simd>(values: &[f32]) -> [S::f32s; 2] {
    let (vectors, _) = S::as_simd_f32s(&values[..2 * S::F32_LANES]);
    [vectors[0], vectors[1]]
}

#[inline(always)]
fn step<S: Simd>(simd: S, sums: &mut [[S::f32s; 2]; PANEL], left: [f32; PANEL], right: [S::f32s; 2]) {
    for (sums, left) in sums.iter_mut().zip(left) {
        let left = simd.splat_f32s(left);
        sums[0] = simd.mul_add_f32s(left, right[0], sums[0]);
        sums[1] = simd.mul_add_f32s(left, right[1], sums[1]);
    }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;
    use crate::ops::vectors::vectors;
    use crate::random::Stream;

    fn random(length: usize, seed: u64) -> Vec<f32> {
        let mut values = vec![0.0; length];
        Stream::new("tile test", seed, &[]).fill_normal(1.0, &mut values);
        values
    }

    #[test]
    fn product__should_equal_the_plain_one_where_causality_asks_for_it() {
        let (rows, columns, inner) = (44, 64, 41);
        for transposed in [false, true] {
            for causal in [Causal::Not, Causal::Columns, Causal::InnerBefore, Causal::InnerAfter] {
                let (left_rows, left_stride) = if transposed { (inner, 64) } else { (rows, 48) };
                let (a, b) = (random(left_rows * left_stride, 1), random(inner * columns, 2));
                let at = |row: usize, k: usize| a[if transposed { k * left_stride + row } else { row * left_stride + k }];
                let matrix = Matrix { values: &a, stride: left_stride };
                let mut out = vec![f32::NAN; rows * columns];
                vectors().dispatch(Product {
                    left: if transposed { Left::Columns(matrix) } else { Left::Rows(matrix) },
                    right: Matrix { values: &b, stride: columns },
                    inner,
                    causal,
                    out: &mut out,
                    out_stride: columns,
                });
                for row in 0..rows {
                    let panel = row / PANEL * PANEL;
                    let (range, valid) = match causal {
                        Causal::Not => (0..inner, columns),
                        Causal::Columns => (0..inner, row + 1),
                        Causal::InnerBefore => (0..inner.min(panel + PANEL), columns),
                        Causal::InnerAfter => (panel.min(inner)..inner, columns),
                    };
                    for column in 0..valid {
                        let expected = range.clone().fold(0.0, |sum, k| at(row, k).mul_add(b[k * columns + column], sum));
                        assert_eq!(out[row * columns + column].to_bits(), f32::to_bits(expected), "{row} {column}");
                    }
                }
            }
        }
    }
}
