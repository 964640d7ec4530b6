//! Metrics in a script's output: one line each, such as `::metric name=loss step=10 value=0.52`, with limits on names and rates.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The longest line that is looked at whole; longer ones are passed on in parts.
pub const MAX_LINE_BYTES: usize = 16 * 1024;
/// The most names of one job.
pub const MAX_NAMES: usize = 64;
/// The most figures in one second.
pub const MAX_PER_SECOND: u32 = 200;
const MARK: &str = "::metric ";
const MAX_NAME_BYTES: usize = 64;

/// A figure of a script.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metric {
    /// Its name, 64 letters at most: ASCII letters, digits, `_ . / -`.
    pub name: String,
    /// The script's own count; the number of the figure where it gives none.
    pub step: u64,
    /// A finite number.
    pub value: f64,
}

/// Why a line that is marked as a metric is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum MetricError {
    /// No name, or one with other characters.
    #[error("a name has 1 to 64 of ASCII letters, digits and `_ . / -`")]
    Name,
    /// No number, or an infinite one.
    #[error("a value is a finite number")]
    Value,
    /// A step that is no whole number.
    #[error("a step is a whole number from 0")]
    Step,
    /// Something else stands in the line.
    #[error("a metric has name, step and value, each once, as KEY=VALUE")]
    Key,
}

/// What became of a line.
#[derive(Clone, Debug, PartialEq)]
pub enum Taken {
    /// A figure.
    Metric(Metric),
    /// A figure that passes a limit: it is counted and left out.
    Dropped,
    /// Ordinary output, or a line that only looks like a metric.
    Text,
}

/// Picks metrics out of lines. Time is given.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    counts: BTreeMap<String, u64>,
    second: u64,
    in_second: u32,
    dropped: u64,
}

/// A marked line: name, step if it has one, and value.
type Marked = (String, Option<u64>, f64);

/// Reads a line without its end. Nothing where it is not marked; an error says what is wrong in one that is.
fn parse_metric(line: &str) -> Option<Result<Marked, MetricError>> {
    Some(fields(line.strip_prefix(MARK)?))
}

fn fields(rest: &str) -> Result<Marked, MetricError> {
    let (mut name, mut step, mut value) = (None, None, None);
    for field in rest.split_ascii_whitespace() {
        let (key, text) = field.split_once('=').ok_or(MetricError::Key)?;
        let again = match key {
            "name" => name.replace(text).is_some(),
            "step" => step.replace(text.parse::<u64>().map_err(|_| MetricError::Step)?).is_some(),
            "value" => value.replace(text.parse::<f64>().ok().filter(|value| value.is_finite()).ok_or(MetricError::Value)?).is_some(),
            _ => true,
        };
        if again {
            return Err(MetricError::Key);
        }
    }
    let name = name.filter(|name| is_name(name)).ok_or(MetricError::Name)?;
    Ok((name.to_owned(), step, value.ok_or(MetricError::Value)?))
}

fn is_name(name: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_./-".contains(&byte))
}

impl Metrics {
    /// Looks at a line at `now_ms`, which never falls.
    pub fn take(&mut self, line: &str, now_ms: u64) -> Taken {
        let Some(Ok((name, step, value))) = parse_metric(line) else { return Taken::Text };
        if self.second != now_ms / 1_000 {
            (self.second, self.in_second) = (now_ms / 1_000, 0);
        }
        let is_new = !self.counts.contains_key(&name);
        if self.in_second >= MAX_PER_SECOND || is_new && self.counts.len() >= MAX_NAMES {
            self.dropped = self.dropped.saturating_add(1);
            return Taken::Dropped;
        }
        self.in_second += 1;
        let count = self.counts.entry(name.clone()).or_default();
        let step = step.unwrap_or(*count);
        *count += 1;
        Taken::Metric(Metric { name, step, value })
    }

    /// Figures that were left out.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

/// Cuts a stream into lines. A line that is too long comes in parts, and no part of it is a metric.
#[derive(Clone, Debug, Default)]
pub struct LineCutter {
    rest: Vec<u8>,
}

impl LineCutter {
    /// The lines that are whole now, each with its end.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut lines = Vec::new();
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.rest.extend_from_slice(part);
            if part.ends_with(b"\n") || self.rest.len() >= MAX_LINE_BYTES {
                lines.push(std::mem::take(&mut self.rest));
            }
        }
        lines
    }

    /// What came without an end.
    pub fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.rest)
    }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn metric__should_be_read_in_any_order_and_refused_when_it_is_none() {
        let read = |line: &str| parse_metric(line);
        assert_eq!(read("::metric name=loss step=10 value=0.52"), Some(Ok(("loss".to_owned(), Some(10), 0.52))));
        assert_eq!(read("::metric value=-1e3  name=a/b.c-d_e"), Some(Ok(("a/b.c-d_e".to_owned(), None, -1_000.0))));
        assert_eq!(read("loss 0.5"), None);
        assert_eq!(read(" ::metric name=a value=1"), None);
        for (line, error) in [
            ("name=a", MetricError::Value),
            ("value=1", MetricError::Name),
            ("name=a value=nan", MetricError::Value),
            ("name=a value=inf", MetricError::Value),
            ("name=a step=-1 value=1", MetricError::Step),
            ("name=ä value=1", MetricError::Name),
            ("name=a value=1 value=2", MetricError::Key),
            ("name=a value=1 more=2", MetricError::Key),
            ("name=a value=1 x", MetricError::Key),
        ] {
            assert_eq!(read(&format!("::metric {line}")), Some(Err(error)), "{line}");
        }
    }

    #[test]
    fn metrics__should_keep_their_limits_and_count_what_they_leave_out() {
        let mut metrics = Metrics::default();
        let line = "::metric name=a value=1";
        assert_eq!(metrics.take(line, 0), Taken::Metric(Metric { name: "a".to_owned(), step: 0, value: 1.0 }));
        assert_eq!(metrics.take(line, 0), Taken::Metric(Metric { name: "a".to_owned(), step: 1, value: 1.0 }));
        assert_eq!(metrics.take("plain", 0), Taken::Text);
        for _ in 2..MAX_PER_SECOND {
            assert!(matches!(metrics.take(line, 999), Taken::Metric(_)));
        }
        assert_eq!((metrics.take(line, 999), metrics.dropped()), (Taken::Dropped, 1));
        for index in 1..MAX_NAMES {
            assert!(matches!(metrics.take(&format!("::metric name=m{index} value=1"), 1_000), Taken::Metric(_)));
        }
        assert_eq!(metrics.take("::metric name=one-more value=1", 2_000), Taken::Dropped);
        assert!(matches!(metrics.take(line, 2_000), Taken::Metric(_)));
    }

    #[test]
    fn cutter__should_give_whole_lines_and_parts_of_long_ones() {
        let mut cutter = LineCutter::default();
        assert_eq!(cutter.push(b"one\ntw"), [b"one\n".to_vec()]);
        assert_eq!(cutter.push(b"o\n\n"), [b"two\n".to_vec(), b"\n".to_vec()]);
        assert_eq!(cutter.push(&[b'x'; MAX_LINE_BYTES]), [vec![b'x'; MAX_LINE_BYTES]]);
        assert!(cutter.push(b"end").is_empty());
        assert_eq!((cutter.rest(), cutter.rest()), (b"end".to_vec(), Vec::new()));
    }
}
