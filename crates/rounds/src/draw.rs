//! Draws who scores a round, from what nobody could know when the updates were committed.

use crate::hash::{Hash32, tagged};

const DOMAIN: &str = "starling/scorer/1";
const COMMITMENTS_DOMAIN: &str = "starling/commitments/1";

/// All of `roster` in the order in which they are asked to score: the first scores, the next takes over if it is silent.
///
/// `seed` must become known only after `commitments` are frozen (a later block's hash, say): whoever knows it earlier
/// can choose its commitment so that it is drawn. Order and repetition in the arguments do not matter.
pub fn scorer_order(seed: &Hash32, commitments: &[(u16, Hash32)], roster: &[u16]) -> Vec<u16> {
    let mut sorted = commitments.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    let bytes: Vec<u8> = sorted.iter().flat_map(|(index, hash)| [&index.to_le_bytes()[..], &hash.0[..]].concat()).collect();
    let frozen = tagged(COMMITMENTS_DOMAIN, &[&bytes]);
    let mut ranked: Vec<(Hash32, u16)> =
        roster.iter().map(|index| (tagged(DOMAIN, &[&seed.0, &frozen.0, &index.to_le_bytes()]), *index)).collect();
    ranked.sort_unstable_by_key(|(rank, index)| (rank.0, *index));
    ranked.dedup();
    ranked.into_iter().map(|(_, index)| index).collect()
}

/// The first of [`scorer_order`]; `None` if the roster is empty.
pub fn draw_scorer(seed: &Hash32, commitments: &[(u16, Hash32)], roster: &[u16]) -> Option<u16> {
    scorer_order(seed, commitments, roster).first().copied()
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

    #[test]
    fn order__should_be_a_permutation_that_arguments_order_does_not_change() {
        let commitments: Vec<_> = (0..5_u16).map(|i| (i, Hash32([u8::try_from(i).unwrap(); 32]))).collect();
        let reversed: Vec<_> = commitments.iter().rev().copied().collect();
        let order = scorer_order(&Hash32([1; 32]), &commitments, &[0, 1, 2, 3, 4]);
        assert_eq!(order, scorer_order(&Hash32([1; 32]), &reversed, &[4, 2, 3, 0, 1, 1]));
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2, 3, 4]);
        assert_eq!(draw_scorer(&Hash32([1; 32]), &commitments, &[0, 1, 2, 3, 4]), order.first().copied());
        assert_eq!(draw_scorer(&Hash32([1; 32]), &commitments, &[]), None);
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
        let roster = [0_u16, 1, 2, 3];
        let mut drawn = [0_u32; 4];
        let mut moved = 0;
        for seed in 0..1_000_u16 {
            let mut bytes = [0; 32];
            bytes[..2].copy_from_slice(&seed.to_le_bytes());
            let commitments = [(0, Hash32([1; 32])), (1, Hash32([2; 32]))];
            let scorer = draw_scorer(&Hash32(bytes), &commitments, &roster).unwrap();
            drawn[usize::from(scorer)] += 1;
            let other = [(0, Hash32([1; 32])), (1, Hash32([3; 32]))];
            moved += u32::from(draw_scorer(&Hash32(bytes), &other, &roster) != Some(scorer));
        }
        // Standard deviation about 14: five of them.
        assert!(drawn.iter().all(|count| (180..320).contains(count)), "{drawn:?}");
        assert!((680..820).contains(&moved), "{moved}");
    }
}
