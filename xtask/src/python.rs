//! Tools of Python's registry, each in a folder of its own.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};

use crate::{
    command::{command, output},
    paths,
};

/// Asks an API what its document allows and what it does not.
pub(crate) const SCHEMATHESIS: &str = "schemathesis==4.32.5";

/// Installs `NAME==VERSION` into `target/NAME` unless it is there; gives the folder of its programs.
///
/// # Errors
/// Python has no `venv`, or the registry does not answer.
pub(crate) fn install(requirement: &str) -> Result<PathBuf> {
    let name = requirement.split("==").next().unwrap_or(requirement);
    let folder = paths::target().join(name);
    let (programs, stamp) = (folder.join("bin"), folder.join("installed"));
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == requirement) {
        return Ok(programs);
    }
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    output(command("python3").args(["-m", "venv"]).arg(&folder)).context("`./bootstrap setup test` installs what Python lacks")?;
    output(command(programs.join("pip")).args(["install", "--quiet", "--disable-pip-version-check", requirement]))?;
    fs::write(stamp, requirement)?;
    Ok(programs)
}
