//! Escrow: each pair of state and event, the sums over random sequences, and that no coin can stick.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use proptest::prelude::*;
use starling_primitives::AmountError;

#[path = "escrow_limit_tests.rs"]
mod limits;
#[path = "escrow_vesting_tests.rs"]
mod vesting;
#[path = "escrow_voucher_tests.rs"]
mod vouchers;

const NOW: TimestampMs = TimestampMs(1_700_000_000_000);
const EXPIRES: TimestampMs = NOW.after(DurationMs::from_hours(10));
const GRACE: DurationMs = DurationMs::from_hours(1);
const AVAILABILITY: DurationMs = DurationMs::from_days(2);
const DEPOSIT: Amount = Amount(1_000_003);
/// A voucher key; its signatures are checked at the rim.
const KEY: PublicKey = PublicKey([7; 32]);

fn name(text: &str) -> AccountId {
    AccountId::new(text).expect("a name")
}

fn bps(value: u16) -> BasisPoints {
    BasisPoints::new(value).expect("a fraction")
}

fn bounds() -> Bounds {
    Bounds {
        expires_by: EXPIRES,
        post_at_once: DEPOSIT,
        fee: MAX_FEE,
        holdback: BasisPoints::ZERO,
        voucher: None,
        objection_window: DurationMs(0),
    }
}

fn held() -> Escrow {
    Escrow::hold(name("tenant"), name("compute"), Asset::Near, DEPOSIT, bounds(), bps(250), NOW).expect("within the limits")
}

fn terms() -> OpenTerms {
    OpenTerms {
        authority: Authority::Arbiter,
        expires_at: EXPIRES,
        grace: GRACE,
        holdback: bps(1_000),
        availability: AVAILABILITY,
        max_payees: 3,
        parts: vec![],
        postings: vec![],
        close: false,
        objection_window: DurationMs(0),
    }
}

fn everyone(_: &AccountId) -> bool {
    true
}

fn posting(payee: &str, total: u128) -> Posting {
    Posting { payee: name(payee), total: Amount(total) }
}

fn post(seq: u64, totals: &[(&str, u128)], close: bool) -> Event {
    Event::Post { by: Authority::Arbiter, seq, postings: totals.iter().map(|(payee, total)| posting(payee, *total)).collect(), close }
}

/// Applies and checks that the escrow's own sums hold and that the effects are what left it.
#[track_caller]
fn step(escrow: &Escrow, event: Event, now: TimestampMs) -> (Escrow, Effects) {
    let (next, effects) = escrow.apply(event, now, everyone).expect("the event is taken");
    check_step(escrow, &next, &effects);
    (next, effects)
}

#[track_caller]
fn check_step(before: &Escrow, after: &Escrow, effects: &Effects) {
    let sum = after.available().0 + after.pending().0 + after.posted().0 + after.refunded.0;
    assert_eq!(sum, after.deposited.0, "deposited = available + pending + posted + refunded in {}", after.state.name());
    let left = effects.fee.0 + effects.refund.0 + effects.credits.iter().map(|(_, amount)| amount.0).sum::<u128>();
    assert_eq!(before.locked().0 - after.locked().0, left, "what left is what the effects say");
    assert!(after.posted() >= before.posted(), "posted never falls");
    assert!(after.refunded >= before.refunded, "refunded never falls");
    if !effects.changed {
        assert_eq!((before, left), (after, 0));
    }
}

fn open() -> Escrow {
    step(&held(), Event::Open(terms()), NOW).0
}

fn posted() -> Escrow {
    step(&open(), post(1, &[("node", 400_001), ("other", 7)], false), NOW).0
}

fn settling() -> Escrow {
    step(&posted(), post(2, &[], true), NOW).0
}

fn closed() -> Escrow {
    step(&settling(), Event::Acknowledge, NOW).0
}

fn voided() -> Escrow {
    step(&held(), Event::Refuse, NOW).0
}

