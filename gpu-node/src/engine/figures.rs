//! Figures and files for people: the held-out loss, and at the end model file and what else the held-out data says.

use super::{EngineError, RunInputs, model_of};
use starling_http_api::run::{Baselines, ClassFigures, DataKind, Findings, HeldOut, Interval, LossUnit};
use starling_primitives::{Hash32, RunId};
use starling_rounds::OuterState;
use starling_training::{
    Model, ModelRecipe, Recipe, Sampling, Split, TOKENIZER, Text, Tokenizer, Writer, baselines, classification, export_model,
    held_out_bits, probabilities,
};
use std::sync::Arc;

/// Windows of held-out text on which before, after and baselines are compared.
const EXPORT_WINDOWS: usize = 512;
/// As many held-out examples of a classifier at most: the curve of its chances is resampled.
const EXPORT_EXAMPLES: usize = 2_048;
/// So many examples stand for a window.
const EXAMPLES_FOR_WINDOW: usize = 8;
/// Bytes of the held-out text that the sample continues.
const PROMPT_BYTES: usize = 64;
/// Bytes of the sample, at least.
const SAMPLE_BYTES: usize = 480;

/// The loss of a state on at most `windows` windows of the held-out data, or eight times as many examples with a class, of which each is
/// one target; 0 takes all.
pub(crate) fn evaluate_state(inputs: &RunInputs, state: &OuterState, windows: u32) -> Result<HeldOut, EngineError> {
    let each = if inputs.recipe.model.classes().is_some() { EXAMPLES_FOR_WINDOW } else { 1 };
    let examples = usize::try_from(windows).ok().filter(|windows| *windows > 0).map_or(usize::MAX, |windows| windows.saturating_mul(each));
    measure(inputs, &model_of(inputs, state.weights())?, examples)
}

fn measure(inputs: &RunInputs, model: &Model, examples: usize) -> Result<HeldOut, EngineError> {
    let per = match &inputs.recipe.model {
        ModelRecipe::Gpt(_) | ModelRecipe::Llama(_) => LossUnit::Byte,
        other if other.classes().is_some() => LossUnit::Example,
        _ => LossUnit::Token,
    };
    Ok(HeldOut { bits: held_out_bits(model, &inputs.held_out, examples)?, per })
}

/// A final state to make files of.
pub(crate) struct ExportJob {
    /// The run.
    pub(crate) run_id: RunId,
    /// Recipe and texts.
    pub(crate) inputs: RunInputs,
    /// The state before the first round.
    pub(crate) base: OuterState,
    /// The final state.
    pub(crate) state: OuterState,
    /// Its root.
    pub(crate) state_root: Hash32,
}

/// What was made of it.
pub(crate) struct Exported {
    /// `model.safetensors`, adapters merged.
    pub(crate) model: Arc<[u8]>,
    /// `config.json`.
    pub(crate) config: Arc<[u8]>,
    /// Of adapters: the model that they are for, and their two files.
    pub(crate) adapters: Option<(Hash32, [Arc<[u8]>; 2])>,
    /// Before and after training, on the same examples.
    pub(crate) held_out: (HeldOut, HeldOut),
    /// What else the held-out data says.
    pub(crate) findings: Findings,
}

/// Makes the files; refuses a state that has another root than was said.
pub(crate) fn export(job: &ExportJob) -> Result<Exported, EngineError> {
    let (recipe, inputs) = (&job.inputs.recipe, &job.inputs);
    if job.state.root() != job.state_root {
        return Err(EngineError::State(format!("its root is {}, not {}", job.state.root(), job.state_root)));
    }
    let examples = if recipe.model.classes().is_some() { EXPORT_EXAMPLES } else { EXPORT_WINDOWS };
    let before = measure(inputs, &model_of(inputs, job.base.weights())?, examples)?;
    let model = model_of(inputs, job.state.weights())?;
    let after = measure(inputs, &model, examples)?;
    let own = [
        ("starling.run", job.run_id.to_string()),
        ("starling.rounds", job.state.round().to_string()),
        ("starling.state_root", job.state_root.to_string()),
        ("starling.data", inputs.data.to_string()),
    ];
    let mut metadata = (*inputs.meaning).clone();
    metadata.extend(own.map(|(key, value)| (key.to_owned(), value)));
    let files = export_model(recipe, &model.merged()?, &metadata)?;
    let adapters = match recipe.adapter.as_ref().and_then(|adapter| adapter.base) {
        Some(base) => {
            model.adapter_files(&base.to_string())?.map(|files| (base, [files.safetensors.into(), files.config_json.into_bytes().into()]))
        }
        None => None,
    };
    Ok(Exported {
        model: files.safetensors.into(),
        config: files.config_json.into_bytes().into(),
        adapters,
        held_out: (before, after),
        findings: findings(model, inputs)?,
    })
}

