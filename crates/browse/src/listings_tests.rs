//! Tests of choosing among listings.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use starling_primitives::{Amount, Asset, AssetName, BasisPoints, Hash32, RunId, Text, TimestampMs};
use starling_protocol::listing::{File, Kind, Ratings, Version};
use std::collections::BTreeMap;

fn listing(slug: &str, title: &str, price: u128, bytes: u64, licence: &str, run: Option<u64>, at: u64) -> Listing {
    let file = File { name: Text::new("model.safetensors").unwrap(), hash: Hash32([0; 32]), bytes };
    Listing {
        name: format!("ada.near/{slug}").parse::<AssetName>().unwrap(),
        kind: Kind::Model,
        category: if price > 5 { Category::Tabular } else { Category::TextGeneration },
        title: Text::new(title).unwrap(),
        summary: Text::new("A model for tests.").unwrap(),
        licence: Text::new(licence).unwrap(),
        asset: Asset::Near,
        price: Amount(price),
        price_per_use: None,
        parents: Vec::new(),
        shares: Vec::new(),
        royalty: BasisPoints::ZERO,
        versions: vec![Version { files: vec![file], note: Text::new("").unwrap(), run_id: run.map(RunId), published_at: TimestampMs(at) }],
        sold: at % 3,
        ratings: Ratings::default(),
        delisted: false,
        published_at: TimestampMs(at),
    }
}

fn all() -> Vec<Listing> {
    vec![
        listing("rust", "Small Rust", 0, 1_000, "MIT", Some(1), 1),
        listing("poems", "Poems of the sea", 3, 20_000_000, "Apache-2.0", None, 2),
        listing("tables", "Tables", 9, 2_000_000_000, "MIT", Some(2), 3),
    ]
}

fn read(address: &str) -> Wanted {
    let pairs: BTreeMap<&str, &str> = address.split('&').filter_map(|pair| pair.split_once('=')).collect();
    Wanted::read(&|name| pairs.get(name).map(|value| (*value).to_owned()))
}

fn category(name: &str) -> Option<Category> {
    (name == "tabular").then_some(Category::Tabular)
}

#[test]
fn listings__should_be_chosen_by_what_the_address_says() {
    let all = all();
    let check = |address: &str, expect: &[&str]| {
        let found: Vec<_> = read(address).choose(&all, category).items.into_iter().map(|place| all[place].name.slug().to_owned()).collect();
        assert_eq!(found, expect, "{address}");
    };
    check("", &["tables", "poems", "rust"]);
    check("q=small rust", &["rust"]);
    check("q=sea rust", &[]);
    check("q=ada.near/po", &["poems"]);
    check("category=tabular", &["tables"]);
    check("licence=MIT", &["tables", "rust"]);
    check("price=free", &["rust"]);
    check("price=paid", &["tables", "poems"]);
    check("size=10mb", &["rust"]);
    check("size=1gb", &["poems", "rust"]);
    check("size=more", &["tables"]);
    check("here=1", &["tables", "rust"]);
    check("sort=price", &["rust", "poems", "tables"]);
    check("sort=size&licence=MIT", &["rust", "tables"]);
    check("sort=sold", &["poems", "rust", "tables"]);
}

#[test]
fn address__should_be_read_and_said_alike() {
    for address in ["", "q=sea", "category=tabular&licence=MIT&price=free&size=1gb&here=1&sort=rated&page=2"] {
        let said: Vec<String> = read(address).say().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(said.join("&"), address);
    }
}

#[test]
fn licences__should_each_stand_once() {
    assert_eq!(licences(&all()), ["Apache-2.0", "MIT"]);
}
