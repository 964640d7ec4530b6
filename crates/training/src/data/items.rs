//! A file of data as the items that it holds: what is split into parts, and read for a model.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::csv::write_csv;
use super::json_lines::write_json_lines;
use super::labelled::{Row, classes_of};
use super::{
    ArchiveEntry, CsvTable, Data, LabelledTexts, Sameness, Scaling, Split, Splits, Table, Text, Tokens, read_archive, read_csv,
    read_images, read_json_lines, rows_of_lines, rows_of_table, split, write_tar,
};
use crate::classifier::{CLASSES, EDGES, SCALING, TOKENIZER};
use crate::error::{Result, TrainingError};
use crate::tokenizer::{SPECIALS, Tokenizer};
use starling_rounds::recipe::{BertHead, BertShape, ModelRecipe, Recipe};

/// A text is split in blocks of about so many bytes, at ends of lines.
const BLOCK_BYTES: usize = 2_048;
/// The tokenizer learns from the beginning of the training text.
const TOKENIZER_BYTES: usize = 4 << 20;

/// What a file holds, as a recipe's model wants it.
#[derive(Clone, Debug)]
pub struct Items {
    kind: Kind,
    /// Stands for the file in errors.
    name: String,
}

#[derive(Clone, Debug)]
enum Kind {
    Text(Arc<[u8]>),
    Rows(Vec<Row>),
    Table(CsvTable),
    Images(Vec<ArchiveEntry>),
}

/// Training data, and what makes tokens of its text where they are not bytes.
#[derive(Clone, Debug)]
pub struct Training {
    /// Read.
    pub data: Data,
    /// Learnt from it, or the one that was given.
    pub tokenizer: Option<Tokenizer>,
}

impl Training {
    /// What the model's numbers stand for, as its file says it: names of classes, means and deviations of columns, the size of pictures, tokens. Whoever
    /// asks a model, or trains it further, must hold to these.
    #[must_use]
    pub fn meaning(&self, recipe: &Recipe) -> BTreeMap<String, String> {
        let mut meaning = BTreeMap::new();
        if !self.data.classes().is_empty() {
            meaning.insert(CLASSES.to_owned(), json!(self.data.classes()).to_string());
        }
        if let Data::Table(table) = &self.data {
            let Scaling { means, deviations } = table.scaling();
            let scaling = json!({ "columns": table.features(), "means": means, "deviations": deviations });
            meaning.insert(SCALING.to_owned(), scaling.to_string());
        }
        if let Data::Images(images) = &self.data {
            let (height, width) = images.edges();
            meaning.insert(EDGES.to_owned(), json!([height, width]).to_string());
        }
        if let Some(tokenizer) = self.tokenizer_json(recipe) {
            // The model's file alone is enough to sort texts or to write with it.
            meaning.insert(TOKENIZER.to_owned(), tokenizer);
        }
        meaning
    }

    /// `tokenizer.json` for the recipe's model.
    #[must_use]
    pub fn tokenizer_json(&self, recipe: &Recipe) -> Option<String> {
        let is_encoder = matches!(recipe.model, ModelRecipe::Bert(_));
        self.tokenizer.as_ref().map(|tokenizer| tokenizer.to_json(is_encoder))
    }
}

/// The tokenizer that a model's file holds, by its metadata.
///
/// # Errors
/// As [`Tokenizer::from_json`].
pub fn own_tokenizer(of_model: &BTreeMap<String, String>) -> Result<Option<Tokenizer>> {
    of_model.get(TOKENIZER).map(|json| Tokenizer::from_json(json)).transpose()
}

/// Refuses a model whose numbers stand for something else than [`Training::meaning`] of the data, of what its file says.
///
/// # Errors
/// [`TrainingError::BadRequest`], naming what differs.
pub fn check_meaning(of_data: &BTreeMap<String, String>, of_model: &BTreeMap<String, String>) -> Result<()> {
    // A net of pictures takes any size.
    let differs = |(name, value): &(&String, &String)| *name != EDGES && of_model.get(*name).is_some_and(|own| own != *value);
    let what = match of_data.iter().find(differs).map(|(name, _)| name.as_str()) {
        None => return Ok(()),
        Some(TOKENIZER) => "its tokens are not those that this text gives: start from fresh weights, or train it further on this machine",
        Some(CLASSES) => "its classes are not those of this data: start from fresh weights",
        Some(_) => "its columns, or their means and deviations, are not those of this data: start from fresh weights",
    };
    Err(TrainingError::BadRequest(what.to_owned()))
}

