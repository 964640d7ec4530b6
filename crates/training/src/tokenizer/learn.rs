//! Learning merges: the most frequent pair first, pairs counted anew only where a merge changed them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, HashSet};

use super::{WORD_BYTES, words};

/// A pair with its count in the order of merging: the most frequent first, then the lowest tokens.
type Candidate = (u64, Reverse<(u32, u32)>);

/// At most `count` merges, of pairs that stand in `text` at least twice.
pub(super) fn merges(text: &[u8], count: usize) -> Vec<(u32, u32)> {
    let mut counted: HashMap<&[u8], u64> = HashMap::new();
    for word in words(text) {
        *counted.entry(word).or_default() += 1;
    }
    // In an order that is that of no hash function.
    let counted: BTreeMap<&[u8], u64> = counted.into_iter().collect();
    let mut words: Vec<(Vec<u32>, u64)> =
        counted.into_iter().map(|(word, times)| (word.iter().map(|byte| u32::from(*byte)).collect(), times)).collect();
    let mut pairs = Pairs::default();
    for (index, (tokens, times)) in words.iter().enumerate() {
        pairs.count(tokens, index, i128::from(*times));
    }
    let mut queue: BinaryHeap<Candidate> = pairs.counts.keys().map(|pair| pairs.candidate(*pair)).collect();
    let mut merges = Vec::new();
    let mut pieces: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![byte]).collect();
    let mut known: HashSet<Vec<u8>> = pieces.iter().cloned().collect();
    while merges.len() < count {
        let Some((times, Reverse(pair))) = queue.pop() else { break };
        let now = pairs.candidate(pair);
        if now.0 != times {
            if now.0 > 1 {
                queue.push(now);
            }
            continue;
        }
        let piece = [pieces[pair.0 as usize].as_slice(), &pieces[pair.1 as usize]].concat();
        // Two tokens of the same bytes would have the same name in the file.
        if times < 2 || piece.len() > WORD_BYTES || !known.insert(piece.clone()) {
            continue;
        }
        let token = u32::try_from(256 + merges.len()).unwrap_or(u32::MAX);
        merges.push(pair);
        pieces.push(piece);
        let mut changed = BTreeSet::new();
        for index in pairs.places.remove(&pair).unwrap_or_default() {
            let (tokens, times) = &mut words[index];
            pairs.count(tokens, index, -i128::from(*times));
            merge(tokens, pair, token);
            pairs.count(tokens, index, i128::from(*times));
            changed.extend(tokens.windows(2).map(|pair| (pair[0], pair[1])));
        }
        pairs.counts.remove(&pair);
        queue.extend(changed.into_iter().filter(|pair| pairs.counts.contains_key(pair)).map(|pair| pairs.candidate(pair)));
    }
    merges
}

/// Puts `token` in the place of each `pair`, from the left.
pub(super) fn merge(tokens: &mut Vec<u32>, pair: (u32, u32), token: u32) {
    let (mut read, mut write) = (0, 0);
    while read < tokens.len() {
        let found = tokens.get(read + 1).is_some_and(|next| (tokens[read], *next) == pair);
        tokens[write] = if found { token } else { tokens[read] };
        (read, write) = (read + if found { 2 } else { 1 }, write + 1);
    }
    tokens.truncate(write);
}

/// How often each pair stands in the text, and in which words.
#[derive(Default)]
struct Pairs {
    counts: HashMap<(u32, u32), i128>,
    places: HashMap<(u32, u32), BTreeSet<usize>>,
}

impl Pairs {
    fn count(&mut self, tokens: &[u32], index: usize, times: i128) {
        for pair in tokens.windows(2).map(|pair| (pair[0], pair[1])) {
            *self.counts.entry(pair).or_default() += times;
            if times > 0 {
                self.places.entry(pair).or_default().insert(index);
            }
        }
    }

    fn candidate(&self, pair: (u32, u32)) -> Candidate {
        let count = self.counts.get(&pair).copied().unwrap_or_default();
        (u64::try_from(count).unwrap_or_default(), Reverse(pair))
    }
}
