//! Any of the models by its recipe, with adapters where the recipe has them: what a trainer trains.

use candle_core::Device;

use super::{Bert, BertHead, Convolution, Gpt, Leaves, Llama, Lora, LoraShape, Perceptron, Weights};
use crate::data::Batch;
use crate::error::{Result, TrainingError};
use crate::export::ModelFiles;
use crate::ops;
use crate::parameters::{Layout, Parameters};
use crate::tape::{Tape, Value};
use starling_rounds::recipe::{AdapterRecipe, ModelRecipe, Recipe};

/// A model with its variables.
pub struct Model {
    recipe: ModelRecipe,
    net: Net,
    adapters: Option<Lora>,
}

/// One of the models.
pub enum Net {
    /// A GPT.
    Gpt(Gpt),
    /// A Llama.
    Llama(Llama),
    /// A BERT.
    Bert(Bert),
    /// A perceptron.
    Perceptron(Perceptron),
    /// A convolutional net.
    Convolution(Convolution),
}

impl Net {
    /// The model of that shape holding `parameters`.
    ///
    /// # Errors
    /// Parameters of another shape.
    pub fn new(recipe: &ModelRecipe, parameters: &Parameters, device: &Device) -> Result<Self> {
        Ok(match recipe {
            ModelRecipe::Gpt(shape) => Self::Gpt(Gpt::new(shape, parameters, device)?),
            ModelRecipe::Llama(shape) => Self::Llama(Llama::new(shape, parameters, device)?),
            ModelRecipe::Bert(shape) => Self::Bert(Bert::new(shape, parameters, device)?),
            ModelRecipe::Perceptron(shape) => Self::Perceptron(Perceptron::new(shape, parameters, device)?),
            ModelRecipe::Convolution(shape) => Self::Convolution(Convolution::new(shape, parameters, device)?),
        })
    }

    /// Names and shapes of the model's arrays, sorted by name.
    #[must_use]
    pub fn layout(recipe: &ModelRecipe) -> Layout {
        match recipe {
            ModelRecipe::Gpt(shape) => Gpt::layout(shape),
            ModelRecipe::Llama(shape) => Llama::layout(shape),
            ModelRecipe::Bert(shape) => Bert::layout(shape),
            ModelRecipe::Perceptron(shape) => Perceptron::layout(shape),
            ModelRecipe::Convolution(shape) => Convolution::layout(shape),
        }
    }

    /// The model's own initial weights for `seed`, equal on every machine.
    #[must_use]
    pub fn initial(recipe: &ModelRecipe, seed: u64) -> Parameters {
        match recipe {
            ModelRecipe::Gpt(shape) => Gpt::initial(shape, seed),
            ModelRecipe::Llama(shape) => Llama::initial(shape, seed),
            ModelRecipe::Bert(shape) => Bert::initial(shape, seed),
            ModelRecipe::Perceptron(shape) => Perceptron::initial(shape, seed),
            ModelRecipe::Convolution(shape) => Convolution::initial(shape, seed),
        }
    }

    /// `config.json` of such a model.
    #[must_use]
    pub fn config_json(recipe: &ModelRecipe) -> String {
        match recipe {
            ModelRecipe::Gpt(shape) => Gpt::config_json(shape),
            ModelRecipe::Llama(shape) => Llama::config_json(shape),
            ModelRecipe::Bert(shape) => Bert::config_json(shape),
            ModelRecipe::Perceptron(shape) => Perceptron::config_json(shape),
            ModelRecipe::Convolution(shape) => Convolution::config_json(shape),
        }
    }

    /// Its variables.
    #[must_use]
    pub fn weights(&self) -> &Weights {
        match self {
            Self::Gpt(model) => model.weights(),
            Self::Llama(model) => model.weights(),
            Self::Bert(model) => model.weights(),
            Self::Perceptron(model) => model.weights(),
            Self::Convolution(model) => model.weights(),
        }
    }

    fn load(&mut self, parameters: &Parameters) -> Result<()> {
        match self {
            Self::Gpt(model) => model.load_parameters(parameters),
            Self::Llama(model) => model.weights_mut().load(parameters),
            Self::Bert(model) => model.weights_mut().load(parameters),
            Self::Perceptron(model) => model.weights_mut().load(parameters),
            Self::Convolution(model) => model.weights_mut().load(parameters),
        }
    }

