//! Session keys: the cap is the greatest loss.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use proptest::prelude::*;

const NOW: TimestampMs = TimestampMs(1_000);

fn name(text: &str) -> AccountId {
    AccountId::new(text).expect("a name")
}

fn key() -> SessionKey {
    SessionKey { cap: Amount(100), spent: Amount(0), expires_at: TimestampMs(2_000), targets: vec![name("compute"), name("hub")] }
}

#[test]
fn session_key__should_spend_up_to_its_cap() {
    let spent = key().spend(Amount(60), &name("hub"), NOW).expect("within the cap");
    assert_eq!(spent.spent, Amount(60));
    assert_eq!(spent.spend(Amount(41), &name("hub"), NOW), Err(SessionKeyError::OverCap { left: Amount(40), cap: Amount(100) }));
    let spent = spent.spend(Amount(40), &name("compute"), NOW).expect("to the last unit");
    assert_eq!(spent.spend(Amount(1), &name("hub"), NOW), Err(SessionKeyError::OverCap { left: Amount(0), cap: Amount(100) }));
    assert_eq!(spent.spend(Amount(u128::MAX), &name("hub"), NOW), Err(SessionKeyError::Amount(AmountError::Overflow)));
}

#[test]
fn session_key__should_end_at_its_time_to_the_millisecond() {
    assert!(key().spend(Amount(1), &name("hub"), TimestampMs(1_999)).is_ok());
    assert_eq!(key().spend(Amount(1), &name("hub"), TimestampMs(2_000)), Err(SessionKeyError::Expired));
}

#[test]
fn session_key__should_pay_only_its_targets() {
    assert_eq!(key().spend(Amount(1), &name("market"), NOW), Err(SessionKeyError::Target(name("market"))));
    let nowhere = SessionKey { targets: vec![], ..key() };
    assert_eq!(nowhere.spend(Amount(0), &name("hub"), NOW), Err(SessionKeyError::Target(name("hub"))));
}

proptest! {
    #[test]
    fn session_key__should_never_lose_more_than_its_cap(amounts in prop::collection::vec(0..60_u128, 0..20)) {
        let (mut key, mut lost) = (key(), 0);
        for amount in amounts {
            if let Ok(next) = key.spend(Amount(amount), &name("hub"), NOW) {
                key = next;
                lost += amount;
            }
        }
        prop_assert!(lost <= 100);
        prop_assert_eq!(key.spent, Amount(lost));
    }
}
