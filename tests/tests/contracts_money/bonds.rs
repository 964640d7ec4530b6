//! Bonds behind offers: what breaks a promise pays the tenant once, and everything else leaves the bond to its provider.

use crate::{
    books::{free, surplus},
    leases::LEASE,
    money,
};
use starling_contract_api::{
    compute::PING_PRICE,
    events::ComputeEvent,
    payment::{BOND_BYTES, PayArgs, PayResult, PaymentMsg, storage_cost},
};
use starling_primitives::{AccountId, Amount, BasisPoints, DurationMs, EscrowId, Hash32, LeaseId, OfferId};
use starling_protocol::{
    bond::{Bond, Breach, CoverState, Sla},
    escrow::{Bounds, CLOSING_PERIOD},
    lease::{Lease, LeaseState, LeaseTerms, POST_PERIOD},
    node::OfferTerms,
    signing::{LeaseStatement, Role},
};
use starling_tests::{
    Actor, Answer, FEE, Harness,
    work::{NodeOf, offer_terms},
};

const PAYS: Amount = Amount::from_millinear(1_000);
const ANSWER_TIME: DurationMs = DurationMs::from_secs(300);
const HOUR: DurationMs = DurationMs::from_hours(1);
const SECOND: DurationMs = DurationMs::from_secs(1);

/// A node whose offer has a bond behind it, and a tenant.
struct Promised {
    harness: Harness,
    node: NodeOf,
    tenant: Actor,
    bond: EscrowId,
    offer_id: OfferId,
}

fn sla(bond: EscrowId) -> Sla {
    Sla { bond, pays: PAYS, units_per_hour: 3_600, answer_time: ANSWER_TIME }
}

async fn pay_bond(harness: &Harness, provider: &Actor, amount: Amount) -> anyhow::Result<EscrowId> {
    let paid: PayResult = harness.pay(provider, &harness.deployment.compute, amount, PaymentMsg::Bond).await?.ok()?.json()?;
    anyhow::ensure!(paid.opened, "{paid:?}");
    Ok(paid.escrow_id)
}

async fn offer(harness: &Harness, node: &NodeOf, bond: EscrowId) -> anyhow::Result<Answer> {
    let price = harness.view(&harness.compute().storage_price()).await?;
    let terms = OfferTerms { sla: Some(sla(bond)), ..offer_terms() };
    harness.call(&node.provider, &harness.compute().create_offer(node.id, &terms, price)).await
}

async fn promised(deposit: Amount) -> anyhow::Result<Promised> {
    let harness = money().await?;
    let (node, tenant) = (harness.node("provider.starling").await?, harness.registered("tenant.starling", 50).await?);
    let bond = pay_bond(&harness, &node.provider, deposit).await?;
    let offer_id = offer(&harness, &node, bond).await?.ok()?.json()?;
    Ok(Promised { harness, node, tenant, bond, offer_id })
}

impl Promised {
    async fn pay_within(&self, bounds: Bounds) -> anyhow::Result<Answer> {
        let (harness, job) = (&self.harness, Hash32::sha256(b"job"));
        let (meter, availability) = (self.tenant.public_key(), DurationMs(0));
        let msg = PaymentMsg::Lease(LeaseTerms { offer_id: self.offer_id, duration: HOUR, job, meter, availability, delegate: None });
        let args =
            PayArgs { target: harness.deployment.compute.clone(), amount: Amount::from_near(3), storage: msg.storage(), bounds, msg };
        let deposit = Amount::sum([args.amount, args.storage, starling_contract_api::billing::Billing::pay_storage()])?;
        harness.call(&self.tenant, &harness.billing().pay(&args, deposit)).await
    }

    async fn pay(&self) -> anyhow::Result<Answer> {
        self.pay_within(self.harness.bounds().await?).await
    }

    /// A lease that the node accepted.
    async fn rent(&self, lease_id: LeaseId) -> anyhow::Result<()> {
        self.pay().await?.ok()?;
        let accepted = self.harness.call(&self.node.key, &self.harness.compute().accept_lease(lease_id)).await?.ok()?;
        anyhow::ensure!(accepted.json::<bool>()? && matches!(self.lease(lease_id).await?.state, LeaseState::Active { .. }));
        Ok(())
    }

    async fn lease(&self, lease_id: LeaseId) -> anyhow::Result<Lease> {
        self.harness.view(&self.harness.compute().lease(lease_id)).await?.ok_or_else(|| anyhow::anyhow!("no lease"))
    }

    async fn stands(&self) -> anyhow::Result<CoverState> {
        Ok(self.lease(LEASE).await?.cover.ok_or_else(|| anyhow::anyhow!("it is not covered"))?.state)
    }

    async fn record(&self) -> anyhow::Result<Bond> {
        self.harness.view(&self.harness.compute().bond(self.bond)).await?.ok_or_else(|| anyhow::anyhow!("no bond"))
    }

