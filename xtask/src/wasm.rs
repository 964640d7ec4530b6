//! Builds the contracts for wasm32 and puts them where the tests and `starling up` read them.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

use crate::{
    command::run,
    paths,
    toolchain::{WASM_TARGET, WasmToolchain},
};

/// The contracts by the names of their folders; the crates are `starling-NAME`. `scripted` is for tests: a token and a target that do what they are told.
pub(crate) const CONTRACTS: [&str; 5] = ["billing", "compute", "hub", "market", "scripted"];

/// A contract's account pays 1 NEAR for each 100 kB of code that it holds, so growth is noticed here.
const MAX_CONTRACT_BYTES: u64 = 550_000;

/// Builds all contracts and prints their sizes.
///
/// # Errors
/// Cargo failed, or a contract is larger than 550 kB.
pub(crate) fn build_contracts() -> Result<()> {
    let mut cargo = WasmToolchain::find()?.cargo();
    cargo.args(["build", "--quiet", "--profile", "contract", "--target", WASM_TARGET]);
    for name in CONTRACTS {
        cargo.args(["--package", &format!("starling-{name}")]);
    }
    run(&mut cargo)?;

    let built = paths::wasm_target().join(WASM_TARGET).join("contract");
    fs::create_dir_all(paths::contracts())?;
    for name in CONTRACTS {
        let bytes = install(&built.join(format!("starling_{name}.wasm")), &paths::contracts().join(format!("{name}.wasm")))?;
        println!("{name:8} {bytes:>8} bytes");
        if bytes > MAX_CONTRACT_BYTES {
            bail!("the contract {name} has {bytes} bytes; the limit is {MAX_CONTRACT_BYTES}");
        }
    }
    Ok(())
}

/// Runs cargo with the caller's arguments for wasm32; a leading `--` is dropped.
pub(crate) fn cargo(args: Vec<String>) -> Result<()> {
    let mut args: Vec<String> = args.into_iter().skip_while(|arg| arg == "--").collect();
    let toolchain = WasmToolchain::find()?;
    if args.is_empty() {
        bail!("wasm-cargo wants cargo's arguments, as in: cargo xtask wasm-cargo -- check --package starling-billing");
    }
    let subcommand = args.remove(0);
    let mut cargo = if subcommand == "clippy" {
        toolchain.clippy()
    } else {
        let mut cargo = toolchain.cargo();
        cargo.arg(subcommand);
        cargo
    };
    run(cargo.args(["--target", WASM_TARGET]).args(args))
}

/// Copies a built file when its bytes changed, so that what depends on it stays fresh; returns its size.
fn install(built: &Path, wanted: &Path) -> Result<u64> {
    let bytes = fs::read(built).with_context(|| format!("cargo did not make {}", built.display()))?;
    if fs::read(wanted).ok().as_deref() != Some(bytes.as_slice()) {
        fs::write(wanted, &bytes).with_context(|| format!("cannot write {}", wanted.display()))?;
    }
    Ok(bytes.len() as u64)
}
