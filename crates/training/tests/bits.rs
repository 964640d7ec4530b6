//! Training gives the same bits whatever the number of threads and whichever vectors the processor has.
//!
//! `STARLING_BITS_STEPS` is how many steps are made: few in ordinary tests, 200 in the proof.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use std::env;
use std::process::Command;

use starling_training::{Device, GptShape, ModelRecipe, Net, Parameters, Recipe, Split, Text, Trainer, ops};

/// Set in the processes that train; the one that compares starts them.
const CHILD: &str = "STARLING_BITS_CHILD";
const STEPS: &str = "STARLING_BITS_STEPS";
const TEST: &str = "state__should_have_the_same_bits_on_any_threads_and_vectors";

#[test]
fn state__should_have_the_same_bits_on_any_threads_and_vectors() {
    let steps = env::var(STEPS).map_or(8, |steps| steps.parse().expect("a number of steps"));
    if env::var_os(CHILD).is_some() {
        println!("state {} {}", ops::vectors_in_use(), state(steps));
        return;
    }
    let (widest, expected) = trained(1, "widest", steps);
    let mut settings = vec![(1, "avx2"), (2, "widest"), (3, "avx2"), (7, "widest")];
    // Without vectors 200 steps would take minutes.
    settings.extend((steps < 20).then_some((1, "scalar")));
    for (threads, vectors) in settings {
        let (used, found) = trained(threads, vectors, steps);
        println!("bits {steps} steps, {threads} threads, {used}: {found}");
        assert_eq!(found, expected, "{threads} threads with {used} against one with {widest}");
    }
}

/// The vectors that were used, and the hash of the state after so many steps, in a process of its own.
fn trained(threads: u32, vectors: &str, steps: u32) -> (String, String) {
    let mut child = Command::new(env::current_exe().expect("this test"));
    child.args([TEST, "--exact", "--nocapture"]).env(CHILD, "1").env(STEPS, steps.to_string());
    child.env("RAYON_NUM_THREADS", threads.to_string()).env("CANDLE_NUM_THREADS", threads.to_string());
    let output = child.env("STARLING_VECTORS", vectors).output().expect("starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.split_once("state ")?.1.split_once(' '));
    let (used, hash) = line.unwrap_or_else(|| panic!("no state: {text}{}", String::from_utf8_lossy(&output.stderr)));
    (used.to_owned(), hash.to_owned())
}

/// The hash of weights, moments and cursor after `steps` steps of a GPT that sums over up to 640 values: beyond 512 the kernels of
/// other libraries differ between processors.
fn state(steps: u32) -> String {
    let mut recipe = Recipe::preset("tiny").expect("valid");
    recipe.model = ModelRecipe::Gpt(GptShape { layers: 2, heads: 4, width: 160, context: 40, vocab: 256 });
    let text = Text::new(include_bytes!("bits.rs").as_slice(), 40, Split::Train).expect("long enough");
    let initial = Net::initial(&recipe.model, recipe.seed);
    let mut trainer = Trainer::new(&recipe, &initial, text, 0, &Device::Cpu).expect("fits");
    for _ in 0..steps {
        trainer.step().expect("finite");
    }
    blake3::hash(&trainer.checkpoint(&Parameters::new()).expect("writable")).to_string()
}
