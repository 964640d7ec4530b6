//! The rehearsal: release 1 with records of all kinds, and money on its way while all four contracts are replaced.

use crate::release_1::{PRICE, SETTLED_ROUNDS, Scene, TOKENS};
use serde_json::{Value, json};
use starling_contract_api::{
    Deployment, ONE_YOCTO,
    billing::{Billing, Totals},
    hub::{LISTING_BYTES, Listings},
    payment::{PayArgs, PayResult, PaymentMsg, storage_cost},
};
use starling_primitives::{AccountId, Amount, Asset, AssetName, BasisPoints, DurationMs, EscrowId, Hash32, LeaseId, RunId};
use starling_protocol::{
    escrow::{Bounds, State},
    listing::File,
    run::RunState,
    signing::{LeaseStatement, Role},
    upgrade::UPGRADE_DELAY,
};
use starling_tests::{Actor, CONTRACTS, FEE, Harness, Sent, contract_wasm, marked, work::run_terms};

const RUN_ESCROW: EscrowId = EscrowId(3);
const ENROLLING_ESCROW: EscrowId = EscrowId(4);
const LEASE_ESCROW: EscrowId = EscrowId(5);
const HELD_ESCROW: EscrowId = EscrowId(7);
const WITHDRAWN: Amount = Amount::from_millinear(3_000);

/// The code that takes the place of release 1's: today's, under a hash of its own.
fn new_code(name: &str) -> anyhow::Result<Vec<u8>> {
    marked(contract_wasm(name)?, "rehearsal")
}

fn account(name: &str) -> anyhow::Result<AccountId> {
    Ok(AccountId::new(format!("{name}.starling"))?)
}

/// Records that nothing on its way changes, as the contracts tell them.
async fn resting(scene: &Scene) -> anyhow::Result<Vec<(String, Value)>> {
    let Deployment { billing, compute, hub, market, .. } = &scene.harness.deployment;
    let alice = &scene.alice.account;
    let mut reads = vec![
        (billing, "config", json!({})),
        (billing, "tokens", json!({})),
        (billing, "account", json!({"account_id": scene.publisher.account})),
        (compute, "config", json!({})),
        (compute, "nodes", json!({"from": 1, "limit": 10})),
        (compute, "offers", json!({"from": 1, "limit": 10})),
        (compute, "run", json!({"run_id": 2})),
        (compute, "lease", json!({"lease_id": 1})),
        (hub, "config", json!({})),
        (hub, "listing", json!({"name": "publisher.starling/child"})),
        (hub, "listings", json!({"category": null, "from": 0, "limit": 10})),
        (hub, "licence", json!({"holder": alice, "name": "publisher.starling/child"})),
        (hub, "licences_of", json!({"holder": alice, "from": 0, "limit": 10})),
        (market, "config", json!({})),
    ];
    for escrow in [1, 2, ENROLLING_ESCROW.0, LEASE_ESCROW.0] {
        reads.push((billing, "escrow", json!({"escrow_id": escrow})));
        reads.push((compute, "purpose", json!({"escrow_id": escrow})));
    }
    let mut told = Vec::new();
    for (contract, method, args) in reads {
        let answer = scene.harness.view_json(contract, method, &args).await?;
        anyhow::ensure!(!answer.is_null(), "{contract}.{method}({args}) is nothing");
        told.push((format!("{contract}.{method}({args})"), answer));
    }
    Ok(told)
}

/// Whether all that was told is told still; a newer contract may tell more.
fn says(new: &Value, old: &Value) -> bool {
    match (new, old) {
        (Value::Object(new), Value::Object(old)) => old.iter().all(|(name, old)| new.get(name).is_some_and(|new| says(new, old))),
        (Value::Array(new), Value::Array(old)) => new.len() == old.len() && new.iter().zip(old).all(|(new, old)| says(new, old)),
        (new, old) => new == old,
    }
}

/// What is on its way while the code changes: a question to `compute`, a post from it, a withdrawal of NEAR and one of tokens.
struct InFlight {
    pay: Sent,
    settle: Sent,
    near: Sent,
    tokens: Sent,
    upgrades: Vec<Sent>,
}

