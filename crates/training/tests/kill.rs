//! A training that is killed at random steps, by a signal that no program can catch, ends with the bits of one that never was.
//!
//! `STARLING_KILLS` sets how often; the proof `kills` takes 100.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use starling_training::{Data, Device, Model, OptimizerKind, Parameters, Recipe, Split, Text, Trainer};

/// Tells a process to be the one that is killed, and where its checkpoint lies.
const FOLDER: &str = "STARLING_KILL_FOLDER";
const KILLS: &str = "STARLING_KILLS";
const STEPS_PER_KILL: u32 = 10;
/// A step takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(60);

fn kills() -> u32 {
    std::env::var(KILLS).ok().and_then(|kills| kills.parse().ok()).unwrap_or(8)
}

fn recipe() -> Recipe {
    let mut recipe = Recipe { rounds: kills() + 1, inner_steps_per_round: STEPS_PER_KILL, ..Recipe::preset("tiny").expect("valid") };
    recipe.spike_deviations = 6.0;
    recipe.optimizer.method = OptimizerKind::Muon { momentum: 0.95 };
    recipe
}

fn data() -> Data {
    Text::new(include_bytes!("kill.rs").as_slice(), 32, Split::Train).expect("long enough").into()
}

fn begin(recipe: &Recipe) -> Trainer {
    Trainer::new(recipe, &Model::initial(recipe, None).expect("there"), data(), 2, &Device::Cpu).expect("fits")
}

/// Goes on from the checkpoint in `folder` to the end, with a checkpoint after each step.
fn work(folder: &Path) {
    let (recipe, file) = (recipe(), folder.join("checkpoint"));
    let mut trainer = match fs::read(&file) {
        Ok(bytes) => Trainer::resume(&recipe, &bytes, data(), &Device::Cpu).expect("whole").0,
        Err(_) => begin(&recipe),
    };
    while trainer.position() < recipe.total_inner_steps() {
        trainer.step().expect("finite");
        fs::write(folder.join("next"), trainer.checkpoint(&Parameters::new()).expect("writable")).expect("written");
        fs::rename(folder.join("next"), &file).expect("renamed");
        fs::write(folder.join("position"), trainer.position().to_string()).expect("written");
    }
}

/// Waits until the process has made `step` steps.
fn wait_for(step: u64, folder: &Path, child: &mut Child) {
    let started = Instant::now();
    let position = || fs::read_to_string(folder.join("position")).ok().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    loop {
        // Asked first: what it wrote before its end is read then.
        let is_ended = child.try_wait().expect("asked").is_some();
        if position() >= step {
            return;
        }
        assert!(!is_ended, "it ended before step {step}");
        assert!(started.elapsed() < PATIENCE, "step {step} is not reached");
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn training__should_end_with_the_same_bits_however_often_it_is_killed() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return work(Path::new(&folder));
    }
    let (folder, recipe) = (tempfile::tempdir().expect("a folder"), recipe());
    let spawn = || {
        let mut command = Command::new(std::env::current_exe().expect("known"));
        command.env(FOLDER, folder.path()).stdout(std::process::Stdio::null()).spawn().expect("starts")
    };
    let mut killed = Vec::new();
    for kill in 0..kills() {
        let mut child = spawn();
        // A step of this life that is like a random one: from the hash of the number of the life.
        let draw = u64::from(blake3::hash(&kill.to_le_bytes()).as_bytes()[0]) % u64::from(STEPS_PER_KILL);
        let step = u64::from(kill * STEPS_PER_KILL) + draw + 1;
        wait_for(step, folder.path(), &mut child);
        child.kill().expect("killed");
        child.wait().expect("gone");
        killed.push(step);
    }
    assert!(spawn().wait().expect("ends").success());
    let mut whole = begin(&recipe);
    while whole.position() < recipe.total_inner_steps() {
        whole.step().expect("finite");
    }
    let (left, expected) =
        (fs::read(folder.path().join("checkpoint")).expect("there"), whole.checkpoint(&Parameters::new()).expect("writable"));
    assert!(left == expected, "killed at steps {killed:?}");
    println!("kills {}: bit-equal after {} steps, state {}", killed.len(), whole.position(), blake3::hash(&left));
}
