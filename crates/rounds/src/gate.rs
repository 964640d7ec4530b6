//! The gate: which updates count, decided from four losses each. Pure, in fixed point, so that anyone repeats it.
//!
//! A scorer measures the loss on the participant's own windows and on unseen ones, before and after a short step along
//! the update ([`PROBE_STEP`]). Honest work lowers the loss, and lowers it more on the data it was made from. Zeros
//! lower nothing; noise and flipped signs raise it; a copy, or work on other data than assigned, lowers the loss on its
//! "own" data no more than on unseen data. The numbers behind the limits stand at each constant.

use std::cmp::Reverse;

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

use crate::aggregate::median;
use crate::assignment::Share;
use crate::record::Refusal;

/// Fraction of an update at which it is scored: far along the whole of it even harmful work can look useful.
pub const PROBE_STEP: f32 = 0.2;
/// 2^20 units per nat.
const UNITS_PER_NAT: f64 = 1_048_576.0;
/// Losses beyond a million nats are no losses.
const MAX_NATS: f64 = 1_000_000.0;
/// A drop below this (4e-6 nats) is the noise of an `f32` mean.
const MIN_DROP: i64 = 4;
/// A drop below an eighth of the median is no share of the work: with the measured spread of honest work (0.0267
/// +- 0.0062) this is 3.8 standard deviations away.
const MIN_DROP_DIVISOR: i64 = 8;
/// The same for the difference between own and unseen data, and then only where the others agree: it must also lie
/// this many median deviations below the median. With few windows honest differences scatter widely.
const MIN_GAP_DIVISOR: i64 = 8;
const MIN_GAP_DEVIATIONS: i64 = 2;
/// The difference is looked at only where it is at least half of the drop. Early in a run everything lowers every loss,
/// and the difference drowns in the spread between windows.
const GAP_SHARE_DIVISOR: i64 = 2;
/// Raising the loss on unseen data by more than 0.05 nats and half of what others gain is a spike, not bad luck: on a
/// few hundred tokens at an unsteady learning rate honest work raised it by 0.017.
pub(crate) const SPIKE: i64 = 52_429;

/// A loss or a difference of losses in 2^-20 nats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nats(pub i64);

impl Nats {
    /// A million nats: more is no loss.
    pub const MOST: Self = Self(1_000_000 << 20);

    /// Rounds to the nearest unit; `None` for what is not finite or beyond a million nats.
    pub fn from_loss(loss: f64) -> Option<Self> {
        if !loss.is_finite() || loss.abs() > MAX_NATS {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "a whole number below 2^40")]
        let units = (loss * UNITS_PER_NAT).round_ties_even() as i64;
        Some(Self(units))
    }

    /// [`Self::from_loss`], where a loss of more than a million nats or of no number is the highest that there is.
    pub fn or_most(loss: f64) -> Self {
        Self::from_loss(loss).unwrap_or(Self::MOST)
    }

    /// In nats, for people to read.
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / UNITS_PER_NAT
    }
}

/// How much a short step along an update lowers the loss; negative where it raises it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Score {
    /// On the windows that the participant was assigned in this round.
    pub own: Nats,
    /// On windows of [`crate::UNSEEN_SLOT`].
    pub unseen: Nats,
}

impl Score {
    /// `before - after`, each; `None` (to be refused as [`Refusal::NotFinite`]) if a loss is not finite.
    pub fn from_losses(own_before: f64, own_after: f64, unseen_before: f64, unseen_after: f64) -> Option<Self> {
        let drop = |before, after| Some(Nats(Nats::from_loss(before)?.0 - Nats::from_loss(after)?.0));
        Some(Self { own: drop(own_before, own_after)?, unseen: drop(unseen_before, unseen_after)? })
    }

    /// As if the whole of an assignment had been made at the rate of this share of it.
    fn of_whole(self, share: Share) -> Self {
        let scaled = |drop: Nats| {
            let whole = i128::from(drop.0) * i128::from(share.of) / i128::from(share.tokens.max(1));
            Nats(i64::try_from(whole).unwrap_or(if whole < 0 { i64::MIN } else { i64::MAX }))
        };
        Self { own: scaled(self.own), unseen: scaled(self.unseen) }
    }

    /// How much more the loss fell on own data.
    pub fn gap(self) -> Nats {
        Nats(self.own.0.saturating_sub(self.unseen.0))
    }
}

