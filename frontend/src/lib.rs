//! Starling's dashboard: a single-page application compiled to wasm.

#![expect(unreachable_pub, reason = "the component macro makes its functions public")]

mod api;
mod app;
mod components;
mod pages;
mod screens;

use wasm_bindgen::prelude::wasm_bindgen;

/// Called once by the page's start script, when the module is loaded.
#[wasm_bindgen(start)]
pub fn start() {
    leptos::mount::mount_to_body(app::App);
}
