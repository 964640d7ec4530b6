//! The report as a page: figures in words, curves and tables in SVG, everything in one file.

use super::{Classification, Outcome, Point, Report};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c2330}h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse}td,th{padding:.3rem .8rem;border:1px solid #d5dae2;text-align:right}th:first-child,td:first-child{text-align:left}pre{background:#f3f5f8;padding:1rem;overflow:auto;white-space:pre-wrap}.synthetic{background:#fff3d6;border:1px solid #e0b84c;padding:.5rem 1rem}svg{max-width:100%;height:auto}text{font:12px system-ui,sans-serif;fill:#4a5568}";
/// Of a plot, and of the room around its curve.
const SIZE: (f64, f64) = (720.0, 260.0);
const MARGIN: f64 = 48.0;

pub(super) fn page(report: &Report) -> String {
    let mut body = format!("<h1>{}</h1>\n", escaped(&report.name));
    if report.synthetic {
        body += "<p class=\"synthetic\"><strong>Synthetic data.</strong> It was generated: these figures show that the training works, and nothing about the world.</p>\n";
    }
    body += &format!("<p>{}</p>\n", escaped(&report.sentence()));
    let withdrawn = if report.steps.1 > 0 { format!(", {} of them withdrawn", report.steps.1) } else { String::new() };
    let early = if report.stopped_early { " It stopped early: measurements got no better." } else { "" };
    body += &format!(
        "<p>{}; {}. {} steps{withdrawn} in {:.0} s, about {} MiB of memory.{early}</p>\n",
        escaped(&report.model),
        escaped(&report.data),
        report.steps.0,
        report.seconds,
        report.memory_needed >> 20
    );
    body += "<h2>Loss by step, in nats</h2>\n";
    body += &curves(&[("training", "#9db4d6", &report.losses), ("validation", "#1f5fbf", &report.validation)]);
    match &report.outcome {
        Outcome::Text { sample, .. } => body += &format!("<h2>A text that the model wrote</h2>\n<pre>{}</pre>\n", escaped(sample)),
        Outcome::Masked { .. } => {}
        Outcome::Classes(classes) => body += &of_classes(classes),
    }
    let title = escaped(&report.name);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style></head>\n<body>\n{body}</body></html>\n"
    )
}

fn of_classes(classes: &Classification) -> String {
    let mut html = "<h2>Figures on hidden examples</h2>\n<table><tr><th></th><th>value</th><th>95 %</th></tr>\n".to_owned();
    for (name, figure) in [
        ("accuracy", classes.accuracy),
        ("macro-F1", classes.macro_f1),
        ("AUROC", classes.auroc),
        ("calibration error", classes.calibration.error),
    ] {
        html += &format!("<tr><td>{name}</td><td>{:.3}</td><td>{:.3} to {:.3}</td></tr>\n", figure.value, figure.low, figure.high);
    }
    html += &format!("<tr><td>Brier score</td><td>{:.3}</td><td></td></tr></table>\n", classes.calibration.brier);
    html += "<h2>Stated chance and share that was right</h2>\n";
    let right: Vec<Point> = classes.calibration.bins.iter().map(|(chance, right, _)| (*chance, *right)).collect();
    html += &curves(&[("perfect", "#9db4d6", &[(0.0, 0.0), (1.0, 1.0)]), ("this model", "#1f5fbf", &right)]);
    html += "<h2>Confusion: rows are the truth, columns what the model says</h2>\n<table><tr><th></th>";
    html += &classes.classes.iter().map(|class| format!("<th>{}</th>", escaped(class))).collect::<String>();
    html += "</tr>\n";
    for (class, row) in classes.classes.iter().zip(&classes.confusion) {
        let total = row.iter().sum::<usize>().max(1) as f64;
        html += &format!("<tr><td>{}</td>", escaped(class));
        for count in row {
            html += &format!("<td style=\"background:rgba(31,95,191,{:.2})\">{count}</td>", 0.6 * *count as f64 / total);
        }
        html += "</tr>\n";
    }
    html + "</table>\n"
}

/// Curves over one pair of axes, each with its name and colour.
fn curves(curves: &[(&str, &str, &[Point])]) -> String {
    let points = || curves.iter().flat_map(|(.., points)| points.iter()).filter(|(x, y)| x.is_finite() && y.is_finite());
    let bounds = |value: fn(&Point) -> f64| {
        let (low, high) = points().map(value).fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if low < high { (low, high) } else { (low.min(0.0), low.max(0.0) + 1.0) }
    };
    if points().next().is_none() {
        return "<p>Nothing was measured.</p>\n".to_owned();
    }
    let ((left, right), (bottom, top)) = (bounds(|p| p.0), bounds(|p| p.1));
    let (width, height) = (SIZE.0 - 2.0 * MARGIN, SIZE.1 - 2.0 * MARGIN);
    let place = |(x, y): &Point| (MARGIN + (x - left) / (right - left) * width, SIZE.1 - MARGIN - (y - bottom) / (top - bottom) * height);
    let mut svg = format!("<svg viewBox=\"0 0 {} {}\" role=\"img\">\n", SIZE.0, SIZE.1);
    svg += &format!("<path d=\"M{MARGIN} {MARGIN}V{}H{}\" fill=\"none\" stroke=\"#8a94a6\"/>\n", SIZE.1 - MARGIN, SIZE.0 - MARGIN);
    for (x, y, anchor, value) in [
        (MARGIN, SIZE.1 - MARGIN + 18.0, "middle", left),
        (SIZE.0 - MARGIN, SIZE.1 - MARGIN + 18.0, "middle", right),
        (MARGIN - 6.0, SIZE.1 - MARGIN, "end", bottom),
        (MARGIN - 6.0, MARGIN + 4.0, "end", top),
    ] {
        svg += &format!("<text x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{}</text>\n", short(value));
    }
    for (index, (name, colour, points)) in curves.iter().enumerate() {
        let finite = points.iter().filter(|(x, y)| x.is_finite() && y.is_finite());
        let path: Vec<String> = finite.map(place).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        svg += &format!("<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\"/>\n", path.join(" "));
        let x = MARGIN + 12.0 + 130.0 * index as f64;
        svg += &format!("<path d=\"M{x} 24h24\" stroke=\"{colour}\" stroke-width=\"3\"/><text x=\"{}\" y=\"28\">{name}</text>\n", x + 30.0);
    }
    svg + "</svg>\n"
}

/// A number as short as an axis wants it.
fn short(value: f64) -> String {
    let text = format!("{value:.3}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
