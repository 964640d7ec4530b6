//! Lease: who may end it, when statements are taken, and that no figure passes what both keys and the clock allow.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use crate::bond::{Breach, CoverState, Sla};
use proptest::prelude::*;
use starling_primitives::BasisPoints;

const NOW: TimestampMs = TimestampMs(1_700_000_000_000);
const ACCEPTED: TimestampMs = NOW.after(DurationMs(30_000));
const DURATION: DurationMs = DurationMs::from_hours(1);
const DEADLINE: TimestampMs = ACCEPTED.after(DURATION);
const MS: DurationMs = DurationMs(1);

fn name(text: &str) -> AccountId {
    AccountId::new(text).expect("a name")
}

fn unpaid() -> Lease {
    let terms = LeaseTerms {
        offer_id: OfferId(1),
        duration: DURATION,
        job: Hash32([1; 32]),
        meter: PublicKey([2; 32]),
        availability: DurationMs::from_hours(2),
        delegate: None,
    };
    Lease {
        id: LeaseId(7),
        tenant: name("tenant"),
        node_id: NodeId(3),
        payout: name("provider"),
        node_key: PublicKey([3; 32]),
        escrow_id: EscrowId(9),
        deposit: Amount(3_600_000),
        price_per_hour: Amount(3_600_000),
        terms,
        seq: 0,
        metered: DurationMs(0),
        units: 0,
        output: None,
        created_at: NOW,
        state: LeaseState::Unpaid,
        metering: Metering::default(),
        asset: Asset::Near,
        cover: None,
    }
}

/// A lease whose meter is a delegate with 2 %, active.
fn delegated() -> Lease {
    let delegate = Delegate { account: name("delegate"), share: BasisPoints::new(200).expect("a fraction") };
    let metering = Metering::new(Some(&delegate), DurationMs::from_hours(1)).expect("within the limits");
    let terms = LeaseTerms { delegate: Some(delegate), ..active().terms };
    Lease { terms, metering, ..active() }
}

fn own_key() -> Meter {
    Meter { key: PublicKey([5; 32]), delegate: None }
}

fn statement(seq: u64, metered_ms: u64) -> LeaseStatement {
    LeaseStatement { escrow_id: EscrowId(9), lease_id: LeaseId(7), seq, metered_ms, units: seq, output: Hash32([4; 32]), is_final: false }
}

fn done(seq: u64, metered_ms: u64) -> Event {
    Event::Statement(LeaseStatement { is_final: true, ..statement(seq, metered_ms) })
}

#[track_caller]
fn step(lease: &Lease, event: Event, now: TimestampMs) -> Lease {
    lease.apply(event, now).expect("the event is taken")
}

fn pending() -> Lease {
    step(&unpaid(), Event::Opened, NOW)
}

fn active() -> Lease {
    step(&pending(), Event::Accept, ACCEPTED)
}

#[test]
fn lease__should_wait_a_minute_for_the_node_to_the_millisecond() {
    let last = NOW.after(ACCEPT_PERIOD);
    assert_eq!(step(&pending(), Event::Accept, last).state.name(), "active");
    let late = last.after(MS);
    assert_eq!(pending().apply(Event::Accept, late), Err(LeaseError::AcceptedTooLate(last)));
    assert_eq!(pending().apply(Event::Tick, last), Err(LeaseError::NothingDue(last)));
    let closing = step(&pending(), Event::Tick, late);
    assert!(matches!(closing.state, LeaseState::Closing { cause: Cause::NotAccepted, since: None, .. }));
    // Nothing was earned, so it settles at once; a tick before is not needed. Nor is the minute where the node declines.
    let declined = step(&pending(), Event::CloseByProvider, NOW);
    for (lease, ended_at, settled_at) in [(closing, last, late), (pending(), last, late), (declined, NOW, NOW)] {
        let closed = step(&lease, Event::Settled, settled_at);
        assert_eq!(closed.state, LeaseState::Closed { cause: Cause::NotAccepted, ended_at });
        assert_eq!(closed.earned(), Ok(Amount::ZERO));
    }
}

#[test]
fn lease__should_pay_metered_time_rounded_down() {
    let later = ACCEPTED.after(DurationMs(60_000));
    let lease = step(&active(), Event::Statement(statement(1, 59_999)), later);
    assert_eq!(lease.earned(), Ok(Amount(59_999)));
    let odd = Lease { price_per_hour: Amount(7), ..lease };
    assert_eq!(odd.earned(), Ok(Amount(0)));
}

