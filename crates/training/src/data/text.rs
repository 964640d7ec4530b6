//! Text as byte tokens: hashed shards in, windows out.
//!
//! Which windows a step reads is a pseudo-random function of (seed, slot, step): anyone who holds the text recomputes
//! the batch of any participant at any step.

use std::ops::Range;
use std::sync::Arc;

use super::Windows;
use crate::error::{Result, TrainingError};
use crate::random::Stream;

/// What a text is for; names it in errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Trained on.
    Train,
    /// Only evaluated on.
    HeldOut,
}

impl Split {
    fn what(self) -> &'static str {
        match self {
            Self::Train => "training text",
            Self::HeldOut => "held-out text",
        }
    }
}

/// One text of at least `context + 1` bytes; cheap to clone.
#[derive(Clone, Debug)]
pub struct Text {
    bytes: Arc<[u8]>,
    hash: [u8; 32],
    context: usize,
}

impl Text {
    /// The text of one artifact, for models that see `context` bytes.
    ///
    /// # Errors
    /// [`TrainingError::EmptyText`] or [`TrainingError::TextTooShort`].
    pub fn new(bytes: impl Into<Arc<[u8]>>, context: usize, split: Split) -> Result<Self> {
        let (bytes, needed) = (bytes.into(), context + 1);
        if bytes.is_empty() {
            return Err(TrainingError::EmptyText { what: split.what(), needed });
        }
        if bytes.len() < needed {
            return Err(TrainingError::TextTooShort { what: split.what(), found: bytes.len(), needed });
        }
        let hash = *blake3::hash(&bytes).as_bytes();
        Ok(Self { bytes, hash, context })
    }

    /// The text made of `shards` in order, each with the BLAKE3 hash that names it.
    ///
    /// # Errors
    /// [`TrainingError::ShardHashMismatch`]; else as [`Text::new`].
    pub fn from_shards(shards: &[(&[u8], [u8; 32])], context: usize, split: Split) -> Result<Self> {
        for (index, (bytes, expected)) in shards.iter().enumerate() {
            let found = blake3::hash(bytes);
            if found.as_bytes() != expected {
                return Err(TrainingError::ShardHashMismatch {
                    index,
                    expected: blake3::Hash::from_bytes(*expected).to_hex().to_string(),
                    found: found.to_hex().to_string(),
                });
            }
        }
        let bytes: Vec<u8> = shards.iter().flat_map(|(bytes, _)| bytes.iter().copied()).collect();
        Self::new(bytes, context, split)
    }

    /// All bytes, at least `context + 1`.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes that a model sees at once.
    #[must_use]
    pub fn context(&self) -> usize {
        self.context
    }

    /// BLAKE3 of [`Text::bytes`].
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The batch of participant `slot` at the global inner step `step`.
    #[must_use]
    pub fn batch(&self, seed: u64, slot: u32, step: u64, windows: usize) -> Windows {
        let mut stream = Stream::new("starling 2026 training windows v1", seed, &[u64::from(slot), step]);
        let last_start = self.bytes.len() - self.context - 1;
        let starts = (0..windows).map(|_| usize::try_from(stream.below(last_start as u64 + 1)).unwrap_or(0));
        self.windows_at(&starts.collect::<Vec<_>>())
    }

    /// At most `windows` windows that do not overlap, evenly spread over the text: what a model is evaluated on.
    #[must_use]
    pub fn spread(&self, windows: usize) -> Windows {
        let starts: Vec<_> = self.spread_ranges(windows).into_iter().map(|range| range.start - 1).collect();
        self.windows_at(&starts)
    }

    /// The bytes that a model predicts in [`Text::spread`]; a baseline is scored on the same ones.
    #[must_use]
    pub fn spread_ranges(&self, windows: usize) -> Vec<Range<usize>> {
        let available = (self.bytes.len() - 1) / self.context;
        let count = windows.clamp(1, available);
        (0..count)
            .map(|index| {
                let start = index * available / count * self.context + 1;
                start..start + self.context
            })
            .collect()
    }

