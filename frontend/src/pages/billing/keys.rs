//! Session keys: what each may still spend without a confirmation, and ending one.

use super::Held;
use crate::{
    api::{Failure, wallet},
    app::shared,
    components::ui::{Ceiling, Id, MaybeProblem},
};
use leptos::{prelude::*, task::spawn_local};
use starling_contract_api::billing::Billing;
use starling_primitives::PublicKey;
use starling_protocol::session_key::SessionKey;

#[component]
pub(super) fn Keys(held: Memo<Option<Held>>) -> impl IntoView {
    let keys = Memo::new(move |_| held.get().map(|held| held.record.map(|record| record.keys).unwrap_or_default()));
    view! {
        <section class="stack" aria-label="Session keys"><h2>"Session keys"</h2>
            {move || match keys.get() {
                None => view! { <div class="skeleton" style="height: 48px" aria-hidden="true"></div> }.into_any(),
                Some(keys) if keys.is_empty() => view! { <p class="soft">"No key may spend your balance without your wallet asking. A program that you gave one appears here, with its cap and what it has used of it."</p> }.into_any(),
                Some(keys) => view! { <div class="cards">{keys.into_iter().map(|(public_key, key)| view! { <KeyCard public_key key /> }).collect_view()}</div> }.into_any(),
            }}
        </section>
    }
}

#[component]
fn KeyCard(public_key: PublicKey, key: SessionKey) -> impl IntoView {
    let shared = shared();
    let failure = RwSignal::new(None::<Failure>);
    let expires_at = key.expires_at;
    let expired = move || shared.clock.get() >= expires_at;
    let end = move |_| {
        let Some(network) = shared.network_now() else { return };
        spawn_local(
            async move { failure.set(wallet::send(&Billing(network.deployment.billing).remove_session_key(&public_key)).await.err()) },
        );
    };
    let targets = key.targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    view! {
        <article class="card" aria-label="Session key">
            <div class="row between"><Id text=public_key.to_string() /><span class=move || if expired() { "chip" } else { "chip good" }>{move || if expired() { "expired" } else { "may spend" }}</span></div>
            <Ceiling part=key.spent whole=key.cap label="Spent against the cap" />
            <dl class="pairs"><dt>"May pay"</dt><dd class="mono">{targets}</dd><dt>"Until"</dt><dd>{move || if expired() { "its time is over".to_owned() } else { format!("{} from now", expires_at.since(shared.clock.get())) }}</dd></dl>
            <p class="faint">"The cap is the most that can be lost with the key. Refunds do not raise what is left of it; it never withdraws."</p>
            <button class="button danger" on:click=end>"End this key"</button>
            <MaybeProblem failure />
        </article>
    }
}
