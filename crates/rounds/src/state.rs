//! The outer state: weights, momentum, round clock and the last losses. Its bytes are a round's checkpoint, its root is what nodes sign.

use std::ops::Range;

use thiserror::Error;

use crate::drift::{PROBES, is_astray};
use crate::gate::Nats;
use crate::hash::Hash32;
use crate::layout::{Layout, LayoutError};
use crate::merkle::MerkleHasher;
use crate::outer::{OuterConfig, OuterConfigError};

const MAGIC: [u8; 4] = *b"SOS\0";
const VERSION: u16 = 2;
/// Magic, version, round, next inner step, momentum, learning rate, root before, number of probes, length of the layout.
const HEADER_BYTES: usize = 4 + 2 + 4 + 8 + 4 + 4 + 32 + 1 + 4;
/// Greatest length of a layout's bytes: 16,384 tensors with long names and all their dimensions.
const MAX_LAYOUT_BYTES: usize = 8 << 20;
/// Values that are turned into bytes at a time.
const PIECE: usize = 4_096;

/// What a run has reached, equal on all nodes. Rounds and outer steps count from 0; round n makes outer step n.
#[derive(Clone, Debug, PartialEq)]
pub struct OuterState {
    layout: Layout,
    config: OuterConfig,
    weights: Vec<f32>,
    momentum: Vec<f32>,
    round: u32,
    next_inner_step: u64,
    before: Hash32,
    probes: Vec<Nats>,
}

