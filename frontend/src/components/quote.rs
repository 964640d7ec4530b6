//! The quote card: the same wherever money is about to move.

use crate::{
    app::shared,
    components::ui::{Money, Near},
};
use leptos::prelude::*;
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
                <dt>"Storage"</dt><dd><Near amount=storage />" more is attached for records on the chain, and returned as they go"</dd>
            </dl>
        </section>
    }
}
