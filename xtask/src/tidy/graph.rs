//! Who may depend on whom. Dependencies point one way, and heavy or telling libraries have owners.

use anyhow::{Context, Result};
use serde_json::Value;

/// A workspace member and what it names in its manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) dependencies: Vec<Dependency>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dependency {
    pub(super) name: String,
    /// Used by tests alone.
    pub(super) dev: bool,
}

const CONTRACT: &[&str] = &["primitives", "protocol", "contract-api", "contract-common"];

/// Every member and the members that it may use, all without the prefix `starling-`. A member that is not here is a finding:
/// a new one takes its place in the order first.
const MEMBERS: &[(&str, &[&str])] = &[
    ("primitives", &[]),
    ("protocol", &["primitives"]),
    ("limits", &["primitives"]),
    ("sensors", &["primitives", "limits"]),
    ("rounds", &["primitives"]),
    ("json", &[]),
    ("schedules", &["primitives"]),
    ("archives", &[]),
    ("sandbox", &[]),
    ("tls", &[]),
    ("contract-api", &["primitives", "protocol"]),
    ("scripts", &["primitives", "archives"]),
    ("http-api", &["primitives", "protocol", "contract-api", "scripts", "limits"]),
    ("browse", &["primitives", "protocol", "contract-api", "http-api"]),
    ("training", &["primitives", "rounds", "archives"]),
    ("simulator", &["primitives", "protocol", "rounds", "http-api", "training"]),
    ("localnet", &["primitives"]),
    ("contract-common", &["primitives", "protocol", "contract-api", "json"]),
    ("billing", CONTRACT),
    ("compute", CONTRACT),
    ("hub", CONTRACT),
    ("market", CONTRACT),
    ("scripted", CONTRACT),
    ("standards", &[]),
    ("frontend", &["primitives", "protocol", "contract-api", "http-api", "browse", "scripts"]),
    ("coordinator", &["json", "primitives", "protocol", "rounds", "contract-api", "http-api", "tls"]),
    (
        "gpu-node",
        &["primitives", "protocol", "rounds", "contract-api", "http-api", "training", "sandbox", "scripts", "limits", "sensors", "tls"],
    ),
    ("cli", &["primitives", "protocol", "rounds", "contract-api", "http-api", "browse", "localnet", "scripts", "schedules", "tls"]),
    ("tests", &["primitives", "protocol", "rounds", "contract-api", "http-api", "localnet"]),
    ("xtask", &["training"]),
];

/// What tests of any member may use besides.
const FOR_TESTS: &[&str] = &["localnet"];

const CONTRACTS: &[&str] = &["contract-common", "billing", "compute", "hub", "market", "scripted", "standards"];

/// Families of libraries that only these members may name.
const OWNED: &[(&str, &[&str])] = &[
    ("near-sdk", CONTRACTS),
    ("near-contract-standards", CONTRACTS),
    ("sqlx", &["coordinator"]),
    ("candle", &["training", "gpu-node", "xtask"]),
    ("leptos", &["frontend"]),
    ("near-vm-runner", &["localnet"]),
    // One typed error per boundary; only programs and tests may forget what an error was.
    ("anyhow", &["coordinator", "gpu-node", "cli", "tests", "xtask"]),
];

/// Reads the members out of what `cargo metadata --no-deps` prints.
pub(super) fn packages(metadata: &Value) -> Result<Vec<Package>> {
    let packages = metadata["packages"].as_array().context("metadata names no packages")?;
    packages
        .iter()
        .map(|package| {
            let dependencies = package["dependencies"].as_array().context("a package names no dependencies")?;
            Ok(Package {
                name: package["name"].as_str().context("a package has no name")?.to_owned(),
                dependencies: dependencies.iter().map(dependency).collect::<Result<_>>()?,
            })
        })
        .collect()
}

fn dependency(value: &Value) -> Result<Dependency> {
    Ok(Dependency { name: value["name"].as_str().context("a dependency has no name")?.to_owned(), dev: value["kind"] == "dev" })
}

