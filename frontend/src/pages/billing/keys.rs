//! Session keys: making one for this browser, what each may still spend without a confirmation, ending one, signing out everywhere.

use super::Held;
use crate::{
    api::{
        Failure, Outcome,
        session::{self, Cost},
    },
    app::{Shared, shared},
    components::ui::{Ceiling, Id, MaybeProblem, Near},
};
use leptos::{prelude::*, task::spawn_local};
use starling_primitives::{Amount, DurationMs, PublicKey};
use starling_protocol::session_key::{MAX_KEYS, SessionKey};

/// For how long a key may be, in days, as the form names it.
const LIFETIMES: [(u64, &str); 3] = [(1, "A day"), (7, "A week"), (30, "30 days")];

#[component]
pub(super) fn Keys(held: Memo<Option<Held>>) -> impl IntoView {
    let shared = shared();
    let keys = Memo::new(move |_| held.get().map(|held| held.record.map(|record| record.keys).unwrap_or_default()));
    view! {
        <section id="session-keys" class="stack" aria-label="Session keys"><h2>"Session keys"</h2>
            {move || match keys.get() {
                None => view! { <div class="skeleton" style="height: 48px" aria-hidden="true"></div> }.into_any(),
                Some(keys) if keys.is_empty() => view! { <p class="soft">"No key may spend your balance without your wallet asking. A key of this browser, or of a program that you gave one, appears here with its cap and what it has used of it."</p> }.into_any(),
                Some(keys) => view! { <div class="cards">{keys.into_iter().map(|(public_key, key)| view! { <KeyCard public_key key /> }).collect_view()}</div> }.into_any(),
            }}
            {move || (shared.own_key.get().is_none() && keys.get().is_some_and(|keys| keys.len() < MAX_KEYS)).then(|| view! { <NewKey held /> })}
            <Everywhere keys />
        </section>
    }
}

/// Makes a key for this browser: a cap, a time, one approval.
#[component]
fn NewKey(held: Memo<Option<Held>>) -> impl IntoView {
    let shared = shared();
    let (cap, days) = (RwSignal::new("5".to_owned()), RwSignal::new("7".to_owned()));
    let (failure, busy, cost) = (RwSignal::new(None::<Failure>), RwSignal::new(false), RwSignal::new(None::<Cost>));
    let parsed = Memo::new(move |_| Amount::parse_near(cap.get().trim()).ok().filter(|cap| !cap.is_zero()));
    let record = Memo::new(move |_| held.get().map(|held| held.record));
    Effect::new(move |_| {
        let (Some(network), Some(cap), Some(record)) = (shared.network.get(), parsed.get(), record.get()) else { return cost.set(None) };
        spawn_local(async move {
            cost.try_set(session::cost(&network, record.as_ref(), cap).await.ok());
        });
    });
    let allow = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        busy.set(true);
        failure.set(None);
        spawn_local(async move {
            failure.try_set(create(shared, parsed.get_untracked(), &days.get_untracked()).await.err());
            busy.try_set(false);
            shared.refresh_balance();
        });
    };
    view! {
        <form class="card" aria-label="Pay without asking" on:submit=allow>
            <h3>"Pay without asking, up to a cap"</h3>
            <p class="soft">"This browser gets a key of its own. Until the cap is used up or the time is over, rents, training and licences are paid from your balance with no wallet window. The key never withdraws, and the cap is the most that can be lost with it."</p>
            <div class="row filters">
                <label class="field">"Cap, NEAR"<input inputmode="decimal" name="cap" autocomplete="off" required prop:value=move || cap.get() on:input:target=move |event| cap.set(event.target().value()) /></label>
                <label class="field">"For"<select prop:value=move || days.get() on:change:target=move |event| days.set(event.target().value())>{LIFETIMES.map(|(value, word)| view! { <option value=value selected=value == 7>{word}</option> })}</select></label>
            </div>
            {move || cost.get().map(|cost| view! { <p class="faint">
                {if cost.top_up.is_zero() { view! { "Your balance holds the cap already. " }.into_any() } else { view! { <Near amount=cost.top_up />" goes from your wallet onto your balance, so that it holds the cap. " }.into_any() }}
                {(!cost.storage.is_zero()).then(|| view! { <Near amount=cost.storage />" is put down for the key's record, and free again when it ends." })}
            </p> })}
            <MaybeProblem failure />
            <div class="row"><button class="button" disabled=move || busy.get() || parsed.get().is_none()>{move || match (busy.get(), parsed.get()) {
                (true, _) => "Waiting for your wallet".to_owned(),
                (false, Some(cap)) => format!("Allow up to {}", cap.display_near()),
                (false, None) => "Write a cap above 0".to_owned(),
            }}</button></div>
        </form>
    }
}

