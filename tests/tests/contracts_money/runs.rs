//! A run from payment to settlement, signed by three keys.

use crate::{
    books::{free, surplus},
    money,
};
use starling_contract_api::{
    billing::{Billing, escrow_storage},
    compute::RosterSignature,
    events::ComputeEvent,
    payment::{PayResult, PaymentMsg},
};
use starling_primitives::{Amount, BasisPoints, RunId};
use starling_protocol::{
    run::{Ending, FailReason, RunState},
    signing::{Domain, Role},
};
use starling_tests::{
    FEE, Harness,
    work::{NodeOf, next_round, run_terms},
};

const RUN: RunId = RunId(1);

async fn three_nodes(harness: &Harness) -> anyhow::Result<Vec<NodeOf>> {
    let mut nodes = Vec::new();
    for name in ["one.starling", "two.starling", "three.starling"] {
        nodes.push(harness.node(name).await?);
    }
    Ok(nodes)
}

async fn enroll(harness: &Harness, nodes: &[NodeOf]) -> anyhow::Result<()> {
    for node in nodes {
        harness.call(&node.key, &harness.compute().enroll(RUN, node.id)).await?.ok()?;
    }
    Ok(())
}

fn signers(nodes: &[NodeOf], places: &[u16]) -> Vec<(u16, starling_tests::Actor)> {
    places.iter().map(|place| (*place, nodes[usize::from(*place)].key.clone())).collect()
}

async fn bring(
    harness: &Harness,
    nodes: &[NodeOf],
    places: &[u16],
    tokens: &[u32],
    meter: &starling_tests::Actor,
) -> anyhow::Result<starling_tests::Answer> {
    let run = harness.run(RUN).await?;
    let signers = signers(nodes, places);
    let signers: Vec<_> = signers.iter().map(|(place, actor)| (*place, actor)).collect();
    // A stranger brings it: signatures are all that counts.
    harness.post_round(&harness.owner, &next_round(&run, tokens), &signers, meter).await
}

#[tokio::test]
async fn run__should_pay_exactly_its_accepted_tokens() -> anyhow::Result<()> {
    let harness = money().await?;
    let nodes = three_nodes(&harness).await?;
    let alice = harness.actor("alice.starling", 50).await?;
    let reserve = surplus(&harness).await?;
    let mut starts = Vec::new();
    for node in &nodes {
        starts.push(free(&harness, &node.provider.account).await?);
    }
    let deposit = Amount::from_near(2);
    let paid =
        harness.pay(&alice, &harness.deployment.compute, deposit, PaymentMsg::Run(run_terms(alice.public_key(), 5, 3))).await?.ok()?;
    let result: PayResult = paid.json()?;
    assert!(result.opened, "{result:?}");
    enroll(&harness, &nodes).await?;
    bring(&harness, &nodes, &[0, 1, 2], &[1_000, 900, 7], &alice).await?.ok()?;
    // A node that contributed and did not sign is paid; two of three are a quorum.
    let second = bring(&harness, &nodes, &[0, 1], &[1_000, 0, 333], &alice).await?.ok()?;
    assert!(
        second
            .compute_events()
            .iter()
            .any(|event| matches!(event, ComputeEvent::RoundAccepted { signers, .. } if signers == "0000000000000003"))
    );
    harness.call(&harness.owner, &harness.compute().settle_run(RUN)).await?.ok()?;
    bring(&harness, &nodes, &[1, 2], &[1, 2, 3], &alice).await?.ok()?;
    let stopped = harness.call(&alice, &harness.compute().stop_run(RUN)).await?.ok()?;
    assert!(stopped.json::<bool>()?);
    assert!(stopped.compute_events().iter().any(|event| matches!(event, ComputeEvent::RunSettled { ending: Ending::Stopped, .. })));

    let price = |tokens: u128| Amount(Amount::from_near(100).0 * tokens / 1_000_000);
    let earned = [price(2_001), price(902), price(343)];
    let available = Amount(deposit.0 - earned.iter().map(|amount| amount.0).sum::<u128>());
    // The escrow's record is as large as three payees need; the rest of its storage deposit came back when it opened.
    let storage_back = Amount(Billing::pay_storage().0 - escrow_storage(3).0);
    assert_eq!(free(&harness, &alice.account).await?, available.checked_add(storage_back)?);
    let fee = BasisPoints::new(FEE)?;
    let net = |amount: Amount| Amount(amount.0 - amount.fraction_ceil(fee).0);
    for ((node, start), earned) in nodes.iter().zip(&starts).zip(earned) {
        let now_earned = Amount(earned.0 - earned.fraction_floor(BasisPoints::new(1_000)?).0);
        assert_eq!(free(&harness, &node.provider.account).await?, start.checked_add(net(now_earned))?);
    }
    harness.call(&alice, &harness.billing().acknowledge(result.escrow_id)).await?.ok()?;
    let mut paid_out = Amount::ZERO;
    for ((node, start), earned) in nodes.iter().zip(&starts).zip(earned) {
        assert_eq!(free(&harness, &node.provider.account).await?, start.checked_add(net(earned))?);
        paid_out = paid_out.checked_add(net(earned))?;
    }
    let totals = harness.view(&harness.billing().totals()).await?;
    assert_eq!(Amount::sum([paid_out, totals.fees, available])?, deposit, "paid, fee and refund are the deposit");
    assert_eq!(free(&harness, &alice.account).await?, available.checked_add(Billing::pay_storage())?);
    assert_eq!(surplus(&harness).await?, Amount(reserve.0 + 1));
    // Fees reach the owner.
    let before = harness.balance(&harness.owner.account).await?;
    let taken = harness.call(&harness.owner, &harness.billing().withdraw_fees()).await?.ok()?;
    assert_eq!(harness.balance(&harness.owner.account).await?, Amount(before.0 + totals.fees.0 - taken.burnt.0 - 1));
    Ok(())
}