impl Items {
    /// Reads a file for the model of `recipe`: a table as CSV, texts with classes as CSV or JSON lines, images in a zip or a tar
    /// whose folders name their classes, and anything as text. Where `name` ends in `.jsonl`, the text is one field of its lines.
    ///
    /// # Errors
    /// [`TrainingError::BadData`], naming row and column or the file in the archive.
    pub fn read(recipe: &Recipe, bytes: impl Into<Arc<[u8]>>, name: &str) -> Result<Self> {
        let (bytes, fields) = (bytes.into(), &recipe.data);
        let is_lines = || bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        let kind = match &recipe.model {
            ModelRecipe::Bert(BertShape { head: BertHead::Classes(_), .. }) if is_lines() => {
                Kind::Rows(rows_of_lines(&read_json_lines(&bytes, name)?, &fields.text, &fields.label)?)
            }
            ModelRecipe::Bert(BertShape { head: BertHead::Classes(_), .. }) => {
                Kind::Rows(rows_of_table(&read_csv(&bytes, name)?, &fields.text, &fields.label)?)
            }
            ModelRecipe::Gpt(_) | ModelRecipe::Llama(_) | ModelRecipe::Bert(_) if name.ends_with(".jsonl") => {
                let lines = read_json_lines(&bytes, name)?;
                let texts = lines.iter().map(|line| Ok(line.text(&fields.text)? + "\n"));
                Kind::Text(texts.collect::<Result<String>>()?.into_bytes().into())
            }
            ModelRecipe::Gpt(_) | ModelRecipe::Llama(_) | ModelRecipe::Bert(_) => Kind::Text(bytes),
            ModelRecipe::Perceptron(_) => Kind::Table(read_csv(&bytes, name)?),
            ModelRecipe::Convolution(_) => Kind::Images(read_archive(&bytes, name)?),
        };
        Ok(Self { kind, name: name.to_owned() })
    }

    /// The recipe with as many columns, channels and classes as these have.
    ///
    /// # Errors
    /// As [`Items::training`]; [`TrainingError::Recipe`] for more than a recipe may have.
    pub fn fitted(&self, recipe: &Recipe) -> Result<Recipe> {
        let count = |count: usize| u32::try_from(count).ok();
        let (inputs, classes) = match &self.kind {
            Kind::Text(_) => return Ok(recipe.clone()),
            Kind::Rows(rows) => (None, count(classes_of(rows.iter().map(|(_, label, _)| label.as_str())).len())),
            Kind::Table(table) => {
                let table = Table::new(table, &recipe.data.label, None)?;
                (count(table.features().len()), count(table.classes().len()))
            }
            Kind::Images(entries) => {
                let images = read_images(entries, None, &self.name)?;
                (count(images.channels()), count(images.classes().len()))
            }
        };
        Ok(Recipe { model: recipe.model.for_data(inputs, classes), ..recipe.clone() }.validated()?)
    }

    /// Splits them as [`split`] does: texts by near-duplicates, rows and images by their bytes, and a running text in blocks.
    ///
    /// # Errors
    /// As [`split`]; [`TrainingError::BadData`] for a table that cannot be trained on.
    pub fn split(&self, recipe: &Recipe, part: u64) -> Result<Splits> {
        let seed = recipe.seed;
        match &self.kind {
            Kind::Text(text) => split(&blocks(text), seed, part, Sameness::Words),
            Kind::Rows(rows) => {
                let texts: Vec<&[u8]> = rows.iter().map(|(text, ..)| text.as_bytes()).collect();
                split(&texts, seed, part, Sameness::Words)
            }
            Kind::Table(table) => {
                // Each field is checked here, where rows still have the numbers of the file.
                Table::new(table, &recipe.data.label, None)?;
                let lines: Vec<Vec<u8>> = table.rows.iter().map(|row| row.join(",").into_bytes()).collect();
                split(&lines.iter().map(Vec::as_slice).collect::<Vec<_>>(), seed, part, Sameness::Bytes)
            }
            Kind::Images(entries) => {
                split(&entries.iter().map(|entry| entry.bytes.as_slice()).collect::<Vec<_>>(), seed, part, Sameness::Bytes)
            }
        }
    }

    /// Those at `places` of a split.
    #[must_use]
    pub fn part(&self, places: &[usize]) -> Self {
        let kind = match &self.kind {
            Kind::Text(text) => {
                let blocks = blocks(text);
                Kind::Text(places.iter().flat_map(|place| blocks[*place].iter().copied()).collect())
            }
            Kind::Rows(rows) => Kind::Rows(places.iter().map(|place| rows[*place].clone()).collect()),
            Kind::Table(CsvTable { name, header, rows }) => Kind::Table(CsvTable {
                name: name.clone(),
                header: header.clone(),
                rows: places.iter().map(|place| rows[*place].clone()).collect(),
            }),
            Kind::Images(entries) => Kind::Images(places.iter().map(|place| entries[*place].clone()).collect()),
        };
        Self { kind, name: self.name.clone() }
    }

