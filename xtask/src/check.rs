//! `cargo xtask check`, which is what CI runs; and the two commands of the README, `up` and `test`.

use std::{
    env,
    ffi::OsString,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};

use crate::{
    browser,
    command::{command, run},
    cuda, dashboard, paths, python,
    tidy::tidy,
    toolchain::{WASM_TARGET, WasmToolchain},
    wasm,
};

/// Builds everything and becomes `starling up ARGS`.
///
/// # Errors
/// A build failed, or the program could not be started or failed.
pub(crate) fn up(args: &[String]) -> Result<()> {
    build_all()?;
    let mut starling = command(paths::target().join("debug/starling"));
    let called_from = env::var_os("STARLING_CALLED_FROM").map_or_else(env::current_dir, |folder| Ok(folder.into()))?;
    starling.arg("up").args(args.iter().map(|arg| seen_from(&called_from, arg)));
    become_program(starling)
}

/// Builds everything, then runs the Rust tests and the browser tests; `args` go to `cargo test`.
///
/// # Errors
/// A build or a test failed.
pub(crate) fn test(args: &[String]) -> Result<()> {
    let mut steps = Steps::default();
    run_tests(&mut steps, args)?;
    steps.print();
    Ok(())
}

/// Everything that must hold before a change is taken, the quick and the likely failures first.
///
/// # Errors
/// The first step that failed.
pub(crate) fn check() -> Result<()> {
    let mut steps = Steps::default();
    steps.run("formatting", || run(cargo("fmt").args(["--all", "--check"])))?;
    steps.run("tidy", tidy)?;
    steps.run("clippy", || run(cargo("clippy").args(["--quiet", "--all-targets", "--", "--deny", "warnings"])))?;
    steps.run("clippy for wasm32", || {
        run(wasm_packages(WasmToolchain::find()?.clippy().arg("--quiet")).args(["--", "--deny", "warnings"]))
    })?;
    steps.run("clippy for CUDA", cuda::check)?;
    steps.run("documentation", || run(document(&mut cargo("doc"))))?;
    steps.run("documentation for wasm32", || {
        let mut cargo = WasmToolchain::find()?.cargo();
        run(document(wasm_packages(cargo.arg("doc"))))
    })?;
    run_tests(&mut steps, &[])?;
    steps.print();
    Ok(())
}

fn run_tests(steps: &mut Steps, args: &[String]) -> Result<()> {
    steps.run("build", build_all)?;
    steps.run("tools for tests", || python::install(python::SCHEMATHESIS).map(drop))?;
    steps.run("tests", || run(cargo("test").args(args)))?;
    steps.run("browser tests", || browser::test(&browser::all_tests()?, None))
}

/// Builds contracts, dashboard and native programs.
///
/// Contracts and dashboard in one thread, the native programs in another: linking uses one core only, and their target
/// directories differ.
pub(crate) fn build_all() -> Result<()> {
    thread::scope(|scope| {
        let browser_side = scope.spawn(|| wasm::build_contracts().and_then(|()| dashboard::build()));
        let native = run(&mut cargo("build"));
        let browser_side = browser_side.join().map_err(|_| anyhow!("the wasm32 build panicked"))?;
        native.and(browser_side)
    })
}

/// The program runs in the checkout's top folder: a path that the person named from elsewhere is made absolute.
fn seen_from(called_from: &Path, arg: &str) -> OsString {
    let named = called_from.join(arg);
    if called_from == paths::root() || arg.starts_with('-') || !arg.contains(['/', '.']) || !named.exists() {
        return arg.into();
    }
    named.into()
}

fn cargo(subcommand: &str) -> Command {
    let mut cargo = command("cargo");
    cargo.arg(subcommand);
    cargo
}

fn wasm_packages(cargo: &mut Command) -> &mut Command {
    cargo.args(["--target", WASM_TARGET, "--package", "starling-frontend"]);
    cargo.args(["--package", "starling-contract-common"]);
    for name in wasm::CONTRACTS {
        cargo.args(["--package", &format!("starling-{name}")]);
    }
    cargo
}

fn document(cargo: &mut Command) -> &mut Command {
    cargo.args(["--quiet", "--no-deps"]).env("RUSTDOCFLAGS", "--deny warnings")
}

#[cfg(unix)]
fn become_program(mut program: Command) -> Result<()> {
    use std::os::unix::process::CommandExt;
    Err(program.exec()).with_context(|| format!("cannot start {}", program.get_program().to_string_lossy()))
}

#[cfg(not(unix))]
fn become_program(mut program: Command) -> Result<()> {
    run(&mut program)
}

/// Names each step as it starts and what it took, and all of them at the end.
#[derive(Default)]
struct Steps {
    done: Vec<(&'static str, Duration)>,
}

impl Steps {
    fn run(&mut self, name: &'static str, step: impl FnOnce() -> Result<()>) -> Result<()> {
        println!("--- {name}");
        let started = Instant::now();
        let result = step();
        let took = started.elapsed();
        self.done.push((name, took));
        match result {
            Ok(()) => println!("--- {name}: {:.0} s", took.as_secs_f64()),
            Err(error) => {
                return Err(error.context(format!("{name} failed after {:.0} s", took.as_secs_f64())));
            }
        }
        Ok(())
    }

    fn print(&self) {
        for (name, took) in &self.done {
            println!("{:>6.0} s  {name}", took.as_secs_f64());
        }
        let total: Duration = self.done.iter().map(|(_, took)| *took).sum();
        println!("{:>6.0} s  all", total.as_secs_f64());
    }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn seen_from__should_find_a_file_where_the_person_is() {
        let elsewhere = paths::root().join("xtask");
        assert_eq!(seen_from(&elsewhere, "src/main.rs"), elsewhere.join("src/main.rs").into_os_string());
        for arg in ["--once", "src", "no/such/file", "rust-small"] {
            assert_eq!(seen_from(&elsewhere, arg), OsString::from(arg));
        }
        assert_eq!(seen_from(&paths::root(), "xtask/src"), OsString::from("xtask/src"));
    }
}
