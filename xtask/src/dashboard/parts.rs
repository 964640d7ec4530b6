//! Cuts the compiled crate apart where its screens begin (`frontend/src/screens.rs`): each part is a module of its own, fetched when it is needed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, anyhow, bail};
use wasm_split_cli_support::{Options, transform};

use super::hashed_name;
use crate::wasm::make_smaller;

/// The script that fetches parts. The first module imports it by this name.
const LOADER: &str = "parts.js";

/// What the compiler and wasm-bindgen use beyond what [`make_smaller`] allows by itself.
const FEATURES: [&str; 2] = ["--enable-multivalue", "--enable-reference-types"];

/// A compiled crate in parts.
pub(super) struct Cut {
    /// The module that starts, for wasm-bindgen.
    pub(super) first: PathBuf,
    parts: Vec<PathBuf>,
    loader: PathBuf,
}

/// Cuts `wasm` apart into `folder`. `script` is the name, in that folder, of what wasm-bindgen will make of the first module.
pub(super) fn cut(wasm: &Path, folder: &Path, script: &str) -> Result<Cut> {
    let bytes = fs::read(wasm).with_context(|| format!("cannot read {}", wasm.display()))?;
    let first = folder.join("first.wasm");
    let script = format!("./{script}");
    let link = format!("./{LOADER}");
    let mut options = Options::new(&bytes);
    options.output_dir = folder;
    options.main_out_path = &first;
    options.main_module = &script;
    options.link_name = &link;
    let made = transform(options).map_err(|error| anyhow!("the dashboard cannot be cut into parts: {error:?}"))?;
    if made.split_modules.is_empty() {
        bail!("no part was cut off the dashboard: is it compiled with its feature `split`?");
    }
    Ok(Cut { first, parts: made.split_modules, loader: folder.join(LOADER) })
}

impl Cut {
    /// Makes the parts smaller and gives them, by names with their digests, which the loader then knows.
    pub(super) fn finish(&self) -> Result<Vec<(String, Vec<u8>)>> {
        let mut loader = fs::read_to_string(&self.loader)?;
        let mut finished = Vec::new();
        for part in &self.parts {
            let name = part.file_name().context("a part has no name")?.to_string_lossy();
            let bytes = smaller(part)?;
            let hashed = hashed_name(&name, &bytes);
            let known = format!("\"./{name}\"");
            if !loader.contains(&known) {
                bail!("the loader does not know the part {name}");
            }
            loader = loader.replace(&known, &format!("\"./{hashed}\""));
            finished.push((hashed, bytes));
        }
        fs::write(&self.loader, loader)?;
        Ok(finished)
    }
}

/// What binaryen makes of a module.
pub(super) fn smaller(module: &Path) -> Result<Vec<u8>> {
    let to = module.with_extension("small.wasm");
    make_smaller(module, &to, &FEATURES)?;
    Ok(fs::read(to)?)
}
