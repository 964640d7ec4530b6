//! Watches a run that was paid for to its end: shows what happens, co-signs its rounds, stops it where it brings nothing more.

use super::{key_file, millis, now};
use crate::{
    api::{Api, Place, is_away, unless_away},
    audit::{self, Finding, Share, accepted, drawn_below, one_of},
    meter::{Meter, RoundChecker},
    output::Output,
    profile::Context,
};
use anyhow::{Context as _, Result, anyhow};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use starling_contract_api::rpc::Signer;
use starling_http_api::{
    path,
    problem::Problem,
    run::{MetricPoint, PendingStatement, RoundView, RunEvent, RunView, SinceLeast},
};
use starling_primitives::{EscrowId, NodeId, RunId};
use starling_protocol::run::{Run, RunState};
use std::time::{Duration, Instant};

/// How long the result is waited for after the last round.
const RESULT_WAIT: Duration = Duration::from_secs(300);

/// A run that was paid for and watched to its end.
pub(crate) struct Trained {
    pub(crate) run_id: RunId,
    pub(crate) escrow_id: EscrowId,
    pub(crate) view: RunView,
    /// From the start of the command to the first loss.
    pub(crate) first_loss_after: Option<Duration>,
    /// From the first loss to the end of the last round.
    pub(crate) training_time: Duration,
    /// Rounds of which a share was made again here and gave the same bytes.
    pub(crate) audited: u32,
    /// Whose work was not what it was to be paid for, where that ended the run.
    pub(crate) caught: Option<String>,
}

/// How a run is watched.
pub(crate) struct Watched {
    /// When the command began.
    pub(crate) started: Instant,
    /// Rounds without a better held-out loss after which the run is stopped; 0 for never.
    pub(crate) patience: u32,
    /// In how many of a hundred rounds a share is made again before the round is signed.
    pub(crate) audit_percent: u8,
}

