//! `starling verify RUN`: recomputes a run from the chain's RPC and the artifacts alone.
//!
//! State roots round by round, accepted tokens, shares, fee and refund: each figure is computed here and compared with what the chain recorded.

use crate::{api::Api, meter::RoundChecker, profile::Context, story::Story};
use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use starling_http_api::{path, run::RoundView};
use starling_primitives::{AccountId, Amount, Hash32, RunId, TimestampMs};
use starling_protocol::{
    escrow::{HOLD_PERIOD, MAX_FEE},
    price::{HOLDBACK, tokens_earned},
    run::{Run, RunState},
    signing::RoundStatement,
};
use std::{
    collections::BTreeMap,
    future::Future,
    path::{Path, PathBuf},
};

/// Where artifacts come from. Every byte is checked against its hash by the caller's source or here.
pub(crate) trait Artifacts {
    /// The bytes named by a hash.
    fn artifact(&self, hash: Hash32) -> impl Future<Output = Result<Vec<u8>>>;
}

impl Artifacts for Api {
    async fn artifact(&self, hash: Hash32) -> Result<Vec<u8>> {
        self.download(hash).await
    }
}

/// A folder with a file for each artifact, named by its hash.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Artifacts for Folder {
    async fn artifact(&self, hash: Hash32) -> Result<Vec<u8>> {
        let path = self.0.join(hash.to_string());
        let bytes = std::fs::read(&path).with_context(|| format!("the artifact {} cannot be read", path.display()))?;
        ensure!(blake3::hash(&bytes).as_bytes() == &hash.0, "the artifact {hash} was changed: its bytes have another hash");
        Ok(bytes)
    }
}

/// What verification found: every figure recomputed.
#[derive(Debug, Serialize)]
pub(crate) struct Verified {
    pub(crate) run_id: RunId,
    pub(crate) rounds: u32,
    pub(crate) state_root: Hash32,
    pub(crate) accepted_tokens: u64,
    pub(crate) deposited: Amount,
    pub(crate) paid: Vec<(AccountId, Amount)>,
    pub(crate) fee: Amount,
    pub(crate) refunded: Amount,
    pub(crate) pending: Amount,
}

/// The rounds that counted, as the chain's events tell them; `rounds` names their artifacts.
pub(crate) async fn verify(context: &Context, artifacts: &impl Artifacts, rounds: &[RoundView], run_id: RunId) -> Result<Verified> {
    context.check_network().await?;
    let run = context
        .rpc
        .view(&context.compute().run(run_id))
        .await?
        .with_context(|| format!("there is no run {run_id} on {}", context.profile.deployment.chain_id))?;
    // The payment's transaction entered the chain a few blocks before the run was recorded.
    let since = TimestampMs(run.created_at.0.saturating_sub(HOLD_PERIOD.0));
    let story = Story::read(&context.rpc, &context.profile.deployment, since).await?;
    let statements = story.rounds(run_id);
    check_chain(context, &run, &statements)?;
    let root = check_rounds(artifacts, &run, &statements, rounds).await?;
    let figures = check_money(&run, &statements, &story)?;
    Ok(Verified {
        run_id,
        rounds: run.rounds_done,
        state_root: root,
        accepted_tokens: run.roster.iter().map(|member| member.tokens).sum(),
        ..figures
    })
}

/// The hash chain of the statements leads to the one hash that the contract keeps.
pub(crate) fn check_chain(context: &Context, run: &Run, statements: &[RoundStatement]) -> Result<()> {
    let domain = context.profile.deployment.compute_domain();
    let mut chain = Hash32::default();
    for (round, statement) in statements.iter().enumerate() {
        ensure!(
            usize::try_from(statement.round)? == round && statement.previous == chain,
            "round {round}: the statement does not follow the one before"
        );
        chain = statement.chain_hash(&domain);
    }
    ensure!(
        chain == run.chain && statements.len() == usize::try_from(run.rounds_done)?,
        "the statements found do not lead to the hash that the contract keeps"
    );
    for (place, (member, sum)) in run.roster.iter().zip(tokens_by_place(run, statements)).enumerate() {
        ensure!(member.tokens == sum, "place {place}: the chain says {} accepted tokens, the statements sum to {sum}", member.tokens);
    }
    Ok(())
}

/// Accepted tokens of each place by these statements.
pub(crate) fn tokens_by_place<'a>(run: &Run, statements: impl IntoIterator<Item = &'a RoundStatement>) -> Vec<u64> {
    let mut tokens = vec![0_u64; run.roster.len()];
    for statement in statements {
        tokens.iter_mut().zip(&statement.tokens).for_each(|(sum, accepted)| *sum += u64::from(*accepted));
    }
    tokens
}

/// Every state root, from the base state on.
async fn check_rounds(artifacts: &impl Artifacts, run: &Run, statements: &[RoundStatement], rounds: &[RoundView]) -> Result<Hash32> {
    let recipe = artifacts.artifact(run.terms.recipe).await?;
    let base = artifacts.artifact(run.terms.base).await?;
    let mut checker = RoundChecker::new(run, &recipe, &base)?;
    for statement in statements {
        let round = rounds
            .iter()
            .find(|round| round.round == statement.round)
            .with_context(|| format!("round {}: its artifacts are not named", statement.round))?;
        apply(artifacts, statement, round, &mut checker).await.with_context(|| format!("round {}", statement.round))?;
    }
    ensure!(checker.root() == run.state_root, "the recomputed state root is {}, the chain says {}", checker.root(), run.state_root);
    Ok(checker.root())
}

