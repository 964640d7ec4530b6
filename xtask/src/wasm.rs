//! Builds the contracts for wasm32 and puts them where the tests and `starling up` read them.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use crate::{
    command::{command, quietly, run},
    freshness::{Inputs, is_fresh},
    paths,
    toolchain::{WASM_TARGET, WasmToolchain},
};

/// The contracts by the names of their folders; the crates are `starling-NAME`.
pub(crate) const CONTRACTS: [&str; 6] = ["billing", "compute", "hub", "market", "scripted", "standards"];

/// Of these, what only tests deploy, of any size: a token and a target that do what they are told, and NEAR's own tokens.
const FOR_TESTS: [&str; 2] = ["scripted", "standards"];

/// A contract's account pays 1 NEAR for each 100 kB of code that it holds, so growth is noticed here.
const MAX_CONTRACT_BYTES: u64 = 250_000;

const OPTIMISER: &str = "node_modules/binaryen";

/// What binaryen does with a module: smaller, and with no more of wasm than the compiler used already.
const OPTIMISE: [&str; 5] =
    ["-Oz", "--enable-bulk-memory", "--enable-mutable-globals", "--enable-nontrapping-float-to-int", "--enable-sign-ext"];

/// Builds all contracts and prints their sizes. The same compiler makes the same bytes on every machine: no path of one is in them, and binaryen is pinned.
///
/// # Errors
/// Cargo or binaryen failed, or a contract is larger than 250 kB.
pub(crate) fn build_contracts() -> Result<()> {
    let mut cargo = WasmToolchain::find()?.cargo();
    cargo.args(["--config", &without_paths_of_this_machine()]);
    cargo.args(["build", "--quiet", "--profile", "contract", "--target", WASM_TARGET]);
    for name in CONTRACTS {
        cargo.args(["--package", &format!("starling-{name}")]);
    }
    run(&mut cargo)?;

    let built = paths::wasm_target().join(WASM_TARGET).join("contract");
    fs::create_dir_all(paths::contracts())?;
    for name in CONTRACTS {
        let bytes = optimise(&built.join(format!("starling_{name}.wasm")), &paths::contracts().join(format!("{name}.wasm")))?;
        println!("{name:8} {bytes:>8} bytes");
        if bytes > MAX_CONTRACT_BYTES && !FOR_TESTS.contains(&name) {
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

/// A setting of cargo that cuts the folders of registries out of the places that panics name.
fn without_paths_of_this_machine() -> String {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| env::home_dir().map(|home| home.join(".cargo"))).unwrap_or_default();
    let registries = fs::read_dir(home.join("registry/src")).into_iter().flatten().flatten();
    let flags: Vec<String> = registries.map(|registry| format!("'--remap-path-prefix={}/='", registry.path().display())).collect();
    format!("target.{WASM_TARGET}.rustflags=[{}]", flags.join(","))
}

/// Writes what binaryen makes of a module; `more` are further options.
///
/// # Errors
/// Binaryen is missing or failed.
pub(crate) fn make_smaller(module: &Path, to: &Path, more: &[&str]) -> Result<()> {
    let program = paths::root().join(OPTIMISER).join("bin/wasm-opt");
    if !program.is_file() {
        bail!("{} is missing: run `./bootstrap setup`", program.display());
    }
    quietly(command(program).args(OPTIMISE).args(more).arg(module).arg("-o").arg(to))
}

/// Makes a built contract smaller, if it is another than last time; returns its size.
fn optimise(built: &Path, wanted: &Path) -> Result<u64> {
    let version = paths::root().join(OPTIMISER).join("package.json");
    // The result is part of it: whoever changed or removed it gets it anew.
    let digest =
        || -> Result<String> { Ok(Inputs::default().text(&OPTIMISE.join(" ")).path(&version)?.path(built)?.path(wanted)?.digest()) };
    let stamp = built.with_extension("optimised");
    if !is_fresh(&stamp, &digest()?) {
        // Replaced at once: a chain may be reading it.
        let fresh = wanted.with_extension("new");
        make_smaller(built, &fresh, &[])?;
        fs::rename(&fresh, wanted).with_context(|| format!("cannot write {}", wanted.display()))?;
        fs::write(&stamp, digest()?)?;
    }
    Ok(fs::metadata(wanted).with_context(|| format!("there is no {}", wanted.display()))?.len())
}