    /// The name in a sentence.
    fn what(&self) -> &'static str {
        match self {
            Self::Gpt(_) => "a GPT",
            Self::Llama(_) => "a Llama",
            Self::Bert(_) => "a BERT",
            Self::Perceptron(_) => "a perceptron",
            Self::Convolution(_) => "a convolutional net",
        }
    }
}

impl Model {
    /// The recipe's model holding `parameters`, which are its weights.
    ///
    /// # Errors
    /// As [`Model::on`]; of adapters there is no model without the weights that they are for.
    pub fn new(recipe: &Recipe, parameters: &Parameters, device: &Device) -> Result<Self> {
        Self::on(recipe, None, parameters, device)
    }

    /// The recipe's model holding `parameters`: its weights, or the adapters on the weights `frozen`, where the recipe has some.
    ///
    /// # Errors
    /// Arrays of another shape; [`TrainingError::BadRequest`] for adapters on nothing.
    pub fn on(recipe: &Recipe, frozen: Option<&Parameters>, parameters: &Parameters, device: &Device) -> Result<Self> {
        let (net, adapters) = match (&recipe.adapter, frozen) {
            (None, _) => (Net::new(&recipe.model, parameters, device)?, None),
            (Some(_), None) => {
                return Err(TrainingError::BadRequest("a recipe of adapters needs the weights of its base model".to_owned()));
            }
            (Some(_), Some(frozen)) => {
                let net = Net::new(&recipe.model, frozen, device)?;
                let adapters = Lora::new(&adapter_shape(recipe)?, net.weights().layout(), parameters, device)?;
                (net, Some(adapters))
            }
        };
        Ok(Self { recipe: recipe.model.clone(), net, adapters })
    }

    /// What trains at the start: the model's weights for the recipe's seed, or, of a recipe of adapters, such that leave
    /// `base` as it is; without a base, the weights for the seed are it.
    ///
    /// # Errors
    /// [`TrainingError::BadRequest`] for adapters of modules that the model does not have.
    pub fn initial(recipe: &Recipe, base: Option<&Parameters>) -> Result<Parameters> {
        let fresh = || Net::initial(&recipe.model, recipe.seed);
        match (&recipe.adapter, base) {
            (None, None) => Ok(fresh()),
            (None, Some(base)) => Ok(base.clone()),
            (Some(_), None) => Lora::initial(&adapter_shape(recipe)?, &fresh(), recipe.seed),
            (Some(_), Some(base)) => Lora::initial(&adapter_shape(recipe)?, base, recipe.seed),
        }
    }

    /// Names and shapes of what trains, sorted by name.
    ///
    /// # Errors
    /// [`TrainingError::BadRequest`] for adapters of modules that the model does not have.
    pub fn layout(recipe: &Recipe) -> Result<Layout> {
        let layout = Net::layout(&recipe.model);
        if recipe.adapter.is_some() { Lora::layout(&adapter_shape(recipe)?, &layout) } else { Ok(layout) }
    }

    /// Another of the same recipe, on the same frozen weights where there are adapters, holding `parameters`.
    ///
    /// # Errors
    /// Parameters of another shape.
    pub(crate) fn with(&self, recipe: &Recipe, parameters: &Parameters) -> Result<Self> {
        let frozen = self.adapters.as_ref().map(|_| self.net.weights().parameters()).transpose()?;
        Self::on(recipe, frozen.as_ref(), parameters, self.weights().device())
    }

    /// Kind and shape.
    #[must_use]
    pub fn recipe(&self) -> &ModelRecipe {
        &self.recipe
    }

    /// The model itself.
    #[must_use]
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// The GPT, where it is one without adapters.
    #[must_use]
    pub fn gpt(&self) -> Option<&Gpt> {
        match (&self.net, &self.adapters) {
            (Net::Gpt(gpt), None) => Some(gpt),
            _ => None,
        }
    }

    /// The variables that train.
    #[must_use]
    pub fn weights(&self) -> &Weights {
        self.adapters.as_ref().map_or(self.net.weights(), Lora::weights)
    }

    /// A copy of what trains.
    ///
    /// # Errors
    /// Candle's.
    pub fn parameters(&self) -> Result<Parameters> {
        self.weights().parameters()
    }

    /// Replaces what trains.
    ///
    /// # Errors
    /// Arrays of another shape, or not finite; nothing has changed then.
    pub fn load_parameters(&mut self, parameters: &Parameters) -> Result<()> {
        match &mut self.adapters {
            Some(adapters) => adapters.weights_mut().load(parameters),
            None => self.net.load(parameters),
        }
    }