async fn apply(artifacts: &impl Artifacts, statement: &RoundStatement, round: &RoundView, checker: &mut RoundChecker) -> Result<()> {
    let record = artifacts.artifact(round.record.context("its record is not named")?).await?;
    let mut updates = BTreeMap::new();
    for (place, update) in round.updates.iter().enumerate() {
        if let Some(update) = update {
            updates.insert(u16::try_from(place)?, artifacts.artifact(*update).await?);
        }
    }
    checker.apply(statement, &record, &updates)
}

/// Shares, fee and refund from accepted tokens alone, against what `billing` moved.
fn check_money(run: &Run, statements: &[RoundStatement], story: &Story) -> Result<Verified> {
    let mut earned = BTreeMap::<AccountId, Amount>::new();
    for (place, member) in run.roster.iter().enumerate() {
        let tokens: u64 = statements.iter().filter_map(|statement| statement.tokens.get(place)).map(|tokens| u64::from(*tokens)).sum();
        if tokens > 0 {
            let amount = tokens_earned(run.terms.price_per_million_tokens, tokens)?;
            let sum = earned.entry(member.payout.clone()).or_default();
            *sum = sum.checked_add(amount)?;
        }
    }
    let money = story.escrow(run.escrow_id).context("the escrow of this run has left no events")?;
    ensure!(money.fee_rate <= MAX_FEE, "the frozen fee passes the ceiling");
    let (mut paid, mut fee, mut pending, mut total) = (Vec::new(), Amount::ZERO, Amount::ZERO, Amount::ZERO);
    for (account, figure) in &earned {
        let held = if money.holdback_released { Amount::ZERO } else { figure.fraction_floor(HOLDBACK) };
        let final_part = figure.checked_sub(held)?;
        let its_fee = final_part.fraction_ceil(money.fee_rate);
        let net = final_part.checked_sub(its_fee)?;
        let credited = money.credits.get(account).copied().unwrap_or_default();
        ensure!(credited == net, "{account}: was paid {credited} yocto, {net} are due");
        paid.push((account.clone(), net));
        fee = fee.checked_add(its_fee)?;
        if !money.holdback_refused {
            pending = pending.checked_add(held)?;
        }
        total = total.checked_add(*figure)?;
    }
    if let Some(stranger) = money.credits.keys().find(|account| !earned.contains_key(*account)) {
        bail!("{stranger} was paid and has earned nothing");
    }
    ensure!(money.fee == fee, "the fee was {} yocto, {fee} are due", money.fee);
    let settled = matches!(run.state, RunState::Ended { settled: true, .. });
    let refund_due = if settled {
        run.deposit.checked_sub(total)?.checked_add(if money.holdback_refused { held_back(&earned)? } else { Amount::ZERO })?
    } else {
        Amount::ZERO
    };
    ensure!(money.refunded == refund_due, "{} yocto were refunded, {refund_due} are due", money.refunded);
    let accounted =
        Amount::sum(paid.iter().map(|(_, amount)| *amount))?.checked_add(fee)?.checked_add(money.refunded)?.checked_add(pending)?;
    ensure!(!settled || accounted == run.deposit, "the parts sum to {accounted} yocto, {} were escrowed", run.deposit);
    Ok(Verified {
        run_id: run.id,
        rounds: 0,
        state_root: Hash32::default(),
        accepted_tokens: 0,
        deposited: run.deposit,
        paid,
        fee,
        refunded: money.refunded,
        pending,
    })
}

fn held_back(earned: &BTreeMap<AccountId, Amount>) -> Result<Amount> {
    Ok(Amount::sum(earned.values().map(|figure| figure.fraction_floor(HOLDBACK)))?)
}

/// Brings a checker to where the run is, for a meter that starts in the middle.
pub(crate) async fn replay(api: &Api, run: &Run, checker: &mut RoundChecker) -> Result<()> {
    if run.rounds_done == 0 {
        return Ok(());
    }
    let rounds: Vec<RoundView> = api.get(&path::fill(path::RUN_ROUNDS, &[&run.id])).await?;
    follow(api, &rounds, run.rounds_done, checker).await?;
    ensure!(checker.root() == run.state_root, "the recomputed state root is {}, the chain says {}", checker.root(), run.state_root);
    Ok(())
}

/// Applies all rounds before `until`.
pub(crate) async fn follow(api: &Api, rounds: &[RoundView], until: u32, checker: &mut RoundChecker) -> Result<()> {
    for round in rounds.iter().filter(|round| round.round < until) {
        let statement = round.statement.as_ref().with_context(|| format!("round {} has no statement", round.round))?;
        apply(api, statement, round, checker).await.with_context(|| format!("round {}", round.round))?;
    }
    Ok(())
}

/// Saves a run's artifacts and the list that names them, so that it can be verified without any coordinator.
pub(crate) async fn save(api: &Api, run: &Run, rounds: &[RoundView], folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let named = rounds.iter().flat_map(|round| round.record.into_iter().chain(round.updates.iter().flatten().copied()));
    for hash in [run.terms.recipe, run.terms.base].into_iter().chain(named) {
        crate::home::write_atomically(&folder.join(hash.to_string()), &api.download(hash).await?)?;
    }
    crate::home::write_atomically(&folder.join("rounds.json"), &serde_json::to_vec_pretty(rounds)?)
}
