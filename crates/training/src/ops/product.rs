//! The matrix product of everything that trains, on the CPU.
//!
//! Why not candle's: each output here is one chain of fused multiply-adds over the inner index, so its bits depend
//! neither on the processor's vector width nor on its cache sizes nor on the number of threads; and gemm's kernels lose
//! five sixths of their speed in builds with debug assertions, which is how the whole workspace is built (one profile).
//! Other devices use candle's product.

use candle_core::Tensor;
use pulp::{Simd, WithSimd};

use super::host::{Host, for_chunks, tensor, vectorized, zeros};
use super::vectors::vectors;
use crate::error::{Result, TrainingError};

/// Rows of a tile with the registers of AVX-512, and with those of everything else.
const WIDE_ROWS: usize = 12;
const NARROW_ROWS: usize = 6;
/// Rows packed at once: their values stay in the first-level cache while all columns pass.
const BLOCK_ROWS: usize = 48;
/// Columns of a packed panel: two of the widest vectors.
const PANEL: usize = 32;

/// Below so many rows packing the right operand costs more than it saves: text is generated one row at a time.
const FEW_ROWS: usize = 4;

/// A matrix as it lies in memory: element (row, column) is at `row * row_stride + column * column_stride`.
#[derive(Clone, Copy)]
struct View<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

/// `a b`, plus `bias` in every row, for (m, k), (k, n) and (n); either operand may be a transposed view.
///
/// # Errors
/// Shapes that do not fit; tensors that are not `f32` on the CPU.
pub(crate) fn product(a: &Tensor, b: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (rows, columns) = (a.dim(0)?, b.dim(1)?);
    // A transposed view is read as the contiguous tensor below it, with its strides exchanged.
    let ((a, a_turned), (b, b_turned)) = (untransposed(a)?, untransposed(b)?);
    let (a_values, b_values) = (Host::of(&a)?, Host::of(&b)?);
    let (a, b) = (view(&a_values, &a, a_turned)?, view(&b_values, &b, b_turned)?);
    let bias = bias.map(Tensor::contiguous).transpose()?;
    let bias = bias.as_ref().map(Host::of).transpose()?;
    let bias: Option<&[f32]> = bias.as_deref();
    if a.columns != b.rows || bias.is_some_and(|bias| bias.len() != columns) {
        return Err(TrainingError::BadRequest(format!("a product of ({rows}, {}) and ({}, {columns}) does not exist", a.columns, b.rows)));
    }
    let mut out = zeros(rows * columns);
    if rows < FEW_ROWS && a.column_stride == 1 && b.column_stride == 1 && columns > 0 {
        few_rows(a, b, bias, &mut out);
        return tensor(out, (rows, columns));
    }
    let packed = pack_columns(b);
    for_chunks(&mut out, BLOCK_ROWS * columns.max(1), |block, out| {
        vectors().dispatch(Block { a, first: block * BLOCK_ROWS, packed: &packed, bias, columns, out });
    });
    tensor(out, (rows, columns))
}

/// The same chains of multiply-adds, all columns of a row side by side.
fn few_rows(a: View<'_>, b: View<'_>, bias: Option<&[f32]>, out: &mut [f32]) {
    vectorized(
        #[inline(always)]
        || {
            for (out, left) in out.chunks_exact_mut(b.columns).zip(a.values.chunks(a.columns.max(1))) {
                for (left, right) in left.iter().zip(b.values.chunks_exact(b.columns)) {
                    for (out, right) in out.iter_mut().zip(right) {
                        *out = left.mul_add(*right, *out);
                    }
                }
                for (out, bias) in out.iter_mut().zip(bias.unwrap_or_default()) {
                    *out += bias;
                }
            }
        },
    );
}

fn untransposed(matrix: &Tensor) -> Result<(Tensor, bool)> {
    if matrix.is_contiguous() {
        return Ok((matrix.clone(), false));
    }
    let turned = matrix.t()?;
    if turned.is_contiguous() { Ok((turned, true)) } else { Ok((matrix.contiguous()?, false)) }
}

fn view<'a>(values: &'a [f32], matrix: &Tensor, turned: bool) -> Result<View<'a>> {
    let (rows, columns) = matrix.dims2()?;
    let plain = View { values, rows, columns, row_stride: columns, column_stride: 1 };
    Ok(if turned { View { rows: columns, columns: rows, row_stride: 1, column_stride: columns, ..plain } } else { plain })
}

