//! The loss curve: held-out above training, axes with units, moved and widened by hand or keys, the same figures as a table, export as SVG and CSV.

use crate::components::ui::save;
use leptos::prelude::*;
use starling_browse::{
    axis::{decimals, grouped_rate, marks},
    curve::{Point, thin, three_digits, value_at, visible},
};
use starling_http_api::run::{HeldOut, LossUnit, MetricPoint};
use std::{collections::BTreeMap, fmt::Write as _};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 260.0;
/// On a phone, which shows all of it smaller.
const TALL: f64 = 440.0;
/// A phone is at most so many pixels wide.
const PHONE: f64 = 480.0;
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 36.0;
const TOP: f64 = 10.0;
const RIGHT: f64 = 24.0;
/// Columns of the drawing that points are thinned to.
const COLUMNS: usize = 650;
/// A nat is so many bits.
const BITS_PER_NAT: f64 = std::f64::consts::LOG2_E;
/// Held-out figures are marked by dots while there are no more than this in sight.
const MAX_DOTS: usize = 120;
/// Height of the drawing of the learning rate, under that of the loss.
const RATE_HEIGHT: f64 = 96.0;
/// An axis is parted into about so many.
const MARKS: u32 = 5;
/// The least that one can see of the axis, in steps.
const NARROWEST: f64 = 4.0;

/// What is drawn over steps: each node's training loss, and the held-out loss, in bits; the learning rate that nodes made their steps with.
#[derive(Clone, Debug, Default, PartialEq)]
struct Series {
    train: BTreeMap<u64, Vec<Point>>,
    held: Vec<Point>,
    rate: Vec<Point>,
    /// Of the held-out loss, once there is one.
    unit: Option<LossUnit>,
}

impl Series {
    #[expect(clippy::cast_precision_loss, reason = "steps on a screen")]
    fn of(points: &[MetricPoint]) -> Self {
        let mut series = Self::default();
        for point in points {
            match point {
                MetricPoint::Train { node_id, step, loss, learning_rate, .. } => {
                    series.train.entry(node_id.0).or_default().push((*step as f64, loss * BITS_PER_NAT));
                    series.rate.extend(learning_rate.map(|rate| (*step as f64, rate)));
                }
                MetricPoint::HeldOut { step, loss: HeldOut { bits, per }, .. } => {
                    series.held.push((*step as f64, *bits));
                    series.unit = Some(*per);
                }
            }
        }
        for line in series.train.values_mut().chain([&mut series.held, &mut series.rate]) {
            line.sort_by(|left, right| left.0.total_cmp(&right.0));
        }
        // Nodes that stand at the same place of the schedule have the same rate.
        series.rate.dedup_by_key(|(step, _)| *step);
        series
    }

    /// Ends the held-out curve with the result's figure, after so many rounds. What came after each round tells how many steps a round has.
    #[expect(clippy::cast_precision_loss, reason = "steps on a screen")]
    fn end(&mut self, points: &[MetricPoint], rounds: u32, HeldOut { bits, per }: HeldOut) {
        let per_round = points.iter().find_map(|point| match point {
            MetricPoint::HeldOut { round, step, .. } if *step > 0 => step.checked_div(u64::from(*round) + 1),
            _ => None,
        });
        let Some(last) = per_round.map(|steps| (steps * u64::from(rounds)) as f64) else { return };
        if self.held.last().is_some_and(|(step, _)| *step < last) {
            self.held.push((last, bits));
            self.unit = Some(per);
        }
    }

    /// The unit of the held-out loss in words.
    fn unit(&self) -> &'static str {
        self.unit.unwrap_or(LossUnit::Byte).words()
    }

    fn all(&self) -> impl Iterator<Item = &Point> {
        self.train.values().flatten().chain(&self.held)
    }
}

/// Another run's held-out curve, drawn beside this one's.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Beside {
    pub(crate) name: String,
    pub(crate) points: Vec<Point>,
}

impl Beside {
    /// The held-out curve among a run's figures.
    pub(crate) fn of(name: String, points: &[MetricPoint]) -> Self {
        Self { name, points: Series::of(points).held }
    }
}

/// Which part of the axes is in sight.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Frame {
    from: f64,
    to: f64,
    low: f64,
    high: f64,
    /// Of the drawing.
    height: f64,
}

impl Frame {
    fn x(&self, step: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (step - self.from) / (self.to - self.from)
    }

    fn y(&self, bits: f64) -> f64 {
        TOP + (self.height - TOP - BOTTOM) * (self.high - bits) / (self.high - self.low)
    }

