//! Tests of the layout: order, limits, and one encoding.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use proptest::prelude::*;

use super::*;

fn tensor(name: &str, shape: &[u32]) -> TensorShape {
    TensorShape { name: name.to_owned(), shape: shape.to_vec() }
}

fn small() -> Layout {
    Layout::new(vec![tensor("wte.weight", &[4, 3]), tensor("ln.bias", &[3]), tensor("scalar", &[])]).unwrap()
}

#[test]
fn layout__should_sort_by_name_and_lie_flat() {
    let layout = small();
    let places: Vec<_> = layout.ranges().map(|(tensor, range)| (tensor.name.as_str(), range)).collect();
    assert_eq!(places, [("ln.bias", 0..3), ("scalar", 3..4), ("wte.weight", 4..16)]);
    assert_eq!(layout.parameters(), 16);
    assert_eq!(layout.blocks(5).collect::<Vec<_>>(), [0..3, 3..4, 4..9, 9..14, 14..16]);
}

#[test]
fn layout__should_have_known_bytes_and_hash() {
    let layout = small();
    let bytes = "03000000070000006c6e2e6269617301000000030000000600000073\
                 63616c6172000000000a0000007774652e77656967687402000000\
                 0400000003000000";
    assert_eq!(hex::encode(layout.to_bytes()), bytes);
    assert_eq!(layout.hash().to_string(), "361272d107dc40cc6de27db4eb0cb7e9f847eecf2201a1489c2217984247530f");
}

#[test]
fn layout__should_refuse_what_is_impossible() {
    let long = "x".repeat(257);
    for (tensors, expected) in [
        (vec![], LayoutError::Empty),
        (vec![tensor("", &[1])], LayoutError::BadName(String::new())),
        (vec![tensor("a b", &[1])], LayoutError::BadName("a b".into())),
        (vec![tensor("é", &[1])], LayoutError::BadName("é".into())),
        (vec![tensor(&long, &[1])], LayoutError::BadName("x".repeat(64))),
        (vec![tensor("a", &[1]), tensor("a", &[2])], LayoutError::NotSorted("a".into())),
        (vec![tensor("a", &[2, 0])], LayoutError::BadShape { name: "a".into(), shape: vec![2, 0] }),
        (vec![tensor("a", &[1; 9])], LayoutError::BadShape { name: "a".into(), shape: vec![1; 9] }),
        (vec![tensor("a", &[u32::MAX; 8])], LayoutError::TooManyParameters("a".into())),
        (vec![tensor("a", &[1 << 30]), tensor("b", &[1])], LayoutError::TooManyParameters("b".into())),
    ] {
        assert_eq!(Layout::new(tensors), Err(expected));
    }
    let many: Vec<_> = (0..=MAX_TENSORS).map(|i| tensor(&format!("t{i}"), &[1])).collect();
    assert_eq!(Layout::new(many), Err(LayoutError::TooManyTensors(MAX_TENSORS + 1)));
}

#[test]
fn layout__should_read_json_only_in_order() {
    let json = serde_json::to_string(&small()).unwrap();
    assert_eq!(serde_json::from_str::<Layout>(&json).unwrap(), small());
    let swapped = r#"[{"name":"b","shape":[1]},{"name":"a","shape":[1]}]"#;
    assert!(serde_json::from_str::<Layout>(swapped).is_err());
}

proptest! {
    #[test]
    fn bytes__should_read_back_and_have_no_second_form(
        shapes in prop::collection::btree_map("[a-z.]{1,12}", prop::collection::vec(1_u32..5, 0..4), 1..12),
        place in any::<prop::sample::Index>(),
        flip in 1_u8..,
    ) {
        let tensors = shapes.into_iter().map(|(name, shape)| TensorShape { name, shape }).collect();
        let layout = Layout::new(tensors).unwrap();
        let bytes = layout.to_bytes();
        prop_assert_eq!(Layout::from_bytes(&bytes), Ok(layout.clone()));
        let mut changed = bytes.clone();
        *place.get_mut(&mut changed) ^= flip;
        if let Ok(other) = Layout::from_bytes(&changed) {
            prop_assert_eq!(other.to_bytes(), changed);
            prop_assert_ne!(other.hash(), layout.hash());
        }
        prop_assert!(Layout::from_bytes(&bytes[..place.index(bytes.len())]).is_err());
        prop_assert!(Layout::from_bytes(&[bytes.as_slice(), &[0]].concat()).is_err());
    }
}
