//! Figures and files for people: held-out bits per byte, and at the end model file, baselines and a sample.

use super::{EngineError, RunInputs, model_of};
use crate::artifact::hash_of;
use starling_http_api::run::Baselines;
use starling_primitives::{Hash32, RunId};
use starling_rounds::OuterState;
use starling_training::{Model, Sampling, Split, TOKENIZER, Text, Tokenizer, Writer, baselines, evaluate, export_model};
use std::sync::Arc;

/// Windows of the held-out text on which before, after and baselines are compared.
const EXPORT_WINDOWS: usize = 512;
/// Bytes of the held-out text that the sample continues.
const PROMPT_BYTES: usize = 64;
/// Bytes of the sample, at least.
const SAMPLE_BYTES: usize = 480;

/// Bits per byte of a state on at most `windows` windows of the held-out text; 0 takes all.
pub(crate) fn evaluate_state(inputs: &RunInputs, state: &OuterState, windows: u32) -> Result<f64, EngineError> {
    let model = model_of(inputs, state.weights())?;
    let windows = if windows == 0 { usize::MAX } else { usize::try_from(windows).unwrap_or(usize::MAX) };
    Ok(evaluate(&model, &inputs.held_out, windows)?.bits_per_byte)
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
    /// Before and after training, on the same windows.
    pub(crate) bits_per_byte: (f64, f64),
    /// Simple models on the same bytes.
    pub(crate) baselines: Baselines,
    /// The beginning of the held-out text and what the model writes after it.
    pub(crate) sample: String,
}

/// Makes the files; refuses a state that has another root than was said.
pub(crate) fn export(job: &ExportJob) -> Result<Exported, EngineError> {
    let (recipe, held_out) = (&job.inputs.recipe, &job.inputs.held_out);
    if job.state.root() != job.state_root {
        return Err(EngineError::State(format!("its root is {}, not {}", job.state.root(), job.state_root)));
    }
    let before = evaluate(&model_of(&job.inputs, job.base.weights())?, held_out, EXPORT_WINDOWS)?.bits_per_byte;
    let model = model_of(&job.inputs, job.state.weights())?;
    let after = evaluate(&model, held_out, EXPORT_WINDOWS)?.bits_per_byte;
    let [text, other] = &job.inputs.texts;
    let simple = baselines(text, &Text::new(other.clone(), super::context(recipe), Split::HeldOut)?, EXPORT_WINDOWS);
    let metadata = [
        ("starling.run", job.run_id.to_string()),
        ("starling.rounds", job.state.round().to_string()),
        ("starling.state_root", job.state_root.to_string()),
        ("starling.data", hash_of(text).to_string()),
    ];
    let tokenizer = job.inputs.tokenizer.as_ref().map(|tokenizer| (TOKENIZER, tokenizer.to_string()));
    let metadata = metadata.into_iter().chain(tokenizer).map(|(key, value)| (key.to_owned(), value)).collect();
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
        bits_per_byte: (before, after),
        baselines: Baselines { uniform: simple.uniform, bigram: simple.bigram, trigram: simple.trigram },
        sample: sample(model, &job.inputs)?,
    })
}

fn sample(model: Model, inputs: &RunInputs) -> Result<String, EngineError> {
    let tokenizer = inputs.tokenizer.as_ref().map_or_else(|| Ok(Tokenizer::bytes()), |json| Tokenizer::from_json(json))?;
    let (writer, [_, held_out]) = (Writer::new(model, tokenizer)?, &inputs.texts);
    let prompt = &held_out[..held_out.len().min(PROMPT_BYTES)];
    let sampling = Sampling { seed: inputs.recipe.seed, ..Sampling::default() };
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
    use crate::engine::{Base, PrepareJob, RunInputs, prepare, read_state};
    use starling_training::{AdapterRecipe, Recipe};

    fn job() -> ExportJob {
        job_of(Recipe::preset("tiny").unwrap())
    }

    fn job_of(recipe: Recipe) -> ExportJob {
        let data: Arc<[u8]> = include_bytes!("figures.rs").as_slice().into();
        let made = prepare(PrepareJob { recipe: recipe.to_toml().unwrap(), data, held_out: None, base: Base::Fresh }).unwrap();
        let inputs = RunInputs::of(recipe.clone(), made.files[0].clone(), made.files[1].clone(), None).unwrap();
        let base = read_state(&recipe, &made.files[3]).unwrap();
        let (state, state_root) = (base.clone(), base.root());
        ExportJob { run_id: RunId(1), inputs, base, state, state_root }
    }

    #[test]
    fn export__should_make_a_model_that_can_be_a_base_again() {
        let job = job();
        let made = export(&job).unwrap();
        assert!((made.bits_per_byte.0 - 8.0).abs() < 0.3 && made.bits_per_byte.0 == made.bits_per_byte.1);
        assert!(made.baselines.uniform == 8.0 && made.baselines.bigram < 8.0, "{:?}", made.baselines);
        assert!(made.sample.len() > SAMPLE_BYTES / 2);
        let data: Arc<[u8]> = include_bytes!("figures.rs").as_slice().into();
        let again = PrepareJob { recipe: job.inputs.recipe.to_toml().unwrap(), data, held_out: None, base: Base::Model(made.model) };
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
        assert!((2.0..8.0).contains(&made.bits_per_byte.0), "{:?}", made.bits_per_byte);
        let writer = crate::engine::load_writer(&made.model).unwrap();
        assert_eq!(writer.tokenizer().to_json(false), job.inputs.tokenizer.as_deref().unwrap());
        assert_eq!(made.config, export(&job).unwrap().config);
        // On another text its tokens mean something else.
        let base = |data: &[u8]| {
            let base = Base::Model(made.model.clone());
            prepare(PrepareJob { recipe: job.inputs.recipe.to_toml().unwrap(), data: data.into(), held_out: None, base })
        };
        assert_eq!(base(include_bytes!("figures.rs")).unwrap().prepared.base_root, job.state_root);
        assert_eq!(base(include_bytes!("round.rs")).map(|_| ()).unwrap_err().code, "base_mismatch");
        // Adapters take the tokens of the model that they are for.
        let adapted = Recipe { adapter: AdapterRecipe::usual(&job.inputs.recipe.model, 8), ..(*job.inputs.recipe).clone() };
        let (recipe, data) = (adapted.to_toml().unwrap(), include_bytes!("round.rs").as_slice().into());
        let made = prepare(PrepareJob { recipe, data, held_out: None, base: Base::Model(made.model.clone()) }).unwrap();
        let recipe = crate::engine::recipe_from_json(&made.files[2]).unwrap();
        let frozen = export(&job).unwrap().model;
        let inputs = RunInputs::of(recipe, made.files[0].clone(), made.files[1].clone(), Some(&frozen)).unwrap();
        assert_eq!(inputs.tokenizer, job.inputs.tokenizer);
    }

    #[test]
    fn export__should_merge_adapters_into_the_model_that_they_are_for() {
        let plain = export(&job()).unwrap();
        let mut recipe = Recipe::preset("tiny").unwrap();
        recipe.adapter = AdapterRecipe::usual(&recipe.model, 8);
        let data: Arc<[u8]> = include_bytes!("figures.rs").as_slice().into();
        let base = Base::Model(plain.model.clone());
        let made = prepare(PrepareJob { recipe: recipe.to_toml().unwrap(), data, held_out: None, base }).unwrap();
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
        assert_eq!((first.bits_per_byte, weights(&first.model)), (plain.bits_per_byte, weights(&plain.model)));
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
