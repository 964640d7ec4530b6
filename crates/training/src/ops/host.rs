//! Borrowing CPU tensors as slices, and running kernels on them with the machine's widest vectors.

use std::ops::{Deref, Range};

use candle_core::{CpuStorage, DType, Storage, StorageRef, Tensor};
use rayon::prelude::*;

use super::vectors::vectors;
use crate::error::Result;

/// The values of a contiguous `f32` tensor on the CPU.
pub(crate) struct Host<'a> {
    storage: StorageRef<'a>,
    range: Range<usize>,
}

impl<'a> Host<'a> {
    /// Borrows `tensor`.
    ///
    /// # Errors
    /// A tensor that is not contiguous, not `f32` or not on the CPU.
    pub(crate) fn of(tensor: &'a Tensor) -> Result<Self> {
        let (storage, layout) = tensor.storage_and_layout();
        match (&*storage, layout.contiguous_offsets()) {
            (Storage::Cpu(CpuStorage::F32(_)), Some((start, end))) => Ok(Self { storage, range: start..end }),
            _ => Err(candle_core::Error::Msg("a contiguous f32 tensor on the CPU is needed".to_owned()).into()),
        }
    }
}

impl Deref for Host<'_> {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match &*self.storage {
            Storage::Cpu(CpuStorage::F32(values)) => &values[self.range.clone()],
            _ => &[],
        }
    }
}

/// Whether `tensor` is what the fused kernels read: `f32` on the CPU.
pub(crate) fn is_fused(tensor: &Tensor) -> bool {
    tensor.device().is_cpu() && tensor.dtype() == DType::F32
}

/// A CPU tensor of `values`, moved and not copied.
pub(crate) fn tensor<S: Into<candle_core::Shape>>(values: Vec<f32>, shape: S) -> Result<Tensor> {
    Ok(Tensor::from_vec(values, shape.into(), &candle_core::Device::Cpu)?)
}

/// Runs `kernel` with the widest vectors that this machine has.
///
/// The closure wants `#[inline(always)]`: where it is not inlined it is compiled for the narrowest machine.
#[inline(always)]
pub(crate) fn vectorized<R>(kernel: impl FnOnce() -> R) -> R {
    vectors().dispatch(kernel)
}

/// Calls `kernel(index, chunk)` for each chunk of `out`, on several threads where there are several.
pub(crate) fn for_chunks(out: &mut [f32], size: usize, kernel: impl Fn(usize, &mut [f32]) + Sync + Send) {
    if rayon::current_num_threads() == 1 {
        out.chunks_mut(size).enumerate().for_each(|(index, chunk)| kernel(index, chunk));
    } else {
        out.par_chunks_mut(size).enumerate().for_each(|(index, chunk)| kernel(index, chunk));
    }
}

/// As [`for_chunks`] over two outputs with as many chunks each: `kernel(index, a_chunk, b_chunk)`.
pub(crate) fn for_chunk_pairs<B: Send>(
    (a, a_size): (&mut [f32], usize),
    (b, b_size): (&mut [B], usize),
    kernel: impl Fn(usize, &mut [f32], &mut [B]) + Sync + Send,
) {
    if rayon::current_num_threads() == 1 {
        a.chunks_mut(a_size).zip(b.chunks_mut(b_size)).enumerate().for_each(|(index, (a, b))| kernel(index, a, b));
    } else {
        let pairs = a.par_chunks_mut(a_size).zip(b.par_chunks_mut(b_size));
        pairs.enumerate().for_each(|(index, (a, b))| kernel(index, a, b));
    }
}

/// `map(index)` for each index below `count`, in order, on several threads where there are several.
pub(crate) fn map_indices<R: Send>(count: usize, map: impl Fn(usize) -> R + Sync + Send) -> Vec<R> {
    if rayon::current_num_threads() == 1 { (0..count).map(map).collect() } else { (0..count).into_par_iter().map(map).collect() }
}

/// So many zeros; where they are many, all threads write them.
pub(crate) fn zeros(length: usize) -> Vec<f32> {
    const FEW: usize = 1 << 16;
    if length < FEW || rayon::current_num_threads() == 1 {
        return vec![0.0; length];
    }
    let pieces: Vec<[f32; PIECE]> = (0..length.div_ceil(PIECE)).into_par_iter().with_min_len(PIECES).map(|_| [0.0; PIECE]).collect();
    let mut zeros = pieces.into_flattened();
    zeros.truncate(length);
    zeros
}

