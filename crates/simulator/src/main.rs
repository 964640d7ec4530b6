//! `simulate`: one scenario as a table, or the figures of `docs/PROOF.md`. `cargo xtask simulate` builds and runs it.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use starling_simulator::{
    Behaviour, Scenario,
    figures::{Report, absence, attackers, communication, detection, federated_recipe, overlap, quality, run, small_recipe},
    plot, text,
};

const USAGE: &str = "\
simulate SCENARIO [--rounds N] [--nodes N] [--seed N] [--seeds N] [--text FOLDER] [--out FOLDER] [--step-us N]
  honest            all do their work
  federated         each has its own data; FedAvg
  churn             three of ten absent in each round, and crashes
  ATTACK            the last quarter attacks: sign-flip, scale-minus-ten, noise, alie, min-max, inner-product, backdoor,
                    inflated-tokens, copied, lazy, wrong-data
simulate FIGURES [...]
  communication, quality, continued, absence, attackers, detection, overlap
prints a table, or lines `figure WHAT`, tab, `VALUE`, and writes plots as SVG and all numbers as JSON below --out (target/simulate).
Without --text it trains on synthetic text.";

struct Options {
    name: String,
    rounds: Option<u32>,
    nodes: Option<usize>,
    seed: u64,
    seeds: u64,
    text: Option<PathBuf>,
    out: PathBuf,
    step_us: Option<u64>,
}

fn main() -> ExitCode {
    let result = options(std::env::args().skip(1)).and_then(|options| simulate(&options));
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("simulate: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options(mut args: impl Iterator<Item = String>) -> Result<Options, Box<dyn Error>> {
    let name = args.next().filter(|name| !name.starts_with('-')).ok_or(USAGE)?;
    let mut options =
        Options { name, rounds: None, nodes: None, seed: 1, seeds: 3, text: None, out: "target/simulate".into(), step_us: None };
    while let Some(option) = args.next() {
        let value = args.next().ok_or_else(|| format!("{option} needs a value\n{USAGE}"))?;
        match option.as_str() {
            "--rounds" => options.rounds = Some(value.parse()?),
            "--nodes" => options.nodes = Some(value.parse()?),
            "--seed" => options.seed = value.parse()?,
            "--seeds" => options.seeds = value.parse()?,
            "--step-us" => options.step_us = Some(value.parse()?),
            "--text" => options.text = Some(value.into()),
            "--out" => options.out = value.into(),
            _ => return Err(format!("there is no option {option}\n{USAGE}").into()),
        }
    }
    Ok(options)
}

/// Says whether every figure keeps its bound.
fn simulate(options: &Options) -> Result<bool, Box<dyn Error>> {
    let bytes = match &options.text {
        Some(folder) => text::rust_sources(folder)?,
        None => text::synthetic(1, 1 << 20),
    };
    let rounds = |usual: u32| options.rounds.unwrap_or(usual);
    let report = match options.name.as_str() {
        "communication" => communication::figures()?,
        "quality" => quality::figures(&quality::Comparison::of_a_million(options.seeds), &bytes)?,
        "continued" => quality::continued(&quality::Comparison::of_a_trained_million(options.seeds), &bytes)?,
        "absence" => absence::figures(rounds(60), options.seeds, &bytes)?,
        "attackers" => attackers::figures(rounds(60), options.seeds, &bytes, &attackers::ATTACKS)?,
        "detection" => detection::figures(rounds(32), 64, &bytes)?,
        "overlap" => {
            let step_us = options.step_us.map_or_else(|| overlap::measured_step(9), Ok)?;
            let mut report = overlap::time(step_us, 17)?;
            report.figures.extend(overlap::loss(rounds(60), &bytes)?);
            report
        }
        _ => return scenario(options, &bytes),
    };
    write(&options.out, &report)?;
    for figure in &report.figures {
        println!("figure {}\t{}{}", figure.what, figure.value, if figure.holds { "" } else { " (beyond its bound)" });
    }
    Ok(report.figures.iter().all(|figure| figure.holds))
}

fn write(folder: &Path, report: &Report) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    for (name, content) in &report.files {
        fs::write(folder.join(name), content)?;
    }
    Ok(())
}

fn scenario(options: &Options, bytes: &[u8]) -> Result<bool, Box<dyn Error>> {
    let attack = Behaviour::DISHONEST.into_iter().find(|behaviour| key(*behaviour) == options.name);
    let rounds = options.rounds.unwrap_or(30);
    let nodes = options.nodes.unwrap_or(if options.name == "churn" { 10 } else { 8 });
    let mut scenario = Scenario { seed: options.seed, ..Scenario::new(options.name.clone(), rounds, nodes) };
    match (options.name.as_str(), attack) {
        ("honest", _) => {}
        ("federated", _) => scenario.own_data = true,
        ("churn", _) => (scenario.absent, scenario.crash_chance) = (nodes * 3 / 10, 0.02),
        (_, Some(attack)) => scenario = scenario.attacked(nodes / 4, attack),
        _ => return Err(format!("there is no scenario `{}`\n{USAGE}", options.name).into()),
    }
    let mut recipe = if scenario.own_data { federated_recipe(rounds, 10)? } else { small_recipe(rounds, 10)? };
    recipe.seed = options.seed;
    let outcome = run(&scenario, &recipe, bytes)?;
    print!("{}", outcome.table());
    let points = outcome.rows.iter().filter_map(|row| Some((row.ended_us as f64 / 1e6, row.held_out_loss?))).collect();
    let line = plot::Line { name: options.name.clone(), points };
    let files = vec![
        (format!("{}.svg", options.name), plot::svg(&outcome.name, "seconds of virtual time", "held-out nats per byte", &[line])),
        (format!("{}.json", options.name), serde_json::to_string_pretty(&outcome)?),
    ];
    write(&options.out, &Report { figures: Vec::new(), files })?;
    println!("{0}/{1}.svg, {0}/{1}.json", options.out.display(), options.name);
    Ok(true)
}

/// The name in kebab case, as JSON has it.
fn key(behaviour: Behaviour) -> String {
    serde_json::to_value(behaviour).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}
