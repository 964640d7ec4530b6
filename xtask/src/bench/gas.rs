//! `cargo xtask bench gas`: what each important call burns, measured on the embedded chain and written into `tests/gas.txt`, which the tests compare.

use anyhow::Result;

use crate::{
    command::{command, run},
    wasm,
};

/// Builds the contracts, measures them and writes the table.
///
/// # Errors
/// A build failed, or a call passes its limit; the table is written then too.
pub(super) fn gas() -> Result<()> {
    wasm::build_contracts()?;
    let mut cargo = command("cargo");
    cargo.args(["test", "--quiet", "--test", "contracts_gas", "--", "--nocapture"]);
    run(cargo.env("STARLING_BENCH_GAS", "1"))
}
