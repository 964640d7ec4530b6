//! Names and shapes of a model's tensors, in the one order in which all parties flatten them.

use std::ops::Range;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::hash::{Hash32, tagged};

/// Greatest number of parameters of a layout; a flat `f32` copy is then 4 GiB.
pub const MAX_PARAMETERS: usize = 1 << 30;
/// Greatest number of tensors of a layout.
pub const MAX_TENSORS: usize = 16_384;
/// Greatest number of dimensions of a tensor.
pub const MAX_RANK: usize = 8;
/// Greatest length of a tensor's name in bytes.
const MAX_NAME_BYTES: usize = 256;
const DOMAIN: &str = "starling/layout/1";

/// One tensor of a [`Layout`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorShape {
    /// Name as in the safetensors file: 1 to 256 printable ASCII bytes without space.
    pub name: String,
    /// Dimensions, outermost first; empty for a scalar; none is zero.
    pub shape: Vec<u32>,
}

/// A validated list of tensors, sorted by name (bytewise), whose values lie one after another in a flat `f32` slice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<TensorShape>", into = "Vec<TensorShape>")]
pub struct Layout {
    tensors: Vec<TensorShape>,
    /// `ends[i]` is where tensor `i` ends in the flat slice; derived, so not part of any encoding.
    ends: Vec<usize>,
}

/// Why a list of tensors is no [`Layout`].
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LayoutError {
    /// There is no tensor.
    #[error("a layout needs at least one tensor")]
    Empty,
    /// More than [`MAX_TENSORS`].
    #[error("{0} tensors; {MAX_TENSORS} is the limit")]
    TooManyTensors(usize),
    /// A name that is empty, too long or not printable ASCII.
    #[error("tensor name {0:?} is not 1 to {MAX_NAME_BYTES} printable ASCII characters without space")]
    BadName(String),
    /// Two tensors of one name, or bytes whose tensors are not in order.
    #[error("tensor {0:?} is out of order or appears twice")]
    NotSorted(String),
    /// A dimension of zero, or more than [`MAX_RANK`] dimensions.
    #[error("tensor {name:?} has the impossible shape {shape:?}")]
    BadShape {
        /// The tensor.
        name: String,
        /// Its dimensions.
        shape: Vec<u32>,
    },
    /// More than [`MAX_PARAMETERS`] in all.
    #[error("more than {MAX_PARAMETERS} parameters, reached at tensor {0:?}")]
    TooManyParameters(String),
    /// Bytes that do not follow the encoding.
    #[error("malformed layout bytes: {0}")]
    Malformed(&'static str),
}

impl Layout {
    /// Sorts the tensors by name and validates them.
    pub fn new(mut tensors: Vec<TensorShape>) -> Result<Self, LayoutError> {
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        Self::from_sorted(tensors)
    }

    fn from_sorted(tensors: Vec<TensorShape>) -> Result<Self, LayoutError> {
        if tensors.is_empty() {
            return Err(LayoutError::Empty);
        }
        if tensors.len() > MAX_TENSORS {
            return Err(LayoutError::TooManyTensors(tensors.len()));
        }
        let mut ends = Vec::with_capacity(tensors.len());
        let mut total = 0_usize;
        for (index, tensor) in tensors.iter().enumerate() {
            check_name(&tensor.name)?;
            if index > 0 && tensors[index - 1].name >= tensor.name {
                return Err(LayoutError::NotSorted(tensor.name.clone()));
            }
            total = tensor_len(tensor)?
                .checked_add(total)
                .filter(|sum| *sum <= MAX_PARAMETERS)
                .ok_or_else(|| LayoutError::TooManyParameters(tensor.name.clone()))?;
            ends.push(total);
        }
        Ok(Self { tensors, ends })
    }

    /// The tensors, sorted by name.
    pub fn tensors(&self) -> &[TensorShape] {
        &self.tensors
    }

    /// Number of parameters: the length of every flat slice of this layout.
    pub fn parameters(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Where each tensor's values lie in the flat slice, in order.
    pub fn ranges(&self) -> impl Iterator<Item = (&TensorShape, Range<usize>)> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        self.tensors.iter().zip(starts.zip(self.ends.iter().copied()).map(|(start, end)| start..end))
    }

    /// Runs of at most `block` values that do not cross a tensor's border, in order.
    pub(crate) fn blocks(&self, block: usize) -> impl Iterator<Item = Range<usize>> {
        self.ranges().flat_map(move |(_, range)| range.clone().step_by(block).map(move |start| start..(start + block).min(range.end)))
    }

    /// The one encoding that is hashed: count, then for each tensor its name, rank and dimensions, little-endian.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&le32(self.tensors.len()));
        for tensor in &self.tensors {
            bytes.extend_from_slice(&le32(tensor.name.len()));
            bytes.extend_from_slice(tensor.name.as_bytes());
            bytes.extend_from_slice(&le32(tensor.shape.len()));
            for dimension in &tensor.shape {
                bytes.extend_from_slice(&dimension.to_le_bytes());
            }
        }
        bytes
    }

    /// Reads exactly what [`Self::to_bytes`] writes, and nothing else: rest, disorder and bad shapes are refused.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, LayoutError> {
        let mut reader = Reader { bytes };
        let count = reader.u32()?;
        if count > MAX_TENSORS {
            return Err(LayoutError::TooManyTensors(count));
        }
        let mut tensors = Vec::with_capacity(count);
        for _ in 0..count {
            let name_len = reader.u32()?;
            let name = String::from_utf8(reader.take(name_len)?.to_vec()).map_err(|_| LayoutError::Malformed("a name is not UTF-8"))?;
            let rank = reader.u32()?;
            if rank > MAX_RANK {
                return Err(LayoutError::Malformed("too many dimensions"));
            }
            let mut shape = Vec::with_capacity(rank);
            for _ in 0..rank {
                shape.push(u32::from_le_bytes(reader.array()?));
            }
            tensors.push(TensorShape { name, shape });
        }
        if !reader.bytes.is_empty() {
            return Err(LayoutError::Malformed("bytes after the end"));
        }
        Self::from_sorted(tensors)
    }

    /// Hash of the canonical bytes; an update and a state name it, so that neither fits another model.
    pub fn hash(&self) -> Hash32 {
        tagged(DOMAIN, &[&self.to_bytes()])
    }
}

