//! An address that names no screen.

use leptos::prelude::*;
use leptos_router::components::A;

#[component]
pub(crate) fn Missing() -> impl IntoView {
    view! {
        <header><div><h1>"There is nothing at this address"</h1><p>"The address may be mistyped, or what it named is gone."</p></div></header>
        <p><A href="/">"Go to Home"</A></p>
    }
}
