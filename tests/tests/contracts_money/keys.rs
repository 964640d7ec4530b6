//! Session keys: the cap is the greatest loss.

use crate::{books::free, money};
use starling_contract_api::{
    Call,
    billing::{ACCOUNT_BYTES, Billing, SESSION_KEY_BYTES},
    events::{BillingEvent, Source},
    payment::{PayArgs, PayResult, PaymentMsg, storage_cost},
};
use starling_primitives::{Amount, DurationMs};
use starling_tests::{Actor, Harness, work::run_terms};

struct Session {
    harness: Harness,
    alice: Actor,
    key: Actor,
    args: PayArgs,
    /// What one payment takes from balance and cap.
    cost: Amount,
}

/// Alice with 20 NEAR on her balance and a session key that may spend two payments and no more.
async fn session() -> anyhow::Result<Session> {
    let harness = money().await?;
    let (alice, billing) = (harness.actor("alice.starling", 50).await?, harness.billing());
    let msg = PaymentMsg::Run(run_terms(alice.public_key(), 2, 1));
    let args = harness.pay_args(&harness.deployment.compute, Amount::from_near(1), msg).await?;
    let cost = Amount::sum([args.amount, args.storage, Billing::pay_storage()])?;
    let key = harness
        .add_function_key(
            &alice,
            &harness.deployment.billing,
            &["pay_from_balance", "withdraw", "add_session_key", "extend"],
            Amount::from_near(5),
        )
        .await?;
    harness.call(&alice, &billing.deposit(Amount::from_near(20))).await?.ok()?;
    harness.call(&key, &billing.pay_from_balance(&args, true)).await?.refused("a registered session key")?;
    let cap = Amount(cost.0 * 2);
    let until = harness.now().await?.after(DurationMs::from_days(1));
    let add = billing.add_session_key(&key.public_key(), cap, until, std::slice::from_ref(&args.target));
    harness.call(&alice, &add).await?.refused("storage credit is too small")?;
    harness.call(&alice, &billing.storage_deposit(None, false, storage_cost(SESSION_KEY_BYTES))).await?.ok()?;
    harness.call(&alice, &add).await?.ok()?;
    Ok(Session { harness, alice, key, args, cost })
}

#[tokio::test]
async fn session_key__should_spend_its_cap_and_no_more() -> anyhow::Result<()> {
    let Session { harness, alice, key, args, cost } = session().await?;
    let billing = harness.billing();
    let before = free(&harness, &alice.account).await?;
    let paid = harness.call(&key, &billing.pay_from_balance(&args, true)).await?.ok()?;
    assert!(paid.json::<PayResult>()?.opened);
    assert!(
        paid.billing_events()
            .iter()
            .any(|event| matches!(event, BillingEvent::PaymentHeld { source: Source::SessionKey(by), .. } if *by == key.public_key()))
    );
    let back = Amount(Billing::pay_storage().0 - starling_contract_api::billing::escrow_storage(1).0);
    assert_eq!(free(&harness, &alice.account).await?, Amount(before.0 - cost.0 + back.0));
    let elsewhere = PayArgs { target: harness.deployment.hub.clone(), ..args.clone() };
    harness.call(&key, &billing.pay_from_balance(&elsewhere, true)).await?.refused("may not pay hub.starling")?;
    let more = PayArgs { amount: Amount(args.amount.0 + 1), ..args.clone() };
    harness.call(&key, &billing.pay_from_balance(&more, true)).await?.refused("cap would be passed")?;
    harness.call(&key, &billing.pay_from_balance(&args, true)).await?.ok()?;
    harness.call(&key, &billing.pay_from_balance(&args, true)).await?.refused("cap would be passed")?;
    // The full-access key is bound by the balance alone.
    harness.call(&alice, &billing.pay_from_balance(&args, false)).await?.ok()?;
    Ok(())
}

#[tokio::test]
async fn session_key__should_never_withdraw_register_or_extend() -> anyhow::Result<()> {
    let Session { harness, alice, key, args, .. } = session().await?;
    let billing = harness.billing();
    let paid: PayResult = harness.call(&key, &billing.pay_from_balance(&args, true)).await?.ok()?.json()?;
    let until = harness.now().await?.after(DurationMs::from_days(300));
    let wanted = [
        billing.withdraw(None),
        billing.add_session_key(&alice.public_key(), Amount::from_near(9), until, std::slice::from_ref(&args.target)),
        billing.extend(paid.escrow_id, until),
    ];
    for call in wanted {
        let with_deposit = harness.call(&key, &call).await;
        assert!(with_deposit.is_err(), "a function-call key cannot attach a deposit");
        harness.call(&key, &Call { deposit: Amount::ZERO, ..call }).await?.refused("attach exactly 1 yoctoNEAR")?;
    }
    // Nor does it count for another account, or when its time is over, or after it was removed.
    let bob = harness.actor("bob.starling", 50).await?;
    harness.call(&bob, &billing.deposit(Amount::from_near(9))).await?.ok()?;
    harness.call(&bob, &billing.pay_from_balance(&args, true)).await?.refused("a registered session key")?;
    harness.pass(DurationMs::from_days(1)).await?;
    harness.call(&key, &billing.pay_from_balance(&args, true)).await?.refused("expired")?;
    harness.call(&alice, &billing.remove_session_key(&key.public_key())).await?.ok()?;
    harness.call(&key, &billing.pay_from_balance(&args, true)).await?.refused("a registered session key")?;
    let storage = harness.view(&billing.storage_balance_of(&alice.account)).await?.map(|storage| (storage.total, storage.available));
    assert_eq!(storage, Some((storage_cost(ACCOUNT_BYTES + SESSION_KEY_BYTES), storage_cost(SESSION_KEY_BYTES))));
    Ok(())
}
