//! Codes of a pseudo-gradient: what one participant sends per round, and what everybody reads from it.
//!
//! Little-endian: magic, version, layout hash, then the body that [`Codec`] names. Who sent the bytes for which round is
//! signed outside of them. In int4 the body is, for each block of at most 256 values of one tensor, an fp16 scale and
//! the codes, two in a byte, low half first, each `code + 8`. Codes are -7..=7.
//!
//! Every value is a whole number of *units* of 2^-24: the smallest fp16 number is 2^-24 and all others are multiples of
//! it, so `code * scale` is an integer of units, exactly. A scale of at most 16 = 2^28 units makes a value at most
//! 7 * 2^28 < 2^31: it fits an `i32`, and as a product of 3 and 11 significant bits it is exact in `f32` too.
//!
//! There is one encoding of each update: a zero scale has zero codes, a block of zero codes has a zero scale, the half
//! byte that an odd block leaves over is a zero code.

use half::f16;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::hash::{Hash32, artifact_hash};
use crate::layout::Layout;

mod top_k;
mod two_bit;

/// Values that share one scale.
pub const BLOCK: usize = 256;
/// Greatest scale of a block.
pub const MAX_SCALE: f32 = 16.0;
const MAX_SCALE_BITS: u16 = 0x4C00;
/// 2^24: units of a value per one.
pub(crate) const UNITS: f32 = 16_777_216.0;
const VERSION: u16 = 1;
const HEADER_BYTES: usize = 4 + 2 + 32;
const SCALE_BYTES: usize = 2;
const MAX_CODE: f32 = 7.0;
/// A byte of two zero codes.
const ZERO_PAIR: u8 = 0x88;

/// Why values could not be encoded or bytes were refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CodecError {
    /// A slice or the bytes have another length than the layout asks for.
    #[error("{got} {what} where the layout asks for {expected}")]
    WrongLength {
        /// What was counted.
        what: &'static str,
        /// What was there.
        got: usize,
        /// What the layout asks for.
        expected: usize,
    },
    /// The bytes do not begin as an update does.
    #[error("not an update in the run's code, or of an unknown version")]
    WrongHeader,
    /// The bytes belong to another layout.
    #[error("the update names another layout")]
    WrongLayout,
    /// A value to encode, or a scale, is NaN or infinite.
    #[error("a value in block {block} is not finite")]
    NotFinite {
        /// Index of the block.
        block: usize,
    },
    /// A scale below zero (minus zero included) or above [`MAX_SCALE`].
    #[error("the scale of block {block} is out of range")]
    ScaleOutOfRange {
        /// Index of the block.
        block: usize,
    },
    /// A code that has no meaning (-8 in int4), or bytes that are a second way to say the same values.
    #[error("block {block} is not in canonical form")]
    NotCanonical {
        /// Index of the block.
        block: usize,
    },
}

/// How a run's updates are written. All nodes of a run use the one that its recipe names.
///
/// | | bits per value | of 1 M parameters and H steps, fp32 data parallel sends so many times as much |
/// |---|---|---|
/// | `Int4` | 4 + 16 / 256 | 157.5 at H = 20 |
/// | `TwoBit` | 2 + 16 / 1024 | 476.3 at H = 30 |
/// | `TopK` | (16 + 64 * 14) / 4096 | 4,311 at H = 30 |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Codec {
    /// Codes -7..=7 by the greatest magnitude of a block of 256. Magnitudes above 112 are sent as 112.
    #[default]
    Int4,
    /// Codes -3, -1, 1, 3 by the mean magnitude of a block of 1,024 (Muon inside, arXiv:2505.23725).
    TwoBit,
    /// The 64 greatest of each tile of 64 x 64 in two bits each, for large models (arXiv:2603.08163).
    TopK,
}

/// A decoded, validated update: a pseudo-gradient as integers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    codec: Codec,
    layout_hash: Hash32,
    hash: Hash32,
    codes: Vec<i8>,
    blocks: Vec<Block>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Block {
    end: usize,
    /// The scale in units of 2^-24, at most 2^28.
    scale_units: i32,
}

impl Update {
    /// Name of the artifact that was decoded: BLAKE3 of its bytes. This is what a participant commits to.
    pub fn hash(&self) -> Hash32 {
        self.hash
    }

    /// The layout that the values belong to.
    pub fn layout_hash(&self) -> Hash32 {
        self.layout_hash
    }

    /// Number of values.
    pub fn parameters(&self) -> usize {
        self.codes.len()
    }

