//! What the coordinator promises: whole uploads over broken lines, and nothing lost when processes are killed.

use anyhow::{Result, bail};

use super::Figure;
use crate::command::{command, output};

const UPLOAD_BYTES: u64 = 2_500_000_000;
const UPLOAD_CUTS: u32 = 45;
const UPLOAD_KILLS: u32 = 5;
/// About four seconds each.
const CHAOS_KILLS: u32 = 100;

pub(super) fn uploads() -> Result<Vec<Figure>> {
    let settings = [
        ("STARLING_UPLOAD_BYTES", UPLOAD_BYTES.to_string()),
        ("STARLING_UPLOAD_CUTS", UPLOAD_CUTS.to_string()),
        ("STARLING_UPLOAD_KILLS", UPLOAD_KILLS.to_string()),
    ];
    system_test("upload__", &settings)
}

pub(super) fn chaos() -> Result<Vec<Figure>> {
    system_test("kills__", &[("STARLING_CHAOS_KILLS", CHAOS_KILLS.to_string())])
}

/// Runs one of the system's tests with larger figures, and reads what it measured.
fn system_test(name: &str, settings: &[(&str, String)]) -> Result<Vec<Figure>> {
    output(command("cargo").args(["build", "--quiet", "--bins"]))?;
    let mut cargo = command("cargo");
    cargo.args(["test", "--quiet", "--test", "system", name, "--", "--nocapture"]);
    let said = output(cargo.envs(settings.iter().map(|(name, value)| (name, value))))?;
    let measured = said.lines().filter_map(|line| line.trim().strip_prefix("measured ")?.split_once(": "));
    let figures: Vec<Figure> = measured.map(|(what, value)| Figure::new(what, value)).collect();
    if figures.is_empty() {
        bail!("the test {name} measured nothing");
    }
    Ok(figures)
}
