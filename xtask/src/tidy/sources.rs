//! Rules for single files: what a stranger may count on when opening any of them.

/// A longer file says why in a line that starts with [`REASON`].
const MAX_LINES: usize = 500;
const REASON: &str = "//! Long because ";

/// What has no place in a file of this repository, in pieces so that this file passes its own rule, and why.
const FORBIDDEN: &[(&[&str], &str)] = &[
    (&["registry.", "npmjs.org"], "names a package registry's host"),
    (&["registry.", "yarnpkg.com"], "names a package registry's host"),
    (&["static.", "crates.io"], "names a package registry's host"),
    (&["index.", "crates.io"], "names a package registry's host"),
    (&["files.", "pythonhosted.org"], "names a package registry's host"),
    (&["deb.", "debian.org"], "names a package registry's host"),
    (&["/ro", "ot/"], "names a path of one machine"),
    (&["/ho", "me/"], "names a path of one machine"),
    (&["/work", "/main"], "names a path of one machine"),
    (&["/work", "/shared"], "names a path of one machine"),
];

/// Macros that stand for work not done.
const UNDONE: &[&[&str]] = &[&["todo", "!("], &["unimplemented", "!("]];

/// Findings in one text file.
pub(super) fn check(path: &str, text: &str) -> Vec<String> {
    // Made by package managers, from what they were given.
    if path == "Cargo.lock" || path == "package-lock.json" {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (pieces, what) in FORBIDDEN {
        findings.extend(places(path, text, &pieces.concat()).map(|place| format!("{place}: {what}")));
    }
    if path.ends_with(".rs") {
        if !text.starts_with("//!") {
            findings.push(format!("{path}:1: the first line says what the file is (`//! ...`)"));
        }
        if text.lines().count() > MAX_LINES && !text.lines().any(|line| line.starts_with(REASON)) {
            findings.push(format!("{path}: more than {MAX_LINES} lines; split it, or say why (`{REASON}...`)"));
        }
        for pieces in UNDONE {
            let undone = pieces.concat();
            findings.extend(places(path, text, &undone).map(|place| format!("{place}: `{undone}` is work not done")));
        }
    }
    findings
}

/// `path:line` of each line that contains `wanted`.
fn places<'a>(path: &'a str, text: &'a str, wanted: &'a str) -> impl Iterator<Item = String> + 'a {
    text.lines().enumerate().filter(move |(_, line)| line.contains(wanted)).map(move |(index, _)| format!("{path}:{}", index + 1))
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn check__should_accept_a_file_that_says_what_it_is() {
        assert_eq!(check("src/lib.rs", "//! Money.\n"), [""; 0]);
    }

    #[test]
    fn check__should_want_a_first_line() {
        assert_eq!(check("src/lib.rs", "use x;\n").len(), 1);
        assert_eq!(check("docs/a.md", "# A\n"), [""; 0]);
    }

    #[test]
    fn check__should_refuse_long_files() {
        assert_eq!(check("src/lib.rs", &format!("//! Long.\n{}", "\n".repeat(MAX_LINES))).len(), 1);
    }

    #[test]
    fn check__should_name_the_line_of_hosts_paths_and_undone_work() {
        for (pieces, _) in FORBIDDEN {
            let found = check("docs/a.md", &format!("one\nsee {}x\n", pieces.concat()));
            assert_eq!(found.len(), 1, "{pieces:?}");
            assert!(found[0].starts_with("docs/a.md:2: "), "{}", found[0]);
        }
        for pieces in UNDONE {
            assert_eq!(check("src/lib.rs", &format!("//! X.\n{}\"later\");\n", pieces.concat())).len(), 1);
        }
    }
}
