//! The dashboard's page: one template, `frontend/index.html`, which Trunk reads as it is; other builds name other files.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

use super::{bundle::SCRIPTS, hashed_name};
use crate::paths;

/// What the lean build has made.
pub(super) struct Parts<'a> {
    pub(super) bindings: &'a [u8],
    pub(super) module: &'a [u8],
    pub(super) style: &'a [u8],
}

/// The files a page names.
struct Names {
    boot: String,
    bindings: String,
    module: String,
    style: String,
    scripts: Vec<(&'static str, String)>,
}

/// Writes the parts into `folder` under names with their digests, renames what [`super::assets`] has put there, and writes
/// the page last.
pub(super) fn write(folder: &Path, parts: &Parts<'_>) -> Result<()> {
    let font = hash_file(folder, "fonts/inter.woff2")?;
    let style = String::from_utf8(parts.style.to_vec())?.replace("/fonts/inter.woff2", &format!("/{font}"));
    let mut scripts = Vec::new();
    for (name, _) in SCRIPTS {
        scripts.push((name, hash_file(folder, &format!("{name}.js"))?));
    }
    let names = Names {
        boot: hash_file(folder, "boot.js")?,
        bindings: write_hashed(folder, "starling.js", parts.bindings)?,
        module: write_hashed(folder, "starling.wasm", parts.module)?,
        style: write_hashed(folder, "style.css", style.as_bytes())?,
        scripts,
    };
    fs::write(folder.join("index.html"), render(&template()?, &names, true)?)?;
    Ok(())
}

/// The page for the site that cargo-leptos makes, which puts its own files into `pkg/`.
pub(super) fn for_leptos() -> Result<String> {
    let names = Names {
        boot: "boot.js".to_owned(),
        bindings: "pkg/starling.js".to_owned(),
        module: "pkg/starling.wasm".to_owned(),
        style: "pkg/starling.css".to_owned(),
        scripts: SCRIPTS.iter().map(|(name, _)| (*name, format!("{name}.js"))).collect(),
    };
    render(&template()?, &names, false)
}

fn template() -> Result<String> {
    fs::read_to_string(paths::root().join("frontend/index.html")).context("frontend/index.html is missing")
}

/// The template with Trunk's own lines taken out, and with these names instead of Trunk's.
fn render(template: &str, names: &Names, preload: bool) -> Result<String> {
    let mut page = String::new();
    let mut booted = false;
    for line in template.lines() {
        let indent = &line[..line.len() - line.trim_start().len()];
        if line.contains("data-bindings=") {
            booted = true;
            page.push_str(&format!("{indent}<link rel=\"stylesheet\" href=\"/{}\" />\n", names.style));
            if preload {
                page.push_str(&format!("{indent}<link rel=\"modulepreload\" href=\"/{}\" />\n", names.bindings));
                page.push_str(&format!(
                    "{indent}<link rel=\"preload\" href=\"/{}\" as=\"fetch\" type=\"application/wasm\" crossorigin />\n",
                    names.module
                ));
            }
            page.push_str(&format!(
                "{indent}<script type=\"module\" src=\"/{}\" data-bindings=\"/{}\" data-module=\"/{}\"",
                names.boot, names.bindings, names.module
            ));
            for (name, file) in &names.scripts {
                page.push_str(&format!(" data-{name}=\"/{file}\""));
            }
            page.push_str("></script>\n");
        } else if !line.contains("data-trunk") {
            page.push_str(line);
            page.push('\n');
        }
    }
    if !booted {
        bail!("frontend/index.html has no line with data-bindings, which starts the dashboard");
    }
    Ok(page)
}

/// Renames a file of `folder` to carry its digest; returns the new name.
fn hash_file(folder: &Path, name: &str) -> Result<String> {
    let bytes = fs::read(folder.join(name)).with_context(|| format!("{name} was not made"))?;
    let hashed = hashed_name(name, &bytes);
    fs::rename(folder.join(name), folder.join(&hashed))?;
    Ok(hashed)
}

fn write_hashed(folder: &Path, name: &str, bytes: &[u8]) -> Result<String> {
    let hashed = hashed_name(name, bytes);
    fs::write(folder.join(&hashed), bytes)?;
    Ok(hashed)
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    fn names() -> Names {
        Names {
            boot: "b.js".into(),
            bindings: "s.js".into(),
            module: "s.wasm".into(),
            style: "s.css".into(),
            scripts: vec![("wallet", "w.js".into())],
        }
    }

    #[test]
    fn render__should_name_the_built_files_and_nothing_of_trunk() {
        let page = render(&template().unwrap(), &names(), false).unwrap();
        assert!(!page.contains("data-trunk") && !page.contains("starling-frontend"));
        assert!(page.contains("<link rel=\"stylesheet\" href=\"/s.css\" />"));
        assert!(page.contains(
            "<script type=\"module\" src=\"/b.js\" data-bindings=\"/s.js\" data-module=\"/s.wasm\" data-wallet=\"/w.js\"></script>"
        ));
    }

    #[test]
    fn render__should_refuse_a_template_that_starts_nothing() {
        assert!(render("<html></html>", &names(), false).is_err());
    }

    #[test]
    fn template__should_have_no_inline_script() {
        // The coordinator's content security policy would block it.
        let template = template().unwrap();
        assert!(template.split("<script").skip(1).all(|script| script.split('>').next().unwrap().contains("src=")));
    }
}
