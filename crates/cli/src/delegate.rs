//! `starling meter`: a delegate's service, which looks at what a node claims for a tenant and co-signs it.

use crate::{api::Api, lease::co_sign, output::Output, profile::Context};
use anyhow::Result;
use clap::Args;
use serde_json::json;
use starling_contract_api::rpc::Signer;
use starling_http_api::{
    lease::{LeaseView, PendingLeaseStatement},
    path,
};
use starling_primitives::LeaseId;
use starling_protocol::lease::LeaseState;
use std::{collections::BTreeSet, path::PathBuf, time::Duration};

/// How often it is looked for statements that wait.
const EVERY: Duration = Duration::from_millis(500);
/// The most leases that are served at one time.
const MAX_LEASES: usize = 200;

#[derive(Args, Debug)]
pub(crate) struct MeterArgs {
    /// The key that co-signs, a NEAR credential file; made when it is not there. Tenants name its public key in their payments.
    #[arg(long)]
    key_file: PathBuf,
    /// Only this lease, and end with it.
    #[arg(long)]
    lease: Option<LeaseId>,
}

/// Co-signs for every lease whose payment names the key, until interrupted.
pub(crate) async fn meter(context: &Context, args: &MeterArgs, out: Output) -> Result<()> {
    context.check_network().await?;
    if !args.key_file.exists() {
        Signer::generate(context.signer.account().clone())?.write_file(&args.key_file)?;
    }
    let key = Signer::from_file(&args.key_file)?;
    let api = Api::of(context)?;
    let ready = json!({"account": context.signer.account(), "key": key.public_key()});
    out.say("meter_ready", &ready, &format!("Co-signs as {} with the key {}.", context.signer.account(), key.public_key()));
    let mut seen = BTreeSet::new();
    loop {
        let leases: Vec<LeaseView> = match args.lease {
            Some(id) => vec![api.get(&path::fill(path::LEASE, &[&id])).await?],
            None => api.get(&format!("{}?limit={MAX_LEASES}", path::LEASES)).await?,
        };
        for view in leases.iter().filter(|view| view.lease.terms.meter == key.public_key()) {
            serve(context, &api, &key, view, &mut seen, out).await?;
        }
        if args.lease.is_some() && leases.iter().all(|view| matches!(view.lease.state, LeaseState::Closed { .. })) {
            return Ok(());
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// A statement that is wrong is left unsigned, and said once: the node then stops.
async fn serve(
    context: &Context,
    api: &Api,
    key: &Signer,
    view: &LeaseView,
    seen: &mut BTreeSet<(LeaseId, u64)>,
    out: Output,
) -> Result<()> {
    if !matches!(view.lease.state, LeaseState::Active { .. } | LeaseState::Closing { .. }) {
        return Ok(());
    }
    let id = view.lease.id;
    let Some(pending) = api.find::<PendingLeaseStatement>(&path::fill(path::LEASE_STATEMENT, &[&id])).await? else { return Ok(()) };
    let (seq, metered_ms) = (pending.statement.seq, pending.statement.metered_ms);
    let said = seen.insert((id, seq));
    match co_sign(context, api, key, &pending).await {
        Ok(()) => out.say(
            "statement_signed",
            &json!({"lease_id": id, "seq": seq, "metered_ms": metered_ms}),
            &format!("Lease {id}: signed statement {seq}, {} s in all.", metered_ms / 1_000),
        ),
        Err(error) if said => out.say(
            "statement_refused",
            &json!({"lease_id": id, "seq": seq, "reason": format!("{error:#}")}),
            &format!("Lease {id}: statement {seq} is not signed: {error:#}."),
        ),
        Err(_) => {}
    }
    Ok(())
}
