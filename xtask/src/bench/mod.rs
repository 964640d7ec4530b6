//! `cargo xtask bench NAME`: figures that say how fast or how dear something is, printed.

mod dashboard;
mod gas;
mod training;

use anyhow::{Result, bail};

use crate::{
    command::{command, run},
    paths, wasm,
};

/// Builds and runs the benchmark of that name.
///
/// # Errors
/// There is none of that name, or it failed.
pub(crate) fn bench(names: &[String]) -> Result<()> {
    match names {
        [name] if name == "localnet" => localnet(),
        [name] if name == "coordinator" => coordinator(),
        [name] if name == "dashboard" => dashboard::dashboard(),
        [name] if name == "gas" => gas::gas(),
        [name, cases @ ..] if name == "training" => training::training(cases),
        _ => bail!("one benchmark at a time, by its name; there are: coordinator, dashboard, gas, localnet, training [CASE ...]"),
    }
}

/// The coordinator beside the bare queue of its databases, in the build that the tests use, so that nothing is built twice.
fn coordinator() -> Result<()> {
    wasm::build_contracts()?;
    run(command("cargo").args(["build", "--quiet", "--bin", "starling-coordinator", "--example", "bare_queue"]))?;
    run(command("cargo").args(["bench", "--quiet", "--profile", "dev", "--bench", "coordinator"]))
}

/// The embedded chain, in the build that the tests use, so that nothing is built twice; with a contract of ours where it is built.
fn localnet() -> Result<()> {
    let mut cargo = command("cargo");
    cargo.args(["bench", "--quiet", "--profile", "dev", "--bench", "localnet"]);
    let contract = paths::contracts().join("billing.wasm");
    if contract.is_file() {
        cargo.arg("--").arg(contract);
    } else {
        eprintln!("target/contracts is empty (`cargo xtask wasm` fills it): only the tiny contract is measured");
    }
    run(&mut cargo)
}
