//! A finished model that sorts texts, out of one file: weights, recipe, classes and tokenizer.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Device;

use crate::data::{Batch, begun};
use crate::error::{Result, TrainingError};
use crate::export::import_model;
use crate::model::{Model, Texts};
use crate::tokenizer::{SPECIALS, Tokenizer};
use crate::trainer::probabilities;
use starling_rounds::recipe::{BertHead, BertShape, ModelRecipe, Recipe};

/// Under which name a model's file holds the names of its classes.
pub(crate) const CLASSES: &str = "starling.classes";
/// Under which name a model's file holds means and deviations of the columns that it was trained on.
pub(crate) const SCALING: &str = "starling.scaling";
/// Under which name a model's file holds its `tokenizer.json`, where its tokens are not bytes.
pub const TOKENIZER: &str = "starling.tokenizer";

/// An encoder with classes.
pub struct Classifier {
    model: Model,
    tokenizer: Tokenizer,
    classes: Vec<String>,
    context: usize,
}

impl Classifier {
    /// Reads a `model.safetensors` that a training of this program made.
    ///
    /// # Errors
    /// [`TrainingError::BadRequest`] where it sorts no texts or lacks recipe, classes or tokenizer; else as [`import_model`]
    /// and [`Model::new`].
    pub fn read(safetensors: &[u8], device: &Device) -> Result<Self> {
        let (parameters, metadata) = import_model(safetensors)?;
        let recipe = Recipe::from_json(said(&metadata, "starling.recipe")?)?;
        let ModelRecipe::Bert(BertShape { head: BertHead::Classes(number), context, vocab, .. }) = recipe.model else {
            return Err(TrainingError::BadRequest(format!("this model is a {}: it sorts no texts", recipe.model.kind())));
        };
        let classes: Vec<String> = serde_json::from_str(said(&metadata, CLASSES)?).map_err(|error| wrong(&error.to_string()))?;
        let tokenizer = Tokenizer::from_json(said(&metadata, TOKENIZER)?)?;
        if u32::try_from(classes.len()) != Ok(number) || tokenizer.vocab() + SPECIALS > vocab {
            return Err(wrong("its classes or its tokenizer are not those of its weights"));
        }
        Ok(Self { model: Model::new(&recipe, &parameters, device)?, tokenizer, classes, context: context as usize })
    }

    /// Names of the classes.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// The probability of each class; of a long text only the beginning is read.
    ///
    /// # Errors
    /// What the device refuses.
    pub fn probabilities(&self, text: &str) -> Result<Vec<f64>> {
        let (tokens, length) = begun(text, &self.tokenizer, self.context);
        let texts = Texts { tokens: tokens.into(), lengths: Arc::new([length]), context: self.context };
        // The target takes no part in probabilities.
        let rows = probabilities(&self.model, &Batch::Texts { texts, targets: Arc::new([0]) })?;
        rows.into_iter().next().ok_or_else(|| wrong("it gave no answer"))
    }
}

fn said<'a>(metadata: &'a BTreeMap<String, String>, name: &str) -> Result<&'a str> {
    metadata.get(name).map(String::as_str).ok_or_else(|| wrong(&format!("its metadata has no {name}")))
}

fn wrong(why: &str) -> TrainingError {
    TrainingError::BadRequest(format!("this model cannot sort texts: {why}"))
}
