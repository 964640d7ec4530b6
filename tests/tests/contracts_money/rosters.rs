//! The largest run that the chain takes: 64 nodes, 64 payees, within the gas that is attached.

use crate::{books::surplus, money};
use starling_contract_api::{
    billing::{ACCOUNT_BYTES, Billing, escrow_storage},
    payment::{PaymentMsg, storage_cost},
};
use starling_primitives::{AccountId, Amount, BasisPoints, NodeId, RunId, Text};
use starling_protocol::node::{Capability, DeviceKind};
use starling_tests::{
    MIN_STAKE,
    work::{next_round, run_terms},
};

const NODES: u16 = 64;

#[tokio::test]
async fn full_roster__should_sign_settle_and_acknowledge_within_its_gas() -> anyhow::Result<()> {
    let harness = money().await?;
    let (billing, compute) = (harness.billing(), harness.compute());
    let provider = harness.registered("provider.starling", 200).await?;
    let alice = harness.actor("alice.starling", 200).await?;
    let price = harness.view(&compute.storage_price()).await?;
    let capability =
        Capability { kind: DeviceKind::Cpu, device: Text::new("test processor")?, memory_bytes: 1 << 30, threads: 2, matrix_gflops: 10 };
    // Names as long as names can be, so that the figures are the greatest.
    let payout = |place: u16| AccountId::new(format!("{place:02}{}", "p".repeat(62)));
    for place in 0..NODES {
        let id: NodeId = harness
            .call(&provider, &compute.register_node(&provider.public_key(), &payout(place)?, &capability, price))
            .await?
            .ok()?
            .json()?;
        harness.pay(&provider, &compute.0, MIN_STAKE, PaymentMsg::Stake { node_id: id }).await?.ok()?;
        harness.call(&provider, &billing.storage_deposit(Some(&payout(place)?), true, storage_cost(ACCOUNT_BYTES))).await?.ok()?;
    }
    let reserve = surplus(&harness).await?;
    let deposit = Amount::from_near(100);
    let paid = harness.pay(&alice, &compute.0, deposit, PaymentMsg::Run(run_terms(alice.public_key(), 2, NODES))).await?.ok()?;
    let mut enrolled = 0;
    for place in 1..=u64::from(NODES) {
        enrolled = harness.call(&provider, &compute.enroll(RunId(1), NodeId(place))).await?.ok()?.largest_receipt_tgas.max(enrolled);
    }
    let places: Vec<_> = (0..NODES).map(|place| (place, &provider)).collect();
    let tokens = vec![1_000; usize::from(NODES)];
    let round = harness.post_round(&alice, &next_round(&harness.run(RunId(1)).await?, &tokens), &places, &alice).await?.ok()?;
    let settled = harness.call(&alice, &compute.settle_run(RunId(1))).await?.ok()?;
    harness.post_round(&alice, &next_round(&harness.run(RunId(1)).await?, &tokens), &places, &alice).await?.ok()?;
    harness.call(&alice, &compute.settle_run(RunId(1))).await?.ok()?;
    let escrow = harness.view(&billing.escrows_of(&alice.account, 0, 1)).await?.remove(0);
    let acknowledged = harness.call(&alice, &billing.acknowledge(escrow.id)).await?.ok()?;
    println!(
        "largest receipt in Tgas: pay {}, enroll {enrolled}, post_round {}, settle_run {}, acknowledge {}",
        paid.largest_receipt_tgas, round.largest_receipt_tgas, settled.largest_receipt_tgas, acknowledged.largest_receipt_tgas
    );
    let each = Amount::from_millinear(200);
    let net = Amount(each.0 - each.fraction_ceil(BasisPoints::new(starling_tests::FEE)?).0);
    for place in 0..NODES {
        assert_eq!(crate::books::free(&harness, &payout(place)?).await?, net);
    }
    let returned = Amount(deposit.0 - 64 * each.0);
    assert_eq!(crate::books::free(&harness, &alice.account).await?, returned.checked_add(Billing::pay_storage())?);
    assert_eq!(escrow.storage, escrow_storage(NODES));
    assert_eq!(surplus(&harness).await?, Amount(reserve.0 + 1));
    Ok(())
}
