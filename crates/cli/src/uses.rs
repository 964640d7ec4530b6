//! `starling use NAME`: pays for metered uses of a model or tool, each good for one lease.

use crate::{
    output::Output,
    pay::{Payment, pay, words},
    profile::Context,
    train::now,
};
use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use serde_json::json;
use starling_contract_api::{
    hub::{Listings, MeteredUse},
    payment::PaymentMsg,
    rpc::Signer,
};
use starling_primitives::{Amount, AssetName, BasisPoints, DurationMs, EscrowId, Hash32};
use starling_protocol::{listing::Listing, signing::Voucher};

/// An escrow of a use lives so long at most: what it does not use returns then, or seven days after it is asked for.
const LIFE: DurationMs = DurationMs::from_days(7);

#[derive(Args, Debug)]
pub(crate) struct UseArgs {
    /// PUBLISHER/NAME of a model or tool that sells uses.
    name: AssetName,
    /// So many leases may use it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    uses: u64,
}

/// Pays for more uses from the open deposit, or from a new one, and brings the voucher.
pub(crate) async fn buy(context: &Context, args: &UseArgs, out: Output) -> Result<()> {
    context.check_network().await?;
    let (shop, listing) = find(context, &args.name).await?;
    let price = listing.price_per_use.with_context(|| format!("no use of {} is sold: buy its licence", args.name))?;
    let holder = context.signer.account();
    ensure!(holder != args.name.publisher(), "{} is your own: it needs no payment", args.name);
    let wanted = price.checked_mul(args.uses)?;
    let open = context.rpc.view(&shop.metered_use(holder, &args.name)).await?;
    let escrow_id = match open {
        Some(open) if reaches(context, &open, args.uses).await? => open.escrow_id,
        _ => deposit(context, &shop, &listing, wanted).await?,
    };
    let total = bring_voucher(context, escrow_id, &args.name, wanted).await?;
    let paid = json!({"escrow_id": escrow_id, "uses": args.uses, "total": total, "asset": listing.asset});
    out.say(
        "uses_paid",
        &paid,
        &format!("Paid {} for {} uses of {}: so many leases may name its files.", words(&listing.asset, wanted), args.uses, args.name),
    );
    Ok(())
}

async fn find(context: &Context, name: &AssetName) -> Result<(Listings, Listing)> {
    let deployment = &context.profile.deployment;
    for shop in [&deployment.hub, &deployment.market] {
        let shop = Listings(shop.clone());
        if let Some(listing) = context.rpc.view(&shop.listing(name)).await? {
            return Ok((shop, listing));
        }
    }
    bail!("there is no {name} on {}", deployment.chain_id)
}

/// Whether an open use's deposit has room for so many more at its own price, and its key is in this home.
async fn reaches(context: &Context, open: &MeteredUse, uses: u64) -> Result<bool> {
    if now() > open.until || !key_file(context, open.escrow_id).exists() {
        return Ok(false);
    }
    let view = context.rpc.view(&context.billing().escrow(open.escrow_id)).await?;
    Ok(view.is_some_and(|view| open.price_per_use.checked_mul(uses).is_ok_and(|wanted| wanted <= view.available)))
}

fn key_file(context: &Context, escrow_id: EscrowId) -> std::path::PathBuf {
    context.home.meter_key(&format!("use-{escrow_id}"))
}

/// A deposit of a key made for it, which is kept before anything is paid.
async fn deposit(context: &Context, shop: &Listings, listing: &Listing, amount: Amount) -> Result<EscrowId> {
    let key = Signer::generate(context.signer.account().clone())?;
    let new = context.home.meter_key(&format!("use-new-{}", now().0));
    if let Some(folder) = new.parent() {
        std::fs::create_dir_all(folder)?;
    }
    key.write_file(&new)?;
    let payment = Payment {
        target: shop.0.clone(),
        asset: listing.asset.clone(),
        amount,
        msg: PaymentMsg::Use { name: listing.name.clone() },
        expires_by: now().after(LIFE),
        holdback: BasisPoints::ZERO,
        voucher: Some(key.public_key()),
    };
    let escrow_id = pay(context, payment).await?;
    std::fs::rename(&new, key_file(context, escrow_id))?;
    Ok(escrow_id)
}

/// Signs the next total and brings it; gives the total.
async fn bring_voucher(context: &Context, escrow_id: EscrowId, name: &AssetName, more: Amount) -> Result<Amount> {
    let billing = context.billing();
    let key = Signer::from_file(&key_file(context, escrow_id))?;
    let view = context.rpc.view(&billing.escrow(escrow_id)).await?.with_context(|| format!("escrow {escrow_id} is spent"))?;
    let opened = view.escrow.state.opened().with_context(|| format!("escrow {escrow_id} is not open"))?;
    let total = opened.total().checked_add(more)?;
    let voucher = Voucher { escrow_id, seq: opened.seq + 1, payee: name.publisher().clone(), total, work_root: Hash32::default() };
    let signature = key.sign_bytes(&voucher.signing_bytes(&context.profile.deployment.billing_domain()));
    let outcome = context.rpc.call(&context.signer, &billing.redeem(&voucher, &signature)).await?;
    ensure!(outcome.json::<bool>()?, "the voucher changed nothing: run it again");
    Ok(total)
}
