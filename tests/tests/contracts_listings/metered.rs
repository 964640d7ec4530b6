//! Metered use: a deposit that vouchers draw on, divided among publisher and ancestors to the unit, open for as long as it says.

use crate::{
    prices::{priced, token_shops, usd_in_billing, with_tokens},
    shops::*,
};
use starling_contract_api::{
    ONE_YOCTO,
    billing::{Billing, escrow_storage, split_deposit},
    hub::{ListingEvent, Listings, PublishArgs},
    payment::{PayArgs, PayResult, PaymentMsg, USE_BYTES, storage_cost},
    rpc::Signer,
};
use starling_primitives::{AccountId, Amount, Asset, AssetName, BasisPoints, DurationMs, EscrowId, Hash32, Signature};
use starling_protocol::{
    escrow::{CLOSING_PERIOD, MAX_GRACE},
    listing::{Listing, lineage_split, split},
    signing::{Domain, Voucher},
};
use starling_tests::{Actor, Answer, Harness};

const PER_USE: Amount = Amount(10_000_000_000_000_000_000_003);
const DEPOSIT: Amount = Amount(1_000_000_000_000_000_000_000_007);
/// How long a use is open at most.
const LIFE: DurationMs = DurationMs(CLOSING_PERIOD.0 - MAX_GRACE.0);

/// The payer's voucher key: no account has it.
fn voucher_key(payer: &Actor) -> Signer {
    Signer::from_seed(payer.account.clone(), Hash32::sha256(payer.account.as_str().as_bytes()).0)
}

pub(crate) async fn use_args(
    harness: &Harness,
    shop: &Listings,
    payer: &Actor,
    name: &AssetName,
    deposit: Amount,
) -> anyhow::Result<PayArgs> {
    let msg = PaymentMsg::Use { name: name.clone() };
    let mut bounds = harness.bounds().await?;
    bounds.voucher = Some(voucher_key(payer).public_key());
    Ok(PayArgs { target: shop.0.clone(), amount: deposit, storage: msg.storage(), bounds, msg })
}

async fn pay(harness: &Harness, payer: &Actor, args: &PayArgs) -> anyhow::Result<Answer> {
    let deposit = Amount::sum([args.amount, args.storage, Billing::pay_storage()])?;
    harness.call(payer, &harness.billing().pay(args, deposit)).await
}

/// A voucher that the payer's key has signed.
pub(crate) fn voucher(
    payer: &Actor,
    escrow_id: EscrowId,
    seq: u64,
    payee: AccountId,
    total: Amount,
    domain: &Domain,
) -> (Voucher, Signature) {
    let voucher = Voucher { escrow_id, seq, payee, total, work_root: Hash32::sha256(&seq.to_le_bytes()) };
    let signature = voucher_key(payer).sign_bytes(&voucher.signing_bytes(domain));
    (voucher, signature)
}

async fn redeem(
    harness: &Harness,
    payer: &Actor,
    escrow_id: EscrowId,
    seq: u64,
    listing: &Listing,
    total: Amount,
) -> anyhow::Result<Answer> {
    let payee = listing.name.publisher().clone();
    let (voucher, signature) = voucher(payer, escrow_id, seq, payee, total, &harness.deployment.billing_domain());
    harness.call(payer, &harness.billing().redeem(&voucher, &signature)).await
}

/// Has someone's part of a use credited, if anything waits.
async fn claim(harness: &Harness, escrow_id: EscrowId, person: &Actor) -> anyhow::Result<()> {
    let claimed = harness.call(person, &harness.billing().claim(escrow_id, &person.account)).await?;
    if claimed.value.is_err() {
        claimed.refused("nothing waits for")?;
    }
    Ok(())
}

fn part_of(listing: &Listing, total: Amount, actor: &Actor) -> Amount {
    split(listing, total).into_iter().find(|(account, _)| *account == actor.account).map(|(_, amount)| amount).unwrap_or_default()
}

