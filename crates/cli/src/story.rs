//! What happened, read from the events of the chain's blocks over its RPC.

use anyhow::{Context as _, Result};
use starling_contract_api::{
    Deployment,
    billing::Billing,
    events::{BILLING_STANDARD, BillingEvent, COMPUTE_STANDARD, ComputeEvent, Decision, Moved, parse},
    rpc::{BlockRef, RpcClient},
};
use starling_primitives::{AccountId, Amount, BasisPoints, EscrowId, RunId, TimestampMs};
use starling_protocol::signing::{RoundStatement, Voucher};
use std::collections::BTreeMap;

/// All events of our contracts since a moment, in order.
pub(crate) struct Story {
    billing: Vec<BillingEvent>,
    compute: Vec<ComputeEvent>,
}

/// What `billing` moved for one escrow.
#[derive(Debug, Default)]
pub(crate) struct EscrowStory {
    pub(crate) fee_rate: BasisPoints,
    pub(crate) credits: BTreeMap<AccountId, Amount>,
    pub(crate) fee: Amount,
    pub(crate) refunded: Amount,
    pub(crate) holdback_released: bool,
    pub(crate) holdback_refused: bool,
}

impl Story {
    /// Reads the blocks from the last one back to `since`.
    pub(crate) async fn read(rpc: &RpcClient, deployment: &Deployment, since: TimestampMs) -> Result<Self> {
        let ours = [&deployment.billing, &deployment.compute, &deployment.hub, &deployment.market].map(AccountId::as_str);
        // Tokens come in by a call of their own contract.
        let tokens =
            rpc.view(&Billing(deployment.billing.clone()).tokens()).await.context("the tokens that billing takes cannot be read")?;
        let concerns = |receiver: &str| ours.contains(&receiver) || tokens.iter().any(|totals| totals.token.as_str() == receiver);
        let mut found = Vec::new();
        let mut which = BlockRef::Final;
        loop {
            let block = rpc.block(which).await.context("the chain's history cannot be read; an archival RPC keeps it all")?;
            if TimestampMs(block.timestamp_ms) < since {
                break;
            }
            for transaction in block.transactions.iter().rev().filter(|transaction| concerns(&transaction.receiver)) {
                let outcome = rpc.outcome(&transaction.hash, &AccountId::new(transaction.signer.clone())?).await?;
                found.extend(outcome);
            }
            let Some(height) = block.previous_height else { break };
            which = BlockRef::Height(height);
        }
        let mut story = Self { billing: Vec::new(), compute: Vec::new() };
        for outcome in found.iter().rev() {
            story.billing.extend(outcome.logs.iter().filter_map(|log| parse::<BillingEvent>(log, BILLING_STANDARD)));
            story.compute.extend(outcome.logs.iter().filter_map(|log| parse::<ComputeEvent>(log, COMPUTE_STANDARD)));
        }
        Ok(story)
    }

    /// The statements that counted for a run, in order.
    pub(crate) fn rounds(&self, run_id: RunId) -> Vec<RoundStatement> {
        let accepted = self.compute.iter().filter_map(|event| match event {
            ComputeEvent::RoundAccepted { statement, .. } if statement.run_id == run_id => Some(statement.clone()),
            _ => None,
        });
        accepted.collect()
    }

    /// The movements of an escrow; nothing when it was never paid.
    pub(crate) fn escrow(&self, id: EscrowId) -> Result<EscrowStory> {
        let mut story = EscrowStory::default();
        let mut held = false;
        for event in &self.billing {
            match event {
                BillingEvent::PaymentHeld { escrow_id, fee, .. } if *escrow_id == id => {
                    held = true;
                    story.fee_rate = *fee;
                }
                BillingEvent::HoldbackDecided { escrow_id, decision, moved } if *escrow_id == id => {
                    story.holdback_refused = *decision == Decision::Refused;
                    story.holdback_released = !story.holdback_refused;
                    story.add(moved)?;
                }
                BillingEvent::EscrowOpened { escrow_id, moved, .. }
                | BillingEvent::EscrowRefused { escrow_id, moved, .. }
                | BillingEvent::EscrowVoided { escrow_id, moved }
                | BillingEvent::EscrowPosted { escrow_id, moved, .. }
                | BillingEvent::VoucherRedeemed { voucher: Voucher { escrow_id, .. }, moved }
                | BillingEvent::PostsVested { escrow_id, moved }
                | BillingEvent::EscrowObjected { escrow_id, moved }
                | BillingEvent::EscrowClosed { escrow_id, moved }
                | BillingEvent::EarningsClaimed { escrow_id, moved, .. }
                    if *escrow_id == id =>
                {
                    story.add(moved)?;
                }
                _ => {}
            }
        }
        held.then_some(story).with_context(|| format!("no payment into escrow {id} was found"))
    }
}

impl EscrowStory {
    fn add(&mut self, moved: &Moved) -> Result<()> {
        for (account, amount) in &moved.credits {
            let sum = self.credits.entry(account.clone()).or_default();
            *sum = sum.checked_add(*amount)?;
        }
        self.fee = self.fee.checked_add(moved.fee)?;
        self.refunded = self.refunded.checked_add(moved.refund)?;
        Ok(())
    }
}
