//! Lines of five fields, as cron reads them: minute, hour, day of the month, month, day of the week.

use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use std::{fmt, str::FromStr};

/// Days that are searched for the next time: the 29th of February of a weekday comes within forty years.
const MAX_DAYS: u32 = 366 * 41;

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// A line that was understood. Its text is kept as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CronLine {
    text: String,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Where both days are named, either is enough.
    either_day: bool,
}

/// Why a line is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// Too few or too many fields.
    #[error("a cron line has five fields (minute hour day month weekday), this has {0}")]
    Fields(usize),
    /// A field is not understood.
    #[error("{text:?} is no {field}: write numbers of {least} to {most}, ranges (1-5), lists (1,3), steps (*/15) or names")]
    Field {
        /// Which field.
        field: &'static str,
        /// What stands there.
        text: String,
        /// The least number.
        least: u8,
        /// The greatest.
        most: u8,
    },
    /// No day is ever meant.
    #[error("no day is ever meant by {0:?}")]
    Never(String),
}

struct Field {
    name: &'static str,
    least: u8,
    most: u8,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", least: 0, most: 59, names: &[] },
    Field { name: "hour", least: 0, most: 23, names: &[] },
    Field { name: "day of the month", least: 1, most: 31, names: &[] },
    Field { name: "month", least: 1, most: 12, names: &MONTHS },
    // 7 is Sunday too.
    Field { name: "day of the week", least: 0, most: 7, names: &WEEKDAYS },
];

impl Field {
    /// A set of numbers as bits.
    fn read(&self, text: &str) -> Result<u64, CronError> {
        let wrong = || CronError::Field { field: self.name, text: text.to_owned(), least: self.least, most: self.most };
        let mut set = 0_u64;
        for item in text.split(',') {
            let (range, step) = match item.split_once('/') {
                Some((range, step)) => (range, step.parse::<u8>().ok().filter(|step| *step > 0).ok_or_else(wrong)?),
                None => (item, 1),
            };
            let (first, last) = match (range, range.split_once('-')) {
                ("*", _) => (self.least, if self.names.len() == 7 { 6 } else { self.most }),
                (_, Some((first, last))) => (self.number(first).ok_or_else(wrong)?, self.number(last).ok_or_else(wrong)?),
                // `5/10` begins at 5 and goes on to the end.
                (_, None) => {
                    let first = self.number(range).ok_or_else(wrong)?;
                    (first, if item.contains('/') { self.most } else { first })
                }
            };
            if first > last {
                return Err(wrong());
            }
            for number in (first..=last).step_by(usize::from(step)) {
                set |= 1 << number;
            }
        }
        Ok(set)
    }

    fn number(&self, text: &str) -> Option<u8> {
        let lower = text.to_ascii_lowercase();
        if let Some(place) = self.names.iter().position(|name| *name == lower) {
            return u8::try_from(place).ok()?.checked_add(self.least);
        }
        let digits = !text.is_empty() && text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        let number: u8 = digits.then(|| text.parse().ok())??;
        (self.least..=self.most).contains(&number).then_some(number)
    }
}

impl FromStr for CronLine {
    type Err = CronError;

    fn from_str(text: &str) -> Result<Self, CronError> {
        let spelled = match text.trim() {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            other => other,
        };
        let words: Vec<&str> = spelled.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = words[..] else { return Err(CronError::Fields(words.len())) };
        let read = |field: usize, text: &str| FIELDS[field].read(text);
        let (minutes, hours, days, months) = (read(0, minute)?, read(1, hour)?, read(2, day)?, read(3, month)?);
        let weekdays = read(4, weekday)?;
        let line = Self {
            text: text.trim().to_owned(),
            minutes,
            hours,
            days,
            months,
            weekdays: (weekdays | weekdays >> 7) & 0x7f,
            either_day: !day.starts_with('*') && !weekday.starts_with('*'),
        };
        let start = Date::constant(2024, 1, 1);
        line.days_from(start).next().map(|_| ()).ok_or_else(|| CronError::Never(line.text.clone()))?;
        Ok(line)
    }
}

impl fmt::Display for CronLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn has(set: u64, number: i8) -> bool {
    u32::try_from(number).is_ok_and(|number| set >> number & 1 == 1)
}

impl CronLine {
    /// The first moment after `after` that the line means in a time zone. A time that the clocks skip comes when they have skipped it; one that they show twice counts once.
    #[must_use]
    pub fn next(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let from = after.to_zoned(zone.clone()).date();
        for date in self.days_from(from) {
            for hour in (0_i8..24).filter(|hour| has(self.hours, *hour)) {
                for minute in (0_i8..60).filter(|minute| has(self.minutes, *minute)) {
                    let shown = date.at(hour, minute, 0, 0);
                    // Of a time that is shown twice the first, of one that is skipped what it would have been: as much later as was skipped.
                    let moment = zone.to_ambiguous_timestamp(shown).compatible().ok()?;
                    if moment > after {
                        return Some(moment);
                    }
                }
            }
        }
        None
    }

