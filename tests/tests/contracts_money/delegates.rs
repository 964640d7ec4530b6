//! Leases whose meter is a delegate: posts that vest, objections, and meters that are replaced.

use crate::{
    books::{free, surplus},
    leases::{LEASE, Rented, offered},
};
use starling_contract_api::{
    Call,
    billing::{ACCOUNT_BYTES, Billing, SESSION_KEY_BYTES},
    events::{BillingEvent, ComputeEvent},
    payment::{PayArgs, PayResult, PaymentMsg, storage_cost},
};
use starling_primitives::{Amount, BasisPoints, DurationMs, EscrowId, Hash32, OfferId, PublicKey, RunId};
use starling_protocol::{
    escrow::{Bounds, State},
    lease::{Cause, LeaseState, LeaseTerms},
    meter::{Delegate, Meter},
    node::OfferTerms,
    price::{quote_lease, quote_run},
    reputation::DEED,
    run::{Ending, FailReason, RunState, RunTerms},
};
use starling_tests::{
    Actor, FEE, Harness,
    work::{next_round, offer_terms, run_terms},
};

/// The offer's objection window; posts vest in steps of a seventh of it.
const WINDOW: DurationMs = DurationMs::from_hours(1);
const STEP: DurationMs = DurationMs(WINDOW.0.div_ceil(7));
const HOUR: DurationMs = DurationMs::from_hours(1);

/// A lease of an hour whose meter is a service with a share of 2 %.
struct Delegated {
    rented: Rented,
    meter: Actor,
    escrow: PayResult,
}

fn delegate(meter: &Actor, share: u16) -> anyhow::Result<Delegate> {
    Ok(Delegate { account: meter.account.clone(), share: BasisPoints::new(share)? })
}

fn terms(key: PublicKey, delegate: Option<Delegate>) -> LeaseTerms {
    let (job, availability) = (Hash32::sha256(b"job"), DurationMs::from_days(1));
    LeaseTerms { offer_id: OfferId(1), duration: HOUR, job, meter: key, availability, delegate }
}

fn quoted(terms: &LeaseTerms) -> anyhow::Result<Amount> {
    Ok(quote_lease(offer_terms().price_per_hour, terms.duration, terms.delegate.as_ref(), BasisPoints::new(FEE)?)?.at_most)
}

fn net(earned: u128) -> anyhow::Result<Amount> {
    Ok(Amount(earned - Amount(earned).fraction_ceil(BasisPoints::new(FEE)?).0))
}

/// What the node and the meter earn with so many seconds.
fn earned(seconds: u128) -> (u128, u128) {
    let node = Amount::from_near(3).0 * seconds / 3_600;
    (node, node * 200 / 10_000)
}

async fn pay(rented: &Rented, terms: LeaseTerms, bounds: Bounds) -> anyhow::Result<PayResult> {
    let harness = &rented.harness;
    let msg = PaymentMsg::Lease(terms.clone());
    let args = PayArgs { target: harness.deployment.compute.clone(), amount: quoted(&terms)?, storage: msg.storage(), bounds, msg };
    let deposit = Amount::sum([args.amount, args.storage, Billing::pay_storage(), Amount::from_millinear(10)])?;
    harness.call(&rented.tenant, &harness.billing().pay(&args, deposit)).await?.json()
}

async fn delegated() -> anyhow::Result<Delegated> {
    delegated_for(HOUR).await
}

async fn delegated_for(duration: DurationMs) -> anyhow::Result<Delegated> {
    let rented = offered().await?;
    let meter = rented.harness.actor("meter.starling", 5).await?;
    let terms = LeaseTerms { duration, ..terms(meter.public_key(), Some(delegate(&meter, 200)?)) };
    let bounds = Bounds { objection_window: WINDOW, ..rented.harness.bounds().await? };
    let escrow = pay(&rented, terms, bounds).await?;
    anyhow::ensure!(escrow.opened, "{escrow:?}");
    rented.harness.call(&rented.node.key, &rented.harness.compute().accept_lease(LEASE)).await?.ok()?;
    Ok(Delegated { rented, meter, escrow })
}

