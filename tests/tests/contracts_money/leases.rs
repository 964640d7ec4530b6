//! A lease from offer to settlement.

use crate::{
    books::{free, surplus},
    money,
};
use starling_contract_api::{
    billing::{Billing, escrow_storage},
    payment::{PayResult, PaymentMsg},
};
use starling_primitives::{Amount, BasisPoints, DurationMs, Hash32, LeaseId, OfferId};
use starling_protocol::{
    lease::{Cause, LeaseState, LeaseTerms},
    signing::{LeaseStatement, Role},
};
use starling_tests::{
    Actor, Answer, FEE, Harness,
    work::{NodeOf, offer_terms},
};

pub(crate) const LEASE: LeaseId = LeaseId(1);

pub(crate) struct Rented {
    pub(crate) harness: Harness,
    pub(crate) node: NodeOf,
    pub(crate) tenant: Actor,
}

pub(crate) async fn offered() -> anyhow::Result<Rented> {
    let harness = money().await?;
    let node = harness.node("provider.starling").await?;
    let tenant = harness.actor("tenant.starling", 50).await?;
    let price = harness.view(&harness.compute().storage_price()).await?;
    let before = harness.balance(&node.provider.account).await?;
    let made = harness.call(&node.provider, &harness.compute().create_offer(node.id, &offer_terms(), price)).await?.ok()?;
    assert_eq!(made.json::<OfferId>()?, OfferId(1));
    let cost = Amount(before.0 - harness.balance(&node.provider.account).await?.0 - made.burnt.0);
    assert!(cost > Amount::ZERO && cost < price, "the storage that is not needed comes back: {cost} of {price}");
    Ok(Rented { harness, node, tenant })
}

impl Rented {
    fn msg(&self, duration: DurationMs) -> PaymentMsg {
        let job = Hash32::sha256(b"job");
        PaymentMsg::Lease(LeaseTerms {
            offer_id: OfferId(1),
            duration,
            job,
            meter: self.tenant.public_key(),
            availability: DurationMs::from_days(1),
            delegate: None,
        })
    }

    pub(crate) async fn pay(&self, amount: Amount, duration: DurationMs) -> anyhow::Result<PayResult> {
        self.harness.pay(&self.tenant, &self.harness.deployment.compute, amount, self.msg(duration)).await?.json()
    }

    pub(crate) async fn statement(
        &self,
        escrow: PayResult,
        seq: u64,
        metered: DurationMs,
        is_final: bool,
        meter: &Actor,
    ) -> anyhow::Result<Answer> {
        self.statement_of(LEASE, escrow, seq, metered, is_final, meter).await
    }

    pub(crate) async fn statement_of(
        &self,
        lease_id: LeaseId,
        escrow: PayResult,
        seq: u64,
        metered: DurationMs,
        is_final: bool,
        meter: &Actor,
    ) -> anyhow::Result<Answer> {
        let output = Hash32::sha256(&seq.to_le_bytes());
        let statement = LeaseStatement { escrow_id: escrow.escrow_id, lease_id, seq, metered_ms: metered.0, units: seq, output, is_final };
        let sign = |actor: &Actor, role| actor.sign(&statement.signing_bytes(&self.harness.domain(), role));
        let call = self.harness.compute().post_statement(&statement, &sign(&self.node.key, Role::Node), &sign(meter, Role::Meter));
        self.harness.call(&self.harness.owner, &call).await
    }

    pub(crate) async fn state(&self) -> anyhow::Result<LeaseState> {
        let lease = self.harness.view(&self.harness.compute().lease(LEASE)).await?;
        lease.map(|lease| lease.state).ok_or_else(|| anyhow::anyhow!("no lease"))
    }
}