    /// What is set aside, owed and free of the bond.
    async fn parts(&self) -> anyhow::Result<[Amount; 3]> {
        let bond = self.record().await?;
        let owed = Amount::sum(bond.owed.iter().map(|posting| posting.total))?;
        Ok([bond.set_aside, owed, bond.free()?])
    }

    async fn ping(&self) -> anyhow::Result<Answer> {
        self.harness.call(&self.tenant, &self.harness.compute().ping(LEASE)).await
    }

    async fn pong(&self, actor: &Actor) -> anyhow::Result<Answer> {
        self.harness.call(actor, &self.harness.compute().pong(LEASE)).await
    }

    async fn claim(&self) -> anyhow::Result<Answer> {
        self.harness.call(&self.harness.owner, &self.harness.compute().claim_bond(LEASE)).await
    }

    /// The node and the tenant sign for so much time and work.
    async fn statement(&self, seq: u64, seconds: u64, units: u64) -> anyhow::Result<Answer> {
        let (escrow_id, output) = (self.lease(LEASE).await?.escrow_id, Hash32::sha256(b"output"));
        let statement = LeaseStatement { escrow_id, lease_id: LEASE, seq, metered_ms: seconds * 1_000, units, output, is_final: false };
        let sign = |actor: &Actor, role| actor.sign(&statement.signing_bytes(&self.harness.domain(), role));
        let call = self.harness.compute().post_statement(&statement, &sign(&self.node.key, Role::Node), &sign(&self.tenant, Role::Meter));
        self.harness.call(&self.harness.owner, &call).await
    }

    async fn end(&self) -> anyhow::Result<()> {
        self.harness.call(&self.tenant, &self.harness.compute().close_lease(LEASE)).await?.ok()?;
        self.harness.pass(POST_PERIOD).await?;
        self.harness.pass(SECOND).await?;
        self.harness.call(&self.harness.owner, &self.harness.compute().settle_lease(LEASE)).await?.ok()?;
        Ok(())
    }

    async fn free(&self, account: &AccountId) -> anyhow::Result<Amount> {
        free(&self.harness, account).await
    }
}

fn net(earned: Amount) -> anyhow::Result<Amount> {
    Ok(earned.checked_sub(earned.fraction_ceil(BasisPoints::new(FEE)?))?)
}

#[tokio::test]
async fn unanswered_ping__should_pay_the_tenant_once() -> anyhow::Result<()> {
    let promised = promised(Amount::from_near(3)).await?;
    let (harness, node, tenant) = (&promised.harness, &promised.node, &promised.tenant);
    promised.rent(LEASE).await?;
    assert_eq!(promised.parts().await?, [PAYS, Amount::ZERO, Amount::from_near(2)]);
    let (reserve, before) = (surplus(harness).await?, promised.free(&tenant.account).await?);
    promised.claim().await?.refused("nothing is owed")?;

    let (had, provider_had) = (harness.balance(&tenant.account).await?, harness.balance(&node.provider.account).await?);
    let pinged = promised.ping().await?.ok()?;
    assert_eq!(harness.balance(&tenant.account).await?, Amount(had.0 - pinged.burnt.0 - PING_PRICE.0));
    assert_eq!(harness.balance(&node.provider.account).await?, provider_had.checked_add(PING_PRICE)?);
    let CoverState::Pinged { answer_by } = promised.stands().await? else { anyhow::bail!("it was not pinged") };
    promised.ping().await?.refused("the bond is pinged")?;
    promised.pong(&harness.owner).await?.refused("only the node's provider")?;
    promised.claim().await?.refused("nothing is owed")?;
    harness.pass(ANSWER_TIME).await?;
    promised.pong(&node.key).await?.refused("the bond is broken")?;

    let claimed = promised.claim().await?.ok()?;
    println!("a claim of a bond burns {} Tgas in all", claimed.total_tgas);
    assert!(claimed.json::<bool>()?);
    let broken = CoverState::Broken { breach: Breach::Unanswered, at: answer_by };
    assert_eq!(promised.stands().await?, broken);
    assert!(claimed.compute_events().contains(&ComputeEvent::CoverChanged { lease_id: LEASE, cover: broken }));
    assert_eq!(promised.free(&tenant.account).await?, before.checked_add(net(PAYS)?)?);
    assert_eq!(promised.parts().await?, [Amount::ZERO, PAYS, Amount::from_near(2)]);
    // Again and again, and after the end: the figure is the same.
    promised.claim().await?.ok()?;
    promised.statement(1, 200, 0).await?.ok()?;
    promised.end().await?;
    promised.claim().await?.ok()?;
    assert_eq!(promised.parts().await?, [Amount::ZERO, PAYS, Amount::from_near(2)]);
    // What was metered is paid all the same.
    let refund = Amount(Amount::from_near(3).0 - Amount::from_near(3).0 * 200 / 3_600);
    assert_eq!(promised.free(&tenant.account).await?, Amount::sum([before, net(PAYS)?, refund])?);

    // What is free leaves with its provider, whoever else is gone.
    let (billing, provider_free) = (harness.billing(), promised.free(&node.provider.account).await?);
    harness.call(&node.provider, &billing.ask_closing(promised.bond)).await?.ok()?;
    harness.pass(CLOSING_PERIOD).await?;
    harness.call(&harness.owner, &billing.close(promised.bond)).await?.ok()?;
    assert!(promised.free(&node.provider.account).await? > provider_free.checked_add(Amount::from_near(2))?, "with its storage");
    assert!(harness.view(&billing.escrow(promised.bond)).await?.is_none(), "it is spent");
    assert_eq!(surplus(harness).await?, Amount(reserve.0 + 1));
    Ok(())
}

