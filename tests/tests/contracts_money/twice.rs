//! What is done twice counts once: acceptance, enrolment, stake, notices, decisions, claims, withdrawals; and posts that come again or late.

use crate::{
    books::{free, surplus},
    money,
    tokens::Market,
};
use starling_contract_api::payment::{PayArgs, PayResult, PaymentMsg};
use starling_localnet::BlockMode;
use starling_primitives::{Amount, DurationMs, EscrowId, Hash32, LeaseId, OfferId, RunId};
use starling_protocol::lease::LeaseTerms;
use starling_tests::{
    Harness, MIN_STAKE,
    work::{next_round, offer_terms, run_terms},
};

#[tokio::test]
async fn acceptance__should_count_once() -> anyhow::Result<()> {
    let harness = money().await?;
    let (billing, compute) = (harness.billing(), harness.compute());
    let (alice, node) = (harness.actor("alice.starling", 50).await?, harness.node("provider.starling").await?);
    // A second stake of a node that has one comes back whole.
    let start = free(&harness, &node.provider.account).await?;
    let stake = PaymentMsg::Stake { node_id: node.id };
    let again: PayResult = harness.pay(&node.provider, &compute.0, MIN_STAKE, stake.clone()).await?.json()?;
    assert!(!again.opened);
    let returned = Amount::sum([start, MIN_STAKE, stake.storage(), starling_contract_api::billing::Billing::pay_storage()])?;
    assert_eq!(free(&harness, &node.provider.account).await?, returned);

    let price = harness.view(&compute.storage_price()).await?;
    harness.call(&node.provider, &compute.create_offer(node.id, &offer_terms(), price)).await?.ok()?;
    let terms = LeaseTerms {
        offer_id: OfferId(1),
        duration: DurationMs::from_hours(1),
        job: Hash32::sha256(b"job"),
        meter: alice.public_key(),
        availability: DurationMs(0),
        delegate: None,
    };
    harness.pay(&alice, &compute.0, Amount::from_near(3), PaymentMsg::Lease(terms)).await?.ok()?;
    harness.call(&node.key, &compute.accept_lease(LeaseId(1))).await?.ok()?;
    let lease = harness.view(&compute.lease(LeaseId(1))).await?;
    harness.call(&node.key, &compute.accept_lease(LeaseId(1))).await?.refused("which does not take this")?;
    assert_eq!(harness.view(&compute.lease(LeaseId(1))).await?, lease, "its time did not begin anew");

    let run = PaymentMsg::Run(run_terms(alice.public_key(), 2, 2));
    let paid: PayResult = harness.pay(&alice, &compute.0, Amount::from_near(1), run).await?.ok()?.json()?;
    harness.call(&node.key, &compute.enroll(RunId(1), node.id)).await?.ok()?;
    harness.call(&node.key, &compute.enroll(RunId(1), node.id)).await?.refused("is in the roster already")?;
    let enrolled = harness.run(RunId(1)).await?;
    assert_eq!(enrolled.roster.len(), 1);
    // The notice that it is open, a second time.
    harness.call(&harness.owner, &billing.confirm(paid.escrow_id)).await?.ok()?;
    assert_eq!(harness.run(RunId(1)).await?, enrolled);

    // Its result is taken once.
    harness.pass(DurationMs::from_secs(700)).await?;
    harness.call(&alice, &compute.tick_run(RunId(1))).await?.ok()?;
    harness.post_round(&alice, &next_round(&harness.run(RunId(1)).await?, &[1_000]), &[(0, &node.key)], &alice).await?.ok()?;
    harness.call(&alice, &compute.stop_run(RunId(1))).await?.ok()?;
    harness.call(&alice, &compute.stop_run(RunId(1))).await?.refused("which does not take this")?;
    harness.call(&alice, &billing.acknowledge(paid.escrow_id)).await?.ok()?;
    for call in [billing.acknowledge(paid.escrow_id), billing.refuse(paid.escrow_id), billing.vest(paid.escrow_id)] {
        harness.call(&alice, &call).await?.refused("there is no escrow")?;
    }
    Ok(())
}