#[test]
fn statement__should_not_claim_more_time_than_passed_since_acceptance() {
    let now = ACCEPTED.after(DurationMs(500));
    assert!(active().apply(Event::Statement(statement(1, 500)), now).is_ok());
    let error = LeaseError::MoreThanPassed { claimed: DurationMs(501), passed: DurationMs(500) };
    assert_eq!(active().apply(Event::Statement(statement(1, 501)), now), Err(error));
    // After the deadline the clock stands still.
    let error = LeaseError::MoreThanPassed { claimed: DurationMs(DURATION.0 + 1), passed: DURATION };
    assert_eq!(active().apply(Event::Statement(statement(1, DURATION.0 + 1)), DEADLINE.after(MS)), Err(error));
}

#[test]
fn statement__should_follow_the_last_one_of_this_lease() {
    let now = ACCEPTED.after(DurationMs(10_000));
    let lease = step(&active(), Event::Statement(statement(5, 5_000)), now);
    let cases = [
        (LeaseStatement { lease_id: LeaseId(8), ..statement(6, 6_000) }, "another lease"),
        (LeaseStatement { escrow_id: EscrowId(8), ..statement(6, 6_000) }, "another lease"),
        (statement(5, 6_000), "an older statement"),
        (statement(4, 6_000), "an older statement"),
        (statement(6, 4_999), "figures fell"),
        (LeaseStatement { units: 4, ..statement(6, 6_000) }, "figures fell"),
    ];
    for (statement, why) in cases {
        assert_eq!(lease.apply(Event::Statement(statement), now), Err(LeaseError::DoesNotFollow(why)));
    }
}

#[test]
fn closing__should_fix_the_end_and_leave_two_minutes_for_the_last_statement() {
    let end = ACCEPTED.after(DurationMs(10_000));
    for (event, cause) in [(Event::CloseByTenant, Cause::TenantClosed), (Event::CloseByProvider, Cause::ProviderClosed)] {
        let closing = step(&active(), event, end);
        let last = end.after(POST_PERIOD);
        assert_eq!(closing.state, LeaseState::Closing { cause, since: Some(ACCEPTED), ended_at: end, post_until: last });
        assert_eq!(step(&closing, Event::Statement(statement(1, 10_000)), last).earned(), Ok(Amount(10_000)));
        let error = LeaseError::MoreThanPassed { claimed: DurationMs(10_001), passed: DurationMs(10_000) };
        assert_eq!(closing.apply(Event::Statement(statement(1, 10_001)), last), Err(error));
        assert_eq!(closing.apply(Event::Statement(statement(1, 10_000)), last.after(MS)), Err(LeaseError::WrongState("closing")));
        assert_eq!(closing.apply(Event::Settled, last), Err(LeaseError::NothingDue(last)));
        assert_eq!(step(&closing, Event::Settled, last.after(MS)).state, LeaseState::Closed { cause, ended_at: end });
    }
}

#[test]
fn final_statement__should_settle_at_once_before_and_after_the_end() {
    let now = ACCEPTED.after(DurationMs(10_000));
    let completed = step(&active(), done(1, 9_000), now);
    let post_until = TimestampMs(now.0 - 1);
    assert_eq!(completed.state, LeaseState::Closing { cause: Cause::Completed, since: Some(ACCEPTED), ended_at: now, post_until });
    assert!(completed.apply(Event::Statement(statement(2, 9_500)), now).is_err(), "final is final");
    assert_eq!(step(&completed, Event::Settled, now).state, LeaseState::Closed { cause: Cause::Completed, ended_at: now });

    let stopped = step(&active(), Event::CloseByTenant, now);
    let moments_later = now.after(DurationMs(2_000));
    let stopped = step(&stopped, done(1, 9_000), moments_later);
    assert!(stopped.apply(Event::Statement(statement(2, 9_500)), moments_later).is_err(), "final is final");
    assert_eq!(step(&stopped, Event::Settled, moments_later).state, LeaseState::Closed { cause: Cause::TenantClosed, ended_at: now });
}

#[test]
fn lease__should_end_at_its_deadline_whether_or_not_anyone_ticks() {
    assert_eq!(active().apply(Event::Tick, DEADLINE), Err(LeaseError::NothingDue(DEADLINE)));
    let last = DEADLINE.after(POST_PERIOD);
    let expect = LeaseState::Closing { cause: Cause::TimeOver, since: Some(ACCEPTED), ended_at: DEADLINE, post_until: last };
    for late in [DEADLINE.after(MS), last, last.after(DurationMs::from_days(9))] {
        assert_eq!(step(&active(), Event::Tick, late).state, expect, "a late tick gives no more time");
        assert_eq!(active().at(late).state, expect);
        assert_eq!(active().apply(Event::CloseByTenant, late), Err(LeaseError::WrongState("closing")));
    }
    assert_eq!(step(&active(), Event::Statement(statement(1, DURATION.0)), last).earned(), Ok(Amount(3_600_000)));
    assert!(active().apply(Event::Statement(statement(1, DURATION.0)), last.after(MS)).is_err());
    assert_eq!(step(&active(), Event::Settled, last.after(MS)).state, LeaseState::Closed { cause: Cause::TimeOver, ended_at: DEADLINE });
}

