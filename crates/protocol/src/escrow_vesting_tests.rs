//! Escrow with an objection window: when posts are earned, what an objection returns, and that nothing waits for ever.

use super::*;

const WINDOW: DurationMs = DurationMs::from_hours(7);
/// A seventh of the window; `NOW` is 2,800,000 ms before a multiple of it.
const STEP: DurationMs = DurationMs::from_hours(1);
/// The last moment whose posts vest together with those of `NOW`.
const STEP_ENDS: TimestampMs = NOW.after(DurationMs(2_800_000));
/// When they vest.
const FIRST: TimestampMs = STEP_ENDS.after(WINDOW);
const MS: DurationMs = DurationMs(1);

fn open() -> Escrow {
    let escrow = Escrow { bounds: Bounds { objection_window: WINDOW, ..bounds() }, ..held() };
    step(&escrow, Event::Open(OpenTerms { objection_window: WINDOW, ..terms() }), NOW).0
}

pub(super) fn posted() -> Escrow {
    step(&open(), post(1, &[("node", 400_001), ("other", 7)], false), NOW).0
}

pub(super) fn settling() -> Escrow {
    step(&posted(), post(2, &[], true), NOW).0
}

pub(super) fn acknowledged() -> Escrow {
    step(&settling(), Event::Acknowledge, NOW).0
}

/// What is earned for good at `now`, whether or not anyone has called since a window passed.
pub(super) fn earned(escrow: &Escrow, now: TimestampMs) -> Amount {
    let Some(mut opened) = escrow.state.opened().cloned() else { return Amount::ZERO };
    opened.vest(now);
    Amount((0..opened.payees.len()).map(|place| opened.earned(opened.vested(place)).0).sum())
}

/// Nobody but the clock: all that was posted is earned in the end, but what the payer refused, and the escrow ends.
pub(super) fn check_time_alone_ends(escrow: &Escrow, now: TimestampMs) {
    let (mut ended, late) = (escrow.clone(), now.after(MAX_LIFE).after(MAX_GRACE).after(MS));
    while !matches!(ended.state, State::Closed(_) | State::Voided) {
        let event = match &ended.state {
            State::Held { .. } => Event::Void,
            State::Open(_) => Event::Close,
            State::Settling { .. } | State::Closed(_) | State::Voided => Event::Vest,
        };
        let at = if let State::Settling { opened, until } = &ended.state {
            late.max(*until).max(opened.batches.last().map_or(late, |batch| batch.vests_at))
        } else {
            late
        };
        let (next, effects) = ended.apply(event, at, everyone).expect("anyone may end it");
        check_step(&ended, &next, &effects);
        ended = next;
    }
    if let Some(opened) = escrow.state.opened() {
        let refused =
            if opened.holdback_state == Holdback::Refused { ended.state.opened().expect("opened").refused() } else { Amount::ZERO };
        assert_eq!(ended.posted().0 + refused.0, opened.total().0, "what nobody objected to is earned");
    }
}

#[test]
fn post__should_be_earned_when_its_window_has_passed_and_not_before() {
    let escrow = posted();
    assert_eq!((escrow.pending(), escrow.posted(), escrow.available()), (Amount(400_008), Amount::ZERO, Amount(DEPOSIT.0 - 400_008)));
    assert!(FIRST >= NOW.after(WINDOW) && FIRST < NOW.after(WINDOW).after(STEP), "the window, and less than a step");
    assert_eq!(escrow.apply(Event::Vest, TimestampMs(FIRST.0 - 1), everyone), Err(EscrowError::TooEarly(FIRST)));
    let (escrow, effects) = step(&escrow, Event::Vest, FIRST);
    // A tenth of it waits for the acknowledgement now, as in any escrow; 2.5 % of the rest is the fee.
    assert_eq!((escrow.pending(), escrow.posted()), (Amount(40_000), Amount(360_008)));
    assert_eq!(effects.fee, Amount(9_002));
    assert_eq!(escrow.apply(Event::Vest, FIRST, everyone), Err(EscrowError::NothingToVest));
}

