//! The tools of the browser build: wasm-bindgen's library, Tailwind's compiler and esbuild, all at their pinned versions.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, anyhow};
use wasm_bindgen_cli_support::Bindgen;

use super::parts;
use crate::{
    command::{command, quietly},
    paths,
};

/// Scripts that the dashboard loads on demand, by the name under which `starling.load` knows them, and where they start.
pub(crate) const SCRIPTS: [(&str, &str); 2] = [("wallet", "frontend/wallet/connect"), ("session", "frontend/wallet/session")];

/// What is made of the compiled crate.
pub(super) struct Bindings {
    pub(super) js: Vec<u8>,
    /// The module that starts.
    pub(super) wasm: Vec<u8>,
    /// The modules that come later, by their names.
    pub(super) parts: Vec<(String, Vec<u8>)>,
}

/// Cuts the raw wasm into parts, runs wasm-bindgen on the first, and minifies its script together with the loader of the others and the
/// snippets of all crates.
pub(super) fn bindings(wasm: &Path, name: &str) -> Result<Bindings> {
    let folder = paths::target().join("bindings");
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let cut = parts::cut(wasm, &folder, &format!("{name}.js"))?;
    Bindgen::new()
        .input_path(&cut.first)
        .web(true)?
        .typescript(false)
        .out_name(name)
        // The parts use what the linker exports, by the names that it has there.
        .keep_lld_exports(true)
        .demangle(false)
        .remove_name_section(true)
        .remove_producers_section(true)
        .generate(&folder)
        .context("wasm-bindgen failed")?;
    let parts = cut.finish()?;
    let bundled = folder.join("bundled.js");
    esbuild(&folder.join(format!("{name}.js")), &bundled, "esm")?;
    Ok(Bindings { js: fs::read(bundled)?, wasm: parts::smaller(&folder.join(format!("{name}_bg.wasm")))?, parts })
}

/// Compiles `style/main.css` with Tailwind.
pub(super) fn style() -> Result<Vec<u8>> {
    let out = paths::target().join("style.css");
    let mut tailwind = tool("tailwindcss");
    tailwind.arg("--input").arg(paths::root().join("style/main.css")).arg("--output").arg(&out).arg("--minify");
    quietly(&mut tailwind)?;
    Ok(fs::read(out)?)
}

/// Bundles each of [`SCRIPTS`] into `folder` as `NAME.js`, a module.
pub(super) fn scripts(folder: &Path) -> Result<()> {
    SCRIPTS.iter().try_for_each(|(name, start)| esbuild(&script(start)?, &folder.join(format!("{name}.js")), "esm"))
}

/// Builds the development wallet: the script of its window, and the executor that the wallet connector runs in a frame of
/// its own (so not a module).
pub(super) fn development_wallet(folder: &Path) -> Result<()> {
    let source = "frontend/wallet/dev-wallet";
    fs::copy(paths::root().join(source).join("index.html"), folder.join("index.html"))
        .with_context(|| format!("{source}/index.html is missing"))?;
    esbuild(&script(&format!("{source}/wallet"))?, &folder.join("wallet.js"), "esm")?;
    esbuild(&script(&format!("{source}/executor"))?, &folder.join("executor.js"), "iife")
}

/// Puts `NAME.br` beside each script, style and module of `folder`: Brotli at its best takes too long to do again for each answer. Node has it built in.
pub(super) fn compress(folder: &Path) -> Result<()> {
    const SCRIPT: &str = "const fs = require('fs'), zlib = require('zlib'), [folder] = process.argv.slice(1);
        for (const name of fs.readdirSync(folder).filter((name) => /[.](js|css|wasm|svg)$/.test(name))) {
            const bytes = fs.readFileSync(`${folder}/${name}`);
            const options = { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 11, [zlib.constants.BROTLI_PARAM_LGWIN]: 24, [zlib.constants.BROTLI_PARAM_SIZE_HINT]: bytes.length } };
            fs.writeFileSync(`${folder}/${name}.br`, zlib.brotliCompressSync(bytes, options));
        }";
    quietly(command("node").args(["-e", SCRIPT]).arg(folder))
}

/// Inter, variable weight, latin letters.
pub(super) fn font_file() -> PathBuf {
    paths::root().join("node_modules/@fontsource-variable/inter/files/inter-latin-wght-normal.woff2")
}

/// A script's source by its path without ending: TypeScript or JavaScript.
fn script(start: &str) -> Result<PathBuf> {
    ["ts", "js"]
        .iter()
        .map(|ending| paths::root().join(format!("{start}.{ending}")))
        .find(|path| path.exists())
        .ok_or_else(|| anyhow!("{start}.ts (or .js) is missing"))
}

fn esbuild(entry: &Path, out: &Path, format: &str) -> Result<()> {
    let mut esbuild = tool("esbuild");
    esbuild
        .arg(entry)
        .args(["--bundle", "--minify", "--target=es2022", "--charset=utf8", "--log-level=warning"])
        .arg(format!("--format={format}"))
        .arg(format!("--outfile={}", out.display()));
    quietly(&mut esbuild)
}

fn tool(name: &str) -> Command {
    command(paths::root().join("node_modules/.bin").join(name))
}
