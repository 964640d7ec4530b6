//! Gas that runs out: in a call, in a loop or on the way to a callback. Whatever is attached, a call does all of it or nothing.

use crate::{
    books::{free, surplus},
    money,
};
use starling_contract_api::{
    Call, TGAS,
    billing::Billing,
    payment::{PayArgs, PayResult, PaymentMsg},
};
use starling_primitives::{Amount, OfferId, RunId};
use starling_protocol::run::RunState;
use starling_tests::{
    Harness,
    work::{next_round, offer_terms, run_terms},
};

fn with_gas(call: &Call, tgas: u64) -> Call {
    Call { gas: tgas * TGAS, ..call.clone() }
}

/// Pays for runs with all kinds of gas, and gives how many payments were opened.
async fn pay_with(harness: &Harness, alice: &starling_tests::Actor, args: &PayArgs) -> anyhow::Result<u32> {
    let (billing, mut opened) = (harness.billing(), 0);
    let deposit = Amount::sum([args.amount, args.storage, Billing::pay_storage()])?;
    let pay = billing.pay(args, deposit);
    let reserve = surplus(harness).await?;
    for tgas in (1..=110).step_by(3) {
        let (before, chain) = (harness.view(&billing.totals()).await?, harness.balance(&alice.account).await?);
        let answer = harness.call(alice, &with_gas(&pay, tgas)).await?;
        if answer.value.is_ok() {
            let result: PayResult = answer.ok()?.json()?;
            assert!(result.opened, "with {tgas} Tgas: {result:?}");
            opened += 1;
        } else {
            assert_eq!(harness.view(&billing.totals()).await?, before, "with {tgas} Tgas");
            assert_eq!(harness.balance(&alice.account).await?, Amount(chain.0 - answer.burnt.0), "with {tgas} Tgas");
        }
        // Nothing is held or on its way, whatever the gas.
        assert_eq!(surplus(harness).await?, reserve, "with {tgas} Tgas");
    }
    Ok(opened)
}

#[tokio::test]
async fn payment__should_open_or_change_nothing_whatever_the_gas() -> anyhow::Result<()> {
    let harness = money().await?;
    let alice = harness.registered("alice.starling", 100).await?;
    let msg = PaymentMsg::Run(run_terms(alice.public_key(), 2, 1));
    let (storage, bounds) = (msg.storage(), harness.bounds().await?);
    let args = PayArgs { target: harness.deployment.compute.clone(), amount: Amount::from_near(1), storage, bounds, msg };
    let opened = pay_with(&harness, &alice, &args).await?;
    assert!((2..36).contains(&opened), "{opened} payments were opened");
    Ok(())
}

#[tokio::test]
async fn settlement_and_withdrawal__should_be_whole_or_nothing_whatever_the_gas() -> anyhow::Result<()> {
    let harness = money().await?;
    let (billing, compute) = (harness.billing(), harness.compute());
    let (alice, node) = (harness.actor("alice.starling", 50).await?, harness.node("provider.starling").await?);
    let msg = PaymentMsg::Run(run_terms(alice.public_key(), 2, 1));
    harness.pay(&alice, &compute.0, Amount::from_near(1), msg).await?.ok()?;
    harness.call(&node.key, &compute.enroll(RunId(1), node.id)).await?.ok()?;
    harness.post_round(&alice, &next_round(&harness.run(RunId(1)).await?, &[1_000]), &[(0, &node.key)], &alice).await?.ok()?;
    let reserve = surplus(&harness).await?;
    let mut refused = 0;
    for tgas in (1..=120).step_by(4) {
        let answer = harness.call(&alice, &with_gas(&compute.stop_run(RunId(1)), tgas)).await?;
        surplus(&harness).await?;
        if answer.value.is_ok() {
            assert!(answer.ok()?.json::<bool>()?);
            break;
        }
        assert!(matches!(harness.run(RunId(1)).await?.state, RunState::Training { .. }), "with {tgas} Tgas");
        refused += 1;
    }
    assert!(refused > 5 && matches!(harness.run(RunId(1)).await?.state, RunState::Ended { settled: true, .. }), "{refused} were refused");

    let owned = free(&harness, &alice.account).await?;
    let mut refused = 0;
    for tgas in 1..=30 {
        let answer = harness.call(&alice, &with_gas(&billing.withdraw(None), tgas)).await?;
        if answer.value.is_ok() {
            assert!(answer.ok()?.json::<bool>()?);
            break;
        }
        assert_eq!(free(&harness, &alice.account).await?, owned, "with {tgas} Tgas");
        refused += 1;
    }
    assert!(refused > 5, "{refused} were refused");
    assert_eq!(free(&harness, &alice.account).await?, Amount::ZERO);
    assert_eq!(surplus(&harness).await?, Amount(reserve.0 + 1));
    Ok(())
}

#[tokio::test]
async fn loop__should_close_every_offer_or_none() -> anyhow::Result<()> {
    let harness = money().await?;
    let (compute, node) = (harness.compute(), harness.node("provider.starling").await?);
    let price = harness.view(&compute.storage_price()).await?;
    for _ in 0..8 {
        harness.call(&node.provider, &compute.create_offer(node.id, &offer_terms(), price)).await?.ok()?;
    }
    harness.call(&node.provider, &compute.create_offer(node.id, &offer_terms(), price)).await?.refused("at most 8 open offers")?;
    let closed = async || -> anyhow::Result<usize> {
        let mut closed = 0;
        for number in 1..=8 {
            closed += usize::from(harness.view(&compute.offer(OfferId(number))).await?.is_some_and(|offer| offer.closed));
        }
        Ok(closed)
    };
    let mut refused = 0;
    for tgas in 1..=20 {
        let answer = harness.call(&node.provider, &with_gas(&compute.retire_node(node.id), tgas)).await?;
        if answer.value.is_ok() {
            break;
        }
        assert_eq!(closed().await?, 0, "with {tgas} Tgas");
        refused += 1;
    }
    assert!(refused > 1, "{refused} were refused");
    assert_eq!(closed().await?, 8);
    Ok(())
}
