//! The memory that a recipe is said to need, against the peak that the system measures while it trains.
#![cfg(target_os = "linux")]
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use std::collections::BTreeMap;

use starling_training::{
    Activations, BertHead, BertShape, ConvolutionShape, Data, DataFile, Device, GptShape, LlamaShape, Model, ModelRecipe, ONE_HEAP,
    OptimizerKind, PerceptronShape, Recipe, Trainer, memory_needed, prepare,
};

/// Of the estimate, what the measured peak is at least and at most.
const BAR: (f64, f64) = (0.35, 1.0);

fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("there");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("there");
    let kib: u64 = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().expect("a number");
    kib << 10
}

/// Resident bytes at the peak of two steps and a checkpoint, above what was resident before.
fn peak(recipe: &Recipe, data: &Data, activations: Activations) -> u64 {
    std::fs::write("/proc/self/clear_refs", "5").expect("the peak can be forgotten");
    let before = status("VmRSS");
    let initial = Model::initial(recipe, None).expect("there");
    let mut trainer = Trainer::new(recipe, &initial, data, 0, &Device::Cpu).expect("fits");
    drop(initial);
    trainer.keep(activations);
    for _ in 0..2 {
        trainer.step().expect("finite");
    }
    drop(trainer.checkpoint(&std::collections::BTreeMap::new()).expect("writable"));
    status("VmHWM").saturating_sub(before)
}

fn text() -> DataFile {
    let bytes: Vec<u8> = include_bytes!("memory.rs").iter().chain(include_bytes!("../src/data/archive.rs")).copied().collect();
    DataFile {
        name: "text".to_owned(),
        bytes: bytes.iter().copied().chain(include_bytes!("../src/ops/attention.rs").iter().copied()).collect(),
        synthetic: false,
    }
}

fn generated(preset: &str) -> DataFile {
    starling_training::generated(&Recipe::preset(preset).expect("valid")).expect("made").expect("there")
}

/// Tells the process of one case which.
const CASE: &str = "STARLING_MEMORY_CASE";

/// Each case in a process of its own: the allocator keeps what the case before has freed.
#[test]
fn memory_needed__should_hold_the_measured_peak_of_every_model() {
    let plain = Recipe::preset("tiny").expect("valid");
    let muon = OptimizerKind::Muon { momentum: 0.95 };
    let of = |model: ModelRecipe, batch: u32| Recipe { model, batch, rounds: 100, ..plain.clone() };
    let gpt = |layers, width, context, vocab| ModelRecipe::Gpt(GptShape { layers, heads: 4, width, context, vocab });
    let bert =
        |head| BertShape { layers: 3, heads: 4, width: 128, hidden: 512, context: 64, vocab: 515, segments: 2, epsilon: 1e-12, head };
    let llama = LlamaShape {
        layers: 3,
        heads: 8,
        key_heads: 2,
        head: 32,
        width: 256,
        hidden: 704,
        context: 64,
        vocab: 512,
        theta: 1e4,
        epsilon: 1e-6,
        tied: false,
    };
    let deep_llama = ModelRecipe::Llama(LlamaShape { layers: 8, ..llama.clone() });
    let deep_bert = BertShape { layers: 8, ..bert(BertHead::Classes(4)) };
    let mut with_muon = of(ModelRecipe::Llama(llama), 16);
    with_muon.optimizer.method = muon;
    let cases = [
        ("gpt of many weights", of(gpt(6, 256, 32, 256), 4), text()),
        ("gpt of many activations", of(gpt(4, 128, 64, 256), 64), text()),
        ("gpt that computes blocks again", of(gpt(8, 128, 64, 256), 64), text()),
        ("gpt in parts", Recipe { accumulation: 8, ..of(gpt(4, 128, 64, 256), 64) }, text()),
        ("llama with muon", with_muon, text()),
        ("llama that computes blocks again", of(deep_llama, 32), text()),
        ("bert of classes", of(ModelRecipe::Bert(bert(BertHead::Classes(4))), 64), generated("triage")),
        ("bert that computes blocks again", of(ModelRecipe::Bert(deep_bert), 64), generated("triage")),
        ("bert of masked tokens", of(ModelRecipe::Bert(bert(BertHead::MaskedTokens)), 64), text()),
        (
            "perceptron",
            of(ModelRecipe::Perceptron(PerceptronShape { features: 10, hidden: vec![2_048, 1_024], classes: 2 }), 512),
            generated("fraud"),
        ),
        (
            "convolution",
            of(ModelRecipe::Convolution(ConvolutionShape { channels: 1, stages: vec![32, 64, 64], classes: 3 }), 256),
            generated("cells"),
        ),
    ];
    if let Ok(wanted) = std::env::var(CASE) {
        let (name, recipe, file) = cases.into_iter().find(|(name, ..)| *name == wanted).expect("a case");
        let data = prepare(&recipe, &file, &BTreeMap::new(), [0; 32]).expect("readable").training.data;
        let activations = if name.ends_with("blocks again") { Activations::Recomputed } else { Activations::Kept };
        let (needed, measured) = (memory_needed(&recipe, Some(&data), activations), peak(&recipe, &data, activations));
        let part = measured as f64 / needed as f64;
        println!("memory {name}: needed {} MiB, measured {} MiB, {part:.2} of it", needed >> 20, measured >> 20);
        assert!((BAR.0..=BAR.1).contains(&part), "{name}: {part:.2} is out of the bar");
        return;
    }
    let own = std::env::current_exe().expect("known");
    let mut wrong = Vec::new();
    for (name, ..) in cases {
        let mut process = std::process::Command::new(&own);
        // What was freed goes back at once: what the data took while they were read must not hide what training takes.
        let trimmed = ("MALLOC_TRIM_THRESHOLD_", "131072");
        let ended = process.args(["--nocapture"]).env(CASE, name).envs(ONE_HEAP).envs([trimmed]).output().expect("starts");
        let said = String::from_utf8_lossy(&ended.stdout);
        println!("{}", said.lines().find_map(|line| line.find("memory ").map(|at| &line[at..])).unwrap_or(&said));
        if !ended.status.success() {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "out of the bar: {wrong:?}");
}
