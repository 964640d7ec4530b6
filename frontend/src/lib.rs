//! Starling's dashboard: a single-page application compiled to wasm.

use leptos::prelude::*;
use wasm_bindgen::prelude::wasm_bindgen;

/// Called once by the page's start script, when the module is loaded.
#[wasm_bindgen(start)]
pub fn start() {
    mount_to_body(|| view! { <main class="p-4"><h1>"Starling"</h1></main> });
}
