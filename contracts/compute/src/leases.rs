//! Leases: one node for one tenant, paid by metered time.

use crate::{ComputeError, Contract, ContractExt, log};
use near_sdk::near;
use starling_contract_api::events::ComputeEvent;
use starling_contract_common::{OrPanic, is_signed, next, now, predecessor};
use starling_primitives::{AccountId, Amount, BasisPoints, EscrowId, LeaseId, NodeId, Signature, TimestampMs};
use starling_protocol::{
    escrow::HOLD_PERIOD,
    lease::{Event, Lease, LeaseError, LeaseState, LeaseTerms},
    price::quote_lease,
    signing::{LeaseStatement, Role},
};

#[near]
impl Contract {
    /// Accepts a lease within a minute of its payment.
    ///
    /// Access: the node's key. Deposit: none. Gas: 20 T. State change: the lease is active, its time runs. Events: `lease_changed`. Refund: none.
    pub fn accept_lease(&mut self, lease_id: LeaseId) {
        let lease = self.lease_record(lease_id).or_panic();
        self.own_node(lease.node_id).or_panic();
        self.step_lease(lease_id, Event::Accept).or_panic();
    }

    /// Brings a statement that node and meter signed. Cumulative: only a later one counts.
    ///
    /// Access: anyone. Deposit: none. Gas: 30 T. State change: metered time and output; a final statement ends the lease. Events: `statement_accepted`. Refund: none.
    pub fn post_statement(&mut self, statement: LeaseStatement, node: Signature, meter: Signature) {
        let lease = self.lease_record(statement.lease_id).or_panic();
        let domain = self.setup.domain();
        let holds = |role, signature, key| is_signed(&statement.signing_bytes(&domain, role), signature, key);
        if !holds(Role::Node, &node, &lease.node_key) {
            near_sdk::env::panic_str("the node's signature does not fit the statement");
        }
        if !holds(Role::Meter, &meter, &lease.terms.meter) {
            near_sdk::env::panic_str("the meter's signature does not fit the statement");
        }
        let lease = self.change_lease(statement.lease_id, Event::Statement(statement.clone())).or_panic();
        log(&ComputeEvent::StatementAccepted { statement, state: lease.state });
    }

    /// Ends a lease. The last co-signed statement may be posted for two minutes more.
    ///
    /// Access: its tenant, or its node's key. Deposit: none. Gas: 20 T. State change: the end is fixed. Events: `lease_changed`. Refund: by `settle_lease`.
    pub fn close_lease(&mut self, lease_id: LeaseId) {
        let lease = self.lease_record(lease_id).or_panic();
        let event = if lease.tenant == predecessor() {
            Event::CloseByTenant
        } else {
            self.own_node(lease.node_id).or_panic();
            Event::CloseByProvider
        };
        self.step_lease(lease_id, event).or_panic();
    }

    /// Does what time demands: ends a lease that was not accepted in time, or whose time ran out.
    ///
    /// Access: anyone. Deposit: none. Gas: 20 T. State change: the end is fixed. Events: `lease_changed`. Refund: by `settle_lease`.
    pub fn tick_lease(&mut self, lease_id: LeaseId) {
        self.step_lease(lease_id, Event::Tick).or_panic();
    }
}

impl Contract {
    pub(crate) fn lease_record(&self, lease_id: LeaseId) -> Result<Lease, ComputeError> {
        self.leases.get(&lease_id).ok_or(ComputeError::NoSuchLease(lease_id))
    }

    pub(crate) fn change_lease(&mut self, lease_id: LeaseId, event: Event) -> Result<Lease, ComputeError> {
        let lease = self.lease_record(lease_id)?.apply(event, now())?;
        self.leases.insert(&lease_id, &lease);
        Ok(lease)
    }

    /// A lease of an open offer that the deposit covers, unpaid so far.
    pub(crate) fn new_lease(
        &mut self,
        escrow_id: EscrowId,
        tenant: AccountId,
        deposit: Amount,
        terms: LeaseTerms,
    ) -> Result<Lease, ComputeError> {
        let offer = self.offer_record(terms.offer_id)?;
        if offer.closed {
            return Err(ComputeError::OfferClosed(offer.id));
        }
        let node = self.node_record(offer.node_id)?;
        self.require_ready(&node)?;
        self.require_free(node.id, now())?;
        let (min, max) = (offer.terms.min_lease, offer.terms.max_lease);
        if terms.duration < min || terms.duration > max {
            return Err(LeaseError::Duration { min, max }.into());
        }
        let price_per_hour = offer.terms.price_per_hour;
        let needed = quote_lease(price_per_hour, terms.duration, BasisPoints::ZERO)?.at_most;
        if deposit < needed {
            return Err(LeaseError::DepositTooSmall(needed).into());
        }
        let lease = Lease {
            id: LeaseId(next(&mut self.last_lease_id)),
            tenant,
            node_id: node.id,
            payout: node.payout,
            node_key: node.key,
            escrow_id,
            deposit,
            price_per_hour,
            terms,
            seq: 0,
            metered: Default::default(),
            units: 0,
            output: None,
            created_at: now(),
            state: LeaseState::Unpaid,
        };
        self.leases.insert(&lease.id, &lease);
        self.last_lease.insert(&lease.node_id, &lease.id);
        Ok(lease)
    }

    /// A node has one lease at a time.
    fn require_free(&self, node_id: NodeId, now: TimestampMs) -> Result<(), ComputeError> {
        let last = self.last_lease.get(&node_id).and_then(|lease_id| self.leases.get(&lease_id));
        match last {
            Some(lease) if occupies(&lease, now) => Err(ComputeError::Busy { node_id, lease_id: lease.id }),
            _ => Ok(()),
        }
    }

    fn step_lease(&mut self, lease_id: LeaseId, event: Event) -> Result<(), ComputeError> {
        let lease = self.change_lease(lease_id, event)?;
        log(&ComputeEvent::LeaseChanged { lease_id, state: lease.state });
        Ok(())
    }
}

fn occupies(lease: &Lease, now: TimestampMs) -> bool {
    match lease.at(now).state {
        LeaseState::Unpaid => now <= lease.created_at.after(HOLD_PERIOD),
        LeaseState::Pending { .. } | LeaseState::Active { .. } => true,
        LeaseState::Closing { .. } | LeaseState::Closed { .. } => false,
    }
}