#[test]
fn states__should_take_exactly_their_events() {
    let late = NOW.after(DurationMs::from_days(60));
    // Each event at a moment when nothing but the state can refuse it.
    let events: [(&str, Event, TimestampMs); 12] = [
        ("open", Event::Open(terms()), NOW),
        ("refuse", Event::Refuse, NOW),
        ("void", Event::Void, late),
        ("post", post(9, &[("node", 400_002)], false), NOW),
        ("acknowledge", Event::Acknowledge, NOW),
        ("refuse_holdback", Event::RefuseHoldback, NOW),
        ("ask_closing", Event::AskClosing, NOW),
        ("extend", Event::Extend(EXPIRES.after(DurationMs(1))), NOW),
        ("close", Event::Close, late),
        ("object", Event::Object, NOW),
        ("vest", Event::Vest, late),
        ("claim", Event::Claim(name("stranger")), NOW),
    ];
    let table: [(Escrow, &[&str]); 8] = [
        (held(), &["open", "refuse", "void"]),
        (posted(), &["post", "acknowledge", "ask_closing", "extend", "close"]),
        (settling(), &["acknowledge", "refuse_holdback", "vest"]),
        (vesting::posted(), &["post", "acknowledge", "ask_closing", "extend", "close", "object", "vest"]),
        (vesting::settling(), &["acknowledge", "refuse_holdback", "object", "vest"]),
        (vesting::acknowledged(), &["object", "vest"]),
        (closed(), &[]),
        (voided(), &[]),
    ];
    for (escrow, taken) in &table {
        for (event_name, event, now) in &events {
            let state = escrow.state.name();
            match escrow.apply(event.clone(), *now, everyone) {
                Ok((next, effects)) => {
                    assert!(taken.contains(event_name), "{state} took {event_name}");
                    check_step(escrow, &next, &effects);
                }
                Err(EscrowError::WrongState { state: said }) => {
                    assert!(!taken.contains(event_name) && said == state, "{state} refused {event_name}")
                }
                Err(EscrowError::NothingToClaim(_)) => assert!(*event_name == "claim" && escrow.state.opened().is_some(), "{state}"),
                Err(EscrowError::NothingToVest) => assert!(*event_name == "vest" && !taken.contains(event_name) && state == "open"),
                Err(EscrowError::NothingToObject(_)) => assert!(*event_name == "object" && !taken.contains(event_name), "{state}"),
                Err(EscrowError::HoldbackDecided) => {
                    assert!(escrow == &vesting::acknowledged() && ["acknowledge", "refuse_holdback"].contains(event_name), "{state}")
                }
                Err(error) => panic!("{state}, {event_name}: {error}"),
            }
        }
    }
}

#[test]
fn hold__should_keep_its_limits() {
    let hold = |bounds: Bounds, fee: BasisPoints| Escrow::hold(name("tenant"), name("compute"), Asset::Near, DEPOSIT, bounds, fee, NOW);
    assert_eq!(hold(bounds(), bps(501)), Err(EscrowError::OutOfBounds("fee")), "the hard ceiling");
    assert_eq!(hold(Bounds { fee: bps(100), ..bounds() }, bps(101)), Err(EscrowError::OutOfBounds("fee")), "what the payer signed");
    assert_eq!(hold(Bounds { expires_by: NOW, ..bounds() }, bps(1)), Err(EscrowError::OutOfBounds("expires_by")));
    assert!(hold(Bounds { expires_by: NOW.after(MAX_LIFE), ..bounds() }, bps(1)).is_ok());
    assert_eq!(
        hold(Bounds { expires_by: NOW.after(MAX_LIFE).after(DurationMs(1)), ..bounds() }, bps(1)),
        Err(EscrowError::OutOfBounds("expires_by"))
    );
}

#[test]
fn open__should_refuse_what_the_payer_did_not_sign() {
    let payer_bounds = Bounds { post_at_once: Amount(10), holdback: bps(1_000), ..bounds() };
    let escrow = Escrow { bounds: payer_bounds, ..held() };
    let cases = [
        (OpenTerms { expires_at: EXPIRES.after(DurationMs(1)), ..terms() }, EscrowError::OutOfBounds("expires_at")),
        (OpenTerms { expires_at: NOW, ..terms() }, EscrowError::OutOfBounds("expires_at")),
        (OpenTerms { authority: Authority::Voucher(KEY), ..terms() }, EscrowError::OutOfBounds("authority")),
        (OpenTerms { grace: MAX_GRACE.0.checked_add(1).map(DurationMs).expect("small"), ..terms() }, EscrowError::OutOfBounds("grace")),
        (OpenTerms { holdback: bps(999), ..terms() }, EscrowError::OutOfBounds("holdback")),
        (OpenTerms { availability: DurationMs(MAX_AVAILABILITY.0 + 1), ..terms() }, EscrowError::OutOfBounds("availability")),
        (OpenTerms { max_payees: MAX_PAYEES + 1, ..terms() }, EscrowError::OutOfBounds("max_payees")),
        (OpenTerms { objection_window: DurationMs(MAX_OBJECTION_WINDOW.0 + 1), ..terms() }, EscrowError::OutOfBounds("objection_window")),
        (OpenTerms { postings: vec![posting("node", 11)], ..terms() }, EscrowError::OutOfBounds("post_at_once")),
        (OpenTerms { postings: vec![posting("node", 1), posting("node", 2)], ..terms() }, EscrowError::Payees),
        (OpenTerms { postings: vec![posting("node", DEPOSIT.0 + 1)], ..terms() }, EscrowError::OverDeposit),
    ];
    for (terms, expect) in cases {
        assert_eq!(escrow.apply(Event::Open(terms), NOW, everyone), Err(expect));
    }
    assert!(escrow.apply(Event::Open(OpenTerms { postings: vec![posting("node", 10)], ..terms() }), NOW, everyone).is_ok());
}