    /// The codes, -7..=7, in layout order.
    pub fn codes(&self) -> &[i8] {
        &self.codes
    }

    /// The values in units of 2^-24, in layout order.
    pub fn units(&self) -> impl Iterator<Item = i32> {
        self.blocks().flat_map(|(scale_units, codes)| codes.iter().map(move |code| i32::from(*code) * scale_units))
    }

    /// The values as `f32`; exact.
    pub fn values(&self) -> Vec<f32> {
        let mut values = Vec::with_capacity(self.codes.len());
        for (scale_units, codes) in self.blocks() {
            let scale = units_to_f32(scale_units);
            values.extend(codes.iter().map(|code| f32::from(*code) * scale));
        }
        values
    }

    /// Each block's scale in units and its codes.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (i32, &[i8])> {
        let mut start = 0;
        self.blocks.iter().map(move |block| {
            let codes = &self.codes[start..block.end];
            start = block.end;
            (block.scale_units, codes)
        })
    }
}

impl Codec {
    /// All of them, the default first.
    pub const ALL: [Self; 3] = [Self::Int4, Self::TwoBit, Self::TopK];

    /// The word that names it in a recipe.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int4 => "int4",
            Self::TwoBit => "two-bit",
            Self::TopK => "top-k",
        }
    }

    fn magic(self) -> [u8; 4] {
        match self {
            Self::Int4 => *b"SU4\0",
            Self::TwoBit => *b"SU2\0",
            Self::TopK => *b"SUK\0",
        }
    }

    /// Updates that share fewer 10,000ths of their codes are no copies, whatever others share.
    ///
    /// Int4, measured on a byte model of 1.3 M parameters: honest ones share 1,250 to 2,860, the most in the first round; a
    /// copy with noise of a tenth of its size shares above 7,000, with noise of three tenths 3,500 to 4,800. Of two-bit codes
    /// even independent ones share 2,900, and honest ones in a run's first rounds above 5,000.
    fn least_copied(self) -> u16 {
        match self {
            Self::Int4 | Self::TopK => 5_000,
            Self::TwoBit => 8_000,
        }
    }

    /// What is left of the feedback when the next round's values are added to it.
    fn kept_feedback(self) -> f32 {
        match self {
            Self::Int4 | Self::TwoBit => 1.0,
            Self::TopK => top_k::FEEDBACK_KEPT,
        }
    }

    /// Length of every update of this layout in bytes.
    pub fn encoded_len(self, layout: &Layout) -> usize {
        let blocks =
            |block: usize, bytes: fn(usize) -> usize| -> usize { layout.blocks(block).map(|range| SCALE_BYTES + bytes(range.len())).sum() };
        HEADER_BYTES
            + match self {
                Self::Int4 => blocks(BLOCK, |values| values.div_ceil(2)),
                Self::TwoBit => blocks(two_bit::BLOCK, two_bit::packed_len),
                Self::TopK => top_k::body_len(layout),
            }
    }

    /// Encodes `delta + feedback` and leaves in `feedback` what the code could not say.
    ///
    /// `delta` is a pseudo-gradient ([`crate::pseudo_gradient`]) in layout order. With the dense codes the decoded updates
    /// of all rounds and the last feedback add up to the deltas; [`Codec::TopK`] first forgets a twentieth of the feedback.
    /// On an error `feedback` is as it was. What is beyond the greatest value of the code stays in the feedback.
    pub fn encode(self, layout: &Layout, delta: &[f32], feedback: &mut [f32]) -> Result<Vec<u8>, CodecError> {
        check_len("values", delta.len(), layout.parameters())?;
        check_len("feedback values", feedback.len(), layout.parameters())?;
        let kept = self.kept_feedback();
        for (block, range) in layout.blocks(BLOCK).enumerate() {
            let mut sums = delta[range.clone()].iter().zip(&feedback[range]);
            if sums.any(|(value, rest)| !(value + kept * rest).is_finite()) {
                return Err(CodecError::NotFinite { block });
            }
        }
        for (rest, value) in feedback.iter_mut().zip(delta) {
            *rest = value + kept * *rest;
        }
        let mut bytes = Vec::with_capacity(self.encoded_len(layout));
        bytes.extend_from_slice(&self.magic());
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&layout.hash().0);
        match self {
            Self::Int4 => layout.blocks(BLOCK).for_each(|range| encode_block(&mut feedback[range], &mut bytes)),
            Self::TwoBit => layout.blocks(two_bit::BLOCK).for_each(|range| two_bit::encode_block(&mut feedback[range], &mut bytes)),
            Self::TopK => top_k::encode(layout, feedback, &mut bytes),
        }
        Ok(bytes)
    }

    /// Reads an update strictly: every byte string but those that [`Codec::encode`] could have made is refused.
    pub fn decode(self, layout: &Layout, bytes: &[u8]) -> Result<Update, CodecError> {
        let layout_hash = layout.hash();
        let body = bytes.strip_prefix(&self.magic()).and_then(|rest| rest.strip_prefix(&VERSION.to_le_bytes()));
        let body = body.ok_or(CodecError::WrongHeader)?.strip_prefix(&layout_hash.0).ok_or(CodecError::WrongLayout)?;
        check_len("bytes", bytes.len(), self.encoded_len(layout))?;
        let (codes, blocks) = match self {
            Self::Int4 => decode_blocks(layout, body, BLOCK, |values| values.div_ceil(2), unpack)?,
            Self::TwoBit => decode_blocks(layout, body, two_bit::BLOCK, two_bit::packed_len, two_bit::unpack)?,
            Self::TopK => top_k::decode(layout, body)?,
        };
        Ok(Update { codec: self, layout_hash, hash: artifact_hash(bytes), codes, blocks })
    }
}

