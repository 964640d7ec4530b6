//! `cargo xtask`: everything this repository does to itself (build, test, check, prove), as one program.

mod bench;
mod browser;
mod check;
mod command;
mod cuda;
mod dashboard;
mod freshness;
mod paths;
mod prove;
mod python;
mod simulate;
mod tidy;
mod toolchain;
mod tools;
mod wasm;

use std::{env, process::ExitCode};

use anyhow::{Result, bail};

const USAGE: &str = "\
cargo xtask COMMAND
  up [ARGS]             build everything and run `starling up ARGS`
  test [ARGS]           build everything and run all tests; ARGS go to `cargo test`
  check                 what CI runs: formatting, tidy, clippy, documentation, all tests
  check-cuda            type-check and lint what builds with CUDA only; needs neither a GPU nor its toolkit
  tidy                  the rules of this repository that no compiler knows
  bench [NAME]          build and run a benchmark, and print its table: coordinator, dashboard, gas, localnet, training
  simulate [ARGS]       whole training runs in one process and in virtual time; without ARGS it says which
  prove [NAME ...]      run long proofs and write their figures into docs/PROOF.md
  wasm                  build the four contracts into target/contracts
  dashboard             build the dashboard (target/dashboard) and the development wallet (target/wallet)
  assets                make what `trunk` and `cargo leptos` copy beside the compiled dashboard
  with-tools PROGRAM    run PROGRAM (trunk, cargo leptos) with the pinned Tailwind and wasm-bindgen on its path
  wasm-cargo -- ARGS    run cargo for wasm32 with the compiler that has its library, in target/wasm";

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let result = if tools::is_started_as(tools::WASM_BINDGEN) {
        tools::wasm_bindgen(&args)
    } else if tools::is_started_as(cuda::NVCC) {
        cuda::nvcc(&args)
    } else {
        run(args)
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut args: Vec<String>) -> Result<()> {
    if args.is_empty() {
        bail!("no command given\n{USAGE}");
    }
    let name = args.remove(0);
    match name.as_str() {
        "wasm" => wasm::build_contracts(),
        "up" => check::up(&args),
        "test" => check::test(&args),
        "check" => check::check(),
        "check-cuda" => cuda::check(),
        "tidy" => tidy::tidy(),
        "bench" => bench::bench(&args),
        "simulate" => simulate::simulate(&args),
        "prove" => prove::prove(&args),
        "dashboard" => dashboard::build(),
        "assets" => dashboard::assets(),
        "with-tools" => tools::with_tools(&args),
        "wasm-cargo" => wasm::cargo(args),
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(())
        }
        _ => bail!("there is no command `{name}`\n{USAGE}"),
    }
}