#[tokio::test]
async fn answered_ping__should_leave_the_bond_to_its_provider() -> anyhow::Result<()> {
    let promised = promised(PAYS).await?;
    let (harness, node, tenant) = (&promised.harness, &promised.node, &promised.tenant);
    promised.rent(LEASE).await?;
    harness.call(&node.key, &harness.compute().ping(LEASE)).await.expect_err("a function-call key attaches nothing");
    harness.call(&node.provider, &harness.compute().ping(LEASE)).await?.refused("only the lease's tenant")?;
    let mut cheap = harness.compute().ping(LEASE);
    cheap.deposit = Amount(PING_PRICE.0 - 1);
    harness.call(tenant, &cheap).await?.refused("attach")?;
    let had = harness.balance(&tenant.account).await?;
    let mut generous = harness.compute().ping(LEASE);
    generous.deposit = Amount::from_near(1);
    let pinged = harness.call(tenant, &generous).await?.ok()?;
    assert_eq!(harness.balance(&tenant.account).await?, Amount(had.0 - pinged.burnt.0 - PING_PRICE.0), "the rest comes back");
    let CoverState::Pinged { answer_by } = promised.stands().await? else { anyhow::bail!("it was not pinged") };
    let answered = promised.pong(&node.key).await?.ok()?;
    println!("an answer burns {} Tgas, {} yoctoNEAR", answered.total_tgas, answered.burnt);
    assert!(answered.burnt.0 * 10 <= PING_PRICE.0, "{} of {PING_PRICE}", answered.burnt);
    assert_eq!(promised.stands().await?, CoverState::Standing { ping_from: answer_by });
    promised.pong(&node.key).await?.refused("the bond is standing")?;
    promised.ping().await?.refused("too early")?;
    harness.pass(ANSWER_TIME).await?;
    promised.ping().await?.ok()?;
    // Who ends the lease has answered; work as promised breaks nothing.
    promised.statement(1, 100, 100).await?.ok()?;
    harness.call(&node.key, &harness.compute().close_lease(LEASE)).await?.ok()?;
    harness.pass(DurationMs(ANSWER_TIME.0 + POST_PERIOD.0)).await?;
    harness.call(&harness.owner, &harness.compute().tick_lease(LEASE)).await?.ok()?;
    assert_eq!(promised.stands().await?, CoverState::Kept);
    promised.claim().await?.refused("nothing is owed")?;
    assert_eq!(promised.parts().await?, [Amount::ZERO, Amount::ZERO, PAYS]);
    harness.call(&harness.owner, &harness.compute().settle_lease(LEASE)).await?.ok()?;
    assert_eq!(promised.parts().await?, [Amount::ZERO, Amount::ZERO, PAYS]);
    Ok(())
}

#[tokio::test]
async fn too_little_work__should_pay_the_tenant_and_silence_of_the_meter_nothing() -> anyhow::Result<()> {
    let promised = promised(PAYS).await?;
    let (harness, tenant) = (&promised.harness, &promised.tenant);
    promised.rent(LEASE).await?;
    let before = promised.free(&tenant.account).await?;
    // Half an hour in which the meter signs nothing is no breach.
    harness.pass(DurationMs::from_secs(1_800)).await?;
    promised.claim().await?.refused("nothing is owed")?;
    promised.statement(1, 60, 0).await?.ok()?;
    promised.claim().await?.refused("nothing is owed")?;
    promised.statement(2, 120, 120).await?.ok()?;
    promised.claim().await?.refused("nothing is owed")?;
    promised.statement(3, 240, 239).await?.ok()?;
    assert!(matches!(promised.stands().await?, CoverState::Broken { breach: Breach::TooSlow, .. }));
    assert!(promised.claim().await?.ok()?.json::<bool>()?);
    assert_eq!(promised.free(&tenant.account).await?, before.checked_add(net(PAYS)?)?);
    promised.end().await?;
    // All of it is owed: nobody can rent what it would not cover.
    let refused = promised.pay().await?;
    assert!(!refused.json::<PayResult>()?.opened);
    assert!(refused.failures.iter().any(|failure| failure.contains("the bond does not cover this")), "{:?}", refused.failures);
    Ok(())
}

