//! The meter of a lease: what waits for its signature, and what is looked at before it signs.

use crate::{api::Api, profile::Context, train::now};
use anyhow::{Context as _, Result, bail};
use starling_contract_api::rpc::Signer;
use starling_http_api::{
    lease::{LeaseMeterSignature, PendingLeaseStatement},
    path,
    problem::Problem,
};
use starling_primitives::{DurationMs, LeaseId};
use starling_protocol::{lease::LeaseState, signing::Role};

/// Signs the statement of a lease that waits, if any does.
pub(crate) async fn sign_waiting(context: &Context, api: &Api, meter: &Signer, lease_id: LeaseId) -> Result<()> {
    match waiting(api, lease_id).await? {
        Some(pending) => co_sign(context, api, meter, &pending).await,
        None => Ok(()),
    }
}

/// The statement of a lease that waits for its meter, if any does.
pub(crate) async fn waiting(api: &Api, lease_id: LeaseId) -> Result<Option<PendingLeaseStatement>> {
    api.find(&path::fill(path::LEASE_STATEMENT, &[&lease_id])).await
}

/// Signs what the node claims, if the store really has the output and no more time is claimed than passed.
pub(crate) async fn co_sign(context: &Context, api: &Api, meter: &Signer, pending: &PendingLeaseStatement) -> Result<()> {
    let statement = &pending.statement;
    api.download(statement.output).await.context("the output that the node claims is not in the store")?;
    let lease = context.rpc.view(&context.compute().lease(statement.lease_id)).await?.context("the lease is not on chain")?;
    if let LeaseState::Active { since, .. } = lease.state
        && statement.metered_ms > now().since(since).0
    {
        bail!("the node claims {} of work, and less time has passed: not signed", DurationMs(statement.metered_ms));
    }
    let signature = meter.sign_bytes(&statement.signing_bytes(&context.profile.deployment.compute_domain(), Role::Meter));
    let body = LeaseMeterSignature { seq: statement.seq, signature };
    api.post_quietly(&path::fill(path::LEASE_STATEMENT, &[&statement.lease_id]), &body).await.or_else(|error| {
        // It does not wait any more: the same signature was there already.
        if error.downcast_ref::<Problem>().is_some_and(|problem| problem.code == "not_found") { Ok(()) } else { Err(error) }
    })
}
