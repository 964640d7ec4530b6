//! Tests of a share of a round: it learns, it is the same bytes after a kill at any step, and it carries its optimizer on.
#![expect(non_snake_case, reason = "tests are named subject__should_effect")]

use super::*;
use crate::engine::{Base, PrepareJob, prepare, read_state};
use starling_rounds::{Candidate, Codec, Nats, Previous, Score, Updates, Work, apply_round, propose};
use starling_training::{InnerSteps, OptimizerKind, OverlapRecipe, Recipe};

const SOURCE: &str = include_str!("round.rs");

fn inputs() -> (RunInputs, OuterState) {
    inputs_of(Recipe::preset("tiny").unwrap())
}

fn inputs_of(recipe: Recipe) -> (RunInputs, OuterState) {
    let job =
        PrepareJob { recipe: recipe.to_toml().unwrap(), fit: false, data: SOURCE.as_bytes().into(), held_out: None, base: Base::Fresh };
    let files = prepare(job).unwrap().files;
    let state = read_state(&recipe, &files[3]).unwrap();
    (RunInputs::of(recipe, files[0].clone(), files[1].clone(), None).unwrap(), state)
}

fn job(folder: &Path, state: &OuterState, inputs: &RunInputs) -> RoundJob {
    let accepted_tokens = u64::from(state.round()) * inputs.recipe.tokens_per_round();
    RoundJob {
        run_id: RunId(1),
        round: state.round(),
        place: 1,
        steps: inputs.recipe.inner_steps_per_round,
        inputs: inputs.clone(),
        activations: Activations::Kept,
        state: state.clone(),
        accepted_tokens,
        folder: folder.to_owned(),
    }
}

fn whole(bench: &mut Bench, job: &RoundJob) -> RoundWork {
    train_round(bench, job, &Cancel::default(), |_| ()).unwrap()
}

/// The state after the round, whose only update this was.
fn next(state: &OuterState, folder: &Path, inputs: &RunInputs) -> OuterState {
    let (recipe, round) = (&inputs.recipe, state.round());
    let (fragments, plan) = (recipe.fragments(state.layout()).unwrap(), recipe.plan().unwrap());
    let bytes = std::fs::read(update_path(folder, round)).unwrap();
    let update = recipe.outer.codec.decode(fragments.layout_of_round(round), &bytes).unwrap();
    let previous = Previous { run: RunId(1), round, digest: Hash32::default(), state_root: state.root(), roster_size: 2 };
    let work = Work::Scored { update: &update, score: Score::from_losses(2.0, 1.9, 2.0, 1.95) };
    let assigned_tokens = plan.assigned_tokens();
    let candidate = Candidate { participant: 1, assigned_tokens, commitment: Some(update.hash()), work };
    let record = propose(&previous, plan, (Hash32([7; 32]), 0), Some(Nats(2_000_000)), &[candidate]);
    let mut next = state.clone();
    let updates = Updates::from([(1, update)]);
    apply_round(&mut next, None, &fragments, &record, &updates).unwrap();
    assert!(record.accepted().eq([1]));
    next
}

#[test]
fn round__should_make_every_step_and_lower_the_loss() {
    let folder = tempfile::tempdir().unwrap();
    let (inputs, mut state) = inputs();
    let mut bench = Bench::default();
    let mut losses = Vec::new();
    for round in 0..4 {
        let job = job(folder.path(), &state, &inputs);
        let mut steps = Vec::new();
        let work = train_round(&mut bench, &job, &Cancel::default(), |made| {
            steps.push(made.step);
            losses.push(made.loss);
        });
        assert_eq!(work.unwrap().steps, 5);
        assert_eq!(steps, [1, 2, 3, 4, 5]);
        assert!(update_path(folder.path(), round).exists());
        state = next(&state, folder.path(), &inputs);
    }
    assert!(losses[19] < losses[0] - 0.5, "{losses:?}");
    assert!(!update_path(folder.path(), 1).exists(), "only the last two updates are kept");
}

