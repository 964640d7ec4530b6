//! `cargo xtask prove [NAME]`: what is too long for CI, with its figures written into `docs/PROOF.md`.
//!
//! A new proof is one function and one line in [`PROOFS`].

mod coordinator;
mod dashboards;
mod money;
mod network;
mod presets;
mod record;
mod scripts;
mod simulator;
pub(crate) mod training;

use std::{fs, process::Stdio, thread, time::Instant};

use anyhow::{Context, Result, bail};

use crate::{
    command::{command, output},
    paths,
};

/// A claim that a command makes good.
struct Proof {
    name: &'static str,
    /// One sentence, as the README may say it.
    claim: &'static str,
    /// Fails where the claim does not hold; returns what was measured.
    run: fn() -> Result<Vec<Figure>>,
}

/// One measured thing, with its unit in the value.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Figure {
    what: String,
    value: String,
}

/// What the simulator writes behind a value that does not keep its bound.
const BEYOND: &str = "(beyond its bound)";

impl Figure {
    fn new(what: impl Into<String>, value: impl Into<String>) -> Self {
        Self { what: what.into(), value: value.into() }
    }
}

const PROOFS: &[Proof] = &[
    Proof { name: "trunk", claim: "The dashboard that `trunk build` makes passes the sign-in browser test.", run: dashboards::trunk },
    Proof {
        name: "leptos",
        claim: "The dashboard that `cargo leptos build` makes passes the sign-in browser test.",
        run: dashboards::leptos,
    },
    Proof {
        name: "world",
        claim: "Millions of random operations through the money rules of all four contracts keep every yocto, and free every coin in the end.",
        run: money::world,
    },
    Proof {
        name: "walks",
        claim: "Thousands of random calls to the contracts in the virtual machine leave the books balanced after each, and in the end all money leaves.",
        run: money::walks,
    },
    Proof { name: "mutants", claim: "No mutant of the money and state rules passes their tests.", run: money::mutants },
    Proof {
        name: "training",
        claim: "Every model trains as in PyTorch, transformers and PEFT, and crosses to them and back with equal logits.",
        run: training::parity,
    },
    Proof {
        name: "presets",
        claim: "Each preset trains on a processor in under five minutes, and its report beats what says nothing.",
        run: presets::presets,
    },
    Proof {
        name: "scripts",
        claim: "A regression, a classifier and a notebook, run on a rented node with packages from the index, give the bytes that they give outside.",
        run: scripts::scripts,
    },
    Proof {
        name: "kills",
        claim: "A training that is killed at 100 steps resumes each time, and ends with the bits of one that never was.",
        run: presets::kills,
    },
    Proof {
        name: "bits",
        claim: "The state after 200 steps has the same bits on 1, 2, 3 and 7 threads, with AVX2 and with AVX-512.",
        run: training::bits,
    },
    Proof {
        name: "uploads",
        claim: "An upload of 2.5 GB goes on over 50 interruptions with one chunk at most sent again for each, in bounded memory; another wallet gets 404, a flipped bit is named.",
        run: coordinator::uploads,
    },
    Proof {
        name: "chaos",
        claim: "Nodes, coordinators, PostgreSQL and an S3 server are killed and the leading coordinator is stopped past its lead at random moments while runs are paid for: nothing is lost, nothing paid twice, and what was killed works again within ten seconds.",
        run: coordinator::chaos,
    },
    Proof {
        name: "stores",
        claim: "Artifacts in a store that speaks S3 are kept, given back in parts, and removed as in local files, with both databases.",
        run: coordinator::stores,
    },
    Proof {
        name: "api",
        claim: "Questions made from the API's own document, allowed and not, are never answered with 500 nor with what the document does not say.",
        run: network::api,
    },
    Proof {
        name: "nat",
        claim: "A provider behind a router that translates addresses, with TLS between, is paid for the first time within 120 s of three commands.",
        run: network::nat,
    },
    Proof {
        name: "communication",
        claim: "A node sends 150 times less than in fp32 data parallel with int4 updates, and 460 times less with two bits, all messages counted.",
        run: simulator::communication,
    },
    Proof {
        name: "quality",
        claim: "How near four nodes that exchange updates every thirty steps come to synchronous data parallel's loss, and how far they pass one node alone.",
        run: simulator::quality,
    },
    Proof {
        name: "continued",
        claim: "Four nodes that exchange updates every thirty steps come within 3 % of synchronous data parallel's loss where training goes on from a trained model.",
        run: simulator::continued,
    },
    Proof {
        name: "absence",
        claim: "Three of ten nodes absent in each round cost at most half a percent of loss at equal accepted tokens, and no time; nodes of any speed work side by side.",
        run: simulator::absence,
    },
    Proof {
        name: "attackers",
        claim: "Two of eight attackers cost at most half a percent of loss, against honest work in the place of what counted of theirs.",
        run: simulator::attackers,
    },
    Proof {
        name: "detection",
        claim: "What scores tell of copied, halved and foreign work, and what only re-execution finds.",
        run: simulator::detection,
    },
    Proof {
        name: "overlap",
        claim: "Eight nodes of a model of ten million parameters on lines of 100 Mbit/s compute 95 % of the time where fragments overlap with training.",
        run: simulator::overlap,
    },
];

