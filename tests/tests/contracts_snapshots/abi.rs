//! The entry methods as they are written: names, arguments and their types, answers, and who may call.

use crate::compare;
use anyhow::{Context as _, ensure};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What one contract's entry methods are written in.
const SOURCES: &[(&str, &[&str])] = &[
    ("billing", &["billing/src", "common/src/upgrade.rs"]),
    ("compute", &["compute/src", "common/src/upgrade.rs"]),
    ("hub", &["hub/src", "common/src/listings", "common/src/upgrade.rs"]),
    ("market", &["market/src", "common/src/listings", "common/src/upgrade.rs"]),
];

fn contracts() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "contracts"].iter().collect()
}

/// The Rust files of a folder, or the one file.
fn files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).with_context(|| format!("{} is gone", path.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// The entry methods in a file: those of `impl Contract` under `#[near]`, on one line each, with their attributes in front.
fn methods(source: &str) -> Vec<String> {
    let (mut found, mut lines) = (Vec::new(), source.lines().map(str::trim).peekable());
    while let Some(line) = lines.next() {
        let starts = matches!(line, "#[near]" | "#[::near_sdk::near]") && lines.peek() == Some(&"impl Contract {");
        if !starts {
            continue;
        }
        let mut depth = 0_i32;
        let mut attributes = Vec::new();
        while let Some(line) = lines.next() {
            let at_top = depth == 1;
            depth += line.chars().map(|character| i32::from(character == '{') - i32::from(character == '}')).sum::<i32>();
            if at_top && line.starts_with("#[") {
                attributes.push(line.trim_matches(['#', '[', ']']).to_owned());
            }
            if at_top && let Some(mut signature) = line.strip_prefix("pub fn ").map(str::to_owned) {
                while !signature.contains('{') {
                    let next = lines.next().unwrap_or("{");
                    depth += next.chars().map(|character| i32::from(character == '{') - i32::from(character == '}')).sum::<i32>();
                    signature = format!("{signature} {next}");
                }
                let signature = signature.split('{').next().unwrap_or_default().trim().replace("( ", "(").replace(", )", ")");
                let marks: String = attributes.drain(..).map(|mark| format!(" [{mark}]")).collect();
                found.push(format!("{}{marks}", plain(&signature)));
            }
            if depth == 0 {
                break;
            }
        }
    }
    found
}

/// A signature without paths, and with the receiver as who may be changed: `&self` reads, `&mut self` writes.
fn plain(signature: &str) -> String {
    ["::starling_primitives::", "::starling_protocol::upgrade::", "::near_sdk::"]
        .iter()
        .fold(signature.to_owned(), |text, path| text.replace(path, ""))
}

#[test]
fn abi__should_be_that_in_the_file() -> anyhow::Result<()> {
    let mut text = String::new();
    for (contract, sources) in SOURCES {
        let mut all = Vec::new();
        for source in *sources {
            for file in files(&contracts().join(source))? {
                all.extend(methods(&fs::read_to_string(file)?));
            }
        }
        all.sort();
        ensure!(all.len() > 20, "{contract} has {} methods only", all.len());
        // What is exported besides is near-sdk's own.
        let named: BTreeSet<&str> = all.iter().filter_map(|method| method.split('(').next()).collect();
        let exported = exported(contract)?;
        let exported: BTreeSet<&str> = exported.iter().map(String::as_str).filter(|name| *name != "contract_source_metadata").collect();
        ensure!(named == exported, "{contract} exports {:?} besides, and lacks {:?}", &exported - &named, &named - &exported);
        for method in all {
            text.push_str(&format!("{contract}.{method}\n"));
        }
    }
    compare("abi.txt", &text)
}

/// The methods that a contract exports, as `tests/methods.txt` has them, which a test compares with the wasm.
fn exported(contract: &str) -> anyhow::Result<Vec<String>> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "methods.txt"].iter().collect();
    let names = fs::read_to_string(path)?;
    Ok(names.lines().filter_map(|line| line.strip_prefix(&format!("{contract}."))).map(str::to_owned).collect())
}
