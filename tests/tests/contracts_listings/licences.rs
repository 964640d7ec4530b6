//! Licences paid through `billing`: royalties to the yocto, and money that comes back whole where nothing is sold.

use crate::shops::*;
use starling_contract_api::{
    billing::{ACCOUNT_BYTES, Billing},
    hub::{ListingEvent, PublishArgs},
    payment::{PayArgs, PayResult, PaymentMsg, storage_cost},
};
use starling_primitives::{Amount, AssetName, BasisPoints, DurationMs};
use starling_protocol::listing::Share;

#[tokio::test]
async fn licence__should_pay_publisher_and_ancestor_to_the_yocto() -> anyhow::Result<()> {
    let (harness, hub, _) = shops().await?;
    let (alice, bob) = (harness.registered("alice.starling", 20).await?, harness.registered("bob.starling", 20).await?);
    let carol = harness.actor("carol.starling", 20).await?;
    let base: AssetName = publish(&harness, &hub, &alice, &model("base", PRICE)).await?.ok()?.json()?;
    let child = PublishArgs { parents: vec![base.clone()], ..model("child", PRICE) };
    publish(&harness, &hub, &bob, &child).await?.refused("a licence of alice.starling/base is needed")?;

    let bought = buy(&harness, &hub, &bob, &base, PRICE).await?.ok()?;
    assert!(bought.json::<PayResult>()?.opened);
    assert_eq!(in_billing(&harness, &alice.account).await?, after_fee(PRICE), "the price less the fee");
    let child: AssetName = publish(&harness, &hub, &bob, &child).await?.ok()?.json()?;
    let shares = harness.view(&hub.listing(&child)).await?.expect("it is listed").shares;
    assert_eq!(shares, [Share { account: alice.account.clone(), part: BasisPoints::new(1_000)? }]);

    let before = [in_billing(&harness, &alice.account).await?, in_billing(&harness, &bob.account).await?];
    let fees_before = harness.view(&harness.billing().totals()).await?.fees;
    let (worth_before, stored_before) = (worth(&harness, &carol.account).await?, stored(&harness, &hub.0).await?);
    let hub_before = harness.balance(&hub.0).await?;
    let bought = buy(&harness, &hub, &carol, &child, PRICE).await?.ok()?;
    println!("a licence: {} Tgas in all, {} in the largest receipt", bought.total_tgas, bought.largest_receipt_tgas);

    let royalty = PRICE.fraction_floor(BasisPoints::new(1_000)?);
    let rest = PRICE.checked_sub(royalty)?;
    let gained = |before: Amount, after: Amount| after.checked_sub(before);
    assert_eq!(gained(before[0], in_billing(&harness, &alice.account).await?)?, after_fee(royalty));
    assert_eq!(gained(before[1], in_billing(&harness, &bob.account).await?)?, after_fee(rest));
    let fees = gained(fees_before, harness.view(&harness.billing().totals()).await?.fees)?;
    assert_eq!(after_fee(royalty).0 + after_fee(rest).0 + fees.0, PRICE.0);

    // The buyer paid the price, the licence's storage, its registration in billing and gas; nothing else.
    let storage = stored(&harness, &hub.0).await? - stored_before;
    assert_eq!(harness.balance(&hub.0).await?.0 - hub_before.0, storage, "the shop holds what the licence costs to store");
    let paid = worth_before - worth(&harness, &carol.account).await?;
    assert_eq!(paid, PRICE.0 + storage + storage_cost(ACCOUNT_BYTES).0 + bought.burnt.0);

    let licence = harness.view(&hub.licence(&carol.account, &child)).await?.expect("it was bought");
    assert_eq!((&licence.holder, &licence.name, licence.price), (&carol.account, &child, PRICE));
    let escrow_id = licence.escrow_id.expect("it was paid");
    let told = [ListingEvent::LicencePaid { licence: licence.clone() }, ListingEvent::LicenceGranted { escrow_id }];
    assert_eq!(listing_events(&bought), told);
    assert_eq!(harness.view(&hub.licences_of(&carol.account, 0, 100)).await?, [licence]);
    assert_eq!(harness.view(&hub.licence(&carol.account, &base)).await?, None);
    assert_eq!(harness.view(&hub.listing(&child)).await?.expect("it is listed").sold, 1);
    assert_books_balance(&harness).await
}

