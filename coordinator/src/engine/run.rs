//! The engine's part for runs: checks what nodes say, steps the state machine, does what is due, tells readers.

use super::{Command, Lane, Tools};
use crate::{
    board::{Live, pending_statement, run_view},
    clock,
    compute::{Answer, Task},
    db::{DbError, WorkKind},
    problem::{Fault, one_line},
    runs::{self, Event, Intent, Made, RecordInput, RunWork, Stage, View},
    streams::Topic,
};
use axum::http::StatusCode;
use starling_contract_api::rpc::{BlockRef, verify};
use starling_http_api::{
    node::FromNode,
    run::{MetricPoint, RoundView, RunEvent, ScoreView},
};
use starling_primitives::{Hash32, NodeId, RunId, Signature, TimestampMs};
use starling_protocol::{
    run::{Member, Run},
    signing::{Role, SignedCommitment},
};
use starling_rounds::{Nats, Score};
use std::{sync::Arc, time::Duration};

impl Lane {
    /// Applies an event to a run's work, stores it, tells readers, and does what is due.
    pub(super) async fn step_run(&mut self, run_id: RunId, event: Event) -> Result<(), DbError> {
        let facts = self.tools.facts.borrow().clone();
        let Some(run) = facts.runs.get(&run_id) else { return Ok(()) };
        let (now, presence) = (clock::now(), self.tools.hub.presence());
        let view =
            View { run, now, chain_now: facts.chain_time(now), height: facts.head.height, booted_at: self.booted_at, presence: &presence };
        let stored = self.tools.board.read().runs.get(&run_id).cloned();
        let is_new = stored.is_none();
        let before = stored.unwrap_or_else(|| RunWork::new(run));
        let mut work = before.clone();
        if runs::apply(&mut work, event, &view) || is_new {
            self.tools.db.set_work(WorkKind::Run, run_id.0, &work, now).await?;
            self.tools.board.write().runs.insert(run_id, work.clone());
            self.tell_changes(run, &before, &work).await?;
        }
        if work.admitted.is_none() && work.not_served.is_none() {
            self.admit_run(run.clone());
        }
        for intent in runs::plan(&work, &view, &self.tools.deployment.compute) {
            self.do_run(run, &work, intent).await?;
        }
        Ok(())
    }

    async fn do_run(&mut self, run: &Arc<Run>, work: &RunWork, intent: Intent) -> Result<(), DbError> {
        let (run_id, tools) = (run.id, self.tools.clone());
        match intent {
            Intent::Send { node, key, message } => {
                if matches!(*message, starling_http_api::node::ToNode::RunOpen { .. }) {
                    tools.access.grant(node, run.terms.recipe);
                    if let Some(name) = &work.federated {
                        if !tools.hub.keeps_data(node, name) {
                            return Ok(());
                        }
                        // It looks whether what it keeps fits the run's data.
                        tools.access.grant(node, run.terms.data);
                    }
                }
                tools.hub.send_once(node, &key, *message);
            }
            Intent::Call { key, call, retry_ms } => tools.outbox.ensure(&key, &call, retry_ms).await?,
            Intent::DrawSeed { round, after_height } => {
                self.spawn(format!("seed/{run_id}/{round}"), async move {
                    let seed = draw_seed(&tools, after_height).await;
                    Some(Command::RunEvent(run_id, Event::SeedDrawn { round, seed }))
                });
            }
            Intent::Inspect { round, recipe, state, updates } => {
                let task = Task::Inspect { run_id, recipe, state, updates };
                self.spawn(format!("inspect/{run_id}/{round}"), async move { inspect(&tools, round, task).await });
            }
            Intent::Record(input) => {
                self.spawn(format!("record/{run_id}/{}/{}", work.rounds_done, input.scored.skipped), async move {
                    make_record(&tools, *input).await
                });
            }
        }
        Ok(())
    }

