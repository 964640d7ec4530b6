//! A byte-pair tokenizer (arXiv:1508.07909, over bytes as in GPT-2): any bytes become tokens and come back, and training it
//! on the same bytes gives the same tokenizer everywhere.

mod file;
mod learn;

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use crate::error::{Result, TrainingError};

/// Tokens that an encoder has beside the tokenizer's own: one that begins a text, one that pads it, one that masks.
pub(crate) const SPECIALS: u32 = 3;
/// From the end of an encoder's vocabulary.
pub(crate) const SPECIALS_BEFORE_MASK: u32 = 1;
/// Their names, in order.
const SPECIAL_NAMES: [&str; SPECIALS as usize] = ["<begin>", "<pad>", "<mask>"];
/// The most words whose tokens are remembered.
const CACHED_WORDS: usize = 1 << 16;
/// The most bytes of one word: a longer run of letters is cut.
const WORD_BYTES: usize = 64;

/// Bytes as tokens and back.
///
/// Tokens below 256 are the bytes; each further one is two earlier ones put together. Merges do not cross words: runs
/// of letters, of digits, of white space or of other marks.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    merges: Vec<(u32, u32)>,
    ranks: HashMap<(u32, u32), u32>,
    /// The bytes of each token.
    pieces: Vec<Vec<u8>>,
    cache: RefCell<HashMap<Vec<u8>, Vec<u32>>>,
}

impl PartialEq for Tokenizer {
    fn eq(&self, other: &Self) -> bool {
        self.merges == other.merges
    }
}

impl Tokenizer {
    /// The tokenizer whose tokens are the bytes.
    #[must_use]
    pub fn bytes() -> Self {
        let pieces = (0..=u8::MAX).map(|byte| vec![byte]).collect();
        Self { merges: Vec::new(), ranks: HashMap::new(), pieces, cache: RefCell::default() }
    }

    /// The tokenizer of at most `vocab` tokens that merges the most frequent pairs of `text` first; of equally frequent
    /// ones that of lower numbers.
    ///
    /// It has fewer where the text has no further pair that stands in it twice.
    ///
    /// # Errors
    /// [`TrainingError::BadRequest`] for a vocabulary that is not from 256 to 65,536.
    pub fn learn(text: &[u8], vocab: u32) -> Result<Self> {
        if !(256..=65_536).contains(&vocab) {
            return Err(TrainingError::BadRequest(format!("a tokenizer has 256 to 65536 tokens, not {vocab}")));
        }
        Self::from_merges(learn::merges(text, vocab as usize - 256))
    }

    /// The tokenizer that makes these merges, in order; merge `i` makes token `256 + i`.
    ///
    /// # Errors
    /// [`TrainingError::BadTokenizer`] for a merge of tokens that are not there yet, or that make one which is there already.
    pub fn from_merges(merges: Vec<(u32, u32)>) -> Result<Self> {
        let mut tokenizer = Self::bytes();
        let mut known: HashSet<Vec<u8>> = tokenizer.pieces.iter().cloned().collect();
        for (rank, (first, second)) in (0u32..).zip(&merges) {
            let piece = |token: &u32| tokenizer.pieces.get(*token as usize).cloned();
            let bad = |why: &str| TrainingError::BadTokenizer(format!("merge {rank} of tokens {first} and {second} {why}"));
            let (Some(left), Some(right)) = (piece(first), piece(second)) else {
                return Err(bad("names a token that is not there yet"));
            };
            let piece = [left, right].concat();
            if piece.len() > WORD_BYTES {
                return Err(bad("is longer than a word can be"));
            }
            if !known.insert(piece.clone()) {
                return Err(bad("makes a token that is there already"));
            }
            tokenizer.ranks.insert((*first, *second), rank);
            tokenizer.pieces.push(piece);
        }
        tokenizer.merges = merges;
        Ok(tokenizer)
    }

    /// Tokens there are, from 256.
    #[must_use]
    pub fn vocab(&self) -> u32 {
        256 + u32::try_from(self.merges.len()).unwrap_or(u32::MAX)
    }

    /// The merges, in order.
    #[must_use]
    pub fn merges(&self) -> &[(u32, u32)] {
        &self.merges
    }

    /// The bytes that a token stands for; none for a token that is not the tokenizer's.
    #[must_use]
    pub fn piece(&self, token: u32) -> &[u8] {
        self.pieces.get(token as usize).map_or(&[], Vec::as_slice)
    }

    /// The tokens of `text`; [`Tokenizer::decode`] gives exactly `text` back.
    #[must_use]
    pub fn encode(&self, text: &[u8]) -> Vec<u32> {
        let mut tokens = Vec::with_capacity(text.len() / 2);
        if self.merges.is_empty() {
            tokens.extend(text.iter().map(|byte| u32::from(*byte)));
            return tokens;
        }
        let mut cache = self.cache.borrow_mut();
        for word in words(text) {
            if let Some(known) = cache.get(word) {
                tokens.extend_from_slice(known);
                continue;
            }
            let made = self.encode_word(word);
            tokens.extend_from_slice(&made);
            if cache.len() < CACHED_WORDS {
                cache.insert(word.to_vec(), made);
            }
        }
        tokens
    }

    /// The bytes of `tokens`.
    #[must_use]
    pub fn decode(&self, tokens: &[u32]) -> Vec<u8> {
        tokens.iter().flat_map(|token| self.piece(*token).iter().copied()).collect()
    }

    /// Merges the pair of lowest rank, the leftmost of equals, until none is left.
    fn encode_word(&self, word: &[u8]) -> Vec<u32> {
        let mut tokens: Vec<u32> = word.iter().map(|byte| u32::from(*byte)).collect();
        loop {
            let ranked = tokens.windows(2).filter_map(|pair| self.ranks.get(&(pair[0], pair[1])));
            let Some(rank) = ranked.min().copied() else { return tokens };
            let pair = self.merges[rank as usize];
            learn::merge(&mut tokens, pair, 256 + rank);
        }
    }
}

/// What kind of word a byte belongs to: bytes above ASCII count as letters.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Letter,
    Digit,
    Space,
    Other,
}

fn kind(byte: u8) -> Kind {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | 0x80.. => Kind::Letter,
        b'0'..=b'9' => Kind::Digit,
        b' ' | b'\t' | b'\n' | b'\r' => Kind::Space,
        _ => Kind::Other,
    }
}

/// Cuts a text into words: runs of letters, of digits or of other marks, each with the one space before it; else runs of
/// white space, whose last character is left to the word that follows where it is a space.
///
/// As the regular expression in `tokenizer.json` does, but that words longer than 64 bytes are cut there.
pub(crate) fn words(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let length = word_length(rest)?;
        let (word, after) = rest.split_at(length);
        rest = after;
        Some(word)
    })
}

fn word_length(text: &[u8]) -> Option<usize> {
    let first = *text.first()?;
    let run = |from: usize, wanted: Kind| text[from..].iter().take_while(|byte| kind(**byte) == wanted).count();
    if kind(first) != Kind::Space {
        return Some(run(0, kind(first)).min(WORD_BYTES));
    }
    if first == b' '
        && let Some(next) = text.get(1).map(|byte| kind(*byte)).filter(|next| *next != Kind::Space)
    {
        return Some((1 + run(1, next)).min(WORD_BYTES));
    }
    let spaces = run(0, Kind::Space);
    let at_end = spaces == text.len();
    Some(if at_end || spaces == 1 { spaces } else { spaces - 1 }.min(WORD_BYTES))
}

#[cfg(test)]
mod tests;
