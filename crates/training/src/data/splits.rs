//! Training, validation and hidden parts of a collection. The hidden part is committed to by a salted hash before the run
//! and revealed after it, so that nobody can have trained on it and nobody can change it.

use std::collections::BTreeSet;

use super::without_near_duplicates;
use crate::error::{Result, TrainingError};

/// Places of the parts in the collection, each in rising order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splits {
    /// Trained on.
    pub train: Vec<usize>,
    /// Measured on while training.
    pub validation: Vec<usize>,
    /// Measured on once, after the run.
    pub hidden: Vec<usize>,
    /// Left out: nearly the same as something that is trained on.
    pub dropped: Vec<usize>,
}

/// A promise of bytes that are shown later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commitment {
    /// BLAKE3 of the salt and the bytes: what is published before.
    pub hash: [u8; 32],
    /// What keeps guesses from being checked against the hash; published with the bytes.
    pub salt: [u8; 32],
}

/// What makes two items the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sameness {
    /// Nearly all of their words, for texts.
    Words,
    /// All of their bytes, for rows and images.
    Bytes,
}

/// Splits `items`: one in `part` and at least one for validation, as many hidden, the rest for training, which of them by the
/// seed and their own bytes, so that equal items stay together.
///
/// Of validation and hidden items those that are the same as one of the training items are dropped.
///
/// # Errors
/// [`TrainingError::BadRequest`] where a part of the three would be empty, or for parts greater than a third.
pub fn split(items: &[&[u8]], seed: u64, part: u64, sameness: Sameness) -> Result<Splits> {
    if part < 3 {
        return Err(TrainingError::BadRequest(format!("one in {part} for each of two parts leaves nothing to train on")));
    }
    let draw = |item: &&[u8]| {
        let mut hasher = blake3::Hasher::new_derive_key("starling 2026 splits v1");
        *hasher.update(&seed.to_le_bytes()).update(item).finalize().as_bytes()
    };
    let draws: Vec<[u8; 32]> = items.iter().map(draw).collect();
    let distinct: Vec<[u8; 32]> = draws.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
    let held = distinct.len().div_ceil(usize::try_from(part).unwrap_or(usize::MAX));
    let (mut train, mut validation, mut hidden) = (Vec::new(), Vec::new(), Vec::new());
    for (index, draw) in draws.iter().enumerate() {
        let rank = distinct.binary_search(draw).unwrap_or_default();
        [&mut validation, &mut hidden, &mut train][(rank / held.max(1)).min(2)].push(index);
    }
    let of = |places: &[usize]| places.iter().map(|place| items[*place]).collect::<Vec<_>>();
    let training = of(&train);
    let mut dropped = Vec::new();
    for places in [&mut validation, &mut hidden] {
        // Items of equal bytes have equal draws.
        if sameness == Sameness::Bytes {
            continue;
        }
        let kept: Vec<usize> = without_near_duplicates(&of(places), &training).into_iter().map(|kept| places[kept]).collect();
        dropped.extend(places.iter().filter(|place| !kept.contains(place)));
        *places = kept;
    }
    dropped.sort_unstable();
    for (what, places) in [("train on", &train), ("validate with", &validation), ("hide", &hidden)] {
        if places.is_empty() {
            let why = format!("{} items, {} of them nearly the same as others, leave nothing to {what}", items.len(), dropped.len());
            return Err(TrainingError::BadRequest(why));
        }
    }
    Ok(Splits { train, validation, hidden, dropped })
}

impl Commitment {
    /// Commits to `bytes`; `salt` is drawn at random by the caller.
    #[must_use]
    pub fn to(bytes: &[u8], salt: [u8; 32]) -> Self {
        Self { hash: hash(bytes, &salt), salt }
    }

    /// Whether `bytes` are what was committed to.
    #[must_use]
    pub fn holds(&self, bytes: &[u8]) -> bool {
        self.hash == hash(bytes, &self.salt)
    }
}

fn hash(bytes: &[u8], salt: &[u8; 32]) -> [u8; 32] {
    *blake3::Hasher::new_derive_key("starling 2026 hidden data v1").update(salt).update(bytes).finalize().as_bytes()
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn split__should_keep_equals_together_and_follow_the_seed() {
        let texts: Vec<String> =
            (0..400).map(|index| format!("the text {} of number {} speaks of {}", index % 200, (index % 200) * 7, index % 200)).collect();
        let items: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
        let splits = split(&items, 1, 10, Sameness::Words).expect("enough");
        assert_eq!(splits, split(&items, 1, 10, Sameness::Words).expect("enough"));
        assert_ne!(splits, split(&items, 2, 10, Sameness::Words).expect("enough"));
        let mut all = [splits.train.clone(), splits.validation.clone(), splits.hidden.clone(), splits.dropped].concat();
        all.sort_unstable();
        assert_eq!(all, (0..400).collect::<Vec<_>>());
        for places in [&splits.train, &splits.validation, &splits.hidden] {
            assert!(places.iter().all(|place| places.contains(&((place + 200) % 400))), "equal texts stay together");
        }
        assert_eq!((splits.train.len(), splits.validation.len(), splits.hidden.len()), (320, 40, 40));
        let three = split(&items[..3], 1, 10, Sameness::Words).expect("one for each part");
        assert_eq!([three.train.len(), three.validation.len(), three.hidden.len()], [1; 3]);
    }

    #[test]
    fn split__should_drop_what_is_nearly_a_training_text() {
        let long = |index: usize| (0..80).map(|word| format!("w{} ", (index / 2) * 1_000 + word)).collect::<String>();
        // Pairs that differ in the case of a word and a mark.
        let texts: Vec<String> =
            (0..300).map(|index| if index % 2 == 0 { long(index) } else { long(index).replacen("w", "W!", 1) }).collect();
        let items: Vec<&[u8]> = texts.iter().map(|text| text.as_bytes()).collect();
        let splits = split(&items, 3, 5, Sameness::Words).expect("enough");
        assert!(splits.dropped.len() > 40, "{}", splits.dropped.len());
        for place in splits.validation.iter().chain(&splits.hidden) {
            assert!(!splits.train.contains(&(place ^ 1)), "{place}");
        }
        assert!(split(&items, 3, 5, Sameness::Bytes).expect("enough").dropped.is_empty());
        assert!(split(&items[..2], 1, 10, Sameness::Bytes).is_err() && split(&items, 1, 2, Sameness::Bytes).is_err());
    }

    #[test]
    fn commitment__should_hold_for_its_bytes_alone() {
        let commitment = Commitment::to(b"hidden", [7; 32]);
        assert!(commitment.holds(b"hidden") && !commitment.holds(b"hidden."));
        assert_ne!(commitment.hash, Commitment::to(b"hidden", [8; 32]).hash);
    }
}
