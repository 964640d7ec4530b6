//! Tests of choosing among offers.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use starling_contract_api::compute::Offer;
use starling_http_api::node::NodeView;
use starling_primitives::{AccountId, DurationMs, NodeId, OfferId, PublicKey, Text, TimestampMs};
use starling_protocol::node::{Capability, Node, OfferTerms};
use std::{collections::BTreeMap, time::Instant};

/// The most that filtering may take of what a person feels as at once; the browser has the rest.
const QUICK_MS: u128 = 20;

pub(crate) fn offer(number: u64) -> OfferView {
    let provider = AccountId::new(format!("provider-{number}.near")).unwrap();
    let kind = [DeviceKind::Nvidia, DeviceKind::Amd, DeviceKind::Cpu][usize::try_from(number % 3).unwrap()];
    let (mixed, rate) = (number.wrapping_mul(7_919) % 997, u32::try_from(number.wrapping_mul(104_729) % 90_000).unwrap());
    OfferView {
        offer: Offer {
            id: OfferId(number),
            node_id: NodeId(number),
            provider: provider.clone(),
            terms: OfferTerms {
                price_per_million_tokens: Amount(u128::from(mixed) * 10),
                price_per_hour: Amount(u128::from(mixed)),
                min_lease: DurationMs::from_secs(60),
                max_lease: DurationMs::from_hours(24),
                objection_window: DurationMs(0),
                asset: Asset::Near,
                sla: None,
            },
            created_at: TimestampMs(0),
            closed: false,
        },
        node: NodeView {
            node: Node {
                id: NodeId(number),
                provider: provider.clone(),
                payout: provider,
                key: PublicKey([0; 32]),
                capability: Capability {
                    kind,
                    device: Text::new("device").unwrap(),
                    memory_bytes: (number % 64 + 1) << 30,
                    threads: 8,
                    matrix_gflops: rate,
                },
                stake: None,
                registered_at: TimestampMs(0),
                retired: false,
            },
            connected: true,
            heard_at: None,
            measured_tokens_per_second: number.is_multiple_of(2).then_some(f64::from(rate)),
            rounds: number % 50,
            busy: if number.is_multiple_of(5) { "run 1".to_owned() } else { "idle".to_owned() },
            scripts: false,
            lacks: Vec::new(),
            data: Vec::new(),
        },
    }
}

fn offers() -> Vec<OfferView> {
    (1..=500).map(offer).collect()
}

fn read(address: &str) -> Wanted {
    let pairs: BTreeMap<&str, &str> = address.split('&').filter_map(|pair| pair.split_once('=')).collect();
    Wanted::read(&|name| pairs.get(name).map(|value| (*value).to_owned()))
}

#[test]
fn address__should_be_read_and_said_alike() {
    for address in ["", "device=nvidia", "class=fast&sort=measured", "device=cpu&class=budget&idle=1&memory=16&sort=rounds&page=3"] {
        let said: Vec<String> = read(address).say().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(said.join("&"), address);
    }
    assert_eq!(read("device=abacus&page=0&memory=lots&sort=beauty"), Wanted { page: 1, ..Wanted::default() }, "unknown words say nothing");
}

#[test]
fn filters__should_keep_what_fits_and_only_that() {
    let all = offers();
    let check = |address: &str, fits: &dyn Fn(&OfferView) -> bool| {
        let mut wanted = read(address);
        let expect = all.iter().filter(|offer| fits(offer)).count();
        let mut seen = 0;
        for page in 1..=wanted.choose(&all).pages {
            wanted.page = page;
            for place in wanted.choose(&all).items {
                assert!(fits(&all[place]), "{address}: offer {}", all[place].offer.id);
                seen += 1;
            }
        }
        assert_eq!(seen, expect, "{address}");
    };
    check("", &|_| true);
    check("device=amd", &|offer| offer.node.node.capability.kind == DeviceKind::Amd);
    check("idle=1", &|offer| offer.node.busy == "idle");
    check("memory=32", &|offer| offer.node.node.capability.memory_bytes >= 32 << 30);
    let mut rates: Vec<u32> = all.iter().map(|offer| offer.node.node.capability.matrix_gflops).collect();
    rates.sort_unstable();
    let bar = rates[500 - 167];
    check("class=fast", &|offer| offer.node.node.capability.matrix_gflops >= bar);
    let mut prices: Vec<Amount> = all.iter().map(|offer| offer.offer.terms.price_per_hour).collect();
    prices.sort_unstable();
    let most = prices[166];
    check("class=budget&device=cpu", &|offer| {
        offer.offer.terms.price_per_hour <= most && offer.node.node.capability.kind == DeviceKind::Cpu
    });
}

#[test]
fn order__should_put_the_best_first_and_the_unmeasured_last() {
    let all = offers();
    let first = |address: &str| all[read(address).choose(&all).items[0]].clone();
    assert_eq!(first("").offer.terms.price_per_hour, all.iter().map(|offer| offer.offer.terms.price_per_hour).min().unwrap());
    assert_eq!(first("sort=rounds").node.rounds, 49);
    assert_eq!(first("sort=memory").node.node.capability.memory_bytes, 64 << 30);
    let last = read("sort=measured&page=99").choose(&all);
    assert!(last.items.iter().all(|place| all[*place].node.measured_tokens_per_second.is_none()));
}

#[test]
fn budget__should_compare_prices_of_one_asset_only() {
    let mut all = offers();
    let token = Asset::Nep141(AccountId::new("usdc.near").unwrap());
    for offer in &mut all[..10] {
        offer.offer.terms.asset = token.clone();
        offer.offer.terms.price_per_hour = Amount(1_000_000);
    }
    let wanted = read("class=budget&page=99");
    let last = wanted.choose(&all).items;
    assert!(last.iter().any(|place| all[*place].offer.terms.asset == token), "the cheapest in the token are cheap in the token");
}

#[test]
fn five_hundred_offers__should_be_chosen_from_at_once() {
    let all = offers();
    for address in ["", "class=fast&sort=measured", "device=nvidia&class=budget&idle=1&memory=8&sort=tokens"] {
        // The least of some: the others may have waited for the processor.
        let tries = (0..20).map(|_| {
            let begun = Instant::now();
            let page = read(address).choose(&all);
            let took = begun.elapsed().as_millis();
            assert!(page.total > 0, "{address}");
            took
        });
        let took = tries.min().unwrap();
        assert!(took <= QUICK_MS, "{address}: {took} ms");
    }
}
