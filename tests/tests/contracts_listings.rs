//! `hub` and `market` on the embedded chain: publishing, licences paid through `billing`, royalties to the yocto, and what strangers cannot do.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use starling_contract_api::{
    Call, ONE_YOCTO, TGAS, View,
    billing::{ACCOUNT_BYTES, Billing},
    events,
    hub::{HUB_STANDARD, LISTING_BYTES, ListingEvent, Listings, PublishArgs},
    payment::{PayArgs, PayResult, PaymentMsg, PaymentOffered, storage_cost},
};
use starling_primitives::{AccountId, Amount, Asset, AssetName, BasisPoints, DurationMs, EscrowId, Hash32, RunId, Text};
use starling_protocol::listing::{self, Category, File, Kind, MAX_FILES, Share};
use starling_tests::{Actor, Answer, FEE, Harness};

const PRICE: Amount = Amount(2_000_000_000_000_000_000_000_007);

/// `billing`, `hub` and `market` on a chain of their own.
async fn shops() -> anyhow::Result<(Harness, Listings, Listings)> {
    let harness = Harness::start_with(&["billing", "hub", "market"]).await?;
    let (hub, market) = (Listings(harness.deployment.hub.clone()), Listings(harness.deployment.market.clone()));
    Ok((harness, hub, market))
}

fn model(slug: &str, price: Amount) -> PublishArgs {
    PublishArgs {
        slug: slug.to_owned(),
        kind: Kind::Model,
        category: Category::TextGeneration,
        title: "A small model".parse().expect("short"),
        summary: "Writes Rust.".parse().expect("short"),
        licence: "MIT OR Apache-2.0".parse().expect("short"),
        price,
        parents: vec![],
        royalty: BasisPoints::new(1_000).expect("a fraction"),
        files: vec![file("model.safetensors")],
        run_id: Some(RunId(3)),
    }
}

fn file(name: &str) -> File {
    File { name: name.parse().expect("short"), hash: Hash32::sha256(name.as_bytes()), bytes: 1 << 20 }
}

async fn publish(harness: &Harness, shop: &Listings, publisher: &Actor, args: &PublishArgs) -> anyhow::Result<Answer> {
    harness.call(publisher, &shop.publish(args, storage_cost(LISTING_BYTES))).await
}

/// Buys a licence with an attached deposit that is exactly what it costs.
async fn buy(harness: &Harness, shop: &Listings, buyer: &Actor, name: &AssetName, amount: Amount) -> anyhow::Result<Answer> {
    buy_within(harness, shop, buyer, name, amount, amount).await
}

async fn buy_within(
    harness: &Harness,
    shop: &Listings,
    buyer: &Actor,
    name: &AssetName,
    amount: Amount,
    post_at_once: Amount,
) -> anyhow::Result<Answer> {
    let msg = PaymentMsg::Licence { name: name.clone() };
    let mut bounds = harness.bounds().await?;
    bounds.post_at_once = post_at_once;
    let args = PayArgs { target: shop.0.clone(), amount, storage: msg.storage(), bounds, msg };
    let registered = harness.view(&harness.billing().account(&buyer.account)).await?.is_some();
    let registration = if registered { Amount::ZERO } else { storage_cost(ACCOUNT_BYTES) };
    let deposit = Amount::sum([amount, args.storage, Billing::pay_storage(), registration])?;
    harness.call(buyer, &harness.billing().pay(&args, deposit)).await
}

/// The purchase was refused by the shop in these words, and `billing` says so.
fn assert_refused(answer: &Answer, words: &str) -> anyhow::Result<()> {
    let result: PayResult = answer.json()?;
    assert!(!result.opened, "{words}: {result:?}");
    assert!(answer.failures.iter().any(|failure| failure.contains(words)), "{words:?} is not in {:?}", answer.failures);
    Ok(())
}

/// What an account can get at: its NEAR on the chain and its free balance in `billing`.
async fn worth(harness: &Harness, account: &AccountId) -> anyhow::Result<u128> {
    Ok(harness.balance(account).await?.0 + in_billing(harness, account).await?.0)
}

async fn in_billing(harness: &Harness, account: &AccountId) -> anyhow::Result<Amount> {
    let found = harness.view(&harness.billing().account(account)).await?;
    let balances = found.map(|account| account.balances).unwrap_or_default();
    Ok(balances.into_iter().find(|(asset, _)| *asset == Asset::Near).map(|(_, amount)| amount).unwrap_or_default())
}

