//! `requirements.txt` within what a job may ask for: names and versions from the package index, as wheels. What reaches beyond is refused with its line.

use std::collections::BTreeSet;

const MAX_BYTES: usize = 2 << 20;
const MAX_REQUIREMENTS: usize = 2_000;
const MAX_HASHES: usize = 200;

/// Why requirements are not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequirementsError {
    /// A line that a job may not have.
    #[error("line {line}, `{text}`: {why}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// The line, cut.
        text: String,
        /// Why, and what to do.
        why: &'static str,
    },
    /// More than is read.
    #[error("more than {MAX_REQUIREMENTS} requirements or {MAX_BYTES} bytes")]
    TooLong,
}

/// One package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Requirement {
    /// Its name, as the index normalises it.
    pub name: String,
    /// Name, extras, versions and marker in canonical form.
    pub text: String,
    /// `sha256:...` that its files must have; none if left open.
    pub hashes: Vec<String>,
}

/// All packages of a job, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Requirements {
    list: Vec<Requirement>,
}

impl Requirements {
    /// Reads a file.
    ///
    /// # Errors
    /// The first line that is not taken.
    pub fn read(text: &str) -> Result<Self, RequirementsError> {
        if text.len() > MAX_BYTES {
            return Err(RequirementsError::TooLong);
        }
        let mut list = BTreeSet::new();
        for (line, text) in logical_lines(text) {
            let refused = |why| RequirementsError::Line { line, text: text.chars().take(120).collect(), why };
            if let Some(requirement) = read_line(&text).map_err(refused)? {
                list.insert(requirement);
            }
            if list.len() > MAX_REQUIREMENTS {
                return Err(RequirementsError::TooLong);
            }
        }
        Ok(Self { list: list.into_iter().collect() })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The packages, sorted by name.
    pub fn list(&self) -> &[Requirement] {
        &self.list
    }

    /// Whether every package is pinned to files by their hashes.
    pub fn is_locked(&self) -> bool {
        !self.list.is_empty() && self.list.iter().all(|requirement| !requirement.hashes.is_empty())
    }

    /// The file that is given to the resolver: nothing stands in it that was not understood. Equal requirements are equal texts.
    pub fn canonical(&self) -> String {
        let mut out = String::new();
        for requirement in &self.list {
            out.push_str(&requirement.text);
            for hash in &requirement.hashes {
                out.push_str(" --hash=");
                out.push_str(hash);
            }
            out.push('\n');
        }
        out
    }
}

/// Lines without comments, those that end with a backslash joined; with the number of their first line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut out = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        let line = match line.find('#') {
            Some(0) => "",
            Some(at) if line[..at].ends_with(char::is_whitespace) => &line[..at],
            _ => line,
        };
        let (number, mut whole) = open.take().unwrap_or((index + 1, String::new()));
        let goes_on = line.trim_end().ends_with('\\');
        whole.push_str(line.trim_end().trim_end_matches('\\'));
        whole.push(' ');
        if goes_on {
            open = Some((number, whole));
        } else if !whole.trim().is_empty() {
            out.push((number, whole.trim().to_owned()));
        }
    }
    out.extend(open.filter(|(_, whole)| !whole.trim().is_empty()).map(|(number, whole)| (number, whole.trim().to_owned())));
    out
}

fn read_line(line: &str) -> Result<Option<Requirement>, &'static str> {
    if line.contains("${") {
        return Err("variables are not filled in: write the value");
    }
    if line.starts_with('-') {
        return option(line).map(|()| None);
    }
    let (spec, options) = line.split_once(" --").map_or((line, None), |(spec, rest)| (spec, Some(rest)));
    let mut hashes = Vec::new();
    for option in options.into_iter().flat_map(|rest| rest.split(" --")) {
        let hash = option
            .strip_prefix("hash")
            .map(|rest| rest.trim_start_matches(['=', ' ']).trim())
            .ok_or("this option is not taken: only --hash is")?;
        let hex = hash.strip_prefix("sha256:").ok_or("write hashes as sha256:...")?;
        if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("a sha256 has 64 hexadecimal digits");
        }
        hashes.push(format!("sha256:{}", hex.to_ascii_lowercase()));
    }
    if hashes.len() > MAX_HASHES {
        return Err("more than 200 hashes");
    }
    hashes.sort();
    hashes.dedup();
    let (name, text) = specifier(spec.trim())?;
    Ok(Some(Requirement { name, text, hashes }))
}

