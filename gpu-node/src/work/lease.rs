//! A lease, as one node lives it: accept on chain, work, have each interval co-signed, end.
//!
//! The node stops when unsigned work exceeds one interval, and keeps the last co-signed statement: what both signed is never lost.

use super::{
    Context, Report, TaskError,
    job::{compute, gather},
    receipt::{CoSigned, LeaseReceipt},
};
use crate::{
    engine::{EngineError, Gate, Piece},
    script::Outputs,
    session::desk::Finish,
    trainer::Cancel,
};
use starling_contract_api::rpc::verify;
use starling_http_api::node::FromNode;
use starling_limits::Action;
use starling_primitives::{Asset, DurationMs, LeaseId, RunId, Signature, TimestampMs};
use starling_protocol::{
    lease::{Lease, LeaseState, STATEMENT_INTERVAL},
    run::RunState,
    signing::{LeaseStatement, Role},
};
use std::{sync::Arc, time::Duration};
use tokio::{sync::mpsc, time::Instant};

/// Time between two statements: a third of the longest, so that one may be missed.
const STATEMENT_EVERY: Duration = Duration::from_millis(STATEMENT_INTERVAL.0 / 3);
/// How often the chain is asked whether the lease still runs.
const CHAIN_EVERY: Duration = Duration::from_secs(10);
/// How long the node waits for the last signature.
const LAST_SIGNATURE_WAIT: Duration = Duration::from_secs(110);
/// Bytes of output in one message; JSON may write one as six.
const OUTPUT_BYTES: usize = 16 * 1024;
/// Pieces that wait for being sent on.
const PIECES: usize = 256;

/// What the owner loop tells the lease's task.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum LeaseNote {
    /// The meter signed the statement of this number.
    Signed(u64, Signature),
    /// Say again what waits for an answer.
    Repeat,
    /// The lease is over.
    Ended,
}

/// A lease under way.
struct Work {
    context: Arc<Context>,
    lease: Lease,
    receipt: LeaseReceipt,
    /// All output so far.
    output: Vec<u8>,
    /// Units and metered milliseconds so far.
    units: u64,
    metered_ms: u64,
    /// Sent and not co-signed.
    waiting: Option<(LeaseStatement, Signature)>,
    /// Number of the last statement made, and the time it was for.
    seq: u64,
    stated_ms: u64,
    /// A script's log, figures and files; otherwise the output is all there is.
    outputs: Option<Arc<Outputs>>,
    gate: Arc<Gate>,
}

/// Serves a lease to its end. Tells the tenant's side why where it cannot.
pub(super) async fn serve(
    context: &Arc<Context>,
    lease_id: LeaseId,
    last: Option<LeaseStatement>,
    busy_with: Option<RunId>,
    cancel: Cancel,
    notes: mpsc::Receiver<LeaseNote>,
) -> Finish {
    let served = serve_accepted(context, lease_id, last, busy_with, &cancel, notes).await;
    cancel.cancel();
    match served {
        Ok(()) => {
            context.count(|tally| tally.leases += 1);
            Finish::Quiet
        }
        Err(error) => {
            let reason = error.to_string();
            tracing::warn!(%lease_id, reason, "the lease could not be served");
            if let Ok(LeaseReceipt { co_signed: Some(kept), .. }) = context.receipts.lease(lease_id) {
                tokio::spawn(bring_to_chain(context.clone(), kept));
            }
            // What is not served is not kept waiting: the tenant gets the rest back.
            let open = |state| matches!(state, LeaseState::Pending { .. } | LeaseState::Active { .. });
            let ours = context.chain.lease(lease_id).await.is_ok_and(|lease| lease.node_id == context.config.node_id && open(lease.state));
            if ours && let Err(error) = context.chain.close_lease(lease_id).await {
                tracing::warn!(%lease_id, %error, "the lease could not be closed on chain; its deadline will");
            }
            Finish::Failed(Some(FromNode::LeaseFailed { lease_id, reason }))
        }
    }
}

