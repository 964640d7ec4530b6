//! Tests of choosing an offer for a script.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use crate::offers::tests::offer as some_offer;
use starling_primitives::BasisPoints;
use starling_protocol::price::quote_lease;

/// An idle machine with eight processors that takes scripts.
fn offer(number: u64, price: Amount) -> OfferView {
    let mut offer = some_offer(number);
    offer.offer.terms.price_per_hour = price;
    offer.node.scripts = true;
    offer.node.busy = "idle".to_owned();
    offer
}

fn wish() -> Wish {
    Wish { resources: Resources { memory_mib: 512, ..Resources::default() }, most: None, time: DurationMs::from_secs(1_800), offer: None }
}

#[test]
fn wish__should_take_the_cheapest_that_fits() {
    let near = Amount::from_millinear;
    let mut offers = [offer(1, near(600)), offer(2, near(300)), offer(3, near(100)), offer(4, near(100))];
    offers[2].node.busy = "lease 9".to_owned();
    offers[3].node.scripts = false;
    let chosen = |wish: Wish| wish.choose(&offers).map(|choice| (choice.offer.offer.id.0, choice.time)).map_err(|none| none.to_string());
    assert_eq!(chosen(wish()), Ok((2, DurationMs::from_secs(1_800))));
    // What is named is taken although it is busy now, and the greatest price leaves as much time as it pays for.
    let named = Wish { offer: Some(OfferId(3)), most: Some(near(20)), ..wish() };
    assert_eq!(chosen(named), Ok((3, DurationMs::from_secs(720))));
}

#[test]
fn wish__should_say_of_each_machine_why_it_does_not_fit() {
    let mut offers: Vec<OfferView> = (1..=8).map(|number| offer(number, Amount::from_near(1))).collect();
    offers[0].node.scripts = false;
    offers[0].node.lacks = vec!["account".to_owned(), "control groups".to_owned()];
    offers[1].node.scripts = false;
    offers[2].node.busy = "run 7".to_owned();
    offers[3].node.node.capability.threads = 1;
    offers[4].node.node.capability.memory_bytes = 256 << 20;
    offers[5].node.node.capability.kind = DeviceKind::Cpu;
    let wish = Wish { resources: Resources { cpus: 2, gpu: true, ..wish().resources }, most: Some(Amount::from_millinear(1)), ..wish() };
    for offer in &mut offers[6..] {
        offer.node.node.capability.kind = DeviceKind::Nvidia;
    }
    let said = wish.choose(&offers).expect_err("none fits").to_string();
    for words in [
        "wants 2 processors, 512 MiB of memory, graphics processors",
        "; node 1: its sandbox cannot give account, control groups, node 2: it takes no scripts, node 3: it works on run 7",
        "node 4: it has 1 of 2 processors, node 5: it has 256 of 512 MiB of memory, node 6: it has no graphics processor",
        ", and 2 more",
    ] {
        assert!(said.contains(words), "{said}\nlacks {words}");
    }
    let said = wish.choose(&offers[6..]).expect_err("too dear").to_string();
    assert!(said.contains("it asks 1.0000 NEAR an hour") && said.contains("raise the greatest price"), "{said}");
    assert!(wish.choose(&[]).expect_err("nobody").to_string().ends_with("; none offers anything"));
}

#[test]
fn wish__should_never_let_the_price_pass_what_was_allowed() {
    let most = Amount::from_millinear(100);
    let wish = Wish { most: Some(most), ..wish() };
    assert_eq!(wish.affordable(Amount::from_millinear(600)), DurationMs::from_secs(600));
    assert_eq!(wish.affordable(Amount::from_millinear(10)), DurationMs::from_secs(1_800));
    for price in [1_u64, 7, 333, 599, 601, 100_000] {
        let price = Amount::from_millinear(price);
        let quote = quote_lease(price, wish.affordable(price), None, BasisPoints::ZERO).unwrap();
        assert!(quote.at_most <= most, "{price:?}");
    }
}