impl Delegated {
    /// The node and this meter sign for so many seconds, and the figures are posted.
    async fn post(&self, seq: u64, seconds: u64) -> anyhow::Result<()> {
        self.rented.statement(self.escrow.clone(), seq, DurationMs::from_secs(seconds), false, &self.meter).await?.ok()?;
        let harness = &self.rented.harness;
        let posted = harness.call(&harness.owner, &harness.compute().settle_lease(LEASE)).await?.ok()?;
        assert!(posted.json::<bool>()?, "the post is new");
        Ok(())
    }

    async fn pending(&self) -> anyhow::Result<Amount> {
        let view = self.rented.harness.view(&self.rented.harness.billing().escrow(self.escrow.escrow_id)).await?;
        Ok(view.ok_or_else(|| anyhow::anyhow!("the escrow is gone"))?.pending)
    }
}

#[tokio::test]
async fn delegates_posts__should_vest_after_the_objection_window() -> anyhow::Result<()> {
    let lease = delegated().await?;
    let Rented { harness, node, tenant } = &lease.rented;
    let (billing, escrow_id) = (harness.billing(), lease.escrow.escrow_id);
    let (start, reserve) = (free(harness, &node.provider.account).await?, surplus(harness).await?);
    harness.call(&harness.owner, &harness.compute().settle_lease(LEASE)).await?.refused("which does not take this")?;
    harness.pass(DurationMs::from_secs(600)).await?;
    lease.post(1, 600).await?;
    let (for_node, for_meter) = earned(600);
    assert_eq!(lease.pending().await?, Amount(for_node + for_meter));
    assert_eq!(free(harness, &node.provider.account).await?, start, "nothing is earned yet");
    harness.call(&harness.owner, &billing.vest(escrow_id)).await?.refused("too early")?;
    // The same figures again change nothing.
    let again = harness.call(&harness.owner, &harness.compute().settle_lease(LEASE)).await?.ok()?;
    assert!(!again.json::<bool>()?);
    harness.pass(DurationMs::from_secs(1_200)).await?;
    lease.post(2, 1_800).await?;
    harness.pass(DurationMs(WINDOW.0 - 1_200_000 + STEP.0)).await?;
    let vested = harness.call(&harness.owner, &billing.vest(escrow_id)).await?.ok()?;
    assert!(matches!(vested.billing_events().as_slice(), [BillingEvent::PostsVested { moved, .. }] if moved.credits.len() == 1));
    // A tenth waits for the tenant's word, in whole yoctos rounded down.
    assert_eq!(free(harness, &node.provider.account).await?, Amount(start.0 + net(for_node - for_node / 10)?.0));
    // The meter's account was not registered: what it earned waits there.
    harness.call(&lease.meter, &billing.storage_deposit(None, true, storage_cost(ACCOUNT_BYTES))).await?.ok()?;
    harness.call(&harness.owner, &billing.claim(escrow_id, &lease.meter.account)).await?.ok()?;
    assert_eq!(free(harness, &lease.meter.account).await?, net(for_meter - for_meter / 10)?);
    // The lease's time is over, and the second post has not vested when it is settled.
    harness.call(&harness.owner, &harness.compute().settle_lease(LEASE)).await?.ok()?;
    assert!(matches!(lease.rented.state().await?, LeaseState::Closed { cause: Cause::TimeOver, .. }));
    harness.call(tenant, &billing.acknowledge(escrow_id)).await?.ok()?;
    harness.pass(DurationMs(WINDOW.0 + STEP.0)).await?;
    harness.call(&harness.owner, &billing.vest(escrow_id)).await?.ok()?;
    let (for_node, for_meter) = earned(1_800);
    assert_eq!(free(harness, &node.provider.account).await?, Amount(start.0 + net(for_node)?.0));
    assert_eq!(free(harness, &lease.meter.account).await?, net(for_meter)?);
    assert!(harness.view(&billing.escrow(escrow_id)).await?.is_none(), "the escrow is spent");
    assert_eq!(surplus(harness).await?, Amount(reserve.0 + 1));
    Ok(())
}

