//! Meters: what a delegate gets, and who may take whose place.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use proptest::prelude::*;

const NOW: TimestampMs = TimestampMs(1_700_000_000_000);
const WINDOW: DurationMs = DurationMs::from_hours(1);
const LATER: TimestampMs = NOW.after(POST_PERIOD).after(DurationMs(1));

fn delegate(account: &str, share: u16) -> Delegate {
    Delegate { account: AccountId::new(account).expect("a name"), share: BasisPoints::new(share).expect("a fraction") }
}

fn meter(account: &str, share: u16) -> Meter {
    Meter { key: PublicKey([1; 32]), delegate: Some(delegate(account, share)) }
}

fn own() -> Meter {
    Meter { key: PublicKey([2; 32]), delegate: None }
}

fn metering(share: u16) -> Metering {
    Metering::new(Some(&delegate("first", share)), WINDOW).expect("within the limits")
}

fn paid(metering: &Metering, present: &Meter, earned: u128) -> Vec<(String, u128)> {
    let postings = metering.postings(present, Amount(earned)).expect("small");
    postings.into_iter().map(|posting| (posting.payee.to_string(), posting.total.0)).collect()
}

#[test]
fn payment__should_fix_window_and_share() {
    assert_eq!(Metering::new(None, WINDOW), Ok(Metering::default()), "the tenant's own key: posts are final at once");
    assert_eq!(Metering::new(None, WINDOW).map(|metering| metering.max_payees()), Ok(0));
    let expect = Metering { objection_window: WINDOW, share: MAX_SHARE, ..Metering::default() };
    assert_eq!(Metering::new(Some(&delegate("first", MAX_SHARE.get())), WINDOW), Ok(expect.clone()));
    assert_eq!(expect.max_payees(), MAX_DELEGATES);
    assert_eq!(Metering::new(Some(&delegate("first", MAX_SHARE.get() + 1)), WINDOW), Err(MeterError::Share(MAX_SHARE)));
    let error = MeterError::NoDelegate("the offer has no objection window");
    assert_eq!(Metering::new(Some(&delegate("first", 1)), DurationMs(0)), Err(error));
}

#[test]
fn delegate__should_get_its_share_rounded_down() {
    assert_eq!(paid(&metering(250), &meter("first", 250), 999), [("first".to_owned(), 24)]);
    assert_eq!(paid(&metering(250), &own(), 999), []);
}

#[test]
fn replacement__should_part_what_each_has_metered() {
    let second = metering(200).replace(&meter("first", 200), &meter("second", 100), Amount(1_000), NOW).expect("taken");
    assert_eq!(paid(&second, &meter("second", 100), 3_000), [("first".to_owned(), 20), ("second".to_owned(), 20)]);
    let mine = second.replace(&meter("second", 100), &own(), Amount(3_000), LATER).expect("taken");
    assert_eq!(paid(&mine, &own(), 9_000), [("first".to_owned(), 20), ("second".to_owned(), 20)]);
    // The first again: one entry for all it did.
    let again = LATER.after(POST_PERIOD).after(DurationMs(1));
    let first = mine.replace(&own(), &meter("first", 200), Amount(9_000), again).expect("taken");
    assert_eq!(paid(&first, &meter("first", 200), 10_000), [("first".to_owned(), 40), ("second".to_owned(), 20)]);
}

#[test]
fn replacement__should_stay_within_what_the_payment_fixed() {
    let replace = |metering: &Metering, next: &Meter| metering.replace(&meter("first", 200), next, Amount(0), NOW);
    assert_eq!(replace(&metering(200), &meter("second", 201)), Err(MeterError::Share(BasisPoints::new(200).expect("a fraction"))));
    assert!(replace(&metering(200), &meter("second", 200)).is_ok() && replace(&metering(200), &own()).is_ok());
    let error = MeterError::NoDelegate("the payment named the tenant's own key, so posts are final at once");
    assert_eq!(Metering::default().replace(&own(), &meter("second", 0), Amount(0), NOW), Err(error));
    assert!(Metering::default().replace(&own(), &own(), Amount(0), NOW).is_ok(), "a key of its own may be lost");
}

#[test]
fn replacement__should_wait_until_the_meter_before_has_had_its_time() {
    let once = metering(200).replace(&meter("first", 200), &own(), Amount(0), NOW).expect("taken");
    let last = NOW.after(POST_PERIOD);
    assert!(once.former(last).is_some() && once.former(LATER).is_none());
    assert_eq!(once.replace(&own(), &own(), Amount(0), last), Err(MeterError::TooEarly(LATER)));
    assert!(once.replace(&own(), &own(), Amount(0), LATER).is_ok());
}

#[test]
fn delegates__should_be_four_at_most() {
    let (mut metering, mut present, mut now) = (metering(200), meter("first", 200), NOW);
    for account in ["second", "third", "fourth"] {
        let next = meter(account, 200);
        metering = metering.replace(&present, &next, Amount(0), now).expect("taken");
        (present, now) = (next, now.after(POST_PERIOD).after(DurationMs(1)));
    }
    assert_eq!(metering.replace(&present, &meter("fifth", 200), Amount(0), now), Err(MeterError::TooMany));
    assert!(metering.replace(&present, &meter("second", 200), Amount(0), now).is_ok(), "one of the four again");
    assert!(metering.replace(&present, &own(), Amount(0), now).is_ok());
}

#[test]
fn former_meter__should_be_paid_for_what_it_signed() {
    let mut metering = metering(200).replace(&meter("first", 200), &meter("second", 200), Amount(1_000), NOW).expect("taken");
    metering.credit_former(Amount(2_000)).expect("small");
    assert_eq!(paid(&metering, &meter("second", 200), 3_000), [("first".to_owned(), 40), ("second".to_owned(), 20)]);
}

proptest! {
    /// Whoever replaces whom, delegates get no more than the payment's share of what the node earned, and nobody's figure falls.
    #[test]
    fn delegates__should_never_get_more_than_the_share(
        share in 0..=2_500_u16,
        steps in prop::collection::vec((0..6_usize, 0..=2_500_u16, 0..1_000_000_u128, 0..300_000_u64), 1..30),
    ) {
        let (mut metering, mut present, mut earned, mut now) = (metering(share), meter("first", share), 0, NOW);
        for (who, wanted, more, pause_ms) in steps {
            (earned, now) = (earned + more, now.after(DurationMs(pause_ms)));
            let before = metering.postings(&present, Amount(earned)).expect("small");
            let next = if who == 0 { own() } else { meter(["aa", "bb", "cc", "dd", "ee"][who - 1], wanted) };
            if let Ok(taken) = metering.replace(&present, &next, Amount(earned), now) {
                (metering, present) = (taken, next);
            }
            let after = metering.postings(&present, Amount(earned)).expect("small");
            for posting in &before {
                prop_assert!(after.iter().any(|other| other.payee == posting.payee && other.total >= posting.total));
            }
            let sum: u128 = after.iter().map(|posting| posting.total.0).sum();
            prop_assert!(sum <= Amount(earned).fraction_floor(BasisPoints::new(share).expect("a fraction")).0);
            prop_assert!(after.len() <= usize::from(MAX_DELEGATES));
        }
    }
}