/// The options that change nothing here are passed over; all others are refused, each with its reason.
fn option(line: &str) -> Result<(), &'static str> {
    let name = line.split(['=', ' ']).next().unwrap_or_default();
    match name {
        "--require-hashes" => Ok(()),
        "--only-binary" if line.contains(":all:") => Ok(()),
        "-e" | "--editable" => {
            Err("editable installs run code of their own: put the package's folder into the upload and import it from there")
        }
        "-r" | "--requirement" | "-c" | "--constraint" => Err("other files are not read: put all requirements into this one"),
        "-i" | "--index-url" | "--extra-index-url" | "--no-index" | "-f" | "--find-links" | "--trusted-host" => {
            Err("only the node's own package index is asked: leave the line out")
        }
        "--no-binary" => Err("only wheels are taken, nothing is built: choose a version that has a wheel"),
        _ => Err("this option is not taken: leave the line out"),
    }
}

/// Name and canonical text of `name[extras] versions ; marker` (PEP 508 without direct references).
fn specifier(spec: &str) -> Result<(String, String), &'static str> {
    let lower = spec.to_ascii_lowercase();
    if ["git+", "hg+", "svn+", "bzr+"].iter().any(|scheme| lower.contains(scheme)) {
        return Err("repositories are not fetched: put the code into the upload, or name a version from the package index");
    }
    let (body, marker) = spec.split_once(';').map_or((spec, None), |(body, marker)| (body.trim(), Some(marker.trim())));
    if lower.contains("://") || lower.contains("file:") || body.contains('@') {
        return Err("direct addresses are not fetched: name a version from the package index");
    }
    let file = [".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2"].iter().any(|end| body.to_ascii_lowercase().ends_with(end));
    if body.starts_with('.') || body.contains(['/', '\\', '~']) && !body.contains("~=") || file {
        return Err("files and folders are not installed: put the code into the upload, or name a version from the package index");
    }
    let end = body.find(|letter: char| !(letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-'))).unwrap_or(body.len());
    let (name, rest) = body.split_at(end);
    let name = name.to_ascii_lowercase().replace(['_', '.'], "-");
    if name.is_empty() || name.len() > 128 || name.starts_with('-') || name.ends_with('-') {
        return Err("this is no package name");
    }
    let mut rest = rest.trim();
    let mut text = name.clone();
    if let Some(inner) = rest.strip_prefix('[') {
        let (extras, after) = inner.split_once(']').ok_or("the bracket of the extras is not closed")?;
        let mut extras: Vec<&str> = extras.split(',').map(str::trim).collect();
        if extras.iter().any(|extra| extra.is_empty() || !extra.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)))
        {
            return Err("these extras are no names");
        }
        extras.sort_unstable();
        text.push_str(&format!("[{}]", extras.join(",")));
        rest = after.trim();
    }
    let rest = rest.strip_prefix('(').and_then(|inner| inner.strip_suffix(')')).unwrap_or(rest);
    let mut versions = Vec::new();
    for part in rest.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        versions.push(version(part)?);
    }
    versions.sort();
    text.push_str(&versions.join(","));
    if let Some(marker) = marker.filter(|marker| !marker.is_empty()) {
        let known = |letter: char| letter.is_ascii_alphanumeric() || " ._-<>=!~'\"()*+".contains(letter);
        if marker.len() > 500 || !marker.chars().all(known) {
            return Err("the marker behind `;` is not understood");
        }
        text.push_str("; ");
        text.push_str(&marker.split_whitespace().collect::<Vec<_>>().join(" "));
    }
    Ok((name, text))
}

