//! Generated data sets: small, fixed by their seed, and always labelled as synthetic. They show that a preset learns; they
//! say nothing about the world.

use crate::data::{ArchiveEntry, Picture, write_tar};
use crate::error::Result;
use crate::ops::math::cosine_and_sine;
use crate::random::Stream;

/// Edge of the generated images.
const EDGE: usize = 32;
/// One label in so many is wrong, as people's labels are.
const WRONG_LABEL: u64 = 33;

/// Support tickets with an urgency, as JSON lines of `text` and `label`.
///
/// What is broken and whom it touches are named apart from each other; the urgency follows from both together.
#[must_use]
pub(crate) fn tickets(seed: u64, count: usize) -> Vec<u8> {
    const BROKEN: [&[&str]; 3] = [
        &[
            "the dashboard shows the wrong colour",
            "a label is cut off in the menu",
            "the logo looks blurred",
            "the help page has a typing error",
        ],
        &["the export takes ten minutes", "search answers slowly", "the report comes too late", "uploads stop half way and go on later"],
        &["logging in fails", "orders disappear", "payments are charged twice", "saved work is lost"],
    ];
    const TOUCHED: [&[&str]; 3] = [
        &["only on my own machine", "for me alone", "on one old laptop here", "just for my account"],
        &["for our whole team", "in the Berlin office", "for everyone in accounting", "on this floor"],
        &["for every customer", "everywhere since this morning", "for all who use it", "in all countries"],
    ];
    const BEFORE: [&str; 6] = ["Hello,", "Good morning,", "Dear support,", "Hi there,", "To whom it may concern,", "Hello again,"];
    const BETWEEN: [&str; 6] =
        ["I noticed that", "since the last update", "as I said on the phone,", "it seems that", "again today", "please note that"];
    const AFTER: [&str; 6] = [
        "Can you look at it?",
        "Thanks a lot.",
        "What should we do until then?",
        "I can send a picture.",
        "Tell me if you need more.",
        "Best regards",
    ];
    const URGENCY: [&str; 4] = ["low", "normal", "high", "critical"];
    let mut lines = Vec::new();
    for index in 0..count {
        let mut stream = Stream::new("starling 2026 synthetic tickets v1", seed, &[index as u64]);
        let (what, whom) = (below(&mut stream, 3), below(&mut stream, 3));
        let words = [
            pick(&mut stream, &BEFORE),
            pick(&mut stream, &BETWEEN),
            pick(&mut stream, BROKEN[what]),
            pick(&mut stream, TOUCHED[whom]),
            pick(&mut stream, &AFTER),
        ];
        let mut urgency = (what + whom).saturating_sub(1).min(3);
        if stream.below(WRONG_LABEL) == 0 {
            urgency = below(&mut stream, 4);
        }
        let number = 10_000 + below(&mut stream, 90_000);
        let text = format!("{} {} {} {}. Ticket {number}. {}", words[0], words[1], words[2], words[3], words[4]);
        lines.extend(format!("{}\n", serde_json::json!({ "text": text, "label": URGENCY[urgency] })).into_bytes());
    }
    lines
}

/// Payments with ten numbers each, about one in twelve a fraud, as a table whose column `label` says which.
#[must_use]
pub(crate) fn payments(seed: u64, count: usize) -> Vec<u8> {
    let mut table =
        "amount,usual_amount,hour,account_days,distance_km,last_hour,declined_today,abroad,card_present,shop_risk,label\n".to_owned();
    for index in 0..count {
        let mut stream = Stream::new("starling 2026 synthetic payments v1", seed, &[index as u64]);
        let fraud = stream.below(12) == 0;
        let unit = |stream: &mut Stream| stream.unit();
        let usual = 10.0 + 90.0 * unit(&mut stream);
        // Frauds come in two kinds: one great payment from far away, or many small ones at night.
        let kind = stream.below(2);
        let great = fraud && kind == 0;
        let many = fraud && kind == 1;
        let amount = usual * (0.3 + 1.4 * unit(&mut stream)) * if great { 1.5 + 3.0 * unit(&mut stream) } else { 1.0 };
        let hour = if many { 6.0 * unit(&mut stream) } else { 24.0 * unit(&mut stream) };
        let account_days = 2_000.0 * unit(&mut stream) * if fraud { 0.6 } else { 1.0 };
        let distance = 30.0 * unit(&mut stream) * unit(&mut stream) * if great { 8.0 } else { 1.0 };
        let last_hour = stream.below(if many { 7 } else { 3 });
        let declined = stream.below(if fraud { 4 } else { 2 });
        let abroad = u8::from(unit(&mut stream) < if great { 0.5 } else { 0.08 });
        let present = u8::from(unit(&mut stream) < if fraud { 0.25 } else { 0.65 });
        let risk = unit(&mut stream) * if many { 1.0 } else { 0.8 };
        let label = if fraud { "fraud" } else { "honest" };
        table += &format!(
            "{amount:.2},{usual:.2},{hour:.1},{account_days:.0},{distance:.1},{last_hour},{declined},{abroad},{present},{risk:.2},{label}\n"
        );
    }
    table.into_bytes()
}

