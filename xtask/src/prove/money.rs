//! The money rules: a walk of millions of operations through them, thousands of calls through the virtual machine, and mutants of them that no test lets live.

use std::fs;

use anyhow::{Context, Result, bail};

use super::Figure;
use crate::{
    command::{command, output},
    paths, wasm,
};

const OPERATIONS: u32 = 20_000_000;
/// Calls of each random walk through the contracts.
const STEPS: u32 = 1_500;
/// The rules of money and state; what is signed and how prices are computed among them.
const RULES: &str = "crates/protocol/src/**/*.rs";

pub(super) fn world() -> Result<Vec<Figure>> {
    let mut cargo = command("cargo");
    cargo.args(["test", "--quiet", "--package", "starling-protocol", "--test", "world", "--", "--nocapture"]);
    let said = output(cargo.env("STARLING_WORLD_OPERATIONS", OPERATIONS.to_string()))?;
    let summary = said.lines().find(|line| line.contains("% taken")).context("the walk said nothing of itself")?;
    let pairs = said.lines().filter(|line| line.ends_with(" refused")).count();
    let pairs_taken = said.lines().filter(|line| line.ends_with(" refused") && !line.contains(" 0 taken")).count();
    Ok(vec![
        Figure::new("operations", summary),
        Figure::new("pairs of state and event tried", format!("{pairs}, all there are; {pairs_taken} of them are taken")),
    ])
}

pub(super) fn walks() -> Result<Vec<Figure>> {
    wasm::build_contracts()?;
    let mut cargo = command("cargo");
    cargo.args(["test", "--quiet", "--test", "contracts_*", "books__", "--", "--nocapture"]);
    let said = output(cargo.env("STARLING_WALK_STEPS", STEPS.to_string()))?;
    let walks: Vec<Figure> = said
        .lines()
        .filter_map(|line| line.trim().strip_prefix("walk ")?.split_once(": "))
        .map(|(walk, what)| Figure::new(walk, what))
        .collect();
    if walks.is_empty() {
        bail!("no walk said what it did");
    }
    Ok(walks)
}

pub(super) fn mutants() -> Result<Vec<Figure>> {
    let version =
        output(command("cargo").args(["mutants", "--version"])).context("the tool is missing: cargo install cargo-mutants --locked")?;
    let folder = paths::target().join("mutants");
    fs::create_dir_all(&folder)?;
    let mut cargo = command("cargo");
    cargo.args(["mutants", "--package", "starling-protocol", "--file", RULES, "--jobs", "2", "--colors", "never"]);
    cargo.arg("--output").arg(&folder).env("STARLING_WORLD_OPERATIONS", "200000");
    let result = cargo.output().context("cannot start cargo mutants")?;
    let said = String::from_utf8_lossy(&result.stdout);
    let summary = said.lines().rev().find(|line| line.contains("mutants tested")).context("cargo mutants gave no summary")?;
    let missed = fs::read_to_string(folder.join("mutants.out/missed.txt")).unwrap_or_default();
    if !missed.trim().is_empty() {
        bail!("{summary}; these live:\n{missed}");
    }
    Ok(vec![Figure::new("made by", version.trim()), Figure::new("mutants", summary)])
}
