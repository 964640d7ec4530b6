//! Draws who scores a round, from what nobody could know when the updates were committed.

use crate::hash::{Hash32, tagged};

const DOMAIN: &str = "starling/scorer/1";
const COMMITMENTS_DOMAIN: &str = "starling/commitments/1";

/// What a participant committed to before the freeze.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Committed {
    /// Its place in the roster.
    pub participant: u16,
    /// Hash of its update.
    pub update: Hash32,
    /// Tokens of the steps that it was told to make.
    pub assigned_tokens: u32,
}

/// All who committed in the order in which they are asked to score: the first scores, the next takes over if it is silent.
///
/// Where steps are paced, who is so slow that it was given less than half of the median's tokens comes after all others: the
/// round would wait for its scores. At least half of them are never passed over, so nobody's chance more than doubles.
///
/// `seed` must become known only after `commitments` are frozen (a later block's hash, say): whoever knows it earlier
/// can choose its commitment so that it is drawn. Order and repetition of the commitments do not matter.
pub fn scorer_order(seed: &Hash32, commitments: &[Committed]) -> Vec<u16> {
    let mut sorted = commitments.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let bytes: Vec<u8> = sorted.iter().flat_map(|one| [&one.participant.to_le_bytes()[..], &one.update.0[..]].concat()).collect();
    let frozen = tagged(COMMITMENTS_DOMAIN, &[&bytes]);
    let mut tokens: Vec<u32> = sorted.iter().map(|one| one.assigned_tokens).collect();
    tokens.sort_unstable();
    let median = tokens.get(tokens.len() / 2).copied().unwrap_or(0);
    let is_slow = |one: &Committed| one.assigned_tokens < median.div_ceil(2);
    let rank = |one: &Committed| tagged(DOMAIN, &[&seed.0, &frozen.0, &one.participant.to_le_bytes()]).0;
    sorted.sort_by_cached_key(|one| (is_slow(one), rank(one), one.participant));
    sorted.into_iter().map(|one| one.participant).collect()
}

/// A participant that is asked to score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judge {
    /// Its place.
    pub place: u16,
    /// The places whose updates it judges; at least one.
    pub updates: Vec<u16>,
}

/// Who judges whose update: the drawn scorer all but its own, and the next in the drawn order that one.
///
/// `order` is [`scorer_order`]'s, `skipped` how many at its beginning did not answer (beyond its end it starts anew), `valid` the
/// places whose updates are to be scored. Nobody judges its own work, except who committed alone: there is nobody else.
pub fn judges(order: &[u16], skipped: u16, valid: &[u16]) -> Vec<Judge> {
    let Some((scorer, second)) = judge_pair(order, skipped) else { return Vec::new() };
    if scorer == second {
        return vec![Judge { place: scorer, updates: valid.to_vec() }];
    }
    let (own, others): (Vec<u16>, Vec<u16>) = valid.iter().partition(|place| **place == scorer);
    let asked = [Judge { place: scorer, updates: others }, Judge { place: second, updates: own }];
    asked.into_iter().filter(|judge| !judge.updates.is_empty()).collect()
}

/// The scorer after `skipped` silent ones and the next in the order, which is the first again after the last; `None` of nobody.
pub fn judge_pair(order: &[u16], skipped: u16) -> Option<(u16, u16)> {
    let at = usize::from(skipped).checked_rem(order.len())?;
    Some((order[at], order[(at + 1) % order.len()]))
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    fn committed(participant: u16, assigned_tokens: u32) -> Committed {
        Committed { participant, update: Hash32([u8::try_from(participant).unwrap(); 32]), assigned_tokens }
    }

    fn seeded(seed: u16) -> Hash32 {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&seed.to_le_bytes());
        Hash32(bytes)
    }

    #[test]
    fn order__should_be_a_permutation_that_arguments_order_does_not_change() {
        let commitments: Vec<_> = (0..5).map(|i| committed(i, 640)).collect();
        let mut reversed: Vec<_> = commitments.iter().rev().copied().collect();
        reversed.push(commitments[1]);
        let order = scorer_order(&Hash32([1; 32]), &commitments);
        assert_eq!(order, scorer_order(&Hash32([1; 32]), &reversed));
        let mut sorted = order;
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2, 3, 4]);
        assert!(scorer_order(&Hash32([1; 32]), &[]).is_empty());
    }

    #[test]
    fn order__should_ask_the_slow_last_and_favour_nobody_else() {
        let tokens = [100, 25, 50, 100, 49, 800];
        let commitments: Vec<_> = (0..).zip(tokens).map(|(i, tokens)| committed(i, tokens)).collect();
        let mut first = [0_u32; 6];
        for seed in 0..1_000_u16 {
            let order = scorer_order(&seeded(seed), &commitments);
            let mut last = order[4..].to_vec();
            last.sort_unstable();
            assert_eq!(last, [1, 4], "{order:?}");
            first[usize::from(order[0])] += 1;
        }
        assert!([0, 2, 3, 5].iter().all(|who| (180..320).contains(&first[*who])), "{first:?}");
    }

    #[test]
    fn judges__should_never_judge_their_own_work_but_alone() {
        let judge = |place, updates: &[u16]| Judge { place, updates: updates.to_vec() };
        for (order, skipped, valid, expected) in [
            (vec![2, 0, 1], 0, vec![0, 1, 2], vec![judge(2, &[0, 1]), judge(0, &[2])]),
            (vec![2, 0, 1], 2, vec![0, 1, 2], vec![judge(1, &[0, 2]), judge(2, &[1])]),
            (vec![2, 0, 1], 3, vec![0], vec![judge(2, &[0])]),
            (vec![2, 0, 1], 0, vec![2], vec![judge(0, &[2])]),
            (vec![4], 0, vec![4], vec![judge(4, &[4])]),
            (vec![], 0, vec![], vec![]),
        ] {
            assert_eq!(judges(&order, skipped, &valid), expected, "{order:?} {skipped} {valid:?}");
        }
    }

    #[test]
    fn draw__should_be_even_over_seeds_and_depend_on_every_commitment() {
        let commitments: Vec<_> = (0..4).map(|i| committed(i, 640)).collect();
        let mut other = commitments.clone();
        other[1].update = Hash32([9; 32]);
        let mut drawn = [0_u32; 4];
        let mut moved = 0;
        for seed in 0..1_000_u16 {
            let scorer = scorer_order(&seeded(seed), &commitments)[0];
            drawn[usize::from(scorer)] += 1;
            moved += u32::from(scorer_order(&seeded(seed), &other)[0] != scorer);
        }
        // Standard deviation about 14: five of them.
        assert!(drawn.iter().all(|count| (180..320).contains(count)), "{drawn:?}");
        assert!((680..820).contains(&moved), "{moved}");
    }
}