/// A model of alice's, and one of bob's made from it, of which uses are sold.
async fn lines(harness: &Harness, hub: &Listings) -> anyhow::Result<([Actor; 3], Listing)> {
    let (alice, bob) = (harness.registered("alice.starling", 30).await?, harness.registered("bob.starling", 30).await?);
    let carol = harness.registered("carol.starling", 30).await?;
    let base: AssetName = publish(harness, hub, &alice, &model("base", Amount::ZERO)).await?.ok()?.json()?;
    let child = PublishArgs { parents: vec![base], price_per_use: Some(PER_USE), ..model("child", PRICE) };
    let child: AssetName = publish(harness, hub, &bob, &child).await?.ok()?.json()?;
    let listing = harness.view(&hub.listing(&child)).await?.expect("it is listed");
    Ok(([alice, bob, carol], listing))
}

#[tokio::test]
async fn use__should_pay_publisher_and_ancestor_by_vouchers() -> anyhow::Result<()> {
    let (harness, hub, _) = shops().await?;
    let ([alice, bob, carol], listing) = lines(&harness, &hub).await?;
    let billing = harness.billing();
    let may_use = hub.may_use(&carol.account, &listing.name);
    assert!(!harness.view(&may_use).await?);
    let (worth_before, stored_before) = (worth(&harness, &carol.account).await?, stored(&harness, &hub.0).await?);
    let hub_before = harness.balance(&hub.0).await?;
    let paid = pay(&harness, &carol, &use_args(&harness, &hub, &carol, &listing.name, DEPOSIT).await?).await?.ok()?;
    println!("a deposit for metered use: {} Tgas in all", paid.total_tgas);
    let result: PayResult = paid.json()?;
    assert!(result.opened, "{result:?}");
    let id = result.escrow_id;
    assert!(harness.view(&may_use).await?);
    let metered = harness.view(&hub.metered_use(&carol.account, &listing.name)).await?.expect("it is open");
    assert_eq!((metered.escrow_id, metered.price_per_use, metered.until.since(metered.paid_at)), (id, PER_USE, LIFE));
    let events = listing_events(&paid);
    assert_eq!(events, [ListingEvent::UsePaid { metered: metered.clone() }, ListingEvent::UseOpened { escrow_id: id }]);
    assert_eq!(harness.view(&hub.licence(&carol.account, &listing.name)).await?, None, "a use is no licence");
    let storage = stored(&harness, &hub.0).await? - stored_before;
    assert_eq!(harness.balance(&hub.0).await?.0 - hub_before.0, storage, "the shop holds what the use costs to store");
    let kept = escrow_storage(2);
    assert_eq!(worth_before - worth(&harness, &carol.account).await?, DEPOSIT.0 + storage + kept.0 + paid.burnt.0);

    // Each voucher names the publisher and the whole; each figure is that of the whole, whatever came between.
    let mut burnt = 0;
    for (seq, total) in [(1, PER_USE.0), (2, PER_USE.0 + 1), (5, 7 * PER_USE.0 - 1), (6, 7 * PER_USE.0)] {
        let redeemed = redeem(&harness, &carol, id, seq, &listing, Amount(total)).await?.ok()?;
        assert!(redeemed.json::<bool>()?);
        burnt += redeemed.burnt.0;
        claim(&harness, id, &alice).await?;
        for person in [&alice, &bob] {
            assert_eq!(in_billing(&harness, &person.account).await?, after_fee(part_of(&listing, Amount(total), person)), "{total}");
        }
    }
    let ancestor = Voucher { escrow_id: id, seq: 7, payee: alice.account.clone(), total: DEPOSIT, work_root: Hash32::default() };
    let signature = voucher_key(&carol).sign_bytes(&ancestor.signing_bytes(&harness.deployment.billing_domain()));
    harness.call(&alice, &billing.redeem(&ancestor, &signature)).await?.refused("a post names bob.starling alone")?;
    redeem(&harness, &carol, id, 7, &listing, Amount(PER_USE.0)).await?.refused("would fall")?;
    redeem(&harness, &carol, id, 7, &listing, Amount(DEPOSIT.0 + 1)).await?.refused("pass what was deposited")?;

    // Whoever pays may ask for closing at once: the use stays open for all its time, and takes vouchers for a day more.
    let asked = harness.call(&carol, &billing.ask_closing(id)).await?.ok()?;
    harness.call(&carol, &hub.forget_use(&carol.account, &listing.name)).await?.refused("the use is open until")?;
    harness.pass(metered.until.since(harness.now().await?)).await?;
    harness.pass(DurationMs::from_hours(22)).await?;
    assert!(!harness.view(&may_use).await?, "its time is over");
    harness.call(&alice, &billing.close(id)).await?.refused("too early")?;
    let last = Amount(9 * PER_USE.0);
    redeem(&harness, &bob, id, 9, &listing, last).await?.refused("not signed")?;
    let redeemed = redeem(&harness, &carol, id, 9, &listing, last).await?.ok()?;
    harness.pass(DurationMs::from_hours(3)).await?;
    redeem(&harness, &carol, id, 10, &listing, DEPOSIT).await?.refused("too late")?;
    harness.call(&alice, &billing.close(id)).await?.ok()?;
    for person in [&alice, &bob] {
        assert_eq!(in_billing(&harness, &person.account).await?, after_fee(part_of(&listing, last, person)));
    }
    let forgotten = harness.call(&alice, &hub.forget_use(&carol.account, &listing.name)).await?.ok()?;
    assert_eq!(listing_events(&forgotten), [ListingEvent::UseForgotten { escrow_id: id }]);
    harness.call(&alice, &hub.forget_use(&carol.account, &listing.name)).await?.refused("there is no use")?;
    assert_eq!(stored(&harness, &hub.0).await?, stored_before);
    // Carol's refused calls burnt gas too: she has lost the uses and gas, and the yocto of her request.
    let lost = worth_before - worth(&harness, &carol.account).await?;
    assert!(lost >= last.0 + paid.burnt.0 + burnt + asked.burnt.0 + redeemed.burnt.0 + ONE_YOCTO.0);
    assert!(lost < last.0 + Amount::from_millinear(20).0, "{lost}");
    assert_books_balance(&harness).await
}

