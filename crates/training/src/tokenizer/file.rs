//! `tokenizer.json` in the form of Hugging Face's `tokenizers`: written so that it gives the same tokens there, and read
//! where it describes a tokenizer of this kind.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::{SPECIAL_NAMES, Tokenizer};
use crate::error::{Result, TrainingError};

/// What [`super::words`] does, as a regular expression.
const WORDS: &str =
    " ?[A-Za-z\\x{80}-\\x{10FFFF}]+| ?[0-9]+| ?[^A-Za-z0-9\\x{80}-\\x{10FFFF} \\t\\n\\r]+|[ \\t\\n\\r]+(?![^ \\t\\n\\r])|[ \\t\\n\\r]+";

impl Tokenizer {
    /// The file; with `specials` for an encoder, whose vocabulary ends in the tokens that begin, pad and mask.
    #[must_use]
    pub fn to_json(&self, specials: bool) -> String {
        let shown = |token: u32| self.piece(token).iter().map(|byte| symbol(*byte)).collect::<String>();
        let vocab: BTreeMap<String, u32> = (0..self.vocab()).map(|token| (shown(token), token)).collect();
        let merges: Vec<[String; 2]> = self.merges().iter().map(|(first, second)| [shown(*first), shown(*second)]).collect();
        let added: Vec<Value> = (self.vocab()..)
            .zip(SPECIAL_NAMES.iter().filter(|_| specials))
            .map(|(id, content)| {
                json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true })
            })
            .collect();
        let file = json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added,
            "normalizer": null,
            "pre_tokenizer": {
                "type": "Sequence",
                "pretokenizers": [
                    { "type": "Split", "pattern": { "Regex": WORDS }, "behavior": "Isolated", "invert": false },
                    { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false },
                ],
            },
            "post_processor": null,
            "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true },
            "model": {
                "type": "BPE",
                "dropout": null,
                "unk_token": null,
                "continuing_subword_prefix": null,
                "end_of_word_suffix": null,
                "fuse_unk": false,
                "byte_fallback": false,
                "ignore_merges": false,
                "vocab": vocab,
                "merges": merges,
            },
        });
        format!("{file:#}\n")
    }

    /// The tokenizer of a `tokenizer.json` that [`Tokenizer::to_json`] or Hugging Face's `tokenizers` wrote.
    ///
    /// # Errors
    /// [`TrainingError::BadTokenizer`], naming what is missing or is of another kind.
    pub fn from_json(text: &str) -> Result<Self> {
        let bad = |why: String| TrainingError::BadTokenizer(why);
        let file: Value = serde_json::from_str(text).map_err(|error| bad(error.to_string()))?;
        let model = &file["model"];
        if model["type"] != "BPE" {
            return Err(bad(format!("its model is {}, not a byte-pair tokenizer (\"BPE\")", model["type"])));
        }
        let pattern = &file["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"];
        if pattern != WORDS {
            return Err(bad(format!("it cuts words by {pattern}, this program by {WORDS:?}: learn it here anew")));
        }
        let bytes: HashMap<char, u8> = (0..=u8::MAX).map(|byte| (symbol(byte), byte)).collect();
        let piece = |shown: &str| {
            let bytes: Option<Vec<u8>> = shown.chars().map(|symbol| bytes.get(&symbol).copied()).collect();
            bytes.ok_or_else(|| bad(format!("{shown:?} has a character that stands for no byte")))
        };
        let merges = model["merges"].as_array().ok_or_else(|| bad("it has no merges".to_owned()))?;
        let mut tokens: HashMap<Vec<u8>, u32> = (0..=u8::MAX).map(|byte| (vec![byte], u32::from(byte))).collect();
        let mut read = Vec::new();
        for (next, merge) in (256u32..).zip(merges) {
            // Older files have the pair as one text with a space in it.
            let pair = match merge {
                Value::String(text) => text.split_once(' '),
                merge => merge[0].as_str().zip(merge[1].as_str()),
            };
            let (first, second) = pair.ok_or_else(|| bad(format!("merge {merge} is no pair")))?;
            let (first, second) = (piece(first)?, piece(second)?);
            let token = |piece: &Vec<u8>| {
                tokens.get(piece).copied().ok_or_else(|| bad(format!("merge {merge} names a token that is not there yet")))
            };
            read.push((token(&first)?, token(&second)?));
            tokens.insert([first, second].concat(), next);
        }
        let numbered = model["vocab"].as_object().ok_or_else(|| bad("it has no vocabulary".to_owned()))?;
        for (shown, id) in numbered {
            if tokens.get(&piece(shown)?).copied().map(u64::from) != id.as_u64() {
                return Err(bad(format!("token {shown:?} has number {id}, but bytes come first and merges follow in their order")));
            }
        }
        if numbered.len() != tokens.len() {
            return Err(bad(format!("it numbers {} tokens, its merges make {}", numbered.len(), tokens.len())));
        }
        Self::from_merges(read)
    }
}

/// The character that stands for a byte in GPT-2's files: itself where it can be printed.
fn symbol(byte: u8) -> char {
    let printed = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    if printed(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|earlier| !printed(*earlier)).count();
    char::from_u32(0x100 + u32::try_from(before).unwrap_or_default()).unwrap_or(char::REPLACEMENT_CHARACTER)
}
