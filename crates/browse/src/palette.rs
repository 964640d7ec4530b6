//! What the palette offers for the letters that someone typed.

/// As many entries as are shown at once.
pub const MOST: usize = 12;

/// The places of the entries that hold every typed word, best first: those whose name begins with what was typed, then those of which a word begins with
/// each typed one, then the others; equal ones as they stand. All, up to [`MOST`], while nothing is typed.
pub fn choose<'a>(typed: &str, entries: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<usize> {
    let typed = typed.trim().to_lowercase();
    let words: Vec<&str> = typed.split_whitespace().collect();
    let rank = |(name, about): (&str, &str)| {
        let (name, about) = (name.to_lowercase(), about.to_lowercase());
        let begins = |word: &&str| name.split(|letter: char| !letter.is_alphanumeric()).any(|part| part.starts_with(word));
        match () {
            () if !words.iter().all(|word| name.contains(word) || about.contains(word)) => None,
            () if name.starts_with(&typed) => Some(0),
            () if words.iter().all(begins) => Some(1),
            () => Some(2),
        }
    };
    let mut found: Vec<(i32, usize)> = entries.enumerate().filter_map(|(place, entry)| Some((rank(entry)?, place))).collect();
    found.sort_unstable();
    found.into_iter().map(|(_, place)| place).take(MOST).collect()
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    const ENTRIES: [(&str, &str); 5] = [
        ("Publish a model", "page"),
        ("Models", "page"),
        ("Small Rust", "model ada.starling/small-rust"),
        ("Run 12", "run, finished"),
        ("Run code", "page"),
    ];

    fn check(typed: &str, expect: &[&str]) {
        let found: Vec<&str> = choose(typed, ENTRIES.into_iter()).into_iter().map(|place| ENTRIES[place].0).collect();
        assert_eq!(found, expect, "{typed}");
    }

    #[test]
    fn palette__should_offer_what_holds_all_words_best_first() {
        check("mod", &["Models", "Publish a model", "Small Rust"]);
        check("run", &["Run 12", "Run code"]);
        check(" RUN  co ", &["Run code"]);
        check("ada rust", &["Small Rust"]);
        check("nothing of the kind", &[]);
        check("", &["Publish a model", "Models", "Small Rust", "Run 12", "Run code"]);
    }

    #[test]
    fn palette__should_show_no_more_than_fit() {
        let many = vec![("Run", "run"); 100];
        assert_eq!(choose("run", many.into_iter()).len(), MOST);
    }
}
