//! What the contracts say and store, word for word, against `tests/snapshots`: methods with their arguments, calls and answers, events, and the bytes of each kind of
//! record. What others rely on changes only where a file changes with it.
//!
//! `STARLING_WRITE_SNAPSHOTS=1 cargo test --package starling-tests --test contracts_snapshots` writes the files anew. A record whose bytes changed needs a new version of its
//! form (`contracts/common/src/forms.rs`); an argument or an event that lost a field breaks whoever was built before.

#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

mod abi;
mod rare;
mod story;

use anyhow::ensure;
use std::{env, fs, path::PathBuf};

/// Set to write the files anew.
const WRITE: &str = "STARLING_WRITE_SNAPSHOTS";

/// Compares a text with the file of that name.
fn compare(name: &str, now: &str) -> anyhow::Result<()> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "snapshots", name].iter().collect();
    if env::var_os(WRITE).is_some() {
        fs::write(&path, now)?;
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let differ: Vec<&str> = now.lines().filter(|line| !kept.contains(line)).collect();
    let gone: Vec<&str> = kept.lines().filter(|line| !now.contains(line)).collect();
    ensure!(kept == now, "{} is no longer true.\nNew: {differ:#?}\nGone: {gone:#?}\nIf that should be so: {WRITE}=1", path.display());
    Ok(())
}