#[test]
fn round__should_give_the_same_bytes_after_a_kill_at_any_step() {
    check_kills(Recipe::preset("tiny").unwrap(), 5);
}

#[test]
fn paced_round__should_give_the_same_bytes_after_a_kill_at_any_step() {
    check_kills(two_bit(), 3);
}

/// Muon inside, two-bit codes outside, steps by pace.
fn two_bit() -> Recipe {
    let mut recipe = Recipe::preset("tiny").unwrap();
    recipe.optimizer.method = OptimizerKind::Muon { momentum: 0.95 };
    (recipe.outer.codec, recipe.outer.inner_steps) = (Codec::TwoBit, InnerSteps::Paced);
    recipe
}

#[test]
fn overlapped_round__should_give_the_same_bytes_after_a_kill_at_any_step() {
    check_kills(overlapped(), 5);
}

/// Three parts take turns, merged after two of five steps.
fn overlapped() -> Recipe {
    let mut recipe = Recipe::preset("tiny").unwrap();
    recipe.outer.overlap = Some(OverlapRecipe { fragments: 3, ..OverlapRecipe::usual(recipe.inner_steps_per_round) });
    recipe
}

#[test]
fn overlapped_round__should_be_the_same_however_much_of_it_was_made_ahead() {
    let (inputs, state) = inputs_of(overlapped());
    let mut made = Vec::new();
    for ahead in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let mut bench = Bench::default();
        let first = job(folder.path(), &state, &inputs);
        assert!(!train_ahead(&mut bench, &first, &Cancel::default()).unwrap(), "nothing was finished yet");
        whole(&mut bench, &first);
        let went: Vec<bool> = (0..ahead).map(|_| train_ahead(&mut bench, &first, &Cancel::default()).unwrap()).collect();
        assert_eq!(went, [true, true, false][..ahead], "two steps are left to be made before the merge");
        let second = job(folder.path(), &next(&state, folder.path(), &inputs), &inputs);
        let mut steps = Vec::new();
        let work = train_round(&mut bench, &second, &Cancel::default(), |step| steps.push(step.step)).unwrap();
        assert_eq!(steps.first(), Some(&(u32::try_from(ahead.min(2)).unwrap() + 1)));
        assert!(!train_ahead(&mut bench, &first, &Cancel::default()).unwrap(), "that round has begun");
        made.push(work);
    }
    assert!(made.iter().all(|work| *work == made[0]), "{made:?}");
}