    fn line(&self, points: &[Point]) -> String {
        let mut path = String::new();
        for (index, (step, bits)) in thin(points, self.from, self.to, COLUMNS).into_iter().enumerate() {
            let _ = write!(path, "{}{:.1},{:.1} ", if index == 0 { "M" } else { "L" }, self.x(step), self.y(bits));
        }
        path
    }
}

/// Steps of the whole curve, and the part that a person chose to see.
#[derive(Clone, Copy)]
struct Sight {
    whole: Memo<f64>,
    part: RwSignal<Option<(f64, f64)>>,
}

impl Sight {
    fn range(self) -> (f64, f64) {
        self.part.get().unwrap_or((0.0, self.whole.get()))
    }

    /// Moves by a part of what is in sight, and shows `times` as much of it around `place`, which is 0 at the left and 1 at the right.
    fn change(self, by: f64, times: f64, place: f64) {
        let (whole, (from, to)) = (self.whole.get_untracked(), untrack(|| self.range()));
        let width = ((to - from) * times).clamp(NARROWEST.min(whole), whole);
        let from = from + (to - from - width) * place + by * (to - from);
        let from = from.clamp(0.0, whole - width);
        self.part.set((width < whole).then_some((from, from + width)));
    }
}

/// Loss over inner steps, in bits.
#[component]
pub(crate) fn LossCurve(
    points: RwSignal<Vec<MetricPoint>>,
    #[prop(into)] beside: Signal<Option<Beside>>,
    /// How many rounds counted, and the result's held-out figure.
    #[prop(into)]
    last: Signal<Option<(u32, HeldOut)>>,
) -> impl IntoView {
    let drawing = NodeRef::<leptos::svg::Svg>::new();
    let series = Memo::new(move |_| {
        points.with(|points| {
            let mut series = Series::of(points);
            if let Some((rounds, loss)) = last.get() {
                series.end(points, rounds, loss);
            }
            series
        })
    });
    let nodes = Memo::new(move |_| series.with(|series| series.train.keys().copied().collect::<Vec<u64>>()));
    let whole = Memo::new(move |_| {
        let other = beside.with(|beside| beside.as_ref().and_then(|beside| beside.points.last().copied()));
        series.with(|series| {
            let last = series.train.values().chain([&series.held]).filter_map(|line| line.last());
            last.chain(&other).map(|(step, _)| *step).fold(1.0, f64::max)
        })
    });
    let heights = Memo::new(move |_| {
        let least = |(low, high): (f64, f64), (_, bits): &Point| (low.min(*bits), high.max(*bits));
        let (low, high) = series.with(|series| series.all().fold((f64::MAX, f64::MIN), least));
        let (low, high) = beside.with(|beside| beside.iter().flat_map(|beside| &beside.points).fold((low, high), least));
        if low > high { (0.0, 1.0) } else { (low.floor(), high.ceil().max(low.floor() + 1.0)) }
    });
    let width = window().inner_width().ok().and_then(|width| width.as_f64());
    let height = if width.is_some_and(|width| width <= PHONE) { TALL } else { HEIGHT };
    let sight = Sight { whole, part: RwSignal::new(None) };
    let frame = Memo::new(move |_| {
        let ((from, to), (low, high)) = (sight.range(), heights.get());
        Frame { from, to, low, high, height }
    });
    let rate_frame = Memo::new(move |_| {
        let (from, to) = sight.range();
        let high = series.with(|series| series.rate.iter().fold(0.0, |high: f64, (_, rate)| high.max(*rate)));
        Frame { from, to, low: 0.0, high: if high > 0.0 { high } else { 1.0 }, height: RATE_HEIGHT }
    });
    let rated = Memo::new(move |_| series.with(|series| !series.rate.is_empty()));
    let nothing = Memo::new(move |_| series.with(|series| series.all().next().is_none()));
    view! {
        <section class="card lead" aria-label="Loss curve">
            <div class="row between">
                <h2>{move || format!("Loss, {}", series.with(Series::unit))}</h2>
                <Exports drawing series height />
            </div>
            <Moved sight drawing series frame>
                <svg class="chart" node_ref=drawing viewBox=format!("0 0 {WIDTH} {height}") role="img" aria-label="Training and held-out loss over inner steps; the figures are in the table below">
                    {move || nothing.get().then(|| view! { <text x=WIDTH / 2.0 y=height / 2.0 text-anchor="middle">"The first loss appears when a node has made its first step"</text> })}
                    {move || (!nothing.get()).then(|| axes(&frame.get()))}
                    {move || nodes.get().into_iter().map(|node| view! { <path class="train" d=move || series.with(|series| series.train.get(&node).map(|points| frame.get().line(points))).unwrap_or_default()><title>{format!("Node {node}")}</title></path> }).collect_view()}
                    <path class="beside" d=move || beside.with(|beside| beside.as_ref().map(|beside| frame.get().line(&beside.points))).unwrap_or_default() />
                    <path class="held" d=move || series.with(|series| frame.get().line(&series.held)) />
                    {move || series.with(|series| dots(series, &frame.get()))}
                </svg>
                <Show when=move || rated.get()>
                    <p class="faint">"Learning rate"</p>
                    <svg class="chart rates" viewBox=format!("0 0 {WIDTH} {RATE_HEIGHT}") role="img" aria-label="Learning rate over inner steps; the figures are in the table below">
                        {move || rate_axes(&rate_frame.get())}
                        <path class="rate" d=move || series.with(|series| rate_frame.get().line(&series.rate)) />
                    </svg>
                </Show>
            </Moved>
            <p class="faint">"Thin lines: each node's training loss. Thick line: held-out data, which no node trains on"{move || if last.get().is_some() { "; it ends with the result's figure." } else { "." }}{move || beside.with(|beside| beside.as_ref().map(|beside| format!(" Dashed: held-out data of {}.", beside.name)))}</p>
            <details>
                <summary class="faint">"Held-out figures as a table"</summary>
                <table><thead><tr><th>"Inner step"</th><th class="num">{move || series.with(Series::unit)}</th><th class="num">"Learning rate"</th></tr></thead>
                <tbody>{move || series.with(|series| series.held.iter().map(|(step, bits)| view! { <tr><td class="num">{*step}</td><td class="num">{format!("{bits:.3}")}</td><td class="num">{value_at(&series.rate, *step).map(three_digits)}</td></tr> }).collect_view())}</tbody></table>
            </details>
        </section>
    }
}

