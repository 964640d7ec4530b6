//! Agreement with `serde_json` in both directions, and what is refused.

#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use crate::{MAX_DEPTH, Unreadable};
use proptest::{collection, prelude::*};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Record {
    name: String,
    count: u16,
    note: Option<String>,
    shape: Shape,
    pairs: Vec<(String, u64)>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Shape {
    Empty,
    Wrapped(u64),
    Pair(u8, bool),
    Named { side: i32 },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
enum Tagged {
    Held { until: u64 },
    Open(Inner),
    Gone,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Inner {
    seq: u64,
    payees: Vec<String>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", content = "data", rename_all = "snake_case")]
enum Event {
    Paid { by: String, amount: u64 },
    Paused,
}

fn read<T: DeserializeOwned>(text: &str) -> Result<T, Unreadable> {
    crate::read(text.as_bytes())
}

fn write<T: Serialize>(value: &T) -> String {
    crate::write::<T, Unreadable>(value).expect("these values can be written")
}

/// Both ways agree with `serde_json`, and with each other.
fn check<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: T) {
    let theirs = serde_json::to_string(&value).expect("serde_json writes it");
    assert_eq!(write(&value), theirs);
    assert_eq!(read::<T>(&theirs), Ok(value));
}

#[test]
fn json__should_be_what_serde_json_writes() {
    for shape in [Shape::Empty, Shape::Wrapped(u64::MAX), Shape::Pair(255, true), Shape::Named { side: -7 }] {
        let name = "a \"b\" \\ / \n\r\t\u{8}\u{c}\u{1f} ä 😀".to_owned();
        check(Record { name, count: 0, note: Some(String::new()), shape, pairs: vec![("x".to_owned(), 10), (String::new(), 0)] });
    }
    check(Tagged::Held { until: 5 });
    check(Tagged::Open(Inner { seq: 1, payees: vec!["bob".to_owned()] }));
    check(Tagged::Gone);
    check(Event::Paid { by: "alice".to_owned(), amount: 3 });
    check(Event::Paused);
    check(json!({"a": [1, -2, null, true, {"b": "c"}], "d": {}, "e": [], "f": i64::MIN}));
}

#[test]
fn record__should_be_read_in_any_order_with_blanks_and_escapes() {
    let text = " { \"shape\" : {\"wrapped\" : 3} ,\n\"pairs\":[ ],\t\"count\":7,\"\\u006eame\":\"\\ud83d\\ude00\\/\" } ";
    let wanted = Record { name: "😀/".to_owned(), count: 7, note: None, shape: Shape::Wrapped(3), pairs: Vec::new() };
    assert_eq!(read(text), Ok(wanted));
}

#[test]
fn unknown_fields__should_be_skipped_unless_denied() {
    assert_eq!(read(r#"{"x":[{"y":"]}\""},1,true,null],"seq":1,"payees":[]}"#), Ok(Inner { seq: 1, payees: Vec::new() }));
    assert_eq!(read::<Record>(r#"{"name":"","count":0,"shape":"empty","pairs":[],"x":1}"#), Err(Unreadable));
}

#[test]
fn wrong_text__should_be_refused() {
    for text in
        ["", "{", "[1,]", "[1 2]", "[,1]", "{\"a\" 1}", "{\"a\":1,}", "{1:2}", "nul", "01", "-", "1.5", "1e3", "\"\u{1}\"", "\"\\x\""]
    {
        assert_eq!(read::<Value>(text), Err(Unreadable), "{text}");
    }
    for text in
        [r#""\ud800""#, r#""\udc00""#, r#""\ud800A""#, r#""\u12""#, "\"", "1 1", "[] x", "18446744073709551616", "-9223372036854775809"]
    {
        assert_eq!(read::<Value>(text), Err(Unreadable), "{text}");
    }
    assert_eq!(crate::read::<String, Unreadable>(b"\"\xff\""), Err(Unreadable));
    assert_eq!(read::<u16>("65536"), Err(Unreadable));
    assert_eq!(read::<u64>("-1"), Err(Unreadable));
    assert_eq!(read::<(u64, u64)>("[1,2,3]"), Err(Unreadable));
    assert_eq!(read::<Inner>("[1,[]]"), Err(Unreadable), "records are objects");
    assert_eq!(read::<Inner>(r#"{"seq":1,"seq":1,"payees":[]}"#), Err(Unreadable));
    assert_eq!(read::<Shape>(r#""wrapped""#), Err(Unreadable));
    assert_eq!(read::<Shape>(r#"{"wrapped":1,"empty":null}"#), Err(Unreadable));
    assert_eq!(read::<Shape>(r#""round""#), Err(Unreadable));
}

#[test]
fn depth__should_have_a_limit() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let most = usize::from(MAX_DEPTH);
    assert!(read::<Value>(&nested(most)).is_ok());
    assert_eq!(read::<Value>(&nested(most + 1)), Err(Unreadable));
    assert_eq!(read::<serde::de::IgnoredAny>(&nested(100_000)).err(), Some(Unreadable));
}

#[test]
fn what_json_has_no_whole_number_for__should_not_be_written() {
    assert_eq!(crate::write::<f64, Unreadable>(&1.5), Err(Unreadable));
    assert_eq!(crate::write::<_, Unreadable>(&std::collections::BTreeMap::from([(1, 2)])), Err(Unreadable));
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            collection::btree_map(any::<String>(), inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_value__should_be_read_and_written_as_serde_json_does(value in any_value()) {
        prop_assert_eq!(write(&value), serde_json::to_string(&value).expect("serde_json writes values"));
        let pretty = serde_json::to_string_pretty(&value).expect("serde_json writes values");
        prop_assert_eq!(read::<Value>(&pretty), Ok(value));
    }

    /// Whatever the bytes: what is read here, `serde_json` reads too, and as the same.
    #[test]
    fn any_text__should_be_read_as_serde_json_does_or_not_at_all(text in r#"[\[\]{}:,"0-9a\\u \-truefalsn]{0,24}"#) {
        let theirs = serde_json::from_str::<Value>(&text);
        match read::<Value>(&text) {
            Ok(value) => prop_assert_eq!(Some(value), theirs.ok()),
            Err(Unreadable) => prop_assert!(theirs.map_or(true, |value| has_fraction(&value)), "{}", text),
        }
    }
}

/// Whether a value holds a number that is not whole, which only `serde_json` reads.
fn has_fraction(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.is_f64(),
        Value::Array(items) => items.iter().any(has_fraction),
        Value::Object(fields) => fields.values().any(has_fraction),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}