#[tokio::test]
async fn use__should_be_refused_whole_where_it_is_not_sold() -> anyhow::Result<()> {
    let (harness, hub, _) = shops().await?;
    let ([_, bob, carol], listing) = lines(&harness, &hub).await?;
    let unsold: AssetName = publish(&harness, &hub, &bob, &model("unsold", PRICE)).await?.ok()?.json()?;
    for price_per_use in [Some(Amount::ZERO), Some(PER_USE)] {
        let free = PublishArgs { price_per_use, ..model("free", Amount::ZERO) };
        publish(&harness, &hub, &bob, &free).await?.refused("a price per use is above 0")?;
    }
    let args = use_args(&harness, &hub, &carol, &listing.name, DEPOSIT).await?;
    let mut without_key = args.clone();
    without_key.bounds.voucher = None;
    let mut held_back = args.clone();
    held_back.bounds.holdback = BasisPoints::new(1_000)?;
    let too_little = PayArgs { amount: Amount(PER_USE.0 - 1), ..args.clone() };
    let poor = PayArgs { storage: Amount(5), ..args.clone() };
    let of_unsold = use_args(&harness, &hub, &carol, &unsold, DEPOSIT).await?;
    let own = use_args(&harness, &hub, &bob, &listing.name, DEPOSIT).await?;
    let cases = [
        (&carol, &without_key, "bounds.voucher"),
        (&carol, &too_little, "a use costs 10000000000000000000003 units of near"),
        (&carol, &poor, "yoctoNEAR for storage"),
        (&carol, &of_unsold, "no use of it is sold"),
        (&bob, &own, "is your own"),
    ];
    for (payer, args, words) in cases {
        let (before, stored_before) = (worth(&harness, &payer.account).await?, stored(&harness, &hub.0).await?);
        let answer = pay(&harness, payer, args).await?;
        assert_refused(&answer, words)?;
        assert_eq!(before - worth(&harness, &payer.account).await?, answer.burnt.0, "{words}: only gas is gone");
        assert_eq!(stored(&harness, &hub.0).await?, stored_before, "{words}: nothing was stored");
    }
    // The shop accepts, and billing finds the answer outside the payer's bounds: what the shop stored goes later.
    let (before, stored_before) = (worth(&harness, &carol.account).await?, stored(&harness, &hub.0).await?);
    let answer = pay(&harness, &carol, &held_back).await?.ok()?;
    let result: PayResult = answer.json()?;
    assert!(!result.opened && result.reason.as_deref().is_some_and(|reason| reason.contains("holdback")), "{result:?}");
    let told = harness.view(&hub.payment_answer(result.escrow_id)).await?.expect("it is pending here");
    assert_eq!((told.parts.len(), told.postings.len(), told.close), (1, 1, false));
    assert!(!harness.view(&hub.may_use(&carol.account, &listing.name)).await?);
    harness.call(&bob, &hub.forget_payment(result.escrow_id)).await?.refused("may still be opened")?;
    harness.pass(DurationMs::from_hours(2)).await?;
    harness.call(&bob, &hub.forget_payment(result.escrow_id)).await?.ok()?;
    assert_eq!(before - worth(&harness, &carol.account).await?, answer.burnt.0);
    assert_eq!(stored(&harness, &hub.0).await?, stored_before);

    harness.call(&bob, &hub.delist(&listing.name)).await?.ok()?;
    assert_refused(&pay(&harness, &carol, &args).await?, "taken off the list")?;
    assert_books_balance(&harness).await
}

