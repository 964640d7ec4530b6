//! The developers' roads to the dashboard, Trunk and cargo-leptos, make one that a person can sign in to.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context, Result, ensure};

use super::Figure;
use crate::{
    browser, check,
    command::{command, output, run},
    dashboard,
    freshness::files_below,
    paths,
    tools::tool,
};

/// The tests that a dashboard must pass, however it was built.
const TESTS: [&str; 2] = ["build.test.mjs", "sign-in.test.mjs"];

pub(super) fn trunk() -> Result<Vec<Figure>> {
    let version = version(command("trunk").arg("--version"), "cargo install trunk --locked")?;
    // Before the build, which may replace the very program that runs here.
    let mut trunk = tool("trunk")?;
    check::build_all()?;
    dashboard::assets()?;
    let seconds = timed(trunk.args(["build", "--release", "--offline"]))?;
    figures(version, seconds, &paths::target().join("trunk"))
}

pub(super) fn leptos() -> Result<Vec<Figure>> {
    let version = version(command("cargo").args(["leptos", "--version"]), "cargo install cargo-leptos --locked")?;
    let mut cargo = tool("cargo")?;
    check::build_all()?;
    dashboard::assets()?;
    let seconds = timed(cargo.args(["leptos", "build", "--frontend-only"]))?;
    figures(version, seconds, &paths::target().join("site"))
}

/// Runs the tests on a built dashboard and returns what was measured.
fn figures(version: String, seconds: f64, dashboard: &Path) -> Result<Vec<Figure>> {
    let folder = paths::root().join("tests/browser");
    let tests: Vec<PathBuf> = TESTS.iter().map(|name| folder.join(name)).collect();
    browser::test(&tests, Some(dashboard))?;
    Ok(vec![
        Figure::new("built by", version),
        Figure::new("build", format!("{seconds:.0} s")),
        Figure::new("wasm", format!("{} bytes", wasm_bytes(dashboard)?)),
        Figure::new("passed", TESTS.join(", ")),
    ])
}

fn version(asked: &mut Command, install: &str) -> Result<String> {
    let answer = output(asked).with_context(|| format!("the tool is missing: {install}"))?;
    Ok(answer.trim().to_owned())
}

fn timed(command: &mut Command) -> Result<f64> {
    let started = Instant::now();
    run(command)?;
    Ok(started.elapsed().as_secs_f64())
}

fn wasm_bytes(folder: &Path) -> Result<u64> {
    let files = files_below(folder)?;
    let wasm: Vec<_> = files.iter().filter(|file| file.extension().is_some_and(|ending| ending == "wasm")).collect();
    ensure!(wasm.len() == 1, "{} holds {} wasm files, not one", folder.display(), wasm.len());
    Ok(wasm[0].metadata()?.len())
}