#[test]
fn open__should_come_before_the_hold_deadline_and_void_from_it_on() {
    let deadline = NOW.after(HOLD_PERIOD);
    let before = TimestampMs(deadline.0 - 1);
    assert!(held().apply(Event::Open(terms()), before, everyone).is_ok());
    assert_eq!(held().apply(Event::Open(terms()), deadline, everyone), Err(EscrowError::Expired(deadline)));
    assert_eq!(held().apply(Event::Void, before, everyone), Err(EscrowError::TooEarly(deadline)));
    let (escrow, effects) = step(&held(), Event::Void, deadline);
    assert_eq!((effects.refund, effects.fee, effects.credits.len()), (DEPOSIT, Amount::ZERO, 0));
    assert!(escrow.is_spent());
}

#[test]
fn post__should_pay_nine_tenths_less_the_fee_and_hold_back_the_rest() {
    let (escrow, effects) = step(&open(), post(1, &[("node", 100_000)], false), NOW);
    // 90,000 earned, 2.5 % of it is the fee.
    assert_eq!(effects.fee, Amount(2_250));
    assert_eq!(effects.credits, vec![(name("node"), Amount(87_750))]);
    assert_eq!((escrow.pending(), escrow.posted(), escrow.available()), (Amount(10_000), Amount(90_000), Amount(DEPOSIT.0 - 100_000)));
}

#[test]
fn post__should_change_nothing_when_its_number_is_old() {
    for seq in [0, 1] {
        let (escrow, effects) = step(&posted(), post(seq, &[("node", 999_999)], true), NOW);
        assert_eq!((escrow, effects.changed), (posted(), false), "seq {seq}");
    }
}

#[test]
fn post__should_be_taken_until_the_end_of_grace_to_the_millisecond() {
    let last = EXPIRES.after(GRACE);
    assert!(open().apply(post(1, &[("node", 1)], false), last, everyone).is_ok());
    assert_eq!(open().apply(post(1, &[("node", 1)], false), last.after(DurationMs(1)), everyone), Err(EscrowError::Expired(last)));
    assert_eq!(open().apply(Event::Close, last, everyone), Err(EscrowError::TooEarly(last.after(DurationMs(1)))));
    let (escrow, effects) = step(&open(), Event::Close, last.after(DurationMs(1)));
    assert_eq!(effects.refund, DEPOSIT);
    assert!(escrow.is_spent());
}

#[test]
fn post__should_refuse_falling_totals_strangers_beyond_the_limit_and_more_than_was_paid() {
    let cases = [
        (post(2, &[("node", 400_000)], false), EscrowError::TotalFalls(name("node"))),
        (post(2, &[("node", DEPOSIT.0 - 6)], false), EscrowError::OverDeposit),
        (post(2, &[("node", u128::MAX)], false), EscrowError::Amount(AmountError::Overflow)),
        (post(2, &[("third", 1), ("fourth", 1)], false), EscrowError::Payees),
        (post(2, &[("node", 400_002), ("node", 400_003)], false), EscrowError::Payees),
        (post(2, &[("aa", 0), ("bb", 0), ("cc", 0), ("dd", 0)], false), EscrowError::Payees),
    ];
    for (event, expect) in cases {
        assert_eq!(posted().apply(event, NOW, everyone), Err(expect));
    }
    // To the last yocto it is taken.
    let (escrow, _) = step(&posted(), post(2, &[("node", DEPOSIT.0 - 7)], false), NOW);
    assert_eq!(escrow.available(), Amount::ZERO);
}

