//! Learning rates that follow accepted tokens: work that was refused or lost does not move them.

use crate::error::{Result, TrainingError};
use crate::ops::math::cosine_and_sine;
use starling_rounds::recipe::{DecayRecipe, Recipe};

/// How the rate falls from its peak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decay {
    /// Half a cosine from the end of the warm-up to the end of the run.
    Cosine,
    /// Stable at the peak, then in a straight line over the last `tokens` (arXiv:2404.06395).
    Last {
        /// At most what the warm-up leaves of the run.
        tokens: u64,
    },
}

/// A linear warm-up to a peak, then a decay to a floor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// The rate after the warm-up.
    pub peak: f64,
    /// The rate of the last step; not above the peak.
    pub floor: f64,
    /// Accepted tokens until the peak.
    pub warmup_tokens: u64,
    /// Accepted tokens of the whole run.
    pub total_tokens: u64,
    /// What follows the warm-up.
    pub decay: Decay,
}

impl Schedule {
    /// The schedule of a recipe, over the tokens of one participant.
    #[must_use]
    pub fn of(recipe: &Recipe) -> Self {
        let schedule = &recipe.schedule;
        Self {
            peak: schedule.peak_learning_rate,
            floor: schedule.floor_learning_rate,
            warmup_tokens: schedule.warmup_tokens,
            total_tokens: recipe.total_tokens(),
            decay: match schedule.decay {
                DecayRecipe::Cosine => Decay::Cosine,
                DecayRecipe::LastTokens(tokens) => Decay::Last { tokens },
            },
        }
    }

    /// This schedule if it is possible.
    ///
    /// # Errors
    /// [`TrainingError::BadRequest`] for rates that are not `0 <= floor <= peak`, or phases longer than the run.
    pub fn validated(self) -> Result<Self> {
        let rates = self.floor >= 0.0 && self.peak >= self.floor && self.peak.is_finite();
        let last = match self.decay {
            Decay::Cosine => 0,
            Decay::Last { tokens } => tokens,
        };
        if !rates || self.warmup_tokens.checked_add(last).is_none_or(|phases| phases > self.total_tokens) {
            return Err(TrainingError::BadRequest(format!(
                "a schedule cannot be {self:?}: its phases must fit the run, its floor the peak"
            )));
        }
        Ok(self)
    }

    /// The rate of a step of `step_tokens` after `accepted_tokens` of the run.
    #[must_use]
    pub fn rate(&self, accepted_tokens: u64, step_tokens: u64) -> f64 {
        let Self { peak, floor, warmup_tokens, total_tokens, decay } = *self;
        if accepted_tokens < warmup_tokens {
            return peak * (accepted_tokens.saturating_add(step_tokens) as f64 / warmup_tokens as f64).min(1.0);
        }
        // The last step begins `step_tokens` before the end, and has the floor.
        let start = match decay {
            Decay::Cosine => warmup_tokens,
            Decay::Last { tokens } => total_tokens.saturating_sub(tokens),
        };
        let length = total_tokens.saturating_sub(start.saturating_add(step_tokens)).max(1);
        let progress = (accepted_tokens.saturating_sub(start) as f64 / length as f64).min(1.0);
        let left = match decay {
            // (1 + cos(pi p)) / 2 = cos(pi p / 2)^2
            Decay::Cosine => cosine_and_sine(std::f64::consts::FRAC_PI_2 * progress).0.powi(2),
            Decay::Last { .. } => 1.0 - progress,
        };
        floor + (peak - floor) * left
    }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    fn schedule(decay: Decay) -> Schedule {
        Schedule { peak: 1.0, floor: 0.1, warmup_tokens: 400, total_tokens: 10_000, decay }.validated().expect("possible")
    }

    fn rates(decay: Decay) -> Vec<f64> {
        (0..110).map(|step| schedule(decay).rate(step * 100, 100)).collect()
    }

    #[test]
    fn rate__should_warm_up_stay_and_decay_to_the_floor_in_a_line() {
        let rates = rates(Decay::Last { tokens: 2_000 });
        assert_eq!(rates[..5], [0.25, 0.5, 0.75, 1.0, 1.0]);
        assert!(rates[4..=80].iter().all(|rate| *rate == 1.0));
        assert!((rates[90] - (1.0 - 0.9 * 10.0 / 19.0)).abs() < 1e-12, "{}", rates[90]);
        assert!(rates[80..100].windows(2).all(|pair| pair[1] < pair[0]));
        assert!(rates[99..].iter().all(|rate| (rate - 0.1).abs() < 1e-12));
    }

    #[test]
    fn rate__should_follow_the_cosine() {
        for (step, rate) in rates(Decay::Cosine).into_iter().enumerate().skip(4) {
            let progress = ((step as f64 - 4.0) / 95.0).min(1.0);
            let exact = 0.1 + 0.45 * (1.0 + (std::f64::consts::PI * progress).cos());
            assert!((rate - exact).abs() < 1e-12, "{step}: {rate} against {exact}");
        }
    }

    #[test]
    fn rate__should_stay_finite_and_below_the_peak_for_any_count() {
        let schedule = schedule(Decay::Cosine);
        assert!(schedule.rate(5_000, 100) > schedule.rate(5_400, 100));
        assert!(schedule.rate(u64::MAX, u64::MAX).is_finite());
        assert!(schedule.rate(0, u64::MAX) <= 1.0);
    }

    #[test]
    fn validated__should_refuse_impossible_schedules() {
        let plain = schedule(Decay::Cosine);
        for wrong in [
            Schedule { floor: 2.0, ..plain },
            Schedule { floor: -0.1, ..plain },
            Schedule { peak: f64::NAN, ..plain },
            Schedule { warmup_tokens: 10_001, ..plain },
            Schedule { decay: Decay::Last { tokens: 9_601 }, ..plain },
            Schedule { decay: Decay::Last { tokens: u64::MAX }, ..plain },
        ] {
            assert!(wrong.validated().is_err(), "{wrong:?}");
        }
    }
}
