//! A finished model that sorts texts, rows or pictures, out of one file: weights, recipe, classes, and tokenizer or scaling.

use std::collections::BTreeMap;
use std::sync::Arc;

use candle_core::Device;
use serde::Deserialize;

use crate::data::{Batch, Scaling, begun, lone_picture, read_picture};
use crate::error::{Result, TrainingError};
use crate::export::import_model;
use crate::model::{Model, Texts};
use crate::parameters::Array;
use crate::tokenizer::{SPECIALS, Tokenizer};
use crate::trainer::probabilities;
use starling_rounds::recipe::{BertHead, BertShape, ModelRecipe, Recipe};

/// Under which name a model's file holds the names of its classes.
pub(crate) const CLASSES: &str = "starling.classes";
/// Under which name a model's file holds means and deviations of the columns that it was trained on.
pub(crate) const SCALING: &str = "starling.scaling";
/// Under which name a model's file holds height and width of the pictures that it was trained on.
pub(crate) const EDGES: &str = "starling.edges";
/// Under which name a model's file holds its `tokenizer.json`, where its tokens are not bytes.
pub const TOKENIZER: &str = "starling.tokenizer";

/// A model of texts, of a table's rows or of pictures with classes.
pub struct Classifier {
    model: Model,
    takes: Takes,
    classes: Vec<String>,
}

/// The longest edge of a picture that is asked about.
const MAX_EDGE: usize = 1_024;

/// What is asked about.
enum Takes {
    /// A text.
    Text { tokenizer: Tokenizer, context: usize },
    /// Numbers, one for each column.
    Row { columns: Vec<String>, scaling: Scaling },
    /// A picture of so many channels, and of this height and width where the file says them.
    Picture { channels: usize, edges: Option<(usize, usize)> },
}

/// As [`crate::data::Training::meaning`] writes it.
#[derive(Deserialize)]
struct Columns {
    columns: Vec<String>,
    means: Vec<f64>,
    deviations: Vec<f64>,
}

impl Classifier {
    /// Reads a `model.safetensors` that a training of this program made.
    ///
    /// # Errors
    /// [`TrainingError::BadRequest`] where it sorts nothing, or lacks recipe, classes, and tokenizer or scaling; else
    /// as [`import_model`] and [`Model::new`].
    pub fn read(safetensors: &[u8], device: &Device) -> Result<Self> {
        let (parameters, metadata) = import_model(safetensors)?;
        let recipe = Recipe::from_json(said(&metadata, "starling.recipe")?)?;
        let takes = match &recipe.model {
            ModelRecipe::Perceptron(shape) => {
                let Columns { columns, means, deviations } =
                    serde_json::from_str(said(&metadata, SCALING)?).map_err(|error| wrong(&error.to_string()))?;
                if [columns.len(), means.len(), deviations.len()].map(u32::try_from) != [Ok(shape.features); 3] {
                    return Err(wrong("its columns are not those of its weights"));
                }
                Takes::Row { columns, scaling: Scaling { means, deviations } }
            }
            ModelRecipe::Bert(BertShape { head: BertHead::Classes(_), context, vocab, .. }) => {
                let tokenizer = Tokenizer::from_json(said(&metadata, TOKENIZER)?)?;
                if tokenizer.vocab() + SPECIALS > *vocab {
                    return Err(wrong("its tokenizer is not that of its weights"));
                }
                Takes::Text { tokenizer, context: *context as usize }
            }
            ModelRecipe::Convolution(shape) => {
                let edges = metadata.get(EDGES).map(|edges| serde_json::from_str(edges)).transpose();
                Takes::Picture { channels: shape.channels as usize, edges: edges.map_err(|error| wrong(&error.to_string()))? }
            }
            other => {
                return Err(TrainingError::BadRequest(format!("this model is a {}: it sorts no texts, rows or pictures", other.kind())));
            }
        };
        let classes: Vec<String> = serde_json::from_str(said(&metadata, CLASSES)?).map_err(|error| wrong(&error.to_string()))?;
        if u32::try_from(classes.len()).ok() != recipe.model.classes() {
            return Err(wrong("its classes are not those of its weights"));
        }
        Ok(Self { model: Model::new(&recipe, &parameters, device)?, takes, classes })
    }

