//! `cargo xtask bench training`: one step of training here and in PyTorch, side by side in one run, as a table.
//!
//! Each model runs in a process of its own on each side, told by lines how many steps to make. The processes take turns, so
//! that what else the machine does meets all of them alike; medians are compared.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::{
    command::{ONE_HEAP, command, run},
    paths,
    prove::training::{REFERENCE, python},
};

const CASES: [&str; 4] = ["gpt-1m", "gpt-10m", "bert-mini", "gpt-10m-lora"];
const MODES: [&str; 3] = ["eager", "compile", "bf16"];
/// Turns that count, after one that warms up.
const TURNS: usize = 9;
/// Seconds that a turn of one process takes, about.
const TURN: f64 = 1.0;
const KERNEL_PRODUCTS: usize = 20;

/// Builds our half, runs both and prints the table of `names`, or of all cases.
///
/// # Errors
/// A case is unknown; PyTorch cannot be had; a process failed.
pub(super) fn training(names: &[String]) -> Result<()> {
    if let Some(unknown) = names.iter().find(|name| !CASES.contains(&name.as_str())) {
        bail!("there is no case `{unknown}`; there are: {}", CASES.join(", "));
    }
    let folder = paths::target().join("reference");
    let python = python(&folder)?;
    let script = paths::root().join(REFERENCE).join("speed.py");
    run(ours().arg("--no-run"))?;
    println!("| case | what | tokens/s | ms forward | backward | optimizer | MiB above loading | of its matrix kernel, GFLOP/s |");
    println!("|---|---|---|---|---|---|---|---|");
    for case in CASES.iter().filter(|case| names.is_empty() || names.iter().any(|name| name == *case)) {
        let mut subjects = vec![Subject::start("Starling", ours().args(["--", case]))?];
        for mode in MODES {
            let name = format!("PyTorch {mode}");
            subjects.push(Subject::start(&name, command(&python).arg(&script).args([case, mode]))?);
        }
        measure(&mut subjects)?;
        print(case, &subjects)?;
        subjects.into_iter().try_for_each(Subject::end)?;
    }
    Ok(())
}

fn ours() -> Command {
    let mut cargo = command("cargo");
    cargo.args(["bench", "--quiet", "--profile", "dev", "--bench", "training"]);
    // As a node sets them for itself.
    cargo.envs([("RAYON_NUM_THREADS", "2"), ("CANDLE_NUM_THREADS", "2")]).envs(ONE_HEAP);
    cargo
}

/// One process that trains one model.
struct Subject {
    name: String,
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    parameters: f64,
    tokens: f64,
    flops: f64,
    /// Seconds of a step in forward, backward and optimizer, of each turn.
    steps: Vec<[f64; 3]>,
    /// Flops per second of the matrix product alone, of each turn.
    kernel: Vec<f64>,
    loss: f64,
    /// KiB.
    memory: f64,
}

impl Subject {
    fn start(name: &str, command: &mut Command) -> Result<Self> {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = process.stdin.take().context("no input")?;
        let output = BufReader::new(process.stdout.take().context("no output")?);
        let name = name.to_owned();
        let (steps, kernel) = (Vec::new(), Vec::new());
        let mut subject =
            Self { name, process, input, output, parameters: 0.0, tokens: 0.0, flops: 0.0, steps, kernel, loss: 0.0, memory: 0.0 };
        let line = subject.line()?;
        let ready = line.strip_prefix("ready ").with_context(|| format!("{} is not ready: {line}", subject.name))?;
        let [parameters, tokens, flops] = figures(ready)?;
        (subject.parameters, subject.tokens, subject.flops) = (parameters, tokens, flops);
        Ok(subject)
    }

