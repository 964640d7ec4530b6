//! Runs the tests that are written for Node: those of near-api-js on the embedded chain, and those in the Chromium of this machine with
//! playwright-core.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    command::{command, run},
    paths,
};

/// Where the tests lie, the quick ones first.
const FOLDERS: [&str; 2] = ["tests/near-api", "tests/browser"];

/// All `*.test.mjs` of [`FOLDERS`].
///
/// # Errors
/// A folder has none: a run without tests proves nothing.
pub(crate) fn all_tests() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        files.extend(tests_in(&paths::root().join(folder))?);
    }
    Ok(files)
}

fn tests_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .with_context(|| format!("cannot list {}", folder.display()))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.to_string_lossy().ends_with(".test.mjs"))
        .collect();
    files.sort();
    if files.is_empty() {
        bail!("there is no test in {}", folder.display());
    }
    Ok(files)
}

/// Runs test files one after the other, as each may start a whole Starling; `dashboard` is the folder that they serve instead
/// of `target/dashboard`.
///
/// # Errors
/// A test failed, or Node or Chromium is missing.
pub(crate) fn test(files: &[PathBuf], dashboard: Option<&Path>) -> Result<()> {
    let mut node = command("node");
    node.args(["--test", "--test-concurrency=1", "--test-reporter=spec"]).args(files);
    node.env("STARLING_BROWSER", chromium()?);
    if let Some(dashboard) = dashboard {
        node.env("STARLING_DASHBOARD", dashboard);
    }
    run(&mut node)
}

/// The browser: the one that STARLING_BROWSER names, or one that is installed.
///
/// # Errors
/// There is none.
pub(crate) fn chromium() -> Result<PathBuf> {
    const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    const MAC: &str = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome";
    let chosen = env::var_os("STARLING_BROWSER").map(PathBuf::from);
    let search_path = env::var_os("PATH").unwrap_or_default();
    let installed = env::split_paths(&search_path).flat_map(|folder| NAMES.map(|name| folder.join(name)));
    chosen
        .into_iter()
        .chain(installed)
        .chain([PathBuf::from(MAC)])
        .find(|path| path.is_file())
        .context("no Chromium found: run `./bootstrap setup test`, or name one in STARLING_BROWSER")
}
