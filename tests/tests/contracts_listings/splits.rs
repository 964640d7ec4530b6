//! Splits: opened once by anyone at what they store, taken of by those who have a share, in each asset, and by nobody else.

use crate::{prices::with_tokens, shops::*};
use starling_contract_api::{
    billing::{ACCOUNT_BYTES, split_deposit, split_storage},
    hub::{Listings, PublishArgs},
    payment::{PayArgs, PayResult, PaymentMsg, storage_cost},
};
use starling_primitives::{AccountId, Amount, Asset, AssetName, BasisPoints};
use starling_protocol::{
    escrow::Share,
    listing::{Listing, lineage_split},
    split::Split,
};
use starling_tests::{Actor, Harness};

/// Three ancestors, of whom `billing` knows two, and what is made from their models, in an asset.
async fn joined(harness: &Harness, hub: &Listings, slug: &str, asset: Asset) -> anyhow::Result<Listing> {
    let publisher = harness.registered(&format!("{slug}.starling"), 20).await?;
    let mut parents: Vec<AssetName> = Vec::new();
    for name in ["alice", "bob", "carol"] {
        let account = format!("{name}-{slug}.starling");
        let ancestor = if name == "carol" { harness.actor(&account, 20).await? } else { harness.registered(&account, 20).await? };
        parents.push(publish(harness, hub, &ancestor, &model("part", Amount::ZERO)).await?.ok()?.json()?);
    }
    let args = PublishArgs { parents, asset, ..model(slug, Amount(1_000_003)) };
    let name: AssetName = publish(harness, hub, &publisher, &args).await?.ok()?.json()?;
    Ok(harness.view(&hub.listing(&name)).await?.expect("it is listed"))
}

async fn balance(harness: &Harness, account: &AccountId, asset: &Asset) -> anyhow::Result<Amount> {
    let found = harness.view(&harness.billing().account(account)).await?;
    let balances = found.map(|account| account.balances).unwrap_or_default();
    Ok(balances.into_iter().find(|(other, _)| other == asset).map(|(_, amount)| amount).unwrap_or_default())
}

/// The split of shares by hand: who has which is all that makes it.
fn split(shares: &[(&AccountId, u16)]) -> Result<Split, starling_protocol::split::SplitError> {
    let share =
        |(account, part): &(&AccountId, u16)| Share { account: (*account).clone(), part: BasisPoints::new(*part).expect("a fraction") };
    Split::new(shares.iter().map(share).collect())
}

#[tokio::test]
async fn split__should_be_opened_once_at_what_it_stores() -> anyhow::Result<()> {
    let (harness, hub, _) = shops().await?;
    let billing = harness.billing();
    let shared = lineage_split(&joined(&harness, &hub, "small", Asset::Near).await?).expect("three ancestors");
    let dave = harness.actor("dave.starling", 20).await?;
    let needed = split_deposit(shared.shares().len());
    let short = billing.open_split(shared.shares(), Amount(needed.0 - 1));
    harness.call(&dave, &short).await?.refused(&format!("attach at least {needed} yoctoNEAR, {} are attached", needed.0 - 1))?;
    let one = [shared.shares()[0].clone()];
    harness.call(&dave, &billing.open_split(&one, needed)).await?.refused("a split has 2 to 15 recipients")?;
    let twice = [shared.shares(), &one].concat();
    harness.call(&dave, &billing.open_split(&twice, needed)).await?.refused("each once")?;
    assert_eq!(harness.view(&billing.split(&shared.account())).await?, None);

    let before = (harness.balance(&dave.account).await?, stored(&harness, &billing.0).await?, surplus(&harness).await?);
    let opened = harness.call(&dave, &billing.open_split(shared.shares(), Amount(needed.0 + 77))).await?.ok()?;
    assert_eq!(opened.json::<AccountId>()?, shared.account());
    assert_eq!(harness.balance(&dave.account).await?, Amount(before.0.0 - needed.0 - opened.burnt.0), "what is too much comes back");
    let used = stored(&harness, &billing.0).await? - before.1;
    assert!((1..=needed.0).contains(&used), "{used} of {needed}");
    assert_eq!(surplus(&harness).await?, before.2);

    let again = harness.call(&dave, &billing.open_split(shared.shares(), needed)).await?.ok()?;
    assert_eq!((again.json::<AccountId>()?, again.billing_events()), (shared.account(), vec![]));
    assert_eq!(surplus(&harness).await?, before.2, "and all of it where it is open");
    // Where its account was registered before, only the rest is wanted.
    let (alice, bob) = (AccountId::new("alice-small.starling")?, AccountId::new("bob-small.starling")?);
    let other = split(&[(&alice, 1), (&bob, 2)])?;
    harness.call(&dave, &billing.storage_deposit(Some(&other.account()), true, storage_cost(ACCOUNT_BYTES))).await?.ok()?;
    harness.call(&dave, &billing.open_split(other.shares(), split_storage(2))).await?.ok()?;
    assert_eq!(surplus(&harness).await?, before.2);
    Ok(())
}