#[test]
fn overlapped_round__should_begin_with_the_state_where_the_last_one_was_missed() {
    let (inputs, state) = inputs_of(overlapped());
    let (here, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut bench = Bench::default();
    whole(&mut bench, &job(here.path(), &state, &inputs));
    let second = next(&state, here.path(), &inputs);
    let went_on = whole(&mut bench, &job(here.path(), &second, &inputs));
    let mut steps = Vec::new();
    let joined =
        train_round(&mut Bench::default(), &job(elsewhere.path(), &second, &inputs), &Cancel::default(), |step| steps.push(step.step));
    assert_eq!(steps, [1, 2, 3, 4, 5]);
    assert_ne!(joined.unwrap().update, went_on.update);
    let sizes = [0, 1].map(|round| std::fs::metadata(update_path(here.path(), round)).unwrap().len());
    let (plain, of_plain) = inputs_of(Recipe::preset("tiny").unwrap());
    whole(&mut Bench::default(), &job(elsewhere.path(), &of_plain, &plain));
    let all = std::fs::metadata(update_path(elsewhere.path(), 0)).unwrap().len();
    assert!(sizes.iter().all(|size| *size < all / 2), "{sizes:?} of {all}");
}

#[test]
fn round__should_be_made_again_from_what_its_node_shows_whatever_happened_there() {
    for recipe in [Recipe::preset("tiny").unwrap(), two_bit(), overlapped()] {
        let (inputs, state) = inputs_of(recipe);
        let here = tempfile::tempdir().unwrap();
        let mut bench = Bench::default();
        let first = whole(&mut bench, &job(here.path(), &state, &inputs));
        assert_eq!(first.began_with, None);
        train_ahead(&mut bench, &job(here.path(), &state, &inputs), &Cancel::default()).unwrap();
        let second = next(&state, here.path(), &inputs);
        // Steps of a round that came to nothing leave no trace in the one after it.
        let cancel = Cancel::default();
        let stopped = train_round(&mut bench, &job(here.path(), &second, &inputs), &cancel, |made| {
            if made.step == 4 {
                cancel.cancel()
            }
        });
        assert!(matches!(stopped, Err(EngineError::Cancelled)));
        let mut third = second.clone();
        third.step(None, 5).unwrap();
        let work = whole(&mut bench, &job(here.path(), &third, &inputs));
        assert_eq!(work.began_with, Some(first.checkpoint));
        let shown = checkpoint_named(here.path(), first.checkpoint).unwrap().unwrap();
        let again = tempfile::tempdir().unwrap();
        std::fs::write(checkpoint_path(again.path(), 1), &shown).unwrap();
        assert_eq!(whole(&mut Bench::default(), &job(again.path(), &third, &inputs)), work);
        // A round whose files are lost is made again from the checkpoint before it, by this process too.
        std::fs::remove_file(update_path(here.path(), 2)).unwrap();
        assert_eq!(whole(&mut bench, &job(here.path(), &third, &inputs)), work);
        assert_eq!(checkpoint_named(here.path(), Hash32([1; 32])).unwrap(), None);
    }
}

#[test]
fn checkpoints__should_be_kept_of_the_last_rounds_and_name_the_one_before() {
    let (inputs, mut state) = inputs();
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::default();
    let mut before = None;
    for _ in 0..5 {
        let work = whole(&mut bench, &job(folder.path(), &state, &inputs));
        assert_eq!(work.began_with, before);
        before = Some(work.checkpoint);
        state = next(&state, folder.path(), &inputs);
    }
    let kept: Vec<u32> = checkpoints(folder.path()).unwrap().into_iter().map(|(round, _)| round).collect();
    assert_eq!(kept, [2, 3, 4]);
    assert!(!under_way_path(folder.path()).exists());
}

/// A process that dies after any step of a second round of so many makes the same update and checkpoint.
fn check_kills(recipe: Recipe, steps: u32) {
    let (inputs, state) = inputs_of(recipe);
    let job = |folder: &Path, state: &OuterState, inputs: &RunInputs| RoundJob { steps, ..job(folder, state, inputs) };
    let reference = tempfile::tempdir().unwrap();
    let mut bench = Bench::default();
    let first = whole(&mut bench, &job(reference.path(), &state, &inputs));
    let second_state = next(&state, reference.path(), &inputs);
    let second = whole(&mut bench, &job(reference.path(), &second_state, &inputs));
    assert_eq!((first.steps, second.steps), (steps, steps));
    for stop_after in 1..steps {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(whole(&mut Bench::default(), &job(folder.path(), &state, &inputs)), first);
        let second_job = job(folder.path(), &second_state, &inputs);
        let cancel = Cancel::default();
        let mut bench = Bench::default();
        let stopped = train_round(&mut bench, &second_job, &cancel, |made| {
            if made.step == stop_after {
                cancel.cancel();
            }
        });
        assert!(matches!(stopped, Err(EngineError::Cancelled)));
        // The process saved here and died: only the file is left.
        save(bench.live.as_ref().unwrap(), &under_way_path(folder.path())).unwrap();
        let mut seen = Vec::new();
        let resumed = train_round(&mut Bench::default(), &second_job, &Cancel::default(), |made| seen.push(made.step)).unwrap();
        assert_eq!(resumed, second, "stopped after {stop_after}");
        assert_eq!(seen.first(), Some(&(stop_after + 1)), "it went on where it was");
    }
}

#[test]
fn paced_round__should_be_followed_by_one_at_the_plans_next_step() {
    let (inputs, state) = inputs_of(two_bit());
    let folder = tempfile::tempdir().unwrap();
    let mut bench = Bench::default();
    let first = whole(&mut bench, &RoundJob { steps: 2, ..job(folder.path(), &state, &inputs) });
    let state = next(&state, folder.path(), &inputs);
    let mut rates = Vec::new();
    let job = RoundJob { steps: 4, ..job(folder.path(), &state, &inputs) };
    let second = train_round(&mut bench, &job, &Cancel::default(), |made| rates.push(made.learning_rate)).unwrap();
    assert_eq!((first.steps, second.steps, rates.len()), (2, 4, 4));
    assert_eq!(bench.live.unwrap().trainer.position(), 5 + 4);
    assert!((rates[0] - starling_training::learning_rate(&inputs.recipe, 5)).abs() < 1e-12);
}

#[test]
fn federated_round__should_train_on_what_the_node_keeps() {
    let (given, state) = inputs();
    let files = given.texts.clone().unwrap();
    let with = |own: &[u8]| {
        RunInputs::with_own((*given.recipe).clone(), files[0].clone(), files[1].clone(), None, Some(("notes", own.into()))).unwrap()
    };
    let update = |inputs: &RunInputs| whole(&mut Bench::default(), &job(tempfile::tempdir().unwrap().path(), &state, inputs)).update;
    let notes = "What stands here stays on this machine.\n".repeat(100);
    assert_eq!(update(&with(&files[0])), update(&given), "the same data gives the same work");
    assert_ne!(update(&with(notes.as_bytes())), update(&given));
    // The figures are of the run's own data.
    assert_eq!(with(notes.as_bytes()).train.len(), given.train.len());
}

#[test]
fn kept_data__should_be_checked_before_a_node_joins() {
    let check = |name: &str, own: &[u8]| {
        let recipe = Recipe::preset(name).unwrap();
        let data = starling_training::generated(&recipe).unwrap().map_or_else(|| SOURCE.as_bytes().into(), |data| data.bytes.into());
        crate::engine::check_own(&recipe, data, "notes", own.into()).map_err(|error| error.to_string())
    };
    assert_eq!(check("tiny", SOURCE.as_bytes()), Ok(()));
    assert!(check("tiny", b"short").unwrap_err().contains("needs 33"));
    let row = "0,0,0,0,0,0,0,0,0,0";
    let table = starling_training::generated(&Recipe::preset("fraud").unwrap()).unwrap().unwrap().bytes;
    let head = String::from_utf8_lossy(&table).lines().next().unwrap().to_owned();
    assert_eq!(check("fraud", format!("{head}\n{row},fraud\n{row},honest\n").as_bytes()), Ok(()));
    let unknown = check("fraud", format!("{head}\n{row},fraud\n{row},lost\n").as_bytes()).unwrap_err();
    assert!(unknown.contains("notes") && unknown.contains("lost"), "{unknown}");
}

#[test]
fn round__should_not_be_made_twice_when_it_died_after_its_end() {
    let (inputs, state) = inputs();
    let folder = tempfile::tempdir().unwrap();
    let job = job(folder.path(), &state, &inputs);
    let work = whole(&mut Bench::default(), &job);
    let mut steps = 0;
    let again = train_round(&mut Bench::default(), &job, &Cancel::default(), |_| steps += 1).unwrap();
    assert_eq!((again, steps), (work, 0));
}

#[test]
fn round__should_go_on_from_a_later_state_after_missed_rounds() {
    let (inputs, state) = inputs();
    let folder = tempfile::tempdir().unwrap();
    whole(&mut Bench::default(), &job(folder.path(), &state, &inputs));
    let mut later = next(&state, folder.path(), &inputs);
    later.step(None, 5).unwrap();
    let mut rates = Vec::new();
    let work =
        train_round(&mut Bench::default(), &job(folder.path(), &later, &inputs), &Cancel::default(), |made| rates.push(made.learning_rate))
            .unwrap();
    assert_eq!(work.steps, 5);
    assert!((rates[0] - starling_training::learning_rate(&inputs.recipe, 10)).abs() < 1e-12);
}
