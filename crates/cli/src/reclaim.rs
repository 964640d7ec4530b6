//! `starling reclaim ESCROW`: frees an escrow over the chain's RPC alone, coordinator and nodes gone.

use crate::{output::Output, profile::Context, train::now};
use anyhow::{Result, bail};
use serde_json::json;
use starling_primitives::{AccountId, EscrowId, TimestampMs};
use starling_protocol::escrow::{Escrow, State};

/// The one step that brings an escrow nearer to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    StopRun,
    Void,
    AskClosing,
    Close,
    Acknowledge,
    WaitUntil(TimestampMs),
    Done,
}

/// Frees one escrow, or all of the account's when none is named.
pub(crate) async fn reclaim(context: &Context, escrow_id: Option<EscrowId>, acknowledge: bool, out: Output) -> Result<()> {
    context.check_network().await?;
    let billing = context.billing();
    let account = context.signer.account();
    let ids = match escrow_id {
        Some(id) => vec![id],
        None => {
            let mut ids: Vec<EscrowId> = Vec::new();
            loop {
                let from = ids.last().map_or(0, |last| last.0 + 1);
                let page = context.rpc.view(&billing.escrows_of(account, from, u32::MAX)).await?;
                if page.is_empty() {
                    break ids;
                }
                ids.extend(page.iter().map(|view| view.id));
            }
        }
    };
    if ids.is_empty() {
        out.say("nothing", &json!({}), &format!("No escrow of {account} holds anything."));
    }
    for id in ids {
        free(context, id, acknowledge, out).await?;
    }
    let free = context.rpc.view(&billing.account(account)).await?;
    for (asset, amount) in free.iter().flat_map(|account| &account.balances).filter(|(_, amount)| !amount.is_zero()) {
        out.say(
            "balance",
            &json!({"asset": asset, "amount": amount}),
            &format!("Balance in billing: {}. `starling withdraw` sends it to {account}.", amount.display_near()),
        );
    }
    Ok(())
}

async fn free(context: &Context, id: EscrowId, acknowledge: bool, out: Output) -> Result<()> {
    let billing = context.billing();
    let mut tried_to_stop = false;
    loop {
        let Some(view) = context.rpc.view(&billing.escrow(id)).await? else {
            out.say("free", &json!({"escrow_id": id}), &format!("Escrow {id} is spent: all of it was paid or returned."));
            return Ok(());
        };
        let can_stop = !tried_to_stop && view.escrow.arbiter == context.profile.deployment.compute;
        let step = next_step(&view.escrow, context.signer.account(), now(), can_stop, acknowledge);
        match step {
            Step::StopRun => {
                tried_to_stop = true;
                stop(context, id, out).await?;
            }
            Step::Void => drop(context.rpc.call(&context.signer, &billing.void(id)).await?),
            Step::AskClosing => drop(context.rpc.call(&context.signer, &billing.ask_closing(id)).await?),
            Step::Close => drop(context.rpc.call(&context.signer, &billing.close(id)).await?),
            Step::Acknowledge => drop(context.rpc.call(&context.signer, &billing.acknowledge(id)).await?),
            Step::WaitUntil(moment) => {
                let wait = moment.since(now());
                let line = format!(
                    "Escrow {id}: {} is free in {wait}; {} waits for your acknowledgement (`--acknowledge`) or for the end of the availability window. Run this again then.",
                    view.available.display_near(),
                    view.pending.display_near()
                );
                out.say("wait", &json!({"escrow_id": id, "until": moment, "available": view.available, "pending": view.pending}), &line);
                return Ok(());
            }
            Step::Done => {
                out.say("free", &json!({"escrow_id": id}), &format!("Escrow {id} holds nothing of yours any more."));
                return Ok(());
            }
        }
        out.note(&format!("Escrow {id}: {step:?} done."));
    }
}

/// The quick way: the arbiter contract stops and settles what the tenant ends. Not needed, only faster.
async fn stop(context: &Context, id: EscrowId, out: Output) -> Result<()> {
    use starling_contract_api::compute::Purpose;
    let compute = context.compute();
    let calls = match context.rpc.view(&compute.purpose(id)).await? {
        Some(Purpose::Run(run)) => vec![compute.stop_run(run), compute.settle_run(run)],
        Some(Purpose::Lease(lease)) => vec![compute.tick_lease(lease), compute.close_lease(lease), compute.settle_lease(lease)],
        Some(Purpose::Stake(_) | Purpose::Bond) | None => Vec::new(),
    };
    for call in calls {
        if let Err(error) = context.rpc.call(&context.signer, &call).await {
            out.note(&format!("  {}: {}", call.method, error.contract_message()));
        }
    }
    Ok(())
}

fn next_step(escrow: &Escrow, account: &AccountId, now: TimestampMs, can_stop: bool, acknowledge: bool) -> Step {
    let is_payer = escrow.payer == *account;
    match &escrow.state {
        State::Held { hold_deadline } if now >= *hold_deadline => Step::Void,
        State::Held { hold_deadline } => Step::WaitUntil(*hold_deadline),
        State::Open(opened) if now >= opened.closable_at() => Step::Close,
        State::Open(_) if is_payer && can_stop => Step::StopRun,
        State::Open(opened) if is_payer && opened.closing_asked_at.is_none() => Step::AskClosing,
        State::Open(opened) => Step::WaitUntil(opened.closable_at()),
        State::Settling { .. } if is_payer && acknowledge => Step::Acknowledge,
        State::Settling { until, .. } => Step::WaitUntil(*until),
        State::Closed(_) | State::Voided => Step::Done,
    }
}

/// Sends the free balance to the account.
pub(crate) async fn withdraw(context: &Context, amount: Option<starling_primitives::Amount>, out: Output) -> Result<()> {
    context.check_network().await?;
    let billing = context.billing();
    let Some(account) = context.rpc.view(&billing.account(context.signer.account())).await? else {
        bail!("{} has no balance in {}", context.signer.account(), billing.0);
    };
    let free = account
        .balances
        .iter()
        .find(|(asset, _)| *asset == starling_primitives::Asset::Near)
        .map_or(starling_primitives::Amount::ZERO, |(_, amount)| *amount);
    if amount.unwrap_or(free) > free {
        bail!("the balance is {}: nothing was sent", free.display_near());
    }
    context.rpc.call(&context.signer, &billing.withdraw(amount)).await?;
    out.say(
        "withdrawn",
        &json!({"amount": amount.unwrap_or(free)}),
        &format!("{} went to {}.", amount.unwrap_or(free).display_near(), context.signer.account()),
    );
    Ok(())
}
