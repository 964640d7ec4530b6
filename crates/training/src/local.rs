//! A whole training on one machine: data is read and split, the model trained with measurements on the way, and measured
//! once on data that it never saw.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use candle_core::Device;

use crate::data::{Commitment, Data, Items, Split, Splits, Text, Training, check_meaning, own_tokenizer};
use crate::error::{Result, TrainingError};
use crate::export::{ModelFiles, export_model};
use crate::generate::{Generator, Sampling};
use crate::memory::{check_memory, memory_needed};
use crate::model::{Model, Net};
use crate::ngram::baselines;
use crate::parameters::Parameters;
use crate::report::{Outcome, Report, bootstrap, classification};
use crate::synthetic;
use crate::tokenizer::Tokenizer;
use crate::trainer::{StepReport, Trainer, mean_loss, probabilities};
use starling_rounds::recipe::{ModelRecipe, Recipe};

/// One part in so many is for validation, and as many are hidden.
const PART: u64 = 10;
/// Examples of the last measurement, at most.
const HIDDEN_EXAMPLES: usize = 2_048;
/// Windows of text of it: each has a part in the bootstrap.
const HIDDEN_WINDOWS: usize = 256;
/// Examples of a measurement on the way where the recipe does not say.
const VALIDATION_EXAMPLES: usize = 256;
const SAMPLE_TOKENS: usize = 240;

/// A file of data: its name tells the kind, by its ending.
#[derive(Clone, Debug)]
pub struct DataFile {
    /// `.csv`, `.jsonl`, `.zip`, `.tar`, or anything else for text.
    pub name: String,
    /// All of it.
    pub bytes: Vec<u8>,
    /// Whether it was generated.
    pub synthetic: bool,
}

/// Data made ready for a recipe.
pub struct Prepared {
    /// Trained on, with what makes tokens of it.
    pub training: Training,
    /// Measured on while training.
    pub validation: Data,
    /// Measured on once, at the end.
    pub hidden: Data,
    /// What the hidden data was committed to by, before the training.
    pub commitment: Commitment,
    synthetic: bool,
    what: String,
    /// Training and hidden text, for simple models to be compared with.
    texts: Option<[Arc<[u8]>; 2]>,
}

/// What happens on the way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Progress {
    /// A step was made or withdrawn.
    Step(StepReport),
    /// The model was measured after so many steps: its loss on validation data, in nats.
    Measured {
        /// Steps made.
        steps: u64,
        /// Nats per target.
        loss: f64,
    },
}

/// What came out.
pub struct Trained {
    /// The figures.
    pub report: Report,
    /// The model, adapters merged.
    pub model: ModelFiles,
    /// The adapters alone, in PEFT's layout.
    pub adapter: Option<ModelFiles>,
    /// `tokenizer.json`.
    pub tokenizer: Option<String>,
}

/// The data set that a preset generates; none for one that wants a text.
///
/// # Errors
/// None that the generated names and sizes can meet.
pub fn generated(recipe: &Recipe) -> Result<Option<DataFile>> {
    let file = |name: &str, bytes| Some(DataFile { name: name.to_owned(), bytes, synthetic: true });
    Ok(match recipe.name.as_str() {
        "triage" => file("tickets.jsonl", synthetic::tickets(1, 6_000)),
        "fraud" => file("payments.csv", synthetic::payments(1, 20_000)),
        "cells" => file("cells.tar", synthetic::cells(1, 3_000)?),
        _ => None,
    })
}

