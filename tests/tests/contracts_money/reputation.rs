//! What nodes do counts where anyone can read it.

use crate::leases::{LEASE, offered};
use starling_contract_api::{
    compute::Standing,
    events::ComputeEvent,
    payment::{PayResult, PaymentMsg},
};
use starling_primitives::{Amount, DurationMs, LeaseId, NodeId, RunId};
use starling_protocol::reputation::{DEED, Reputation};
use starling_tests::{
    Harness,
    work::{next_round, run_terms},
};

async fn standing(harness: &Harness, node_id: NodeId) -> anyhow::Result<Standing> {
    harness.view(&harness.compute().reputation(node_id)).await
}

#[tokio::test]
async fn rounds__should_count_for_who_took_part_and_who_did_not() -> anyhow::Result<()> {
    let harness = Harness::start_with(&["billing", "compute"]).await?;
    let tenant = harness.registered("tenant.starling", 50).await?;
    let mut nodes = Vec::new();
    for name in ["one.starling", "two.starling", "three.starling"] {
        nodes.push(harness.node(name).await?);
    }
    assert_eq!(standing(&harness, nodes[0].id).await?.score.get(), 5_000, "a node without a past");
    let msg = PaymentMsg::Run(run_terms(tenant.public_key(), 2, 3));
    let paid: PayResult = harness.pay(&tenant, &harness.deployment.compute, Amount::from_near(2), msg).await?.ok()?.json()?;
    for node in &nodes {
        harness.call(&node.key, &harness.compute().enroll(RunId(1), node.id)).await?.ok()?;
    }
    // The first contributes and signs, the second signs, the third does neither.
    let signers = [(0, &nodes[0].key), (1, &nodes[1].key)];
    for _ in 0..2 {
        let statement = next_round(&harness.run(RunId(1)).await?, &[900, 0, 0]);
        harness.post_round(&tenant, &statement, &signers, &tenant).await?.ok()?;
    }
    let first = standing(&harness, nodes[0].id).await?;
    assert_eq!((first.figures.accepted_tokens, first.figures.rounds, first.figures.missed_rounds), (1_800, 2 * DEED, 0));
    assert_eq!(first.score.get(), 7_500);
    let third = standing(&harness, nodes[2].id).await?;
    assert_eq!((third.figures.rounds, third.figures.missed_rounds, third.score.get()), (0, 2 * DEED, 2_500));
    // A refused holdback counts for whoever had a part of it.
    harness.call(&tenant, &harness.compute().settle_run(RunId(1))).await?.ok()?;
    let refused = harness.call(&tenant, &harness.billing().refuse(paid.escrow_id)).await?.ok()?;
    let told = refused.compute_events();
    assert!(matches!(told.as_slice(), [ComputeEvent::HoldbackRefused { nodes: counted, .. }] if *counted == [nodes[0].id]), "{told:?}");
    let counted = standing(&harness, nodes[0].id).await?;
    assert_eq!((counted.figures.refusals, counted.score.get()), (DEED, 3_333));
    assert_eq!(standing(&harness, nodes[1].id).await?.figures.refusals, 0);
    // In a month half of it is forgotten.
    harness.pass(DurationMs::from_days(30)).await?;
    let faded = standing(&harness, nodes[0].id).await?;
    // Whole tokens are rounded down each day.
    assert!((870..=900).contains(&faded.figures.accepted_tokens), "{faded:?}");
    assert_eq!(faded.figures.refusals, 499_988);
    Ok(())
}

#[tokio::test]
async fn leases__should_count_by_how_they_end() -> anyhow::Result<()> {
    let rented = offered().await?;
    let (harness, node) = (&rented.harness, &rented.node);
    let compute = harness.compute();
    let hour = DurationMs::from_hours(1);
    let figures = async || -> anyhow::Result<Reputation> { Ok(standing(harness, node.id).await?.figures) };
    // Not accepted.
    rented.pay(Amount::from_near(3), hour).await?;
    harness.pass(DurationMs::from_secs(61)).await?;
    harness.call(&harness.owner, &compute.settle_lease(LEASE)).await?.ok()?;
    assert_eq!(figures().await?.leases_missed, DEED);
    // Kept: its metered time counts too.
    let escrow = rented.pay(Amount::from_near(3), hour).await?;
    harness.call(&node.key, &compute.accept_lease(LeaseId(2))).await?.ok()?;
    harness.pass(DurationMs::from_secs(60)).await?;
    rented.statement_of(LeaseId(2), escrow, 1, DurationMs::from_secs(50), true, &rented.tenant).await?.ok()?;
    harness.call(&harness.owner, &compute.settle_lease(LeaseId(2))).await?.ok()?;
    assert_eq!((figures().await?.leases_kept, figures().await?.metered_ms), (DEED, 50_000));
    // Broken off by the provider; declined by it, which is no worse than a minute's silence; cancelled by the tenant before it began.
    rented.pay(Amount::from_near(3), hour).await?;
    harness.call(&node.key, &compute.accept_lease(LeaseId(3))).await?.ok()?;
    harness.call(&node.key, &compute.close_lease(LeaseId(3))).await?.ok()?;
    harness.pass(DurationMs::from_secs(121)).await?;
    harness.call(&harness.owner, &compute.settle_lease(LeaseId(3))).await?.ok()?;
    for (lease, who) in [(LeaseId(4), &node.key), (LeaseId(5), &rented.tenant)] {
        rented.pay(Amount::from_near(3), hour).await?;
        harness.call(who, &compute.close_lease(lease)).await?.ok()?;
        harness.call(&harness.owner, &compute.settle_lease(lease)).await?.ok()?;
    }
    let expect = Reputation {
        day: figures().await?.day,
        metered_ms: 50_000,
        leases_missed: 2 * DEED,
        leases_kept: DEED,
        leases_left: DEED,
        ..Reputation::default()
    };
    let told = standing(harness, node.id).await?;
    assert_eq!((told.figures, told.score.get()), (expect, 2_000));
    Ok(())
}
