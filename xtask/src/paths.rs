//! Where things lie in this checkout.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The checkout's top folder: cargo tells a program that it runs where the manifest is; for others it is above them.
pub(crate) fn root() -> PathBuf {
    let here = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from).or_else(|| env::current_dir().ok()).unwrap_or_default();
    here.ancestors().find(|folder| folder.join("xtask/Cargo.toml").exists()).map_or_else(PathBuf::new, Path::to_path_buf)
}

/// Everything that is built goes here.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}

/// Contracts and dashboard are compiled by another compiler and profile than the rest, so they have a folder of their own.
pub(crate) fn wasm_target() -> PathBuf {
    target().join("wasm")
}

/// The contracts' wasm, one file each, as the tests and `starling up` read it.
pub(crate) fn contracts() -> PathBuf {
    target().join("contracts")
}

/// The dashboard as the coordinator serves it.
pub(crate) fn dashboard() -> PathBuf {
    target().join("dashboard")
}

/// The development wallet, which `starling up` serves on an origin of its own.
pub(crate) fn wallet() -> PathBuf {
    target().join("wallet")
}

/// What the page needs beside the compiled crate, for Trunk to copy.
pub(crate) fn assets() -> PathBuf {
    target().join("assets")
}

/// The same with a page, for cargo-leptos to copy.
pub(crate) fn leptos_assets() -> PathBuf {
    target().join("leptos-assets")
}
