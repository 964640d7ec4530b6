//! What the hubs share: filters that live in the address, pages, choices.

use leptos::prelude::*;
use leptos_router::{
    NavigateOptions,
    hooks::{use_location, use_navigate, use_query_map},
};
use starling_browse::{Choice, Page};

/// The values of the address, as the pure rules read them.
#[derive(Clone, Copy)]
pub(crate) struct Address {
    query: Memo<leptos_router::params::ParamsMap>,
    go: StoredValue<Box<dyn Fn(String) + Send + Sync>>,
}

impl Address {
    /// The address of the screen.
    pub(crate) fn here() -> Self {
        let (navigate, path) = (use_navigate(), use_location().pathname);
        let go = move |query: String| {
            let path = path.get_untracked();
            let address = if query.is_empty() { path } else { format!("{path}?{query}") };
            navigate(&address, NavigateOptions { replace: true, scroll: false, ..Default::default() });
        };
        Self { query: use_query_map(), go: StoredValue::new(Box::new(go)) }
    }

    /// A value; empty if it does not stand there. Followed by what reads it.
    pub(crate) fn value(self, name: &str) -> String {
        self.query.with(|query| query.get(name).unwrap_or_default())
    }

    /// What a pure rule reads of it.
    pub(crate) fn read<T>(self, read: impl FnOnce(starling_browse::Address<'_>) -> T) -> T {
        self.query.with(|query| read(&|name| query.get(name)))
    }

    /// Goes to the address that says this; values under `kept` names stay as they are.
    pub(crate) fn say(self, pairs: &[(&'static str, String)], kept: &[&'static str]) {
        let kept = kept.iter().map(|name| (*name, self.query.with_untracked(|query| query.get(name).unwrap_or_default())));
        let encode = |text: &str| js_sys::encode_uri_component(text).as_string().unwrap_or_default();
        let said = pairs.iter().cloned().chain(kept).filter(|(_, value)| !value.is_empty());
        let query = said.map(|(name, value)| format!("{name}={}", encode(&value))).collect::<Vec<_>>().join("&");
        self.go.with_value(|go| go(query));
    }
}

/// A choice of a fixed list as a select field.
#[component]
pub(crate) fn Choose<C: Choice + Send + Sync>(
    label: &'static str,
    #[prop(into)] value: Signal<C>,
    choose: impl Fn(C) + 'static,
) -> impl IntoView {
    view! {
        <label class="field">{label}
            <select prop:value=move || value.get().name() on:change:target=move |event| choose(C::named(&event.target().value()))>
                {C::ALL.iter().map(|(choice, name, words)| { let choice = *choice; view! { <option value=*name selected=move || value.get() == choice>{*words}</option> }}).collect_view()}
            </select>
        </label>
    }
}

/// Where one is in a list of several pages, and the way to the others.
#[component]
pub(crate) fn Pager<T: Clone + Send + Sync + 'static>(
    page: Page<T>,
    /// What one item and what several are called with their verb.
    what: [&'static str; 2],
    go: impl Fn(usize) + Clone + 'static,
) -> impl IntoView {
    let (number, pages, total) = (page.number, page.pages, page.total);
    let (back, on) = (go.clone(), go);
    view! {
        <div class="row between">
            <p class="faint num" role="status">{format!("{total} {}", if total == 1 { what[0] } else { what[1] })}</p>
            {(pages > 1).then(|| view! {
                <nav class="row" aria-label="Pages">
                    <button type="button" class="button small" disabled=number == 1 on:click=move |_| back(number - 1)>"Earlier"</button>
                    <span class="num soft">{format!("page {number} of {pages}")}</span>
                    <button type="button" class="button small" disabled=number == pages on:click=move |_| on(number + 1)>"Later"</button>
                </nav>
            })}
        </div>
    }
}
