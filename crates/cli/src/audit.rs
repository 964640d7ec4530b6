//! Making a node's share of a round again on this machine, from the checkpoint that the node shows: what it committed to is reproduced bit for bit, or it
//! did not do the work that it is to be paid for.
//!
//! The chain names recipe, data and the node's key; the records give the state before the round; the node's own signature binds its update, its steps and both
//! of its checkpoints. So nothing here rests on the coordinator's word, nor on the node's.

use crate::{
    api::Api,
    home::write_atomically,
    meter::RoundChecker,
    output::Output,
    profile::Context,
    up::sibling,
    verify::{check_chain, follow, tokens_by_place},
};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;
use starling_contract_api::rpc::verify;
use starling_http_api::{
    artifact::Manifest,
    audit::{ClaimedShare, FILE, Verdict},
    path,
    problem::Problem,
    run::RoundView,
};
use starling_primitives::{Hash32, NodeId, RunId};
use starling_protocol::{
    node::DeviceKind,
    run::Run,
    signing::{Domain, SignedCommitment},
};
use starling_rounds::{artifact_hash, recipe::Recipe};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

/// A node that uploads its checkpoint is waited for so long at most, one that is away so long.
const UPLOAD_TIME: Duration = Duration::from_secs(1_800);
const AWAY_TIME: Duration = Duration::from_secs(30);

/// A checkpoint holds weights, two moments and what encoding left; a state holds weights and momentum at least.
const CHECKPOINT_OF_STATE: u64 = 4;

/// What an audit found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// The work was done as it was claimed.
    Reproduced,
    /// It was not: why, in words.
    Deviates(String),
    /// The node does not show what it committed to: why, in words.
    NotShown(String),
}

/// A share, with what the records say of the round before it.
pub(crate) struct Share<'a> {
    pub(crate) run: &'a Run,
    /// All rounds up to the share's own.
    pub(crate) rounds: &'a [RoundView],
    pub(crate) round: u32,
    pub(crate) place: u16,
    /// Bytes of the outer state before the round.
    pub(crate) state: Vec<u8>,
    /// Tokens of each place that had been accepted before the round.
    pub(crate) accepted_tokens: Vec<u64>,
}

/// `starling audit RUN`: an error where the share was not made as it was claimed, or could not be made again.
pub(crate) async fn audit(
    context: &Context,
    run_id: RunId,
    round: Option<u32>,
    node: Option<NodeId>,
    keep: Option<&Path>,
    out: Output,
) -> Result<()> {
    context.check_network().await?;
    let api = Api::of(context)?;
    let run = context.rpc.view(&context.compute().run(run_id)).await?.with_context(|| format!("there is no run {run_id}"))?;
    let rounds: Vec<RoundView> = api.get(&path::fill(path::RUN_ROUNDS, &[&run_id])).await?;
    let view = chosen(&rounds, round)?;
    let place = match node {
        Some(node) => place_of(&run, view, node)?,
        None => *one_of(&accepted(view))?.with_context(|| format!("nobody's work was accepted in round {}", view.round + 1))?,
    };
    let counted: Vec<_> = rounds.iter().filter(|round| round.round < run.rounds_done).filter_map(|round| round.statement.clone()).collect();
    check_chain(context, &run, &counted)?;
    let mut checker = RoundChecker::new(&run, &api.download(run.terms.recipe).await?, &api.download(run.terms.base).await?)?;
    follow(&api, &rounds, view.round, &mut checker).await?;
    let accepted_tokens = tokens_by_place(&run, counted.iter().filter(|statement| statement.round < view.round));
    let share = Share { run: &run, rounds: &rounds, round: view.round, place, state: checker.state_bytes(), accepted_tokens };
    let kept = share.folder(context);
    let folder = keep.unwrap_or(&kept);
    let finding = examine(context, &api, &share, folder, UPLOAD_TIME, out).await?;
    share.say(&finding, out);
    if keep.is_none() && finding == Finding::Reproduced {
        fs::remove_dir_all(folder).with_context(|| format!("{} cannot be removed", folder.display()))?;
    } else if folder.join(FILE).exists() {
        out.note(&format!(
            "What anyone needs to see it lies in {}: `starling node audit {}`",
            folder.display(),
            folder.join(FILE).display()
        ));
    }
    match finding {
        Finding::Reproduced => Ok(()),
        Finding::Deviates(_) | Finding::NotShown(_) => {
            bail!(
                "`starling stop {run_id}` ends the run, and what is not earned comes back; a result that you do not acknowledge keeps its tenth held back"
            )
        }
    }
}

