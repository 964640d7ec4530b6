//! One model in training, measured on request: half of `cargo xtask bench training`, which runs it beside PyTorch
//! (`reference/speed.py`, the other half, answers the same lines).
//!
//! `training CASE` prints `ready PARAMETERS TOKENS_PER_STEP FLOPS_PER_STEP`, then answers each line of its input:
//! `steps N` with the seconds of N steps in forward, backward and optimizer and the last loss; `kernel N` with the
//! flops per second of N products of the model's greatest shape; `memory` with the KiB resident after loading and the
//! greatest since.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{BufRead, Write};
use std::sync::Arc;
use std::time::Instant;

use candle_core::{DType, Tensor, Var};
use starling_training::ops;
use starling_training::{
    AdamW, Bert, BertHead, BertShape, Device, Gpt, GptShape, Leaves, Lora, LoraShape, Parameters, Recipe, Tape, Texts, Value, global_norm,
};

type Failure = Box<dyn Error>;
type Logits = Box<dyn Fn(&Tape) -> starling_training::Result<(Leaves, Value)>>;

/// Gradients are clipped to this norm.
const CLIP: f64 = 1.0;
const LEARNING_RATE: f64 = 3e-4;

/// A model, one batch of it, and what its cost is reckoned from.
struct Case {
    logits: Logits,
    variables: BTreeMap<String, Var>,
    targets: Arc<[u32]>,
    tokens: usize,
    /// Multiply-adds count as two.
    flops: f64,
    /// Rows, inner and columns of its greatest product.
    product: (usize, usize, usize),
}

fn main() -> Result<(), Failure> {
    // cargo adds `--bench`.
    let name = std::env::args().skip(1).find(|argument| argument != "--bench").ok_or("which case?")?;
    let case = case(&name)?;
    let recipe = Recipe::preset("rust-small")?;
    let mut optimizer = AdamW::new(&recipe.optimizer, &case.variables)?;
    let parameters: usize = case.variables.values().map(|variable| variable.elem_count()).sum();
    let resident = status("VmRSS:")?;
    // Lets the greatest resident size begin anew here.
    std::fs::write("/proc/self/clear_refs", "5")?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready {parameters} {} {}", case.tokens, case.flops)?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match line.split_once(' ') {
            Some(("steps", count)) => {
                let [forward, backward, update, loss] = steps(&case, &mut optimizer, count.parse()?)?;
                writeln!(out, "{forward} {backward} {update} {loss}")?;
            }
            Some(("kernel", count)) => writeln!(out, "{}", kernel(case.product, count.parse()?)?)?,
            None if line == "memory" => writeln!(out, "{resident} {}", status("VmHWM:")?)?,
            _ => return Err(format!("`{line}` is not understood").into()),
        }
    }
    Ok(())
}

/// Seconds in forward, backward and optimizer, and the last loss.
fn steps(case: &Case, optimizer: &mut AdamW, count: usize) -> Result<[f64; 4], Failure> {
    let (mut seconds, mut last) = ([0.0; 3], 0.0);
    for _ in 0..count {
        let start = Instant::now();
        let tape = Tape::training();
        let (leaves, logits) = (case.logits)(&tape)?;
        let loss = ops::cross_entropy(&tape, &logits, &case.targets)?;
        drop(logits);
        last = f64::from(loss.tensor().to_scalar::<f32>()?);
        let forward = start.elapsed();
        let gradients = leaves.gradients(tape, &loss)?;
        let backward = start.elapsed();
        let norm = global_norm(&gradients)?;
        optimizer.update(&case.variables, &gradients, LEARNING_RATE, (CLIP / norm).min(1.0))?;
        drop(gradients);
        let all = start.elapsed();
        for (sum, part) in seconds.iter_mut().zip([forward, backward - forward, all - backward]) {
            *sum += part.as_secs_f64();
        }
    }
    let [forward, backward, update] = seconds;
    Ok([forward, backward, update, last])
}

/// Flops per second of the matrix product alone.
fn kernel((rows, inner, columns): (usize, usize, usize), count: usize) -> Result<f64, Failure> {
    let ones = |a: usize, b: usize| Tensor::ones((a, b), DType::F32, &Device::Cpu).map(Value::constant);
    let (x, weight) = (ones(rows, inner)?, ones(columns, inner)?);
    let start = Instant::now();
    for _ in 0..count {
        ops::dense(&Tape::inference(), &x, &weight, None)?;
    }
    Ok((2 * rows * inner * columns * count) as f64 / start.elapsed().as_secs_f64())
}

fn case(name: &str) -> Result<Case, Failure> {
    match name {
        "gpt-1m" => gpt(&GptShape { layers: 5, heads: 4, width: 128, context: 128, vocab: 256 }, 16),
        "gpt-10m" => gpt(&TEN_MILLION, 8),
        "bert-mini" => bert(),
        "gpt-10m-lora" => lora(),
        _ => Err(format!("there is no case `{name}`").into()),
    }
}

