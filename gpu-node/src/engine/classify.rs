//! Sorts a tenant's texts or rows into the classes of a published model.

use super::{EngineError, Gate, Piece, device, generate::Stopwatch};
use crate::trainer::Cancel;
use starling_http_api::job::Classified;
use starling_training::{Batch, Classifier, TrainingError};
use std::time::Instant;

/// Texts or rows to sort.
pub(crate) struct ClassifyJob {
    /// What sorts them.
    pub(crate) model: Classifier,
    /// Each as the model takes it.
    pub(crate) lines: Vec<Batch>,
    /// Metered time of the last statement before a restart.
    pub(crate) before_ms: u64,
    /// The stopwatch stands while more than this is unsigned.
    pub(crate) unsigned_limit_ms: u64,
}

/// The model of a file, and texts, rows or named pictures as it takes them.
pub(crate) fn load_classifier(
    file: &[u8],
    lines: &[String],
    pictures: &[(String, Vec<u8>)],
) -> Result<(Classifier, Vec<Batch>), EngineError> {
    let model = Classifier::read(file, &device()?)?;
    let lines = lines.iter().map(|line| model.read_line(line));
    let asked = lines.chain(pictures.iter().map(|(name, bytes)| model.read_picture(bytes, name))).collect::<Result<_, _>>()?;
    Ok((model, asked))
}