fn findings(model: Model, inputs: &RunInputs) -> Result<Findings, EngineError> {
    let recipe = &inputs.recipe;
    if recipe.model.classes().is_some() {
        return Ok(Findings::Classes(class_figures(&model, inputs)?));
    }
    let (Some([text, held_out]), ModelRecipe::Gpt(_) | ModelRecipe::Llama(_)) = (&inputs.texts, &recipe.model) else {
        return Ok(Findings::Masked);
    };
    let context = recipe.model.context().and_then(|context| usize::try_from(context).ok()).unwrap_or_default();
    let simple = baselines(text, &Text::new(held_out.clone(), context, Split::HeldOut)?, EXPORT_WINDOWS);
    let baselines = Baselines { uniform: simple.uniform, bigram: simple.bigram, trigram: simple.trigram };
    let tokenizer = inputs.meaning.get(TOKENIZER).map_or_else(|| Ok(Tokenizer::bytes()), |json| Tokenizer::from_json(json))?;
    Ok(Findings::Text { baselines, sample: sample(Writer::new(model, tokenizer)?, recipe, held_out)? })
}

fn class_figures(model: &Model, inputs: &RunInputs) -> Result<ClassFigures, EngineError> {
    let batch = inputs.held_out.spread(&inputs.recipe.model, EXPORT_EXAMPLES)?;
    let made = classification(inputs.held_out.classes(), &probabilities(model, &batch)?, batch.targets(), inputs.recipe.seed)?;
    let interval = |interval: starling_training::Interval| Interval { value: interval.value, low: interval.low, high: interval.high };
    let has_number = |interval: &Interval| [interval.value, interval.low, interval.high].iter().all(|number| number.is_finite());
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let of = match inputs.recipe.model {
        ModelRecipe::Perceptron(_) => DataKind::Table,
        ModelRecipe::Convolution(_) => DataKind::Images,
        _ => DataKind::LabelledTexts,
    };
    Ok(ClassFigures {
        of,
        classes: made.classes,
        examples: count(made.examples),
        accuracy: interval(made.accuracy),
        macro_f1: interval(made.macro_f1),
        auroc: Some(interval(made.auroc)).filter(has_number),
        calibration_error: interval(made.calibration.error),
        confusion: made.confusion.into_iter().map(|row| row.into_iter().map(count).collect()).collect(),
    })
}

fn sample(writer: Writer, recipe: &Recipe, held_out: &[u8]) -> Result<String, EngineError> {
    let prompt = &held_out[..held_out.len().min(PROMPT_BYTES)];
    let sampling = Sampling { seed: recipe.seed, ..Sampling::default() };
    let mut bytes = prompt.to_vec();
    for piece in writer.write(prompt, sampling)? {
        if bytes.len() >= prompt.len() + SAMPLE_BYTES {
            break;
        }
        bytes.extend_from_slice(piece?);
    }
    Ok(readable(&bytes))
}

