//! The text of `docs/PROOF.md`: one section per proof, replaced whole each time the proof holds again.

use super::{Figure, Proof};

/// The file before its first proof.
pub(super) const EMPTY: &str = "\
# Proofs

What Starling claims, the command that shows it, and what was measured when it last did. The sections are written by
`cargo xtask prove NAME`; do not edit them by hand.
";

/// One proof's section, between marks that [`with_section`] finds again.
pub(super) fn section(proof: &Proof, figures: &[Figure], circumstances: &str) -> String {
    let rows: String = figures.iter().map(|figure| format!("| {} | {} |\n", cell(&figure.what), cell(&figure.value))).collect();
    format!(
        "{}\n## {}\n\n{}\n\n| measured | value |\n|---|---|\n{rows}\n`cargo xtask prove {}`; {circumstances}.\n{}\n",
        opening(proof.name),
        proof.name,
        proof.claim,
        proof.name,
        closing(proof.name),
    )
}

/// `text` with this section in place of the proof's last one, or at the end.
pub(super) fn with_section(text: &str, name: &str, section: &str) -> String {
    let (opening, closing) = (opening(name), closing(name));
    if let Some((before, rest)) = text.split_once(&opening)
        && let Some((_, after)) = rest.split_once(&closing)
    {
        return format!("{before}{section}{}", after.strip_prefix('\n').unwrap_or(after));
    }
    format!("{}\n\n{section}", text.trim_end())
}

fn opening(name: &str) -> String {
    format!("<!-- proof {name} -->")
}

fn closing(name: &str) -> String {
    format!("<!-- end of proof {name} -->")
}

/// A table's cell must not hold the table's own marks.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    const PROOF: Proof = Proof { name: "one", claim: "It holds.", run: || Ok(Vec::new()) };

    fn measured(value: &str) -> String {
        section(&PROOF, &[Figure::new("a|b", value)], "today")
    }

    #[test]
    fn with_section__should_append_then_replace() {
        let first = with_section(EMPTY, "one", &measured("1 s"));
        assert!(first.starts_with(EMPTY.trim_end()) && first.contains("| a\\|b | 1 s |"));
        let with_other = format!("{first}\nafter\n");
        let second = with_section(&with_other, "one", &measured("2 s"));
        assert!(second.contains("2 s") && !second.contains("1 s") && second.ends_with("\nafter\n"));
        assert_eq!(second.matches("## one").count(), 1);
    }

    #[test]
    fn with_section__should_change_nothing_when_nothing_changed() {
        let once = with_section(EMPTY, "one", &measured("1 s"));
        assert_eq!(with_section(&once, "one", &measured("1 s")), once);
    }
}
