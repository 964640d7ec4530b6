//! Tests of learning, encoding and the file.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use crate::random::Stream;

const SOURCE: &str = include_str!("../tokenizer.rs");

fn random_bytes(seed: u64, count: usize) -> Vec<u8> {
    let mut stream = Stream::new("tokenizer test", seed, &[]);
    (0..count).map(|_| u8::try_from(stream.below(256)).expect("a byte")).collect()
}

#[test]
fn learn__should_merge_the_most_frequent_pair_and_break_ties_by_number() {
    // "ab" four times, "bc" three, "xy" and "wz" twice.
    let tokenizer = Tokenizer::learn(b"abc abc abc ab wz wz xy xy", 260).expect("possible");
    let pair = |first: u8, second: u8| (u32::from(first), u32::from(second));
    assert_eq!(tokenizer.merges()[0], pair(b'a', b'b'));
    // " ab" and "abc" both stand there three times: the lower numbers go first.
    assert_eq!(tokenizer.merges()[1], (u32::from(b' '), 256));
    assert_eq!(tokenizer.vocab(), 260);
    assert_eq!(tokenizer.merges(), Tokenizer::learn(b"abc abc abc ab wz wz xy xy", 260).expect("possible").merges());
    assert_eq!(Tokenizer::learn(b"abcd", 300).expect("possible").vocab(), 256, "no pair stands there twice");
    assert!(Tokenizer::learn(b"", 255).is_err());
}

#[test]
fn learn__should_count_as_a_plain_count_does() {
    // The slow way: count all pairs of all words anew before each merge.
    let text = SOURCE.as_bytes();
    let mut counted: Vec<Vec<u32>> = words(text).map(|word| word.iter().map(|byte| u32::from(*byte)).collect()).collect();
    let tokenizer = Tokenizer::learn(text, 256 + 40).expect("possible");
    for (token, merge) in (256u32..).zip(tokenizer.merges()) {
        let mut pairs: HashMap<(u32, u32), usize> = HashMap::new();
        for pair in counted.iter().flat_map(|word| word.windows(2)) {
            *pairs.entry((pair[0], pair[1])).or_default() += 1;
        }
        let best = pairs.iter().max_by_key(|(pair, count)| (**count, std::cmp::Reverse(**pair))).map(|(pair, _)| *pair);
        assert_eq!(best, Some(*merge), "token {token}");
        counted.iter_mut().for_each(|word| learn::merge(word, *merge, token));
    }
}

#[test]
fn encode__should_give_any_bytes_back_and_shorten_what_was_learned() {
    let tokenizer = Tokenizer::learn(SOURCE.as_bytes(), 600).expect("possible");
    assert_eq!(tokenizer.vocab(), 600);
    for text in
        [SOURCE.as_bytes().to_vec(), random_bytes(1, 5_000), "Grüße, 世界!\r\n\t  x".as_bytes().to_vec(), vec![b' '; 500], Vec::new()]
    {
        assert_eq!(tokenizer.decode(&tokenizer.encode(&text)), text);
        assert_eq!(words(&text).flatten().copied().collect::<Vec<_>>(), text);
    }
    let length = tokenizer.encode(SOURCE.as_bytes()).len();
    assert!(length * 2 < SOURCE.len(), "{length} tokens for {} bytes", SOURCE.len());
    assert_eq!(Tokenizer::bytes().encode(b"ab"), [97, 98]);
}

#[test]
fn words__should_cut_as_the_regular_expression_does() {
    let cut = |text: &str| words(text.as_bytes()).map(|word| String::from_utf8_lossy(word).into_owned()).collect::<Vec<_>>();
    assert_eq!(cut("let x = 12;"), ["let", " x", " =", " 12", ";"]);
    assert_eq!(cut("a   b"), ["a", "  ", " b"]);
    assert_eq!(cut("a\n\n  b"), ["a", "\n\n ", " b"]);
    assert_eq!(cut("a\n\tb  "), ["a", "\n", "\t", "b", "  "]);
    assert_eq!(cut("für 3€"), ["für", " 3", "€"]);
}

#[test]
fn file__should_be_read_back_and_refuse_others() {
    let tokenizer = Tokenizer::learn(SOURCE.as_bytes(), 400).expect("possible");
    let text = tokenizer.to_json(false);
    assert_eq!(Tokenizer::from_json(&text).expect("readable"), tokenizer);
    assert_eq!(Tokenizer::from_json(&tokenizer.to_json(true)).expect("readable"), tokenizer);
    assert!(tokenizer.to_json(true).contains("\"<mask>\""));
    let refused = |text: &str| Tokenizer::from_json(text).expect_err("refused").to_string();
    assert!(refused("{}").contains("not a byte-pair tokenizer"));
    assert!(refused(&text.replace("BPE", "WordPiece")).contains("WordPiece"));
    assert!(refused(&text.replace("[0-9]+", "[0-9]")).contains("cuts words"));
    let mut file: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    file["model"]["vocab"]["!"] = 7.into();
    assert!(refused(&file.to_string()).contains("number 7"));
    let mut file: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    file["model"]["merges"][0] = serde_json::json!(["!", "no such token"]);
    assert!(Tokenizer::from_json(&file.to_string()).is_err());
}

/// Text of every kind of word, and the tokenizer that the reference was made with.
fn reference() -> (String, Tokenizer) {
    let tickets = String::from_utf8(crate::synthetic::tickets(7, 40)).expect("text");
    let text = format!("{tickets}Grüße, 世界! €3 x=1;\r\n\t  if (a&&b) {{ }}\n\n    d3f12ab   \u{a0}  end  ");
    let tokenizer = Tokenizer::learn(text.as_bytes(), 420).expect("possible");
    (text, tokenizer)
}

/// `reference/tokenizer.txt` holds the tokens that Hugging Face's `tokenizers` 0.23.3 gives for the text with the
/// `tokenizer.json` that is written here; `STARLING_EXPORT` names a folder to write both to, for making it anew.
#[test]
fn file__should_give_the_same_tokens_in_hugging_faces_tokenizers() {
    let (text, tokenizer) = reference();
    if let Some(folder) = std::env::var_os("STARLING_EXPORT") {
        let folder = std::path::Path::new(&folder).join("tokenizer");
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("tokenizer.json"), tokenizer.to_json(false)).expect("written");
        std::fs::write(folder.join("text.txt"), &text).expect("written");
    }
    let theirs: Vec<u32> =
        include_str!("../../reference/tokenizer.txt").split_whitespace().map(|id| id.parse().expect("a token")).collect();
    assert_eq!(tokenizer.encode(text.as_bytes()), theirs);
}