/// Reads and splits `file` for `recipe`; `salt` hides what the hidden part is until it is shown. `of_base` is the metadata of the model
/// that training starts from, whose tokens it keeps; empty for fresh weights.
///
/// # Errors
/// [`TrainingError::BadData`], naming file, row and column; [`TrainingError::BadRequest`] where the data does not fit the
/// model, nor what the base's numbers stand for, or is too little to split.
pub fn prepare(recipe: &Recipe, file: &DataFile, of_base: &BTreeMap<String, String>, salt: [u8; 32]) -> Result<Prepared> {
    let items = Items::read(recipe, file.bytes.clone(), &file.name)?;
    let splits = items.split(recipe, PART)?;
    let [train, validation, hidden] = [&splits.train, &splits.validation, &splits.hidden].map(|places| items.part(places));
    let training = train.training(recipe, own_tokenizer(of_base)?)?;
    check_meaning(&training.meaning(recipe), of_base)?;
    let what = match (train.text(), hidden.text()) {
        (Some(train), Some(hidden)) => {
            format!("{} bytes of text for training, {} hidden, in blocks of the same sources", train.len(), hidden.len())
        }
        _ => format!("{} {} for training", training.data.len(), training.data.items()),
    };
    Ok(Prepared {
        validation: validation.held_out(recipe, &training)?,
        hidden: hidden.held_out(recipe, &training)?,
        commitment: Commitment::to(&hidden.to_bytes(recipe)?, salt),
        training,
        synthetic: file.synthetic,
        what: format!("{what}; {}", said(&splits)),
        texts: train.text().zip(hidden.text()).map(|(train, hidden)| [train.clone(), hidden.clone()]),
    })
}

/// Trains the recipe on `data` to its end or until measurements get no better, then measures it on the hidden part.
///
/// `base` is what it starts from, or what adapters leave as it is; none for fresh weights. `available_bytes` of memory may
/// be used. `tell` answers whether to go on.
///
/// # Errors
/// [`TrainingError::OutOfMemory`] before anything was started; [`TrainingError::Diverged`];
/// [`TrainingError::BadRequest`] where `tell` said to stop.
pub fn train(
    recipe: &Recipe,
    data: &Prepared,
    base: Option<&Parameters>,
    available_bytes: u64,
    device: &Device,
    mut tell: impl FnMut(Progress) -> bool,
) -> Result<Trained> {
    let activations = check_memory(recipe, Some(&data.training.data), available_bytes)?;
    let started = Instant::now();
    let mut trainer = begin(recipe, data, base, device)?;
    trainer.keep(activations);
    let validation = data.validation.spread(&recipe.model, examples(recipe))?;
    let every = if recipe.evaluation.every_steps > 0 { recipe.evaluation.every_steps } else { recipe.inner_steps_per_round };
    let (mut losses, mut measured) = (Vec::new(), Vec::new());
    let mut best: Option<(f64, Parameters)> = None;
    let (mut withdrawn, mut worse, mut stopped_early) = (0, 0, false);
    let stopped = || TrainingError::BadRequest("the training was stopped".to_owned());
    while trainer.position() < recipe.total_inner_steps() {
        let made = trainer.step()?;
        match made.withdrawn {
            Some(_) => withdrawn += 1,
            None => losses.push((made.step as f64, made.loss)),
        }
        if !tell(Progress::Step(made)) {
            return Err(stopped());
        }
        if !trainer.position().is_multiple_of(u64::from(every)) && trainer.position() < recipe.total_inner_steps() {
            continue;
        }
        let loss = mean_loss(trainer.model(), &validation)?;
        measured.push((trainer.position() as f64, loss));
        if !tell(Progress::Measured { steps: trainer.position(), loss }) {
            return Err(stopped());
        }
        if best.as_ref().is_none_or(|(least, _)| loss < *least) {
            worse = 0;
            if recipe.evaluation.patience > 0 {
                best = Some((loss, trainer.parameters()?));
            }
        } else {
            worse += 1;
        }
        if recipe.evaluation.patience > 0 && worse >= recipe.evaluation.patience {
            stopped_early = trainer.position() < recipe.total_inner_steps();
            break;
        }
    }
    if let Some((_, parameters)) = &best {
        trainer.load_parameters(parameters)?;
    }
    let outcome = outcome(recipe, data, trainer.model())?;
    let report = Report {
        name: recipe.name.clone(),
        model: format!("A {} of {} parameters", recipe.model.kind(), recipe.model.parameter_count()),
        synthetic: data.synthetic,
        data: data.what.clone(),
        steps: (trainer.position(), withdrawn),
        stopped_early,
        seconds: started.elapsed().as_secs_f64(),
        memory_needed: memory_needed(recipe, Some(&data.training.data), activations),
        losses,
        validation: measured,
        outcome,
    };
    files(recipe, data, trainer.model(), report)
}

