//! Marks of an axis that stand where their labels say, and rates that one can read.

use starling_primitives::grouped;

/// Marks on the multiples of 1, 2 or 5 times a power of ten from `low` to `high`: as many as fit into `most`. With `whole`, on whole numbers alone.
pub fn marks(low: f64, high: f64, most: u32, whole: bool) -> Vec<f64> {
    let width = high - low;
    if !width.is_finite() || width <= 0.0 || most == 0 {
        return Vec::new();
    }
    let least = width / f64::from(most);
    let power = 10_f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0].map(|times| times * power).into_iter().find(|step| *step >= least).unwrap_or(10.0 * power);
    let step = if whole { step.max(1.0) } else { step };
    // A mark on an end that rounding has moved is still one; adding 0 turns -0 into it.
    let (mut place, last) = ((low / step - 1e-9).ceil() + 0.0, (high / step + 1e-9).floor());
    let mut marks = Vec::new();
    while place <= last && marks.len() <= usize::try_from(most).unwrap_or(usize::MAX) {
        marks.push(place * step);
        place += 1.0;
    }
    marks
}

/// How many decimals tell neighbours among these marks apart.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 12 digits")]
pub fn decimals(marks: &[f64]) -> usize {
    let step = marks.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::MAX, f64::min);
    if step < 1.0 { (-(step.log10() + 1e-9).floor()).clamp(0.0, 12.0) as usize } else { 0 }
}

/// A rate as a whole number with commas; 0 for what is no number.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "such a cast ends at the ends of the range")]
pub fn grouped_rate(rate: f64) -> String {
    grouped(rate.round() as u64)
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    fn check(low: f64, high: f64, most: u32, whole: bool, expect: &[&str]) {
        let marks = marks(low, high, most, whole);
        let decimals = decimals(&marks);
        assert_eq!(marks.iter().map(|mark| format!("{mark:.decimals$}")).collect::<Vec<_>>(), expect, "{low} to {high}");
    }

    #[test]
    fn marks__should_stand_on_round_numbers_within_the_axis() {
        check(0.0, 50.0, 5, true, &["0", "10", "20", "30", "40", "50"]);
        check(3.0, 8.0, 5, false, &["3", "4", "5", "6", "7", "8"]);
        check(3.2, 4.1, 5, false, &["3.2", "3.4", "3.6", "3.8", "4.0"]);
        check(0.0, 1.0, 5, false, &["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        check(0.0, 3.0, 6, true, &["0", "1", "2", "3"]);
        check(0.0, 100_000.0, 5, true, &["0", "20000", "40000", "60000", "80000", "100000"]);
        check(12.5, 37.5, 5, true, &["15", "20", "25", "30", "35"]);
    }

    #[test]
    fn marks__should_be_none_where_there_is_no_axis() {
        for (low, high) in [(1.0, 1.0), (2.0, 1.0), (f64::NAN, 1.0), (0.0, f64::INFINITY)] {
            assert!(marks(low, high, 5, false).is_empty());
        }
        assert!(marks(0.0, 1.0, 0, false).is_empty());
    }

    #[test]
    fn grouped__should_part_thousands() {
        for (number, expect) in
            [(0_u64, "0"), (999, "999"), (1_000, "1,000"), (437_760, "437,760"), (18_446_744_073_709_551_615, "18,446,744,073,709,551,615")]
        {
            assert_eq!(grouped(number), expect);
        }
        assert_eq!(grouped_rate(1_714.4), "1,714");
        assert_eq!(grouped_rate(f64::NAN), "0");
    }
}
