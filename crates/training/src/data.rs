//! Data of every kind, and which examples a step reads.
//!
//! That is a pseudo-random function of (seed, slot, step): anyone who holds the data recomputes the batch of any
//! participant at any step.

mod archive;
mod batch;
mod csv;
mod duplicates;
mod images;
mod items;
mod json_lines;
mod labelled;
mod picture;
mod shards;
mod splits;
mod table;
mod text;

pub use archive::{ArchiveEntry, read_archive, write_tar};
pub use batch::{Batch, Windows};
pub use csv::{CsvTable, read_csv};
pub use duplicates::{Shingles, without_near_duplicates};
pub(crate) use images::lone_picture;
pub use images::{Images, read_images};
pub use items::{Items, Training, check_meaning, learn_tokenizer, own_tokenizer};
pub use json_lines::{JsonLine, read_json_lines};
pub use labelled::LabelledTexts;
pub(crate) use labelled::begun;
use labelled::{rows_of_lines, rows_of_table};
pub use picture::{Picture, read_picture};
pub use shards::{Manifest, Tokens, write_shards};
pub use splits::{Commitment, Sameness, Splits, split};
pub use table::{Scaling, Table};
pub use text::{Split, Text};

use crate::error::{Result, TrainingError};
use crate::model::Texts;
use crate::random::Stream;
use starling_rounds::recipe::{BertHead, BertShape, ModelRecipe};

/// One part in so many of the tokens is masked for a model that predicts them.
const MASKED_PART: usize = 7;

/// Data that a trainer reads; cheap to clone.
#[derive(Clone, Debug)]
pub enum Data {
    /// A text whose tokens are its bytes.
    Text(Text),
    /// Tokens of a byte-pair tokenizer.
    Tokens(Tokens),
    /// Texts with classes.
    Labelled(LabelledTexts),
    /// A table with classes.
    Table(Table),
    /// Images with classes.
    Images(Images),
}

impl From<Text> for Data {
    fn from(text: Text) -> Self {
        Self::Text(text)
    }
}

impl From<&Text> for Data {
    fn from(text: &Text) -> Self {
        Self::Text(text.clone())
    }
}

impl From<&Data> for Data {
    fn from(data: &Data) -> Self {
        data.clone()
    }
}

impl Data {
    /// Checks that a model of this shape can learn from the data.
    ///
    /// # Errors
    /// [`TrainingError::BadRequest`], naming what does not fit.
    pub fn check(&self, model: &ModelRecipe) -> Result<()> {
        let fits = match (self, model) {
            (Self::Text(text), ModelRecipe::Gpt(_) | ModelRecipe::Llama(_)) => {
                same("the training text is cut for windows of", text.context(), "bytes, the recipe's context is", model.context())?;
                same("the text's tokens are", 256, "bytes, the model's vocabulary is", model.vocab())?;
                true
            }
            (Self::Tokens(tokens), ModelRecipe::Gpt(_) | ModelRecipe::Llama(_)) => {
                same("the tokens are cut for windows of", tokens.context(), "tokens, the recipe's context is", model.context())?;
                same("the tokens are of a vocabulary of", tokens.vocab(), "and the model's is", model.vocab())?;
                true
            }
            (Self::Tokens(tokens), ModelRecipe::Bert(shape @ BertShape { head: BertHead::MaskedTokens, .. })) => {
                same("the tokens are cut for windows of", tokens.context(), "tokens, the recipe's context is", model.context())?;
                let vocab = tokens.vocab() + crate::tokenizer::SPECIALS;
                same("the tokens and the three special ones are", vocab, "and the model's vocabulary is", Some(shape.vocab))?;
                true
            }
            (Self::Labelled(texts), ModelRecipe::Bert(BertShape { head: BertHead::Classes(classes), .. })) => {
                same("the texts are cut for", texts.context(), "tokens, the recipe's context is", model.context())?;
                same("the texts' tokens and the three special ones are", texts.vocab(), "and the model's vocabulary is", model.vocab())?;
                same("the texts have", texts.classes().len(), "classes, the model has", Some(*classes))?;
                true
            }
            (Self::Table(table), ModelRecipe::Perceptron(shape)) => {
                same("the table has", table.features().len(), "features, the model has", Some(shape.features))?;
                same("the table has", table.classes().len(), "classes, the model has", Some(shape.classes))?;
                true
            }
            (Self::Images(images), ModelRecipe::Convolution(shape)) => {
                same("the images have", images.channels(), "channels, the model has", Some(shape.channels))?;
                same("the images have", images.classes().len(), "classes, the model has", Some(shape.classes))?;
                true
            }
            _ => false,
        };
        if fits { Ok(()) } else { Err(TrainingError::BadRequest(format!("a {} cannot learn from {}", model.kind(), self.what()))) }
    }

    /// The batch of participant `slot` at the global inner step `step`.
    ///
    /// # Errors
    /// [`TrainingError::Shard`] where a shard's file can no longer be read.
    pub fn batch(&self, model: &ModelRecipe, seed: u64, slot: u32, step: u64, examples: usize) -> Result<Batch> {
        match self {
            Self::Text(text) => Ok(text.batch(seed, slot, step, examples).into()),
            Self::Tokens(tokens) => {
                let windows = tokens.batch(seed, slot, step, examples)?;
                Ok(masked_or_not(windows, model, seed, &[u64::from(slot), step]))
            }
            Self::Labelled(texts) => Ok(texts.at(&drawn(texts.len(), seed, slot, step, examples))),
            Self::Table(table) => Ok(table.at(&drawn(table.len(), seed, slot, step, examples))),
            Self::Images(images) => Ok(images.at(&drawn(images.len(), seed, slot, step, examples))),
        }
    }