/// The columns of `b` in panels of [`PANEL`], each row by row; the last one filled up with zeros.
fn pack_columns(b: View<'_>) -> Vec<f32> {
    let size = b.rows * PANEL;
    let mut packed = zeros(b.columns.div_ceil(PANEL) * size);
    if size == 0 {
        return packed;
    }
    for_chunks(&mut packed, size, |panel, out| {
        let first = panel * PANEL;
        let width = PANEL.min(b.columns - first);
        if b.column_stride == 1 {
            for (out, row) in out.chunks_exact_mut(PANEL).zip(b.values.chunks_exact(b.row_stride)) {
                copy::<PANEL>(&row[first..first + width], out);
            }
        } else {
            let columns = &b.values[first * b.column_stride..][..width * b.column_stride];
            interleave::<PANEL>(columns, b.column_stride, out);
        }
    });
    packed
}

/// `out[position][source] = sources[source][position]`: packs up to `N` rows of `length` side by side.
#[inline(always)]
fn interleave<const N: usize>(sources: &[f32], length: usize, out: &mut [f32]) {
    // Eight positions at a time, so that what is written stays in cache lines already touched.
    for (group, out) in out.chunks_mut(8 * N).enumerate() {
        for (source, values) in sources.chunks_exact(length).enumerate() {
            let values = &values[group * 8..length.min(group * 8 + 8)];
            for (out, value) in out.chunks_exact_mut(N).zip(values) {
                out[source] = *value;
            }
        }
    }
}

/// Rows `first ..` of the product, as many as `out` has.
struct Block<'a> {
    a: View<'a>,
    first: usize,
    packed: &'a [f32],
    bias: Option<&'a [f32]>,
    columns: usize,
    out: &'a mut [f32],
}

impl WithSimd for Block<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if 2 * S::F32_LANES == PANEL {
            self.run::<S, WIDE_ROWS>(simd);
        } else {
            self.run::<S, NARROW_ROWS>(simd);
        }
    }
}

impl Block<'_> {
    #[inline(always)]
    fn run<S: Simd, const ROWS: usize>(self, simd: S) {
        let Self { a, first, packed, bias, columns, out } = self;
        let inner = a.columns;
        if columns == 0 || inner == 0 {
            return;
        }
        let rows = out.len() / columns;
        let mut block = vec![0.0; rows.div_ceil(ROWS) * ROWS * inner];
        for (panel, packed) in block.chunks_exact_mut(ROWS * inner).enumerate() {
            let start = first + panel * ROWS;
            pack_rows::<ROWS>(a, start, ROWS.min(first + rows - start), packed);
        }
        for (panel, right) in packed.chunks_exact(inner * PANEL).enumerate() {
            let column = panel * PANEL;
            let width = PANEL.min(columns - column);
            let bias = bias.map(|bias| &bias[column..column + width]);
            for (left, out) in block.chunks_exact(ROWS * inner).zip(out.chunks_mut(ROWS * columns)) {
                for offset in (0..width).step_by(2 * S::F32_LANES) {
                    let sums = tile::<S, ROWS>(simd, left, &right[offset..]);
                    for (row, sums) in out.chunks_exact_mut(columns).zip(sums) {
                        let end = width.min(offset + 2 * S::F32_LANES);
                        let bias = bias.map(|bias| &bias[offset..end]);
                        store(simd, sums, bias, &mut row[column + offset..column + end]);
                    }
                }
            }
        }
    }
}

/// Rows `start .. start + count` of `a`, position by position; missing rows are left as they are, which is zero.
#[inline(always)]
fn pack_rows<const ROWS: usize>(a: View<'_>, start: usize, count: usize, out: &mut [f32]) {
    if a.column_stride == 1 {
        let rows = &a.values[start * a.row_stride..][..count * a.row_stride];
        interleave::<ROWS>(rows, a.row_stride, out);
    } else {
        for (out, column) in out.chunks_exact_mut(ROWS).zip(a.values.chunks_exact(a.column_stride)) {
            copy::<ROWS>(&column[start..start + count], out);
        }
    }
}

/// Copies up to `N` values; the full length is known to the compiler.
#[inline(always)]
fn copy<const N: usize>(values: &[f32], out: &mut [f32]) {
    match (values.first_chunk::<N>(), out.first_chunk_mut::<N>()) {
        (Some(values), Some(out)) => *out = *values,
        _ => out[..values.len()].copy_from_slice(values),
    }
}

/// `ROWS` rows by two vectors: one fused multiply-add for each inner index, in order.
#[inline(always)]
fn tile<S: Simd, const ROWS: usize>(simd: S, left: &[f32], right: &[f32]) -> [[S::f32s; 2]; ROWS] {
    let mut sums = [[simd.splat_f32s(0.0); 2]; ROWS];
    let (left, _) = left.as_chunks::<ROWS>();
    for (left, right) in left.iter().zip(right.chunks(PANEL)) {
        let (vectors, _) = S::as_simd_f32s(&right[..2 * S::F32_LANES]);
        let [low, high] = [vectors[0], vectors[1]];
        for (sums, left) in sums.iter_mut().zip(left) {
            let left = simd.splat_f32s(*left);
            sums[0] = simd.mul_add_f32s(left, low, sums[0]);
            sums[1] = simd.mul_add_f32s(left, high, sums[1]);
        }
    }
    sums
}

