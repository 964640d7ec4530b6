//! Keeps what the node's offer promised: each ping on chain is answered before it is due, whatever the coordinator, the job or the owner's limits do meanwhile.

use super::{Context, TaskError};
use crate::chain::ChainError;
use starling_primitives::{LeaseId, TimestampMs};
use starling_protocol::{
    bond::{CoverState, MIN_ANSWER_TIME},
    lease::{Lease, LeaseState},
};
use std::{sync::Arc, time::Duration};

/// How often the chain is asked: twelve times in the shortest time that an offer may promise an answer in.
const LOOK_EVERY: Duration = Duration::from_millis(MIN_ANSWER_TIME.0 / 12);

/// What a promise asks of the node now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    /// Nothing yet.
    Nothing,
    /// An answer, by this time.
    Answer(TimestampMs),
    /// It was broken; an answer would only cost gas.
    Broken,
    /// Nothing any more.
    Over,
}

/// Answers the pings of all leases that this node accepted with a bond behind them, for as long as the program runs.
pub(crate) async fn keep(context: Arc<Context>) {
    loop {
        match context.receipts.promised() {
            Ok(leases) => {
                for lease_id in leases {
                    if let Err(error) = keep_one(&context, lease_id).await {
                        tracing::warn!(%lease_id, %error, "the promise of a lease could not be looked after; trying again");
                    }
                }
            }
            Err(error) => tracing::error!(%error, "the list of promises cannot be read: pings are not answered until it can"),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn keep_one(context: &Context, lease_id: LeaseId) -> Result<(), TaskError> {
    let due = match context.chain.lease(lease_id).await {
        Ok(lease) if lease.node_id == context.config.node_id => due(&lease, context.chain.now().await?),
        Ok(_) | Err(ChainError::Deviates(_)) => Due::Over,
        Err(error) => return Err(error.into()),
    };
    match due {
        Due::Nothing => return Ok(()),
        Due::Answer(answer_by) => {
            context.chain.pong(lease_id).await?;
            tracing::info!(%lease_id, %answer_by, "answered a ping");
            return Ok(());
        }
        Due::Broken => tracing::error!(%lease_id, "the promise of this lease was broken: its part of the bond is the tenant's"),
        Due::Over => tracing::debug!(%lease_id, "the promise of this lease was kept"),
    }
    Ok(context.receipts.set_promised(lease_id, false)?)
}

fn due(lease: &Lease, now: TimestampMs) -> Due {
    let Some(cover) = &lease.cover else { return Due::Over };
    match (lease.state, cover.at(now).state) {
        (LeaseState::Unpaid | LeaseState::Pending { .. }, _) => Due::Nothing,
        (_, CoverState::Broken { .. }) => Due::Broken,
        (LeaseState::Active { .. }, CoverState::Pinged { answer_by }) => Due::Answer(answer_by),
        (LeaseState::Active { .. }, CoverState::Standing { .. }) => Due::Nothing,
        (LeaseState::Active { .. }, CoverState::Kept) | (LeaseState::Closing { .. } | LeaseState::Closed { .. }, _) => Due::Over,
    }
}

#[cfg(test)]
#[path = "promise_tests.rs"]
mod tests;
