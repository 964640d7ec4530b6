//! Texts with classes, as an encoder reads them: a token that begins, the text's first tokens, padding.

use std::sync::Arc;

use super::{Batch, CsvTable, JsonLine};
use crate::error::{Result, TrainingError};
use crate::model::Texts;
use crate::tokenizer::{SPECIALS, Tokenizer};

/// Tokenized texts of equal room with the class of each; cheap to clone.
#[derive(Clone, Debug)]
pub struct LabelledTexts {
    tokens: Arc<[u32]>,     // (texts, context)
    lengths: Arc<[usize]>,  // (texts)
    targets: Arc<[u32]>,    // (texts)
    classes: Arc<[String]>, // sorted where the data named them
    context: usize,
    vocab: u32,
}

/// A text, its class, and the row it stands in.
pub(crate) type Row = (String, String, usize);

/// Texts and classes of JSON lines.
///
/// # Errors
/// [`TrainingError::BadData`], naming row and field.
pub(crate) fn rows_of_lines(lines: &[JsonLine], text: &str, label: &str) -> Result<Vec<Row>> {
    lines.iter().map(|line| Ok((line.text(text)?, line.text(label)?, line.row))).collect()
}

/// Texts and classes of a table.
///
/// # Errors
/// [`TrainingError::BadData`], naming row and column.
pub(crate) fn rows_of_table(table: &CsvTable, text: &str, label: &str) -> Result<Vec<Row>> {
    let (text, label) = (table.column(text)?, table.column(label)?);
    let rows = table.rows.iter().enumerate().map(|(row, fields)| {
        for column in [text, label] {
            if fields[column].is_empty() {
                return Err(table.wrong(row, column, "the field is empty".to_owned()));
            }
        }
        Ok((fields[text].clone(), fields[label].clone(), row + 2))
    });
    rows.collect()
}

/// The classes of `labels`, sorted.
pub(crate) fn classes_of<'a>(labels: impl Iterator<Item = &'a str>) -> Vec<String> {
    let distinct: std::collections::BTreeSet<&str> = labels.collect();
    distinct.into_iter().map(str::to_owned).collect()
}

/// The number of a class.
pub(crate) fn class(classes: &[String], label: &str, wrong: impl Fn(String) -> TrainingError) -> Result<u32> {
    let place = classes.iter().position(|class| class == label).and_then(|place| u32::try_from(place).ok());
    place.ok_or_else(|| wrong(format!("{label:?} is none of the classes {}", classes.join(", "))))
}

/// The tokens of a text's beginning, padded to `context`, and how many of them are real.
pub(crate) fn begun(text: &str, tokenizer: &Tokenizer, context: usize) -> (Vec<u32>, usize) {
    let (begin, pad) = (tokenizer.vocab(), tokenizer.vocab() + 1);
    let mut tokens = vec![begin];
    tokens.extend(tokenizer.encode(text.as_bytes()));
    tokens.truncate(context);
    let length = tokens.len();
    tokens.resize(context, pad);
    (tokens, length)
}

impl LabelledTexts {
    /// Texts with their classes for an encoder of `context` tokens; of a long text only the beginning is read.
    ///
    /// `name` stands for the file in errors; `classes` are those of the training data, none where these are it.
    ///
    /// # Errors
    /// [`TrainingError::BadData`] for no text, fewer than two classes, or a label that is none of `classes`.
    pub(crate) fn new(rows: &[Row], classes: Option<&[String]>, tokenizer: &Tokenizer, context: usize, name: &str) -> Result<Self> {
        let classes = classes.map_or_else(|| classes_of(rows.iter().map(|(_, label, _)| label.as_str())), <[String]>::to_vec);
        if rows.is_empty() || classes.len() < 2 {
            return Err(TrainingError::bad_data(
                name,
                1,
                "",
                format!("{} texts of {} classes: two classes are needed", rows.len(), classes.len()),
            ));
        }
        let (mut tokens, mut lengths, mut targets) = (Vec::with_capacity(rows.len() * context), Vec::new(), Vec::new());
        for (text, label, row) in rows {
            let (of_text, length) = begun(text, tokenizer, context);
            lengths.push(length);
            tokens.extend(of_text);
            targets.push(class(&classes, label, |why| TrainingError::bad_data(name, *row, "", why))?);
        }
        let vocab = tokenizer.vocab() + SPECIALS;
        Ok(Self { tokens: tokens.into(), lengths: lengths.into(), targets: targets.into(), classes: classes.into(), context, vocab })
    }

    /// Texts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there is none, which cannot be.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.targets.is_empty()
    }

    /// Room for each text, in tokens.
    #[must_use]
    pub fn context(&self) -> usize {
        self.context
    }

    /// The tokenizer's tokens and the three special ones.
    #[must_use]
    pub fn vocab(&self) -> u32 {
        self.vocab
    }

    /// Names of the classes, in the order of their numbers.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    pub(super) fn at(&self, indices: &[usize]) -> Batch {
        let tokens = indices.iter().flat_map(|index| &self.tokens[index * self.context..(index + 1) * self.context]).copied();
        let texts =
            Texts { tokens: tokens.collect(), lengths: indices.iter().map(|index| self.lengths[*index]).collect(), context: self.context };
        Batch::Texts { texts, targets: indices.iter().map(|index| self.targets[*index]).collect() }
    }
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;
    use crate::data::{read_csv, read_json_lines};

    #[test]
    fn texts__should_begin_be_cut_and_be_padded() {
        let table = read_csv(b"text,label\nab,no\nabcdefgh,yes\n", "t.csv").expect("readable");
        let rows = rows_of_table(&table, "text", "label").expect("whole");
        let texts = LabelledTexts::new(&rows, None, &Tokenizer::bytes(), 4, "t.csv").expect("two classes");
        assert_eq!((texts.len(), texts.vocab(), texts.classes()), (2, 259, ["no".to_owned(), "yes".to_owned()].as_slice()));
        let Batch::Texts { texts: batch, targets } = texts.at(&[1, 0]) else { panic!("texts") };
        assert_eq!(batch.tokens[..], [256, 97, 98, 99, 256, 97, 98, 257]);
        assert_eq!((&*batch.lengths, &*targets), ([4, 3].as_slice(), [1, 0].as_slice()));
    }

    #[test]
    fn texts__should_name_the_row_of_an_unknown_class_or_an_empty_field() {
        let lines = read_json_lines(b"{\"text\":\"a\",\"label\":\"x\"}\n{\"text\":\"b\",\"label\":\"y\"}\n", "t.jsonl").expect("readable");
        let rows = rows_of_lines(&lines, "text", "label").expect("whole");
        let classes = ["w".to_owned(), "x".to_owned()];
        let made = |classes: Option<&[String]>, rows: &[Row]| LabelledTexts::new(rows, classes, &Tokenizer::bytes(), 4, "t.jsonl");
        assert_eq!(made(Some(&classes), &rows).expect_err("refused").to_string(), "t.jsonl, row 2: \"y\" is none of the classes w, x");
        assert!(made(None, &rows[..1]).expect_err("refused").to_string().contains("two classes are needed"));
        let table = read_csv(b"text,label\n,no\n", "t.csv").expect("readable");
        assert_eq!(
            rows_of_table(&table, "text", "label").expect_err("refused").to_string(),
            "t.csv, row 2, column `text`: the field is empty"
        );
        assert!(rows_of_table(&table, "body", "label").is_err());
    }
}
