//! Lineage: flattened once, never changed, and what it brings is fixed by the payment, whatever happens to the listing meanwhile.

use crate::shops::*;
use starling_contract_api::{
    ONE_YOCTO,
    billing::{Billing, split_deposit},
    hub::{LISTING_BYTES, Listings, PublishArgs},
    payment::{PayArgs, PayResult, PaymentMsg, storage_cost},
};
use starling_localnet::BlockMode;
use starling_primitives::{AccountId, Amount, Asset, AssetName, BasisPoints, EscrowId};
use starling_protocol::{
    escrow::{Escrow, State},
    listing::{Share, lineage_split, split},
};
use starling_tests::{Actor, Harness, Sent};

const ESCROW: EscrowId = EscrowId(1);

fn free(slug: &str, parents: &[&AssetName]) -> PublishArgs {
    PublishArgs { parents: parents.iter().copied().cloned().collect(), ..model(slug, Amount::ZERO) }
}

fn share(account: &AccountId, part: u16) -> Share {
    Share { account: account.clone(), part: BasisPoints::new(part).expect("a fraction") }
}

#[tokio::test]
async fn lineage__should_join_shared_ancestors_and_pay_one_that_buys() -> anyhow::Result<()> {
    let (harness, hub, _) = shops().await?;
    let mut people = Vec::new();
    for name in ["alice", "bob", "carol", "dave"] {
        people.push(harness.registered(&format!("{name}.starling"), 30).await?);
    }
    let [alice, bob, carol, dave] = people.as_slice() else { anyhow::bail!("four people") };
    let root: AssetName = publish(&harness, &hub, alice, &free("root", &[])).await?.ok()?.json()?;
    let left: AssetName = publish(&harness, &hub, bob, &free("left", &[&root])).await?.ok()?.json()?;
    let right: AssetName = publish(&harness, &hub, carol, &free("right", &[&root])).await?.ok()?.json()?;
    let join = PublishArgs { price: PRICE, ..free("join", &[&left, &right]) };
    let join: AssetName = publish(&harness, &hub, dave, &join).await?.ok()?.json()?;
    // A tenth of each line, of which a tenth is the root's: once by each path.
    let shares = [share(&alice.account, 200), share(&bob.account, 900), share(&carol.account, 900)];
    assert_eq!(harness.view(&hub.listing(&join)).await?.expect("it is listed").shares, shares);

    // What its parents do later changes nothing of it.
    harness.call(bob, &hub.delist(&left)).await?.ok()?;
    harness.call(carol, &hub.set_price(&right, &Asset::Near, PRICE, None, ONE_YOCTO)).await?.ok()?;
    let version = hub.add_version(&join, &[file("second")], None, "", storage_cost(LISTING_BYTES));
    harness.call(dave, &version).await?.ok()?;
    let listing = harness.view(&hub.listing(&join)).await?.expect("it is listed");
    assert_eq!((&listing.shares[..], &listing.parents[..]), (&shares[..], &[left.clone(), right.clone()][..]));
    publish(&harness, &hub, dave, &free("late", &[&left])).await?.refused("nothing new is published from it")?;

    // The root's publisher buys: its own part comes back to it, less the fee.
    let mut before = Vec::new();
    for person in &people {
        before.push(in_billing(&harness, &person.account).await?);
    }
    assert!(buy(&harness, &hub, alice, &join, PRICE).await?.ok()?.json::<PayResult>()?.opened);
    // Three ancestors: what they earned waits in the escrow until their split is opened, and there until each takes its share.
    let shared = lineage_split(&listing).expect("three ancestors");
    let escrow = harness.view(&harness.billing().escrow(ESCROW)).await?.expect("the split's part waits");
    harness.call(carol, &harness.billing().open_split(shared.shares(), split_deposit(shared.shares().len()))).await?.ok()?;
    harness.call(carol, &harness.billing().claim(escrow.id, &shared.account())).await?.ok()?;
    take_shares(&harness, carol, &listing).await?;
    let whole = split(&listing, PRICE);
    assert_eq!(Amount::sum(whole.iter().map(|(_, amount)| *amount))?, PRICE, "no dust is lost");
    let parts = net_parts(&listing, PRICE);
    for (person, before) in people.iter().zip(before) {
        let part = parts.iter().find(|(account, _)| *account == person.account).map(|(_, amount)| *amount).expect("each has one");
        // What the storage of billing's own record did not need is on the payer's balance too.
        let returned = if person.account == alice.account { Billing::pay_storage() } else { Amount::ZERO };
        assert_eq!(in_billing(&harness, &person.account).await?, Amount::sum([before, part, returned])?, "{}", person.account);
    }
    assert_books_balance(&harness).await
}

