//! All of a participant's state as one file: resuming from it continues bit by bit.

use std::collections::BTreeMap;

use candle_core::Device;

use super::Trainer;
use super::optimizer::Moments;
use crate::arrays_file;
use crate::data::Data;
use crate::error::{Result, TrainingError};
use crate::parameters::Parameters;
use starling_rounds::recipe::Recipe;

const FORMAT: &str = "starling-checkpoint-2";
const WEIGHT: &str = "weight/";
const FIRST: &str = "first/";
const SECOND: &str = "second/";
const MOMENTUM: &str = "momentum/";
const EXTRA: &str = "extra/";

impl Trainer {
    /// What trains, moments, counters and the recipe's hash as one file, together with `extra` arrays of the caller (error
    /// feedback); the same state gives the same bytes. The frozen weights below adapters are not in it.
    ///
    /// # Errors
    /// Candle's.
    pub fn checkpoint(&self, extra: &Parameters) -> Result<Vec<u8>> {
        let Moments { updates, firsts, seconds, momenta } = self.optimizer.moments(self.model.weights().variables())?;
        let mut arrays = Parameters::new();
        let weights = self.model.parameters()?;
        let groups = [(WEIGHT, weights), (FIRST, firsts), (SECOND, seconds), (MOMENTUM, momenta), (EXTRA, extra.clone())];
        for (prefix, group) in groups {
            arrays.extend(group.into_iter().map(|(name, array)| (format!("{prefix}{name}"), array)));
        }
        let metadata = [
            ("format", FORMAT.to_owned()),
            ("recipe_hash", hex(&self.recipe)),
            ("slot", self.slot.to_string()),
            ("step", self.step.to_string()),
            ("accepted_tokens", self.accepted_tokens.to_string()),
            ("updates", updates.to_string()),
            ("spikes", self.spikes.to_text()),
            ("not_finite", self.not_finite.to_string()),
        ];
        let metadata = metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        Ok(arrays_file::write(&arrays, &metadata))
    }

    /// A trainer in the state of `checkpoint`, and the caller's extra arrays.
    ///
    /// # Errors
    /// [`TrainingError::BadCheckpoint`] for a damaged file, [`TrainingError::CheckpointOfAnotherRecipe`], and those of
    /// [`Trainer::new`].
    pub fn resume(recipe: &Recipe, checkpoint: &[u8], data: impl Into<Data>, device: &Device) -> Result<(Self, Parameters)> {
        Self::resume_on(recipe, None, checkpoint, data, device)
    }

    /// As [`Trainer::resume`], of what the recipe trains on the weights `frozen`, where it has adapters.
    ///
    /// # Errors
    /// As [`Trainer::resume`] and [`Trainer::on`].
    pub fn resume_on(
        recipe: &Recipe,
        frozen: Option<&Parameters>,
        checkpoint: &[u8],
        data: impl Into<Data>,
        device: &Device,
    ) -> Result<(Self, Parameters)> {
        let (arrays, metadata) = arrays_file::read(checkpoint)?;
        if field(&metadata, "format")? != FORMAT {
            return Err(TrainingError::BadCheckpoint(format!("it is not of the format {FORMAT}")));
        }
        let (expected, found) = (hex(recipe), field(&metadata, "recipe_hash")?);
        if expected != found {
            return Err(TrainingError::CheckpointOfAnotherRecipe { expected, found: found.to_owned() });
        }
        let [mut weights, mut firsts, mut seconds, mut momenta, mut extra] = [const { Parameters::new() }; 5];
        for (name, array) in arrays {
            let groups =
                [(WEIGHT, &mut weights), (FIRST, &mut firsts), (SECOND, &mut seconds), (MOMENTUM, &mut momenta), (EXTRA, &mut extra)];
            let group = groups.into_iter().find_map(|(prefix, group)| Some((name.strip_prefix(prefix)?, group)));
            let (name, group) = group.ok_or_else(|| TrainingError::UnknownTensor(name.clone()))?;
            group.insert(name.to_owned(), array);
        }
        let mut trainer = Self::on(recipe, frozen, &weights, data, number(&metadata, "slot")?, device)?;
        let moments = Moments { updates: number(&metadata, "updates")?, firsts, seconds, momenta };
        trainer.optimizer.restore(moments, trainer.model.weights().variables(), device)?;
        trainer.spikes.restore(field(&metadata, "spikes")?)?;
        trainer.not_finite = number(&metadata, "not_finite")?;
        trainer.seek_to(number(&metadata, "step")?, number(&metadata, "accepted_tokens")?);
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