/// Sends it all in one block, and makes blocks until the new code is in place and each callback is still to come.
async fn fly(scene: &mut Scene, stranger: &Actor) -> anyhow::Result<InFlight> {
    let (billing, compute) = (scene.harness.billing(), scene.harness.compute());
    let mut upgrades = Vec::new();
    for name in CONTRACTS {
        upgrades.push(scene.harness.send_upgrade(stranger, &account(name)?, &new_code(name)?).await?);
    }
    let paid = scene.pay_call(&compute.0, Amount::from_near(1), Amount::ZERO, scene.run_msg()).await?;
    let pay = scene.harness.send(&scene.alice, &paid).await?;
    let settle = scene.harness.send(&scene.publisher, &compute.settle_run(RunId(1))).await?;
    let near = scene.harness.send(&scene.bob, &billing.withdraw(Some(WITHDRAWN))).await?;
    let tokens = scene.harness.send(&scene.bob, &billing.withdraw_token(&scene.usd.account, None)).await?;
    // The withdrawal of NEAR leaves its yocto in `billing`, that of tokens passes it on.
    scene.yoctos += 1;
    for _ in 0..6 {
        scene.harness.chain.produce_block()?;
        if scene.harness.code_hash(&billing.0)? == Hash32::sha256(&new_code("billing")?) {
            break;
        }
    }
    for name in CONTRACTS {
        assert_eq!(scene.harness.code_hash(&account(name)?)?, Hash32::sha256(&new_code(name)?), "{name}");
    }
    let held = scene.harness.view(&billing.escrow(HELD_ESCROW)).await?;
    assert!(held.is_some_and(|view| matches!(view.escrow.state, State::Held { .. })), "the question is not on its way");
    let totals = scene.harness.view(&billing.totals()).await?;
    assert!(totals.in_flight > WITHDRAWN, "the withdrawal is not on its way: {totals:?}");
    assert_eq!(scene.harness.token_totals(&scene.usd).await?.in_flight, TOKENS);
    Ok(InFlight { pay, settle, near, tokens, upgrades })
}

fn net(gross: Amount) -> anyhow::Result<Amount> {
    Ok(gross.checked_sub(gross.fraction_ceil(BasisPoints::new(FEE)?))?)
}

async fn free(harness: &Harness, account: &AccountId) -> anyhow::Result<Amount> {
    let account = harness.view(&harness.billing().account(account)).await?;
    let balances = account.map(|account| account.balances).unwrap_or_default();
    Ok(balances.into_iter().find(|(asset, _)| *asset == Asset::Near).map_or(Amount::ZERO, |(_, amount)| amount))
}

/// What `billing` holds is what it owes, what it was given at first, and a yocto for each call that attached one.
async fn check_books(scene: &Scene) -> anyhow::Result<()> {
    let Totals { balances, escrows, fees, storage, in_flight, holdings } = scene.harness.view(&scene.harness.billing().totals()).await?;
    anyhow::ensure!(in_flight.is_zero(), "{in_flight} is in flight");
    let owed = Amount::sum([balances, escrows, fees, storage])?;
    assert_eq!(holdings.checked_sub(owed)?, Amount(scene.reserve.0 + scene.yoctos));
    assert_eq!(scene.harness.token_surplus(&scene.usd).await?, Amount::ZERO);
    Ok(())
}

