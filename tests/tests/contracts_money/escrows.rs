//! Escrow without its arbiter: refusal, expiry, closing request, pause.

use crate::{
    books::{free, surplus},
    money,
};
use starling_contract_api::{
    billing::Billing,
    events::BillingEvent,
    payment::{PayArgs, PayResult, PaymentMsg},
};
use starling_primitives::{Amount, DurationMs, NodeId};
use starling_tests::work::{next_round, run_terms};

#[tokio::test]
async fn payment__should_return_whole_when_its_target_refuses() -> anyhow::Result<()> {
    let harness = money().await?;
    let alice = harness.actor("alice.starling", 50).await?;
    let reserve = surplus(&harness).await?;
    let (start, mut burnt) = (harness.balance(&alice.account).await?, 0);
    // A run that costs more than is paid, a node that is not there, no contract at all, and bounds that the answer leaves.
    let run = PaymentMsg::Run(run_terms(alice.public_key(), 10, 4));
    let stake = PaymentMsg::Stake { node_id: NodeId(99) };
    let mut bounds = harness.bounds().await?;
    bounds.expires_by = harness.now().await?.after(DurationMs::from_secs(900));
    let ours = harness.deployment.compute.clone();
    let narrow = PayArgs { target: ours.clone(), amount: Amount::from_near(4), storage: run.storage(), bounds, msg: run.clone() };
    let cases = [
        (harness.pay(&alice, &ours, Amount(1), run.clone()).await?, "the target refused"),
        (harness.pay(&alice, &ours, Amount::from_near(1), stake.clone()).await?, "the target refused"),
        (harness.pay(&alice, &harness.owner.account, Amount::from_near(1), stake).await?, "the target refused"),
        (
            harness
                .call(&alice, &harness.billing().pay(&narrow, Amount::sum([narrow.amount, narrow.storage, Billing::pay_storage()])?))
                .await?,
            "outside the payer's bounds",
        ),
    ];
    for (answer, words) in cases {
        let result: PayResult = answer.json()?;
        assert!(!result.opened && result.reason.as_ref().is_some_and(|reason| reason.contains(words)), "{result:?}");
        assert!(answer.billing_events().iter().any(|event| matches!(event, BillingEvent::EscrowRefused { moved, .. } if moved.removed)));
        assert!(harness.view(&harness.billing().escrow(result.escrow_id)).await?.is_none());
        burnt += answer.burnt.0;
    }
    // The last target accepted, so it kept what its record costs; all else is on the balance.
    let taken = harness.call(&alice, &harness.billing().withdraw(None)).await?.ok()?;
    burnt += taken.burnt.0;
    let kept = Amount::sum([narrow.storage, starling_contract_api::payment::storage_cost(starling_contract_api::billing::ACCOUNT_BYTES)])?;
    assert_eq!(harness.balance(&alice.account).await?, Amount(start.0 - burnt - kept.0 - 1));
    assert_eq!(surplus(&harness).await?, Amount(reserve.0 + 1));
    // And that record can be removed later, which sends its storage deposit back.
    let escrow_id = starling_primitives::EscrowId(4);
    harness.call(&alice, &harness.compute().forget_payment(escrow_id)).await?.refused("may still be opened")?;
    harness.pass(DurationMs::from_hours(2)).await?;
    let before = harness.balance(&alice.account).await?;
    harness.call(&harness.owner, &harness.compute().forget_payment(escrow_id)).await?.ok()?;
    assert_eq!(harness.balance(&alice.account).await?, before.checked_add(narrow.storage)?);
    Ok(())
}