/// What a contract's stored bytes cost.
async fn stored(harness: &Harness, contract: &AccountId) -> anyhow::Result<u128> {
    Ok(storage_cost(harness.worker.view_account(&contract.as_str().parse()?).await?.storage_usage).0)
}

async fn assert_books_balance(harness: &Harness) -> anyhow::Result<()> {
    let totals = harness.view(&harness.billing().totals()).await?;
    assert_eq!((totals.in_flight, totals.escrows), (Amount::ZERO, Amount::ZERO), "purchases leave nothing behind");
    assert!(totals.balances.0 + totals.fees.0 + totals.storage.0 <= totals.holdings.0, "{totals:?}");
    Ok(())
}

fn after_fee(earned: Amount) -> Amount {
    let fee = earned.fraction_ceil(BasisPoints::new(FEE).expect("a fraction"));
    earned.checked_sub(fee).expect("the fee is a part")
}

async fn view_listings(harness: &Harness, view: View<Vec<listing::Listing>>) -> anyhow::Result<Vec<listing::Listing>> {
    harness.view(&view).await
}

fn listing_events(answer: &Answer) -> Vec<ListingEvent> {
    answer.logs.iter().filter_map(|line| events::parse(line, HUB_STANDARD)).collect()
}

#[tokio::test]
async fn publish__should_list_a_model_and_take_only_what_storage_costs() -> anyhow::Result<()> {
    let (harness, hub, market) = shops().await?;
    let alice = harness.actor("alice.starling", 20).await?;
    let (worth_before, stored_before) = (worth(&harness, &alice.account).await?, stored(&harness, &hub.0).await?);
    let answer = publish(&harness, &hub, &alice, &model("rust-small", PRICE)).await?.ok()?;
    let name: AssetName = answer.json()?;
    assert_eq!(name.to_string(), "alice.starling/rust-small");
    let storage = stored(&harness, &hub.0).await? - stored_before;
    assert_eq!(worth_before - worth(&harness, &alice.account).await?, storage + answer.burnt.0, "the rest came back to the yocto");

    let listing = harness.view(&hub.listing(&name)).await?.expect("it is listed");
    assert_eq!((listing.price, listing.sold, listing.shares.len(), listing.versions.len()), (PRICE, 0, 0, 1));
    assert_eq!(listing.versions[0].run_id, Some(RunId(3)));
    assert_eq!(listing_events(&answer), [ListingEvent::ListingPublished { listing: listing.clone() }]);
    let by_category = |category| view_listings(&harness, hub.listings(category, 0, 10));
    assert_eq!(by_category(None).await?, std::slice::from_ref(&listing));
    assert_eq!(by_category(Some(Category::TextGeneration)).await?, [listing]);
    assert_eq!(by_category(Some(Category::Vision)).await?, []);

    publish(&harness, &hub, &alice, &model("rust-small", PRICE)).await?.refused("is published already")?;
    publish(&harness, &hub, &alice, &PublishArgs { kind: Kind::Tool, ..model("tool", PRICE) })
        .await?
        .refused("takes no listing of kind Tool")?;
    publish(&harness, &market, &alice, &model("rust-small", PRICE)).await?.refused("takes no listing of kind Model")?;
    publish(&harness, &hub, &alice, &PublishArgs { files: vec![], ..model("empty", PRICE) }).await?.refused("1 to 16 files")?;
    publish(&harness, &hub, &alice, &PublishArgs { title: Text::default(), ..model("empty", PRICE) }).await?.refused("needs a title")?;
    publish(&harness, &hub, &alice, &model("Bad Name", PRICE)).await?.refused("is no asset name")?;
    harness.call(&alice, &hub.publish(&model("poor", PRICE), Amount(1))).await?.refused("yoctoNEAR for storage")?;
    let tool: AssetName =
        publish(&harness, &market, &alice, &PublishArgs { kind: Kind::Tool, ..model("judge", PRICE) }).await?.ok()?.json()?;
    assert_eq!(harness.view(&market.listing(&tool)).await?.map(|listing| listing.kind), Some(Kind::Tool));
    Ok(())
}

