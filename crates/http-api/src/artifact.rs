//! Artifacts: bytes named by their BLAKE3 hash. Only those may read who own them, bought them, or work on them.
//!
//! They travel in chunks of 8 MiB. A chunk's value is the chaining value of its subtree of the BLAKE3 tree (BLAKE3 specification, section 2.1), so that the values
//! give the name: whoever has them knows of every single chunk whether it is the right one, and needs no second look at the whole.

use blake3::hazmat::{HasherExt as _, Mode, merge_subtrees_non_root, merge_subtrees_root};
use serde::{Deserialize, Serialize};
use starling_primitives::Hash32;
use std::{io, ops::Range};

/// Bytes of each chunk but the last. A power of two of BLAKE3's own kibibyte chunks.
pub const CHUNK_BYTES: u64 = 8 << 20;
/// The largest artifact, in bytes.
pub const MAX_BYTES: u64 = 64 << 30;

/// How an artifact is cut: what an upload begins with, and what a download is checked by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Its size.
    pub bytes: u64,
    /// The values of its chunks in order; one at least, and for a single chunk the name itself.
    pub chunks: Vec<Hash32>,
}

/// Where an upload stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UploadState {
    /// Chunks that are still to be sent, by number from 0.
    pub missing: Vec<u32>,
}

/// The answer to an upload that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    /// Its hash, computed by the store.
    pub hash: Hash32,
    /// Its size.
    pub bytes: u64,
}

/// How many chunks so many bytes have; one at least.
pub fn chunk_count(bytes: u64) -> u64 {
    bytes.div_ceil(CHUNK_BYTES).max(1)
}

/// The value of chunk `number` of `count`.
pub fn chunk_value(number: u32, count: usize, bytes: &[u8]) -> Hash32 {
    if count <= 1 || bytes.is_empty() {
        return Hash32(*blake3::hash(bytes).as_bytes());
    }
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(u64::from(number) * CHUNK_BYTES);
    Hash32(hasher.update(bytes).finalize_non_root())
}

impl Manifest {
    /// Cuts bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        let size = usize::try_from(CHUNK_BYTES).unwrap_or(usize::MAX);
        let count = bytes.len().div_ceil(size).max(1);
        let values = (0_u32..).zip(bytes.chunks(size)).map(|(number, chunk)| chunk_value(number, count, chunk));
        let chunks = if bytes.is_empty() { vec![chunk_value(0, 1, bytes)] } else { values.collect() };
        Self { bytes: bytes.len() as u64, chunks }
    }

    /// Cuts what `source` gives, with one chunk in memory at a time.
    ///
    /// # Errors
    /// The source failed, or is longer than any artifact may be.
    pub fn read(mut source: impl io::Read) -> io::Result<Self> {
        let (mut bytes, mut chunks, mut single) = (0_u64, Vec::new(), None);
        let mut chunk = Vec::new();
        loop {
            chunk.clear();
            io::Read::read_to_end(&mut io::Read::take(&mut source, CHUNK_BYTES), &mut chunk)?;
            if chunk.is_empty() {
                break;
            }
            bytes = bytes.saturating_add(chunk.len() as u64);
            if bytes > MAX_BYTES {
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("an artifact has at most {MAX_BYTES} bytes")));
            }
            let number = u32::try_from(chunks.len()).map_err(io::Error::other)?;
            if number == 0 {
                single = Some(chunk_value(0, 1, &chunk));
            }
            chunks.push(chunk_value(number, usize::MAX, &chunk));
        }
        if chunks.len() <= 1 {
            chunks = vec![single.unwrap_or_else(|| chunk_value(0, 1, &[]))];
        }
        Ok(Self { bytes, chunks })
    }

    /// The artifact's name; nothing where the number of values is not that of the bytes, or the bytes are too many.
    pub fn hash(&self) -> Option<Hash32> {
        if self.bytes > MAX_BYTES || self.chunks.len() as u64 != chunk_count(self.bytes) {
            return None;
        }
        match self.chunks.as_slice() {
            [only] => Some(*only),
            chunks => {
                let (left, right) = chunks.split_at(left_of(chunks.len()));
                Some(Hash32(*merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash).as_bytes()))
            }
        }
    }

    /// Which bytes a chunk has; empty for a chunk that is not there.
    pub fn range(&self, number: u32) -> Range<u64> {
        let start = u64::from(number).saturating_mul(CHUNK_BYTES).min(self.bytes);
        start..start.saturating_add(CHUNK_BYTES).min(self.bytes)
    }

    /// Whether these bytes are the chunk of that number.
    pub fn has(&self, number: u32, bytes: &[u8]) -> bool {
        let value = usize::try_from(number).ok().and_then(|number| self.chunks.get(number));
        value.is_some_and(|value| *value == chunk_value(number, self.chunks.len(), bytes))
    }
}

/// The tree's left side is the greatest power of two of chunks that leaves something to the right.
fn left_of(count: usize) -> usize {
    count.next_power_of_two() / 2
}

fn subtree(chunks: &[Hash32]) -> [u8; 32] {
    match chunks {
        [only] => only.0,
        chunks => {
            let (left, right) = chunks.split_at(left_of(chunks.len()));
            merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    fn bytes(length: u64) -> Vec<u8> {
        (0..length).map(|i| u8::try_from(i * 31 % 251).unwrap()).collect()
    }

    #[test]
    fn manifest__should_name_what_it_cuts_from_memory_and_from_a_file() {
        for length in [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES, 5 * CHUNK_BYTES + 7] {
            let whole = bytes(length);
            let manifest = Manifest::of(&whole);
            assert_eq!(manifest.hash(), Some(Hash32(*blake3::hash(&whole).as_bytes())), "{length}");
            assert_eq!(Manifest::read(&*whole).unwrap(), manifest, "{length}");
            for number in 0..u32::try_from(manifest.chunks.len()).unwrap() {
                let range = manifest.range(number);
                let mut chunk = whole[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()].to_vec();
                assert!(manifest.has(number, &chunk), "{length}, {number}");
                if let Some(byte) = chunk.last_mut() {
                    *byte ^= 1;
                    assert!(!manifest.has(number, &chunk), "{length}, {number}");
                }
            }
        }
    }

    #[test]
    fn manifest__should_have_no_name_with_too_few_or_too_many_values() {
        let mut manifest = Manifest::of(&bytes(CHUNK_BYTES + 1));
        manifest.chunks.push(Hash32([0; 32]));
        assert_eq!(manifest.hash(), None);
        manifest.chunks.clear();
        assert_eq!(manifest.hash(), None);
        assert_eq!(Manifest { bytes: MAX_BYTES + 1, chunks: Vec::new() }.hash(), None);
        assert!(!manifest.has(0, b"x"));
    }
}