async fn serve_accepted(
    context: &Arc<Context>,
    lease_id: LeaseId,
    last: Option<LeaseStatement>,
    busy_with: Option<RunId>,
    cancel: &Cancel,
    notes: mpsc::Receiver<LeaseNote>,
) -> Result<(), TaskError> {
    let lease = suitable(context, lease_id, busy_with).await?;
    // All that is needed is at hand before the clock of the lease runs.
    let job = gather(context, &lease).await?;
    if matches!(lease.state, LeaseState::Pending { .. }) {
        context.takes(job.kind()).map_err(|reason| TaskError::Asked(reason.to_string()))?;
    }
    if lease.cover.is_some() {
        context.receipts.set_promised(lease_id, true)?;
    }
    let outputs = job.outputs();
    if let LeaseState::Pending { .. } = lease.state {
        context.chain.accept_lease(&lease).await?;
    }
    let mut receipt = context.receipts.lease(lease_id)?;
    if outputs.is_some() {
        // A script cannot go on where it was cut off with the node: what it prints is shown anew.
        receipt.sent_bytes = 0;
    }
    let from = [receipt.co_signed.as_ref().map(|kept| kept.statement.clone()), last]
        .into_iter()
        .flatten()
        .filter(|kept| kept.lease_id == lease_id)
        .max_by_key(|kept| kept.seq);
    let (seq, metered_ms, units) = from.map_or((0, 0, 0), |kept| (kept.seq, kept.metered_ms, kept.units));
    let gate = Arc::new(Gate::default());
    gate.signed(metered_ms);
    let mut work = Work {
        context: context.clone(),
        lease,
        receipt,
        output: Vec::new(),
        units,
        metered_ms,
        waiting: None,
        seq,
        stated_ms: metered_ms,
        outputs,
        gate,
    };
    work.say(FromNode::LeaseStarted { lease_id }).await;
    tracing::info!(%lease_id, "working on a lease");
    let (give, pieces) = mpsc::channel(PIECES);
    let left = left_of(context, lease_id).await?;
    let thread = compute(context.clone(), lease_id, job, (metered_ms, units), left, work.gate.clone(), cancel.clone(), give);
    let ended = work.until_end(thread, pieces, notes, cancel).await;
    if let Some(outputs) = &work.outputs {
        outputs.remove();
    }
    ended
}

/// The lease if this node may work on it: its own, paid enough, the money in an open escrow, no other work.
async fn suitable(context: &Context, lease_id: LeaseId, busy_with: Option<RunId>) -> Result<Lease, TaskError> {
    let refused = |reason: String| Err(TaskError::Asked(reason));
    let lease = context.chain.lease(lease_id).await?;
    if lease.node_id != context.config.node_id || lease.node_key != context.chain.public_key() {
        return refused(format!("lease {lease_id} is for another node"));
    }
    if !matches!(lease.state, LeaseState::Pending { .. } | LeaseState::Active { .. }) {
        return refused(format!("the lease is {}", lease.state.name()));
    }
    if lease.asset != Asset::Near {
        return refused(format!("it pays in {}, this node asks NEAR", lease.asset));
    }
    let least = context.config.min_price_per_hour;
    if lease.price_per_hour < least {
        return refused(format!("it pays {} an hour, this node asks {}", lease.price_per_hour.exact_near(), least.exact_near()));
    }
    if let Some(run_id) = busy_with
        && !matches!(context.chain.run(run_id).await?.state, RunState::Ended { .. })
    {
        return refused(format!("busy with run {run_id}"));
    }
    context.chain.open_escrow(lease.escrow_id).await?;
    Ok(lease)
}

/// How much of the lease's time is left by the chain's clock.
async fn left_of(context: &Context, lease_id: LeaseId) -> Result<Duration, TaskError> {
    match context.chain.lease(lease_id).await?.state {
        LeaseState::Active { deadline, .. } => Ok(Duration::from_millis(deadline.0.saturating_sub(context.chain.now().await?.0))),
        state => Err(TaskError::Asked(format!("the lease is {}", state.name()))),
    }
}

impl Work {
    async fn until_end(
        &mut self,
        thread: impl Future<Output = Result<(), TaskError>>,
        mut pieces: mpsc::Receiver<Piece>,
        mut notes: mpsc::Receiver<LeaseNote>,
        cancel: &Cancel,
    ) -> Result<(), TaskError> {
        let mut thread = std::pin::pin!(thread);
        let mut statements = tokio::time::interval_at(Instant::now() + STATEMENT_EVERY, STATEMENT_EVERY);
        let mut looks = tokio::time::interval_at(Instant::now() + CHAIN_EVERY, CHAIN_EVERY);
        let made = loop {
            tokio::select! {
                Some(piece) = pieces.recv() => self.take(piece).await?,
                Some(note) = notes.recv() => {
                    if self.note(note).await? {
                        cancel.cancel();
                        break None;
                    }
                }
                _ = statements.tick() => self.state(false).await?,
                _ = looks.tick() => {
                    // A script cannot be slowed down or checkpointed: what it has so far is stated, and it ends.
                    if self.outputs.is_some() && matches!(self.context.pace.action(), Action::HandOver { .. }) {
                        cancel.cancel();
                    }
                    if self.is_over().await {
                        cancel.cancel();
                        break None;
                    }
                }
                made = &mut thread => break Some(made),
            }
        };
        if let Some(made) = made {
            if let Err(TaskError::Engine(EngineError::HandedOver(reason))) = &made {
                tracing::warn!(lease_id = %self.lease.id, %reason, "stopped a lease; what was done is stated and the lease given back");
                self.context.count(|tally| tally.handed_over += 1);
                while let Ok(piece) = pieces.try_recv() {
                    self.take(piece).await?;
                }
                self.flush().await;
                self.state(false).await?;
                self.wait_for_last(&mut notes).await?;
            }
            made?;
            while let Ok(piece) = pieces.try_recv() {
                self.take(piece).await?;
            }
            self.state(true).await?;
            self.wait_for_last(&mut notes).await?;
        }
        if let Some(kept) = self.receipt.co_signed.clone() {
            // The node is free for other work meanwhile.
            tokio::spawn(bring_to_chain(self.context.clone(), kept));
        }
        Ok(())
    }