#[tokio::test]
async fn listing__should_be_changed_by_its_publisher_alone() -> anyhow::Result<()> {
    let (harness, hub, _) = shops().await?;
    let (alice, mallory) = (harness.actor("alice.starling", 20).await?, harness.actor("mallory.starling", 20).await?);
    let name: AssetName = publish(&harness, &hub, &alice, &model("rust-small", PRICE)).await?.ok()?.json()?;
    let deposit = storage_cost(LISTING_BYTES);
    let version = hub.add_version(&name, &[file("second.safetensors")], None, "better", deposit);
    for call in [&version, &hub.set_price(&name, Amount(1)), &hub.delist(&name)] {
        harness.call(&mallory, call).await?.refused("only alice.starling may do this")?;
    }
    for mut call in [hub.set_price(&name, Amount(1)), hub.delist(&name)] {
        call.deposit = Amount::ZERO;
        harness.call(&alice, &call).await?.refused("1 yoctoNEAR")?;
    }
    harness.call(&alice, &version).await?.ok()?;
    harness.call(&alice, &hub.set_price(&name, Amount::from_near(1))).await?.ok()?;
    let listing = harness.view(&hub.listing(&name)).await?.expect("it is listed");
    let notes: Vec<&str> = listing.versions.iter().map(|version| version.note.as_str()).collect();
    assert_eq!((notes, listing.price), (vec!["", "better"], Amount::from_near(1)));
    let page = harness.view(&hub.listings(None, 0, 10)).await?;
    assert_eq!(page[0].versions, listing.versions[1..], "a page carries the last version");

    harness.call(&alice, &hub.delist(&name)).await?.ok()?;
    assert_eq!(harness.view(&hub.listings(None, 0, 10)).await?, []);
    assert!(harness.view(&hub.listing(&name)).await?.expect("its record stays").delisted);
    harness.call(&alice, &version).await?.refused("taken off the list")?;
    Ok(())
}

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
    assert_eq!(listing_events(&bought).last(), Some(&ListingEvent::LicenceGranted { licence: licence.clone() }));
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
        (&dave, &hub, &name, less, "the price is 2000000000000000000000007 yocto"),
        (&dave, &hub, &name, more, "the price is 2000000000000000000000007 yocto"),
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
    assert_refused(&stake, "only licences are sold here")?;
    let second: AssetName = publish(&harness, &hub, &alice, &model("second", PRICE)).await?.ok()?.json()?;
    let mut bounds = harness.bounds().await?;
    bounds.post_at_once = PRICE;
    let args = PayArgs { target: hub.0.clone(), amount: PRICE, storage: Amount(1), bounds, msg: PaymentMsg::Licence { name: second } };
    let deposit = Amount::sum([PRICE, args.storage, Billing::pay_storage()])?;
    assert_refused(&harness.call(&dave, &harness.billing().pay(&args, deposit)).await?, "for the storage of the licence")?;
    assert_books_balance(&harness).await
}

