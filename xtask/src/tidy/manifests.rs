//! Members' manifests: versions, features, lints and profiles stand at the root alone.

/// External libraries whose features a member may choose, because another member must not have them.
const OWN_FEATURES: &[(&str, &str)] = &[
    // The browser's random numbers; native programs take the system's.
    ("frontend/Cargo.toml", "getrandom"),
];

/// Findings in one member's manifest.
pub(super) fn check(path: &str, text: &str) -> Vec<String> {
    let mut findings = Vec::new();
    let mut section = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_matches(['[', ']']).to_owned();
            if section.starts_with("profile") || section.starts_with("patch") {
                findings.push(format!("{path}: [{section}] belongs into the root manifest"));
            }
        } else if section.ends_with("dependencies") {
            findings.extend(dependency_finding(path, line));
        }
    }
    if !text.contains("[lints]\nworkspace = true") {
        findings.push(format!("{path}: takes no lints from the workspace ([lints] workspace = true)"));
    }
    findings
}

fn dependency_finding(path: &str, line: &str) -> Option<String> {
    let (key, value) = line.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    if key.strip_suffix(".workspace").is_some() && value == "true" {
        return None;
    }
    if !value.starts_with('{') || !value.contains("workspace = true") {
        return Some(format!("{path}: `{key}` must come from the root manifest (`{key}.workspace = true`)"));
    }
    let may = key.starts_with("starling-") || OWN_FEATURES.contains(&(path, key));
    (value.contains("features") && !may)
        .then(|| format!("{path}: `{key}` has features of its own; put them into the root manifest, so that it is built once"))
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    fn findings(dependency_lines: &str) -> Vec<String> {
        check("crates/x/Cargo.toml", &format!("[lints]\nworkspace = true\n\n[dependencies]\n{dependency_lines}\n"))
    }

    #[test]
    fn check__should_accept_what_comes_from_the_root() {
        assert_eq!(findings("serde.workspace = true"), [""; 0]);
        assert_eq!(findings("tokio = { workspace = true, optional = true }"), [""; 0]);
        assert_eq!(findings("starling-contract-api = { workspace = true, features = [\"rpc\"] }"), [""; 0]);
    }

    #[test]
    fn check__should_refuse_versions_paths_and_features() {
        for line in [
            "serde = \"1\"",
            "serde = { version = \"1\" }",
            "starling-primitives = { path = \"../primitives\" }",
            "tokio = { workspace = true, features = [\"full\"] }",
        ] {
            assert_eq!(findings(line).len(), 1, "{line}");
        }
    }

    #[test]
    fn check__should_refuse_profiles_and_missing_lints() {
        assert_eq!(check("x/Cargo.toml", "[profile.dev]\nopt-level = 0\n").len(), 2);
    }
}
