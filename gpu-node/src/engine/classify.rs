//! Sorts a tenant's texts into the classes of a published model.

use super::{EngineError, Gate, Piece, device, generate::Stopwatch};
use crate::trainer::Cancel;
use starling_http_api::job::Classified;
use starling_training::{Classifier, TrainingError};
use std::{sync::Arc, time::Instant};

/// Texts to sort.
pub(crate) struct ClassifyJob {
    /// Each within its limits.
    pub(crate) texts: Vec<String>,
    /// The model file.
    pub(crate) model: Arc<[u8]>,
    /// Metered time of the last statement before a restart.
    pub(crate) before_ms: u64,
    /// The stopwatch stands while more than this is unsigned.
    pub(crate) unsigned_limit_ms: u64,
}

/// Sorts each text; the answers in JSON are the output, given whole at the end. A unit of work is a text.
pub(crate) fn classify(job: &ClassifyJob, gate: &Gate, cancel: &Cancel, mut give: impl FnMut(Piece)) -> Result<(), EngineError> {
    let model = Classifier::read(&job.model, &device()?)?;
    let mut watch = Stopwatch::new(job.before_ms);
    let mut probabilities = Vec::with_capacity(job.texts.len());
    for (units, text) in (1..).zip(&job.texts) {
        if cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        let began = Instant::now();
        probabilities.push(model.probabilities(text)?);
        let worked = began.elapsed();
        let metered_ms = watch.so_far_ms();
        give(Piece { bytes: Vec::new(), units, metered_ms });
        gate.wait_below(metered_ms, job.unsigned_limit_ms, cancel)?;
        cancel.between_steps(worked)?;
        watch.pause_until_now();
    }
    let units = u64::try_from(probabilities.len()).unwrap_or(u64::MAX);
    let answer = Classified { classes: model.classes().to_vec(), probabilities };
    let bytes = serde_json::to_vec(&answer).map_err(|error| TrainingError::BadRequest(error.to_string()))?;
    give(Piece { bytes, units, metered_ms: watch.so_far_ms() });
    Ok(())
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;
    use starling_training::{DataFile, Device, Recipe, generated, prepare, train};

    fn job(model: Vec<u8>) -> ClassifyJob {
        let texts = vec!["The printer is out of toner again.".to_owned(), "All servers are down, nobody can work!".to_owned()];
        ClassifyJob { texts, model: model.into(), before_ms: 0, unsigned_limit_ms: 60_000 }
    }

    #[test]
    fn classify__should_give_each_text_a_probability_of_each_class() {
        // As short as its warm-up.
        let recipe = Recipe { rounds: 1, inner_steps_per_round: 40, ..Recipe::preset("triage").unwrap() };
        let file: DataFile = generated(&recipe).unwrap().unwrap();
        let data = prepare(&recipe, &file, &Default::default(), [0; 32]).unwrap();
        let made = train(&recipe, &data, None, 1 << 40, &Device::Cpu, |_| true).unwrap();
        let (mut output, mut units) = (Vec::new(), 0);
        let mut take = |piece: Piece| {
            units = piece.units;
            output.extend(piece.bytes);
        };
        classify(&job(made.model.safetensors), &Gate::default(), &Cancel::default(), &mut take).unwrap();
        let answer: Classified = serde_json::from_slice(&output).unwrap();
        assert_eq!((units, answer.probabilities.len(), answer.classes.len()), (2, 2, 4));
        for row in answer.probabilities {
            assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-6 && row.len() == 4, "{row:?}");
        }
    }

    #[test]
    fn classify__should_refuse_a_model_that_sorts_nothing() {
        let recipe = Recipe::preset("tiny").unwrap();
        let parameters = starling_training::Model::initial(&recipe, None).unwrap();
        let file = starling_training::export_model(&recipe, &parameters, &Default::default()).unwrap().safetensors;
        let refused = classify(&job(file), &Gate::default(), &Cancel::default(), |_| ()).unwrap_err().to_string();
        assert!(refused.contains("sorts no texts"), "{refused}");
    }
}
