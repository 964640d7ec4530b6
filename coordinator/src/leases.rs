//! Leases: statements that a node signed, the meter's signature, and when they go on chain. Pure, like `runs`.

use serde::{Deserialize, Serialize};
use starling_contract_api::{Call, compute::Compute};
use starling_http_api::{
    job::{JobSpec, Metric, Report},
    lease::PendingLeaseStatement,
    node::ToNode,
};
use starling_primitives::{AccountId, LeaseId, Signature, TimestampMs};
use starling_protocol::{
    lease::{Lease, LeaseState},
    signing::LeaseStatement,
};
use std::collections::BTreeMap;

/// Output that is kept for people to look at; the whole is an artifact.
pub const MAX_OUTPUT: usize = 64 * 1024;
/// Figures of a script that are kept for people to look at; all of them are an artifact.
pub const MAX_METRICS: usize = 2_000;
/// A statement that is not final goes on chain when it adds at least so much metered time.
const POST_EVERY_MS: u64 = 60_000;
const RETRY_MS: u64 = 5_000;
/// Posts of a delegate wait in the escrow for so many parts of the objection window or less, so that what was metered begins to vest about as soon as it can.
const INTERIM_STEPS: u64 = 7;
/// After a lease's end its node is told so for that long.
const TELL_END_MS: u64 = 3_600_000;

/// What the coordinator keeps of a lease beyond the chain's record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeaseWork {
    /// The lease.
    pub lease_id: LeaseId,
    /// What the node does, once it was checked that the tenant may use what it names.
    pub job: Option<JobSpec>,
    /// Output so far, cut.
    pub output: String,
    /// A script's figures so far, thinned.
    #[serde(default)]
    pub metrics: Vec<Metric>,
    /// What a script's last statement names.
    #[serde(default)]
    pub report: Option<Box<Report>>,
    /// What is done before the script runs, in one line.
    #[serde(default)]
    pub setup: Option<String>,
    /// Why it could not be done, if so.
    pub failure: Option<String>,
    /// What waits for the meter.
    pub pending: Option<PendingLeaseStatement>,
    /// The last statement with both signatures.
    pub cosigned: Option<Cosigned>,
}

/// A statement with both signatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cosigned {
    /// What was signed.
    pub statement: LeaseStatement,
    /// By the node.
    pub node: Signature,
    /// By the meter.
    pub meter: Signature,
}

/// Something that should have happened by now.
#[derive(Clone, Debug, PartialEq)]
pub enum Intent {
    /// Check the job and who may use what it names.
    Admit,
    /// A message to the lease's node, once per connection and key.
    Send {
        /// Names it.
        key: String,
        /// What is said.
        message: Box<ToNode>,
    },
    /// A call on chain through the outbox.
    Call {
        /// Idempotency key.
        key: String,
        /// What is called.
        call: Box<Call>,
        /// When it may be repeated.
        retry_ms: u64,
    },
}

impl LeaseWork {
    /// The work of a lease that was just seen.
    pub fn new(lease_id: LeaseId) -> Self {
        Self {
            lease_id,
            job: None,
            output: String::new(),
            metrics: Vec::new(),
            report: None,
            setup: None,
            failure: None,
            pending: None,
            cosigned: None,
        }
    }

