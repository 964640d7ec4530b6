//! The loss curve: held-out above training, axes with units, the same figures as a table, export as SVG and CSV.

use crate::components::ui::save;
use leptos::prelude::*;
use starling_http_api::run::MetricPoint;
use std::{collections::BTreeMap, fmt::Write as _};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 44.0;
const BOTTOM: f64 = 28.0;
const TOP: f64 = 10.0;
const RIGHT: f64 = 24.0;
/// A nat is so many bits.
const BITS_PER_NAT: f64 = std::f64::consts::LOG2_E;
/// More points than this are thinned before they are drawn.
const MAX_DRAWN: usize = 600;

/// Steps and bits a byte.
type Curve = Vec<(f64, f64)>;

struct Scale {
    steps: f64,
    low: f64,
    high: f64,
}

impl Scale {
    fn x(&self, step: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * step / self.steps
    }

    fn y(&self, bits: f64) -> f64 {
        TOP + (HEIGHT - TOP - BOTTOM) * (self.high - bits) / (self.high - self.low)
    }
}

#[expect(clippy::cast_precision_loss, reason = "steps on a screen")]
fn series(points: &[MetricPoint]) -> (BTreeMap<u64, Curve>, Curve) {
    let (mut train, mut held) = (BTreeMap::<u64, Curve>::new(), Vec::new());
    for point in points {
        match point {
            MetricPoint::Train { node_id, step, loss, .. } => train.entry(node_id.0).or_default().push((*step as f64, loss * BITS_PER_NAT)),
            MetricPoint::HeldOut { step, bits_per_byte, .. } => held.push((*step as f64, *bits_per_byte)),
        }
    }
    (train, held)
}

fn line(points: &[(f64, f64)], scale: &Scale) -> String {
    let every = points.len().div_ceil(MAX_DRAWN).max(1);
    let mut path = String::new();
    for (index, (step, bits)) in points.iter().step_by(every).enumerate() {
        let _ = write!(path, "{}{:.1},{:.1} ", if index == 0 { "M" } else { "L" }, scale.x(*step), scale.y(*bits));
    }
    path
}

/// Loss over inner steps, in bits a byte.
#[component]
pub(crate) fn LossCurve(points: RwSignal<Vec<MetricPoint>>) -> impl IntoView {
    let drawing = NodeRef::<leptos::svg::Svg>::new();
    let export_svg = move |_| {
        if let Some(svg) = drawing.get_untracked() {
            save(
                format!("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\">{}</svg>", svg.inner_html()).as_bytes(),
                "loss.svg",
            );
        }
    };
    let export_csv = move |_| {
        let mut csv = "curve,node,step,bits_per_byte\n".to_owned();
        let (train, held) = series(&points.get_untracked());
        for (node, points) in train {
            for (step, bits) in points {
                let _ = writeln!(csv, "train,{node},{step},{bits:.5}");
            }
        }
        for (step, bits) in held {
            let _ = writeln!(csv, "held_out,,{step},{bits:.5}");
        }
        save(csv.as_bytes(), "loss.csv");
    };
    view! {
        <section class="card" aria-label="Loss curve">
            <div class="row between">
                <h2>"Loss, bits a byte"</h2>
                <div class="row"><button class="button small" on:click=export_svg>"Save SVG"</button><button class="button small" on:click=export_csv>"Save CSV"</button></div>
            </div>
            <svg class="chart" node_ref=drawing viewBox=format!("0 0 {WIDTH} {HEIGHT}") role="img" aria-label="Training and held-out loss over inner steps; the figures are in the table below">
                {move || draw(&points.get())}
            </svg>
            <p class="faint">"Thin lines: each node's training loss. Thick line: held-out text, which no node trains on."</p>
            <details>
                <summary class="faint">"Held-out figures as a table"</summary>
                <table><thead><tr><th>"Inner step"</th><th class="num">"Bits a byte"</th></tr></thead>
                <tbody>{move || series(&points.get()).1.into_iter().map(|(step, bits)| view! { <tr><td class="num">{step}</td><td class="num">{format!("{bits:.3}")}</td></tr> }).collect_view()}</tbody></table>
            </details>
        </section>
    }
}

fn draw(points: &[MetricPoint]) -> AnyView {
    let (train, held) = series(points);
    let all = || train.values().flatten().chain(&held);
    if all().next().is_none() {
        return view! { <text x=WIDTH / 2.0 y=HEIGHT / 2.0 text-anchor="middle">"The first loss appears when a node has made its first step"</text> }.into_any();
    }
    let steps = all().map(|(step, _)| *step).fold(1.0, f64::max);
    let (low, high) = all().fold((f64::MAX, f64::MIN), |(low, high), (_, bits)| (low.min(*bits), high.max(*bits)));
    let scale = Scale { steps, low: low.floor(), high: high.ceil().max(low.floor() + 1.0) };
    let ticks = (0..=4).map(|tick| scale.low + (scale.high - scale.low) * f64::from(tick) / 4.0);
    let rows = ticks.map(|bits| view! { <line class="axis" x1=LEFT x2=WIDTH - RIGHT y1=scale.y(bits) y2=scale.y(bits) /><text x=LEFT - 6.0 y=scale.y(bits) + 4.0 text-anchor="end">{format!("{bits:.1}")}</text> }).collect_view();
    let columns = (0..=4)
        .map(|tick| {
            let step = steps * f64::from(tick) / 4.0;
            view! { <text x=scale.x(step) y=HEIGHT - 8.0 text-anchor="middle">{format!("{step:.0}")}</text> }
        })
        .collect_view();
    let nodes = train.iter().map(|(node, points)| { let last = points.last().copied().unwrap_or_default(); view! { <path class="train" d=line(points, &scale)><title>{format!("Node {node}: {:.3} bits at step {}", last.1, last.0)}</title></path> } }).collect_view();
    let dots = held.iter().map(|(step, bits)| view! { <circle class="dot" cx=scale.x(*step) cy=scale.y(*bits) r="3"><title>{format!("Held out: {bits:.3} bits a byte at step {step}")}</title></circle> }).collect_view();
    view! { {rows}{columns}{nodes}<path class="held" d=line(&held, &scale) />{dots} }.into_any()
}
