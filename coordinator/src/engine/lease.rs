//! The engine's part for leases.

use super::Lane;
use crate::{
    board::lease_view,
    clock,
    db::{DbError, WorkKind},
    leases::{self, Intent, LeaseWork},
    problem::Fault,
    streams::Topic,
};
use axum::http::StatusCode;
use starling_contract_api::rpc::verify;
use starling_http_api::{
    job::{JobSpec, MAX_REPORT_BYTES, Report},
    lease::LeaseEvent,
    node::FromNode,
};
use starling_primitives::{Hash32, LeaseId, NodeId, Signature};
use starling_protocol::{lease::Lease, signing::Role};
use std::{collections::BTreeSet, sync::Arc};

/// The longest line about setting up that is passed on.
const MAX_SETUP_LINE: usize = 400;

impl Lane {
    /// Does what is due for a lease.
    pub(super) async fn step_lease(&mut self, lease_id: LeaseId) -> Result<(), DbError> {
        let Some((lease, work)) = self.find_lease(lease_id) else { return Ok(()) };
        let chain_now = self.tools.facts.borrow().chain_time(clock::now());
        for intent in leases::plan(&work, &lease, chain_now, &self.tools.deployment.compute) {
            match intent {
                Intent::Admit => self.admit_lease(lease.clone()),
                Intent::Send { key, message } => drop(self.tools.hub.send_once(lease.node_id, &key, *message)),
                Intent::Call { key, call, retry_ms } => self.tools.outbox.ensure(&key, &call, retry_ms).await?,
            }
        }
        Ok(())
    }

    pub(super) async fn lease_admitted(&mut self, lease_id: LeaseId, outcome: Result<JobSpec, String>) -> Result<(), DbError> {
        let Some((_, mut work)) = self.find_lease(lease_id) else { return Ok(()) };
        match outcome {
            Ok(job) => work.job = Some(job),
            Err(reason) => {
                work.failure = Some(format!("This coordinator does not serve the lease: {reason} Close it to get your money back."))
            }
        }
        self.store_lease(work).await?;
        self.show_lease(lease_id);
        self.step_lease(lease_id).await
    }

    pub(super) async fn take_lease_message(&mut self, node: NodeId, message: FromNode) -> Result<(), DbError> {
        let lease_id = match &message {
            FromNode::LeaseStarted { lease_id }
            | FromNode::Output { lease_id, .. }
            | FromNode::Metrics { lease_id, .. }
            | FromNode::Setup { lease_id, .. }
            | FromNode::LeaseFailed { lease_id, .. } => *lease_id,
            FromNode::Statement { statement, .. } => statement.lease_id,
            _ => return Ok(()),
        };
        let Some((lease, mut work)) = self.find_lease(lease_id).filter(|(lease, _)| lease.node_id == node) else { return Ok(()) };
        match message {
            FromNode::Output { text, .. } => {
                work.add_output(&text);
                self.store_lease(work).await?;
                self.tools.streams.publish(Topic::Lease(lease_id), &LeaseEvent::Output { text });
            }
            FromNode::Metrics { points, .. } => {
                work.add_metrics(&points);
                self.store_lease(work).await?;
                self.tools.streams.publish(Topic::Lease(lease_id), &LeaseEvent::Metrics { points });
            }
            FromNode::Setup { line, .. } => {
                let line: String = line.chars().take(MAX_SETUP_LINE).collect();
                work.setup = Some(line.clone());
                self.store_lease(work).await?;
                self.tools.streams.publish(Topic::Lease(lease_id), &LeaseEvent::Setup { line });
            }
            FromNode::LeaseFailed { reason, .. } => {
                work.failure = Some(reason.chars().take(1_000).collect());
                self.store_lease(work).await?;
                self.show_lease(lease_id);
            }
            FromNode::Statement { statement, signature } => {
                let bytes = statement.signing_bytes(&self.tools.deployment.compute_domain(), Role::Node);
                // What the last statement named was looked at then, and is lent since.
                let known = work.last_statement().is_some_and(|last| last.output == statement.output);
                // A hash is public: only what the node brought itself becomes its tenant's.
                let brought = known || self.tools.access.brought_by(node, statement.output).await?;
                if statement.escrow_id != lease.escrow_id || !brought || !verify(&lease.node_key, &bytes, &signature) {
                    tracing::warn!(%node, lease = %lease_id, brought, "a statement is not signed by its node, or its output is not here");
                    return Ok(());
                }
                if !known && matches!(work.job, Some(JobSpec::Script(_))) {
                    match self.take_report(node, lease_id, &work, statement.output).await? {
                        Ok(report) => work.report = Some(Box::new(report)),
                        Err(reason) => {
                            tracing::warn!(%node, lease = %lease_id, reason, "a statement's report is not taken");
                            return Ok(());
                        }
                    }
                }
                if !known {
                    self.tools.db.add_use(statement.output, WorkKind::Lease, lease_id.0, true).await?;
                }
                if work.take_statement(statement, signature) {
                    let pending = work.pending.clone();
                    self.store_lease(work).await?;
                    if let Some(pending) = pending {
                        self.tools.streams.publish(Topic::Lease(lease_id), &LeaseEvent::StatementReady { pending: Box::new(pending) });
                    }
                }
            }
            _ => self.show_lease(lease_id),
        }
        Ok(())
    }

