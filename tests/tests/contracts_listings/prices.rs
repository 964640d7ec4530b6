//! Prices in a token: a purchase is paid in what its listing names, and the shares of it too.

use crate::shops::*;
use starling_contract_api::{
    Call, ONE_YOCTO,
    billing::{ACCOUNT_BYTES, Account, TOKEN_BALANCE_BYTES},
    hub::{ListingEvent, Listings, PublishArgs},
    payment::{PayArgs, PayResult, PaymentMsg, storage_cost},
};
use starling_primitives::{Amount, Asset, AssetName, BasisPoints};
use starling_tests::{Actor, Harness, Scripted};

/// One that no share divides.
const USD_PRICE: Amount = Amount(1_000_003);

/// A token that `billing` takes, and shops.
pub(crate) async fn token_shops() -> anyhow::Result<(Harness, Listings, Scripted)> {
    let (harness, hub, _) = shops().await?;
    let usd = harness.listed_token("usd.starling").await?;
    Ok((harness, hub, usd))
}

/// Someone with tokens, and with storage credit for their place in `billing` and for payments.
pub(crate) async fn with_tokens(harness: &Harness, usd: &Scripted, name: &str) -> anyhow::Result<Actor> {
    let actor = harness.registered(name, 30).await?;
    harness.add_storage_credit(&actor, Amount::from_millinear(400)).await?;
    harness.tell(&usd.mint(&actor.account, Amount(10_000_000))).await?;
    Ok(actor)
}

pub(crate) fn priced(slug: &str, usd: &Scripted) -> PublishArgs {
    PublishArgs { asset: Asset::Nep141(usd.account.clone()), ..model(slug, USD_PRICE) }
}

async fn licence_args(harness: &Harness, shop: &Listings, name: &AssetName, amount: Amount) -> anyhow::Result<PayArgs> {
    let msg = PaymentMsg::Licence { name: name.clone() };
    let mut bounds = harness.bounds().await?;
    bounds.post_at_once = amount;
    Ok(PayArgs { target: shop.0.clone(), amount, storage: msg.storage(), bounds, msg })
}

pub(crate) async fn usd_in_billing(harness: &Harness, usd: &Scripted, actor: &Actor) -> anyhow::Result<u128> {
    let account: Option<Account> = harness.view(&harness.billing().account(&actor.account)).await?;
    let asset = Asset::Nep141(usd.account.clone());
    Ok(account.into_iter().flat_map(|account| account.balances).filter(|(held, _)| *held == asset).map(|(_, amount)| amount.0).sum())
}

#[tokio::test]
async fn licence__should_be_paid_in_the_token_that_its_price_names() -> anyhow::Result<()> {
    let (harness, hub, usd) = token_shops().await?;
    let (alice, bob) = (with_tokens(&harness, &usd, "alice.starling").await?, with_tokens(&harness, &usd, "bob.starling").await?);
    let (carol, billing) = (with_tokens(&harness, &usd, "carol.starling").await?, harness.billing());
    let asset = Asset::Nep141(usd.account.clone());
    let base: AssetName = publish(&harness, &hub, &alice, &priced("base", &usd)).await?.ok()?.json()?;
    let in_near: AssetName = publish(&harness, &hub, &alice, &model("in-near", USD_PRICE)).await?.ok()?.json()?;

    // Paid in something else: everything comes back, in what it was.
    assert_refused(&buy(&harness, &hub, &bob, &base, USD_PRICE).await?, "the price is 1000003 units of nep141:usd.starling")?;
    let args = licence_args(&harness, &hub, &in_near, USD_PRICE).await?;
    let answer = harness.call(&bob, &usd.token.pay(&billing, USD_PRICE, &args)).await?;
    assert!(answer.failures.iter().any(|failure| failure.contains("the price is 1000003 units of near")), "{:?}", answer.failures);
    assert_eq!(usd_in_billing(&harness, &usd, &bob).await?, USD_PRICE.0);

    // Bob pays by ft_transfer_call, then carol the work made from it from her balance.
    harness.add_storage_credit(&bob, Amount::from_millinear(400)).await?;
    let args = licence_args(&harness, &hub, &base, USD_PRICE).await?;
    harness.call(&bob, &usd.token.pay(&billing, USD_PRICE, &args)).await?.ok()?;
    let licence = harness.view(&hub.licence(&bob.account, &base)).await?.expect("it was bought");
    assert_eq!((&licence.asset, licence.price), (&asset, USD_PRICE));
    assert_eq!(usd_in_billing(&harness, &usd, &alice).await?, after_fee(USD_PRICE).0);
    let child = PublishArgs { parents: vec![base.clone()], ..priced("child", &usd) };
    let child: AssetName = publish(&harness, &hub, &bob, &child).await?.ok()?.json()?;
    harness.call(&carol, &usd.token.deposit(&billing, USD_PRICE)).await?.ok()?;
    harness.call(&carol, &billing.deposit(Amount::from_near(1))).await?.ok()?;
    let args = licence_args(&harness, &hub, &child, USD_PRICE).await?;
    let near_before = in_billing(&harness, &alice.account).await?;
    let bought = harness.call(&carol, &billing.pay_tokens_from_balance(&usd.account, &args)).await?.ok()?;
    println!("a licence in tokens: {} Tgas in all", bought.total_tgas);
    assert!(bought.json::<PayResult>()?.opened);
    let royalty = USD_PRICE.fraction_floor(BasisPoints::new(1_000)?);
    let rest = USD_PRICE.checked_sub(royalty)?;
    assert_eq!(usd_in_billing(&harness, &usd, &alice).await?, after_fee(USD_PRICE).0 + after_fee(royalty).0);
    assert_eq!(usd_in_billing(&harness, &usd, &bob).await?, USD_PRICE.0 + after_fee(rest).0);
    assert_eq!(usd_in_billing(&harness, &usd, &carol).await?, 0);
    assert_eq!(in_billing(&harness, &alice.account).await?, near_before, "no NEAR is part of it");

    let totals = harness.token_totals(&usd).await?;
    let fees = 2 * USD_PRICE.0 - after_fee(USD_PRICE).0 - after_fee(royalty).0 - after_fee(rest).0;
    assert_eq!((totals.escrows, totals.fees), (Amount::ZERO, Amount(fees)));
    assert_eq!(harness.token_surplus(&usd).await?, Amount::ZERO);
    assert_books_balance(&harness).await
}

