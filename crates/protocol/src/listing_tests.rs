//! Listings: lineage, shares and splits that sum exactly, and limits.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use proptest::prelude::*;

fn name(text: &str) -> AccountId {
    AccountId::new(text).expect("a name")
}

fn bps(value: u16) -> BasisPoints {
    BasisPoints::new(value).expect("a fraction")
}

fn listing(publisher: &str, royalty: u16, shares: Vec<Share>) -> Listing {
    Listing {
        name: AssetName::new(name(publisher), "small-model").expect("a name"),
        kind: Kind::Model,
        category: Category::TextGeneration,
        title: "Small model".parse().expect("short"),
        summary: Text::default(),
        licence: "MIT".parse().expect("short"),
        asset: Asset::Near,
        price: Amount(1_000_003),
        price_per_use: None,
        parents: vec![],
        shares,
        royalty: bps(royalty),
        versions: vec![],
        sold: 0,
        ratings: Ratings::default(),
        delisted: false,
        published_at: TimestampMs(0),
    }
}

fn child_of(publisher: &str, royalty: u16, parents: &[&Listing]) -> Listing {
    listing(publisher, royalty, flatten(parents).expect("a small lineage"))
}

fn share(account: &str, part: u16) -> Share {
    Share { account: name(account), part: bps(part) }
}

#[test]
fn lineage__should_flatten_over_generations() {
    let root = listing("root", 1_000, vec![]);
    let child = child_of("child", 2_000, &[&root]);
    assert_eq!(child.shares, vec![share("root", 1_000)]);
    // A fifth of the grandchild's sales is the child's line: a tenth of that the root's.
    let grandchild = child_of("grandchild", 5_000, &[&child]);
    assert_eq!(grandchild.shares, vec![share("child", 1_800), share("root", 200)]);
    let fourth = child_of("fourth", 0, &[&grandchild]);
    assert_eq!(fourth.shares, vec![share("child", 900), share("grandchild", 4_000), share("root", 100)]);
    assert_eq!(
        split(&fourth, Amount(10_000)),
        vec![
            (name("child"), Amount(900)),
            (name("grandchild"), Amount(4_000)),
            (name("root"), Amount(100)),
            (name("fourth"), Amount(5_000))
        ]
    );
}

#[test]
fn lineage__should_add_up_one_account_on_several_paths() {
    let root = listing("root", 1_000, vec![]);
    let left = child_of("left", 2_000, &[&root]);
    let right = child_of("right", 3_000, &[&root]);
    let join = child_of("root", 0, &[&left, &right]);
    assert_eq!(join.shares, vec![share("left", 1_800), share("right", 2_700), share("root", 500)]);
    // The publisher is an ancestor too: it gets its share and the rest in one posting.
    assert_eq!(
        split(&join, Amount(10_000)),
        vec![(name("left"), Amount(1_800)), (name("right"), Amount(2_700)), (name("root"), Amount(5_500))]
    );
}

#[test]
fn lineage__should_give_dust_to_the_nearer_publisher() {
    // A third of 1 basis point is nobody's by rounding: it stays with the parent.
    let parent = listing("parent", 1, vec![share("aa", 3_333), share("bb", 3_333)]);
    assert_eq!(flatten(&[&parent]), Ok(vec![share("parent", 1)]));
}

#[test]
fn lineage__should_be_refused_beyond_its_limits() {
    let half = listing("half", 5_000, vec![]);
    let other = Listing { name: AssetName::new(name("other"), "model").expect("a name"), royalty: bps(5_001), ..half.clone() };
    assert_eq!(flatten(&[&half, &other]), Err(ListingError::SharesPassWhole));
    assert_eq!(flatten(&[&half, &half]), Err(ListingError::Parents));
    let many: Vec<Listing> = (0..5).map(|index| listing(&format!("parent-{index}"), 1, vec![])).collect();
    assert_eq!(flatten(&many.iter().collect::<Vec<_>>()), Err(ListingError::Parents));
    let ancestors = |count: u16| listing("parent", 10_000, (0..count).map(|index| share(&format!("ancestor-{index}"), 10)).collect());
    assert_eq!(flatten(&[&ancestors(14)]).map(|shares| shares.len()), Ok(15), "the publisher is the sixteenth");
    assert_eq!(flatten(&[&ancestors(15)]), Err(ListingError::LineageTooLarge));
    assert!(flatten(&many[1..].iter().collect::<Vec<_>>()).is_ok(), "as many parents as there may be");
    assert_eq!(flatten(&[]), Ok(vec![]));
}

