//! Leases: one node for one tenant, paid by metered time.

use crate::{ComputeError, Contract, ContractExt, bonds, escrow_read::EscrowRead, log, reputation::count_lease};
use near_sdk::{Gas, env, near};
use starling_contract_api::{billing::Billing, events::ComputeEvent};
use starling_contract_common::{OrPanic, answer, ask, is_signed, next, now, predecessor, require_one_yocto, require_strong_key};
use starling_primitives::{AccountId, Amount, BasisPoints, EscrowId, LeaseId, NodeId, Signature, TimestampMs};
use starling_protocol::{
    escrow::HOLD_PERIOD,
    lease::{Event, Lease, LeaseError, LeaseState, LeaseTerms},
    meter::{Meter, Metering},
    node::LEASE_MARGIN,
    price::quote_lease,
    signing::{LeaseStatement, Role},
};

pub(crate) const READ_TGAS: u64 = 10;
pub(crate) const CALLBACK_GAS: Gas = Gas::from_tgas(10);

#[near]
impl Contract {
    /// Accepts a lease within a minute of its payment. Where a bond stands behind it, `billing` is asked first whether that is there and stays: its provider may have asked for closing.
    ///
    /// Access: the node's key. Deposit: none. Gas: 20 T, 40 T with a bond. State change: the lease is active, its time runs. Events: `lease_changed`. Refund: none. With a bond, answers
    /// whether it was accepted.
    pub fn accept_lease(&mut self, lease_id: LeaseId) {
        let lease = self.lease_record(lease_id).or_panic();
        self.own_node(lease.node_id).or_panic();
        match &lease.cover {
            None => self.step_lease(lease_id, Event::Accept).or_panic(),
            Some(cover) => self.accept_covered(lease_id, cover).answers(),
        }
    }

    /// Brings a statement that node and meter signed. Cumulative: only a later one counts. A meter that was replaced counts for two minutes more.
    ///
    /// Access: anyone. Deposit: none. Gas: 30 T. State change: metered time and output; a final statement ends the lease. Events: `statement_accepted`. Refund: none.
    pub fn post_statement(&mut self, statement: LeaseStatement, node: Signature, meter: Signature) {
        let lease = self.lease_record(statement.lease_id).or_panic();
        let domain = self.setup.domain();
        let holds = |role, signature, key| is_signed(&statement.signing_bytes(&domain, role), signature, key);
        if !holds(Role::Node, &node, &lease.node_key) {
            env::panic_str("the node's signature does not fit the statement");
        }
        let former = lease.metering.former(now()).map(|former| former.meter.key);
        let event = if holds(Role::Meter, &meter, &lease.terms.meter) {
            Event::Statement(statement.clone())
        } else if former.as_ref().is_some_and(|key| holds(Role::Meter, &meter, key)) {
            Event::FormerStatement(statement.clone())
        } else {
            env::panic_str("the meter's signature does not fit the statement")
        };
        let lease = self.change_lease(statement.lease_id, event).or_panic();
        log(&ComputeEvent::StatementAccepted { statement, state: lease.state });
    }

    /// Replaces the meter of a lease that has not ended: by a key of the tenant's own, or by a delegate within the share and the objection window that the payment fixed.
    ///
    /// Access: the tenant's full-access key. Deposit: 1 yocto. Gas: 20 T. State change: the meter; what the one before has signed counts for two minutes more. Events:
    /// `meter_replaced`. Refund: none.
    #[payable]
    pub fn replace_meter(&mut self, lease_id: LeaseId, meter: Meter) {
        require_one_yocto();
        require_strong_key(&meter.key);
        self.own_lease(lease_id).or_panic();
        self.change_lease(lease_id, Event::ReplaceMeter(meter.clone())).or_panic();
        log(&ComputeEvent::MeterReplaced { lease_id, meter });
    }

    /// Ends a lease. The last co-signed statement may be posted for two minutes more. One that its node ends before accepting it is not accepted, and settles at once.
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

    /// Reads a lease's escrow from `billing`, and closes the lease here if it is closed there: what the notice of an objection does, and what no notice tells of.
    ///
    /// Access: anyone. Deposit: none. Gas: 40 T. State change: the lease may close. Events: `lease_changed`. Refund: none. Answers whether the escrow is open.
    pub fn check_lease(&self, lease_id: LeaseId) {
        let escrow_id = self.lease_record(lease_id).or_panic().escrow_id;
        let question = Billing(self.setup.deployment.billing.clone()).ask_escrow(escrow_id, READ_TGAS);
        let callback = Self::ext(env::current_account_id()).with_static_gas(CALLBACK_GAS).on_lease_read(lease_id);
        ask(&question).then(callback).answers();
    }

    /// After `billing` told of a lease's escrow. An answer that cannot be read changes nothing.
    ///
    /// Access: this contract. State change: the lease may close. Events: `lease_changed`.
    #[private]
    pub fn on_lease_read(&mut self, lease_id: LeaseId) -> bool {
        let Some(read) = answer::<Option<EscrowRead>>() else {
            return true;
        };
        let objected = read.as_ref().is_some_and(EscrowRead::was_objected_to);
        let open = read.is_some_and(|read| read.is_open());
        if !open {
            // A lease that has ended keeps its cause.
            let event = if objected { Event::Objected } else { Event::EscrowClosed };
            let _ = self.step_lease(lease_id, event);
        }
        open
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

    /// A lease whose tenant calls.
    pub(crate) fn own_lease(&self, lease_id: LeaseId) -> Result<Lease, ComputeError> {
        let lease = self.lease_record(lease_id)?;
        if lease.tenant == predecessor() { Ok(lease) } else { Err(ComputeError::NotYours("lease's tenant")) }
    }

    pub(crate) fn change_lease(&mut self, lease_id: LeaseId, event: Event) -> Result<Lease, ComputeError> {
        let before = self.lease_record(lease_id)?;
        let lease = before.apply(event, now())?;
        self.keep_lease(&before, &lease)?;
        Ok(lease)
    }

    /// Stores a lease that has changed, and moves the bond behind it.
    pub(crate) fn keep_lease(&mut self, before: &Lease, lease: &Lease) -> Result<(), ComputeError> {
        self.leases.insert(&lease.id, lease);
        bonds::follow(before, lease)
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
        self.require_allowed(offer.id, &tenant)?;
        let node = self.node_record(offer.node_id)?;
        self.require_ready(&node)?;
        self.require_free(node.id, now())?;
        let metering = Metering::new(terms.delegate.as_ref(), offer.terms.objection_window).map_err(LeaseError::from)?;
        let (min, max) = (offer.terms.min_lease, offer.terms.max_lease);
        if terms.duration < min || terms.duration > max {
            return Err(LeaseError::Duration { min, max }.into());
        }
        let price_per_hour = offer.terms.price_per_hour;
        let needed = quote_lease(price_per_hour, terms.duration, terms.delegate.as_ref(), BasisPoints::ZERO)?.at_most;
        if deposit < needed {
            return Err(LeaseError::DepositTooSmall(needed).into());
        }
        let cover = bonds::cover(offer.terms.sla, now().after(terms.duration).after(LEASE_MARGIN))?;
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
            metering,
            asset: offer.terms.asset,
            cover,
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

    pub(crate) fn step_lease(&mut self, lease_id: LeaseId, event: Event) -> Result<(), ComputeError> {
        let lease = self.change_lease(lease_id, event)?;
        count_lease(&lease);
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