#[test]
fn statement__should_be_taken_with_figures_that_stayed_the_same() {
    let now = ACCEPTED.after(DurationMs(50));
    let first = step(&active(), Event::Statement(statement(1, 40)), now);
    let second = step(&first, Event::Statement(LeaseStatement { seq: 2, ..statement(1, 40) }), now);
    assert_eq!((second.seq, second.metered, second.units), (2, first.metered, first.units));
}

#[test]
fn tick__should_find_nothing_where_the_end_is_known() {
    let now = ACCEPTED.after(DurationMs(50));
    let closing = step(&active(), Event::CloseByTenant, now);
    assert_eq!(closing.apply(Event::Tick, now), Err(LeaseError::WrongState("closing")));
}

#[test]
fn states__should_take_exactly_their_events() {
    let now = ACCEPTED.after(DurationMs(1));
    let closing = step(&active(), Event::CloseByTenant, now);
    let closed = step(&closing, Event::Settled, now.after(POST_PERIOD).after(MS));
    let events: [(&str, Event); 12] = [
        ("opened", Event::Opened),
        ("accept", Event::Accept),
        ("statement", Event::Statement(statement(1, 1))),
        ("close_by_tenant", Event::CloseByTenant),
        ("close_by_provider", Event::CloseByProvider),
        ("settled", Event::Settled),
        ("former_statement", Event::FormerStatement(statement(1, 1))),
        ("replace_meter", Event::ReplaceMeter(own_key())),
        ("objected", Event::Objected),
        ("escrow_closed", Event::EscrowClosed),
        ("ping", Event::Ping),
        ("pong", Event::Pong),
    ];
    let objected = step(&active(), Event::Objected, now);
    let table: [(Lease, &[&str]); 6] = [
        (unpaid(), &["opened", "objected"]),
        (pending(), &["accept", "close_by_tenant", "close_by_provider", "replace_meter", "objected", "escrow_closed"]),
        (
            active(),
            &[
                "statement",
                "former_statement",
                "close_by_tenant",
                "close_by_provider",
                "replace_meter",
                "objected",
                "escrow_closed",
                "ping",
                "pong",
            ],
        ),
        (closing, &["statement", "former_statement", "settled", "objected"]),
        (closed, &["objected"]),
        (objected, &[]),
    ];
    for (lease, taken) in table {
        for (event_name, event) in &events {
            let result = lease.apply(event.clone(), now);
            let refused = matches!(result, Err(LeaseError::WrongState(said)) if said == lease.state.name());
            assert_eq!(refused, !taken.contains(event_name), "{} and {event_name}: {result:?}", lease.state.name());
        }
    }
}

#[test]
fn delegate__should_be_paid_besides_the_node() {
    let posted = |lease: &Lease| -> Vec<_> {
        lease.postings().expect("small").into_iter().map(|posting| (posting.payee.to_string(), posting.total.0)).collect()
    };
    let later = ACCEPTED.after(DurationMs(60_000));
    assert_eq!(posted(&delegated()), []);
    let lease = step(&delegated(), Event::Statement(statement(1, 50_000)), later);
    assert_eq!(posted(&lease), [("provider".to_owned(), 50_000), ("delegate".to_owned(), 1_000)]);
    let same = Lease { payout: name("delegate"), ..lease };
    assert_eq!(posted(&same), [("delegate".to_owned(), 51_000)], "one entry a payee");
    let quote = crate::price::quote_lease(Amount(3_600_000), DURATION, delegated().terms.delegate.as_ref(), BasisPoints::ZERO);
    assert_eq!(quote.map(|quote| (quote.at_most, quote.delegate_at_most)), Ok((Amount(3_672_000), Amount(72_000))));
}

