//! A finished model as files that `transformers` loads: `model.safetensors` and `config.json`.

use std::collections::BTreeMap;

use crate::arrays_file;
use crate::error::Result;
use crate::model::Net;
use crate::parameters::{Parameters, check_parameters};
use starling_rounds::recipe::Recipe;

/// The files of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFiles {
    /// `model.safetensors`: the weights by their Hugging Face names, the tied output layer stored once; equal weights
    /// and metadata give equal bytes.
    pub safetensors: Vec<u8>,
    /// `config.json`.
    pub config_json: String,
}

/// The files of a model with `parameters`, adapters merged; `metadata` goes into the header beside the recipe and its hash.
///
/// # Errors
/// As [`check_parameters`].
pub fn export_model(recipe: &Recipe, parameters: &Parameters, metadata: &BTreeMap<String, String>) -> Result<ModelFiles> {
    // What stands in the file is a plain model: whoever reads it needs no adapters.
    let recipe = &Recipe { adapter: None, ..recipe.clone() };
    check_parameters(&Net::layout(&recipe.model), parameters)?;
    let mut metadata = metadata.clone();
    metadata.insert("format".to_owned(), "pt".to_owned());
    metadata.insert("starling.recipe".to_owned(), recipe.canonical_json());
    metadata.insert("starling.recipe_hash".to_owned(), blake3::Hash::from_bytes(recipe.hash()).to_hex().to_string());
    Ok(ModelFiles { safetensors: arrays_file::write(parameters, &metadata), config_json: Net::config_json(&recipe.model) })
}

/// The files of a model that no recipe made: `config_json` from the model's own `config_json`.
#[must_use]
pub fn model_files(config_json: String, parameters: &Parameters) -> ModelFiles {
    let metadata = BTreeMap::from([("format".to_owned(), "pt".to_owned())]);
    ModelFiles { safetensors: arrays_file::write(parameters, &metadata), config_json }
}

/// The weights and metadata of a `model.safetensors`.
///
/// # Errors
/// [`crate::TrainingError::BadCheckpoint`] where the file is damaged or holds anything but `f32`.
pub fn import_model(safetensors: &[u8]) -> Result<(Parameters, BTreeMap<String, String>)> {
    arrays_file::read(safetensors)
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn export__should_be_read_back_with_its_recipe() {
        let recipe = Recipe::preset("tiny").expect("valid");
        let parameters = Net::initial(&recipe.model, 1);
        let own = [("starling.run".to_owned(), "7".to_owned())].into();
        let files = export_model(&recipe, &parameters, &own).expect("fits");
        let (read, metadata) = import_model(&files.safetensors).expect("readable");
        assert_eq!(read, parameters);
        assert_eq!(metadata["starling.run"], "7");
        assert_eq!(Recipe::from_json(&metadata["starling.recipe"]).expect("valid"), recipe);
        let config: serde_json::Value = serde_json::from_str(&files.config_json).expect("JSON");
        assert_eq!((&config["n_embd"], &config["vocab_size"]), (&32.into(), &256.into()));
    }

    #[test]
    fn export__should_refuse_weights_of_another_shape() {
        let recipe = Recipe::preset("tiny").expect("valid");
        let mut parameters = Net::initial(&recipe.model, 1);
        parameters.remove("transformer.wte.weight");
        assert!(export_model(&recipe, &parameters, &BTreeMap::new()).is_err());
    }
}