#[tokio::test]
async fn objection__should_return_what_has_not_vested_and_close_the_lease() -> anyhow::Result<()> {
    let lease = delegated().await?;
    let Rented { harness, node, tenant } = &lease.rented;
    let (billing, escrow_id) = (harness.billing(), lease.escrow.escrow_id);
    let start = free(harness, &node.provider.account).await?;
    harness.pass(DurationMs::from_secs(600)).await?;
    lease.post(1, 600).await?;
    harness.pass(DurationMs(WINDOW.0 / 2)).await?;
    lease.post(2, 2_000).await?;
    harness.pass(DurationMs(WINDOW.0 / 2 + STEP.0)).await?;
    for stranger in [&node.provider, &lease.meter, &harness.owner] {
        harness.call(stranger, &billing.object(escrow_id, false)).await?.refused("only the escrow's payer")?;
    }
    harness.call(tenant, &billing.object(escrow_id, true)).await?.refused("attach exactly 1 yoctoNEAR")?;
    let (before, reserve) = (free(harness, &tenant.account).await?, surplus(harness).await?);
    let objected = harness.call(tenant, &billing.object(escrow_id, false)).await?.ok()?;
    let told = objected.compute_events();
    let closed =
        |event: &ComputeEvent| matches!(event, ComputeEvent::LeaseChanged { state: LeaseState::Closed { cause: Cause::Objected, .. }, .. });
    assert!(told.iter().any(closed), "{told:?}");
    // The first post had vested by the clock; the second goes back with what was free.
    let (for_node, for_meter) = earned(600);
    let deposit = quoted(&terms(lease.meter.public_key(), Some(delegate(&lease.meter, 200)?)))?;
    assert_eq!(free(harness, &tenant.account).await?, Amount(before.0 + deposit.0 - for_node - for_meter));
    assert_eq!(free(harness, &node.provider.account).await?, Amount(start.0 + net(for_node - for_node / 10)?.0));
    harness.call(&harness.owner, &harness.compute().settle_lease(LEASE)).await?.refused("settled already")?;
    lease
        .rented
        .statement(lease.escrow.clone(), 3, DurationMs::from_secs(2_100), false, &lease.meter)
        .await?
        .refused("does not take this")?;
    harness.call(tenant, &billing.object(escrow_id, false)).await?.refused("nothing to object to")?;
    harness.call(tenant, &billing.refuse(escrow_id)).await?.ok()?;
    assert_eq!(surplus(harness).await?, Amount(reserve.0 + 2));
    Ok(())
}

#[tokio::test]
async fn objection__should_find_nothing_where_the_meter_is_the_tenants_own() -> anyhow::Result<()> {
    let rented = offered().await?;
    let harness = &rented.harness;
    let escrow = pay(&rented, terms(rented.tenant.public_key(), None), harness.bounds().await?).await?;
    harness.call(&rented.tenant, &harness.billing().object(escrow.escrow_id, false)).await?.refused("final at once")?;
    Ok(())
}

#[tokio::test]
async fn session_key__should_object_to_what_it_opened_while_it_is_registered() -> anyhow::Result<()> {
    let rented = offered().await?;
    let Rented { harness, tenant, .. } = &rented;
    let (billing, meter) = (harness.billing(), harness.actor("meter.starling", 5).await?);
    harness.call(tenant, &billing.deposit(Amount::from_near(20))).await?.ok()?;
    harness.call(tenant, &billing.storage_deposit(None, false, storage_cost(2 * SESSION_KEY_BYTES))).await?.ok()?;
    let methods = ["pay_from_balance", "object"];
    let opener = harness.add_function_key(tenant, &billing.0, &methods, Amount::from_near(3)).await?;
    let other = harness.add_function_key(tenant, &billing.0, &["object"], Amount::from_near(3)).await?;
    let until = harness.now().await?.after(DurationMs::from_days(1));
    for key in [&opener, &other] {
        let add =
            billing.add_session_key(&key.public_key(), Amount::from_near(9), until, std::slice::from_ref(&harness.deployment.compute));
        harness.call(tenant, &add).await?.ok()?;
    }
    let opened = async || -> anyhow::Result<EscrowId> {
        let terms = terms(meter.public_key(), Some(delegate(&meter, 200)?));
        let msg = PaymentMsg::Lease(terms.clone());
        let (storage, bounds) = (msg.storage(), harness.bounds().await?);
        let args = PayArgs { target: harness.deployment.compute.clone(), amount: quoted(&terms)?, storage, bounds, msg };
        let paid: PayResult = harness.call(&opener, &billing.pay_from_balance(&args, true)).await?.ok()?.json()?;
        anyhow::ensure!(paid.opened, "{paid:?}");
        Ok(paid.escrow_id)
    };
    let first = opened().await?;
    harness.call(&other, &billing.object(first, true)).await?.refused("a registered session key")?;
    harness.call(&opener, &billing.object(first, true)).await?.ok()?;
    assert!(matches!(rented.state().await?, LeaseState::Closed { cause: Cause::Objected, .. }));
    let second = opened().await?;
    harness.call(tenant, &billing.remove_session_key(&opener.public_key())).await?.ok()?;
    harness.call(&opener, &billing.object(second, true)).await?.refused("a registered session key")?;
    harness.call(tenant, &billing.object(second, false)).await?.ok()?;
    surplus(harness).await?;
    Ok(())
}