#[test]
fn replaced_meter__should_count_for_two_minutes_up_to_its_end() {
    let replaced_at = ACCEPTED.after(DurationMs(60_000));
    let lease = step(&delegated(), Event::ReplaceMeter(own_key()), replaced_at);
    assert_eq!((lease.meter(), lease.metering.objection_window), (own_key(), DurationMs::from_hours(1)));
    let last = replaced_at.after(POST_PERIOD);
    let former = |seq, metered_ms| Event::FormerStatement(statement(seq, metered_ms));
    let error = LeaseError::MoreThanPassed { claimed: DurationMs(60_001), passed: DurationMs(60_000) };
    assert_eq!(lease.apply(former(1, 60_001), last), Err(error));
    assert_eq!(lease.apply(former(1, 60_000), last.after(MS)), Err(LeaseError::DoesNotFollow("another meter")));
    let late = step(&lease, former(1, 60_000), last);
    assert_eq!(late.postings().expect("small").len(), 2, "the delegate is paid for what it signed");
    assert_eq!(late.postings().expect("small")[1].total, Amount(1_200));
    // Once the new meter has signed, the old one has nothing to add; and its part is its own.
    let mine = step(&lease, Event::Statement(statement(2, 90_000)), last);
    assert_eq!(mine.postings().expect("small").len(), 1);
    assert_eq!(mine.apply(former(3, 90_000), last), Err(LeaseError::DoesNotFollow("another meter")));
    // A closed lease takes it within both times.
    let closed = step(&lease, Event::CloseByTenant, replaced_at.after(DurationMs(10_000)));
    assert_eq!(step(&closed, former(1, 60_000), last).earned(), Ok(Amount(60_000)));
    // A final one ends the lease, whoever co-signed it.
    let done = Event::FormerStatement(LeaseStatement { is_final: true, ..statement(1, 60_000) });
    assert!(matches!(step(&lease, done, last).state, LeaseState::Closing { cause: Cause::Completed, .. }));
    assert!(matches!(lease.apply(Event::ReplaceMeter(own_key()), last), Err(LeaseError::Meter(MeterError::TooEarly(_)))));
}

#[test]
fn objection__should_close_a_lease_with_its_own_cause() {
    let now = ACCEPTED.after(DurationMs(10_000));
    let closed = |lease: &Lease| step(lease, Event::Objected, now).state;
    assert_eq!(closed(&active()), LeaseState::Closed { cause: Cause::Objected, ended_at: now });
    let ended = step(&active(), done(1, 9_000), now);
    let later = now.after(DurationMs(500));
    for lease in [ended.clone(), step(&ended, Event::Settled, now)] {
        assert_eq!(step(&lease, Event::Objected, later).state, LeaseState::Closed { cause: Cause::Objected, ended_at: now });
    }
    assert_eq!(step(&active(), Event::EscrowClosed, now).state, LeaseState::Closed { cause: Cause::EscrowClosed, ended_at: now });
}

/// An active lease whose node answers within five minutes and makes a unit a second.
fn covered() -> Lease {
    let sla = Sla { bond: EscrowId(11), pays: Amount(10), units_per_hour: 3_600, answer_time: DurationMs::from_secs(300) };
    Lease { cover: Some(Cover::new(sla, DEADLINE.after(DURATION))), ..active() }
}

fn stands(lease: &Lease) -> CoverState {
    lease.cover.as_ref().expect("it is covered").state
}

#[test]
fn ping__should_break_the_promise_once_it_is_not_answered() {
    let answer_by = ACCEPTED.after(DurationMs::from_secs(300));
    let pinged = step(&covered(), Event::Ping, ACCEPTED);
    assert_eq!(stands(&pinged), CoverState::Pinged { answer_by });
    assert_eq!(stands(&step(&pinged, Event::Pong, answer_by)), CoverState::Standing { ping_from: answer_by });
    let late = answer_by.after(MS);
    assert_eq!(pinged.apply(Event::Pong, late), Err(BondError::WrongState("broken").into()));
    assert_eq!(pinged.apply(Event::Tick, answer_by), Err(LeaseError::NothingDue(DEADLINE)));
    let unanswered = CoverState::Broken { breach: Breach::Unanswered, at: answer_by };
    let broken = step(&pinged, Event::Tick, late);
    assert_eq!((stands(&broken), broken.state), (unanswered, covered().state), "the lease goes on");
    // However it ends, and however late anyone says so, what was broken stays broken.
    for event in [Event::CloseByProvider, Event::CloseByTenant, Event::Objected, Event::EscrowClosed, done(1, 1_000)] {
        assert_eq!(stands(&step(&pinged, event, late)), unanswered);
    }
    let after_all = DEADLINE.after(DurationMs::from_days(2));
    assert_eq!(stands(&step(&pinged, Event::Tick, after_all)), unanswered);
    assert_eq!(stands(&step(&pinged, Event::Settled, after_all)), unanswered);
    assert_eq!(active().apply(Event::Ping, ACCEPTED), Err(BondError::NoCover.into()));
    assert_eq!(active().apply(Event::Pong, ACCEPTED), Err(BondError::NoCover.into()));
    let last = DEADLINE.0 - DurationMs::from_secs(300).0;
    assert_eq!(covered().apply(Event::Ping, TimestampMs(last)), Err(BondError::PingTooLate(DEADLINE).into()));
    assert!(covered().apply(Event::Ping, TimestampMs(last - 1)).is_ok());
}