    pub(super) async fn take_run_message(&mut self, node: NodeId, message: FromNode) -> Result<(), DbError> {
        let facts = self.tools.facts.borrow().clone();
        let find = |run_id: RunId| -> Option<(Arc<Run>, u16, Member)> {
            let run = facts.runs.get(&run_id)?;
            let place = run.roster.iter().position(|member| member.node_id == node)?;
            Some((run.clone(), u16::try_from(place).ok()?, run.roster.get(place)?.clone()))
        };
        match message {
            FromNode::Committed { commitment, signature } => {
                let Some((run, place, member)) = find(commitment.run_id) else { return Ok(()) };
                let bytes = commitment.signing_bytes(&self.tools.deployment.compute_domain());
                if commitment.node_id != node || !verify(&member.key, &bytes, &signature) {
                    tracing::warn!(%node, run = %run.id, "a commitment is not signed by its node");
                    return Ok(());
                }
                self.step_run(run.id, Event::Committed { place, signed: SignedCommitment { commitment, signature } }).await
            }
            FromNode::Revealed { run_id, round, .. } => {
                let (Some((_, place, _)), Some(Stage::Revealing { frozen, .. })) = (find(run_id), self.stage_of(run_id)) else {
                    return Ok(());
                };
                let Some(committed) = frozen.commitments.get(&place) else { return Ok(()) };
                match self.tools.db.artifact_bytes(committed.update).await? {
                    // A hash is public: only what the node brought itself becomes its tenant's.
                    Some(bytes) if self.tools.access.brought_by(node, committed.update).await? => {
                        self.tools.db.add_use(committed.update, WorkKind::Run, run_id.0, true).await?;
                        self.step_run(run_id, Event::Revealed { place, round, bytes }).await
                    }
                    _ => {
                        self.log_line(run_id, Some(node), "says it uploaded an update that is not the one it committed to");
                        Ok(())
                    }
                }
            }
            FromNode::Scored { run_id, round, scores } => {
                let Some((_, place, _)) = find(run_id) else { return Ok(()) };
                let score = |score: &starling_http_api::node::Score| {
                    (score.place, Score::from_losses(score.own.0, score.own.1, score.unseen.0, score.unseen.1))
                };
                let probe = scores.first().map(|score| Nats::or_most(score.unseen.0));
                self.step_run(run_id, Event::Scored { place, round, scores: scores.iter().map(score).collect(), probe }).await
            }
            FromNode::RoundSigned { run_id, round, state_root, signature, .. } => {
                let (Some((_, place, member)), Some(Stage::Signing { made, .. })) = (find(run_id), self.stage_of(run_id)) else {
                    return Ok(());
                };
                let bytes = made.statement.signing_bytes(&self.tools.deployment.compute_domain(), Role::Node);
                if made.statement.round != round || state_root != made.statement.state_root || !verify(&member.key, &bytes, &signature) {
                    self.log_line(run_id, Some(node), "sent a signature that does not fit the round");
                    return Ok(());
                }
                self.step_run(run_id, Event::Signed { place, round, signature }).await
            }
            FromNode::RoundRefused { run_id, round, reason } if find(run_id).is_some() => {
                tracing::warn!(%node, run = %run_id, round, reason, "a node refuses a round");
                self.log_line(run_id, Some(node), &format!("refuses round {}: {}", round + 1, one_line(&reason)));
                Ok(())
            }
            FromNode::RunDeclined { run_id, reason } => {
                self.log_line(run_id, Some(node), &format!("declines: {}", one_line(&reason)));
                Ok(())
            }
            FromNode::Evaluated { run_id, round, loss } if find(run_id).is_some() => {
                let rounds_done = round.map_or(0, |round| round + 1);
                self.step_run(run_id, Event::Evaluated { rounds_done, loss }).await
            }
            FromNode::Exported { run_id, result } if find(run_id).is_some() && result.node_id == node => {
                if !matches!(self.stage_of(run_id), Some(Stage::Exporting { asked, .. }) if asked == Some(node)) {
                    return Ok(());
                }
                let adapters = result.adapters.map(|adapters| [adapters.weights, adapters.config]);
                for hash in [result.model, result.config].into_iter().chain(adapters.into_iter().flatten()) {
                    if !self.tools.access.brought_by(node, hash).await? {
                        self.log_line(run_id, Some(node), "names a result that it did not upload");
                        return Ok(());
                    }
                    self.tools.db.add_use(hash, WorkKind::Run, run_id.0, true).await?;
                }
                self.step_run(run_id, Event::Exported(result)).await
            }
            _ => Ok(()),
        }
    }

