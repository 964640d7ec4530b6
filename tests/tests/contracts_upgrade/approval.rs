//! An upgrade is what the owner approved, no earlier than its delay allows, and stops nobody from leaving before.

use starling_contract_api::{
    Call,
    events::{UpgradeEvent, parse},
    hub::{HUB_STANDARD, Listings},
    payment::{PayResult, PaymentMsg},
    upgrade::Upgrades,
};
use starling_localnet::BlockMode;
use starling_primitives::{Amount, DurationMs, Hash32, TimestampMs};
use starling_protocol::upgrade::{Approval, UPGRADE_DELAY};
use starling_tests::{Answer, Harness, contract_wasm, marked, work::run_terms};

const MS_PER_BLOCK: u64 = 1_000;

fn events(answer: &Answer) -> Vec<UpgradeEvent> {
    answer.logs.iter().filter_map(|line| parse(line, HUB_STANDARD)).collect()
}

#[tokio::test]
async fn upgrade__should_wait_for_its_delay_to_the_block() -> anyhow::Result<()> {
    let harness = Harness::start_in(BlockMode::Manual, &["hub"]).await?;
    let (hub, new) = (harness.deployment.hub.clone(), marked(contract_wasm("hub")?, "new")?);
    let (early, punctual) = (harness.actor("early.starling", 20).await?, harness.actor("punctual.starling", 20).await?);
    harness.upgrade(&early, &hub, &new).await?.refused("no upgrade is approved")?;
    let approval: Approval = harness.approve_upgrade(&hub, &new).await?.json()?;
    assert_eq!(harness.view(&Upgrades(hub.clone()).approved()).await?, Some(approval));
    harness.upgrade(&early, &hub, &new).await?.refused("the upgrade is possible from")?;

    // A call runs in the second block after it was sent: one runs a block before the time, the next one at it.
    harness.hold_blocks(true);
    let left = approval.possible_at.since(harness.now().await?);
    harness.pass(DurationMs(left.0 - 3 * MS_PER_BLOCK)).await?;
    let too_early = harness.send_upgrade(&early, &hub, &new).await?;
    harness.chain.produce_block()?;
    let in_time = harness.send_upgrade(&punctual, &hub, &new).await?;
    harness.chain.produce_block()?;
    assert_eq!(harness.now().await?, TimestampMs(approval.possible_at.0 - MS_PER_BLOCK));
    harness.hold_blocks(false);
    too_early.outcome().await?.refused("the upgrade is possible from")?;
    let upgraded = in_time.outcome().await?.ok()?;
    assert_eq!(events(&upgraded), [UpgradeEvent::Upgraded { old_hash: approval.old_hash, new_hash: approval.new_hash }]);
    assert_eq!(harness.code_hash(&hub)?, Hash32::sha256(&new));
    println!(
        "an upgrade of {} bytes burns {} Tgas in all, {} in the largest receipt",
        new.len(),
        upgraded.total_tgas,
        upgraded.largest_receipt_tgas
    );
    Ok(())
}