/// Writes one row of a tile, as much of it as `out` takes.
#[inline(always)]
fn store<S: Simd>(simd: S, sums: [S::f32s; 2], bias: Option<&[f32]>, out: &mut [f32]) {
    let (vectors, rest) = S::as_mut_simd_f32s(out);
    if let ([low, high], []) = (&mut *vectors, &mut *rest) {
        match bias.map(|bias| S::as_simd_f32s(bias).0) {
            Some([bias_low, bias_high]) => {
                *low = simd.add_f32s(sums[0], *bias_low);
                *high = simd.add_f32s(sums[1], *bias_high);
            }
            _ => (*low, *high) = (sums[0], sums[1]),
        }
        return;
    }
    let mut values = [0.0; PANEL];
    let (vectors, _) = S::as_mut_simd_f32s(&mut values);
    for (vector, sum) in vectors.iter_mut().zip(sums) {
        *vector = sum;
    }
    for (position, (out, value)) in out.iter_mut().zip(values).enumerate() {
        *out = value + bias.map_or(0.0, |bias| bias[position]);
    }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use candle_core::Device;

    use super::*;
    use crate::random::Stream;

    fn random(rows: usize, columns: usize, seed: u64) -> Tensor {
        let mut values = vec![0.0; rows * columns];
        Stream::new("product test", seed, &[]).fill_normal(1.0, &mut values);
        Tensor::from_vec(values, (rows, columns), &Device::Cpu).expect("a tensor")
    }

    fn plain(a: &Tensor, b: &Tensor, bias: &[f32]) -> Vec<Vec<f32>> {
        let (a, b) = (a.to_vec2::<f32>().expect("f32"), b.to_vec2::<f32>().expect("f32"));
        let chain = |row: &Vec<f32>, column: usize| {
            let sum = row.iter().zip(&b).fold(0.0, |sum: f32, (a, b)| a.mul_add(b[column], sum));
            sum + bias[column]
        };
        a.iter().map(|row| (0..bias.len()).map(|column| chain(row, column)).collect()).collect()
    }

    #[test]
    fn product__should_be_one_chain_of_fused_multiply_adds_bit_by_bit() {
        for (m, k, n) in [(1, 1, 1), (13, 7, 33), (48, 64, 64), (101, 40, 96), (50, 600, 31), (12, 8, 32), (3, 70, 45)] {
            let (a, b) = (random(m, k, 1), random(k, n, 2));
            let bias = random(1, n, 3).squeeze(0).expect("one row");
            let expected = plain(&a, &b, &bias.to_vec1::<f32>().expect("f32"));
            let turned = |t: &Tensor| t.t().and_then(|t| t.contiguous()).and_then(|t| t.t()).expect("a view");
            for (a, b) in [(a.clone(), b.clone()), (turned(&a), b.clone()), (a.clone(), turned(&b)), (turned(&a), turned(&b))] {
                let found = product(&a, &b, Some(&bias)).expect("fits").to_vec2::<f32>().expect("f32");
                assert_eq!(found, expected, "{m} {k} {n}");
            }
            let zeros = vec![0.0; n];
            let found = product(&a, &b, None).expect("fits").to_vec2::<f32>().expect("f32");
            assert_eq!(found, plain(&a, &b, &zeros));
        }
    }

    #[test]
    fn product__should_refuse_shapes_that_do_not_fit() {
        assert!(product(&random(2, 3, 1), &random(4, 2, 1), None).is_err());
        let bias = random(1, 3, 1).squeeze(0).expect("one row");
        assert!(product(&random(2, 3, 1), &random(3, 2, 1), Some(&bias)).is_err());
    }

    #[test]
    fn product__should_have_the_same_bits_for_every_vector_width() {
        let (m, k, n) = (50, 70, 45);
        let (a, b) = (random(m, k, 1), random(k, n, 2));
        let widest = product(&a, &b, None).expect("fits");
        let widest: Vec<f32> = widest.flatten_all().and_then(|t| t.to_vec1()).expect("f32");
        let (a_values, b_values) = (Host::of(&a).expect("f32"), Host::of(&b).expect("f32"));
        let a = view(&a_values, &a, false).expect("two dimensions");
        let packed = pack_columns(view(&b_values, &b, false).expect("two dimensions"));
        let with = |run: &dyn Fn(Block<'_>)| {
            let mut out = vec![0.0; m * n];
            run(Block { a, first: 0, packed: &packed, bias: None, columns: n, out: &mut out });
            out
        };
        assert!(with(&|block| block.with_simd(pulp::Scalar::new())) == widest);
        #[cfg(target_arch = "x86_64")]
        if let Some(avx2) = pulp::x86::V3::try_new() {
            assert!(with(&|block| Simd::vectorize(avx2, block)) == widest);
        }
    }
}
