//! Pre-tokenised text in shards: files named by their hashes, of which a step reads only its own windows.
//!
//! A shard is the magic `STK1`, the vocabulary as `u32`, then tokens as `u16`, all little-endian. The manifest names the
//! shards, the tokenizer and the windows' vocabulary; whoever holds it and the files draws the same windows.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;

use super::Windows;
use crate::error::{Result, TrainingError};
use crate::random::Stream;
use crate::tokenizer::Tokenizer;

const MAGIC: &[u8; 4] = b"STK1";
const HEADER_BYTES: usize = 8;
const TOKEN_BYTES: usize = 2;
/// Bytes that are hashed at a time.
const PIECE_BYTES: usize = 1 << 16;
/// The most shards of a manifest.
const MAX_SHARDS: usize = 65_536;

/// Tokens that are read in windows, from memory or from shards on disk; cheap to clone.
#[derive(Clone, Debug)]
pub struct Tokens {
    shards: Arc<[Shard]>,
    vocab: u32,
    context: usize,
    /// Bytes that each token stands for.
    lengths: Arc<[u16]>,
}

#[derive(Debug)]
struct Shard {
    tokens: usize,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Memory(Vec<u16>),
    File(Mutex<File>),
}

/// What shards belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Tokens of the tokenizer.
    pub vocab: u32,
    /// BLAKE3 of its `tokenizer.json`.
    pub tokenizer: [u8; 32],
    /// BLAKE3 of each shard's bytes, in order; a shard's file is named by it in hex.
    pub shards: Vec<[u8; 32]>,
}

impl Tokens {
    /// The tokens of `text`, in memory.
    ///
    /// # Errors
    /// [`TrainingError::BadRequest`] where the text has less than `context + 1` tokens.
    pub fn of(text: &[u8], tokenizer: &Tokenizer, context: usize) -> Result<Self> {
        let tokens: Vec<u16> = tokenizer.encode(text).into_iter().map(narrow).collect();
        let shard = Shard { tokens: tokens.len(), source: Source::Memory(tokens) };
        Self::new(vec![shard], tokenizer, context)
    }

    /// The tokens of the shards in `folder` that `manifest` names; only what is asked for is read from then on.
    ///
    /// # Errors
    /// [`TrainingError::Shard`] for a file that is missing, damaged or of another vocabulary;
    /// [`TrainingError::ShardHashMismatch`]; [`TrainingError::BadRequest`] where another tokenizer made them, or where no
    /// shard holds a window.
    pub fn open(manifest: &Manifest, folder: &Path, tokenizer: &Tokenizer, context: usize) -> Result<Self> {
        if manifest.vocab != tokenizer.vocab() || manifest.tokenizer != *blake3::hash(tokenizer.to_json(false).as_bytes()).as_bytes() {
            return Err(TrainingError::BadRequest("the shards were made with another tokenizer than this one".to_owned()));
        }
        let shards = manifest.shards.iter().enumerate().map(|(index, hash)| open(folder, index, hash, manifest.vocab));
        Self::new(shards.collect::<Result<_>>()?, tokenizer, context)
    }

    fn new(shards: Vec<Shard>, tokenizer: &Tokenizer, context: usize) -> Result<Self> {
        let shards: Vec<Shard> = shards.into_iter().filter(|shard| shard.tokens > context).collect();
        if shards.is_empty() {
            return Err(TrainingError::BadRequest(format!("one window needs {} tokens in a row, and there are not so many", context + 1)));
        }
        let lengths = (0..tokenizer.vocab()).map(|token| u16::try_from(tokenizer.piece(token).len()).unwrap_or(u16::MAX));
        Ok(Self { shards: shards.into(), vocab: tokenizer.vocab(), context, lengths: lengths.collect() })
    }

    /// Different tokens there are.
    #[must_use]
    pub fn vocab(&self) -> u32 {
        self.vocab
    }

    /// Tokens that a model sees at once.
    #[must_use]
    pub fn context(&self) -> usize {
        self.context
    }

