//! The sparse body: of each tile the 64th part of its values that is greatest, as an fp16 scale, 12-bit places in rising order,
//! and two-bit codes. The bits 0, 1, 2, 3 are the codes -3, -2, 2, 3.
//!
//! A matrix (rows: all dimensions but the last) is cut into tiles of 64 x 64, from left to right and then down; any other
//! tensor into runs of 4,096. Places count row by row within a tile. Bits are packed lowest first; what is left over of a
//! byte is zero. A tile of zero scale has the first places and zero bits, and says that all of its values are zero.

use std::cmp::Reverse;

use half::f16;

use super::{Block, CodecError, SCALE_BYTES, scale_bits, scale_units};
use crate::layout::{Layout, TensorShape};

/// What is kept of the feedback from round to round (arXiv:2603.08163, with no outer momentum).
pub(super) const FEEDBACK_KEPT: f32 = 0.95;
/// Rows and columns of a tile.
const SIDE: usize = 64;
const TILE: usize = SIDE * SIDE;
/// Values of a tile for each one that is sent.
const SPARSITY: usize = 64;
const PLACE_BITS: u32 = 12;
const CODE_BITS: u32 = 2;
/// The scale in mean magnitudes of what is sent: most of that lies between two and three scales then.
const SCALE_PER_MEAN: f32 = 1.0 / 2.4;

/// A rectangle of a tensor.
#[derive(Clone, Copy)]
struct Tile {
    /// Its first value in the flat slice.
    start: usize,
    rows: usize,
    columns: usize,
    /// Values of a row of the tensor.
    stride: usize,
}

impl Tile {
    fn len(self) -> usize {
        self.rows * self.columns
    }

    fn sent(self) -> usize {
        self.len().div_ceil(SPARSITY)
    }

    fn body_len(self) -> usize {
        SCALE_BYTES + packed_len(self.sent(), PLACE_BITS) + packed_len(self.sent(), CODE_BITS)
    }

    /// Where a place of the tile lies in the flat slice.
    fn at(self, place: usize) -> usize {
        self.start + place / self.columns * self.stride + place % self.columns
    }
}

/// How a tensor is cut: its rows and columns, and those of its tiles.
struct Cut {
    start: usize,
    rows: usize,
    columns: usize,
    tile_rows: usize,
    tile_columns: usize,
}

impl Cut {
    fn new(tensor: &TensorShape, start: usize, len: usize) -> Self {
        let last = tensor.shape.last().and_then(|columns| usize::try_from(*columns).ok()).filter(|columns| *columns > 0);
        match last {
            Some(columns) if tensor.shape.len() > 1 => Self { start, rows: len / columns, columns, tile_rows: SIDE, tile_columns: SIDE },
            _ => Self { start, rows: 1, columns: len, tile_rows: 1, tile_columns: TILE },
        }
    }

    fn tiles(&self) -> impl Iterator<Item = Tile> + '_ {
        (0..self.rows).step_by(self.tile_rows).flat_map(move |row| {
            (0..self.columns).step_by(self.tile_columns).map(move |column| Tile {
                start: self.start + row * self.columns + column,
                rows: self.tile_rows.min(self.rows - row),
                columns: self.tile_columns.min(self.columns - column),
                stride: self.columns,
            })
        })
    }
}

fn cuts(layout: &Layout) -> impl Iterator<Item = Cut> + '_ {
    layout.ranges().map(|(tensor, range)| Cut::new(tensor, range.start, range.len()))
}

pub(super) fn body_len(layout: &Layout) -> usize {
    cuts(layout).map(|cut| cut.tiles().map(Tile::body_len).sum::<usize>()).sum()
}

/// Writes `rest` and leaves in it what the codes do not say.
pub(super) fn encode(layout: &Layout, rest: &mut [f32], bytes: &mut Vec<u8>) {
    for cut in cuts(layout) {
        for tile in cut.tiles() {
            encode_tile(tile, rest, bytes);
        }
    }
}

