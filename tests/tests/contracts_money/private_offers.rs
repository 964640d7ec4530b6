//! Offers for named tenants only.

use crate::{
    books::surplus,
    leases::{LEASE, offered},
};
use starling_contract_api::{
    ONE_YOCTO,
    compute::allow_list_storage,
    payment::{PayResult, PaymentMsg},
};
use starling_primitives::{AccountId, Amount, DurationMs, Hash32, OfferId};
use starling_protocol::lease::{LeaseState, LeaseTerms};
use starling_tests::{Actor, Harness, work::offer_terms};

async fn take(harness: &Harness, tenant: &Actor, offer_id: OfferId) -> anyhow::Result<bool> {
    let (duration, job, availability) = (DurationMs::from_hours(1), Hash32::sha256(b"job"), DurationMs(0));
    let terms = LeaseTerms { offer_id, duration, job, meter: tenant.public_key(), availability, delegate: None };
    let paid = harness.pay(tenant, &harness.deployment.compute, Amount::from_near(3), PaymentMsg::Lease(terms)).await?;
    Ok(paid.json::<PayResult>()?.opened)
}

#[tokio::test]
async fn private_offer__should_be_taken_by_named_tenants_only() -> anyhow::Result<()> {
    let rented = offered().await?;
    let (harness, provider, tenant) = (&rented.harness, &rented.node.provider, &rented.tenant);
    let (compute, other, reserve) = (harness.compute(), harness.actor("other.starling", 30).await?, surplus(harness).await?);
    let price = harness.view(&compute.storage_price()).await?.checked_add(allow_list_storage(1))?;
    let private = compute.create_private_offer(rented.node.id, &offer_terms(), std::slice::from_ref(&other.account), price);
    let private: OfferId = harness.call(provider, &private).await?.ok()?.json()?;
    assert_eq!(harness.view(&compute.offer_tenants(private)).await?, std::slice::from_ref(&other.account));
    assert_eq!(harness.view(&compute.offer_tenants(OfferId(1))).await?, [] as [AccountId; 0]);
    assert!(!take(harness, tenant, private).await?, "not on the list");
    assert!(take(harness, &other, private).await?);
    assert!(matches!(harness.view(&compute.lease(LEASE)).await?.map(|lease| lease.state), Some(LeaseState::Pending { .. })));
    harness.pass(DurationMs::from_secs(61)).await?;
    // The list may change; an empty one lets anyone in.
    let set = |tenants: &[AccountId], deposit| compute.set_offer_tenants(private, tenants, deposit);
    harness.call(tenant, &set(&[], ONE_YOCTO)).await?.refused("only the node's provider")?;
    harness.call(provider, &set(&[], Amount::ZERO)).await?.refused("at least 1 yocto")?;
    harness.call(provider, &set(std::slice::from_ref(&tenant.account), Amount::from_millinear(1))).await?.ok()?;
    assert!(!take(harness, &other, private).await?, "not on the list any more");
    harness.call(provider, &set(&[], ONE_YOCTO)).await?.ok()?;
    assert!(take(harness, &other, private).await?);
    assert_eq!(surplus(harness).await?, reserve);
    Ok(())
}

#[tokio::test]
async fn allow_list__should_be_paid_by_the_provider_and_come_back() -> anyhow::Result<()> {
    let rented = offered().await?;
    let (harness, provider, compute) = (&rented.harness, &rented.node.provider, rented.harness.compute());
    let longest = |place: u64| AccountId::new(format!("{}{place:02}", "a".repeat(62)));
    let many = (0..33).map(longest).collect::<Result<Vec<_>, _>>()?;
    let set = |tenants: &[AccountId], deposit| compute.set_offer_tenants(OfferId(1), tenants, deposit);
    let price = allow_list_storage(32);
    harness.call(provider, &set(&many, price)).await?.refused("at most 32 tenants")?;
    harness.call(provider, &set(&many[..32], Amount(price.0 / 2))).await?.refused("for storage")?;
    let before = harness.balance(&provider.account).await?;
    let mut burnt = harness.call(provider, &set(&many[..32], price)).await?.ok()?.burnt;
    let full = harness.balance(&provider.account).await?;
    let cost = Amount(before.0 - full.0 - burnt.0);
    assert!(cost.0 * 10 > price.0 * 9 && cost <= price, "{cost} of {price}");
    burnt = harness.call(provider, &set(&many[..1], ONE_YOCTO)).await?.ok()?.burnt;
    assert_eq!(harness.balance(&provider.account).await?.0, full.0 - burnt.0 + 31 * 68 * starling_contract_api::payment::YOCTO_PER_BYTE);
    // Closing the offer frees the rest.
    burnt.0 += harness.call(provider, &compute.close_offer(OfferId(1))).await?.ok()?.burnt.0;
    assert_eq!(harness.balance(&provider.account).await?.0, full.0 - burnt.0 + cost.0 - 1);
    assert_eq!(harness.view(&compute.offer_tenants(OfferId(1))).await?, [] as [AccountId; 0]);
    harness.call(provider, &set(&many[..1], price)).await?.refused("offer 1 is closed")?;
    Ok(())
}
