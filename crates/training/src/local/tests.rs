//! Tests of whole trainings: each kind of data is read, learned from and reported on, in seconds.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use crate::tokenizer::SPECIALS;
use starling_rounds::recipe::{AdapterRecipe, BertHead, BertShape, EvaluationRecipe, GptShape};

const SOURCE: &str = include_str!("../local.rs");
const MEMORY: u64 = 1 << 30;

fn trained(recipe: &Recipe, file: &DataFile) -> (Trained, Vec<Progress>) {
    let data = prepare(recipe, file, &BTreeMap::new(), [1; 32]).expect("readable");
    let mut seen = Vec::new();
    let tell = |progress| {
        seen.push(progress);
        true
    };
    let trained = train(recipe, &data, None, MEMORY, &Device::Cpu, tell).expect("trains");
    (trained, seen)
}

fn classes(report: &Report) -> &crate::report::Classification {
    match &report.outcome {
        Outcome::Classes(classes) => classes,
        other => panic!("{other:?}"),
    }
}

/// A preset cut to a few rounds on less data.
fn short(name: &str, rounds: u32) -> Recipe {
    Recipe { rounds, ..Recipe::preset(name).expect("valid") }
}

#[test]
fn fraud__should_be_found_in_a_table() {
    let file = DataFile { name: "payments.csv".to_owned(), bytes: synthetic::payments(2, 6_000), synthetic: true };
    let (trained, seen) = trained(&short("fraud", 4), &file);
    let figures = classes(&trained.report);
    assert!(figures.auroc.low > 0.8, "{}", trained.report.sentence());
    assert!(figures.accuracy.value > 0.93 && figures.macro_f1.value > 0.7, "{}", trained.report.sentence());
    assert_eq!(figures.confusion.iter().flatten().sum::<usize>(), figures.examples);
    assert_eq!(seen.len() as u64, trained.report.steps.0 + trained.report.validation.len() as u64);
    assert!(trained.report.synthetic && trained.report.to_html().contains("Synthetic data"));
    assert_eq!(trained.report.to_json()["outcome"]["classes"], serde_json::json!(["fraud", "honest"]));
}

#[test]
fn cells__should_be_told_apart_in_images() {
    let file = DataFile { name: "cells.tar".to_owned(), bytes: synthetic::cells(2, 900).expect("short names"), synthetic: true };
    let (trained, _) = trained(&short("cells", 6), &file);
    let figures = classes(&trained.report);
    assert!(figures.auroc.low > 0.7, "{}", trained.report.sentence());
    let page = trained.report.to_html();
    assert!(page.contains("<svg") && page.contains("dividing") && !page.contains("http"), "{page}");
}

#[test]
fn triage__should_be_learned_from_texts() {
    let file = DataFile { name: "tickets.jsonl".to_owned(), bytes: synthetic::tickets(2, 1_500), synthetic: true };
    let recipe = Recipe { batch: 16, evaluation: EvaluationRecipe { every_steps: 40, examples: 64, patience: 9 }, ..short("triage", 2) };
    let (trained, _) = trained(&recipe, &file);
    assert!(classes(&trained.report).auroc.low > 0.6, "{}", trained.report.sentence());
    let tokenizer = Tokenizer::from_json(&trained.tokenizer.expect("there")).expect("readable");
    assert_eq!(tokenizer.vocab() + SPECIALS, 768);
}

