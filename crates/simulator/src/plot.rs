//! Lines in a coordinate system, as SVG.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 232.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 44.0;
const TICKS: u32 = 5;
const COLOURS: [&str; 12] =
    ["#1f6feb", "#d1242f", "#1a7f37", "#9a6700", "#8250df", "#0a7ea4", "#bf3989", "#57606a", "#bc4c00", "#4d8b31", "#6639ba", "#953800"];

/// A line with a name.
#[derive(Clone, Debug)]
pub struct Line {
    /// For the legend.
    pub name: String,
    /// Left to right.
    pub points: Vec<(f64, f64)>,
}

/// A plot of lines over the range that they have.
pub fn svg(title: &str, x_name: &str, y_name: &str, lines: &[Line]) -> String {
    let all = || lines.iter().flat_map(|line| &line.points);
    let (x_range, y_range) = (range(all().map(|point| point.0)), range(all().map(|point| point.1)));
    let x_at = |x: f64| LEFT + (x - x_range.0) / (x_range.1 - x_range.0) * (WIDTH - LEFT - RIGHT);
    let y_at = |y: f64| HEIGHT - BOTTOM - (y - y_range.0) / (y_range.1 - y_range.0) * (HEIGHT - TOP - BOTTOM);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n<text x=\"{LEFT}\" y=\"20\" font-size=\"14\">{}</text>\n",
        escaped(title)
    );
    for tick in 0..=TICKS {
        let part = f64::from(tick) / f64::from(TICKS);
        let (x, y) = (x_range.0 + part * (x_range.1 - x_range.0), y_range.0 + part * (y_range.1 - y_range.0));
        let (x_at, y_at) = (x_at(x), y_at(y));
        let _ = writeln!(text, "<line x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{y_at:.1}\" y2=\"{y_at:.1}\" stroke=\"#d8dee4\"/>", WIDTH - RIGHT);
        let _ = writeln!(text, "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", LEFT - 6.0, y_at + 4.0, short(y));
        let _ = writeln!(text, "<text x=\"{x_at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>", HEIGHT - BOTTOM + 16.0, short(x));
    }
    let _ = writeln!(
        text,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - 8.0,
        escaped(x_name)
    );
    let _ = writeln!(text, "<text x=\"6\" y=\"{:.1}\">{}</text>", TOP - 4.0, escaped(y_name));
    for (index, line) in lines.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let points: Vec<String> = line.points.iter().map(|(x, y)| format!("{:.1},{:.1}", x_at(*x), y_at(*y))).collect();
        let _ = writeln!(text, "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\" points=\"{}\"/>", points.join(" "));
        let y = TOP + 16.0 * (index as f64 + 0.5);
        let _ = writeln!(text, "<text x=\"{:.1}\" y=\"{y:.1}\" fill=\"{colour}\">{}</text>", WIDTH - RIGHT + 10.0, escaped(&line.name));
    }
    text.push_str("</svg>\n");
    text
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)));
    if low < high {
        (low, high)
    } else if low.is_finite() {
        (low - 0.5, low + 0.5)
    } else {
        (0.0, 1.0)
    }
}

fn short(value: f64) -> String {
    match value.abs() {
        size if size >= 1e6 => format!("{:.1}M", value / 1e6),
        size if size >= 1e4 => format!("{:.0}k", value / 1e3),
        size if size >= 100.0 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    #[test]
    fn svg__should_draw_each_line_within_its_frame() {
        let lines = ["a<b", "c"].map(|name| Line { name: name.to_owned(), points: vec![(0.0, 1.0), (10.0, 3.0)] });
        let text = svg("t", "x", "y", &lines);
        assert_eq!(text.matches("<polyline").count(), 2);
        assert!(text.contains("points=\"64.0,376.0 488.0,36.0\"") && text.contains("a&lt;b"), "{text}");
        assert!(svg("t", "x", "y", &[]).ends_with("</svg>\n"));
    }
}
