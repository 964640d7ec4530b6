//! Paying in NEAR or in a token: bounds, storage, a check of the balance before anything is signed.

use crate::profile::Context;
use anyhow::{Context as _, Result, bail, ensure};
use starling_contract_api::{
    Call,
    billing::{Billing, TOKEN_BALANCE_BYTES},
    events::{BILLING_STANDARD, BillingEvent, parse},
    payment::{PayArgs, PayResult, PaymentMsg, storage_cost},
    rpc::{Outcome, SignedTx},
    token::Token,
};
use starling_primitives::{AccountId, Amount, Asset, BasisPoints, DurationMs, EscrowId, PublicKey, TimestampMs};
use starling_protocol::escrow::Bounds;

/// What gas of a payment may lock until it is refunded: 100 Tgas at the price that the protocol charges at least.
const GAS_RESERVE: Amount = Amount::from_millinear(150);

/// What is paid, to whom, within which bounds.
pub(crate) struct Payment {
    pub(crate) target: AccountId,
    pub(crate) asset: Asset,
    pub(crate) amount: Amount,
    pub(crate) msg: PaymentMsg,
    pub(crate) expires_by: TimestampMs,
    pub(crate) holdback: BasisPoints,
    /// Whose vouchers post, instead of the target.
    pub(crate) voucher: Option<PublicKey>,
}

impl Payment {
    /// The payment's terms, at the fee of now.
    pub(crate) async fn args(self, context: &Context) -> Result<PayArgs> {
        let config = context.rpc.view(&context.billing().config()).await?;
        let Self { target, amount, msg, expires_by, holdback, voucher, .. } = self;
        let bounds = Bounds { expires_by, post_at_once: Amount::ZERO, fee: config.fee, holdback, voucher, objection_window: DurationMs(0) };
        Ok(PayArgs { target, amount, storage: msg.storage(), bounds, msg })
    }
}

/// An amount of any asset in words; of a token its smallest units.
pub(crate) fn words(asset: &Asset, amount: Amount) -> String {
    match asset {
        Asset::Near => amount.display_near(),
        Asset::Nep141(token) => format!("{amount} units of {token}"),
    }
}

/// Pays, never more than the amount, and gives the escrow. The target's refusal is an error in its own words; the money is then on the balance.
pub(crate) async fn pay(context: &Context, payment: Payment) -> Result<EscrowId> {
    let asset = payment.asset.clone();
    let args = payment.args(context).await?;
    match asset {
        Asset::Near => pay_near(context, &args).await,
        Asset::Nep141(token) => pay_tokens(context, &Token(token), &args).await,
    }
}

async fn pay_near(context: &Context, args: &PayArgs) -> Result<EscrowId> {
    let call = near_call(context, args).await?;
    opened(context, &args.target, &context.rpc.call(&context.signer, &call).await?)
}

/// A payment in NEAR, signed and not sent: sent any number of times, it pays once.
pub(crate) async fn sign(context: &Context, args: &PayArgs) -> Result<SignedTx> {
    Ok(context.rpc.sign(&context.signer, &near_call(context, args).await?).await?)
}

/// The escrow that a payment in NEAR opened.
pub(crate) fn opened(context: &Context, target: &AccountId, outcome: &Outcome) -> Result<EscrowId> {
    let result: PayResult = outcome.json()?;
    if result.opened { Ok(result.escrow_id) } else { refused(&context.billing(), target, outcome, result.reason) }
}

async fn near_call(context: &Context, args: &PayArgs) -> Result<Call> {
    let billing = context.billing();
    let registered = context.rpc.view(&billing.storage_balance_of(context.signer.account())).await?.is_some();
    let mut deposit = Amount::sum([args.amount, args.storage, Billing::pay_storage()])?;
    if !registered {
        deposit = deposit.checked_add(context.rpc.view(&billing.storage_balance_bounds()).await?.min)?;
    }
    require_near(context, deposit, &format!("{} for the work at most, the rest for storage and gas", args.amount.display_near())).await?;
    Ok(billing.pay(args, deposit))
}

/// Puts down what storage asks for in NEAR, then sends the tokens with the payment's terms.
async fn pay_tokens(context: &Context, token: &Token, args: &PayArgs) -> Result<EscrowId> {
    let (billing, account) = (context.billing(), context.signer.account());
    let held = context.rpc.view(&token.balance_of(account)).await.with_context(|| format!("the token {} does not answer", token.0))?;
    ensure!(held >= args.amount, "this costs {} units of {}, and {account} has {held}: nothing was sent", args.amount, token.0);
    let record = context.rpc.view(&billing.account(account)).await?;
    let place = Asset::Nep141(token.0.clone());
    let has_place = record.as_ref().is_some_and(|record| record.balances.iter().any(|(asset, _)| *asset == place));
    let registration = if record.is_some() { Amount::ZERO } else { context.rpc.view(&billing.storage_balance_bounds()).await?.min };
    let for_place = if has_place { Amount::ZERO } else { storage_cost(TOKEN_BALANCE_BYTES) };
    let needed = Amount::sum([registration, for_place, args.storage, Billing::pay_storage()])?;
    let lacking = Amount(needed.0.saturating_sub(record.map_or(0, |record| record.storage.available.0)));
    if !lacking.is_zero() {
        require_near(context, lacking, "for storage and gas").await?;
        context.rpc.call(&context.signer, &billing.storage_deposit(None, false, lacking)).await?;
    }
    let outcome = context.rpc.call(&context.signer, &token.pay(&billing, args.amount, args)).await?;
    let mut held = None;
    for event in outcome.logs.iter().filter_map(|log| parse::<BillingEvent>(log, BILLING_STANDARD)) {
        match event {
            BillingEvent::PaymentHeld { escrow_id, .. } => held = Some(escrow_id),
            BillingEvent::EscrowOpened { escrow_id, .. } => return Ok(escrow_id),
            BillingEvent::EscrowRefused { reason, .. } => return refused(&billing, &args.target, &outcome, Some(reason)),
            _ => {}
        }
    }
    match held {
        Some(escrow_id) => {
            bail!("escrow {escrow_id} was not answered yet: run `starling reclaim {escrow_id}` in ten minutes if it stays so")
        }
        None => {
            let why = outcome.logs.iter().find(|log| !log.starts_with("EVENT_JSON")).map_or("it gave no reason", String::as_str);
            bail!("{} did not take the tokens: {why}. All of them are on {account}", billing.0)
        }
    }
}

async fn require_near(context: &Context, deposit: Amount, what_for: &str) -> Result<()> {
    let account = context.signer.account();
    let Some(state) = context.rpc.account(account).await? else {
        bail!(
            "the account {account} does not exist on {}: nothing was sent. Make it first, or log in with another",
            context.profile.deployment.chain_id
        );
    };
    let free = Amount(state.balance.0.saturating_sub(storage_cost(state.storage_bytes).0));
    let needed = Amount::sum([deposit, GAS_RESERVE])?;
    ensure!(
        free >= needed,
        "the price is over the balance: this needs {} ({what_for}, most of which comes back), and {account} has {}. Nothing was sent. Add NEAR to the account or choose a smaller job",
        needed.display_near(),
        free.display_near()
    );
    Ok(())
}

fn refused(billing: &Billing, target: &AccountId, outcome: &Outcome, reason: Option<String>) -> Result<EscrowId> {
    let words = outcome.receipt_failures.first().cloned().or(reason).unwrap_or_else(|| "no reason was given".to_owned());
    bail!("{target} refused the payment: {words}. Your money is on your balance in {}; withdraw it or pay again", billing.0)
}
