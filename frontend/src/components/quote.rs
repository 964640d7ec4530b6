//! The quote card: the same wherever money is about to move.

use crate::{
    app::{Shared, shared},
    components::ui::{Money, Near},
};
use leptos::prelude::*;
use leptos_router::components::A;
use starling_primitives::{Amount, Asset};
use starling_protocol::price::Quote;

/// At most how much, for what, paid when, to whom, the fee, what comes back and when.
#[component]
pub(crate) fn QuoteCard(
    quote: Quote,
    what: String,
    paid: &'static str,
    to: String,
    back: &'static str,
    storage: Amount,
    #[prop(default = Asset::Near)] asset: Asset,
) -> impl IntoView {
    let shared = shared();
    let near = asset == Asset::Near;
    let asks = move || view! { <dt>"Asks"</dt><dd>{asked(shared, near, quote.at_most, storage)}</dd> };
    let (counted, fee, held, service) = (asset.clone(), asset.clone(), asset.clone(), asset);
    view! {
            <section class="card quote" aria-label="Quote">
                <p class="soft">"You pay at most"</p>
                <p class="at-most num">{move || shared.words(&counted, quote.at_most)}</p>
                <dl class="pairs">
                    <dt>"For"</dt><dd>{what}</dd>
                    <dt>"Paid"</dt><dd>{paid}</dd>
                    <dt>"To"</dt><dd>{to}</dd>
                    {(!quote.delegate_at_most.is_zero()).then(|| view! { <dt>"To the service"</dt><dd>"at most "<Money asset=service.clone() amount=quote.delegate_at_most />", inside it"</dd> })}
                    <dt>"Fee, inside it"</dt><dd>"at most "<Money asset=fee amount=quote.fee_at_most /></dd>
                    {(!quote.held_back_at_most.is_zero()).then(|| view! { <dt>"Held back"</dt><dd>"at most "<Money asset=held.clone() amount=quote.held_back_at_most />" until you accept the result"</dd> })}
                    <dt>"Comes back"</dt><dd>{back}</dd>
                    {asks}
    {(!storage.is_zero()).then(|| view! { <dt>"Storage"</dt><dd><Near amount=storage />" more is attached for records on the chain, and returned as they go"</dd> })}
                </dl>
            </section>
        }
}

/// Who is asked when this is paid: nobody where this browser's session key may pay it.
fn asked(shared: Shared, near: bool, at_most: Amount, storage: Amount) -> AnyView {
    let Some(own) = shared.own_key.get() else {
        let offer = near.then(|| view! { ". "<A href="/billing#session-keys">"Pay without asking, up to a cap"</A> });
        return view! { "your wallet, once"{offer} }.into_any();
    };
    let needed = Amount(at_most.0.saturating_add(storage.0));
    match own.refuses(needed, None) {
        _ if !near => "your wallet, once: a session key pays in NEAR only".into_any(),
        None => view! { "nobody: this browser's session key pays from your balance. "<Near amount=own.left() />" of its cap are left." }
            .into_any(),
        Some(why) => format!("your wallet, once: {why}").into_any(),
    }
}
