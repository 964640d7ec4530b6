//! `starling verify --receipt FILE`: checks a saved receipt without a network, and with `--on-chain` that the chain really told what is in it.

use crate::{output::Output, profile::Context};
use anyhow::{Context as _, Result, ensure};
use serde_json::json;
use starling_contract_api::{
    events::BillingEvent,
    rpc::{Outcome, RpcClient},
    settlement::{Settlement, SettlementReceipt},
};
use starling_primitives::{Amount, Asset};
use std::{collections::BTreeMap, path::Path};

/// The largest file that is read.
const MAX_BYTES: u64 = 256 << 20;

/// Checks the file by the rules of `billing`, and against the chain if there is one to ask. Says what it sums to.
pub(crate) async fn verify(path: &Path, chain: Option<&Context>, out: Output) -> Result<Settlement> {
    let size = std::fs::metadata(path).with_context(|| format!("{} cannot be read", path.display()))?.len();
    ensure!(size <= MAX_BYTES, "{} has {size} bytes: no receipt is that long", path.display());
    let bytes = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let receipt: SettlementReceipt =
        serde_json::from_slice(&bytes).with_context(|| format!("{} is no receipt, or was changed", path.display()))?;
    let settlement = receipt.check().with_context(|| format!("{} is not right", path.display()))?;
    if let Some(context) = chain {
        told_by_the_chain(context, &receipt).await?;
    }
    out.say(
        "receipt_verified",
        &json!({"receipt": settlement, "on_chain": chain.is_some()}),
        &words(&receipt, &settlement, chain.is_some()),
    );
    Ok(settlement)
}

/// Each step stands in the logs of its transaction.
async fn told_by_the_chain(context: &Context, receipt: &SettlementReceipt) -> Result<()> {
    context.check_network().await?;
    let deployment = &context.profile.deployment;
    ensure!(
        receipt.chain_id == deployment.chain_id && receipt.billing == deployment.billing,
        "the receipt is of {} on {}, this profile is for {} on {}",
        receipt.billing,
        receipt.chain_id,
        deployment.billing,
        deployment.chain_id
    );
    let mut told: BTreeMap<&str, Vec<BillingEvent>> = BTreeMap::new();
    for (index, step) in receipt.steps.iter().enumerate() {
        if !told.contains_key(step.tx.as_str()) {
            told.insert(&step.tx, events(&context.rpc, receipt, step).await.with_context(|| format!("step {}", index + 1))?);
        }
        let events = told.get_mut(step.tx.as_str()).into_iter().flatten();
        // Each log line counts once.
        let place = events.enumerate().find(|(_, event)| **event == step.told).map(|(place, _)| place);
        let place = place.with_context(|| format!("step {}: the chain tells nothing like it in transaction {}", index + 1, step.tx))?;
        if let Some(events) = told.get_mut(step.tx.as_str()) {
            events.remove(place);
        }
    }
    Ok(())
}

async fn events(rpc: &RpcClient, receipt: &SettlementReceipt, step: &starling_contract_api::settlement::Step) -> Result<Vec<BillingEvent>> {
    let outcome: Option<Outcome> = rpc.outcome(&step.tx, &step.signer).await?;
    let outcome =
        outcome.with_context(|| format!("the chain's RPC does not know transaction {}: an archival RPC keeps them all", step.tx))?;
    let ours = outcome.events.into_iter().filter(|event| event.contract == receipt.billing.as_str());
    Ok(ours.filter_map(|event| serde_json::from_value(json!({"event": event.event, "data": event.data})).ok()).collect())
}

fn words(receipt: &SettlementReceipt, settlement: &Settlement, on_chain: bool) -> String {
    let amount = |amount: Amount| match &settlement.asset {
        Asset::Near => amount.exact_near(),
        Asset::Nep141(token) => format!("{amount} units of {token}"),
    };
    let how = if on_chain { ", each of them told by the chain" } else { ", checked without a network" };
    let mut lines = vec![
        format!(
            "Escrow {} of {} on {}: {} steps{how}; every figure is right.",
            receipt.escrow_id,
            receipt.billing,
            receipt.chain_id,
            receipt.steps.len()
        ),
        format!("  paid in     {}  by {}", amount(settlement.deposited), settlement.payer),
    ];
    lines.extend(settlement.paid.iter().map(|(account, paid)| format!("  paid        {}  to {account}", amount(*paid))));
    lines.push(format!("  fee         {}", amount(settlement.fee)));
    lines.push(format!("  returned    {}", amount(settlement.refunded)));
    lines.push(format!("  still in it {}  ({})", amount(settlement.locked), settlement.state));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;
    use starling_contract_api::{
        events::Source,
        settlement::{RECEIPT_FORMAT, Step},
    };
    use starling_primitives::{AccountId, BasisPoints, EscrowId, TimestampMs};

    #[tokio::test]
    async fn receipt__should_be_checked_from_its_file_alone() {
        let account = |name: &str| AccountId::new(name).unwrap();
        let told = BillingEvent::PaymentHeld {
            escrow_id: EscrowId(3),
            payer: account("alice.starling"),
            target: account("compute.starling"),
            asset: Asset::Near,
            amount: Amount(50),
            fee: BasisPoints::ZERO,
            storage: Amount(1),
            forwarded: Amount::ZERO,
            source: Source::Balance,
            msg: json!("stake"),
        };
        let step = Step { tx: "abc".to_owned(), signer: account("alice.starling"), at: TimestampMs(1_800_000_000_000), told };
        let receipt = SettlementReceipt {
            format: RECEIPT_FORMAT.to_owned(),
            chain_id: "starling-test".to_owned(),
            billing: account("billing.starling"),
            escrow_id: EscrowId(3),
            steps: vec![step],
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("receipt.json");
        std::fs::write(&path, serde_json::to_vec(&receipt).unwrap()).unwrap();
        let settlement = verify(&path, None, Output::new(true)).await.unwrap();
        assert_eq!((settlement.locked, settlement.state), (Amount(50), "held"));
        for (from, to, words) in
            [("\"escrow_id\":3", "\"escrow_id\":4", "not right"), ("starling-settlement", "other", "not right"), ("{", "", "no receipt")]
        {
            let text = String::from_utf8(serde_json::to_vec(&receipt).unwrap()).unwrap();
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text, "{from}");
            std::fs::write(&path, changed).unwrap();
            let error = format!("{:#}", verify(&path, None, Output::new(true)).await.unwrap_err());
            assert!(error.contains(words), "{error} lacks {words}");
        }
    }
}