    fn ask<const N: usize>(&mut self, question: &str) -> Result<[f64; N]> {
        writeln!(self.input, "{question}")?;
        self.input.flush()?;
        figures(&self.line()?).with_context(|| format!("{} answered `{question}`", self.name))
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("{} ended: {}", self.name, self.process.wait()?);
        }
        Ok(line.trim().to_owned())
    }

    /// Lets the process end, before the next case needs its memory.
    fn end(mut self) -> Result<()> {
        drop(self.input);
        self.process.wait()?;
        Ok(())
    }

    /// Seconds of one step, by medians.
    fn step(&self) -> [f64; 3] {
        [0, 1, 2].map(|part| median(self.steps.iter().map(|step| step[part])))
    }

    /// Flops per second of the matrix product alone, by the median.
    fn product(&self) -> f64 {
        median(self.kernel.iter().copied())
    }

    fn seconds(&self) -> f64 {
        median(self.steps.iter().map(|step| step.iter().sum()))
    }
}

/// In turns: some steps of each, then the matrix product of each.
fn measure(subjects: &mut [Subject]) -> Result<()> {
    let mut counts = Vec::new();
    for subject in &mut *subjects {
        let [forward, backward, update, _] = subject.ask("steps 3")?;
        counts.push((3.0 * TURN / (forward + backward + update)).ceil().max(1.0));
    }
    for _ in 0..TURNS {
        for (subject, count) in subjects.iter_mut().zip(&counts) {
            let [forward, backward, update, loss] = subject.ask(&format!("steps {count}"))?;
            subject.steps.push([forward, backward, update].map(|seconds| seconds / count));
            subject.loss = loss;
        }
        for subject in &mut *subjects {
            let [rate] = subject.ask(&format!("kernel {KERNEL_PRODUCTS}"))?;
            subject.kernel.push(rate);
        }
    }
    for subject in subjects {
        let [resident, greatest] = subject.ask("memory")?;
        subject.memory = greatest - resident;
    }
    Ok(())
}

fn print(case: &str, subjects: &[Subject]) -> Result<()> {
    let [ours, theirs @ ..] = subjects else { bail!("nothing was measured") };
    for subject in subjects {
        if subject.parameters != ours.parameters || subject.tokens != ours.tokens {
            bail!("{case}: {} trains {} parameters, we {}", subject.name, subject.parameters, ours.parameters);
        }
        let [forward, backward, update] = subject.step().map(|seconds| seconds * 1e3);
        let share = 100.0 * ours.flops / subject.seconds() / subject.product();
        println!(
            "| {case} | {} | {:.0} | {forward:.1} | {backward:.1} | {update:.1} | {:.0} | {share:.0} % of {:.0} |",
            subject.name,
            subject.tokens / subject.seconds(),
            subject.memory / 1024.0,
            subject.product() / 1e9,
        );
    }
    let fastest = |peers: &mut dyn Iterator<Item = &Subject>| peers.map(Subject::seconds).fold(f64::INFINITY, f64::min);
    let ratio = |seconds: f64| seconds / ours.seconds();
    let is_float32 = |subject: &&Subject| !subject.name.ends_with("bf16");
    println!(
        "| {case}, {} parameters | ratio to the faster of eager and compile | {:.2} | | | | | |",
        ours.parameters,
        ratio(fastest(&mut theirs.iter().filter(is_float32)))
    );
    let product = |subject: &Subject| ours.product() / subject.product();
    let products: Vec<String> =
        theirs.iter().filter(is_float32).map(|subject| format!("{:.2} of {}'s", product(subject), subject.name)).collect();
    println!("| {case} | its product, equal to the bit on any machine, beside one that is not | {} | | | | | |", products.join(", "));
    let losses: Vec<String> = subjects.iter().map(|subject| format!("{:.2}", subject.loss)).collect();
    println!("| {case} | last loss of each, all on one batch | {} | | | | | |", losses.join(", "));
    Ok(())
}

fn figures<const N: usize>(line: &str) -> Result<[f64; N]> {
    let figures = line.split_whitespace().map(str::parse).collect::<Result<Vec<f64>, _>>()?;
    figures.try_into().map_err(|_| anyhow::anyhow!("`{line}` is not {N} figures"))
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