#[tokio::test]
async fn release_1__should_migrate_with_money_in_flight_and_lose_nothing() -> anyhow::Result<()> {
    let mut scene = Scene::start().await?;
    for name in CONTRACTS {
        let (contract, code) = (account(name)?, new_code(name)?);
        let approve =
            starling_contract_api::upgrade::Upgrades(contract.clone()).approve(scene.harness.code_hash(&contract)?, Hash32::sha256(&code));
        let owner = scene.harness.owner.clone();
        scene.run(&owner, &approve).await?.ok()?;
    }
    scene.harness.pass(UPGRADE_DELAY).await?;
    scene.fill_billing().await?;
    scene.fill_compute().await?;
    scene.fill_hub().await?;
    // A round more than was settled: its post will be on its way.
    scene.round().await?;
    let before = resting(&scene).await?;
    let earned = |rounds: u32| Amount(Amount::from_millinear(90).0 * u128::from(rounds));
    let mut providers = Vec::new();
    for node in &scene.nodes {
        providers.push(free(&scene.harness, &node.provider.account).await?.checked_sub(net(earned(SETTLED_ROUNDS))?)?);
    }
    let bob = scene.harness.balance(&scene.bob.account).await?;

    let stranger = scene.publisher.clone();
    let InFlight { pay, settle, near, tokens, upgrades } = fly(&mut scene, &stranger).await?;
    scene.blocks()?;
    for upgraded in upgrades {
        upgraded.outcome().await?.ok()?;
    }
    let paid: PayResult = pay.outcome().await?.ok()?.json()?;
    assert!(paid.opened && paid.escrow_id == HELD_ESCROW, "{paid:?}");
    assert!(matches!(scene.harness.run(RunId(3)).await?.state, RunState::Enrolling { .. }));
    assert!(settle.outcome().await?.ok()?.json::<bool>()?);
    for (node, start) in scene.nodes.iter().zip(&providers) {
        let now = free(&scene.harness, &node.provider.account).await?;
        assert_eq!(now, start.checked_add(net(earned(SETTLED_ROUNDS + 1))?)?);
    }
    let (near, tokens) = (near.outcome().await?.ok()?, tokens.outcome().await?.ok()?);
    assert!(near.json::<bool>()? && tokens.json::<bool>()?);
    let burnt = near.burnt.checked_add(tokens.burnt)?;
    assert_eq!(scene.harness.balance(&scene.bob.account).await?, Amount(bob.0 + WITHDRAWN.0 - burnt.0 - 2));
    assert_eq!(scene.harness.tokens_of(&scene.usd, &scene.bob.account).await?, TOKENS);
    check_books(&scene).await?;
    for ((what, old), (_, new)) in before.iter().zip(resting(&scene).await?) {
        // The tokens' sums moved with bob's.
        assert!(says(&new, old) || what.contains(".tokens("), "{what} was {old}, is {new}");
    }
    work_on(&mut scene).await?;
    leave(&mut scene).await
}

/// Every record of the old form is worked with.
async fn work_on(scene: &mut Scene) -> anyhow::Result<()> {
    let (alice, nodes, compute, billing) = (scene.alice.clone(), scene.nodes.clone(), scene.harness.compute(), scene.harness.billing());
    // The run goes on, is settled and stopped, and its result is taken.
    scene.round().await?;
    assert!(scene.run(&alice, &compute.stop_run(RunId(1))).await?.ok()?.json::<bool>()?);
    scene.run(&alice, &billing.acknowledge(RUN_ESCROW)).await?.ok()?;
    assert!(scene.harness.view(&billing.escrow(RUN_ESCROW)).await?.is_none(), "it is spent");
    // The run that enrolled and the one that was under way take nodes.
    for run_id in [2, 3] {
        scene.run(&nodes[1].key, &compute.enroll(RunId(run_id), nodes[1].id)).await?.ok()?;
    }
    // The lease takes a final statement.
    let statement = LeaseStatement {
        escrow_id: LEASE_ESCROW,
        lease_id: LeaseId(1),
        seq: 1,
        metered_ms: 10_000,
        units: 7,
        output: Hash32::sha256(b"output"),
        is_final: true,
    };
    let sign = |actor: &Actor, role| actor.sign(&statement.signing_bytes(&scene.harness.domain(), role));
    let posted = compute.post_statement(&statement, &sign(&nodes[0].key, Role::Node), &sign(&alice, Role::Meter));
    scene.run(&alice, &posted).await?.ok()?;
    assert!(scene.run(&alice, &compute.settle_lease(LeaseId(1))).await?.ok()?.json::<bool>()?);
    // The session key pays for a run.
    let msg = PaymentMsg::Run(run_terms(alice.public_key(), 2, 1));
    let (storage, bounds) = (msg.storage(), scene.harness.bounds().await?);
    let args = PayArgs { target: compute.0.clone(), amount: Amount::from_near(1), storage, bounds, msg };
    let session = scene.session.clone();
    let paid: PayResult = scene.run(&session, &billing.pay_from_balance(&args, true)).await?.ok()?.json()?;
    assert!(paid.opened, "{paid:?}");
    // Offers and nodes are taken out of service, and the stake is read.
    for node in &nodes {
        assert!(scene.run(&alice, &compute.check_stake(node.id)).await?.ok()?.json::<bool>()?);
        scene.run(&node.provider, &compute.retire_node(node.id)).await?.ok()?;
    }
    // The listing gets a version, and sells a licence with its ancestor's share.
    let hub = Listings(scene.harness.deployment.hub.clone());
    let (child, publisher, bob) = (AssetName::new(scene.publisher.account.clone(), "child")?, scene.publisher.clone(), scene.bob.clone());
    let files = [File { name: "second.safetensors".parse()?, hash: Hash32::sha256(b"second"), bytes: 1 }];
    scene.run(&publisher, &hub.add_version(&child, &files, None, "better", storage_cost(LISTING_BYTES))).await?.ok()?;
    let msg = PaymentMsg::Licence { name: child.clone() };
    let bounds = Bounds { post_at_once: PRICE, ..scene.harness.bounds().await? };
    let args = PayArgs { target: hub.0.clone(), amount: PRICE, storage: msg.storage(), bounds, msg };
    let deposit = Amount::sum([PRICE, args.storage, Billing::pay_storage()])?;
    assert!(scene.run(&bob, &billing.pay(&args, deposit)).await?.ok()?.json::<PayResult>()?.opened);
    assert!(scene.harness.view(&hub.listing(&child)).await?.is_some_and(|listing| listing.sold == 2));
    assert_eq!(scene.harness.view(&hub.versions(&child, 0, 10)).await?.len(), 2);
    check_books(scene).await
}