/// Text for people: what is no UTF-8 shows as a replacement character.
pub(super) fn readable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;
    use crate::{
        artifact::hash_of,
        engine::{Base, PrepareJob, RunInputs, prepare, read_state},
    };
    use starling_training::{AdapterRecipe, Recipe, generated};

    fn job() -> ExportJob {
        job_of(Recipe::preset("tiny").unwrap())
    }

    fn job_of(recipe: Recipe) -> ExportJob {
        job_on(recipe, include_bytes!("figures.rs").as_slice().into())
    }

    fn job_on(recipe: Recipe, data: Arc<[u8]>) -> ExportJob {
        let made = prepare(PrepareJob { recipe: recipe.to_toml().unwrap(), fit: false, data, held_out: None, base: Base::Fresh }).unwrap();
        let inputs = RunInputs::of(recipe.clone(), made.files[0].clone(), made.files[1].clone(), None).unwrap();
        let base = read_state(&recipe, &made.files[3]).unwrap();
        let (state, state_root) = (base.clone(), base.root());
        ExportJob { run_id: RunId(1), inputs, base, state, state_root }
    }

    #[test]
    fn export__should_make_a_model_that_can_be_a_base_again() {
        let job = job();
        let made = export(&job).unwrap();
        assert!((made.held_out.0.bits - 8.0).abs() < 0.3 && made.held_out.0 == made.held_out.1);
        assert_eq!(made.held_out.0.per, LossUnit::Byte);
        let Findings::Text { baselines, sample } = &made.findings else { panic!("text") };
        assert!(baselines.uniform == 8.0 && baselines.bigram < 8.0, "{baselines:?}");
        assert!(sample.len() > SAMPLE_BYTES / 2);
        let data: Arc<[u8]> = include_bytes!("figures.rs").as_slice().into();
        let again =
            PrepareJob { recipe: job.inputs.recipe.to_toml().unwrap(), fit: false, data, held_out: None, base: Base::Model(made.model) };
        assert_eq!(prepare(again).unwrap().prepared.base_root, job.state_root);
    }

    #[test]
    fn export__should_carry_the_tokenizer_that_every_node_learns_from_the_text() {
        let plain = Recipe::preset("tiny").unwrap();
        let starling_training::ModelRecipe::Gpt(shape) = plain.model.clone() else { panic!("a GPT") };
        let model = starling_training::ModelRecipe::Gpt(starling_training::GptShape { vocab: 300, ..shape });
        let job = job_of(Recipe { model, ..plain }.validated().unwrap());
        let made = export(&job).unwrap();
        // 300 tokens of one chance each, of more than a byte on the mean.
        assert!((2.0..8.0).contains(&made.held_out.0.bits), "{:?}", made.held_out);
        let writer = crate::engine::load_writer(&made.model).unwrap();
        assert_eq!(writer.tokenizer().to_json(false), job.inputs.meaning[TOKENIZER]);
        assert_eq!(made.config, export(&job).unwrap().config);
        // On another text its tokens mean something else.
        let base = |data: &[u8]| {
            let base = Base::Model(made.model.clone());
            prepare(PrepareJob { recipe: job.inputs.recipe.to_toml().unwrap(), fit: false, data: data.into(), held_out: None, base })
        };
        assert_eq!(base(include_bytes!("figures.rs")).unwrap().prepared.base_root, job.state_root);
        assert_eq!(base(include_bytes!("round.rs")).map(|_| ()).unwrap_err().code, "base_mismatch");
        // Adapters take the tokens of the model that they are for.
        let adapted = Recipe { adapter: AdapterRecipe::usual(&job.inputs.recipe.model, 8), ..(*job.inputs.recipe).clone() };
        let (recipe, data) = (adapted.to_toml().unwrap(), include_bytes!("round.rs").as_slice().into());
        let made = prepare(PrepareJob { recipe, fit: false, data, held_out: None, base: Base::Model(made.model.clone()) }).unwrap();
        let recipe = crate::engine::recipe_from_json(&made.files[2]).unwrap();
        let frozen = export(&job).unwrap().model;
        let inputs = RunInputs::of(recipe, made.files[0].clone(), made.files[1].clone(), Some(&frozen)).unwrap();
        assert_eq!(inputs.meaning, job.inputs.meaning);
    }

    #[test]
    fn export__should_measure_classes_and_say_what_the_model_s_numbers_stand_for() {
        for (name, of) in [("triage", DataKind::LabelledTexts), ("fraud", DataKind::Table), ("cells", DataKind::Images)] {
            let recipe = Recipe::preset(name).unwrap();
            let data: Arc<[u8]> = generated(&recipe).unwrap().unwrap().bytes.into();
            let job = job_on(recipe.clone(), data.clone());
            let made = export(&job).unwrap();
            let Findings::Classes(figures) = &made.findings else { panic!("{name}: classes") };
            let examples = job.inputs.held_out.len().min(EXPORT_EXAMPLES);
            assert_eq!((figures.of, figures.examples), (of, examples as u64), "{name}");
            assert_eq!(figures.confusion.iter().flatten().sum::<u64>(), figures.examples, "{name}");
            // Fresh weights know nothing: about a bit for each doubling of the classes.
            let classes = recipe.model.classes().unwrap();
            assert!((made.held_out.0.bits - f64::from(classes).log2()).abs() < 0.5, "{name}: {:?}", made.held_out);
            assert_eq!(made.held_out.0.per, LossUnit::Example);
            let all = job.inputs.train.len() + job.inputs.held_out.len();
            assert!((8..12).contains(&(all / job.inputs.held_out.len())), "{name}: {all}");
            // It can be trained further on the same data; a table's other columns have another scale.
            let again = |data: Arc<[u8]>| {
                let base = Base::Model(made.model.clone());
                prepare(PrepareJob { recipe: recipe.to_toml().unwrap(), fit: false, data, held_out: None, base })
                    .map(|made| made.prepared.base_root)
            };
            assert_eq!(again(data.clone()).unwrap(), job.state_root, "{name}");
            if of == DataKind::Table {
                let refused = again(
                    prepare(PrepareJob {
                        recipe: recipe.to_toml().unwrap(),
                        fit: false,
                        data: data.clone(),
                        held_out: None,
                        base: Base::Fresh,
                    })
                    .unwrap()
                    .files[1]
                        .clone(),
                )
                .unwrap_err();
                assert_eq!(refused.code, "base_mismatch");
                assert!(refused.detail.contains("means and deviations"), "{}", refused.detail);
            }
        }
    }

    #[test]
    fn prepare__should_name_the_row_that_is_wrong() {
        let recipe = Recipe::preset("fraud").unwrap();
        let data = String::from_utf8(generated(&recipe).unwrap().unwrap().bytes).unwrap();
        let mut lines: Vec<&str> = data.lines().collect();
        let wrong = lines[41].replacen(|digit: char| digit.is_ascii_digit(), "x", 1);
        lines[41] = &wrong;
        let job = |data: String| PrepareJob {
            recipe: recipe.to_toml().unwrap(),
            fit: false,
            data: data.into_bytes().into(),
            held_out: None,
            base: Base::Fresh,
        };
        let refused = prepare(job(lines.join("\n"))).map(|_| ()).unwrap_err();
        assert_eq!(refused.code, "data_unusable");
        assert!(refused.detail.starts_with("The training data, row 42, column"), "{}", refused.detail);
        let other = data.replace(",label\n", ",kind\n");
        assert!(prepare(job(other)).map(|_| ()).unwrap_err().detail.contains("`label`"));
    }

    #[test]
    fn export__should_merge_adapters_into_the_model_that_they_are_for() {
        let plain = export(&job()).unwrap();
        let mut recipe = Recipe::preset("tiny").unwrap();
        recipe.adapter = AdapterRecipe::usual(&recipe.model, 8);
        let data: Arc<[u8]> = include_bytes!("figures.rs").as_slice().into();
        let base = Base::Model(plain.model.clone());
        let made = prepare(PrepareJob { recipe: recipe.to_toml().unwrap(), fit: false, data, held_out: None, base }).unwrap();
        let recipe = crate::engine::recipe_from_json(&made.files[2]).unwrap();
        assert_eq!(recipe.adapter.as_ref().and_then(|adapter| adapter.base), Some(hash_of(&plain.model)));
        let state = read_state(&recipe, &made.files[3]).unwrap();
        let whole = Recipe { adapter: None, ..recipe.clone() }.model.parameter_count();
        assert!((state.weights().len() as u64) < whole / 4, "{} of {whole}", state.weights().len());
        let inputs = |file: Option<&[u8]>| RunInputs::of(recipe.clone(), made.files[0].clone(), made.files[1].clone(), file);
        let of = |state: OuterState| {
            let (inputs, state_root) = (inputs(Some(&plain.model)).unwrap(), state.root());
            export(&ExportJob { run_id: RunId(2), inputs, base: state.clone(), state, state_root }).unwrap()
        };
        let weights = |file: &[u8]| starling_training::import_model(file).unwrap().0;
        // Adapters that have learnt nothing change nothing.
        let first = of(state.clone());
        assert_eq!((first.held_out, weights(&first.model)), (plain.held_out, weights(&plain.model)));
        let mut moved = state.weights().to_vec();
        moved.iter_mut().for_each(|weight| *weight += 0.01);
        let config = starling_rounds::OuterConfig::new(0.5, 0.8).unwrap();
        let second = of(OuterState::new(state.layout().clone(), config, moved).unwrap());
        assert_ne!(weights(&second.model), weights(&plain.model));
        assert_eq!(second.config, plain.config);
        let (base, [_, config]) = second.adapters.as_ref().unwrap();
        let config: serde_json::Value = serde_json::from_slice(config).unwrap();
        assert_eq!((*base, &config["base_model_name_or_path"]), (hash_of(&plain.model), &base.to_string().into()));
        // It can be written with like any other, and be the base of the next.
        assert!(crate::engine::load_writer(&second.model).is_ok());
        assert!(matches!(inputs(Some(&second.model)), Err(EngineError::Frozen(_))));
        assert!(matches!(inputs(None), Err(EngineError::Frozen(_))));
    }

    #[test]
    fn export__should_refuse_a_state_with_another_root() {
        let wrong = ExportJob { state_root: Hash32([1; 32]), ..job() };
        assert!(matches!(export(&wrong), Err(EngineError::State(_))));
    }

    #[test]
    fn evaluate__should_take_all_windows_for_zero() {
        let job = job();
        let all = evaluate_state(&job.inputs, &job.state, 0).unwrap();
        assert_eq!(all, evaluate_state(&job.inputs, &job.state, 100_000).unwrap());
        assert_ne!(all, evaluate_state(&job.inputs, &job.state, 1).unwrap());
    }
}