    /// The weights of a plain model that computes the same: adapters are merged into their base.
    ///
    /// # Errors
    /// Candle's.
    pub fn merged(&self) -> Result<Parameters> {
        let base = self.net.weights().parameters()?;
        match &self.adapters {
            Some(adapters) => adapters.merged(&base),
            None => Ok(base),
        }
    }

    /// `adapter_model.safetensors` and `adapter_config.json` in PEFT's layout; nothing without adapters.
    ///
    /// # Errors
    /// Candle's.
    pub fn adapter_files(&self, base: &str) -> Result<Option<ModelFiles>> {
        let task = match &self.net {
            Net::Bert(bert) if matches!(bert.shape().head, BertHead::Classes(_)) => "SEQ_CLS",
            Net::Bert(_) => "FEATURE_EXTRACTION",
            _ => "CAUSAL_LM",
        };
        let files = self.adapters.as_ref().map(|adapters| adapters.files(task, base)).transpose()?;
        Ok(files.map(|(safetensors, config_json)| ModelFiles { safetensors, config_json }))
    }

    /// Puts the model on a tape; where it has adapters, only they want gradients.
    ///
    /// # Errors
    /// Candle's.
    pub fn leaves(&self, tape: &Tape) -> Result<Leaves> {
        match &self.adapters {
            Some(adapters) => adapters.leaves(tape, self.net.weights()),
            None => Ok(self.net.weights().leaves(tape)),
        }
    }

    /// Logits of the batch's targets: (targets, classes or vocab).
    ///
    /// # Errors
    /// [`TrainingError::BadRequest`] for a batch that is not of this model's kind or does not fit it.
    pub fn logits(&self, tape: &Tape, leaves: &Leaves, batch: &Batch) -> Result<Value> {
        match (&self.net, batch) {
            (Net::Gpt(model), Batch::Windows(windows)) => model.logits(tape, leaves, &windows.tokens, windows.context),
            (Net::Llama(model), Batch::Windows(windows)) => model.logits(tape, leaves, &windows.tokens, windows.context),
            (Net::Bert(model), Batch::Texts { texts, .. }) => model.classify(tape, leaves, texts),
            (Net::Bert(model), Batch::Masked { texts, places, .. }) => model.predict_masked(tape, leaves, texts, places),
            (Net::Perceptron(model), Batch::Rows { rows, .. }) => {
                model.logits(tape, leaves, &Value::constant(rows.to_tensor(self.weights().device())?))
            }
            (Net::Convolution(model), Batch::Images { images, .. }) => {
                model.logits(tape, leaves, &images.to_tensor(self.weights().device())?)
            }
            (net, batch) => Err(TrainingError::BadRequest(format!("{} cannot learn from {}", net.what(), batch.what()))),
        }
    }

    /// The mean loss of the batch in nats: a scalar.
    ///
    /// # Errors
    /// As [`Model::logits`]; [`TrainingError::BadRequest`] for a class that the model does not have.
    pub fn loss(&self, tape: &Tape, leaves: &Leaves, batch: &Batch) -> Result<Value> {
        let logits = self.logits(tape, leaves, batch)?; // (targets, classes)
        ops::cross_entropy(tape, &logits, batch.targets())
    }

    /// The matrices that Muon moves: those of the blocks, or of the layers between, and neither embeddings nor heads.
    #[must_use]
    pub fn is_hidden_matrix(&self, name: &str) -> bool {
        let matrix = self.weights().variables().get(name).is_some_and(|variable| variable.rank() == 2);
        let hidden = match &self.net {
            Net::Gpt(_) => name.contains("transformer.h."),
            Net::Llama(_) => name.contains("model.layers."),
            Net::Bert(_) => name.contains("bert.encoder."),
            Net::Perceptron(model) => !name.starts_with(&format!("layers.{}.", 2 * model.shape().hidden.len())),
            // Its kernels have four dimensions.
            Net::Convolution(_) => false,
        };
        matrix && hidden
    }
}

fn adapter_shape(recipe: &Recipe) -> Result<LoraShape> {
    let Some(AdapterRecipe { rank, alpha, targets, whole, base: _ }) = recipe.adapter.clone() else {
        return Err(TrainingError::BadRequest("the recipe has no adapters".to_owned()));
    };
    Ok(LoraShape { rank, alpha, targets, whole, fan_in_fan_out: matches!(recipe.model, ModelRecipe::Gpt(_)) })
}
