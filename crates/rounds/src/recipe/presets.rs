//! The built-in recipes.

use super::{
    BertHead, BertShape, ConvolutionShape, DataRecipe, DecayRecipe, EvaluationRecipe, GptShape, InnerSteps, LlamaShape, ModelRecipe,
    OptimizerKind, OptimizerRecipe, OuterRecipe, PerceptronShape, RECIPE_VERSION, Recipe, RecipeError, ScheduleRecipe,
};
use crate::codec::Codec;

type Preset = (&'static str, fn() -> Recipe);

/// The default first.
const PRESETS: [Preset; 6] =
    [("rust-small", rust_small), ("tiny", tiny), ("rust-words", rust_words), ("triage", triage), ("fraud", fraud), ("cells", cells)];

pub(super) fn names() -> Vec<&'static str> {
    PRESETS.iter().map(|(name, _)| *name).collect()
}

pub(super) fn find(name: &str) -> Result<Recipe, RecipeError> {
    match PRESETS.iter().find(|(known, _)| *known == name) {
        Some((_, build)) => build().validated(),
        None => Err(RecipeError::UnknownPreset { name: name.chars().take(80).collect(), known: names().join(", ") }),
    }
}

/// A byte model of Rust for three participants of one thread each.
///
/// Chosen by `crates/training/examples/rust_small.rs` on equal processor time: two layers beat three and four, a context
/// of 64 beats 128, and a peak of 1e-3 beats 6e-4, 1.5e-3 and everything above it by far. With uncompressed updates: 2.4685 held-out bits
/// per byte after 97 processor seconds, where Kneser-Ney has 3.84 from one byte before and 2.97 from two.
fn rust_small() -> Recipe {
    Recipe { rounds: 24, inner_steps_per_round: 100, batch: 8, ..of("rust-small", gpt(2, 4, 128, 64), rate(1e-3, 60 * 8 * 64)) }
}

/// Seconds of work: for tests and for trying things out.
fn tiny() -> Recipe {
    Recipe { rounds: 10, inner_steps_per_round: 5, batch: 4, ..of("tiny", gpt(2, 2, 32, 32), rate(1e-2, 5 * 4 * 32)) }
}

/// A Llama of Rust over a byte-pair tokenizer of 1,024 tokens, its matrices moved by Muon, on one machine.
fn rust_words() -> Recipe {
    let model = ModelRecipe::Llama(LlamaShape {
        layers: 2,
        heads: 4,
        key_heads: 2,
        head: 32,
        width: 128,
        hidden: 352,
        context: 64,
        vocab: 1_024,
        theta: 1e4,
        epsilon: 1e-5,
        tied: true,
    });
    let schedule = ScheduleRecipe { decay: DecayRecipe::LastTokens(400 * 8 * 64), ..rate(2e-3, 60 * 8 * 64) };
    let plain = of("rust-words", model, schedule);
    let optimizer = OptimizerRecipe { method: OptimizerKind::Muon { momentum: 0.95 }, ..plain.optimizer.clone() };
    Recipe {
        rounds: 20,
        inner_steps_per_round: 100,
        batch: 8,
        spike_deviations: 8.0,
        optimizer,
        evaluation: measured(200, 256, 0),
        ..plain
    }
}

/// Sorts support tickets by urgency: a small BERT over a byte-pair tokenizer.
fn triage() -> Recipe {
    let model = ModelRecipe::Bert(BertShape {
        layers: 2,
        heads: 4,
        width: 64,
        hidden: 128,
        context: 48,
        vocab: 768,
        segments: 2,
        epsilon: 1e-12,
        head: BertHead::Classes(4),
    });
    let plain = of("triage", model, rate(1e-3, 40 * 32 * 48));
    Recipe { rounds: 8, inner_steps_per_round: 50, batch: 32, spike_deviations: 8.0, evaluation: measured(50, 0, 4), ..plain }
}

/// Finds fraud among payments in a table.
fn fraud() -> Recipe {
    let model = ModelRecipe::Perceptron(PerceptronShape { features: 10, hidden: vec![64, 32], classes: 2 });
    let plain = of("fraud", model, rate(3e-3, 50 * 128));
    Recipe { rounds: 10, inner_steps_per_round: 100, batch: 128, spike_deviations: 8.0, evaluation: measured(100, 0, 4), ..plain }
}

/// Tells kinds of cells apart in small grey images, as a microscope would give them.
fn cells() -> Recipe {
    let model = ModelRecipe::Convolution(ConvolutionShape { channels: 1, stages: vec![16, 32, 64], classes: 3 });
    let plain = of("cells", model, rate(4e-3, 40 * 32));
    Recipe { rounds: 16, inner_steps_per_round: 50, batch: 32, spike_deviations: 8.0, evaluation: measured(50, 0, 4), ..plain }
}

/// What the presets share.
fn of(name: &str, model: ModelRecipe, schedule: ScheduleRecipe) -> Recipe {
    Recipe {
        version: RECIPE_VERSION,
        name: name.to_owned(),
        seed: 1,
        rounds: 1,
        inner_steps_per_round: 1,
        batch: 1,
        accumulation: 1,
        clip_norm: 1.0,
        spike_deviations: 0.0,
        model,
        adapter: None,
        data: DataRecipe::default(),
        optimizer: OptimizerRecipe { method: OptimizerKind::Adamw, beta1: 0.9, beta2: 0.98, epsilon: 1e-8, weight_decay: 0.1 },
        schedule,
        outer: OuterRecipe { momentum: 0.5, learning_rate: 0.8, codec: Codec::Int4, inner_steps: InnerSteps::Equal, overlap: None },
        evaluation: EvaluationRecipe::default(),
    }
}

/// To a tenth of the peak by a cosine.
fn rate(peak: f64, warmup_tokens: u64) -> ScheduleRecipe {
    ScheduleRecipe { peak_learning_rate: peak, floor_learning_rate: peak / 10.0, warmup_tokens, decay: DecayRecipe::Cosine }
}

fn measured(every_steps: u32, examples: u32, patience: u32) -> EvaluationRecipe {
    EvaluationRecipe { every_steps, examples, patience }
}

fn gpt(layers: u32, heads: u32, width: u32, context: u32) -> ModelRecipe {
    ModelRecipe::Gpt(GptShape { layers, heads, width, context, vocab: 256 })
}