/// Why bytes or values are no [`OuterState`], or a step cannot be made on it.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum StateError {
    /// The bytes do not begin as a state does.
    #[error("not an outer state, or of an unknown version")]
    WrongHeader,
    /// A number of values or bytes that is not what the layout asks for.
    #[error("{got} {what} where the layout asks for {expected}")]
    WrongLength {
        /// What was counted.
        what: &'static str,
        /// What was there.
        got: usize,
        /// What the layout asks for.
        expected: usize,
    },
    /// A weight or momentum value is NaN or infinite.
    #[error("value {index} of {what} is not finite")]
    NotFinite {
        /// Weights, momentum or the mean.
        what: &'static str,
        /// Its place in layout order.
        index: usize,
    },
    /// The layout inside is not valid.
    #[error("bad layout: {0}")]
    Layout(#[from] LayoutError),
    /// The outer optimizer's numbers inside are out of bounds.
    #[error("bad outer configuration: {0}")]
    Config(#[from] OuterConfigError),
    /// The clock is at its end.
    #[error("no round follows round {0}")]
    ClockAtEnd(u32),
}

impl OuterState {
    /// The start of a run: the initial weights in layout order, momentum zero, no round done.
    pub fn new(layout: Layout, config: OuterConfig, weights: Vec<f32>) -> Result<Self, StateError> {
        check_values("weights", &weights, layout.parameters())?;
        let momentum = vec![0.0; weights.len()];
        Ok(Self { layout, config, weights, momentum, round: 0, next_inner_step: 0, before: Hash32::default(), probes: Vec::new() })
    }

    /// Names and shapes of the tensors.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The outer optimizer's numbers; a part of the state, so that nobody needs anything else to make the next step.
    pub fn config(&self) -> OuterConfig {
        self.config
    }

    /// The global weights in layout order.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// The outer velocity in layout order.
    pub fn momentum(&self) -> &[f32] {
        &self.momentum
    }

    /// Rounds completed, which is the number of the round to come.
    pub fn round(&self) -> u32 {
        self.round
    }

    /// The schedule's place: inner steps that each participant was assigned so far.
    pub fn next_inner_step(&self) -> u64 {
        self.next_inner_step
    }

    /// Root of the state before the last round, to which the run goes back if that round's step turns out to be harm; zeros at the start.
    pub fn before(&self) -> Hash32 {
        self.before
    }

    /// Whether a loss of this state on unseen windows says that the last outer step was harm: three deviations above those remembered.
    pub fn is_astray(&self, probe: Option<Nats>) -> bool {
        probe.is_some_and(|probe| is_astray(&self.probes, probe))
    }

    /// Whether what participants reached before is not to be built on: no loss is remembered, as at the start and where the run went back.
    pub fn begins_anew(&self) -> bool {
        self.probes.is_empty()
    }

    /// The weights of each tensor with its name and shape, in order.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[u32], &[f32])> {
        self.layout.ranges().map(|(tensor, range)| (tensor.name.as_str(), tensor.shape.as_slice(), &self.weights[range]))
    }

    /// Makes the next outer step and moves the clock by `inner_steps`. On an error nothing has changed.
    ///
    /// Without a mean (nothing was accepted) only the clock moves: no work is no reason to coast on old momentum.
    pub fn step(&mut self, mean: Option<&[f32]>, inner_steps: u32) -> Result<(), StateError> {
        let whole = 0..self.weights.len();
        self.step_within(std::slice::from_ref(&whole), mean, inner_steps)
    }

    /// [`Self::step`] by the mean of a fragment's updates, where that lies ([`crate::Fragments::ranges`]): all else stays.
    pub fn step_within(&mut self, ranges: &[Range<usize>], mean: Option<&[f32]>, inner_steps: u32) -> Result<(), StateError> {
        let round = self.round.checked_add(1).ok_or(StateError::ClockAtEnd(self.round))?;
        let next = self.next_inner_step.checked_add(u64::from(inner_steps)).ok_or(StateError::ClockAtEnd(self.round))?;
        if let Some(mean) = mean {
            check_values("the mean", mean, ranges.iter().map(Range::len).sum())?;
            let mut rest = mean;
            for range in ranges {
                let (here, after) = rest.split_at(range.len());
                self.config.step(&mut self.weights[range.clone()], &mut self.momentum[range.clone()], here);
                rest = after;
            }
        }
        (self.round, self.next_inner_step) = (round, next);
        Ok(())
    }

    /// Makes a round without a step: the weights are again those of `earlier`, without momentum, and the losses before are forgotten, so that a run
    /// goes back at most once in as many rounds as it takes to tell a deviation. On an error nothing has changed.
    pub(crate) fn roll_back(&mut self, earlier: &Self, inner_steps: u32) -> Result<(), StateError> {
        check_values("earlier weights", &earlier.weights, self.weights.len())?;
        self.step(None, inner_steps)?;
        self.weights.clone_from(&earlier.weights);
        self.momentum.fill(0.0);
        self.probes.clear();
        Ok(())
    }

    /// Notes what the last round began with: the state's root and its loss on unseen windows.
    pub(crate) fn remember(&mut self, before: Hash32, probe: Option<Nats>) {
        self.before = before;
        self.probes.extend(probe.map(|probe| probe.clamp(Nats(-Nats::MOST.0), Nats::MOST)));
        let forgotten = self.probes.len().saturating_sub(PROBES);
        self.probes.drain(..forgotten);
    }

    /// The state root: the Merkle root of [`Self::to_bytes`], without building them.
    pub fn root(&self) -> Hash32 {
        let mut hasher = MerkleHasher::default();
        self.write(|piece| hasher.update(piece));
        hasher.finish()
    }

    /// Length of [`Self::to_bytes`].
    pub fn encoded_len(&self) -> usize {
        HEADER_BYTES + 8 * self.probes.len() + self.layout.to_bytes().len() + 8 * self.weights.len()
    }

    /// The canonical bytes: header with the probes, layout, weights, momentum; little-endian. This is the checkpoint of a round.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.encoded_len());
        self.write(|piece| bytes.extend_from_slice(piece));
        bytes
    }

    fn write(&self, mut sink: impl FnMut(&[u8])) {
        let layout = self.layout.to_bytes();
        sink(&MAGIC);
        sink(&VERSION.to_le_bytes());
        sink(&self.round.to_le_bytes());
        sink(&self.next_inner_step.to_le_bytes());
        sink(&self.config.momentum().to_le_bytes());
        sink(&self.config.learning_rate().to_le_bytes());
        sink(&self.before.0);
        sink(&[u8::try_from(self.probes.len()).unwrap_or(u8::MAX)]);
        self.probes.iter().for_each(|probe| sink(&probe.0.to_le_bytes()));
        sink(&u32::try_from(layout.len()).unwrap_or(u32::MAX).to_le_bytes());
        sink(&layout);
        let mut piece = Vec::with_capacity(4 * PIECE);
        for values in [&self.weights, &self.momentum] {
            for part in values.chunks(PIECE) {
                piece.clear();
                piece.extend(part.iter().flat_map(|value| value.to_le_bytes()));
                sink(&piece);
            }
        }
    }

    /// Reads exactly what [`Self::to_bytes`] writes; anything else, non-finite values included, is refused.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let mut rest = bytes.strip_prefix(&MAGIC).and_then(|rest| rest.strip_prefix(&VERSION.to_le_bytes()));
        let round = u32::from_le_bytes(take(&mut rest)?);
        let next_inner_step = u64::from_le_bytes(take(&mut rest)?);
        let momentum = f32::from_le_bytes(take(&mut rest)?);
        let learning_rate = f32::from_le_bytes(take(&mut rest)?);
        let config = OuterConfig::new(momentum, learning_rate)?;
        let before = Hash32(take(&mut rest)?);
        let [count] = take(&mut rest)?;
        if usize::from(count) > PROBES {
            return Err(StateError::WrongHeader);
        }
        let probes = (0..count).map(|_| Ok(Nats(i64::from_le_bytes(take(&mut rest)?)))).collect::<Result<Vec<_>, StateError>>()?;
        if probes.iter().any(|probe| probe.0.unsigned_abs() > Nats::MOST.0.unsigned_abs()) {
            return Err(StateError::WrongHeader);
        }
        let layout_len = usize::try_from(u32::from_le_bytes(take(&mut rest)?)).unwrap_or(usize::MAX);
        if layout_len > MAX_LAYOUT_BYTES {
            return Err(LayoutError::Malformed("longer than any layout").into());
        }
        let (layout, values) = rest.and_then(|rest| rest.split_at_checked(layout_len)).ok_or(LayoutError::Malformed("cut short"))?;
        let layout = Layout::from_bytes(layout)?;
        let parameters = layout.parameters();
        if values.len() != 8 * parameters {
            return Err(StateError::WrongLength { what: "bytes of values", got: values.len(), expected: 8 * parameters });
        }
        let (weights, momentum) = values.split_at(4 * parameters);
        let (weights, momentum) = (read_values(weights), read_values(momentum));
        check_values("weights", &weights, parameters)?;
        check_values("momentum", &momentum, parameters)?;
        Ok(Self { layout, config, weights, momentum, round, next_inner_step, before, probes })
    }
}

fn take<const N: usize>(rest: &mut Option<&[u8]>) -> Result<[u8; N], StateError> {
    let (head, tail) = rest.and_then(<[u8]>::split_first_chunk::<N>).ok_or(StateError::WrongHeader)?;
    *rest = Some(tail);
    Ok(*head)
}

fn read_values(bytes: &[u8]) -> Vec<f32> {
    let (values, _) = bytes.as_chunks::<4>();
    values.iter().map(|value| f32::from_le_bytes(*value)).collect()
}

fn check_values(what: &'static str, values: &[f32], expected: usize) -> Result<(), StateError> {
    if values.len() != expected {
        return Err(StateError::WrongLength { what, got: values.len(), expected });
    }
    match values.iter().position(|value| !value.is_finite()) {
        Some(index) => Err(StateError::NotFinite { what, index }),
        None => Ok(()),
    }
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
