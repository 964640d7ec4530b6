//! Amounts, ages, ids, problems: small parts with one way of looking.

use crate::{
    api::{Failure, tokens},
    app::shared,
};
use leptos::{prelude::*, task::spawn_local};
use starling_primitives::{Amount, Asset, TimestampMs};
use wasm_bindgen_futures::JsFuture;

/// An amount of NEAR: four places, every digit one click away.
#[component]
pub(crate) fn Near(#[prop(into)] amount: Signal<Amount>) -> impl IntoView {
    view! { <Money asset=Asset::Near amount /> }
}

/// An amount of any asset: four places, every digit and a token's contract one click away.
#[component]
pub(crate) fn Money(asset: Asset, #[prop(into)] amount: Signal<Amount>) -> impl IntoView {
    let tokens = shared().tokens;
    let exact = RwSignal::new(false);
    let asset = StoredValue::new(asset);
    let all = move || tokens.with(|tokens| asset.with_value(|asset| tokens::exact(tokens, asset, amount.get())));
    let words = move || tokens.with(|tokens| asset.with_value(|asset| tokens::words(tokens, asset, amount.get())));
    view! { <button type="button" class="num" title=all on:click=move |_| exact.update(|exact| *exact = !*exact)>{move || if exact.get() { all() } else { words() }}</button> }
}

