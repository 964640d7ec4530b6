//! What is attached to a call: too little is refused, too much comes back or is credited, nothing is taken where nothing is wanted, and no stranger makes our storage
//! grow at our cost. And keys that anyone could sign for.

use crate::{
    books::{free, surplus},
    money,
};
use serde_json::json;
use starling_contract_api::{
    Call,
    billing::{ACCOUNT_BYTES, Billing},
    payment::{PayArgs, PayResult, PaymentMsg, YOCTO_PER_BYTE, storage_cost},
};
use starling_primitives::{AccountId, Amount, DurationMs, EscrowId, Hash32, LeaseId, NodeId, OfferId, PublicKey, RunId, Text};
use starling_protocol::{
    lease::LeaseTerms,
    node::{Capability, DeviceKind},
};
use starling_tests::{
    Harness,
    work::{offer_terms, run_terms},
};

fn capability() -> Capability {
    Capability { kind: DeviceKind::Cpu, device: Text::default(), memory_bytes: 1, threads: 1, matrix_gflops: 1 }
}

#[tokio::test]
async fn deposit__should_be_refused_where_none_is_wanted() -> anyhow::Result<()> {
    let harness = money().await?;
    let alice = harness.registered("alice.starling", 50).await?;
    let (billing, compute, escrow) = (harness.billing(), harness.compute(), EscrowId(1));
    let calls = [
        billing.post(escrow, 1, &[], false),
        billing.close(escrow),
        billing.vest(escrow),
        billing.void(escrow),
        billing.confirm(escrow),
        billing.claim(escrow, &alice.account),
        compute.accept_lease(LeaseId(1)),
        compute.close_lease(LeaseId(1)),
        compute.tick_lease(LeaseId(1)),
        compute.settle_lease(LeaseId(1)),
        compute.enroll(RunId(1), NodeId(1)),
        compute.leave_run(RunId(1), NodeId(1)),
        compute.tick_run(RunId(1)),
        compute.settle_run(RunId(1)),
        compute.stop_run(RunId(1)),
        compute.check_stake(NodeId(1)),
        compute.forget_payment(escrow),
        compute.on_opened(escrow),
    ];
    let before = harness.balance(&alice.account).await?;
    let mut burnt = 0;
    for call in &calls {
        assert_eq!(call.deposit, Amount::ZERO, "{}", call.method);
        let answer = harness.call(&alice, &Call { deposit: Amount(1), ..call.clone() }).await?;
        burnt += answer.refused("doesn't accept deposit")?.burnt.0;
    }
    assert_eq!(harness.balance(&alice.account).await?, Amount(before.0 - burnt), "it came back each time");
    Ok(())
}

#[tokio::test]
async fn payment__should_want_its_deposit_and_credit_the_rest() -> anyhow::Result<()> {
    let harness = money().await?;
    let (alice, billing) = (harness.actor("alice.starling", 50).await?, harness.billing());
    let msg = PaymentMsg::Run(run_terms(alice.public_key(), 2, 1));
    let (storage, bounds) = (msg.storage(), harness.bounds().await?);
    let args = PayArgs { target: harness.deployment.compute.clone(), amount: Amount::from_near(1), storage, bounds, msg };
    let needed = Amount::sum([args.amount, storage, Billing::pay_storage(), storage_cost(ACCOUNT_BYTES)])?;
    let reserve = surplus(&harness).await?;
    harness.call(&alice, &billing.pay(&args, Amount(needed.0 - 1))).await?.refused("attach at least")?;
    assert!(harness.view(&billing.account(&alice.account)).await?.is_none(), "a refused call registers nobody");
    let paid: PayResult = harness.call(&alice, &billing.pay(&args, Amount(needed.0 + 7))).await?.ok()?.json()?;
    assert!(paid.opened);
    let unneeded = Billing::pay_storage().checked_sub(starling_contract_api::billing::escrow_storage(1))?;
    assert_eq!(free(&harness, &alice.account).await?, Amount(unneeded.0 + 7));
    assert_eq!(surplus(&harness).await?, reserve);
    Ok(())
}

