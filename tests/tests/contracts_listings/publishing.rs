//! Publishing: what it stores and costs, who may change it, what strangers cannot do, and how much is read at once.

use crate::shops::*;
use starling_contract_api::{
    Call, ONE_YOCTO, TGAS,
    billing::{ACCOUNT_BYTES, split_deposit},
    hub::{LISTING_BYTES, ListingEvent, MAX_LICENCES_PAGE, PublishArgs},
    payment::{LICENCE_BYTES, PayResult, PaymentMsg, PaymentOffered, storage_cost},
};
use starling_primitives::{Amount, Asset, AssetName, EscrowId, RunId, Text};
use starling_protocol::listing::{self, Category, File, Kind, MAX_FILES, lineage_split};

/// More listings than a page takes.
const LISTED: u64 = 11;

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
    for call in [&version, &hub.set_price(&name, &Asset::Near, Amount(1), None, ONE_YOCTO), &hub.delist(&name)] {
        harness.call(&mallory, call).await?.refused("only alice.starling may do this")?;
    }
    for mut call in [hub.set_price(&name, &Asset::Near, Amount(1), None, ONE_YOCTO), hub.delist(&name)] {
        call.deposit = Amount::ZERO;
        harness.call(&alice, &call).await?.refused("1 yoctoNEAR")?;
    }
    harness.call(&alice, &version).await?.ok()?;
    harness.call(&alice, &hub.set_price(&name, &Asset::Near, Amount::from_near(1), None, ONE_YOCTO)).await?.ok()?;
    let listing = harness.view(&hub.listing(&name)).await?.expect("it is listed");
    let versions = harness.view(&hub.versions(&name, 0, 10)).await?;
    let notes: Vec<&str> = versions.iter().map(|version| version.note.as_str()).collect();
    assert_eq!((notes, listing.price), (vec!["", "better"], Amount::from_near(1)));
    assert_eq!(listing.versions, versions[1..], "a listing carries its last version");
    assert_eq!(harness.view(&hub.listings(None, 0, 10)).await?, [listing]);

    harness.call(&alice, &hub.delist(&name)).await?.ok()?;
    let delisted = harness.view(&hub.listing(&name)).await?.expect("its record stays");
    assert!(delisted.delisted);
    assert_eq!(harness.view(&hub.listings(None, 0, 10)).await?, [delisted], "its place stays");
    harness.call(&alice, &version).await?.refused("taken off the list")?;
    Ok(())
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
    // Nobody of them is registered in billing: what they earned waits for them.
    let listing = harness.view(&hub.listing(&name)).await?.expect("it is listed");
    let parts = net_parts(&listing, PRICE);
    assert_eq!(parts.len(), 5);
    let result: PayResult = bought.json()?;
    let waiting = harness.view(&harness.billing().escrow(result.escrow_id)).await?.expect("something lies in it");
    assert_eq!(Amount::sum(parts.iter().map(|(_, amount)| *amount))?, waiting.escrow.locked());
    let (first, billing) = (harness.registered("someone.starling", 5).await?, harness.billing());
    for (account, _) in &parts {
        harness.call(&first, &billing.storage_deposit(Some(account), true, storage_cost(ACCOUNT_BYTES))).await?.ok()?;
    }
    let split = lineage_split(&listing).expect("four ancestors");
    harness.call(&first, &billing.open_split(split.shares(), split_deposit(split.shares().len()))).await?.ok()?;
    harness.call(&first, &billing.claim(result.escrow_id, &split.account())).await?.ok()?;
    harness.call(&first, &billing.claim(result.escrow_id, name.publisher())).await?.ok()?;
    take_shares(&harness, &first, &listing).await?;
    for (account, part) in &parts {
        assert_eq!(in_billing(&harness, account).await?, *part, "{account}");
    }
    Ok(())
}

#[tokio::test]
async fn pages__should_be_bounded() -> anyhow::Result<()> {
    let (harness, hub, _) = shops().await?;
    let alice = harness.actor("alice.starling", 100).await?;
    let mut names = Vec::new();
    for index in 0..LISTED {
        names.push(publish(&harness, &hub, &alice, &model(&format!("model-{index}"), Amount::ZERO)).await?.ok()?.json::<AssetName>()?);
    }
    harness.call(&alice, &hub.delist(&names[4])).await?.ok()?;
    for category in [None, Some(Category::TextGeneration)] {
        let page = |from, limit| view_listings(&harness, hub.listings(category, from, limit));
        let listed = |page: &[listing::Listing]| page.iter().map(|listing| listing.name.clone()).collect::<Vec<_>>();
        let (mut from, mut all) = (0, Vec::<listing::Listing>::new());
        loop {
            let found = page(from, u32::MAX).await?;
            if found.is_empty() {
                break;
            }
            let rest = names.len() - all.len();
            assert!(found.len() > 1 || rest == 1, "a page of {} listings", found.len());
            assert!(found.len() < names.len(), "all on one page");
            from += u64::try_from(found.len())?;
            all.extend(found);
        }
        assert_eq!(listed(&all), names, "whoever asks on gets all of them, each once");
        let delisted: Vec<_> = all.iter().filter(|listing| listing.delisted).map(|listing| &listing.name).collect();
        assert_eq!(delisted, [&names[4]]);
        assert_eq!(listed(&page(7, 2).await?), names[7..9]);
        assert!(page(LISTED, 10).await?.is_empty() && page(u64::MAX, 10).await?.is_empty() && page(0, 0).await?.is_empty());
        assert_eq!(harness.view(&hub.listings_count(category)).await?, LISTED);
    }
    let bob = harness.actor("bob.starling", 100).await?;
    for name in names.iter().filter(|name| **name != names[4]) {
        harness.call(&bob, &hub.take_licence(name, storage_cost(LICENCE_BYTES))).await?.ok()?;
    }
    let count = harness.view(&hub.licences_count(&bob.account)).await?;
    assert_eq!(count, LISTED - 1);
    let mut held = Vec::new();
    for from in (0..count).step_by(usize::try_from(MAX_LICENCES_PAGE)?) {
        held.extend(harness.view(&hub.licences_of(&bob.account, from, u32::MAX)).await?.into_iter().map(|licence| licence.name));
    }
    names.remove(4);
    assert_eq!(held, names, "whoever asks on gets all licences, each once");
    assert_eq!(harness.view(&hub.licences_of(&bob.account, count, 10)).await?, []);
    Ok(())
}