    /// An inner step: shown, not stored with the work.
    pub(super) fn progress(&mut self, node_id: NodeId, run_id: RunId, live: Live) {
        let facts = self.tools.facts.borrow().clone();
        let known = facts.runs.get(&run_id).is_some_and(|run| run.roster.iter().any(|member| member.node_id == node_id));
        let steps = {
            let mut shown = self.tools.board.write();
            let work = shown.runs.get(&run_id).filter(|work| known && work.rounds_done == live.round);
            let Some(steps) = work.and_then(|work| work.admitted) else { return };
            shown.live.insert((run_id, node_id), live);
            steps
        };
        if let Some(loss) = live.loss.filter(|loss| loss.is_finite()) {
            let step = u64::from(live.round) * u64::from(steps) + u64::from(live.step);
            let learning_rate = live.learning_rate.filter(|rate| rate.is_finite());
            self.add_point(run_id, MetricPoint::Train { node_id, step, loss, learning_rate, at: clock::now() });
        }
    }

    fn add_point(&mut self, run_id: RunId, point: MetricPoint) {
        self.metrics.push((run_id, point));
        self.tools.streams.publish(Topic::Run(run_id), &RunEvent::Metric { point });
    }

    /// The meter's signature of what waits for it.
    pub(super) async fn take_run_meter(&mut self, run_id: RunId, round: u32, signature: Signature) -> Result<Result<(), Fault>, DbError> {
        let facts = self.tools.facts.borrow().clone();
        let (Some(run), Some(Stage::Signing { made, .. })) = (facts.runs.get(&run_id), self.stage_of(run_id)) else {
            return Ok(Err(Fault::not_found("statement that waits")));
        };
        if made.statement.round != round {
            return Ok(Err(Fault::not_found("statement of this round that waits")));
        }
        let bytes = made.statement.signing_bytes(&self.tools.deployment.compute_domain(), Role::Meter);
        if !verify(&run.terms.meter, &bytes, &signature) {
            let detail = "The signature is not one of the run's meter over this statement. Nothing was posted.";
            return Ok(Err(Fault::new(StatusCode::UNPROCESSABLE_ENTITY, "signature_wrong", "The signature does not fit", detail)));
        }
        self.step_run(run_id, Event::Meter { round, signature }).await?;
        Ok(Ok(()))
    }

    /// Tells readers what is new, and keeps rounds for them.
    async fn tell_changes(&mut self, run: &Run, before: &RunWork, work: &RunWork) -> Result<(), DbError> {
        let topic = Topic::Run(run.id);
        if let Stage::Signing { made, .. } = &work.stage
            && !matches!(before.stage, Stage::Signing { .. })
        {
            self.note_rates(run, before);
            let round = round_view(made, None, None);
            self.tools.db.set_round(run.id, &round).await?;
            self.tools.streams.publish(topic, &RunEvent::Round { round: Box::new(round) });
            if made.rolled_back {
                let round = made.statement.round;
                self.log_line(
                    run.id,
                    None,
                    &format!("round {} takes the step of round {round} back: the loss had risen out of line", round + 1),
                );
            }
            for (place, reason) in made.refused.iter().enumerate() {
                if let (Some(reason), Some(member)) = (reason, run.roster.get(place)) {
                    self.log_line(
                        run.id,
                        Some(member.node_id),
                        &format!("work of round {} was refused: {}", made.statement.round + 1, crate::http::refusal_words(*reason)),
                    );
                }
            }
        }
        if work.rounds_done > before.rounds_done
            && let Stage::Signing { made, .. } = &before.stage
        {
            let tx = self.tools.outbox.transaction(&runs::round_key(run.id, made.statement.round)).await?;
            let round = round_view(made, tx, Some(clock::now()));
            self.tools.db.set_round(run.id, &round).await?;
            self.tools.streams.publish(topic, &RunEvent::Round { round: Box::new(round) });
        }
        if let (Some(pending), None) = (pending_statement(work), pending_statement(before)) {
            self.tools.streams.publish(topic, &RunEvent::StatementReady { pending: Box::new(pending) });
        }
        if work.evaluated != before.evaluated
            && let (Some(rounds_done), Some((_, loss))) = (work.evaluated, work.held_out)
        {
            let step = u64::from(rounds_done) * u64::from(work.admitted.unwrap_or(0));
            self.add_point(run.id, MetricPoint::HeldOut { round: rounds_done.saturating_sub(1), step, loss, at: clock::now() });
        }
        if std::mem::discriminant(&work.stage) != std::mem::discriminant(&before.stage)
            || work.not_served != before.not_served
            || work.held_out != before.held_out
        {
            self.show_run(run.id);
        }
        Ok(())
    }

