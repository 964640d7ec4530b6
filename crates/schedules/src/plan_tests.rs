//! Times, ceilings and gaps of schedules.

#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use proptest::prelude::*;

const MINUTE: u64 = 60_000;
/// 2026-11-21 00:00 UTC.
const START: u64 = 1_795_219_200_000;

fn at(minutes: u64) -> TimestampMs {
    TimestampMs(START + minutes * MINUTE)
}

fn hourly(missed: Missed) -> Schedule {
    let when = When::cron("0 * * * *", "UTC").unwrap();
    Schedule::new(when, Amount(10), Amount(35), missed, at(0))
}

#[test]
fn schedule__should_run_at_its_times_until_the_budget_does_not_cover_one_more() {
    let mut schedule = hourly(Missed::Skip);
    assert_eq!(schedule.step(at(59)), Ok(Next::Wait(at(60))));
    for hour in 1..=3 {
        assert_eq!(schedule.step(at(60 * hour)), Ok(Next::Run(at(60 * hour))));
        schedule.end(Outcome::Done, Amount(10));
    }
    assert_eq!(schedule.step(at(240)), Ok(Next::Wait(at(300))));
    assert_eq!(schedule.past.last().unwrap().outcome, Outcome::Skipped { why: Skipped::Budget, count: 1 });
    assert_eq!(schedule.spending.spent, Amount(30));
    // What cost less than its most leaves room for one more.
    schedule.spending.spent = Amount(25);
    assert_eq!(schedule.step(at(300)), Ok(Next::Run(at(300))));
}

#[test]
fn schedule__should_run_once_at_a_time() {
    let mut schedule = Schedule::new(When::At(at(5)), Amount(1), Amount(1), Missed::Skip, at(0));
    assert_eq!(schedule.step(at(0)), Ok(Next::Wait(at(5))));
    assert_eq!(schedule.step(at(5)), Ok(Next::Run(at(5))));
    schedule.end(Outcome::Failed("no node".to_owned()), Amount::ZERO);
    assert_eq!(schedule.step(at(5)), Ok(Next::Rest));
}

#[test]
fn occurrence__should_be_skipped_while_the_one_before_runs() {
    let mut schedule = hourly(Missed::Once);
    assert_eq!(schedule.step(at(60)), Ok(Next::Run(at(60))));
    assert_eq!(schedule.step(at(120)), Ok(Next::Wait(at(180))));
    assert_eq!(schedule.step(at(180)), Ok(Next::Wait(at(240))));
    assert_eq!(schedule.past, [Ended { at: at(180), outcome: Outcome::Skipped { why: Skipped::Overlap, count: 2 }, cost: Amount::ZERO }]);
    schedule.end(Outcome::Done, Amount(1));
    assert_eq!(schedule.step(at(181)), Ok(Next::Wait(at(240))), "what was skipped is not made up for");
}

#[test]
fn missed_occurrences__should_be_skipped_or_made_up_for_once() {
    let mut schedule = hourly(Missed::Skip);
    assert_eq!(schedule.step(at(60 * 24 + 30)), Ok(Next::Wait(at(60 * 25))));
    assert_eq!(schedule.past.last().unwrap().outcome, Outcome::Skipped { why: Skipped::Missed, count: 24 });
    let mut schedule = hourly(Missed::Once);
    assert_eq!(schedule.step(at(60 * 24 + 30)), Ok(Next::Run(at(60 * 24))));
    assert_eq!(schedule.past.last().unwrap().outcome, Outcome::Skipped { why: Skipped::Missed, count: 23 });
    // A year of minutes is no work.
    let mut schedule = Schedule::new(When::cron("* * * * *", "UTC").unwrap(), Amount(1), Amount(9), Missed::Skip, at(0));
    assert_eq!(schedule.step(at(366 * 24 * 60)), Ok(Next::Run(at(366 * 24 * 60))));
}

#[test]
fn pause__should_let_what_is_due_meanwhile_go() {
    let mut schedule = hourly(Missed::Once);
    schedule.set_paused(true, at(10));
    assert_eq!(schedule.step(at(60)), Ok(Next::Rest));
    schedule.set_paused(false, at(190));
    assert_eq!(schedule.step(at(190)), Ok(Next::Wait(at(240))));
    assert_eq!(schedule.past, []);
}

#[test]
fn time__should_be_read_in_its_zone() {
    let read = |text, zone| When::at(text, zone).map(|when| when.to_string());
    assert_eq!(read("2026-11-22T06:00", "Europe/Berlin").as_deref(), Ok("once at 2026-11-22 05:00 UTC"));
    assert_eq!(read("2026-11-22T06:00Z", "Europe/Berlin").as_deref(), Ok("once at 2026-11-22 06:00 UTC"));
    assert_eq!(read("tomorrow", "UTC"), Err(WhenError::Time("tomorrow".to_owned())));
    assert_eq!(shown(at(0), "America/New_York"), "2026-11-20 19:00 EST");
}

#[test]
fn schedule__should_survive_its_file() {
    let mut schedule = hourly(Missed::Once);
    schedule.step(at(60)).unwrap();
    schedule.end(Outcome::Done, Amount(3));
    let text = serde_json::to_string(&schedule).unwrap();
    assert_eq!(serde_json::from_str::<Schedule>(&text).unwrap(), schedule);
    assert!(matches!(When::cron("0 * * * *", "Mars/Olympus"), Err(WhenError::Zone(_))));
    for (name, fits) in [("nightly-2", true), ("", false), ("-a", false), ("../a", false), ("A", false), (&*"a".repeat(49), false)] {
        assert_eq!(checked_name(name).is_ok(), fits, "{name}");
    }
}

proptest! {
    /// Whatever happens and whenever it is looked: no time runs twice, none before it is due, and the budget is never passed.
    #[test]
    fn schedule__should_never_run_a_time_twice_nor_pass_its_budget(
        looks in prop::collection::vec((1_u64..200, 0_u8..4, 0_u128..=10), 1..80), once in any::<bool>(),
    ) {
        let mut schedule = hourly(if once { Missed::Once } else { Missed::Skip });
        schedule.spending.budget = Amount(123);
        let (mut now, mut ran) = (0, Vec::new());
        for (minutes, event, cost) in looks {
            now += minutes;
            match event {
                0 => schedule.set_paused(true, at(now)),
                1 => schedule.set_paused(false, at(now)),
                2 => schedule.end(Outcome::Done, Amount(cost)),
                _ => {}
            }
            if let Next::Run(due) = schedule.step(at(now)).unwrap() {
                prop_assert!(due <= at(now) && !ran.contains(&due) && ran.last().is_none_or(|last| *last < due));
                ran.push(due);
            }
            let most = schedule.running.map_or(0, |_| 10);
            prop_assert!(schedule.spending.spent.0 + most <= 123);
        }
    }
}