#[test]
fn fee__should_be_the_ceiling_of_the_cumulative_figure() {
    // Ten posts of 3 each cost what one post of 30 costs: ceil(30 * 2.5 %) = 1, not ten times ceil(3 * 2.5 %).
    let no_holdback = OpenTerms { holdback: BasisPoints::ZERO, ..terms() };
    let mut escrow = step(&held(), Event::Open(no_holdback), NOW).0;
    let mut fees = 0;
    for seq in 1..=10 {
        let (next, effects) = step(&escrow, post(seq, &[("node", 3 * u128::from(seq))], false), NOW);
        fees += effects.fee.0;
        escrow = next;
    }
    assert_eq!(fees, 1);
    assert_eq!(escrow.state.opened().expect("open").payees[0].credited, Amount(29));
}

#[test]
fn holdback__should_go_to_the_payee_when_acknowledged_and_back_when_refused() {
    let pending = settling().pending();
    assert_eq!(pending, Amount(40_000), "floor of a tenth of 400,001, and of 7 nothing");
    let (escrow, effects) = step(&settling(), Event::Acknowledge, NOW);
    assert_eq!((effects.refund, escrow.posted()), (Amount::ZERO, Amount(400_008)));
    assert!(escrow.is_spent());
    let (escrow, effects) = step(&settling(), Event::RefuseHoldback, NOW);
    assert_eq!((effects.refund, effects.fee, effects.credits.len()), (pending, Amount::ZERO, 0));
    assert!(escrow.is_spent());
    assert_eq!(escrow.refunded.0 + escrow.posted().0, DEPOSIT.0);
}

#[test]
fn holdback__should_vest_at_the_end_of_the_window_and_not_before() {
    let until = NOW.after(AVAILABILITY);
    assert_eq!(settling().apply(Event::Vest, TimestampMs(until.0 - 1), everyone), Err(EscrowError::TooEarly(until)));
    let (escrow, _) = step(&settling(), Event::Vest, until);
    assert_eq!(escrow.posted(), Amount(400_008));
}

#[test]
fn holdback__should_be_decided_once() {
    let (acknowledged, _) = step(&posted(), Event::Acknowledge, NOW);
    assert_eq!(acknowledged.pending(), Amount::ZERO);
    assert_eq!(acknowledged.apply(Event::Acknowledge, NOW, everyone), Err(EscrowError::HoldbackDecided));
    // What is posted after an acknowledgement is earned whole, and closing leaves nothing to settle.
    let (escrow, _) = step(&acknowledged, post(2, &[("node", 500_000)], true), NOW);
    assert!(escrow.is_spent());
    assert_eq!(escrow.posted(), Amount(500_007));
}

#[test]
fn closing__should_be_possible_seven_days_after_the_payer_asked() {
    let long = Bounds { expires_by: NOW.after(MAX_LIFE), ..bounds() };
    let escrow = Escrow { bounds: long, ..held() };
    let escrow = step(&escrow, Event::Open(OpenTerms { expires_at: NOW.after(MAX_LIFE), ..terms() }), NOW).0;
    let escrow = step(&escrow, Event::AskClosing, NOW).0;
    // Asking again moves nothing, extending neither.
    let (again, effects) = step(&escrow, Event::AskClosing, NOW.after(DurationMs::from_days(1)));
    assert!(again == escrow && !effects.changed);
    let escrow = step(&escrow, Event::Extend(NOW.after(MAX_LIFE).after(DurationMs(5))), NOW.after(DurationMs(5))).0;
    let free = NOW.after(CLOSING_PERIOD);
    assert_eq!(escrow.apply(Event::Close, TimestampMs(free.0 - 1), everyone), Err(EscrowError::TooEarly(free)));
    assert_eq!(step(&escrow, Event::Close, free).1.refund, DEPOSIT);
}

#[test]
fn extend__should_only_move_later_before_expiry_and_within_the_longest_life() {
    for (until, now) in [
        (EXPIRES, NOW),
        (NOW, NOW),
        (NOW.after(MAX_LIFE).after(DurationMs(1)), NOW),
        (EXPIRES.after(DurationMs(9)), EXPIRES.after(DurationMs(1))),
    ] {
        assert_eq!(open().apply(Event::Extend(until), now, everyone), Err(EscrowError::Extension));
    }
    let later = EXPIRES.after(DurationMs(1));
    assert_eq!(step(&open(), Event::Extend(later), EXPIRES).0.state.opened().expect("open").expires_at, later);
}