#[test]
fn promise__should_be_kept_when_nothing_more_can_come() {
    let now = ACCEPTED.after(DurationMs(10_000));
    let pinged = step(&covered(), Event::Ping, ACCEPTED);
    for event in [Event::CloseByTenant, Event::CloseByProvider] {
        let closing = step(&pinged, event, now);
        assert!(closing.cover.as_ref().is_some_and(Cover::holds), "a last statement may still come");
        let last = now.after(POST_PERIOD);
        assert_eq!(closing.apply(Event::Tick, last), Err(LeaseError::WrongState("closing")));
        assert_eq!(stands(&step(&closing, Event::Tick, last.after(MS))), CoverState::Kept);
        assert_eq!(stands(&step(&closing, Event::Settled, last.after(MS))), CoverState::Kept);
    }
    for event in [Event::Objected, Event::EscrowClosed, done(1, 9_000)] {
        let later = now.after(MS);
        assert_eq!(stands(&step(&pinged, event, now).at(later)), CoverState::Kept);
    }
    // One that no node accepted was never at work.
    let pending = Lease { state: pending().state, ..covered() };
    assert_eq!(pending.apply(Event::Ping, NOW), Err(LeaseError::WrongState("pending")));
    assert_eq!(stands(&step(&pending, Event::Tick, NOW.after(ACCEPT_PERIOD).after(MS))), CoverState::Kept);
    assert_eq!(stands(&step(&pending, Event::CloseByTenant, NOW).at(NOW.after(MS))), CoverState::Kept);
}

#[test]
fn statement__should_break_the_promise_with_too_little_work() {
    let work = |seq, metered_ms, units| Event::Statement(LeaseStatement { units, ..statement(seq, metered_ms) });
    let now = ACCEPTED.after(DurationMs(120_000));
    assert!(step(&covered(), work(1, 120_000, 120), now).cover.is_some_and(|cover| cover.holds()));
    let slow = step(&covered(), work(1, 120_000, 119), now);
    let broken = CoverState::Broken { breach: Breach::TooSlow, at: now };
    assert_eq!(stands(&slow), broken);
    assert_eq!(slow.earned(), Ok(Amount(120_000)), "what was metered is paid all the same");
    // The last statement of a lease that was ended counts too, and one that has too little and is refused does not.
    let ended = step(&covered(), Event::CloseByProvider, now);
    assert_eq!(stands(&step(&ended, work(1, 120_000, 0), now)), broken);
    assert!(covered().apply(work(1, 120_001, 0), now).is_err());
}

#[test]
fn terms__should_be_read_and_written_without_a_delegate_as_before() {
    let text = serde_json::to_string(&unpaid().terms).expect("plain figures");
    assert!(!text.contains("delegate"), "{text}");
    assert_eq!(serde_json::from_str::<LeaseTerms>(&text).expect("the same"), unpaid().terms);
}

proptest! {
    /// Whatever is sent, in whatever order: never more than the deposit, never more than the price of the time that passed, never less than before.
    #[test]
    fn earned__should_stay_within_deposit_and_time(draws in prop::collection::vec((0..7_usize, 0..400_000_u64, 0..4_000_000_u64, 0..20_u64), 1..40)) {
        let (mut lease, mut now) = (pending(), NOW);
        for (kind, pause_ms, metered_ms, seq) in draws {
            now = now.after(DurationMs(pause_ms));
            let event = match kind {
                0 => Event::Accept,
                1 => Event::CloseByTenant,
                2 => Event::CloseByProvider,
                3 => Event::Tick,
                4 => Event::Settled,
                5 => done(seq, metered_ms),
                _ => Event::Statement(statement(seq, metered_ms)),
            };
            let before = lease.earned().expect("small");
            if let Ok(next) = lease.apply(event, now) {
                lease = next;
            }
            let earned = lease.earned().expect("small");
            prop_assert!(earned >= before);
            prop_assert!(earned <= lease.deposit);
            prop_assert!(lease.metered <= DURATION && lease.metered <= now.since(NOW));
        }
    }
}
