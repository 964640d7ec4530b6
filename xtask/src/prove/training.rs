//! The training engine against PyTorch, `transformers` and PEFT from the registry: they compute the reference anew, the
//! tests compare every model with it, and they load what the tests exported.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

use super::Figure;
use crate::{
    command::{command, output, run},
    paths,
};

/// Where what PyTorch computes is described.
pub(crate) const REFERENCE: &str = "crates/training/reference";

pub(super) fn parity() -> Result<Vec<Figure>> {
    let folder = paths::target().join("reference");
    let python = python(&folder)?;
    let script = paths::root().join(REFERENCE).join("reference.py");
    let (reference, exported) = (emptied(folder.join("computed"))?, emptied(folder.join("exported"))?);
    output(command(&python).arg(&script).arg("write").arg(&reference))?;

    let mut cargo = command("cargo");
    cargo.args(["test", "--quiet", "--test", "parity", "--", "--nocapture"]);
    let compared = output(cargo.env("STARLING_REFERENCE", &reference).env("STARLING_EXPORT", &exported))?;
    let loaded = output(command(&python).arg(&script).arg("load").arg(&exported))?;

    let models = fs::read_dir(&reference)?.count();
    let figures: Vec<Figure> = [figures(&compared, "parity "), figures(&loaded, "load ")].concat();
    if models == 0 || figures.len() != 2 * models {
        bail!("{models} models were computed, but {} comparisons are reported: each must be compared and loaded", figures.len());
    }
    let versions = "import torch, transformers, peft; print(torch.__version__, transformers.__version__, peft.__version__)";
    let versions = output(command(&python).args(["-c", versions]))?;
    Ok([vec![Figure::new("PyTorch, transformers, PEFT", versions.trim())], figures].concat())
}

/// The state after 200 steps, in processes with other numbers of threads and narrower vectors.
pub(super) fn bits() -> Result<Vec<Figure>> {
    let mut cargo = command("cargo");
    cargo.args(["test", "--quiet", "--test", "bits", "--", "--nocapture"]);
    let compared = figures(&output(cargo.env("STARLING_BITS_STEPS", "200"))?, "bits ");
    if compared.len() < 4 {
        bail!("only {} states were compared", compared.len());
    }
    Ok(compared)
}

/// The Python that `STARLING_PYTHON` names, or one with the pinned packages below `folder`.
///
/// # Errors
/// Python or the packages cannot be had.
pub(crate) fn python(folder: &Path) -> Result<PathBuf> {
    if let Some(python) = env::var_os("STARLING_PYTHON") {
        return Ok(python.into());
    }
    let python = folder.join("python/bin/python");
    if !python.exists() {
        println!("installing the pinned packages: PyTorch takes about 6 GB");
        run(command("python3").args(["-m", "venv"]).arg(folder.join("python")))?;
    }
    let requirements = paths::root().join(REFERENCE).join("requirements.txt");
    run(command(&python).args(["-m", "pip", "install", "--quiet", "--requirement"]).arg(requirements))?;
    Ok(python)
}

fn emptied(folder: PathBuf) -> Result<PathBuf> {
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Lines `prefix NAME: WHAT`; the test harness may have written before them.
fn figures(text: &str, prefix: &str) -> Vec<Figure> {
    let line = |line: &str| {
        let (_, rest) = line.split_once(prefix)?;
        rest.split_once(": ").map(|(name, what)| Figure::new(format!("{prefix}{name}"), what))
    };
    text.lines().filter_map(line).collect()
}