#[tokio::test]
async fn weak_keys__should_be_refused_wherever_one_is_named() -> anyhow::Result<()> {
    let harness = money().await?;
    let (alice, node) = (harness.registered("alice.starling", 50).await?, harness.node("provider.starling").await?);
    let (billing, compute) = (harness.billing(), harness.compute());
    let price = harness.view(&compute.storage_price()).await?;
    harness.call(&node.provider, &compute.create_offer(node.id, &offer_terms(), price)).await?.ok()?;
    let until = harness.now().await?.after(DurationMs::from_days(1));
    let mut identity = [0; 32];
    identity[0] = 1;
    for weak in [[0; 32], identity] {
        let weak = PublicKey(weak);
        let register = compute.register_node(&weak, &alice.account, &capability(), price);
        harness.call(&alice, &register).await?.refused("small order")?;
        let session = billing.add_session_key(&weak, Amount(1), until, std::slice::from_ref(&compute.0));
        harness.call(&alice, &session).await?.refused("small order")?;
        let lease = LeaseTerms {
            offer_id: OfferId(1),
            duration: DurationMs::from_hours(1),
            job: Hash32::default(),
            meter: weak,
            availability: DurationMs(0),
            delegate: None,
        };
        for msg in [PaymentMsg::Run(run_terms(weak, 2, 1)), PaymentMsg::Lease(lease)] {
            let paid = harness.pay(&alice, &compute.0, Amount::from_near(3), msg).await?;
            assert!(!paid.json::<PayResult>()?.opened && paid.failures.iter().any(|words| words.contains("small order")), "{paid:?}");
        }
    }
    Ok(())
}

/// What a contract holds of its own: beyond what it owes, and what its stored bytes cost.
async fn own(harness: &Harness, contract: &AccountId) -> anyhow::Result<u128> {
    let held = harness.balance(contract).await?.0;
    let stored = harness.worker.view_account(&contract.as_str().parse()?).await?.storage_usage;
    let owed = if *contract == harness.deployment.billing {
        let totals = harness.view(&harness.billing().totals()).await?;
        Amount::sum([totals.balances, totals.escrows, totals.fees])?.0
    } else {
        0
    };
    Ok(held - owed - YOCTO_PER_BYTE * u128::from(stored))
}

#[tokio::test]
async fn stranger__should_not_make_storage_grow_at_our_cost() -> anyhow::Result<()> {
    let harness = money().await?;
    let (billing, compute, mallory) = (harness.billing(), harness.compute(), harness.actor("mallory.starling", 500).await?);
    let key = mallory.public_key();
    let price = harness.view(&compute.storage_price()).await?;
    let until = harness.now().await?.after(DurationMs::from_days(1));
    let names: Vec<AccountId> = (0..8).map(|index| AccountId::new(format!("{index}{}", "n".repeat(63)))).collect::<Result<_, _>>()?;
    let pay = async |msg: PaymentMsg, amount: Amount, storage: Amount| -> anyhow::Result<Call> {
        let args = PayArgs { target: compute.0.clone(), amount, storage, bounds: harness.bounds().await?, msg };
        Ok(billing.pay(&args, Amount::sum([amount, storage, Billing::pay_storage()])?))
    };
    let run = PaymentMsg::Run(run_terms(key, 2, 1));
    let mut calls: Vec<Call> = names.iter().map(|name| billing.storage_deposit(Some(name), true, storage_cost(ACCOUNT_BYTES))).collect();
    calls.extend([
        billing.deposit(Amount::from_near(30)),
        billing.storage_deposit(None, false, Amount::from_near(1)),
        billing.add_session_key(&key, Amount(1), until, &names),
        // Accepted; refused for the price, for the storage, for a node that is not there.
        pay(run.clone(), Amount::from_near(1), run.storage()).await?,
        pay(run.clone(), Amount(1), run.storage()).await?,
        pay(run.clone(), Amount::from_near(1), Amount(1)).await?,
        pay(PaymentMsg::Stake { node_id: NodeId(9) }, Amount(1), storage_cost(1_000)).await?,
        compute.register_node(&key, &names[0], &capability(), price),
        compute.register_node(&key, &names[0], &capability(), Amount(1)),
        pay(PaymentMsg::Stake { node_id: NodeId(1) }, starling_tests::MIN_STAKE, PaymentMsg::Stake { node_id: NodeId(1) }.storage())
            .await?,
        compute.create_offer(NodeId(1), &offer_terms(), price),
        compute.enroll(RunId(1), NodeId(1)),
        compute.stop_run(RunId(1)),
        // As a token that nobody listed, and as one that does not exist.
        Call {
            contract: billing.0.clone(),
            method: "ft_on_transfer".to_owned(),
            args: json!({"sender_id": mallory.account, "amount": "5", "msg": ""}),
            gas: 30 * starling_contract_api::TGAS,
            deposit: Amount::ZERO,
        },
        billing.remove_session_key(&key),
        billing.withdraw(None),
    ]);
    // What was put down for a record may be more than it needs and goes with it: what is the contracts' own never falls below what it was.
    let start = [own(&harness, &billing.0).await?, own(&harness, &compute.0).await?];
    let mut taken = 0;
    for call in &calls {
        taken += u32::from(harness.call(&mallory, call).await?.value.is_ok());
        let now = [own(&harness, &billing.0).await?, own(&harness, &compute.0).await?];
        assert!(now[0] >= start[0] && now[1] >= start[1], "{} took of the contracts' own: {start:?}, now {now:?}", call.method);
    }
    assert!(taken >= 20, "{taken} of {} calls were taken", calls.len());
    Ok(())
}
