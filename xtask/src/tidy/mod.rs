//! `cargo xtask tidy`: the rules of this house that no compiler knows. Each finding names the file and the rule.

mod graph;
mod manifests;
mod sources;

use std::fs;

use anyhow::{Context, Result, bail};

use crate::{
    command::{command, output},
    paths,
};

/// Checks dependencies, manifests and files; prints every finding.
///
/// # Errors
/// There is a finding, or the checkout could not be read.
pub(crate) fn tidy() -> Result<()> {
    let mut findings = dependency_findings()?;
    for name in tracked_files()? {
        let path = paths::root().join(&name);
        // Deleted but not yet committed, or bytes that are no text: nothing to read.
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        if name.ends_with("Cargo.toml") && name != "Cargo.toml" {
            findings.extend(manifests::check(&name, &text));
        }
        findings.extend(sources::check(&name, &text));
    }
    for finding in &findings {
        eprintln!("{finding}");
    }
    if !findings.is_empty() {
        bail!("tidy found {} thing(s) to mend", findings.len());
    }
    println!("tidy");
    Ok(())
}

fn dependency_findings() -> Result<Vec<String>> {
    let text = output(command("cargo").args(["metadata", "--format-version", "1", "--no-deps", "--offline"]))?;
    let metadata = serde_json::from_str(&text).context("cargo metadata is not the JSON it promises")?;
    Ok(graph::check(&graph::packages(&metadata)?))
}

/// Files under version control, and new ones that are not ignored.
fn tracked_files() -> Result<Vec<String>> {
    let list = output(command("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]))?;
    Ok(list.lines().map(str::to_owned).collect())
}
