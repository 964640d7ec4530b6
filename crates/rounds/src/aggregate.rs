//! The mean of a round's updates in integers: norms, clip factors, weights and sums that every machine gets alike.
//!
//! Why no sum overflows. A value is at most 7 * 2^28 units of 2^-24. A weight is `tokens * clip_factor` with tokens at
//! most 2^22 and the factor at most 2^8, so 30 bits; divided by 256 it is at most 2^22. With 1,024 participants the sum
//! is at most 7 * 2^28 * 2^22 * 2^10 = 7 * 2^60 < 2^63: it fits an `i64`.

use thiserror::Error;

use crate::codec::{Update, units_to_f32};
use crate::hash::Hash32;
use crate::layout::Layout;

/// Greatest number of participants that the arithmetic carries. The chain admits fewer.
pub const MAX_PARTICIPANTS: usize = 1_024;
/// Greatest number of tokens that one participant may be assigned in one round.
pub const MAX_TOKENS_PER_ROUND: u32 = 1 << 22;
/// A clip factor that leaves an update as it is.
pub const CLIP_ONE: u16 = 256;
/// An update of more median norms than this is no work.
const LONG_MULTIPLE: u64 = 5;
/// Units of a value per one: 2^24.
pub const UNITS_PER_ONE: u32 = 1 << 24;

/// Why an update could not be added to a mean.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AggregateError {
    /// The update is of another layout.
    #[error("participant {0}'s update is of another layout")]
    WrongLayout(u16),
    /// Participants must come in rising order, each once.
    #[error("participant {0} is out of order or appears twice")]
    NotInOrder(u16),
    /// An index of [`MAX_PARTICIPANTS`] or more.
    #[error("participant {0} is beyond the limit of {MAX_PARTICIPANTS}")]
    TooManyParticipants(u16),
    /// Tokens of zero or above [`MAX_TOKENS_PER_ROUND`].
    #[error("participant {0}'s tokens are zero or above {MAX_TOKENS_PER_ROUND}")]
    TokensOutOfRange(u16),
    /// A clip factor above [`CLIP_ONE`].
    #[error("participant {0}'s clip factor is above {CLIP_ONE}")]
    ClipOutOfRange(u16),
}

/// Sums updates and divides by their tokens.
#[derive(Debug)]
pub struct Aggregator {
    layout_hash: Hash32,
    sums: Vec<i64>,
    tokens: i64,
    next_participant: u16,
}

impl Aggregator {
    /// An empty mean over the parameters of `layout`.
    pub fn new(layout: &Layout) -> Self {
        Self { layout_hash: layout.hash(), sums: vec![0; layout.parameters()], tokens: 0, next_participant: 0 }
    }

    /// Adds an update with weight `tokens * clip_factor_256 / 256`, half to even. On an error nothing has changed.
    ///
    /// Clipping shortens the update and not its share: the mean divides by all tokens, so `clip_factor_256 = 128`
    /// counts as the same update halved.
    pub fn add(&mut self, participant: u16, update: &Update, tokens: u32, clip_factor_256: u16) -> Result<(), AggregateError> {
        if update.layout_hash() != self.layout_hash {
            return Err(AggregateError::WrongLayout(participant));
        }
        if usize::from(participant) >= MAX_PARTICIPANTS {
            return Err(AggregateError::TooManyParticipants(participant));
        }
        if participant < self.next_participant {
            return Err(AggregateError::NotInOrder(participant));
        }
        if !(1..=MAX_TOKENS_PER_ROUND).contains(&tokens) {
            return Err(AggregateError::TokensOutOfRange(participant));
        }
        if clip_factor_256 > CLIP_ONE {
            return Err(AggregateError::ClipOutOfRange(participant));
        }
        let weight = weight(tokens, clip_factor_256);
        let mut start = 0;
        for (scale_units, codes) in update.blocks() {
            // At most 2^28 * 2^22 = 2^50.
            let step = i64::from(scale_units) * weight;
            for (sum, code) in self.sums[start..].iter_mut().zip(codes) {
                *sum += i64::from(*code) * step;
            }
            start += codes.len();
        }
        self.tokens += i64::from(tokens);
        self.next_participant = participant + 1;
        Ok(())
    }

    /// The mean in units of 2^-24, each quotient rounded half to even; `None` if nothing was added.
    pub fn finish_units(self) -> Option<Vec<i32>> {
        let Self { mut sums, tokens, .. } = self;
        if tokens == 0 {
            return None;
        }
        for sum in &mut sums {
            *sum = div_half_even(*sum, tokens);
        }
        // No quotient is greater than the greatest value, which fits.
        sums.into_iter().map(|quotient| i32::try_from(quotient).ok()).collect()
    }