    fn windows_at(&self, starts: &[usize]) -> Windows {
        let mut tokens = Vec::with_capacity(starts.len() * self.context);
        let mut targets = Vec::with_capacity(starts.len() * self.context);
        for &start in starts {
            let window = &self.bytes[start..start + self.context + 1];
            tokens.extend(window[..self.context].iter().map(|byte| u32::from(*byte)));
            targets.extend(window[1..].iter().map(|byte| u32::from(*byte)));
        }
        Windows { tokens: tokens.into(), targets: targets.into(), windows: starts.len(), context: self.context }
    }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;
    use crate::data::Batch;

    fn text(length: usize, context: usize) -> Text {
        let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
        Text::new(bytes, context, Split::Train).expect("long enough")
    }

    #[test]
    fn text__should_refuse_what_holds_no_window() {
        let refused = |length, split| Text::new(vec![b'a'; length], 8, split).expect_err("must be refused").to_string();
        assert_eq!(refused(0, Split::Train), "the training text is empty: give at least 9 bytes");
        assert_eq!(refused(8, Split::HeldOut), "the held-out text has 8 bytes, but one window of the model needs 9");
        assert!(Text::new(vec![b'a'; 9], 8, Split::Train).is_ok());
    }

    #[test]
    fn from_shards__should_check_each_hash() {
        let (first, second) = (b"first shard".as_slice(), b"second shard".as_slice());
        let (h1, h2) = (*blake3::hash(first).as_bytes(), *blake3::hash(second).as_bytes());
        let text = Text::from_shards(&[(first, h1), (second, h2)], 4, Split::Train).expect("hashes match");
        assert_eq!(text.bytes(), b"first shardsecond shard");
        let error = Text::from_shards(&[(first, h1), (second, h1)], 4, Split::Train).expect_err("wrong hash");
        assert!(matches!(error, TrainingError::ShardHashMismatch { index: 1, .. }), "{error}");
    }

    #[test]
    fn batch__should_be_a_function_of_seed_slot_and_step() {
        let text = text(10_000, 16);
        let base = text.batch(1, 0, 0, 4);
        assert_eq!(base, text.batch(1, 0, 0, 4));
        for other in [text.batch(2, 0, 0, 4), text.batch(1, 1, 0, 4), text.batch(1, 0, 1, 4)] {
            assert_ne!(base, other);
        }
        assert_eq!((base.windows, base.context, base.len()), (4, 16, 64));
        for (token, target) in base.tokens.iter().zip(base.targets.iter()) {
            assert_eq!((token + 1) % 256, *target);
        }
    }

    #[test]
    fn batch__should_reach_first_and_last_window() {
        let text = text(12, 8);
        let mut seen = [false; 4];
        for step in 0..200 {
            seen[text.batch(1, 0, step, 1).tokens[0] as usize] = true;
        }
        assert_eq!(seen, [true; 4]);
    }

    #[test]
    fn spread__should_not_overlap_and_should_cover_the_ranges() {
        for (length, windows) in [(1_000, 5), (1_000, 1_000), (17, 3), (33, 2)] {
            let text = text(length, 16);
            let (batch, ranges) = (text.spread(windows), text.spread_ranges(windows));
            assert_eq!(batch.windows, ranges.len());
            assert!(batch.windows <= windows && batch.windows >= 1);
            let predicted: Vec<u8> = ranges.iter().flat_map(|range| text.bytes()[range.clone()].to_vec()).collect();
            assert_eq!(predicted.iter().map(|b| u32::from(*b)).collect::<Vec<_>>(), batch.targets.to_vec());
            assert!(ranges.windows(2).all(|pair| pair[0].end <= pair[1].start));
        }
    }

    #[test]
    fn pieces__should_give_the_batch_back_in_order() {
        let batch = Batch::from(text(1_000, 16).spread(7));
        let pieces = batch.pieces(3);
        assert_eq!(pieces.iter().map(Batch::examples).collect::<Vec<_>>(), [3, 3, 1]);
        assert_eq!(Batch::joined(&pieces).expect("one kind"), batch);
    }
}
