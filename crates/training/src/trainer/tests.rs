//! Tests of training as a whole: it learns, resumes bit by bit, and scores without changing itself.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use crate::data::{ArchiveEntry, LabelledTexts, Picture, Split, Table, Text, Tokens, read_csv, read_images};
use crate::model::Net;
use crate::parameters::Array;
use crate::random::Stream;
use crate::tokenizer::Tokenizer;
use starling_rounds::recipe::{
    AdapterRecipe, BertHead, BertShape, ConvolutionShape, GptShape, LlamaShape, ModelRecipe, OptimizerKind, PerceptronShape, ScheduleRecipe,
};

const SOURCE: &str = include_str!("../trainer.rs");

fn recipe() -> Recipe {
    Recipe::preset("tiny").expect("valid")
}

fn text(split: Split) -> Text {
    Text::new(SOURCE.as_bytes().to_vec(), 32, split).expect("long enough")
}

fn trainer(slot: u32) -> Trainer {
    let recipe = recipe();
    let parameters = Model::initial(&recipe, None).expect("there");
    Trainer::new(&recipe, &parameters, text(Split::Train), slot, &Device::Cpu).expect("fits")
}

#[test]
fn trainer__should_learn_the_text() {
    let mut trainer = trainer(0);
    let text = text(Split::HeldOut);
    let before = trainer.evaluate(&text, 64).expect("evaluates");
    assert!((before.bits_per_byte - 8.0).abs() < 0.2, "{before:?}");
    assert_eq!(before.bytes, 64 * 32);
    let mut reports = Vec::new();
    for _ in 0..trainer.recipe().total_inner_steps() {
        reports.push(trainer.step().expect("finite"));
    }
    let after = trainer.evaluate(&text, 64).expect("evaluates");
    assert!(after.bits_per_byte < 5.0, "{after:?}");
    assert_eq!(reports[49].step, 49);
    assert_eq!((reports[0].tokens, trainer.position()), (128, 50));
    assert!(reports.iter().all(|report| report.gradient_norm > 0.0 && report.learning_rate > 0.0));
    assert!((reports[0].loss - 256f64.ln()).abs() < 0.3, "{}", reports[0].loss);
}

#[test]
fn resume__should_continue_bit_by_bit() {
    let mut whole = trainer(1);
    for _ in 0..4 {
        whole.step().expect("finite");
    }
    let feedback: Parameters = [("w".to_owned(), Array { shape: vec![2], values: vec![0.25, -1.5] })].into();
    let file = whole.checkpoint(&feedback).expect("writable");
    assert_eq!(file, whole.checkpoint(&feedback).expect("writable"));
    let (mut resumed, extra) = Trainer::resume(&recipe(), &file, text(Split::Train), &Device::Cpu).expect("readable");
    assert_eq!(extra, feedback);
    assert_eq!((resumed.position(), resumed.slot()), (4, 1));
    for _ in 0..4 {
        assert_eq!(whole.step().expect("finite"), resumed.step().expect("finite"));
    }
    assert_eq!(whole.checkpoint(&feedback).expect("writable"), resumed.checkpoint(&feedback).expect("writable"));
}

#[test]
fn resume__should_refuse_damage_and_other_recipes() {
    let file = trainer(0).checkpoint(&Parameters::new()).expect("writable");
    let refusal =
        |recipe: &Recipe, file: &[u8]| Trainer::resume(recipe, file, text(Split::Train), &Device::Cpu).err().expect("must be refused");
    assert!(matches!(refusal(&recipe(), &file[..file.len() - 4]), TrainingError::BadCheckpoint(_)));
    let mut other = recipe();
    other.seed = 2;
    assert!(matches!(refusal(&other, &file), TrainingError::CheckpointOfAnotherRecipe { .. }));
}

#[test]
fn step__should_withdraw_itself_when_the_loss_is_not_finite() {
    let mut trainer = trainer(0);
    let mut parameters = trainer.parameters().expect("readable");
    // Finite weights whose logits overflow.
    let table = parameters.get_mut("transformer.ln_f.weight").expect("there");
    table.values.fill(1e38);
    trainer.load_parameters(&parameters).expect("finite");
    for step in 0..7 {
        let report = trainer.step().expect("withdrawn");
        assert_eq!((report.step, report.withdrawn, report.tokens), (step, Some(Withdrawn::NotFinite), 0));
    }
    assert_eq!((trainer.position(), trainer.accepted_tokens()), (7, 0));
    let error = trainer.step().expect_err("leads nowhere");
    assert!(matches!(error, TrainingError::Diverged { step: 7, withdrawn: 8 }), "{error}");
    assert_eq!(trainer.parameters().expect("readable"), parameters);
}

