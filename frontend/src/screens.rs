//! The screens whose code comes when someone goes there.
//!
//! With the feature `split`, xtask cuts the compiled module apart at these functions; the screens of one part come together.
//! Without it, which is how Trunk and cargo-leptos build, all code is in one module and every screen is there at once.

use crate::{
    api::Failure,
    components::{self, ui::Problem},
    pages,
};
use leptos::{prelude::*, task::spawn_local, wasm_split::SplitLoaderError};
use std::{future::Future, pin::Pin};

/// Makes a screen.
type Screen = fn() -> AnyView;
type Brought = Result<Screen, SplitLoaderError>;

/// Where the code of a screen is.
#[derive(Clone, Copy)]
enum Code {
    Coming,
    Here(Screen),
    Away,
}

/// For each screen a view for its route, and the function that brings its code.
macro_rules! screens {
    ($($part:ident: $($view:ident by $bring:ident = $component:path),+;)+) => {$($(
        #[cfg(feature = "split")]
        #[leptos::wasm_split::wasm_split($part, fallible, wasm_split_path = ::leptos::wasm_split)]
        fn $bring() -> Brought {
            Ok(|| $component().into_any())
        }

        #[cfg(not(feature = "split"))]
        async fn $bring() -> Brought {
            Ok(|| $component().into_any())
        }

        #[component]
        pub(crate) fn $view() -> impl IntoView {
            later(|| Box::pin($bring()))
        }
    )+)+};
}

screens! {
    hub:
        Models by models = pages::models::Models,
        Model by model = pages::models::Model,
        Publish by publish = pages::publish::Publish,
        Market by market = pages::market::Market,
        Item by item = pages::market::Item,
        PublishTool by publish_tool = pages::market::PublishTool;
    compute:
        Compute by compute = pages::compute::Compute,
        Rent by rent = pages::rent::Rent,
        Provider by provider = pages::provider::Provider,
        Lease by lease = pages::lease::Lease,
        RunCode by run_code = pages::code::Code;
    training:
        Train by train = pages::train::Train,
        Run by run = pages::run::Run;
    account:
        Billing by billing = pages::billing::Billing,
        Network by network = pages::network::Network;
    palette:
        Palette by palette = components::palette::Palette;
}

/// An empty place of a screen's size until its code is here; a way to try again where it does not come.
fn later(bring: fn() -> Pin<Box<dyn Future<Output = Brought>>>) -> impl IntoView {
    let code = RwSignal::new(Code::Coming);
    let ask = move || {
        code.set(Code::Coming);
        spawn_local(async move {
            let brought = bring().await.map_or(Code::Away, Code::Here);
            // Nobody waits for it any more if the person went elsewhere.
            code.try_set(brought);
        });
    };
    ask();
    move || {
        match code.get() {
        Code::Coming => view! { <div class="skeleton" style="height: 70vh" aria-busy="true"></div> }.into_any(),
        Code::Here(screen) => untrack(screen),
        Code::Away => view! {
            <Problem failure=Failure::new("screen_away", "This screen could not be loaded. Try again; if it still does not come, reload the page: the dashboard may have been renewed.") />
            <div class="row">
                <button class="button primary" on:click=move |_| ask()>"Try again"</button>
                <button class="button" on:click=move |_| drop(window().location().reload())>"Reload the page"</button>
            </div>
        }
        .into_any(),
    }
    }
}