#[tokio::test]
async fn delegates__should_be_taken_within_the_offers_window_and_the_payers_bounds() -> anyhow::Result<()> {
    let rented = offered().await?;
    let Rented { harness, node, .. } = &rented;
    let meter = harness.actor("meter.starling", 5).await?;
    let bounds = harness.bounds().await?;
    let with = |offer_id, share| anyhow::Ok(LeaseTerms { offer_id, ..terms(meter.public_key(), Some(delegate(&meter, share)?)) });
    let price = harness.view(&harness.compute().storage_price()).await?;
    let without = OfferTerms { objection_window: DurationMs(0), ..offer_terms() };
    let made = harness.call(&node.provider, &harness.compute().create_offer(node.id, &without, price)).await?.ok()?;
    let too_long = OfferTerms { objection_window: DurationMs::from_days(8), ..offer_terms() };
    harness.call(&node.provider, &harness.compute().create_offer(node.id, &too_long, price)).await?.refused("the objection window")?;
    assert!(!pay(&rented, with(made.json()?, 200)?, bounds.clone()).await?.opened, "the offer has no window");
    assert!(!pay(&rented, with(OfferId(1), 2_501)?, bounds.clone()).await?.opened, "the share is too large");
    let longer = Bounds { objection_window: DurationMs(WINDOW.0 + 1), ..bounds.clone() };
    let refused = pay(&rented, with(OfferId(1), 200)?, longer).await?;
    assert!(!refused.opened && refused.reason.as_ref().is_some_and(|reason| reason.contains("objection_window")), "{refused:?}");
    // The node was asked and waits for the notice of that payment, until it cannot come any more.
    harness.pass(DurationMs::from_hours(2)).await?;
    assert!(pay(&rented, with(OfferId(1), 2_500)?, Bounds { objection_window: WINDOW, ..bounds }).await?.opened);
    Ok(())
}

#[tokio::test]
async fn meter__should_be_replaced_by_the_tenant_alone() -> anyhow::Result<()> {
    let lease = delegated().await?;
    let Rented { harness, node, tenant } = &lease.rented;
    let (compute, second) = (harness.compute(), harness.actor("second.starling", 5).await?);
    let to = |key: PublicKey, delegate| compute.replace_meter(LEASE, &Meter { key, delegate });
    let own = to(tenant.public_key(), None);
    for stranger in [&node.key, &lease.meter, &harness.owner] {
        let refused = if stranger.account == node.provider.account { "attach exactly" } else { "only the lease's tenant" };
        let deposit = if refused == "attach exactly" { Amount::ZERO } else { own.deposit };
        harness
            .call(stranger, &Call { deposit, ..own.clone() })
            .await
            .map_or_else(|_| Ok(()), |answer| answer.refused(refused).map(drop))?;
    }
    harness.call(tenant, &Call { deposit: Amount::ZERO, ..own.clone() }).await?.refused("attach exactly 1 yoctoNEAR")?;
    harness.call(tenant, &to(PublicKey([0; 32]), None)).await?.refused("small order")?;
    harness.call(tenant, &to(second.public_key(), Some(delegate(&second, 201)?))).await?.refused("share may be")?;
    harness.pass(DurationMs::from_secs(600)).await?;
    harness.call(tenant, &to(second.public_key(), Some(delegate(&second, 100)?))).await?.ok()?;
    harness.call(tenant, &own).await?.refused("a moment ago")?;
    // What the first has signed counts for two minutes, up to its end.
    harness.pass(DurationMs::from_secs(60)).await?;
    let by = async |meter: &Actor, seq, seconds| {
        lease.rented.statement(lease.escrow.clone(), seq, DurationMs::from_secs(seconds), false, meter).await
    };
    by(&lease.meter, 1, 640).await?.refused("claimed")?;
    by(&lease.meter, 1, 600).await?.ok()?;
    by(&second, 2, 640).await?.ok()?;
    by(&lease.meter, 3, 641).await?.refused("the meter's signature")?;
    let lease_now = harness.view(&compute.lease(LEASE)).await?.ok_or_else(|| anyhow::anyhow!("no lease"))?;
    let figures: Vec<_> = lease_now.postings()?.into_iter().map(|posting| (posting.payee, posting.total)).collect();
    let (all, first) = (earned(640).0, earned(600));
    let expect = [
        (node.provider.account.clone(), Amount(all)),
        (lease.meter.account.clone(), Amount(first.1)),
        (second.account.clone(), Amount((all - first.0) / 100)),
    ];
    assert_eq!(figures, expect);
    // At the end all three are paid.
    harness.call(tenant, &compute.close_lease(LEASE)).await?.ok()?;
    harness.pass(DurationMs::from_secs(121)).await?;
    harness.call(&harness.owner, &compute.settle_lease(LEASE)).await?.ok()?;
    assert_eq!(lease.pending().await?, Amount(expect.iter().map(|(_, amount)| amount.0).sum()));
    Ok(())
}

