//! Cover: what breaks a promise and what does not, to the millisecond and to the unit of work.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;

const NOW: TimestampMs = TimestampMs(1_700_000_000_000);
const MS: DurationMs = DurationMs(1);
const ANSWER: DurationMs = DurationMs::from_secs(300);
const UNTIL: TimestampMs = NOW.after(DurationMs::from_hours(3));
const DEADLINE: TimestampMs = NOW.after(DurationMs::from_hours(2));

fn standing() -> Cover {
    Cover::new(Sla { bond: EscrowId(1), pays: Amount(10), units_per_hour: 3_600, answer_time: ANSWER }, UNTIL)
}

fn pinged() -> Cover {
    standing().ping(DEADLINE, NOW).expect("it may be pinged")
}

fn broken() -> Cover {
    standing().worked(DurationMs::from_hours(1), 0, NOW)
}

fn kept() -> Cover {
    standing().keep()
}

fn tenant() -> AccountId {
    AccountId::new("tenant").expect("a name")
}

#[test]
fn cover__should_decide_every_state_and_event() {
    let slow = |cover: &Cover| cover.worked(DurationMs::from_hours(1), 3_599, NOW).state;
    let broken_now = CoverState::Broken { breach: Breach::TooSlow, at: NOW };
    let answered = CoverState::Standing { ping_from: NOW.after(ANSWER) };
    let all = [standing(), pinged(), broken(), kept()];
    assert_eq!(all.clone().map(|cover| cover.state.name()), ["standing", "pinged", "broken", "kept"]);
    assert_eq!(all.clone().map(|cover| cover.ping(DEADLINE, NOW).is_ok()), [true, false, false, false]);
    assert_eq!(
        all.clone().map(|cover| cover.pong(NOW).map(|next| next.state)),
        [Err(BondError::WrongState("standing")), Ok(answered), Err(BondError::WrongState("broken")), Err(BondError::WrongState("kept")),]
    );
    assert_eq!(all.each_ref().map(slow), [broken_now, broken_now, broken_now, CoverState::Kept]);
    assert_eq!(all.clone().map(|cover| cover.end(NOW).state), [standing().state, answered, broken_now, CoverState::Kept]);
    assert_eq!(all.clone().map(|cover| cover.keep().state), [CoverState::Kept, CoverState::Kept, broken_now, CoverState::Kept]);
    assert_eq!(all.map(|cover| cover.holds()), [true, true, false, false]);
}

#[test]
fn ping__should_be_answered_by_its_deadline_to_the_millisecond() {
    let answer_by = NOW.after(ANSWER);
    assert_eq!(pinged().state, CoverState::Pinged { answer_by });
    assert_eq!(pinged().pong(answer_by).map(|cover| cover.state), Ok(CoverState::Standing { ping_from: answer_by }));
    assert_eq!(pinged().pong(answer_by.after(MS)), Err(BondError::WrongState("broken")));
    assert_eq!(pinged().at(answer_by).state, pinged().state);
    let unanswered = CoverState::Broken { breach: Breach::Unanswered, at: answer_by };
    assert_eq!(pinged().at(answer_by.after(MS)).state, unanswered);
    // Who ends the lease has answered, and not any more a moment later.
    assert_eq!(pinged().end(answer_by).state, CoverState::Standing { ping_from: answer_by });
    assert_eq!(pinged().end(answer_by.after(MS)).state, unanswered);
}

#[test]
fn ping__should_be_one_at_a_time_and_due_before_the_end() {
    let answered = pinged().pong(NOW.after(MS)).expect("in time");
    let next = NOW.after(ANSWER);
    assert_eq!(answered.ping(DEADLINE, TimestampMs(next.0 - 1)), Err(BondError::PingTooEarly(next)));
    assert!(answered.ping(DEADLINE, next).is_ok());
    assert_eq!(pinged().ping(DEADLINE, next), Err(BondError::WrongState("pinged")));
    for (deadline, last) in [(DEADLINE, DEADLINE), (UNTIL.after(ANSWER), UNTIL)] {
        let latest = TimestampMs(last.0 - ANSWER.0 - 1);
        assert!(standing().ping(deadline, latest).is_ok());
        assert_eq!(standing().ping(deadline, latest.after(MS)), Err(BondError::PingTooLate(last)));
    }
}

#[test]
fn work__should_break_the_promise_below_the_figure_from_the_second_interval_on() {
    let hour = DurationMs::from_hours(1);
    assert!(standing().worked(hour, 3_600, NOW).holds());
    assert!(!standing().worked(hour, 3_599, NOW).holds());
    assert!(!pinged().worked(hour, 3_599, NOW).holds());
    // Two intervals and a half: 150 units.
    assert!(standing().worked(DurationMs(150_000), 150, NOW).holds());
    assert!(!standing().worked(DurationMs(150_000), 149, NOW).holds());
    assert!(standing().worked(STATEMENT_INTERVAL, 0, NOW).holds(), "the first interval is not judged");
    assert!(!standing().worked(DurationMs(STATEMENT_INTERVAL.0 + 1), 0, NOW).holds());
    assert!(standing().worked(hour, 0, UNTIL.after(MS)).holds(), "nothing later counts");
    assert!(!standing().worked(hour, 0, UNTIL).holds());
    let none = Cover { sla: Sla { units_per_hour: 0, ..standing().sla }, ..standing() };
    assert!(none.worked(hour, 0, NOW).holds());
    assert!(!standing().worked(DurationMs(u64::MAX), u64::MAX / 1_000, NOW).holds(), "in a range of its own");
}

#[test]
fn bond__should_follow_a_promise_once() {
    let (pays, tenant) = (Amount(10), tenant());
    assert_eq!(broken().follows(&standing(), &tenant), Some(Event::Break { tenant: tenant.clone(), pays }));
    assert_eq!(broken().follows(&pinged(), &tenant), Some(Event::Break { tenant: tenant.clone(), pays }));
    assert_eq!(kept().follows(&standing(), &tenant), Some(Event::Free { pays }));
    for (before, after) in [(standing(), pinged()), (pinged(), standing()), (broken(), broken()), (kept(), kept()), (broken(), kept())] {
        assert_eq!(after.follows(&before, &tenant), None);
    }
}
