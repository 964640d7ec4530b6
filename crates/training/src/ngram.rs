//! Baselines: interpolated Kneser-Ney models over bytes (Kneser and Ney 1995; Chen and Goodman 1998, section 2.7).
//!
//! The highest order counts n-grams, each lower one counts in how many different contexts a sequence was seen; one
//! discount an order, `n1 / (n1 + 2 n2)`; below the unigram stands the uniform distribution.

use std::ops::Range;

use crate::data::Text;

const BYTES: usize = 256;
/// Where no sequence of an order was seen exactly once the formula gives no discount, and unseen bytes no probability.
const FALLBACK_DISCOUNT: f64 = 0.5;

/// An n-gram model of 1 to 3 bytes.
pub struct Ngram {
    /// The unigram first.
    levels: Vec<Level>,
}

/// Bits per byte of models that need no training by gradient, on the bytes that an evaluation predicts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Baselines {
    /// Every byte alike: 8.
    pub uniform: f64,
    /// Kneser-Ney from one byte before.
    pub bigram: f64,
    /// Kneser-Ney from two bytes before.
    pub trigram: f64,
    /// Bytes predicted.
    pub bytes: u64,
}

/// The counts of one order.
struct Level {
    /// Bytes of context.
    context: usize,
    /// Sequence (big-endian, context first) and count, sorted.
    entries: Vec<(u32, u32)>,
    /// Where each context's entries begin; one more than there are contexts.
    starts: Vec<usize>,
    /// Sum of counts by context.
    totals: Vec<f64>,
    discount: f64,
}

/// Baselines trained on `train` and scored on the bytes of [`Text::spread`] of the held-out text.
#[must_use]
pub fn baselines(train: &[u8], held_out: &Text, windows: usize) -> Baselines {
    let ranges = held_out.spread_ranges(windows);
    let score = |order| Ngram::train(train, order).bits_per_byte(held_out.bytes(), &ranges);
    Baselines { uniform: 8.0, bigram: score(2), trigram: score(3), bytes: ranges.iter().map(|range| range.len() as u64).sum() }
}

impl Ngram {
    /// The model of sequences of `order` bytes (1 to 3; others count as the nearest) in `text`.
    #[must_use]
    pub fn train(text: &[u8], order: usize) -> Self {
        let order = order.clamp(1, 3);
        let code = |window: &[u8]| window.iter().fold(0, |code, byte| code << 8 | u32::from(*byte));
        let mut entries = count(text.windows(order).map(code).collect());
        let mut levels = Vec::new();
        for context in (0..order).rev() {
            // Each different sequence counts once for its end.
            let mask = if context == 0 { 0 } else { u32::MAX >> (32 - 8 * context) };
            let shorter = entries.iter().map(|(code, _)| code & mask).collect();
            levels.push(Level::new(context, entries));
            entries = count(shorter);
        }
        levels.reverse();
        Self { levels }
    }

    /// The probability of `byte` after `history`, of which only the end counts.
    #[must_use]
    pub fn probability(&self, history: &[u8], byte: u8) -> f64 {
        let mut probability = 1.0 / BYTES as f64;
        for level in &self.levels {
            let Some(start) = history.len().checked_sub(level.context) else {
                break;
            };
            let context = history[start..].iter().fold(0, |code, byte| code << 8 | u32::from(*byte));
            probability = level.interpolate(context, byte, probability);
        }
        probability
    }

    /// Mean of `-log2 p` over the bytes of `text` in `ranges`, each predicted from all that stand before it.
    #[must_use]
    pub fn bits_per_byte(&self, text: &[u8], ranges: &[Range<usize>]) -> f64 {
        let positions = ranges.iter().flat_map(Clone::clone);
        let (bits, bytes) = positions
            .fold((0.0, 0u64), |(bits, bytes), position| (bits - self.probability(&text[..position], text[position]).log2(), bytes + 1));
        bits / bytes.max(1) as f64
    }
}

impl Level {
    fn new(context: usize, entries: Vec<(u32, u32)>) -> Self {
        let contexts = 1 << (8 * context);
        let (mut starts, mut totals) = (vec![0; contexts + 1], vec![0.0; contexts]);
        for (code, count) in &entries {
            let context = (code >> 8) as usize;
            starts[context + 1] += 1;
            totals[context] += f64::from(*count);
        }
        for context in 0..contexts {
            starts[context + 1] += starts[context];
        }
        let seen = |times| entries.iter().filter(|(_, count)| *count == times).count() as f64;
        let (once, twice) = (seen(1), seen(2));
        let discount = if once > 0.0 { once / (once + 2.0 * twice) } else { FALLBACK_DISCOUNT };
        Self { context, entries, starts, totals, discount }
    }