/// A part of a whole as words that name what it is counted in once.
pub(crate) fn of_at_most(part: &str, whole: &str) -> String {
    let number = whole.strip_prefix("less than ").unwrap_or(whole);
    let unit = number.find(' ').map_or("", |end| &number[end..]);
    format!("{} of at most {whole}", part.strip_suffix(unit).unwrap_or(part))
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A moment to the second, in the browser's own time.
pub(crate) fn exact_time(at: TimestampMs) -> String {
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 have room in a float")]
    let date = js_sys::Date::new(&wasm_bindgen::JsValue::from_f64(at.0 as f64));
    // By hand: a locale's own words take a hundred times as long, and a list has many ages.
    let month = usize::try_from(date.get_month()).ok().and_then(|month| MONTHS.get(month)).copied().unwrap_or_default();
    let (hours, minutes, seconds) = (date.get_hours(), date.get_minutes(), date.get_seconds());
    format!("{} {month} {}, {hours:02}:{minutes:02}:{seconds:02}", date.get_date(), date.get_full_year())
}

/// How long ago, kept current, with the exact time on hover.
#[component]
pub(crate) fn Ago(#[prop(into)] at: Signal<Option<TimestampMs>>) -> impl IntoView {
    let clock = shared().clock;
    view! { <span class="faint num" title=move || at.get().map(exact_time)>{move || at.get().map_or_else(|| "never".to_owned(), |at| format!("{} ago", clock.get().since(at)))}</span> }
}

/// An id, shortened in the middle, copied by a click.
#[component]
pub(crate) fn Id(
    #[prop(into)] text: String,
    /// What is shown in its place.
    #[prop(optional)]
    label: Option<&'static str>,
) -> impl IntoView {
    let copied = RwSignal::new(false);
    let short = if let Some(label) = label {
        label.to_owned()
    } else if text.len() > 20 && text.is_ascii() {
        format!("{}…{}", &text[..8], &text[text.len() - 6..])
    } else {
        text.clone()
    };
    let whole = text.clone();
    let copy = move |_| {
        let text = text.clone();
        spawn_local(async move {
            let Some(window) = web_sys::window() else { return };
            if JsFuture::from(window.navigator().clipboard().write_text(&text)).await.is_ok() {
                copied.set(true);
                set_timeout(move || copied.set(false), std::time::Duration::from_secs(2));
            }
        });
    };
    let class = if label.is_some() { "button small" } else { "mono" };
    view! { <button type="button" class=class title=format!("{whole} (click to copy)") on:click=copy>{move || if copied.get() { "copied".to_owned() } else { short.clone() }}</button> }
}

/// What went wrong, with its code to copy.
#[component]
pub(crate) fn Problem(failure: Failure) -> impl IntoView {
    view! {
        <div class="note bad" role="alert">
            <p>{failure.what}</p>
            <p class="faint">"Code: "<Id text=failure.code /></p>
        </div>
    }
}

/// A failure that may be there.
#[component]
pub(crate) fn MaybeProblem(failure: RwSignal<Option<Failure>>) -> impl IntoView {
    move || failure.get().map(|failure| view! { <Problem failure /> })
}

/// A list that is empty: what would fill it.
#[component]
pub(crate) fn Empty(children: Children) -> impl IntoView {
    view! {
        <div class="empty">
            <svg class="flock" viewBox="0 0 120 40" width="120" height="40" aria-hidden="true">
                {[(8, 26), (22, 18), (30, 29), (42, 12), (50, 23), (60, 17), (66, 30), (78, 10), (84, 22), (96, 16), (108, 25)].map(|(x, y)| view! { <circle cx=x cy=y r="2" /> }).collect_view()}
            </svg>
            {children()}
        </div>
    }
}

/// The head of a page whose own words have not come yet.
#[component]
pub(crate) fn Coming(#[prop(into)] title: String) -> impl IntoView {
    view! {
        <header><div><h1>{title}</h1></div></header>
        <div class="skeleton" style="height: 200px" aria-hidden="true"></div>
    }
}

/// What only someone who is signed in sees.
#[component]
pub(crate) fn NeedsLogin(what: &'static str, children: ChildrenFn) -> impl IntoView {
    let shared = shared();
    move || {
        match shared.account() {
        Some(_) => children().into_any(),
        None => view! { <Empty><p>{format!("Sign in to {what}.")}</p><button class="button primary" on:click=move |_| shared.signing_in.set(true)>"Sign in"</button></Empty> }.into_any(),
    }
    }
}

/// A part of a whole as a bar with words.
#[component]
pub(crate) fn Ceiling(
    #[prop(into)] part: Signal<Amount>,
    whole: Amount,
    #[prop(default = Asset::Near)] asset: Asset,
    #[prop(default = "Earned against the ceiling")] label: &'static str,
) -> impl IntoView {
    let shared = shared();
    let percent = move || part.get().0.saturating_mul(100).checked_div(whole.0).unwrap_or(0).min(100);
    view! {
        <div class="stack">
            <p class="num">{move || of_at_most(&shared.words(&asset, part.get()), &shared.words(&asset, whole))}</p>
            <div class="meter" role="meter" aria-valuemin="0" aria-valuemax="100" aria-valuenow=move || percent().to_string() aria-label=label><div style:width=move || format!("{}%", percent())></div></div>
        </div>
    }
}

/// Offers bytes as a file.
pub(crate) fn save(bytes: &[u8], name: &str) -> Option<()> {
    use wasm_bindgen::JsCast as _;
    let parts = js_sys::Array::of1(&js_sys::Uint8Array::from(bytes));
    let blob = web_sys::Blob::new_with_u8_array_sequence(&parts).ok()?;
    let url = web_sys::Url::create_object_url_with_blob(&blob).ok()?;
    let anchor: web_sys::HtmlAnchorElement = web_sys::window()?.document()?.create_element("a").ok()?.dyn_into().ok()?;
    anchor.set_href(&url);
    anchor.set_download(name);
    anchor.click();
    web_sys::Url::revoke_object_url(&url).ok()
}

/// The bytes of the file that a person chose.
pub(crate) async fn chosen_file(input: &web_sys::HtmlInputElement) -> Option<(String, Vec<u8>)> {
    let file = input.files()?.get(0)?;
    let buffer = JsFuture::from(file.array_buffer()).await.ok()?;
    Some((file.name(), js_sys::Uint8Array::new(&buffer).to_vec()))
}