/// Runs the named proofs, or all of them, and records each that holds.
///
/// # Errors
/// A name is unknown, or a proof failed; those before it are recorded.
pub(crate) fn prove(names: &[String]) -> Result<()> {
    for name in names {
        if !PROOFS.iter().any(|proof| proof.name == name) {
            let known: Vec<_> = PROOFS.iter().map(|proof| proof.name).collect();
            bail!("there is no proof `{name}`; there are: {}", known.join(", "));
        }
    }
    for proof in PROOFS.iter().filter(|proof| names.is_empty() || names.iter().any(|name| name == proof.name)) {
        println!("--- {}: {}", proof.name, proof.claim);
        let started = Instant::now();
        let mut figures = (proof.run)().with_context(|| format!("the proof `{}` failed", proof.name))?;
        figures.push(Figure::new("the proof took", format!("{:.0} s", started.elapsed().as_secs_f64())));
        record_proof(proof, &figures)?;
        for figure in &figures {
            println!("{}: {}", figure.what, figure.value);
        }
        let beyond: Vec<&str> = figures.iter().filter(|figure| figure.value.ends_with(BEYOND)).map(|figure| figure.what.as_str()).collect();
        if !beyond.is_empty() {
            bail!("the proof `{}` is recorded, but it does not hold: {}", proof.name, beyond.join("; "));
        }
    }
    Ok(())
}

fn record_proof(proof: &Proof, figures: &[Figure]) -> Result<()> {
    let path = paths::root().join("docs/PROOF.md");
    let text = fs::read_to_string(&path).unwrap_or_else(|_| record::EMPTY.to_owned());
    let section = record::section(proof, figures, &circumstances()?);
    fs::create_dir_all(paths::root().join("docs"))?;
    fs::write(&path, record::with_section(&text, proof.name, &section)).context("cannot write docs/PROOF.md")
}

/// Date, commit and machine, without which a figure means little.
fn circumstances() -> Result<String> {
    let date = output(command("date").args(["-u", "+%Y-%m-%d"]))?;
    let commit = output(command("git").args(["rev-parse", "--short=12", "HEAD"]))?;
    let changed = !output(command("git").args(["status", "--porcelain", "--untracked-files=no"]).stderr(Stdio::null()))?.is_empty();
    let cores = thread::available_parallelism()?;
    let changed = if changed { " with uncommitted changes" } else { "" };
    Ok(format!("{}, commit {}{changed}, {cores} cores{}", date.trim(), commit.trim(), processor()))
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name.trim()));
    model.map_or_else(String::new, |name| format!(" of {name}"))
}
