//! Ratings: by holders alone, one for each, at their own cost, and kept whatever becomes of the listing.

use crate::shops::*;
use starling_contract_api::{
    hub::{LISTING_BYTES, ListingEvent, Listings, RATING_BYTES},
    payment::{LICENCE_BYTES, storage_cost},
};
use starling_primitives::{Amount, Asset, AssetName, Text};
use starling_protocol::listing::{Rating, Ratings, Stars};
use starling_tests::{Actor, Answer, Harness};

async fn rate(harness: &Harness, shop: &Listings, rater: &Actor, name: &AssetName, stars: u8, text: &str) -> anyhow::Result<Answer> {
    let call = shop.rate(name, Stars::new(stars)?, &Text::new(text)?, storage_cost(RATING_BYTES));
    harness.call(rater, &call).await
}

async fn take(harness: &Harness, shop: &Listings, taker: &Actor, name: &AssetName) -> anyhow::Result<Answer> {
    harness.call(taker, &shop.take_licence(name, storage_cost(LICENCE_BYTES))).await
}

async fn sum(harness: &Harness, shop: &Listings, name: &AssetName) -> anyhow::Result<Ratings> {
    Ok(harness.view(&shop.listing(name)).await?.expect("its record stays").ratings)
}

#[tokio::test]
async fn rating__should_be_a_holders_and_cost_him_what_it_takes() -> anyhow::Result<()> {
    let (harness, hub, _) = shops().await?;
    let (alice, carol) = (harness.registered("alice.starling", 20).await?, harness.registered("carol.starling", 50).await?);
    let dave = harness.registered("dave.starling", 50).await?;
    let name: AssetName = publish(&harness, &hub, &alice, &model("base", PRICE)).await?.ok()?.json()?;
    rate(&harness, &hub, &alice, &name, 5, "mine").await?.refused("nobody rates what he published")?;
    rate(&harness, &hub, &carol, &name, 5, "").await?.refused("only who holds a licence may rate")?;
    // A payment that never opened is no licence.
    buy_within(&harness, &hub, &dave, &name, PRICE, Amount(5)).await?.ok()?;
    rate(&harness, &hub, &dave, &name, 1, "").await?.refused("only who holds a licence may rate")?;
    buy(&harness, &hub, &carol, &name, PRICE).await?.ok()?;
    let unknown = AssetName::new(alice.account.clone(), "nothing")?;
    rate(&harness, &hub, &carol, &unknown, 5, "").await?.refused("there is no listing")?;
    for stars in [0, 6] {
        let mut call = hub.rate(&name, Stars::new(1)?, &Text::default(), storage_cost(RATING_BYTES));
        call.args["stars"] = stars.into();
        harness.call(&carol, &call).await?.refused("1 to 5 stars")?;
    }
    for deposit in [Amount::ZERO, Amount(1)] {
        let call = hub.rate(&name, Stars::new(4)?, &Text::default(), deposit);
        harness.call(&carol, &call).await?.refused(if deposit.is_zero() { "1 yoctoNEAR" } else { "yoctoNEAR for storage" })?;
    }
    assert_eq!(sum(&harness, &hub, &name).await?, Ratings::default());

    let stored_before = stored(&harness, &hub.0).await?;
    let worth_before = worth(&harness, &carol.account).await?;
    let mut burnt = 0;
    for (stars, text) in [(2, "It repeats itself."), (5, "The second version does not."), (4, "")] {
        let answer = rate(&harness, &hub, &carol, &name, stars, text).await?.ok()?;
        burnt += answer.burnt.0;
        let rating = harness.view(&hub.rating(&carol.account, &name)).await?.expect("it was said");
        assert_eq!((rating.stars.get(), rating.text.as_str(), rating.bought, rating.version), (stars, text, true, 1));
        let ratings = Ratings { count: 1, stars: u64::from(stars) };
        assert_eq!(sum(&harness, &hub, &name).await?, ratings);
        assert_eq!(listing_events(&answer), [ListingEvent::Rated { name: name.clone(), rating, ratings }]);
        let grown = stored(&harness, &hub.0).await? - stored_before;
        assert_eq!(worth_before - worth(&harness, &carol.account).await?, grown + burnt, "the rater pays its bytes, no more and no less");
    }
    assert_eq!(harness.view(&hub.ratings(&name, 0, 10)).await?.len(), 1);
    assert_eq!(harness.view(&hub.rating(&dave.account, &name)).await?, None);

    harness.call(&harness.owner, &hub.set_paused(true)).await?.ok()?;
    rate(&harness, &hub, &carol, &name, 1, "").await?.refused("paused")?;
    take(&harness, &hub, &dave, &name).await?.refused("paused")?;
    Ok(())
}

