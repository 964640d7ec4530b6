//! The tree whose root all nodes sign: SHA-256 over chunks of 64 KiB, so that later a single chunk can be shown.

use sha2::{Digest as _, Sha256};

use crate::hash::{Hash32, tagged};

/// Bytes of a leaf; only the last may be shorter.
pub const CHUNK_BYTES: usize = 64 * 1024;
const LEAF_DOMAIN: &str = "starling/merkle-leaf/1";
const NODE_DOMAIN: &str = "starling/merkle-node/1";
const ROOT_DOMAIN: &str = "starling/merkle-root/1";

/// Takes bytes piece by piece and ends in their root; how they were cut into pieces does not matter.
///
/// A tree of n leaves has the largest power of two below n of them on its left side, as in RFC 6962. Leaves, nodes and
/// the root hash in domains of their own, and the root binds the length in bytes.
#[derive(Debug)]
pub struct MerkleHasher {
    leaf: Sha256,
    leaf_bytes: usize,
    total_bytes: u64,
    /// Roots of full subtrees, largest first, each with the number of its leaves.
    subtrees: Vec<(u64, Hash32)>,
}

impl Default for MerkleHasher {
    fn default() -> Self {
        Self { leaf: new_leaf(), leaf_bytes: 0, total_bytes: 0, subtrees: Vec::new() }
    }
}

impl MerkleHasher {
    /// Appends bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.leaf_bytes == CHUNK_BYTES {
                self.close_leaf();
            }
            let (head, rest) = bytes.split_at(bytes.len().min(CHUNK_BYTES - self.leaf_bytes));
            self.leaf.update(head);
            self.leaf_bytes += head.len();
            self.total_bytes = self.total_bytes.saturating_add(head.len().try_into().unwrap_or(u64::MAX));
            bytes = rest;
        }
    }

    /// The root of all bytes so far. No bytes have one empty leaf.
    pub fn finish(mut self) -> Hash32 {
        self.close_leaf();
        let mut top = None;
        while let Some((_, left)) = self.subtrees.pop() {
            top = Some(top.map_or(left, |right| node(left, right)));
        }
        let top: Hash32 = top.unwrap_or(Hash32([0; 32]));
        tagged(ROOT_DOMAIN, &[&self.total_bytes.to_le_bytes(), &top.0])
    }

    fn close_leaf(&mut self) {
        let leaf = std::mem::replace(&mut self.leaf, new_leaf());
        self.leaf_bytes = 0;
        let mut subtree = (1, Hash32(leaf.finalize().into()));
        while let Some((leaves, left)) = self.subtrees.pop_if(|(leaves, _)| *leaves == subtree.0) {
            subtree = (leaves * 2, node(left, subtree.1));
        }
        self.subtrees.push(subtree);
    }
}

/// The root of bytes that are at hand as a whole.
pub fn merkle_root(bytes: &[u8]) -> Hash32 {
    let mut hasher = MerkleHasher::default();
    hasher.update(bytes);
    hasher.finish()
}

fn new_leaf() -> Sha256 {
    let mut leaf = Sha256::new();
    leaf.update(LEAF_DOMAIN.as_bytes());
    leaf.update([0]);
    leaf
}

fn node(left: Hash32, right: Hash32) -> Hash32 {
    tagged(NODE_DOMAIN, &[&left.0, &right.0])
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    /// The definition, recursive and slow.
    fn by_definition(chunks: &[&[u8]]) -> Hash32 {
        match chunks {
            [] => tagged(LEAF_DOMAIN, &[]),
            [chunk] => tagged(LEAF_DOMAIN, &[chunk]),
            _ => {
                let left = chunks.len().next_power_of_two() / 2;
                node(by_definition(&chunks[..left]), by_definition(&chunks[left..]))
            }
        }
    }

    #[test]
    fn root__should_follow_the_definition_at_every_size() {
        let bytes: Vec<u8> = (0..9 * CHUNK_BYTES + 17).map(|i| u8::try_from(i * 31 % 251).unwrap()).collect();
        for chunks in 0..9 {
            for extra in [0, 1, CHUNK_BYTES - 1] {
                let part = &bytes[..chunks * CHUNK_BYTES + extra];
                let leaves: Vec<&[u8]> = part.chunks(CHUNK_BYTES).collect();
                let len = u64::try_from(part.len()).unwrap();
                let expected = tagged(ROOT_DOMAIN, &[&len.to_le_bytes(), &by_definition(&leaves).0]);
                assert_eq!(merkle_root(part), expected, "{chunks} chunks and {extra} bytes");
            }
        }
    }

    #[test]
    fn root__should_not_depend_on_pieces() {
        let bytes = vec![7_u8; 3 * CHUNK_BYTES + 5];
        let mut hasher = MerkleHasher::default();
        for piece in bytes.chunks(1_000) {
            hasher.update(piece);
        }
        assert_eq!(hasher.finish(), merkle_root(&bytes));
    }

    #[test]
    fn root__should_change_with_any_byte_and_with_length() {
        let bytes = vec![0_u8; 2 * CHUNK_BYTES];
        let root = merkle_root(&bytes);
        for place in [0, CHUNK_BYTES - 1, CHUNK_BYTES, 2 * CHUNK_BYTES - 1] {
            let mut changed = bytes.clone();
            changed[place] = 1;
            assert_ne!(merkle_root(&changed), root);
        }
        assert_ne!(merkle_root(&bytes[1..]), root);
        assert_ne!(merkle_root(&[]), merkle_root(&[0]));
    }
}