/// What is usual in a round for whole work: medians over all of its scored updates, accepted or not, each scaled by its share.
///
/// Of an even number the upper of the two in the middle, so that half of the participants cannot lower it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cohort {
    /// Median drop on own data.
    pub own: Nats,
    /// Median of [`Score::gap`].
    pub gap: Nats,
    /// Median distance of a gap from that median.
    pub gap_deviation: Nats,
}

impl Cohort {
    /// The medians; zeros of nothing.
    pub fn of(scores: &[(Score, Share)]) -> Self {
        let scores: Vec<Score> = scores.iter().map(|(score, share)| score.of_whole(*share)).collect();
        let own = upper_median(scores.iter().map(|score| score.own));
        let gap = upper_median(scores.iter().map(|score| score.gap()));
        let distance = |score: &Score| Nats(score.gap().0.saturating_sub(gap.0).saturating_abs());
        Self { own, gap, gap_deviation: upper_median(scores.iter().map(distance)) }
    }
}

fn upper_median(values: impl Iterator<Item = Nats>) -> Nats {
    let reversed: Vec<Reverse<Nats>> = values.map(Reverse).collect();
    median(&reversed).unwrap_or_default().0
}

/// What the gate says of one update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Pass,
    /// It earns nothing, for this reason.
    Refuse(Refusal),
}

