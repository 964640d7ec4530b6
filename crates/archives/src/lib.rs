//! The forms of zip and tar, read from memory and written to it. What an archive may hold, and how much, is for whoever asks: no path is ever opened here.

pub mod tar;
pub mod zip;

/// What is wrong with an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The path of the entry at fault, if it is one entry's.
    pub entry: Option<String>,
    /// Why it cannot be read.
    pub why: &'static str,
}

impl Fault {
    fn of(entry: &str, why: &'static str) -> Self {
        Self { entry: Some(entry.to_owned()), why }
    }
}
