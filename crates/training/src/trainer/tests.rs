//! Tests of training as a whole: it learns, resumes bit by bit, and scores without changing itself.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use crate::data::Split;
use crate::parameters::Array;

const SOURCE: &str = include_str!("../trainer.rs");

fn recipe() -> Recipe {
    Recipe::preset("tiny").expect("valid")
}

fn text(split: Split) -> Text {
    Text::new(SOURCE.as_bytes().to_vec(), 32, split).expect("long enough")
}

fn trainer(slot: u32) -> Trainer {
    let recipe = recipe();
    let parameters = Gpt::initial(recipe.gpt(), recipe.seed);
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
    let error = trainer.step().expect_err("must be withdrawn");
    assert!(matches!(error, TrainingError::LossNotFinite { step: 0 } | TrainingError::GradientNotFinite { step: 0 }));
    assert_eq!(trainer.position(), 0);
    assert_eq!(trainer.parameters().expect("readable"), parameters);
}

#[test]
fn probe_loss__should_score_others_and_change_nothing() {
    let mut trainer = trainer(0);
    let initial = trainer.parameters().expect("readable");
    let batch = trainer.batch_of(1_000);
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
    assert_ne!(first.batch_of(0), second.batch_of(0));
    first.seek(30);
    assert_eq!(first.step().expect("finite").step, 30);
    assert_eq!(first.position(), 31);
}

#[test]
fn trainer__should_refuse_a_text_cut_for_another_context() {
    let recipe = recipe();
    let text = Text::new(SOURCE.as_bytes().to_vec(), 16, Split::Train).expect("long enough");
    let error = Trainer::new(&recipe, &Gpt::initial(recipe.gpt(), 1), text, 0, &Device::Cpu).err().expect("refused");
    assert!(error.to_string().contains("windows of 16 bytes"), "{error}");
}

#[test]
fn trainer__should_give_the_same_bits_on_any_number_of_threads() {
    let after_three_steps = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
        pool.install(|| {
            let mut trainer = trainer(0);
            let losses: Vec<f64> = (0..3).map(|_| trainer.step().expect("finite").loss).collect();
            let bits = trainer.evaluate(&text(Split::HeldOut), 40).expect("evaluates").bits_per_byte;
            (losses, bits.to_bits(), trainer.checkpoint(&Parameters::new()).expect("writable"))
        })
    };
    let one = after_three_steps(1);
    for threads in [2, 3, 7] {
        assert!(after_three_steps(threads) == one, "{threads} threads");
    }
}