fn axes(frame: &Frame) -> impl IntoView + use<> {
    let frame = *frame;
    let (rows, columns) = (marks(frame.low, frame.high, MARKS, false), marks(frame.from, frame.to, MARKS, true));
    let digits = decimals(&rows);
    view! {
        {rows.into_iter().map(|bits| view! { <line class="axis" x1=LEFT x2=WIDTH - RIGHT y1=frame.y(bits) y2=frame.y(bits) /><text x=LEFT - 6.0 y=frame.y(bits) + 4.0 text-anchor="end">{format!("{bits:.digits$}")}</text> }).collect_view()}
        {columns.into_iter().map(|step| view! { <text x=frame.x(step) y=frame.height - 8.0 text-anchor="middle">{grouped_rate(step)}</text> }).collect_view()}
    }
}

/// Lines at 0 and at the highest rate, which is named at the end that the curve has left by then.
fn rate_axes(frame: &Frame) -> impl IntoView + use<> {
    let (top, zero) = (frame.y(frame.high), frame.y(0.0));
    view! {
        {[top, zero].map(|y| view! { <line class="axis" x1=LEFT x2=WIDTH - RIGHT y1=y y2=y /> }).collect_view()}
        <text x=WIDTH - RIGHT y=top + 4.0 text-anchor="end" dominant-baseline="hanging">{three_digits(frame.high)}" at most"</text>
        <text x=LEFT - 6.0 y=zero + 4.0 text-anchor="end">"0"</text>
    }
}

fn dots(series: &Series, frame: &Frame) -> impl IntoView + use<> {
    let (held, unit) = (&series.held, series.unit());
    let seen = &held[visible(held, frame.from, frame.to)];
    let inside = |point: &&Point| (frame.from..=frame.to).contains(&point.0);
    (seen.len() <= MAX_DOTS).then(|| {
        seen.iter().filter(inside).map(|(step, bits)| view! { <circle class="dot" cx=frame.x(*step) cy=frame.y(*bits) r="3"><title>{format!("Held out: {bits:.3} {unit} at step {step}")}</title></circle> }).collect_view()
    })
}

