//! What a convolution reads, laid out so that it becomes a matrix product (im2col).

use std::sync::Arc;

use candle_core::Tensor;

use super::host::{Host, for_chunks, is_fused, tensor};
use crate::error::{Result, TrainingError};
use crate::tape::{Tape, Value};

/// The size of images that lie as rows: row `(image * height + y) * width + x` holds the channels of one pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Images {
    /// Pixels from top to bottom.
    pub height: usize,
    /// Pixels from left to right.
    pub width: usize,
    /// Floats of one pixel.
    pub channels: usize,
}

/// A square window that moves over an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Pixels of a side.
    pub size: usize,
    /// Pixels from one place to the next, at least 1.
    pub stride: usize,
    /// Rows and columns of zeros around the image.
    pub padding: usize,
}

/// Padding in a table of sources.
const NOTHING: u32 = u32::MAX;

impl Kernel {
    /// Places of the window along `length` pixels; none where it does not fit.
    #[must_use]
    pub fn places(&self, length: usize) -> usize {
        match (length + 2 * self.padding).checked_sub(self.size) {
            Some(room) if self.stride > 0 && self.size > 0 => room / self.stride + 1,
            _ => 0,
        }
    }
}

/// The pixels under each place of `kernel`: (images * height * width, channels) becomes (images * places,
/// channels * size * size), whose product with PyTorch's `Conv2d` weight as (out, channels * size * size) is the convolution.
///
/// # Errors
/// [`TrainingError::BadRequest`] where the rows are no such images or the kernel does not fit.
pub fn unfold(tape: &Tape, x: &Value, images: Images, kernel: Kernel) -> Result<Value> {
    let (rows, channels) = x.tensor().dims2()?;
    let pixels = images.height * images.width;
    let places = kernel.places(images.height) * kernel.places(images.width);
    let fits = channels == images.channels && pixels > 0 && rows.is_multiple_of(pixels) && places > 0;
    let small = u32::try_from(rows * channels).is_ok_and(|count| count < NOTHING);
    if !fits || !small {
        return Err(TrainingError::BadRequest(format!("({rows}, {channels}) does not hold images of {images:?} for {kernel:?}")));
    }
    let count = rows / pixels;
    let sources = sources(images, kernel);
    let columns = channels * kernel.size * kernel.size;
    if !is_fused(x.tensor()) {
        let ids = ids_of_all(&sources, count, pixels * channels);
        let ids = Tensor::new(ids, x.tensor().device())?;
        return super::composed(tape, &[x], move |t| {
            let flat = t[0].flatten_all()?.pad_with_zeros(0, 0, 1)?;
            flat.index_select(&ids, 0)?.reshape((count * places, columns))
        });
    }
    let y = forward(x.tensor(), &sources, count, (places, columns))?;
    let to_x = x.slot();
    Ok(tape.record(&[x], y, move |dy, gradients| {
        let dy = dy.contiguous()?;
        let from = Host::of(&dy)?;
        let from: &[f32] = &from;
        let mut dx = vec![0.0; rows * channels];
        for_chunks(&mut dx, pixels * channels, |image, dx| {
            for (source, value) in sources.iter().zip(&from[image * sources.len()..]) {
                if *source != NOTHING {
                    dx[*source as usize] += value;
                }
            }
        });
        gradients.add(to_x, tensor(dx, (rows, channels))?)
    }))
}

fn forward(x: &Tensor, sources: &[u32], count: usize, (places, columns): (usize, usize)) -> Result<Tensor> {
    let x = x.contiguous()?;
    let from = Host::of(&x)?;
    let from: &[f32] = &from;
    let size = from.len() / count.max(1);
    let mut out = vec![0.0; count * sources.len()];
    for_chunks(&mut out, sources.len(), |image, out| {
        let from = &from[image * size..][..size];
        for (out, source) in out.iter_mut().zip(sources) {
            *out = from.get(*source as usize).copied().unwrap_or(0.0);
        }
    });
    tensor(out, (count * places, columns))
}

/// For each output of one image, in order, the element of the image that it copies.
fn sources(images: Images, kernel: Kernel) -> Arc<[u32]> {
    let within =
        |place: usize, offset: usize, length: usize| (place * kernel.stride + offset).checked_sub(kernel.padding).filter(|at| *at < length);
    let mut sources = Vec::new();
    for top in 0..kernel.places(images.height) {
        for left in 0..kernel.places(images.width) {
            for channel in 0..images.channels {
                for (down, right) in (0..kernel.size).flat_map(|down| (0..kernel.size).map(move |right| (down, right))) {
                    let pixel = within(top, down, images.height).zip(within(left, right, images.width));
                    let source = pixel.map(|(y, x)| (y * images.width + x) * images.channels + channel);
                    sources.push(source.and_then(|source| u32::try_from(source).ok()).unwrap_or(NOTHING));
                }
            }
        }
    }
    sources.into()
}

/// The sources of all images in one flat tensor of `count * size` elements and a zero.
#[expect(clippy::cast_possible_truncation, reason = "the caller checked that all elements count below 2^32")]
fn ids_of_all(sources: &[u32], count: usize, size: usize) -> Vec<u32> {
    let zero = (count * size) as u32;
    let of_image = |image: usize| sources.iter().map(move |source| if *source == NOTHING { zero } else { (image * size) as u32 + source });
    (0..count).flat_map(of_image).collect()
}