#[test]
fn buy__should_want_the_price_in_its_asset_and_a_listing_on_the_list() {
    let usd = || Asset::Nep141(name("usd.starling"));
    for (asset, other) in [(Asset::Near, usd()), (usd(), Asset::Near)] {
        let listed = Listing { asset: asset.clone(), ..listing("root", 0, vec![share("aa", 1)]) };
        let wrong = Err(ListingError::WrongPrice { price: Amount(1_000_003), asset: asset.clone() });
        for amount in [0, 1_000_002, 1_000_004] {
            assert_eq!(buy(&listed, &asset, Amount(amount)), wrong);
        }
        assert_eq!(buy(&listed, &other, Amount(1_000_003)), wrong);
        assert_eq!(buy(&listed, &asset, Amount(1_000_003)), Ok(()));
        assert_eq!(Listing { price: Amount::ZERO, ..listed.clone() }.price_words(), "free");
        assert_eq!(listed.price_words(), if asset == usd() { "1000003 units of usd.starling" } else { "less than 0.0001 NEAR" });
        assert_eq!(buy(&Listing { delisted: true, ..listed }, &asset, Amount(1_000_003)), Err(ListingError::Delisted));
    }
}

#[test]
fn use__should_want_a_deposit_for_one_at_least() {
    let (asset, usd) = (Asset::Near, Asset::Nep141(name("usd.starling")));
    let unsold = listing("root", 0, vec![]);
    assert_eq!(open_use(&unsold, &asset, Amount(1_000)), Err(ListingError::NoUse));
    assert_eq!(unsold.use_words(), None);
    let sold = Listing { price_per_use: Some(Amount(7)), ..unsold };
    assert_eq!(Listing { asset: usd.clone(), ..sold.clone() }.use_words().as_deref(), Some("7 units of usd.starling"));
    let too_little = ListingError::UseDeposit { price_per_use: Amount(7), asset: Asset::Near };
    assert_eq!(open_use(&sold, &asset, Amount(6)), Err(too_little.clone()));
    assert_eq!(open_use(&sold, &usd, Amount(7)), Err(too_little));
    assert_eq!(open_use(&sold, &asset, Amount(7)), Ok(Amount(7)));
    assert_eq!(open_use(&Listing { delisted: true, ..sold }, &asset, Amount(7)), Err(ListingError::Delisted));
}

#[test]
fn prices__should_leave_what_is_free_free_to_use() {
    for (price, per_use) in [(0, None), (1, None), (1, Some(1)), (5, Some(9))] {
        assert_eq!(check_prices(Amount(price), per_use.map(Amount)), Ok(()));
    }
    for (price, per_use) in [(0, Some(1)), (1, Some(0)), (0, Some(0))] {
        assert_eq!(check_prices(Amount(price), per_use.map(Amount)), Err(ListingError::PricePerUse));
    }
}

#[test]
fn rating__should_be_one_for_each_holder_and_never_the_publishers() {
    let stars = |stars| Stars::new(stars).expect("one to five");
    assert!([0, 6, 255].map(Stars::new).iter().all(|refused| *refused == Err(ListingError::Stars)));
    assert!(serde_json::from_str::<Stars>("6").is_err() && borsh::from_slice::<Stars>(&[0]).is_err());
    assert_eq!(serde_json::from_str::<Stars>("5").map(Stars::get).ok(), Some(5));
    assert_eq!(serde_json::to_string(&stars(4)).ok().as_deref(), Some("4"));
    let mut listed = listing("root", 0, vec![]);
    assert_eq!(rate(&listed, &name("root"), true, None, stars(5)), Err(ListingError::OwnRating));
    assert_eq!(rate(&listed, &name("aa"), false, None, stars(5)), Err(ListingError::RatedUnlicensed));
    assert_eq!(listed.ratings.mean_tenths(), None);
    for (before, now, sum) in [(None, 5, (1, 5)), (None, 4, (2, 9)), (Some(5), 1, (2, 5)), (Some(1), 1, (2, 5)), (None, 5, (3, 10))] {
        listed.ratings = rate(&listed, &name("aa"), true, before.map(stars), stars(now)).expect("a holder");
        assert_eq!((listed.ratings.count, listed.ratings.stars), sum);
    }
    assert_eq!(listed.ratings.mean_tenths(), Some(33));
    // Delisting keeps them, and takes more.
    let delisted = Listing { delisted: true, ..listed };
    assert_eq!(rate(&delisted, &name("aa"), true, None, stars(2)), Ok(Ratings { count: 4, stars: 12 }));
    let full = Ratings { count: u64::MAX, stars: u64::MAX };
    assert_eq!(full.rated(None, stars(1)), Err(ListingError::Unbalanced));
    assert_eq!(Ratings { count: 1, stars: 1 }.rated(Some(stars(2)), stars(1)), Err(ListingError::Unbalanced));
    assert_eq!(full.mean_tenths(), Some(10));
}

#[test]
fn ratings__should_be_said_in_words_and_paged_from_the_newest() {
    let words = |count, stars| Ratings { count, stars }.words();
    assert_eq!(
        [words(0, 0), words(1, 4), words(3, 13)].map(Option::unwrap_or_default),
        ["", "4.0 of 5 stars, 1 rating", "4.3 of 5 stars, 3 ratings"]
    );
    for (count, page, places) in
        [(0, 0, (0, 0)), (3, 0, (0, 3)), (13, 0, (3, 10)), (13, 1, (0, 3)), (13, 9, (0, 0)), (13, u64::MAX, (0, 0))]
    {
        assert_eq!(Ratings { count, stars: count }.newest(page, 10), places);
    }
}

