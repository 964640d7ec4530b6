//! Deadlines at the exact block, and a callback that is lost: the code that should have run it was not there.

use crate::{
    books::{free, surplus},
    callbacks::{ESCROW, held},
};
use starling_contract_api::{
    Call,
    billing::Billing,
    payment::{PayResult, PaymentMsg},
};
use starling_localnet::BlockMode;
use starling_primitives::{Amount, DurationMs, Hash32, LeaseId, OfferId, RunId, TimestampMs};
use starling_protocol::{
    escrow::State,
    lease::{LeaseState, LeaseTerms},
    run::RunState,
};
use starling_tests::{Actor, Answer, Harness, contract_wasm, work::offer_terms};

const MS_PER_BLOCK: u64 = 1_000;

/// Makes one call in the last block before a time, and another at it.
async fn around(harness: &Harness, time: TimestampMs, before: (&Actor, &Call), at: (&Actor, &Call)) -> anyhow::Result<(Answer, Answer)> {
    harness.hold_blocks(true);
    let left = time.since(harness.now().await?);
    anyhow::ensure!(left > DurationMs(3 * MS_PER_BLOCK), "the time has come: {left:?} are left");
    harness.pass(DurationMs(left.0 - 3 * MS_PER_BLOCK)).await?;
    let early = harness.send(before.0, before.1).await?;
    harness.chain.produce_block()?;
    let in_time = harness.send(at.0, at.1).await?;
    harness.chain.produce_block()?;
    assert_eq!(harness.now().await?, TimestampMs(time.0 - MS_PER_BLOCK), "the first call has run now");
    harness.hold_blocks(false);
    Ok((early.outcome().await?, in_time.outcome().await?))
}

/// A payment that is held, and whose callback found another contract's code. Blocks are held.
async fn lost() -> anyhow::Result<(Harness, Actor, starling_contract_api::payment::PayArgs)> {
    let (harness, alice, args, sent) = held().await?;
    let billing = harness.deployment.billing.clone();
    let gone = harness.send_deploy_by_key(&billing, contract_wasm("scripted")?).await?;
    for _ in 0..6 {
        harness.chain.produce_block()?;
    }
    gone.outcome().await?.ok()?;
    sent.outcome().await?.refused("MethodNotFound")?;
    let back = harness.send_deploy_by_key(&billing, contract_wasm("billing")?).await?;
    for _ in 0..4 {
        harness.chain.produce_block()?;
    }
    back.outcome().await?.ok()?;
    let view = harness.view(&harness.billing().escrow(ESCROW)).await?;
    anyhow::ensure!(view.is_some_and(|view| matches!(view.escrow.state, State::Held { .. })), "the callback was not lost");
    Ok((harness, alice, args))
}

#[tokio::test]
async fn lost_callback__should_leave_a_payment_that_anyone_can_confirm() -> anyhow::Result<()> {
    let (harness, _alice, args) = lost().await?;
    harness.hold_blocks(false);
    assert_eq!(harness.run(RunId(1)).await?.state, RunState::Pending, "no node works for it");
    let confirmed = harness.call(&harness.owner, &harness.billing().confirm(ESCROW)).await?.ok()?;
    assert!(confirmed.json::<PayResult>()?.opened);
    assert!(matches!(harness.run(RunId(1)).await?.state, RunState::Enrolling { .. }));
    let totals = harness.view(&harness.billing().totals()).await?;
    assert_eq!((totals.escrows, totals.in_flight), (args.amount, Amount::ZERO));
    Ok(())
}

#[tokio::test]
async fn lost_callback__should_return_the_payment_at_the_hold_deadline_to_the_block() -> anyhow::Result<()> {
    let (harness, alice, args) = lost().await?;
    let billing = harness.billing();
    let Some(State::Held { hold_deadline }) = harness.view(&billing.escrow(ESCROW)).await?.map(|view| view.escrow.state) else {
        anyhow::bail!("it is not held")
    };
    let before = free(&harness, &alice.account).await?;
    let void = billing.void(ESCROW);
    let (early, at) = around(&harness, hold_deadline, (&alice, &void), (&harness.owner, &void)).await?;
    early.refused("too early")?;
    at.ok()?;
    let back = args.amount.checked_add(Billing::pay_storage())?;
    assert_eq!(free(&harness, &alice.account).await?, before.checked_add(back)?);
    harness.call(&harness.owner, &billing.confirm(ESCROW)).await?.refused("there is no escrow")?;
    // Nothing stays under way, and nothing is left over.
    surplus(&harness).await?;
    // The record in compute goes, and what was forwarded for it comes back from there.
    harness.pass(DurationMs::from_hours(2)).await?;
    let before = harness.balance(&alice.account).await?;
    harness.call(&harness.owner, &harness.compute().forget_payment(ESCROW)).await?.ok()?;
    assert_eq!(harness.balance(&alice.account).await?, before.checked_add(args.storage)?);
    assert!(harness.call(&alice, &billing.withdraw(None)).await?.ok()?.json::<bool>()?);
    Ok(())
}

