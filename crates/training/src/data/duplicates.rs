//! Near-duplicates by their shingles: runs of words that two texts share, compared by a fixed sample of their hashes
//! (Broder, 1997).

use std::collections::{HashMap, HashSet};

/// Words of a shingle; of a text with fewer, all of them together.
const SHINGLE_WORDS: usize = 5;
/// Hash functions, and how many of them make a band: texts whose shingles are alike to 80 % meet in a band with a chance of
/// 1 - (1 - 0.8^4)^16, which is 99.98 %; alike to 30 % with 12 %, and are then told apart by the count.
const HASHES: usize = 64;
const BAND: usize = 4;
/// Texts that share this part of their sample, or more, are the same but for small changes.
const SAME: f64 = 0.7;

/// The sample of a text's shingles: the least of each hash function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shingles([u64; HASHES]);

impl Shingles {
    /// Of a text; upper and lower case, marks and white space do not count.
    #[must_use]
    pub fn of(text: &[u8]) -> Self {
        let text = String::from_utf8_lossy(text).to_lowercase();
        let words: Vec<&str> = text.split(|letter: char| !letter.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
        let mut least = [u64::MAX; HASHES];
        let size = SHINGLE_WORDS.min(words.len().max(1));
        for run in words.windows(size) {
            let mut reader = blake3::Hasher::new_derive_key("starling 2026 shingles v1").update(run.join(" ").as_bytes()).finalize_xof();
            let mut hashes = [0; 8 * HASHES];
            reader.fill(&mut hashes);
            for (least, hash) in least.iter_mut().zip(hashes.as_chunks::<8>().0) {
                *least = (*least).min(u64::from_le_bytes(*hash));
            }
        }
        Self(least)
    }

    /// The part of the shingles that both texts have, estimated to about a sixteenth.
    #[must_use]
    pub fn similarity(&self, other: &Self) -> f64 {
        self.0.iter().zip(&other.0).filter(|(a, b)| a == b).count() as f64 / HASHES as f64
    }

    fn bands(&self) -> impl Iterator<Item = (usize, [u64; BAND])> + '_ {
        self.0.as_chunks::<BAND>().0.iter().copied().enumerate()
    }
}

/// The places of those `texts` that are not nearly the same as one of `others`.
#[must_use]
pub fn without_near_duplicates(texts: &[&[u8]], others: &[&[u8]]) -> Vec<usize> {
    let known: Vec<Shingles> = others.iter().map(|text| Shingles::of(text)).collect();
    let mut by_band: HashMap<(usize, [u64; BAND]), Vec<usize>> = HashMap::new();
    for (index, shingles) in known.iter().enumerate() {
        for band in shingles.bands() {
            by_band.entry(band).or_default().push(index);
        }
    }
    let is_new = |text: &[u8]| {
        let shingles = Shingles::of(text);
        let mut compared = HashSet::new();
        let candidates = shingles.bands().filter_map(|band| by_band.get(&band)).flatten();
        !candidates.filter(|index| compared.insert(**index)).any(|index| shingles.similarity(&known[*index]) >= SAME)
    };
    (0..texts.len()).filter(|index| is_new(texts[*index])).collect()
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;
    use crate::random::Stream;

    fn text(seed: u64, words: usize) -> String {
        let mut stream = Stream::new("duplicates test", seed, &[]);
        (0..words).map(|_| format!("w{} ", stream.below(5_000))).collect()
    }

    #[test]
    fn near_duplicates__should_be_found_after_small_changes_and_no_others() {
        let others: Vec<String> = (0..50).map(|seed| text(seed, 120)).collect();
        let changed = others[7].replacen("w1", "W1!", 3).replacen(' ', "\n", 9).to_uppercase();
        let one_word = others[8].replacen(others[8].split(' ').nth(60).expect("there"), "other", 1);
        let half = format!("{}{}", &others[9][..others[9].len() / 2], text(99, 60));
        let texts = [text(100, 120), changed, one_word, half, others[3].clone(), "short".to_owned(), String::new()];
        let texts: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
        let others: Vec<&[u8]> = others.iter().map(|text| text.as_bytes()).collect();
        assert_eq!(without_near_duplicates(&texts, &others), [0, 3, 5, 6]);
        assert_eq!(without_near_duplicates(&[b"Short!"], &[b"short"]), [0usize; 0]);
    }

    #[test]
    fn similarity__should_be_near_the_part_that_is_shared() {
        let (first, second) = (text(1, 400), text(2, 400));
        let mixed = format!("{first}{second}");
        let similarity = Shingles::of(mixed.as_bytes()).similarity(&Shingles::of(first.as_bytes()));
        assert!((similarity - 0.5).abs() < 0.2, "{similarity}");
        assert!(Shingles::of(first.as_bytes()).similarity(&Shingles::of(second.as_bytes())) < 0.05);
    }
}
