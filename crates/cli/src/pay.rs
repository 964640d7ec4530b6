//! Paying: bounds, storage, a check of the balance before anything is signed.

use crate::profile::Context;
use anyhow::{Result, bail};
use starling_contract_api::{
    billing::Billing,
    payment::{PayArgs, PayResult, PaymentMsg},
};
use starling_primitives::{AccountId, Amount, BasisPoints, DurationMs, EscrowId, TimestampMs};
use starling_protocol::escrow::Bounds;

/// What gas of a payment may lock until it is refunded: 100 Tgas at the price that the protocol charges at least.
const GAS_RESERVE: Amount = Amount::from_millinear(150);

/// Pays `amount` to `target` for `msg`, never more, and gives the escrow. The target's refusal is an error in its own words; the money is then on the balance.
pub(crate) async fn pay(
    context: &Context,
    target: &AccountId,
    amount: Amount,
    msg: PaymentMsg,
    expires_by: TimestampMs,
    holdback: BasisPoints,
    post_at_once: Amount,
) -> Result<EscrowId> {
    let billing = context.billing();
    let config = context.rpc.view(&billing.config()).await?;
    let storage = msg.storage();
    let bounds = Bounds { expires_by, post_at_once, fee: config.fee, holdback, voucher: None, objection_window: DurationMs(0) };
    let args = PayArgs { target: target.clone(), amount, storage, bounds, msg };
    let registered = context.rpc.view(&billing.storage_balance_of(context.signer.account())).await?.is_some();
    let mut deposit = Amount::sum([amount, storage, Billing::pay_storage()])?;
    if !registered {
        deposit = deposit.checked_add(context.rpc.view(&billing.storage_balance_bounds()).await?.min)?;
    }
    let account = context.signer.account();
    let Some(state) = context.rpc.account(account).await? else {
        bail!(
            "the account {account} does not exist on {}: nothing was sent. Make it first, or log in with another",
            context.profile.deployment.chain_id
        );
    };
    let locked = starling_contract_api::payment::storage_cost(state.storage_bytes);
    let free = Amount(state.balance.0.saturating_sub(locked.0));
    let needed = Amount::sum([deposit, GAS_RESERVE])?;
    if free < needed {
        bail!(
            "the price is over the balance: this needs {} ({} for the work at most, the rest for storage and gas, most of which comes back), and {account} has {}. Nothing was sent. Add NEAR to the account or choose a smaller job",
            needed.display_near(),
            amount.display_near(),
            free.display_near()
        );
    }
    let outcome = context.rpc.call(&context.signer, &billing.pay(&args, deposit)).await?;
    let result: PayResult = outcome.json()?;
    if !result.opened {
        let words = outcome.receipt_failures.first().cloned().or(result.reason).unwrap_or_else(|| "no reason was given".to_owned());
        bail!("{target} refused the payment: {words}. Your money is on your balance in {}; withdraw it or pay again", billing.0);
    }
    Ok(result.escrow_id)
}
