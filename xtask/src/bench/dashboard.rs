//! `cargo xtask bench dashboard`: how large and how quick the dashboard is, in the Chromium of this machine and on a whole Starling.

use anyhow::Result;

use crate::{
    browser::chromium,
    check,
    command::{command, run},
};

/// Builds everything, measures, and prints the table.
///
/// # Errors
/// A build failed, or a limit is passed; the table is printed then too.
pub(super) fn dashboard() -> Result<()> {
    check::build_all()?;
    run(command("node").arg("tests/browser/bench.mjs").env("STARLING_BROWSER", chromium()?))
}
