//! Makes a share of a round again from what its node showed, and says whether that gives what the node committed to, bit for bit.
//!
//! Files go in and a verdict comes out: no network, no chain, no key. What scores cannot tell (half of the steps, scaled by two) shows here.

use crate::{
    artifact::hash_of,
    engine::{self, Bench, RoundJob, RunInputs, checkpoint_path, read_state, recipe_from_json, train_round},
    files, probe,
    trainer::Cancel,
};
use anyhow::{Context as _, Result, bail, ensure};
use starling_http_api::audit::{ClaimedShare, Verdict};
use starling_primitives::Hash32;
use std::{
    fs,
    path::{Path, PathBuf},
};

#[derive(clap::Args)]
pub(crate) struct AuditArguments {
    /// The `share.json` of the share; what it names lies beside it.
    share: PathBuf,
    /// Threads that work may use.
    #[arg(long, default_value_t = probe::threads(), value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: u16,
    /// Memory that work may use, in MiB; all of it when left out.
    #[arg(long)]
    memory_mib: Option<u64>,
    /// Print the verdict as JSON.
    #[arg(long)]
    json: bool,
}

/// Makes the share again and prints the verdict; an error where the claim does not hold, or cannot be looked at.
pub(crate) fn audit(arguments: &AuditArguments) -> Result<()> {
    let path = &arguments.share;
    let text = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    let share: ClaimedShare = serde_json::from_slice(&text).with_context(|| format!("{} is no claimed share", path.display()))?;
    let memory = probe::memory_for_work(arguments.memory_mib)?;
    ensure!(
        engine::repeats(),
        "this program computes on a graphics card, whose sums are not the same twice: take one that was built without"
    );
    let folder = path.parent().unwrap_or(Path::new("."));
    let deviation = make_again(&share, folder, memory)?;
    let of = &share.claim.commitment;
    let share = format!("round {} of run {}, node {}", of.round + 1, of.run_id, of.node_id);
    if arguments.json {
        println!("{}", serde_json::to_string(&Verdict { deviation: deviation.clone() })?);
    }
    match deviation {
        Some(what) => bail!("{share}: {what}"),
        None if arguments.json => {}
        None => println!("{share}: {} steps made again gave the same update and the same checkpoint, bit for bit.", of.steps),
    }
    Ok(())
}

/// What of the claim does not hold, if anything.
fn make_again(share: &ClaimedShare, folder: &Path, memory_bytes: u64) -> Result<Option<String>> {
    let claim = &share.claim.commitment;
    let recipe = recipe_from_json(&artifact(folder, share.recipe, "recipe")?)?;
    if let Some(name) = &recipe.data.federated {
        bail!("the run is federated: what its nodes trained on (`{name}`) stays with them, and their shares cannot be made again");
    }
    if !(1..=recipe.inner_steps_per_round).contains(&claim.steps) {
        return Ok(Some(format!("it claims {} steps of a round that has 1 to {}", claim.steps, recipe.inner_steps_per_round)));
    }
    let frozen = recipe.adapter.as_ref().and_then(|adapter| adapter.base);
    let frozen = frozen.map(|base| artifact(folder, base, "model that the adapters are for")).transpose()?;
    let (data, held_out) = (artifact(folder, share.data, "data")?, artifact(folder, share.held_out, "held-out data")?);
    let state = read_state(&recipe, &artifact(folder, share.state, "outer state")?)?;
    ensure!(state.round() == claim.round, "the outer state is that before round {}, not {}", state.round() + 1, claim.round + 1);
    let inputs = RunInputs::of(recipe, data.into(), held_out.into(), frozen.as_deref())?;
    let activations = engine::activations_within(&inputs.recipe, Some(inputs.trained_on()), memory_bytes).map_err(anyhow::Error::msg)?;
    let accepted_tokens = inputs.recipe.place_in_schedule(&share.accepted_tokens, claim.round);

    let again = folder.join("again");
    let clear = || files::remove_folder_if_there(&again).with_context(|| format!("the folder {} cannot be emptied", again.display()));
    clear()?;
    fs::create_dir_all(&again).with_context(|| format!("the folder {} cannot be made", again.display()))?;
    match (claim.began_with, claim.round.checked_sub(1)) {
        (Some(hash), Some(before)) => fs::write(checkpoint_path(&again, before), artifact(folder, hash, "checkpoint")?)?,
        (Some(_), None) => return Ok(Some("it names a checkpoint that its first round began with, and there was none".to_owned())),
        (None, _) => {}
    }
    let (run_id, round, place, steps) = (claim.run_id, claim.round, share.place, claim.steps);
    let job = RoundJob { run_id, round, place, steps, inputs, activations, state, accepted_tokens, folder: again.clone() };
    let made = train_round(&mut Bench::default(), &job, &Cancel::default(), |made| {
        eprintln!("step {} of {steps}: loss {:.4} nats", made.step, made.loss);
    })?;
    clear()?;
    let claims = [
        ("the checkpoint that it began with is none of this place in this run", made.began_with == claim.began_with),
        ("its steps give another update than it committed to", made.update == claim.update),
        ("its steps give another checkpoint than it committed to", made.checkpoint == claim.checkpoint),
    ];
    Ok(claims.into_iter().find(|(_, holds)| !holds).map(|(what, _)| what.to_owned()))
}

/// The bytes of an artifact beside the share, if they are those of its name.
fn artifact(folder: &Path, hash: Hash32, what: &str) -> Result<Vec<u8>> {
    let path = folder.join(hash.to_string());
    let bytes = fs::read(&path).with_context(|| format!("the {what} ({}) cannot be read", path.display()))?;
    ensure!(hash_of(&bytes) == hash, "the {what} ({}) was changed: its bytes have another hash", path.display());
    Ok(bytes)
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
