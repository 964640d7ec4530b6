//! All of a participant's state as one file: resuming from it continues bit by bit.

use std::collections::BTreeMap;

use candle_core::Device;

use super::Trainer;
use crate::arrays_file;
use crate::data::Text;
use crate::error::{Result, TrainingError};
use crate::parameters::{Parameters, check_parameters};
use starling_rounds::recipe::Recipe;

const FORMAT: &str = "starling-checkpoint-1";
const WEIGHT: &str = "weight/";
const FIRST: &str = "first/";
const SECOND: &str = "second/";
const EXTRA: &str = "extra/";

impl Trainer {
    /// Weights, moments, counters and the recipe's hash as one file, together with `extra` arrays of the caller (error
    /// feedback); the same state gives the same bytes.
    ///
    /// # Errors
    /// Candle's.
    pub fn checkpoint(&self, extra: &Parameters) -> Result<Vec<u8>> {
        let (firsts, seconds) = self.optimizer.moments(self.model.variables())?;
        let mut arrays = Parameters::new();
        for (prefix, group) in [(WEIGHT, &self.model.parameters()?), (FIRST, &firsts), (SECOND, &seconds), (EXTRA, extra)] {
            arrays.extend(group.iter().map(|(name, array)| (format!("{prefix}{name}"), array.clone())));
        }
        let metadata = [
            ("format", FORMAT.to_owned()),
            ("recipe_hash", hex(&self.recipe)),
            ("slot", self.slot.to_string()),
            ("step", self.step.to_string()),
            ("updates", self.optimizer.updates().to_string()),
        ];
        let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Ok(arrays_file::write(&arrays, &metadata))
    }

    /// A trainer in the state of `checkpoint`, and the caller's extra arrays.
    ///
    /// # Errors
    /// [`TrainingError::BadCheckpoint`] for a damaged file, [`TrainingError::CheckpointOfAnotherRecipe`], and those of
    /// [`Trainer::new`].
    pub fn resume(recipe: &Recipe, checkpoint: &[u8], text: Text, device: &Device) -> Result<(Self, Parameters)> {
        let (arrays, metadata) = arrays_file::read(checkpoint)?;
        if field(&metadata, "format")? != FORMAT {
            return Err(TrainingError::BadCheckpoint(format!("it is not of the format {FORMAT}")));
        }
        let (expected, found) = (hex(recipe), field(&metadata, "recipe_hash")?);
        if expected != found {
            return Err(TrainingError::CheckpointOfAnotherRecipe { expected, found: found.to_owned() });
        }
        let [mut weights, mut firsts, mut seconds, mut extra] = [const { Parameters::new() }; 4];
        for (name, array) in arrays {
            let groups = [(WEIGHT, &mut weights), (FIRST, &mut firsts), (SECOND, &mut seconds), (EXTRA, &mut extra)];
            let group = groups.into_iter().find_map(|(prefix, group)| Some((name.strip_prefix(prefix)?, group)));
            let (name, group) = group.ok_or_else(|| TrainingError::UnknownTensor(name.clone()))?;
            group.insert(name.to_owned(), array);
        }
        let mut trainer = Self::new(recipe, &weights, text, number(&metadata, "slot")?, device)?;
        check_parameters(&trainer.layout(), &firsts)?;
        check_parameters(&trainer.layout(), &seconds)?;
        trainer.optimizer.restore(number(&metadata, "updates")?, firsts, seconds, device)?;
        trainer.step = number(&metadata, "step")?;
        Ok((trainer, extra))
    }
}

fn hex(recipe: &Recipe) -> String {
    blake3::Hash::from_bytes(recipe.hash()).to_hex().to_string()
}

fn field<'a>(metadata: &'a BTreeMap<String, String>, key: &str) -> Result<&'a str> {
    let value = metadata.get(key).map(String::as_str);
    value.ok_or_else(|| TrainingError::BadCheckpoint(format!("its header has no `{key}`")))
}

fn number<T: std::str::FromStr>(metadata: &BTreeMap<String, String>, key: &str) -> Result<T> {
    let value = field(metadata, key)?;
    value.parse().map_err(|_| TrainingError::BadCheckpoint(format!("`{key}` in its header is not a number: {value:?}")))
}
