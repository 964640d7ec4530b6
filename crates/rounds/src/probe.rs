//! On which windows an update is scored: drawn after the commitments, so that nobody trains on those alone.

use std::ops::Range;

use crate::hash::{Hash32, tagged};

const OWN_DOMAIN: &str = "starling/probe-own/1";
const UNSEEN_DOMAIN: &str = "starling/probe-unseen/1";

/// Which of the windows assigned to `participant` are scored: `count` of them, of all different steps where there are enough,
/// as steps in rising order and a place in each step's batch.
///
/// `seed` is the round's, which becomes known only after the commitments ([`crate::ScorerDraw::seed`]). Whoever trains on
/// a part of its data alone is scored on the rest too.
pub fn own_probe_windows(seed: &Hash32, participant: u16, steps: Range<u64>, windows_per_step: u32, count: usize) -> Vec<(u64, u32)> {
    let drawn = |step: u64| tagged(OWN_DOMAIN, &[&seed.0, &participant.to_le_bytes(), &step.to_le_bytes()]).0;
    let mut ranked: Vec<([u8; 32], u64)> = steps.map(|step| (drawn(step), step)).collect();
    ranked.sort_unstable();
    let count = count.min(ranked.len().saturating_mul(usize::try_from(windows_per_step).unwrap_or(usize::MAX)));
    let window = |(turn, (rank, step)): (usize, &([u8; 32], u64))| {
        let first = u32::from_le_bytes([rank[28], rank[29], rank[30], rank[31]]) % windows_per_step;
        let turn = u32::try_from(turn / ranked.len()).unwrap_or(0);
        (*step, (first + turn) % windows_per_step)
    };
    let mut windows: Vec<(u64, u32)> = ranked.iter().cycle().enumerate().take(count).map(window).collect();
    windows.sort_unstable();
    windows
}

/// Steps of [`crate::UNSEEN_SLOT`], which nobody trains, whose first windows are the unseen part of a score: others in each round.
pub fn unseen_probe_steps(seed: &Hash32, count: usize) -> Vec<u64> {
    let step = |index: usize| {
        let [a, b, c, d, e, f, ..] = tagged(UNSEEN_DOMAIN, &[&seed.0, &(index as u64).to_le_bytes()]).0;
        u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
    };
    (0..count).map(step).collect()
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    #[test]
    fn own_windows__should_be_drawn_evenly_and_by_seed_and_participant() {
        let seed = |byte: u8| Hash32([byte; 32]);
        let drawn = own_probe_windows(&seed(1), 3, 40..60, 8, 4);
        assert_eq!(drawn, own_probe_windows(&seed(1), 3, 40..60, 8, 4));
        assert!(drawn.len() == 4 && drawn.windows(2).all(|pair| pair[0].0 < pair[1].0), "{drawn:?}");
        assert!(drawn.iter().all(|(step, window)| (40..60).contains(step) && *window < 8));
        assert_ne!(drawn, own_probe_windows(&seed(2), 3, 40..60, 8, 4));
        assert_ne!(drawn, own_probe_windows(&seed(1), 4, 40..60, 8, 4));
        // Fewer steps than windows: each step gives several, none twice; and never more than there are.
        assert_eq!(own_probe_windows(&seed(1), 3, 7..9, 2, 9), [(7, 0), (7, 1), (8, 0), (8, 1)]);
        assert!(own_probe_windows(&seed(1), 3, 7..7, 2, 9).is_empty());
        let (mut steps, mut windows) = ([0_u32; 20], [0_u32; 4]);
        for byte in 0..=u8::MAX {
            for (step, window) in own_probe_windows(&seed(byte), 0, 0..20, 4, 5) {
                steps[usize::try_from(step).unwrap()] += 1;
                windows[window as usize] += 1;
            }
        }
        // 64 and 320 each; standard deviations about 7 and 16.
        assert!(
            steps.iter().all(|count| (30..100).contains(count)) && windows.iter().all(|count| (240..400).contains(count)),
            "{steps:?} {windows:?}"
        );
    }

    #[test]
    fn unseen_steps__should_differ_from_each_other_and_by_seed() {
        let drawn = unseen_probe_steps(&Hash32([1; 32]), 3);
        assert!(drawn[0] != drawn[1] && drawn[1] != drawn[2]);
        assert_ne!(drawn, unseen_probe_steps(&Hash32([2; 32]), 3));
    }
}
