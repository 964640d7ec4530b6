//! How many steps each participant is given, and how long the others wait for it. Both follow from what the coordinator saw.

use serde::{Deserialize, Serialize};

/// The least part of a round's steps that a participant is given: who is slower by more is late.
const LEAST_PART: u32 = 16;
/// What a participant is given of which nothing was seen yet.
const FIRST_PART: u32 = 4;
/// After the quorum's last commitment others have at least so long.
const LATE_GRACE_MS: u64 = 5_000;
/// Others have this many times the median.
const LATE_FACTOR: u64 = 3;

/// What was seen of a participant's last round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    /// Steps that it was given and committed to.
    pub steps: u32,
    /// From the message that started its round to its commitment.
    pub took_ms: u64,
}

/// Steps for each participant such that all commit when the fastest has made `inner_steps_per_round`; at least a sixteenth of them.
///
/// A new one gets a quarter, which shows its pace. What a node says of its own speed is not asked for: only when its
/// commitment came counts, and that it made fewer steps than it was given is found by re-execution ([`crate::Segments`]).
pub fn paced_steps(inner_steps_per_round: u32, seen: &[Option<Pace>]) -> Vec<u32> {
    let all = inner_steps_per_round;
    let rate = |pace: &Pace| (u64::from(pace.steps), pace.took_ms.max(1));
    let faster = |a: &(u64, u64), b: &(u64, u64)| (u128::from(a.0) * u128::from(b.1)).cmp(&(u128::from(b.0) * u128::from(a.1)));
    let fastest = seen.iter().flatten().map(rate).max_by(faster).filter(|(steps, _)| *steps > 0);
    let given = |pace: &Option<Pace>| match (pace, fastest) {
        (Some(pace), Some((best_steps, best_ms))) => {
            let (steps, ms) = rate(pace);
            let part = u128::from(all) * u128::from(steps) * u128::from(best_ms) / (u128::from(ms) * u128::from(best_steps));
            u32::try_from(part).unwrap_or(all).clamp(all.div_ceil(LEAST_PART), all)
        }
        _ => all.div_ceil(FIRST_PART),
    };
    seen.iter().map(given).collect()
}

/// When commitments close though some are missing: the quorum's last and five seconds, or three times the median, whichever
/// is later. `committed_ms` are the times from the round's start of those that came; `None` while they are no quorum.
pub fn late_after_ms(committed_ms: &[u64], quorum: usize) -> Option<u64> {
    let mut sorted = committed_ms.to_vec();
    sorted.sort_unstable();
    let quorum_ms = sorted.get(quorum.checked_sub(1)?)?;
    let median_ms = sorted.get(sorted.len() / 2)?;
    Some(median_ms.saturating_mul(LATE_FACTOR).max(quorum_ms.saturating_add(LATE_GRACE_MS)))
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    #[test]
    fn paced_steps__should_let_all_end_at_once() {
        let pace = |steps, took_ms| Some(Pace { steps, took_ms });
        for (seen, expected) in [
            (vec![], vec![]),
            (vec![None, None], vec![8, 8]),
            (vec![pace(8, 1_000), pace(8, 2_000), pace(8, 3_000)], vec![32, 16, 10]),
            // What was given last time does not matter, only the rate.
            (vec![pace(32, 4_000), pace(16, 4_000), pace(10, 3_750)], vec![32, 16, 10]),
            (vec![pace(32, 1_000), pace(1, 1_000_000), None], vec![32, 2, 8]),
            (vec![pace(32, 0), pace(0, 10)], vec![32, 2]),
            (vec![pace(0, 5)], vec![8]),
            (vec![pace(u32::MAX, 1), pace(1, u64::MAX)], vec![32, 2]),
        ] {
            assert_eq!(paced_steps(32, &seen), expected, "{seen:?}");
        }
    }

    #[test]
    fn late_after__should_wait_for_a_quorum_and_then_not_for_ever() {
        for (committed_ms, quorum, expected) in [
            (vec![], 1, None),
            (vec![10, 20], 3, None),
            (vec![1_000, 2_000, 1_500], 3, Some(7_000)),
            (vec![60_000, 61_000, 62_000], 3, Some(183_000)),
            (vec![5], 0, None),
            (vec![u64::MAX], 1, Some(u64::MAX)),
        ] {
            assert_eq!(late_after_ms(&committed_ms, quorum), expected, "{committed_ms:?}");
        }
    }
}