#[test]
fn probe_loss__should_score_others_and_change_nothing() {
    let mut trainer = trainer(0);
    let initial = trainer.parameters().expect("readable");
    let batch = trainer.batch_of(1_000).expect("in memory");
    for _ in 0..10 {
        trainer.step().expect("finite");
    }
    let own = trainer.parameters().expect("readable");
    let (before, after) = (trainer.probe_loss(&initial, &batch).expect("fits"), trainer.probe_loss(&own, &batch).expect("fits"));
    assert!(after < before - 0.2, "{before} to {after}");
    assert_eq!(trainer.parameters().expect("readable"), own);
    assert!((mean_loss(trainer.model(), &batch).expect("fits") - after).abs() < 1e-12);
    let mut wrong = own.clone();
    wrong.clear();
    assert!(trainer.probe_loss(&wrong, &batch).is_err());
    assert!((trainer.probe_loss(&own, &batch).expect("still works") - after).abs() < 1e-12);
}

#[test]
fn trainer__should_read_other_windows_in_another_slot_and_after_seeking() {
    let (mut first, second) = (trainer(0), trainer(1));
    assert_ne!(first.batch_of(0).expect("in memory"), second.batch_of(0).expect("in memory"));
    first.seek(30);
    assert_eq!(first.step().expect("finite").step, 30);
    assert_eq!(first.position(), 31);
}

#[test]
fn trainer__should_refuse_a_text_cut_for_another_context() {
    let recipe = recipe();
    let text = Text::new(SOURCE.as_bytes().to_vec(), 16, Split::Train).expect("long enough");
    let error = Trainer::new(&recipe, &Model::initial(&recipe, None).expect("there"), text, 0, &Device::Cpu).err().expect("refused");
    assert!(error.to_string().contains("windows of 16 bytes"), "{error}");
}

#[test]
fn trainer__should_give_the_same_bits_on_any_number_of_threads() {
    let after_three_steps = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| {
            let mut trainer = trainer(0);
            let losses: Vec<f64> = (0..3).map(|_| trainer.step().expect("finite").loss).collect();
            let bits = trainer.evaluate(text(Split::HeldOut), 40).expect("evaluates").bits_per_byte;
            (losses, bits.to_bits(), trainer.checkpoint(&Parameters::new()).expect("writable"))
        })
    };
    let one = after_three_steps(1);
    for threads in [2, 3, 7] {
        assert!(after_three_steps(threads) == one, "{threads} threads");
    }
}

/// A recipe of seconds for each model, and data for it.
fn small(model: ModelRecipe) -> (Recipe, Data) {
    let schedule = ScheduleRecipe { warmup_tokens: 8, ..recipe().schedule };
    let recipe = Recipe { model, schedule, rounds: 40, inner_steps_per_round: 1, batch: 4, spike_deviations: 6.0, ..recipe() };
    let tokenizer = Tokenizer::learn(SOURCE.as_bytes(), 280).expect("possible");
    let rows = |count: usize| (0..count).map(|row| (format!("text {row} {}", row * row), (row % 3).to_string(), row)).collect::<Vec<_>>();
    let data = match &recipe.model {
        ModelRecipe::Bert(shape) if shape.head != BertHead::MaskedTokens => {
            Data::Labelled(LabelledTexts::new(&rows(30), None, &tokenizer, 12, "t").expect("three classes"))
        }
        ModelRecipe::Perceptron(_) => {
            let csv: String = (0..40).map(|row| format!("{row},{},{}\n", row * row % 7, row % 3)).collect();
            let table = read_csv(format!("a,b,label\n{csv}").as_bytes(), "t").expect("readable");
            Data::Table(Table::new(&table, "label", None).expect("numbers"))
        }
        ModelRecipe::Convolution(_) => {
            let picture =
                |index: u8| Picture { width: 6, height: 5, channels: 1, pixels: (0..30).map(|pixel| pixel * (index + 1)).collect() };
            let entries: Vec<_> = (0..6)
                .map(|index| ArchiveEntry::of_picture(["a", "b", "c"][usize::from(index % 3)], &index.to_string(), &picture(index)))
                .collect();
            Data::Images(read_images(&entries, None, "t").expect("alike"))
        }
        _ => Data::Tokens(Tokens::of(SOURCE.as_bytes(), &tokenizer, 12).expect("long enough")),
    };
    (recipe, data)
}

