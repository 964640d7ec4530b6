//! A curve of any length on a screen of a fixed width: of each column of pixels the first, lowest, highest and last point, so that no peak is lost
//! (M4 aggregation, Jugel et al., VLDB 2014).

use std::ops::Range;

/// A point: where along the axis, and its value.
pub type Point = (f64, f64);

/// The points with `from <= x <= to`, and one beyond on each side, so that lines reach the edges. `points` must be sorted by x.
pub fn visible(points: &[Point], from: f64, to: f64) -> Range<usize> {
    let first = points.partition_point(|(x, _)| *x < from);
    let last = points.partition_point(|(x, _)| *x <= to);
    first.saturating_sub(1)..points.len().min(last.max(first).saturating_add(1))
}

/// What has to be drawn of the points between `from` and `to` on `columns` columns: four points for each column at most, in order.
pub fn thin(points: &[Point], from: f64, to: f64, columns: usize) -> Vec<Point> {
    let seen = &points[visible(points, from, to)];
    if columns == 0 || seen.len() <= columns.saturating_mul(4) || to <= from {
        return seen.to_vec();
    }
    #[expect(clippy::cast_precision_loss, reason = "columns of a screen")]
    let width = (to - from) / columns as f64;
    let mut thinned = Vec::with_capacity(columns.saturating_mul(4).saturating_add(2));
    let mut start = 0;
    while start < seen.len() {
        let column = ((seen[start].0 - from) / width).floor();
        let end = start + seen[start..].partition_point(|(x, _)| ((x - from) / width).floor() <= column);
        let end = end.max(start + 1);
        let (mut low, mut high) = (start, start);
        for place in start..end {
            if seen[place].1 < seen[low].1 {
                low = place;
            }
            if seen[place].1 > seen[high].1 {
                high = place;
            }
        }
        let mut kept = [start, low, high, end - 1];
        kept.sort_unstable();
        for (index, place) in kept.into_iter().enumerate() {
            if index == 0 || kept[index - 1] != place {
                thinned.push(seen[place]);
            }
        }
        start = end;
    }
    thinned
}

/// The value at a place of what changes by steps: that of the last point at it or before.
pub fn value_at(points: &[Point], x: f64) -> Option<f64> {
    points.partition_point(|(at, _)| *at <= x).checked_sub(1).and_then(|place| points.get(place)).map(|(_, value)| *value)
}

/// A small number above 0 with three digits that count, never as a power of ten; 0 as it is.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 12 digits")]
pub fn three_digits(number: f64) -> String {
    let digits = if number > 0.0 { (2.0 - number.log10().floor()).clamp(0.0, 12.0) as usize } else { 0 };
    format!("{number:.digits$}")
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;
    use std::time::Instant;

    fn saw(length: u32) -> Vec<Point> {
        (0..length).map(|step| (f64::from(step), f64::from(step % 17) + if step == 54_321 { 1_000.0 } else { 0.0 })).collect()
    }

    #[test]
    fn thin__should_keep_every_peak_of_a_hundred_thousand_points() {
        let points = saw(100_000);
        let thinned = thin(&points, 0.0, 100_000.0, 720);
        assert!(thinned.len() <= 720 * 4 + 2, "{}", thinned.len());
        assert!(thinned.iter().any(|(x, y)| (*x, *y) == (54_321.0, 1_000.0 + f64::from(54_321 % 17))), "the peak is there");
        assert!(thinned.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order, each once");
        assert_eq!((thinned.first(), thinned.last()), (points.first(), points.last()));
    }

    #[test]
    fn thin__should_be_quick_enough_for_a_moving_hand() {
        let points = saw(100_000);
        // The least of some: the others may have waited for the processor.
        let tries = (0..20).map(|_| {
            let begun = Instant::now();
            for place in 0..10 {
                thin(&points, f64::from(place) * 1_000.0, 90_000.0, 720);
            }
            begun.elapsed()
        });
        let took = tries.min().unwrap();
        assert!(took.as_millis() < 500, "{took:?} for ten");
    }

    #[test]
    fn value_at__should_be_that_of_the_last_point_before() {
        let points = [(1.0, 10.0), (4.0, 40.0)];
        assert_eq!([0.5, 1.0, 3.9, 4.0, 9.0].map(|x| value_at(&points, x)), [None, Some(10.0), Some(10.0), Some(40.0), Some(40.0)]);
    }

    #[test]
    fn three_digits__should_show_small_numbers_in_full() {
        assert_eq!([0.001, 0.000_312_4, 0.01, 2.5, 123.4, 0.0].map(three_digits), ["0.00100", "0.000312", "0.0100", "2.50", "123", "0"]);
    }

    #[test]
    fn thin__should_leave_few_points_as_they_are() {
        let points = saw(100);
        assert_eq!(thin(&points, 0.0, 100.0, 720), points);
        assert_eq!(thin(&points, 10.0, 12.0, 720), points[9..14]);
        assert_eq!(thin(&[], 0.0, 1.0, 720), Vec::new());
        assert_eq!(visible(&points, 1_000.0, 2_000.0), 99..100);
    }
}