    /// Reads what a script's statement names and lends its files to the tenant: all of them must be here, brought by the node.
    async fn take_report(
        &self,
        node: NodeId,
        lease_id: LeaseId,
        work: &LeaseWork,
        output: Hash32,
    ) -> Result<Result<Report, String>, DbError> {
        if self.tools.db.artifact_bytes(output).await?.is_none_or(|bytes| bytes > MAX_REPORT_BYTES) {
            return Ok(Err(format!("it is longer than {MAX_REPORT_BYTES} bytes")));
        }
        let read = self.tools.artifacts.get(output).await.map_err(|error| error.to_string());
        let report: Report = match read.and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string())) {
            Ok(report) => report,
            Err(reason) => return Ok(Err(reason)),
        };
        if !report.is_well_formed() {
            return Ok(Err("it has too many files, or paths that lead out".to_owned()));
        }
        let known: BTreeSet<Hash32> = work.report.iter().flat_map(|report| report.artifacts()).map(|file| file.hash).collect();
        for file in report.artifacts().filter(|file| !known.contains(&file.hash)) {
            if !self.tools.access.brought_by(node, file.hash).await? {
                return Ok(Err(format!("{:?} was not brought", file.path)));
            }
            self.tools.db.add_use(file.hash, WorkKind::Lease, lease_id.0, true).await?;
        }
        Ok(Ok(report))
    }

    pub(super) async fn take_lease_meter(
        &mut self,
        lease_id: LeaseId,
        seq: u64,
        signature: Signature,
    ) -> Result<Result<(), Fault>, DbError> {
        let Some((lease, mut work)) = self.find_lease(lease_id) else { return Ok(Err(Fault::not_found("lease"))) };
        let Some(pending) = work.pending.as_ref().filter(|pending| pending.statement.seq == seq) else {
            return Ok(Err(Fault::not_found("statement that waits")));
        };
        let bytes = pending.statement.signing_bytes(&self.tools.deployment.compute_domain(), Role::Meter);
        if !verify(&lease.terms.meter, &bytes, &signature) {
            let detail = "The signature is not one of the lease's meter over this statement. Nothing was posted.";
            return Ok(Err(Fault::new(StatusCode::UNPROCESSABLE_ENTITY, "signature_wrong", "The signature does not fit", detail)));
        }
        work.take_meter(seq, signature);
        self.store_lease(work).await?;
        self.step_lease(lease_id).await?;
        Ok(Ok(()))
    }

    pub(super) fn show_lease(&self, lease_id: LeaseId) {
        let facts = self.tools.facts.borrow().clone();
        if let Some(lease) = facts.leases.get(&lease_id) {
            let view = lease_view(lease, &self.tools.board.read(), &self.tools.hub);
            self.tools.streams.publish(Topic::Lease(lease_id), &LeaseEvent::Changed { view: Box::new(view) });
        }
    }

    fn find_lease(&self, lease_id: LeaseId) -> Option<(Arc<Lease>, LeaseWork)> {
        let lease = self.tools.facts.borrow().leases.get(&lease_id).cloned()?;
        let work = self.tools.board.read().leases.get(&lease_id).cloned();
        Some((lease, work.unwrap_or_else(|| LeaseWork::new(lease_id))))
    }

    async fn store_lease(&self, work: LeaseWork) -> Result<(), DbError> {
        self.tools.db.set_work(WorkKind::Lease, work.lease_id.0, &work, clock::now()).await?;
        self.tools.board.write().leases.insert(work.lease_id, work);
        Ok(())
    }
}
