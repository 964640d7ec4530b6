//! Paying through the wallet: one approval, never more than the quote.

use super::{Failure, Outcome, chain, wallet};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use starling_contract_api::{
    billing::Billing,
    payment::{PayArgs, PayResult, PaymentMsg},
};
use starling_http_api::network::NetworkInfo;
use starling_primitives::{AccountId, Amount, BasisPoints, DurationMs, EscrowId, TimestampMs};
use starling_protocol::escrow::Bounds;

/// What is paid, to whom, within which bounds.
pub(crate) struct Payment {
    pub(crate) target: AccountId,
    pub(crate) amount: Amount,
    pub(crate) msg: PaymentMsg,
    pub(crate) expires_by: TimestampMs,
    pub(crate) holdback: BasisPoints,
    pub(crate) post_at_once: Amount,
}

/// The deposit that a payment attaches: the price, storage (returned later) and, for a new account, its record.
pub(crate) async fn deposit(network: &NetworkInfo, payer: &AccountId, amount: Amount, msg: &PaymentMsg) -> Outcome<Amount> {
    let billing = Billing(network.deployment.billing.clone());
    let registered = chain::view(&network.rpc_url, &billing.storage_balance_of(payer)).await?.is_some();
    let record = if registered { Amount::ZERO } else { chain::view(&network.rpc_url, &billing.storage_balance_bounds()).await?.min };
    Amount::sum([amount, msg.storage(), Billing::pay_storage(), record]).map_err(|error| Failure::new("amount", error.to_string()))
}

/// Asks the wallet once and gives the escrow.
pub(crate) async fn pay(network: &NetworkInfo, payer: &AccountId, payment: Payment) -> Outcome<EscrowId> {
    let billing = Billing(network.deployment.billing.clone());
    let config = chain::view(&network.rpc_url, &billing.config()).await?;
    let deposit = deposit(network, payer, payment.amount, &payment.msg).await?;
    let free = chain::wallet_balance(&network.rpc_url, payer).await?;
    if free < deposit {
        return Err(Failure::new(
            "balance_too_small",
            format!(
                "This needs {} in your wallet ({} for the work at most, the rest for storage, returned later), and {payer} has {}. Nothing was signed. Add NEAR or choose a smaller job.",
                deposit.display_near(),
                payment.amount.display_near(),
                free.display_near()
            ),
        ));
    }
    let storage = payment.msg.storage();
    let bounds = Bounds {
        expires_by: payment.expires_by,
        post_at_once: payment.post_at_once,
        fee: config.fee,
        holdback: payment.holdback,
        voucher: None,
        objection_window: DurationMs(0),
    };
    let args = PayArgs { target: payment.target, amount: payment.amount, storage, bounds, msg: payment.msg };
    let sent = wallet::send(&billing.pay(&args, deposit)).await?;
    let value = sent.status["SuccessValue"].as_str().and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
    let result: PayResult = serde_json::from_slice(&value).map_err(|error| {
        Failure::new(
            "payment_answer",
            format!("The payment {} went through but its answer is not understood; see Billing. ({error})", sent.hash),
        )
    })?;
    if !result.opened {
        let reason = result.reason.unwrap_or_else(|| "it gave no reason".to_owned());
        return Err(Failure::new(
            "payment_refused",
            format!("The payment was refused: {reason}. All of it is on your balance in Billing."),
        ));
    }
    Ok(result.escrow_id)
}

/// Milliseconds since 1970 by this browser's clock.
pub(crate) fn now() -> TimestampMs {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a clock after 1970 and before the year 200000")]
    let milliseconds = js_sys::Date::now() as u64;
    TimestampMs(milliseconds)
}