    /// Windows that do not overlap.
    #[must_use]
    pub fn windows(&self) -> usize {
        self.shards.iter().map(|shard| (shard.tokens - 1) / self.context).sum()
    }

    /// Bytes that `tokens` stand for; a token that is not the tokenizer's stands for none.
    #[must_use]
    pub fn text_bytes(&self, tokens: &[u32]) -> u64 {
        tokens.iter().filter_map(|token| self.lengths.get(*token as usize)).map(|length| u64::from(*length)).sum()
    }

    /// The batch of participant `slot` at the global inner step `step`: each window of each shard is as likely as any.
    ///
    /// # Errors
    /// [`TrainingError::Shard`] where a file can no longer be read.
    pub fn batch(&self, seed: u64, slot: u32, step: u64, windows: usize) -> Result<Windows> {
        let mut stream = Stream::new("starling 2026 training tokens v1", seed, &[u64::from(slot), step]);
        let starts: usize = self.shards.iter().map(|shard| shard.tokens - self.context).sum();
        let places = (0..windows).map(|_| {
            let mut start = usize::try_from(stream.below(starts as u64)).unwrap_or(0);
            for (index, shard) in self.shards.iter().enumerate() {
                match start.checked_sub(shard.tokens - self.context) {
                    None => return (index, start),
                    Some(rest) => start = rest,
                }
            }
            (0, 0)
        });
        self.read(&places.collect::<Vec<_>>())
    }

    /// At most `windows` windows that do not overlap, evenly spread: what a model is evaluated on.
    ///
    /// # Errors
    /// As [`Tokens::batch`].
    pub fn spread(&self, windows: usize) -> Result<Windows> {
        let all: Vec<(usize, usize)> = (0..self.shards.len())
            .flat_map(|index| (0..(self.shards[index].tokens - 1) / self.context).map(move |window| (index, window * self.context)))
            .collect();
        let taken = windows.clamp(1, all.len());
        self.read(&(0..taken).map(|index| all[index * all.len() / taken]).collect::<Vec<_>>())
    }

    fn read(&self, places: &[(usize, usize)]) -> Result<Windows> {
        let (mut tokens, mut targets) = (Vec::with_capacity(places.len() * self.context), Vec::with_capacity(places.len() * self.context));
        for (index, start) in places {
            let window = self.shards[*index].read(*start, self.context + 1, self.vocab).map_err(|why| unreadable(*index, why))?;
            tokens.extend_from_slice(&window[..self.context]);
            targets.extend_from_slice(&window[1..]);
        }
        Ok(Windows { tokens: tokens.into(), targets: targets.into(), windows: places.len(), context: self.context })
    }
}

impl Shard {
    fn read(&self, start: usize, count: usize, vocab: u32) -> std::result::Result<Vec<u32>, String> {
        let tokens: Vec<u32> = match &self.source {
            Source::Memory(tokens) => tokens[start..start + count].iter().map(|token| u32::from(*token)).collect(),
            Source::File(file) => {
                let mut bytes = vec![0; count * TOKEN_BYTES];
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                file.seek(SeekFrom::Start((HEADER_BYTES + start * TOKEN_BYTES) as u64)).map_err(|error| error.to_string())?;
                file.read_exact(&mut bytes).map_err(|error| error.to_string())?;
                bytes.chunks_exact(TOKEN_BYTES).map(|pair| u32::from(u16::from_le_bytes([pair[0], pair[1]]))).collect()
            }
        };
        match tokens.iter().find(|token| **token >= vocab) {
            Some(token) => Err(format!("token {token} is outside the vocabulary of {vocab}")),
            None => Ok(tokens),
        }
    }
}