    /// A file from which [`Items::read`] gets the same: texts with classes as JSON lines, images in a tar.
    ///
    /// # Errors
    /// [`TrainingError::BadRequest`] for an image whose path is longer than 100 bytes.
    pub fn to_bytes(&self, recipe: &Recipe) -> Result<Arc<[u8]>> {
        Ok(match &self.kind {
            Kind::Text(text) => text.clone(),
            Kind::Rows(rows) => {
                write_json_lines(rows.iter().map(|(text, label, _)| [(&*recipe.data.text, text), (&*recipe.data.label, label)])).into()
            }
            Kind::Table(table) => write_csv(table).into(),
            Kind::Images(entries) => write_tar(entries)?.into(),
        })
    }

    /// The bytes of a running text.
    #[must_use]
    pub fn text(&self) -> Option<&Arc<[u8]>> {
        if let Kind::Text(text) = &self.kind { Some(text) } else { None }
    }

    /// Reads them to train on. Tokens are made by `own`, where the model has a tokenizer already; else by one learnt from these.
    ///
    /// # Errors
    /// As [`Items::read`] and [`Data::check`]; [`TrainingError::BadRequest`] where the text gives too few tokens;
    /// [`TrainingError::EmptyText`] and [`TrainingError::TextTooShort`].
    pub fn training(&self, recipe: &Recipe, own: Option<Tokenizer>) -> Result<Training> {
        let tokenizer = match (own, tokens_wanted(&recipe.model)) {
            (_, None) => None,
            (Some(own), Some(_)) => Some(own),
            (None, Some(vocab)) => Some(match &self.kind {
                Kind::Rows(rows) => {
                    let texts: Vec<u8> = rows.iter().flat_map(|(text, ..)| text.bytes().chain([b'\n'])).collect();
                    learn_tokenizer(&texts, vocab)?
                }
                _ => learn_tokenizer(self.text().map_or(&[], |text| text), vocab)?,
            }),
        };
        let data = self.data(recipe, tokenizer.as_ref(), Split::Train, None)?;
        Ok(Training { data, tokenizer })
    }

    /// Reads them to measure with what was trained on `training`, whose tokens, classes and scaling they get.
    ///
    /// # Errors
    /// As [`Items::training`]; [`TrainingError::BadData`] for a class or columns that the training data does not have.
    pub fn held_out(&self, recipe: &Recipe, training: &Training) -> Result<Data> {
        self.data(recipe, training.tokenizer.as_ref(), Split::HeldOut, Some(&training.data))
    }

    /// Reads them to train on in place of `training`, whose tokens, classes and scaling they get: what a node of a federated run keeps.
    ///
    /// # Errors
    /// As [`Items::held_out`].
    pub fn in_place_of(&self, recipe: &Recipe, training: &Training) -> Result<Data> {
        self.data(recipe, training.tokenizer.as_ref(), Split::Train, Some(&training.data))
    }

    fn data(&self, recipe: &Recipe, tokenizer: Option<&Tokenizer>, part: Split, like: Option<&Data>) -> Result<Data> {
        let context = recipe.model.context().and_then(|context| usize::try_from(context).ok()).unwrap_or(usize::MAX);
        let data = match (&self.kind, tokenizer) {
            (Kind::Text(text), None) => Data::Text(Text::new(text.clone(), context, part)?),
            (Kind::Text(text), Some(tokenizer)) => {
                // Says which of the two is too short, and of what length it must be.
                Text::new(text.clone(), context, part)?;
                Data::Tokens(Tokens::of(text, tokenizer, context)?)
            }
            (Kind::Rows(rows), tokenizer) => {
                let bytes = Tokenizer::bytes();
                let classes = like.map(Data::classes);
                Data::Labelled(LabelledTexts::new(rows, classes, tokenizer.unwrap_or(&bytes), context, &self.name)?)
            }
            (Kind::Table(table), _) => {
                let like = if let Some(Data::Table(like)) = like { Some(like) } else { None };
                Data::Table(Table::new(table, &recipe.data.label, like)?)
            }
            (Kind::Images(entries), _) => {
                let like = if let Some(Data::Images(like)) = like { Some(like) } else { None };
                Data::Images(read_images(entries, like, &self.name)?)
            }
        };
        data.check(&recipe.model)?;
        Ok(data)
    }
}

/// How many tokens the tokenizer of such a model has; nothing where it has none.
fn tokens_wanted(model: &ModelRecipe) -> Option<u32> {
    match model {
        ModelRecipe::Bert(shape) => Some(shape.vocab.saturating_sub(SPECIALS)),
        other => other.vocab().filter(|vocab| *vocab > 256),
    }
}