    /// Adds output. Of a script the last is kept, so that what happens now is seen; of anything else what passes the limit is left out.
    pub fn add_output(&mut self, text: &str) {
        if matches!(self.job, Some(JobSpec::Script(_))) {
            self.output.push_str(text);
            let over = self.output.len().saturating_sub(MAX_OUTPUT);
            let start = (over..=self.output.len()).find(|start| self.output.is_char_boundary(*start)).unwrap_or(0);
            self.output.drain(..start);
            return;
        }
        let room = MAX_OUTPUT.saturating_sub(self.output.len());
        let end = (0..=room.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        self.output.push_str(&text[..end]);
    }

    /// Adds figures; where there are too many, every second one of each name goes.
    pub fn add_metrics(&mut self, points: &[Metric]) {
        self.metrics.extend(points.iter().take(MAX_METRICS).cloned());
        while self.metrics.len() > MAX_METRICS {
            let mut seen = BTreeMap::<String, usize>::new();
            self.metrics.retain(|point| {
                let count = seen.entry(point.name.clone()).or_default();
                *count += 1;
                *count % 2 == 1
            });
        }
    }

    /// The newest statement that was taken, whether the meter signed it or not.
    pub fn last_statement(&self) -> Option<&LeaseStatement> {
        let (pending, cosigned) = (self.pending.as_ref(), self.cosigned.as_ref());
        pending.map(|pending| &pending.statement).or(cosigned.map(|cosigned| &cosigned.statement))
    }

    /// A statement whose node signature was checked. Says whether it is news.
    pub fn take_statement(&mut self, statement: LeaseStatement, node: Signature) -> bool {
        if self.last_statement().is_some_and(|last| statement.seq <= last.seq) {
            return false;
        }
        self.pending = Some(PendingLeaseStatement { statement, node });
        true
    }

    /// The meter's signature, checked, of the pending statement. Says whether it is news.
    pub fn take_meter(&mut self, seq: u64, meter: Signature) -> bool {
        match self.pending.take_if(|pending| pending.statement.seq == seq) {
            Some(pending) => {
                self.cosigned = Some(Cosigned { statement: pending.statement, node: pending.node, meter });
                true
            }
            None => false,
        }
    }
}

/// Everything that is due for a lease.
pub fn plan(work: &LeaseWork, lease: &Lease, chain_now: TimestampMs, compute: &AccountId) -> Vec<Intent> {
    let (mut due, compute) = (Vec::new(), Compute(compute.clone()));
    let id = lease.id;
    let send = |key: String, message: ToNode| Intent::Send { key: format!("lease/{id}/{key}"), message: Box::new(message) };
    let call = |key: String, call: Call, retry_ms: u64| Intent::Call { key: format!("{key}/lease/{id}"), call: Box::new(call), retry_ms };
    match lease.state {
        LeaseState::Unpaid | LeaseState::Closed { .. } => {}
        LeaseState::Pending { accept_by } if chain_now > accept_by => {
            due.push(call("tick-accept".to_owned(), compute.tick_lease(id), RETRY_MS))
        }
        LeaseState::Active { deadline, .. } if chain_now > deadline => {
            due.push(call("tick-end".to_owned(), compute.tick_lease(id), RETRY_MS))
        }
        LeaseState::Active { .. } => {
            if let Some(step) = interim_step(lease) {
                // A key for each step: whatever was posted for it, it is posted once.
                due.push(call(format!("interim-{step}"), compute.settle_lease(id), u64::MAX));
            }
        }
        LeaseState::Closing { post_until, .. } if chain_now.0 > post_until.0.saturating_add(500) => {
            due.push(call("settle".to_owned(), compute.settle_lease(id), 2 * RETRY_MS))
        }
        _ => {}
    }
    match (lease.state, &work.job) {
        (LeaseState::Pending { .. } | LeaseState::Active { .. }, None) if work.failure.is_none() => due.push(Intent::Admit),
        (LeaseState::Pending { .. } | LeaseState::Active { .. }, Some(job)) if work.failure.is_none() => {
            let last = work.cosigned.as_ref().map(|cosigned| cosigned.statement.clone());
            due.push(send("open".to_owned(), ToNode::LeaseOpen { lease_id: id, job: job.clone(), last }));
        }
        _ => {}
    }
    if let Some(Cosigned { statement, node, meter }) = &work.cosigned {
        due.push(send(format!("meter/{}", statement.seq), ToNode::MeterSigned { lease_id: id, seq: statement.seq, signature: *meter }));
        let taken = match lease.state {
            LeaseState::Active { .. } => statement.is_final || statement.metered_ms >= lease.metered.0.saturating_add(POST_EVERY_MS),
            LeaseState::Closing { post_until, since: Some(_), .. } => chain_now <= post_until,
            _ => false,
        };
        if taken && statement.seq > lease.seq {
            due.push(call(format!("statement-{}", statement.seq), compute.post_statement(statement, node, meter), RETRY_MS));
        }
    }
    if let LeaseState::Closing { ended_at, .. } | LeaseState::Closed { ended_at, .. } = lease.state
        && chain_now.since(ended_at).0 < TELL_END_MS
    {
        due.push(send("ended".to_owned(), ToNode::LeaseEnded { lease_id: id }));
    }
    due
}

/// The last step of metered time whose figures are to be posted before the lease ends: only what may be objected to, since its window runs from the post. Steps are a part of the
/// window, a minute at least.
fn interim_step(lease: &Lease) -> Option<u64> {
    let window = lease.metering.objection_window.0;
    let step_ms = window.div_ceil(INTERIM_STEPS).max(POST_EVERY_MS);
    (window > 0).then(|| lease.metered.0 / step_ms).filter(|step| *step > 0)
}

#[cfg(test)]
#[path = "leases_tests.rs"]
mod tests;