fn begin(recipe: &Recipe, data: &Prepared, base: Option<&Parameters>, device: &Device) -> Result<Trainer> {
    let parameters = Model::initial(recipe, base)?;
    let fresh = (recipe.adapter.is_some() && base.is_none()).then(|| Net::initial(&recipe.model, recipe.seed));
    Trainer::on(recipe, base.or(fresh.as_ref()), &parameters, &data.training.data, 0, device)
}

fn files(recipe: &Recipe, data: &Prepared, model: &Model, report: Report) -> Result<Trained> {
    let mut metadata = data.training.meaning(recipe);
    metadata.insert("starling.synthetic".to_owned(), data.synthetic.to_string());
    Ok(Trained {
        report,
        model: export_model(recipe, &model.merged()?, &metadata)?,
        adapter: model.adapter_files("model.safetensors")?,
        tokenizer: data.training.tokenizer_json(recipe),
    })
}

/// On the hidden data.
fn outcome(recipe: &Recipe, data: &Prepared, model: &Model) -> Result<Outcome> {
    let classes = data.hidden.classes();
    if !classes.is_empty() {
        let batch = data.hidden.spread(&recipe.model, HIDDEN_EXAMPLES)?;
        return Ok(Outcome::Classes(classification(classes, &probabilities(model, &batch)?, batch.targets(), recipe.seed)?));
    }
    let windows = data.hidden.spread(&recipe.model, HIDDEN_WINDOWS)?.pieces(1);
    let mut measured = Vec::with_capacity(windows.len());
    for window in &windows {
        let bits = mean_loss(model, window)? / std::f64::consts::LN_2 * window.targets().len() as f64;
        measured.push((bits, data.hidden.text_bytes(window.targets()).unwrap_or_default().max(1) as f64, window.targets().len() as f64));
    }
    let per = |unit: fn(&(f64, f64, f64)) -> f64| {
        bootstrap(measured.len(), recipe.seed, &|chosen| {
            let (bits, units) = chosen.iter().fold((0.0, 0.0), |sum, place| (sum.0 + measured[*place].0, sum.1 + unit(&measured[*place])));
            bits / units
        })
    };
    let (Some([train, hidden]), false) = (&data.texts, matches!(recipe.model, ModelRecipe::Bert(_))) else {
        return Ok(Outcome::Masked { bits_per_token: per(|window| window.2) });
    };
    let context = recipe.model.context().map_or(0, |context| context as usize);
    let simple = baselines(train, &Text::new(hidden.clone(), context, Split::HeldOut)?, HIDDEN_WINDOWS);
    let bits_per_byte = per(|window| window.1);
    let sample = sample(recipe, data, model, hidden)?;
    Ok(Outcome::Text { bits_per_byte, bigram: simple.bigram, trigram: simple.trigram, sample })
}

fn sample(recipe: &Recipe, data: &Prepared, model: &Model, hidden: &[u8]) -> Result<String> {
    let bytes = Tokenizer::bytes();
    let tokenizer = data.training.tokenizer.as_ref().unwrap_or(&bytes);
    let mut tokens = tokenizer.encode(&hidden[..hidden.len().min(64)]);
    let written: Vec<u32> = {
        let sampling = Sampling { seed: recipe.seed, ..Sampling::default() };
        Generator::new(model, &tokens, sampling)?.take(SAMPLE_TOKENS).collect::<Result<_>>()?
    };
    tokens.extend(written);
    Ok(String::from_utf8_lossy(&tokenizer.decode(&tokens)).into_owned())
}

fn examples(recipe: &Recipe) -> usize {
    match recipe.evaluation.examples {
        0 if matches!(recipe.model, ModelRecipe::Gpt(_) | ModelRecipe::Llama(_)) => VALIDATION_EXAMPLES,
        0 => HIDDEN_EXAMPLES,
        examples => examples as usize,
    }
}

fn said(splits: &Splits) -> String {
    let dropped = if splits.dropped.is_empty() { String::new() } else { format!(", {} near-duplicates left out", splits.dropped.len()) };
    format!("{} parts for validation and {} hidden{dropped}", splits.validation.len(), splits.hidden.len())
}

#[cfg(test)]
mod tests;
