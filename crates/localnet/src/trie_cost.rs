//! How many trie nodes a look-up passes, computed from the sorted keys.
//!
//! nearcore charges each write and removal for the nodes of its Merkle-Patricia trie between the root and the key. The
//! shape of that trie is a function of the set of keys alone, so the count can be had without building it. Reads cost
//! no nodes (flat storage); a value that is not from the block itself counts one more when it is taken out.

use std::ops::Bound;

use crate::state::{Key, State};

/// Nodes that a look-up of `key` visits in the trie over the records of `state`.
pub(crate) fn nodes_on_path(state: &State, key: &[u8]) -> u64 {
    let target = Nibbles(key);
    let mut depth = 0;
    let mut nodes = 0;
    loop {
        let Some((first, last)) = subtree(state, &target, depth) else {
            return nodes;
        };
        let (first, last) = (Nibbles(first), Nibbles(last));
        nodes += 1;
        if first.0 == last.0 {
            return nodes; // a leaf
        }
        let shared = common_prefix(&first, &last);
        if shared > depth {
            // An extension above the branch; the walk ends in it where the key leaves its path.
            if common_prefix(&first, &target) < shared {
                return nodes;
            }
            nodes += 1;
        }
        if target.len() <= shared {
            return nodes; // the branch itself holds the value, or nothing
        }
        depth = shared + 1;
    }
}

struct Nibbles<'a>(&'a [u8]);

impl Nibbles<'_> {
    fn len(&self) -> usize {
        self.0.len() * 2
    }

    fn at(&self, index: usize) -> u8 {
        let byte = self.0[index / 2];
        if index.is_multiple_of(2) { byte >> 4 } else { byte & 15 }
    }
}

fn common_prefix(a: &Nibbles<'_>, b: &Nibbles<'_>) -> usize {
    let bytes = a.0.iter().zip(b.0).take_while(|(x, y)| x == y).count();
    let nibbles = bytes * 2;
    let more = nibbles < a.len() && nibbles < b.len() && a.at(nibbles) == b.at(nibbles);
    nibbles + usize::from(more)
}

/// Least and greatest key whose first `depth` nibbles are those of `target`.
fn subtree<'a>(state: &'a State, target: &Nibbles<'_>, depth: usize) -> Option<(&'a [u8], &'a [u8])> {
    let mut low: Key = target.0[..depth / 2].to_vec();
    let mut high = low.clone();
    if !depth.is_multiple_of(2) {
        let nibble = target.at(depth - 1) << 4;
        low.push(nibble);
        high.push(nibble | 15);
    }
    let upper = successor(high);
    let to = upper.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    let mut range = state.range(Bound::Included(&low), to);
    let first = range.next()?.0.as_slice();
    let last = range.next_back().map_or(first, |(key, _)| key.as_slice());
    Some((first, last))
}

/// The least key greater than every key that starts with `prefix`.
fn successor(mut prefix: Key) -> Option<Key> {
    while let Some(last) = prefix.pop() {
        if last < u8::MAX {
            prefix.push(last + 1);
            return Some(prefix);
        }
    }
    None
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;
    use crate::state::Value;

    fn state(keys: &[&[u8]]) -> State {
        let mut state = State::default();
        for key in keys {
            state.insert(key.to_vec(), Value::from(vec![0]));
        }
        state
    }

    #[test]
    fn path__should_count_leaf_branch_and_extension() {
        assert_eq!(nodes_on_path(&state(&[]), b"a"), 0);
        assert_eq!(nodes_on_path(&state(&[b"abc"]), b"abc"), 1);
        assert_eq!(nodes_on_path(&state(&[b"abc"]), b"xyz"), 1);
        // 0x61 0x62 and 0x61 0x63 share three nibbles: extension, branch, leaf.
        let two = state(&[b"ab", b"ac"]);
        assert_eq!(nodes_on_path(&two, b"ab"), 3);
        assert_eq!(nodes_on_path(&two, b"ad"), 2);
        assert_eq!(nodes_on_path(&two, b"x"), 1);
        // Differ in the first nibble: branch, leaf.
        assert_eq!(nodes_on_path(&state(&[&[0x10], &[0x20]]), &[0x10]), 2);
    }

    #[test]
    fn path__should_end_in_a_branch_that_holds_the_value() {
        let nested = state(&[b"a", b"ab", b"ac"]);
        assert_eq!(nodes_on_path(&nested, b"a"), 2);
        assert_eq!(nodes_on_path(&nested, b"ab"), 4);
        assert_eq!(nodes_on_path(&state(&[&[0xff], &[0xff, 0xff]]), &[0xff, 0xff]), 3);
    }
}
