//! Each preset on this machine: in time, and better than what says nothing.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::Figure;
use crate::{
    command::{command, output, run},
    paths,
};

/// What a preset may take on a processor, in seconds.
const MOST_SECONDS: f64 = 300.0;

/// A preset, the figure of its report that counts, and the least that the interval's lower end must be; of bits per byte,
/// the most that its upper end may be, as a part of the trigram model's.
const PRESETS: [(&str, &str, f64); 4] =
    [("rust-words", "bits_per_byte", 1.0), ("triage", "macro_f1", 0.8), ("fraud", "auroc", 0.9), ("cells", "auroc", 0.9)];

pub(super) fn presets() -> Result<Vec<Figure>> {
    run(command("cargo").args(["build", "--quiet", "--bin", "starling", "--bin", "gpu-node"]))?;
    let mut figures = Vec::new();
    for (name, figure, bound) in PRESETS {
        let folder = paths::target().join("presets").join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        run(command(paths::target().join("debug/starling")).args(["train", "--preset", name, "--output"]).arg(&folder))?;
        let report = read(&folder.join("report.json"))?;
        let seconds = report["seconds"].as_f64().context("a report without its time")?;
        ensure!(seconds < MOST_SECONDS, "{name} took {seconds:.0} s, {MOST_SECONDS} are allowed");
        let outcome = &report["outcome"];
        let of = |field: &str| outcome[figure][field].as_f64().with_context(|| format!("{name}'s report has no {figure}"));
        let holds = match outcome["kind"].as_str() {
            Some("text") => of("high")? < bound * outcome["trigram"].as_f64().context("no trigram")?,
            _ => of("low")? > bound,
        };
        if !holds {
            bail!("{name}: {figure} is {}, which does not keep its bound", outcome[figure]);
        }
        figures.push(Figure::new(format!("preset {name}"), words(&report, seconds)));
    }
    Ok(figures)
}

/// A training that is killed a hundred times.
pub(super) fn kills() -> Result<Vec<Figure>> {
    let mut cargo = command("cargo");
    cargo.args(["test", "--quiet", "--test", "kill", "--", "--nocapture"]);
    let said = output(cargo.env("STARLING_KILLS", "100"))?;
    let line = said.lines().find_map(|line| line.split_once("kills ").map(|(_, rest)| rest)).context("the test reports no kills")?;
    let (count, rest) = line.split_once(": ").context("the test reports no outcome")?;
    ensure!(count == "100", "{count} kills instead of 100");
    Ok(vec![Figure::new("kills by a signal that no program can catch", format!("{count}, {rest}"))])
}

fn words(report: &Value, seconds: f64) -> String {
    let outcome = &report["outcome"];
    let interval = |name: &str| {
        let of = |field: &str| outcome[name][field].as_f64().unwrap_or(f64::NAN);
        format!("{:.3} ({:.3} to {:.3})", of("value"), of("low"), of("high"))
    };
    let data = if report["synthetic"] == true { "synthetic data, " } else { "" };
    let steps = format!("{} steps in {seconds:.0} s", report["steps"]);
    match outcome["kind"].as_str() {
        Some("text") => {
            let of = |name: &str| outcome[name].as_f64().unwrap_or(f64::NAN);
            format!(
                "{} bits a byte on hidden text (Kneser-Ney bigram {:.3}, trigram {:.3}), {steps}",
                interval("bits_per_byte"),
                of("bigram"),
                of("trigram")
            )
        }
        _ => format!(
            "{data}macro-F1 {}, AUROC {}, calibration error {} on {} hidden examples, {steps}",
            interval("macro_f1"),
            interval("auroc"),
            interval("calibration_error"),
            outcome["examples"]
        ),
    }
}

fn read(path: &Path) -> Result<Value> {
    Ok(serde_json::from_slice(&fs::read(path).with_context(|| format!("there is no {}", path.display()))?)?)
}