impl TryFrom<Vec<TensorShape>> for Layout {
    type Error = LayoutError;

    fn try_from(tensors: Vec<TensorShape>) -> Result<Self, LayoutError> {
        Self::from_sorted(tensors)
    }
}

impl From<Layout> for Vec<TensorShape> {
    fn from(layout: Layout) -> Self {
        layout.tensors
    }
}

fn check_name(name: &str) -> Result<(), LayoutError> {
    let fits = (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    if fits { Ok(()) } else { Err(LayoutError::BadName(name.chars().take(64).collect())) }
}

fn tensor_len(tensor: &TensorShape) -> Result<usize, LayoutError> {
    if tensor.shape.len() > MAX_RANK || tensor.shape.contains(&0) {
        return Err(LayoutError::BadShape { name: tensor.name.clone(), shape: tensor.shape.iter().copied().take(16).collect() });
    }
    tensor
        .shape
        .iter()
        .try_fold(1_usize, |len, dimension| len.checked_mul(usize::try_from(*dimension).ok()?))
        .ok_or_else(|| LayoutError::TooManyParameters(tensor.name.clone()))
}

/// Counts of a validated layout are far below 2^32; a count that is not would make unreadable bytes, never wrong ones.
fn le32(count: usize) -> [u8; 4] {
    u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes()
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], LayoutError> {
        let (head, rest) = self.bytes.split_at_checked(len).ok_or(LayoutError::Malformed("cut short"))?;
        self.bytes = rest;
        Ok(head)
    }

    fn array(&mut self) -> Result<[u8; 4], LayoutError> {
        let (head, rest) = self.bytes.split_first_chunk::<4>().ok_or(LayoutError::Malformed("cut short"))?;
        self.bytes = rest;
        Ok(*head)
    }

    fn u32(&mut self) -> Result<usize, LayoutError> {
        usize::try_from(u32::from_le_bytes(self.array()?)).map_err(|_| LayoutError::Malformed("a count is too large"))
    }
}

#[cfg(test)]
#[path = "layout_tests.rs"]
mod tests;