/// Lets a hand drag the drawing, a wheel with Ctrl widen it, and buttons and arrow keys do the same; says what lies under the pointer.
#[component]
fn Moved(sight: Sight, drawing: NodeRef<leptos::svg::Svg>, series: Memo<Series>, frame: Memo<Frame>, children: Children) -> impl IntoView {
    let (held_at, words) = (StoredValue::new(None::<f64>), RwSignal::new(String::new()));
    // Where the pointer is: 0 at the left end of the axis and 1 at the right.
    let place = move |client_x: i32| {
        let bounds = drawing.get_untracked().map(|svg| svg.get_bounding_client_rect());
        bounds.filter(|bounds| bounds.width() > 0.0).map(|bounds| {
            let x = (f64::from(client_x) - bounds.left()) / bounds.width() * WIDTH;
            ((x - LEFT) / (WIDTH - LEFT - RIGHT)).clamp(0.0, 1.0)
        })
    };
    let down = move |event: leptos::ev::PointerEvent| held_at.set_value(place(event.client_x()));
    let moved = move |event: leptos::ev::PointerEvent| {
        let Some(now) = place(event.client_x()) else { return };
        match held_at.get_value() {
            Some(before) => {
                sight.change(before - now, 1.0, 0.0);
                held_at.set_value(Some(now));
            }
            None => words.set(series.with_untracked(|series| {
                let Frame { from, to, .. } = frame.get_untracked();
                under(series, from + (to - from) * now)
            })),
        }
    };
    let up = move |_| held_at.set_value(None);
    let wheel = move |event: leptos::ev::WheelEvent| {
        if event.ctrl_key() {
            event.prevent_default();
            sight.change(0.0, if event.delta_y() > 0.0 { 1.25 } else { 0.8 }, place(event.client_x()).unwrap_or(0.5));
        }
    };
    let keys = move |event: leptos::ev::KeyboardEvent| {
        match event.key().as_str() {
            "ArrowLeft" => sight.change(-0.1, 1.0, 0.0),
            "ArrowRight" => sight.change(0.1, 1.0, 0.0),
            "+" => sight.change(0.0, 0.5, 0.5),
            "-" => sight.change(0.0, 2.0, 0.5),
            _ => return,
        }
        event.prevent_default();
    };
    view! {
        <div class="moved" tabindex="0" role="group" aria-label="Curve: arrow keys move it, + and - change how much is in sight" on:pointerdown=down on:pointermove=moved on:pointerup=up on:pointerleave=up on:wheel=wheel on:keydown=keys>{children()}</div>
        <div class="row between">
            <p class="faint num">{move || if words.with(String::is_empty) { "Inner steps along the axis. Point at the curve to read it.".to_owned() } else { words.get() }}</p>
            <div class="row">
                <button type="button" class="button small" on:click=move |_| sight.change(0.0, 0.5, 1.0)>"Closer"</button>
                <button type="button" class="button small" on:click=move |_| sight.change(-0.5, 1.0, 0.0)>"Earlier"</button>
                <button type="button" class="button small" on:click=move |_| sight.change(0.5, 1.0, 0.0)>"Later"</button>
                <button type="button" class="button small" disabled=move || sight.part.get().is_none() on:click=move |_| sight.part.set(None)>"Whole curve"</button>
            </div>
        </div>
    }
}

/// The figures nearest to a step, in words.
fn under(series: &Series, step: f64) -> String {
    let nearest = |points: &[Point]| {
        let after = points.partition_point(|(x, _)| *x < step);
        let near = [after.checked_sub(1), Some(after)].into_iter().flatten().filter_map(|place| points.get(place));
        near.min_by(|left, right| (left.0 - step).abs().total_cmp(&(right.0 - step).abs())).copied()
    };
    let held = nearest(&series.held).map(|(at, bits)| format!("held out {bits:.3} at step {at:.0}"));
    let train =
        series.train.iter().filter_map(|(node, points)| nearest(points).map(|(at, bits)| format!("node {node} {bits:.3} at step {at:.0}")));
    let rate = value_at(&series.rate, step).map(|rate| format!("learning rate {}", three_digits(rate)));
    held.into_iter().chain(train).chain(rate).collect::<Vec<_>>().join(", ")
}

#[component]
fn Exports(drawing: NodeRef<leptos::svg::Svg>, series: Memo<Series>, height: f64) -> impl IntoView {
    let export_svg = move |_| {
        if let Some(svg) = drawing.get_untracked() {
            save(
                format!("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\">{}</svg>", svg.inner_html()).as_bytes(),
                "loss.svg",
            );
        }
    };
    let export_csv = move |_| {
        let mut csv = "curve,node,step,value\n".to_owned();
        series.with_untracked(|series| {
            for (node, points) in &series.train {
                for (step, bits) in points {
                    let _ = writeln!(csv, "train,{node},{step},{bits:.5}");
                }
            }
            for (step, bits) in &series.held {
                let _ = writeln!(csv, "held_out,,{step},{bits:.5}");
            }
            for (step, rate) in &series.rate {
                let _ = writeln!(csv, "learning_rate,,{step},{rate}");
            }
        });
        save(csv.as_bytes(), "loss.csv");
    };
    view! { <div class="row"><button type="button" class="button small" on:click=export_svg>"Save SVG"</button><button type="button" class="button small" on:click=export_csv>"Save CSV"</button></div> }
}
