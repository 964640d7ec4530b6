//! The engine's part for leases.

use super::Engine;
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
use starling_http_api::{job::JobSpec, lease::LeaseEvent, node::FromNode};
use starling_primitives::{LeaseId, NodeId, Signature};
use starling_protocol::{lease::Lease, signing::Role};
use std::sync::Arc;

impl Engine {
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
            FromNode::LeaseStarted { lease_id } | FromNode::Output { lease_id, .. } | FromNode::LeaseFailed { lease_id, .. } => *lease_id,
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
            FromNode::LeaseFailed { reason, .. } => {
                work.failure = Some(reason.chars().take(1_000).collect());
                self.store_lease(work).await?;
                self.show_lease(lease_id);
            }
            FromNode::Statement { statement, signature } => {
                let bytes = statement.signing_bytes(&self.tools.deployment.compute_domain(), Role::Node);
                let stored = self.tools.db.artifact_bytes(statement.output).await?.is_some();
                if statement.escrow_id != lease.escrow_id || !stored || !verify(&lease.node_key, &bytes, &signature) {
                    tracing::warn!(%node, lease = %lease_id, stored, "a statement is not signed by its node, or its output is not here");
                    return Ok(());
                }
                self.tools.db.add_use(statement.output, WorkKind::Lease, lease_id.0, true).await?;
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
        self.show_lease(lease_id);
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
