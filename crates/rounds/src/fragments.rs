//! Parts of a model that take turns: round n exchanges fragment n modulo their number, while the nodes train on
//! (streaming DiLoCo, arXiv:2501.18512). One fragment is plain DiLoCo.
//!
//! A fragment is a layout of its own, so that its updates are encoded, checked and averaged by the same code as whole ones.
//! Which fragment a round has, and when one was last exchanged, follow from the round's number: no clock besides is kept.

use std::cmp::Reverse;
use std::ops::Range;

use thiserror::Error;

use crate::codec::{Codec, CodecError, Update, probe_point};
use crate::gate::PROBE_STEP;
use crate::layout::{Layout, LayoutError};
use crate::outer::pseudo_gradient;

/// A layout cut into fragments of nearly equal size, along the borders of tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Fragments {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq)]
struct Part {
    layout: Layout,
    /// Where its tensors lie in the whole flat slice, in order.
    ranges: Vec<Range<usize>>,
}

/// Why a layout cannot be cut so.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum FragmentError {
    /// Zero, or more than there are tensors.
    #[error("{count} fragments cannot be cut from the {tensors} tensors that are trained")]
    Count {
        /// Asked for.
        count: usize,
        /// Of the layout.
        tensors: usize,
    },
    /// A part is no layout.
    #[error("a fragment is no layout: {0}")]
    Layout(#[from] LayoutError),
}

impl Fragments {
    /// All of a layout in one.
    pub fn whole(layout: &Layout) -> Self {
        Self { parts: vec![Part { layout: layout.clone(), ranges: layout.ranges().map(|(_, range)| range).collect() }] }
    }

    /// Cuts a layout: each tensor, the largest first and of equals the first by name, joins the smallest fragment so far.
    pub fn new(layout: &Layout, count: usize) -> Result<Self, FragmentError> {
        let tensors = layout.tensors().len();
        if !(1..=tensors).contains(&count) {
            return Err(FragmentError::Count { count, tensors });
        }
        let mut by_size: Vec<(usize, Range<usize>)> = layout.ranges().map(|(_, range)| range).enumerate().collect();
        by_size.sort_by_key(|(index, range)| (Reverse(range.len()), *index));
        let mut members: Vec<(usize, Vec<usize>)> = vec![(0, Vec::new()); count];
        for (index, range) in by_size {
            if let Some((size, indices)) = members.iter_mut().min_by_key(|(size, _)| *size) {
                *size += range.len();
                indices.push(index);
            }
        }
        let ranges: Vec<Range<usize>> = layout.ranges().map(|(_, range)| range).collect();
        let part = |(_, mut indices): (usize, Vec<usize>)| {
            indices.sort_unstable();
            let tensors = indices.iter().map(|index| layout.tensors()[*index].clone()).collect();
            Ok(Part { layout: Layout::new(tensors)?, ranges: indices.iter().map(|index| ranges[*index].clone()).collect() })
        };
        Ok(Self { parts: members.into_iter().map(part).collect::<Result<_, FragmentError>>()? })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.parts.len()
    }

    /// Which one a round exchanges.
    pub fn of_round(&self, round: u32) -> usize {
        usize::try_from(round).unwrap_or(0) % self.parts.len()
    }

    /// The layout of a fragment's updates.
    pub fn layout(&self, fragment: usize) -> &Layout {
        &self.parts[fragment].layout
    }

    /// The layout of a round's updates: that of the fragment which it exchanges.
    pub fn layout_of_round(&self, round: u32) -> &Layout {
        self.layout(self.of_round(round))
    }

    /// Where a fragment's values lie in the whole flat slice, in order.
    pub fn ranges(&self, fragment: usize) -> &[Range<usize>] {
        &self.parts[fragment].ranges
    }

    /// A fragment's values of a whole flat slice.
    pub fn gather(&self, fragment: usize, whole: &[f32]) -> Vec<f32> {
        self.ranges(fragment).iter().flat_map(|range| whole[range.clone()].iter().copied()).collect()
    }

    /// Puts a fragment's values into their places of a whole flat slice.
    pub fn put(&self, fragment: usize, values: &[f32], whole: &mut [f32]) {
        let mut rest = values;
        for range in self.ranges(fragment) {
            let (here, after) = rest.split_at(range.len());
            whole[range.clone()].copy_from_slice(here);
            rest = after;
        }
    }

