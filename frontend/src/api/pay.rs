//! Paying: by this browser's session key within its cap, else through the wallet with one approval; never more than the quote.

use super::{Failure, Outcome, chain, session, wallet};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use starling_contract_api::{
    Call,
    billing::{Billing, TOKEN_BALANCE_BYTES},
    events::{BILLING_STANDARD, BillingEvent, parse},
    payment::{PayArgs, PayResult, PaymentMsg, storage_cost},
    token::Token,
};
use starling_http_api::network::NetworkInfo;
use starling_primitives::{AccountId, Amount, Asset, BasisPoints, DurationMs, EscrowId, PublicKey, TimestampMs};
use starling_protocol::escrow::Bounds;

/// What is paid, to whom, within which bounds.
pub(crate) struct Payment {
    pub(crate) target: AccountId,
    pub(crate) asset: Asset,
    pub(crate) amount: Amount,
    pub(crate) msg: PaymentMsg,
    pub(crate) expires_by: TimestampMs,
    pub(crate) holdback: BasisPoints,
    pub(crate) post_at_once: Amount,
    /// At least so long the payer may object to a post; nothing where it signs itself.
    pub(crate) objection_window: DurationMs,
}

/// What an account's record in billing costs where it has none yet.
pub(crate) async fn record(network: &NetworkInfo, account: &AccountId) -> Outcome<Amount> {
    let billing = Billing(network.deployment.billing.clone());
    let registered = chain::view(&network.rpc_url, &billing.storage_balance_of(account)).await?.is_some();
    if registered { Ok(Amount::ZERO) } else { Ok(chain::view(&network.rpc_url, &billing.storage_balance_bounds()).await?.min) }
}

/// The NEAR that a payment attaches: the price if it is in NEAR, storage (returned later) and, for a new account, its record.
pub(crate) async fn deposit(network: &NetworkInfo, payer: &AccountId, amount: Amount, msg: &PaymentMsg) -> Outcome<Amount> {
    let record = record(network, payer).await?;
    Amount::sum([amount, msg.storage(), Billing::pay_storage(), record]).map_err(|error| Failure::new("amount", error.to_string()))
}

/// Pays, asking the wallet once at most, and gives the escrow.
pub(crate) async fn pay(network: &NetworkInfo, payer: &AccountId, payment: Payment) -> Outcome<EscrowId> {
    pay_with(network, payer, payment, None).await
}

/// As [`pay`]; with a key, what is paid waits for that key's vouchers.
pub(crate) async fn pay_with(network: &NetworkInfo, payer: &AccountId, payment: Payment, voucher: Option<PublicKey>) -> Outcome<EscrowId> {
    let billing = Billing(network.deployment.billing.clone());
    let config = chain::view(&network.rpc_url, &billing.config()).await?;
    let Payment { target, asset, amount, msg, expires_by, holdback, post_at_once, objection_window } = payment;
    let bounds = Bounds { expires_by, post_at_once, fee: config.fee, holdback, voucher, objection_window };
    let args = PayArgs { target, amount, storage: msg.storage(), bounds, msg };
    match asset {
        Asset::Near => pay_near(network, payer, &args).await,
        Asset::Nep141(token) => pay_tokens(network, payer, token, &args).await,
    }
}

/// By this browser's session key from the balance where it may, else by the wallet.
async fn pay_near(network: &NetworkInfo, payer: &AccountId, args: &PayArgs) -> Outcome<EscrowId> {
    let billing = Billing(network.deployment.billing.clone());
    let record = chain::view(&network.rpc_url, &billing.account(payer)).await?;
    let needed =
        Amount::sum([args.amount, args.storage, Billing::pay_storage()]).map_err(|error| Failure::new("amount", error.to_string()))?;
    let in_wallet = chain::wallet_balance(&network.rpc_url, payer).await?;
    // The key's gas comes from the wallet all the same.
    let own = session::own(network, payer, record.as_ref()).filter(|_| in_wallet >= session::GAS_RESERVE);
    if let Some(own) = own.filter(|own| own.refuses(needed, Some(&args.target)).is_none()) {
        return opened(&session::send(network, payer, &own.key, &billing.pay_from_balance(args, true)).await?);
    }
    let deposit = deposit(network, payer, args.amount, &args.msg).await?;
    // What the wallet cannot attach the balance may hold: then one yocto is enough, and a sponsor may pay even that.
    if in_wallet < deposit && record.as_ref().is_some_and(|record| session::free_near(record) >= needed) {
        let sent = wallet::send(&billing.pay_from_balance(args, false)).await?;
        return match &sent.signer {
            None => opened(&sent),
            Some(signer) => told(network, &sent.hash, signer).await,
        };
    }
    require_near(
        network,
        payer,
        deposit,
        &format!("{} for the work at most, the rest for storage, returned later", args.amount.display_near()),
    )
    .await?;
    opened(&wallet::send(&billing.pay(args, deposit)).await?)
}

/// The escrow that a payment's transaction opened.
fn opened(sent: &wallet::Sent) -> Outcome<EscrowId> {
    let value = sent.status["SuccessValue"].as_str().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
    let result: PayResult = serde_json::from_slice(&value).map_err(|error| {
        Failure::new(
            "payment_answer",
            format!("The payment {} went through but its answer is not understood; see Billing. ({error})", sent.hash),
        )
    })?;
    if result.opened { Ok(result.escrow_id) } else { Err(refused(result.reason)) }
}

