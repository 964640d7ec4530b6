//! Metered use of a model or tool: each use, good for one lease, is paid by a voucher that this browser signs over a deposit.

use super::{
    models::{listings, needs_sign_in, ways},
    polled,
};
use crate::{
    api::{
        Failure, Outcome, chain, meter,
        pay::{Payment, now, pay_with},
        wallet,
    },
    app::{Shared, shared},
    components::{
        quote::{Asks, QuoteCard, storage},
        ui::MaybeProblem,
    },
};
use ed25519_dalek::Signer as _;
use leptos::{prelude::*, task::spawn_local};
use starling_contract_api::{
    billing::{Billing, EscrowView},
    hub::MeteredUse,
    payment::{PaymentMsg, USE_BYTES},
};
use starling_http_api::network::NetworkInfo;
use starling_primitives::{AccountId, Amount, BasisPoints, DurationMs, EscrowId, Hash32, Signature};
use starling_protocol::{listing::Listing, price::quote_purchase, signing::Voucher};
use std::time::Duration;

/// A deposit for uses lives so long at most: what it does not use returns then, or seven days after it is asked for.
const LIFE: DurationMs = DurationMs::from_days(7);
const MAX_USES: u64 = 10_000;

/// An open use, and what its deposit holds.
type Open = Option<(MeteredUse, EscrowView)>;

async fn open_use(network: &NetworkInfo, account: &AccountId, listing: &Listing) -> Outcome<Open> {
    let Some(open) = chain::view(&network.rpc_url, &listings(network, listing.kind).metered_use(account, &listing.name)).await? else {
        return Ok(None);
    };
    let escrow = chain::view(&network.rpc_url, &Billing(network.deployment.billing.clone()).escrow(open.escrow_id)).await?;
    Ok(escrow.map(|escrow| (open, escrow)))
}

/// Pays for uses of what one holds no licence of.
#[component]
pub(crate) fn Uses(listing: Listing, price: Amount) -> impl IntoView {
    let shared = shared();
    let uses = RwSignal::new("1".to_owned());
    let (failure, busy, done) = (RwSignal::new(None::<Failure>), RwSignal::new(false), RwSignal::new(None::<u64>));
    let listing = StoredValue::new(listing);
    let asset = StoredValue::new(listing.with_value(|listing| listing.asset.clone()));
    let (open, problem) = polled(Duration::from_secs(4), move || {
        let (network, account) = (shared.network.get(), shared.account());
        async move {
            let (Some(network), Some(account)) = (network, account) else { return Ok(None) };
            open_use(&network, &account, &listing.get_value()).await
        }
    });
    let number = move || uses.get().trim().parse::<u64>().ok().filter(|uses| (1..=MAX_USES).contains(uses));
    // What these uses cost, and who is asked for it: an open deposit keeps its own price.
    let wanted = move || {
        let uses = number()?;
        match open.with(|open| open.as_ref()?.as_ref().and_then(|open| drawn(open, uses))) {
            Some(amount) => Some((amount, Asks::Voucher)),
            None => price.checked_mul(uses).ok().map(|amount| (amount, Asks::DepositAndVoucher)),
        }
    };
    let storage = storage(|| USE_BYTES);
    let attached = move |asks: Asks| if asks == Asks::Voucher { Amount::ZERO } else { storage.get() };
    let fee = move || shared.network.get().map_or(BasisPoints::ZERO, |network| network.fee);
    let words = move |amount: Amount| asset.with_value(|asset| shared.words(asset, amount));
    let start = move |event: leptos::ev::SubmitEvent| {
        event.prevent_default();
        let (Some(uses), false) = (untrack(number), needs_sign_in(shared)) else { return };
        busy.set(true);
        failure.set(None);
        done.set(None);
        spawn_local(async move {
            match buy(shared, &listing.get_value(), price, uses).await {
                Ok(()) => {
                    done.try_set(Some(uses));
                }
                Err(error) => {
                    failure.try_set(Some(error));
                }
            }
            busy.try_set(false);
            shared.refresh_balance();
        });
    };
    view! {
        <form class="card" aria-label="Pay by use" on:submit=start>
            <h2>"Or pay by use"</h2>
            <p class="soft">{move || format!("{} for each use. One use lets one lease of yours name it.", words(price))}</p>
            <label class="field">"Uses"<input type="number" min="1" max=MAX_USES.to_string() required prop:value=move || uses.get() on:input:target=move |event| uses.set(event.target().value()) /></label>
            {move || wanted().map(|(wanted, asks)| view! { <QuoteCard quote=quote_purchase(wanted, fee()) what=counted(number().unwrap_or_default()) paid="at once, by a voucher that this browser signs; uses are final" to=listing.with_value(|listing| listing.name.publisher().to_string()) back="what a deposit has left, seven days later at most" storage=attached(asks) asset=asset.get_value() label="Quote of the uses" asks /> })}
            <button class="button" disabled=move || busy.get() || wanted().is_none()>{move || match (busy.get(), wanted()) {
                (true, _) => "Waiting for your wallet".to_owned(),
                (false, Some((wanted, _))) => format!("Pay for uses, at most {}", words(wanted)),
                (false, None) => format!("Write a number from 1 to {MAX_USES}"),
            }}</button>
            <MaybeProblem failure />
            <MaybeProblem failure=problem />
            {move || done.get().map(|uses| view! { <p class="note good" role="status">{if uses == 1 { "Paid: one lease may use it.".to_owned() } else { format!("Paid: {uses} leases may use it.") }}</p> })}
            {move || open.get().flatten().map(|(_, view)| view! {
                <h3>"Your open deposit"</h3>
                <p class="num">{format!("{} paid of {} deposited, {} left.", words(view.posted), words(view.escrow.deposited), words(view.available))}</p>
                {(!view.posted.is_zero()).then(|| listing.with_value(ways))}
            })}
        </form>
    }
}

