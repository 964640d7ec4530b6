//! A curve of one named figure over steps: axes, the same figures as a table, export as SVG and CSV.

use crate::components::ui::save;
use leptos::prelude::*;
use starling_browse::{
    axis::marks,
    curve::{Point, thin},
};
use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 200.0;
const LEFT: f64 = 80.0;
const BOTTOM: f64 = 36.0;
const TOP: f64 = 10.0;
const RIGHT: f64 = 16.0;
/// Columns of the drawing that points are thinned to.
const COLUMNS: usize = 640;
/// Rows of the table.
const ROWS: usize = 200;
/// The most parts that the marks of an axis cut it into.
const MARKS: u32 = 5;
/// A label so near to an end of the axis begins or ends there.
const NEAR_END: f64 = 40.0;

/// A figure in few digits: four decimals, or powers of ten where they would show none or too many.
pub(crate) fn short(value: f64) -> String {
    if value == 0.0 || (1e-3..1e6).contains(&value.abs()) {
        let text = format!("{value:.4}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        format!("{value:.3e}")
    }
}

/// The drawing's frame around the points.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Frame {
    from: f64,
    to: f64,
    low: f64,
    high: f64,
}

impl Frame {
    fn of(points: &[Point]) -> Self {
        let grow = |(low, high): (f64, f64), value: f64| (low.min(value), high.max(value));
        let (from, to) = points.iter().fold((f64::MAX, f64::MIN), |range, point| grow(range, point.0));
        let (low, high) = points.iter().fold((f64::MAX, f64::MIN), |range, point| grow(range, point.1));
        // One point, or many of one height, still have room around them.
        let room = if low < high { (high - low) * 0.05 } else { low.abs().max(1.0) * 0.1 };
        Self { from, to: if from < to { to } else { from + 1.0 }, low: low - room, high: high + room }
    }

    fn x(&self, step: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (step - self.from) / (self.to - self.from)
    }

    fn y(&self, value: f64) -> f64 {
        TOP + (HEIGHT - TOP - BOTTOM) * (self.high - value) / (self.high - self.low)
    }
}

/// One figure over steps; `points` are sorted by step and none of their values is infinite.
#[component]
pub(crate) fn Line(#[prop(into)] name: Signal<String>, points: Memo<Vec<Point>>) -> impl IntoView {
    let drawing = NodeRef::<leptos::svg::Svg>::new();
    let frame = Memo::new(move |_| points.with(|points| Frame::of(points)));
    let path = move || {
        let (frame, mut path) = (frame.get(), String::new());
        for (place, (step, value)) in points.with(|points| thin(points, frame.from, frame.to, COLUMNS)).into_iter().enumerate() {
            let _ = write!(path, "{}{:.1},{:.1} ", if place == 0 { "M" } else { "L" }, frame.x(step), frame.y(value));
        }
        path
    };
    let axes = move || {
        let frame = frame.get();
        let anchor = |x: f64| match x {
            x if x < LEFT + NEAR_END => "start",
            x if x > WIDTH - RIGHT - NEAR_END => "end",
            _ => "middle",
        };
        let (rows, columns) =
            (marks(frame.low, frame.high, MARKS, false).into_iter(), marks(frame.from, frame.to, MARKS, true).into_iter());
        view! {
            {rows.map(|value| view! { <line class="axis" x1=LEFT x2=WIDTH - RIGHT y1=frame.y(value) y2=frame.y(value) /><text x=LEFT - 6.0 y=frame.y(value) + 5.0 text-anchor="end">{short(value)}</text> }).collect_view()}
            {columns.map(|step| view! { <text x=frame.x(step) y=HEIGHT - 6.0 text-anchor=anchor(frame.x(step))>{format!("{step:.0}")}</text> }).collect_view()}
            <text x=LEFT - 10.0 y=HEIGHT - 6.0 text-anchor="end">"step"</text>
        }
    };
    let last = move || points.with(|points| points.last().copied());
    let export_svg = move |_| {
        if let Some(svg) = drawing.get_untracked() {
            let text = format!("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\">{}</svg>", svg.inner_html());
            save(text.as_bytes(), &format!("{}.svg", name.get_untracked()));
        }
    };
    let export_csv = move |_| {
        let mut csv = "step,value\n".to_owned();
        for (step, value) in points.get_untracked() {
            let _ = writeln!(csv, "{step},{value}");
        }
        save(csv.as_bytes(), &format!("{}.csv", name.get_untracked()));
    };
    view! {
        <svg class="chart figure" node_ref=drawing viewBox=format!("0 0 {WIDTH} {HEIGHT}") role="img" aria-label=move || format!("{} over steps; the figures are in the table below", name.get())>
            {axes}
            <path class="held" d=path />
            {move || last().map(|(step, value)| { let frame = frame.get(); view! { <circle class="dot" cx=frame.x(step) cy=frame.y(value) r="3" /> }})}
        </svg>
        <div class="row between">
            <p class="faint num">{move || last().map(|(step, value)| format!("{} {} at step {step:.0}, the last of {}", name.get(), short(value), points.with(Vec::len)))}</p>
            <div class="row"><button type="button" class="button small" on:click=export_svg>"Save SVG"</button><button type="button" class="button small" on:click=export_csv>"Save CSV"</button></div>
        </div>
        <details><summary class="faint">"As a table, the last figures first"</summary>
            <table><thead><tr><th>"Step"</th><th class="num">"Value"</th></tr></thead>
            <tbody>{move || points.with(|points| points.iter().rev().take(ROWS).map(|(step, value)| view! { <tr><td class="num">{format!("{step:.0}")}</td><td class="num">{short(*value)}</td></tr> }).collect_view())}</tbody></table>
        </details>
    }
}