fn models() -> [ModelRecipe; 6] {
    let bert =
        |vocab, head| BertShape { layers: 1, heads: 2, width: 16, hidden: 24, context: 12, vocab, segments: 2, epsilon: 1e-12, head };
    [
        ModelRecipe::Gpt(GptShape { layers: 1, heads: 2, width: 16, context: 12, vocab: 280 }),
        ModelRecipe::Llama(LlamaShape {
            layers: 1,
            heads: 2,
            key_heads: 1,
            head: 8,
            width: 16,
            hidden: 24,
            context: 12,
            vocab: 280,
            theta: 1e4,
            epsilon: 1e-6,
            tied: true,
        }),
        ModelRecipe::Bert(bert(283, BertHead::Classes(3))),
        ModelRecipe::Bert(bert(283, BertHead::MaskedTokens)),
        ModelRecipe::Perceptron(PerceptronShape { features: 2, hidden: vec![8, 8], classes: 3 }),
        ModelRecipe::Convolution(ConvolutionShape { channels: 1, stages: vec![4, 8], classes: 3 }),
    ]
}

#[test]
fn resume__should_be_bit_equal_after_a_kill_at_any_step_whatever_the_model_and_optimizer() {
    let methods = [OptimizerKind::Adamw, OptimizerKind::Muon { momentum: 0.9 }];
    for (model, method) in models().into_iter().flat_map(|model| methods.map(|method| (model.clone(), method))) {
        if matches!((&model, method), (ModelRecipe::Convolution(_), OptimizerKind::Muon { .. })) {
            continue; // It has no matrices between its layers; the recipe says so.
        }
        let (mut recipe, data) = small(model);
        recipe.optimizer.method = method;
        recipe.accumulation = 2;
        let begin = || Trainer::new(&recipe, &Model::initial(&recipe, None).expect("there"), &data, 3, &Device::Cpu).expect("fits");
        let (mut whole, mut killed) = (begin(), begin());
        let mut chance = Stream::new("kill test", 1, &[]);
        for step in 0..10 {
            let (a, b) = (whole.step().expect("finite"), killed.step().expect("finite"));
            assert_eq!(a, b, "{} step {step}", recipe.model.kind());
            if chance.below(2) == 0 {
                let file = killed.checkpoint(&Parameters::new()).expect("writable");
                killed = Trainer::resume(&recipe, &file, &data, &Device::Cpu).expect("readable").0;
            }
        }
        let files = [&whole, &killed].map(|trainer| trainer.checkpoint(&Parameters::new()).expect("writable"));
        assert!(files[0] == files[1], "{} with {method:?}", recipe.model.kind());
    }
}

#[test]
fn recomputed_activations__should_change_no_bit() {
    let deeper = models().map(|mut model| {
        match &mut model {
            ModelRecipe::Gpt(shape) => shape.layers = 3,
            ModelRecipe::Llama(shape) => shape.layers = 3,
            ModelRecipe::Bert(shape) => shape.layers = 3,
            ModelRecipe::Perceptron(_) | ModelRecipe::Convolution(_) => {}
        }
        model
    });
    let adapter =
        AdapterRecipe { rank: 2, alpha: 4.0, targets: vec!["q_proj".to_owned(), "v_proj".to_owned()], whole: Vec::new(), base: None };
    let adapted = (deeper[1].clone(), Some(adapter));
    for (model, adapter) in deeper.map(|model| (model, None)).into_iter().chain([adapted]) {
        let (mut recipe, data) = small(model);
        recipe.adapter = adapter;
        recipe.accumulation = 2;
        let (base, parameters) = (Net::initial(&recipe.model, 7), Model::initial(&recipe, None).expect("there"));
        let files = [Activations::Kept, Activations::Recomputed].map(|activations| {
            let mut trainer = Trainer::on(&recipe, Some(&base), &parameters, &data, 3, &Device::Cpu).expect("fits");
            trainer.keep(activations);
            for _ in 0..4 {
                trainer.step().expect("finite");
            }
            trainer.checkpoint(&Parameters::new()).expect("writable")
        });
        assert!(files[0] == files[1], "{}", recipe.model.kind());
    }
}