    /// This order's probability, given the lower order's.
    fn interpolate(&self, context: u32, byte: u8, lower: f64) -> f64 {
        let index = context as usize;
        let entries = &self.entries[self.starts[index]..self.starts[index + 1]];
        let total = self.totals[index];
        if entries.is_empty() {
            return lower;
        }
        let code = context << 8 | u32::from(byte);
        let found = entries.binary_search_by_key(&code, |(code, _)| *code).ok();
        let count = found.map_or(0.0, |found| f64::from(entries[found].1));
        ((count - self.discount).max(0.0) + self.discount * entries.len() as f64 * lower) / total
    }
}

/// Different codes and how often each stands in `codes`, sorted.
fn count(mut codes: Vec<u32>) -> Vec<(u32, u32)> {
    codes.sort_unstable();
    let mut counts: Vec<(u32, u32)> = Vec::new();
    for code in codes {
        match counts.last_mut() {
            Some((last, count)) if *last == code => *count += 1,
            _ => counts.push((code, 1)),
        }
    }
    counts
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;
    use crate::data::Split;

    const UNIFORM: f64 = 1.0 / 256.0;

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found} against {expected}");
    }

    #[test]
    fn bigram__should_equal_the_hand_computed_one() {
        // "abab": ab twice, ba once, so D = 1 / (1 + 2). Each of a and b follows one byte: with D = 1 nothing is left
        // of the unigram but the uniform distribution.
        let model = Ngram::train(b"abab", 2);
        close(model.probability(b"", b'a'), UNIFORM);
        close(model.probability(b"a", b'b'), (2.0 - 1.0 / 3.0) / 2.0 + 1.0 / 3.0 / 2.0 * UNIFORM);
        close(model.probability(b"xa", b'c'), 1.0 / 3.0 / 2.0 * UNIFORM);
        close(model.probability(b"b", b'a'), (1.0 - 1.0 / 3.0) + 1.0 / 3.0 * UNIFORM);
        close(model.probability(b"z", b'a'), UNIFORM);
    }

    #[test]
    fn trigram__should_equal_the_hand_computed_one() {
        // "aabaac": aab, aba, baa, aac once each: D3 = 1. Different trigrams that end in: ab 1, ba 1, aa 1, ac 1, so
        // D2 = 1. Different bigrams that end in: a 2 (aa, ba), b 1, c 1: one twice, two once, D1 = 2 / (2 + 2).
        let model = Ngram::train(b"aabaac", 3);
        let unigram = |count: f64| (count - 0.5).max(0.0) / 4.0 + 0.5 * 3.0 / 4.0 * UNIFORM;
        close(model.probability(b"", b'a'), unigram(2.0));
        close(model.probability(b"", b'z'), unigram(0.0));
        // After a: aa, ab, ac once each, all discounted away; after aa the same with aab and aac.
        close(model.probability(b"xa", b'b'), unigram(1.0));
        close(model.probability(b"aa", b'b'), unigram(1.0));
        // "aabaabaac": aab, aba, baa twice, aac once: D3 = 1 / (1 + 6).
        let model = Ngram::train(b"aabaabaac", 3);
        let discount = 1.0 / 7.0;
        close(model.probability(b"aa", b'b'), (2.0 - discount) / 3.0 + discount * 2.0 / 3.0 * model.probability(b"a", b'b'));
    }

    #[test]
    fn probabilities__should_sum_to_one_after_every_history() {
        let source = include_bytes!("ngram.rs");
        for order in 1..=3 {
            let model = Ngram::train(source, order);
            for history in [&b""[..], b"f", b"fn", b"let", b"\xff\xff", b"q\xff"] {
                let total: f64 = (0..=u8::MAX).map(|byte| model.probability(history, byte)).sum();
                assert!((total - 1.0).abs() < 1e-9, "order {order} after {history:?}: {total}");
            }
        }
        let total: f64 = (0..=u8::MAX).map(|byte| Ngram::train(b"", 3).probability(b"ab", byte)).sum();
        assert!((total - 1.0).abs() < 1e-9);
    }

    #[test]
    fn baselines__should_improve_with_their_order() {
        let source = include_bytes!("ngram.rs");
        let (train, rest) = source.split_at(source.len() * 3 / 4);
        let text = Text::new(rest.to_vec(), 32, Split::HeldOut).expect("long enough");
        let found = baselines(train, &text, 40);
        assert!(found.uniform > found.bigram && found.bigram > found.trigram && found.trigram > 1.0, "{found:?}");
        assert_eq!(found.bytes, 40 * 32);
    }

    #[test]
    fn bits_per_byte__should_be_the_mean_of_the_logarithms() {
        let model = Ngram::train(b"abab", 2);
        let bits = model.bits_per_byte(b"zab", &[1..2, 2..3]);
        let expected = -(UNIFORM.log2() + model.probability(b"a", b'b').log2()) / 2.0;
        close(bits, expected);
    }
}
