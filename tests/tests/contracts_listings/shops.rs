//! What the tests of listings share: shops on a chain, publishing, buying, and what is whose.

use starling_contract_api::{
    View,
    billing::{ACCOUNT_BYTES, Billing, split_deposit},
    events,
    hub::{HUB_STANDARD, LISTING_BYTES, ListingEvent, Listings, PublishArgs},
    payment::{PayArgs, PayResult, PaymentMsg, storage_cost},
};
use starling_primitives::{AccountId, Amount, Asset, AssetName, BasisPoints, Hash32, RunId};
use starling_protocol::{
    listing::{self, Category, File, Kind, Listing, lineage_split},
    split::Split,
};
use starling_tests::{Actor, Answer, FEE, Harness};

pub(crate) const PRICE: Amount = Amount(2_000_000_000_000_000_000_000_007);

/// `billing`, `hub` and `market` on a chain of their own.
pub(crate) async fn shops() -> anyhow::Result<(Harness, Listings, Listings)> {
    let harness = Harness::start_with(&["billing", "hub", "market"]).await?;
    let (hub, market) = (Listings(harness.deployment.hub.clone()), Listings(harness.deployment.market.clone()));
    Ok((harness, hub, market))
}

pub(crate) fn model(slug: &str, price: Amount) -> PublishArgs {
    PublishArgs {
        slug: slug.to_owned(),
        kind: Kind::Model,
        category: Category::TextGeneration,
        title: "A small model".parse().expect("short"),
        summary: "Writes Rust.".parse().expect("short"),
        licence: "MIT OR Apache-2.0".parse().expect("short"),
        asset: Asset::Near,
        price,
        price_per_use: None,
        parents: vec![],
        royalty: BasisPoints::new(1_000).expect("a fraction"),
        files: vec![file("model.safetensors")],
        run_id: Some(RunId(3)),
    }
}

pub(crate) fn file(name: &str) -> File {
    File { name: name.parse().expect("short"), hash: Hash32::sha256(name.as_bytes()), bytes: 1 << 20 }
}

pub(crate) async fn publish(harness: &Harness, shop: &Listings, publisher: &Actor, args: &PublishArgs) -> anyhow::Result<Answer> {
    harness.call(publisher, &shop.publish(args, storage_cost(LISTING_BYTES))).await
}

/// Buys a licence with an attached deposit that is exactly what it costs.
pub(crate) async fn buy(harness: &Harness, shop: &Listings, buyer: &Actor, name: &AssetName, amount: Amount) -> anyhow::Result<Answer> {
    buy_within(harness, shop, buyer, name, amount, amount).await
}

pub(crate) async fn buy_within(
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

/// Opens the split of a listing's ancestors, and takes what is due to each of them.
pub(crate) async fn take_shares(harness: &Harness, opener: &Actor, listing: &Listing) -> anyhow::Result<()> {
    let (billing, split) = (harness.billing(), lineage_split(listing).expect("more ancestors than a payment names"));
    harness.call(opener, &billing.open_split(split.shares(), split_deposit(split.shares().len()))).await?.ok()?;
    for share in split.shares() {
        harness.call(opener, &billing.take_share(&split.account(), &share.account, &listing.asset)).await?.ok()?;
    }
    Ok(())
}

/// What each gets of the first payment for a listing, after the fee: it is taken of each posting.
pub(crate) fn net_parts(listing: &Listing, total: Amount) -> Vec<(AccountId, Amount)> {
    let mut paid = listing::postings(listing, total, Split::account);
    let rest = paid.pop().map(|posting| (posting.payee, after_fee(posting.total)));
    let ancestors: Vec<_> = match lineage_split(listing) {
        Some(split) => {
            let due = split.due(&listing.asset, after_fee(paid[0].total)).expect("small");
            split.shares().iter().map(|share| share.account.clone()).zip(due).collect()
        }
        None => paid.into_iter().map(|posting| (posting.payee, after_fee(posting.total))).collect(),
    };
    ancestors.into_iter().chain(rest).collect()
}

/// The purchase was refused by the shop in these words, and `billing` says so.
pub(crate) fn assert_refused(answer: &Answer, words: &str) -> anyhow::Result<()> {
    let result: PayResult = answer.json()?;
    assert!(!result.opened, "{words}: {result:?}");
    assert!(answer.failures.iter().any(|failure| failure.contains(words)), "{words:?} is not in {:?}", answer.failures);
    Ok(())
}

/// What an account can get at: its NEAR on the chain and its free balance in `billing`.
pub(crate) async fn worth(harness: &Harness, account: &AccountId) -> anyhow::Result<u128> {
    Ok(harness.balance(account).await?.0 + in_billing(harness, account).await?.0)
}

pub(crate) async fn in_billing(harness: &Harness, account: &AccountId) -> anyhow::Result<Amount> {
    let found = harness.view(&harness.billing().account(account)).await?;
    let balances = found.map(|account| account.balances).unwrap_or_default();
    Ok(balances.into_iter().find(|(asset, _)| *asset == Asset::Near).map(|(_, amount)| amount).unwrap_or_default())
}

/// What a contract's stored bytes cost.
pub(crate) async fn stored(harness: &Harness, contract: &AccountId) -> anyhow::Result<u128> {
    Ok(storage_cost(harness.worker.view_account(&contract.as_str().parse()?).await?.storage_usage).0)
}

pub(crate) async fn assert_books_balance(harness: &Harness) -> anyhow::Result<()> {
    let totals = harness.view(&harness.billing().totals()).await?;
    assert_eq!((totals.in_flight, totals.escrows), (Amount::ZERO, Amount::ZERO), "purchases leave nothing behind");
    assert!(totals.balances.0 + totals.fees.0 + totals.storage.0 <= totals.holdings.0, "{totals:?}");
    Ok(())
}

/// What `billing` holds in NEAR above what it owes: the deployment's reserve, and yoctos that stayed.
pub(crate) async fn surplus(harness: &Harness) -> anyhow::Result<Amount> {
    let totals = harness.view(&harness.billing().totals()).await?;
    anyhow::ensure!(totals.in_flight.is_zero(), "something is in flight still: {totals:?}");
    let owed = Amount::sum([totals.balances, totals.escrows, totals.fees, totals.storage])?;
    Ok(totals.holdings.checked_sub(owed)?)
}

pub(crate) fn after_fee(earned: Amount) -> Amount {
    let fee = earned.fraction_ceil(BasisPoints::new(FEE).expect("a fraction"));
    earned.checked_sub(fee).expect("the fee is a part")
}

pub(crate) async fn view_listings(harness: &Harness, view: View<Vec<listing::Listing>>) -> anyhow::Result<Vec<listing::Listing>> {
    harness.view(&view).await
}

pub(crate) fn listing_events(answer: &Answer) -> Vec<ListingEvent> {
    answer.logs.iter().filter_map(|line| events::parse(line, HUB_STANDARD)).collect()
}
