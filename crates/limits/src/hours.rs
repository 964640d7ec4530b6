//! Hours of the week in which a machine may work, such as `mon-fri 22:00-06:00`.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::{fmt, str::FromStr};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const MINUTES_PER_DAY: u16 = 24 * 60;
const MINUTES_PER_WEEK: u16 = 7 * MINUTES_PER_DAY;

/// A minute of the week in the owner's own time, counted from Monday 00:00; below 10,080.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinuteOfWeek(u16);

impl MinuteOfWeek {
    /// The minute of a day (0 is Monday) and a minute of that day; both are taken round the clock.
    pub fn new(day: u8, minute_of_day: u16) -> Self {
        Self((u16::from(day % 7) * MINUTES_PER_DAY + minute_of_day % MINUTES_PER_DAY) % MINUTES_PER_WEEK)
    }

    /// So many minutes later, round the week.
    pub fn after(self, minutes: u16) -> Self {
        Self((self.0 + minutes % MINUTES_PER_WEEK) % MINUTES_PER_WEEK)
    }

    fn day(self) -> u16 {
        self.0 / MINUTES_PER_DAY
    }

    fn of_day(self) -> u16 {
        self.0 % MINUTES_PER_DAY
    }
}

/// A range of days and a range of minutes. A range that ends before it begins goes on into the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hours {
    first_day: u16,
    last_day: u16,
    from: u16,
    until: u16,
}

/// Why a text is no range of hours.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no range of hours: write one like `mon-fri 22:00-06:00`, `sat 00:00-24:00` or `daily 01:00-07:30`")]
pub struct HoursError(String);

impl Hours {
    /// Whether the range holds this minute.
    pub fn holds(&self, at: MinuteOfWeek) -> bool {
        if self.from < self.until {
            return self.is_day(at.day()) && (self.from..self.until).contains(&at.of_day());
        }
        let yesterday = (at.day() + 6) % 7;
        (self.is_day(at.day()) && at.of_day() >= self.from) || (self.is_day(yesterday) && at.of_day() < self.until)
    }

    fn is_day(&self, day: u16) -> bool {
        if self.first_day <= self.last_day {
            (self.first_day..=self.last_day).contains(&day)
        } else {
            day >= self.first_day || day <= self.last_day
        }
    }
}

impl FromStr for Hours {
    type Err = HoursError;

    fn from_str(text: &str) -> Result<Self, HoursError> {
        let error = || HoursError(text.chars().take(60).collect());
        let (days, minutes) = text.trim().split_once(' ').ok_or_else(error)?;
        let (from, until) = minutes.trim().split_once('-').ok_or_else(error)?;
        let (first, last) = match days {
            "daily" => (0, 6),
            days => {
                let (first, last) = days.split_once('-').unwrap_or((days, days));
                (day(first).ok_or_else(error)?, day(last).ok_or_else(error)?)
            }
        };
        let (from, until) = (minute(from).ok_or_else(error)?, minute(until).ok_or_else(error)?);
        if from == until || from == MINUTES_PER_DAY {
            return Err(error());
        }
        Ok(Self { first_day: first, last_day: last, from, until })
    }
}

fn day(text: &str) -> Option<u16> {
    DAYS.iter().position(|day| *day == text).and_then(|place| u16::try_from(place).ok())
}

/// Minutes from midnight; `24:00` is the end of the day.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let two = |text: &str| (text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse::<u16>().ok()).flatten();
    let (hour, minute) = (two(hour)?, two(minute)?);
    (minute < 60 && hour * 60 + minute <= MINUTES_PER_DAY).then_some(hour * 60 + minute)
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |day: u16| DAYS[usize::from(day % 7)];
        match (self.first_day, self.last_day) {
            (0, 6) => f.write_str("daily")?,
            (first, last) if first == last => f.write_str(name(first))?,
            (first, last) => write!(f, "{}-{}", name(first), name(last))?,
        }
        let (from, until) = (self.from, self.until);
        write!(f, " {:02}:{:02}-{:02}:{:02}", from / 60, from % 60, until / 60, until % 60)
    }
}

impl Serialize for Hours {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hours {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn hours__should_hold_what_they_say() {
        let at = |day, hour: u16, minute| MinuteOfWeek::new(day, hour * 60 + minute);
        for (text, minute, expected) in [
            ("mon-fri 09:00-17:00", at(0, 9, 0), true),
            ("mon-fri 09:00-17:00", at(4, 16, 59), true),
            ("mon-fri 09:00-17:00", at(4, 17, 0), false),
            ("mon-fri 09:00-17:00", at(5, 12, 0), false),
            // Over midnight: Friday's night ends on Saturday morning, Sunday's has none.
            ("mon-fri 22:00-06:00", at(5, 5, 59), true),
            ("mon-fri 22:00-06:00", at(5, 22, 0), false),
            ("mon-fri 22:00-06:00", at(0, 5, 0), false),
            ("sun 22:00-06:00", at(0, 5, 0), true),
            ("sat-sun 00:00-24:00", at(6, 23, 59), true),
            ("fri-mon 10:00-11:00", at(0, 10, 30), true),
            ("fri-mon 10:00-11:00", at(1, 10, 30), false),
            ("daily 01:00-07:30", at(3, 7, 29), true),
            ("daily 01:00-07:30", at(3, 7, 30), false),
        ] {
            let hours: Hours = text.parse().unwrap();
            assert_eq!(hours.holds(minute), expected, "{text} at {minute:?}");
            assert_eq!(hours.to_string(), text);
        }
    }

    #[test]
    fn hours__should_refuse_what_is_no_range() {
        for text in [
            "",
            "mon",
            "mon 9-17",
            "mon 09:00",
            "mon 09:00-09:00",
            "mon 24:00-01:00",
            "mon 09:61-10:00",
            "may 01:00-02:00",
            "mon 25:00-26:00",
        ] {
            assert!(text.parse::<Hours>().is_err(), "{text}");
        }
    }

    #[test]
    fn minute__should_go_round_the_week() {
        assert_eq!(MinuteOfWeek::new(6, 23 * 60 + 59).after(2), MinuteOfWeek::new(0, 1));
    }
}
