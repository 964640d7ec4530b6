//! Tests of audits: honest shares are reproduced, shortened and foreign work is not, and what cannot be looked at is said.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use crate::engine::{Base, PrepareJob, RoundWork, checkpoint_named, prepare, update_path};
use starling_primitives::{NodeId, RunId, Signature};
use starling_protocol::signing::{Commitment, SignedCommitment};
use starling_rounds::OuterState;
use starling_training::{Activations, Recipe};

const TEXT: &str = include_str!("audit.rs");

/// A run's files, and a node that has made its first round.
struct World {
    folder: tempfile::TempDir,
    node: tempfile::TempDir,
    share: ClaimedShare,
    inputs: RunInputs,
    state: OuterState,
    bench: Bench,
}

fn keep(folder: &Path, bytes: &[u8]) -> Hash32 {
    let hash = hash_of(bytes);
    fs::write(folder.join(hash.to_string()), bytes).unwrap();
    hash
}

impl World {
    fn new() -> Self {
        let recipe = Recipe::preset("tiny").unwrap();
        let text = TEXT.repeat(3);
        let prepared = prepare(PrepareJob {
            recipe: recipe.to_toml().unwrap(),
            fit: false,
            data: text.as_bytes().into(),
            held_out: None,
            base: Base::Fresh,
        });
        let files = prepared.unwrap().files;
        let folder = tempfile::tempdir().unwrap();
        let [data, held_out, state_hash] = [0, 1, 3].map(|file| keep(folder.path(), &files[file]));
        let claim = SignedCommitment {
            commitment: Commitment {
                run_id: RunId(1),
                round: 0,
                node_id: NodeId(2),
                update: Hash32::default(),
                steps: 5,
                began_with: None,
                checkpoint: Hash32::default(),
            },
            signature: Signature([0; 64]),
        };
        let recipe_hash = keep(folder.path(), recipe.canonical_json().as_bytes());
        let share = ClaimedShare { claim, place: 1, recipe: recipe_hash, data, held_out, state: state_hash, accepted_tokens: vec![0, 0] };
        let state = read_state(&recipe, &files[3]).unwrap();
        let inputs = RunInputs::of(recipe, files[0].clone(), files[1].clone(), None).unwrap();
        Self { folder, node: tempfile::tempdir().unwrap(), share, inputs, state, bench: Bench::default() }
    }

    /// The node makes so many steps of the round at hand, and commits to it as it came out.
    fn work(&mut self, steps: u32) -> RoundWork {
        let round = self.state.round();
        let accepted_tokens = self.inputs.recipe.place_in_schedule(&self.share.accepted_tokens, round);
        let (inputs, state, folder) = (self.inputs.clone(), self.state.clone(), self.node.path().to_owned());
        let job =
            RoundJob { run_id: RunId(1), round, place: 1, steps, inputs, activations: Activations::Kept, state, accepted_tokens, folder };
        let made = train_round(&mut self.bench, &job, &Cancel::default(), |_| ()).unwrap();
        let claim = &mut self.share.claim.commitment;
        (claim.round, claim.update, claim.began_with, claim.checkpoint) = (round, made.update, made.began_with, made.checkpoint);
        made
    }

    /// The run goes on, with nothing accepted.
    fn next_round(&mut self) {
        self.state.step(None, 5).unwrap();
        self.share.state = keep(self.folder.path(), &self.state.to_bytes());
    }

    fn verdict(&self) -> Result<Option<String>> {
        make_again(&self.share, self.folder.path(), 1 << 30)
    }

    fn deviation(&self) -> String {
        self.verdict().unwrap().expect("it deviates")
    }
}

#[test]
fn audit__should_reproduce_honest_work_and_nothing_else() {
    let mut world = World::new();
    world.work(5);
    assert_eq!(world.verdict().unwrap(), None, "the first round begins with nothing");
    let first = world.share.claim.commitment.checkpoint;
    world.next_round();
    world.work(5);
    assert_eq!(world.share.claim.commitment.began_with, Some(first));
    assert!(world.verdict().unwrap_err().to_string().contains("checkpoint"), "it was not shown yet");
    let shown = checkpoint_named(world.node.path(), first).unwrap().unwrap();
    keep(world.folder.path(), &shown);
    assert_eq!(world.verdict().unwrap(), None);
    assert!(!world.folder.path().join("again").exists(), "nothing is left behind");

    let honest = world.share.clone();
    world.share.place = 0;
    assert!(world.deviation().contains("none of this place"));
    world.share = honest.clone();
    world.share.claim.commitment.began_with = None;
    assert!(world.deviation().contains("another update"), "it had moments of its own");
    world.share = honest.clone();
    world.share.claim.commitment.checkpoint = first;
    assert!(world.deviation().contains("another checkpoint"));
    world.share = honest;
    world.share.claim.commitment.steps = 6;
    assert!(world.deviation().contains("has 1 to 5"));
}

#[test]
fn audit__should_find_half_of_the_steps() {
    let mut world = World::new();
    world.work(2);
    assert!(world.deviation().contains("another update"));
}

#[test]
fn audit__should_refuse_what_was_changed() {
    let mut world = World::new();
    world.work(5);
    let data = world.folder.path().join(world.share.data.to_string());
    fs::write(&data, "other text").unwrap();
    assert!(world.verdict().unwrap_err().to_string().contains("was changed"));
    let made = fs::read(update_path(world.node.path(), 0)).unwrap();
    world.share.recipe = keep(world.folder.path(), &made);
    assert!(world.verdict().is_err());
}