#[test]
fn resume__should_be_bit_equal_for_adapters_on_their_base() {
    let (mut recipe, data) = small(models()[1].clone());
    recipe.adapter =
        Some(AdapterRecipe { rank: 2, alpha: 4.0, targets: vec!["q_proj".to_owned(), "v_proj".to_owned()], whole: Vec::new(), base: None });
    let base = Net::initial(&recipe.model, 7);
    let adapters = Model::initial(&recipe, Some(&base)).expect("there");
    assert!(Trainer::new(&recipe, &adapters, &data, 0, &Device::Cpu).is_err(), "a base is needed");
    let mut whole = Trainer::on(&recipe, Some(&base), &adapters, &data, 0, &Device::Cpu).expect("fits");
    (0..3).for_each(|_| assert_eq!(whole.step().expect("finite").withdrawn, None));
    let file = whole.checkpoint(&Parameters::new()).expect("writable");
    let (mut resumed, _) = Trainer::resume_on(&recipe, Some(&base), &file, &data, &Device::Cpu).expect("readable");
    (0..3).for_each(|_| assert_eq!(whole.step().expect("finite"), resumed.step().expect("finite")));
    assert_eq!(whole.checkpoint(&Parameters::new()).expect("writable"), resumed.checkpoint(&Parameters::new()).expect("writable"));
    assert_eq!(whole.model().net().weights().parameters().expect("readable"), base, "the base stays");
    let (batch, own) = (whole.batch_of(50).expect("in memory"), whole.parameters().expect("readable"));
    let probed = whole.probe_loss(&own, &batch).expect("fits");
    let merged = Model::new(&Recipe { adapter: None, ..recipe }, &whole.model().merged().expect("merges"), &Device::Cpu).expect("fits");
    assert!((mean_loss(&merged, &batch).expect("fits") - probed).abs() < 1e-5);
}

#[test]
fn accumulation__should_give_the_step_of_the_whole_batch() {
    for model in models() {
        let (whole, data) = small(model);
        let parts = Recipe { accumulation: 4, ..whole.clone() };
        let weights_after = |recipe: &Recipe| {
            let mut trainer = Trainer::new(recipe, &Model::initial(recipe, None).expect("there"), &data, 0, &Device::Cpu).expect("fits");
            let report = trainer.step().expect("finite");
            (report, trainer.model().parameters().expect("readable"))
        };
        let ((a, _), (b, _)) = (weights_after(&whole), weights_after(&parts));
        let near = |a: f64, b: f64| (a - b).abs() <= 2e-5 * a.abs().max(1e-3);
        assert!(near(a.loss, b.loss) && near(a.gradient_norm, b.gradient_norm), "{}: {a:?} against {b:?}", whole.model.kind());
        assert_eq!(a.tokens, b.tokens);
    }
}

#[test]
fn schedule__should_follow_accepted_tokens_and_not_steps() {
    let mut trainer = trainer(0);
    trainer.seek_to(30, 10 * 128);
    let report = trainer.step().expect("finite");
    assert_eq!(report.step, 30);
    assert!((report.learning_rate - crate::learning_rate(trainer.recipe(), 10)).abs() < 1e-15);
    assert_eq!(trainer.accepted_tokens(), 11 * 128);
}

#[test]
fn step__should_withdraw_a_spike_and_go_on() {
    let mut trainer = Trainer::new(
        &Recipe { spike_deviations: 6.0, rounds: 20, ..recipe() },
        &Model::initial(&recipe(), None).expect("there"),
        text(Split::Train),
        0,
        &Device::Cpu,
    )
    .expect("fits");
    for _ in 0..60 {
        assert_eq!(trainer.step().expect("finite").withdrawn, None);
    }
    let kept = trainer.parameters().expect("readable");
    let mut wild = kept.clone();
    wild.get_mut("transformer.ln_f.weight").expect("there").values.fill(40.0);
    trainer.load_parameters(&wild).expect("finite");
    let (tokens, report) = (trainer.accepted_tokens(), trainer.step().expect("withdrawn"));
    assert_eq!((report.withdrawn, report.tokens, trainer.accepted_tokens()), (Some(Withdrawn::Spike), 0, tokens), "{report:?}");
    assert_eq!(trainer.parameters().expect("readable"), wild, "nothing was learned from it");
    trainer.load_parameters(&kept).expect("finite");
    assert_eq!(trainer.step().expect("finite").withdrawn, None);
}