/// The round that was asked for, counted from 1, or the last one.
fn chosen(rounds: &[RoundView], round: Option<u32>) -> Result<&RoundView> {
    let Some(round) = round else { return rounds.last().context("no round was made yet") };
    let index = round.checked_sub(1).context("rounds count from 1")?;
    rounds.iter().find(|view| view.round == index).with_context(|| format!("round {round} was not made yet"))
}

fn place_of(run: &Run, view: &RoundView, node: NodeId) -> Result<u16> {
    let place = run.roster.iter().position(|member| member.node_id == node).with_context(|| format!("node {node} is not in the run"))?;
    let place = u16::try_from(place)?;
    ensure!(accepted(view).contains(&place), "nothing of node {node} was accepted in round {}", view.round + 1);
    Ok(place)
}

/// Places whose work a round accepted.
pub(crate) fn accepted(view: &RoundView) -> Vec<u16> {
    (0..).zip(&view.updates).filter_map(|(place, update)| update.map(|_| place)).collect()
}

/// A number below `count`, as nobody could have foreseen; none below 0.
pub(crate) fn drawn_below(count: usize) -> Result<Option<usize>> {
    let mut seed = [0; size_of::<usize>()];
    getrandom::fill(&mut seed).context("the system gives no random numbers")?;
    Ok(usize::from_le_bytes(seed).checked_rem(count))
}

/// One of them, as nobody could have foreseen.
pub(crate) fn one_of<T>(items: &[T]) -> Result<Option<&T>> {
    Ok(drawn_below(items.len())?.and_then(|index| items.get(index)))
}

impl Share<'_> {
    /// Where what it was made from is brought together.
    pub(crate) fn folder(&self, context: &Context) -> PathBuf {
        context.home.join("audits").join(format!("run-{}-round-{}-place-{}", self.run.id, self.round + 1, self.place))
    }

    fn node(&self) -> Option<NodeId> {
        Some(self.run.roster.get(usize::from(self.place))?.node_id)
    }

    pub(crate) fn say(&self, finding: &Finding, out: Output) {
        let node = self.node();
        let who = format!("round {} of node {}", self.round + 1, node.map_or_else(String::new, |node| node.to_string()));
        let (outcome, reason, words) = match finding {
            Finding::Reproduced => {
                ("reproduced", None, "made again here, it gave the same update and the same checkpoint, bit for bit".to_owned())
            }
            Finding::Deviates(why) => ("deviates", Some(why), format!("NOT the work that it is to be paid for: {why}")),
            Finding::NotShown(why) => ("not_shown", Some(why), format!("could not be made again: {why}")),
        };
        out.say(
            "audited",
            &json!({"run_id": self.run.id, "round": self.round, "node_id": node, "outcome": outcome, "reason": reason}),
            &format!("  audit: {who}: {words}"),
        );
    }

    /// What the node signed, if it fits what the round is to pay it for; else what does not fit.
    fn claim(&self, recipe: &Recipe, domain: &Domain) -> Result<Result<SignedCommitment, String>> {
        let place = usize::from(self.place);
        let member = self.run.roster.get(place).with_context(|| format!("the run has no place {place}"))?;
        let view = self.rounds.iter().find(|view| view.round == self.round).context("the round is not told")?;
        let of_place = |view: &RoundView| view.commitments.get(place).cloned().flatten();
        let claim = of_place(view)
            .with_context(|| format!("the commitments of round {} were not kept: it was made before they were", self.round + 1))?;
        let made = &claim.commitment;
        ensure!(
            verify(&member.key, &made.signing_bytes(domain), &claim.signature)
                && (made.run_id, made.round, made.node_id) == (self.run.id, self.round, member.node_id),
            "the coordinator tells a commitment that is not signed by the node's key"
        );
        let paid = view.statement.as_ref().and_then(|statement| statement.tokens.get(place)).copied().unwrap_or_default();
        let committed_before = |hash: Hash32| {
            let earlier = self.rounds.iter().filter(|view| view.round < self.round).filter_map(of_place);
            earlier.into_iter().any(|earlier| earlier.commitment.checkpoint == hash)
        };
        let deviation = if view.updates.get(place).copied().flatten() != Some(made.update) {
            Some("another update was accepted than it committed to".to_owned())
        } else if made.steps.checked_mul(recipe.plan()?.tokens_per_step()) != Some(paid) {
            Some(format!("it is credited with {paid} tokens and committed to {} steps", made.steps))
        } else if made.began_with.is_some_and(|hash| !committed_before(hash)) {
            Some("it says that it began with a checkpoint which it never committed to".to_owned())
        } else {
            None
        };
        Ok(deviation.map_or(Ok(claim), Err))
    }
}