/// Cuts `text` into shards of at most `tokens_per_shard` tokens: the files' bytes in order, and the manifest that names
/// them.
///
/// # Errors
/// [`TrainingError::BadRequest`] for a text without tokens, more than 65,536 shards or shards of none.
pub fn write_shards(text: &[u8], tokenizer: &Tokenizer, tokens_per_shard: usize) -> Result<(Vec<Vec<u8>>, Manifest)> {
    let tokens = tokenizer.encode(text);
    if tokens.is_empty() || tokens_per_shard == 0 || tokens.len().div_ceil(tokens_per_shard) > MAX_SHARDS {
        return Err(TrainingError::BadRequest(format!(
            "{} tokens cannot be cut into shards of {tokens_per_shard}: there are 1 to {MAX_SHARDS} shards",
            tokens.len()
        )));
    }
    let shards = tokens.chunks(tokens_per_shard).map(|tokens| {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&tokenizer.vocab().to_le_bytes());
        bytes.extend(tokens.iter().flat_map(|token| narrow(*token).to_le_bytes()));
        bytes
    });
    let shards: Vec<Vec<u8>> = shards.collect();
    let hashes = shards.iter().map(|shard| *blake3::hash(shard).as_bytes()).collect();
    let tokenizer_hash = *blake3::hash(tokenizer.to_json(false).as_bytes()).as_bytes();
    Ok((shards, Manifest { vocab: tokenizer.vocab(), tokenizer: tokenizer_hash, shards: hashes }))
}

impl Manifest {
    /// The manifest's file; equal contents are equal bytes.
    #[must_use]
    pub fn to_json(&self) -> String {
        let file = json!({ "format": "starling-shards-1", "vocab": self.vocab, "tokenizer": hex(&self.tokenizer), "shards": self.shards.iter().map(hex).collect::<Vec<_>>() });
        format!("{file:#}\n")
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`TrainingError::Shard`] for a file that is no manifest.
    pub fn from_json(text: &str) -> Result<Self> {
        let bad = |why: &str| TrainingError::Shard { name: "manifest".to_owned(), why: why.to_owned() };
        let file: serde_json::Value = serde_json::from_str(text).map_err(|error| bad(&error.to_string()))?;
        if file["format"] != "starling-shards-1" {
            return Err(bad("it is not of the format starling-shards-1"));
        }
        let hash =
            |value: &serde_json::Value| value.as_str().and_then(|text| blake3::Hash::from_hex(text).ok()).map(|hash| *hash.as_bytes());
        let list = file["shards"].as_array().filter(|list| (1..=MAX_SHARDS).contains(&list.len()));
        let shards: Option<Vec<_>> = list.and_then(|list| list.iter().map(hash).collect());
        let vocab = file["vocab"].as_u64().and_then(|vocab| u32::try_from(vocab).ok());
        match (vocab, hash(&file["tokenizer"]), shards) {
            (Some(vocab), Some(tokenizer), Some(shards)) => Ok(Self { vocab, tokenizer, shards }),
            _ => Err(bad("its vocabulary, its tokenizer's hash or its list of 1 to 65536 hashes is missing")),
        }
    }

    /// The name of shard `index`'s file.
    #[must_use]
    pub fn file_name(&self, index: usize) -> String {
        self.shards.get(index).map_or_else(String::new, hex)
    }
}

fn open(folder: &Path, index: usize, hash: &[u8; 32], vocab: u32) -> Result<Shard> {
    let path = folder.join(hex(hash));
    let fails = |error: std::io::Error| unreadable(index, format!("{}: {error}", path.display()));
    let mut file = File::open(&path).map_err(fails)?;
    let (mut hasher, mut piece, mut head, mut length) = (blake3::Hasher::new(), vec![0; PIECE_BYTES], Vec::new(), 0);
    loop {
        let read = file.read(&mut piece).map_err(fails)?;
        if read == 0 {
            break;
        }
        if head.len() < HEADER_BYTES {
            head.extend_from_slice(&piece[..read.min(HEADER_BYTES)]);
        }
        hasher.update(&piece[..read]);
        length += read;
    }
    let found = hasher.finalize();
    if found.as_bytes() != hash {
        return Err(TrainingError::ShardHashMismatch { index, expected: hex(hash), found: found.to_hex().to_string() });
    }
    let header = [MAGIC.as_slice(), &vocab.to_le_bytes()].concat();
    if !head.starts_with(&header) || !length.is_multiple_of(TOKEN_BYTES) {
        return Err(unreadable(index, format!("it is no shard of a vocabulary of {vocab}")));
    }
    Ok(Shard { tokens: (length - HEADER_BYTES) / TOKEN_BYTES, source: Source::File(Mutex::new(file)) })
}