/// Elements that are computed at once and go straight where they stay: a vector of zeros to write into costs as much again.
const PIECE: usize = 256;
/// Pieces that one thread takes at least.
const PIECES: usize = 32;

/// `f` of each pair of elements of two tensors of equal shape.
#[inline(always)]
pub(crate) fn map_pairs(a: &Tensor, b: &Tensor, f: impl Fn(f32, f32) -> f32 + Sync + Send + Copy) -> Result<Tensor> {
    map_triples(
        a,
        b,
        b,
        #[inline(always)]
        move |a, b, _| f(a, b),
    )
}

/// `f` of each three elements of tensors of equal shape.
#[inline(always)]
pub(crate) fn map_triples(a: &Tensor, b: &Tensor, c: &Tensor, f: impl Fn(f32, f32, f32) -> f32 + Sync + Send + Copy) -> Result<Tensor> {
    if let Some(other) = [b, c].into_iter().find(|other| other.shape() != a.shape()) {
        let (lhs, rhs, op) = (a.shape().clone(), other.shape().clone(), "map_triples");
        return Err(candle_core::Error::ShapeMismatchBinaryOp { lhs, rhs, op }.into());
    }
    let (a, b, c) = (a.contiguous()?, b.contiguous()?, c.contiguous()?);
    let (from_a, from_b, from_c) = (Host::of(&a)?, Host::of(&b)?, Host::of(&c)?);
    let of_all = |a: &[f32], b: &[f32], c: &[f32]| -> Vec<f32> {
        vectorized(
            #[inline(always)]
            || a.iter().zip(b).zip(c).map(|((a, b), c)| f(*a, *b, *c)).collect(),
        )
    };
    if rayon::current_num_threads() == 1 {
        return tensor(of_all(&from_a, &from_b, &from_c), a.shape());
    }
    let ((pieces_a, rest_a), (pieces_b, rest_b)) = (from_a.as_chunks::<PIECE>(), from_b.as_chunks::<PIECE>());
    let (pieces_c, rest_c) = from_c.as_chunks::<PIECE>();
    let of_piece = |((a, b), c): ((&[f32; PIECE], &[f32; PIECE]), &[f32; PIECE])| {
        let mut out = [0.0; PIECE];
        vectorized(
            #[inline(always)]
            || {
                for (((out, a), b), c) in out.iter_mut().zip(a).zip(b).zip(c) {
                    *out = f(*a, *b, *c);
                }
            },
        );
        out
    };
    let pieces = pieces_a.par_iter().zip(pieces_b).zip(pieces_c).with_min_len(PIECES);
    let out: Vec<[f32; PIECE]> = pieces.map(of_piece).collect();
    let mut out = out.into_flattened();
    if !rest_a.is_empty() {
        out.extend(of_all(rest_a, rest_b, rest_c));
    }
    tensor(out, a.shape())
}

/// Rows of one partial sum: fixed, so that sums over rows do not depend on the number of threads.
const ROWS_PER_PART: usize = 128;

/// Sums over the rows of `accumulate(rows, sums)`, which adds the rows in its range to `sums`; parts join in order.
pub(crate) fn sum_over_rows(rows: usize, width: usize, accumulate: impl Fn(Range<usize>, &mut [f32]) + Sync + Send) -> Vec<f32> {
    let parts = map_indices(rows.div_ceil(ROWS_PER_PART), |part| {
        let mut sums = vec![0.0; width];
        accumulate(part * ROWS_PER_PART..rows.min((part + 1) * ROWS_PER_PART), &mut sums);
        sums
    });
    let mut total = vec![0.0; width];
    for part in parts {
        add_to(&mut total, &part);
    }
    total
}

/// `sum += row`.
pub(crate) fn add_to(sum: &mut [f32], row: &[f32]) {
    vectorized(
        #[inline(always)]
        || {
            for (sum, value) in sum.iter_mut().zip(row) {
                *sum += value;
            }
        },
    );
}
