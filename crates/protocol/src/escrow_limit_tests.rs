//! The limits themselves are within the limits.

use super::*;

fn hold(fee: BasisPoints, bounds: Bounds) -> Result<Escrow, EscrowError> {
    Escrow::hold(name("tenant"), name("compute"), Asset::Near, DEPOSIT, bounds, fee, NOW)
}

#[test]
fn hold__should_take_the_longest_life_and_the_highest_fee() {
    let (longest, over) = (NOW.after(MAX_LIFE), bps(MAX_FEE.get() + 1));
    let life = |expires_by| Bounds { expires_by, ..bounds() };
    assert!(hold(MAX_FEE, life(longest)).is_ok());
    assert_eq!(hold(MAX_FEE, life(longest.after(DurationMs(1)))), Err(EscrowError::OutOfBounds("expires_by")));
    assert!(hold(MAX_FEE, life(NOW.after(DurationMs(1)))).is_ok());
    assert_eq!(hold(MAX_FEE, life(NOW)), Err(EscrowError::OutOfBounds("expires_by")));
    assert_eq!(hold(over, Bounds { fee: over, ..bounds() }), Err(EscrowError::OutOfBounds("fee")));
    assert_eq!(hold(bps(3), Bounds { fee: bps(2), ..bounds() }), Err(EscrowError::OutOfBounds("fee")));
    assert!(hold(bps(2), Bounds { fee: bps(2), ..bounds() }).is_ok());
    let window = |objection_window| hold(MAX_FEE, Bounds { objection_window, ..bounds() });
    assert!(window(MAX_OBJECTION_WINDOW).is_ok());
    assert_eq!(window(DurationMs(MAX_OBJECTION_WINDOW.0 + 1)), Err(EscrowError::OutOfBounds("objection_window")));
}

#[test]
fn open__should_take_terms_at_their_limits() {
    let escrow = hold(MAX_FEE, bounds()).expect("within the limits");
    let longest = OpenTerms { grace: MAX_GRACE, availability: MAX_AVAILABILITY, max_payees: MAX_PAYEES, ..terms() };
    assert!(escrow.apply(Event::Open(longest.clone()), NOW, everyone).is_ok());
    let soonest = OpenTerms { expires_at: NOW.after(DurationMs(1)), ..longest };
    assert!(escrow.apply(Event::Open(soonest.clone()), NOW, everyone).is_ok());
    let past = OpenTerms { expires_at: NOW, ..soonest };
    assert_eq!(escrow.apply(Event::Open(past), NOW, everyone), Err(EscrowError::OutOfBounds("expires_at")));
    let vesting = OpenTerms { objection_window: MAX_OBJECTION_WINDOW, max_payees: MAX_VESTING_PAYEES, ..terms() };
    assert!(escrow.apply(Event::Open(vesting.clone()), NOW, everyone).is_ok());
    let crowd = OpenTerms { max_payees: MAX_VESTING_PAYEES + 1, ..vesting.clone() };
    assert_eq!(escrow.apply(Event::Open(crowd), NOW, everyone), Err(EscrowError::OutOfBounds("max_payees")));
    let slow = OpenTerms { objection_window: DurationMs(MAX_OBJECTION_WINDOW.0 + 1), ..vesting };
    assert_eq!(escrow.apply(Event::Open(slow), NOW, everyone), Err(EscrowError::OutOfBounds("objection_window")));
}

#[test]
fn post__should_count_each_payee_and_the_last_millisecond() {
    let escrow = open();
    let full = post(1, &[("aa", 1), ("bb", 1), ("cc", 1)], false);
    assert!(escrow.apply(full, NOW, everyone).is_ok());
    let one_more = post(1, &[("aa", 1), ("bb", 1), ("cc", 1), ("dd", 0)], false);
    assert_eq!(escrow.apply(one_more, NOW, everyone), Err(EscrowError::Payees));
}

#[test]
fn post__should_take_a_total_that_stayed_the_same() {
    let (escrow, effects) = step(&posted(), post(2, &[("node", 400_001), ("other", 8)], false), NOW);
    assert_eq!((escrow.available().0, effects.credits.len()), (DEPOSIT.0 - 400_001 - 8, 1));
}

#[test]
fn terms__should_name_an_objection_window_only_where_there_is_one() {
    let plain = serde_json::to_string(&terms()).expect("JSON");
    assert!(!plain.contains("objection_window"), "{plain}");
    let vesting = OpenTerms { objection_window: MAX_OBJECTION_WINDOW, ..terms() };
    let text = serde_json::to_string(&vesting).expect("JSON");
    assert!(text.contains(r#""objection_window":604800000"#), "{text}");
    for (text, terms) in [(plain, terms()), (text, vesting)] {
        assert_eq!(serde_json::from_str::<OpenTerms>(&text).expect("JSON"), terms);
    }
}