#[tokio::test]
async fn bond__should_cover_no_lease_once_its_provider_asked_for_closing() -> anyhow::Result<()> {
    let promised = promised(Amount::from_near(3)).await?;
    let (harness, node, tenant) = (&promised.harness, &promised.node, &promised.tenant);
    let compute = harness.compute();
    let before = promised.free(&tenant.account).await?;
    promised.pay().await?.ok()?;
    harness.call(&node.provider, &harness.billing().ask_closing(promised.bond)).await?.ok()?;
    let accepted = harness.call(&node.key, &compute.accept_lease(LEASE)).await?.ok()?;
    println!("a lease with a bond: {} Tgas in all to accept", accepted.total_tgas);
    assert!(!accepted.json::<bool>()?, "the bond does not stay");
    assert!(matches!(promised.lease(LEASE).await?.state, LeaseState::Pending { .. }));
    assert!(!harness.call(&node.key, &compute.accept_lease(LEASE)).await?.ok()?.json::<bool>()?, "nor does it later");
    harness.pass(DurationMs::from_secs(61)).await?;
    harness.call(&harness.owner, &compute.settle_lease(LEASE)).await?.ok()?;
    assert!(promised.free(&tenant.account).await? > before.checked_add(Amount::from_near(3))?, "the payment is back, with its storage");
    assert_eq!(promised.parts().await?, [Amount::ZERO, Amount::ZERO, Amount::from_near(3)]);
    let refused = promised.pay().await?;
    assert!(refused.failures.iter().any(|failure| failure.contains("the bond is closing")), "{:?}", refused.failures);
    offer(harness, node, promised.bond).await?.refused("the bond is closing")?;

    // Another bond, and one of somebody else's.
    let other = harness.node("other.starling").await?;
    let bond = pay_bond(harness, &other.provider, PAYS).await?;
    offer(harness, node, bond).await?.refused("only the bond's provider")?;
    offer(harness, &other, bond).await?.ok()?;
    offer(harness, &other, EscrowId(99)).await?.refused("there is no bond 99")?;
    Ok(())
}

#[tokio::test]
async fn bond__should_be_free_again_where_a_payment_never_opened() -> anyhow::Result<()> {
    let promised = promised(PAYS).await?;
    let (harness, node, tenant) = (&promised.harness, &promised.node, &promised.tenant);
    let (compute, short) = (harness.compute(), harness.now().await?.after(DurationMs::from_secs(900)));
    let refused = promised.pay_within(Bounds { expires_by: short, ..harness.bounds().await? }).await?;
    let lease: PayResult = refused.json()?;
    assert!(!lease.opened);
    assert_eq!(promised.parts().await?, [PAYS, Amount::ZERO, Amount::ZERO], "compute has accepted it");
    // A bond outside its payer's own bounds: compute has accepted that too.
    let bounds = Bounds { holdback: BasisPoints::new(1)?, ..harness.bounds().await? };
    let (msg, target) = (PaymentMsg::Bond, compute.0.clone());
    let args = PayArgs { target, amount: PAYS, storage: msg.storage(), bounds, msg };
    let deposit = Amount::sum([PAYS, args.storage, starling_contract_api::billing::Billing::pay_storage()])?;
    let bond: PayResult = harness.call(&node.provider, &harness.billing().pay(&args, deposit)).await?.json()?;
    assert!(!bond.opened);
    offer(harness, node, bond.escrow_id).await?.refused("the bond is unpaid")?;
    harness.call(&harness.owner, &compute.forget_payment(bond.escrow_id)).await?.refused("may still be opened")?;
    harness.pass(DurationMs::from_hours(2)).await?;
    for (escrow_id, payer, storage) in [(lease.escrow_id, tenant, None), (bond.escrow_id, &node.provider, Some(storage_cost(BOND_BYTES)))] {
        let before = harness.balance(&payer.account).await?;
        harness.call(&harness.owner, &compute.forget_payment(escrow_id)).await?.ok()?;
        let back = harness.balance(&payer.account).await?.checked_sub(before)?;
        assert!(storage.is_none_or(|storage| back == storage) && !back.is_zero(), "{back}");
    }
    assert_eq!(promised.parts().await?, [Amount::ZERO, Amount::ZERO, PAYS]);
    assert!(harness.view(&compute.bond(bond.escrow_id)).await?.is_none());
    promised.rent(LeaseId(2)).await
}