#[tokio::test]
async fn payee__should_claim_tokens_that_it_had_no_place_for() -> anyhow::Result<()> {
    let (harness, hub, usd) = token_shops().await?;
    let (alice, bob) = (harness.actor("alice.starling", 20).await?, with_tokens(&harness, &usd, "bob.starling").await?);
    let name: AssetName = publish(&harness, &hub, &alice, &priced("base", &usd)).await?.ok()?.json()?;
    let args = licence_args(&harness, &hub, &name, USD_PRICE).await?;
    harness.call(&bob, &usd.token.pay(&harness.billing(), USD_PRICE, &args)).await?.ok()?;
    let licence = harness.view(&hub.licence(&bob.account, &name)).await?.expect("the licence does not wait for its payee");
    let escrow_id = licence.escrow_id.expect("it was bought");
    let claim = harness.billing().claim(escrow_id, &alice.account);
    harness.call(&bob, &claim).await?.refused("is not registered")?;
    harness.call(&alice, &harness.billing().storage_deposit(None, false, storage_cost(ACCOUNT_BYTES))).await?.ok()?;
    harness.call(&bob, &claim).await?.refused("storage credit is too small")?;
    harness.add_storage_credit(&alice, storage_cost(TOKEN_BALANCE_BYTES)).await?;
    harness.call(&bob, &claim).await?.ok()?;
    assert_eq!(usd_in_billing(&harness, &usd, &alice).await?, after_fee(USD_PRICE).0);
    assert_eq!(harness.token_surplus(&usd).await?, Amount::ZERO);
    assert_books_balance(&harness).await
}

#[tokio::test]
async fn set_price__should_charge_a_longer_name_and_return_a_shorter_ones() -> anyhow::Result<()> {
    let (harness, hub, _) = shops().await?;
    let alice = harness.actor("alice.starling", 20).await?;
    let name: AssetName = publish(&harness, &hub, &alice, &model("base", PRICE)).await?.ok()?.json()?;
    let usd = Asset::Nep141("usd.starling".parse()?);
    let stored_at_first = stored(&harness, &hub.0).await?;
    harness.call(&alice, &hub.set_price(&name, &usd, Amount(5), Some(Amount(1)), ONE_YOCTO)).await?.refused("yoctoNEAR for storage")?;
    harness
        .call(&alice, &Call { deposit: Amount::ZERO, ..hub.set_price(&name, &Asset::Near, PRICE, None, ONE_YOCTO) })
        .await?
        .refused("1 yoctoNEAR")?;
    for (asset, price, per_use) in [(&usd, Amount(5), Some(Amount(1))), (&Asset::Near, PRICE, None)] {
        let (worth_before, stored_before) = (worth(&harness, &alice.account).await?, stored(&harness, &hub.0).await?);
        let answer = harness.call(&alice, &hub.set_price(&name, asset, price, per_use, Amount::from_near(1))).await?.ok()?;
        let event = ListingEvent::PriceSet { name: name.clone(), asset: asset.clone(), price, price_per_use: per_use };
        assert_eq!(listing_events(&answer), [event]);
        let grown = i128::try_from(stored(&harness, &hub.0).await?)? - i128::try_from(stored_before)?;
        let lost = i128::try_from(worth_before)? - i128::try_from(worth(&harness, &alice.account).await?)?;
        assert_eq!(lost, grown + i128::try_from(answer.burnt.0)?);
        let listing = harness.view(&hub.listing(&name)).await?.expect("it is listed");
        assert_eq!((&listing.asset, listing.price, listing.price_per_use), (asset, price, per_use));
    }
    assert_eq!(stored(&harness, &hub.0).await?, stored_at_first);
    Ok(())
}
