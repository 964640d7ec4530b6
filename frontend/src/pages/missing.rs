//! An address that names no screen.

use crate::components::ui::Empty;
use leptos::prelude::*;
use leptos_router::components::A;

#[component]
pub(crate) fn Missing() -> impl IntoView {
    view! {
        <header><div><h1>"There is nothing at this address"</h1></div></header>
        <Empty><p>"The address may be mistyped, or what it named is gone."</p><A href="/" attr:class="button">"Go to Home"</A></Empty>
    }
}
