//! The lean build of the dashboard and of the development wallet: cargo, wasm-bindgen as a library, Tailwind, esbuild.
//!
//! Trunk and cargo-leptos build the same crate from the same page, style and bundles; [`assets`] makes for them what they
//! cannot make themselves.

mod bundle;
mod page;
mod parts;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, Result};

use crate::{
    command::run,
    freshness::{Inputs, files_below, is_fresh, short_digest},
    paths,
    toolchain::{WASM_TARGET, WasmToolchain},
};

const CRATE: &str = "starling-frontend";

/// Leptos then forgets the type of each component: what would be compiled once for each place is compiled once.
const SMALLER: &str = r#""--cfg", "erase_components""#;

/// Builds `target/dashboard`, served by the coordinator, and `target/wallet`, served on an origin of its own.
///
/// Does nothing but ask cargo when no input has changed. A folder is replaced whole, so a half-built one is never served.
pub(crate) fn build() -> Result<()> {
    let started = Instant::now();
    let wasm = compile()?;
    let digest = inputs(&wasm)?;
    let stamp = paths::target().join("dashboard.made-from");
    if is_fresh(&stamp, &digest) && paths::dashboard().exists() && paths::wallet().exists() {
        println!("dashboard unchanged");
        return Ok(());
    }
    let _ = fs::remove_file(&stamp);

    assets()?;
    let bindings = bundle::bindings(&wasm, "starling")?;
    let style = bundle::style()?;
    replace(&paths::dashboard(), |folder| {
        copy_folder(&paths::assets(), folder)?;
        for (name, part) in &bindings.parts {
            fs::write(folder.join(name), part)?;
        }
        page::write(folder, &page::Parts { bindings: &bindings.js, module: &bindings.wasm, style: &style })?;
        bundle::compress(folder)
    })?;
    replace(&paths::wallet(), |folder| {
        copy_folder(&paths::assets().join("fonts"), &folder.join("fonts"))?;
        fs::write(folder.join("style.css"), &style)?;
        bundle::development_wallet(folder)
    })?;
    fs::write(&stamp, digest)?;
    let later: usize = bindings.parts.iter().map(|(_, part)| part.len()).sum();
    println!(
        "dashboard {} bytes of wasm, {later} more in {} parts that come later, {} of style, in {:.1} s",
        bindings.wasm.len(),
        bindings.parts.len(),
        style.len(),
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

/// Makes `target/assets` (static files, fonts, start script, bundles; names without hashes), which Trunk copies, and
/// `target/leptos-assets`, the same with a page for cargo-leptos, which makes none.
pub(crate) fn assets() -> Result<()> {
    let frontend = paths::root().join("frontend");
    replace(&paths::assets(), |folder| {
        copy_folder(&frontend.join("public"), folder)?;
        fs::copy(frontend.join("boot.js"), folder.join("boot.js"))?;
        fs::create_dir_all(folder.join("fonts"))?;
        fs::copy(bundle::font_file(), folder.join("fonts/inter.woff2")).context("the font is missing: run `./bootstrap setup`")?;
        bundle::scripts(folder)
    })?;
    replace(&paths::leptos_assets(), |folder| {
        copy_folder(&paths::assets(), folder)?;
        // It refuses assets with an `index.html`; the coordinator knows this name too.
        fs::write(folder.join("page.html"), page::for_leptos()?)?;
        Ok(())
    })
}

/// Compiles the crate and returns the raw wasm's path.
fn compile() -> Result<PathBuf> {
    let mut cargo = WasmToolchain::find()?.cargo();
    cargo.args(["--config", &format!("target.{WASM_TARGET}.rustflags=[{SMALLER}]")]);
    cargo.args([
        "rustc",
        "--quiet",
        "--profile",
        "browser",
        "--target",
        WASM_TARGET,
        "--package",
        CRATE,
        "--lib",
        "--crate-type",
        "cdylib",
    ]);
    // Where it is cut apart, the linker's relocations say what needs what.
    cargo.args(["--features", "split", "--", "-Clink-arg=--emit-relocs"]);
    run(&mut cargo)?;
    Ok(paths::wasm_target().join(WASM_TARGET).join("browser/starling_frontend.wasm"))
}

fn inputs(wasm: &Path) -> Result<String> {
    let root = paths::root();
    let mut inputs = Inputs::default().path(wasm)?;
    for part in ["frontend", "style", "package-lock.json", "xtask/src/dashboard"] {
        inputs = inputs.path(&root.join(part))?;
    }
    Ok(inputs.digest())
}

/// Fills a new folder beside `folder`, then puts it in its place.
fn replace(folder: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let fresh = folder.with_extension("new");
    remove(&fresh)?;
    fs::create_dir_all(&fresh)?;
    fill(&fresh)?;
    remove(folder)?;
    fs::rename(&fresh, folder).with_context(|| format!("cannot put {} in place", folder.display()))
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for file in files_below(from)? {
        let target = to.join(file.strip_prefix(from)?);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::copy(&file, &target).with_context(|| format!("cannot copy {}", file.display()))?;
    }
    Ok(())
}

/// `name.ext` with its content's digest before the ending: such a file may be cached for ever.
fn hashed_name(name: &str, bytes: &[u8]) -> String {
    let (stem, ending) = name.rsplit_once('.').unwrap_or((name, "bin"));
    format!("{stem}-{}.{ending}", short_digest(bytes))
}
