//! Who trains on what: the data slot of a participant, the inner steps of a round, the tokens they make.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::aggregate::{MAX_PARTICIPANTS, MAX_TOKENS_PER_ROUND};

/// The slot of which nobody trains a window, for the unseen part of a score.
pub const UNSEEN_SLOT: u32 = u32::MAX;
/// Tokens that each loss of a score is measured on; and windows, so that one odd text does not decide.
const PROBE_TOKENS: u32 = 2_048;
const PROBE_WINDOWS_MIN: u32 = 16;
const PROBE_WINDOWS_MAX: u32 = 64;
/// Of windows of few tokens, such as the rows of a table, more than that, but at most one in so many of those assigned.
const PROBE_WINDOWS_PART: u32 = 8;
/// Greatest number of inner steps in a round.
const MAX_INNER_STEPS: u32 = 10_000;

/// What a recipe assigns to a participant in a round, at most: a slow one gets fewer steps ([`crate::paced_steps`]), from
/// the round's first, and less weight and pay for them. The price per token is the same for all.
///
/// The window of text that a step trains on is a function of (the recipe's seed, slot, inner step, place in the
/// batch): who is absent changes nobody else's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, Serialize, Deserialize)]
#[serde(try_from = "PlanFields", into = "PlanFields")]
pub struct Plan {
    inner_steps_per_round: u32,
    windows_per_step: u32,
    tokens_per_window: u32,
}

/// Tokens that a participant was assigned, and those of a whole assignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Above zero.
    pub tokens: u32,
    /// At least as many.
    pub of: u32,
}

impl Share {
    /// A whole assignment.
    pub const WHOLE: Self = Self { tokens: 1, of: 1 };
}

/// Numbers that no round can have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// A number is zero.
    #[error("a plan needs inner steps, windows and tokens above zero")]
    Zero,
    /// More than 10,000 inner steps in a round.
    #[error("{0} inner steps per round; {MAX_INNER_STEPS} is the limit")]
    TooManySteps(u32),
    /// One participant's tokens of one round do not fit the arithmetic of the mean.
    #[error("a round of this plan has more than {MAX_TOKENS_PER_ROUND} tokens per participant")]
    TooManyTokens,
}

#[derive(Serialize, Deserialize, BorshSerialize, BorshDeserialize)]
#[serde(deny_unknown_fields)]
struct PlanFields {
    inner_steps_per_round: u32,
    windows_per_step: u32,
    tokens_per_window: u32,
}

impl Plan {
    /// Checks the bounds. `tokens_per_window` is the context: a window of it predicts that many tokens.
    pub fn new(inner_steps_per_round: u32, windows_per_step: u32, tokens_per_window: u32) -> Result<Self, PlanError> {
        if inner_steps_per_round == 0 || windows_per_step == 0 || tokens_per_window == 0 {
            return Err(PlanError::Zero);
        }
        if inner_steps_per_round > MAX_INNER_STEPS {
            return Err(PlanError::TooManySteps(inner_steps_per_round));
        }
        inner_steps_per_round
            .checked_mul(windows_per_step)
            .and_then(|windows| windows.checked_mul(tokens_per_window))
            .filter(|tokens| *tokens <= MAX_TOKENS_PER_ROUND)
            .ok_or(PlanError::TooManyTokens)?;
        Ok(Self { inner_steps_per_round, windows_per_step, tokens_per_window })
    }

    /// DiLoCo's H.
    pub fn inner_steps_per_round(self) -> u32 {
        self.inner_steps_per_round
    }

    /// The batch of one inner step.
    pub fn windows_per_step(self) -> u32 {
        self.windows_per_step
    }

    /// The context.
    pub fn tokens_per_window(self) -> u32 {
        self.tokens_per_window
    }

    /// Tokens of one participant's work in one round: the most that it can be paid for.
    pub fn assigned_tokens(self) -> u32 {
        // `new` has checked the product.
        self.inner_steps_per_round * self.windows_per_step * self.tokens_per_window
    }

    /// Tokens of one inner step.
    pub fn tokens_per_step(self) -> u32 {
        self.windows_per_step * self.tokens_per_window
    }

    /// Whether a participant can be assigned so many tokens in a round: those of 1 to all of its steps.
    pub fn can_assign(self, tokens: u32) -> bool {
        (1..=self.assigned_tokens()).contains(&tokens) && tokens.is_multiple_of(self.tokens_per_step())
    }