#[tokio::test]
async fn stranger__should_not_reach_what_is_billings_or_the_owners() -> anyhow::Result<()> {
    let (harness, hub, market) = shops().await?;
    let (alice, mallory) = (harness.registered("alice.starling", 20).await?, harness.actor("mallory.starling", 20).await?);
    let name: AssetName = publish(&harness, &hub, &alice, &model("base", PRICE)).await?.ok()?.json()?;
    let offered = PaymentOffered {
        escrow_id: EscrowId(1),
        payer: mallory.account.clone(),
        asset: Asset::Near,
        amount: PRICE,
        bounds: harness.bounds().await?,
        msg: PaymentMsg::Licence { name: name.clone() },
    };
    for shop in [&hub, &market] {
        for stranger in [&mallory, &alice, &harness.owner] {
            harness.call(stranger, &shop.on_payment(&offered, storage_cost(1_000))).await?.refused("only billing may do this")?;
            harness.call(stranger, &shop.on_opened(EscrowId(1))).await?.refused("only billing may do this")?;
            harness.call(stranger, &shop.forget_payment(EscrowId(1))).await?.refused("waits for nothing here")?;
        }
        harness.call(&mallory, &shop.set_paused(true)).await?.refused("only the owner")?;
        let init = serde_json::json!({"owner": mallory.account, "deployment": harness.deployment, "fee": 0, "min_stake": "0"});
        let again = Call { contract: shop.0.clone(), method: "new".to_owned(), args: init, gas: 30 * TGAS, deposit: Amount::ZERO };
        harness.call(&mallory, &again).await?.refused("already been initialized")?;
    }
    assert_eq!(harness.view(&hub.licence(&mallory.account, &name)).await?, None);

    // Paused, the shop takes nothing new: no listing, no payment.
    harness.call(&harness.owner, &hub.set_paused(true)).await?.ok()?;
    assert!(harness.view(&hub.config()).await?.paused);
    publish(&harness, &hub, &alice, &model("second", PRICE)).await?.refused("paused")?;
    assert_refused(&buy(&harness, &hub, &mallory, &name, PRICE).await?, "paused")?;
    let mut poor = hub.set_paused(false);
    assert_eq!(std::mem::take(&mut poor.deposit), ONE_YOCTO);
    harness.call(&harness.owner, &poor).await?.refused("1 yoctoNEAR")?;
    harness.call(&harness.owner, &hub.set_paused(false)).await?.ok()?;
    buy(&harness, &hub, &mallory, &name, PRICE).await?.ok()?;
    Ok(())
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

#[tokio::test]
async fn storage__should_be_covered_at_its_largest() -> anyhow::Result<()> {
    let (harness, hub, _) = shops().await?;
    let long = |letter: &str| format!("{}.starling", letter.repeat(55));
    let publisher = harness.actor(&long("p"), 100).await?;
    let slug = |index: usize| format!("{index:0>48}");
    let mut parents = Vec::new();
    for index in 0..4 {
        let ancestor = harness.actor(&long(&char::from(b'a' + u8::try_from(index)?).to_string()), 20).await?;
        parents.push(publish(&harness, &hub, &ancestor, &model(&slug(index), Amount::ZERO)).await?.ok()?.json()?);
    }
    let files: Vec<File> = (0..MAX_FILES).map(|index| file(&format!("{index:0>80}"))).collect();
    let largest = PublishArgs {
        title: Text::new("t".repeat(80))?,
        summary: Text::new("\"".repeat(600))?,
        licence: Text::new("M".repeat(40))?,
        parents,
        files,
        ..model(&slug(9), PRICE)
    };
    let before = stored(&harness, &hub.0).await?;
    let answer = publish(&harness, &hub, &publisher, &largest).await?.ok()?;
    let name: AssetName = answer.json()?;
    let used = stored(&harness, &hub.0).await? - before;
    println!("the largest listing without ancestors' ancestors: {} bytes, {} Tgas", used / storage_cost(1).0, answer.total_tgas);
    // Twelve more accounts may stand among its shares.
    assert!(used + storage_cost(12 * 70).0 <= storage_cost(LISTING_BYTES).0);

    let buyer = harness.actor(&long("z"), 50).await?;
    let before = stored(&harness, &hub.0).await?;
    let bought = buy(&harness, &hub, &buyer, &name, PRICE).await?;
    assert!(bought.clone().ok()?.json::<PayResult>()?.opened);
    println!(
        "the largest licence: {} bytes, {} Tgas in all",
        (stored(&harness, &hub.0).await? - before) / storage_cost(1).0,
        bought.total_tgas
    );
    // The ancestors are not registered in billing: what they earned waits for them.
    let parts = listing::split(&harness.view(&hub.listing(&name)).await?.expect("it is listed"), PRICE);
    assert_eq!(parts.len(), 5);
    let result: PayResult = bought.json()?;
    let waiting = harness.view(&harness.billing().escrow(result.escrow_id)).await?.expect("something lies in it");
    assert_eq!(Amount::sum(parts.iter().map(|(_, amount)| after_fee(*amount)))?, waiting.escrow.locked());
    let first = harness.registered("someone.starling", 5).await?;
    harness.call(&first, &harness.billing().storage_deposit(Some(&parts[0].0), true, storage_cost(ACCOUNT_BYTES))).await?.ok()?;
    harness.call(&first, &harness.billing().claim(result.escrow_id, &parts[0].0)).await?.ok()?;
    assert_eq!(in_billing(&harness, &parts[0].0).await?, after_fee(parts[0].1));
    Ok(())
}

#[tokio::test]
async fn pages__should_be_bounded() -> anyhow::Result<()> {
    let (harness, hub, _) = shops().await?;
    let alice = harness.actor("alice.starling", 100).await?;
    let mut names = Vec::new();
    for index in 0..53 {
        names.push(publish(&harness, &hub, &alice, &model(&format!("model-{index}"), Amount::ZERO)).await?.ok()?.json::<AssetName>()?);
    }
    harness.call(&alice, &hub.delist(&names[51])).await?.ok()?;
    for category in [None, Some(Category::TextGeneration)] {
        let page = |from, limit| view_listings(&harness, hub.listings(category, from, limit));
        let listed = |page: Vec<listing::Listing>| page.into_iter().map(|listing| listing.name).collect::<Vec<_>>();
        assert_eq!(listed(page(0, 1_000).await?), names[..50]);
        assert_eq!(listed(page(50, 1_000).await?), [names[50].clone(), names[52].clone()]);
        assert_eq!(listed(page(7, 2).await?), names[7..9]);
        assert!(page(53, 10).await?.is_empty() && page(u64::MAX, 10).await?.is_empty());
        assert_eq!(harness.view(&hub.listings_count(category)).await?, 53);
    }
    Ok(())
}