#[tokio::test]
async fn post__should_change_nothing_when_it_comes_again_or_late() -> anyhow::Result<()> {
    let market = Market::open().await?;
    let (harness, alice, billing) = (&market.harness, &market.alice, market.harness.billing());
    let bob = harness.registered("bob.starling", 20).await?;
    let args = PayArgs { amount: Amount(1_000), ..market.payment(Amount(1_000)).await? };
    let deposit = Amount::sum([args.amount, args.storage, starling_contract_api::billing::Billing::pay_storage()])?;
    let paid: PayResult = harness.call(alice, &billing.pay(&args, deposit)).await?.ok()?.json()?;
    let post = |seq, total| market.post(paid.escrow_id, seq, &[(&bob.account, total)], false);
    assert!(harness.call(alice, &post(3, 500)).await?.ok()?.json::<bool>()?);
    let (escrow, earned) = (harness.view(&billing.escrow(paid.escrow_id)).await?, free(harness, &bob.account).await?);
    for (seq, total) in [(3, 500), (3, 900), (1, 200), (2, 1_000)] {
        let answer = harness.call(alice, &post(seq, total)).await?.ok()?;
        assert!(!answer.json::<bool>()? && answer.billing_events().is_empty(), "post {seq} of {total}");
    }
    harness.call(alice, &post(4, 499)).await?.refused("would fall")?;
    harness.call(alice, &post(4, 1_001)).await?.refused("pass what was deposited")?;
    assert_eq!((harness.view(&billing.escrow(paid.escrow_id)).await?, free(harness, &bob.account).await?), (escrow, earned));
    assert!(harness.call(alice, &post(4, 1_000)).await?.ok()?.json::<bool>()?);
    Ok(())
}

#[tokio::test]
async fn withdrawal__should_not_leave_again_while_it_is_under_way() -> anyhow::Result<()> {
    let harness = Harness::start_in(BlockMode::Manual, &["billing"]).await?;
    let (alice, billing) = (harness.actor("alice.starling", 50).await?, harness.billing());
    harness.call(&alice, &billing.deposit(Amount::from_near(10))).await?.ok()?;
    let owned = free(&harness, &alice.account).await?;
    harness.hold_blocks(true);
    // What the gas before it did not use comes back a block later.
    harness.pass(DurationMs::from_secs(3)).await?;
    let (reserve, before) = (surplus(&harness).await?, harness.balance(&alice.account).await?);
    let first = harness.send(&alice, &billing.withdraw(None)).await?;
    for _ in 0..4 {
        if harness.view(&billing.totals()).await?.in_flight.is_zero() {
            harness.chain.produce_block()?;
        }
    }
    assert_eq!(harness.view(&billing.totals()).await?.in_flight, owned, "the transfer is on its way");
    let again = [
        harness.send(&alice, &billing.withdraw(Some(owned))).await?,
        harness.send(&alice, &billing.withdraw(None)).await?,
        harness.send(&alice, &billing.storage_unregister()).await?,
    ];
    harness.hold_blocks(false);
    let mut burnt = 0;
    for (again, words) in again.into_iter().zip(["balance is too small", "nothing to withdraw", "under way"]) {
        burnt += again.outcome().await?.refused(words)?.burnt.0;
    }
    let first = first.outcome().await?.ok()?;
    assert!(first.json::<bool>()?);
    harness.pass(DurationMs::from_secs(3)).await?;
    assert_eq!(harness.balance(&alice.account).await?, Amount(before.0 + owned.0 - burnt - first.burnt.0 - 1));
    assert_eq!(surplus(&harness).await?, Amount(reserve.0 + 1));
    assert!(harness.view(&billing.escrow(EscrowId(1))).await?.is_none());
    Ok(())
}
