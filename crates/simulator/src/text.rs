//! What the simulated nodes train on: a folder's sources, or synthetic text that is the same for ever.

use std::{fs, io, path::Path};

use crate::chance::Chance;

const WORDS: u64 = 40;
const FOLLOWERS: u64 = 3;

/// Synthetic text of about `bytes` bytes: a chain of made-up words, each with three that may follow it.
pub fn synthetic(seed: u64, bytes: usize) -> Vec<u8> {
    let chance = Chance::new(seed);
    let word = |number: u64| -> Vec<u8> {
        let letters = 2 + chance.bits("length", &[number]) % 6;
        (0..letters).map(|place| b"etaoinshrdlucmfw"[(chance.bits("letter", &[number, place]) % 16) as usize]).collect()
    };
    let words: Vec<Vec<u8>> = (0..WORDS).map(word).collect();
    let (mut text, mut now) = (Vec::with_capacity(bytes + 8), 0);
    for place in 0.. {
        text.extend_from_slice(usize::try_from(now).ok().and_then(|now| words.get(now)).map_or(b"", Vec::as_slice));
        text.push(b' ');
        if text.len() >= bytes {
            break;
        }
        now = chance.bits("follower", &[now, chance.bits("choice", &[place]) % FOLLOWERS]) % WORDS;
    }
    text
}

/// All files below a folder that end in `.rs`, in the order of their paths, one after another.
pub fn rust_sources(folder: &Path) -> io::Result<Vec<u8>> {
    let mut entries: Vec<_> = fs::read_dir(folder)?.collect::<io::Result<_>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    let mut text = Vec::new();
    for entry in entries {
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            text.extend(rust_sources(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.extend(fs::read(&path)?);
        }
    }
    Ok(text)
}