#[tokio::test]
async fn share__should_be_taken_by_whom_it_belongs_to_alone() -> anyhow::Result<()> {
    let (harness, hub, _) = shops().await?;
    let billing = harness.billing();
    let listing = joined(&harness, &hub, "small", Asset::Near).await?;
    let shared = lineage_split(&listing).expect("three ancestors");
    let (account, near) = (shared.account(), Asset::Near);
    let dave = harness.registered("dave.starling", 20).await?;
    let take = |who: &AccountId| billing.take_share(&account, who, &near);
    let [alice, bob, carol] = [0, 1, 2].map(|place| shared.shares()[place].account.clone());
    harness.call(&dave, &take(&alice)).await?.refused("there is no split")?;
    harness.call(&dave, &billing.open_split(shared.shares(), split_deposit(shared.shares().len()))).await?.ok()?;
    harness.call(&dave, &take(&alice)).await?.refused("nothing is due")?;
    buy(&harness, &hub, &dave, &listing.name, listing.price).await?.ok()?;
    let due: Vec<Amount> = net_parts(&listing, listing.price).into_iter().map(|(_, amount)| amount).take(3).collect();
    let view = harness.view(&billing.split(&account)).await?.expect("it is open");
    assert_eq!((&view.shares[..], view.due), (shared.shares(), vec![(Asset::Near, due.clone())]));

    harness.call(&dave, &take(&dave.account)).await?.refused("has no share in this split")?;
    harness.call(&dave, &take(&account)).await?.refused("has no share in this split")?;
    harness.call(&dave, &take(&carol)).await?.refused("carol-small.starling is not registered")?;
    harness.call(&dave, &billing.take_share(&account, &alice, &Asset::Nep141(bob.clone()))).await?.refused("nothing is due")?;
    let taken = harness.call(&dave, &take(&alice)).await?.ok()?;
    assert_eq!((taken.json::<Amount>()?, balance(&harness, &alice, &near).await?), (due[0], due[0]));
    harness.call(&dave, &take(&alice)).await?.refused("nothing is due")?;
    // A second sale: who has taken nothing so far has both.
    let erin = harness.registered("erin.starling", 20).await?;
    buy(&harness, &hub, &erin, &listing.name, listing.price).await?.ok()?;
    harness.call(&dave, &billing.storage_deposit(Some(&carol), true, storage_cost(ACCOUNT_BYTES))).await?.ok()?;
    for who in [&bob, &carol, &alice] {
        harness.call(&dave, &take(who)).await?.ok()?;
    }
    let received = Amount(2 * due.iter().map(|amount| amount.0).sum::<u128>());
    let figures = shared.due(&near, received)?;
    for (who, figure) in [&alice, &bob, &carol].into_iter().zip(figures) {
        assert_eq!(balance(&harness, who, &near).await?, figure, "{who}");
    }
    assert_eq!(balance(&harness, &account, &near).await?, Amount::ZERO);
    assert_books_balance(&harness).await
}

/// A split's account is like any other: a token wants storage credit, which anyone may add.
#[tokio::test]
async fn token__should_be_shared_once_there_is_storage_for_it() -> anyhow::Result<()> {
    let (harness, hub, _) = shops().await?;
    let (billing, usd) = (harness.billing(), harness.listed_token("usd.starling").await?);
    let token = Asset::Nep141(usd.account.clone());
    let listing = joined(&harness, &hub, "small", token.clone()).await?;
    let shared = lineage_split(&listing).expect("three ancestors");
    let (account, alice) = (shared.account(), shared.shares()[0].account.clone());
    let buyer: Actor = with_tokens(&harness, &usd, "dave.starling").await?;
    harness.add_storage_credit(&buyer, Amount::from_near(1)).await?;
    harness.call(&buyer, &usd.token.deposit(&billing, Amount(2_000_000))).await?.ok()?;
    harness.call(&buyer, &billing.deposit(Amount::from_near(1))).await?.ok()?;
    harness.call(&buyer, &billing.open_split(shared.shares(), split_deposit(shared.shares().len()))).await?.ok()?;
    let msg = PaymentMsg::Licence { name: listing.name.clone() };
    let mut bounds = harness.bounds().await?;
    bounds.post_at_once = listing.price;
    let args = PayArgs { target: hub.0.clone(), amount: listing.price, storage: msg.storage(), bounds, msg };
    let paid = harness.call(&buyer, &billing.pay_tokens_from_balance(&usd.account, &args)).await?.ok()?;
    let escrow = paid.json::<PayResult>()?.escrow_id;
    // Nothing is lost meanwhile: the escrow has it.
    harness.call(&buyer, &billing.claim(escrow, &account)).await?.refused("call storage_deposit")?;
    let credit = |who: &AccountId| billing.storage_deposit(Some(who), false, Amount::from_millinear(1));
    harness.call(&buyer, &credit(&account)).await?.ok()?;
    harness.call(&buyer, &billing.claim(escrow, &account)).await?.ok()?;
    let due = harness.view(&billing.split(&account)).await?.expect("it is open").due;
    let (_, due) = due.into_iter().find(|(asset, _)| *asset == token).expect("tokens came");
    let take = billing.take_share(&account, &alice, &token);
    harness.call(&buyer, &take).await?.refused("call storage_deposit")?;
    for who in [&account, &alice] {
        harness.call(&buyer, &billing.storage_deposit(Some(who), false, Amount::from_millinear(5))).await?.ok()?;
    }
    harness.call(&buyer, &take).await?.ok()?;
    assert_eq!(balance(&harness, &alice, &token).await?, due[0]);
    assert_eq!(harness.token_surplus(&usd).await?, Amount::ZERO);
    Ok(())
}