    fn days_from(&self, from: Date) -> impl Iterator<Item = Date> + '_ {
        let days = (0..MAX_DAYS).map_while(move |number| from.checked_add(i64::from(number).days()).ok());
        days.filter(|date| {
            let (by_month, by_week) = (has(self.days, date.day()), has(self.weekdays, date.weekday().to_sunday_zero_offset()));
            has(self.months, date.month()) && if self.either_day { by_month || by_week } else { by_month && by_week }
        })
    }
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;
    use proptest::prelude::*;

    fn times(line: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let (line, zone): (CronLine, _) = (line.parse().unwrap(), TimeZone::get(zone).unwrap());
        let mut at: Timestamp = after.parse().unwrap();
        let step = |_| {
            at = line.next(at, &zone).unwrap();
            at.to_string()
        };
        (0..count).map(step).collect()
    }

    #[test]
    fn line__should_mean_what_cron_means() {
        assert_eq!(
            times("*/20 9-10 * * mon-fri", "UTC", "2026-11-20T10:20:00Z", 3),
            ["2026-11-20T10:40:00Z", "2026-11-23T09:00:00Z", "2026-11-23T09:20:00Z"]
        );
        assert_eq!(times("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", 2), ["2028-02-29T00:00:00Z", "2032-02-29T00:00:00Z"]);
        // Where both days are named, either is enough.
        assert_eq!(
            times("0 6 13 * 5", "UTC", "2026-11-12T06:00:00Z", 3),
            ["2026-11-13T06:00:00Z", "2026-11-20T06:00:00Z", "2026-11-27T06:00:00Z"]
        );
        assert_eq!(times("0 0 * * 7", "UTC", "2026-11-21T00:00:00Z", 1), times("0 0 * * SUN", "UTC", "2026-11-21T00:00:00Z", 1));
        assert_eq!(times("30 5/6 * jan,dec *", "UTC", "2026-11-21T00:00:00Z", 2), ["2026-12-01T05:30:00Z", "2026-12-01T11:30:00Z"]);
        assert_eq!(times("@daily", "Asia/Kolkata", "2026-11-21T00:00:00Z", 1), ["2026-11-21T18:30:00Z"]);
    }

    #[test]
    fn line__should_run_once_where_clocks_are_changed() {
        // 02:30 is skipped on the 29th of March 2026 in Berlin, and shown twice on the 25th of October.
        assert_eq!(times("30 2 * * *", "Europe/Berlin", "2026-03-28T02:00:00Z", 2), ["2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z"]);
        assert_eq!(times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2), ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    }

    #[test]
    fn line__should_be_refused_with_the_field_that_is_wrong() {
        for (line, field) in [
            ("60 * * * *", "minute"),
            ("* 24 * * *", "hour"),
            ("* * 0 * *", "day of the month"),
            ("* * * 13 *", "month"),
            ("* * * * 8", "day of the week"),
            ("*/0 * * * *", "minute"),
            ("5-1 * * * *", "minute"),
            ("1,,2 * * * *", "minute"),
            ("* * * foo *", "month"),
            ("+5 * * * *", "minute"),
        ] {
            assert!(matches!(line.parse::<CronLine>(), Err(CronError::Field { field: found, .. }) if found == field), "{line}");
        }
        assert_eq!("* * * *".parse::<CronLine>(), Err(CronError::Fields(4)));
        assert_eq!("0 0 30 2 *".parse::<CronLine>(), Err(CronError::Never("0 0 30 2 *".to_owned())));
    }

    proptest! {
        #[test]
        fn line__should_always_go_on_to_a_later_time_that_it_means(
            minute in 0_u8..60, hour in 0_u8..24, weekday in 0_u8..7, after in 1_700_000_000_i64..2_000_000_000, zone in 0_usize..4,
        ) {
            let zone = TimeZone::get(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"][zone]).unwrap();
            let line: CronLine = format!("{minute} {hour} * * {weekday}").parse().unwrap();
            let after = Timestamp::from_second(after).unwrap();
            let next = line.next(after, &zone).unwrap();
            prop_assert!(next > after);
            prop_assert!(next.duration_since(after) <= jiff::SignedDuration::from_hours(8 * 24));
            let shown = next.to_zoned(zone.clone());
            prop_assert_eq!(shown.weekday().to_sunday_zero_offset(), i8::try_from(weekday).unwrap());
            let minutes = i32::from(shown.hour()) * 60 + i32::from(shown.minute());
            let late = minutes - (i32::from(hour) * 60 + i32::from(minute));
            prop_assert!(late == 0 || (late > 0 && late <= 60), "{shown}");
        }
    }
}