async fn create(shared: Shared, cap: Option<Amount>, days: &str) -> Outcome<()> {
    let (network, account) = shared.signed_in()?;
    let cap = cap.ok_or_else(|| Failure::new("cap", "Write a cap above 0. Nothing was signed."))?;
    let days = days.parse().ok().filter(|days| LIFETIMES.iter().any(|(known, _)| known == days));
    let days = days.ok_or_else(|| Failure::new("days", "Choose for how long. Nothing was signed."))?;
    session::create(&network, &account, cap, DurationMs::from_days(days)).await
}

/// Ends all sessions of the account, and the right of every key to spend.
#[component]
fn Everywhere(keys: Memo<Option<Vec<(PublicKey, SessionKey)>>>) -> impl IntoView {
    let shared = shared();
    let failure = RwSignal::new(None::<Failure>);
    let many = move || keys.get().map_or(0, |keys| keys.len());
    let out = move |_| {
        let all: Vec<PublicKey> = keys.get_untracked().unwrap_or_default().into_iter().map(|(key, _)| key).collect();
        spawn_local(async move {
            // The keys first: that needs the wallet, which signing out lets go.
            let ended = match (shared.signed_in(), all.is_empty()) {
                (Ok((network, account)), false) => session::end(&network, &account, &all).await,
                _ => Ok(()),
            };
            match ended {
                Ok(()) => drop(failure.try_set(shared.sign_out(true).await.err())),
                Err(problem) => drop(failure.try_set(Some(problem))),
            }
        });
    };
    view! {
        <div class="row between">
            <p class="faint">{move || match many() {
                _ if keys.with(Option::is_none) => "Your session keys are not read yet: signing out everywhere ends their right to spend too.".to_owned(),
                0 => "Signing out everywhere ends your sessions in all browsers.".to_owned(),
                1 => "Signing out everywhere ends your sessions in all browsers, and this key's right to spend, with one approval.".to_owned(),
                many => format!("Signing out everywhere ends your sessions in all browsers, and the right of these {many} keys to spend, with one approval."),
            }}</p>
            <button class="button small danger" disabled=move || keys.with(Option::is_none) on:click=out>"Sign out everywhere"</button>
        </div>
        <MaybeProblem failure />
    }
}

#[component]
fn KeyCard(public_key: PublicKey, key: SessionKey) -> impl IntoView {
    let shared = shared();
    let failure = RwSignal::new(None::<Failure>);
    let expires_at = key.expires_at;
    let expired = move || shared.clock.get() >= expires_at;
    let here = move || shared.own_key.get().is_some_and(|own| own.key == public_key);
    let end = move |_| {
        spawn_local(async move {
            let ended = match shared.signed_in() {
                Ok((network, account)) => session::end(&network, &account, &[public_key]).await,
                Err(nobody) => Err(nobody),
            };
            failure.try_set(ended.err());
            shared.refresh_balance();
        });
    };
    let targets = key.targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    view! {
        <article class="card" aria-label="Session key">
            <div class="row between"><Id text=public_key.to_string() /><span class=move || if expired() { "chip" } else { "chip good" }>{move || if expired() { "expired" } else { "may spend" }}</span></div>
            {move || here().then(|| view! { <p><strong>"This browser's key."</strong>" It pays without a wallet window."</p> })}
            <Ceiling part=key.spent whole=key.cap label="Spent against the cap" />
            <dl class="pairs"><dt>"May pay"</dt><dd class="mono">{targets}</dd><dt>"Until"</dt><dd>{move || if expired() { "its time is over".to_owned() } else { format!("{} from now", expires_at.since(shared.clock.get())) }}</dd></dl>
            <p class="faint">"The cap is the most that can be lost with the key. Refunds do not raise what is left of it; it never withdraws."</p>
            <button class="button danger" on:click=end>"End this key"</button>
            <MaybeProblem failure />
        </article>
    }
}