fn encode_tile(tile: Tile, rest: &mut [f32], bytes: &mut Vec<u8>) {
    let mut places: Vec<usize> = (0..tile.len()).collect();
    // Finite magnitudes are ordered as their bits are; of equal ones the first is sent.
    places.select_nth_unstable_by_key(tile.sent() - 1, |place| (Reverse(rest[tile.at(*place)].abs().to_bits()), *place));
    places.truncate(tile.sent());
    places.sort_unstable();
    let sum = places.iter().fold(0.0_f32, |sum, place| sum + rest[tile.at(*place)].abs().min(f32::MAX / 64.0));
    let scale_bits = scale_bits(SCALE_PER_MEAN * sum / places.len() as f32);
    let scale = f16::from_bits(scale_bits).to_f32();
    bytes.extend_from_slice(&scale_bits.to_le_bytes());
    if scale_bits == 0 {
        pack(0..tile.sent(), PLACE_BITS, bytes);
        bytes.resize(bytes.len() + packed_len(tile.sent(), CODE_BITS), 0);
        return;
    }
    pack(places.iter().copied(), PLACE_BITS, bytes);
    let codes = places.iter().map(|place| {
        let value = &mut rest[tile.at(*place)];
        let (bits, code) = quantise(*value / scale);
        *value -= code * scale;
        bits
    });
    pack(codes, CODE_BITS, bytes);
}

fn quantise(scaled: f32) -> (usize, f32) {
    match (scaled < 0.0, scaled.abs() >= 2.5) {
        (true, true) => (0, -3.0),
        (true, false) => (1, -2.0),
        (false, false) => (2, 2.0),
        (false, true) => (3, 3.0),
    }
}

/// Codes in layout order with zeros where nothing is sent, and a block for each row of each tile.
pub(super) fn decode(layout: &Layout, mut rest: &[u8]) -> Result<(Vec<i8>, Vec<Block>), CodecError> {
    let mut codes = vec![0; layout.parameters()];
    let mut blocks = Vec::new();
    let mut number = 0;
    for cut in cuts(layout) {
        let mut scales = Vec::new();
        for tile in cut.tiles() {
            let (body, after) = rest.split_at(tile.body_len());
            rest = after;
            scales.push(decode_tile(tile, body, number, &mut codes)?);
            number += 1;
        }
        let across = cut.columns.div_ceil(cut.tile_columns);
        for row in 0..cut.rows {
            let row_scales = &scales[row / cut.tile_rows * across..][..across];
            blocks.extend(row_scales.iter().enumerate().map(|(column, scale_units)| {
                let end = cut.start + row * cut.columns + ((column + 1) * cut.tile_columns).min(cut.columns);
                Block { end, scale_units: *scale_units }
            }));
        }
    }
    Ok((codes, blocks))
}

fn decode_tile(tile: Tile, body: &[u8], number: usize, codes: &mut [i8]) -> Result<i32, CodecError> {
    let not_canonical = CodecError::NotCanonical { block: number };
    let (scale, packed) = body.split_at(SCALE_BYTES);
    let (places, bits) = packed.split_at(packed_len(tile.sent(), PLACE_BITS));
    let scale_units = scale_units(u16::from_le_bytes([scale[0], scale[1]]), number)?;
    let places = unpack(places, tile.sent(), PLACE_BITS).ok_or_else(|| not_canonical.clone())?;
    let bits = unpack(bits, tile.sent(), CODE_BITS).ok_or_else(|| not_canonical.clone())?;
    let rising = places.windows(2).all(|pair| pair[0] < pair[1]) && places.last().is_none_or(|last| *last < tile.len());
    let zero_as_it_must_be = scale_units != 0 || (places.iter().copied().eq(0..tile.sent()) && bits.iter().all(|code| *code == 0));
    if !rising || !zero_as_it_must_be {
        return Err(not_canonical);
    }
    if scale_units != 0 {
        for (place, code) in places.into_iter().zip(bits) {
            codes[tile.at(place)] = [-3, -2, 2, 3][code];
        }
    }
    Ok(scale_units)
}

fn packed_len(count: usize, bits: u32) -> usize {
    (count * bits as usize).div_ceil(8)
}

/// Appends the lowest `bits` of each number, at most 16.
fn pack(numbers: impl Iterator<Item = usize>, bits: u32, bytes: &mut Vec<u8>) {
    let (mut held, mut count) = (0_usize, 0);
    for number in numbers {
        held |= number << count;
        count += bits;
        while count >= 8 {
            bytes.push(held.to_le_bytes()[0]);
            held >>= 8;
            count -= 8;
        }
    }
    if count > 0 {
        bytes.push(held.to_le_bytes()[0]);
    }
}

/// The reverse of [`pack`]; `None` where bits are left over that are not zero.
fn unpack(packed: &[u8], count: usize, bits: u32) -> Option<Vec<usize>> {
    let mut numbers = Vec::with_capacity(count);
    let (mut held, mut holds) = (0_usize, 0);
    for byte in packed {
        held |= usize::from(*byte) << holds;
        holds += 8;
        while holds >= bits && numbers.len() < count {
            numbers.push(held & ((1 << bits) - 1));
            held >>= bits;
            holds -= bits;
        }
    }
    (held == 0).then_some(numbers)
}