/// What release 1 wrote had no asset, no price per use and no ratings.
#[test]
fn listing__should_be_read_from_its_older_json() {
    let listed = listing("root", 0, vec![]);
    let mut json = serde_json::to_value(&listed).expect("plain");
    let fields = json.as_object_mut().expect("an object");
    for newer in ["asset", "price_per_use", "ratings"] {
        assert!(fields.remove(newer).is_some(), "{newer}");
    }
    assert_eq!(serde_json::from_value::<Listing>(json).expect("an older listing"), listed);
}

#[test]
fn files__should_be_one_to_sixteen_with_names_of_their_own() {
    let files = |names: &[&str]| -> Vec<File> {
        names.iter().map(|name| File { name: name.parse().expect("short"), hash: Hash32([1; 32]), bytes: 9 }).collect()
    };
    assert_eq!(check_files(&[]), Err(ListingError::Files));
    assert_eq!(check_files(&files(&["a", "a"])), Err(ListingError::Files));
    assert_eq!(check_files(&files(&[""])), Err(ListingError::Files), "a file has a name");
    assert_eq!(check_files(&files(&["a", "b"])), Ok(()));
    let names: Vec<String> = (0..=MAX_FILES).map(|index| index.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(check_files(&files(&names)), Err(ListingError::Files));
    assert_eq!(check_files(&files(&names[1..])), Ok(()));
}

#[test]
fn licence__should_have_the_shape_of_spdx() {
    for good in ["MIT", "Apache-2.0", "MIT OR Apache-2.0", "(MIT AND BSD-3-Clause)", "GPL-2.0+"] {
        assert_eq!(check_licence(good), Ok(()), "{good}");
    }
    for bad in ["", "-", "MIT/Apache", "see LICENSE!", "ÄÖ"] {
        assert_eq!(check_licence(bad), Err(ListingError::Licence), "{bad}");
    }
}

#[test]
fn payment__should_name_two_ancestors_and_the_split_of_more() {
    let two = listing("root", 0, vec![share("aa", 100), share("bb", 200)]);
    assert_eq!((named(&two, Split::account), lineage_split(&two)), (two.shares.clone(), None));
    let posting = |account: AccountId, total| Posting { payee: account, total: Amount(total) };
    assert_eq!(
        postings(&two, Amount(10_000), Split::account),
        [posting(name("aa"), 100), posting(name("bb"), 200), posting(name("root"), 9_700)]
    );
    // The publisher's own part is in the rest, and counts for nobody.
    let own = listing("root", 0, vec![share("aa", 100), share("bb", 200), share("root", 300)]);
    assert_eq!(named(&own, Split::account), two.shares);
    let three = listing("root", 0, vec![share("aa", 100), share("bb", 200), share("cc", 300)]);
    let shared = lineage_split(&three).expect("more than two");
    assert_eq!(shared.shares(), three.shares);
    assert_eq!(named(&three, Split::account), [Share { account: shared.account(), part: bps(600) }]);
    assert_eq!(postings(&three, Amount(10_000), Split::account), [posting(shared.account(), 600), posting(name("root"), 9_400)]);
    assert_eq!(
        split(&three, Amount(10_000)),
        [(name("aa"), Amount(100)), (name("bb"), Amount(200)), (name("cc"), Amount(300)), (name("root"), Amount(9_400))]
    );
}

proptest! {
    /// Any lineage of up to six generations: parts never pass the whole, and every split sums to the price to the last unit.
    #[test]
    fn split__should_sum_to_the_price(royalties in prop::collection::vec((0..=10_000_u16, 0..4_usize), 1..6), price in any::<u128>()) {
        let publishers = ["aa", "bb", "cc", "dd"];
        let mut line: Option<Listing> = None;
        for (royalty, publisher) in royalties {
            let parents: Vec<&Listing> = line.iter().collect();
            let shares = flatten(&parents).expect("one parent's royalty is at most the whole");
            prop_assert!(shares.iter().map(|share| u32::from(share.part.get())).sum::<u32>() <= 10_000);
            prop_assert_eq!(shares.iter().map(|share| u32::from(share.part.get())).sum::<u32>(), line.as_ref().map_or(0, |parent| u32::from(parent.royalty.get())), "exactly the parent's royalty is passed on");
            let listing = listing(publishers[publisher], royalty, shares);
            let parts = split(&listing, Amount(price));
            prop_assert_eq!(Amount::sum(parts.iter().map(|(_, amount)| *amount)), Ok(Amount(price)));
            prop_assert!(parts.len() <= MAX_SHARES);
            let mut accounts: Vec<_> = parts.iter().map(|(account, _)| account).collect();
            accounts.sort();
            accounts.dedup();
            prop_assert_eq!(accounts.len(), parts.len(), "each payee once");
            line = Some(listing);
        }
    }
}