    /// What part of a whole assignment so many tokens are.
    pub fn share(self, tokens: u32) -> Share {
        Share { tokens, of: self.assigned_tokens() }
    }

    /// Windows that each loss of a score is measured on: 2,048 tokens, but 16 windows at least, and no more than 64 or an eighth of
    /// those assigned.
    pub fn probe_windows(self) -> u32 {
        let assigned = self.inner_steps_per_round * self.windows_per_step;
        let most = PROBE_WINDOWS_MAX.max(assigned / PROBE_WINDOWS_PART);
        PROBE_TOKENS.div_ceil(self.tokens_per_window).clamp(PROBE_WINDOWS_MIN, most).min(assigned)
    }

    /// The first inner step of a round, counted over the whole run; steps and rounds count from 0.
    pub fn first_inner_step(self, round: u32) -> u64 {
        u64::from(round) * u64::from(self.inner_steps_per_round)
    }

    /// The data slot of a participant: its own from the first round to the last. `None` beyond the greatest roster.
    pub fn slot(self, participant: u16) -> Option<u32> {
        (usize::from(participant) < MAX_PARTICIPANTS).then_some(u32::from(participant))
    }
}

impl TryFrom<PlanFields> for Plan {
    type Error = PlanError;

    fn try_from(fields: PlanFields) -> Result<Self, PlanError> {
        Self::new(fields.inner_steps_per_round, fields.windows_per_step, fields.tokens_per_window)
    }
}

impl From<Plan> for PlanFields {
    fn from(plan: Plan) -> Self {
        Self {
            inner_steps_per_round: plan.inner_steps_per_round,
            windows_per_step: plan.windows_per_step,
            tokens_per_window: plan.tokens_per_window,
        }
    }
}

impl BorshDeserialize for Plan {
    fn deserialize_reader<R: borsh::io::Read>(reader: &mut R) -> borsh::io::Result<Self> {
        let fields = PlanFields::deserialize_reader(reader)?;
        Self::try_from(fields).map_err(|_| borsh::io::Error::new(borsh::io::ErrorKind::InvalidData, "impossible plan"))
    }
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    #[test]
    fn plan__should_count_steps_and_tokens() {
        let plan = Plan::new(20, 8, 128).unwrap();
        assert_eq!(plan.assigned_tokens(), 20_480);
        assert_eq!([0, 1, 2, 12].map(|round| plan.first_inner_step(round)), [0, 20, 40, 240]);
        assert_eq!(plan.first_inner_step(u32::MAX), u64::from(u32::MAX) * 20);
        assert!(
            plan.can_assign(1_024) && plan.can_assign(20_480) && !plan.can_assign(0) && !plan.can_assign(1_000) && !plan.can_assign(21_504)
        );
        let probe = |steps, windows, tokens| Plan::new(steps, windows, tokens).unwrap().probe_windows();
        assert_eq!([probe(100, 8, 64), probe(100, 8, 8), probe(30, 16, 1_024), probe(5, 4, 32), probe(1, 2, 8)], [32, 100, 16, 20, 2]);
        // Rows of a table: a few thousand, where as many are assigned.
        assert_eq!([probe(100, 128, 1), probe(1_000, 128, 1), probe(10, 8, 1)], [1_600, 2_048, 64]);
        assert_eq!([0, 1_023, 1_024].map(|participant| plan.slot(participant)), [Some(0), Some(1_023), None]);
    }

    #[test]
    fn plan__should_refuse_impossible_numbers() {
        assert_eq!(Plan::new(0, 8, 128), Err(PlanError::Zero));
        assert_eq!(Plan::new(10_001, 1, 1), Err(PlanError::TooManySteps(10_001)));
        assert_eq!(Plan::new(10_000, u32::MAX, 2), Err(PlanError::TooManyTokens));
        assert_eq!(Plan::new(2, 1 << 10, 1 << 11).map(Plan::assigned_tokens), Ok(1 << 22));
        assert_eq!(Plan::new(2, 1 << 10, (1 << 11) + 1), Err(PlanError::TooManyTokens));
        assert!(borsh::from_slice::<Plan>(&[0; 12]).is_err());
    }
}