/// Brings together what the share was made from, has it made again, and compares. The folder holds all of it then. A node that takes longer than
/// `patience` to bring its checkpoint does not show it.
pub(crate) async fn examine(
    context: &Context,
    api: &Api,
    share: &Share<'_>,
    folder: &Path,
    patience: Duration,
    out: Output,
) -> Result<Finding> {
    let terms = &share.run.terms;
    let recipe = api.download(terms.recipe).await?;
    let read = Recipe::from_json(std::str::from_utf8(&recipe).context("the recipe is no text")?)?;
    if let Some(name) = &read.data.federated {
        bail!("the run is federated: what its nodes train on (`{name}`) stays with them, and their shares cannot be made again");
    }
    if let Some(node_id) = share.node()
        && context.rpc.view(&context.compute().node(node_id)).await?.is_some_and(|node| node.capability.kind == DeviceKind::Nvidia)
    {
        bail!("node {node_id} computes on a graphics card, whose sums are not the same twice");
    }
    let claim = match share.claim(&read, &context.profile.deployment.compute_domain())? {
        Ok(claim) => claim,
        Err(deviation) => return Ok(Finding::Deviates(deviation)),
    };
    let bar = out.spinner("waiting for the node's checkpoint");
    if let Some(checkpoint) = claim.commitment.began_with {
        if let Err(why) = bring(api, share.run.id, checkpoint, patience).await? {
            return Ok(Finding::NotShown(why));
        }
        let manifest: Manifest = api.get(&path::fill(path::ARTIFACT_MANIFEST, &[&checkpoint])).await?;
        let most = share.state.len() as u64 * CHECKPOINT_OF_STATE + (1 << 20);
        if manifest.bytes > most {
            return Ok(Finding::Deviates(format!("it shows {} bytes where a checkpoint of the run has at most {most}", manifest.bytes)));
        }
        keep(folder, &api.download(checkpoint).await?)?;
    }
    for hash in [terms.data, terms.held_out].into_iter().chain(read.adapter.and_then(|adapter| adapter.base)) {
        keep(folder, &api.download(hash).await?)?;
    }
    keep(folder, &recipe)?;
    let state = keep(folder, &share.state)?;
    let (place, accepted_tokens) = (share.place, share.accepted_tokens.clone());
    let (recipe, data, held_out) = (terms.recipe, terms.data, terms.held_out);
    let claimed = ClaimedShare { claim, place, recipe, data, held_out, state, accepted_tokens };
    let file = folder.join(FILE);
    write_atomically(&file, &serde_json::to_vec_pretty(&claimed)?)?;
    bar.set_message(format!("making {} steps of round {} again", claimed.claim.commitment.steps, share.round + 1));
    make_again(&file).await
}

/// Has the node bring the checkpoint; in words where it does not.
async fn bring(api: &Api, run_id: RunId, checkpoint: Hash32, patience: Duration) -> Result<Result<(), String>> {
    let (began, path) = (Instant::now(), path::fill(path::RUN_CHECKPOINT, &[&run_id, &checkpoint]));
    loop {
        let Err(error) = api.post_quietly(&path, &()).await else { return Ok(Ok(())) };
        let Some(problem) = error.downcast_ref::<Problem>() else { return Err(error) };
        let patience = match problem.code.as_str() {
            "checkpoint_not_shown" => Duration::ZERO,
            "node_away" => patience.min(AWAY_TIME),
            "checkpoint_coming" => patience,
            _ => return Err(error),
        };
        if began.elapsed() >= patience {
            return Ok(Err(problem.detail.clone()));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn keep(folder: &Path, bytes: &[u8]) -> Result<Hash32> {
    let hash = artifact_hash(bytes);
    write_atomically(&folder.join(hash.to_string()), bytes)?;
    Ok(hash)
}

/// Only the node's program trains.
async fn make_again(share: &PathBuf) -> Result<Finding> {
    let mut command = tokio::process::Command::new(sibling("gpu-node")?);
    command.arg("audit").arg("--json").arg(share).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.context("gpu-node could not be started")?;
    match serde_json::from_slice(&output.stdout) {
        Ok(Verdict { deviation: None }) if output.status.success() => Ok(Finding::Reproduced),
        Ok(Verdict { deviation: Some(why) }) => Ok(Finding::Deviates(why)),
        _ => {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("the share could not be made again here: {}", said.lines().last().unwrap_or("gpu-node said nothing"))
        }
    }
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