/// Escrows close by time alone, and every account takes all that is its own, to the yocto.
async fn leave(scene: &mut Scene) -> anyhow::Result<()> {
    let (billing, owner) = (scene.harness.billing(), scene.harness.owner.clone());
    let everyone = [
        vec![scene.alice.clone(), scene.bob.clone(), scene.publisher.clone()],
        scene.nodes.iter().map(|node| node.provider.clone()).collect(),
    ]
    .concat();
    for payer in &everyone {
        for view in scene.harness.escrows(&payer.account).await? {
            // A closed one waits for its holdback only, and takes no request.
            scene.run(payer, &billing.ask_closing(view.id)).await?;
        }
    }
    scene.harness.pass(DurationMs::from_days(7)).await?;
    for payer in &everyone {
        for view in scene.harness.escrows(&payer.account).await? {
            scene.run(&owner, &billing.close(view.id)).await?;
            scene.run(&owner, &billing.vest(view.id)).await?;
        }
        assert!(scene.harness.escrows(&payer.account).await?.is_empty(), "{}", payer.account);
    }
    scene.run(&scene.alice.clone(), &billing.remove_session_key(&scene.session.public_key())).await?.ok()?;
    let (usd, alice) = (scene.usd.clone(), scene.alice.clone());
    assert!(scene.run(&alice, &billing.withdraw_token(&usd.account, None)).await?.ok()?.json::<bool>()?);
    scene.yoctos -= 1;
    for person in &everyone {
        let (amount, before) = (free(&scene.harness, &person.account).await?, scene.harness.balance(&person.account).await?);
        let withdrawn = scene.run(person, &billing.withdraw(None)).await?.ok()?;
        assert!(withdrawn.json::<bool>()?);
        let now = scene.harness.balance(&person.account).await?;
        assert_eq!(now, Amount(before.0 + amount.0 - withdrawn.burnt.0 - ONE_YOCTO.0), "{}", person.account);
        assert!(scene.run(person, &billing.storage_unregister()).await?.ok()?.json::<bool>()?);
    }
    scene.run(&owner, &billing.withdraw_fees()).await?.ok()?;
    check_books(scene).await?;
    let totals = scene.harness.view(&billing.totals()).await?;
    assert_eq!([totals.balances, totals.escrows, totals.fees, totals.storage], [Amount::ZERO; 4]);
    assert_eq!(scene.harness.tokens_of(&scene.usd, &alice.account).await?, TOKENS);
    Ok(())
}
