//! A finished model that writes text, out of one file: weights, recipe and, where its tokens are not bytes, tokenizer.

use candle_core::Device;

use crate::classifier::TOKENIZER;
use crate::error::{Result, TrainingError};
use crate::export::import_model;
use crate::generate::{Generator, Sampling};
use crate::model::Model;
use crate::tokenizer::Tokenizer;
use starling_rounds::recipe::{ModelRecipe, Recipe};

/// A decoder with what makes its tokens of text.
pub struct Writer {
    model: Model,
    tokenizer: Tokenizer,
}

impl Writer {
    /// A model and the tokenizer that it was trained with.
    ///
    /// # Errors
    /// [`TrainingError::BadRequest`] where they have different vocabularies, or the model writes no text.
    pub fn new(model: Model, tokenizer: Tokenizer) -> Result<Self> {
        let (ModelRecipe::Gpt(_) | ModelRecipe::Llama(_)) = model.recipe() else {
            return Err(TrainingError::BadRequest(format!("this model is a {}: it writes no text", model.recipe().kind())));
        };
        if model.recipe().vocab() != Some(tokenizer.vocab()) {
            return Err(TrainingError::BadRequest(format!("the tokenizer's {} tokens are not those of the model", tokenizer.vocab())));
        }
        Ok(Self { model, tokenizer })
    }

    /// Reads a `model.safetensors` that a training of this program made.
    ///
    /// # Errors
    /// As [`Writer::new`]; [`TrainingError::BadRequest`] where the file names no recipe; else as [`import_model`] and
    /// [`Model::new`].
    pub fn read(safetensors: &[u8], device: &Device) -> Result<Self> {
        let (parameters, metadata) = import_model(safetensors)?;
        let recipe = metadata
            .get("starling.recipe")
            .ok_or_else(|| TrainingError::BadRequest("the model file names no recipe in its metadata".to_owned()))?;
        let recipe = Recipe::from_json(recipe)?;
        let tokenizer = metadata.get(TOKENIZER).map_or_else(|| Ok(Tokenizer::bytes()), |json| Tokenizer::from_json(json))?;
        Self::new(Model::new(&recipe, &parameters, device)?, tokenizer)
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// What makes its tokens.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// An endless text after a prompt, token by token: the bytes that each stands for. Stop by `take`.
    ///
    /// # Errors
    /// As [`Generator::new`].
    pub fn write(&self, prompt: &[u8], sampling: Sampling) -> Result<impl Iterator<Item = Result<&[u8]>>> {
        let tokens = Generator::new(&self.model, &self.tokenizer.encode(prompt), sampling)?;
        Ok(tokens.map(|token| token.map(|token| self.tokenizer.piece(token))))
    }
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use std::collections::BTreeMap;

    use super::*;
    use crate::export::export_model;

    fn file(recipe: &Recipe, metadata: &[(&str, String)]) -> Vec<u8> {
        let metadata: BTreeMap<String, String> = metadata.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        export_model(recipe, &Model::initial(recipe, None).expect("there"), &metadata).expect("writable").safetensors
    }

    #[test]
    fn writer__should_write_the_bytes_of_its_tokens_and_refuse_what_does_not_fit() {
        let cold = Sampling { temperature: 0.0, top_k: 1, seed: 1 };
        let written =
            |writer: &Writer| writer.write(b"fn main", cold).expect("valid").take(8).collect::<Result<Vec<_>>>().expect("text").concat();
        let tiny = Recipe::preset("tiny").expect("valid");
        let bytes = Writer::read(&file(&tiny, &[]), &Device::Cpu).expect("readable");
        assert_eq!(written(&bytes).len(), 8);

        let words = Recipe::preset("rust-words").expect("valid");
        let vocab = words.model.vocab().expect("a decoder");
        let merges = (0..vocab - 256).map(|index| (index / 256, index % 256)).collect();
        let tokenizer = Tokenizer::from_merges(merges).expect("valid");
        let pairs = Writer::read(&file(&words, &[(TOKENIZER, tokenizer.to_json(false))]), &Device::Cpu).expect("readable");
        assert_eq!(pairs.tokenizer().encode(b"\0\x01"), [257]);
        assert!(written(&pairs).len() >= 8);
        assert!(Writer::read(&file(&words, &[]), &Device::Cpu).is_err(), "its tokenizer is lacking");
        assert!(Writer::read(&file(&tiny, &[(TOKENIZER, tokenizer.to_json(false))]), &Device::Cpu).is_err());
        assert!(
            Writer::read(&file(&Recipe::preset("fraud").expect("valid"), &[]), &Device::Cpu).is_err(),
            "a table's model writes nothing"
        );
        assert!(Writer::read(b"no model", &Device::Cpu).is_err());
    }
}
