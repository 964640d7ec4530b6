//! Bonds and promises: what a provider has put down, whether a rented node answers, and what a broken promise pays.

use crate::{output::Output, profile::Context};
use anyhow::{Context as _, Result, bail};
use serde_json::json;
use starling_contract_api::{
    billing::EscrowView,
    compute::{PING_PRICE, Purpose},
    rpc::BlockRef,
};
use starling_primitives::{AccountId, Amount, LeaseId, TimestampMs};
use starling_protocol::{
    bond::{Bond, Breach, Cover, CoverState},
    lease::Lease,
};
use std::time::Duration;

/// Escrows read at one time.
const PAGE: u32 = 50;
/// How often the chain is asked whether the node has answered.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Lists the bonds of a provider: what lies in each, what is set aside for leases, and what broken promises paid.
pub(crate) async fn bonds(context: &Context, provider: Option<AccountId>, out: Output) -> Result<()> {
    let provider = provider.unwrap_or_else(|| context.signer.account().clone());
    let (mut from, mut found) = (0, 0_u32);
    loop {
        let page = context.rpc.view(&context.billing().escrows_of(&provider, from, PAGE)).await?;
        let Some(last) = page.last() else { break };
        from = last.id.0 + 1;
        for view in page.iter().filter(|view| view.escrow.arbiter == context.compute().0) {
            if context.rpc.view(&context.compute().purpose(view.id)).await? == Some(Purpose::Bond)
                && let Some(bond) = context.rpc.view(&context.compute().bond(view.id)).await?
            {
                found += 1;
                show_bond(view, &bond, out)?;
            }
        }
    }
    if found == 0 {
        let words = format!("{provider} has no bond: its offers promise nothing. `starling node setup --sla-bond NEAR` puts one down.");
        out.say("empty", &json!({"provider": provider}), &words);
    }
    Ok(())
}

fn show_bond(view: &EscrowView, bond: &Bond, out: Output) -> Result<()> {
    let owed = Amount::sum(bond.owed.iter().map(|posting| posting.total))?;
    let free = bond.free()?;
    let fields = json!({
        "escrow_id": view.id, "state": bond.state, "deposit": bond.deposit, "set_aside": bond.set_aside, "leases": bond.leases,
        "owed": owed, "paid": view.posted, "free": free, "tenants": bond.owed, "expires_at": bond.expires_at,
    });
    let mut line = format!(
        "bond {:<5} {:<8} {} put down   {} set aside for {} leases   {} free   {} paid for broken promises",
        view.id.to_string(),
        bond.state.name(),
        bond.deposit.display_near(),
        bond.set_aside.display_near(),
        bond.leases,
        free.display_near(),
        view.posted.display_near()
    );
    if owed > view.posted {
        line.push_str(&format!("   {} owed and not claimed yet", owed.checked_sub(view.posted)?.display_near()));
    }
    out.say("bond", &fields, &line);
    Ok(())
}

/// Asks on chain whether the node of a lease answers, and waits until it does or its time is over.
pub(crate) async fn ping(context: &Context, lease_id: LeaseId, wait: bool, out: Output) -> Result<()> {
    context.check_network().await?;
    require_cover(&lease(context, lease_id).await?)?;
    context.rpc.call(&context.signer, &context.compute().ping(lease_id)).await.context("the ping was not taken")?;
    let (mut cover, now) = look(context, lease_id).await?;
    if let CoverState::Pinged { answer_by } = cover.state {
        let asked =
            format!("Asked for {}. The node of lease {lease_id} has {} to answer.", PING_PRICE.display_near(), answer_by.since(now));
        out.say("pinged", &json!({"lease_id": lease_id, "answer_by": answer_by, "price": PING_PRICE}), &asked);
    }
    while matches!(cover.state, CoverState::Pinged { .. }) {
        if !wait {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
        (cover, _) = look(context, lease_id).await?;
    }
    tell(lease_id, &cover, out);
    Ok(())
}

/// Says where a promise stands after a ping.
fn tell(lease_id: LeaseId, cover: &Cover, out: Output) {
    let fields = json!({"lease_id": lease_id, "cover": cover.state});
    match cover.state {
        CoverState::Broken { breach: Breach::Unanswered, .. } => out.say(
            "unanswered",
            &fields,
            &format!(
                "Nobody answered in time: {} out of the bond are yours. `starling claim {lease_id}` brings them.",
                cover.sla.pays.display_near()
            ),
        ),
        CoverState::Standing { .. } => {
            out.say("answered", &fields, "The node answered. The next ping is possible when this answer would have been due.");
        }
        state => out.say("promise", &fields, &format!("The promise of lease {lease_id} is {}.", state.name())),
    }
}

/// Has what a broken promise pays posted to the tenant's balance.
pub(crate) async fn claim(context: &Context, lease_id: LeaseId, out: Output) -> Result<()> {
    context.check_network().await?;
    let before = lease(context, lease_id).await?;
    require_cover(&before)?;
    let outcome = context.rpc.call(&context.signer, &context.compute().claim_bond(lease_id)).await.context("nothing was claimed")?;
    if !outcome.json::<bool>()? {
        bail!("billing did not take the claim; nothing is lost: run `starling claim {lease_id}` again");
    }
    let (cover, _) = look(context, lease_id).await?;
    let pays = if matches!(cover.state, CoverState::Broken { .. }) { cover.sla.pays } else { Amount::ZERO };
    out.say(
        "claimed",
        &json!({"lease_id": lease_id, "cover": cover.state, "pays": pays, "tenant": before.tenant}),
        &format!("Lease {lease_id}: {} less the fee are on the balance of {}.", pays.display_near(), before.tenant),
    );
    Ok(())
}

async fn lease(context: &Context, lease_id: LeaseId) -> Result<Lease> {
    context.rpc.view(&context.compute().lease(lease_id)).await?.with_context(|| format!("there is no lease {lease_id}"))
}

fn require_cover(lease: &Lease) -> Result<()> {
    if lease.cover.is_none() {
        bail!("lease {} has no bond behind it: its offer promised nothing", lease.id);
    }
    Ok(())
}

/// The promise as it stands at the chain's time, and that time.
async fn look(context: &Context, lease_id: LeaseId) -> Result<(Cover, TimestampMs)> {
    let now = TimestampMs(context.rpc.block(BlockRef::Final).await?.timestamp_ms);
    let lease = lease(context, lease_id).await?;
    Ok((lease.cover.with_context(|| format!("lease {lease_id} has no bond behind it"))?.at(now), now))
}