/// Writes `rest` as one block and leaves in it what the codes do not say.
fn encode_block(rest: &mut [f32], bytes: &mut Vec<u8>) {
    let greatest = rest.iter().fold(0.0_f32, |top, value| top.max(value.abs()));
    let scale_bits = scale_bits(greatest / MAX_CODE);
    let scale = f16::from_bits(scale_bits).to_f32();
    bytes.extend_from_slice(&scale_bits.to_le_bytes());
    let first = bytes.len();
    bytes.resize(first + rest.len().div_ceil(2), ZERO_PAIR);
    if scale_bits == 0 {
        return;
    }
    for (pair, out) in rest.chunks_mut(2).zip(&mut bytes[first..]) {
        let low = quantise(&mut pair[0], scale);
        let high = pair.get_mut(1).map_or(8, |rest| quantise(rest, scale));
        *out = low | (high << 4);
    }
}

/// The nearest fp16 number that a scale may be, as its bits. `scale` is finite and not below zero.
fn scale_bits(scale: f32) -> u16 {
    f16::from_f32(scale).to_bits().min(MAX_SCALE_BITS)
}

/// The code of `rest` plus 8; what it does not say stays in `rest`.
fn quantise(rest: &mut f32, scale: f32) -> u8 {
    let code = (*rest / scale).round_ties_even().clamp(-MAX_CODE, MAX_CODE);
    *rest -= code * scale;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a whole number within 1..=15 after the clamp")]
    let shifted = (code + 8.0) as u8;
    shifted
}

/// Reads the blocks of a dense code; `unpack` appends a block's codes, or says that they are not canonical.
fn decode_blocks(
    layout: &Layout,
    mut rest: &[u8],
    block_len: usize,
    packed_len: fn(usize) -> usize,
    unpack: fn(&[u8], bool, usize, &mut Vec<i8>) -> Option<()>,
) -> Result<(Vec<i8>, Vec<Block>), CodecError> {
    let mut codes = Vec::with_capacity(layout.parameters());
    let mut blocks = Vec::with_capacity(layout.parameters() / block_len + layout.tensors().len());
    for (block, range) in layout.blocks(block_len).enumerate() {
        let (scale, packed) = rest.split_at(SCALE_BYTES);
        let (packed, after) = packed.split_at(packed_len(range.len()));
        rest = after;
        let scale_units = scale_units(u16::from_le_bytes([scale[0], scale[1]]), block)?;
        unpack(packed, scale_units == 0, range.len(), &mut codes).ok_or(CodecError::NotCanonical { block })?;
        blocks.push(Block { end: range.end, scale_units });
    }
    Ok((codes, blocks))
}

/// An fp16 number as units of 2^-24: a subnormal's mantissa counts them, and each exponent above doubles them.
fn scale_units(bits: u16, block: usize) -> Result<i32, CodecError> {
    let exponent = (bits >> 10) & 0x1F;
    if exponent == 0x1F {
        return Err(CodecError::NotFinite { block });
    }
    // Sign bit or too large: both lie above the bits of 16.0.
    if bits > MAX_SCALE_BITS {
        return Err(CodecError::ScaleOutOfRange { block });
    }
    let mantissa = i32::from(bits & 0x3FF);
    Ok(if exponent == 0 { mantissa } else { (1024 + mantissa) << (exponent - 1) })
}

