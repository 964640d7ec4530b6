//! Runs and leases that are priced and paid in a token.

use crate::{
    books::{free_of, surplus},
    money,
};
use starling_contract_api::{
    billing::TOKEN_BALANCE_BYTES,
    compute::Purpose,
    events::ComputeEvent,
    payment::{PayArgs, PaymentMsg, storage_cost},
};
use starling_primitives::{Amount, Asset, BasisPoints, DurationMs, EscrowId, Hash32, LeaseId, OfferId, RunId};
use starling_protocol::{
    escrow::Escrow,
    lease::LeaseTerms,
    node::OfferTerms,
    run::RunTerms,
    signing::{LeaseStatement, Role},
};
use starling_tests::{
    Actor, Answer, FEE, Harness, Scripted,
    work::{NodeOf, next_round, offer_terms, run_terms},
};

const MINTED: Amount = Amount(50_000_000);

struct Paid {
    harness: Harness,
    node: NodeOf,
    tenant: Actor,
    usd: Scripted,
}

/// A node whose provider has a place for the token, and a tenant with tokens and storage credit.
async fn start() -> anyhow::Result<Paid> {
    let harness = money().await?;
    let (node, tenant) = (harness.node("provider.starling").await?, harness.registered("tenant.starling", 50).await?);
    let usd = harness.listed_token("usd.starling").await?;
    harness.add_storage_credit(&node.provider, storage_cost(TOKEN_BALANCE_BYTES)).await?;
    harness.add_storage_credit(&tenant, Amount::from_near(1)).await?;
    harness.tell(&usd.mint(&tenant.account, MINTED)).await?;
    Ok(Paid { harness, node, tenant, usd })
}

impl Paid {
    fn asset(&self) -> Asset {
        Asset::Nep141(self.usd.account.clone())
    }

    /// Sends so many tokens as a payment.
    async fn pay(&self, amount: Amount, msg: PaymentMsg) -> anyhow::Result<Answer> {
        let (harness, storage) = (&self.harness, msg.storage());
        let args = PayArgs { target: harness.deployment.compute.clone(), amount, storage, bounds: harness.bounds().await?, msg };
        harness.call(&self.tenant, &self.usd.token.pay(&harness.billing(), amount, &args)).await
    }

    async fn escrow(&self, escrow_id: EscrowId) -> anyhow::Result<Escrow> {
        let view = self.harness.view(&self.harness.billing().escrow(escrow_id)).await?;
        view.map(|view| view.escrow).ok_or_else(|| anyhow::anyhow!("there is no escrow"))
    }

    async fn usd_of(&self, actor: &Actor) -> anyhow::Result<Amount> {
        free_of(&self.harness, &actor.account, &self.asset()).await
    }
}

fn net(earned: u128) -> Amount {
    Amount(earned - Amount(earned).fraction_ceil(BasisPoints::new(FEE).unwrap_or_default()).0)
}

#[tokio::test]
async fn run__should_be_paid_in_the_token_that_its_terms_name() -> anyhow::Result<()> {
    let paid = start().await?;
    let (harness, tenant, node) = (&paid.harness, &paid.tenant, &paid.node);
    let terms = |asset| RunTerms { asset, price_per_million_tokens: Amount(2_000_000), ..run_terms(tenant.public_key(), 2, 1) };
    // 2 rounds of 1,000 tokens.
    let quote = Amount(4_000);
    let reserve = surplus(harness).await?;
    let wrong = paid.pay(quote, PaymentMsg::Run(terms(Asset::Near))).await?;
    assert!(wrong.failures.iter().any(|failure| failure.contains("this is paid in near")), "{:?}", wrong.failures);
    let other = harness.pay(tenant, &harness.deployment.compute, quote, PaymentMsg::Run(terms(paid.asset()))).await?;
    assert!(other.failures.iter().any(|failure| failure.contains("this is paid in nep141:usd.starling")), "{:?}", other.failures);
    assert_eq!(paid.usd_of(tenant).await?, quote, "a refusal brings tokens to the balance");

    let taken = paid.pay(quote, PaymentMsg::Run(terms(paid.asset()))).await?.ok()?;
    let told = taken.compute_events();
    assert!(told.iter().any(|event| matches!(event, ComputeEvent::RunPaid { run } if run.terms.asset == paid.asset())), "{told:?}");
    let run_id = RunId(1);
    harness.call(&node.key, &harness.compute().enroll(run_id, node.id)).await?.ok()?;
    let run = harness.run(run_id).await?;
    harness.post_round(tenant, &next_round(&run, &[1_000]), &[(0, &node.key)], tenant).await?.ok()?;
    harness.call(tenant, &harness.compute().stop_run(run_id)).await?.ok()?;
    harness.call(tenant, &harness.billing().acknowledge(run.escrow_id)).await?.ok()?;
    assert_eq!(paid.usd_of(&node.provider).await?, net(2_000));
    assert_eq!(paid.usd_of(tenant).await?, Amount(quote.0 + 2_000));
    assert_eq!(surplus(harness).await?, Amount(reserve.0 + 1));
    harness.token_surplus(&paid.usd).await?;
    Ok(())
}