/// Grey images of cells as under a microscope, in an archive of a folder for each kind: `round`, `oblong`, `dividing`.
///
/// # Errors
/// None that these names and sizes can meet.
pub(crate) fn cells(seed: u64, count: usize) -> Result<Vec<u8>> {
    let mut entries = Vec::with_capacity(count);
    for index in 0..count {
        let mut stream = Stream::new("starling 2026 synthetic cells v1", seed, &[index as u64]);
        let kind = ["round", "oblong", "dividing"][index % 3];
        entries.push(ArchiveEntry::of_picture(kind, &format!("{index:05}"), &cell(kind, &mut stream)));
    }
    write_tar(&entries)
}

/// One cell: a bright body with a dark nucleus, or two, on a noisy ground.
fn cell(kind: &str, stream: &mut Stream) -> Picture {
    let between = |stream: &mut Stream, low: f64, high: f64| low + (high - low) * stream.unit();
    let centre = (between(stream, 13.0, 19.0), between(stream, 13.0, 19.0));
    let turn = cosine_and_sine(between(stream, 0.0, std::f64::consts::FRAC_PI_2));
    let radius = between(stream, 6.5, 10.0);
    let stretch = match kind {
        "round" => between(stream, 1.0, 1.12),
        "oblong" => between(stream, 1.4, 1.8),
        _ => between(stream, 1.1, 1.6),
    };
    let (ground, body, nucleus) = (between(stream, 40.0, 80.0), between(stream, 120.0, 170.0), between(stream, 60.0, 110.0));
    let apart = if kind == "dividing" { between(stream, 0.35, 0.5) * radius } else { 0.0 };
    let small = between(stream, 2.0, 3.0);
    let mut noise = vec![0.0; EDGE * EDGE];
    stream.fill_normal(10.0, &mut noise);
    let pixel = |index: usize| {
        let (x, y) = ((index % EDGE) as f64 - centre.0, (index / EDGE) as f64 - centre.1);
        let (along, across) = (x * turn.0 + y * turn.1, y * turn.0 - x * turn.1);
        let inside = |along: f64, across: f64, radius: f64| (along / radius).powi(2) + (across / radius).powi(2) < 1.0;
        let value = if inside(along - apart, across, small) || inside(along + apart, across, small) {
            nucleus
        } else if inside(along / stretch, across * stretch, radius) {
            body
        } else {
            ground
        };
        let value = (value + f64::from(noise[index])).clamp(0.0, 255.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to a byte")]
        let byte = value as u8;
        byte
    };
    Picture { width: EDGE, height: EDGE, channels: 1, pixels: (0..EDGE * EDGE).map(pixel).collect() }
}

fn below(stream: &mut Stream, bound: u64) -> usize {
    usize::try_from(stream.below(bound)).unwrap_or(0)
}

fn pick<'a>(stream: &mut Stream, words: &[&'a str]) -> &'a str {
    words[below(stream, words.len() as u64)]
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;
    use crate::data::{Table, read_archive, read_csv, read_images, read_json_lines};

    #[test]
    fn synthetic__should_be_fixed_by_its_seed_and_readable() {
        assert_eq!(tickets(1, 20), tickets(1, 20));
        assert_ne!(tickets(1, 20), tickets(2, 20));
        assert_eq!(read_json_lines(&tickets(1, 300), "tickets").expect("readable").len(), 300);
        let table = Table::new(&read_csv(&payments(1, 3_000), "payments").expect("readable"), "label", None).expect("numbers");
        assert_eq!((table.features().len(), table.classes()), (10, ["fraud".to_owned(), "honest".to_owned()].as_slice()));
        let archive = read_archive(&cells(1, 9).expect("short names"), "cells").expect("readable");
        let images = read_images(&archive, None, "cells").expect("alike");
        assert_eq!((images.len(), images.edges(), images.classes().len()), (9, (EDGE, EDGE), 3));
    }
}