    /// What a participant's work on a fragment says ([`crate::pseudo_gradient`]).
    ///
    /// # Errors
    /// Two of the slices differ in length.
    pub fn pseudo_gradient(&self, fragment: usize, global: &[f32], local: &[f32]) -> Result<Vec<f32>, CodecError> {
        pseudo_gradient(&self.gather(fragment, global), &self.gather(fragment, local))
    }

    /// The weights at which a fragment's update is scored ([`crate::probe_point`]).
    ///
    /// # Errors
    /// The update is of another layout.
    pub fn probe_point(&self, fragment: usize, weights: &[f32], update: &Update) -> Result<Vec<f32>, CodecError> {
        let point = probe_point(&self.gather(fragment, weights), update, PROBE_STEP)?;
        let mut whole = weights.to_vec();
        self.put(fragment, &point, &mut whole);
        Ok(whole)
    }

    /// Encodes a participant's pseudo-gradient of a fragment; what is not said stays in its places of `feedback`, which is of the whole layout.
    ///
    /// # Errors
    /// As [`Codec::encode`].
    pub fn encode(&self, fragment: usize, codec: Codec, delta: &[f32], feedback: &mut [f32]) -> Result<Vec<u8>, CodecError> {
        let mut own = self.gather(fragment, feedback);
        let bytes = codec.encode(self.layout(fragment), delta, &mut own)?;
        self.put(fragment, &own, feedback);
        Ok(bytes)
    }

    /// Merges a fragment of what all have reached into a participant's own weights, of which so much stays: `share own + (1 - share) global`.
    pub fn merge(&self, fragment: usize, own_share: f64, global: &[f32], own: &mut [f32]) {
        #[expect(clippy::cast_possible_truncation, reason = "a share of 0 to 1")]
        let own_share = own_share as f32;
        for range in self.ranges(fragment) {
            for (own, global) in own[range.clone()].iter_mut().zip(&global[range.clone()]) {
                *own = own_share * *own + (1.0 - own_share) * global;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;
    use crate::layout::TensorShape;

    #[test]
    fn fragments__should_hold_each_value_once_and_be_of_like_size() {
        let sizes = [300, 100, 90, 80, 70, 60, 50, 40, 5, 5];
        let tensors = sizes.iter().enumerate().map(|(i, size)| TensorShape { name: format!("t{i}"), shape: vec![*size] });
        let layout = Layout::new(tensors.collect()).unwrap();
        let whole: Vec<f32> = (0..800_u16).map(f32::from).collect();
        for count in [1, 2, 3] {
            let fragments = Fragments::new(&layout, count).unwrap();
            let mut sum = vec![0.0; 800];
            for fragment in 0..count {
                let part = fragments.gather(fragment, &whole);
                assert_eq!(part.len(), fragments.layout(fragment).parameters());
                assert!(part.len() <= 800 / count + 60, "{count}: {}", part.len());
                let mut alone = vec![0.0; 800];
                fragments.put(fragment, &part, &mut alone);
                sum.iter_mut().zip(alone).for_each(|(sum, value)| *sum += value);
            }
            assert_eq!(sum, whole);
            assert_eq!((0..4).map(|round| fragments.of_round(round)).collect::<Vec<_>>(), (0..4).map(|r| r % count).collect::<Vec<_>>());
        }
        assert_eq!(Fragments::new(&layout, 1), Ok(Fragments::whole(&layout)));
        for count in [0, 11] {
            assert_eq!(Fragments::new(&layout, count), Err(FragmentError::Count { count, tensors: 10 }));
        }
    }

    #[test]
    fn merge__should_keep_a_share_of_the_own_weights_within_the_fragment_alone() {
        let tensors = ["a", "b"].map(|name| TensorShape { name: name.to_owned(), shape: vec![2] });
        let fragments = Fragments::new(&Layout::new(tensors.to_vec()).unwrap(), 2).unwrap();
        let mut own = [1.0, 2.0, 3.0, 4.0];
        fragments.merge(0, 0.25, &[5.0, 6.0, 7.0, 8.0], &mut own);
        assert_eq!(own, [4.0, 5.0, 3.0, 4.0]);
    }
}