const TEN_MILLION: GptShape = GptShape { layers: 6, heads: 6, width: 384, context: 256, vocab: 256 };

fn gpt(shape: &GptShape, windows: usize) -> Result<Case, Failure> {
    let model = Gpt::new(shape, &Gpt::initial(shape, 1), &Device::Cpu)?;
    let (variables, cost) = (model.variables().clone(), Cost::of_gpt(shape, windows));
    let (tokens, targets) = next_tokens(cost.tokens, shape.vocab);
    let context = shape.context as usize;
    let logits = move |tape: &Tape| {
        let leaves = model.leaves(tape);
        let logits = model.logits(tape, &leaves, &tokens, context)?;
        Ok((leaves, logits))
    };
    Ok(cost.case(Box::new(logits), variables, targets, 3.0))
}

/// The same GPT with adapters of rank 8 in the attention of each block.
fn lora() -> Result<Case, Failure> {
    let shape = TEN_MILLION;
    let base = Gpt::initial(&shape, 1);
    let adapted = LoraShape { rank: 8, alpha: 16.0, targets: vec!["c_attn".to_owned()], whole: Vec::new(), fan_in_fan_out: true };
    let model = Gpt::new(&shape, &base, &Device::Cpu)?;
    let adapters: Parameters = Lora::initial(&adapted, &base, 1)?;
    let adapters = Lora::new(&adapted, &Gpt::layout(&shape), &adapters, &Device::Cpu)?;
    let (variables, cost) = (adapters.weights().variables().clone(), Cost::of_gpt(&shape, 8));
    let (tokens, targets) = next_tokens(cost.tokens, shape.vocab);
    let logits = move |tape: &Tape| {
        let leaves = adapters.leaves(tape, model.weights())?;
        let logits = model.logits(tape, &leaves, &tokens, shape.context as usize)?;
        Ok((leaves, logits))
    };
    // The frozen matrices take no gradient of their own.
    Ok(cost.case(Box::new(logits), variables, targets, 2.0))
}

/// The encoder known as BERT-mini, classifying texts.
fn bert() -> Result<Case, Failure> {
    let (windows, width, hidden) = (16, 256, 1_024);
    let shape = BertShape {
        layers: 4,
        heads: 4,
        width,
        hidden,
        context: 128,
        vocab: 30_522,
        segments: 2,
        epsilon: 1e-12,
        head: BertHead::Classes(2),
    };
    let model = Bert::new(&shape, &Bert::initial(&shape, 1), &Device::Cpu)?;
    let context = shape.context as usize;
    let (tokens, _) = next_tokens(windows * context, shape.vocab);
    let texts = Texts { tokens, lengths: vec![context; windows].into(), context };
    let (width, hidden) = (width as usize, hidden as usize);
    let matrices = shape.layers as usize * (4 * width * width + 2 * width * hidden);
    let scores = shape.layers as usize * 2 * context * width;
    let cost = Cost { tokens: windows * context, per_token: matrices + scores, product: (width, hidden) };
    let targets: Arc<[u32]> = (0..windows).map(|window| u32::from(window % 2 == 1)).collect();
    let variables = model.weights().variables().clone();
    let logits = move |tape: &Tape| {
        let leaves = model.weights().leaves(tape);
        let logits = model.classify(tape, &leaves, &texts)?;
        Ok((leaves, logits))
    };
    Ok(cost.case(Box::new(logits), variables, targets, 3.0))
}

/// What the forward pass multiplies.
struct Cost {
    tokens: usize,
    /// Multiply-adds of a token.
    per_token: usize,
    /// Inner and columns of the greatest product of a block.
    product: (usize, usize),
}

impl Cost {
    fn of_gpt(shape: &GptShape, windows: usize) -> Self {
        let [layers, width, context, vocab] = [shape.layers, shape.width, shape.context, shape.vocab].map(|size| size as usize);
        // By causality half of the scores are needed.
        let per_token = layers * (12 * width * width + context * width) + width * vocab;
        Self { tokens: windows * context, per_token, product: (width, 4 * width) }
    }

    /// `passes`: 1 for the forward pass, 1 for the gradients of activations, 1 for those of weights.
    fn case(&self, logits: Logits, variables: BTreeMap<String, Var>, targets: Arc<[u32]>, passes: f64) -> Case {
        let flops = passes * 2.0 * (self.per_token * self.tokens) as f64;
        let (inner, columns) = self.product;
        Case { logits, variables, targets, tokens: self.tokens, flops, product: (self.tokens, inner, columns) }
    }
}

/// Tokens that follow no rule but are the same each time, and the ones after them.
fn next_tokens(count: usize, vocab: u32) -> (Arc<[u32]>, Arc<[u32]>) {
    let tokens: Vec<u32> = (0u32..).map(|place| place.wrapping_mul(2_654_435_761) % vocab).take(count + 1).collect();
    (tokens[..count].into(), tokens[1..].into())
}

/// A figure of this process in KiB.
fn status(field: &str) -> Result<u64, Failure> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix(field)).ok_or("no such figure")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