#[tokio::test]
async fn round__should_want_a_quorum_of_true_signatures() -> anyhow::Result<()> {
    let harness = money().await?;
    let nodes = three_nodes(&harness).await?;
    let alice = harness.actor("alice.starling", 50).await?;
    harness
        .pay(&alice, &harness.deployment.compute, Amount::from_near(2), PaymentMsg::Run(run_terms(alice.public_key(), 5, 3)))
        .await?
        .ok()?;
    enroll(&harness, &nodes).await?;
    let full = [10, 10, 10];
    bring(&harness, &nodes, &[0], &full, &alice).await?.refused("1 of 2 signatures")?;
    bring(&harness, &nodes, &[0, 1], &full, &nodes[0].key).await?.refused("the meter's signature does not fit")?;
    bring(&harness, &nodes, &[0, 0], &full, &alice).await?.refused("place 0 signed twice")?;
    bring(&harness, &nodes, &[0, 1], &[1_001, 0, 0], &alice).await?.refused("more tokens than were assigned")?;
    bring(&harness, &nodes, &[0, 1], &[1, 1], &alice).await?.refused("another roster")?;

    // Signatures for another chain, contract, instance or role are worth nothing; nor is one in another's place.
    let run = harness.run(RUN).await?;
    let statement = next_round(&run, &full);
    let ours = harness.domain();
    let others = [
        Domain { chain_id: "mainnet".to_owned(), ..ours.clone() },
        Domain { contract: harness.deployment.hub.clone(), ..ours.clone() },
        Domain { instance: ours.instance + 1, ..ours.clone() },
    ];
    let meter = alice.sign(&statement.signing_bytes(&ours, Role::Meter));
    let by = |domain: &Domain, role: Role, place: u16, node: usize| RosterSignature {
        place,
        signature: nodes[node].key.sign(&statement.signing_bytes(domain, role)),
    };
    let mut forged: Vec<Vec<RosterSignature>> =
        others.iter().map(|domain| vec![by(domain, Role::Node, 0, 0), by(domain, Role::Node, 1, 1)]).collect();
    forged.push(vec![by(&ours, Role::Meter, 0, 0), by(&ours, Role::Meter, 1, 1)]);
    forged.push(vec![by(&ours, Role::Node, 1, 0), by(&ours, Role::Node, 0, 1)]);
    for signatures in &forged {
        harness.call(&alice, &harness.compute().post_round(&statement, signatures, &meter)).await?.refused("does not fit the statement")?;
    }
    bring(&harness, &nodes, &[0, 2], &full, &alice).await?.ok()?;
    let signatures = [by(&ours, Role::Node, 0, 0), by(&ours, Role::Node, 1, 1)];
    harness.call(&alice, &harness.compute().post_round(&statement, &signatures, &meter)).await?.refused("another round")?;
    Ok(())
}