#[tokio::test]
async fn free_licence__should_be_taken_once_and_kept_whatever_it_costs_later() -> anyhow::Result<()> {
    let (harness, hub, _) = shops().await?;
    let (alice, carol) = (harness.actor("alice.starling", 20).await?, harness.actor("carol.starling", 50).await?);
    let free: AssetName = publish(&harness, &hub, &alice, &model("free", Amount::ZERO)).await?.ok()?.json()?;
    let paid: AssetName = publish(&harness, &hub, &alice, &model("paid", PRICE)).await?.ok()?.json()?;
    take(&harness, &hub, &carol, &paid).await?.refused("has a price")?;
    take(&harness, &hub, &alice, &free).await?.refused("is your own")?;
    harness.call(&carol, &hub.take_licence(&free, Amount(1))).await?.refused("yoctoNEAR for storage")?;
    rate(&harness, &hub, &carol, &free, 3, "").await?.refused("only who holds a licence may rate")?;

    let (worth_before, stored_before) = (worth(&harness, &carol.account).await?, stored(&harness, &hub.0).await?);
    let answer = take(&harness, &hub, &carol, &free).await?.ok()?;
    let grown = stored(&harness, &hub.0).await? - stored_before;
    assert_eq!(worth_before - worth(&harness, &carol.account).await?, grown + answer.burnt.0);
    let licence = harness.view(&hub.licence(&carol.account, &free)).await?.expect("it was taken");
    assert_eq!((licence.price, licence.escrow_id), (Amount::ZERO, None));
    assert_eq!(listing_events(&answer), [ListingEvent::LicenceTaken { licence: licence.clone() }]);
    assert_eq!(harness.view(&hub.licences_of(&carol.account, 0, 9)).await?, std::slice::from_ref(&licence));
    take(&harness, &hub, &carol, &free).await?.refused("you hold a licence of alice.starling/free already")?;
    rate(&harness, &hub, &carol, &free, 3, "For nothing.").await?.ok()?;
    let rating = harness.view(&hub.rating(&carol.account, &free)).await?.expect("it was said");
    assert!(!rating.bought, "it says that nothing was paid");

    harness.call(&alice, &hub.set_price(&free, &Asset::Near, PRICE, None, Amount(1))).await?.ok()?;
    assert_eq!(harness.view(&hub.licence(&carol.account, &free)).await?, Some(licence));
    assert_refused(&buy(&harness, &hub, &carol, &free, PRICE).await?, "you hold a licence of alice.starling/free already")?;
    let other: AssetName = publish(&harness, &hub, &alice, &model("other", Amount::ZERO)).await?.ok()?.json()?;
    harness.call(&alice, &hub.delist(&other)).await?.ok()?;
    take(&harness, &hub, &carol, &other).await?.refused("taken off the list")?;
    Ok(())
}

#[tokio::test]
async fn ratings__should_outlive_the_list_and_be_read_in_pages() -> anyhow::Result<()> {
    let (harness, hub, _) = shops().await?;
    let alice = harness.actor("alice.starling", 20).await?;
    let name: AssetName = publish(&harness, &hub, &alice, &model("free", Amount::ZERO)).await?.ok()?.json()?;
    let mut raters = Vec::new();
    for index in 0..13_u8 {
        let rater = harness.actor(&format!("rater-{index}.starling"), 5).await?;
        take(&harness, &hub, &rater, &name).await?.ok()?;
        rate(&harness, &hub, &rater, &name, 1 + index % 5, "").await?.ok()?;
        raters.push(rater);
    }
    harness.call(&alice, &hub.add_version(&name, &[file("second")], None, "", storage_cost(LISTING_BYTES))).await?.ok()?;
    harness.call(&alice, &hub.delist(&name)).await?.ok()?;
    let worst = "\"".repeat(280);
    rate(&harness, &hub, &raters[3], &name, 1, &worst).await?.ok()?;
    assert_eq!(sum(&harness, &hub, &name).await?, Ratings { count: 13, stars: 33 });
    let accounts = |page: Vec<Rating>| page.into_iter().map(|rating| rating.rater).collect::<Vec<_>>();
    let expected = |from: usize, to: usize| raters[from..to].iter().map(|rater| rater.account.clone()).collect::<Vec<_>>();
    for (from, limit, found) in [(0, 99, expected(0, 8)), (8, 99, expected(8, 13)), (3, 2, expected(3, 5)), (13, 9, vec![])] {
        assert_eq!(accounts(harness.view(&hub.ratings(&name, from, limit)).await?), found);
    }
    assert!(harness.view(&hub.ratings(&name, u64::MAX, u32::MAX)).await?.is_empty());
    let changed = harness.view(&hub.rating(&raters[3].account, &name)).await?.expect("it was said");
    assert_eq!((changed.version, changed.text.as_str()), (2, worst.as_str()));
    Ok(())
}

#[tokio::test]
async fn rating_storage__should_be_covered_at_its_largest() -> anyhow::Result<()> {
    let (harness, hub, _) = shops().await?;
    let long = |letter: &str| format!("{}.starling", letter.repeat(55));
    let (publisher, rater) = (harness.actor(&long("p"), 20).await?, harness.actor(&long("r"), 20).await?);
    let name: AssetName = publish(&harness, &hub, &publisher, &model(&"s".repeat(48), Amount::ZERO)).await?.ok()?.json()?;
    take(&harness, &hub, &rater, &name).await?.ok()?;
    let before = stored(&harness, &hub.0).await?;
    rate(&harness, &hub, &rater, &name, 5, &"t".repeat(280)).await?.ok()?;
    let used = stored(&harness, &hub.0).await? - before;
    assert!(used <= storage_cost(RATING_BYTES).0, "{}", used / storage_cost(1).0);
    Ok(())
}