/// Sorts each text, row or picture; the answers in JSON are the output, given whole at the end. A unit of work is one of them.
pub(crate) fn classify(job: &ClassifyJob, gate: &Gate, cancel: &Cancel, mut give: impl FnMut(Piece)) -> Result<(), EngineError> {
    let ClassifyJob { model, lines, .. } = job;
    let mut watch = Stopwatch::new(job.before_ms);
    let mut probabilities = Vec::with_capacity(lines.len());
    for (units, line) in (1..).zip(lines) {
        if cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        let began = Instant::now();
        probabilities.push(model.probabilities(line)?);
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
    use starling_training::{DataFile, Device, Recipe, generated, prepare, read_archive, train};

    /// Texts or rows sorted with the model of a file.
    fn sorted(file: &[u8], lines: &[&str]) -> Result<(Classified, u64), EngineError> {
        sorted_with(file, lines, &[])
    }

    fn sorted_with(file: &[u8], lines: &[&str], pictures: &[(String, Vec<u8>)]) -> Result<(Classified, u64), EngineError> {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        let (model, lines) = load_classifier(file, &lines, pictures)?;
        let job = ClassifyJob { model, lines, before_ms: 0, unsigned_limit_ms: 60_000 };
        let (mut output, mut units) = (Vec::new(), 0);
        let take = |piece: Piece| {
            units = piece.units;
            output.extend(piece.bytes);
        };
        classify(&job, &Gate::default(), &Cancel::default(), take)?;
        Ok((serde_json::from_slice(&output).unwrap(), units))
    }

    #[test]
    fn classify__should_give_each_text_a_probability_of_each_class() {
        // As short as its warm-up.
        let recipe = Recipe { rounds: 1, inner_steps_per_round: 40, ..Recipe::preset("triage").unwrap() };
        let file: DataFile = generated(&recipe).unwrap().unwrap();
        let data = prepare(&recipe, &file, &Default::default(), [0; 32]).unwrap();
        let made = train(&recipe, &data, None, 1 << 40, &Device::Cpu, |_| true).unwrap();
        let texts = ["The printer is out of toner again.", "All servers are down, nobody can work!"];
        let (answer, units) = sorted(&made.model.safetensors, &texts).unwrap();
        assert_eq!((units, answer.probabilities.len(), answer.classes.len()), (2, 2, 4));
        for row in answer.probabilities {
            assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-6 && row.len() == 4, "{row:?}");
        }
    }

    #[test]
    fn classify__should_sort_rows_and_name_one_that_is_none() {
        let recipe = Recipe { rounds: 3, ..Recipe::preset("fraud").unwrap() };
        let file: DataFile = generated(&recipe).unwrap().unwrap();
        let data = prepare(&recipe, &file, &Default::default(), [0; 32]).unwrap();
        let model = train(&recipe, &data, None, 1 << 40, &Device::Cpu, |_| true).unwrap().model.safetensors;
        // The file's own rows, without their label, which stands last.
        let text = String::from_utf8(file.bytes).unwrap();
        let rows: Vec<(&str, &str)> = text.lines().skip(1).take(200).filter_map(|row| row.rsplit_once(',')).collect();
        let (answer, _) = sorted(&model, &rows.iter().map(|(row, _)| *row).collect::<Vec<_>>()).unwrap();
        let place = |label: &str| answer.classes.iter().position(|class| class == label).unwrap();
        let right = rows.iter().zip(&answer.probabilities).filter(|((_, label), row)| row[place(label)] > 0.5).count();
        assert!(right > 180, "{right} of {}", rows.len());
        for wrong in ["1,2", "a text", "1,2,3,4,5,6,7,8,9,inf"] {
            let refused = sorted(&model, &[rows[0].0, wrong]).unwrap_err().to_string();
            assert!(refused.contains(wrong) && refused.contains("10 numbers with commas between: "), "{refused}");
        }
    }

    #[test]
    fn classify__should_refuse_a_model_that_sorts_nothing() {
        let recipe = Recipe::preset("tiny").unwrap();
        let parameters = starling_training::Model::initial(&recipe, None).unwrap();
        let file = starling_training::export_model(&recipe, &parameters, &Default::default()).unwrap().safetensors;
        let refused = sorted(&file, &["a text"]).unwrap_err().to_string();
        assert!(refused.contains("sorts no texts, rows or pictures"), "{refused}");
    }

    #[test]
    fn classify__should_sort_pictures_and_name_one_that_is_none() {
        let recipe = Recipe { rounds: 8, ..Recipe::preset("cells").unwrap() };
        let file: DataFile = generated(&recipe).unwrap().unwrap();
        let data = prepare(&recipe, &file, &Default::default(), [0; 32]).unwrap();
        let model = train(&recipe, &data, None, 1 << 40, &Device::Cpu, |_| true).unwrap().model.safetensors;
        let entries = read_archive(&file.bytes, &file.name).unwrap();
        let pictures: Vec<_> = entries.iter().step_by(entries.len() / 60).map(|entry| (entry.path.clone(), entry.bytes.clone())).collect();
        let (answer, units) = sorted_with(&model, &[], &pictures).unwrap();
        assert_eq!(units, pictures.len() as u64);
        let right = pictures.iter().zip(&answer.probabilities).filter(|((path, _), row)| {
            let place = answer.classes.iter().position(|class| path.starts_with(class.as_str())).unwrap();
            row.iter().all(|chance| *chance <= row[place])
        });
        let right = right.count();
        assert!(right * 10 > pictures.len() * 8, "{right} of {}", pictures.len());
        let refused = |name: &str, bytes: &[u8]| sorted_with(&model, &[], &[(name.to_owned(), bytes.to_vec())]).unwrap_err().to_string();
        assert!(refused("a.txt", b"text").contains("\"a.txt\": neither a PNG"), "{}", refused("a.txt", b"text"));
        let small = refused("b.pgm", b"P5\n1 1\n255\na");
        assert!(small.contains("1 x 1 pixels, and the model was trained on pictures of 32 x 32"), "{small}");
        let wrong = refused("b.ppm", &[b"P6\n32 32\n255\n".as_slice(), &[0; 3 * 32 * 32]].concat());
        assert!(wrong.contains("it is coloured, and the model was trained on grey ones"), "{wrong}");
        let lines = sorted(&model, &["a text"]).unwrap_err().to_string();
        assert!(lines.contains("this model sorts pictures"), "{lines}");
    }
}
