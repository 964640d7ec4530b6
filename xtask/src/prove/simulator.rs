//! The simulator's figures: the round protocol with real training of small models, in virtual time.

use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::Figure;
use crate::command::{ONE_HEAP, command, show};

pub(super) fn communication() -> Result<Vec<Figure>> {
    simulated("communication", &[])
}

pub(super) fn quality() -> Result<Vec<Figure>> {
    simulated("quality", &["--seeds", "5"])
}

pub(super) fn continued() -> Result<Vec<Figure>> {
    simulated("continued", &["--seeds", "5"])
}

pub(super) fn absence() -> Result<Vec<Figure>> {
    simulated("absence", &["--seeds", "5"])
}

pub(super) fn attackers() -> Result<Vec<Figure>> {
    simulated("attackers", &["--seeds", "3"])
}

pub(super) fn detection() -> Result<Vec<Figure>> {
    simulated("detection", &[])
}

pub(super) fn overlap() -> Result<Vec<Figure>> {
    simulated("overlap", &[])
}

/// Lines `figure WHAT`, tab, `VALUE` of the simulator, which trains on this repository's sources. It fails where a figure is beyond its
/// bound, which the figure then says itself: what was measured is kept all the same.
fn simulated(figures: &str, args: &[&str]) -> Result<Vec<Figure>> {
    let mut cargo = command("cargo");
    cargo.args(["run", "--quiet", "--bin", "simulate", "--", figures, "--text", "crates"]).args(args).envs(ONE_HEAP);
    let ended = cargo.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start {}", show(&cargo)))?;
    let said = String::from_utf8_lossy(&ended.stdout);
    let line = |line: &str| line.strip_prefix("figure ")?.split_once('\t').map(|(what, value)| Figure::new(what, value));
    let figures: Vec<Figure> = said.lines().filter_map(line).collect();
    if figures.is_empty() {
        bail!("the simulator ended with {} and gave no figures", ended.status);
    }
    Ok(figures)
}
