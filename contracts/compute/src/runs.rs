//! Runs: who joins, who leaves, what time and the tenant demand.

use crate::{ComputeError, Contract, ContractExt, log};
use near_sdk::near;
use starling_contract_api::events::ComputeEvent;
use starling_contract_common::{OrPanic, now, predecessor};
use starling_primitives::{NodeId, RunId};
use starling_protocol::run::{Event, Member, Run};

#[near]
impl Contract {
    /// Joins a run under the run's terms; with that the node has accepted its price. Payout and key are frozen for this run.
    ///
    /// Access: the node's key. Deposit: none. Gas: 20 T. State change: the roster; the first round when it is full. Events: `node_enrolled`. Refund: none.
    pub fn enroll(&mut self, run_id: RunId, node_id: NodeId) {
        let node = self.own_node(node_id).or_panic();
        self.require_ready(&node).or_panic();
        let (payout, key) = (node.payout, node.key);
        let run = self.change_run(run_id, Event::Enroll(Member::new(node_id, payout.clone(), key))).or_panic();
        log(&ComputeEvent::NodeEnrolled { run_id, node_id, payout, key, state: run.state });
    }

    /// Leaves a run. What was accepted stays paid.
    ///
    /// Access: the node's key. Deposit: none. Gas: 20 T. State change: the roster from the next round on; the run fails when nobody is left. Events: `node_left`. Refund: none.
    pub fn leave_run(&mut self, run_id: RunId, node_id: NodeId) {
        self.own_node(node_id).or_panic();
        let run = self.change_run(run_id, Event::Leave(node_id)).or_panic();
        log(&ComputeEvent::NodeLeft { run_id, node_id, state: run.state });
    }

    /// Ends a run. Rounds that counted stay paid; the rest returns to the tenant's balance.
    ///
    /// Access: the tenant. Deposit: none. Gas: 110 T. State change: the run ends and is settled at once. Events: `run_changed`, `run_posted`, then `run_settled`. Refund: by `billing`.
    /// Answers whether `billing` took the post; if not, `settle_run` repeats it.
    pub fn stop_run(&mut self, run_id: RunId) {
        if self.run_record(run_id).or_panic().tenant != predecessor() {
            near_sdk::env::panic_str(&ComputeError::NotYours("run's tenant").to_string());
        }
        let run = self.change_run(run_id, Event::Stop).or_panic();
        log(&ComputeEvent::RunChanged { run_id, state: run.state });
        self.post_run(run).or_panic().answers();
    }

    /// Does what time demands: starts a run whose enrolling is over, fails one whose round had no quorum in time.
    ///
    /// Access: anyone. Deposit: none. Gas: 20 T. State change: the run. Events: `run_changed`. Refund: none.
    pub fn tick_run(&mut self, run_id: RunId) {
        let run = self.change_run(run_id, Event::Tick).or_panic();
        log(&ComputeEvent::RunChanged { run_id, state: run.state });
    }
}

impl Contract {
    pub(crate) fn run_record(&self, run_id: RunId) -> Result<Run, ComputeError> {
        self.runs.get(&run_id).ok_or(ComputeError::NoSuchRun(run_id))
    }

    pub(crate) fn change_run(&mut self, run_id: RunId, event: Event) -> Result<Run, ComputeError> {
        let run = self.run_record(run_id)?.apply(event, now())?;
        self.runs.insert(&run_id, &run);
        Ok(run)
    }
}