/// The tokenizer of exactly `vocab` tokens that is learnt from the first 4 MiB of `text`.
///
/// # Errors
/// [`TrainingError::BadRequest`] where the text gives fewer; as [`Tokenizer::learn`].
pub fn learn_tokenizer(text: &[u8], vocab: u32) -> Result<Tokenizer> {
    let tokenizer = Tokenizer::learn(&text[..text.len().min(TOKENIZER_BYTES)], vocab)?;
    if tokenizer.vocab() < vocab {
        let why = format!("the text gives a tokenizer of {} tokens, the model wants {vocab}: lower model.vocab", tokenizer.vocab());
        return Err(TrainingError::BadRequest(why));
    }
    Ok(tokenizer)
}

/// Pieces of about [`BLOCK_BYTES`], cut behind a line's end where there is one.
fn blocks(text: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut blocks) = (text, Vec::new());
    while !rest.is_empty() {
        let least = rest.len().min(BLOCK_BYTES);
        let line = rest[least..].iter().take(BLOCK_BYTES).position(|byte| *byte == b'\n').map_or(0, |place| place + 1);
        let (block, after) = rest.split_at(least + line);
        blocks.push(block);
        rest = after;
    }
    blocks
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;
    use crate::synthetic;

    fn read(name: &str, bytes: Vec<u8>) -> (Recipe, Items) {
        let recipe = Recipe::preset(name).expect("valid");
        let items = Items::read(&recipe, bytes, "the data").expect("readable");
        (recipe, items)
    }

    #[test]
    fn items__should_be_the_same_when_a_part_is_written_and_read_again() {
        let files = [
            ("triage", synthetic::tickets(1, 600)),
            ("triage", b"text,label\n\"a, \"\"b\"\"\nc\",x\nd,y\ne,x\nf,y\ng,x\n".to_vec()),
            ("fraud", synthetic::payments(1, 200)),
            ("cells", synthetic::cells(1, 60).expect("short names")),
            ("tiny", include_bytes!("items.rs").to_vec()),
        ];
        for (name, bytes) in files {
            let (recipe, items) = read(name, bytes);
            let splits = items.split(&recipe, 5).expect("enough");
            let part = items.part(&splits.train);
            let file = part.to_bytes(&recipe).expect("short names");
            let again = Items::read(&recipe, file.clone(), "the data").expect("readable");
            assert_eq!(again.to_bytes(&recipe).expect("short names"), file, "{name}");
            // Rows of another file have other numbers; images are sorted by their paths.
            if !matches!(part.kind, Kind::Rows(_)) {
                assert_eq!(format!("{:?}", again.kind), format!("{:?}", part.kind), "{name}");
            }
        }
    }

    #[test]
    fn fitted__should_take_columns_channels_and_classes_from_the_data() {
        let (recipe, items) = read("fraud", b"a,b,label\n1,2,x\n3,4,y\n5,6,z\n".to_vec());
        assert!(items.training(&recipe, None).expect_err("refused").to_string().contains("the table has 2 features, the model has 10"));
        let fitted = items.fitted(&recipe).expect("possible");
        assert_eq!((fitted.model.inputs(), fitted.model.classes()), (Some(2), Some(3)));
        items.training(&fitted, None).expect("it fits");
        assert_eq!(Recipe { model: fitted.model.for_data(Some(10), Some(2)), ..fitted }, recipe);
        let (recipe, items) = read("triage", b"text,label\na,x\nb,y\n".to_vec());
        assert_eq!(items.fitted(&recipe).expect("possible").model.classes(), Some(2));
        let (recipe, items) = read("cells", synthetic::cells(1, 60).expect("short names"));
        assert_eq!(items.fitted(&recipe).expect("possible"), recipe);
    }

    #[test]
    fn held_out__should_have_the_classes_and_scaling_of_the_training_data() {
        let (recipe, items) = read("fraud", synthetic::payments(1, 200));
        let training = items.training(&recipe, None).expect("readable");
        let Data::Table(train) = &training.data else { panic!("a table") };
        let splits = items.split(&recipe, 10).expect("enough");
        let Data::Table(held_out) = items.part(&splits.hidden).held_out(&recipe, &training).expect("alike") else { panic!("a table") };
        assert_eq!((held_out.scaling(), held_out.classes()), (train.scaling(), train.classes()));
        assert_eq!(held_out.len(), splits.hidden.len());
        // A row of one class can be measured with, not trained on.
        let one = |label: &str| {
            let file = format!("{},label\n{}{label}\n", train.features().join(","), "1,".repeat(train.features().len()));
            Items::read(&recipe, file.into_bytes(), "the held-out data").expect("readable")
        };
        assert_eq!(one("fraud").held_out(&recipe, &training).expect("alike").len(), 1);
        assert!(one("fraud").training(&recipe, None).expect_err("refused").to_string().contains("two classes are needed"));
        let unknown = one("theft").held_out(&recipe, &training).expect_err("refused").to_string();
        assert_eq!(unknown, "the held-out data, row 2, column `label`: \"theft\" is none of the classes fraud, honest");
    }
}