#[tokio::test]
async fn run__should_finish_and_settle_by_anyone_and_refund_a_refused_tenth() -> anyhow::Result<()> {
    let harness = money().await?;
    let nodes = vec![harness.node("one.starling").await?];
    let alice = harness.actor("alice.starling", 50).await?;
    let paid: PayResult = harness
        .pay(&alice, &harness.deployment.compute, Amount::from_near(1), PaymentMsg::Run(run_terms(alice.public_key(), 2, 1)))
        .await?
        .ok()?
        .json()?;
    harness.call(&harness.owner, &harness.compute().settle_run(RUN)).await?.refused("nothing to settle")?;
    enroll(&harness, &nodes).await?;
    for _ in 0..2 {
        bring(&harness, &nodes, &[0], &[1_000], &alice).await?.ok()?;
    }
    assert!(matches!(harness.run(RUN).await?.state, RunState::Ended { ending: Ending::Finished, settled: false, .. }));
    harness.call(&harness.owner, &harness.compute().settle_run(RUN)).await?.ok()?;
    assert!(matches!(harness.run(RUN).await?.state, RunState::Ended { settled: true, .. }));
    harness.call(&harness.owner, &harness.compute().settle_run(RUN)).await?.refused("settled already")?;
    let before = free(&harness, &alice.account).await?;
    harness.call(&harness.owner, &harness.billing().refuse(paid.escrow_id)).await?.refused("only the escrow's payer")?;
    harness.call(&alice, &harness.billing().refuse(paid.escrow_id)).await?.ok()?;
    let tenth = Amount::from_millinear(20);
    assert_eq!(free(&harness, &alice.account).await?, Amount::sum([before, tenth, escrow_storage(1)])?);
    Ok(())
}

#[tokio::test]
async fn run__should_fail_by_its_deadline_and_return_what_was_not_earned() -> anyhow::Result<()> {
    let harness = money().await?;
    let nodes = three_nodes(&harness).await?;
    let alice = harness.actor("alice.starling", 50).await?;
    let deposit = Amount::from_near(2);
    let terms = run_terms(alice.public_key(), 5, 3);
    let round_time = terms.round_time;
    harness.pay(&alice, &harness.deployment.compute, deposit, PaymentMsg::Run(terms)).await?.ok()?;
    enroll(&harness, &nodes).await?;
    bring(&harness, &nodes, &[0, 1, 2], &[1_000, 1_000, 0], &alice).await?.ok()?;
    harness.call(&harness.owner, &harness.compute().tick_run(RUN)).await?.refused("nothing is due")?;
    harness.pass(round_time).await?;
    harness.call(&harness.owner, &harness.compute().tick_run(RUN)).await?.ok()?;
    assert!(matches!(harness.run(RUN).await?.state, RunState::Ended { ending: Ending::Failed(FailReason::RoundTimedOut), .. }));
    harness.call(&harness.owner, &harness.compute().settle_run(RUN)).await?.ok()?;
    let returned = Amount(deposit.0 - Amount::from_millinear(200).0);
    let storage_back = Amount(Billing::pay_storage().0 - escrow_storage(3).0);
    assert_eq!(free(&harness, &alice.account).await?, returned.checked_add(storage_back)?);
    Ok(())
}

#[tokio::test]
async fn earnings__should_wait_for_a_payee_that_is_not_registered() -> anyhow::Result<()> {
    let harness = money().await?;
    let node = harness.node("one.starling").await?;
    let (alice, payee) = (harness.actor("alice.starling", 50).await?, harness.actor("payee.starling", 5).await?);
    harness
        .call(&node.key, &harness.compute().set_payout(node.id, &payee.account))
        .await
        .err()
        .ok_or_else(|| anyhow::anyhow!("the node's key changed the payout"))?;
    harness.call(&node.provider, &harness.compute().set_payout(node.id, &payee.account)).await?.ok()?;
    let paid: PayResult = harness
        .pay(&alice, &harness.deployment.compute, Amount::from_near(1), PaymentMsg::Run(run_terms(alice.public_key(), 1, 1)))
        .await?
        .ok()?
        .json()?;
    enroll(&harness, std::slice::from_ref(&node)).await?;
    bring(&harness, std::slice::from_ref(&node), &[0], &[1_000], &alice).await?.ok()?;
    harness.call(&alice, &harness.compute().settle_run(RUN)).await?.ok()?;
    harness.call(&alice, &harness.billing().acknowledge(paid.escrow_id)).await?.ok()?;
    let claim = harness.billing().claim(paid.escrow_id, &payee.account);
    harness.call(&harness.owner, &claim).await?.refused("is not registered")?;
    harness.call(&payee, &harness.billing().deposit(Amount::from_near(1))).await?.ok()?;
    let before = free(&harness, &payee.account).await?;
    harness.call(&harness.owner, &claim).await?.ok()?;
    let net = Amount(Amount::from_millinear(100).0 - Amount::from_millinear(100).fraction_ceil(BasisPoints::new(FEE)?).0);
    assert_eq!(free(&harness, &payee.account).await?, before.checked_add(net)?);
    assert!(harness.view(&harness.billing().escrow(paid.escrow_id)).await?.is_none());
    Ok(())
}
