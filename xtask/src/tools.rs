//! Trunk and cargo-leptos call Tailwind and wasm-bindgen by name and download what they do not find. Here they find what this
//! checkout pins: Tailwind from npm, and xtask itself in the place of wasm-bindgen, always at the version of Cargo.lock.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use wasm_bindgen_cli_support::Bindgen;

use crate::{
    command::{command, output, run},
    dashboard, paths,
    toolchain::WasmToolchain,
};

/// The name under which xtask stands in for wasm-bindgen's own program.
pub(crate) const WASM_BINDGEN: &str = "wasm-bindgen";

/// Makes the assets, then runs a program and its arguments with the pinned tools first on the path, and with the compiler that has the wasm32 library.
pub(crate) fn with_tools(args: &[String]) -> Result<()> {
    let mut words = args.iter().skip_while(|arg| *arg == "--");
    let Some(program) = words.next() else {
        bail!("with-tools wants a program, as in: cargo xtask with-tools trunk serve");
    };
    dashboard::assets()?;
    run(tool(program)?.args(words))
}

/// A program that finds the pinned tools.
pub(crate) fn tool(program: &str) -> Result<Command> {
    let stand_ins = paths::target().join("tools");
    stand_in(&stand_ins, WASM_BINDGEN)?;
    let mut folders = vec![stand_ins, paths::root().join("node_modules/.bin")];
    folders.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    let mut tool = command(program);
    WasmToolchain::find()?.environment(&mut tool);
    // cargo-leptos builds native programs too, and takes its wasm folder from Cargo.toml.
    if program == "cargo" {
        tool.env_remove("CARGO_TARGET_DIR");
    }
    tool.env("PATH", env::join_paths(folders)?);
    Ok(tool)
}

/// Whether this process was started under that name, in whose place xtask stands.
pub(crate) fn is_started_as(name: &str) -> bool {
    env::args_os().next().is_some_and(|program| Path::new(&program).file_stem().is_some_and(|stem| stem == name))
}

/// Does what wasm-bindgen's program does for the arguments that Trunk and cargo-leptos give.
pub(crate) fn wasm_bindgen(args: &[String]) -> Result<()> {
    if args.iter().any(|arg| arg == "--version" || arg == "-V") {
        println!("{WASM_BINDGEN} {}", wasm_bindgen_version()?);
        return Ok(());
    }
    let call = parse(args)?;
    let mut bindgen = Bindgen::new();
    bindgen.input_path(&call.input).web(true)?.typescript(call.typescript).keep_debug(call.keep_debug).demangle(call.demangle);
    if let Some(name) = &call.out_name {
        bindgen.out_name(name);
    }
    bindgen.generate(&call.out_dir)
}

#[derive(Debug, PartialEq, Eq)]
struct Call {
    input: PathBuf,
    out_dir: PathBuf,
    out_name: Option<String>,
    typescript: bool,
    keep_debug: bool,
    demangle: bool,
}

fn parse(args: &[String]) -> Result<Call> {
    let (mut input, mut out_dir, mut out_name) = (None, None, None);
    let (mut typescript, mut keep_debug, mut demangle) = (true, false, true);
    for arg in args {
        match arg.split_once('=').map_or((arg.as_str(), None), |(name, value)| (name, Some(value))) {
            ("--target", Some("web")) => {}
            ("--out-dir", Some(folder)) => out_dir = Some(folder.into()),
            ("--out-name", Some(name)) => out_name = Some(name.to_owned()),
            ("--no-typescript", None) => typescript = false,
            ("--keep-debug" | "--debug", None) => keep_debug = true,
            ("--no-demangle", None) => demangle = false,
            (path, None) if !path.starts_with('-') && input.is_none() => input = Some(path.into()),
            _ => bail!("xtask stands in for {WASM_BINDGEN} and does not know `{arg}`"),
        }
    }
    Ok(Call {
        input: input.context("no wasm file was named")?,
        out_dir: out_dir.context("no --out-dir was given")?,
        out_name,
        typescript,
        keep_debug,
        demangle,
    })
}

/// The version of the library that xtask was built with: the one in Cargo.lock.
fn wasm_bindgen_version() -> Result<String> {
    let text = output(command("cargo").args(["metadata", "--format-version", "1", "--offline", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&text)?;
    let packages = metadata["packages"].as_array().context("metadata names no packages")?;
    let library = packages.iter().find(|package| package["name"] == "wasm-bindgen-cli-support");
    let version = library.and_then(|package| package["version"].as_str()).context("Cargo.lock has no wasm-bindgen-cli-support")?;
    Ok(version.to_owned())
}

/// Puts this very program into `folder` under another's name.
///
/// # Errors
/// The folder cannot be written.
pub(crate) fn stand_in(folder: &Path, name: &str) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let stand_in = folder.join(format!("{name}{}", env::consts::EXE_SUFFIX));
    let fresh = stand_in.with_extension("new");
    fs::copy(env::current_exe()?, &fresh)?;
    fs::rename(&fresh, &stand_in).with_context(|| format!("cannot put the stand-in for {name} in place"))?;
    Ok(stand_in)
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn parse__should_read_what_trunk_and_cargo_leptos_say() {
        let trunk = parse(&words("--target=web --out-dir=/a --out-name=x /b/x.wasm --no-typescript")).unwrap();
        assert_eq!((trunk.input, trunk.out_dir), ("/b/x.wasm".into(), "/a".into()));
        assert_eq!((trunk.out_name.as_deref(), trunk.typescript, trunk.keep_debug), (Some("x"), false, false));
        let leptos = parse(&words("--target=web --out-name=starling --out-dir=pkg a.wasm")).unwrap();
        assert!(leptos.typescript && leptos.demangle);
    }

    #[test]
    fn parse__should_refuse_what_it_cannot_do() {
        for line in ["--target=nodejs --out-dir=a b.wasm", "--out-dir=a --reference-types b.wasm", "b.wasm", "--out-dir=a"] {
            assert!(parse(&words(line)).is_err(), "{line}");
        }
    }
}