    async fn take(&mut self, piece: Piece) -> Result<(), TaskError> {
        self.output.extend_from_slice(&piece.bytes);
        self.units = self.units.max(piece.units);
        self.metered_ms = self.metered_ms.max(piece.metered_ms);
        // What an earlier process sent is not sent again, and no letter is cut in two.
        let sent = usize::try_from(self.receipt.sent_bytes).unwrap_or(usize::MAX);
        let Some(rest) = self.output.get(sent..) else { return Ok(()) };
        let whole = whole_letters(&rest[..rest.len().min(OUTPUT_BYTES)]);
        if whole > 0 {
            let text = String::from_utf8_lossy(&rest[..whole]).into_owned();
            self.receipt.sent_bytes = u64::try_from(sent + whole).unwrap_or(u64::MAX);
            self.say(FromNode::Output { lease_id: self.lease.id, text }).await;
        }
        Ok(())
    }

    /// Makes, keeps and sends a statement of the work so far, its output uploaded first.
    async fn state(&mut self, is_final: bool) -> Result<(), TaskError> {
        self.check_promise()?;
        if is_final {
            self.flush().await;
        }
        let output = match &self.outputs {
            None => self.context.store.put(self.output.clone().into()).await?,
            // Nothing is claimed while its environment is made.
            Some(_) if !is_final && self.metered_ms == self.stated_ms => return Ok(()),
            Some(outputs) => outputs.report(&self.context.store, &self.output, is_final).await?,
        };
        self.seq += 1;
        self.stated_ms = self.metered_ms;
        let statement = LeaseStatement {
            escrow_id: self.lease.escrow_id,
            lease_id: self.lease.id,
            seq: self.seq,
            metered_ms: self.metered_ms,
            units: self.units,
            output,
            is_final,
        };
        let signature = self.context.sign(&statement.signing_bytes(&self.context.config.deployment.compute_domain(), Role::Node));
        self.context.receipts.save_lease(self.lease.id, &self.receipt)?;
        self.waiting = Some((statement.clone(), signature));
        self.say(FromNode::Statement { statement, signature }).await;
        Ok(())
    }

    /// A statement of less work than the offer promised would cost the bond: the lease is given back instead of signing one.
    fn check_promise(&self) -> Result<(), TaskError> {
        let metered = DurationMs(self.metered_ms);
        match &self.lease.cover {
            Some(cover) if cover.holds() && !cover.worked(metered, self.units, TimestampMs(0)).holds() => Err(TaskError::Asked(format!(
                "{} units in {metered} are less than the {} an hour that the offer promised: the lease is given back",
                self.units, cover.sla.units_per_hour
            ))),
            _ => Ok(()),
        }
    }

    /// Sends what is left of the output, half letters too.
    async fn flush(&mut self) {
        loop {
            let sent = usize::try_from(self.receipt.sent_bytes).unwrap_or(usize::MAX);
            let rest = self.output.get(sent..).unwrap_or_default();
            if rest.is_empty() {
                return;
            }
            let part = &rest[..rest.len().min(OUTPUT_BYTES)];
            let part = if part.len() == rest.len() { part } else { &part[..whole_letters(part).max(1)] };
            let text = String::from_utf8_lossy(part).into_owned();
            self.receipt.sent_bytes += u64::try_from(part.len()).unwrap_or(u64::MAX);
            self.say(FromNode::Output { lease_id: self.lease.id, text }).await;
        }
    }

    /// Takes a note; true when the lease is over.
    async fn note(&mut self, note: LeaseNote) -> Result<bool, TaskError> {
        match note {
            LeaseNote::Ended => return Ok(true),
            LeaseNote::Repeat => {
                self.say(FromNode::LeaseStarted { lease_id: self.lease.id }).await;
                if let Some((statement, signature)) = self.waiting.clone() {
                    self.say(FromNode::Statement { statement, signature }).await;
                }
            }
            LeaseNote::Signed(seq, meter) => self.take_signature(seq, meter).await?,
        }
        Ok(false)
    }