#[tokio::test]
async fn confirmation__should_be_refused_from_the_hold_deadline_on_to_the_block() -> anyhow::Result<()> {
    let (harness, alice, _) = lost().await?;
    let billing = harness.billing();
    let Some(State::Held { hold_deadline }) = harness.view(&billing.escrow(ESCROW)).await?.map(|view| view.escrow.state) else {
        anyhow::bail!("it is not held")
    };
    let confirm = billing.confirm(ESCROW);
    // The one asked in time hears too late: an answer that comes after the deadline opens nothing.
    let (in_time, late) = around(&harness, hold_deadline, (&alice, &confirm), (&harness.owner, &confirm)).await?;
    late.refused("the hold deadline has passed")?;
    assert!(!in_time.json::<PayResult>()?.opened);
    Ok(())
}

#[tokio::test]
async fn closing__should_be_possible_seven_days_after_it_was_asked_to_the_block() -> anyhow::Result<()> {
    let harness = Harness::start_in(BlockMode::Manual, &["billing", "compute"]).await?;
    let (billing, node) = (harness.billing(), harness.node("provider.starling").await?);
    let stake = harness.view(&billing.escrows_of(&node.provider.account, 0, 1)).await?.remove(0);
    harness.call(&node.provider, &billing.ask_closing(stake.id)).await?.ok()?;
    let view = harness.view(&billing.escrow(stake.id)).await?.ok_or_else(|| anyhow::anyhow!("no stake"))?;
    let closable_at = view.escrow.state.opened().map(|opened| opened.closable_at()).ok_or_else(|| anyhow::anyhow!("it is not open"))?;
    let close = billing.close(stake.id);
    let (early, at) = around(&harness, closable_at, (&node.provider, &close), (&harness.owner, &close)).await?;
    early.refused("too early")?;
    at.ok()?;
    surplus(&harness).await?;
    Ok(())
}

#[tokio::test]
async fn lease__should_be_accepted_until_its_last_block() -> anyhow::Result<()> {
    let harness = Harness::start_in(BlockMode::Manual, &["billing", "compute"]).await?;
    let (compute, tenant) = (harness.compute(), harness.registered("tenant.starling", 50).await?);
    let nodes = [harness.node("one.starling").await?, harness.node("two.starling").await?];
    let price = harness.view(&compute.storage_price()).await?;
    let mut sent = Vec::new();
    for (node, offer_id) in nodes.iter().zip([OfferId(1), OfferId(2)]) {
        harness.call(&node.provider, &compute.create_offer(node.id, &offer_terms(), price)).await?.ok()?;
        let terms = LeaseTerms {
            offer_id,
            duration: DurationMs::from_hours(1),
            job: Hash32::sha256(b"job"),
            meter: tenant.public_key(),
            availability: DurationMs(0),
            delegate: None,
        };
        let msg = PaymentMsg::Lease(terms);
        let (storage, bounds) = (msg.storage(), harness.bounds().await?);
        sent.push(starling_contract_api::payment::PayArgs {
            target: compute.0.clone(),
            amount: Amount::from_near(3),
            storage,
            bounds,
            msg,
        });
    }
    // Both are paid in one block, so both end in one.
    harness.hold_blocks(true);
    let mut paid = Vec::new();
    for args in &sent {
        let deposit = Amount::sum([args.amount, args.storage, Billing::pay_storage()])?;
        paid.push(harness.send(&tenant, &harness.billing().pay(args, deposit)).await?);
    }
    for _ in 0..8 {
        harness.chain.produce_block()?;
    }
    for paid in paid {
        assert!(paid.outcome().await?.ok()?.json::<PayResult>()?.opened);
    }
    let lease = harness.view(&compute.lease(LeaseId(1))).await?.ok_or_else(|| anyhow::anyhow!("no lease"))?;
    let LeaseState::Pending { accept_by } = lease.state else { anyhow::bail!("it does not wait: {:?}", lease.state) };
    // The last block that counts is the one at the time itself: the calls run there and a block later.
    let (first, second) = (compute.accept_lease(LeaseId(1)), compute.accept_lease(LeaseId(2)));
    let next = accept_by.after(DurationMs(MS_PER_BLOCK));
    let (in_time, late) = around(&harness, next, (&nodes[0].key, &first), (&nodes[1].key, &second)).await?;
    in_time.ok()?;
    late.refused("had to accept by")?;
    Ok(())
}
