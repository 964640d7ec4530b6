//! When a run has gone astray: the loss on unseen data, measured before each round, rises out of line.

use crate::gate::{Nats, SPIKE};

/// Losses that a state remembers.
pub(crate) const PROBES: usize = 8;
/// Of fewer no deviation is told.
const ENOUGH: usize = 5;
const DEVIATIONS: i128 = 3;

/// Whether `probe` lies more than three standard deviations above the mean of those before it, and a spike (0.05 nats) above all of them.
///
/// Each round draws other windows. The second limit keeps their scatter, which of few losses looks smaller than it is, from passing for harm.
pub(crate) fn is_astray(before: &[Nats], probe: Nats) -> bool {
    let highest = before.iter().max().filter(|_| before.len() >= ENOUGH);
    let Some(highest) = highest else { return false };
    let within = |nats: Nats| i128::from(nats.0.clamp(-Nats::MOST.0, Nats::MOST.0));
    let (count, sum) = (before.len() as i128, before.iter().copied().map(within).sum::<i128>());
    let squares: i128 = before.iter().copied().map(within).map(|value| value * value).sum();
    // With n values: (n probe - sum)^2 / n^2 > 9 (n squares - sum^2) / (n (n - 1)).
    let above = count * within(probe) - sum;
    let out_of_line = above > 0 && above * above * (count - 1) > DEVIATIONS * DEVIATIONS * count * (count * squares - sum * sum);
    out_of_line && within(probe) > within(*highest) + i128::from(SPIKE)
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;
    use proptest::prelude::*;

    fn nats(losses: &[f64]) -> Vec<Nats> {
        losses.iter().map(|loss| Nats::from_loss(*loss).unwrap()).collect()
    }

    #[test]
    fn drift__should_be_seen_beyond_three_deviations_and_a_spike() {
        let flat = nats(&[2.00, 2.02, 1.99, 2.01, 1.98, 2.00]);
        let astray = |before: &[Nats], loss: f64| is_astray(before, Nats::from_loss(loss).unwrap());
        assert!(!astray(&flat, 2.06), "three deviations, but no spike");
        assert!(astray(&flat, 2.08) && is_astray(&flat, Nats::MOST));
        assert!(!astray(&flat, 1.0), "it falls");
        // While the loss falls fast, more is usual.
        let falling = nats(&[5.0, 4.0, 3.4, 3.0, 2.8, 2.7]);
        assert!(!astray(&falling, 5.2) && astray(&falling, 6.3));
        assert!(!astray(&flat[..4], 9.0), "too few to tell");
        assert!(!astray(&[], 9.0));
    }

    proptest! {
        #[test]
        fn drift__should_be_as_in_real_numbers(losses in prop::collection::vec(0.0_f64..12.0, 0..=PROBES), probe in 0.0_f64..40.0) {
            let count = losses.len() as f64;
            let mean = losses.iter().sum::<f64>() / count;
            let deviation = (losses.iter().map(|loss| (loss - mean).powi(2)).sum::<f64>() / (count - 1.0)).sqrt();
            let limit = (mean + 3.0 * deviation).max(losses.iter().copied().fold(0.0, f64::max) + 0.05);
            prop_assume!((probe - limit).abs() > 1e-3 || losses.len() < ENOUGH);
            let expected = losses.len() >= ENOUGH && probe > limit;
            prop_assert_eq!(is_astray(&nats(&losses), Nats::from_loss(probe).unwrap()), expected);
        }

        #[test]
        fn drift__should_take_any_numbers(losses in prop::collection::vec(any::<i64>(), 0..=PROBES), probe in any::<i64>()) {
            let losses: Vec<Nats> = losses.into_iter().map(Nats).collect();
            let _ = is_astray(&losses, Nats(probe));
        }
    }
}
