//! Bond: it never owes or sets aside more than was paid in, it is there as long as it covers, and every pair of state and event is decided.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use proptest::prelude::*;

const NOW: TimestampMs = TimestampMs(1_700_000_000_000);
const MS: DurationMs = DurationMs(1);
/// The latest that a lease paid now may be covered until.
const LATEST: TimestampMs = NOW.after(DurationMs(CLOSING_PERIOD.0 - CLAIM_PERIOD.0));

fn name(text: &str) -> AccountId {
    AccountId::new(text).expect("a name")
}

fn unpaid() -> Bond {
    Bond::new(name("provider"), Amount(100), NOW.after(DurationMs::from_days(30)))
}

#[track_caller]
fn step(bond: &Bond, event: Event) -> Bond {
    bond.apply(event, NOW).expect("the event is taken")
}

fn open() -> Bond {
    step(&unpaid(), Event::Opened)
}

fn set_aside(pays: u128) -> Event {
    Event::SetAside { pays: Amount(pays), until: LATEST }
}

fn broken(tenant: &str, pays: u128) -> Event {
    Event::Break { tenant: name(tenant), pays: Amount(pays) }
}

fn free(pays: u128) -> Event {
    Event::Free { pays: Amount(pays) }
}

#[test]
fn bond__should_decide_every_state_and_event() {
    let covering = step(&open(), set_aside(10));
    let owing = step(&step(&covering, set_aside(10)), broken("tenant", 10));
    let closing = step(&owing, Event::ClosingAsked);
    let all = [Event::Opened, Event::ClosingAsked, set_aside(10), free(10), broken("tenant", 10), Event::Post];
    let taken = |bond: &Bond| all.clone().map(|event| bond.apply(event, NOW).is_ok());
    assert_eq!(taken(&unpaid()), [true, false, false, false, false, false]);
    assert_eq!(taken(&owing), [false, true, true, true, true, true]);
    assert_eq!(taken(&closing), [false, false, false, true, true, true]);
    assert_eq!(unpaid().apply(Event::Post, NOW), Err(BondError::WrongState("unpaid")));
    assert_eq!(owing.apply(Event::Opened, NOW), Err(BondError::WrongState("open")));
    assert_eq!(closing.apply(set_aside(10), NOW), Err(BondError::WrongState("closing")));
    assert_eq!(open().apply(Event::Post, NOW), Err(BondError::NothingOwed));
}

#[test]
fn bond__should_cover_no_more_than_it_has() {
    let bond = step(&open(), set_aside(60));
    assert_eq!(bond.free(), Ok(Amount(40)));
    assert_eq!(bond.apply(set_aside(41), NOW), Err(BondError::NotCovered { free: Amount(40) }));
    let full = step(&bond, set_aside(40));
    // What is owed stays taken; what is freed is there again.
    let owing = step(&full, broken("tenant", 60));
    assert_eq!((owing.free(), owing.set_aside, owing.leases), (Ok(Amount(0)), Amount(40), 1));
    assert_eq!(owing.apply(set_aside(1), NOW), Err(BondError::NotCovered { free: Amount(0) }));
    let freed = step(&owing, free(40));
    assert_eq!((freed.free(), freed.leases), (Ok(Amount(40)), 0));
    assert!(freed.apply(free(1), NOW).is_err(), "nothing is set aside any more");
}

#[test]
fn bond__should_sum_what_a_tenant_is_owed_and_number_its_posts() {
    let bond = [set_aside(10), set_aside(20), set_aside(30)].into_iter().fold(open(), |bond, event| step(&bond, event));
    let bond = [broken("one", 10), broken("two", 20), broken("one", 30)].into_iter().fold(bond, |bond, event| step(&bond, event));
    let owed = |payee, total| Posting { payee: name(payee), total: Amount(total) };
    assert_eq!(bond.owed, [owed("one", 40), owed("two", 20)]);
    let posted = step(&step(&bond, Event::Post), Event::Post);
    assert_eq!((posted.seq, posted.owed), (2, bond.owed), "a post that was lost is sent again, with a number of its own");
}

#[test]
fn bond__should_be_there_to_be_claimed_to_the_millisecond() {
    assert!(open().apply(set_aside(1), NOW).is_ok());
    let longer = Event::SetAside { pays: Amount(1), until: LATEST.after(MS) };
    assert_eq!(open().apply(longer, NOW), Err(BondError::TooLong(LATEST)));
    // One that expires earlier covers no longer than itself.
    let last = NOW.after(DurationMs::from_days(2));
    let short = Bond { expires_at: last.after(CLAIM_PERIOD), ..open() };
    assert!(short.apply(Event::SetAside { pays: Amount(1), until: last }, NOW).is_ok());
    let longer = Event::SetAside { pays: Amount(1), until: last.after(MS) };
    assert_eq!(short.apply(longer, NOW), Err(BondError::TooLong(last)));
}

#[test]
fn bond__should_owe_no_more_tenants_than_its_record_has_places_for() {
    let full = (0..MAX_OWED).fold(open(), |bond, _| step(&bond, set_aside(1)));
    assert_eq!(full.apply(set_aside(1), NOW), Err(BondError::Full));
    let owing = (0..MAX_OWED).fold(full, |bond, tenant| step(&bond, broken(&format!("tenant-{tenant}"), 1)));
    assert_eq!(owing.owed.len(), usize::from(MAX_OWED));
    assert_eq!(owing.apply(set_aside(1), NOW), Err(BondError::Full));
}

proptest! {
    /// Whatever happens, nothing is promised twice, what is owed never falls, and what is not spoken for is free.
    #[test]
    fn bond__should_never_promise_a_yocto_twice(events in prop::collection::vec((0..6_u8, 0..60_u128, 0..4_u8), 0..60)) {
        let (mut bond, mut aside) = (unpaid(), Vec::new());
        for (kind, pays, tenant) in events {
            let event = match kind {
                0 => Event::Opened,
                1 => Event::ClosingAsked,
                2 | 3 => set_aside(pays),
                4 => aside.last().map_or(Event::Post, |pays| free(*pays)),
                _ => aside.last().map_or(Event::Post, |pays| broken(&format!("tenant-{tenant}"), *pays)),
            };
            let Ok(next) = bond.apply(event.clone(), NOW) else { continue };
            match event {
                Event::SetAside { pays, .. } => aside.push(pays.0),
                Event::Free { .. } | Event::Break { .. } => {
                    aside.pop();
                }
                _ => {}
            }
            let owed = |bond: &Bond| bond.owed.iter().map(|posting| posting.total.0).sum::<u128>();
            prop_assert_eq!(next.set_aside.0, aside.iter().sum::<u128>());
            prop_assert_eq!(usize::from(next.leases), aside.len());
            prop_assert_eq!(next.free(), Ok(Amount(100 - owed(&next) - next.set_aside.0)));
            prop_assert!(owed(&next) >= owed(&bond) && next.seq >= bond.seq);
            prop_assert!(next.owed.len() + usize::from(next.leases) <= usize::from(MAX_OWED));
            bond = next;
        }
    }
}
