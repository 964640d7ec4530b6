//! Runs other programs from the checkout's top, with an environment that does not depend on who called xtask.

use std::{
    env,
    ffi::OsStr,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::paths;

/// What cargo and rustup set for the program they run, and what must not reach the cargo that xtask runs:
/// it would pick another compiler or make build scripts run again.
const INHERITED: [&str; 7] = ["CARGO", "LD_LIBRARY_PATH", "OUT_DIR", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN", "RUST_RECURSION_COUNT"];

/// How programs that train have their memory, as nodes do: `ONE_HEAP` of the training crate, which is not built for this program.
pub(crate) const ONE_HEAP: [(&str, &str); 3] =
    [("MALLOC_ARENA_MAX", "1"), ("MALLOC_MMAP_THRESHOLD_", "1073741824"), ("MALLOC_TRIM_THRESHOLD_", "1073741824")];

/// A command in the checkout's top folder with a clean environment.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(paths::root());
    for name in INHERITED {
        command.env_remove(name);
    }
    for (name, _) in env::vars_os() {
        let name_text = name.to_string_lossy();
        if name_text.starts_with("CARGO_PKG_") || name_text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs a command that speaks for itself on the terminal.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", show(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", show(command));
    }
    Ok(())
}

/// Runs a tool and shows what it said only when it failed.
pub(crate) fn quietly(tool: &mut Command) -> Result<()> {
    let name = tool.get_program().to_string_lossy().into_owned();
    let result = tool.stdin(Stdio::null()).output().with_context(|| format!("cannot start {name}: run `./bootstrap setup`"))?;
    if !result.status.success() {
        bail!("{name} failed:\n{}{}", String::from_utf8_lossy(&result.stdout), String::from_utf8_lossy(&result.stderr));
    }
    Ok(())
}

/// Runs a command for what it prints on standard output; its errors stay on the terminal.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let result = command.stderr(Stdio::inherit()).output().with_context(|| format!("cannot start {}", show(command)))?;
    if !result.status.success() {
        bail!("{} ended with {}", show(command), result.status);
    }
    String::from_utf8(result.stdout).with_context(|| format!("{} printed something that is not text", show(command)))
}

/// A command as a person would type it.
pub(crate) fn show(command: &Command) -> String {
    let mut words = vec![command.get_program().to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    format!("`{}`", words.join(" "))
}
