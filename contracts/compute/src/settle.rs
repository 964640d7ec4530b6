//! Settlement: what was earned is posted to `billing`, and the escrow is closed when the work ended. Repeating it is harmless.

use crate::{ComputeError, Contract, ContractExt, log, reputation::count_lease};
use near_sdk::{Gas, Promise, env, near};
use starling_contract_api::{billing::Billing, events::ComputeEvent};
use starling_contract_common::{OrPanic, ask, now, succeeded};
use starling_primitives::{DurationMs, EscrowId, LeaseId, RunId};
use starling_protocol::{
    escrow::Posting,
    lease::{self, LeaseState},
    run::{self, Run, RunState},
};

const CALLBACK_GAS: Gas = Gas::from_tgas(10);

#[near]
impl Contract {
    /// Posts a run's cumulative vector, and closes its escrow if the run ended.
    ///
    /// Access: anyone. Deposit: none. Gas: 100 T. State change: the number of the post; settled once `billing` took the last one. Events: `run_posted`, then `run_settled`.
    /// Refund: by `billing`. Answers whether `billing` took it; if not, call again.
    pub fn settle_run(&mut self, run_id: RunId) {
        let run = self.run_record(run_id).or_panic();
        self.post_run(run).or_panic().answers();
    }

    /// Posts the final figures of an ended lease and closes its escrow, once statements are no longer taken. It ends one whose time is over first. Where posts vest, it posts
    /// the figures so far before that too: their window runs from the post.
    ///
    /// Access: anyone. Deposit: none. Gas: 100 T. State change: closed once `billing` took the last post. Events: `lease_changed`, `lease_posted`, then `lease_settled`. Refund: by `billing`.
    /// Answers whether `billing` took it; if not, call again.
    pub fn settle_lease(&mut self, lease_id: LeaseId) {
        self.post_lease(lease_id).or_panic().answers();
    }

    /// After a run's post.
    ///
    /// Access: this contract. State change: an ended run is settled if `billing` took the post. Events: `run_settled`.
    #[private]
    pub fn on_run_posted(&mut self, run_id: RunId, close: bool) -> bool {
        let taken = succeeded();
        if taken
            && close
            && let Ok(run) = self.change_run(run_id, run::Event::Settled)
            && let RunState::Ended { ending, .. } = run.state
        {
            log(&ComputeEvent::RunSettled { run_id, ending });
        }
        taken
    }

    /// After a lease's post.
    ///
    /// Access: this contract. State change: the lease is closed if `billing` took the post, and counts for its node. Events: `lease_settled`.
    #[private]
    pub fn on_lease_posted(&mut self, lease_id: LeaseId) -> bool {
        let taken = succeeded();
        if taken && let Ok(lease) = self.change_lease(lease_id, lease::Event::Settled) {
            count_lease(&lease);
            log(&ComputeEvent::LeaseSettled { lease_id, state: lease.state });
        }
        taken
    }
}

impl Contract {
    /// Numbers and sends a run's vector. A post that was lost is overtaken by the next one.
    pub(crate) fn post_run(&mut self, mut run: Run) -> Result<Promise, ComputeError> {
        let close = match run.state {
            RunState::Ended { settled: true, .. } => return Err(ComputeError::Settled),
            RunState::Ended { settled: false, .. } => true,
            RunState::Pending | RunState::Enrolling { .. } | RunState::Training { .. } => false,
        };
        let postings = run.postings()?;
        if postings.is_empty() && !close {
            return Err(ComputeError::NothingToSettle);
        }
        run.post_seq += 1;
        self.runs.insert(&run.id, &run);
        log(&ComputeEvent::RunPosted { run_id: run.id, seq: run.post_seq, postings: postings.clone(), close });
        let callback = Self::ext(env::current_account_id()).with_static_gas(CALLBACK_GAS).on_run_posted(run.id, close);
        Ok(self.post(run.escrow_id, run.post_seq, &postings, close).then(callback))
    }

    fn post_lease(&mut self, lease_id: LeaseId) -> Result<Promise, ComputeError> {
        let stored = self.lease_record(lease_id)?;
        if matches!(stored.state, LeaseState::Closed { .. }) {
            return Err(ComputeError::Settled);
        }
        let lease = stored.at(now());
        self.keep_lease(&stored, &lease)?;
        if lease.state != stored.state {
            log(&ComputeEvent::LeaseChanged { lease_id, state: lease.state });
        }
        let close = match lease.apply(lease::Event::Settled, now()) {
            Ok(_) => true,
            Err(_) if lease.metering.objection_window > DurationMs(0) && lease.seq > 0 => false,
            Err(error) => return Err(error.into()),
        };
        let postings = lease.postings()?;
        // The figures are those of the last statement, and final with `close`, so one number serves every attempt.
        let seq = lease.seq + u64::from(close);
        log(&ComputeEvent::LeasePosted { lease_id, seq, postings: postings.clone(), close });
        let post = self.post(lease.escrow_id, seq, &postings, close);
        if !close {
            return Ok(post);
        }
        Ok(post.then(Self::ext(env::current_account_id()).with_static_gas(CALLBACK_GAS).on_lease_posted(lease_id)))
    }

    pub(crate) fn post(&self, escrow_id: EscrowId, seq: u64, postings: &[Posting], close: bool) -> Promise {
        ask(&Billing(self.setup.deployment.billing.clone()).ask_post(escrow_id, seq, postings, close))
    }
}