/// Judges one score, made with a share of a whole assignment, against its round.
///
/// [`Refusal::LossSpike`]: the loss on unseen data rises by much. [`Refusal::GateRefused`]: the loss on own data does not
/// fall, or by less than an eighth of the median. [`Refusal::Copied`]: it falls on own data as on any other, while
/// that of others does not. With a majority of dishonest participants the medians mean nothing.
pub fn gate(score: Score, share: Share, cohort: Cohort) -> Verdict {
    let usual = cohort.own.0.max(0);
    if score.unseen.0 < -SPIKE - usual / 2 {
        return Verdict::Refuse(Refusal::LossSpike);
    }
    let whole = score.of_whole(share);
    if score.own.0 < MIN_DROP || whole.own.0 < usual / MIN_DROP_DIVISOR {
        return Verdict::Refuse(Refusal::GateRefused);
    }
    let gap_tells = cohort.gap.0 >= MIN_DROP && cohort.gap.0 >= usual / GAP_SHARE_DIVISOR;
    let scatter = cohort.gap_deviation.0.saturating_mul(MIN_GAP_DEVIATIONS);
    let least_gap = (cohort.gap.0 / MIN_GAP_DIVISOR).min(cohort.gap.0.saturating_sub(scatter));
    if gap_tells && whole.gap().0 < least_gap {
        return Verdict::Refuse(Refusal::Copied);
    }
    Verdict::Pass
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    fn score(own: f64, unseen: f64) -> Score {
        Score::from_losses(2.0, 2.0 - own, 2.0, 2.0 - unseen).unwrap()
    }

    fn cohort(scores: &[Score]) -> Cohort {
        Cohort::of(&scores.iter().map(|score| (*score, Share::WHOLE)).collect::<Vec<_>>())
    }

    fn verdict_among_honest(suspect: Score) -> Verdict {
        let honest = [score(0.030, 0.003), score(0.024, 0.001), score(0.021, -0.002)];
        let cohort = cohort(&[honest[0], honest[1], honest[2], suspect]);
        for other in honest {
            assert_eq!(gate(other, Share::WHOLE, cohort), Verdict::Pass);
        }
        gate(suspect, Share::WHOLE, cohort)
    }

    #[test]
    fn gate__should_pass_honest_work_and_refuse_the_rest() {
        let refuse = Verdict::Refuse;
        for (name, suspect, expected) in [
            ("honest", score(0.027, 0.001), Verdict::Pass),
            ("weak but honest", score(0.010, 0.001), Verdict::Pass),
            ("zeros", score(0.0, 0.0), refuse(Refusal::GateRefused)),
            ("noise", score(-0.0004, -0.0003), refuse(Refusal::GateRefused)),
            ("lucky noise", score(0.0004, -0.0003), refuse(Refusal::GateRefused)),
            ("flipped", score(-0.030, -0.020), refuse(Refusal::GateRefused)),
            ("flipped tenfold", score(-1.3, -0.9), refuse(Refusal::LossSpike)),
            ("copied", score(0.0031, 0.0030), refuse(Refusal::Copied)),
            ("copied in a steep place", score(0.0200, 0.0198), refuse(Refusal::Copied)),
        ] {
            assert_eq!(verdict_among_honest(suspect), expected, "{name}");
        }
    }

    #[test]
    fn gate__should_measure_a_share_by_its_share() {
        let quarter = Share { tokens: 160, of: 640 };
        let honest = [score(0.030, 0.003), score(0.024, 0.001), score(0.021, -0.002)];
        let (small, less) = (score(0.007, 0.001), score(0.0006, 0.0));
        let mut all: Vec<_> = honest.map(|score| (score, Share::WHOLE)).to_vec();
        all.extend([(small, quarter), (less, quarter)]);
        let cohort = Cohort::of(&all);
        assert_eq!(gate(small, quarter, cohort), Verdict::Pass);
        assert_eq!(gate(less, quarter, cohort), Verdict::Refuse(Refusal::GateRefused));
        assert_eq!(gate(score(0.0029, 0.0), Share::WHOLE, cohort), Verdict::Refuse(Refusal::GateRefused));
        assert_eq!(gate(score(f64::from(1 << 19), 0.0), Share { tokens: 1, of: u32::MAX }, cohort), Verdict::Pass);
    }

    #[test]
    fn gate__should_not_look_at_the_gap_where_everything_lowers_every_loss() {
        let early = [score(0.50, 0.48), score(0.47, 0.48), score(0.52, 0.49)];
        let cohort = cohort(&early);
        assert!(early.iter().all(|one| gate(*one, Share::WHOLE, cohort) == Verdict::Pass));
    }

    /// What a run of the byte model of 1.3 M parameters and one of a toy on 256 tokens measured.
    #[test]
    fn gate__should_judge_measured_rounds_rightly() {
        for (honest, wrong_data) in [
            ([(0.0355, 0.0140), (0.0367, 0.0095), (0.0335, 0.0134)], Some((0.0199, 0.0180))),
            ([(0.0307, 0.0150), (0.0343, 0.0137), (0.0313, 0.0155)], Some((0.0175, 0.0188))),
            ([(0.0245, 0.0060), (0.0307, 0.0140), (0.0347, 0.0134)], Some((0.0105, 0.0105))),
            ([(1.2841, 1.1803), (1.2352, 1.1977), (1.0278, 1.1895)], None),
            ([(0.0352, 0.0197), (0.0314, 0.0164), (0.0442, 0.0238)], None),
            // So few tokens that honest differences scatter: nobody may be called a copier.
            ([(0.0278, 0.0274), (0.0295, 0.0136), (0.0526, 0.0193)], None),
        ] {
            let mut scores = honest.map(|(own, unseen)| score(own, unseen)).to_vec();
            scores.extend(wrong_data.map(|(own, unseen)| score(own, unseen)));
            let cohort = cohort(&scores);
            for (place, one) in scores.iter().enumerate() {
                let expected = if place < 3 { Verdict::Pass } else { Verdict::Refuse(Refusal::Copied) };
                assert_eq!(gate(*one, Share::WHOLE, cohort), expected, "{one:?} in {honest:?}");
            }
        }
    }

    #[test]
    fn gate__should_refuse_everything_that_does_not_help_even_if_nothing_does() {
        let useless = cohort(&[score(0.0, 0.0), score(-0.1, 0.0)]);
        assert_eq!(gate(score(0.0, 0.0), Share::WHOLE, useless), Verdict::Refuse(Refusal::GateRefused));
        assert_eq!(gate(score(0.0, 0.0), Share::WHOLE, cohort(&[])), Verdict::Refuse(Refusal::GateRefused));
    }

    #[test]
    fn score__should_refuse_losses_that_are_no_numbers() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.0e7] {
            assert_eq!(Score::from_losses(2.0, bad, 2.0, 2.0), None);
            assert_eq!(Score::from_losses(bad, 2.0, 2.0, 2.0), None);
            assert_eq!(Score::from_losses(2.0, 2.0, bad, bad), None);
        }
        assert_eq!(Nats::from_loss(1.0), Some(Nats(1 << 20)));
        assert_eq!(Nats::from_loss(-0.5).map(Nats::to_f64), Some(-0.5));
    }
}