#[tokio::test]
async fn escrow__should_close_after_expiry_and_grace_without_its_arbiter() -> anyhow::Result<()> {
    let harness = money().await?;
    let (alice, node) = (harness.actor("alice.starling", 50).await?, harness.node("provider.starling").await?);
    let terms = run_terms(alice.public_key(), 4, 1);
    let lasts = DurationMs(terms.enroll_time.0 + 4 * terms.round_time.0 + DurationMs::from_hours(2).0);
    let paid: PayResult =
        harness.pay(&alice, &harness.deployment.compute, Amount::from_near(1), PaymentMsg::Run(terms)).await?.ok()?.json()?;
    let run = harness.run(starling_primitives::RunId(1)).await?;
    harness.call(&node.key, &harness.compute().enroll(run.id, node.id)).await?.ok()?;
    let run = harness.run(run.id).await?;
    harness.post_round(&alice, &next_round(&run, &[1_000]), &[(0, &node.key)], &alice).await?.ok()?;
    harness.call(&alice, &harness.compute().settle_run(run.id)).await?.ok()?;
    let billing = harness.billing();
    harness.call(&harness.owner, &billing.close(paid.escrow_id)).await?.refused("too early")?;
    harness.call(&harness.owner, &billing.void(paid.escrow_id)).await?.refused("which does not take this")?;
    harness.pass(lasts).await?;
    // Coordinator, tenant and arbiter do nothing; a stranger closes.
    let before = free(&harness, &alice.account).await?;
    harness.call(&harness.owner, &billing.close(paid.escrow_id)).await?.ok()?;
    let earned = Amount::from_millinear(100);
    let returned = Amount::from_near(1).checked_sub(earned)?;
    assert_eq!(free(&harness, &alice.account).await?, before.checked_add(returned)?);
    // The tenth waits for the tenant and vests.
    let gross = Amount::from_millinear(90);
    let net = |gross: Amount| Amount(gross.0 - gross.fraction_ceil(harness_fee()).0);
    assert_eq!(free(&harness, &node.provider.account).await?.0, provider_start().0 + net(gross).0);
    harness.call(&harness.owner, &billing.vest(paid.escrow_id)).await?.refused("too early")?;
    harness.pass(DurationMs::from_days(3)).await?;
    harness.call(&harness.owner, &billing.vest(paid.escrow_id)).await?.ok()?;
    assert_eq!(free(&harness, &node.provider.account).await?.0, provider_start().0 + net(earned).0);
    assert!(harness.view(&billing.escrow(paid.escrow_id)).await?.is_none());
    Ok(())
}

#[tokio::test]
async fn closing_request__should_free_an_escrow_in_seven_days() -> anyhow::Result<()> {
    let harness = money().await?;
    let node = harness.node("provider.starling").await?;
    let (provider, billing) = (&node.provider, harness.billing());
    let escrow_id = harness
        .view(&billing.escrows_of(&provider.account, 0, 10))
        .await?
        .first()
        .map(|view| view.id)
        .ok_or_else(|| anyhow::anyhow!("no stake"))?;
    harness.call(&harness.owner, &billing.ask_closing(escrow_id)).await?.refused("only the escrow's payer")?;
    assert!(harness.call(provider, &harness.compute().check_stake(node.id)).await?.ok()?.json::<bool>()?);
    harness.call(provider, &billing.ask_closing(escrow_id)).await?.ok()?;
    assert!(!harness.call(provider, &harness.compute().check_stake(node.id)).await?.ok()?.json::<bool>()?);
    let offer = harness.compute().create_offer(node.id, &starling_tests::work::offer_terms(), Amount::from_millinear(100));
    harness.call(provider, &offer).await?.refused("needs a confirmed stake")?;
    harness.pass(DurationMs(DurationMs::from_days(7).0 - 60_000)).await?;
    harness.call(&harness.owner, &billing.close(escrow_id)).await?.refused("too early")?;
    harness.pass(DurationMs::from_secs(120)).await?;
    let before = free(&harness, &provider.account).await?;
    harness.call(&harness.owner, &billing.close(escrow_id)).await?.ok()?;
    let back = starling_tests::MIN_STAKE.checked_add(starling_contract_api::billing::escrow_storage(1))?;
    assert_eq!(free(&harness, &provider.account).await?, before.checked_add(back)?);
    Ok(())
}

#[tokio::test]
async fn pause__should_stop_only_what_comes_in() -> anyhow::Result<()> {
    let harness = money().await?;
    let alice = harness.actor("alice.starling", 50).await?;
    let run = PaymentMsg::Run(run_terms(alice.public_key(), 2, 1));
    let paid: PayResult = harness.pay(&alice, &harness.deployment.compute, Amount::from_near(1), run.clone()).await?.ok()?.json()?;
    harness.call(&harness.owner, &harness.billing().set_paused(true)).await?.ok()?;
    harness.pay(&alice, &harness.deployment.compute, Amount::from_near(1), run).await?.refused("paused")?;
    harness.call(&alice, &harness.compute().stop_run(starling_primitives::RunId(1))).await?.ok()?;
    assert!(harness.view(&harness.billing().escrow(paid.escrow_id)).await?.is_none());
    assert!(harness.call(&alice, &harness.billing().withdraw(None)).await?.ok()?.json::<bool>()?);
    Ok(())
}

fn harness_fee() -> starling_primitives::BasisPoints {
    starling_primitives::BasisPoints::new(starling_tests::FEE).unwrap_or_default()
}

/// What a provider has on its balance after its stake opened: the storage that the escrow's record did not need.
fn provider_start() -> Amount {
    Amount(Billing::pay_storage().0 - starling_contract_api::billing::escrow_storage(1).0)
}