fn version(part: &str) -> Result<String, &'static str> {
    let operator = ["===", "==", "~=", "!=", "<=", ">=", "<", ">"].iter().find(|operator| part.starts_with(**operator));
    let operator = operator.ok_or("write versions with ==, >=, ~= and the like")?;
    let number = part[operator.len()..].trim();
    if number.is_empty() || number.len() > 64 || !number.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".*+!-_".contains(&byte)) {
        return Err("this is no version");
    }
    Ok(format!("{operator}{number}"))
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn requirements__should_be_equal_however_they_are_written() {
        let one = "# what we need\nScikit_Learn >= 1.4 , <2\nnumpy\n\nuvicorn[standard,  a] ==0.30.*; python_version >= '3.9'  # server\n";
        let two = "uvicorn[a,standard]==0.30.* ; python_version >=  '3.9'\r\nnumpy\nscikit-learn<2,>=1.4\nnumpy\n";
        let (one, two) = (Requirements::read(one).expect("fine"), Requirements::read(two).expect("fine"));
        assert_eq!(one.canonical(), "numpy\nscikit-learn<2,>=1.4\nuvicorn[a,standard]==0.30.*; python_version >= '3.9'\n");
        assert_eq!(one.list().len(), 3);
        assert_eq!(two.list().len(), 3);
        assert!(!one.is_locked());
    }

    #[test]
    fn requirements__should_keep_hashes_and_joined_lines() {
        let hash = "A".repeat(64);
        let text = format!(
            "--require-hashes\n--only-binary :all:\nnumpy==2.1.0 \\\n    --hash=sha256:{hash} \\\n    --hash=sha256:{}\n",
            "0".repeat(64)
        );
        let read = Requirements::read(&text).expect("a lock file");
        assert!(read.is_locked());
        assert_eq!(read.canonical(), format!("numpy==2.1.0 --hash=sha256:{} --hash=sha256:{}\n", "0".repeat(64), hash.to_lowercase()));
    }

    #[test]
    fn requirements__should_refuse_all_that_leaves_the_index_and_name_the_line() {
        for (text, word) in [
            ("git+https://example.org/x.git", "repositories"),
            ("x @ git+ssh://example.org/x", "repositories"),
            ("x @ https://example.org/x-1-py3-none-any.whl", "direct addresses"),
            ("x@file:///etc/passwd", "direct addresses"),
            ("https://example.org/x.tar.gz", "direct addresses"),
            ("./local", "files and folders"),
            ("../up", "files and folders"),
            ("local/package", "files and folders"),
            ("x-1-py3-none-any.whl", "files and folders"),
            ("-e .", "editable"),
            ("--editable=git+https://example.org/x", "editable"),
            ("-r more.txt", "other files"),
            ("-c limits.txt", "other files"),
            ("--index-url https://example.org/simple", "package index"),
            ("-i https://example.org/simple", "package index"),
            ("--extra-index-url=https://example.org/simple", "package index"),
            ("--find-links wheels", "package index"),
            ("--trusted-host example.org", "package index"),
            ("--no-binary :all:", "only wheels"),
            ("--pre", "not taken"),
            ("numpy --global-option=x", "only --hash"),
            ("numpy --hash=md5:00", "sha256"),
            ("numpy==${VERSION}", "variables"),
            ("numpy 1.0", "versions"),
            ("numpy==1; os_name == `id`", "marker"),
            ("$(id)", "no package name"),
        ] {
            let error = Requirements::read(&format!("numpy\n\n{text}\n")).expect_err(text).to_string();
            assert!(error.contains(word) && error.starts_with("line 3,"), "{text}: {error}");
        }
        assert_eq!(Requirements::read(&"a\n".repeat(2 << 20)), Err(RequirementsError::TooLong));
    }

    #[test]
    fn requirements__should_take_ordinary_ones() {
        for text in [
            "torch",
            "a.b_c-d~=1.2",
            "x!=1.0,>=0.9",
            "x (>=1)",
            "x===1.0+cpu",
            "\u{feff}".trim_start_matches('\u{feff}'),
            "# only a comment",
        ] {
            assert!(Requirements::read(text).is_ok(), "{text}");
        }
    }
}