#[tokio::test]
async fn own_key__should_be_replaced_by_an_own_key_only() -> anyhow::Result<()> {
    let rented = offered().await?;
    let Rented { harness, tenant, .. } = &rented;
    let meter = harness.actor("meter.starling", 5).await?;
    let escrow = pay(&rented, terms(tenant.public_key(), None), harness.bounds().await?).await?;
    harness.call(&rented.node.key, &harness.compute().accept_lease(LEASE)).await?.ok()?;
    let to = |delegate| harness.compute().replace_meter(LEASE, &Meter { key: meter.public_key(), delegate });
    harness.call(tenant, &to(Some(delegate(&meter, 0)?))).await?.refused("posts are final at once")?;
    harness.call(tenant, &to(None)).await?.ok()?;
    harness.pass(DurationMs::from_secs(60)).await?;
    rented.statement(escrow, 1, DurationMs::from_secs(50), true, &meter).await?.ok()?;
    Ok(())
}

/// Puts a lease's stored record back to what it was.
async fn forget_notice(harness: &Harness, record: &[u8]) -> anyhow::Result<()> {
    let compute: near_workspaces::AccountId = harness.deployment.compute.as_str().parse()?;
    harness.worker.patch_state(&compute, &lease_key(), record).await?;
    Ok(())
}

fn lease_key() -> Vec<u8> {
    [&[4][..], &LEASE.0.to_le_bytes()].concat()
}

#[tokio::test]
async fn lost_notice__should_be_made_good_by_anyone() -> anyhow::Result<()> {
    let lease = delegated_for(DurationMs::from_hours(5)).await?;
    let Rented { harness, tenant, .. } = &lease.rented;
    let (billing, compute) = (harness.billing(), harness.compute());
    harness.pass(DurationMs::from_secs(600)).await?;
    lease.post(1, 600).await?;
    harness.pass(DurationMs(WINDOW.0 + STEP.0 - 900_000)).await?;
    let open = harness.call(&harness.owner, &compute.check_lease(LEASE)).await?.ok()?;
    assert!(open.json::<bool>()? && matches!(lease.rented.state().await?, LeaseState::Active { .. }));
    let stored = harness.chain.contract_state(&harness.deployment.compute.as_str().parse()?, &lease_key())?;
    let (_, record) = stored.into_iter().next().ok_or_else(|| anyhow::anyhow!("no record"))?;
    harness.pass(DurationMs::from_secs(900)).await?;
    harness.call(tenant, &billing.object(lease.escrow.escrow_id, false)).await?.ok()?;
    forget_notice(harness, &record).await?;
    assert!(matches!(lease.rented.state().await?, LeaseState::Active { .. }), "as if nobody had told");
    // It settles there for what vested before, so there is something to read.
    let view = harness.view(&billing.escrow(lease.escrow.escrow_id)).await?;
    assert!(view.is_some_and(|view| matches!(view.escrow.state, State::Settling { .. })));
    assert!(!harness.call(&harness.owner, &compute.check_lease(LEASE)).await?.ok()?.json::<bool>()?);
    assert!(matches!(lease.rented.state().await?, LeaseState::Closed { cause: Cause::Objected, .. }));
    // Once the record is gone from billing, the escrow is known to be closed, and no more.
    harness.call(tenant, &billing.refuse(lease.escrow.escrow_id)).await?.ok()?;
    harness.call(&lease.meter, &billing.storage_deposit(None, true, storage_cost(ACCOUNT_BYTES))).await?.ok()?;
    harness.call(&harness.owner, &billing.claim(lease.escrow.escrow_id, &lease.meter.account)).await?.ok()?;
    forget_notice(harness, &record).await?;
    assert!(!harness.call(&harness.owner, &compute.check_lease(LEASE)).await?.ok()?.json::<bool>()?);
    assert!(matches!(lease.rented.state().await?, LeaseState::Closed { cause: Cause::EscrowClosed, .. }));
    Ok(())
}

