//! `cargo xtask simulate ARGS`: builds and runs the simulator.

use anyhow::Result;

use crate::command::{ONE_HEAP, command, run};

/// Runs the simulator with these arguments; see its own help.
///
/// # Errors
/// It failed, or a figure is beyond its bound.
pub(crate) fn simulate(args: &[String]) -> Result<()> {
    run(command("cargo").args(["run", "--quiet", "--bin", "simulate", "--"]).args(args).envs(ONE_HEAP))
}