#[test]
fn posts__should_vest_together_within_a_step_and_later_never_earlier() {
    let mut escrow = posted();
    for (seq, total, now) in [(2, 500_000, STEP_ENDS), (3, 600_000, STEP_ENDS.after(MS))] {
        escrow = step(&escrow, post(seq, &[("node", total)], false), now).0;
    }
    let moments: Vec<_> = escrow.state.opened().expect("open").batches.iter().map(|batch| (batch.vests_at, batch.added.clone())).collect();
    assert_eq!(moments, [(FIRST, vec![Amount(500_000), Amount(7)]), (FIRST.after(STEP), vec![Amount(100_000), Amount(0)])]);
}

#[test]
fn batches__should_never_be_more_than_their_limit() {
    let (mut escrow, mut now, mut most) = (open(), NOW, 0);
    let last = EXPIRES.after(GRACE);
    for seq in 1.. {
        now = now.after(DurationMs(60_000));
        if now > last {
            break;
        }
        escrow = step(&escrow, post(seq, &[("node", u128::from(seq))], false), now).0;
        let batches = &escrow.state.opened().expect("open").batches;
        assert!(batches.iter().all(|batch| batch.vests_at > now && batch.vests_at < now.after(WINDOW).after(STEP)));
        most = most.max(batches.len());
    }
    assert_eq!(most, MAX_BATCHES);
}

#[test]
fn old_number__should_change_nothing_though_something_could_vest() {
    let (escrow, effects) = step(&posted(), post(1, &[("node", 999_999)], true), FIRST);
    assert_eq!((escrow, effects.changed), (posted(), false));
}

#[test]
fn objection__should_return_what_has_not_vested_and_end_posting() {
    let (escrow, _) = step(&posted(), post(2, &[("node", 500_001), ("third", 50)], false), NOW.after(STEP));
    // The first batch has vested by the clock, though nobody called.
    let (escrow, effects) = step(&escrow, Event::Object, FIRST);
    assert_eq!(effects.refund, Amount(DEPOSIT.0 - 400_008), "what was free, and the 100,050 that had not vested");
    assert_eq!(effects.credits.iter().map(|(_, amount)| amount.0).sum::<u128>() + effects.fee.0, 360_008);
    let State::Settling { opened, .. } = &escrow.state else { panic!("the holdback of what vested is undecided") };
    assert_eq!((opened.objected_at, opened.total()), (Some(FIRST), Amount(400_008)));
    assert!(matches!(escrow.apply(post(9, &[("node", 500_001)], false), FIRST, everyone), Err(EscrowError::WrongState { .. })));
    assert_eq!(escrow.apply(Event::Object, FIRST, everyone), Err(EscrowError::NothingToObject("all posts have vested")));
    // The holdback keeps its own rule.
    assert_eq!(step(&escrow, Event::RefuseHoldback, FIRST).1.refund, Amount(40_000));
    assert_eq!(step(&escrow, Event::Acknowledge, FIRST).0.posted(), Amount(400_008));
}

#[test]
fn objection__should_come_before_the_moment_to_the_millisecond() {
    let before = TimestampMs(FIRST.0 - 1);
    let (escrow, effects) = step(&settling(), Event::Object, before);
    assert_eq!((effects.refund, escrow.posted()), (Amount(400_008), Amount::ZERO));
    assert!(escrow.is_spent());
    assert_eq!(settling().apply(Event::Object, FIRST, everyone), Err(EscrowError::NothingToObject("all posts have vested")));
    // An open escrow is ended by it in any case.
    assert_eq!(step(&posted(), Event::Object, FIRST).0.posted(), Amount(360_008));
}

#[test]
fn objection__should_find_nothing_where_posts_are_final_at_once() {
    let error = EscrowError::NothingToObject("posts of this escrow are final at once");
    assert_eq!(super::posted().apply(Event::Object, NOW, everyone), Err(error));
    assert_eq!(super::settling().apply(Event::Object, NOW, everyone), Err(EscrowError::NothingToObject("all posts have vested")));
}