    async fn take_signature(&mut self, seq: u64, meter: Signature) -> Result<(), TaskError> {
        let Some((statement, node)) = self.waiting.clone().filter(|(statement, _)| statement.seq == seq) else { return Ok(()) };
        let bytes = statement.signing_bytes(&self.context.config.deployment.compute_domain(), Role::Meter);
        if !verify(&self.lease.terms.meter, &bytes, &meter)
            && let Ok(lease) = self.context.chain.lease(self.lease.id).await
        {
            // The tenant may have replaced the meter.
            self.lease.terms = lease.terms;
        }
        if !verify(&self.lease.terms.meter, &bytes, &meter) {
            tracing::warn!(lease_id = %self.lease.id, seq, "a signature is not the meter's");
            return Ok(());
        }
        self.gate.signed(statement.metered_ms);
        self.waiting = None;
        let before = self.receipt.co_signed.as_ref().map_or(0, |kept| kept.statement.metered_ms);
        let more = statement.metered_ms.saturating_sub(before);
        let pay = self.lease.price_per_hour.mul_div_floor(more, 3_600_000).unwrap_or_default();
        self.context.count(|tally| {
            tally.metered_ms = tally.metered_ms.saturating_add(more);
            tally.metered_pay = tally.metered_pay.checked_add(pay).unwrap_or(tally.metered_pay);
        });
        self.receipt.co_signed = Some(CoSigned { statement, node, meter });
        self.context.receipts.save_lease(self.lease.id, &self.receipt)?;
        Ok(())
    }

    async fn wait_for_last(&mut self, notes: &mut mpsc::Receiver<LeaseNote>) -> Result<(), TaskError> {
        let until = Instant::now() + LAST_SIGNATURE_WAIT;
        while self.waiting.is_some() {
            match tokio::time::timeout_at(until, notes.recv()).await {
                Ok(Some(note)) => {
                    if self.note(note).await? {
                        break;
                    }
                }
                _ => break,
            }
        }
        Ok(())
    }

    /// Whether the chain says that the lease no longer runs. No answer is no reason to stop.
    async fn is_over(&self) -> bool {
        match self.context.chain.lease(self.lease.id).await {
            Ok(lease) => match lease.state {
                LeaseState::Active { deadline, .. } => self.context.chain.now().await.is_ok_and(|now| now > deadline),
                _ => true,
            },
            Err(_) => false,
        }
    }

    async fn say(&self, message: FromNode) {
        drop(self.context.reports.send(Report::Say(message)).await);
    }
}

/// After the end: if the chain lacks what both signed, this node brings it there itself. The coordinator posts too; who comes second changes nothing.
async fn bring_to_chain(context: Arc<Context>, kept: CoSigned) {
    tokio::time::sleep(CHAIN_EVERY).await;
    let lease_id = kept.statement.lease_id;
    let lacks = match context.chain.lease(lease_id).await {
        Ok(lease) => lease.seq < kept.statement.seq && matches!(lease.state, LeaseState::Active { .. } | LeaseState::Closing { .. }),
        Err(error) => {
            tracing::warn!(%lease_id, %error, "the lease could not be read after its end");
            true
        }
    };
    if !lacks {
        return;
    }
    match context.chain.post_statement(&kept.statement, &kept.node, &kept.meter).await {
        Ok(()) => tracing::info!(%lease_id, seq = kept.statement.seq, "brought the last co-signed statement to the chain"),
        Err(error) => tracing::warn!(%lease_id, %error, "the last co-signed statement could not be posted; anyone may still post it"),
    }
}

/// How many bytes can be shown without cutting a letter: bytes that are no UTF-8 at all count as shown.
fn whole_letters(bytes: &[u8]) -> usize {
    let cut = bytes.utf8_chunks().last().map_or(0, |last| {
        let invalid = last.invalid();
        let could_begin =
            !invalid.is_empty() && bytes.ends_with(invalid) && std::str::from_utf8(invalid).is_err_and(|error| error.error_len().is_none());
        if could_begin { invalid.len() } else { 0 }
    });
    bytes.len() - cut
}

#[cfg(test)]
mod tests {
    #![expect(non_snake_case, reason = "tests are named subject__should_effect")]

    use super::*;

    #[test]
    fn whole_letters__should_not_cut_one_and_not_wait_for_what_is_none() {
        for (bytes, expected) in [
            (&b"abc"[..], 3),
            ("aä".as_bytes(), 3),
            (&"aä".as_bytes()[..2], 1),
            (b"a\xff", 2),
            (b"\xff\xffab", 4),
            (b"", 0),
            (&"€".as_bytes()[..2], 0),
        ] {
            assert_eq!(whole_letters(bytes), expected, "{bytes:?}");
        }
    }
}