#[tokio::test]
async fn upgrade__should_take_only_what_the_owner_approved() -> anyhow::Result<()> {
    let harness = Harness::start_with(&["hub"]).await?;
    let (hub, stranger) = (harness.deployment.hub.clone(), harness.actor("stranger.starling", 20).await?);
    let (upgrades, old) = (Upgrades(hub.clone()), contract_wasm("hub")?);
    let (new, newer, other) = (marked(old.clone(), "new")?, marked(old.clone(), "newer")?, marked(old.clone(), "other")?);
    let (old_hash, new_hash) = (Hash32::sha256(&old), Hash32::sha256(&new));
    let config = harness.view(&Listings(hub.clone()).config()).await?;

    let approve = upgrades.approve(old_hash, new_hash);
    for call in [&approve, &upgrades.cancel()] {
        harness.call(&stranger, call).await?.refused("only the owner may do this")?;
        for deposit in [Amount::ZERO, Amount(2)] {
            harness.call(&harness.owner, &Call { deposit, ..call.clone() }).await?.refused("attach exactly 1 yoctoNEAR")?;
        }
    }
    harness.call(&harness.owner, &upgrades.approve(old_hash, old_hash)).await?.refused("by itself")?;
    harness.call(&harness.owner, &upgrades.approve(new_hash, old_hash)).await?.refused("runs here")?;
    harness.call(&harness.owner, &upgrades.cancel()).await?.refused("no upgrade is approved")?;
    let approved = harness.approve_upgrade(&hub, &new).await?;
    let approval: Approval = approved.json()?;
    assert_eq!(events(&approved), [UpgradeEvent::UpgradeApproved { approval }]);

    // What is taken back does not come, however late.
    let cancelled = harness.call(&harness.owner, &upgrades.cancel()).await?.ok()?;
    assert_eq!(events(&cancelled), [UpgradeEvent::UpgradeCancelled { approval }]);
    assert_eq!(harness.view(&upgrades.approved()).await?, None);
    harness.pass(UPGRADE_DELAY).await?;
    harness.upgrade(&stranger, &hub, &new).await?.refused("no upgrade is approved")?;

    // Whoever approves other code begins to wait anew.
    harness.approve_upgrade(&hub, &new).await?;
    harness.pass(DurationMs::from_days(7)).await?;
    harness.approve_upgrade(&hub, &newer).await?;
    harness.pass(DurationMs::from_days(7)).await?;
    harness.upgrade(&stranger, &hub, &newer).await?.refused("the upgrade is possible from")?;
    harness.pass(DurationMs::from_days(1)).await?;
    for code in [&new, &other, &b"{}".to_vec()] {
        harness.upgrade(&stranger, &hub, code).await?.refused("was approved, this is")?;
    }
    // Other code came in between, by a key that no contract has on a public network: the approval is for the old one.
    harness.deploy_by_key(&hub, &other).await?;
    harness.upgrade(&stranger, &hub, &newer).await?.refused("runs here")?;
    harness.deploy_by_key(&hub, &old).await?;
    assert_eq!(harness.code_hash(&hub)?, old_hash);

    harness.upgrade(&stranger, &hub, &newer).await?.ok()?;
    assert_eq!(harness.code_hash(&hub)?, Hash32::sha256(&newer));
    assert_eq!(harness.view(&upgrades.approved()).await?, None);
    assert_eq!(harness.view(&Listings(hub.clone()).config()).await?, config);
    harness.upgrade(&stranger, &hub, &newer).await?.refused("no upgrade is approved")?;
    Ok(())
}

#[tokio::test]
async fn pause_and_approved_upgrade__should_let_all_money_leave_before_it() -> anyhow::Result<()> {
    let harness = Harness::start_with(&["billing", "compute"]).await?;
    let (billing, alice, node) = (harness.billing(), harness.actor("alice.starling", 50).await?, harness.node("provider.starling").await?);
    let run = PaymentMsg::Run(run_terms(alice.public_key(), 2, 1));
    let paid: PayResult = harness.pay(&alice, &harness.deployment.compute, Amount::from_near(1), run.clone()).await?.ok()?.json()?;
    let stake = harness.view(&billing.escrows_of(&node.provider.account, 0, 1)).await?.remove(0);
    let mut possible_at = Vec::new();
    for (contract, name) in [(&billing.0, "billing"), (&harness.deployment.compute, "compute")] {
        let approved = harness.approve_upgrade(contract, &marked(contract_wasm(name)?, "new")?).await?;
        possible_at.push(approved.json::<Approval>()?.possible_at);
    }
    harness.call(&harness.owner, &billing.set_paused(true)).await?.ok()?;
    harness.call(&harness.owner, &harness.compute().set_paused(true)).await?.ok()?;
    harness.pay(&alice, &harness.deployment.compute, Amount::from_near(1), run).await?.refused("paused")?;

    // Nobody helps: not the arbiter, not the owner, not the other side.
    for (payer, escrow) in [(&alice, paid.escrow_id), (&node.provider, stake.id)] {
        harness.call(payer, &billing.ask_closing(escrow)).await?.ok()?;
    }
    harness.pass(DurationMs::from_days(7)).await?;
    let mut left = Vec::new();
    for (payer, escrow) in [(&alice, paid.escrow_id), (&node.provider, stake.id)] {
        harness.call(payer, &billing.close(escrow)).await?.ok()?;
        assert!(harness.call(payer, &billing.withdraw(None)).await?.ok()?.json::<bool>()?);
        harness.call(payer, &billing.storage_unregister()).await?.ok()?;
        left.push(harness.now().await?);
    }
    let totals = harness.view(&billing.totals()).await?;
    let rest = [totals.balances, totals.escrows, totals.fees, totals.storage, totals.in_flight];
    assert_eq!(rest, [Amount::ZERO; 5]);
    assert!(left.iter().max() < possible_at.iter().min(), "the upgrade came first: {left:?} {possible_at:?}");
    Ok(())
}
