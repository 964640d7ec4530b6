//! A finished model as files that `transformers` loads: `model.safetensors` and `config.json`.

use std::collections::BTreeMap;

use crate::arrays_file;
use crate::error::Result;
use crate::model::Gpt;
use crate::model::gpt::LAYER_NORM_EPSILON;
use crate::parameters::{Parameters, check_parameters};
use starling_rounds::recipe::{GptShape, Recipe};

/// The files of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelFiles {
    /// `model.safetensors`: the weights by their Hugging Face names, the tied output layer stored once; equal weights
    /// and metadata give equal bytes.
    pub safetensors: Vec<u8>,
    /// `config.json` of a `GPT2LMHeadModel` whose tokens are bytes.
    pub config_json: String,
}

/// The files of a model with `parameters`; `metadata` goes into the header beside the recipe and its hash.
///
/// # Errors
/// As [`check_parameters`].
pub fn export_model(recipe: &Recipe, parameters: &Parameters, metadata: &BTreeMap<String, String>) -> Result<ModelFiles> {
    check_parameters(&Gpt::layout(recipe.gpt()), parameters)?;
    let mut metadata = metadata.clone();
    metadata.insert("format".to_owned(), "pt".to_owned());
    metadata.insert("starling.recipe".to_owned(), recipe.canonical_json());
    metadata.insert("starling.recipe_hash".to_owned(), blake3::Hash::from_bytes(recipe.hash()).to_hex().to_string());
    Ok(ModelFiles { safetensors: arrays_file::write(parameters, &metadata), config_json: config_json(recipe.gpt()) })
}

/// The weights and metadata of a `model.safetensors`.
///
/// # Errors
/// [`crate::TrainingError::BadCheckpoint`] where the file is damaged or holds anything but `f32`.
pub fn import_model(safetensors: &[u8]) -> Result<(Parameters, BTreeMap<String, String>)> {
    arrays_file::read(safetensors)
}

fn config_json(shape: &GptShape) -> String {
    let config = serde_json::json!({
        "activation_function": "gelu_new",
        "architectures": ["GPT2LMHeadModel"],
        "attn_pdrop": 0.0,
        "bos_token_id": 10,
        "embd_pdrop": 0.0,
        "eos_token_id": 10,
        "layer_norm_epsilon": LAYER_NORM_EPSILON,
        "model_type": "gpt2",
        "n_ctx": shape.context,
        "n_embd": shape.width,
        "n_head": shape.heads,
        "n_inner": 4 * shape.width,
        "n_layer": shape.layers,
        "n_positions": shape.context,
        "resid_pdrop": 0.0,
        "tie_word_embeddings": true,
        "torch_dtype": "float32",
        "vocab_size": shape.vocab,
    });
    format!("{config:#}\n")
}

#[cfg(test)]
#[expect(non_snake_case, reason = "tests are named subject__should_effect")]
mod tests {
    use super::*;

    #[test]
    fn export__should_be_read_back_with_its_recipe() {
        let recipe = Recipe::preset("tiny").expect("valid");
        let parameters = Gpt::initial(recipe.gpt(), 1);
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
        let mut parameters = Gpt::initial(recipe.gpt(), 1);
        parameters.remove("transformer.wte.weight");
        assert!(export_model(&recipe, &parameters, &BTreeMap::new()).is_err());
    }
}
