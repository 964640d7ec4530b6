//! Receipts: all that billing told of an escrow, read from the chain's transactions, and checked by the contract's own rules before it is saved.

use super::{Failure, Outcome, chain, coordinator};
use starling_contract_api::{
    events::{BILLING_STANDARD, BillingEvent, parse},
    settlement::{RECEIPT_FORMAT, Settlement, SettlementReceipt, Step},
};
use starling_http_api::{
    network::{HistoryEntry, NetworkInfo},
    path,
};
use starling_primitives::{AccountId, EscrowId, TimestampMs};
use std::collections::{BTreeMap, BTreeSet};

/// Entries of a page of history.
const PAGE: usize = 200;
/// No more pages are looked through for one escrow.
const MAX_PAGES: usize = 50;

/// The receipt of an escrow that this account paid, and what it sums to.
pub(crate) async fn receipt(network: &NetworkInfo, account: &AccountId, escrow_id: EscrowId) -> Outcome<(SettlementReceipt, Settlement)> {
    let mut found = Vec::new();
    for (tx, signer) in transactions(account, escrow_id).await? {
        for logged in chain::logs(&network.rpc_url, &tx, &signer, &network.deployment.billing).await? {
            let told = parse::<BillingEvent>(&logged.line, BILLING_STANDARD).filter(|told| told.escrow_id() == Some(escrow_id));
            found.extend(told.map(|told| (logged.block, tx.clone(), signer.clone(), told)));
        }
    }
    let mut blocks: BTreeMap<String, (u64, TimestampMs)> = BTreeMap::new();
    for (hash, ..) in &found {
        if !blocks.contains_key(hash) {
            blocks.insert(hash.clone(), chain::block(&network.rpc_url, hash).await?);
        }
    }
    // Transactions overlap: the order is that of the blocks in which each thing happened.
    found.sort_by_key(|(hash, ..)| blocks.get(hash).map(|(height, _)| *height));
    let at = |hash: &str| blocks.get(hash).map_or(TimestampMs(0), |(_, at)| *at);
    let steps = found.into_iter().map(|(hash, tx, signer, told)| Step { at: at(&hash), tx, signer, told }).collect();
    let receipt = SettlementReceipt {
        format: RECEIPT_FORMAT.to_owned(),
        chain_id: network.deployment.chain_id.clone(),
        billing: network.deployment.billing.clone(),
        escrow_id,
        steps,
    };
    let settlement = receipt.check().map_err(|error| {
        Failure::new("receipt_wrong", format!("What the chain tells of escrow {escrow_id} does not add up: {error}. Nothing was saved. Money does not move by this; report it with this page's code."))
    })?;
    Ok((receipt, settlement))
}

/// Each transaction in which billing told of the escrow, the payment's first, with its signer.
async fn transactions(account: &AccountId, escrow_id: EscrowId) -> Outcome<Vec<(String, AccountId)>> {
    let (mut found, mut seen, mut before) = (Vec::new(), BTreeSet::new(), None::<u64>);
    for _ in 0..MAX_PAGES {
        let from = before.map(|before| format!("&before={before}")).unwrap_or_default();
        let page: Vec<HistoryEntry> = coordinator::get(&format!("{}?account={account}&limit={PAGE}{from}", path::HISTORY)).await?;
        before = page.last().map(|entry| entry.seq);
        for entry in page.iter().filter(|entry| entry.escrow_id == Some(escrow_id)) {
            if seen.insert(entry.tx.clone()) {
                found.push((entry.tx.clone(), entry.signer.clone().unwrap_or_else(|| account.clone())));
            }
            if entry.event == "payment_held" {
                found.reverse();
                return Ok(found);
            }
        }
        if page.len() < PAGE {
            break;
        }
    }
    Err(Failure::new(
        "no_payment",
        format!(
            "The payment into escrow {escrow_id} is not in this account's history: only who paid gets the receipt, or the coordinator has not read that far back."
        ),
    ))
}