#[tokio::test]
async fn lease__should_be_paid_in_the_token_of_its_offer() -> anyhow::Result<()> {
    let paid = start().await?;
    let (harness, tenant, node) = (&paid.harness, &paid.tenant, &paid.node);
    let (compute, price) = (harness.compute(), harness.view(&harness.compute().storage_price()).await?);
    let terms = OfferTerms { asset: paid.asset(), price_per_hour: Amount(3_600_000), ..offer_terms() };
    let offer_id: OfferId = harness.call(&node.provider, &compute.create_offer(node.id, &terms, price)).await?.ok()?.json()?;
    assert_eq!(harness.view(&compute.offer(offer_id)).await?.map(|offer| offer.terms), Some(terms));
    let (duration, job, availability) = (DurationMs::from_hours(1), Hash32::sha256(b"job"), DurationMs(0));
    let lease_terms = LeaseTerms { offer_id, duration, job, meter: tenant.public_key(), availability, delegate: None };
    let in_near = harness.pay(tenant, &compute.0, Amount(3_600_000), PaymentMsg::Lease(lease_terms.clone())).await?;
    assert!(in_near.failures.iter().any(|failure| failure.contains("this is paid in nep141:usd.starling")), "{:?}", in_near.failures);
    let reserve = surplus(harness).await?;

    paid.pay(Amount(3_600_000), PaymentMsg::Lease(lease_terms)).await?.ok()?;
    let lease = harness.view(&compute.lease(LeaseId(1))).await?.ok_or_else(|| anyhow::anyhow!("no lease"))?;
    assert_eq!((&lease.asset, &paid.escrow(lease.escrow_id).await?.asset), (&paid.asset(), &paid.asset()));
    assert_eq!(harness.view(&compute.purpose(lease.escrow_id)).await?, Some(Purpose::Lease(LeaseId(1))));
    harness.call(&node.key, &compute.accept_lease(lease.id)).await?.ok()?;
    harness.pass(DurationMs::from_secs(60)).await?;
    let (escrow_id, lease_id, output) = (lease.escrow_id, lease.id, Hash32::sha256(b"output"));
    let statement = LeaseStatement { escrow_id, lease_id, seq: 1, metered_ms: 50_000, units: 1, output, is_final: true };
    let sign = |actor: &Actor, role| actor.sign(&statement.signing_bytes(&harness.domain(), role));
    let post = compute.post_statement(&statement, &sign(&node.key, Role::Node), &sign(tenant, Role::Meter));
    harness.call(tenant, &post).await?.ok()?;
    harness.call(tenant, &compute.settle_lease(lease.id)).await?.ok()?;
    harness.call(tenant, &harness.billing().acknowledge(escrow_id)).await?.ok()?;
    assert_eq!(paid.usd_of(&node.provider).await?, net(50_000));
    assert_eq!(paid.usd_of(tenant).await?, Amount(3_550_000));
    assert_eq!(surplus(harness).await?, Amount(reserve.0 + 1));
    harness.token_surplus(&paid.usd).await?;
    Ok(())
}