/// A tokenizer has at most 65,536 tokens.
fn narrow(token: u32) -> u16 {
    u16::try_from(token).unwrap_or(u16::MAX)
}

fn unreadable(index: usize, why: String) -> TrainingError {
    TrainingError::Shard { name: format!("shard {index}"), why }
}

fn hex(hash: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*hash).to_hex().to_string()
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    const SOURCE: &[u8] = include_bytes!("shards.rs");

    fn written() -> (tempfile::TempDir, Manifest, Tokenizer) {
        let tokenizer = Tokenizer::learn(SOURCE, 400).expect("possible");
        let (shards, manifest) = write_shards(SOURCE, &tokenizer, 1_000).expect("cut");
        let folder = tempfile::tempdir().expect("a folder");
        for (index, shard) in shards.iter().enumerate() {
            std::fs::write(folder.path().join(manifest.file_name(index)), shard).expect("written");
        }
        (folder, manifest, tokenizer)
    }

    #[test]
    fn shards__should_stream_the_windows_that_memory_gives() {
        let (folder, manifest, tokenizer) = written();
        assert!(manifest.shards.len() > 2);
        assert_eq!(Manifest::from_json(&manifest.to_json()).expect("readable"), manifest);
        let streamed = Tokens::open(&manifest, folder.path(), &tokenizer, 16).expect("opens");
        let all = streamed.spread(usize::MAX).expect("reads");
        assert_eq!(all.windows, streamed.windows());
        let text = tokenizer.encode(SOURCE);
        assert_eq!(all.tokens[..16], text[..16]);
        assert_eq!(all.targets[..16], text[1..17]);
        let batch = streamed.batch(1, 2, 3, 4).expect("reads");
        assert_eq!(batch, streamed.batch(1, 2, 3, 4).expect("reads"));
        assert_ne!(batch, streamed.batch(1, 2, 4, 4).expect("reads"));
        for (window, targets) in batch.tokens.chunks(16).zip(batch.targets.chunks(16)) {
            let found = text.chunks(1_000).any(|shard| shard.windows(17).any(|run| run[..16] == *window && run[1..] == *targets));
            assert!(found, "a window of one shard");
        }
        let memory = Tokens::of(SOURCE, &tokenizer, 16).expect("long enough");
        assert_eq!(memory.spread(usize::MAX).expect("there").tokens[..800], all.tokens[..800]);
        assert_eq!(memory.text_bytes(&text), SOURCE.len() as u64);
    }

    #[test]
    fn open__should_refuse_damage_and_other_tokenizers() {
        let (folder, manifest, tokenizer) = written();
        let other = Tokenizer::learn(SOURCE, 300).expect("possible");
        assert!(Tokens::open(&manifest, folder.path(), &other, 16).is_err());
        assert!(Tokens::open(&manifest, folder.path(), &tokenizer, 100_000).is_err());
        let path = folder.path().join(manifest.file_name(1));
        let mut bytes = std::fs::read(&path).expect("there");
        bytes[20] ^= 1;
        std::fs::write(&path, bytes).expect("written");
        let refused = || Tokens::open(&manifest, folder.path(), &tokenizer, 16).expect_err("refused");
        assert!(matches!(refused(), TrainingError::ShardHashMismatch { index: 1, .. }));
        std::fs::remove_file(&path).expect("removed");
        assert!(refused().to_string().contains("shard 1"), "{}", refused());
    }
}