    /// At most `examples` examples spread evenly over the data, none twice: what a model is measured on.
    ///
    /// # Errors
    /// As [`Data::batch`].
    pub fn spread(&self, model: &ModelRecipe, examples: usize) -> Result<Batch> {
        match self {
            Self::Text(text) => Ok(text.spread(examples).into()),
            Self::Tokens(tokens) => Ok(masked_or_not(tokens.spread(examples)?, model, 0, &[])),
            Self::Labelled(texts) => Ok(texts.at(&evenly(texts.len(), examples))),
            Self::Table(table) => Ok(table.at(&evenly(table.len(), examples))),
            Self::Images(images) => Ok(images.at(&evenly(images.len(), examples))),
        }
    }

    /// Examples there are: of texts, windows that do not overlap.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Text(text) => (text.bytes().len() - 1) / text.context(),
            Self::Tokens(tokens) => tokens.windows(),
            Self::Labelled(texts) => texts.len(),
            Self::Table(table) => table.len(),
            Self::Images(images) => images.len(),
        }
    }

    /// Whether there is no example; data that was read has at least one.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Names of the classes, in the order of their numbers; none for text.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        match self {
            Self::Text(_) | Self::Tokens(_) => &[],
            Self::Labelled(texts) => texts.classes(),
            Self::Table(table) => table.classes(),
            Self::Images(images) => images.classes(),
        }
    }

    /// Bytes of text that `tokens` stand for; nothing where the data is no text.
    #[must_use]
    pub fn text_bytes(&self, tokens: &[u32]) -> Option<u64> {
        match self {
            Self::Text(_) => Some(tokens.len() as u64),
            Self::Tokens(text) => Some(text.text_bytes(tokens)),
            Self::Labelled(_) | Self::Table(_) | Self::Images(_) => None,
        }
    }

    /// What its examples are called.
    pub(crate) fn items(&self) -> &'static str {
        match self {
            Self::Text(_) | Self::Tokens(_) => "windows",
            Self::Labelled(_) => "texts",
            Self::Table(_) => "rows",
            Self::Images(_) => "images",
        }
    }

    fn what(&self) -> &'static str {
        match self {
            Self::Text(_) => "a text of bytes",
            Self::Tokens(_) => "byte-pair tokens",
            Self::Labelled(_) => "labelled texts",
            Self::Table(_) => "a table",
            Self::Images(_) => "images",
        }
    }
}

/// Places of the examples that a step reads, out of `count`.
fn drawn(count: usize, seed: u64, slot: u32, step: u64, examples: usize) -> Vec<usize> {
    let mut stream = Stream::new("starling 2026 training examples v1", seed, &[u64::from(slot), step]);
    (0..examples).map(|_| usize::try_from(stream.below(count as u64)).unwrap_or(0)).collect()
}

/// At most `examples` places out of `count`, in order, none twice.
fn evenly(count: usize, examples: usize) -> Vec<usize> {
    let taken = examples.clamp(1, count.max(1));
    (0..taken).map(|index| index * count / taken).collect()
}

/// Windows as they are, or with some tokens masked where the model predicts those.
fn masked_or_not(windows: Windows, model: &ModelRecipe, seed: u64, counters: &[u64]) -> Batch {
    let ModelRecipe::Bert(shape) = model else { return windows.into() };
    let mask = shape.vocab - crate::tokenizer::SPECIALS_BEFORE_MASK;
    let mut stream = Stream::new("starling 2026 masked tokens v1", seed, counters);
    let (mut tokens, mut places, mut targets) = (windows.tokens.to_vec(), Vec::new(), Vec::new());
    for window in 0..windows.windows {
        let mut taken = vec![false; windows.context];
        for _ in 0..(windows.context / MASKED_PART).max(1) {
            let place = usize::try_from(stream.below(windows.context as u64)).unwrap_or(0);
            if !std::mem::replace(&mut taken[place], true) {
                let index = window * windows.context + place;
                places.push(u32::try_from(index).unwrap_or(u32::MAX));
                targets.push(std::mem::replace(&mut tokens[index], mask));
            }
        }
    }
    let texts = Texts { tokens: tokens.into(), lengths: vec![windows.context; windows.windows].into(), context: windows.context };
    Batch::Masked { texts, places: places.into(), targets: targets.into() }
}

/// `Ok` where both are equal.
fn same<N: std::fmt::Display + Copy + TryInto<u64>>(what: &str, found: N, than: &str, expected: Option<u32>) -> Result<()> {
    match (found.try_into().ok(), expected) {
        (Some(number), Some(expected)) if number == u64::from(expected) => Ok(()),
        (_, expected) => {
            let expected = expected.map_or("none".to_owned(), |number| number.to_string());
            Err(TrainingError::BadRequest(format!("{what} {found} {than} {expected}")))
        }
    }
}
