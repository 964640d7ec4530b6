//! When a step's loss stands so far above the last ones' that its own node withdraws it.

use crate::error::{Result, TrainingError};

/// Steps that are kept before the first can be withdrawn.
const LEARNED_AFTER: u32 = 32;
/// How much of the mean a new loss is.
const SHARE: f64 = 1.0 / 32.0;
/// Nats above the mean that are never a spike: where losses are near zero, a hard example is no accident.
const LEAST: f64 = 0.5;
/// So many spikes in a row are the new state of things, which is learned anew.
const MOST_IN_A_ROW: u32 = 3;

/// Running mean and deviation of the losses that were kept.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Spikes {
    /// 0 keeps all.
    deviations: f64,
    mean: f64,
    variance: f64,
    kept: u32,
    in_a_row: u32,
}

impl Spikes {
    pub(super) fn new(deviations: f64) -> Self {
        Self { deviations, mean: 0.0, variance: 0.0, kept: 0, in_a_row: 0 }
    }

    /// Whether a step of this finite loss is kept; it is then part of the mean.
    pub(super) fn keep(&mut self, loss: f64) -> bool {
        let limit = self.mean + (self.deviations * self.variance.sqrt()).max(LEAST);
        if self.deviations > 0.0 && self.kept >= LEARNED_AFTER && loss > limit {
            self.in_a_row += 1;
            if self.in_a_row <= MOST_IN_A_ROW {
                return false;
            }
            *self = Self::new(self.deviations);
        }
        self.in_a_row = 0;
        let share = SHARE.max(1.0 / (f64::from(self.kept) + 1.0));
        let away = loss - self.mean;
        self.mean += share * away;
        self.variance = (1.0 - share) * (self.variance + share * away * away);
        self.kept = self.kept.saturating_add(1);
        true
    }

    /// All of it but the limit, for a checkpoint.
    pub(super) fn to_text(&self) -> String {
        format!("{:016x} {:016x} {} {}", self.mean.to_bits(), self.variance.to_bits(), self.kept, self.in_a_row)
    }

    /// Puts back what [`Spikes::to_text`] gave.
    pub(super) fn restore(&mut self, text: &str) -> Result<()> {
        let parts: Vec<&str> = text.split(' ').collect();
        let bits = |at: usize| parts.get(at).and_then(|part| u64::from_str_radix(part, 16).ok()).map(f64::from_bits);
        let number = |at: usize| parts.get(at).and_then(|part| part.parse().ok());
        match (bits(0), bits(1), number(2), number(3)) {
            (Some(mean), Some(variance), Some(kept), Some(in_a_row)) => {
                *self = Self { deviations: self.deviations, mean, variance, kept, in_a_row };
                Ok(())
            }
            _ => Err(TrainingError::BadCheckpoint(format!("`spikes` in its header is damaged: {text:?}"))),
        }
    }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;
    use crate::random::Stream;

    /// Losses that fall from 5 to 2 with a deviation of 0.1.
    fn losses() -> Vec<f64> {
        let mut noise = vec![0.0; 2_000];
        Stream::new("spikes test", 1, &[]).fill_normal(0.1, &mut noise);
        noise.into_iter().enumerate().map(|(step, noise)| 2.0 + 3.0 / (1.0 + step as f64 / 100.0) + f64::from(noise)).collect()
    }

    #[test]
    fn spikes__should_keep_honest_noise_and_withdraw_what_leaps() {
        let mut spikes = Spikes::new(6.0);
        for (step, loss) in losses().into_iter().enumerate() {
            assert!(spikes.keep(loss), "step {step}");
            // While it still falls fast, the fall itself is most of the deviation.
            if step > 300 && step % 100 == 99 {
                let before = spikes.clone();
                assert!(!spikes.keep(loss + 2.0), "a leap after step {step}");
                assert_eq!((spikes.mean, spikes.kept), (before.mean, before.kept));
            }
        }
        let mut all = Spikes::new(0.0);
        assert!(losses().iter().all(|loss| all.keep(*loss)) && all.keep(1e9));
    }

    #[test]
    fn spikes__should_learn_a_new_state_that_stays() {
        let mut spikes = Spikes::new(6.0);
        assert!(losses().into_iter().all(|loss| spikes.keep(loss)));
        let kept: Vec<bool> = (0..6).map(|_| spikes.keep(9.0)).collect();
        assert_eq!(kept, [false, false, false, true, true, true]);
    }

    #[test]
    fn spikes__should_come_back_from_text_bit_by_bit() {
        let mut spikes = Spikes::new(5.0);
        losses().into_iter().take(100).for_each(|loss| assert!(spikes.keep(loss)));
        let mut read = Spikes::new(5.0);
        read.restore(&spikes.to_text()).expect("readable");
        assert_eq!(read, spikes);
        assert!(read.restore("1 2").is_err());
    }
}