    /// The mean as `f32`, rounded to the nearest; `None` if nothing was added.
    pub fn finish(self) -> Option<Vec<f32>> {
        Some(self.finish_units()?.into_iter().map(units_to_f32).collect())
    }
}

fn weight(tokens: u32, clip_factor_256: u16) -> i64 {
    div_half_even(i64::from(tokens) * i64::from(clip_factor_256), i64::from(CLIP_ONE))
}

/// `dividend / divisor` rounded to the nearest, a tie to the even neighbour. `divisor` is positive and below 2^62.
pub(crate) fn div_half_even(dividend: i64, divisor: i64) -> i64 {
    let floor = dividend.div_euclid(divisor);
    let twice = dividend.rem_euclid(divisor) * 2;
    let up = twice > divisor || (twice == divisor && floor % 2 != 0);
    floor + i64::from(up)
}

/// Euclidean norm of an update in units of 2^-24, rounded down.
///
/// Within a block the squares of codes sum to at most 49 * 256 and the scale's square is at most 2^56, so 2^30
/// parameters stay below 2^92 in a `u128`.
pub fn norm(update: &Update) -> u64 {
    let mut sum = 0_u128;
    for (scale_units, codes) in update.blocks() {
        let squares: u32 = codes.iter().map(|code| u32::from(code.unsigned_abs()).pow(2)).sum();
        let scale = u128::from(scale_units.unsigned_abs());
        sum += u128::from(squares) * scale * scale;
    }
    u64::try_from(sum.isqrt()).unwrap_or(u64::MAX)
}

/// The middle value; of an even number the lower of the two in the middle, so that half of a round's participants
/// cannot raise it. `None` of nothing.
pub fn median<T: Copy + Ord>(values: &[T]) -> Option<T> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

/// Which of `works`, each a norm and the tokens assigned for it, are more than five times the median by the token.
///
/// A clip bounds what a long update does, but says nothing of it: near a run's initial weights the loss falls along an update
/// and against it, so that ten times an update turned round passed the loss gate there. Honest norms lie within a factor of two.
pub fn too_long(works: &[(u64, u32)]) -> Vec<bool> {
    let median = median_by_token(works);
    let is_long = |(norm, tokens): &(u64, u32)| {
        median.is_some_and(|(usual, usual_tokens)| {
            by_token(*norm, usual_tokens) > by_token(usual, *tokens).saturating_mul(u128::from(LONG_MULTIPLE)) && usual > 0
        })
    };
    works.iter().map(is_long).collect()
}

/// A norm times the tokens of another: whichever of two such products is greater has the greater norm by the token.
fn by_token(norm: u64, of_the_other: u32) -> u128 {
    u128::from(norm) * u128::from(of_the_other)
}

/// The middle one by its norm for each token; of an even number the lower of the two in the middle.
fn median_by_token(works: &[(u64, u32)]) -> Option<(u64, u32)> {
    let mut sorted = works.to_vec();
    sorted.sort_by(|a, b| by_token(a.0, b.1).cmp(&by_token(b.0, a.1)));
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

/// Clip factors in 256ths, in the order of `works`, each a norm and the tokens assigned for it:
/// `min(1, median / norm)`, rounded down, where norms are taken per token.
///
/// No update then counts as longer than the median for its tokens: who was assigned a third of the steps may move a third
/// as far. Honest work is hardly shortened and learns as well. A bound of twice the median let two of eight who trained on
/// poisoned text, at twice the length, raise the loss by 6 % (`simulate backdoor`); at the median it is less than half a
/// percent. A norm of zero keeps the factor one; a median of zero takes everything that is longer to zero.
/// `tokens` are not zero.
pub fn clip_factors(works: &[(u64, u32)]) -> Vec<u16> {
    let Some((median, median_tokens)) = median_by_token(works) else {
        return Vec::new();
    };
    // At most 2^64 * 2^22 * 2^8.
    let bound = |tokens| by_token(median, tokens) * u128::from(CLIP_ONE);
    let factor = |(norm, tokens): &(u64, u32)| match bound(*tokens).checked_div(by_token(*norm, median_tokens)) {
        Some(quotient) => u16::try_from(quotient).unwrap_or(CLIP_ONE).min(CLIP_ONE),
        None => CLIP_ONE,
    };
    works.iter().map(factor).collect()
}

#[cfg(test)]
#[path = "aggregate_tests.rs"]
mod tests;
