//! What makes a round's work checkable by doing a part of it again: a participant commits to its state at each segment's
//! border, and to the number of steps, before anyone draws which segment it must show.
//!
//! The state at a border is the trainer's checkpoint: weights, moments, error feedback, step and slot. Its root is
//! [`crate::merkle_root`]. On a processor the inner steps are bit-exact, so re-execution compares roots and needs no
//! tolerance. What losses cannot tell (half of the steps, scaled by two) shows here.

use borsh::{BorshDeserialize, BorshSerialize};
use thiserror::Error;

use crate::hash::{Hash32, tagged};

const DOMAIN: &str = "starling/segments/1";
const CHALLENGE_DOMAIN: &str = "starling/segment-challenge/1";
/// Greatest number of segments in a round.
pub const MAX_SEGMENTS: usize = 1_024;

/// The borders of one participant's work in one round.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Segments {
    first_step: u64,
    steps: u32,
    segment_steps: u32,
    roots: Vec<Hash32>,
}

/// Why borders are not those of a round's work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SegmentError {
    /// No steps, segments of none, or more than [`MAX_SEGMENTS`].
    #[error("{steps} steps in segments of {segment_steps} are out of bounds")]
    OutOfBounds {
        /// Of the round.
        steps: u32,
        /// Of a segment.
        segment_steps: u32,
    },
    /// Not one root for each border, the first and the last included.
    #[error("{got} roots where the steps have {expected} borders")]
    WrongCount {
        /// Roots given.
        got: usize,
        /// Borders.
        expected: usize,
    },
    /// The state shown is not the one committed to.
    #[error("the state shown for the start of segment {0} is not the one committed to")]
    WrongStart(usize),
    /// Doing the segment again ends in another state.
    #[error("segment {0} ends in another state than the one committed to")]
    NotReproduced(usize),
}

impl Segments {
    /// Borders at `first_step` and after each `segment_steps`, the last after `steps`; `roots` has one for each.
    pub fn new(first_step: u64, steps: u32, segment_steps: u32, roots: Vec<Hash32>) -> Result<Self, SegmentError> {
        let segments = Self { first_step, steps, segment_steps, roots };
        segments.checked()
    }

    /// These borders if they are possible: what a reader of bytes calls first.
    pub fn checked(self) -> Result<Self, SegmentError> {
        let (steps, segment_steps) = (self.steps, self.segment_steps);
        let count = steps.checked_div(segment_steps).map(|_| steps.div_ceil(segment_steps)).and_then(|count| usize::try_from(count).ok());
        let Some(count) = count.filter(|count| (1..=MAX_SEGMENTS).contains(count)) else {
            return Err(SegmentError::OutOfBounds { steps, segment_steps });
        };
        if self.roots.len() != count + 1 {
            return Err(SegmentError::WrongCount { got: self.roots.len(), expected: count + 1 });
        }
        Ok(self)
    }

    /// Number of segments.
    pub fn count(&self) -> usize {
        self.roots.len().saturating_sub(1)
    }

    /// Global inner steps of a segment: the first, and the one after the last.
    pub fn steps_of(&self, segment: usize) -> (u64, u64) {
        let at = |border: usize| {
            let passed = u64::try_from(border).unwrap_or(u64::MAX).saturating_mul(u64::from(self.segment_steps));
            self.first_step.saturating_add(passed.min(u64::from(self.steps)))
        };
        (at(segment), at(segment + 1))
    }

    /// What is committed to beside the update's hash: binds the number of steps and every border.
    pub fn digest(&self) -> Hash32 {
        let bytes = borsh::to_vec(self).unwrap_or_default();
        tagged(DOMAIN, &[&bytes])
    }

    /// Which segments must be shown, in the order drawn; `seed` becomes known only after the commitments.
    pub fn challenged(&self, seed: &Hash32, count: usize) -> Vec<usize> {
        let digest = self.digest();
        let rank = |segment: usize| tagged(CHALLENGE_DOMAIN, &[&seed.0, &digest.0, &(segment as u64).to_le_bytes()]).0;
        let mut ranked: Vec<([u8; 32], usize)> = (0..self.count()).map(|segment| (rank(segment), segment)).collect();
        ranked.sort_unstable();
        ranked.into_iter().take(count).map(|(_, segment)| segment).collect()
    }

    /// Judges a segment from the root of the state that was shown and that of the state which doing it again ended in.
    pub fn verify(&self, segment: usize, start: Hash32, reached: Hash32) -> Result<(), SegmentError> {
        if self.roots.get(segment) != Some(&start) {
            return Err(SegmentError::WrongStart(segment));
        }
        if self.roots.get(segment + 1) != Some(&reached) {
            return Err(SegmentError::NotReproduced(segment));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    fn roots(count: u8) -> Vec<Hash32> {
        (0..count).map(|byte| Hash32([byte; 32])).collect()
    }

    #[test]
    fn segments__should_cover_all_steps_and_refuse_what_cannot_be() {
        let segments = Segments::new(40, 25, 10, roots(4)).unwrap();
        assert_eq!([0, 1, 2].map(|segment| segments.steps_of(segment)), [(40, 50), (50, 60), (60, 65)]);
        assert_eq!(segments.count(), 3);
        assert_eq!(Segments::new(0, 25, 10, roots(3)), Err(SegmentError::WrongCount { got: 3, expected: 4 }));
        for (steps, segment_steps) in [(0, 1), (1, 0), (2_000, 1)] {
            assert_eq!(Segments::new(0, steps, segment_steps, roots(2)), Err(SegmentError::OutOfBounds { steps, segment_steps }));
        }
        let bytes = borsh::to_vec(&segments).unwrap();
        assert_eq!(borsh::from_slice::<Segments>(&bytes).unwrap().checked(), Ok(segments));
    }

    #[test]
    fn challenge__should_depend_on_seed_and_borders_and_reach_every_segment() {
        let segments = Segments::new(0, 8, 1, roots(9)).unwrap();
        let mut first = [0_u32; 8];
        for seed in 0..=u8::MAX {
            let drawn = segments.challenged(&Hash32([seed; 32]), 3);
            assert!(drawn.len() == 3 && drawn[0] != drawn[1] && drawn[1] != drawn[2]);
            first[drawn[0]] += 1;
        }
        assert!(first.iter().all(|count| (10..60).contains(count)), "{first:?}");
        let others = Segments::new(1, 8, 1, roots(9)).unwrap();
        assert!((0..10).any(|seed| segments.challenged(&Hash32([seed; 32]), 1) != others.challenged(&Hash32([seed; 32]), 1)));
    }

    #[test]
    fn verify__should_tell_a_false_start_from_false_work() {
        let segments = Segments::new(0, 8, 4, roots(3)).unwrap();
        let root = |byte| Hash32([byte; 32]);
        assert_eq!(segments.verify(1, root(1), root(2)), Ok(()));
        assert_eq!(segments.verify(1, root(0), root(2)), Err(SegmentError::WrongStart(1)));
        assert_eq!(segments.verify(1, root(1), root(1)), Err(SegmentError::NotReproduced(1)));
        assert_eq!(segments.verify(2, root(2), root(2)), Err(SegmentError::NotReproduced(2)));
    }
}