/// Watches a run to its end and co-signs its rounds with the key that `start` kept.
pub(crate) async fn watch(
    context: &Context,
    api: &Api,
    run_id: RunId,
    escrow_id: EscrowId,
    watched: &Watched,
    out: Output,
) -> Result<Trained> {
    let mut watcher = Watcher::new(context, api, run_id, escrow_id, watched, out);
    let (place, money) = (Place::now(), format!("escrow {escrow_id}"));
    loop {
        let heard = watcher.listen(&place).await;
        if let Some(trained) = unless_away(heard, &money, Duration::ZERO, out).await? {
            return Ok(trained);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

struct Watcher<'a> {
    context: &'a Context,
    api: &'a Api,
    run_id: RunId,
    escrow_id: EscrowId,
    out: Output,
    started: Instant,
    meter: Option<Meter>,
    first_loss: Option<Instant>,
    rounds_done: u32,
    ended: Option<Instant>,
    /// When to stop the run.
    early: EarlyStop,
    audits: Audits,
    bar: indicatif::ProgressBar,
}

/// Nodes that do not show what they committed to are taken for absent so many times in a run, then for cheats.
const ABSENCES: usize = 1;

/// Audits of rounds before they are signed.
struct Audits {
    percent: u8,
    /// The last round that was decided on.
    decided: Option<u32>,
    reproduced: u32,
    not_shown: Vec<NodeId>,
    caught: Option<String>,
}

impl Audits {
    fn new(percent: u8) -> Self {
        Self { percent, decided: None, reproduced: 0, not_shown: Vec::new(), caught: None }
    }

    /// Whether it is this round's turn: drawn as nobody could foresee, and in the last one if it was nobody's turn before.
    fn is_due(&self, round: u32, rounds: u32) -> Result<bool> {
        let drawn = drawn_below(100)?.is_some_and(|drawn| drawn < usize::from(self.percent));
        Ok(drawn || (self.percent > 0 && self.reproduced == 0 && round + 1 == rounds))
    }
}

/// Stops a run whose held-out loss has not been at its least for so many rounds; never where that is 0.
struct EarlyStop {
    patience: u32,
    since: SinceLeast,
}

impl EarlyStop {
    fn new(patience: u32) -> Self {
        Self { patience, since: SinceLeast::default() }
    }

    /// Takes a figure, and says whether it is the one that ends the run.
    fn is_over(&mut self, loss: f64) -> bool {
        self.since = self.since.after(loss);
        self.patience > 0 && self.since.count() == self.patience
    }
}

impl<'a> Watcher<'a> {
    fn new(context: &'a Context, api: &'a Api, run_id: RunId, escrow_id: EscrowId, watched: &Watched, out: Output) -> Self {
        let bar = out.bar(0, "{spinner} {bar:30} round {pos}/{len}  {msg}");
        let (started, early) = (watched.started, EarlyStop::new(watched.patience));
        let audits = Audits::new(watched.audit_percent);
        Self {
            early,
            audits,
            context,
            api,
            run_id,
            escrow_id,
            out,
            started,
            meter: None,
            first_loss: None,
            rounds_done: 0,
            ended: None,
            bar,
        }
    }

    /// Takes what comes until it is silent, then asks how things stand: a lost event costs a moment only.
    async fn listen(&mut self, place: &Place) -> Result<Option<Trained>> {
        let path = path::fill(path::RUN_EVENTS, &[&self.run_id]);
        let mut events = std::pin::pin!(self.api.events::<RunEvent>(&path, place).await?);
        while let Ok(Some(event)) = tokio::time::timeout(Duration::from_secs(3), events.next()).await {
            if let Some(trained) = self.take(event).await? {
                return Ok(Some(trained));
            }
        }
        let pending: Option<PendingStatement> = self.api.find(&path::fill(path::RUN_STATEMENT, &[&self.run_id])).await?;
        if let Some(pending) = pending {
            self.sign(&pending).await?;
        }
        let view = self.api.get::<RunView>(&path::fill(path::RUN, &[&self.run_id])).await?;
        self.changed(view).await
    }

    async fn take(&mut self, event: RunEvent) -> Result<Option<Trained>> {
        match event {
            RunEvent::Changed { view } => return self.changed(*view).await,
            RunEvent::StatementReady { pending } => self.sign(&pending).await?,
            RunEvent::Metric { point } => self.point(point).await,
            RunEvent::Log { node_id, line, .. } => {
                let who = node_id.map_or_else(String::new, |node| format!("node {node}: "));
                self.bar.suspend(|| self.out.say("log", &json!({"node_id": node_id, "line": line}), &format!("  {who}{line}")));
            }
            RunEvent::Round { .. } => {}
        }
        Ok(None)
    }

    async fn point(&mut self, point: MetricPoint) {
        match point {
            MetricPoint::Train { node_id, step, loss, .. } => {
                if self.first_loss.is_none() {
                    self.first_loss = Some(Instant::now());
                    let after = self.started.elapsed();
                    self.bar.suspend(|| {
                        self.out.say(
                            "first_loss",
                            &json!({"loss": loss, "after_ms": millis(after)}),
                            &format!("First loss {loss:.3} nats after {:.1} s.", after.as_secs_f64()),
                        )
                    });
                }
                self.bar.set_message(format!("loss {loss:.3} (node {node_id}, step {step})"));
                if self.out.is_json() {
                    self.out.say("loss", &json!({"node_id": node_id, "step": step, "loss": loss}), "");
                }
            }
            MetricPoint::HeldOut { round, loss, .. } => {
                self.bar.suspend(|| {
                    self.out.say(
                        "held_out",
                        &json!({"round": round, "loss": loss}),
                        &format!("  held out after {round} rounds: {}", loss.words()),
                    )
                });
                if self.early.is_over(loss.bits) {
                    let patience = self.early.patience;
                    self.stop(
                        &format!("no better on held-out data for {patience} rounds"),
                        &json!({"run_id": self.run_id, "patience": patience}),
                    )
                    .await;
                }
            }
        }
    }

    /// Ends the run before its last round. If that is refused it has ended, or goes on to its end.
    async fn stop(&self, why: &str, fields: &Value) {
        let said = match self.context.rpc.call(&self.context.signer, &self.context.compute().stop_run(self.run_id)).await {
            Ok(_) => format!("  {why}: the run is stopped, and the rest comes back"),
            Err(error) => format!("  {why}, and not stopped: {}", error.contract_message()),
        };
        self.bar.suspend(|| self.out.say("stopped_early", fields, &said));
    }

    /// Has a share of the round made again, where its turn has come; says whether the round may be signed.
    async fn may_sign(&mut self, run: &Run, pending: &PendingStatement) -> Result<bool> {
        let round = pending.statement.round;
        if self.audits.decided == Some(round) || self.audits.caught.is_some() {
            return Ok(self.audits.caught.is_none());
        }
        let is_due = self.audits.is_due(round, run.terms.rounds)?;
        let state = self.meter.as_ref().and_then(|meter| meter.state_before(round));
        if let (true, Some(state)) = (is_due, state) {
            self.audit(run, round, state).await?;
        }
        self.audits.decided = Some(round);
        Ok(self.audits.caught.is_none())
    }

    async fn audit(&mut self, run: &Run, round: u32, state: Vec<u8>) -> Result<()> {
        let rounds: Vec<RoundView> = self.api.get(&path::fill(path::RUN_ROUNDS, &[&self.run_id])).await?;
        let places = rounds.iter().find(|view| view.round == round).map(accepted).unwrap_or_default();
        let Some(place) = one_of(&places)?.copied() else { return Ok(()) };
        let accepted_tokens = run.roster.iter().map(|member| member.tokens).collect();
        let share = Share { run, rounds: &rounds, round, place, state, accepted_tokens };
        let folder = share.folder(self.context);
        self.bar.set_message(format!("making a share of round {} again", round + 1));
        // Half of what the round has left, of that half again for the node: a round that nobody signs in time ends the run.
        let RunState::Training { deadline, .. } = run.state else { return Ok(()) };
        let time = Duration::from_millis(deadline.since(now()).0 / 2);
        let examined = tokio::time::timeout(time, audit::examine(self.context, self.api, &share, &folder, time / 2, self.out)).await;
        let finding = match examined.unwrap_or_else(|_| Err(anyhow!("the round has no time left for it: this machine is too slow"))) {
            Ok(finding) => finding,
            Err(error) if is_away(&error) => return Err(error),
            // What this machine lacks is no fault of the node.
            Err(error) => {
                let (why, fields) = (format!("  no audit of round {}: {error:#}", round + 1), json!({"round": round}));
                self.bar.suspend(|| self.out.say("not_audited", &fields, &why));
                return Ok(());
            }
        };
        self.bar.suspend(|| share.say(&finding, self.out));
        let Some(node) = run.roster.get(usize::from(place)).map(|member| member.node_id) else { return Ok(()) };
        let caught = match finding {
            Finding::Reproduced => {
                self.audits.reproduced += 1;
                drop(std::fs::remove_dir_all(&folder));
                None
            }
            Finding::Deviates(why) => {
                Some(format!("node {node} did not do the work of round {}: {why} (see {})", round + 1, folder.display()))
            }
            Finding::NotShown(why) => {
                self.audits.not_shown.push(node);
                let absences = self.audits.not_shown.iter().filter(|absent| **absent == node).count();
                (absences > ABSENCES).then(|| format!("node {node} does not show its work: {why}"))
            }
        };
        if let Some(why) = &caught {
            self.stop(why, &json!({"run_id": self.run_id, "node_id": node})).await;
        }
        self.audits.caught = caught;
        Ok(())
    }

    async fn sign(&mut self, pending: &PendingStatement) -> Result<()> {
        let run = self.context.rpc.view(&self.context.compute().run(self.run_id)).await?.context("the run is not on chain")?;
        if run.rounds_done != pending.statement.round {
            return Ok(());
        }
        if self.meter.is_none() {
            self.meter = Some(open_meter(self.context, self.api, &run).await?);
        }
        if !self.may_sign(&run, pending).await? {
            return Ok(());
        }
        let Some(meter) = self.meter.as_mut() else { return Ok(()) };
        let signature = meter.sign(self.api, &self.context.profile.deployment, &run, pending).await?;
        self.api.post_quietly(&path::fill(path::RUN_STATEMENT, &[&self.run_id]), &signature).await.or_else(|error| {
            // Another copy of the same signature may have been there first.
            if error.downcast_ref::<Problem>().is_some_and(|problem| problem.code == "not_found") { Ok(()) } else { Err(error) }
        })
    }

    async fn changed(&mut self, view: RunView) -> Result<Option<Trained>> {
        self.bar.set_length(u64::from(view.run.terms.rounds));
        self.bar.set_position(u64::from(view.run.rounds_done));
        if view.run.rounds_done > self.rounds_done {
            self.rounds_done = view.run.rounds_done;
            let earned = view.earned.display_near();
            let line = format!(
                "  round {} counted: {earned} of at most {} earned, state root {}",
                self.rounds_done,
                view.run.deposit.display_near(),
                view.run.state_root.short()
            );
            self.bar.suspend(|| {
                self.out.say(
                    "round",
                    &json!({"rounds_done": self.rounds_done, "earned": view.earned, "state_root": view.run.state_root}),
                    &line,
                )
            });
        }
        let RunState::Ended { settled, .. } = view.run.state else {
            return Ok(None);
        };
        let ended = *self.ended.get_or_insert_with(Instant::now);
        let expects_result = view.run.rounds_done > 0 && view.result.is_none() && self.audits.caught.is_none();
        if !settled || (expects_result && ended.elapsed() < RESULT_WAIT) {
            self.bar.set_message("finishing: settlement and model file");
            return Ok(None);
        }
        self.bar.finish_and_clear();
        let training_time = self.first_loss.map_or(Duration::ZERO, |first| ended.duration_since(first));
        let first_loss_after = self.first_loss.map(|first| first.duration_since(self.started));
        let (run_id, escrow_id, audited, caught) = (self.run_id, self.escrow_id, self.audits.reproduced, self.audits.caught.take());
        Ok(Some(Trained { run_id, escrow_id, view, first_loss_after, training_time, audited, caught }))
    }
}

async fn open_meter(context: &Context, api: &Api, run: &starling_protocol::run::Run) -> Result<Meter> {
    let signer = Signer::from_file(&key_file(context, &run.terms.meter))
        .context("the key that co-signs this run is not in this home: rounds can only be signed where the run was started")?;
    let recipe = api.download(run.terms.recipe).await?;
    let base = api.download(run.terms.base).await?;
    let mut checker = RoundChecker::new(run, &recipe, &base)?;
    crate::verify::replay(api, run, &mut checker).await?;
    Ok(Meter::new(signer, checker))
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    #[test]
    fn audits__should_come_by_chance_and_at_least_once() {
        let due = |percent, reproduced| {
            let audits = Audits { reproduced, ..Audits::new(percent) };
            (0..1_000).filter(|round| audits.is_due(*round, 1_000).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!((due(0, 0), due(100, 0).len()), (vec![], 1_000));
        assert_eq!(due(1, 0).last(), Some(&999), "the last one, whatever was drawn before");
        assert!((100..300).contains(&due(20, 1).len()));
    }

    #[test]
    fn early_stop__should_come_once_after_so_many_figures_that_are_no_better() {
        let figures = [3.0, 2.0, 2.5, 2.0, 1.9, 2.1, 2.2, 2.3, 2.4];
        let over = |patience| {
            let mut early = EarlyStop::new(patience);
            figures.iter().enumerate().filter(|(_, loss)| early.is_over(**loss)).map(|(place, _)| place).collect::<Vec<_>>()
        };
        assert_eq!([over(0), over(2), over(3), over(9)], [vec![], vec![3, 6], vec![7], vec![]]);
    }
}