/// One approval for two transactions at most: storage in NEAR, then the tokens with the payment's terms.
async fn pay_tokens(network: &NetworkInfo, payer: &AccountId, token: AccountId, args: &PayArgs) -> Outcome<EscrowId> {
    let billing = Billing(network.deployment.billing.clone());
    let token = Token(token);
    let held = chain::view(&network.rpc_url, &token.balance_of(payer)).await?;
    if held < args.amount {
        let what = format!(
            "This needs {} units of {} in your wallet, and {payer} has {held}. Nothing was signed. Tokens on your balance in billing can be withdrawn first.",
            args.amount, token.0
        );
        return Err(Failure::new("balance_too_small", what));
    }
    let besides = args.storage.checked_add(Billing::pay_storage()).map_err(|error| Failure::new("amount", error.to_string()))?;
    let storage = token_storage(network, payer, &token, besides).await?;
    if let Some(call) = &storage {
        require_near(network, payer, call.deposit, "storage, returned later").await?;
    }
    let calls: Vec<Call> = storage.into_iter().chain([token.pay(&billing, args.amount, args)]).collect();
    let sent = wallet::send_all(&calls).await?;
    let hash = sent.last().map(|sent| sent.hash.clone()).unwrap_or_default();
    told(network, &hash, payer).await
}

/// The escrow that a payment opened, by what billing told of it: where the payment was not the transaction's own call.
async fn told(network: &NetworkInfo, tx: &str, signer: &AccountId) -> Outcome<EscrowId> {
    let logged = chain::logs(&network.rpc_url, tx, signer, &network.deployment.billing).await;
    let logged = logged.map_err(|failure| after_payment(format_args!("transaction {tx}"), failure))?;
    let mut held = None;
    for event in logged.iter().filter_map(|logged| parse::<BillingEvent>(&logged.line, BILLING_STANDARD)) {
        match event {
            BillingEvent::PaymentHeld { escrow_id, .. } => held = Some(escrow_id),
            BillingEvent::EscrowOpened { escrow_id, .. } => return Ok(escrow_id),
            BillingEvent::EscrowRefused { reason, .. } => return Err(refused(Some(reason))),
            _ => {}
        }
    }
    match held {
        Some(escrow_id) => Err(Failure::new(
            "payment_held",
            format!(
                "The payment is held in escrow {escrow_id} and was not answered yet. It opens or comes back by itself within ten minutes; see Billing."
            ),
        )),
        None => {
            let why = logged
                .into_iter()
                .map(|logged| logged.line)
                .find(|line| !line.starts_with("EVENT_JSON"))
                .unwrap_or_else(|| "it gave no reason".to_owned());
            Err(Failure::new("payment_refused", format!("Billing did not take the payment: {why}. Nothing has left your account.")))
        }
    }
}

/// The call that puts down what an account lacks of storage credit in billing for a token and for `besides`; nothing if it has enough.
pub(crate) async fn token_storage(network: &NetworkInfo, payer: &AccountId, token: &Token, besides: Amount) -> Outcome<Option<Call>> {
    let billing = Billing(network.deployment.billing.clone());
    let account = chain::view(&network.rpc_url, &billing.account(payer)).await?;
    let place = Asset::Nep141(token.0.clone());
    let has_place = account.as_ref().is_some_and(|account| account.balances.iter().any(|(asset, _)| *asset == place));
    let record = if account.is_some() { Amount::ZERO } else { chain::view(&network.rpc_url, &billing.storage_balance_bounds()).await?.min };
    let for_place = if has_place { Amount::ZERO } else { storage_cost(TOKEN_BALANCE_BYTES) };
    let needed = Amount::sum([record, for_place, besides]).map_err(|error| Failure::new("amount", error.to_string()))?;
    let credit = account.map_or(Amount::ZERO, |account| account.storage.available);
    let lacking = Amount(needed.0.saturating_sub(credit.0));
    Ok((!lacking.is_zero()).then(|| billing.storage_deposit(None, false, lacking)))
}

async fn require_near(network: &NetworkInfo, payer: &AccountId, needed: Amount, what_for: &str) -> Outcome<()> {
    let free = chain::wallet_balance(&network.rpc_url, payer).await?;
    if free >= needed {
        return Ok(());
    }
    let (needed, free) = (needed.display_near(), free.display_near());
    Err(Failure::new(
        "balance_too_small",
        format!(
            "This needs {needed} in your wallet ({what_for}), and {payer} has {free}. Nothing was signed. Add NEAR or choose a smaller job."
        ),
    ))
}

/// What went wrong after a payment went through: whoever reads it must not pay once more.
pub(crate) fn after_payment(paid: impl std::fmt::Display, failure: Failure) -> Failure {
    let what =
        format!("You have paid ({paid}), but what came of it cannot be read now. Do not pay again: Billing shows it. {}", failure.what);
    Failure { what, ..failure }
}

fn refused(reason: Option<String>) -> Failure {
    let reason = reason.unwrap_or_else(|| "it gave no reason".to_owned());
    Failure::new("payment_refused", format!("The payment was refused: {reason}. All of it is on your balance in Billing."))
}

/// Milliseconds since 1970 by this browser's clock.
pub(crate) fn now() -> TimestampMs {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a clock after 1970 and before the year 200000")]
    let milliseconds = js_sys::Date::now() as u64;
    TimestampMs(milliseconds)
}