#[tokio::test]
async fn use__should_be_renewed_at_the_price_of_its_day() -> anyhow::Result<()> {
    let (harness, hub, _) = shops().await?;
    let ([alice, bob, carol], listing) = lines(&harness, &hub).await?;
    let mut args = use_args(&harness, &hub, &carol, &listing.name, DEPOSIT).await?;
    args.bounds.expires_by = harness.now().await?.after(DurationMs::from_hours(5));
    let first: PayResult = pay(&harness, &carol, &args).await?.ok()?.json()?;
    let open = harness.view(&hub.metered_use(&carol.account, &listing.name)).await?.expect("it is open");
    assert_eq!(open.until, args.bounds.expires_by, "the payer's bound is earlier than six days");
    let stored_before = stored(&harness, &hub.0).await?;
    harness.call(&bob, &hub.set_price(&listing.name, &Asset::Near, PRICE, Some(Amount(PER_USE.0 * 2)), ONE_YOCTO)).await?.ok()?;
    let still = harness.view(&hub.metered_use(&carol.account, &listing.name)).await?.expect("it is open");
    assert_eq!(still.price_per_use, PER_USE, "an open use keeps its price");

    // The second takes the first one's place here; both pay.
    let again = use_args(&harness, &hub, &carol, &listing.name, DEPOSIT).await?;
    let second: PayResult = pay(&harness, &carol, &again).await?.ok()?.json()?;
    assert_eq!(stored(&harness, &hub.0).await?, stored_before);
    let open = harness.view(&hub.metered_use(&carol.account, &listing.name)).await?.expect("it is open");
    assert_eq!((open.escrow_id, open.price_per_use), (second.escrow_id, Amount(PER_USE.0 * 2)));
    for escrow_id in [first.escrow_id, second.escrow_id] {
        assert!(redeem(&harness, &carol, escrow_id, 1, &listing, PER_USE).await?.ok()?.json::<bool>()?);
        claim(&harness, escrow_id, &alice).await?;
    }
    assert_eq!(in_billing(&harness, &alice.account).await?.0, 2 * after_fee(part_of(&listing, PER_USE, &alice)).0);
    assert_eq!(in_billing(&harness, &bob.account).await?.0, 2 * after_fee(part_of(&listing, PER_USE, &bob)).0);
    Ok(())
}