/// Appends `len` codes; `None` if one is -8, the half byte left over is not a zero code, or codes and scale are not zero together.
fn unpack(packed: &[u8], is_zero: bool, len: usize, codes: &mut Vec<i8>) -> Option<()> {
    if packed.iter().all(|pair| *pair == ZERO_PAIR) != is_zero {
        return None;
    }
    for pair in packed {
        for half in [pair & 0x0F, pair >> 4] {
            if half == 0 {
                return None;
            }
            codes.push(i8::try_from(half).ok()? - 8);
        }
    }
    if len % 2 == 1 && codes.pop() != Some(0) {
        return None;
    }
    Some(())
}

/// Units of 2^-24 as `f32`; where 24 bits do not suffice the cast rounds to the nearest even, on every machine.
pub(crate) fn units_to_f32(units: i32) -> f32 {
    units as f32 / UNITS
}

/// Of the codes of one pair, in 10,000ths: nobody else's work says what is usual.
const LONE_PAIR: u16 = 8_000;
/// Updates that share so many are one: of honest ones none shared more than 6,000.
const CERTAIN: u16 = 9_500;

/// How much two updates are the same, in 10,000ths: positions with equal codes among those where either is not zero.
///
/// Scales do not count, so a copy that was scaled is found. Two updates of zeros are the same. Independent noise shows
/// about 900. Updates of different length share nothing.
pub fn overlap(a: &Update, b: &Update) -> u16 {
    if a.layout_hash != b.layout_hash {
        return 0;
    }
    let mut equal = 0_u64;
    let mut either = 0_u64;
    for (left, right) in a.codes.chunks(BLOCK).zip(b.codes.chunks(BLOCK)) {
        let (mut equal_here, mut either_here) = (0_u16, 0_u16);
        for (x, y) in left.iter().zip(right) {
            either_here += u16::from((x | y) != 0);
            equal_here += u16::from(x == y && *x != 0);
        }
        equal += u64::from(equal_here);
        either += u64::from(either_here);
    }
    if either == 0 {
        return 10_000;
    }
    u16::try_from(equal * 10_000 / either).unwrap_or(10_000)
}

/// Whether two updates are one beyond doubt, without a look at others.
pub(crate) fn is_same(a: &Update, b: &Update) -> bool {
    overlap(a, b) >= CERTAIN
}

/// Which of these, in the order of commitment, are copies of an earlier one that is none.
///
/// The fewer parameters a model has and the less data there is, the more do honest updates share: 5,000 10,000ths and more in
/// the first round of a table of some hundred rows. So a copy shares more than a third of the way from the median of all pairs to
/// all there is, and half of it at least (four fifths of two-bit codes, and of one pair alone).
pub fn copies(updates: &[&Update]) -> Vec<bool> {
    let shares: Vec<Vec<u16>> =
        updates.iter().enumerate().map(|(place, update)| updates[..place].iter().map(|other| overlap(other, update)).collect()).collect();
    let mut all: Vec<u16> = shares.iter().flatten().copied().collect();
    all.sort_unstable();
    let usual = match all.len() {
        0 | 1 => LONE_PAIR,
        pairs => (10_000 + 2 * all[(pairs - 1) / 2]) / 3,
    };
    let mut copied = vec![false; updates.len()];
    for (place, update) in updates.iter().enumerate() {
        // What every node would refuse is refused here too.
        let limit = usual.max(update.codec.least_copied()).min(CERTAIN);
        copied[place] = shares[place].iter().zip(&copied).any(|(share, copied)| *share >= limit && !copied);
    }
    copied
}

/// The weights at which an update is scored: `weights - fraction * update`, a short step along it.
///
/// `weights` are the state's, of the update's layout; the gate's fraction is [`crate::PROBE_STEP`].
pub fn probe_point(weights: &[f32], update: &Update, fraction: f32) -> Result<Vec<f32>, CodecError> {
    check_len("weights", weights.len(), update.parameters())?;
    let mut point = weights.to_vec();
    let mut start = 0;
    for (scale_units, codes) in update.blocks() {
        let step = fraction * units_to_f32(scale_units);
        for (weight, code) in point[start..].iter_mut().zip(codes) {
            *weight -= f32::from(*code) * step;
        }
        start += codes.len();
    }
    Ok(point)
}

fn check_len(what: &'static str, got: usize, expected: usize) -> Result<(), CodecError> {
    if got == expected { Ok(()) } else { Err(CodecError::WrongLength { what, got, expected }) }
}

#[cfg(test)]
mod codes_tests;
#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
