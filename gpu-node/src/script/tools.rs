//! What scripts need of this machine beside the sandbox: Python, the helpers, and `uv` for their environments.

use crate::files;
use starling_scripts::{HELPER, NOTEBOOK_RUNNER};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// The Python that scripts run with; what is below /usr is visible inside.
pub(super) const PYTHON: &str = "/usr/bin/python3";
/// The version of `uv` with the hashes of its wheels, as pip reads it.
const UV: &str = include_str!("uv.txt");

/// Where they are.
#[derive(Debug)]
pub(super) struct Tools {
    /// The folder of `starling_job.py`, `starling_notebook.py`, and `bin` with `python`.
    pub(super) helpers: PathBuf,
    /// `Python 3.11.2` and the like.
    pub(super) python_version: String,
    folder: PathBuf,
    uv: Option<PathBuf>,
}

impl Tools {
    /// Writes the helpers and asks for Python's version.
    ///
    /// # Errors
    /// What is missing and how to mend it.
    pub(super) fn prepare(folder: &Path, uv: Option<&Path>) -> Result<Self, String> {
        let helpers = folder.join("helpers");
        write_helpers(&helpers).map_err(|error| format!("the folder {} cannot be written: {error}", helpers.display()))?;
        let missing = || format!("{PYTHON} does not run: install it with `apt-get install python3`");
        let said = Command::new(PYTHON).args(["-I", "--version"]).stdin(Stdio::null()).output().map_err(|_| missing())?;
        if !said.status.success() {
            return Err(missing());
        }
        let python_version = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        Ok(Self { helpers, python_version, folder: folder.to_owned(), uv: uv.map(Path::to_owned) })
    }

    /// The program `uv`: the owner's, or the pinned one, which is installed at its first use. Its wheel's hash is checked by pip.
    ///
    /// # Errors
    /// Why it cannot be had and how to mend it.
    pub(super) fn uv(&self) -> Result<PathBuf, String> {
        if let Some(uv) = &self.uv {
            return if uv.is_file() {
                Ok(uv.clone())
            } else {
                Err(format!("there is no {}: mend `uv` under [scripts] in node.toml", uv.display()))
            };
        }
        let version = UV.split_whitespace().next().unwrap_or("uv").replace("==", "-");
        let (place, part) = (self.folder.join(&version), self.folder.join(format!("{version}.new")));
        let program = place.join("bin/uv");
        if program.is_file() {
            return Ok(program);
        }
        let disk = |error: io::Error| format!("{} cannot be written: {error}", part.display());
        remove_folder(&part).map_err(disk)?;
        fs::create_dir_all(&part).map_err(disk)?;
        let list = self.folder.join("uv.txt");
        files::write_atomic(&list, UV.as_bytes()).map_err(disk)?;
        let said = Command::new("python3")
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                "--no-deps",
                "--only-binary",
                ":all:",
                "--require-hashes",
                "--target",
            ])
            .arg(&part)
            .arg("-r")
            .arg(&list)
            .stdin(Stdio::null())
            .output();
        let mend = "install pip (`apt-get install python3-pip`), or uv yourself, and name it as `uv` under [scripts] in node.toml";
        match said {
            Ok(said) if said.status.success() => {}
            Ok(said) => {
                let text = String::from_utf8_lossy(&said.stderr);
                return Err(format!("uv could not be installed: {}; {mend}", text.lines().last().unwrap_or("pip said nothing")));
            }
            Err(error) => return Err(format!("uv could not be installed: {error}; {mend}")),
        }
        allow(&part.join("bin/uv"), 0o755).map_err(disk)?;
        fs::rename(&part, &place).map_err(disk)?;
        Ok(program)
    }
}

fn write_helpers(folder: &Path) -> io::Result<()> {
    let bin = folder.join("bin");
    fs::create_dir_all(&bin)?;
    for (name, text) in [("starling_job.py", HELPER), ("starling_notebook.py", NOTEBOOK_RUNNER)] {
        files::write_atomic(&folder.join(name), text.as_bytes())?;
        allow(&folder.join(name), 0o644)?;
    }
    allow(folder, 0o755)?;
    allow(&bin, 0o755)?;
    #[cfg(unix)]
    {
        let python = bin.join("python");
        files::remove_if_there(&python)?;
        std::os::unix::fs::symlink(PYTHON, python)?;
    }
    Ok(())
}

/// Device files of the graphics processors that lie here.
pub(super) fn gpu_devices() -> Vec<PathBuf> {
    let is_gpu = |name: &str| {
        name.strip_prefix("nvidia")
            .is_some_and(|rest| rest == "ctl" || rest.starts_with("-uvm") || rest.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let entries = fs::read_dir("/dev").into_iter().flatten().flatten();
    let mut devices: Vec<PathBuf> =
        entries.filter(|entry| entry.file_name().to_str().is_some_and(is_gpu)).map(|entry| entry.path()).collect();
    devices.sort();
    if devices.iter().any(|device| device.ends_with("nvidia0")) { devices } else { Vec::new() }
}

/// Removes a folder that may be gone already.
pub(super) fn remove_folder(folder: &Path) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Sets who may read, write and enter.
#[cfg(unix)]
pub(super) fn allow(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
}

/// Sets who may read, write and enter.
#[cfg(not(unix))]
pub(super) fn allow(_: &Path, _: u32) -> io::Result<()> {
    Ok(())
}