#[test]
fn unregistered_payee__should_keep_what_it_earned_until_it_claims() {
    let nobody = |_: &AccountId| false;
    let (escrow, effects) = open().apply(post(1, &[("node", 100_000)], true), NOW, nobody).expect("posts need no registration");
    check_step(&open(), &escrow, &effects);
    assert!(effects.credits.is_empty());
    let (escrow, effects) = step(&escrow, Event::RefuseHoldback, NOW);
    assert_eq!(effects.refund, Amount(10_000));
    assert!(!escrow.is_spent(), "the payee's money lies in it");
    assert_eq!(escrow.locked(), Amount(87_750));
    assert_eq!(escrow.apply(Event::Claim(name("node")), NOW, nobody), Err(EscrowError::NothingToClaim(name("node"))));
    let years_later = NOW.after(DurationMs::from_days(3_650));
    let (escrow, effects) = step(&escrow, Event::Claim(name("node")), years_later);
    assert_eq!(effects.credits, vec![(name("node"), Amount(87_750))]);
    assert!(escrow.is_spent());
    assert_eq!(escrow.apply(Event::Claim(name("node")), NOW, everyone), Err(EscrowError::NothingToClaim(name("node"))));
}

#[test]
fn purchase__should_post_and_close_at_once() {
    let purchase = OpenTerms {
        holdback: BasisPoints::ZERO,
        postings: vec![posting("ancestor", 100_000), posting("publisher", 900_000)],
        close: true,
        ..terms()
    };
    let (escrow, effects) = step(&held(), Event::Open(purchase), NOW);
    assert_eq!(effects.credits, vec![(name("ancestor"), Amount(97_500)), (name("publisher"), Amount(877_500))]);
    assert_eq!((effects.fee, effects.refund), (Amount(25_000), Amount(3)));
    assert!(escrow.is_spent());
}

/// What a random sequence is made of; accounts and times are drawn small so that they meet.
#[derive(Clone, Debug)]
enum Draw {
    Open { holdback: u16, postings: Vec<(usize, u128)>, close: bool, objection_window: DurationMs },
    Post { seq: u64, postings: Vec<(usize, u128)>, close: bool },
    Plain(usize),
    Extend(u64),
    Claim(usize),
}

const NAMES: [&str; 4] = ["aa", "bb", "cc", "dd"];

fn postings() -> impl Strategy<Value = Vec<(usize, u128)>> {
    prop::collection::vec((0..NAMES.len(), 0..600_000_u128), 0..4)
}

fn draw_open() -> impl Strategy<Value = Draw> {
    let window = prop_oneof![Just(0), 1..20_u64, 1..36_000_000_u64].prop_map(DurationMs);
    let draws = (0..=10_000_u16, postings(), prop::bool::weighted(0.2), window);
    draws.prop_map(|(holdback, postings, close, objection_window)| Draw::Open { holdback, postings, close, objection_window })
}

fn draw() -> impl Strategy<Value = Draw> {
    prop_oneof![
        1 => draw_open(),
        5 => (0..12_u64, postings(), prop::bool::weighted(0.1)).prop_map(|(seq, postings, close)| Draw::Post { seq, postings, close }),
        3 => (0..8_usize).prop_map(Draw::Plain),
        1 => (0..200_u64).prop_map(Draw::Extend),
        1 => (0..NAMES.len()).prop_map(Draw::Claim),
    ]
}

fn event_of(draw: Draw, now: TimestampMs) -> Event {
    let named = |postings: Vec<(usize, u128)>| postings.into_iter().map(|(index, total)| posting(NAMES[index], total)).collect();
    match draw {
        Draw::Open { holdback, postings, close, objection_window } => {
            Event::Open(OpenTerms { holdback: bps(holdback), postings: named(postings), close, objection_window, ..terms() })
        }
        Draw::Post { seq, postings, close } => Event::Post { by: Authority::Arbiter, seq, postings: named(postings), close },
        Draw::Plain(index) => [
            Event::Refuse,
            Event::Void,
            Event::Acknowledge,
            Event::RefuseHoldback,
            Event::AskClosing,
            Event::Close,
            Event::Vest,
            Event::Object,
        ][index]
            .clone(),
        Draw::Extend(hours) => Event::Extend(now.after(DurationMs::from_hours(hours))),
        Draw::Claim(index) => Event::Claim(name(NAMES[index])),
    }
}

