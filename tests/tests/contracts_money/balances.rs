//! Money in and out without a purpose.

use crate::{
    books::{free, surplus},
    money,
};
use starling_contract_api::{Call, ONE_YOCTO, billing::ACCOUNT_BYTES, payment::storage_cost};
use starling_localnet::BlockMode;
use starling_primitives::Amount;
use starling_tests::Harness;

#[tokio::test]
async fn deposit__should_come_back_to_the_yocto() -> anyhow::Result<()> {
    let harness = money().await?;
    let (alice, billing) = (harness.actor("alice.starling", 50).await?, harness.billing());
    let (start, reserve) = (harness.balance(&alice.account).await?, surplus(&harness).await?);
    let put = harness.call(&alice, &billing.deposit(Amount::from_near(10))).await?.ok()?;
    let storage = storage_cost(ACCOUNT_BYTES);
    let credited = Amount::from_near(10).checked_sub(storage)?;
    assert_eq!(free(&harness, &alice.account).await?, credited);
    assert_eq!(harness.balance(&alice.account).await?, Amount(start.0 - Amount::from_near(10).0 - put.burnt.0));

    let some = harness.call(&alice, &billing.withdraw(Some(Amount::from_near(3)))).await?.ok()?;
    let rest = harness.call(&alice, &billing.withdraw(None)).await?.ok()?;
    assert!(rest.json::<bool>()?);
    assert_eq!(free(&harness, &alice.account).await?, Amount::ZERO);
    let gone = harness.call(&alice, &billing.storage_unregister()).await?.ok()?;
    let burnt = put.burnt.0 + some.burnt.0 + rest.burnt.0 + gone.burnt.0;
    assert_eq!(harness.balance(&alice.account).await?, Amount(start.0 - burnt - 3), "three calls attached one yocto each");
    assert_eq!(surplus(&harness).await?, Amount(reserve.0 + 3));
    assert!(harness.view(&billing.account(&alice.account)).await?.is_none());
    Ok(())
}

#[tokio::test]
async fn storage__should_be_credit_that_comes_back() -> anyhow::Result<()> {
    let harness = money().await?;
    let (alice, billing) = (harness.actor("alice.starling", 50).await?, harness.billing());
    let min = harness.view(&billing.storage_balance_bounds()).await?.min;
    assert_eq!(min, storage_cost(ACCOUNT_BYTES));
    harness.call(&alice, &billing.storage_deposit(None, false, Amount(min.0 - 1))).await?.refused("attach at least")?;
    harness.call(&alice, &billing.storage_deposit(None, false, Amount(min.0 + 500))).await?.ok()?;
    let storage = harness.view(&billing.storage_balance_of(&alice.account)).await?.ok_or_else(|| anyhow::anyhow!("not registered"))?;
    assert_eq!((storage.total, storage.available), (Amount(min.0 + 500), Amount(500)));
    harness.call(&alice, &billing.storage_withdraw(Some(Amount(501)))).await?.refused("storage credit is too small")?;
    let before = harness.balance(&alice.account).await?;
    let taken = harness.call(&alice, &billing.storage_withdraw(None)).await?.ok()?;
    assert_eq!(harness.balance(&alice.account).await?, Amount(before.0 + 500 - 1 - taken.burnt.0));
    // Registered already: all of it comes back.
    let before = harness.balance(&alice.account).await?;
    let again = harness.call(&alice, &billing.storage_deposit(None, true, min)).await?.ok()?;
    assert_eq!(harness.balance(&alice.account).await?, Amount(before.0 - again.burnt.0));
    Ok(())
}

#[tokio::test]
async fn one_yocto__should_be_wanted_where_money_or_rights_move() -> anyhow::Result<()> {
    let harness = money().await?;
    let (alice, billing) = (harness.actor("alice.starling", 50).await?, harness.billing());
    harness.call(&alice, &billing.deposit(Amount::from_near(10))).await?.ok()?;
    let until = harness.now().await?.after(starling_primitives::DurationMs::from_days(1));
    let key = alice.public_key();
    let calls = [
        billing.withdraw(None),
        billing.storage_withdraw(None),
        billing.storage_unregister(),
        billing.add_session_key(&key, Amount(1), until, std::slice::from_ref(&harness.deployment.compute)),
        billing.remove_session_key(&key),
        billing.set_paused(true),
        billing.withdraw_fees(),
        harness.compute().set_paused(true),
    ];
    for deposit in [Amount::ZERO, Amount(2)] {
        for call in &calls {
            harness.call(&alice, &Call { deposit, ..call.clone() }).await?.refused("attach exactly 1 yoctoNEAR")?;
        }
    }
    for call in &calls[5..] {
        assert_eq!(call.deposit, ONE_YOCTO);
        harness.call(&alice, call).await?.refused("only the owner")?;
    }
    harness.call(&alice, &billing.withdraw(Some(Amount::from_near(11)))).await?.refused("balance is too small")?;
    harness.call(&alice, &billing.storage_unregister()).await?.refused("withdraw the balance first")?;
    Ok(())
}

#[tokio::test]
async fn withdrawal__should_be_restored_when_its_owner_is_gone() -> anyhow::Result<()> {
    // The account is deleted while the call is on its way, so the transfer finds nobody.
    let harness = Harness::start_in(BlockMode::Manual, &["billing", "compute"]).await?;
    let (alice, billing) = (harness.actor("alice.starling", 50).await?, harness.billing());
    harness.call(&alice, &billing.deposit(Amount::from_near(10))).await?.ok()?;
    let (before, reserve) = (free(&harness, &alice.account).await?, surplus(&harness).await?);
    let answer = harness.call_then_delete(&alice, &billing.withdraw(None), &harness.owner.account).await?;
    assert!(!answer.json::<bool>()?, "the transfer arrived");
    assert_eq!(free(&harness, &alice.account).await?, before);
    assert_eq!(surplus(&harness).await?, Amount(reserve.0 + 1));
    Ok(())
}