    /// Names of the classes.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Reads what is asked about: a text, of which only the beginning counts where it is long, or a row's numbers with commas between.
    ///
    /// # Errors
    /// [`TrainingError::BadRequest`], naming the columns, for a row that is not of them; for any line where the model sorts pictures.
    pub fn read_line(&self, line: &str) -> Result<Batch> {
        // Targets take no part in probabilities.
        let targets: Arc<[u32]> = Arc::new([0]);
        match &self.takes {
            Takes::Picture { .. } => Err(TrainingError::BadRequest("this model sorts pictures: give it their files".to_owned())),
            Takes::Text { tokenizer, context } => {
                let (tokens, length) = begun(line, tokenizer, *context);
                Ok(Batch::Texts { texts: Texts { tokens: tokens.into(), lengths: Arc::new([length]), context: *context }, targets })
            }
            Takes::Row { columns, scaling } => {
                let number = |field: &str| field.trim().parse::<f64>().ok().filter(|number| number.is_finite());
                let row: Option<Vec<f64>> = line.split(',').map(number).collect();
                let row = row.filter(|row| row.len() == columns.len()).ok_or_else(|| {
                    let shown: String = line.chars().take(80).collect();
                    let why = format!("{shown:?} is no row of {} numbers with commas between: {}", columns.len(), columns.join(", "));
                    TrainingError::BadRequest(why)
                })?;
                Ok(Batch::Rows { rows: Array { shape: vec![1, columns.len()], values: scaling.apply(&row) }, targets })
            }
        }
    }

    /// Reads a picture that is asked about; `name` stands for it in errors.
    ///
    /// # Errors
    /// [`TrainingError::BadRequest`] for one that is no PNG, PGM or PPM, has another size or other channels than those that the model was trained on, or more than
    /// 1,024 pixels on an edge; and where the model sorts no pictures.
    pub fn read_picture(&self, bytes: &[u8], name: &str) -> Result<Batch> {
        let bad = |why: &str| TrainingError::BadRequest(format!("the picture {name:?}: {why}"));
        let Takes::Picture { channels, edges } = self.takes else { return Err(bad("this model sorts no pictures")) };
        let picture = read_picture(bytes).map_err(|why| bad(&why))?;
        if picture.width.max(picture.height) > MAX_EDGE {
            return Err(bad(&format!("{} x {} pixels, where an edge may have {MAX_EDGE}", picture.width, picture.height)));
        }
        if let Some((height, width)) = edges.filter(|edges| *edges != (picture.height, picture.width)) {
            let found = format!("{} x {} pixels", picture.width, picture.height);
            return Err(bad(&format!("{found}, and the model was trained on pictures of {width} x {height}: scale it first")));
        }
        if picture.channels != channels {
            let words = |channels| if channels == 1 { "grey" } else { "coloured" };
            return Err(bad(&format!("it is {}, and the model was trained on {} ones", words(picture.channels), words(channels))));
        }
        Ok(lone_picture(&picture))
    }

    /// The probability of each class.
    ///
    /// # Errors
    /// What the device refuses.
    pub fn probabilities(&self, line: &Batch) -> Result<Vec<f64>> {
        probabilities(&self.model, line)?.into_iter().next().ok_or_else(|| wrong("it gave no answer"))
    }
}

fn said<'a>(metadata: &'a BTreeMap<String, String>, name: &str) -> Result<&'a str> {
    metadata.get(name).map(String::as_str).ok_or_else(|| wrong(&format!("its metadata has no {name}")))
}

fn wrong(why: &str) -> TrainingError {
    TrainingError::BadRequest(format!("this model cannot sort: {why}"))
}