#[test]
fn post_before_the_end__should_vest_after_it() {
    let last = EXPIRES.after(GRACE);
    let (escrow, _) = step(&open(), post(1, &[("node", 1_000)], false), last);
    let (escrow, effects) = step(&escrow, Event::Close, last.after(MS));
    assert_eq!((effects.refund, escrow.pending(), escrow.state.name()), (Amount(DEPOSIT.0 - 1_000), Amount(1_000), "settling"));
    let vests_at = escrow.state.opened().expect("settling").batches[0].vests_at;
    let (escrow, _) = step(&escrow, Event::Vest, vests_at);
    assert_eq!((escrow.posted(), escrow.pending()), (Amount(900), Amount(100)));
    let (escrow, _) = step(&escrow, Event::Vest, last.after(MS).after(AVAILABILITY));
    assert_eq!((escrow.posted(), escrow.is_spent()), (Amount(1_000), true));
}

#[test]
fn holdback__should_be_decided_for_what_vests_later_too() {
    // Refused before anything vested: nine tenths are earned when the window has passed, the tenth goes back then.
    let (refused, effects) = step(&settling(), Event::RefuseHoldback, NOW);
    assert_eq!((effects.refund, refused.pending()), (Amount::ZERO, Amount(400_008)));
    let (escrow, effects) = step(&refused, Event::Vest, FIRST);
    assert_eq!((effects.refund, escrow.posted(), escrow.is_spent()), (Amount(40_000), Amount(360_008), true));
    let (escrow, effects) = step(&refused, Event::Object, NOW);
    assert_eq!((effects.refund, escrow.is_spent()), (Amount(400_008), true));
    // Acknowledged: all of it is earned then.
    let (escrow, _) = step(&acknowledged(), Event::Vest, FIRST);
    assert_eq!((escrow.posted(), escrow.is_spent()), (Amount(400_008), true));
}

#[test]
fn refused_part__should_go_back_with_an_objection_to_the_rest() {
    let (escrow, _) = step(&posted(), post(2, &[("node", 500_001)], true), NOW.after(STEP));
    let (escrow, _) = step(&escrow, Event::RefuseHoldback, NOW.after(STEP));
    let (escrow, effects) = step(&escrow, Event::Object, FIRST);
    assert_eq!(effects.refund, Amount(100_000 + 40_000), "what had not vested, and the tenth of what had");
    assert_eq!((escrow.posted(), escrow.is_spent()), (Amount(360_008), true));
}

#[test]
fn window__should_be_what_the_payer_signed_or_longer() {
    let escrow = Escrow { bounds: Bounds { objection_window: WINDOW, ..bounds() }, ..held() };
    let answer = |objection_window, max_payees| Event::Open(OpenTerms { objection_window, max_payees, ..terms() });
    let cases = [
        (answer(DurationMs(0), 1), "objection_window"),
        (answer(DurationMs(WINDOW.0 - 1), 1), "objection_window"),
        (answer(DurationMs(MAX_OBJECTION_WINDOW.0 + 1), 1), "objection_window"),
        (answer(WINDOW, MAX_VESTING_PAYEES + 1), "max_payees"),
    ];
    for (event, what) in cases {
        assert_eq!(escrow.apply(event, NOW, everyone), Err(EscrowError::OutOfBounds(what)));
    }
    assert!(escrow.apply(answer(MAX_OBJECTION_WINDOW, MAX_VESTING_PAYEES), NOW, everyone).is_ok());
    assert!(held().apply(answer(DurationMs(0), MAX_PAYEES), NOW, everyone).is_ok());
    let too_long = Bounds { objection_window: DurationMs(MAX_OBJECTION_WINDOW.0 + 1), ..bounds() };
    let hold = Escrow::hold(name("tenant"), name("compute"), Asset::Near, DEPOSIT, too_long, bps(1), NOW);
    assert_eq!(hold, Err(EscrowError::OutOfBounds("objection_window")));
}

#[test]
fn shortest_window__should_count_in_milliseconds() {
    let mut opened = open().state.opened().expect("open").clone();
    opened.objection_window = MS;
    assert_eq!(opened.vests_at(NOW), NOW.after(MS));
    opened.objection_window = DurationMs(15);
    // Steps of three.
    assert_eq!(opened.vests_at(TimestampMs(100)), TimestampMs(117));
    assert_eq!(opened.vests_at(TimestampMs(102)), TimestampMs(117));
    assert_eq!(opened.vests_at(TimestampMs(103)), TimestampMs(120));
}