#[tokio::test]
async fn lineage__should_be_refused_where_it_has_more_than_sixteen_accounts() -> anyhow::Result<()> {
    let (harness, hub, _) = shops().await?;
    let mut lines = Vec::new();
    for line in 0..4 {
        let mut roots: Vec<AssetName> = Vec::new();
        for root in 0..4 {
            let ancestor = harness.actor(&format!("root-{line}-{root}.starling"), 5).await?;
            roots.push(publish(&harness, &hub, &ancestor, &free("root", &[])).await?.ok()?.json()?);
        }
        let publisher = harness.actor(&format!("line-{line}.starling"), 5).await?;
        let args = free("line", &roots.iter().collect::<Vec<_>>());
        lines.push(publish(&harness, &hub, &publisher, &args).await?.ok()?.json::<AssetName>()?);
    }
    let publisher = harness.actor("publisher.starling", 20).await?;
    let before = (worth(&harness, &publisher.account).await?, stored(&harness, &hub.0).await?);
    let refused = publish(&harness, &hub, &publisher, &free("all", &lines.iter().collect::<Vec<_>>())).await?;
    let refused = refused.refused("names more than 16 accounts")?;
    assert_eq!((worth(&harness, &publisher.account).await? + refused.burnt.0, stored(&harness, &hub.0).await?), before);
    // Three lines have fifteen ancestors: with the publisher sixteen, and each is paid.
    let fits = PublishArgs { price: PRICE, ..free("three", &lines[..3].iter().collect::<Vec<_>>()) };
    let name: AssetName = publish(&harness, &hub, &publisher, &fits).await?.ok()?.json()?;
    let listing = harness.view(&hub.listing(&name)).await?.expect("it is listed");
    assert_eq!(listing.shares.len(), 15);
    let buyer = harness.registered("buyer.starling", 30).await?;
    let bought = buy(&harness, &hub, &buyer, &name, PRICE).await?.ok()?;
    println!("a licence that pays 16 accounts whom billing does not know: {} Tgas in all", bought.total_tgas);
    let escrow = harness.view(&harness.billing().escrow(ESCROW)).await?.expect("nobody is registered").escrow;
    assert_eq!(escrow.locked(), Amount::sum(net_parts(&listing, PRICE).into_iter().map(|(_, amount)| amount))?);
    Ok(())
}

/// A payment of carol's for alice's model that `billing` has sent, with blocks held; `hub` runs it in the second block from now.
async fn paid() -> anyhow::Result<(Harness, Listings, [Actor; 2], AssetName, Sent)> {
    let harness = Harness::start_in(BlockMode::Manual, &["billing", "hub"]).await?;
    let hub = Listings(harness.deployment.hub.clone());
    let (alice, carol) = (harness.registered("alice.starling", 20).await?, harness.registered("carol.starling", 30).await?);
    let name: AssetName = publish(&harness, &hub, &alice, &model("base", PRICE)).await?.ok()?.json()?;
    let msg = PaymentMsg::Licence { name: name.clone() };
    let mut bounds = harness.bounds().await?;
    bounds.post_at_once = PRICE;
    let args = PayArgs { target: hub.0.clone(), amount: PRICE, storage: msg.storage(), bounds, msg };
    let deposit = Amount::sum([PRICE, args.storage, Billing::pay_storage()])?;
    harness.hold_blocks(true);
    let sent = harness.send(&carol, &harness.billing().pay(&args, deposit)).await?;
    Ok((harness, hub, [alice, carol], name, sent))
}

async fn escrow(harness: &Harness) -> anyhow::Result<Option<Escrow>> {
    Ok(harness.view(&harness.billing().escrow(ESCROW)).await?.map(|view| view.escrow))
}

#[tokio::test]
async fn price__should_be_the_one_that_was_answered_whatever_follows() -> anyhow::Result<()> {
    let (harness, hub, [alice, carol], name, sent) = paid().await?;
    for _ in 0..2 {
        harness.chain.produce_block()?;
    }
    assert!(matches!(escrow(&harness).await?.map(|escrow| escrow.state), Some(State::Held { .. })));
    // Both run after the answer, and before the licence is granted.
    let dearer = harness.send(&alice, &hub.set_price(&name, &Asset::Near, Amount(PRICE.0 * 9), None, ONE_YOCTO)).await?;
    harness.chain.produce_block()?;
    assert!(harness.view(&hub.payment_answer(ESCROW)).await?.is_some(), "the shop has answered");
    let delisted = harness.send(&alice, &hub.delist(&name)).await?;
    harness.hold_blocks(false);
    dearer.outcome().await?.ok()?;
    delisted.outcome().await?.ok()?;
    assert!(sent.outcome().await?.ok()?.json::<PayResult>()?.opened);
    let licence = harness.view(&hub.licence(&carol.account, &name)).await?.expect("it was paid");
    assert_eq!(licence.price, PRICE);
    assert_eq!(in_billing(&harness, &alice.account).await?, after_fee(PRICE));
    let listing = harness.view(&hub.listing(&name)).await?.expect("its record stays");
    assert_eq!((listing.price, listing.delisted, listing.sold), (Amount(PRICE.0 * 9), true, 1));
    assert_books_balance(&harness).await
}

#[tokio::test]
async fn price__should_be_refused_when_it_changed_before_the_question() -> anyhow::Result<()> {
    let (harness, hub, [alice, carol], name, sent) = paid().await?;
    let before = worth(&harness, &carol.account).await?;
    let cheaper = harness.send(&alice, &hub.set_price(&name, &Asset::Near, Amount(7), None, ONE_YOCTO)).await?;
    harness.hold_blocks(false);
    cheaper.outcome().await?.ok()?;
    let answer = sent.outcome().await?;
    assert_refused(&answer, "the price is 7 units of near")?;
    assert_eq!(before - worth(&harness, &carol.account).await?, answer.burnt.0, "all of it came back");
    assert_eq!(escrow(&harness).await?, None);
    assert_eq!(harness.view(&hub.licence(&carol.account, &name)).await?, None);
    assert_books_balance(&harness).await
}