    /// How fast each node was in the round whose record was just made.
    fn note_rates(&self, run: &Run, before: &RunWork) {
        let Stage::Recording { scored } = &before.stage else { return };
        let part = |place: u16| match (scored.frozen.assigned.steps(place), before.admitted) {
            (Some(steps), Some(all)) => f64::from(steps) / f64::from(all.max(1)),
            _ => 1.0,
        };
        let mut shown = self.tools.board.write();
        for (place, committed) in &scored.frozen.commitments {
            if let Some(member) = run.roster.get(usize::from(*place)) {
                let passed = committed.at.since(scored.frozen.since).0.max(1);
                #[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
                let rate = f64::from(run.terms.tokens_per_round) * part(*place) * 1_000.0 / passed as f64;
                shown.rates.insert(member.node_id, rate);
            }
        }
    }

    pub(super) fn show_run(&self, run_id: RunId) {
        let facts = self.tools.facts.borrow().clone();
        if let Some(run) = facts.runs.get(&run_id) {
            let view = run_view(run, &self.tools.board.read(), &self.tools.hub, clock::now());
            self.tools.streams.publish(Topic::Run(run_id), &RunEvent::Changed { view: Box::new(view) });
        }
    }

    pub(super) fn log_line(&self, run_id: RunId, node_id: Option<NodeId>, line: &str) {
        let event = RunEvent::Log { at: clock::now(), node_id, line: line.to_owned() };
        self.tools.streams.publish(Topic::Run(run_id), &event);
    }
}

fn round_view(made: &Made, tx: Option<String>, at: Option<TimestampMs>) -> RoundView {
    RoundView {
        round: made.statement.round,
        statement: Some(made.statement.clone()),
        record: Some(made.record),
        updates: made.updates.clone(),
        commitments: made.commitments.clone(),
        rolled_back: made.rolled_back,
        scores: made.scores.iter().map(|score| score.map(score_view)).collect(),
        refused: made.refused.iter().map(|reason| reason.map(|reason| crate::http::refusal_words(reason).to_owned())).collect(),
        bytes: made.bytes,
        tx,
        at,
    }
}

fn score_view(score: Score) -> ScoreView {
    ScoreView { own: score.own.to_f64(), unseen: score.unseen.to_f64() }
}

/// The hash of the first final block above a height: nobody knew it when the commitments were frozen.
async fn draw_seed(tools: &Tools, after_height: u64) -> Hash32 {
    loop {
        match tools.chain.block(BlockRef::Final).await {
            Ok(block) if block.height > after_height => return seed_of(&block.hash),
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "waiting for the block that draws the scorer"),
        }
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
}

/// A block hash is 32 bytes in base58; another text is hashed.
fn seed_of(hash: &str) -> Hash32 {
    let bytes: Option<[u8; 32]> = bs58::decode(hash).into_vec().ok().and_then(|bytes| bytes.try_into().ok());
    bytes.map_or_else(|| Hash32::sha256(hash.as_bytes()), Hash32)
}

async fn inspect(tools: &Tools, round: u32, task: Task) -> Option<Command> {
    let run_id = task.run_id();
    match tools.compute.divide(task).await {
        Ok(Answer::Inspected { valid, refused }) => Some(Command::RunEvent(run_id, Event::Inspected { round, valid, refused })),
        Ok(Answer::Recorded(_)) => None,
        Err(error) => {
            tracing::error!(%error, run = %run_id, "updates cannot be inspected");
            None
        }
    }
}

async fn make_record(tools: &Tools, input: RecordInput) -> Option<Command> {
    let run_id = input.run_id;
    match store_record(tools, input).await {
        Ok(made) => Some(Command::RunEvent(run_id, Event::RecordMade(made))),
        Err(error) => {
            tracing::error!(%error, run = %run_id, "the round record cannot be made");
            None
        }
    }
}

async fn store_record(tools: &Tools, input: RecordInput) -> anyhow::Result<Box<Made>> {
    let run_id = input.run_id;
    let Answer::Recorded(made) = tools.compute.divide(Task::Record(Box::new(input))).await? else {
        anyhow::bail!("no record was made");
    };
    for hash in [made.record, made.state] {
        tools.db.add_use(hash, WorkKind::Run, run_id.0, true).await?;
    }
    Ok(made)
}
