//! Real uploads with packages from the index, run on a rented node and outside.

use anyhow::{Result, ensure};

use super::Figure;
use crate::command::{command, output, run};

/// The version that is installed for the classifier; its wheels and what they need are some 6 GB on disk for a while.
const TORCH: &str = "torch==2.15.0";

pub(super) fn scripts() -> Result<Vec<Figure>> {
    run(command("cargo").args(["build", "--quiet", "--bin", "starling", "--bin", "gpu-node", "--bin", "starling-coordinator"]))?;
    let mut cargo = command("cargo");
    cargo.args(["test", "--quiet", "--test", "system", "--", "--ignored", "--nocapture", "packages__"]);
    if std::env::var_os("STARLING_TORCH").is_none() {
        cargo.env("STARLING_TORCH", TORCH);
    }
    let said = output(&mut cargo)?;
    let figures: Vec<Figure> = said
        .lines()
        .filter_map(|line| line.split_once("figure: ")?.1.split_once(" = "))
        .map(|(what, value)| Figure::new(what, value))
        .collect();
    ensure!(figures.len() == 3, "the test reports {} figures instead of 3", figures.len());
    Ok(figures)
}