#[tokio::test]
async fn lease__should_pay_metered_time_and_return_the_rest() -> anyhow::Result<()> {
    let rented = offered().await?;
    let Rented { harness, node, tenant } = &rented;
    let compute = harness.compute();
    let reserve = surplus(harness).await?;
    // An hour costs 3 NEAR.
    let too_little = rented.pay(Amount::from_millinear(2_999), DurationMs::from_hours(1)).await?;
    let too_long = rented.pay(Amount::from_near(1), DurationMs(59_000)).await?;
    assert!(!too_little.opened && !too_long.opened);
    harness.call(tenant, &harness.billing().withdraw(None)).await?.ok()?;
    let start = free(harness, &node.provider.account).await?;
    let escrow = rented.pay(Amount::from_near(3), DurationMs::from_hours(1)).await?;
    assert!(escrow.opened, "{escrow:?}");
    let second = rented.pay(Amount::from_near(3), DurationMs::from_hours(1)).await?;
    assert!(!second.opened, "a node takes one lease at a time");
    harness.call(tenant, &compute.accept_lease(LEASE)).await?.refused("only the node's provider")?;
    harness.call(&node.key, &compute.accept_lease(LEASE)).await?.ok()?;
    rented.statement(escrow.clone(), 1, DurationMs::from_secs(600), false, tenant).await?.refused("claimed")?;
    harness.pass(DurationMs::from_secs(700)).await?;
    rented.statement(escrow.clone(), 1, DurationMs::from_secs(600), false, &node.key).await?.refused("the meter's signature")?;
    rented.statement(escrow.clone(), 1, DurationMs::from_secs(600), false, tenant).await?.ok()?;
    rented.statement(escrow.clone(), 1, DurationMs::from_secs(601), false, tenant).await?.refused("an older statement")?;
    harness.call(&harness.owner, &compute.close_lease(LEASE)).await?.refused("only the node's provider")?;
    harness.call(tenant, &compute.close_lease(LEASE)).await?.ok()?;
    harness.call(&harness.owner, &compute.settle_lease(LEASE)).await?.refused("nothing is due")?;
    // The last co-signed statement may still be posted.
    rented.statement(escrow.clone(), 2, DurationMs::from_secs(660), false, tenant).await?.ok()?;
    harness.pass(DurationMs::from_secs(120)).await?;
    rented.statement(escrow.clone(), 3, DurationMs::from_secs(661), false, tenant).await?.refused("which does not take this")?;
    let balance = free(harness, &tenant.account).await?;
    harness.call(&harness.owner, &compute.settle_lease(LEASE)).await?.ok()?;
    assert!(matches!(rented.state().await?, LeaseState::Closed { cause: Cause::TenantClosed, .. }));
    harness.call(&harness.owner, &compute.settle_lease(LEASE)).await?.refused("settled already")?;
    let earned = Amount(Amount::from_near(3).0 * 660 / 3_600);
    assert_eq!(free(harness, &tenant.account).await?, Amount(balance.0 + Amount::from_near(3).0 - earned.0));
    harness.call(tenant, &harness.billing().acknowledge(escrow.escrow_id)).await?.ok()?;
    let net = Amount(earned.0 - earned.fraction_ceil(BasisPoints::new(FEE)?).0);
    assert_eq!(free(harness, &node.provider.account).await?, start.checked_add(net)?);
    assert_eq!(surplus(harness).await?, Amount(reserve.0 + 2));
    Ok(())
}

#[tokio::test]
async fn lease__should_return_everything_when_its_node_does_not_accept() -> anyhow::Result<()> {
    let rented = offered().await?;
    let Rented { harness, node, tenant } = &rented;
    let escrow = rented.pay(Amount::from_near(3), DurationMs::from_hours(1)).await?;
    assert!(escrow.opened);
    harness.pass(DurationMs::from_secs(61)).await?;
    harness.call(&node.key, &harness.compute().accept_lease(LEASE)).await?.refused("had to accept by")?;
    let before = free(harness, &tenant.account).await?;
    harness.call(&harness.owner, &harness.compute().settle_lease(LEASE)).await?.ok()?;
    assert_eq!(free(harness, &tenant.account).await?, Amount::sum([before, Amount::from_near(3), escrow_storage(1)])?);
    assert!(harness.view(&harness.billing().escrow(escrow.escrow_id)).await?.is_none());
    assert!(matches!(rented.state().await?, LeaseState::Closed { cause: Cause::NotAccepted, .. }));
    // The node is free again, and need not let the minute pass.
    assert!(rented.pay(Amount::from_near(3), DurationMs::from_hours(1)).await?.opened);
    let before = free(harness, &tenant.account).await?;
    harness.call(&node.key, &harness.compute().close_lease(LeaseId(2))).await?.ok()?;
    harness.call(&harness.owner, &harness.compute().settle_lease(LeaseId(2))).await?.ok()?;
    assert_eq!(free(harness, &tenant.account).await?, Amount::sum([before, Amount::from_near(3), escrow_storage(1)])?);
    let declined = harness.view(&harness.compute().lease(LeaseId(2))).await?;
    assert!(declined.is_some_and(|lease| matches!(lease.state, LeaseState::Closed { cause: Cause::NotAccepted, .. })));
    // It can be rented until it retires.
    assert!(rented.pay(Amount::from_near(3), DurationMs::from_hours(1)).await?.opened);
    harness.call(&node.provider, &harness.compute().retire_node(node.id)).await?.ok()?;
    harness.pass(DurationMs::from_secs(61)).await?;
    assert!(!rented.pay(Amount::from_near(3), DurationMs::from_hours(1)).await?.opened);
    assert!(harness.view(&harness.compute().offer(OfferId(1))).await?.is_some_and(|offer| offer.closed));
    Ok(())
}

#[tokio::test]
async fn final_statement__should_settle_a_lease_at_once() -> anyhow::Result<()> {
    let rented = offered().await?;
    let Rented { harness, node, tenant } = &rented;
    let escrow = rented.pay(Amount::from_near(3), DurationMs::from_hours(1)).await?;
    harness.call(&node.key, &harness.compute().accept_lease(LEASE)).await?.ok()?;
    harness.pass(DurationMs::from_secs(60)).await?;
    rented.statement(escrow.clone(), 9, DurationMs::from_secs(30), true, tenant).await?.ok()?;
    let opened_with = Amount(Billing::pay_storage().0 - escrow_storage(1).0);
    assert_eq!(free(harness, &tenant.account).await?, opened_with);
    harness.call(&harness.owner, &harness.compute().settle_lease(LEASE)).await?.ok()?;
    let earned = Amount(Amount::from_near(3).0 * 30 / 3_600);
    assert_eq!(free(harness, &tenant.account).await?, Amount(opened_with.0 + Amount::from_near(3).0 - earned.0));
    Ok(())
}
