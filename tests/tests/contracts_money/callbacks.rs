//! Callbacks that come late or twice: between two blocks a test looks in and lets time pass.

use crate::books::{free, surplus};
use starling_contract_api::{
    billing::Billing,
    payment::{PayArgs, PayResult, PaymentMsg},
};
use starling_localnet::BlockMode;
use starling_primitives::{Amount, DurationMs, EscrowId, RunId};
use starling_protocol::{escrow::State, run::RunState};
use starling_tests::{Actor, Harness, Sent, work::run_terms};

pub(crate) const ESCROW: EscrowId = EscrowId(1);

/// A payment that `billing` holds while the question to `compute` is on its way.
pub(crate) async fn held() -> anyhow::Result<(Harness, Actor, PayArgs, Sent)> {
    let harness = Harness::start_in(BlockMode::Manual, &["billing", "compute"]).await?;
    let alice = harness.registered("alice.starling", 50).await?;
    let msg = PaymentMsg::Run(run_terms(alice.public_key(), 2, 1));
    let args = harness.pay_args(&harness.deployment.compute, Amount::from_near(1), msg).await?;
    let deposit = Amount::sum([args.amount, args.storage, Billing::pay_storage()])?;
    harness.hold_blocks(true);
    let sent = harness.send(&alice, &harness.billing().pay(&args, deposit)).await?;
    for _ in 0..4 {
        harness.chain.produce_block()?;
        if let Some(view) = harness.view(&harness.billing().escrow(ESCROW)).await? {
            anyhow::ensure!(matches!(view.escrow.state, State::Held { .. }), "it opened too soon");
            return Ok((harness, alice, args, sent));
        }
    }
    anyhow::bail!("the payment was not held")
}

#[tokio::test]
async fn answer__should_move_nothing_after_the_hold_deadline() -> anyhow::Result<()> {
    let (harness, alice, args, sent) = held().await?;
    let totals = harness.view(&harness.billing().totals()).await?;
    assert_eq!((totals.escrows, totals.in_flight), (args.amount, args.storage));
    harness.pass(DurationMs::from_secs(700)).await?;
    harness.hold_blocks(false);
    let result: PayResult = sent.outcome().await?.json()?;
    assert!(!result.opened && result.reason.as_ref().is_some_and(|reason| reason.contains("too late")), "{result:?}");
    assert_eq!(free(&harness, &alice.account).await?, args.amount.checked_add(Billing::pay_storage())?);
    surplus(&harness).await?;
    // The record in compute never opens, and goes with its deposit.
    assert_eq!(harness.run(RunId(1)).await?.state, RunState::Pending);
    harness.pass(DurationMs::from_hours(2)).await?;
    let before = harness.balance(&alice.account).await?;
    harness.call(&harness.owner, &harness.compute().forget_payment(ESCROW)).await?.ok()?;
    assert_eq!(harness.balance(&alice.account).await?, before.checked_add(args.storage)?);
    assert!(harness.view(&harness.compute().run(RunId(1))).await?.is_none());
    Ok(())
}

#[tokio::test]
async fn confirmation__should_open_once_whoever_asks() -> anyhow::Result<()> {
    let (harness, _alice, args, sent) = held().await?;
    let confirm = harness.send(&harness.owner, &harness.billing().confirm(ESCROW)).await?;
    harness.hold_blocks(false);
    let (paid, confirmed): (PayResult, PayResult) = (sent.outcome().await?.json()?, confirm.outcome().await?.json()?);
    assert!(paid.opened && confirmed.opened, "{paid:?} {confirmed:?}");
    let again = harness.call(&harness.owner, &harness.billing().confirm(ESCROW)).await?.ok()?;
    assert!(again.json::<PayResult>()?.opened);
    assert!(matches!(harness.run(RunId(1)).await?.state, RunState::Enrolling { .. }));
    let totals = harness.view(&harness.billing().totals()).await?;
    assert_eq!((totals.escrows, totals.in_flight), (args.amount, Amount::ZERO));
    Ok(())
}