#[test]
fn text__should_be_learned_in_byte_pairs_by_masks_and_by_adapters() {
    let shape = GptShape { layers: 1, heads: 2, width: 32, context: 16, vocab: 300 };
    let recipe = Recipe { model: ModelRecipe::Gpt(shape), rounds: 6, ..Recipe::preset("tiny").expect("valid") };
    let source = format!("{SOURCE}{}", include_str!("../data/archive.rs")).into_bytes();
    let one = DataFile { name: "source.rs".to_owned(), bytes: source, synthetic: false };
    let (whole, _) = trained(&recipe, &one);
    let Outcome::Text { bits_per_byte, sample, .. } = &whole.report.outcome else { panic!("text") };
    assert!(bits_per_byte.value < 6.0 && sample.len() > 64, "{bits_per_byte}");
    assert!(whole.adapter.is_none() && whole.tokenizer.is_some());

    let shape = BertShape {
        layers: 1,
        heads: 2,
        width: 32,
        hidden: 64,
        context: 16,
        vocab: 303,
        segments: 2,
        epsilon: 1e-12,
        head: BertHead::MaskedTokens,
    };
    let masked = Recipe { model: ModelRecipe::Bert(shape), ..recipe.clone() };
    let (filled, _) = trained(&masked, &one);
    let Outcome::Masked { bits_per_token } = filled.report.outcome else { panic!("masked tokens") };
    assert!(bits_per_token.high < 300f64.log2(), "better than all tokens alike: {bits_per_token}");
    assert!(filled.model.config_json.contains("BertForMaskedLM") && filled.tokenizer.expect("there").contains("<mask>"));

    let adapter = AdapterRecipe { rank: 2, alpha: 4.0, targets: vec!["c_attn".to_owned()], whole: Vec::new(), base: None };
    let adapted = Recipe { adapter: Some(adapter), ..recipe };
    let (made, _) = trained(&adapted, &one);
    assert!(made.adapter.expect("there").config_json.contains("LORA"));
    let first = made.report.validation.first().expect("measured").1;
    assert!(made.report.validation.last().expect("measured").1 < first, "{:?}", made.report.validation);
}

#[test]
fn training__should_stop_early_keep_the_best_and_refuse_what_does_not_fit() {
    let file = DataFile { name: "payments.csv".to_owned(), bytes: synthetic::payments(3, 400), synthetic: true };
    let plain = short("fraud", 20);
    // So fast that it gets worse.
    let schedule = starling_rounds::recipe::ScheduleRecipe { peak_learning_rate: 0.5, floor_learning_rate: 0.5, ..plain.schedule.clone() };
    let recipe = Recipe { schedule, evaluation: EvaluationRecipe { every_steps: 10, examples: 0, patience: 2 }, ..plain };
    let (trained, _) = trained(&recipe, &file);
    assert!(trained.report.stopped_early && trained.report.steps.0 < 2_000, "{:?}", trained.report.steps);
    let data = prepare(&recipe, &file, &BTreeMap::new(), [1; 32]).expect("readable");
    let refused = train(&recipe, &data, None, 1 << 20, &Device::Cpu, |_| panic!("it has started")).err().expect("refused");
    assert!(matches!(refused, TrainingError::OutOfMemory { available_mib: 1, .. }), "{refused}");
    let stopped = train(&recipe, &data, None, MEMORY, &Device::Cpu, |_| false).err().expect("stopped");
    assert!(stopped.to_string().contains("stopped"));
    let other = Recipe {
        model: ModelRecipe::Perceptron(starling_rounds::recipe::PerceptronShape { features: 9, hidden: vec![8], classes: 2 }),
        ..recipe
    };
    assert!(
        prepare(&other, &file, &BTreeMap::new(), [1; 32])
            .err()
            .expect("refused")
            .to_string()
            .contains("the table has 10 features, the model has 9")
    );
}

#[test]
fn hidden_data__should_be_committed_to_before_and_shown_after() {
    let file = DataFile { name: "payments.csv".to_owned(), bytes: synthetic::payments(3, 400), synthetic: true };
    let recipe = short("fraud", 1);
    let (first, again) = (
        prepare(&recipe, &file, &BTreeMap::new(), [1; 32]).expect("readable"),
        prepare(&recipe, &file, &BTreeMap::new(), [2; 32]).expect("readable"),
    );
    assert_ne!(first.commitment.hash, again.commitment.hash, "the salt hides it");
    let missing = DataFile { bytes: b"a,b\n1,2\n".to_vec(), ..file };
    assert!(prepare(&recipe, &missing, &BTreeMap::new(), [1; 32]).err().expect("refused").to_string().contains("column `label`"));
}