#[tokio::test]
async fn payment__should_come_back_whole_when_nothing_is_sold_for_it() -> anyhow::Result<()> {
    let (harness, hub, market) = shops().await?;
    let (alice, carol) = (harness.registered("alice.starling", 20).await?, harness.registered("carol.starling", 50).await?);
    let name: AssetName = publish(&harness, &hub, &alice, &model("base", PRICE)).await?.ok()?.json()?;
    let free: AssetName = publish(&harness, &hub, &alice, &model("free", Amount::ZERO)).await?.ok()?.json()?;
    let unknown = AssetName::new(alice.account.clone(), "nothing")?;
    buy(&harness, &hub, &carol, &name, PRICE).await?.ok()?;

    let less = PRICE.checked_sub(Amount(1))?;
    let more = PRICE.checked_add(Amount(1))?;
    let dave = harness.registered("dave.starling", 50).await?;
    let cases = [
        (&carol, &hub, &name, PRICE, "you hold a licence of alice.starling/base already"),
        (&dave, &hub, &name, less, "the price is 2000000000000000000000007 units of near"),
        (&dave, &hub, &name, more, "the price is 2000000000000000000000007 units of near"),
        (&dave, &hub, &unknown, PRICE, "there is no listing alice.starling/nothing"),
        (&dave, &hub, &free, Amount::ZERO, "needs no licence"),
        (&dave, &market, &name, PRICE, "there is no listing alice.starling/base"),
        (&alice, &hub, &name, PRICE, "is your own"),
    ];
    for (buyer, shop, name, amount, words) in cases {
        let before = worth(&harness, &buyer.account).await?;
        let stored_before = stored(&harness, &shop.0).await?;
        let answer = buy(&harness, shop, buyer, name, amount).await?;
        assert_refused(&answer, words)?;
        assert_eq!(before - worth(&harness, &buyer.account).await?, answer.burnt.0, "{words}: only gas is gone");
        assert_eq!(stored(&harness, &shop.0).await?, stored_before, "{words}: nothing was stored");
    }
    harness.call(&alice, &hub.delist(&name)).await?.ok()?;
    assert_refused(&buy(&harness, &hub, &dave, &name, PRICE).await?, "taken off the list")?;
    assert!(harness.view(&hub.licence(&carol.account, &name)).await?.is_some(), "licences stay valid");
    let derived = PublishArgs { parents: vec![name.clone()], ..model("late", PRICE) };
    publish(&harness, &hub, &carol, &derived).await?.refused("nothing new is published from it")?;

    // A payment for something else, and one that forwards too little storage.
    let stake = harness.pay(&dave, &hub.0, PRICE, PaymentMsg::Stake { node_id: starling_primitives::NodeId(1) }).await?;
    assert_refused(&stake, "licences and uses are sold here, nothing else")?;
    let second: AssetName = publish(&harness, &hub, &alice, &model("second", PRICE)).await?.ok()?.json()?;
    let mut bounds = harness.bounds().await?;
    bounds.post_at_once = PRICE;
    let args = PayArgs { target: hub.0.clone(), amount: PRICE, storage: Amount(1), bounds, msg: PaymentMsg::Licence { name: second } };
    let deposit = Amount::sum([PRICE, args.storage, Billing::pay_storage()])?;
    assert_refused(&harness.call(&dave, &harness.billing().pay(&args, deposit)).await?, "yoctoNEAR for storage")?;
    assert_books_balance(&harness).await
}

#[tokio::test]
async fn purchase__should_leave_nothing_behind_when_the_payers_bounds_forbid_it() -> anyhow::Result<()> {
    let (harness, hub, _) = shops().await?;
    let (alice, carol) = (harness.registered("alice.starling", 20).await?, harness.registered("carol.starling", 50).await?);
    let name: AssetName = publish(&harness, &hub, &alice, &model("base", PRICE)).await?.ok()?.json()?;
    let other: AssetName = publish(&harness, &hub, &alice, &model("other", PRICE)).await?.ok()?.json()?;
    let (worth_before, stored_before) = (worth(&harness, &carol.account).await?, stored(&harness, &hub.0).await?);

    // The shop accepts, billing finds its answer outside what the payer signed and returns the money.
    let answer = buy_within(&harness, &hub, &carol, &name, PRICE, Amount(5)).await?.ok()?;
    let result: PayResult = answer.json()?;
    assert!(!result.opened && result.reason.as_deref().is_some_and(|reason| reason.contains("post_at_once")), "{result:?}");
    assert_eq!(harness.view(&hub.licence(&carol.account, &name)).await?, None);
    assert_eq!(harness.view(&hub.licences_of(&carol.account, 0, 100)).await?, []);
    assert!(harness.view(&hub.payment_answer(result.escrow_id)).await?.is_some_and(|terms| terms.close && terms.postings.len() == 1));
    let mut burnt = answer.burnt.0;
    // Another licence comes after it in the holder's list.
    let answer = buy(&harness, &hub, &carol, &other, PRICE).await?.ok()?;
    burnt += answer.burnt.0;
    let answer = buy(&harness, &hub, &carol, &name, PRICE).await?;
    assert_refused(&answer, "a payment of yours for alice.starling/base is under way")?;
    burnt += answer.burnt.0;

    harness.call(&alice, &hub.forget_payment(result.escrow_id)).await?.refused("may still be opened")?;
    harness.pass(DurationMs::from_secs(600 + 3_600 + 60)).await?;
    let forgotten = harness.call(&alice, &hub.forget_payment(result.escrow_id)).await?.ok()?;
    assert_eq!(listing_events(&forgotten), [ListingEvent::PaymentForgotten { escrow_id: result.escrow_id }]);
    harness.call(&alice, &hub.forget_payment(result.escrow_id)).await?.refused("waits for nothing here")?;
    let storage = stored(&harness, &hub.0).await? - stored_before;
    assert_eq!(worth_before - worth(&harness, &carol.account).await?, PRICE.0 + storage + burnt, "the forgotten one's storage came back");
    let held: Vec<AssetName> =
        harness.view(&hub.licences_of(&carol.account, 0, 100)).await?.into_iter().map(|licence| licence.name).collect();
    assert_eq!(held, [other]);

    // A stale one that nobody removed does not stand in the way of a new payment.
    let stale = buy_within(&harness, &hub, &carol, &name, PRICE, Amount(5)).await?.ok()?.json::<PayResult>()?;
    harness.pass(DurationMs::from_secs(600 + 3_600 + 60)).await?;
    assert!(buy(&harness, &hub, &carol, &name, PRICE).await?.ok()?.json::<PayResult>()?.opened);
    harness.call(&alice, &hub.forget_payment(stale.escrow_id)).await?.refused("waits for nothing here")?;
    assert_eq!(harness.view(&hub.licences_of(&carol.account, 0, 100)).await?.len(), 2);
    Ok(())
}
