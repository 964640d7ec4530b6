//! The screens.

pub(crate) mod billing;
pub(crate) mod code;
pub(crate) mod compute;
pub(crate) mod home;
pub(crate) mod lease;
pub(crate) mod market;
pub(crate) mod missing;
pub(crate) mod models;
pub(crate) mod network;
pub(crate) mod own;
pub(crate) mod provider;
pub(crate) mod publish;
pub(crate) mod ratings;
pub(crate) mod rent;
pub(crate) mod run;
pub(crate) mod train;
pub(crate) mod uses;

use leptos::{prelude::*, task::spawn_local};
use leptos_router::hooks::use_params_map;
use std::{future::Future, time::Duration};

/// Asks again and again while the screen is there; `None` before the first answer.
pub(crate) fn polled<T, F>(
    every: Duration,
    ask: impl Fn() -> F + Clone + 'static,
) -> (RwSignal<Option<T>>, RwSignal<Option<crate::api::Failure>>)
where
    T: Clone + PartialEq + Send + Sync + 'static,
    F: Future<Output = crate::api::Outcome<T>> + 'static,
{
    polled_until(every, ask, || false)
}

/// As [`polled`], until there is an answer and nothing more will come.
pub(crate) fn polled_until<T, F>(
    every: Duration,
    ask: impl Fn() -> F + Clone + 'static,
    over: impl Fn() -> bool + Clone + 'static,
) -> (RwSignal<Option<T>>, RwSignal<Option<crate::api::Failure>>)
where
    T: Clone + PartialEq + Send + Sync + 'static,
    F: Future<Output = crate::api::Outcome<T>> + 'static,
{
    let (value, failure) = (RwSignal::new(None), RwSignal::new(None));
    let again = move || value.try_get_untracked().is_some_and(|known: Option<T>| known.is_none()) || !over();
    let once = move || {
        let answer = ask();
        spawn_local(async move {
            match answer.await {
                Ok(answer) => {
                    failure.try_set(None);
                    if value.try_get_untracked().is_some_and(|known| known.as_ref() != Some(&answer)) {
                        value.try_set(Some(answer));
                    }
                }
                Err(error) => drop(failure.try_set(Some(error))),
            }
        });
    };
    // Runs again when what `ask` reads changes, such as the network's address.
    Effect::new({
        let once = once.clone();
        move |_| once()
    });
    if let Ok(handle) = set_interval_with_handle(
        move || {
            if again() {
                once();
            }
        },
        every,
    ) {
        on_cleanup(move || handle.clear());
    }
    (value, failure)
}

/// A part of the address, read once.
pub(crate) fn param(name: &str) -> String {
    use_params_map().with_untracked(|map| map.get(name)).unwrap_or_default()
}