/// One sentence for each edge that should not be.
pub(super) fn check(packages: &[Package]) -> Vec<String> {
    let mut findings = Vec::new();
    for package in packages {
        let short = short(&package.name);
        let Some((_, allowed)) = MEMBERS.iter().find(|(member, _)| *member == short) else {
            findings.push(format!("{}: has no place in the order of dependencies (xtask/src/tidy/graph.rs)", package.name));
            continue;
        };
        for dependency in &package.dependencies {
            findings.extend(edge_finding(short, allowed, dependency));
        }
    }
    findings
}

fn edge_finding(member: &str, allowed: &[&str], dependency: &Dependency) -> Option<String> {
    let name = dependency.name.as_str();
    if let Some(other) = name.strip_prefix("starling-") {
        let fine = allowed.contains(&other) || (dependency.dev && FOR_TESTS.contains(&other));
        return (!fine).then(|| format!("{member}: must not depend on {other}; it may on {allowed:?}"));
    }
    let (_, owners) = OWNED.iter().find(|(family, _)| is_of_family(name, family))?;
    (!owners.contains(&member)).then(|| format!("{member}: must not depend on {name}; only {owners:?} may"))
}

/// `sqlx` and `sqlx-core` are of the family `sqlx`; `sqlxmq` is not.
fn is_of_family(name: &str, family: &str) -> bool {
    name.strip_prefix(family).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '_']))
}

fn short(name: &str) -> &str {
    name.strip_prefix("starling-").unwrap_or(name)
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use serde_json::json;

    use super::*;

    /// The findings for one member that names these dependencies, as `(name, kind)`.
    fn findings(member: &str, dependencies: &[(&str, Option<&str>)]) -> Vec<String> {
        let dependencies: Vec<Value> = dependencies.iter().map(|(name, kind)| json!({ "name": name, "kind": kind })).collect();
        check(&packages(&json!({ "packages": [{ "name": member, "dependencies": dependencies }] })).unwrap())
    }

    #[test]
    fn check__should_accept_the_allowed_direction() {
        assert_eq!(findings("starling-protocol", &[("starling-primitives", None), ("serde", None)]), [""; 0]);
        assert_eq!(findings("starling-billing", &[("near-sdk", None), ("starling-protocol", None)]), [""; 0]);
        assert_eq!(findings("starling-gpu-node", &[("starling-training", None), ("candle-core", None)]), [""; 0]);
    }

    #[test]
    fn check__should_refuse_the_other_direction() {
        assert_eq!(findings("starling-primitives", &[("starling-protocol", None)]).len(), 1);
        assert_eq!(findings("starling-protocol", &[("starling-rounds", None)]).len(), 1);
    }

    #[test]
    fn check__should_refuse_a_program_that_depends_on_a_program() {
        for program in ["starling-coordinator", "starling-gpu-node", "starling-cli"] {
            assert_eq!(findings("starling-tests", &[(program, None)]).len(), 1, "{program}");
            assert_eq!(findings("starling-tests", &[(program, Some("dev"))]).len(), 1, "{program}");
        }
    }

    #[test]
    fn check__should_leave_libraries_to_their_owners() {
        for (member, library) in [
            ("starling-protocol", "near-sdk"),
            ("starling-cli", "sqlx"),
            ("starling-coordinator", "candle-core"),
            ("starling-coordinator", "leptos_router"),
            ("starling-tests", "near-vm-runner"),
            ("starling-rounds", "anyhow"),
        ] {
            assert_eq!(findings(member, &[(library, Some("dev"))]).len(), 1, "{member} {library}");
        }
    }

    #[test]
    fn check__should_let_tests_start_the_embedded_chain() {
        assert_eq!(findings("starling-coordinator", &[("starling-localnet", Some("dev"))]), [""; 0]);
        assert_eq!(findings("starling-coordinator", &[("starling-localnet", None)]).len(), 1);
    }

    #[test]
    fn check__should_refuse_a_member_without_a_place() {
        assert_eq!(findings("starling-surprise", &[]).len(), 1);
    }
}
