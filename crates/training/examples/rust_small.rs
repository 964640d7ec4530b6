//! Trains a recipe with several simulated participants in one process and prints quality against CPU time.
//!
//! `rust_small TRAIN HELD_OUT [RECIPE.toml] [PARTICIPANTS]`: what the presets were tuned with. The outer step is the
//! plain Nesterov one on uncompressed pseudo-gradients; the real road (codec, signed records) is `starling up`.

use std::error::Error;
use std::io::Write;
use std::time::Instant;

use starling_training::{
    Device, Model, Recipe, Sampling, Split, Text, Tokenizer, Trainer, Writer, baselines, evaluate, flatten, unflatten,
};

const HELD_OUT_WINDOWS: usize = 512;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [train, held_out, rest @ ..] = arguments.as_slice() else {
        return Err("usage: rust_small TRAIN HELD_OUT [RECIPE.toml] [PARTICIPANTS]".into());
    };
    let recipe = match rest.first() {
        Some(path) => Recipe::from_toml(&std::fs::read_to_string(path)?)?,
        None => Recipe::preset("rust-small")?,
    };
    let participants: u32 = rest.get(1).map_or(Ok(3), |count| count.parse())?;
    let context = recipe.model.context().unwrap_or_default() as usize;
    let train = Text::new(std::fs::read(train)?, context, Split::Train)?;
    let held_out = Text::new(std::fs::read(held_out)?, context, Split::HeldOut)?;
    println!("{} parameters, {} training bytes", recipe.model.parameter_count(), train.bytes().len());
    println!("{:?}", baselines(train.bytes(), &held_out, HELD_OUT_WINDOWS));
    let writer = Writer::new(run(&recipe, &train, &held_out, participants)?, Tokenizer::bytes())?;
    for prompt in ["fn main() {\n    let ", "/// Returns ", "use std::"] {
        for temperature in [0.5, 0.8, 1.0] {
            let sampling = Sampling { temperature, ..Sampling::default() };
            let bytes = writer.write(prompt.as_bytes(), sampling)?.take(300).collect::<Result<Vec<_>, _>>()?.concat();
            println!("--- {temperature}\n{prompt}{}", String::from_utf8_lossy(&bytes));
        }
    }
    Ok(())
}

fn run(recipe: &Recipe, train: &Text, held_out: &Text, participants: u32) -> Result<Model, Box<dyn Error>> {
    let layout = Model::layout(recipe)?;
    let mut global = flatten(&Model::initial(recipe, None)?);
    let mut momentum = vec![0.0f64; global.len()];
    let mut trainers = Vec::new();
    for slot in 0..participants {
        trainers.push(Trainer::new(recipe, &unflatten(&layout, &global)?, train.clone(), slot, &Device::Cpu)?);
    }
    let mut model = Model::new(recipe, &unflatten(&layout, &global)?, &Device::Cpu)?;
    let (mut trained, mut seconds) = (0u64, 0.0);
    for round in 1..=recipe.rounds {
        let (start, mut loss) = (cpu_seconds()?, 0.0);
        let wall = Instant::now();
        let mut mean = vec![0.0f64; global.len()];
        for trainer in &mut trainers {
            trainer.load_parameters(&unflatten(&layout, &global)?)?;
            for _ in 0..recipe.inner_steps_per_round {
                let report = trainer.step()?;
                trained += report.tokens;
                loss = report.loss;
            }
            for ((mean, global), local) in mean.iter_mut().zip(&global).zip(flatten(&trainer.parameters()?)) {
                *mean += (f64::from(*global) - f64::from(local)) / f64::from(participants);
            }
        }
        outer_step(recipe, &mut global, &mut momentum, &mean);
        seconds += cpu_seconds()? - start;
        model.load_parameters(&unflatten(&layout, &global)?)?;
        if round % 4 == 0 || round == recipe.rounds {
            let bits = evaluate(&model, held_out, HELD_OUT_WINDOWS)?.bits_per_byte;
            let rate = trained as f64 / seconds;
            println!(
                "round {round:3} loss {loss:.3} held-out {bits:.4} bits/byte, {trained} tokens, {seconds:.1} CPU s, {rate:.0} tokens/CPU s (last round {:.1} s wall)",
                wall.elapsed().as_secs_f64()
            );
            std::io::stdout().flush()?;
        }
    }
    Ok(model)
}

fn outer_step(recipe: &Recipe, global: &mut [f32], momentum: &mut [f64], mean: &[f64]) {
    let (decay, rate) = (recipe.outer.momentum, recipe.outer.learning_rate);
    for ((weight, momentum), gradient) in global.iter_mut().zip(momentum).zip(mean) {
        *momentum = decay * *momentum + gradient;
        let step = rate * (gradient + decay * *momentum);
        #[expect(clippy::cast_possible_truncation, reason = "weights are f32")]
        {
            *weight = (f64::from(*weight) - step) as f32;
        }
    }
}

/// CPU time of this process, which other processes on the machine do not distort as they do wall time.
fn cpu_seconds() -> Result<f64, Box<dyn Error>> {
    let mut nanoseconds = 0u64;
    for task in std::fs::read_dir("/proc/self/task")? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        nanoseconds += text.split_whitespace().next().ok_or("empty schedstat")?.parse::<u64>()?;
    }
    Ok(nanoseconds as f64 * 1e-9)
}
