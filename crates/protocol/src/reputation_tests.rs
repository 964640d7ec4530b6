//! Reputation: how figures fade, and what moves the score.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use proptest::prelude::*;
use starling_primitives::DurationMs;

const NOW: TimestampMs = TimestampMs(1_700_000_000_000);
const DAY: DurationMs = DurationMs::from_days(1);

fn after(deeds: &[Deed]) -> Reputation {
    deeds.iter().fold(Reputation::default(), |reputation, deed| reputation.after(*deed, NOW))
}

#[test]
fn figures__should_lose_half_in_thirty_days() {
    let fresh = after(&[Deed::Round { tokens: 1_000_000_000_000 }]);
    assert_eq!(fresh.at(NOW), fresh);
    let month = fresh.at(NOW.after(DurationMs::from_days(30)));
    assert_eq!((month.accepted_tokens, month.rounds), (499_999_998_611, 499_988));
    // A day is a day of the calendar: a millisecond before the next begins nothing has faded.
    let next_day = TimestampMs((NOW.0 / 86_400_000 + 1) * 86_400_000);
    assert_eq!(fresh.at(TimestampMs(next_day.0 - 1)), fresh);
    assert_eq!(fresh.at(next_day).rounds, 977_159);
    assert_eq!(fresh.at(NOW.after(DurationMs::from_days(64 * 30))), Reputation { day: fresh.day + 1_920, ..Reputation::default() });
}

#[test]
fn deeds__should_count_in_their_own_figures() {
    let all = after(&[
        Deed::Round { tokens: 7 },
        Deed::MissedRound,
        Deed::LeaseKept { metered_ms: 11 },
        Deed::LeaseMissed,
        Deed::LeaseLeft { metered_ms: 2 },
        Deed::Objection,
        Deed::Refusal,
    ]);
    let expect = Reputation {
        day: NOW.0 / 86_400_000,
        accepted_tokens: 7,
        metered_ms: 13,
        rounds: DEED,
        missed_rounds: DEED,
        leases_kept: DEED,
        leases_missed: DEED,
        leases_left: DEED,
        objections: DEED,
        refusals: DEED,
    };
    assert_eq!(all, expect);
}

#[test]
fn score__should_follow_its_formula() {
    let cases: [(&[Deed], u16); 6] = [
        (&[], 5_000),
        (&[Deed::LeaseKept { metered_ms: 0 }], 6_666),
        (&[Deed::Round { tokens: 1 }, Deed::Round { tokens: 1 }, Deed::MissedRound], 6_000),
        (&[Deed::LeaseMissed], 3_333),
        (&[Deed::Objection], 1_428),
        (&[Deed::Refusal, Deed::LeaseLeft { metered_ms: 9 }], 833),
    ];
    for (deeds, score) in cases {
        assert_eq!(after(deeds).score().get(), score, "{deeds:?}");
    }
    let full = Reputation { rounds: u64::MAX, leases_kept: u64::MAX, ..Reputation::default() };
    assert_eq!(full.score().get(), 9_999);
    let worst = Reputation { leases_left: u64::MAX, objections: u64::MAX, refusals: u64::MAX, ..Reputation::default() };
    assert_eq!(worst.score().get(), 0);
}

#[test]
fn full_figures__should_stay_full() {
    let full = Reputation { accepted_tokens: u64::MAX, rounds: u64::MAX, day: NOW.0 / 86_400_000, ..Reputation::default() };
    assert_eq!(full.after(Deed::Round { tokens: 5 }, NOW), full);
}

proptest! {
    /// However often somebody looks in between, the figures of a day are the same; none grows by itself, and an older time changes nothing.
    #[test]
    fn fading__should_not_depend_on_who_looks_when(figure in any::<u64>(), pauses in prop::collection::vec(0..5_000_u64, 0..6)) {
        let start = Reputation { day: NOW.0 / 86_400_000, rounds: figure, ..Reputation::default() };
        let (mut looked, mut now) = (start.clone(), NOW);
        for hours in pauses {
            now = now.after(DurationMs::from_hours(hours));
            let next = looked.at(now);
            prop_assert!(next.rounds <= looked.rounds);
            looked = next;
        }
        prop_assert_eq!(&looked, &start.at(now));
        prop_assert_eq!(looked.at(NOW), looked.clone());
        prop_assert!(looked.at(now.after(DAY)).rounds < looked.rounds || looked.rounds == 0);
    }
}