/// What so many uses take out of an open deposit; nothing where it cannot pay them.
fn drawn((open, view): &(MeteredUse, EscrowView), uses: u64) -> Option<Amount> {
    let here = view.escrow.voucher_key().ok().and_then(|key| meter::key(&key)).is_some();
    open.price_per_use.checked_mul(uses).ok().filter(|wanted| here && now() <= open.until && *wanted <= view.available)
}

fn counted(uses: u64) -> String {
    if uses == 1 { "1 use".to_owned() } else { format!("{uses} uses") }
}

/// Pays for more uses from the open deposit, or from a new one, and brings the voucher.
async fn buy(shared: Shared, listing: &Listing, price: Amount, uses: u64) -> Outcome<()> {
    let (network, account) = shared.signed_in()?;
    let amount = |error: starling_primitives::AmountError| Failure::new("amount", error.to_string());
    let open = open_use(&network, &account, listing).await?;
    match open.and_then(|open| Some((drawn(&open, uses)?, open.1.id))) {
        Some((wanted, escrow)) => bring_voucher(&network, listing, escrow, wanted).await,
        None => {
            let wanted = price.checked_mul(uses).map_err(amount)?;
            let escrow = deposit(&network, &account, listing, wanted).await?;
            bring_voucher(&network, listing, escrow, wanted).await
        }
    }
}

/// A deposit on which only vouchers of a key of this browser draw.
async fn deposit(network: &NetworkInfo, account: &AccountId, listing: &Listing, amount: Amount) -> Outcome<EscrowId> {
    let key = meter::make_key()?;
    let payment = Payment {
        target: listings(network, listing.kind).0,
        asset: listing.asset.clone(),
        amount,
        msg: PaymentMsg::Use { name: listing.name.clone() },
        expires_by: now().after(LIFE),
        holdback: BasisPoints::ZERO,
        post_at_once: Amount::ZERO,
        objection_window: DurationMs(0),
    };
    pay_with(network, account, payment, Some(key)).await
}

/// Signs the next total, and sends it to billing.
async fn bring_voucher(network: &NetworkInfo, listing: &Listing, escrow_id: EscrowId, more: Amount) -> Outcome<()> {
    let billing = Billing(network.deployment.billing.clone());
    let gone =
        || Failure::new("use_closed", format!("Deposit {escrow_id} takes no vouchers any more. What it had left is on your balance."));
    let view = chain::view(&network.rpc_url, &billing.escrow(escrow_id)).await?.ok_or_else(gone)?;
    let opened = view.escrow.state.opened().ok_or_else(gone)?;
    let key = view.escrow.voucher_key().ok().and_then(|key| meter::key(&key)).ok_or_else(gone)?;
    let total = opened.total().checked_add(more).map_err(|error| Failure::new("amount", error.to_string()))?;
    let voucher = Voucher { escrow_id, seq: opened.seq + 1, payee: listing.name.publisher().clone(), total, work_root: Hash32::default() };
    let signature = Signature(key.sign(&voucher.signing_bytes(&network.deployment.billing_domain())).to_bytes());
    wallet::send(&billing.redeem(&voucher, &signature)).await.map(|_| ())
}
