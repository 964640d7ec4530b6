//! The quote card: the same wherever money is about to move.

use crate::{
    api::pay,
    app::{Shared, shared},
    components::ui::{Money, Near},
};
use leptos::{prelude::*, task::spawn_local};
use leptos_router::components::A;
use starling_contract_api::{billing::Billing, payment::storage_cost};
use starling_primitives::{Amount, Asset};
use starling_protocol::price::Quote;

/// What is asked for when this is paid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Asks {
    /// The payment.
    #[default]
    Payment,
    /// A deposit, then the transaction of the voucher that draws on it.
    DepositAndVoucher,
    /// The voucher's transaction: the deposit is there.
    Voucher,
}

/// From where a payment comes.
#[derive(Clone, PartialEq)]
enum Source {
    /// From the wallet, and why not by the session key that this browser has.
    Wallet(Option<String>),
    /// From the balance, by the wallet's word.
    Balance,
    /// From the balance, by this browser's session key: nobody is asked.
    SessionKey(Amount),
    /// It was deposited before.
    Deposit,
}

fn source(shared: Shared, near: bool, needed: Amount, asks: Asks) -> Source {
    let own = shared.own_key.get();
    let short = || shared.in_wallet.get().zip(shared.balance.get()).is_some_and(|(wallet, free)| wallet < needed && free >= needed);
    match own.as_ref().map(|own| (own.left(), own.refuses(needed, None))) {
        _ if asks == Asks::Voucher => Source::Deposit,
        Some(_) if !near => Source::Wallet(Some("a session key pays in NEAR only".to_owned())),
        Some((left, None)) => Source::SessionKey(left),
        _ if near && short() => Source::Balance,
        Some((_, why)) => Source::Wallet(why),
        None => Source::Wallet(None),
    }
}

/// What a payment attaches besides for storage: its escrow's, so many bytes of what is paid for, and its payer's record in billing where there is none yet.
pub(crate) fn storage(bytes: impl Fn() -> u64 + Send + Sync + 'static) -> Signal<Amount> {
    let shared = shared();
    let record = RwSignal::new(Amount::ZERO);
    Effect::new(move |_| {
        if let Some((network, session)) = shared.network.get().zip(shared.session.get()) {
            spawn_local(async move {
                if let Ok(near) = pay::record(&network, &session.account_id).await {
                    record.try_set(near);
                }
            });
        }
    });
    Signal::derive(move || {
        let parts = [storage_cost(bytes()), Billing::pay_storage(), record.get()];
        Amount(parts.into_iter().fold(0, |sum: u128, part| sum.saturating_add(part.0)))
    })
}

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
    #[prop(default = "Quote")] label: &'static str,
    #[prop(default = Asks::Payment)] asks: Asks,
) -> impl IntoView {
    let shared = shared();
    let near = asset == Asset::Near;
    let needed = if near { Amount(quote.at_most.0.saturating_add(storage.0)) } else { storage };
    let from = Memo::new(move |_| source(shared, near, needed, asks));
    let (counted, fee, held, service) = (asset.clone(), asset.clone(), asset.clone(), asset);
    view! {
        <section class="card quote" aria-label=label>
            <p class="soft">"You pay at most"</p>
            <p class="at-most num">{move || shared.words(&counted, quote.at_most)}</p>
            {(!storage.is_zero()).then(|| view! { <p>{move || for_storage(from.get(), near, needed, storage)}</p> })}
            <dl class="pairs">
                <dt>"For"</dt><dd>{what}</dd>
                <dt>"Paid"</dt><dd>{paid}</dd>
                <dt>"To"</dt><dd>{to}</dd>
                {(!quote.delegate_at_most.is_zero()).then(|| view! { <dt>"To the service"</dt><dd>"at most "<Money asset=service.clone() amount=quote.delegate_at_most />", inside it"</dd> })}
                <dt>"Fee, inside it"</dt><dd>"at most "<Money asset=fee amount=quote.fee_at_most /></dd>
                {(!quote.held_back_at_most.is_zero()).then(|| view! { <dt>"Held back"</dt><dd>"at most "<Money asset=held.clone() amount=quote.held_back_at_most />" until you accept the result"</dd> })}
                <dt>"Comes back"</dt><dd>{back}</dd>
                <dt>"Asks"</dt><dd>{move || asked(from.get(), near, asks)}</dd>
            </dl>
        </section>
    }
}

/// What a payment takes besides the price, and what becomes of it.
fn for_storage(from: Source, near: bool, needed: Amount, storage: Amount) -> AnyView {
    const RETURNED: &str = " is storage of records on the chain, and comes back as they go.";
    match from {
        Source::Wallet(_) if near => {
            view! { "Your wallet shows "<Near amount=needed />": "<Near amount=storage />" of it"{RETURNED} }.into_any()
        }
        Source::Wallet(_) => view! { "Your wallet shows "<Near amount=needed />" besides, which"{RETURNED} }.into_any(),
        Source::Balance | Source::SessionKey(_) => {
            view! { "Your balance gives "<Near amount=needed />": "<Near amount=storage />" of it"{RETURNED} }.into_any()
        }
        Source::Deposit => ().into_any(),
    }
}

/// Who is asked when this is paid: nobody where this browser's session key may pay it.
fn asked(from: Source, near: bool, asks: Asks) -> AnyView {
    let wallet = match (asks, &from) {
        (Asks::DepositAndVoucher, Source::SessionKey(_)) => {
            "your wallet, once, for the voucher (gas only). This browser's session key pays the deposit from your balance"
        }
        (Asks::DepositAndVoucher, _) => "your wallet, twice: for the deposit, then for the voucher (gas only)",
        (Asks::Voucher, _) => "your wallet, once, for the voucher (gas only): your open deposit pays",
        (Asks::Payment, _) => "your wallet, once",
    };
    match from {
        Source::SessionKey(left) if asks == Asks::Payment => {
            view! { "nobody: this browser's session key pays from your balance. Left of its cap before this: "<Near amount=left />"." }
                .into_any()
        }
        Source::Wallet(None) if near => {
            view! { <p>{wallet}</p><p><A href="/billing#session-keys">"Pay without asking, up to a cap"</A></p> }.into_any()
        }
        Source::Wallet(Some(why)) => format!("{wallet}: {why}").into_any(),
        Source::Wallet(None) | Source::Balance | Source::SessionKey(_) | Source::Deposit => wallet.into_any(),
    }
}