#[tokio::test]
async fn run__should_pay_its_delegate_after_the_window_and_end_by_an_objection() -> anyhow::Result<()> {
    let harness = crate::money().await?;
    let (billing, compute, run_id) = (harness.billing(), harness.compute(), RunId(1));
    let (node, tenant) = (harness.node("provider.starling").await?, harness.registered("tenant.starling", 50).await?);
    let meter = harness.registered("meter.starling", 5).await?;
    let delegate = Some(Box::new(delegate(&meter, 1_000)?));
    let round_time = DurationMs::from_hours(12);
    let terms = RunTerms { delegate, objection_window: WINDOW, round_time, ..run_terms(meter.public_key(), 5, 1) };
    let quote = quote_run(&terms, BasisPoints::ZERO)?.at_most;
    assert_eq!(quote, Amount::from_millinear(550), "a tenth on top of what the node can earn");
    let reserve = surplus(&harness).await?;
    let paid: PayResult = harness.pay(&tenant, &compute.0, quote, PaymentMsg::Run(terms)).await?.ok()?.json()?;
    assert!(paid.opened, "{paid:?}");
    harness.call(&node.key, &compute.enroll(run_id, node.id)).await?.ok()?;
    let (provider_had, meter_had) = (free(&harness, &node.provider.account).await?, free(&harness, &meter.account).await?);
    for round in 1..=2 {
        let statement = next_round(&harness.run(run_id).await?, &[1_000]);
        harness.post_round(&tenant, &statement, &[(0, &node.key)], &tenant).await?.refused("the meter's signature")?;
        harness.post_round(&tenant, &statement, &[(0, &node.key)], &meter).await?.ok()?;
        assert!(harness.call(&tenant, &compute.settle_run(run_id)).await?.ok()?.json::<bool>()?);
        if round == 1 {
            let pending = harness.view(&billing.escrow(paid.escrow_id)).await?.map(|view| view.pending);
            assert_eq!(pending, Some(Amount::from_millinear(110)));
            assert_eq!(free(&harness, &node.provider.account).await?, provider_had, "nothing is earned yet");
            harness.pass(DurationMs(2 * WINDOW.0)).await?;
            harness.call(&tenant, &billing.vest(paid.escrow_id)).await?.ok()?;
        }
    }
    // The first round vested, a tenth of it held back; to the second the tenant objects.
    let objected = harness.call(&tenant, &billing.object(paid.escrow_id, false)).await?.ok()?;
    let RunState::Ended { ending, settled, .. } = harness.run(run_id).await?.state else { anyhow::bail!("it goes on") };
    assert_eq!((ending, settled), (Ending::Failed(FailReason::Objected), true));
    assert!(objected.compute_events().iter().any(|event| matches!(event, ComputeEvent::RunChanged { .. })));
    let standing = harness.view(&compute.reputation(node.id)).await?;
    assert_eq!(standing.figures.objections, DEED);
    let gained = |had: Amount, parts: u128| anyhow::Ok(Amount(had.0 + net(Amount::from_millinear(9).0 * parts)?.0));
    assert_eq!(free(&harness, &node.provider.account).await?, gained(provider_had, 10)?);
    assert_eq!(free(&harness, &meter.account).await?, gained(meter_had, 1)?);
    harness.call(&tenant, &compute.settle_run(run_id)).await?.refused("settled already")?;
    harness.call(&tenant, &billing.acknowledge(paid.escrow_id)).await?.ok()?;
    assert!(harness.view(&billing.escrow(paid.escrow_id)).await?.is_none(), "it is spent");
    assert_eq!(surplus(&harness).await?, Amount(reserve.0 + 2));
    Ok(())
}