#[tokio::test]
async fn use__should_be_paid_in_the_token_that_its_price_names() -> anyhow::Result<()> {
    let (harness, hub, usd) = token_shops().await?;
    let (alice, bob) = (with_tokens(&harness, &usd, "alice.starling").await?, with_tokens(&harness, &usd, "bob.starling").await?);
    let carol = with_tokens(&harness, &usd, "carol.starling").await?;
    let base = PublishArgs { price: Amount::ZERO, ..priced("base", &usd) };
    let base: AssetName = publish(&harness, &hub, &alice, &base).await?.ok()?.json()?;
    let child = PublishArgs { parents: vec![base], price_per_use: Some(Amount(333)), ..priced("child", &usd) };
    let child: AssetName = publish(&harness, &hub, &bob, &child).await?.ok()?.json()?;
    let listing = harness.view(&hub.listing(&child)).await?.expect("it is listed");
    let args = use_args(&harness, &hub, &carol, &child, Amount(1_001)).await?;
    assert_refused(&pay(&harness, &carol, &args).await?, "a use costs 333 units of nep141:usd.starling")?;
    harness.call(&carol, &usd.token.pay(&harness.billing(), args.amount, &args)).await?.ok()?;
    let open = harness.view(&hub.metered_use(&carol.account, &child)).await?.expect("it is open");
    for (seq, total) in [(1, 333), (2, 666), (3, 999), (4, 1_001)] {
        assert!(redeem(&harness, &carol, open.escrow_id, seq, &listing, Amount(total)).await?.ok()?.json::<bool>()?);
        claim(&harness, open.escrow_id, &alice).await?;
        for person in [&alice, &bob] {
            let part = part_of(&listing, Amount(total), person);
            assert_eq!(usd_in_billing(&harness, &usd, person).await?, after_fee(part).0);
        }
    }
    assert_eq!(harness.token_totals(&usd).await?.escrows, Amount::ZERO);
    assert_eq!(harness.token_surplus(&usd).await?, Amount::ZERO);
    assert_books_balance(&harness).await
}

#[tokio::test]
async fn use__should_be_stored_and_divided_at_its_largest() -> anyhow::Result<()> {
    let (harness, hub, _) = shops().await?;
    let long = |letter: &str, index: usize| format!("{}{index:02}.starling", letter.repeat(53));
    let mut lines: Vec<AssetName> = Vec::new();
    let mut people = Vec::new();
    for line in 0..3 {
        let mut parents = Vec::new();
        for root in 0..4 {
            let ancestor = harness.registered(&long("a", line * 4 + root), 5).await?;
            parents.push(publish(&harness, &hub, &ancestor, &model(&"r".repeat(48), Amount::ZERO)).await?.ok()?.json()?);
            people.push(ancestor);
        }
        let publisher = harness.registered(&long("b", line), 5).await?;
        let args = PublishArgs { parents, ..model(&"l".repeat(48), Amount::ZERO) };
        lines.push(publish(&harness, &hub, &publisher, &args).await?.ok()?.json()?);
        people.push(publisher);
    }
    let publisher = harness.registered(&long("p", 0), 20).await?;
    let all = PublishArgs { parents: lines, price_per_use: Some(PER_USE), ..model(&"s".repeat(48), PRICE) };
    let name: AssetName = publish(&harness, &hub, &publisher, &all).await?.ok()?.json()?;
    people.push(publisher);
    let listing = harness.view(&hub.listing(&name)).await?.expect("it is listed");
    let payer = harness.registered(&long("z", 0), 30).await?;
    let before = stored(&harness, &hub.0).await?;
    let paid: PayResult = pay(&harness, &payer, &use_args(&harness, &hub, &payer, &name, DEPOSIT).await?).await?.ok()?.json()?;
    assert!(paid.opened);
    assert!(stored(&harness, &hub.0).await? - before <= storage_cost(USE_BYTES).0);
    let redeemed = redeem(&harness, &payer, paid.escrow_id, 1, &listing, PER_USE).await?.ok()?;
    assert!(redeemed.json::<bool>()?);
    let (billing, split) = (harness.billing(), lineage_split(&listing).expect("fifteen ancestors"));
    harness.call(&payer, &billing.open_split(split.shares(), split_deposit(split.shares().len()))).await?.ok()?;
    harness.call(&payer, &billing.claim(paid.escrow_id, &split.account())).await?.ok()?;
    take_shares(&harness, &payer, &listing).await?;
    for (account, part) in net_parts(&listing, PER_USE) {
        assert_eq!(in_billing(&harness, &account).await?, part, "{account}");
    }
    assert_eq!(in_billing(&harness, &split.account()).await?, Amount::ZERO, "all of it was due to somebody");
    Ok(())
}