/// From any state, the payer alone: what is not earned for good comes back within the time that is promised.
fn check_payer_gets_out(escrow: &Escrow, now: TimestampMs) {
    let (mut escrow, mut at) = (escrow.clone(), now);
    let (earned, natural_end) =
        (vesting::earned(&escrow, now), escrow.state.opened().map(|opened| opened.expires_at.after(opened.grace).after(DurationMs(1))));
    loop {
        let (event, possible_at) = match &escrow.state {
            State::Held { hold_deadline } => (Event::Void, *hold_deadline),
            State::Open(opened) if opened.objection_window > DurationMs(0) => (Event::Object, at),
            State::Open(opened) if opened.closing_asked_at.is_none() => (Event::AskClosing, at),
            State::Open(opened) => (Event::Close, opened.closable_at()),
            State::Settling { opened, .. } if opened.holdback_state == Holdback::Waiting => (Event::RefuseHoldback, at),
            State::Settling { opened, .. } if opened.batches.iter().any(|batch| at < batch.vests_at) => (Event::Object, at),
            State::Settling { .. } => (Event::Vest, at),
            State::Closed(_) | State::Voided => break,
        };
        at = at.max(possible_at);
        let (next, effects) = escrow.apply(event, at, |_| false).expect("the payer's own road is never closed");
        check_step(&escrow, &next, &effects);
        escrow = next;
    }
    assert!(at <= now.after(CLOSING_PERIOD), "within seven days");
    assert!(natural_end.is_none_or(|end| at <= end.max(now)), "and not after expiry and grace");
    assert_eq!(escrow.posted(), earned, "nothing that was earned is taken, nothing is earned by it");
    assert_eq!(escrow.refunded.0, DEPOSIT.0 - earned.0, "all the rest is back");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Sums hold through any sequence, refused events included; every payee's figures stay exact; the payer can always leave.
    #[test]
    fn escrow__should_keep_its_sums_and_never_hold_a_coin_fast(
        fee in 0..=500_u16,
        first in prop::option::weighted(0.8, draw_open()),
        draws in prop::collection::vec((draw(), 0..20_000_000_u64, 0..16_u8), 1..40),
    ) {
        let mut now = NOW;
        let mut escrow = Escrow::hold(name("tenant"), name("compute"), Asset::Near, DEPOSIT, bounds(), bps(fee), now).expect("within the limits");
        let (mut fees, mut credited, mut refunded) = (0, 0, 0);
        check_payer_gets_out(&escrow, now);
        let opening = first.map(|first| (first, 0, 5));
        for (draw, pause_ms, registered) in opening.into_iter().chain(draws) {
            now = now.after(DurationMs(pause_ms));
            let is_registered = |account: &AccountId| NAMES.iter().position(|other| account.as_str() == *other).is_some_and(|index| registered >> index & 1 == 1);
            let before = escrow.clone();
            let Ok((next, effects)) = escrow.apply(event_of(draw, now), now, is_registered) else {
                prop_assert_eq!(&escrow, &before);
                continue;
            };
            check_step(&before, &next, &effects);
            for (account, _) in &effects.credits {
                prop_assert!(is_registered(account), "only a registered account is credited");
            }
            for (place, payee) in next.state.opened().map_or(&[][..], |opened| &opened.payees).iter().enumerate() {
                let opened = next.state.opened().expect("it has payees");
                prop_assert!(opened.batches.len() <= MAX_BATCHES && opened.batches.is_sorted_by_key(|batch| batch.vests_at));
                let earned = opened.earned(opened.vested(place));
                prop_assert_eq!(payee.fee, earned.fraction_ceil(bps(fee)));
                prop_assert_eq!(payee.credited.0 + payee.unclaimed.0 + payee.fee.0, earned.0);
            }
            (fees, refunded) = (fees + effects.fee.0, refunded + effects.refund.0);
            credited += effects.credits.iter().map(|(_, amount)| amount.0).sum::<u128>();
            escrow = next;
            check_payer_gets_out(&escrow, now);
            vesting::check_time_alone_ends(&escrow, now);
        }
        prop_assert_eq!(fees + refunded + credited + escrow.locked().0, DEPOSIT.0, "every yocto is somewhere");
    }
}
