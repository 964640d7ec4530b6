//! A migration that fails leaves everything as it was, and an upgrade locks nobody's money.

use starling_contract_api::{billing::Billing, upgrade::Upgrades};
use starling_localnet::BlockMode;
use starling_primitives::{AccountId, Amount};
use starling_protocol::upgrade::UPGRADE_DELAY;
use starling_tests::{Harness, contract_wasm, marked, release_wasm};

/// All that is stored of a contract: its code, and its records.
fn stored(harness: &Harness, contract: &AccountId) -> anyhow::Result<impl PartialEq + std::fmt::Debug> {
    let account = contract.as_str().parse()?;
    Ok((harness.code_hash(contract)?, harness.chain.contract_state(&account, b"")?))
}

#[tokio::test]
async fn migration__should_roll_everything_back_when_it_fails() -> anyhow::Result<()> {
    let harness = Harness::start_with(&["billing"]).await?;
    let (alice, billing) = (harness.actor("alice.starling", 50).await?, harness.billing());
    harness.call(&alice, &billing.deposit(Amount::from_near(10))).await?.ok()?;
    let cases = [
        // Another contract, which cannot read this one's state; one without a migration; and no contract at all.
        (contract_wasm("market")?, "the contract's state cannot be read"),
        (contract_wasm("scripted")?, "MethodNotFound"),
        (b"no code at all".to_vec(), "CompilationError"),
    ];
    for (code, words) in cases {
        harness.approve_upgrade(&billing.0, &code).await?;
        harness.pass(UPGRADE_DELAY).await?;
        let before = stored(&harness, &billing.0)?;
        harness.upgrade(&alice, &billing.0, &code).await?.refused(words)?;
        assert_eq!(stored(&harness, &billing.0)?, before, "{words}");
        assert!(harness.view(&Upgrades(billing.0.clone()).approved()).await?.is_some(), "it may be tried again");
    }
    assert!(harness.call(&alice, &billing.withdraw(None)).await?.ok()?.json::<bool>()?, "the old code runs");
    Ok(())
}

#[tokio::test]
async fn upgrade__should_not_lock_others_money_as_the_stake_of_larger_code() -> anyhow::Result<()> {
    // So little that a code of twice the size needs more than is the contract's own.
    let harness = Harness::start_release(BlockMode::OnDemand, 1, 4).await?;
    let (alice, billing) = (harness.actor("alice.starling", 50).await?, Billing(harness.deployment.billing.clone()));
    harness.call(&alice, &billing.deposit(Amount::from_near(30))).await?.ok()?;
    let mut code = release_wasm(1, "billing")?;
    let size = code.len();
    while code.len() < 2 * size {
        code = marked(code, &"larger ".repeat(17))?;
    }
    harness.approve_upgrade(&billing.0, &code).await?;
    harness.pass(UPGRADE_DELAY).await?;
    let before = stored(&harness, &billing.0)?;
    harness.upgrade(&alice, &billing.0, &code).await?.refused("more storage than the contract has NEAR of its own for")?;
    assert_eq!(stored(&harness, &billing.0)?, before);
    harness.give(&alice, &billing.0, Amount::from_near(2)).await?;
    harness.upgrade(&alice, &billing.0, &code).await?.ok()?;
    // Everyone can leave: what stays is what the code costs to store.
    assert!(harness.call(&alice, &billing.withdraw(None)).await?.ok()?.json::<bool>()?);
    harness.call(&alice, &billing.storage_unregister()).await?.ok()?;
    Ok(())
}
